"""The sample server against the standard library's HTTP client: ranges, refusals, counters, a clean end."""

from __future__ import annotations

import http.client
import os
import socket
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest

from rasteret_sql.errors import InvalidArgument, RasteretError
from rasteret_sql.sample.server import SampleServer, parse_range

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BODY = bytes(range(256)) * 40
SIZE = len(BODY)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    served = tmp_path / "served"
    (served / "deep").mkdir(parents=True)
    (served / "a.tif").write_bytes(BODY)
    (served / "deep" / "with space.bin").write_bytes(b"deep")
    (served / "empty").write_bytes(b"")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "served-beside").mkdir()
    (tmp_path / "served-beside" / "secret.txt").write_text("secret")
    (served / "link").symlink_to(tmp_path / "secret.txt")
    return served


@pytest.fixture
def server(root: Path) -> Iterator[SampleServer]:
    with SampleServer(root) as running:
        yield running


def connect(server: SampleServer) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)


def ask(server: SampleServer, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = connect(server)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_whole_file(server: SampleServer) -> None:
    with urllib.request.urlopen(f"{server.url}/a.tif") as response:
        assert response.status == 200
        assert response.headers["Accept-Ranges"] == "bytes"
        assert response.headers["Content-Length"] == str(SIZE)
        assert response.headers["Content-Range"] is None
        assert response.headers["Content-Type"].startswith("image/tiff")
        assert response.read() == BODY


@pytest.mark.parametrize(
    ("header", "first", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=10-", 10, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
        (f"bytes=-{SIZE + 5}", 0, SIZE),
        (f"bytes=100-{SIZE + 999}", 100, SIZE),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        ("Bytes=3-4", 3, 5),
    ],
)
def test_partial_content(server: SampleServer, header: str, first: int, stop: int) -> None:
    response, body = ask(server, "/a.tif", Range=header)
    assert response.status == 206
    assert response.headers["Content-Range"] == f"bytes {first}-{stop - 1}/{SIZE}"
    assert response.headers["Content-Length"] == str(stop - first)
    assert body == BODY[first:stop]


@pytest.mark.parametrize(
    ("path", "header"), [("/a.tif", f"bytes={SIZE}-"), ("/a.tif", f"bytes={SIZE}-{SIZE + 1}"), ("/a.tif", "bytes=-0"), ("/empty", "bytes=0-")]
)
def test_unsatisfiable_range(server: SampleServer, path: str, header: str) -> None:
    response, body = ask(server, path, Range=header)
    assert response.status == 416
    assert response.headers["Content-Range"] == f"bytes */{0 if path == '/empty' else SIZE}"
    assert body == b""


@pytest.mark.parametrize(
    "header", ["bytes=5-3", "bytes=-", "bytes=a-b", "bytes=0-1,4-5", "items=0-1", "bytes 0-1", f"bytes=0-{'9' * 5000}", "bytes=٣-٤"]
)
def test_range_that_is_none_gets_the_whole_file(server: SampleServer, header: str) -> None:
    response, body = ask(server, "/a.tif", Range=header.encode().decode("latin-1"))
    assert response.status == 200
    assert body == BODY


def test_parse_range_is_a_slice() -> None:
    for size in range(4):
        for first in range(5):
            for last in range(first, 6):
                span = parse_range(f"bytes={first}-{last}", size)
                assert span is not None
                assert list(range(size))[first : last + 1] == list(range(*span))
        for length in range(6):
            span = parse_range(f"bytes=-{length}", size)
            assert span is not None
            assert list(range(size))[max(0, size - length) :] == list(range(*span))


def test_head_has_the_headers_and_no_body(server: SampleServer) -> None:
    got, _ = ask(server, "/a.tif")
    head, body = ask(server, "/a.tif", method="HEAD", Range="bytes=0-3")
    assert (head.status, body) == (200, b"")
    for name in ("Content-Length", "ETag", "Accept-Ranges", "Last-Modified", "Content-Type"):
        assert head.headers[name] == got.headers[name] is not None


def test_etag_follows_the_file_and_if_range_honours_it(server: SampleServer, root: Path) -> None:
    first, _ = ask(server, "/a.tif")
    etag = first.headers["ETag"]
    assert etag.startswith('"')
    assert ask(server, "/a.tif", Range="bytes=0-1", If_Range=etag)[0].status == 206
    (root / "a.tif").write_bytes(BODY + b"more")
    changed, body = ask(server, "/a.tif", Range="bytes=0-1", If_Range=etag)
    assert changed.status == 200
    assert changed.headers["ETag"] != etag
    assert body == BODY + b"more"


@pytest.mark.parametrize("path", ["/", "/deep", "/deep/", "/none.tif", "/a.tif/x", "/a%00b", "/" + "n" * 5000, "//["])
def test_not_found(server: SampleServer, path: str) -> None:
    response, body = ask(server, path)
    assert response.status == 404
    assert body == b""


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/deep/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/../served-beside/secret.txt",
        "/deep/%2e%2e/%2e%2e/secret.txt",
        "/link",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/%2f%2fetc/passwd",
        "file:///etc/passwd",
    ],
)
def test_nothing_outside_the_root(server: SampleServer, path: str) -> None:
    response, body = ask(server, path)
    assert response.status == 404
    assert body == b""


def test_quoted_names_and_query_strings(server: SampleServer) -> None:
    assert ask(server, "/deep/with%20space.bin?versionId=1")[1] == b"deep"


def test_only_reading(server: SampleServer, root: Path) -> None:
    assert ask(server, "/a.tif", method="DELETE")[0].status == 501
    with pytest.raises(HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(f"{server.url}/new", data=b"x", method="PUT"))
    refused.value.close()
    assert refused.value.code == 501
    assert (root / "a.tif").read_bytes() == BODY
    assert not (root / "new").exists()


def test_one_connection_serves_many_requests_and_counts(server: SampleServer) -> None:
    connection = connect(server)
    connection.request("GET", "/a.tif", headers={"Range": "bytes=0-99"})
    assert connection.getresponse().read() == BODY[:100]
    kept = connection.sock
    for path, status, headers in (("/none", 404, {}), ("/a.tif", 416, {"Range": "bytes=99999-"}), ("/a.tif", 200, {})):
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        response.read()
        assert response.status == status
        assert connection.sock is kept is not None
    connection.request("HEAD", "/a.tif")
    connection.getresponse().read()
    connection.close()
    assert server.requests == 5
    assert server.bytes_sent == 100 + SIZE


def test_many_clients_at_once(server: SampleServer) -> None:
    def work(client: int) -> bool:
        connection = connect(server)
        try:
            for i in range(20):
                at = client * 20 + i
                connection.request("GET", "/a.tif", headers={"Range": f"bytes={at}-{at + 9}"})
                if connection.getresponse().read() != BODY[at : at + 10]:
                    return False
            return True
        finally:
            connection.close()

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(work, range(32)))
    assert server.requests == 32 * 20
    assert server.bytes_sent == 32 * 20 * 10


@pytest.mark.parametrize("size", [100, 100_000])
def test_answers_do_not_wait_for_acknowledgements(server: SampleServer, root: Path, size: int) -> None:
    """Head and body in two packets under Nagle's algorithm cost about 40 ms a request, also on a machine that has nothing else to do."""
    (root / "body").write_bytes(bytes(size))
    connection = connect(server)
    seconds = []
    for _ in range(100):
        begun = time.perf_counter()
        connection.request("GET", "/body")
        assert len(connection.getresponse().read()) == size
        seconds.append(time.perf_counter() - begun)
    connection.close()
    assert sorted(seconds)[25] < 0.03, "a quarter of them at least, whatever else the machine does"


def test_stop_ends_kept_connections_and_threads(root: Path) -> None:
    before = set(threading.enumerate())
    server = SampleServer(root)
    server.start()
    server.start()
    connection = connect(server)
    connection.request("GET", "/a.tif", headers={"Range": "bytes=0-1"})
    connection.getresponse().read()
    port = urlsplit(server.url).port
    assert port is not None
    server.stop()
    server.stop()
    assert set(threading.enumerate()) == before
    assert connection.sock is not None
    assert connection.sock.recv(1) == b""
    connection.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    with pytest.raises(RasteretError, match="not running"):
        _ = server.url


def test_counters_stay_and_a_second_start_serves_again(root: Path) -> None:
    server = SampleServer(root)
    for turn in (1, 2):
        with server:
            assert ask(server, "/a.tif")[1] == BODY
        assert server.requests == turn


def test_a_client_that_leaves_is_not_reported(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with (root / "large.bin").open("wb") as file:
        os.truncate(file.fileno(), 64 << 20)
    with SampleServer(root) as server:
        client = socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0))
        client.sendall(b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        assert ask(server, "/a.tif")[1] == BODY
    assert server.bytes_sent < 64 << 20
    assert capfd.readouterr() == ("", "")


def test_root_must_be_a_folder(root: Path) -> None:
    with pytest.raises(InvalidArgument, match="no folder"):
        SampleServer(root / "a.tif")
