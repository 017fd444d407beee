"""Results as bytes: Parquet and Arrow, a batch at a time; and files that appear only when they are whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from rasteret_sql.errors import InvalidArgument, listing
from rasteret_sql.shell.session import Answer
from rasteret_sql.shell.texts import unique

GROUP_BYTES, GROUP_ROWS = 32 << 20, 122_880
"""A row group ends at the first of them: rows may be numbers or images."""
_LOSSY = ("UHUGEINT", "BIT", "TIME WITH TIME ZONE", "BIGNUM")
"""Types whose values Arrow's equals do not hold."""


def write_parquet(answer: Answer, out: BinaryIO) -> None:
    """Geometries as GeoParquet 1.1. Raises InvalidArgument for types that Parquet has no equal for."""
    schema = _checked(answer)
    geo = _geo(schema)
    if geo:
        schema = schema.with_metadata({**(schema.metadata or {}), b"geo": json.dumps(geo).encode()})
    try:
        with pq.ParquetWriter(pa.PythonFile(_Counting(out), mode="w"), schema, compression="zstd") as writer:
            for table in _groups(answer, schema):
                writer.write_table(table, row_group_size=GROUP_ROWS)
    except pa.ArrowNotImplementedError as error:
        raise InvalidArgument(
            f"Parquet has no equal for one of the types {listing(sorted(set(answer.types)))}: CAST it to VARCHAR ({error})"
        ) from None


def write_arrow(answer: Answer, out: BinaryIO) -> None:
    """The Arrow IPC stream format. Raises InvalidArgument for types that Arrow has no equal for."""
    schema = _checked(answer)
    with pa.ipc.new_stream(pa.PythonFile(_Counting(out), mode="w"), schema) as writer:
        for batch in answer.batches:
            writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))


def _checked(answer: Answer) -> pa.Schema:
    for name, kind in zip(answer.names, answer.types, strict=True):
        if any(kind.startswith(lossy) for lossy in _LOSSY):
            raise InvalidArgument(
                f"column {name!r} is {kind}, whose values Arrow and Parquet cannot hold: CAST it to VARCHAR, or ask for csv or json"
            )
    return pa.schema([field.with_name(name) for field, name in zip(answer.schema, unique(answer.names), strict=True)], answer.schema.metadata)


def _groups(answer: Answer, schema: pa.Schema) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    size = rows = 0
    for batch in answer.batches:
        held.append(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
        size, rows = size + batch.nbytes, rows + batch.num_rows
        if size >= GROUP_BYTES or rows >= GROUP_ROWS:
            yield pa.Table.from_batches(held, schema)
            held, size, rows = [], 0, 0
    if held:
        yield pa.Table.from_batches(held, schema)


def _geo(schema: pa.Schema) -> dict[str, Any] | None:
    """The ``geo`` metadata of GeoParquet 1.1, from Arrow's extension metadata of each geometry column (geoarrow.wkb)."""
    columns: dict[str, Any] = {}
    for field in schema:
        metadata = field.metadata or {}
        if metadata.get(b"ARROW:extension:name") == b"geoarrow.wkb":
            said = json.loads(metadata.get(b"ARROW:extension:metadata") or b"{}")
            crs = said.get("crs") if isinstance(said.get("crs"), dict) else None
            columns[field.name] = {"encoding": "WKB", "geometry_types": [], "crs": crs}
    return {"version": "1.1.0", "primary_column": next(iter(columns)), "columns": columns} if columns else None


class _Counting:
    """A stream that can say where it is, as a pipe cannot; Arrow asks."""

    closed = False

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._written = 0

    def write(self, data: bytes) -> int:
        self._out.write(data)
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        self._out.flush()

    def close(self) -> None:
        """Whoever opened the stream closes it."""
        self.flush()


BYTES: Mapping[str, Callable[[Answer, BinaryIO], None]] = {"parquet": write_parquet, "arrow": write_arrow}


@contextmanager
def written_aside(path: Path) -> Iterator[BinaryIO]:
    """A file that is put in its place when all went well, and leaves nothing behind otherwise. A device or pipe is written to directly."""
    if path.exists() and not path.is_file():
        with path.open("wb") as out:
            yield out
        return
    target = path.resolve()
    aside = target.with_name(f".{target.name}.{uuid4().hex[:8]}.part")
    try:
        with aside.open("xb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
