"""Writing a collection: Parquet aside, then a rename; a build that dies leaves the old collection whole."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import shapely

from rasteret_sql.collection.schema import VERSION
from rasteret_sql.collection.workspace import FAILURES_FILE, REPLACED, drop_footers

ROW_GROUP_ROWS = 2048
"""Small enough that a bbox or a date prunes, large enough for the footer to stay small."""
FAILURES = pa.schema([("id", pa.string()), ("band", pa.string()), ("href", pa.string()), ("error", pa.string()), ("failed_at", pa.timestamp("us"))])


def collection_metadata(
    name: str, source: str, table: pa.Table, dtypes: Mapping[str, Sequence[str]], bounds: Sequence[float] | None
) -> dict[str, str]:
    """Schema metadata: the collection's own description and GeoParquet 1.1 with a bbox covering."""
    span = pc.min_max(table["datetime"]).as_py() if len(table) else {"min": None, "max": None}
    dates = [value.date().isoformat() if value else "" for value in (span["min"], span["max"])]
    geometry: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": _geometry_types(table["geometry"]),
        "covering": {"bbox": {corner: ["bbox", corner] for corner in ("xmin", "ymin", "xmax", "ymax")}},
    }
    if bounds is not None:
        geometry["bbox"] = list(bounds)
    return {
        "name": name,
        "description": "",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data_source": source,
        "date_range": ",".join(dates) if any(dates) else "",
        "rasteret_collection_version": VERSION,
        "rasteret_sql:dtypes": json.dumps({band: list(names) for band, names in dtypes.items()}),
        "geo": json.dumps({"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}),
    }


def _geometry_types(column: pa.ChunkedArray) -> list[str]:
    """GeoParquet's names of the footprints' types: polygons, and multipolygons where one is cut at the antimeridian."""
    names = {shapely.GeometryType.POLYGON: "Polygon", shapely.GeometryType.MULTIPOLYGON: "MultiPolygon"}
    return [names[shapely.GeometryType(kind)] for kind in np.unique(shapely.get_type_id(shapely.from_wkb(column.to_numpy())))]


def write_collection(folder: Path, table: pa.Table, failures: pa.Table) -> None:
    """Write the table hive-partitioned by year and month, put it in the place of what is there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.parent / f".{folder.name}.building-{uuid.uuid4().hex[:8]}"
    try:
        _write_partitions(aside, table)
        if len(failures):
            pq.write_table(failures, aside / FAILURES_FILE, compression="zstd")
        swap_in(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    drop_footers()


def _write_partitions(folder: Path, table: pa.Table) -> None:
    order = pc.sort_indices(table, sort_keys=[("datetime", "ascending"), ("id", "ascending")])
    table = table.take(order)
    year = pc.cast(pc.year(table["datetime"]), pa.int32())
    month = pc.cast(pc.month(table["datetime"]), pa.int32())
    metadata = table.schema.metadata
    table = table.append_column("year", year).append_column("month", month).replace_schema_metadata(metadata)
    ds.write_dataset(
        table,
        folder,
        format="parquet",
        partitioning=ds.partitioning(pa.schema([("year", pa.int32()), ("month", pa.int32())]), flavor="hive"),
        basename_template="part-{i}.parquet",
        max_rows_per_group=ROW_GROUP_ROWS,
        file_options=ds.ParquetFileFormat().make_write_options(compression="zstd", compression_level=3),
        existing_data_behavior="error",
        max_partitions=100_000,
    )


def swap_in(aside: Path, folder: Path) -> None:
    """Exchange ``folder`` for ``aside``. Between the two renames the old one waits under a name that readers and :func:`recover` know."""
    replaced = _replaced_name(folder)
    recover(folder)
    if folder.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        folder.rename(replaced)
    aside.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)


def recover(folder: Path) -> None:
    """Undo half a swap: a process died between its two renames."""
    replaced = _replaced_name(folder)
    if replaced.exists() and not folder.exists():
        replaced.rename(folder)


def _replaced_name(folder: Path) -> Path:
    return folder.parent / f".{folder.name}{REPLACED}"
