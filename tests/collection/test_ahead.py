"""Small collections are looked up while DuckDB plans: once, for the statement that was planned, and never in its way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import OrderedDict
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
import rasteret_sql.udfs.sample as udf

from rasteret_sql.collection import ahead, rows
from rasteret_sql.reader import visits
from tests.collection.asking import one, refused
from tests.collection.tiffs import records, value_by_rasterio, write

SAMPLE = "WITH here AS (SELECT 'POINT({} {})' AS geom) SELECT r, status FROM rasteret_sample('c', here, bands := ['r'])"


@pytest.fixture
def files(con, tmp_path, workspace, monkeypatch):
    """Two files of a collection ``c``, and a count of their reads."""
    write(tmp_path / "a.tif")
    write(tmp_path / "b.tif", epsg=32634, origin=(300000.0, 5000000.0))
    table = records({"a": tmp_path / "a.tif", "b": tmp_path / "b.tif"}, datetime=[datetime(2024, 1, 5), datetime(2024, 2, 5)])
    con.register("given", table)
    assert one(con, "FROM rasteret_build_from_table(given, name := 'c', href_column := 'href', band_index_map := {'r': 0})")["records"] == 2
    monkeypatch.setattr(rows, "_LATELY", rows._Lately())
    return sorted((workspace / "c_records").rglob("*.parquet"))


@pytest.fixture
def read(monkeypatch):
    """Names of the files whose row groups were read."""
    seen: list[str] = []
    original = rows._read_rows
    monkeypatch.setattr(rows, "_read_rows", lambda asked, *more: seen.append(Path(asked.version.file).parent.name) or original(asked, *more))
    return seen


def rows_of(file, wanted):
    """The bands of its first row."""
    return rows._rows_of([(rows._Source.of(str(file), wanted), rows.np.array([0]))])[0]


def await_threads():
    for thread in threading.enumerate():
        if thread.name == "rasteret-ahead":
            thread.join(10)


def test_a_planned_statement_finds_its_records_looked_up(con, files, read, tmp_path):
    assert len(files) == 2
    lon, lat, value = value_by_rasterio(tmp_path / "a.tif", 1, 20, 30)
    statement = SAMPLE.format(lon, lat)
    con.execute(f"EXPLAIN {statement}").fetchall()
    await_threads()
    assert sorted(read) == ["month=1", "month=2"]
    assert one(con, statement) == {"r": value, "status": "ok"}
    assert len(read) == 2, "the statement reads nothing again"
    assert not rows._AHEAD


def test_who_needs_rows_meanwhile_waits_for_them(files, read, monkeypatch):
    """The statement comes while the thread reads: one reading serves both."""
    begun, go = threading.Event(), threading.Event()
    original = rows._parsed
    monkeypatch.setattr(rows, "_parsed", lambda *a, **k: (begun.set(), go.wait(10)) and original(*a, **k))
    wanted = rows.Wanted(("r",), overviews=False)
    look = rows.LookAhead(str(files[0]), wanted)
    threads = [threading.Thread(target=look.run)]
    threads[0].start()
    assert begun.wait(10)
    found = []
    threads.append(threading.Thread(target=lambda: found.extend(rows_of(files[0], wanted))))
    threads[1].start()
    threads[1].join(0.2)
    assert threads[1].is_alive()
    go.set()
    for thread in threads:
        thread.join(10)
    assert len(read) == 1
    assert found[0][0].href.endswith("a.tif")


def test_they_work_within_what_is_asked(files, read):
    """As the main thread's sleep, which ends when they do."""
    seen = []

    @contextmanager
    def within():
        seen.append(len(read))
        yield
        seen.append(len(read))

    ahead.get_ready([str(files[0])], ["r"], overviews=False, within=within)
    await_threads()
    assert seen == [0, 1]


def test_connecting_has_proj_open_its_database(tmp_path):
    """In a process of its own, where nobody else asks PROJ."""
    script = (
        "import rasteret_sql; from rasteret_sql.raster import crs, proj\n"
        "con = rasteret_sql.connect()\n"
        "print(proj._thread().call(lambda: crs._transformer.cache_info().currsize))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path)
    assert (done.stdout.split(), done.stderr) == (["1"], "")


def test_codecs_and_ways_are_there(files):
    """In a process of its own: nothing of either is loaded before."""
    script = (
        "import sys; from rasteret_sql.collection import ahead; from rasteret_sql.raster import crs; import threading\n"
        f"ahead.get_ready({[str(file) for file in files]!r}, ['r'], overviews=False)\n"
        "[thread.join() for thread in threading.enumerate() if thread.name == 'rasteret-ahead']\n"
        "print('imagecodecs._deflate' in sys.modules, crs._way.cache_info().currsize)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["True", "2"], "")


def test_large_files_are_left_alone(files, read, monkeypatch):
    monkeypatch.setattr(rows.LookAhead, "MOST_BANDS", 0)
    ahead.get_ready([str(file) for file in files], ["r"], overviews=False)
    await_threads()
    assert not read
    monkeypatch.setattr(rows.LookAhead, "MOST_BANDS", 1)
    monkeypatch.setattr(ahead, "MOST_FILES", 1)
    ahead.get_ready([str(file) for file in files], ["r"], overviews=False)
    await_threads()
    assert not read
    ahead.get_ready([str(files[0])], ["r"], overviews=False)
    await_threads()
    assert len(read) == 1


def test_what_goes_wrong_is_told_by_the_statement_alone(con, files, workspace, capfd):
    """A thread that fails says nothing; the error is the one of a statement without it."""
    for file in files:
        file.unlink()
    ahead.get_ready([str(file) for file in files], ["r"], overviews=False)
    files[0].write_bytes(b"PAR1 no more PAR1")
    ahead.get_ready([str(files[0])], ["r"], overviews=False)
    await_threads()
    assert not rows._AHEAD
    assert "is no collection" in refused(con, SAMPLE.format(15, 47))
    shutil.rmtree(workspace / "c_records")
    assert capfd.readouterr().err == ""


def test_without_threads_it_is_done_at_once(files, read, monkeypatch):
    """An interpreter that ends starts no thread."""

    def refuse(self):
        raise RuntimeError("can't start new thread at interpreter shutdown")

    monkeypatch.setattr(ahead.threading.Thread, "start", refuse)
    ahead.get_ready([str(files[0])], ["r"], overviews=False)
    assert len(read) == 1
    assert not rows._AHEAD


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_child_does_not_wait_for_its_parents_thread(files):
    wanted = rows.Wanted(("r",), overviews=False)
    look = rows.LookAhead(str(files[0]), wanted)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if rows_of(files[0], wanted)[0][0] else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert look.run()


def test_points_are_projected_before_their_records_are_known(con, files, tmp_path, monkeypatch):
    """Into the CRSs of the files that were looked up ahead: once each, and not where there are too many points."""
    begun: list[str] = []
    projected: list[str] = []
    begin, transform = udf.begin_in_proj_thread, visits.transform_points
    monkeypatch.setattr(udf, "begin_in_proj_thread", lambda function, crs: begun.append(crs) or begin(function, crs))
    monkeypatch.setattr(visits, "transform_points", lambda x, y, src, dst: projected.append(dst) or transform(x, y, src, dst))
    monkeypatch.setattr(ahead, "_met", OrderedDict())
    lon, lat, value = value_by_rasterio(tmp_path / "a.tif", 1, 20, 30)
    statement = SAMPLE.format(lon, lat)
    con.execute(f"EXPLAIN {statement}").fetchall()
    await_threads()
    assert sorted(ahead.crs_met([*ahead._met])) == ["EPSG:32633", "EPSG:32634"]
    assert one(con, statement) == {"r": value, "status": "ok"}
    assert sorted(begun) == ["EPSG:32633", "EPSG:32634"]
    assert sorted(projected) == ["EPSG:32633", "EPSG:32634"]
    monkeypatch.setattr(udf, "MOST_PROJECTED", 1)
    assert one(con, statement) == {"r": value, "status": "ok"}
    assert len(begun) == 2
    assert projected[2:] == ["EPSG:32633"]
    assert ahead.crs_met([str(tmp_path / "other.parquet")]) == []


def test_the_last_few_files_are_remembered(monkeypatch):
    monkeypatch.setattr(ahead, "_met", OrderedDict())
    for number in range(100):
        ahead._leave(f"{number}.parquet", [f"EPSG:{number}"])
    assert len(ahead._met) < 100
    assert ahead.crs_met(["99.parquet", "98.parquet", "0.parquet"]) == ["EPSG:99", "EPSG:98"]
