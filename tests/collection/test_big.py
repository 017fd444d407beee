"""Size: a build holds batches, not the collection; a read looks records up, it does not load the index."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from rasteret_sql.collection import rows as payloads
from rasteret_sql.collection.keys import hilbert
from tests.collection.asking import one, rows

ROOT = Path(__file__).resolve().parent.parent.parent
BOX = "bbox.xmax >= 10 AND bbox.xmin <= 14 AND bbox.ymax >= 48 AND bbox.ymin <= 52"


def run(module, *arguments):
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=120
    ).stdout


def test_a_build_does_not_hold_its_records(tmp_path):
    """20,000 records: the peak of memory is bounded, and hardly above that of a quarter of them."""
    few, many = (json.loads(run("benchmarks.big_build", "--records", count, "--keep", tmp_path / str(count))) for count in (4_000, 20_000))
    assert (few["records"], many["records"]) == (4_000, 20_000)
    assert many["peak_mb"] < 600
    assert many["peak_mb"] - few["peak_mb"] < 150, (few, many)


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """A workspace with a collection of 50,000 records all over the world and two years."""
    workspace = tmp_path_factory.mktemp("big")
    run("benchmarks.big_index", "--records", 50_000, "--keep", workspace, "--points", 0)
    return workspace


@pytest.fixture
def there(con, big):
    con.execute(f"SET VARIABLE rasteret_workspace = '{big}'").fetchall()
    return con


def row_groups(folder):
    """(file, row group) → its box by the footer's statistics."""
    for file in sorted(folder.rglob("part-*.parquet")):
        metadata = pq.read_metadata(file)
        columns = {metadata.row_group(0).column(i).path_in_schema: i for i in range(metadata.num_columns)}
        for group in range(metadata.num_row_groups):
            stats = {name: metadata.row_group(group).column(columns[f"bbox.{name}"]).statistics for name in ("xmin", "ymin", "xmax", "ymax")}
            yield (file, group), (stats["xmin"].min, stats["ymin"].min, stats["xmax"].max, stats["ymax"].max)


def test_row_groups_are_places(tmp_path):
    """In one month: a box of 4° meets few row groups of many, and nothing but scalars has statistics."""
    run("benchmarks.big_index", "--records", 60_000, "--keep", tmp_path, "--points", 0, "--months", 1)
    groups = list(row_groups(tmp_path / "big_records"))
    met = [box for _, box in groups if box[2] >= 10 and box[0] <= 14 and box[3] >= 48 and box[1] <= 52]
    assert len(groups) == 30
    assert len(met) in range(1, 7)
    metadata = pq.read_metadata(groups[0][0][0])
    assert max(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)) <= 2048
    counted = {metadata.row_group(0).column(i).path_in_schema for i in range(metadata.num_columns) if metadata.row_group(0).column(i).is_stats_set}
    assert {"id", "datetime", "bbox.xmin", "bbox.ymax", "crs", "proj:epsg"} <= counted
    assert not [name for name in counted if "tile_offsets" in name]


def test_filters_in_sql(there, big):
    """The same rows as pyarrow finds by reading everything."""
    table = pq.read_table(big / "big_records", columns=["id", "bbox", "datetime"], partitioning="hive")
    boxes = {name: np.array([box[name] for box in table["bbox"].to_pylist()]) for name in ("xmin", "ymin", "xmax", "ymax")}
    time = table["datetime"].to_numpy()
    inside = (boxes["xmax"] >= 10) & (boxes["xmin"] <= 14) & (boxes["ymax"] >= 48) & (boxes["ymin"] <= 52)
    inside &= (time >= np.datetime64("2023-06-01")) & (time < np.datetime64("2024-02-01"))
    found = rows(there, f"SELECT id FROM rasteret_collection(big) WHERE {BOX} AND datetime >= '2023-06-01' AND datetime < '2024-02-01' ORDER BY id")
    assert [row["id"] for row in found] == sorted(np.array(table["id"].to_pylist())[inside].tolist())
    assert len(found) > 3


@pytest.fixture(autouse=True)
def nothing_was_looked_up(monkeypatch):
    monkeypatch.setattr(payloads, "_LATELY", payloads._Lately())


SCANNED = "WITH scanned AS (FROM rasteret_collection(big)) "
"""A relation's records are DuckDB's to read: nothing of them is looked up."""
SAMPLE = "SELECT no, record_id, datetime, B1, status FROM rasteret_sample({}, places, bands := ['B1'], x := 'lon', y := 'lat'{}) ORDER BY ALL"


@pytest.mark.parametrize("more", ["", ", match := 'latest'", ", scaled := true"])
def test_samples_look_records_up(there, monkeypatch, more):
    """Row groups of the paired records alone are read, and the answers are those of a whole scan."""
    there.execute(
        "CREATE TABLE places AS SELECT i AS no, (i * 61.7) % 350 - 175 AS lon, (i * 17.3) % 150 - 75 AS lat FROM range(5000) t(i)"
    ).fetchall()
    read = []
    original = payloads.pq.ParquetFile.read_row_groups
    monkeypatch.setattr(
        payloads.pq.ParquetFile, "read_row_groups", lambda self, groups, **options: read.extend(groups) or original(self, groups, **options)
    )
    found = rows(there, SAMPLE.format("big", more))
    assert read
    met = {row["record_id"] for row in found} - {None}
    assert len(met) > 20
    read.clear()
    assert rows(there, SCANNED + SAMPLE.format("scanned", more)) == found
    assert not read, "scanned by DuckDB"


def test_few_points_read_few_row_groups(there, big, monkeypatch):
    read = []
    original = payloads.pq.ParquetFile.read_row_groups
    monkeypatch.setattr(
        payloads.pq.ParquetFile, "read_row_groups", lambda self, groups, **options: read.extend(groups) or original(self, groups, **options)
    )
    (row,) = rows(there, f"SELECT id, bbox FROM rasteret_collection(big) WHERE {BOX} LIMIT 1")
    point = f"POINT({(row['bbox']['xmin'] + row['bbox']['xmax']) / 2} {(row['bbox']['ymin'] + row['bbox']['ymax']) / 2})"
    found = one(there, f"WITH here AS (SELECT '{point}' AS geom) SELECT list(record_id) AS ids, count(B1) AS n FROM rasteret_sample(big, here)")
    assert row["id"] in found["ids"]
    assert found["n"] == len(found["ids"]) == len(set(found["ids"]))
    assert len(read) <= len(found["ids"]) < len(list(row_groups(big / "big_records")))


def test_what_is_announced_and_read_is_looked_up_once():
    """All rows of one look are kept, the latest ones as far as there is room."""
    lately, found = payloads._Lately(), [(n,) for n in range(1000)]
    numbers = np.arange(1000)[::-1] * 3
    lately.keep("one", numbers, found, 100)
    assert lately.find("one", np.array([0, 2997, 3])) == [(999,), (0,), (998,)]
    assert lately.find("one", numbers) == found
    assert lately.find("one", np.array([0, 1])) is None
    assert lately.find("one", np.array([5000])) is None
    assert lately.find("two", np.array([0])) is None
    lately.KEEP_BYTES = 300
    for source in "two", "three", "four":
        lately.keep(source, numbers, found, 100)
    assert lately.find("one", numbers) is None
    assert lately.find("two", numbers) == found


@pytest.mark.parametrize("call", ["sample({}, points, bands := ['B1'])", "read({}, areas, bands := ['B1'])", "zonal({}, areas, bands := ['B1'])"])
def test_duckdb_reads_no_tile_table(there, call):
    """Of a collection it scans what pairs and filters need; a relation's metadata is its to read."""
    there.execute("CREATE TABLE points AS SELECT 'POINT(10 50)' AS geom").fetchall()
    there.execute("CREATE TABLE areas AS SELECT 'POLYGON((10 50, 11 50, 11 51, 10 50))' AS geom").fetchall()
    of_collection, of_relation = (
        str(there.execute(f"EXPLAIN {before}FROM rasteret_{call.format(source)}").fetchall())
        for before, source in (("", "big"), (SCANNED, "scanned"))
    )
    assert "READ_PARQUET" in of_collection
    assert "B1_metadata" not in of_collection
    assert "B1_metadata" in of_relation


def test_reads_look_records_up_too(there):
    here = "here AS (SELECT 'POLYGON((10 50, 10.2 50, 10.2 50.2, 10 50.2, 10 50))' AS geom)"
    statement = "SELECT record_id, height, B1 FROM rasteret_read({}, here, bands := ['B1']) ORDER BY ALL"
    assert rows(there, f"WITH {here} {statement.format('big')}") == rows(there, f"{SCANNED}, {here} {statement.format('scanned')}")


def test_hilbert_curve():
    """Neighbours on the curve are neighbours in the plane, and it visits every cell once."""
    side = 1 << 5
    x, y = (part.ravel().astype(np.uint32) for part in np.meshgrid(np.arange(side), np.arange(side)))
    along = hilbert(x, y, 5)
    assert sorted(along.tolist()) == list(range(side * side))
    order = np.argsort(along)
    steps = np.abs(np.diff(x[order].astype(int))) + np.abs(np.diff(y[order].astype(int)))
    assert (steps == 1).all()
