"""Every way an HTTP server can be wrong: what the reader gets, and how often the server was asked."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from rasteret_sql.errors import ReadError
from rasteret_sql.reader.memory import BlockPool
from rasteret_sql.settings import Settings
from rasteret_sql.storage import loop, receiving
from rasteret_sql.storage.metrics import Metrics
from rasteret_sql.storage.retry import RetryPolicy
from rasteret_sql.storage.store import Identity, Store
from tests.servers.faulty import OK, Fault, FaultyServer, status
from tests.storage.conftest import DATA

SECRET = "?X-Amz-Signature=s3cr3t"
START, LENGTH = 1000, 50_000
WANTED = DATA[START : START + LENGTH]
SIZE = len(DATA)


@pytest.fixture(autouse=True, params=["in pieces", "straight"])
def way(request, monkeypatch):
    """How bodies come: handed on by aiohttp, or past it."""
    if request.param == "straight":
        monkeypatch.setattr(receiving, "SMALLEST", 1)
        pool = BlockPool()

        async def straight(self, *arguments, **options):
            return bytes(await self.read_into(pool.buffer, *arguments, **options))

        monkeypatch.setattr(Store, "read_range", straight)


def read(store, url, start=START, length=LENGTH, **options):
    return loop.run(store.read_range(url + SECRET, start, length, **options))


def refused(store, url, *, match, **options):
    """The error, which must be one line without the secret."""
    with pytest.raises(ReadError, match=match) as caught:
        read(store, url, **options)
    assert "s3cr3t" not in str(caught.value)
    assert "s3cr3t" not in repr(caught.value.__dict__)
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)
    assert "bytes 1000-50999" in str(caught.value)
    return str(caught.value)


def test_an_honest_answer_is_read_once(server, path, store, metrics):
    assert read(store, server.script(path)) == WANTED
    assert server.attempts(path) == 1
    request = server.requests[-1]
    assert request.headers["range"] == "bytes=1000-50999"
    assert request.headers["accept-encoding"] == "identity"
    assert request.target == path + SECRET
    counts = metrics.snapshot()
    assert (counts.requests, counts.bytes, counts.retries, counts.failures) == (1, LENGTH, 0, 0)
    assert counts.hosts["127.0.0.1"].seconds > 0


PASSING = {
    "503": status(503),
    "503 at once": status(503, retry_after="0"),
    "429": status(429),
    "500": status(500),
    "502": status(502),
    "504": status(504),
    "408": status(408),
    "dropped": Fault(answer=False, end="close"),
    "reset before the answer": Fault(answer=False, end="reset"),
    "reset before the body": Fault(send=0, end="reset"),
    "reset in the body": Fault(send=20_000, end="reset"),
    "truncated": Fault(send=20_000, end="close"),
    "truncated chunks": Fault(send=20_000, end="close", chunked=True),
    "short, by its own length": Fault(body=WANTED[:-10]),
    "chunked and short": Fault(body=WANTED[:-10], chunked=True),
    "no answer": Fault(answer=False, end="hang"),
    "stalled": Fault(send=20_000, end="hang"),
}


@pytest.mark.parametrize("name", PASSING)
def test_a_passing_fault_is_retried(server, path, hasty, metrics, name):
    assert read(hasty, server.script(path, PASSING[name])) == WANTED
    assert server.attempts(path) == 2
    counts = metrics.snapshot()
    assert (counts.requests, counts.retries, counts.failures) == (2, 1, 0)
    assert counts.bytes >= LENGTH


@pytest.mark.parametrize("name", PASSING)
def test_a_lasting_fault_is_given_up_after_four_attempts(server, path, hasty, metrics, name):
    began = time.monotonic()
    refused(hasty, server.script(path, forever=PASSING[name]), match="gave up after 4 attempts")
    assert time.monotonic() - began < 4 * 1 + 10
    assert server.attempts(path) == 4
    counts = metrics.snapshot()
    assert (counts.requests, counts.retries, counts.failures) == (4, 3, 1)


def wrong_range(text):
    return Fault(headers={"Content-Range": text})


FINAL = {
    "401": (status(401), "asks for credentials"),
    "403": (status(403, body=b"<Error><Code>ExpiredToken</Code>"), "access denied.*HTTP 403, ExpiredToken"),
    "404": (status(404), "no such file"),
    "400": (status(400), "the server refused .HTTP 400"),
    "410": (status(410), "gone"),
    "416": (status(416, Content_Range=f"bytes */{SIZE}"), "beyond the end of the file .size 300,000"),
    "416, bare": (status(416), "beyond the end of the file .size unknown"),
    "range ignored": (Fault(200, {"Content-Range": None}, whole=True), "ignores range requests"),
    "HTML": (Fault(200, {"Content-Range": None, "Content-Type": "text/html; charset=utf-8"}, b"<html>log in"), "an HTML page came back"),
    "206 without a range": (Fault(headers={"Content-Range": None}), "no valid Content-Range"),
    "another start": (wrong_range(f"bytes 1001-51000/{SIZE}"), "other bytes than asked for"),
    "a late start": (Fault(headers={"Content-Range": f"bytes 1001-50999/{SIZE}"}, body=WANTED[1:]), "other bytes than asked for"),
    "another stop": (wrong_range(f"bytes 1000-50998/{SIZE}"), "other bytes than asked for"),
    "a range past the end": (wrong_range("bytes 1000-50999/40000"), "other bytes than asked for"),
    "an inverted range": (wrong_range(f"bytes 50999-1000/{SIZE}"), "other bytes than asked for"),
    "an unreadable range": (wrong_range("bytes 1000-50999"), "no valid Content-Range"),
    "a range with words": (wrong_range("items 1000-50999/300000"), "no valid Content-Range"),
    "a short part, honestly": (Fault(headers={"Content-Range": f"bytes 1000-40999/{SIZE}"}, body=WANTED[:40_000]), "other bytes"),
    "the end of the file": (Fault(headers={"Content-Range": "bytes 1000-40999/41000"}, body=WANTED[:40_000]), "the file ends at byte 41,000"),
    "too much": (Fault(body=WANTED + b"more", chunked=True), "more than the 50,000 bytes"),
    "compressed": (Fault(headers={"Content-Encoding": "gzip"}), "compressed"),
    "a redirect to nowhere": (status(302), "leads to no http"),
    "a redirect to a file": (status(302, Location="file:///etc/passwd"), "leads to no http"),
    "a redirect to ftp": (status(301, Location="ftp://127.0.0.1/x"), "leads to no http"),
}


@pytest.mark.parametrize("name", FINAL)
def test_a_final_answer_is_not_asked_for_again(server, path, store, metrics, name):
    fault, match = FINAL[name]
    refused(store, server.script(path, forever=fault), match=match)
    assert server.attempts(path) == 1
    counts = metrics.snapshot()
    assert (counts.requests, counts.retries, counts.failures) == (1, 0, 1)


def test_an_ignored_range_is_not_downloaded(store, metrics):
    with FaultyServer(bytes(60_000_000)) as server:
        refused(store, server.script("/big.tif", forever=Fault(200, {"Content-Range": None}, whole=True)), match="ignores range requests")
        assert server.connections_after(0) == 0
        assert server.sent("/big.tif") < 30_000_000
    assert metrics.snapshot().bytes == 0


def test_a_chunked_answer_is_fine(server, path, store):
    assert read(store, server.script(path, Fault(chunked=True))) == WANTED
    assert server.attempts(path) == 1


def test_a_large_chunked_answer_that_ends_early_is_no_silence(store):
    """Its end is no end of the connection: whoever waits for more bytes than come does not hear of it."""
    with FaultyServer(bytes(4_000_000)) as server:
        url = server.script("/large.tif", forever=Fault(body=bytes(1_900_000), chunked=True))
        with pytest.raises(ReadError, match="cut short: 1,900,000 of 2,000,000 bytes"):
            read(store, url, length=2_000_000)


def test_an_unknown_total_is_fine(server, path, store):
    url = server.script(path, wrong_range("bytes 1000-50999/*"))
    assert read(store, url, expect=Identity(None, SIZE)) == WANTED


def test_a_flipped_bit_cannot_be_seen_here(server, path, store):
    data = read(store, server.script(path, Fault(flip=123)))
    assert data != WANTED
    assert len(data) == LENGTH


def test_different_faults_share_the_attempts(server, path, store):
    url = server.script(path, status(503), Fault(send=5, end="reset"), status(429), OK)
    assert read(store, url) == WANTED
    assert server.attempts(path) == 4


class TestTime:
    def test_retry_after_seconds_is_waited_for(self, server, path, store):
        began = time.monotonic()
        assert read(store, server.script(path, status(503, retry_after="1")), deadline=began + 30) == WANTED
        assert 1.0 <= time.monotonic() - began < 6.0

    def test_retry_after_date_is_waited_for(self, server, path, store):
        began = time.monotonic()
        at = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        assert read(store, server.script(path, status(429, retry_after=at))) == WANTED
        assert 0.9 <= time.monotonic() - began < 8.0

    def test_retry_after_past_the_deadline_is_an_error_at_once(self, server, path, store):
        began = time.monotonic()
        refused(store, server.script(path, status(503, retry_after="5")), match="HTTP 503; the next attempt would be too late", deadline=began + 2)
        assert time.monotonic() - began < 1.9
        assert server.attempts(path) == 1

    def test_a_slow_drip_ends_at_the_deadline(self, server, path, store, metrics):
        began = time.monotonic()
        url = server.script(path, forever=Fault(drip=(100, 0.05)))
        refused(store, url, match="not read before the query's deadline", deadline=began + 0.6)
        assert 0.5 < time.monotonic() - began < 4
        assert server.attempts(path) == 1
        assert 0 < metrics.snapshot().bytes < LENGTH
        assert metrics.snapshot().failures == 1

    def test_the_deadline_names_what_went_wrong_before(self, server, path, store):
        url = server.script(path, status(500), forever=Fault(answer=False, end="hang"))
        refused(store, url, match="deadline.*before that, the server answered HTTP 500", deadline=time.monotonic() + 0.5)

    def test_a_deadline_already_past(self, server, path, store):
        refused(store, server.script(path), match="deadline", deadline=time.monotonic() - 1)

    def test_a_drip_without_stall_is_read(self, server, path, hasty):
        assert read(hasty, server.script(path, Fault(drip=(5000, 0.2)))) == WANTED
        assert server.attempts(path) == 1

    def test_the_retry_budget_ends_hopeless_queries(self, server, path, metrics):
        store = Store(Settings(), metrics, policy=RetryPolicy(base_s=0.001, budget_floor=5, budget_share=0.0))
        url = server.script(path, forever=status(503))
        for _ in range(10):
            refused(store, url, match="503")
        assert server.attempts(path) == 10 + 5
        assert "were retries already" in refused(store, url, match="503")


class TestIdentity:
    def test_the_same_file(self, server, path, store):
        assert read(store, server.script(path), expect=Identity('"v1"', SIZE)) == WANTED

    def test_nothing_known(self, server, path, store):
        assert read(store, server.script(path), expect=Identity(None, None)) == WANTED

    @pytest.mark.parametrize(
        ("fault", "match"),
        [
            (Fault(headers={"ETag": '"v2"'}), "changed since it was indexed .its ETag"),
            (wrong_range("bytes 1000-50999/300001"), "changed since it was indexed: 300,001 bytes, 300,000 then"),
            (status(416, Content_Range="bytes */900"), "changed since it was indexed: 900 bytes"),
        ],
    )
    def test_another_file_is_refused_without_retry(self, server, path, store, metrics, fault, match):
        refused(store, server.script(path, forever=fault), match=match, expect=Identity('"v1"', SIZE))
        assert server.attempts(path) == 1
        assert metrics.snapshot().bytes == 0

    @pytest.mark.parametrize(("indexed", "now"), [('W/"v1"', '"v2"'), ('"v1"', 'W/"v2"'), ('"v1"', None), (None, '"v2"')])
    def test_weak_or_missing_etags_say_nothing(self, server, path, store, indexed, now):
        url = server.script(path, Fault(headers={"ETag": now}))
        assert read(store, url, expect=Identity(indexed, SIZE)) == WANTED


class TestHead:
    def test_of_a_long_file(self, server, path, store):
        head = loop.run(store.read_head(server.script(path), deadline=None))
        assert (head.data, head.size, head.etag) == (DATA[:32768], SIZE, '"v1"')
        assert server.requests[-1].headers["range"] == "bytes=0-32767"

    def test_of_a_short_file(self, store):
        with FaultyServer(b"short") as server:
            head = loop.run(store.read_head(server.url("/short"), deadline=None))
        assert (head.data, head.size) == (b"short", 5)

    def test_of_an_empty_file(self, server, path, store):
        url = server.script(path, status(416, Content_Range="bytes */0"))
        with pytest.raises(ReadError, match="the file is empty"):
            loop.run(store.read_head(url, deadline=None))

    def test_of_unknown_size(self, server, path, store):
        head = loop.run(store.read_head(server.script(path, wrong_range("bytes 0-32767/*")), deadline=None))
        assert (head.data, head.size) == (DATA[:32768], None)

    def test_cut_by_the_server_is_refused(self, server, path, store):
        url = server.script(path, Fault(headers={"Content-Range": f"bytes 0-99/{SIZE}"}, body=DATA[:100]))
        with pytest.raises(ReadError, match="other bytes than asked for"):
            loop.run(store.read_head(url, deadline=None))


class TestRedirects:
    def test_are_followed_and_counted(self, server, path, store, metrics):
        server.script(path + "/3")
        server.script(path + "/2", status(307, Location=server.url(path + "/3") + "?sig=a%2Fb+c"))
        assert read(store, server.script(path, status(302, Location=f"{path}/2"))) == WANTED
        assert server.requests[-1].target == f"{path}/3?sig=a%2Fb+c"
        assert server.requests[-1].headers["range"] == "bytes=1000-50999"
        assert (metrics.snapshot().requests, metrics.snapshot().retries) == (3, 0)

    def test_five_are_enough(self, server, path, store):
        hop = status(302, Location=path)
        assert read(store, server.script(path, *[hop] * 5)) == WANTED
        refused(store, server.script(path, forever=hop), match="more than 5 redirects")
        assert server.attempts(path) == 6 + 6

    def test_userinfo_does_not_follow_to_another_host(self, server, path, store):
        with FaultyServer(DATA) as other:
            url = server.script(path, status(302, Location=other.url("/there"))).replace("127.0.0.1", "user:pass@127.0.0.1")
            assert read(store, url) == WANTED
            assert "authorization" in server.requests[-1].headers
            assert "authorization" not in other.requests[-1].headers


class TestManyAtOnce:
    @pytest.mark.parametrize("limit", [1, 3])
    def test_the_limit_holds_across_queries(self, path, limit):
        with FaultyServer(DATA) as server:
            url = server.script(path, forever=Fault(drip=(25_000, 0.02)))
            peak = 0

            async def watched():
                nonlocal peak
                stores = [Store(Settings(max_concurrency=limit), Metrics()) for _ in range(2)]
                reads = [asyncio.create_task(stores[i % 2].read_range(url, i, 50_000)) for i in range(9)]
                while not all(task.done() for task in reads):
                    peak = max(peak, server.open_connections)
                    await asyncio.sleep(0.002)
                return [task.result() for task in reads]

            assert loop.run(watched()) == [DATA[i : i + 50_000] for i in range(9)]
            assert peak == limit

    def test_ranges_are_merged_and_come_back_in_order(self, server, path, store, metrics):
        url = server.script(path)
        starts, lengths = [200_000, 10, 110, 0, 200_000], [100, 100, 50, 5, 40]
        views = loop.run(store.read_ranges(url, starts, lengths, deadline=None, max_gap=10))
        assert [bytes(v) for v in views] == [DATA[s : s + n] for s, n in zip(starts, lengths, strict=True)]
        assert sorted(r.headers["range"] for r in server.requests if r.path == path) == ["bytes=0-159", "bytes=200000-200099"]
        assert metrics.snapshot().bytes == 260

    def test_no_ranges_no_request(self, server, path, store):
        assert loop.run(store.read_ranges(server.script(path), [], [])) == []
        assert server.attempts(path) == 0

    def test_one_failing_range_ends_the_others(self, server, path, store):
        url = server.script(path, status(404), forever=Fault(answer=False, end="hang"))
        before = server.open_connections
        began = time.monotonic()
        with pytest.raises(ReadError, match="no such file"):
            loop.run(store.read_ranges(url, [0, 100_000, 200_000], [10, 10, 10], max_gap=0))
        assert time.monotonic() - began < 5
        assert server.connections_after(before + 1) <= before + 1


@pytest.mark.parametrize(("start", "length"), [(-1, 5), (0, 0), (5, -1)])
def test_no_byte_range(server, store, start, length):
    with pytest.raises(ReadError, match="no byte range"):
        read(store, server.url("/x"), start, length)


def test_nobody_listens(store, metrics):
    with FaultyServer(b"") as gone:
        url = gone.url("/x")
    refused(store, url, match="cannot be reached.*gave up after 4 attempts")
    assert metrics.snapshot().requests == 4


def test_an_unknown_host_is_not_asked_again(store, metrics):
    refused(store, "http://no-such-host.invalid/x", match="name is not known|cannot be reached")


def test_a_dead_keep_alive_connection_costs_one_counted_retry(server, path, store, metrics):
    """aiohttp alone would send again without a word."""
    url = server.script(path, OK, Fault(answer=False, end="close"), OK)
    assert [read(store, url), read(store, url)] == [WANTED, WANTED]
    assert server.attempts(path) == 3
    assert (metrics.snapshot().requests, metrics.snapshot().retries) == (3, 1)


def test_connections_are_kept(store):
    with FaultyServer(DATA) as server:
        for i in range(5):
            read(store, server.url("/x"), i)
        assert server.open_connections == 1
