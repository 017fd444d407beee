"""Several builds of one name, builds that were killed, and readers in the middle of it all: nobody sees half a collection."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rasteret_sql
from rasteret_sql.collection import write as writing
from rasteret_sql.collection.lock import locked
from rasteret_sql.errors import ReadError
from tests.collection.asking import one, rows
from tests.collection.tiffs import write
from tests.servers.ranged import RangeServer

BUILD = """
import sys, rasteret_sql
workspace, table, more = sys.argv[1:]
con = rasteret_sql.connect()
con.execute(f"SET VARIABLE rasteret_workspace = '{workspace}'").fetchall()
con.execute("SET VARIABLE rasteret_max_concurrency = 4").fetchall()
print("ready", flush=True)
print(con.execute(f"SELECT added, unchanged, requests FROM rasteret_build_from_table('{table}', name := 'c', href_column := 'href'{more})").fetchall())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("files")
    write(root / "a.tif", seed=1)
    return root


def table_of(path, server, count, label="one"):
    times = [datetime(2024, 1 + i % 12, 1) for i in range(count)]
    hrefs = [server.url(f"a.tif?v={i}") for i in range(count)]
    pq.write_table(pa.table({"id": [f"r{i}" for i in range(count)], "href": hrefs, "datetime": times, "label": [label] * count}), path)
    return path


def start(workspace, table, more=""):
    environ = os.environ | {"RASTERET_PROGRESS": "false"}
    return subprocess.Popen([sys.executable, "-c", BUILD, str(workspace), str(table), more], stdout=subprocess.PIPE, env=environ, text=True)


def test_two_builds_at_once(con, folder, workspace, tmp_path):
    """The second waits, then finds all headers known."""
    with RangeServer(folder, latency_s=0.02) as server:
        table = table_of(tmp_path / "t.parquet", server, 300)
        with start(workspace, table) as first, start(workspace, table) as second:
            answers = sorted(process.communicate(timeout=60)[0].splitlines()[-1] for process in (first, second))
        assert answers == ["[(0, 300, 0)]", "[(300, 0, 300)]"]
        assert server.stats().requests == 300
    assert one(con, "SELECT count(*) AS n, count(DISTINCT id) AS ids FROM rasteret_collection(c)") == {"n": 300, "ids": 300}


@pytest.mark.parametrize("forced", [False, True])
def test_a_killed_build_goes_on(con, folder, workspace, tmp_path, forced):
    """Batches that were finished are not read again, although the first build was killed before it wrote a collection."""
    with RangeServer(folder, latency_s=0.01) as server:
        table = table_of(tmp_path / "t.parquet", server, 800)
        with start(workspace, table, ", force := true" if forced else "") as process:
            until = time.monotonic() + 30
            while len(list(workspace.glob(".c_records.building/*.keys.arrow"))) < 2:
                assert time.monotonic() < until
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
        assert rows(con, "FROM rasteret_collections()") == []
        kept = sum(len(pa.ipc.open_file(file).read_all()) for file in workspace.glob(".c_records.building/*.keys.arrow"))
        assert 400 <= kept < 800
        server.reset()
        report = one(con, f"FROM rasteret_build_from_table('{table}', name := 'c', href_column := 'href')")
        assert (report["records"], report["added"], report["requests"]) == (800, 800, 800 - kept)
        assert server.stats().requests == 800 - kept
        assert list(workspace.glob(".c_records.building")) == []
        again = one(con, f"FROM rasteret_build_from_table('{table}', name := 'c', href_column := 'href')")
        assert (again["unchanged"], again["requests"]) == (800, 0)
    assert one(con, "SELECT count(DISTINCT id) AS n, count(DISTINCT assets.b1.href) AS hrefs FROM rasteret_collection(c)") == {"n": 800, "hrefs": 800}


def test_what_a_killed_build_of_other_parameters_left_is_cleaned(con, folder, workspace, tmp_path):
    with RangeServer(folder) as server:
        table = table_of(tmp_path / "t.parquet", server, 3)
        old = workspace / ".c_records.building"
        old.mkdir()
        (old / "identity.json").write_text('{"digest": "another"}')
        (old / "000000.keys.arrow").write_bytes(b"not even Arrow")
        assert one(con, f"FROM rasteret_build_from_table('{table}', name := 'c', href_column := 'href')")["added"] == 3
        assert not old.exists()


@pytest.mark.parametrize("linked", [True, False])
def test_a_query_that_has_begun_keeps_its_collection(folder, workspace, tmp_path, monkeypatch, linked):
    """A result streams out of the old collection while it is rebuilt twice: the old rows, to the last. Without hard links it may fail, but never mixes."""
    if not linked:
        monkeypatch.setattr("rasteret_sql.collection.build.has_links", lambda _: False)
    build = "FROM rasteret_build_from_table('{}', name := 'c', href_column := 'href', force := true)"
    with RangeServer(folder) as server, rasteret_sql.connect() as reader, rasteret_sql.connect() as builder:
        for con in (reader, builder):
            con.execute(f"SET VARIABLE rasteret_workspace = '{workspace}'").fetchall()
        reader.execute("SET threads = 1").fetchall()
        reader.execute("SET streaming_buffer_size = '1KB'").fetchall()
        builder.execute(build.format(table_of(tmp_path / "one.parquet", server, 240))).fetchall()
        begun = reader.execute("SELECT id, label, b1_metadata FROM rasteret_collection(c), range(500)")
        found = begun.fetchmany(10)
        for label in ("two", "three"):
            builder.execute(build.format(table_of(tmp_path / f"{label}.parquet", server, 120, label))).fetchall()
        try:
            found += begun.fetchall()
        except duckdb.Error as error:  # DuckDB 1.5 opens files when it comes to them
            assert not linked
            assert "part-0-" in str(error)
        else:
            assert (len(found), {label for _, label, *_ in found}) == (240 * 500, {"one"})
        assert reader.execute("SELECT label, count(*) FROM rasteret_collection(c) GROUP BY label").fetchall() == [("three", 120)]


def test_readers_never_fail_while_builds_go_on(folder, workspace, tmp_path):
    """Each answer is of one build: all rows of one label, never of two, never none."""
    with RangeServer(folder) as server, rasteret_sql.connect() as builder:
        builder.execute(f"SET VARIABLE rasteret_workspace = '{workspace}'").fetchall()
        tables = [table_of(tmp_path / f"{n}.parquet", server, 20 + n, f"label{n}") for n in range(2)]
        build = "FROM rasteret_build_from_table('{}', name := 'c', href_column := 'href')"
        builder.execute(build.format(tables[0])).fetchall()
        seen, errors, stop = set(), [], threading.Event()

        def read():
            with rasteret_sql.connect() as con:
                con.execute(f"SET VARIABLE rasteret_workspace = '{workspace}'").fetchall()
                while not stop.is_set():
                    try:
                        seen.add(
                            tuple(con.execute("SELECT label, count(*), count(assets.b1.href) FROM rasteret_collection(c) GROUP BY label").fetchall())
                        )
                    except Exception as error:
                        errors.append(error)

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for n in range(12):
            builder.execute(build.format(tables[n % 2])).fetchall()
        stop.set()
        for thread in threads:
            thread.join()
        assert not errors
        assert seen == {(("label0", 20, 20),), (("label1", 21, 21),)}


def test_a_collection_that_is_exchanged_while_its_files_are_listed(con, folder, workspace, tmp_path, monkeypatch):
    """The listing goes on in a folder whose files are being removed; what is left of them is no collection."""
    with RangeServer(folder) as server:
        build = "FROM rasteret_build_from_table('{}', name := 'c', href_column := 'href')"
        con.execute(build.format(table_of(tmp_path / "one.parquet", server, 20))).fetchall()
        listed, listing = [], Path.rglob

        def exchanged(place, pattern):
            files = listing(place, pattern)
            if place.name != "c_records" or listed:
                yield from files
                return
            listed.append(place)
            yield next(files)
            with rasteret_sql.connect() as builder:
                builder.execute(f"SET VARIABLE rasteret_workspace = '{workspace}'").fetchall()
                builder.execute(build.format(table_of(tmp_path / "two.parquet", server, 21, "two"))).fetchall()

        monkeypatch.setattr(Path, "rglob", exchanged)
        assert rows(con, "SELECT label, count(*) AS n FROM rasteret_collection(c) GROUP BY label") == [{"label": "two", "n": 21}]
        assert listed


def test_replaced_generations_go_after_their_time(con, folder, workspace, tmp_path, monkeypatch):
    with RangeServer(folder) as server:
        build = "FROM rasteret_build_from_table('{}', name := 'c', href_column := 'href')"
        for n in range(3):
            con.execute(build.format(table_of(tmp_path / f"{n}.parquet", server, 3, f"label{n}"))).fetchall()
        assert len(list(workspace.glob(".c_records.kept-*"))) == 3
        for note in workspace.glob(".c_records.kept-*/_replaced"):
            os.utime(note, (time.time() - writing.KEEP_S - 1,) * 2)
        con.execute(build.format(table_of(tmp_path / "last.parquet", server, 3, "last"))).fetchall()
        assert len(list(workspace.glob(".c_records.kept-*"))) == 2, "the present one, and the one replaced just now"


def test_without_hard_links(con, folder, workspace, tmp_path, monkeypatch):
    """Then files of two builds have names of their own, so that no query can mix them."""
    monkeypatch.setattr("rasteret_sql.collection.build.has_links", lambda _: False)
    with RangeServer(folder) as server:
        build = "FROM rasteret_build_from_table('{}', name := 'c', href_column := 'href')"
        names = []
        for n in range(2):
            con.execute(build.format(table_of(tmp_path / f"{n}.parquet", server, 3 + n, f"label{n}"))).fetchall()
            names.append({file.name for file in (workspace / "c_records").rglob("part-*.parquet")})
            assert len(rows(con, "FROM rasteret_collection(c)")) == 3 + n
        assert not names[0] & names[1]
        assert server.stats().requests == 4, "known headers are found there too"
        assert list(workspace.glob(".c_records.*")) == []


def test_who_waits_too_long_is_told(tmp_path):
    with (
        locked(tmp_path / ".c.lock", "collection 'c'", time.monotonic()),
        pytest.raises(ReadError, match=rf"collection 'c' is being built by process {os.getpid()}; wait for it, or raise rasteret_timeout_s"),
        locked(tmp_path / ".c.lock", "collection 'c'", time.monotonic() + 0.1),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_keeps_threads_apart(tmp_path):
    inside, most = 0, 0

    def work():
        nonlocal inside, most
        for _ in range(20):
            with locked(tmp_path / ".c.lock", "c", time.monotonic() + 30):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, inside) == (1, 0)
