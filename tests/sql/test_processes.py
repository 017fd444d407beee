"""Many threads at once, forked children, spawned children: right pixels, and nobody waits for a lock that a lost thread holds."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import rasteret_sql
from rasteret_sql.reader.engine import engine
from tests.collection.tiffs import write
from tests.servers.faulty import FaultyServer
from tests.sql.interrupting import STATEMENTS, prepared

READS = {name: sql for name, sql in STATEMENTS.items() if name != "build"}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("RASTERET_WORKSPACE", str(tmp_path))
    with FaultyServer(write(tmp_path / "a.tif").read_bytes()) as running:
        yield running


@pytest.mark.parametrize("cache", ["0", "100000000"])
def test_eight_threads_of_mixed_statements(server: FaultyServer, monkeypatch: pytest.MonkeyPatch, cache: str) -> None:
    monkeypatch.setenv("RASTERET_CACHE_BYTES", cache)
    with prepared(server.script("/a.tif")) as con:
        wanted = {name: con.execute(sql).fetchall() for name, sql in READS.items()}
        engine().cache.clear()

        def work(number: int) -> int:
            wrong = 0
            with con.cursor() as cursor:
                for turn in range(12):
                    name = sorted(READS)[(number + turn) % len(READS)]
                    wrong += cursor.execute(READS[name]).fetchall() != wanted[name]
            return wrong

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(8))) == [0] * 8


def test_registering_in_many_threads(tmp_path: Path) -> None:
    def fresh(_: int) -> list[tuple[Any, ...]]:
        with rasteret_sql.connect() as con:
            return con.execute(f"SELECT count(*) FROM rasteret_bands('{tmp_path / 'a.tif'}')").fetchall()

    write(tmp_path / "a.tif")
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(fresh, range(16))) == [[(1,)]] * 16


def _child(results: Any) -> None:
    """A connection of the child's own, every read."""
    with rasteret_sql.connect() as con:
        con.execute(PLACES_SQL).fetchall()
        results.put({name: con.execute(sql).fetchall() for name, sql in READS.items()})


PLACES_SQL = "CREATE TABLE places AS SELECT 'POLYGON((500000 5200000, 500205 5200000, 500000 5199795, 500000 5200000))' AS geometry, 500025.0 AS x, 5199985.0 AS y"


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_read_after_the_parent_did(server: FaultyServer, method: str) -> None:
    context = multiprocessing.get_context(method)
    with prepared(server.script("/a.tif")) as con:
        wanted = {name: con.execute(sql).fetchall() for name, sql in READS.items()}
        results = context.Queue()
        children = [context.Process(target=_child, args=(results,)) for _ in range(2)]
        for child in children:
            child.start()
        assert [results.get(timeout=20) for _ in children] == [wanted, wanted]
        for child in children:
            child.join(10)
            assert child.exitcode == 0
        engine().cache.clear()
        assert {name: con.execute(sql).fetchall() for name, sql in READS.items()} == wanted


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_in_the_middle_of_reads(server: FaultyServer) -> None:
    """Threads of the parent read while it forks; the child, in which they are lost, reads too, and the parent goes on."""
    with prepared(server.script("/a.tif")) as con, ThreadPoolExecutor(2) as pool:
        (value,) = con.execute(READS["sample"]).fetchall()
        until = time.monotonic() + 2

        def read() -> bool:
            right = True
            with con.cursor() as cursor:
                while time.monotonic() < until:
                    engine().cache.clear()
                    right &= cursor.execute(READS["sample"]).fetchall() == [value]
            return right

        reading = [pool.submit(read) for _ in range(2)]
        time.sleep(0.3)
        codes = [_forked(lambda: _read_one() == [value]) for _ in range(3)]
        assert codes == [0, 0, 0]
        assert [future.result(10) for future in reading] == [True, True]


def _read_one() -> list[Any]:
    with rasteret_sql.connect() as con:
        con.execute(PLACES_SQL).fetchall()
        return con.execute(READS["sample"]).fetchall()


def _forked(task: Callable[[], bool]) -> int:
    """Exit code of a child that does ``task``: 0 where it is True; -9 where it hangs."""
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if task() else 2
        finally:
            os._exit(code)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -9
