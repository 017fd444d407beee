"""Ctrl-C and ``con.interrupt()`` stop a read at once, on the network too; nothing is left behind, and nobody else is hit."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pytest
import rasterio

import rasteret_sql
from rasteret_sql.reader import interrupts
from rasteret_sql.reader.engine import engine
from rasteret_sql.sql import main_thread, polling
from tests.collection.tiffs import write
from tests.servers.faulty import Fault, FaultyServer
from tests.sql.interrupting import STALL, STATEMENTS, prepared

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("kind", ["sigint", "interrupt"])
@pytest.mark.parametrize("threads", [1, 2])
def test_every_read_stops_within_a_second(kind: str, threads: int, tmp_path: Path) -> None:
    """In a process of its own: back at once, the next statement at once, nothing left, and what was claimed can be read by others."""
    command = [sys.executable, "-m", "tests.sql.interrupting", str(tmp_path), kind, str(threads)]
    told = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=60, check=False)
    seen = {(line["function"], line["by"]): line for line in map(json.loads, told.stdout.splitlines())}
    assert set(seen) == {(name, by) for name in STATEMENTS for by in ("execute", "sql")}, told.stderr
    for name, line in seen.items():
        assert line["error"], name
        assert line["back_s"] < 1.0, name
        assert line["next"] == 42, name
        assert line["next_s"] < 1.0, name
        assert line["connections"] <= 0, name
        assert line["tasks"] == 0, name
        assert line["other"] == line["same"], name
        assert line["threads"] == ["rasteret-io", "rasteret-proj_0", *(["rasteret-sleep"] if polling._SIGNAL else [])], name
    with rasterio.open(tmp_path / "a.tif") as source:
        assert {seen["sample", by]["same"] for by in ("execute", "sql")} == {str(source.read(1)[1, 2])}


@pytest.fixture(autouse=True)
def workspace_of_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RASTERET_WORKSPACE", str(tmp_path))


# -- one of several connections -------------------------------------------------------------------------------------------------


class Stalled:
    """Statements in threads against a server that keeps the first tile request waiting."""

    def __init__(self, server: FaultyServer) -> None:
        self.server = server
        self.con = prepared(server.script("/a.tif"))
        engine().cache.clear()
        server.script("/a.tif", STALL)
        self.asked = len(server.requests)
        self.pool = ThreadPoolExecutor(4)

    def start(self, con: duckdb.DuckDBPyConnection) -> Future[Any]:
        return self.pool.submit(lambda: con.execute(STATEMENTS["sample"]).fetchall())

    def wait_for_request(self) -> None:
        end = time.monotonic() + 5
        while len(self.server.requests) == self.asked and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.3)


@pytest.fixture
def tiff(tmp_path: Path) -> Path:
    return write(tmp_path / "a.tif")


@pytest.fixture
def value(tiff: Path) -> int:
    with rasterio.open(tiff) as source:
        return int(source.read(1)[1, 2])


def test_whoever_waits_for_a_stopped_load_loads_itself(tiff: Path, value: int) -> None:
    with FaultyServer(tiff.read_bytes()) as server:
        world = Stalled(server)
        with world.con, world.con.cursor() as first, world.con.cursor() as second, world.pool:
            loading = world.start(first)
            world.wait_for_request()
            following = world.start(second)
            time.sleep(0.3)
            first.interrupt()
            with pytest.raises(duckdb.Error):
                loading.result(1)
            assert following.result(2) == [(value,)]


def test_stopping_one_that_waits_leaves_the_load_and_the_others(tiff: Path, value: int) -> None:
    slow = Fault(drip=(200, 0.4))
    with FaultyServer(tiff.read_bytes()) as server:
        world = Stalled(server)
        server.script("/a.tif", slow)
        with world.con, world.con.cursor() as first, world.con.cursor() as second, world.con.cursor() as third, world.pool:
            loading = world.start(first)
            world.wait_for_request()
            following, staying = world.start(second), world.start(third)
            time.sleep(0.2)
            second.interrupt()
            with pytest.raises(duckdb.Error):
                following.result(1)
            assert loading.result(10) == staying.result(10) == [(value,)]
        assert server.attempts("/a.tif") == world.asked + 1


def test_connections_of_two_databases_have_the_same_numbers_and_other_origins(tiff: Path, value: int) -> None:
    with FaultyServer(tiff.read_bytes()) as server:
        world = Stalled(server)
        server.script("/a.tif", Fault(drip=(200, 0.2)))
        with world.con, rasteret_sql.connect() as stranger, world.pool:
            number = "SELECT current_connection_id()"
            assert world.con.execute(number).fetchall() == stranger.execute(number).fetchall()
            loading = world.start(world.con)
            world.wait_for_request()
            stranger.interrupt()
            assert loading.result(10) == [(value,)]


def test_interrupting_an_idle_connection_does_nothing(con: duckdb.DuckDBPyConnection) -> None:
    con.interrupt()
    assert con.execute("SELECT 1").fetchall() == [(1,)]
    assert con.execute("SELECT count(*) FROM rasteret_collections()").fetchall() == [(0,)]


def test_connections_that_are_not_ours_stay_as_they_are() -> None:
    with duckdb.connect() as plain, plain.cursor() as cursor:
        plain.interrupt()
        cursor.interrupt()
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]


# -- signals --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def restored() -> Any:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("restored")
def test_only_pythons_own_handler_is_gone_before(con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    def mine(*_: object) -> None: ...

    signal.signal(signal.SIGINT, mine)
    con.execute("FROM rasteret_collections()").fetchall()
    assert signal.getsignal(signal.SIGINT) is mine
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setenv(main_thread.LEAVE_SIGNALS, "1")
    con.execute("FROM rasteret_collections()").fetchall()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.delenv(main_thread.LEAVE_SIGNALS)
    con.execute("FROM rasteret_collections()").fetchall()
    assert signal.getsignal(signal.SIGINT) not in (mine, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert con.execute("SELECT 1").fetchall() == [(1,)]


@pytest.mark.usefixtures("restored")
def test_statements_of_other_threads_are_not_stopped_by_ctrl_c(tiff: Path, value: int) -> None:
    with FaultyServer(tiff.read_bytes()) as server:
        world = Stalled(server)
        server.script("/a.tif", Fault(drip=(200, 0.2)))
        with world.con, world.con.cursor() as other, world.pool:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            world.con.execute("FROM rasteret_collections()").fetchall()
            loading = world.start(other)
            world.wait_for_request()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            assert loading.result(10) == [(value,)]


def test_flags_belong_to_their_origin_and_are_forgotten() -> None:
    mine, other = interrupts.watch("a/1"), interrupts.watch("a/2")
    interrupts.cancel("a/1")
    assert mine.is_set()
    assert not other.is_set()
    assert not interrupts.watch("a/1").is_set()


@pytest.mark.parametrize("ready", [asyncio.run, lambda coroutine: asyncio.Runner().run(coroutine)])
@pytest.mark.usefixtures("restored")
def test_asyncio_goes_on_to_work(ready: Callable[[Any], Any], con: duckdb.DuckDBPyConnection) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)

    async def statement() -> Any:
        return await asyncio.to_thread(lambda: con.execute("SELECT count(*) FROM rasteret_collections()").fetchall())

    assert ready(statement()) == [(0,)]


def test_reads_from_threads_are_of_the_right_connection(tiff: Path, value: int) -> None:
    """Four cursors, each stopped or not; only those that are stopped fail."""
    with FaultyServer(tiff.read_bytes()) as server:
        world = Stalled(server)
        server.script("/a.tif", forever=Fault(drip=(40, 0.2)))
        cursors = [world.con.cursor() for _ in range(4)]
        with world.con, world.pool:
            running = [world.start(cursor) for cursor in cursors]
            world.wait_for_request()
            stoppers = [threading.Thread(target=cursor.interrupt) for cursor in cursors[::2]]
            for stopper in stoppers:
                stopper.start()
            for stopper in stoppers:
                stopper.join()
            for future in running[::2]:
                with pytest.raises(duckdb.Error):
                    future.result(1.5)
            assert [future.result(20) for future in running[1::2]] == [[(value,)]] * 2
            for cursor in cursors:
                cursor.close()
