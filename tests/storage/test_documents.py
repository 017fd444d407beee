"""JSON over HTTP: what is sent, what is accepted, what is tried again, what is said of a refusal."""

from __future__ import annotations

import gzip
import json
import threading
import time
import zlib

import pytest

from rasteret_sql.errors import ReadError
from rasteret_sql.storage import documents, loop
from rasteret_sql.storage.documents import DocumentRequest, RefusedError, fetch_document, fetch_documents
from rasteret_sql.storage.metrics import Metrics
from rasteret_sql.storage.retry import RetryPolicy
from tests.servers.answering import AnsweringServer, Reply

QUICK = RetryPolicy(attempts=3, base_s=0.01, cap_s=0.02)


def fetch(url, body=None, headers=None, metrics=None, **more):
    return loop.run(fetch_document(DocumentRequest(url, body, headers or {}), metrics or Metrics(), policy=QUICK, **more))


def refusal(*replies):
    """What is said when a server answers with these, the last one again and again."""
    left = list(replies)
    with AnsweringServer(lambda asked: left.pop(0) if len(left) > 1 else left[0]) as server:
        with pytest.raises(ReadError) as caught:
            fetch(f"{server.url}/search?token=hush")
        assert "hush" not in str(caught.value)
        assert "\n" not in str(caught.value)
        return str(caught.value).removeprefix(f"{server.url}/search: "), len(server.asked), caught.value


def test_get_and_post():
    with AnsweringServer(lambda asked: Reply({"said": asked.body})) as server:
        metrics = Metrics()
        assert fetch(f"{server.url}/a?b=1", metrics=metrics).data == {"said": None}
        assert fetch(server.url, {"x": [1, 2.5]}).data == {"said": {"x": [1, 2.5]}}
        got, posted = server.asked
        assert (got.method, got.path, got.query) == ("GET", "/a", {"b": "1"})
        assert (posted.method, posted.headers["content-type"]) == ("POST", "application/json")
        assert got.headers["user-agent"].startswith("rasteret-sql")
        counts = metrics.snapshot()
        assert (counts.requests, counts.bytes, counts.failures) == (1, len(json.dumps({"said": None})), 0)


@pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed(name, pack):
    data = {"features": ["x" * 1000] * 100}
    with AnsweringServer(lambda asked: Reply(pack(json.dumps(data).encode()), headers={"Content-Encoding": name})) as server:
        assert fetch(server.url).data == data


def test_broken_compression_is_tried_again():
    whole = gzip.compress(b'{"a": 1}')
    said, asked, _ = refusal(Reply(whole[:-9], headers={"Content-Encoding": "gzip"}))
    assert (said, asked) == ("the answer is cut short; gave up after 3 attempts", 3)


def test_a_bomb_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(documents, "MAX_BYTES", 1 << 20)
    said, asked, _ = refusal(Reply(gzip.compress(b" " * (50 << 20)), headers={"Content-Encoding": "gzip"}))
    assert (said, asked) == ("the document is larger than 1 MiB", 1)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(status):
    replies = [Reply(b"", status), Reply({"ok": True})]
    with AnsweringServer(lambda asked: replies.pop(0)) as server:
        metrics = Metrics()
        assert fetch(server.url, {"posted": 1}, metrics=metrics).data == {"ok": True}
        assert (metrics.snapshot().requests, metrics.snapshot().retries) == (2, 1)


def test_retry_after_is_obeyed():
    replies = [Reply(b"", 503, {"Retry-After": "1"}), Reply({"ok": True})]
    with AnsweringServer(lambda asked: replies.pop(0)) as server:
        started = time.monotonic()
        fetch(server.url)
        assert time.monotonic() - started >= 1.0


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply({"code": "NotFoundError", "description": "Collection x does not exist."}, 404), "HTTP 404: Collection x does not exist."),
        (Reply({"detail": "Invalid filter:  --> 1:19\n  |\n"}, 400), "HTTP 400: Invalid filter: --> 1:19 |"),
        (Reply({"detail": [{"loc": ["body", "datetime"], "msg": "too short"}]}, 422), "HTTP 422: body.datetime: too short"),
        (Reply({"message": "Forbidden"}, 403), f"HTTP 403: Forbidden{documents._HEADERS}"),
        (Reply({"error": {"message": "no"}}, 400), "HTTP 400: no"),
        (Reply(b"<html><body>Bad\nGateway</body></html>", 400), "HTTP 400"),
        (Reply(b"see http://h/x?sig=hush&a=1 please", 400), "HTTP 400: see http://h/x please"),
        (Reply(b"", 401), f"HTTP 401{documents._HEADERS}"),
    ],
)
def test_what_the_server_says_is_passed_on(reply, said):
    message, asked, error = refusal(reply)
    assert (message, asked) == (f"the server answered {said}", 1)
    assert isinstance(error, RefusedError)
    assert error.status == reply.status


@pytest.mark.parametrize(
    ("body", "said"), [(b"<!doctype html>", "an HTML page"), (b"hello", "no JSON"), (b"", "no JSON"), (b"[" * 100_000, "no JSON")]
)
def test_no_json(body, said):
    assert refusal(Reply(body))[0] == f"{said} came back instead of a JSON document"


def test_redirects_keep_the_method_and_drop_headers_for_others():
    with AnsweringServer(lambda asked: Reply({"here": True})) as other:

        def answer(asked):
            target = {"/a": "/b", "/b": f"{other.url}/c"}[asked.path]
            return Reply(b"", 307, {"Location": target})

        with AnsweringServer(answer) as server:
            found = fetch(f"{server.url}/a", {"q": 1}, {"X-Key": "hush"})
            assert (found.data, found.url) == ({"here": True}, f"{other.url}/c")
            assert [asked.headers.get("x-key") for asked in server.asked] == ["hush", "hush"]
            assert (other.asked[0].headers.get("x-key"), other.asked[0].method, other.asked[0].body) == (None, "POST", {"q": 1})


def test_a_redirect_that_would_lose_the_search():
    with AnsweringServer(lambda asked: Reply(b"", 302, {"Location": "/b"})) as server, pytest.raises(RefusedError, match="cannot be followed"):
        fetch(server.url, {"q": 1})


def test_redirects_end():
    assert refusal(Reply(b"", 302, {"Location": "/search"}))[0] == "more than 5 redirects"


def test_headers_given_for_a_host_go_there_alone(monkeypatch):
    with AnsweringServer(lambda asked: Reply({})) as other, AnsweringServer(lambda asked: Reply(b"", 307, {"Location": f"{other.url}/x"})) as server:
        monkeypatch.setenv("RASTERET_HTTP_HEADERS", json.dumps({server.url.removeprefix("http://"): {"X-Api-Key": "hush"}}))
        fetch(server.url)
        assert server.asked[0].headers["x-api-key"] == "hush"
        assert "x-api-key" not in other.asked[0].headers


def test_the_deadline_ends_it():
    with AnsweringServer(lambda asked: time.sleep(1) or Reply({})) as server, pytest.raises(ReadError, match="no answer before the deadline"):
        fetch(server.url, deadline=time.monotonic() + 0.2)


@pytest.mark.parametrize("url", ["ftp://h/x", "http://", "http://a b/", "file:///etc/passwd", "catalog.json"])
def test_what_is_no_url(url):
    with pytest.raises(ReadError, match="not a valid URL"):
        fetch(url)


def test_many_at_once_in_order():
    together = threading.Barrier(8, timeout=20)  # nobody is answered before all have asked
    with AnsweringServer(lambda asked: (together.wait(), Reply({"path": asked.path}))[1]) as server:
        found = loop.run(fetch_documents([DocumentRequest(f"{server.url}/{i}") for i in range(8)], Metrics()))
        assert [document.data["path"] for document in found] == [f"/{i}" for i in range(8)]


def test_one_failure_is_the_failure_of_all():
    with AnsweringServer(lambda asked: Reply({}, 404 if asked.path == "/3" else 200)) as server, pytest.raises(RefusedError, match="/3: .*HTTP 404"):
        loop.run(fetch_documents([DocumentRequest(f"{server.url}/{i}") for i in range(6)], Metrics()))
