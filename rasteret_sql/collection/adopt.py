"""Records that are indexed already, put into the workspace as a collection: an Arrow table with the contract columns, or a collection's files.

No header is read: what the bands' metadata say is taken as it is.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rasteret_sql.collection.facts import Facts
from rasteret_sql.collection.identity import text_hash
from rasteret_sql.collection.index import Kind
from rasteret_sql.collection.keys import NO_TIME, Keys
from rasteret_sql.collection.lock import locked
from rasteret_sql.collection.merge import Rows, from_headers, write_files
from rasteret_sql.collection.schema import CONTRACT, MetadataReader, band_names, metadata_column
from rasteret_sql.collection.stores import Store, parquet_store
from rasteret_sql.collection.workspace import SUFFIXES, Collection, check_name, collection_names, lock_file, workspace_path
from rasteret_sql.collection.write import has_links, put_in_place, recover
from rasteret_sql.errors import InvalidArgument, InvalidRaster, listing
from rasteret_sql.settings import Settings

_NEEDED = ("id", "datetime", "assets", "bbox", "crs")
_PARTITION = ("year", "month")
_WKB_TYPES = {3: "Polygon", 6: "MultiPolygon"}


def adopt_table(table: pa.Table, name: str, settings: Settings, *, source: str = "records", force: bool = False) -> Path:
    """Write a table with the contract columns as the collection ``name``; returns its folder.

    Raises :class:`InvalidArgument` for a table that is no collection, and for a name that is taken unless ``force`` replaces it.
    """
    plain = _plain(table)
    store = Store([(len(plain), lambda: plain)])
    return _adopt(_Adopted(plain.schema, store, lambda: iter([plain])), name, settings, source=source, force=force)


def adopt_files(collection: Collection, name: str, settings: Settings, *, force: bool = False) -> Path:
    """Write the records of another collection's files as the collection ``name``, row group by row group; returns its folder.

    Of files of this machine only: the index of a collection at a URL must not name local files, which a copy could not tell anymore.
    """
    if collection.remote:
        raise InvalidArgument(f"{collection.path} lies at a URL and is not copied; load gives it a name")
    files = [Path(file) for file in collection.files]
    schema = _plain(pq.ParquetFile(files[0]).schema_arrow.empty_table()).schema
    adopted = _Adopted(schema, parquet_store(files, lambda _: True), lambda: _looks(files, schema))
    source = collection.metadata.get("data_source") or collection.name
    return _adopt(adopted, name, settings, source=source, force=force)


@dataclass(frozen=True, slots=True)
class _Adopted:
    """Where records come from: their columns, the whole rows by number, and what must be seen of every one."""

    schema: pa.Schema
    store: Store
    looks: Callable[[], Iterator[pa.Table]]


def _adopt(records: _Adopted, name: str, settings: Settings, *, source: str, force: bool) -> Path:
    bands = _checked_bands(records.schema)
    workspace = workspace_path(settings.workspace)
    folder = workspace / f"{check_name(name)}_records"
    with locked(lock_file(workspace, name), f"collection {name!r}", time.monotonic() + settings.timeout_s):
        for suffix in SUFFIXES:
            recover(workspace / f"{name}{suffix}")
        taken = collection_names(settings.workspace).get(name)
        if taken is not None and not force:
            raise InvalidArgument(f"a collection {name!r} is there already, at {taken}; choose another name, or replace it with force")
        keys, kinds = _look_at_all(records, bands)
        if not len(keys):
            raise InvalidArgument("there are no records; a collection has at least one")
        generation = uuid.uuid4().hex[:8]
        facts = Facts.of(kinds, keys.boxes, keys.time, bands)
        said = [field for field in records.schema if not from_headers(field.name) and field.name not in _PARTITION]
        rows = Rows(keys, 0, records.store, None, facts.schema(pa.schema(said), facts.metadata(name, source, generation)))
        aside = workspace / f".{folder.name}.adopted-{generation}"
        try:
            aside.mkdir(parents=True)
            linked = has_links(aside)
            write_files(aside, rows, "part-0.parquet" if linked else f"part-0-{generation}.parquet")
            put_in_place(aside, folder, generation, linked=linked)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        if taken is not None and taken != folder:
            shutil.rmtree(taken, ignore_errors=True)
    return folder


def _plain(table: pa.Table) -> pa.Table:
    """Without what the writer cannot do with: extension types, views of texts, partition columns; times as UTC without zone."""
    kept = [name for name in table.column_names if name not in _PARTITION]
    columns = {}
    for name in kept:
        column = table[name]
        if isinstance(column.type, pa.BaseExtensionType):
            column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
        if name == "datetime" and pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.timestamp("us"))
        elif name == "id" and "id" not in columns:
            column = column.cast(pa.string())
        columns[name] = column
    return pa.table(columns)


def _checked_bands(schema: pa.Schema) -> list[str]:
    """The bands of a table that has all a collection needs; :class:`InvalidArgument` says what lacks."""
    if missing := [column for column in _NEEDED if column not in schema.names]:
        raise InvalidArgument(
            f"the records lack {listing(missing)}; a collection has {listing(_NEEDED)} and <band>_metadata (columns: {listing(schema.names)})"
        )
    assets = schema.field("assets").type
    named = [assets.field(i).name for i in range(assets.num_fields)] if pa.types.is_struct(assets) else []
    bands = band_names(schema.names)
    if not bands:
        raise InvalidArgument(f"the records have no <band>_metadata column; bands of assets: {listing(named)}")
    if missing := [band for band in bands if band not in named]:
        raise InvalidArgument(f"assets has no band {missing[0]!r}, of which there is metadata; bands of assets: {listing(named)}")
    for column, kind in (("datetime", pa.types.is_timestamp), ("bbox", pa.types.is_struct)):
        if not kind(schema.field(column).type):
            raise InvalidArgument(f"column {column} is {schema.field(column).type}; a {'TIMESTAMP' if column == 'datetime' else 'STRUCT'} is valid")
    for band in bands:
        try:
            MetadataReader(band, pa.array([], schema.field(metadata_column(band)).type))
        except (InvalidRaster, AttributeError) as error:
            raise InvalidArgument(f"{metadata_column(band)} is no band's metadata: {error}") from None
    return bands


def _looks(files: Sequence[Path], schema: pa.Schema) -> Iterator[pa.Table]:
    """Of every row group what a collection's description is made of."""
    plain = [name for name in schema.names if name in CONTRACT and name != "assets"]
    wanted = [*plain, *(f"{metadata_column(band)}.dtype" for band in band_names(schema.names))]
    for file in files:
        parquet = pq.ParquetFile(file)
        for group in range(parquet.num_row_groups):
            yield _plain(parquet.read_row_group(group, columns=wanted))


def _look_at_all(records: _Adopted, bands: Sequence[str]) -> tuple[Keys, list[Kind]]:
    keys: list[Keys] = []
    kinds: dict[Kind, None] = {}
    for piece in records.looks():
        keys.append(_keys(piece))
        epsg = piece["proj:epsg"].unique().to_pylist() if "proj:epsg" in piece.column_names else [None]
        outlines = _geometry_types(piece["geometry"]) if "geometry" in piece.column_names else ["Polygon"]
        kinds |= dict.fromkeys(Kind(code, outline, ()) for code in epsg for outline in outlines)
        for band in bands:
            column = piece[metadata_column(band)]
            dtypes = pc.struct_field(column, [column.type.get_field_index("dtype")]).drop_null().unique().to_pylist()
            kinds |= dict.fromkeys(Kind(None, outlines[0], ((band, dtype),)) for dtype in dtypes)
    return Keys.joined(keys), list(kinds)


def _keys(piece: pa.Table) -> Keys:
    found = Keys.blank(len(piece))
    box = piece["bbox"].combine_chunks()
    for corner in ("xmin", "ymin", "xmax", "ymax"):
        if box.type.get_field_index(corner) < 0:
            raise InvalidArgument(f"bbox has no {corner}; STRUCT(xmin DOUBLE, ymin DOUBLE, xmax DOUBLE, ymax DOUBLE) is valid")
        values = pc.struct_field(box, [box.type.get_field_index(corner)]).cast(pa.float64())
        if values.null_count:
            raise InvalidArgument(f"bbox of record {piece['id'][pc.index(values.is_null(), True).as_py()].as_py()!r} is NULL; every record has one")
        setattr(found, corner, values.to_numpy(zero_copy_only=False))
    ids = piece["id"].to_pylist()
    if None in ids:
        raise InvalidArgument(f"column 'id' is NULL in row {ids.index(None) + 1}; every record needs an id")
    found.id = np.array([text_hash(record) for record in ids], np.uint64)
    found.time = piece["datetime"].cast(pa.timestamp("us")).cast(pa.int64()).fill_null(NO_TIME).to_numpy()
    return found


def _geometry_types(column: pa.ChunkedArray) -> list[str]:
    """By the first bytes of the WKB: byte order and type (OGC 06-103r4, 8.2.8; the thousands tell of Z and M)."""
    heads = pc.binary_slice(column.cast(pa.binary()), 0, 5).drop_null().unique().to_pylist()
    codes = {int.from_bytes(head[1:], "little" if head[0] == 1 else "big") % 1000 for head in heads if len(head) == 5}
    return sorted({_WKB_TYPES[code] for code in codes if code in _WKB_TYPES}) or ["Polygon"]
