"""Proxies, TLS, S3 regions, and the queue in front of a host."""

from __future__ import annotations

import asyncio
import ssl

import pytest
import trustme

from rasteret_sql.errors import ReadError
from rasteret_sql.storage import loop
from rasteret_sql.storage.network import Gate, Network
from tests.servers.faulty import Fault, FaultyServer, status
from tests.storage.conftest import DATA


def test_a_proxy_of_the_environment_is_used(server, store, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://user:pw@127.0.0.1:{server.port}")
    monkeypatch.setenv("no_proxy", "direct.invalid")
    assert loop.run(store.read_range("http://proxied.invalid/a.tif?sig=1", 0, 10)) == DATA[:10]
    assert server.requests[-1].target == "http://proxied.invalid/a.tif?sig=1"
    assert server.requests[-1].headers["proxy-authorization"].startswith("Basic ")
    with pytest.raises(ReadError, match=r"not known|cannot be reached"):
        loop.run(store.read_range("http://direct.invalid/a.tif", 0, 10))


def test_a_proxy_that_refuses_the_tunnel(server, store, monkeypatch):
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.port}")
    server.script("refusing.invalid:443", forever=status(403))
    with pytest.raises(ReadError, match=r"the proxy refused to connect \(HTTP 403\)"):
        loop.run(store.read_range("https://refusing.invalid/a.tif?sig=s3cr3t", 0, 10))
    assert server.attempts("refusing.invalid:443") == 1


def test_netrc_is_left_alone(server, path, store, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    loop.run(store.read_range(server.script(path), 0, 10))
    assert "authorization" not in server.requests[-1].headers


def test_the_region_of_a_bucket_is_asked_once(server, store, metrics, monkeypatch):
    """``s3.amazonaws.com`` answers path-style requests for buckets elsewhere with 301 and no Location."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    first = "http://s3.amazonaws.com/a.dotted.bucket/k.tif"
    server.script(first, status(301, x_amz_bucket_region="us-west-2"), forever=status(404))
    assert loop.run(store.read_range(first, 0, 10)) == DATA[:10]
    assert loop.run(store.read_range(first, 5, 10)) == DATA[5:15]
    assert server.attempts(first) == 1
    assert server.attempts("http://s3.us-west-2.amazonaws.com/a.dotted.bucket/k.tif") == 2
    assert loop.run(store.read_range("http://s3.amazonaws.com/b.other.bucket/k.tif", 0, 3)) == DATA[:3]
    assert server.attempts("http://s3.amazonaws.com/b.other.bucket/k.tif") == 1


def test_an_unknown_certificate_is_refused_without_retry(store, metrics):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with FaultyServer(DATA, tls=context) as server:
        with pytest.raises(ReadError, match=r"TLS certificate is not valid \(unable to get local issuer certificate\)"):
            loop.run(store.read_range(server.url("/a.tif?sig=s3cr3t"), 0, 10))
        assert server.requests == []
    assert metrics.snapshot().requests == 1


class TestGate:
    def run(self, coroutine):
        return loop.run(coroutine)

    def test_first_come_first_served(self):
        async def order():
            gate, came = Gate(), []

            async def visit(name):
                await gate.enter(2)
                came.append(name)
                await asyncio.sleep(0.005)
                gate.leave()

            await asyncio.gather(*(visit(i) for i in range(8)))
            return came, gate._inside

        assert self.run(order()) == (list(range(8)), 0)

    def test_a_cancelled_visitor_gives_its_place_on(self):
        async def cancelled():
            gate = Gate()
            await gate.enter(1)
            waiting = [asyncio.create_task(gate.enter(1)) for _ in range(3)]
            await asyncio.sleep(0)
            waiting[0].cancel()  # in the queue
            await asyncio.sleep(0)
            gate.leave()
            waiting[1].cancel()  # admitted, but not there yet
            await asyncio.sleep(0)
            await asyncio.wait_for(waiting[2], 1)
            gate.leave()
            return gate._inside, len(gate._queue)

        assert self.run(cancelled()) == (0, 0)

    def test_each_brings_its_own_limit(self):
        async def limits():
            gate = Gate()
            await gate.enter(1)
            await asyncio.wait_for(gate.enter(2), 1)
            narrow = asyncio.create_task(gate.enter(1))
            await asyncio.sleep(0)
            gate.leave()
            await asyncio.sleep(0)
            held = narrow.done()
            gate.leave()
            await asyncio.wait_for(narrow, 1)
            return held

        assert self.run(limits()) is False


def test_a_stalled_host_does_not_hold_up_another(server, path, store):
    """Limits are per host; names of one machine are hosts of their own."""
    url = server.script(path, forever=Fault(answer=False, end="hang"))
    stuck = [loop.spawn(store.read_range(url, 0, 10)) for _ in range(40)]
    other = server.url(path + "/other").replace("127.0.0.1", "localhost")
    assert loop.run(store.read_range(other, 0, 10)) == DATA[:10]
    for future in stuck:
        future.cancel()


def test_one_network_per_loop():
    async def session():
        return loop.resource(Network).session

    assert not loop.run(session()).closed
