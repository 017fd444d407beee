"""The words of errors: one line, nothing secret, what is near."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasteret_sql import errors
from rasteret_sql.errors import ReadError, listing, near, one_line, redact

CLASSES = [value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, Exception)]


def test_one_tree():
    assert len(CLASSES) >= 9
    assert all(issubclass(value, errors.RasteretError) for value in CLASSES)
    assert issubclass(errors.InvalidArgument, ValueError)
    assert issubclass(errors.BandNotFound, LookupError)
    assert issubclass(errors.CollectionNotFound, LookupError)


@pytest.mark.parametrize(
    ("href", "shown"),
    [
        ("https://host/a.tif?X-Amz-Signature=s3cr3t", "https://host/a.tif"),
        ("https://host/a.tif#s3cr3t", "https://host/a.tif"),
        ("https://user:s3cr3t@host:8080/a.tif", "https://host:8080/a.tif"),
        ("https://user:s3%40cr3t@host/a.tif?x=s3cr3t#s3cr3t", "https://host/a.tif"),
        ("https://us@er:s3cr3t@host/a.tif", "https://host/a.tif"),
        ("s3://key:s3cr3t@bucket/a.tif", "s3://bucket/a.tif"),
        ("http://[::1]:80/a.tif?s3cr3t", "http://[::1]:80/a.tif"),
        ("http://[broken/a.tif?s3cr3t", "http://[broken/a.tif"),
        ("https:///?s3cr3t", "https:///"),
        ("/vsicurl/https://user:s3cr3t@host/a.tif?s3cr3t", "/vsicurl/https://host/a.tif"),
        ("C:\\data\\a?b.tif", "C:\\data\\a?b.tif"),
        ("/data/a?b#c.tif", "/data/a?b#c.tif"),
        ("file:///data/a b.tif", "file:///data/a b.tif"),
        ("a.tif", "a.tif"),
        ("", ""),
    ],
)
def test_redact(href, shown):
    assert redact(href) == shown


@given(st.text(max_size=20), st.text(st.characters(exclude_characters="/?#@"), max_size=10))
def test_no_query_and_no_password_survives(path, host):
    marker = "s3cr3t"
    for href in (f"https://{host}/{path}?{marker}", f"https://u:{marker}@{host}/{path}", f"http://{host}/x#{marker}"):
        if path.find(marker) < 0 and "#" not in path and "?" not in path:
            assert marker not in redact(href)


@given(st.text(max_size=700), st.integers(2, 500))
def test_one_line(text, limit):
    flat = one_line(text, limit)
    assert len(flat) <= limit
    assert len(flat.splitlines()) <= 1
    if len(" ".join(text.split())) <= limit:
        assert flat.split() == text.split()
    else:
        assert flat.endswith("…")


def test_listing():
    assert listing([]) == "none"
    assert listing(["a"]) == "a"
    assert listing(iter(["a", "b"])) == "a, b"
    assert listing(map(str, range(30))) == ", ".join(map(str, range(30)))
    assert listing(map(str, range(31))).endswith("28, 29, … (31 in all)")


def test_near():
    assert near("B4", ["B04", "B08"]) == "; did you mean 'B04'?"
    assert near("latst", ["all", "latest"]) == "; did you mean 'latest'?"
    assert near("xyz", ["B04", "B08"]) == ""
    assert near("a", []) == ""


def test_read_error_names_asset_and_range():
    error = ReadError("the server\nsaid  no", "https://u:p@host/a.tif?sig=s3cr3t", (100, 200))
    assert str(error) == "https://host/a.tif: the server said no (bytes 100-199)"
    assert (error.href, error.byte_range) == ("https://host/a.tif", (100, 200))
    assert "s3cr3t" not in repr(error.__dict__)
    assert str(ReadError("no")) == "no"
    assert str(ReadError("no", "a\nb.tif")) == "a b.tif: no"
