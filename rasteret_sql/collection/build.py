"""Building a collection: hrefs in, headers read once each, a Parquet table out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from rasteret_sql.collection.assets import AssetTable, TableOptions, read_assets
from rasteret_sql.collection.schema import ASSET, BAND_METADATA, BBOX, metadata_column, metadata_row
from rasteret_sql.collection.workspace import check_name, workspace_path
from rasteret_sql.collection.write import FAILURES, collection_metadata, write_collection
from rasteret_sql.errors import InvalidArgument, InvalidRaster, RasteretError, redact
from rasteret_sql.raster.crs import raster_footprint
from rasteret_sql.raster.grid import Grid
from rasteret_sql.reader.engine import Query
from rasteret_sql.reader.headers import FileHeader, read_headers


@dataclass(slots=True)
class BuildReport:
    """What a build did: the row that a build statement returns."""

    collection: str
    path: str
    records: int = 0
    added: int = 0
    unchanged: int = 0
    failed: int = 0
    bands: list[str] = field(default_factory=list)
    epsg: list[int] = field(default_factory=list)
    bounds: list[float] | None = None
    first: datetime | None = None
    last: datetime | None = None
    requests: int = 0
    bytes: int = 0
    seconds: float = 0.0


def build_from_table(
    table: pa.Table, name: str, options: TableOptions, query: Query, *, source: str = "table", done: Callable[[int, int], None] | None = None
) -> BuildReport:
    """Index the files that a table of records names and write the collection ``name`` into the workspace."""
    started = time.monotonic()
    folder = workspace_path(query.settings.workspace) / f"{check_name(name)}_records"
    assets = read_assets(table, options)
    indexed, failures, report = index_assets(assets, query, done)
    if not len(indexed) and len(assets.ids):
        raise InvalidArgument(f"none of the {len(assets.ids)} records has a readable file; the first: {failures['error'][0].as_py()}")
    report.collection, report.path = name, str(folder)
    dtypes = _dtypes(indexed, report.bands)
    write_collection(folder, indexed.replace_schema_metadata(collection_metadata(name, source, indexed, dtypes, report.bounds)), failures)
    counters = query.metrics.snapshot()
    report.requests, report.bytes, report.seconds = counters.requests, counters.bytes, time.monotonic() - started
    return report


def index_files(hrefs: Sequence[str], query: Query, *, crs: str | None = None) -> pa.Table:
    """Bare GeoTIFFs as a collection's table: one record per file, bands ``b1``…``bn``. The first file that cannot be read is an error."""
    ids = [Path(href.rstrip("/")).stem for href in hrefs]
    assets = AssetTable(
        ids=ids,
        datetimes=pa.nulls(len(ids), pa.timestamp("us")),
        hrefs={"": list(hrefs)},
        samples={"": [0] * len(ids)},
        crs=[crs] * len(ids),
        extra=pa.table({"href": pa.array(list(hrefs), pa.string())}),
        every_sample=True,
    )
    indexed, failures, report = index_assets(assets, query)
    if len(failures):
        raise InvalidRaster(failures["error"][0].as_py())
    return indexed.replace_schema_metadata(collection_metadata("", "files", indexed, _dtypes(indexed, report.bands), report.bounds))


def index_assets(assets: AssetTable, query: Query, done: Callable[[int, int], None] | None = None) -> tuple[pa.Table, pa.Table, BuildReport]:
    """Read every distinct file's header once; returns the contract table, the failures, and the report so far."""
    unique = list(dict.fromkeys(href for column in assets.hrefs.values() for href in column if href is not None))
    answers = dict(zip(unique, read_headers(unique, query, None if done is None else lambda n: done(n, len(unique))), strict=True))
    if assets.every_sample:
        assets = _every_sample(assets, answers)
    if clash := [band for band in assets.hrefs if metadata_column(band) in assets.extra.column_names]:
        raise InvalidArgument(f"the table's column {metadata_column(clash[0])!r} is one that the collection writes itself; rename it")
    report = BuildReport("", "", bands=list(assets.hrefs))
    failures: list[dict[str, Any]] = []
    found = [_one_record(row, assets, answers, failures) for row in range(len(assets.ids))]
    kept = [row for row, parts in enumerate(found) if parts]
    records = [_georeference(parts, assets.crs[row]) for row, parts in enumerate(found) if parts]
    table = _assemble(assets, found, kept, records)
    report.records = report.added = len(kept)
    report.failed = len(failures)
    report.epsg = sorted({record.epsg for record in records if record.epsg is not None})
    if records:
        report.bounds = _bounds(np.array([record.bbox for record in records]))
        times = [value for value in table["datetime"].to_pylist() if value is not None]
        report.first, report.last = (min(times), max(times)) if times else (None, None)
    return table, pa.Table.from_pylist(failures, schema=FAILURES), report


Parts = dict[str, tuple[str, int, FileHeader]]
"""Per band of one record: href, sample, header."""


def _bounds(boxes: npt.NDArray[np.float64]) -> list[float]:
    """The box around all: xmin > xmax when every one crosses the antimeridian, all longitudes when only some do."""
    (west, south), (east, north) = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
    crossing = boxes[:, 0] > boxes[:, 2]
    return [-180.0, south, 180.0, north] if crossing.any() and not crossing.all() else [west, south, east, north]


@dataclass(frozen=True, slots=True)
class _Place:
    footprint: bytes
    bbox: tuple[float, float, float, float]
    epsg: int | None
    crs: str | None


def _one_record(row: int, assets: AssetTable, answers: dict[str, FileHeader | RasteretError], failures: list[dict[str, Any]]) -> Parts:
    """The readable assets of one record; the others go to the failures."""
    parts: Parts = {}
    for band, column in assets.hrefs.items():
        href, sample = column[row], assets.samples[band][row]
        if href is None:
            continue
        answer = answers[href]
        problem = str(answer) if isinstance(answer, RasteretError) else _unusable(answer, href, sample, assets.crs[row])
        if problem:
            failures.append(
                {"id": assets.ids[row], "band": band, "href": redact(href), "error": problem, "failed_at": datetime.now(UTC).replace(tzinfo=None)}
            )
        elif isinstance(answer, FileHeader):
            parts[band] = (href, sample, answer)
    return parts


def _unusable(file: FileHeader, href: str, sample: int, crs: str | None) -> str | None:
    if not 0 <= sample < file.header.samples_per_pixel:
        return f"{redact(href)}: band index {sample} is not in the file, which has {file.header.samples_per_pixel} bands"
    if file.header.crs is None and crs is None:
        return f"{redact(href)}: the file names no CRS; give it with crs := 'EPSG:…', or the records of a table a column crs"
    return None


def _georeference(parts: Parts, crs: str | None) -> _Place:
    """Footprint of a record: that of its first band (its files cover the same ground)."""
    _, _, file = next(iter(parts.values()))
    header = file.header
    used = header.crs or crs or ""
    polygon, bbox = raster_footprint(Grid(header.transform, header.width, header.height), used)
    epsg = header.epsg if header.crs else _epsg_of(used)
    return _Place(shapely.to_wkb(polygon), bbox, epsg, used)


def _epsg_of(crs: str) -> int | None:
    authority, _, code = crs.upper().partition(":")
    return int(code) if authority == "EPSG" and code.isdigit() else None


def _assemble(assets: AssetTable, found: Sequence[Parts], kept: Sequence[int], places: Sequence[_Place]) -> pa.Table:
    rows = pa.array(kept, pa.int64())
    bands = list(assets.hrefs)
    asset_type = pa.struct([(band, ASSET) for band in bands])
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        "id": pa.array([assets.ids[row] for row in kept], pa.string()),
        "datetime": assets.datetimes.take(rows),
        "geometry": pa.array([place.footprint for place in places], pa.binary()),
        "assets": pa.array([{band: {"href": part[0], "band_index": part[1]} for band, part in found[row].items()} for row in kept], asset_type),
        "bbox": pa.array([dict(zip(("xmin", "ymin", "xmax", "ymax"), place.bbox, strict=True)) for place in places], BBOX),
        "proj:epsg": pa.array([place.epsg for place in places], pa.int32()),
        "crs": pa.array([place.crs for place in places], pa.string()),
    }
    for name in assets.extra.column_names:
        columns[name] = assets.extra[name].take(rows)
    for band in bands:
        values = [_metadata(found[row].get(band)) for row in kept]
        columns[metadata_column(band)] = pa.array(values, BAND_METADATA)
    return pa.table(columns)


def _metadata(part: tuple[str, int, FileHeader] | None) -> dict[str, Any] | None:
    if part is None:
        return None
    _, sample, file = part
    return metadata_row(file.header, sample, etag=file.etag, size=file.size)


def _every_sample(assets: AssetTable, answers: dict[str, FileHeader | RasteretError]) -> AssetTable:
    """Bands b1…bn for the most samples that any file has; a file with fewer lacks the last ones."""
    column = assets.hrefs[""]
    counts = [answer.header.samples_per_pixel if isinstance(answer := answers.get(href or ""), FileHeader) else 1 for href in column]
    bands = [f"b{i + 1}" for i in range(max(counts, default=1))]
    return AssetTable(
        assets.ids,
        assets.datetimes,
        {band: [href if i < count else None for href, count in zip(column, counts, strict=True)] for i, band in enumerate(bands)},
        {band: [i] * len(column) for i, band in enumerate(bands)},
        assets.crs,
        assets.extra,
    )


def _dtypes(table: pa.Table, bands: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for band in bands:
        dtypes = pc.struct_field(table[metadata_column(band)], "dtype").unique().to_pylist()  # unlike .field(), NULL where the record lacks the band
        found[band] = sorted(dtype for dtype in dtypes if dtype is not None)
    return found
