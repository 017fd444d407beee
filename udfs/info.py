"""Looking around: collections, bands, failures, settings, what the last reads did."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rasteret_sql.collection.links import link_row, links
from rasteret_sql.collection.nested import one_chunk
from rasteret_sql.collection.remote import opened
from rasteret_sql.collection.schema import metadata_column
from rasteret_sql.collection.workspace import FAILURES_FILE, collection_names, describe, open_collection
from rasteret_sql.errors import RasteretError
from rasteret_sql.raster.tags import compression_name
from rasteret_sql.reader.engine import engine
from rasteret_sql.settings import FIELDS, Settings

Rows = list[dict[str, Any]]

COLLECTIONS = (
    "STRUCT(name VARCHAR, source VARCHAR, records BIGINT, bands VARCHAR[], first VARCHAR, last VARCHAR, bounds DOUBLE[], bytes BIGINT, "
    "path VARCHAR, built VARCHAR)[]"
)
BANDS = (
    "STRUCT(band VARCHAR, dtype VARCHAR, nodata DOUBLE, resolution DOUBLE, epsg INTEGER[], tile_width INTEGER, tile_height INTEGER, "
    'compression VARCHAR, overviews INTEGER, scale DOUBLE, "offset" DOUBLE, records BIGINT)[]'
)
FAILURES = "STRUCT(id VARCHAR, band VARCHAR, href VARCHAR, error VARCHAR, failed_at TIMESTAMP)[]"
SETTINGS = 'STRUCT(name VARCHAR, value VARCHAR, "default" VARCHAR, help VARCHAR)[]'
IO = (
    "STRUCT(function VARCHAR, started TIMESTAMP, seconds DOUBLE, requests BIGINT, bytes BIGINT, cache_hits BIGINT, tiles_decoded BIGINT, "
    "retries BIGINT, failures BIGINT, slowest_host VARCHAR)[]"
)


def answering(make: Callable[[dict[str, Any]], Rows]) -> Callable[[pa.Array], pa.Array]:
    """A SQL function of one JSON argument from a function that makes rows."""

    def answer(arguments: pa.Array) -> pa.Array:
        return pa.array([make(json.loads(text)) for text in one_chunk(arguments).to_pylist()])

    return answer


def collections(arguments: dict[str, Any]) -> Rows:
    workspace = arguments["settings"]["workspace"]
    built = collection_names(workspace)
    return [_described(name, path) for name, path in built.items()] + [
        _linked(name, file) for name, file in links(workspace).items() if name not in built
    ]


def _linked(name: str, file: Path) -> dict[str, Any]:
    try:
        return link_row(name, file)
    except RasteretError:
        return {"name": name, "path": str(file)}


def _described(name: str, path: Path) -> dict[str, Any]:
    """A folder that cannot be read keeps its row, with nothing but its name and path: it must not hide the others."""
    try:
        return describe(open_collection(path, name))
    except (RasteretError, OSError):
        return {"name": name, "path": str(path)}


def failures(arguments: dict[str, Any]) -> Rows:
    file = Path(arguments["path"]) / FAILURES_FILE
    return pq.read_table(file).to_pylist() if file.exists() else []


def settings(arguments: dict[str, Any]) -> Rows:
    chosen = Settings(**arguments["settings"])
    return [
        {"name": f"rasteret_{name}", "value": str(getattr(chosen, name)), "default": str(spec.default), "help": spec.metadata["help"]}
        for name, spec in FIELDS.items()
    ]


def io(arguments: dict[str, Any]) -> Rows:
    rows = []
    for report in list(engine().reports)[-arguments["last"] :][::-1]:
        counted = report.metrics.snapshot()
        rows.append(
            {
                "function": report.function,
                "started": datetime.fromtimestamp(report.started, UTC).replace(tzinfo=None),
                "seconds": report.seconds,
                "requests": counted.requests,
                "bytes": counted.bytes,
                "cache_hits": counted.cache_hits,
                "tiles_decoded": counted.tiles_decoded,
                "retries": counted.retries,
                "failures": counted.failures,
                "slowest_host": max(counted.hosts, key=lambda host: counted.hosts[host].seconds, default=None),
            }
        )
    return rows


def bands(arguments: dict[str, Any]) -> Rows:
    """One row per band over all records of a collection's files."""
    names: list[str] = arguments["bands"]
    found: dict[str, dict[str, Any]] = {name: {"records": 0} for name in names}
    for file in arguments["files"]:
        parquet = pq.ParquetFile(opened(file))
        for group in range(parquet.num_row_groups):
            _add_bands(found, parquet, group)
    return [_band_row(name, seen) if seen["records"] else {"band": name, "records": 0} for name, seen in found.items()]


_WANTED = ("dtype", "nodata", "transform", "tile_width", "tile_height", "compression", "overviews", "scale", "offset")


def _add_bands(found: dict[str, dict[str, Any]], parquet: pq.ParquetFile, group: int) -> None:
    paths = [parquet.schema.column(i).path for i in range(len(parquet.schema))]
    available = {path[:end] for path in paths for end in (*(i for i, mark in enumerate(path) if mark == "."), len(path))}
    for name, seen in found.items():
        prefix = metadata_column(name)
        wanted = [f"{prefix}.{part}" for part in _WANTED if f"{prefix}.{part}" in available]
        table = parquet.read_row_group(group, columns=[*wanted, "proj:epsg"])
        for row, epsg in zip(table[prefix].to_pylist(), table["proj:epsg"].to_pylist(), strict=True):
            if row is None or row["dtype"] is None:
                continue
            seen["records"] += 1
            seen.setdefault("epsg", set()).add(epsg)
            for part in _WANTED:
                seen.setdefault(part, []).append(row.get(part))


def _band_row(name: str, seen: dict[str, Any]) -> dict[str, Any]:
    transforms = [t for t in seen["transform"] if t]
    return {
        "band": name,
        "dtype": np.result_type(*sorted(set(seen["dtype"]))).name,
        "nodata": seen["nodata"][0],
        "resolution": min(abs(t[0]) for t in transforms) if transforms else None,
        "epsg": sorted(code for code in seen["epsg"] if code is not None),
        "tile_width": seen["tile_width"][0],
        "tile_height": seen["tile_height"][0],
        "compression": compression_name(seen["compression"][0]),
        "overviews": len(seen["overviews"][0] or []) if "overviews" in seen else 0,
        "scale": seen["scale"][0],
        "offset": seen["offset"][0],
        "records": seen["records"],
    }
