"""Azure blobs: tokens of a service, fetched once, added when reading, renewed; tokens of the user."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

import rasteret_sql
from rasteret_sql.errors import InvalidArgument, ReadError
from rasteret_sql.settings import Settings
from rasteret_sql.storage import loop
from rasteret_sql.storage.metrics import Metrics
from rasteret_sql.storage.retry import RetryPolicy
from rasteret_sql.storage.store import Store
from tests.servers.faulty import FaultyServer, status
from tests.storage.conftest import DATA

PC_HREF = "https://landsateuwest.blob.core.windows.net/landsat-c2/level-2/B4 x.tif"


class Cloud:
    """A token service and the blob store that it opens: ``{account}/{container}/…`` below one address."""

    def __init__(self) -> None:
        self.closed = {("landsateuwest", "landsat-c2"), ("acc", "private")}
        self.served = {("landsateuwest", "landsat-c2")}
        """Containers that the service has tokens for."""
        self.lifetime_s = 3600.0
        self.valid = {"sig0"}
        self.refusal = (403, "AuthenticationFailed")
        self.closed_status = (404, "ResourceNotFound")
        self.service_status: list[int] = []
        self.service_body: bytes | None = None
        self.delay_s = 0.0
        self.issued = 0
        self.log: list[tuple[str, str | None]] = []
        """(``token`` or ``blob``, signature)."""
        self.url = ""

    def signatures(self):
        return [sig for kind, sig in self.log if kind == "blob"]

    @property
    def asked(self):
        return sum(kind == "token" for kind, _ in self.log)

    def token(self, account, container):
        self.log.append(("token", None))
        if self.service_status:
            return self.service_status.pop(0), b"{}"
        if (account, container) not in self.served:
            return 404, b'{"detail": "not found"}'
        if self.service_body is not None:
            return 200, self.service_body
        signature = f"sig{self.issued}"
        self.issued += 1
        self.valid.add(signature)
        expiry = (datetime.now(UTC) + timedelta(seconds=self.lifetime_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
        return 200, json.dumps(
            {"msft:expiry": expiry, "token": f"st=2026-01-01T00%3A00%3A00Z&sp=rl&sv=2024-05-04&sig={signature}%2Bs3cr3t%3D"}
        ).encode()

    def blob(self, account, container, query, byte_range):
        found = parse_qs(query).get("sig", [None])[0]
        signature = None if found is None else found.removesuffix("+s3cr3t=")
        self.log.append(("blob", signature))
        if signature is not None and signature not in self.valid:
            return error(*self.refusal)
        if signature is None and (account, container) in self.closed:
            return error(*self.closed_status)
        first, last = (int(n) for n in byte_range.removeprefix("bytes=").split("-"))
        return 206, DATA[first : last + 1]


def error(code, name):
    text = "Server failed to authenticate the request.\nRequestId:8e-1\nTime:2026"
    body = f"\ufeff<?xml version='1.0'?><Error><Code>{name}</Code><Message>{text}</Message><AuthenticationErrorDetail>sig=5ecret</AuthenticationErrorDetail></Error>"
    return code, body.encode()


@contextmanager
def serving(cloud):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            parts = urlsplit(self.path)
            names = parts.path.strip("/").split("/")
            if names[0] == "token":
                if cloud.delay_s:
                    threading.Event().wait(cloud.delay_s)
                code, body = cloud.token(*names[1:])
            else:
                code, body = cloud.blob(names[0], names[1], parts.query, self.headers["Range"])
            self.send_response(code)
            if code == 206:
                first = self.headers["Range"].removeprefix("bytes=").split("-")[0]
                self.send_header("Content-Range", f"bytes {first}-{int(first) + len(body) - 1}/{len(DATA)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    cloud.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield cloud
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def cloud():
    with serving(Cloud()) as running:
        yield running


@pytest.fixture
def store(cloud):
    return store_for(cloud)


def store_for(cloud, **settings):
    chosen = {"azure_endpoint": cloud.url, "sas_api": cloud.url, **settings}
    return Store(Settings(**chosen), Metrics(), policy=RetryPolicy(base_s=0.001), stall_timeout_s=5)


def read(store, href, start=0, length=10, **options):
    return loop.run(store.read_range(href, start, length, **options))


def error_of(store, href):
    with pytest.raises(ReadError) as caught:
        read(store, href)
    text = str(caught.value)
    assert "\n" not in text
    for secret in ("s3cr3t", "5ecret", "sig=", "RequestId"):
        assert secret not in text + repr(caught.value.__dict__)
    assert caught.value.__cause__ is None
    return text


class TestTokenService:
    @pytest.mark.parametrize(
        "refusal", [(401, "NoAuthenticationInformation"), (403, "AuthorizationFailure"), (404, "ResourceNotFound"), (409, "PublicAccessNotPermitted")]
    )
    def test_a_closed_container_gets_a_token_when_it_refuses(self, cloud, store, refusal):
        cloud.closed_status = refusal
        metrics = Metrics()
        assert read(store, PC_HREF, 5, 20, metrics=metrics) == DATA[5:25]
        assert cloud.log == [("blob", None), ("token", None), ("blob", "sig0")]
        assert metrics.snapshot().requests == 3
        read(store, PC_HREF.replace("B4", "B5"))
        read(store_for(cloud), "az://landsateuwest/landsat-c2/other.tif")
        assert cloud.log[3:] == [("blob", "sig0"), ("blob", "sig0")], "known from then on, to other queries too"

    def test_one_token_for_many_at_once(self, cloud, store):
        cloud.delay_s = 0.2

        async def all_at_once():
            return await asyncio.gather(*(store.read_range(PC_HREF, i, 10) for i in range(25)))

        assert loop.run(all_at_once()) == [DATA[i : i + 10] for i in range(25)]
        assert cloud.asked == 1

    def test_a_cancelled_waiter_takes_nobody_along(self, cloud, store):
        cloud.delay_s = 0.3

        async def first_gives_up():
            first = asyncio.create_task(store.read_range(PC_HREF, 0, 10))
            second = asyncio.create_task(store.read_range(PC_HREF, 10, 10))
            await asyncio.sleep(0.15)
            first.cancel()
            return await second

        assert loop.run(first_gives_up()) == DATA[10:20]
        assert cloud.asked == 1

    def test_public_containers_are_never_asked_about(self, cloud, store):
        assert read(store, "az://acc/public/a.tif") == DATA[:10]
        assert cloud.log == [("blob", None)]

    def test_a_container_without_tokens_is_asked_about_once(self, cloud, store):
        for _ in range(3):
            text = error_of(store, "https://acc.blob.core.windows.net/private/a.tif")
        assert cloud.asked == 1
        assert text.startswith(
            "https://acc.blob.core.windows.net/private/a.tif: no such file, or a private container (HTTP 404, ResourceNotFound: Server failed"
        )
        assert "give a token by rasteret_sql.azure_sas(…), or AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_SAS_TOKEN" in text

    def test_an_expired_token_is_renewed_in_mid_query(self, cloud, store):
        read(store, PC_HREF)
        cloud.valid.clear()
        assert read(store, PC_HREF) == DATA[:10]
        assert cloud.log[-3:] == [("blob", "sig0"), ("token", None), ("blob", "sig1")]

    def test_many_reads_renew_it_once(self, cloud, store):
        read(store, PC_HREF)
        cloud.valid.clear()
        cloud.delay_s = 0.1

        async def all_at_once():
            return await asyncio.gather(*(store.read_range(PC_HREF, i, 10) for i in range(20)))

        assert loop.run(all_at_once()) == [DATA[i : i + 10] for i in range(20)]
        assert cloud.asked == 2

    def test_a_token_that_never_works_is_renewed_once_a_read(self, cloud, store):
        read(store, PC_HREF)
        cloud.token = lambda account, container: (
            cloud.log.append(("token", None)),
            (200, b'{"msft:expiry": "2999-01-01T00:00:00Z", "token": "sig=bad"}'),
        )[1]
        cloud.valid.clear()
        text = error_of(store, PC_HREF)
        assert cloud.log[-3:] == [("blob", "sig0"), ("token", None), ("blob", "bad")]
        assert "the SAS token has expired or is not valid (HTTP 403, AuthenticationFailed: Server failed to authenticate the request.)" in text

    def test_a_token_near_its_end_is_renewed_before_it_is_used(self, cloud, store, monkeypatch):
        cloud.lifetime_s = 125.0
        read(store, PC_HREF)
        read(store, PC_HREF)
        assert cloud.asked == 1
        now = datetime.now(UTC).timestamp()
        monkeypatch.setattr("rasteret_sql.storage.sas.time.time", lambda: now + 20)
        read(store, PC_HREF)
        assert (cloud.asked, cloud.signatures()[-1]) == (2, "sig1")

    def test_a_wrong_clock_does_not_ask_for_every_tile(self, cloud, store):
        cloud.lifetime_s = -5000.0
        for _ in range(5):
            read(store, PC_HREF)
        assert cloud.asked == 1

    def test_a_service_in_trouble_is_asked_again(self, cloud, store):
        cloud.service_status = [503, 429]
        assert read(store, PC_HREF) == DATA[:10]
        assert cloud.asked == 3

    @pytest.mark.parametrize(
        "body",
        [
            b"<html>",
            b"[]",
            b'{"token": "sig=x"}',
            b'{"token": 5, "msft:expiry": "2999-01-01T00:00:00Z"}',
            b'{"token": "sig=x", "msft:expiry": "soon"}',
        ],
    )
    def test_answers_that_are_no_token(self, cloud, store, body):
        cloud.service_body = body
        assert "the token service at 127.0.0.1 answered without a token; gave up after 4 attempts" in error_of(store, PC_HREF)

    def test_a_service_out_of_reach(self, cloud):
        with FaultyServer(b"") as gone:
            url = gone.url("")
        text = error_of(store_for(cloud, sas_api=url), PC_HREF)
        assert "no such file, or a private container" in text
        assert "and the token service at 127.0.0.1 cannot be reached" in text

    def test_no_service(self, cloud):
        error_of(store_for(cloud, sas_api=""), PC_HREF)
        assert cloud.log == [("blob", None)]

    def test_a_missing_blob_of_a_tokens_container(self, cloud, store):
        read(store, PC_HREF)
        cloud.blob = lambda *_: error(404, "BlobNotFound")
        text = error_of(store, PC_HREF.replace("B4", "none"))
        assert "no such file (HTTP 404, BlobNotFound: " in text
        assert cloud.asked == 1

    def test_redirects_elsewhere_take_no_token_along(self, cloud):
        with FaultyServer(DATA) as other, FaultyServer(DATA) as azure:
            azure.script("/landsateuwest/landsat-c2/x.tif", status(403), status(307, Location=other.url("/there")))
            store = store_for(cloud, azure_endpoint=azure.url(""))
            assert read(store, "az://landsateuwest/landsat-c2/x.tif") == DATA[:10]
            assert "sig=" in azure.requests[-1].target
            assert other.requests[-1].target == "/there"


class TestGivenTokens:
    TOKEN = "sv=2024-05-04&sp=r&sig=mine%2Bs3cr3t%3D"

    def test_of_an_account_and_of_a_container(self, cloud, store):
        cloud.valid = {"mine", "own"}
        rasteret_sql.azure_sas("?" + self.TOKEN, account="ACC")
        rasteret_sql.azure_sas(self.TOKEN.replace("mine", "own"), account="acc", container="public")
        for href in ("az://acc/private/a.tif", "abfs://public@acc.dfs.core.windows.net/a.tif", "az://other/public/a.tif"):
            read(store, href)
        assert cloud.log == [("blob", "mine"), ("blob", "own"), ("blob", None)]

    def test_of_the_environment(self, cloud, store, monkeypatch):
        cloud.valid = {"mine"}
        monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", self.TOKEN)
        read(store, "az://acc/public/a.tif")
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "acc")
        read(store, "az://acc/public/a.tif")
        read(store, "az://other/public/a.tif")
        assert cloud.signatures() == [None, "mine", None]

    def test_refused(self, cloud, store):
        rasteret_sql.azure_sas(self.TOKEN, account="landsateuwest")
        cloud.valid.clear()
        text = error_of(store, PC_HREF)
        assert "the SAS token has expired or is not valid (HTTP 403, AuthenticationFailed" in text
        assert "the token given for landsateuwest/landsat-c2 was sent" in text
        assert cloud.asked == 0

    def test_no_token_over_plain_http(self, server, monkeypatch):
        monkeypatch.setenv("http_proxy", server.url(""))
        rasteret_sql.azure_sas(self.TOKEN, account="acc")
        url = "http://acc.blob.core.windows.net/private/a.tif"
        server.script(url, forever=status(403))
        store = Store(Settings(), Metrics())
        assert "no token is sent over plain http: index with https:// or az:// hrefs" in error_of(store, url)
        assert (server.attempts(url), server.requests[-1].target) == (1, url)

    def test_signed_hrefs_are_sent_as_they_are(self, cloud, store):
        rasteret_sql.azure_sas(self.TOKEN, account="landsateuwest")
        cloud.valid = {"href"}
        assert read(store, PC_HREF + "?sv=1&sig=href%2Bs3cr3t%3D") == DATA[:10]
        cloud.valid.clear()
        assert "the signature is the href's own" in error_of(store, PC_HREF + "?sv=1&sig=href%2Bs3cr3t%3D")
        assert cloud.log == [("blob", "href"), ("blob", "href")]

    @pytest.mark.parametrize("token", ["", "secret", "sig=a b"])
    def test_no_token(self, token):
        with pytest.raises(InvalidArgument, match="token is no SAS token") as caught:
            rasteret_sql.azure_sas(token, account="a")
        assert not token or token not in str(caught.value)
