"""The process's event loop: threads, cancelling, Ctrl-C, fork, the end of the process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from rasteret_sql.errors import Cancelled, ReadError
from rasteret_sql.storage import loop
from rasteret_sql.storage.network import Network
from tests.servers.faulty import Fault
from tests.storage.conftest import DATA

ROOT = Path(__file__).parents[2]


async def value(x):
    await asyncio.sleep(0)
    return x


def test_run_returns_and_raises():
    assert loop.run(value(3)) == 3

    async def fail():
        raise ReadError("no")

    with pytest.raises(ReadError, match="no"):
        loop.run(fail())

    async def late():
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        loop.run(late(), cancel=threading.Event())


def test_there_is_one_loop_for_all_threads():
    async def which():
        return asyncio.get_running_loop()

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        loops = list(pool.map(lambda _: loop.run(which()), range(200)))
    assert len(set(loops)) == 1


def test_spawn_can_be_cancelled():
    ended = threading.Event()

    async def sleep():
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    future = loop.spawn(sleep())
    time.sleep(0.05)
    assert future.cancel()
    assert ended.wait(2)


def test_the_cancel_flag_ends_a_read(server, path, store, metrics):
    url = server.script(path, forever=Fault(send=10, end="hang"))
    before = server.open_connections  # idle ones, kept alive
    flag = threading.Event()
    threading.Timer(0.1, flag.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        loop.run(store.read_range(url, 0, 1000), cancel=flag)
    assert time.monotonic() - began < 5
    loop.run(asyncio.sleep(0.05))
    assert server.connections_after(before) <= before
    counts = metrics.snapshot()
    assert (counts.requests, counts.bytes, counts.failures) == (1, 10, 0)


def test_a_flag_set_before_starts_nothing(server, path, store):
    flag = threading.Event()
    flag.set()
    with pytest.raises(Cancelled):
        loop.run(store.read_range(server.script(path), 0, 10), cancel=flag)


def test_cancelled_reads_leave_nothing_behind(server, path, store):
    """No task, no place taken in the queue of the host."""
    url = server.script(path, forever=Fault(answer=False, end="hang"))
    futures = [loop.spawn(store.read_range(url, i, 10)) for i in range(60)]
    time.sleep(0.1)
    for future in futures:
        future.cancel()

    async def left():
        await asyncio.sleep(0.05)
        gate = loop.resource(Network).gate("127.0.0.1")
        return len(asyncio.all_tasks()) - 1, gate._inside, len(gate._queue)

    assert loop.run(left()) == (0, 0, 0)
    server.script(path)
    assert loop.run(store.read_range(url, 0, 10)) == DATA[:10]


def test_a_coroutine_that_cancels_itself():
    async def give_up():
        raise asyncio.CancelledError

    with pytest.raises(Cancelled):
        loop.run(give_up())


def test_the_loop_does_not_wait_for_itself():
    async def nested():
        loop.run(value(1))

    with pytest.raises(RuntimeError, match="await instead"):
        loop.run(nested())


def test_resources_belong_to_the_loop():
    async def network():
        return loop.resource(Network)

    assert loop.run(network()) is loop.run(network())
    with pytest.raises(RuntimeError, match=r"loop\.run"):
        loop.resource(Network)


PRELUDE = """
import asyncio, logging, os, signal, sys, threading, time
logging.getLogger("asyncio").setLevel(logging.ERROR)  # not how slow a callback of a busy machine was
from rasteret_sql.errors import *
from rasteret_sql.settings import Settings
from rasteret_sql.storage import loop
from rasteret_sql.storage.metrics import Metrics
from rasteret_sql.storage.store import Store
href, other = sys.argv[1], sys.argv[2]
metrics = Metrics()
store = Store(Settings(), metrics)
def read(n=10):
    return loop.run(store.read_range(href, 0, n))
"""


def script(text, *args, options=("-X", "dev", "-W", "error"), timeout=30):
    """Run ``text`` in a process of its own, with everything that warns being an error."""
    code = PRELUDE + textwrap.dedent(text)
    return subprocess.run([sys.executable, *options, "-c", code, *args], cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)


EXITS = {
    "after reads": "print(len(read()))",
    "after local reads": f"print(len(loop.run(store.read_range({__file__!r}, 0, 10))))",
    "with a read under way": "loop.spawn(store.read_range(other, 0, 10)); time.sleep(0.2); print(len(read()))",
    "with a failed read nobody asks about": "loop.spawn(store.read_range('/no/such', 0, 10)); print(len(read()))",
    "by an error": "print(len(read())); sys.exit(0)",
    "without any read": "print(10)",
    "from a thread": "t = threading.Thread(target=lambda: print(len(read()))); t.start(); t.join()",
    "after refusing": """
        try: loop.run(store.read_range(href.replace('http', 'az'), 0, 10))
        except ReadError: print(10)
        """,
}


@pytest.mark.parametrize("name", EXITS)
def test_the_end_of_the_process_is_quiet(server, path, name):
    other = server.script(path + "/other", forever=Fault(send=5, end="hang"))
    began = time.monotonic()
    done = script(EXITS[name], server.script(path), other)
    assert (done.stdout, done.stderr, done.returncode) == ("10\n", "", 0)
    assert time.monotonic() - began < 8


FORKS = {
    "child exits at once": """
        parent = read()
        if (pid := os.fork()) == 0:
            assert read() == parent
            assert metrics.snapshot().requests == 2
            sys.stdout.flush()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        print(len(read()))
        """,
    "child ends in order": """
        parent = read()
        if (pid := os.fork()) == 0:
            assert read() == parent
            sys.exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        print(len(read()))
        """,
    "child never reads": """
        read()
        if (pid := os.fork()) == 0:
            sys.exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        print(len(read()))
        """,
    "while others read": """
        stop = threading.Event()
        def busy():
            while not stop.is_set(): read(1000)
        threads = [threading.Thread(target=busy) for _ in range(4)]
        for t in threads: t.start()
        for _ in range(5):
            time.sleep(0.02)
            if (pid := os.fork()) == 0:
                fresh = Store(Settings(), Metrics())
                assert len(loop.run(fresh.read_range(href, 0, 10))) == 10
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        stop.set()
        for t in threads: t.join()
        print(len(read()))
        """,
    "by multiprocessing": """
        import multiprocessing
        read()
        with multiprocessing.get_context('fork').Pool(2) as pool:
            assert [len(x) for x in pool.map(read, [10, 20, 30])] == [10, 20, 30]
            pool.close()
            pool.join()
        print(len(read()))
        """,
}


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no fork on this system")
@pytest.mark.parametrize("name", FORKS)
def test_a_forked_child_reads_on_its_own(server, path, name):
    """Python 3.12 warns of any fork beside threads; that warning is not ours."""
    options = ("-X", "dev", "-W", "error", "-W", "ignore:This process:DeprecationWarning")
    done = script(FORKS[name], server.script(path), "", options=options)
    assert (done.stdout, done.stderr, done.returncode) == ("10\n", "", 0)


@pytest.mark.parametrize("flag", ["None", "threading.Event()"])
def test_ctrl_c_ends_the_wait_at_once(server, path, flag):
    text = f"""
        read()
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        began = time.monotonic()
        try:
            loop.run(store.read_range(other, 0, 10), cancel={flag})
        except KeyboardInterrupt:
            assert 0.2 < time.monotonic() - began < 5
        async def left():
            await asyncio.sleep(0.05)
            return len(asyncio.all_tasks()) - 1
        assert loop.run(left()) == 0
        print(len(read()))
    """
    other = server.script(path + "/other", forever=Fault(answer=False, end="hang"))
    done = script(text, server.script(path), other)
    assert (done.stdout, done.stderr, done.returncode) == ("10\n", "", 0)
