"""Where collections live: a name, a path or a URL to the Parquet files behind it, and what their footers say.

``{workspace}/{name}_records/`` holds a collection built from a table, ``{workspace}/{name}_stac/`` one built from a STAC API. What was built is
described in the Parquet schema itself; nothing else is kept.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rasteret_sql.collection.footers import Version, footer
from rasteret_sql.collection.remote import MOUNTS, mounted, opened
from rasteret_sql.collection.schema import METADATA_SUFFIX, band_names
from rasteret_sql.errors import CollectionNotFound, InvalidArgument, InvalidRaster, listing, one_line, redact
from rasteret_sql.settings import Settings

SUFFIXES = ("_records", "_stac")
_NAME = re.compile(r"[\w][\w.\-]*", re.UNICODE)
_LONGEST_NAME = 180
"""Bytes of a collection's name: file systems have room for 255, and hidden twins of a folder have longer names than it."""
REPLACED = ".replaced"
"""End of the hidden name under which the old folder of a collection waits while the new one takes its place."""
FAILURES_FILE = "_failures.parquet"
"""Assets that could not be indexed; the leading underscore keeps it out of dataset scans."""
GLOBE = 360.0
"""Degrees: no record is larger."""
_TRIES = 4
_MOMENT_S = 0.05
GENERATION = "rasteret_sql:generation"
"""Metadata of a collection's files: which build wrote them."""
EXTENTS = "rasteret_sql:extents"
"""Likewise: the extents of the median and of the largest record, in degrees. They choose the cells by which records are found."""
ROWS = "rasteret_sql:rows"
"""Likewise, of each file: its rows. Other tools that filter or join files keep their metadata; by this it is seen that extents speak of others."""


@dataclass(frozen=True, slots=True)
class BandInfo:
    """What the schema metadata says of one band over all records."""

    name: str
    dtypes: tuple[str, ...]
    typed: bool = False
    """The metadata holds typed NULLs already: the collection was written from ``rasteret_collection``."""


@dataclass(frozen=True, slots=True)
class Part:
    """A place and a period of a larger collection, as a link has them."""

    bbox: tuple[float, float, float, float] | None = None
    """West, south, east, north; west > east across the antimeridian."""
    start: datetime | None = None
    end: datetime | None = None
    """Both belong to it; UTC."""


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection on disk or at a URL, by its files."""

    name: str
    path: str
    """Its folder, file or URL (without a query string)."""
    files: tuple[str, ...]
    """As :func:`rasteret_sql.collection.remote.opened` and DuckDB take them; of a built one those of its generation, which no rebuild changes."""
    keys: tuple[str, ...]
    """Names of the columns that the folders give: ``year``, ``month``."""
    columns: tuple[str, ...]
    bands: tuple[BandInfo, ...]
    metadata: Mapping[str, str]
    bytes: int = 0
    """Of all files."""
    remote: bool = False
    """At a URL: its assets may not be local files."""
    part: Part | None = None
    """The part of it that is meant; None for all."""

    @property
    def band_names(self) -> list[str]:
        return [band.name for band in self.bands]

    @property
    def extents(self) -> tuple[float, float] | None:
        """See :data:`EXTENTS`; None where the files do not say, as those that others wrote."""
        try:
            median, greatest = map(float, json.loads(self.metadata.get(EXTENTS, "")))
        except (TypeError, ValueError):
            return None
        return (median, greatest) if 0 <= median <= greatest <= GLOBE else None


def check_name(name: str) -> str:
    """A collection's name is one path component: letters, digits, ``_ - .``; it does not start with a dot."""
    if not _NAME.fullmatch(name):
        shown = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
        raise InvalidArgument(f"{shown!r} is no collection name; letters, digits, '_', '-' and '.' are valid")
    if len(name.encode()) > _LONGEST_NAME:
        raise InvalidArgument(f"{name[:40]!r}… is no collection name: it has {len(name.encode())} bytes; at most {_LONGEST_NAME} are valid")
    return name


def workspace_path(workspace: str) -> Path:
    return local_path(workspace)


def local_path(text: str) -> Path:
    """A path as a user writes it: ``~`` and ``~name`` are home folders where there are such; else a name like others."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # of nobody here
        return Path(text)


def is_there(path: Path) -> bool:
    """Is there such a file or folder? A text that can be no path names none."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or it holds a NUL
        return False


def collection_names(workspace: str) -> dict[str, Path]:
    """Name → folder of every collection built in the workspace."""
    root = workspace_path(workspace)
    if not root.is_dir():
        return {}
    found: dict[str, Path] = {}
    for folder in sorted(root.iterdir()):
        place = _place_of(folder)
        suffix = next((s for s in SUFFIXES if place.endswith(s)), None)
        if suffix and folder.is_dir():
            found.setdefault(place.removesuffix(suffix), folder)
    return found


def _place_of(folder: Path) -> str:
    """The name a folder counts under: its own, or that of its place when a build died between its two renames; hidden ones have none."""
    if not folder.name.startswith("."):
        return folder.name
    place = folder.with_name(folder.name.removeprefix(".").removesuffix(REPLACED))
    return place.name if folder.name.endswith(REPLACED) and not place.exists() else ""


def find_collection(name: str, workspace: str) -> Collection | None:
    """The built collection of this name; None when there is none."""
    for attempt in range(_TRIES):
        folder = collection_names(workspace).get(name)
        if folder is not None:
            try:
                return open_collection(folder, name)
            except CollectionNotFound:
                if folder.exists() or attempt == _TRIES - 1:
                    raise
        elif not _NAME.fullmatch(name) or not is_there(lock_file(workspace_path(workspace), name)):
            return None
        time.sleep(_MOMENT_S)  # a build may be exchanging the folders right now
    return None


def lock_file(workspace: Path, name: str) -> Path:
    """Locked while the collection is being built; removed afterwards."""
    return workspace / f".{name}.lock"


def open_collection(path: Path, name: str | None = None) -> Collection:
    """A collection by its Parquet file or folder."""
    for attempt in range(_TRIES):
        try:
            return _open(path, name)
        except FileNotFoundError:  # exchanged for a new one between two looks at it
            if attempt == _TRIES - 1:
                raise CollectionNotFound(f"{path} changes while it is looked at; try again") from None
            time.sleep(_MOMENT_S)
    raise CollectionNotFound(f"no such file or folder: {path}")


def _open(path: Path, name: str | None) -> Collection:
    if not path.exists():
        raise CollectionNotFound(f"no such file or folder: {path}")
    files = (path,) if path.is_file() else _files_in(path)
    if not files:
        raise CollectionNotFound(f"{path} is no collection: it holds no Parquet file")
    total = sum(file.stat().st_size for file in files)
    columns, bands, metadata = _told(Version.of(str(files[0])), str(files[0]))
    keys = partition_keys(files[0].relative_to(path).parts[:-1])
    files = _unchanging(path, files, metadata.get(GENERATION))
    return Collection(name or path.stem, str(path), tuple(map(str, files)), keys, columns, bands, metadata, total)


def _files_in(folder: Path) -> tuple[Path, ...]:
    """The Parquet files of a folder, all of one time: a folder that was exchanged loses files while they are listed."""
    before = folder.stat()
    files = tuple(sorted(f for f in folder.rglob("*.parquet") if not f.name.startswith("_")))
    after = folder.stat()
    if (before.st_ino, before.st_mtime_ns) != (after.st_ino, after.st_mtime_ns):
        raise FileNotFoundError(folder)
    return files


def open_remote(
    url: str,
    settings: Settings,
    *,
    name: str | None = None,
    rewrites: Mapping[str, str] | None = None,
    wanted: Callable[[str], bool] = lambda _: True,
) -> Collection:
    """A collection by URL: see :func:`rasteret_sql.collection.remote.mounted`. Of its files those that are ``wanted`` by name, at least one."""
    mount = mounted(url, settings, rewrites)
    files = tuple(filter(wanted, mount.names())) or tuple(mount.names()[:1])
    place = mount.place
    columns, bands, metadata = _told(Version.of(files[0]), redact(MOUNTS.find(files[0])[1].href))
    keys = partition_keys(next(iter(mount.entries)).split("/")[:-1])
    total = sum(MOUNTS.find(file)[1].size for file in files)
    stem = place.rstrip("/").rpartition("/")[2].partition(".")[0]
    return Collection(name or stem, place, files, keys, columns, bands, metadata, total, remote=True)


def partition_keys(folders: Sequence[str]) -> tuple[str, ...]:
    """The columns of hive partitions: ``year=2024/month=1`` gives year and month."""
    return tuple(folder.partition("=")[0] for folder in folders if "=" in folder)


def generation_folder(folder: Path, generation: str) -> Path:
    """The hidden folder beside a collection that holds the files of one build."""
    return folder.parent / f".{folder.name}.kept-{generation}"


def generation_of(folder: Path) -> str | None:
    """Which build wrote the files of a collection's folder; None where that is not said."""
    try:
        return open_collection(folder).metadata.get(GENERATION)
    except (CollectionNotFound, InvalidRaster):
        return None


def _footer_generation(file: Path) -> str | None:
    found: bytes | None = (pq.read_schema(file).metadata or {}).get(GENERATION.encode())
    return None if found is None else found.decode()


def _unchanging(path: Path, files: tuple[Path, ...], generation: str | None) -> tuple[Path, ...]:
    """The same files (hard links) in the folder of their generation, which stays for a while when the collection is rebuilt."""
    if generation is None or not path.is_dir():
        return files
    place = path.name.removeprefix(".").removesuffix(REPLACED) if path.name.endswith(REPLACED) else path.name
    root = generation_folder(path.with_name(place), generation)
    twins = tuple(root / file.relative_to(path) for file in files)
    here = [file.stat() for file in files]  # gone: exchanged just now, and looked at again
    try:
        there = [twin.stat() for twin in twins]
    except OSError:
        return files
    same = [status.st_ino for status in here] == [status.st_ino for status in there]
    if not same and _footer_generation(files[0]) != generation:
        raise FileNotFoundError(path)
    return twins if same else files


@lru_cache(maxsize=256)
def _told(version: Version, place: str) -> tuple[tuple[str, ...], tuple[BandInfo, ...], Mapping[str, str]]:
    """Columns, bands and metadata of a collection, from one footer (all files of a collection share one schema)."""
    try:
        found = footer(version)
        schema = found.schema.to_arrow_schema()
    except (FileNotFoundError, PermissionError):
        raise
    except (pa.ArrowInvalid, OSError) as error:  # Arrow calls a footer that it cannot take apart an OSError
        raise InvalidRaster(f"{place} is no collection: {one_line(str(error), 120)}") from None
    names = band_names(schema.names)
    if missing := [column for column in ("id", "datetime", "bbox", "assets") if column not in schema.names]:
        raise InvalidRaster(f"{place} is no collection: it lacks the columns {listing(missing)}")
    metadata = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items() if k not in (b"ARROW:schema", b"pandas")}
    if metadata.get(ROWS) != str(found.num_rows):
        metadata.pop(EXTENTS, None)
    known: dict[str, list[str]] = json.loads(metadata.get("rasteret_sql:dtypes", "{}"))
    bands = tuple(BandInfo(name, tuple(known.get(name) or _dtypes(version.file, found, name)), _is_typed(schema, name)) for name in names)
    return tuple(schema.names), bands, metadata


def _is_typed(schema: pa.Schema, band: str) -> bool:
    fields = schema.field(f"{band}{METADATA_SUFFIX}").type
    return "pixel" in {fields.field(i).name for i in range(fields.num_fields)}


def _dtypes(file: str, metadata: pq.FileMetaData, band: str) -> list[str]:
    """The band's data types by reading that one column; for collections whose metadata does not list them."""
    parquet = pq.ParquetFile(opened(file), metadata=metadata)
    found: set[str] = set()
    leaves = [parquet.schema.column(leaf).path for leaf in range(len(parquet.schema))]
    if f"{band}{METADATA_SUFFIX}.dtype" not in leaves:
        raise InvalidRaster(f"{band}{METADATA_SUFFIX} is no band metadata: it lacks dtype")
    leaf = leaves.index(f"{band}{METADATA_SUFFIX}.dtype")
    for group in range(parquet.num_row_groups):
        told = parquet.metadata.row_group(group).column(leaf).statistics
        if told is not None and told.has_min_max and told.min == told.max:
            found.add(told.min)
            continue
        column = parquet.read_row_group(group, columns=[f"{band}{METADATA_SUFFIX}.dtype"]).column(0)
        found |= {row["dtype"] for row in column.to_pylist() if row and row["dtype"]}
    return sorted(found)


def drop_footers() -> None:
    """Forget cached footers; called when a collection was rewritten."""
    _told.cache_clear()
    footer.cache_clear()


def describe(collection: Collection) -> dict[str, Any]:
    """One row of ``rasteret_collections()``."""
    rows = sum(pq.read_metadata(opened(file)).num_rows for file in collection.files)
    first, _, last = collection.metadata.get("date_range", ",").partition(",")
    return {
        "name": collection.name,
        "source": collection.metadata.get("data_source"),
        "records": rows,
        "bands": collection.band_names,
        "first": first or None,
        "last": last or None,
        "bounds": json.loads(collection.metadata.get("geo", "{}")).get("columns", {}).get("geometry", {}).get("bbox"),
        "bytes": collection.bytes,
        "path": collection.path,
        "built": collection.metadata.get("created"),
    }
