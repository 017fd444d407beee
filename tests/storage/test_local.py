"""Local files: exact bytes, named errors."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rasteret_sql.errors import ReadError
from rasteret_sql.storage import loop
from rasteret_sql.storage.store import Identity
from tests.storage.conftest import DATA


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a file.tif"
    path.write_bytes(DATA)
    return path


def test_ranges(file, store, metrics):
    assert loop.run(store.read_range(str(file), 5, 1000, deadline=time.monotonic() + 5)) == DATA[5:1005]
    assert loop.run(store.read_range(file.as_uri(), len(DATA) - 1, 1)) == DATA[-1:]
    counts = metrics.snapshot().hosts["file"]
    assert (counts.requests, counts.bytes, counts.failures) == (2, 1001, 0)


def test_merged_ranges(file, store, metrics):
    starts, lengths = [1000, 0, 1090, 250_000], [100, 10, 20, 50_000]
    views = loop.run(store.read_ranges(str(file), starts, lengths, max_gap=0))
    assert [bytes(v) for v in views] == [DATA[s : s + n] for s, n in zip(starts, lengths, strict=True)]
    assert views[0].obj is views[2].obj
    assert metrics.snapshot().requests == 3


def test_head(file, store, tmp_path):
    head = loop.run(store.read_head(str(file)))
    assert (head.data, head.size, head.etag) == (DATA[:32768], len(DATA), None)
    (tmp_path / "short").write_bytes(b"II*\0")
    head = loop.run(store.read_head(str(tmp_path / "short"), deadline=None))
    assert (head.data, head.size) == (b"II*\0", 4)


def failing(tmp_path):
    (tmp_path / "short").write_bytes(b"12345")
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "fifo")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("short", "truncated file: it ends at byte 5"),
        ("missing", "no such file"),
        ("short/x", "cannot be opened"),
        ("", "not a file"),
        ("fifo", "not a file"),
    ],
)
def test_errors(tmp_path, store, metrics, name, match):
    href = str(failing(tmp_path) / name)
    with pytest.raises(ReadError, match=match) as caught:
        loop.run(store.read_range(href, 3, 3))
    assert str(caught.value).startswith(href)
    assert "bytes 3-5" in str(caught.value)
    assert metrics.snapshot().hosts["file"].failures == 1


def test_an_empty_file_has_no_head(tmp_path, store):
    with pytest.raises(ReadError, match="the file is empty"):
        loop.run(store.read_head(str(failing(tmp_path) / "empty")))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permissions(file, store):
    file.chmod(0)
    with pytest.raises(ReadError, match="permission denied"):
        loop.run(store.read_range(str(file), 0, 1))


def test_a_file_of_another_size_is_another_file(file, store):
    assert loop.run(store.read_range(str(file), 0, 4, expect=Identity('"old"', len(DATA)))) == DATA[:4]
    with pytest.raises(ReadError, match="changed since it was indexed: 300,000 bytes, 7 then"):
        loop.run(store.read_range(str(file), 0, 4, expect=Identity(None, 7)))


def test_short_reads_are_completed(file, store, monkeypatch):
    """``pread`` may give less than asked for."""
    whole = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, length, offset: whole(descriptor, min(length, 7000), offset))
    assert loop.run(store.read_range(str(file), 11, 100_000)) == DATA[11:100_011]


def test_a_file_that_shrinks_while_it_is_read(file, store, monkeypatch):
    whole = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, length, offset: whole(descriptor, length, offset)[: max(0, 20 - offset)])
    with pytest.raises(ReadError, match="ended at byte 20 while it was read"):
        loop.run(store.read_range(str(file), 0, 100))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no list of open files on this system")
def test_no_descriptor_is_left_open(file, store):
    loop.run(store.read_range(str(file), 0, 10))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        loop.run(store.read_range(str(file), 0, 10))
        with pytest.raises(ReadError):
            loop.run(store.read_range(str(file.parent), 0, 10))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
