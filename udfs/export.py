"""``rasteret_export``: begin, take rows, end. The rows stream through; what has come so far waits under a number between the steps."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pyarrow as pa

from rasteret_sql.collection.destinations import destination
from rasteret_sql.collection.export import Export
from rasteret_sql.collection.nested import one_chunk
from rasteret_sql.errors import InvalidArgument, WriteError
from rasteret_sql.reader.engine import Query
from rasteret_sql.settings import Settings

RESULT = "STRUCT(path VARCHAR, records BIGINT, files BIGINT, bytes BIGINT, seconds DOUBLE)[]"
_IDLE_S = 3600.0
"""After which a statement that began an export and failed is surely gone."""


class _Exports:
    """Those under way, by number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._running: dict[int, Export] = {}

    def begin(self, export: Export) -> int:
        with self._lock:
            gone = [number for number, other in self._running.items() if time.monotonic() - other.touched > _IDLE_S]
            abandoned = [self._running.pop(number) for number in gone]
            number = next(self._numbers)
            self._running[number] = export
        for other in abandoned:
            other.abandon()
        return number

    def get(self, number: int) -> Export:
        with self._lock:
            found = self._running.get(number)
        if found is None:
            raise InvalidArgument("this export has ended already")
        return found

    def drop(self, number: int) -> None:
        with self._lock:
            self._running.pop(number, None)


_EXPORTS = _Exports()


@contextmanager
def _writing(place: str) -> Iterator[None]:
    """What the file system refuses, as an error with the place."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"cannot be written: {error.strerror or type(error).__name__}", place) from None


def begin(arguments: pa.Array) -> pa.Array:
    """A number for the export that the JSON text describes; refuses at once what must not be overwritten."""
    return pa.array([_begin(json.loads(text)) for text in one_chunk(arguments).to_pylist()], pa.int64())


def _begin(arguments: dict[str, Any]) -> int:
    query = Query("rasteret_export", Settings(**arguments["settings"]))
    target = destination(arguments["path"], query, overwrite=arguments["overwrite"])
    with _writing(target.shown):
        target.check()
    return _EXPORTS.begin(Export(target, arguments["partition_by"], arguments["name"], arguments["source"]))


def take(numbers: pa.Array, rows: pa.Array) -> pa.Array:
    """Rows of the relation as structs; answers 1 for each."""
    number, structs = one_chunk(numbers)[0].as_py(), one_chunk(rows)
    _EXPORTS.get(number).add(pa.Table.from_struct_array(structs))
    return pa.array([1] * len(structs), pa.int64())


def end(numbers: pa.Array, taken: pa.Array) -> pa.Array:
    """Write what was taken; answers with the report."""
    reports = []
    for number in one_chunk(numbers).to_pylist():
        export = _EXPORTS.get(number)
        _EXPORTS.drop(number)
        with _writing(export.destination.shown):
            reports.append([dataclasses.asdict(export.finish())])
    del taken
    return pa.array(reports)
