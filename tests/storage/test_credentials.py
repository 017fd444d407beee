"""Where secrets come from, where they go, and that nothing shows them."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta

import botocore.session
import pytest

import rasteret_sql
from rasteret_sql.errors import InvalidArgument, ReadError
from rasteret_sql.settings import Settings, resolve_settings
from rasteret_sql.storage import credentials, loop
from rasteret_sql.storage.aws import Chain, read_environment
from rasteret_sql.storage.metrics import Metrics
from rasteret_sql.storage.retry import RetryPolicy
from rasteret_sql.storage.routes import Call
from rasteret_sql.storage.store import Store
from tests.servers.faulty import FaultyServer, status
from tests.storage.conftest import DATA

SECRET = "wJalrXUtnFEMI/K7MDENG/s3cr3t"


def read(store, href, **options):
    return loop.run(store.read_range(href, 0, 10, **options))


@pytest.fixture
def files(monkeypatch, tmp_path):
    """Writers of the two profile files."""

    def write(shared="", config=""):
        (tmp_path / "shared").write_text(shared)
        (tmp_path / "config").write_text(config)

    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "shared"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return write


PROFILES = {
    "default": (None, "[default]\naws_access_key_id = D\naws_secret_access_key = sd\n", "[default]\nregion = eu-west-3\n"),
    "named": (
        "work",
        "[default]\naws_access_key_id=D\naws_secret_access_key=sd\n\n[work]\naws_access_key_id=W\naws_secret_access_key=s%w/+==\naws_session_token = t==\n",
        "[profile work]\nregion=us-west-2\n",
    ),
    "in the config file": ("work", "", "[profile work]\naws_access_key_id = C\naws_secret_access_key = sc\nregion = ca-central-1\n"),
    "in both": (
        "work",
        "[work]\naws_access_key_id = W\naws_secret_access_key = sw\n",
        "[profile work]\naws_access_key_id = C\naws_secret_access_key = sc\nregion = x-y-1\n",
    ),
    "quoted": ("my work", "[my work]\naws_access_key_id = W\naws_secret_access_key = sw\n", '[profile "my work"]\nregion = eu-west-1\n'),
    "none": (None, "[other]\naws_access_key_id = W\naws_secret_access_key = sw\n", ""),
    "comments": (None, "# first\n[default]\n; second\naws_access_key_id = D\naws_secret_access_key = s#d\n", ""),
}


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_are_read_as_botocore_reads_them(files, monkeypatch, name):
    profile, shared, config = PROFILES[name]
    files(shared, config)
    if profile:
        monkeypatch.setenv("AWS_PROFILE", profile)
    session = botocore.session.Session()
    theirs = session.get_credentials()
    found = read_environment()
    assert found.region == (session.get_config_variable("region") or "")
    assert (found.keys is None) == (theirs is None)
    if found.keys is not None:
        assert (found.keys.key_id, found.keys.secret, found.keys.session_token) == (theirs.access_key, theirs.secret_key, theirs.token)
        assert found.keys.source == f"the AWS profile {profile or 'default'}"


def test_the_environment_goes_first(files, monkeypatch):
    files("[default]\naws_access_key_id = D\naws_secret_access_key = sd\n", "[default]\nregion = eu-west-3\nendpoint_url = http://h:1/\n")
    found = read_environment()
    assert (found.endpoint, found.keys.key_id, found.unsigned, found.requester_pays) == ("http://h:1", "D", False, False)
    env = {
        "AWS_ACCESS_KEY_ID": "E",
        "AWS_SECRET_ACCESS_KEY": "se",
        "AWS_SESSION_TOKEN": "te",
        "AWS_DEFAULT_REGION": "eu-north-1",
        "AWS_ENDPOINT_URL": "http://h:2",
    }
    for key, value in env.items():
        monkeypatch.setenv(key, value)
    found = read_environment()
    assert (found.keys.key_id, found.keys.secret, found.keys.session_token, found.region, found.endpoint) == (
        "E",
        "se",
        "te",
        "eu-north-1",
        "http://h:2",
    )
    monkeypatch.setenv("AWS_REGION", "eu-north-2")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://h:3")
    assert (read_environment().region, read_environment().endpoint) == ("eu-north-2", "http://h:3")
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    assert read_environment().endpoint == ""


def test_an_unknown_profile(files, monkeypatch):
    files("[work]\n", "[profile home]\n")
    monkeypatch.setenv("AWS_PROFILE", "wrok")
    with pytest.raises(InvalidArgument, match=r"AWS_PROFILE = 'wrok': there is no such profile; did you mean 'work'\?; profiles: home, work"):
        read_environment()


def test_a_broken_file_is_not_quoted(files):
    files(f"[default]\naws_secret_access_key {SECRET}\n")
    with pytest.raises(InvalidArgument, match="is not a file of AWS profiles") as caught:
        read_environment()
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_files_are_read_when_they_change_only(files, monkeypatch):
    files("[default]\naws_access_key_id = A\naws_secret_access_key = s\n")
    assert read_environment().keys.key_id == "A"
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.read_text", lambda *_, **__: pytest.fail("read again"))
        assert read_environment().keys.key_id == "A"
    files("[default]\naws_access_key_id = LONGER\naws_secret_access_key = s\n")
    assert read_environment().keys.key_id == "LONGER"


def test_reading_costs_no_file_access_per_request(files, server, monkeypatch):
    files("[default]\naws_access_key_id = A\naws_secret_access_key = s\n")
    store = Store(Settings(s3_endpoint=server.url("")), Metrics())
    read(store, "s3://b/k.tif")
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.stat", lambda *_, **__: pytest.fail("looked at files again"))
        read(store, "s3://b/k.tif")
    assert "Credential=A/" in server.requests[-1].headers["authorization"]


class TestChain:
    """botocore's chain, here through credential_process, which is offline."""

    @pytest.fixture
    def process(self, files, tmp_path):
        script = tmp_path / "keys.sh"
        script.write_text(
            f'#!/bin/sh\necho x >> {tmp_path}/calls\necho \'{{"Version": 1, "AccessKeyId": "CHAIN", "SecretAccessKey": "{SECRET}", "SessionToken": "tok"}}\'\n'
        )
        script.chmod(0o755)
        files("", f"[default]\ncredential_process = {script}\nregion = eu-south-1\n")
        return tmp_path / "calls"

    def test_it_is_asked_when_a_bucket_refuses(self, process, server, path):
        server.script(f"/b{path}", status(403))
        store = Store(Settings(s3_endpoint=server.url("")), Metrics())
        for _ in range(2):
            assert read(store, f"s3://b{path}") == DATA[:10]
        read(Store(Settings(s3_endpoint=server.url("")), Metrics()), f"s3://b{path}")
        sent = [r.headers.get("authorization", "") for r in server.requests if r.path == f"/b{path}"]
        assert [text[:37] for text in sent] == [""] + ["AWS4-HMAC-SHA256 Credential=CHAIN/202"] * 3
        assert server.requests[-1].headers["x-amz-security-token"] == "tok"
        assert process.read_text() == "x\n"

    def test_requester_pays_asks_it_at_once(self, process, server):
        read(Store(Settings(s3_endpoint=server.url(""), s3_requester_pays="paid"), Metrics()), "s3://paid/k.tif")
        assert server.requests[-1].headers["x-amz-request-payer"] == "requester"
        assert "Credential=CHAIN/" in server.requests[-1].headers["authorization"]

    def test_public_buckets_do_not_ask_it(self, process, server):
        read(Store(Settings(s3_endpoint=server.url("")), Metrics()), "s3://b/k.tif")
        assert not process.exists()

    def test_keys_that_expire_are_renewed_before(self, files, tmp_path):
        """botocore renews keys with less than ten minutes left; ours asks it every minute."""
        script = tmp_path / "keys.sh"
        expiry = (datetime.now(UTC) + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
        keys = f'"Version": 1, "AccessKeyId": "CHAIN\'$(wc -l < {tmp_path}/calls)\'", "SecretAccessKey": "{SECRET}", "SessionToken": "t", "Expiration": "{expiry}"'
        script.write_text(f"#!/bin/sh\necho x >> {tmp_path}/calls\necho '{{{keys}}}'\n")
        script.chmod(0o755)
        files("", f"[default]\ncredential_process = {script}\n")

        async def ask(later_s):
            chain = loop.resource(Chain)
            chain._expires -= later_s
            return (await chain.keys()).key_id.replace(" ", "")

        asked = [loop.run(ask(later)) for later in (0, 30, 40)]
        assert asked[0] == asked[1]
        assert asked[2] != asked[0]

    def test_writing_asks_it_at_once(self, process, server, path):
        server.script(f"/b{path}", forever=status(200))
        loop.run(Store(Settings(s3_endpoint=server.url("")), Metrics()).write(f"s3://b{path}", b""))
        assert "Credential=CHAIN/" in server.requests[-1].headers["authorization"]

    def test_it_fails_in_one_line(self, files, server, path):
        files("", "[default]\ncredential_process = /bin/false\n")
        server.script(f"/b{path}", forever=status(403))
        with pytest.raises(ReadError, match=r"access denied \(HTTP 403\).*; the AWS credential chain failed: ") as caught:
            read(Store(Settings(s3_endpoint=server.url("")), Metrics()), f"s3://b{path}")
        assert "\n" not in str(caught.value)

    def test_without_botocore(self, process, server, path, monkeypatch):
        monkeypatch.setattr("rasteret_sql.storage.aws.has_botocore", lambda: False)
        server.script(f"/b{path}", forever=status(403))
        with pytest.raises(ReadError, match=r"the AWS profile default needs the whole credential chain: pip install 'rasteret-sql\[aws\]'"):
            read(Store(Settings(s3_endpoint=server.url("")), Metrics()), f"s3://b{path}")

    def test_keys_are_asked_for_again_before_they_expire(self, process, monkeypatch):
        async def ask():
            return await loop.resource(Chain).keys()

        assert loop.run(ask()).key_id == "CHAIN"
        monkeypatch.setattr("rasteret_sql.storage.aws._FRESH_S", -1.0)
        loaded = []
        monkeypatch.setattr(Chain, "_load", lambda self: loaded.append(1))
        loop.run(ask())
        assert loaded == [], "fresh for a minute"

        async def later():
            loop.resource(Chain)._expires = 0.0
            return await loop.resource(Chain).keys()

        loop.run(later())
        assert loaded == [1]


class TestHeaders:
    def test_they_go_to_their_host_alone(self, server, path):
        store = Store(Settings(), Metrics())
        rasteret_sql.http_headers(f"127.0.0.1:{server.port}", {"Authorization": "Bearer s3cr3t", "X-More": "1"})
        with FaultyServer(DATA) as other:
            url = server.script(path, status(302, Location=other.url("/there")))
            assert read(store, url) == DATA[:10]
            assert server.requests[-1].headers["authorization"] == "Bearer s3cr3t"
            assert server.requests[-1].headers["x-more"] == "1"
            assert server.requests[-1].headers["range"] == "bytes=0-9"
            assert not {"authorization", "x-more"} & set(other.requests[-1].headers)
            rasteret_sql.http_headers(f"127.0.0.1:{server.port}", {})
            read(store, url)
            assert "authorization" not in server.requests[-1].headers

    def test_a_redirect_back_has_them_again(self, server, path):
        rasteret_sql.http_headers(f"127.0.0.1:{server.port}", {"Authorization": "Bearer s3cr3t"})
        with FaultyServer(DATA) as other:
            other.script("/x", status(302, Location=server.url(path)))
            assert read(Store(Settings(), Metrics()), other.url("/x")) == DATA[:10]
            assert "authorization" not in other.requests[-1].headers
            assert "authorization" in server.requests[-1].headers

    def test_of_the_environment(self, server, path, monkeypatch):
        monkeypatch.setenv("RASTERET_HTTP_HEADERS", json.dumps({f"LOCALHOST:{server.port}": {"Authorization": "Bearer s3cr3t"}}))
        store = Store(Settings(), Metrics())
        read(store, server.url(path).replace("127.0.0.1", "localhost"))
        assert server.requests[-1].headers["authorization"] == "Bearer s3cr3t"
        read(store, server.url(path))
        assert "authorization" not in server.requests[-1].headers

    @pytest.mark.parametrize(
        ("host", "url", "sent"),
        [
            ("h.org", "https://h.org/a", True),
            ("h.org", "https://H.org:443/a", True),
            ("h.org", "http://h.org/a", False),
            ("h.org", "https://h.org:8443/a", False),
            ("h.org:8443", "https://h.org:8443/a", True),
            ("h.org", "https://sub.h.org/a", False),
            ("h.org", "https://h.org.evil.org/a", False),
            ("h.org", "https://h.org@evil.org/a", False),
            ("[::1]:80", "http://[::1]/a", False),
            ("[::1]", "http://[::1]/a", True),
            ("127.0.0.2:8000", "http://127.0.0.2:8000/a", True),
            ("localhost", "http://localhost/", True),
        ],
    )
    def test_where_they_go(self, host, url, sent):
        rasteret_sql.http_headers(host, {"Authorization": "x"})
        assert bool(credentials.headers_for(url)) is sent

    def test_a_refusal_says_why_they_were_not_sent(self, server, path):
        rasteret_sql.http_headers("127.0.0.1", {"Authorization": "Bearer s3cr3t"})
        with pytest.raises(ReadError, match=rf"HTTP 401\); headers were given for 127.0.0.1, not for 127.0.0.1:{server.port}"):
            read(Store(Settings(), Metrics()), server.script(path, forever=status(401)))
        assert "not sent over plain http" in (credentials.http_headers("h.org", {"A": "b"}) or credentials.header_hint("http://h.org/x"))

    def test_a_refusal_says_how_to_give_some(self, server, path):
        with pytest.raises(ReadError, match=rf"HTTP 401\); give them by rasteret_sql.http_headers\('127.0.0.1:{server.port}', …\)"):
            read(Store(Settings(), Metrics()), server.script(path, forever=status(401)))

    def test_userinfo_of_a_url_comes_before(self, server, path):
        rasteret_sql.http_headers(f"127.0.0.1:{server.port}", {"authorization": "Bearer s3cr3t"})
        read(Store(Settings(), Metrics()), server.url(path).replace("127.0.0.1", "me:pw@127.0.0.1"))
        assert server.requests[-1].headers["authorization"].startswith("Basic ")

    @pytest.mark.parametrize(
        ("host", "headers"),
        [
            ("https://h", {}),
            ("h/x", {}),
            ("", {}),
            ("h", {"Range": "bytes=0-1"}),
            ("h", {"host": "x"}),
            ("h", {"bad name": "x"}),
            ("h", {"A": "s3cr3t\r\nB: c"}),
            ("h", {"A": 5}),
        ],
    )
    def test_impossible_ones(self, host, headers):
        with pytest.raises(InvalidArgument, match="http_headers: ") as caught:
            rasteret_sql.http_headers(host, headers)
        assert "s3cr3t" not in str(caught.value)

    @pytest.mark.parametrize("text", ["s3cr3t", "[]", '{"h": "s3cr3t"}', '{"h": {"A": "s3cr3t\\n"}}'])
    def test_an_impossible_environment(self, monkeypatch, text):
        monkeypatch.setenv("RASTERET_HTTP_HEADERS", text)
        with pytest.raises(InvalidArgument, match="RASTERET_HTTP_HEADERS") as caught:
            credentials.headers_for("https://h/x")
        assert "s3cr3t" not in str(caught.value)


class TestNothingIsShown:
    def test_objects(self, server, monkeypatch):
        rasteret_sql.s3_credentials(key_id="AKIDEXAMPLE", secret=SECRET, session_token="t0k3n-s3cr3t")
        rasteret_sql.azure_sas("sig=s3cr3t", account="a")
        rasteret_sql.http_headers("h", {"Authorization": "s3cr3t"})
        store = Store(Settings(s3_endpoint=server.url("")), Metrics())
        shown = [repr(credentials.given_s3("b")), repr(credentials._given)]

        async def routes():
            for href in ("s3://b/k", "az://a/c/b", "https://h/x", "https://a.blob.core.windows.net/c/b?sig=s3cr3t", "https://h/x?sig=s3cr3t"):
                route = store._route(href, None)
                route.begin()
                await route.dress(Call())
                shown.append(repr(route))

        loop.run(routes())
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        shown.append(repr(read_environment()))
        assert len(shown) == 8
        for text in shown:
            assert "s3cr3t" not in text
            assert SECRET not in text
            assert "AKIDEXAMPLE" not in text

    def test_logs(self, server, caplog):
        rasteret_sql.s3_credentials(key_id="k", secret=SECRET)
        with caplog.at_level(logging.DEBUG):
            read(Store(Settings(s3_endpoint=server.url("")), Metrics()), "s3://b/k.tif")
        assert SECRET not in caplog.text

    def test_settings_and_counters(self, con, server):
        rasteret_sql.s3_credentials(key_id="k", secret=SECRET)
        rasteret_sql.http_headers(f"127.0.0.1:{server.port}", {"Authorization": "Bearer s3cr3t"})
        con.execute(f"SET VARIABLE rasteret_s3_endpoint = '{server.url('')}'").fetchall()
        with pytest.raises(Exception, match="TIFF"):
            con.execute("FROM rasteret_bands('s3://b/k.tif')").fetchall()
        assert "authorization" in server.requests[-1].headers
        told = str([con.execute(f"FROM {f}()").fetchall() for f in ("rasteret_settings", "rasteret_io", "rasteret_functions")])
        assert "s3cr3t" not in told

    @pytest.mark.parametrize(
        ("name", "value"),
        [("s3_endpoint", "https://user:s3cr3t@h"), ("sas_api", "https://h/?sig=s3cr3t"), ("azure_endpoint", "ftp://h"), ("s3_region", "a b")],
    )
    def test_settings_take_no_secrets(self, name, value):
        with pytest.raises(InvalidArgument, match=f"rasteret_{name} = ") as caught:
            resolve_settings({name: value}, {})
        assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "normal"),
    [
        (True, "true"), (False, "false"), ("true", "true"), ("FALSE", "false"), ("", "false"), ("1", "true"),
        ("b, a", "a,b"), (["s3://b/", "a"], "a,b"), (["true"], "true"), ("one", "one"),
    ],
)  # fmt: skip
def test_bucket_settings(value, normal):
    assert resolve_settings({"s3_unsigned": value}, {}).s3_unsigned == normal


@pytest.mark.parametrize("value", ["a b", 5, ["x", 5], "a,,b", "/"])
def test_bucket_settings_refused(value):
    with pytest.raises(InvalidArgument, match="is not true, false or names of buckets"):
        resolve_settings({"s3_requester_pays": value}, {})


@pytest.mark.parametrize(("key_id", "secret"), [("", "s"), ("k", ""), ("k ", "s"), ("k", "s\n")])
def test_impossible_keys(key_id, secret):
    with pytest.raises(InvalidArgument, match="is empty or has characters that no key has"):
        rasteret_sql.s3_credentials(key_id=key_id, secret=secret)


def test_an_endpoint_with_credentials():
    with pytest.raises(InvalidArgument, match="endpoint is not an http") as caught:
        rasteret_sql.s3_credentials(key_id="k", secret="s", endpoint="http://u:s3cr3t@h")
    assert "s3cr3t" not in str(caught.value)


def test_endpoints_of_a_bucket(server):
    rasteret_sql.s3_credentials(key_id="k", secret=SECRET, bucket="mine", endpoint=server.url("/"))
    assert read(Store(Settings(), Metrics(), policy=RetryPolicy(attempts=1)), "s3://mine/k.tif") == DATA[:10]
    assert server.requests[-1].path == "/mine/k.tif"
