"""What a collection argument means as a relation: the records to read."""

from __future__ import annotations

import atexit
import hashlib
import json
import re
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from rasteret_sql.collection.build import index_files
from rasteret_sql.collection.links import Link, find_link, is_url, known_names, open_link
from rasteret_sql.collection.nearby import TIFF_ENDINGS, near_path, what_lies_in
from rasteret_sql.collection.registry import find_dataset, read_ready_place
from rasteret_sql.collection.remote import is_remote_file
from rasteret_sql.collection.schema import metadata_column
from rasteret_sql.collection.workspace import Collection, Part, find_collection, is_there, local_path, open_collection, open_remote
from rasteret_sql.errors import CollectionNotFound, InvalidArgument, listing, near
from rasteret_sql.raster.crs import check_crs
from rasteret_sql.reader.engine import Query
from rasteret_sql.settings import Settings
from rasteret_sql.sql.arguments import shown
from rasteret_sql.sql.catalogue import typed_null
from rasteret_sql.sql.quote import ident, listed, relation, text
from rasteret_sql.storage.hrefs import resolve_href
from rasteret_sql.udfs.arrow import pixel_type, value_type
from rasteret_sql.udfs.slots import PIXEL_SLOTS, VALUE_SLOTS, pick


@dataclass(frozen=True, slots=True)
class Records:
    """The records of a collection as SQL.

    A collection on disk is scanned in place, so that filters reach Parquet, and a record is known by file and row; a relation is read
    once and numbered.
    """

    scan: str
    """``FROM`` item with the contract columns."""
    file: str
    row: str
    """Expressions that tell records apart."""
    collection: Collection | None
    """None for a relation of the user's: its columns are found by the text itself."""

    @property
    def bands(self) -> list[str] | None:
        return None if self.collection is None else self.collection.band_names

    @property
    def materialized(self) -> str:
        return "NOT MATERIALIZED" if self.collection is not None else "MATERIALIZED"

    def payload(self, bands: Sequence[str]) -> str:
        """What a reader needs of a record of a relation, as one struct (see ``collection/rows.py``)."""
        parts = [f"'b{i}': {{'asset': assets.{ident(band)}, 'meta': {ident(metadata_column(band))}}}" for i, band in enumerate(bands)]
        return "{'crs': crs, " + listed(parts) + "}"

    def examples(self, bands: Sequence[str]) -> str:
        """NULLs of the types of a relation's bands, as one struct: for ``BandType``."""
        columns = (ident(metadata_column(band)) for band in bands)
        parts = (f"'b{i}': {{'value': {typed_null(meta, 'value')}, 'pixel': {typed_null(meta, 'pixel')}}}" for i, meta in enumerate(columns))
        return "{" + listed(parts) + "}"

    def carried(self, column: str = "examples") -> str:
        """A relation's examples, to stand first in a list of columns: steps after which types are asked for pass them on."""
        return "" if self.collection is not None else f"{column}, "

    def types(self, bands: Sequence[str], kind: str) -> list[BandType]:
        """The SQL type of each band's values (``kind`` "value") or pixels ("pixel")."""
        if self.collection is None:
            return [BandType(None, kind, f"examples.b{i}.{kind}") for i in range(len(bands))]
        known = {band.name: band.dtypes for band in self.collection.bands}
        name = value_type if kind == "value" else pixel_type
        return [BandType(name(np.result_type(*(known[band] or ("float64",)))), kind, "") for band in bands]


@dataclass(frozen=True, slots=True)
class BandType:
    """A band's SQL type: known to the plan, or that of a NULL which the relation carries."""

    name: str | None
    kind: str
    example: str
    """The NULL."""

    @property
    def sql(self) -> str:
        """The type's name as a SQL expression (folded while binding)."""
        return text(self.name) if self.name else f"typeof({self.example})"

    def pick(self, slots: str, index: int) -> str:
        """The band's list in a result that has one slot per type."""
        table = VALUE_SLOTS if self.kind == "value" else PIXEL_SLOTS
        if self.name:
            return pick(slots, table[self.name], index)
        cases = listed_cases(f"WHEN {text(name)} THEN cast_to_type({pick(slots, slot, index)}, [{self.example}])" for name, slot in table.items())
        return f"CASE {self.sql} {cases} END"


def listed_cases(cases: Any) -> str:
    return " ".join(cases)


def double_types(bands: Sequence[str]) -> list[BandType]:
    """Scaled values are DOUBLE, whatever is stored."""
    return [BandType("DOUBLE", "value", "") for _ in bands]


def records_of(source: Any, settings: Settings, crs: str | None = None) -> Records:
    """A collection's name, path or URL; GeoTIFFs by path, URL, glob or list; or any relation with the contract columns."""
    if crs is not None:
        check_crs(crs)
    if isinstance(source, list):
        return _on_disk(_bare_files(source, settings, crs))
    if not isinstance(source, str) or not source:
        raise InvalidArgument(f"collection := {shown(source)} is not valid; a name, a path, a list of GeoTIFFs or a table is")
    found = find_collection(source, settings.workspace)
    if found is not None:
        return _on_disk(found)
    link = find_link(source, settings.workspace) or _read_ready(source, settings)
    if link is not None:
        return linked_records(link, settings)
    quoted = len(source) > 2 and source[0] == source[-1] == '"'  # a relation's name, whatever it holds
    if not quoted and _is_tiff(source):
        return _on_disk(_bare_files([source], settings, crs))
    if not quoted and _is_path(source):
        return _on_disk(_by_path(source, settings))
    scan = f"(SELECT *, row_number() OVER () AS __rasteret_row FROM {relation(source)})"
    return Records(scan, "''", "__rasteret_row", None)


def linked_records(link: Link, settings: Settings) -> Records:
    """The part of a collection that a link stands for."""
    return _on_disk(open_link(link, settings))


def _by_path(source: str, settings: Settings) -> Collection:
    path = _local_path(source)
    if path is None:
        return open_remote(source, settings)
    if not is_there(path):
        names = known_names(settings.workspace)
        near_by = near(source, names) or near_path(path)
        raise CollectionNotFound(f"no collection {shown(source)}{near_by}; built: {listing(names)}; no file or folder of that name either")
    if path.is_dir() and (tiffs := what_lies_in(path)) and not any(path.rglob("*.parquet")):
        raise CollectionNotFound(f"no collection {shown(source)}{tiffs}")
    return open_collection(path)


def collection_on_disk(source: Any, settings: Settings, crs: str | None = None) -> Collection:
    """Like :func:`records_of`, for functions that need the files."""
    collection = records_of(source, settings, crs).collection
    if collection is None:
        names = known_names(settings.workspace)
        folder = local_path(source)
        elsewhere = what_lies_in(folder) if is_there(folder) and folder.is_dir() else ""
        where = "" if near(source, names) or elsewhere else f" (in {settings.workspace}; rasteret_workspace names another folder)"
        raise CollectionNotFound(f"no collection {shown(source)}{near(source, names)}; built: {listing(names)}{where}{elsewhere}")
    return collection


def unknown_bands(source: str, settings: Settings) -> InvalidArgument:
    """What to say of a name that is no built collection when the bands were left out: a relation's are not known before it runs."""
    names = known_names(settings.workspace)
    return InvalidArgument(
        f"no built collection {shown(source)}{near(source, names)}; built: {listing(names)}; "
        "of a table or view name the bands, such as bands := ['B04']"
    )


def _read_ready(source: str, settings: Settings) -> Link | None:
    """A dataset that is a collection already, by its id."""
    place = read_ready_place(source, settings.workspace)
    if place is None:
        return None
    return Link(source, place, rewrites=find_dataset(source, settings.workspace).url_rewrite)


def _on_disk(collection: Collection) -> Records:
    above = [] if collection.remote or not collection.keys else [part for part in Path(collection.path).absolute().parts if "=" in part]
    if above:
        raise InvalidArgument(f"{collection.path} lies in a folder {above[0]!r}, whose name DuckDB takes for a partition; move or rename one of them")
    files = listed(text(literal_path(file)) for file in collection.files)
    types = listed(f"{ident(key)}: INTEGER" for key in collection.keys if key in ("year", "month"))
    hive = (f"true, hive_types = {{{types}}}" if types else "true") if collection.keys else "false"
    scan = f"read_parquet([{files}], filename = '__rasteret_file', file_row_number = true, hive_partitioning = {hive})"
    if collection.part is not None and (conditions := part_conditions(collection)):
        scan = f"(FROM {scan} WHERE {' AND '.join(conditions)})"
    return Records(scan, "__rasteret_file", "file_row_number", collection)


def part_conditions(collection: Collection) -> list[str]:
    """The filters of a link's place and period, such that Parquet's row groups are pruned by them.

    A box across the antimeridian has xmin > xmax. Asking for that too costs the pruning by longitude, so it is asked only of collections that may
    hold such a box: those written here whose bounds span the globe.
    """
    conditions = []
    part = collection.part or Part()
    if part.bbox is not None:
        west, south, east, north = part.bbox
        bounds = json.loads(collection.metadata.get("geo", "{}")).get("columns", {}).get("geometry", {}).get("bbox")
        crossing = "rasteret_sql:dtypes" in collection.metadata and (bounds is None or bounds[0] > bounds[2] or bounds[0] <= -180 <= 180 <= bounds[2])
        conditions += [f"bbox.ymin <= {north!r}", f"bbox.ymax >= {south!r}"]
        if west > east:
            conditions.append(f"(bbox.xmax >= {west!r} OR bbox.xmin <= {east!r} OR bbox.xmin > bbox.xmax)")
        elif crossing:
            meets = f"bbox.xmin <= {east!r} AND bbox.xmax >= {west!r}"
            conditions.append(f"(({meets}) OR (bbox.xmin > bbox.xmax AND (bbox.xmin <= {east!r} OR bbox.xmax >= {west!r})))")
        else:
            conditions += [f"bbox.xmin <= {east!r}", f"bbox.xmax >= {west!r}"]
    conditions += [
        f"datetime {sign} TIMESTAMP {text(moment.isoformat(sep=' '))}"
        for sign, moment in ((">=", part.start), ("<=", part.end))
        if moment is not None
    ]
    return conditions


def literal_path(file: str) -> str:
    """DuckDB takes ``*``, ``?`` and ``[`` in a path for a pattern; in brackets they are themselves. Remote names are literal as they are."""
    if is_remote_file(file):
        return file
    escaped = re.sub(r"[*?\[]", r"[\g<0>]", file)
    if "\\" in escaped and escaped != file:
        raise InvalidArgument(f"{file!r} holds a backslash and one of * ? [, which DuckDB cannot name; rename it")
    return escaped


def _is_tiff(source: str) -> bool:
    """By its ending; a local pattern that does not end in ``.parquet`` is one of GeoTIFFs too."""
    path = source.partition("?")[0].partition("#")[0] if "://" in source and not source.startswith("file:") else source
    return path.lower().endswith(TIFF_ENDINGS) or (_is_pattern(source) and not source.endswith(".parquet"))


def _is_path(source: str) -> bool:
    return "://" in source or "/" in source or source.endswith(".parquet") or source.startswith("~")


def _is_pattern(source: str) -> bool:
    """Does it match several local files? A file whose name looks like a pattern is that file."""
    return "://" not in source and _is_path(source) and any(char in source for char in "*?[") and not is_there(local_path(source))


def _local_path(source: str) -> Path | None:
    """The place of a path or a ``file://`` URL; None for other URLs."""
    if is_url(source):
        return None
    if "://" not in source:
        return local_path(source)
    location = resolve_href(source)
    return None if location.path is None else Path(location.path)


def _bare_files(sources: Sequence[Any], settings: Settings, crs: str | None) -> Collection:
    hrefs: list[str] = []
    for source in sources:
        if not isinstance(source, str):
            raise InvalidArgument(f"{shown(source)} in the list of GeoTIFFs is not valid; paths and URLs are")
        hrefs += _expand(source)
        if not (is_url(source) or source.startswith(("file:", "/vsi")) or is_there(Path(hrefs[-1]))):
            raise CollectionNotFound(f"{shown(source)}: no such file{near_path(Path(hrefs[-1]))}")
    if not hrefs:
        raise CollectionNotFound("the list of GeoTIFFs is empty")
    stamps = tuple((href, *_stamp(href)) for href in hrefs)
    return open_collection(_indexed_file(_BareFiles(stamps, crs, settings)))


def _expand(source: str) -> list[str]:
    """Local patterns become the files they match; ``file://`` URLs their paths."""
    path = _local_path(source)
    if path is None:
        return [source]
    if not _is_pattern(source):
        return [str(path)]
    root = Path(path.anchor) if path.is_absolute() else Path()
    try:
        found = sorted(str(match) for match in root.glob(str(path.relative_to(path.anchor) if path.is_absolute() else path)))
    except (OSError, ValueError, NotImplementedError):  # a pattern that Python refuses matches nothing either
        found = []
    if not found:
        raise CollectionNotFound(f"no file matches {shown(source)}{near_path(path)}")
    return found


def _stamp(href: str) -> tuple[int, int]:
    """What tells that a local file changed; remote files are indexed once per process."""
    path = Path(href)
    if "://" in href or not is_there(path):
        return (0, 0)
    status = path.stat()
    return (status.st_mtime_ns, status.st_size)


@dataclass(frozen=True, slots=True)
class _BareFiles:
    """Files to index, with their stamps; the settings of the call serve the reading and make no other index."""

    stamps: tuple[tuple[str, int, int], ...]
    crs: str | None
    settings: Settings = field(compare=False)


@lru_cache(maxsize=64)
def _indexed_file(files: _BareFiles) -> Path:
    """Bare GeoTIFFs indexed into a Parquet file of this process."""
    with Query("index of bare files", files.settings) as query:
        table = index_files([href for href, _, _ in files.stamps], query, crs=files.crs)
    digest = hashlib.blake2b(json.dumps([files.stamps, files.crs]).encode(), digest_size=8).hexdigest()
    file = Path(_bare_folder().name) / f"{digest}.parquet"
    aside = file.with_suffix(f".{uuid.uuid4().hex}")  # threads may index the same files at once
    pq.write_table(table, aside)
    aside.replace(file)
    return file


@lru_cache(maxsize=1)
def _bare_folder() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="rasteret-bare-")
    atexit.register(folder.cleanup)  # said, not left to the garbage collector, which warns of it
    return folder
