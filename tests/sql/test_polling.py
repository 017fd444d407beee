"""The main thread sleeps while another thread runs a function of ours, and only then."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Self

import duckdb
import pyarrow as pa
import pytest

import rasteret_sql
from rasteret_sql.sql import main_thread, polling
from tests.collection.tiffs import write
from tests.servers.faulty import Fault, FaultyServer
from tests.sql.interrupting import STATEMENTS, prepared

ROOT = Path(__file__).resolve().parent.parent.parent
polls = pytest.mark.skipif(polling._SIGNAL is None, reason="DuckDB's client polls before 2.0; Windows has no SIGURG")
ASLEEP = '''
"""Runs a statement against a slow server until a thread of DuckDB's runs its function; prints how long it ran there, slept, and the process's CPU."""
import sys, time
from pathlib import Path
from rasteret_sql.reader.engine import engine
from rasteret_sql.sql import main_thread, polling
from tests.collection.tiffs import write
from tests.servers.faulty import Fault, FaultyServer
from tests.sql.interrupting import STATEMENTS, prepared

ran, naps = [], []
"""Beginnings and ends of functions in other threads than the main one; for each signal, whether the main thread waits for DuckDB."""
enter, leave, waits_at = polling._Sleeper.enter, polling._Sleeper.leave, main_thread.waits_at
polling._Sleeper.enter = lambda sleeper: ran.append(time.perf_counter()) or enter(sleeper)
polling._Sleeper.leave = lambda sleeper: ran.append(time.perf_counter()) or leave(sleeper)
main_thread.waits_at = lambda frame: naps.append(sys.argv[2] == "sleep" and waits_at(frame)) or naps[-1]
file = write(Path(sys.argv[1]) / "a.tif")
with FaultyServer(file.read_bytes()) as server:
    con = prepared(server.script("/a.tif"))
    con.execute("SET threads = 8").fetchall()
    for trial in range(40):
        engine().cache.clear()
        server.script("/a.tif", Fault(drip=(150, 0.2)))
        ran.clear(), naps.clear()
        cpu = time.process_time()
        con.execute(STATEMENTS["sample"]).fetchall()
        if ran and ran[-1] - ran[0] > 0.3:
            print(ran[-1] - ran[0], sum(naps), time.process_time() - cpu)
            break
'''


@pytest.fixture
def con(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[duckdb.DuckDBPyConnection]:
    monkeypatch.setenv("RASTERET_WORKSPACE", str(tmp_path))
    with rasteret_sql.connect() as made:
        yield made


@pytest.fixture
def untouched() -> Iterator[None]:
    """The signal as a new process has it, and no sleeper yet."""
    handler, sleeper = signal.getsignal(signal.SIGURG), polling._sleeper
    signal.signal(signal.SIGURG, signal.SIG_DFL)
    polling._sleeper = None
    yield
    signal.signal(signal.SIGURG, handler)
    polling._sleeper = sleeper


def _asleep(folder: Path, how: str) -> tuple[float, int, float]:
    env = {**os.environ, "RASTERET_WORKSPACE": str(folder)}
    told = subprocess.run(
        [sys.executable, "-c", ASLEEP, str(folder), how], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=True
    )
    took, naps, cpu = told.stdout.split()
    return float(took), int(naps), float(cpu)


@polls
def test_the_main_thread_sleeps_while_another_reads(tmp_path: Path) -> None:
    took, naps, cpu = _asleep(tmp_path, "sleep")
    assert took > 0.3
    assert naps >= 5
    left, none, polled = _asleep(tmp_path, "poll")
    assert none == 0
    assert cpu / took < polled / left


def test_a_function_is_as_it_was() -> None:
    column = pa.array([1, 2])
    assert polling.counted(lambda one, two: one if two is None else two)(column, None) is column
    with pytest.raises(ZeroDivisionError):
        polling.counted(lambda: 1 // 0)()  # type: ignore[arg-type,return-value]


class _Ran(threading.Thread):
    """A function that runs in another thread until it is told to end."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.end = threading.Event(), threading.Event()

    def run(self) -> None:
        def function() -> Any:
            self.began.set()
            self.end.wait(10)

        polling.counted(function)()

    def __enter__(self) -> Self:
        self.start()
        self.began.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.end.set()
        self.join()


@polls
@pytest.mark.usefixtures("untouched")
def test_a_handler_that_is_there_is_left_alone(con: duckdb.DuckDBPyConnection) -> None:
    heard: list[int] = []

    def mine(number: int, _frame: FrameType | None) -> None:
        heard.append(number)

    signal.signal(signal.SIGURG, mine)
    con.execute("FROM rasteret_collections()").fetchall()
    assert signal.getsignal(signal.SIGURG) is mine
    with _Ran():
        time.sleep(0.1)
    assert heard == []


@polls
@pytest.mark.usefixtures("untouched")
def test_a_handler_that_came_later_hears_nothing(con: duckdb.DuckDBPyConnection) -> None:
    heard: list[int] = []
    con.execute("FROM rasteret_collections()").fetchall()
    assert polling._sleeper is not None
    signal.signal(signal.SIGURG, lambda number, _frame: heard.append(number))
    con.execute("FROM rasteret_collections()").fetchall()
    with _Ran():
        time.sleep(0.1)
    assert heard == []


@polls
@pytest.mark.usefixtures("untouched")
def test_no_byte_goes_to_an_event_loop_that_listens(con: duckdb.DuckDBPyConnection) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        before = signal.set_wakeup_fd(ours.fileno())
        try:
            con.execute("FROM rasteret_collections()").fetchall()
            with _Ran():
                time.sleep(0.1)
            assert signal.set_wakeup_fd(ours.fileno()) == ours.fileno()
        finally:
            signal.set_wakeup_fd(before)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)


@polls
@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("leave", ["1", "true"])
def test_nothing_is_installed_where_signals_are_left(leave: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RASTERET_WORKSPACE", str(tmp_path))
    monkeypatch.setenv(main_thread.LEAVE_SIGNALS, leave)
    with rasteret_sql.connect() as con:
        con.execute("FROM rasteret_collections()").fetchall()
    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL
    assert polling._sleeper is None


@polls
@pytest.mark.usefixtures("untouched")
def test_other_work_of_the_main_thread_goes_on(con: duckdb.DuckDBPyConnection) -> None:
    """A handler is called between any two instructions: only the call that made the statement may wait."""
    con.execute("FROM rasteret_collections()").fetchall()
    sleeper = polling._sleeper
    assert sleeper is not None
    with _Ran():
        began = time.perf_counter()
        while time.perf_counter() - began < 0.2:
            pass
        assert not sleeper.slept
        sleeper.asked = time.perf_counter() - 1
        sleeper.on_signal(signal.SIGURG, sys._getframe())
        assert not sleeper.slept


def test_a_forked_child_sleeps_and_wakes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RASTERET_WORKSPACE", str(tmp_path))
    with FaultyServer(write(tmp_path / "a.tif").read_bytes()) as server, prepared(server.script("/a.tif")) as con:
        con.execute(STATEMENTS["sample"]).fetchall()
        child = os.fork()
        if not child:
            clean = polling._sleeper is None and signal.getsignal(signal.SIGURG) is signal.SIG_DFL
            os._exit(0 if clean else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@polls
def test_a_sleeping_main_thread_wakes_with_the_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when its nap is over: a function's end lets it go at once."""
    monkeypatch.setenv("RASTERET_WORKSPACE", str(tmp_path))
    monkeypatch.setattr(polling, "_SLEEP_S", 30.0)
    with FaultyServer(write(tmp_path / "a.tif").read_bytes()) as server, prepared(server.script("/a.tif")) as con:
        for _ in range(5):
            server.script("/a.tif", Fault(drip=(400, 0.1)))
            began = time.monotonic()
            con.execute(STATEMENTS["read"]).fetchall()
            assert time.monotonic() - began < 20
