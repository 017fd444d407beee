"""A collection of a million records, made through the collection's own writer, then filtered and sampled in SQL.

    python -m benchmarks.big_index                       # 1,000,000 records: every one a small raster of its own place, all of one local file
    python -m benchmarks.big_index --records 50000 --keep FOLDER

Prints seconds, and the peak of resident memory before and after each step.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import rasterio
import shapely
from rasterio.transform import Affine

import rasteret_sql
from benchmarks.memory import peak_mb
from rasteret_sql.collection.assets import TableOptions, TableSource
from rasteret_sql.collection.batches import finished, prepared
from rasteret_sql.collection.built import Built, save_built
from rasteret_sql.collection.facts import Facts
from rasteret_sql.collection.journal import Journal, Kinds
from rasteret_sql.collection.keys import Keys
from rasteret_sql.collection.merge import Rows, write_files
from rasteret_sql.collection.schema import BBOX
from rasteret_sql.collection.unite import united_schema
from rasteret_sql.collection.write import put_in_place
from rasteret_sql.reader.engine import Query
from rasteret_sql.reader.headers import read_headers
from rasteret_sql.settings import Settings

BLOCK = 10_000
SIDE = 0.1
"""Degrees of a record."""


def make_file(path: Path) -> None:
    transform = Affine(SIDE / 64, 0, 0, 0, -SIDE / 64, 0)
    profile = {"driver": "GTiff", "width": 64, "height": 64, "count": 1, "dtype": "uint16", "crs": "EPSG:4326", "transform": transform}
    with rasterio.open(path, "w", **profile, tiled=True, blockxsize=16, blockysize=16, compress="deflate") as out:
        out.write(np.arange(64 * 64, dtype=np.uint16).reshape(1, 64, 64))


def synthesise(workspace: Path, name: str, records: int, months: int, file: Path) -> None:
    """Records at random places and times, in random order, as a build would leave them."""
    query = Query("synthesis", Settings(workspace=str(workspace)))
    header = read_headers([str(file)], query)[0]
    kinds = Kinds()
    folder = workspace / f"{name}_records"
    journal = Journal(workspace / f".{name}_records.building", "synthesis", force=True, kinds=kinds)
    source = TableSource(pa.table({"id": ["x"], "href": [str(file)]}), TableOptions(href_column="href", band_index_map={"B1": 0}))
    template = finished(prepared(next(iter(source.batches())), []), {str(file): header}, kinds)
    rng = np.random.default_rng(0)
    for start in range(0, records, BLOCK):
        many = np.zeros(min(BLOCK, records - start), np.int64)
        journal.add(*block_of(template.rows.take(pa.array(many)), template.keys.take(many), start, months, rng))
    keys = journal.keys()
    facts = Facts.of(kinds.listed, keys.boxes, keys.time, ["B1"])
    generation = uuid.uuid4().hex[:8]
    said = united_schema(pa.schema([schema.field(column) for column in ("id", "datetime", "href")]) for schema in journal.schemas)
    schema = facts.schema(said, facts.metadata(name, "synthesis", generation))
    aside = journal.folder / "out"
    aside.mkdir()
    files, order = write_files(aside, Rows(keys, 0, journal.store(), None, schema), "part-0.parquet")
    save_built(aside, Built(generation, {}, "synthesis", "", tuple(kinds.listed), tuple(files), keys.take(order)))
    put_in_place(aside, folder, generation, linked=True)
    journal.remove()


def block_of(rows: pa.Table, keys: Keys, start: int, months: int, rng: np.random.Generator) -> tuple[pa.Table, Keys]:
    count = len(rows)
    west, south = rng.uniform(-180, 179.8, count), rng.uniform(-80, 79.8, count)
    box = [west, south, west + SIDE, south + SIDE]
    time_us = np.datetime64("2023-01-01", "us").astype(np.int64) + rng.integers(0, months * 30 * 86_400, count) * 1_000_000
    numbers = np.stack([np.full(count, SIDE / 64), west, np.full(count, -SIDE / 64), south + SIDE], axis=1).ravel()
    transform = pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32) * 4), pa.array(numbers))
    meta = rows["B1_metadata"].combine_chunks()
    fields = [meta.type.field(i) for i in range(meta.type.num_fields)]
    columns = [transform if field.name == "transform" else meta.field(i) for i, field in enumerate(fields)]
    changed = {
        "id": pa.array([f"record-{start + i:07d}" for i in range(count)]),
        "datetime": pa.array(time_us).cast(pa.timestamp("us")),
        "geometry": pa.array(shapely.to_wkb(shapely.box(*box)), pa.binary()),
        "bbox": pa.StructArray.from_arrays([pa.array(corner) for corner in box], fields=list(BBOX)),
        "B1_metadata": pa.StructArray.from_arrays(columns, fields=fields),
    }
    for column, values in changed.items():
        rows = rows.set_column(rows.schema.get_field_index(column), column, values)
    hashes = rng.integers(0, 1 << 63, (count, 3)).astype(np.uint64)
    return rows, replace(keys, high=hashes[:, 0], low=hashes[:, 1], id=hashes[:, 2], xmin=box[0], ymin=box[1], xmax=box[2], ymax=box[3], time=time_us)


BOX = "bbox.xmin >= 10 AND bbox.xmax <= 14 AND bbox.ymin >= 48 AND bbox.ymax <= 52 AND datetime >= '2023-06-01' AND datetime < '2023-08-01'"
SAMPLE = "SELECT count(*), count(B1) FROM rasteret_sample('big', {}, x := 'lon', y := 'lat')"
STATEMENTS = {
    "bbox and dates": f"SELECT count(*), count(assets.B1.href) FROM rasteret_collection('big') WHERE {BOX}",
    "bbox and dates, tile tables": f"SELECT sum(B1_metadata.tile_offsets[1]) FROM rasteret_collection('big') WHERE {BOX}",
    "points over the world": SAMPLE.format("places"),
    "points over the world, a month": f"{SAMPLE.format('places')} WHERE datetime >= '2023-06-01' AND datetime < '2023-07-01'",
    "points in one place": SAMPLE.format("near"),
}


def measure(workspace: Path, points: int) -> None:
    con = rasteret_sql.connect()
    con.execute("SET VARIABLE rasteret_workspace = ?", [str(workspace)]).fetchall()
    con.execute(f"CREATE TABLE places AS SELECT i, random() * 358 - 179 AS lon, random() * 158 - 79 AS lat FROM range({points}) t(i)").fetchall()
    con.execute(f"CREATE TABLE near AS SELECT i, 10 + random() AS lon, 50 + random() AS lat FROM range({points}) t(i)").fetchall()
    for label, statement in STATEMENTS.items():
        for _ in range(2):
            began = time.monotonic()
            found = con.execute(statement).fetchall()
            print(f"{label}: {found[0]} in {time.monotonic() - began:.2f} s, peak {peak_mb():.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--months", type=int, default=24)
    parser.add_argument("--points", type=int, default=100, help="0: only write")
    parser.add_argument("--keep", type=Path, help="folder of the workspace, kept and used again")
    options = parser.parse_args()
    workspace = options.keep or Path(tempfile.mkdtemp())
    workspace.mkdir(exist_ok=True)
    try:
        file = workspace / "one.tif"
        if not (workspace / "big_records").exists():
            make_file(file)
            began = time.monotonic()
            synthesise(workspace, "big", options.records, options.months, file)
            print(f"written in {time.monotonic() - began:.1f} s, peak {peak_mb():.0f} MB")
        if options.points:
            measure(workspace, options.points)
    finally:
        if options.keep is None:
            shutil.rmtree(workspace)


if __name__ == "__main__":
    main()
