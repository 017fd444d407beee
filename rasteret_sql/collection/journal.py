"""The hidden folder of a running build: every finished batch is kept there, so that a build that is killed goes on where it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rasteret_sql.collection.index import Kind
from rasteret_sql.collection.keys import OWN, Keys
from rasteret_sql.collection.stores import Store, arrow_store

_IDENTITY = "identity.json"
_ROWS, _KEYS = ".rows.arrow", ".keys.arrow"


class Kinds:
    """The different kinds of records, numbered."""

    def __init__(self, kinds: Sequence[Kind] = ()) -> None:
        self._numbers = {kind: number for number, kind in enumerate(kinds)}

    def number(self, kind: Kind) -> int:
        return self._numbers.setdefault(kind, len(self._numbers))

    @property
    def listed(self) -> list[Kind]:
        return list(self._numbers)


def kind_to_json(kind: Kind) -> list[Any]:
    return [kind.epsg, kind.geometry, list(kind.dtypes)]


def kind_of_json(value: Sequence[Any]) -> Kind:
    epsg, geometry, dtypes = value
    return Kind(epsg, geometry, tuple((band, dtype) for band, dtype in dtypes))


class Journal:
    """Batches of one build, numbered through, those of a killed one first."""

    def __init__(self, folder: Path, digest: str, *, force: bool, kinds: Kinds) -> None:
        """Goes on with the folder of a killed build of the same identity; a forced build starts anew, and so does one after another identity."""
        self.folder = folder
        self._kinds = kinds
        found = _read_identity(folder)
        resumed = not force and found.get("digest") == digest
        self.forced = force or (resumed and found.get("force") is True)
        """The rows of the old collection must not be used."""
        if not resumed:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            _replace(folder / _IDENTITY, json.dumps({"digest": digest, "force": force}).encode())
        self._parts = sorted(file.with_name(file.name.removesuffix(_KEYS)) for file in folder.glob(f"*{_KEYS}"))
        self.resumed = Keys.joined([self._load(part) for part in self._parts])
        """What a killed build left, row for row."""
        self._new: list[Keys] = []
        self.schemas: list[pa.Schema] = []

    def __len__(self) -> int:
        """Records of this run."""
        return sum(map(len, self._new))

    def add(self, rows: pa.Table, keys: Keys) -> None:
        """Keep one batch; its keys come last and make it count."""
        part = self.folder / f"{len(self._parts):06d}"
        _write(part.with_name(part.name + _ROWS), rows)
        used, local = np.unique(keys.kind, return_inverse=True)
        listed = self._kinds.listed
        kinds = json.dumps([kind_to_json(listed[number]) for number in used.tolist()])
        stored = replace(keys, kind=local.astype(np.int32)).to_table().replace_schema_metadata({"kinds": kinds})
        _write(part.with_name(part.name + _KEYS), stored)
        self._parts.append(part)
        self._new.append(keys)
        self.schemas.append(rows.schema)

    def keys(self) -> Keys:
        """Of this run's records, in the order of :meth:`store` from row ``len(resumed)`` on."""
        return Keys.joined(self._new)

    def store(self) -> Store:
        """All rows, those of a killed build first."""
        return arrow_store([part.with_name(part.name + _ROWS) for part in self._parts])

    def known(self) -> Keys:
        """Rows of a killed build that hold their headers themselves, ``row`` being their place in :meth:`store`."""
        own = np.flatnonzero(self.resumed.store == OWN)
        keys = self.resumed.take(own)
        keys.row = own.astype(np.int64)
        return keys

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove_if_empty(self) -> None:
        """After a build that failed: no batch was finished, so there is nothing to go on with."""
        if not self._parts:
            self.remove()

    def _load(self, part: Path) -> Keys:
        with pa.memory_map(str(part.with_name(part.name + _KEYS))) as source:
            table = pa.ipc.open_file(source).read_all()
            kinds = [self._kinds.number(kind_of_json(value)) for value in json.loads(table.schema.metadata[b"kinds"])]
            keys = Keys.from_table(table)
            keys.kind = np.asarray(kinds, np.int32)[keys.kind]
            return Keys.joined([keys])  # a copy: the mapping ends here


def _read_identity(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / _IDENTITY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(file: Path, table: pa.Table) -> None:
    aside = file.with_name(file.name + ".aside")
    with pa.OSFile(str(aside), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    aside.replace(file)


def _replace(file: Path, content: bytes) -> None:
    aside = file.with_name(file.name + ".aside")
    aside.write_bytes(content)
    aside.replace(file)
