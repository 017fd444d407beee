"""s3:// against servers that check signatures (moto) or that the tests script."""

from __future__ import annotations

import random
import ssl

import obstore
import pytest
import trustme

import rasteret_sql
from rasteret_sql.errors import InvalidArgument, ReadError, WriteError
from rasteret_sql.settings import Settings
from rasteret_sql.storage import loop
from rasteret_sql.storage.metrics import Metrics
from rasteret_sql.storage.retry import RetryPolicy
from rasteret_sql.storage.s3 import REQUESTER_PAYS
from rasteret_sql.storage.store import Identity, Store
from tests.servers.faulty import Fault, FaultyServer, status
from tests.servers.moto import MotoServer
from tests.storage.conftest import DATA

BODY = random.Random(3).randbytes(70_000)
KEYS = [
    "plain.tif",
    "a b/c d.tif",
    "plus+plus.tif",
    "tilde~.tif",
    "ünï/cödé 日本.tif",
    "per%20cent%.tif",
    "q?u#e&s=t;i,o:n@.tif",
    "quotes'(\")!*$.tif",
    "double//slash.tif",
    "dot/./../dots.tif",
    "trailing/",
]
SECRET = "wJalrXUtnFEMI/K7MDENG/s3cr3t"


def store_at(url, metrics=None, **settings):
    return Store(Settings(s3_endpoint=url, **settings), metrics or Metrics(), policy=RetryPolicy(base_s=0.001), stall_timeout_s=5)


def read(store, href, start=0, length=10, **options):
    return loop.run(store.read_range(href, start, length, **options))


def error_of(store, href, *secrets, kind=ReadError):
    with pytest.raises(kind) as caught:
        read(store, href)
    text = str(caught.value)
    assert "\n" not in text
    for secret in secrets:
        assert secret not in text + repr(caught.value.__dict__)
    assert caught.value.__cause__ is None
    return text


@pytest.fixture(scope="module")
def moto():
    with MotoServer() as running:
        client = running.client()
        client.create_bucket(Bucket="bucket")
        client.create_bucket(Bucket="dotted.bucket")
        for key in KEYS:
            client.put_object(Bucket="bucket", Key=key, Body=BODY)
        client.put_object(Bucket="dotted.bucket", Key="x.tif", Body=BODY)
        yield running


@pytest.fixture
def signed(moto):
    rasteret_sql.s3_credentials(key_id=moto.keys[0], secret=moto.keys[1])
    return store_at(moto.url)


class TestSignatures:
    """moto refuses what is signed wrongly."""

    @pytest.mark.parametrize("key", KEYS)
    def test_keys_with_anything_in_them(self, moto, signed, key):
        assert read(signed, f"s3://bucket/{key}", 1000, 5000) == BODY[1000:6000]
        head = loop.run(signed.read_head(f"s3://bucket/{key}"))
        assert (head.data, head.size) == (BODY[:32768], len(BODY))
        assert head.etag == moto.client().head_object(Bucket="bucket", Key=key)["ETag"]

    @pytest.mark.parametrize("key", [k for k in KEYS if "//" not in k and "/./" not in k and not k.endswith("/")])
    def test_obstore_reads_the_same(self, moto, signed, key):
        other = obstore.store.S3Store(
            "bucket",
            endpoint=moto.url,
            access_key_id=moto.keys[0],
            secret_access_key=moto.keys[1],
            region="us-east-1",
            client_options={"allow_http": True},
        )
        theirs = bytes(obstore.get_range(other, key, start=7, end=107))
        assert read(signed, f"s3://bucket/{key}", 7, 100) == theirs

    def test_dotted_buckets(self, signed):
        assert read(signed, "s3://dotted.bucket/x.tif") == BODY[:10]

    def test_ranges_and_identity(self, moto, signed):
        views = loop.run(signed.read_ranges("s3://bucket/plain.tif", [5, 60_000], [10, 10], max_gap=0))
        assert [bytes(v) for v in views] == [BODY[5:15], BODY[60_000:60_010]]
        with pytest.raises(ReadError, match="changed since it was indexed"):
            read(signed, "s3://bucket/plain.tif", expect=Identity('"other"', len(BODY)))

    def test_one_request_a_read(self, moto, signed):
        metrics = Metrics()
        loop.run(signed.read_range("s3://bucket/plain.tif", 0, 10, metrics=metrics))
        counts = metrics.snapshot()
        assert (counts.requests, counts.bytes, counts.failures) == (1, 10, 0)
        assert set(counts.hosts) == {"127.0.0.1"}

    def test_a_wrong_secret(self, moto):
        rasteret_sql.s3_credentials(key_id=moto.keys[0], secret=SECRET)
        text = error_of(store_at(moto.url), "s3://bucket/plain.tif", SECRET, moto.keys[0], "Signature=")
        assert "s3://bucket/plain.tif: the secret access key does not fit the key id (HTTP 403, SignatureDoesNotMatch: " in text
        assert "keys of rasteret_sql.s3_credentials" in text

    def test_an_unknown_key(self, moto):
        rasteret_sql.s3_credentials(key_id="AKIANOBODYKNOWSTHIS0", secret=SECRET)
        text = error_of(store_at(moto.url), "s3://bucket/plain.tif", SECRET, "AKIANOBODYKNOWSTHIS0")
        assert "the access key id is not known there (HTTP 403, InvalidAccessKeyId: " in text

    def test_keys_without_rights(self, moto):
        rasteret_sql.s3_credentials(key_id=moto.powerless[0], secret=moto.powerless[1])
        text = error_of(store_at(moto.url), "s3://bucket/plain.tif", *moto.powerless)
        assert "access denied (HTTP 403, AccessDenied: " in text
        assert "rasteret_s3_requester_pays = 'bucket'" in text

    def test_no_such_key_no_such_bucket(self, signed):
        assert "no such file (HTTP 404, NoSuchKey: The specified key does not exist.)" in error_of(signed, "s3://bucket/none.tif")
        assert "no such bucket (HTTP 404, NoSuchBucket: " in error_of(signed, "s3://no-bucket/none.tif")


class TestWholeObjects:
    @pytest.mark.parametrize("key", KEYS[:-1])
    def test_written_objects_are_there(self, moto, signed, key):
        data = b"contents of " + key.encode()
        href = f"s3://bucket/written/{key}"
        etag = loop.run(signed.write(href, data))
        assert moto.client().get_object(Bucket="bucket", Key=f"written/{key}")["Body"].read() == data
        found = loop.run(signed.stat(href))
        assert found == (href, len(data), etag)
        loop.run(signed.delete(href))
        assert loop.run(signed.stat(href)) is None
        loop.run(signed.delete(href))

    def test_empty_and_large(self, moto, signed):
        for size in (0, 9_000_000):
            loop.run(signed.write("s3://bucket/written/size", bytes(size)))
            assert moto.client().head_object(Bucket="bucket", Key="written/size")["ContentLength"] == size

    def test_listing(self, moto, signed):
        found = loop.run(signed.list("s3://bucket/"))
        there = [o for page in moto.client().get_paginator("list_objects_v2").paginate(Bucket="bucket") for o in page["Contents"]]
        assert [(e.href, e.size, e.etag) for e in found] == [(f"s3://bucket/{o['Key']}", o["Size"], o["ETag"]) for o in there]
        assert {f"s3://bucket/{key}" for key in KEYS} <= {e.href for e in found}
        assert [e.href for e in loop.run(signed.list("s3://bucket/ünï/"))] == ["s3://bucket/ünï/cödé 日本.tif"]
        assert [e.href for e in loop.run(signed.list("s3://bucket/plus+"))] == ["s3://bucket/plus+plus.tif"]
        assert loop.run(signed.list("s3://bucket/none/")) == []

    def test_listing_in_pages(self, moto, signed):
        client = moto.client()
        client.create_bucket(Bucket="many")
        for i in range(47):
            client.put_object(Bucket="many", Key=f"a {i:04}", Body=b"x")
        metrics = Metrics()
        found = loop.run(signed.list("s3://many/a", metrics=metrics))
        assert [e.href for e in found] == [f"s3://many/a {i:04}" for i in range(47)]
        assert metrics.snapshot().requests == 3

    def test_refusals(self, moto, signed):
        rasteret_sql.s3_credentials(key_id=moto.powerless[0], secret=moto.powerless[1])
        with pytest.raises(WriteError, match=r"^s3://bucket/w: access denied \(HTTP 403, AccessDenied"):
            loop.run(signed.write("s3://bucket/w", b"x"))
        with pytest.raises(WriteError, match="no such bucket"):
            rasteret_sql.s3_credentials(key_id=moto.keys[0], secret=moto.keys[1])
            loop.run(signed.write("s3://no-bucket/w", b"x"))

    @pytest.mark.parametrize("href", ["https://h/x", "/x", "gs://b/x"])
    def test_only_s3_is_written_and_listed(self, signed, href):
        with pytest.raises(WriteError, match="written to s3:// only"):
            loop.run(signed.write(href, b"x"))
        with pytest.raises(WriteError, match="written to s3:// only"):
            loop.run(signed.delete(href))
        with pytest.raises(ReadError, match="only s3:// is listed"):
            loop.run(signed.list(href))

    @pytest.mark.parametrize("body", [b"", b"<html>", b"<Error/>", b'<!DOCTYPE x [<!ENTITY a "b">]><ListBucketResult/>'])
    def test_listings_that_are_none(self, body):
        with FaultyServer(b"") as server:
            server.script("/b/", forever=Fault(200, {"Content-Range": None}, body))
            with pytest.raises(ReadError, match="something else than a listing"):
                loop.run(store_at(server.url("")).list("s3://b/"))

    def test_an_endless_listing(self):
        page = b"<ListBucketResult><NextContinuationToken>x</NextContinuationToken></ListBucketResult>"
        with FaultyServer(b"") as server:
            server.script("/b/", forever=Fault(200, {"Content-Range": None}, page))
            with pytest.raises(ReadError, match="again and again"):
                loop.run(store_at(server.url("")).list("s3://b/"))


class TestSignedOrNot:
    def test_public_buckets_stay_unsigned(self, server):
        href = f"s3://pub/{id(self):x}.tif"
        assert read(store_at(server.url("")), href) == DATA[:10]
        assert not {name for name in server.requests[-1].headers if name.startswith(("x-amz", "authorization"))}

    def test_keys_known_means_signed(self, server):
        rasteret_sql.s3_credentials(key_id="AKIDEXAMPLE000000000", secret=SECRET, session_token="t0k3n")
        assert read(store_at(server.url(""), s3_region="eu-north-1"), "s3://b/k.tif", 5, 6) == DATA[5:11]
        headers = server.requests[-1].headers
        assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE000000000/")
        assert (
            "/eu-north-1/s3/aws4_request, SignedHeaders=host;range;x-amz-content-sha256;x-amz-date;x-amz-security-token, " in headers["authorization"]
        )
        assert (headers["x-amz-security-token"], headers["range"]) == ("t0k3n", "bytes=5-10")
        assert "x-amz-request-payer" not in headers

    @pytest.mark.parametrize(("setting", "sent"), [("true", False), ("b,c", False), ("c", True), ("false", True)])
    def test_the_unsigned_setting(self, server, setting, sent):
        rasteret_sql.s3_credentials(key_id="k", secret=SECRET)
        read(store_at(server.url(""), s3_unsigned=setting), "s3://b/k.tif")
        assert ("authorization" in server.requests[-1].headers) is sent

    def test_gdals_variable(self, server, monkeypatch):
        monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
        rasteret_sql.s3_credentials(key_id="k", secret=SECRET)
        read(store_at(server.url("")), "s3://b/k.tif")
        assert "authorization" not in server.requests[-1].headers

    def test_keys_of_a_bucket_go_first(self, server):
        rasteret_sql.s3_credentials(key_id="ALL", secret=SECRET)
        rasteret_sql.s3_credentials(key_id="OWN", secret=SECRET, bucket="own", region="sa-east-1")
        store = store_at(server.url(""))
        for bucket, expected in (("own", "OWN/"), ("other", "ALL/")):
            read(store, f"s3://{bucket}/k.tif")
            assert f"Credential={expected}" in server.requests[-1].headers["authorization"]
        read(store, "s3://own/k.tif")
        assert "/sa-east-1/" in server.requests[-1].headers["authorization"]

    def test_files_of_a_bucket_may_differ(self, server, path):
        """A private file read first does not close the public ones."""
        rasteret_sql.s3_credentials(key_id="k", secret=SECRET)
        denied = status(403, body=b"<Error><Code>AccessDenied</Code></Error>")
        server.script(f"/mix{path}/private", forever=denied)
        server.script(f"/mix{path}/public", denied)
        store = store_at(server.url(""))
        error_of(store, f"s3://mix{path}/private")
        assert read(store, f"s3://mix{path}/public") == DATA[:10]
        error_of(store, f"s3://mix{path}/private")
        server.script(f"/mix{path}/own", denied)
        assert read(store, f"s3://mix{path}/own") == DATA[:10]
        assert "authorization" in server.requests[-1].headers, "refused unsigned, so signed"

    def test_turning_unsigned_is_remembered(self, server, path):
        """As AWS does: signed by a stranger 403, unsigned 206."""
        rasteret_sql.s3_credentials(key_id="k", secret=SECRET)
        target = f"/pub{path}"
        server.script(target, status(403, body=b"<Error><Code>AccessDenied</Code></Error>"))
        store = store_at(server.url(""))
        assert read(store, f"s3://pub{path}") == DATA[:10]
        assert read(store, f"s3://pub{path}") == DATA[:10]
        assert ["authorization" in r.headers for r in server.requests if r.path == target] == [True, False, False]

    def test_a_private_file_costs_one_more_request(self, server, path):
        rasteret_sql.s3_credentials(key_id="k", secret=SECRET)
        server.script(f"/priv{path}", forever=status(403, body=b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"))
        store = store_at(server.url(""))
        for attempts in (2, 4, 6):
            text = error_of(store, f"s3://priv{path}", SECRET)
            assert server.attempts(f"/priv{path}") == attempts
        assert "access denied (HTTP 403, AccessDenied: Access Denied); keys of rasteret_sql.s3_credentials" in text

    def test_a_listing_refused(self, server):
        server.script("/shut/", forever=status(403, body=b"<Code>AccessDenied</Code>"))
        with pytest.raises(ReadError, match=r"^s3://shut/a: access denied \(HTTP 403, AccessDenied\); asked unsigned, since no AWS keys are known"):
            loop.run(store_at(server.url("")).list("s3://shut/a"))

    def test_writes_are_signed(self, server, path):
        before = len(server.requests)
        with pytest.raises(WriteError, match=r"^s3://b/x: s3://b is to be written to, so requests must be signed; set AWS_ACCESS_KEY_ID and"):
            loop.run(store_at(server.url("")).write("s3://b/x", b"data"))
        assert len(server.requests) == before
        server.script(f"/b{path}", forever=Fault(200, {"Content-Range": None}, b""))
        loop.run(store_at(server.url(""), s3_unsigned="b").write(f"s3://b{path}", b"data"))
        assert "authorization" not in server.requests[-1].headers

    def test_writes_are_never_turned(self, server, path):
        rasteret_sql.s3_credentials(key_id="k", secret=SECRET)
        server.script(f"/priv{path}", forever=status(403))
        with pytest.raises(WriteError, match="access denied"):
            loop.run(store_at(server.url("")).write(f"s3://priv{path}", b"data"))
        assert server.attempts(f"/priv{path}") == 1

    def test_unsigned_and_refused_says_what_to_set(self, server, path):
        server.script(f"/priv{path}", forever=status(403))
        text = error_of(store_at(server.url("")), f"s3://priv{path}")
        assert text.endswith("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or rasteret_sql.s3_credentials(…) (bytes 0-9)")
        assert server.attempts(f"/priv{path}") == 1
        text = error_of(store_at(server.url(""), s3_unsigned="true"), f"s3://priv{path}")
        assert "asked unsigned, as AWS_NO_SIGN_REQUEST or rasteret_s3_unsigned says" in text

    def test_https_hrefs_of_s3_are_sent_as_they_are(self, server, monkeypatch):
        rasteret_sql.s3_credentials(key_id="k", secret=SECRET)
        monkeypatch.setenv("http_proxy", server.url(""))
        url = "http://b.s3.eu-west-1.amazonaws.com/k.tif"
        server.script(url, forever=status(403))
        text = error_of(store_at(""), url)
        assert "to have requests signed, give s3://b… instead of https://" in text
        assert "authorization" not in server.requests[-1].headers


class TestRequesterPays:
    @pytest.mark.parametrize("bucket", ["usgs-landsat", "naip-analytic"])
    def test_built_in_buckets(self, server, bucket):
        assert bucket in REQUESTER_PAYS
        rasteret_sql.s3_credentials(key_id="k", secret=SECRET)
        read(store_at(server.url("")), f"s3://{bucket}/k.tif")
        headers = server.requests[-1].headers
        assert headers["x-amz-request-payer"] == "requester"
        assert ";x-amz-request-payer, " in headers["authorization"], "signed along"

    @pytest.mark.parametrize(("setting", "bucket", "sent"), [("true", "any", True), ("mine", "mine", True), ("mine", "any", False)])
    def test_the_setting(self, server, setting, bucket, sent):
        rasteret_sql.s3_credentials(key_id="k", secret=SECRET)
        read(store_at(server.url(""), s3_requester_pays=setting), f"s3://{bucket}/k.tif")
        assert ("x-amz-request-payer" in server.requests[-1].headers) is sent

    def test_gdals_variable(self, server, monkeypatch):
        monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
        rasteret_sql.s3_credentials(key_id="k", secret=SECRET)
        read(store_at(server.url("")), "s3://any/k.tif")
        assert server.requests[-1].headers["x-amz-request-payer"] == "requester"

    def test_without_keys_nothing_is_sent(self, server, monkeypatch):
        monkeypatch.setenv("https_proxy", server.url(""))
        before = len(server.requests)
        assert error_of(store_at(""), "s3://usgs-landsat/collection02/k.tif") == (
            "s3://usgs-landsat/collection02/k.tif: s3://usgs-landsat is requester-pays: reading it is charged to your AWS account, so requests must be "
            "signed; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or rasteret_sql.s3_credentials(…) (bytes 0-9)"
        )
        assert "s3://mine is requester-pays" in error_of(store_at(server.url(""), s3_requester_pays="mine"), "s3://mine/k.tif")
        rasteret_sql.s3_credentials(key_id="k", secret=SECRET)
        text = error_of(store_at("", s3_unsigned="true"), "s3://usgs-landsat/k.tif")
        assert "signed; but rasteret_s3_unsigned or AWS_NO_SIGN_REQUEST forbids it" in text
        assert len(server.requests) == before

    def test_readiness_to_pay_for_all_does_not_close_public_buckets(self, server):
        read(store_at(server.url(""), s3_requester_pays="true"), "s3://public/k.tif")
        read(store_at(server.url("")), "s3://usgs-landsat/copied.tif")
        assert "authorization" not in server.requests[-1].headers

    def test_refused_is_not_tried_unsigned(self, server):
        rasteret_sql.s3_credentials(key_id="k", secret=SECRET)
        server.script("/mine/no.tif", forever=status(403))
        error_of(store_at(server.url(""), s3_requester_pays="mine"), "s3://mine/no.tif")
        assert server.attempts("/mine/no.tif") == 1


class TestErrors:
    ECHO = (
        b"\xef\xbb\xbf<?xml version='1.0'?><Error><Code>%s</Code><Message>No, you with the secret wJalrXUtnFEMI/K7MDENG/s3cr3t\n"
        b"and Signature=abcdef0123</Message><StringToSign>x</StringToSign><SignatureProvided>5ecret</SignatureProvided></Error>"
    )

    @pytest.mark.parametrize(
        ("code", "http", "says"),
        [
            ("ExpiredToken", 400, "the session token has expired: get new keys (HTTP 400, ExpiredToken: No, you"),
            ("RequestTimeTooSkewed", 403, "the clock of this machine is wrong by more than 15 minutes"),
            ("SignatureDoesNotMatch", 403, "the secret access key does not fit"),
            ("InvalidAccessKeyId", 403, "the access key id is not known there"),
            ("AccessDenied", 403, "access denied"),
            ("Teapot", 400, "the server refused (HTTP 400, Teapot"),
        ],
    )
    def test_what_servers_say_without_secrets(self, server, path, code, http, says):
        rasteret_sql.s3_credentials(key_id="AKIDEXAMPLE000000000", secret=SECRET, session_token="t0k3nt0k3n")
        server.script(f"/b{path}", forever=status(http, body=self.ECHO % code.encode()))
        text = error_of(store_at(server.url("")), f"s3://b{path}", SECRET, "t0k3nt0k3n", "AKIDEXAMPLE", "abcdef0123", "5ecret")
        assert says in text

    def test_an_expired_token_is_renewed_once(self, server, path, monkeypatch):
        """Programs that hand out keys rewrite the environment or the profile."""
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "OLD")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        store = store_at(server.url(""))
        assert read(store, f"s3://b{path}") == DATA[:10]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "NEW")
        server.script(f"/b{path}", status(400, body=b"<Code>ExpiredToken</Code>"))
        assert read(store, f"s3://b{path}") == DATA[:10]
        assert "Credential=NEW/" in server.requests[-1].headers["authorization"]

    def test_a_request_that_came_too_slowly_is_sent_again(self, server, path):
        server.script(f"/b{path}", status(400, body=b"<Error><Code>RequestTimeout</Code></Error>"))
        assert read(store_at(server.url("")), f"s3://b{path}") == DATA[:10]

    def test_half_a_pair_of_keys(self, monkeypatch, server):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        text = error_of(store_at(server.url("")), "s3://b/k", SECRET, kind=InvalidArgument)
        assert text == "AWS_SECRET_ACCESS_KEY is set, AWS_ACCESS_KEY_ID is not: set both, or neither"


@pytest.fixture(scope="module")
def amazon(tmp_path_factory):
    """A server with a certificate for *.amazonaws.com."""
    authority = trustme.CA()
    trusted = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("b.s3.amazonaws.com", "b.s3.eu-west-1.amazonaws.com", "b.s3.us-west-2.amazonaws.com").configure_cert(context)
    with FaultyServer(DATA, tls=context) as running:
        yield running, trusted


class TestRegions:
    def test_the_region_is_learned_from_a_refusal(self, server, path):
        """MinIO and AWS name it in the body, for requests that are signed for another."""
        rasteret_sql.s3_credentials(key_id="k", secret=SECRET)
        body = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>ap-south-1</Region></Error>"
        server.script(f"/b{path}", status(400, body=body))
        store = store_at(server.url(""))
        assert read(store, f"s3://b{path}") == read(store, f"s3://b{path}") == DATA[:10]
        regions = [r.headers["authorization"].split("/")[2] for r in server.requests if r.path == f"/b{path}"]
        assert regions == ["us-east-1", "ap-south-1", "ap-south-1"]

    def test_a_server_that_cannot_decide_is_left(self, server, path):
        rasteret_sql.s3_credentials(key_id="k", secret=SECRET)
        one, two = (status(400, x_amz_bucket_region=region) for region in ("eu-west-1", "eu-west-2"))
        server.script(f"/b{path}", one, two, one, two, one, two)
        error_of(store_at(server.url("")), f"s3://b{path}")
        assert server.attempts(f"/b{path}") == 2

    def test_redirects_elsewhere_take_no_signature_along(self, server, path):
        rasteret_sql.s3_credentials(key_id="k", secret=SECRET, session_token="t0k3n")
        with FaultyServer(DATA) as other:
            server.script(f"/b{path}", status(307, Location=other.url("/there")))
            assert read(store_at(server.url("")), f"s3://b{path}") == DATA[:10]
            assert not {name for name in other.requests[-1].headers if name.startswith(("x-amz", "authorization"))}

    @pytest.mark.parametrize("target", ["file:///etc/passwd", "/etc/passwd"])
    def test_redirects_never_lead_to_files(self, server, path, target):
        server.script(f"/b{path}", status(307, Location=target))
        server.script("/etc/passwd", forever=status(404))
        error_of(store_at(server.url("")), f"s3://b{path}")

    def test_at_amazon_itself(self, amazon, monkeypatch):
        """Virtual hosts, 301 without Location, region remembered: names of Amazon's hosts resolved to this machine."""
        import socket

        from rasteret_sql.storage.network import Network

        server, certificate = amazon
        asked = []

        async def here(host, port=0, family=socket.AF_INET):
            asked.append(host)
            return [{"hostname": host, "host": "127.0.0.1", "port": server.port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

        async def prepare():
            connector = loop.resource(Network).session.connector
            monkeypatch.setattr(connector._resolver, "resolve", here)
            monkeypatch.setattr(connector, "_ssl", ssl.create_default_context(cafile=certificate))

        loop.run(prepare())
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        server.script("/k.tif", status(301, x_amz_bucket_region="us-west-2"))
        store = store_at("")
        assert read(store, "s3://b/k.tif") == DATA[:10]
        assert [(r.headers["host"], r.headers["authorization"].split("/")[2]) for r in server.requests] == [
            ("b.s3.eu-west-1.amazonaws.com", "eu-west-1"),
            ("b.s3.us-west-2.amazonaws.com", "us-west-2"),
        ]
        read(store_at(""), "s3://b/k.tif")
        assert server.requests[-1].headers["host"] == "b.s3.us-west-2.amazonaws.com"
        assert len(server.requests) == 3
