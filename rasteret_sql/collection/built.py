"""What a build leaves beside the Parquet files of a collection, for the next one: who built it, and a key per record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rasteret_sql.collection.identity import text_hash
from rasteret_sql.collection.index import Kind
from rasteret_sql.collection.journal import kind_of_json, kind_to_json
from rasteret_sql.collection.keys import OLD, Keys
from rasteret_sql.collection.schema import BAND_METADATA
from rasteret_sql.collection.workspace import generation_folder, generation_of

BUILD_FILE = "_build.json"
KEYS_FILE = "_keys.arrow"
"""No Parquet: a pattern such as ``**/*.parquet`` finds the collection's own files alone."""
_FORMAT = f"1-{text_hash(str(BAND_METADATA)):x}"
"""With the fields of a band's metadata: where a version of this package keeps more of a header, headers are read again."""


@dataclass(frozen=True, slots=True)
class Written:
    """A Parquet file of a collection, relative to its folder."""

    file: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Built:
    """A finished build. ``keys`` follow the rows of ``files``."""

    generation: str
    identity: Mapping[str, Any]
    digest: str
    content: str
    """Digest of all that the source said of the records."""
    kinds: tuple[Kind, ...]
    files: tuple[Written, ...]
    keys: Keys


def save_built(folder: Path, built: Built) -> None:
    stored = built.keys.to_table().select(_kept_columns())
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(folder / KEYS_FILE), "wb") as sink, pa.ipc.new_file(sink, stored.schema, options=options) as writer:
        writer.write_table(stored)
    text = json.dumps(
        {
            "format": _FORMAT,
            "generation": built.generation,
            "identity": dict(built.identity),
            "digest": built.digest,
            "content": built.content,
            "kinds": [kind_to_json(kind) for kind in built.kinds],
            "files": [[file.file, file.rows, file.bytes] for file in built.files],
        },
        default=str,
    )
    (folder / BUILD_FILE).write_text(text, encoding="utf-8")


def load_built(folder: Path) -> Built | None:
    """What the last build of a collection left; None where there is none, or the files are not the ones it wrote: then nothing is known."""
    generation = generation_of(folder)
    if generation is None:
        return None
    kept = generation_folder(folder, generation)
    beside = kept if (kept / BUILD_FILE).exists() else folder
    try:
        said = json.loads((beside / BUILD_FILE).read_text(encoding="utf-8"))
        if said["format"] != _FORMAT or said["generation"] != generation:
            return None
        files = tuple(Written(*file) for file in said["files"])
        if any((folder / file.file).stat().st_size != file.bytes for file in files):
            return None
        with pa.OSFile(str(beside / KEYS_FILE)) as source:
            table = pa.ipc.open_file(source).read_all()
        count = sum(file.rows for file in files)
        if len(table) != count:
            return None
        row = {"store": pa.array(np.full(count, OLD, np.int8)), "row": pa.array(np.arange(count, dtype=np.int64))}
        keys = Keys.from_table(pa.table({**{name: table[name] for name in _kept_columns()}, **row}))
        kinds = tuple(kind_of_json(kind) for kind in said["kinds"])
        return Built(said["generation"], said["identity"], said["digest"], said["content"], kinds, files, keys)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowInvalid):
        return None


def _kept_columns() -> Sequence[str]:
    return [f.name for f in fields(Keys) if f.name not in ("store", "row")]
