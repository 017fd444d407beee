"""One batch of records with the headers of their files → rows of a collection, and what failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import shapely

from rasteret_sql.collection.nested import nested_array
from rasteret_sql.collection.schema import ASSET, BAND_METADATA, BBOX, CONTRACT, METADATA_SUFFIX, metadata_column, metadata_row
from rasteret_sql.collection.source import AssetTable, Declared
from rasteret_sql.errors import InvalidArgument, RasteretError, UnsupportedRaster, redact
from rasteret_sql.raster.footprints import Frame, raster_footprints
from rasteret_sql.raster.header import Affine
from rasteret_sql.reader.headers import FileHeader
from rasteret_sql.storage.hrefs import remote_href

FAILURES = pa.schema([("id", pa.string()), ("band", pa.string()), ("href", pa.string()), ("error", pa.string()), ("failed_at", pa.timestamp("us"))])
Answers = Mapping[str, FileHeader | RasteretError]
MAX_BANDS = 2048
"""Samples of a file that become bands without being named; hyperspectral images have some hundreds."""
KnownAssets = Mapping[tuple[int, str], dict[str, Any]]
"""(record, band) → the band's metadata as an earlier build wrote it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What the records of a collection are summed up by: few different ones among many records."""

    epsg: int | None
    geometry: str
    dtypes: tuple[tuple[str, str], ...]
    """(band, data type) of each asset."""


@dataclass(slots=True)
class Indexed:
    """The readable records of a batch: ``rows`` in the collection's schema, and for each its place in the batch."""

    rows: pa.Table
    places: list[int]
    bands: list[str]
    kinds: list[Kind]
    whole: list[bool]
    """Has the record all the assets it names?"""
    fresh: list[bool]
    """Was a header read for it?"""
    failures: pa.Table


@dataclass(slots=True)
class _Parts:
    """The readable assets of one record, in order: band → (href, sample, metadata)."""

    assets: dict[str, tuple[str, int, dict[str, Any]]] = field(default_factory=dict)
    fresh: bool = False
    failed: bool = False


def index_records(assets: AssetTable, answers: Answers, known: KnownAssets | None = None) -> Indexed:
    """Rows of the records that have at least one readable file. ``answers`` holds every href that is not among the ``known``."""
    if assets.every_sample:
        answers = {href: _with_few_samples(href, answer) for href, answer in answers.items()}
        assets = _every_sample(assets, answers)
    failures: list[dict[str, Any]] = []
    found = [_one_record(row, assets, answers, known or {}, failures) for row in range(len(assets.ids))]
    frames = [_frame(next(iter(parts.assets.values()))[2], assets.crs[row]) if parts.assets else None for row, parts in enumerate(found)]
    drawn = iter(raster_footprints([frame for frame in frames if frame is not None]))
    footprints = [None if frame is None else next(drawn) for frame in frames]
    places = []
    for row, footprint in enumerate(footprints):
        if isinstance(footprint, InvalidArgument):
            failures += [_failure(assets, row, band, href, f"{redact(href)}: {footprint}") for band, (href, _, _) in found[row].assets.items()]
        elif footprint is not None:
            places.append(row)
    outlines = [footprint for footprint in footprints if isinstance(footprint, tuple)]
    kept = [found[row] for row in places]
    crs = [frame[0] for row in places if (frame := frames[row]) is not None]
    table = _assemble(assets, places, kept, crs, outlines)
    kinds = _kinds(table["proj:epsg"].to_pylist(), [polygon for polygon, _ in outlines], kept)
    return Indexed(
        rows=table,
        places=places,
        bands=list(assets.hrefs),
        kinds=kinds,
        whole=[not parts.failed for parts in kept],
        fresh=[parts.fresh for parts in kept],
        failures=pa.Table.from_pylist(failures, schema=FAILURES),
    )


def light_columns(assets: AssetTable, places: Sequence[int]) -> dict[str, pa.Array | pa.ChunkedArray]:
    """What the source says of these records: no header is needed for it."""
    rows = pa.array(places, pa.int64())
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        "id": pa.array([assets.ids[row] for row in places], pa.string()),
        "datetime": assets.datetimes.take(rows),
    }
    if assets.collections is not None:
        columns["collection"] = pa.array([assets.collections[row] for row in places], pa.string())
    for name in extra_names(assets):
        columns[name] = assets.extra[name].take(rows)
    return columns


def extra_names(assets: AssetTable) -> list[str]:
    """Columns of the source that the collection does not write itself; a band's metadata is told by the end of its name, which is taken."""
    taken = {*CONTRACT, "collection"} if assets.collections is not None else set(CONTRACT)
    return [name for name in assets.extra.column_names if name not in taken and not name.endswith(METADATA_SUFFIX)]


def unreadable(href: str, *, remote: bool) -> RasteretError | None:
    """Why an href is not even tried: remote catalogues do not name files of this machine."""
    if not remote:
        return None
    try:
        remote_href(href)
    except RasteretError as error:
        return error
    return None


def _one_record(row: int, assets: AssetTable, answers: Answers, known: KnownAssets, failures: list[dict[str, Any]]) -> _Parts:
    """The readable assets of one record; the others go to the failures."""
    parts = _Parts()
    for band, column in assets.hrefs.items():
        href, sample = column[row], assets.samples[band][row]
        if href is None:
            continue
        if (metadata := known.get((row, band))) is not None:
            parts.assets[band] = (href, sample, metadata)
            continue
        answer = answers[href]
        problem = str(answer) if isinstance(answer, RasteretError) else _unusable(answer, href, sample, assets.crs[row])
        if problem:
            failures.append(_failure(assets, row, band, href, problem))
            parts.failed = True
        elif isinstance(answer, FileHeader):
            said = _declared(assets, band, row)
            parts.assets[band] = (href, sample, metadata_row(answer.header, sample, etag=answer.etag, size=answer.size, declared=said))
            parts.fresh = True
    return parts


def _declared(assets: AssetTable, band: str, row: int) -> Declared | None:
    """What the catalogue says of the band, for what the header leaves open."""
    return assets.declared[band][row] if assets.declared and band in assets.declared else None


def _failure(assets: AssetTable, row: int, band: str, href: str, problem: str) -> dict[str, Any]:
    return {"id": assets.ids[row], "band": band, "href": redact(href), "error": problem, "failed_at": datetime.now(UTC).replace(tzinfo=None)}


def _unusable(file: FileHeader, href: str, sample: int, crs: str | None) -> str | None:
    if not 0 <= sample < file.header.samples_per_pixel:
        return f"{redact(href)}: band index {sample} is not in the file, which has {file.header.samples_per_pixel} bands"
    if file.header.crs is None and crs is None:
        return f"{redact(href)}: the file names no CRS; give it with crs := 'EPSG:…', or the records of a table a column crs"
    return None


def _frame(metadata: dict[str, Any], crs: str | None) -> Frame:
    """Where a record's footprint comes from: its first band (its files cover the same ground)."""
    numbers = metadata["transform"]
    transform: Affine = (numbers[0], 0.0, numbers[1], 0.0, numbers[2], numbers[3]) if len(numbers) == 4 else tuple(numbers)
    return metadata["crs"] or crs or "", transform, metadata["image_width"], metadata["image_height"]


def epsg_of(crs: str) -> int | None:
    """32633 of ``EPSG:32633``; None of WKT."""
    authority, _, code = crs.upper().partition(":")
    return int(code) if authority == "EPSG" and code.isdigit() else None


def _assemble(assets: AssetTable, places: Sequence[int], found: Sequence[_Parts], crs: Sequence[str], outlines: Sequence[Any]) -> pa.Table:
    light = light_columns(assets, places)
    asset_type = pa.struct([(band, ASSET) for band in assets.hrefs])
    hrefs = [{band: {"href": href, "band_index": sample} for band, (href, sample, _) in parts.assets.items()} for parts in found]
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        "id": light.pop("id"),
        "datetime": light.pop("datetime"),
        "geometry": pa.array(shapely.to_wkb([polygon for polygon, _ in outlines]), pa.binary()),
        "assets": nested_array(hrefs, asset_type),
        "bbox": nested_array([dict(zip(("xmin", "ymin", "xmax", "ymax"), bbox, strict=True)) for _, bbox in outlines], BBOX),
        "proj:epsg": pa.array([epsg_of(name) for name in crs], pa.int32()),
        "crs": pa.array(crs, pa.string()),
        **light,
    }
    for band in assets.hrefs:
        values = [parts.assets[band][2] if band in parts.assets else None for parts in found]
        columns[metadata_column(band)] = nested_array(values, BAND_METADATA)
    return pa.table(columns)


def _kinds(epsg: Sequence[int | None], polygons: Sequence[Any], found: Sequence[_Parts]) -> list[Kind]:
    names = {shapely.GeometryType.POLYGON: "Polygon", shapely.GeometryType.MULTIPOLYGON: "MultiPolygon"}
    types = [names[shapely.GeometryType(kind)] for kind in shapely.get_type_id(polygons).tolist()] if polygons else []
    return [
        Kind(code, name, tuple((band, metadata["dtype"]) for band, (_, _, metadata) in parts.assets.items()))
        for code, name, parts in zip(epsg, types, found, strict=True)
    ]


def _with_few_samples(href: str, answer: FileHeader | RasteretError) -> FileHeader | RasteretError:
    """Each sample becomes a column with a tile table: a header that claims tens of thousands would fill the memory."""
    if isinstance(answer, FileHeader) and answer.header.samples_per_pixel > MAX_BANDS:
        claimed = answer.header.samples_per_pixel
        return UnsupportedRaster(
            f"{redact(href)}: has {claimed:,} samples per pixel; at most {MAX_BANDS:,} become bands; name those you need (band_index_map)"
        )
    return answer


def _every_sample(assets: AssetTable, answers: Answers) -> AssetTable:
    """Bands b1…bn for the most samples that any file has; a file with fewer lacks the last ones."""
    column = assets.hrefs[""]
    counts = [answer.header.samples_per_pixel if isinstance(answer := answers.get(href or ""), FileHeader) else 1 for href in column]
    bands = [f"b{i + 1}" for i in range(max(counts, default=1))]
    return replace(
        assets,
        hrefs={band: [href if i < count else None for href, count in zip(column, counts, strict=True)] for i, band in enumerate(bands)},
        samples={band: [i] * len(column) for i, band in enumerate(bands)},
        every_sample=False,
    )
