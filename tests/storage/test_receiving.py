"""Large answers that come past aiohttp: the same bytes, and a connection that serves on."""

from __future__ import annotations

import asyncio
import hashlib
import random
import ssl
import subprocess
import sys
import threading
import time

import pytest
import trustme
from aiohttp.client_proto import ResponseHandler

from rasteret_sql.errors import Cancelled, ReadError
from rasteret_sql.reader.memory import BlockPool
from rasteret_sql.storage import loop, receiving
from rasteret_sql.storage.store import Store
from tests.servers.faulty import OK, Fault, FaultyServer

LARGE = random.Random(11).randbytes(5_000_000)
SPAN = slice(1_000, 4_501_000)
WANTED = LARGE[SPAN]


@pytest.fixture(scope="module")
def large():
    with FaultyServer(LARGE) as running:
        yield running


@pytest.fixture(autouse=True)
def bodies(monkeypatch):
    """The bodies that were received past aiohttp."""
    seen: list[receiving.Body] = []
    init = receiving.Body.__init__

    def watched(self, *arguments):
        seen.append(self)
        init(self, *arguments)

    monkeypatch.setattr(receiving.Body, "__init__", watched)
    return seen


def read(store: Store, url: str, span: slice = SPAN, **options) -> memoryview:
    return loop.run(store.read_into(BlockPool().buffer, url, span.start, span.stop - span.start, **options))


async def exchanges() -> bool:
    return receiving.exchanges()


def test_the_aiohttp_at_hand_can_do_without() -> None:
    assert loop.run(exchanges())


def test_first_answers_that_come_together_are_all_received(large, path, store, bodies, monkeypatch) -> None:
    """None of them is left to aiohttp because another one's trial is still under way."""
    monkeypatch.setattr(receiving, "_exchanges", None)
    received, slow = ResponseHandler.data_received, iter([0.3])
    monkeypatch.setattr(ResponseHandler, "data_received", lambda self, data: (time.sleep(next(slow, 0)), received(self, data))[1])
    pool, count = BlockPool(), 16
    url = large.script(path, *[OK] * count)
    reads = [loop.spawn(store.read_into(pool.buffer, url, SPAN.start, SPAN.stop - SPAN.start)) for _ in range(count)]
    assert all(loop.wait(read) == WANTED for read in reads)
    assert len(bodies) == count


def test_bytes_come_where_they_are_wanted(large, path, store, metrics, bodies) -> None:
    pool = BlockPool()
    made: list[memoryview] = []

    def memory(nbytes: int) -> memoryview:
        made.append(pool.buffer(nbytes))
        return made[-1]

    data = loop.run(store.read_into(memory, large.script(path), SPAN.start, len(WANTED)))
    assert data is made[0]
    assert data == WANTED
    assert len(bodies) == 1
    counts = metrics.snapshot()
    assert (counts.requests, counts.bytes, counts.retries, counts.failures) == (1, len(WANTED), 0, 0)


def test_small_answers_need_no_memory(large, path, store, bodies) -> None:
    assert read(store, large.script(path), slice(5, 5 + receiving.SMALLEST - 1)) == LARGE[5 : 4 + receiving.SMALLEST]
    assert not bodies


def test_one_connection_serves_on(path, store, bodies) -> None:
    """Large, small, large, in pieces: nothing of one answer is taken for the next one's."""
    with FaultyServer(LARGE) as server:
        url = server.script(path)
        for start in range(0, 500_000, 50_000):
            assert read(store, url, slice(start, start + 4_000_000)) == LARGE[start : start + 4_000_000]
            assert loop.run(store.read_range(url, start, 10)) == LARGE[start : start + 10]
            assert loop.run(store.read_range(url, start, 300_000)) == LARGE[start : start + 300_000]
        assert server.accepted == 1
    assert len(bodies) == 10


def test_many_at_once(large, path, store, bodies) -> None:
    url = large.script(path)
    pool = BlockPool()

    async def all_of_them() -> list[bytes | memoryview]:
        return await asyncio.gather(*(store.read_into(pool.buffer, url, i, 1_000_000 + i) for i in range(40)))

    assert all(data == LARGE[i : 1_000_000 + 2 * i] for i, data in enumerate(loop.run(all_of_them())))
    assert len(bodies) == 40


BROKEN = {
    "cut short": Fault(send=2_000_000, end="close"),
    "cut short in the first bytes": Fault(send=10, end="close"),
    "reset": Fault(send=2_000_000, end="reset"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_is_asked_for_again(large, path, store, metrics, name) -> None:
    url = large.script(path, BROKEN[name], BROKEN[name], OK)
    assert read(store, url) == WANTED
    assert large.attempts(path) == 3
    counts = metrics.snapshot()
    assert (counts.requests, counts.retries, counts.failures) == (3, 2, 0)
    assert counts.bytes >= len(WANTED)
    with pytest.raises(
        ReadError, match=r"(cut short: [\d,]+ of 4,500,000 bytes|the connection ended in the middle|the connection failed).*gave up"
    ) as told:
        read(store, large.script(path, forever=BROKEN[name]))
    assert "\n" not in str(told.value)


def test_silence_is_asked_again(large, path, hasty, metrics) -> None:
    began = time.monotonic()
    assert read(hasty, large.script(path, Fault(send=2_000_000, end="hang"), OK)) == WANTED
    assert 0.9 < time.monotonic() - began < 10
    assert metrics.snapshot().bytes == 2_000_000 + len(WANTED)  # what was being gathered when the server fell silent counts too


def test_slow_is_not_silent(large, path, hasty, metrics, bodies) -> None:
    """Takes twice as long as the silence that is waited for."""
    assert read(hasty, large.script(path, Fault(drip=(500_000, 0.25)))) == WANTED
    assert metrics.snapshot().requests == len(bodies) == 1


def test_fast_then_slow_is_not_silent(large, path, hasty, metrics) -> None:
    """Two megabytes at once, so that more is waited for than comes within the silence that is allowed."""
    began = time.monotonic()
    assert read(hasty, large.script(path, Fault(slow_from=(2_000_000, 100_000, 0.3)))) == WANTED
    assert time.monotonic() - began > 5
    assert metrics.snapshot().requests == 1


def test_the_deadline_ends_a_body(large, path, store, metrics) -> None:
    url = large.script(path, forever=Fault(drip=(10_000, 0.05)))
    began = time.monotonic()
    with pytest.raises(ReadError, match="not read before the query's deadline"):
        read(store, url, deadline=began + 0.5)
    assert time.monotonic() - began < 4
    assert 0 < metrics.snapshot().bytes < len(WANTED)


def test_who_gives_up_leaves_no_trace(path, store, metrics) -> None:
    """The memory is somebody else's at once: nothing may be written there any more, and the connection is gone."""
    with FaultyServer(LARGE) as server:
        url = server.script(path, forever=Fault(drip=(50_000, 0.02)))
        target = bytearray(len(WANTED))
        flag = threading.Event()
        threading.Timer(0.3, flag.set).start()
        with pytest.raises(Cancelled):
            loop.run(store.read_into(lambda nbytes: memoryview(target), url, SPAN.start, len(WANTED)), cancel=flag)
        loop.run(asyncio.sleep(0.05))
        before = bytes(target)
        assert any(before)
        time.sleep(0.2)
        assert target == before
        assert server.connections_after(0) == 0
    assert 0 < metrics.snapshot().bytes < len(WANTED)


@pytest.mark.parametrize("fault", [Fault(chunked=True), Fault(headers={"Connection": "close"}, end="close")], ids=["chunked", "closed by the server"])
def test_other_answers(large, path, store, fault) -> None:
    assert read(store, large.script(path, fault)) == WANTED
    assert large.attempts(path) == 1


def test_an_aiohttp_that_begins_no_answer_anew(large, path, store, bodies, monkeypatch) -> None:
    """Then answers are read as they are handed on."""
    monkeypatch.setattr(receiving, "_exchanges", None)
    once = ResponseHandler.set_response_params
    monkeypatch.setattr(ResponseHandler, "set_response_params", lambda self, **options: None if self._parser else once(self, **options))
    assert not loop.run(exchanges())
    monkeypatch.setattr(ResponseHandler, "set_response_params", once)
    assert read(store, large.script(path)) == WANTED
    assert not bodies


def test_over_tls(tmp_path) -> None:
    """In a process of its own, which trusts a certificate of ours."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with FaultyServer(LARGE, tls=context) as server:
        url = server.script("/a.tif", OK, Fault(send=1_000_000, end="close"), OK, OK)
        code = f"""
import hashlib
from rasteret_sql.reader.memory import BlockPool
from rasteret_sql.settings import Settings
from rasteret_sql.storage import loop, receiving
from rasteret_sql.storage.metrics import Metrics
from rasteret_sql.storage.store import Store
store, pool = Store(Settings(), Metrics()), BlockPool()
async def exchanges():
    return receiving.exchanges()
assert loop.run(exchanges())
for start in range(3):
    data = loop.run(store.read_into(pool.buffer, {url!r}, start, 4_000_000))
    assert isinstance(data, memoryview)
    print(hashlib.sha256(data).hexdigest())
"""
        done = subprocess.run(
            [sys.executable, "-c", code], check=False, env={"SSL_CERT_FILE": str(tmp_path / "ca.pem")}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert server.attempts("/a.tif") == 4
    assert done.stdout.split() == [hashlib.sha256(LARGE[start : start + 4_000_000]).hexdigest() for start in range(3)]
