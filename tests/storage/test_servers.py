"""The servers that other tests count with."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from rasteret_sql.errors import ReadError
from rasteret_sql.storage import loop
from tests.servers.ranged import RangeServer
from tests.storage.conftest import DATA

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a b.tif").write_bytes(DATA)
    return tmp_path


def fetch(url, method="GET", **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers, method=method)) as answer:
        return answer.status, dict(answer.headers), answer.read()


def test_it_serves_and_counts(folder, store):
    with RangeServer(folder) as server:
        url = server.url("sub/a b.tif")
        assert loop.run(store.read_range(url, 7, 100)) == DATA[7:107]
        head = loop.run(store.read_head(url, 400_000))
        assert (head.data, head.size) == (DATA, len(DATA))
        assert head.etag is not None
        stats = server.stats()
        assert (stats.requests, stats.bytes, stats.connections) == (2, 100 + len(DATA), 1)
        assert stats.ranges == {"/sub/a b.tif": [(7, 107), (0, len(DATA))]}
        server.reset()
        assert server.stats().requests == 0
        with pytest.raises(ReadError, match=r"no such file"):
            loop.run(store.read_range(server.url("../etc"), 0, 1))
        with pytest.raises(ReadError, match=r"beyond the end of the file .size 300,000"):
            loop.run(store.read_range(url, 300_000, 5))
        with pytest.raises(ReadError, match=r"ends at byte 300,000"):
            loop.run(store.read_range(url, 299_999, 5))


def test_other_programs_agree(folder):
    with RangeServer(folder) as server:
        url = server.url("sub/a%20b.tif")
        assert fetch(url)[2] == DATA
        status, headers, body = fetch(url, Range="bytes=-5")
        assert (status, body, headers["Content-Range"]) == (206, DATA[-5:], "bytes 299995-299999/300000")
        status, headers, body = fetch(url, "HEAD")
        assert (status, headers["Content-Length"], body) == (200, "300000", b"")
        assert json.loads(fetch(server.url("__stats__"))[2])["requests"] == 3


def test_latency_and_rate(folder):
    with RangeServer(folder, latency_s=0.1, rate_bytes_s=1_000_000) as server:
        began = time.monotonic()
        fetch(server.url("sub/a%20b.tif"))
        assert time.monotonic() - began > 0.35


def test_a_process_of_its_own(folder):
    command = [sys.executable, "-m", "tests.servers.ranged", str(folder), "--port", "0", "--latency", "0.001"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            assert fetch(f"http://127.0.0.1:{port}/sub/a%20b.tif", Range="bytes=0-9")[2] == DATA[:10]
            assert json.loads(fetch(f"http://127.0.0.1:{port}/__stats__")[2])["bytes"] == 10
        finally:
            process.terminate()
