"""A rebuild replaces a collection at once or not at all: builds are killed at every step, and the old one is whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import datetime

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.collection.asking import one, rows
from tests.collection.tiffs import value_by_rasterio, write
from tests.servers.ranged import RangeServer

BUILD = """
import os, pathlib, signal, sys
import pyarrow.parquet as pq
import rasteret_sql
from rasteret_sql.collection import build, journal, merge

step, workspace, table = sys.argv[1:]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def dying_after(calls, function):
    left = [calls]
    def called(*arguments, **options):
        result = function(*arguments, **options)
        left[0] -= 1
        return die() if left[0] == 0 else result
    return called

if step == "one batch":
    journal.Journal.add = dying_after(1, journal.Journal.add)
elif step == "half a file":
    pq.ParquetWriter.write_table = dying_after(1, pq.ParquetWriter.write_table)
elif step == "all files":
    build.write_files = dying_after(1, build.write_files)
elif step.startswith("rename "):
    pathlib.Path.rename = dying_after(int(step.removeprefix("rename ")), pathlib.Path.rename)
elif step == "in place":
    build.put_in_place = dying_after(1, build.put_in_place)
con = rasteret_sql.connect()
con.execute(f"SET VARIABLE rasteret_workspace = '{workspace}'").fetchall()
print("ready", flush=True)
con.execute(f"FROM rasteret_build_from_table('{table}', name := 'c', href_column := 'href')").fetchall()
print("built", flush=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("files")
    write(root / "old.tif", seed=1)
    for i in range(8):
        write(root / f"new{i}.tif", seed=2)
    return root


def table_of(path, hrefs):
    times = [datetime(2024, 1 + i % 3, 1) for i in range(len(hrefs))]
    pq.write_table(pa.table({"id": [f"r{i}" for i in range(len(hrefs))], "href": hrefs, "datetime": times}), path)
    return path


@pytest.fixture
def old(con, folder, tmp_path):
    """A built collection of three records in three partitions."""
    table = table_of(tmp_path / "old.parquet", [str(folder / "old.tif")] * 3)
    assert one(con, f"FROM rasteret_build_from_table('{table}', name := 'c', href_column := 'href')")["records"] == 3


def start(step, workspace, table):
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, step, str(workspace), str(table)], stdout=subprocess.PIPE, env=os.environ | {"RASTERET_PROGRESS": "false"}
    )


def check_whole(con, href, count):
    """The collection, its list and its pixels."""
    assert rows(con, "SELECT name, records FROM rasteret_collections()") == [{"name": "c", "records": count}]
    assert one(
        con,
        "SELECT count(DISTINCT id) AS n, count(DISTINCT year * 12 + month) AS months, any_value(assets.b1.href) AS href FROM rasteret_collection(c)",
    ) == {
        "n": count,
        "months": 3,
        "href": str(href),
    }
    lon, lat, expected = value_by_rasterio(href, 1, 5, 9)
    assert one(con, f"SELECT rasteret_value('c', 'POINT({lon} {lat})', 'b1') AS v") == {"v": expected}


@pytest.mark.parametrize("step", ["one batch", "half a file", "all files", "rename 1", "rename 2", "rename 3", "in place"])
def test_a_build_killed_while_writing(con, workspace, folder, tmp_path, old, step):
    table = table_of(tmp_path / "new.parquet", [str(folder / "new0.tif")] * 6)
    with start(step, workspace, table) as process:
        output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (-signal.SIGKILL, b"ready\n")
    if step in ("rename 3", "in place"):
        check_whole(con, folder / "new0.tif", 6)
    else:
        check_whole(con, folder / "old.tif", 3)
    # and the next build is as any other
    report = one(con, f"FROM rasteret_build_from_table('{table}', name := 'c', href_column := 'href')")
    assert report["path"] == str(workspace / "c_records")
    check_whole(con, folder / "new0.tif", 6)
    assert left_over(workspace) == []


def left_over(workspace):
    """Hidden names other than the generations that readers may still have open, and the lock of a killed process, which is free."""
    return [path.name for path in workspace.iterdir() if path.name.startswith(".") and not path.name.startswith(".c_records.kept-")]


def test_a_build_killed_while_reading_headers(con, workspace, folder, tmp_path, old):
    with RangeServer(folder, latency_s=0.5) as server:
        table = table_of(tmp_path / "new.parquet", [server.url(f"new{i}.tif?v={n}") for i in range(8) for n in range(40)])
        with start("never", workspace, table) as process:
            until = time.monotonic() + 30
            while server.stats().requests < 40:
                assert time.monotonic() < until
                time.sleep(0.02)
            process.kill()
            output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (-signal.SIGKILL, b"ready\n")
    check_whole(con, folder / "old.tif", 3)
    assert [path.name for path in workspace.iterdir() if not path.name.startswith(".")] == ["c_records"]


def test_the_script_that_is_killed_builds_when_it_is_not(con, workspace, folder, tmp_path):
    """Or the tests above would pass for the wrong reason."""
    table = table_of(tmp_path / "new.parquet", [str(folder / "new0.tif")] * 3)
    with start("never", workspace, table) as process:
        output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, b"ready\nbuilt\n")
    check_whole(con, folder / "new0.tif", 3)


def test_half_written_folders_are_no_collections(con, workspace, folder, tmp_path, old):
    """Whatever a dead build left beside it."""
    for name in (".c_records.building-0a1b2c3d", ".d_records.building-0a1b2c3d", ".d_records"):
        part = workspace / name / "year=2024" / "month=1"
        part.mkdir(parents=True)
        (part / "part-0.parquet").write_bytes(b"PAR1 half a file")
    check_whole(con, folder / "old.tif", 3)


def test_a_rebuild_leaves_no_old_partition(con, workspace, folder, tmp_path, old):
    table = table_of(tmp_path / "new.parquet", [str(folder / "new0.tif")])
    con.execute(f"FROM rasteret_build_from_table('{table}', name := 'c', href_column := 'href')").fetchall()
    assert [str(file.relative_to(workspace)) for file in workspace.glob("c_records/**/*")] == [
        "c_records/year=2024",
        "c_records/year=2024/month=1",
        "c_records/year=2024/month=1/part-0.parquet",
    ]
    assert left_over(workspace) == []


@pytest.mark.parametrize("built", [False, True])
def test_files_of_yours_are_not_replaced(con, workspace, folder, tmp_path, request, built):
    """A folder where a build would write is only replaced when it holds a collection and nothing else."""
    if built:
        request.getfixturevalue("old")
    notes = workspace / "c_records" / "deep" / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("keep me")
    table = table_of(tmp_path / "new.parquet", [str(folder / "new0.tif")])
    with pytest.raises(duckdb.Error, match="is not replaced"):
        con.execute(f"FROM rasteret_build_from_table('{table}', name := 'c', href_column := 'href')").fetchall()
    assert notes.read_text() == "keep me"
