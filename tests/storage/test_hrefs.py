"""Hrefs to places, redirects to URLs."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from rasteret_sql.errors import ReadError
from rasteret_sql.storage.hrefs import bucket_root, encoded, redirect_target, remote_href, resolve_href, s3_url

WEB = {
    "https://h.org/a/b.tif": ("https://h.org/a/b.tif", "h.org"),
    "http://h.org:8000/a.tif": ("http://h.org:8000/a.tif", "h.org"),
    "http://[::1]:8000/a.tif": ("http://[::1]:8000/a.tif", "::1"),
    "HTTPS://H.org/a.tif": ("HTTPS://H.org/a.tif", "h.org"),
    "https://h.org/a%20b+c%2F.tif?sig=x%2By%3D&se=1": ("https://h.org/a%20b+c%2F.tif?sig=x%2By%3D&se=1", "h.org"),
    "https://h.org/a b/é.tif": ("https://h.org/a%20b/%C3%A9.tif", "h.org"),
    "https://h.org/a.tif#part": ("https://h.org/a.tif", "h.org"),
    "s3://sentinel-cogs/a/b.tif": ("https://sentinel-cogs.s3.amazonaws.com/a/b.tif", "sentinel-cogs.s3.amazonaws.com"),
    "s3://us-west-2.opendata.source.coop/x/y.tif": ("https://s3.amazonaws.com/us-west-2.opendata.source.coop/x/y.tif", "s3.amazonaws.com"),
    "s3://b/a b+c#1?.tif": ("https://b.s3.amazonaws.com/a%20b%2Bc%231%3F.tif", "b.s3.amazonaws.com"),
    "s3://b/100%.tif": ("https://b.s3.amazonaws.com/100%25.tif", "b.s3.amazonaws.com"),
    "gs://bucket.x/k/é.tif": ("https://storage.googleapis.com/bucket.x/k/%C3%A9.tif", "storage.googleapis.com"),
    "az://account/container/a b/é.tif": ("https://account.blob.core.windows.net/container/a%20b/%C3%A9.tif", "account.blob.core.windows.net"),
    "abfs://c@acc.dfs.core.windows.net/a/b.tif": ("https://acc.blob.core.windows.net/c/a/b.tif", "acc.blob.core.windows.net"),
    "abfss://c@Acc.blob.core.windows.net/b.tif": ("https://acc.blob.core.windows.net/c/b.tif", "acc.blob.core.windows.net"),
}
LOCAL = {
    "/data/a.tif": "/data/a.tif",
    "a b/c.tif": "a b/c.tif",
    "./a:b.tif": "./a:b.tif",
    "C:\\data\\a.tif": "C:\\data\\a.tif",
    "C:/data/a.tif": "C:/data/a.tif",
    "file:///data/a%20b.tif": "/data/a b.tif",
    "file://localhost/data/a.tif": "/data/a.tif",
    "file:/data/a.tif": "/data/a.tif",
    "file:///data/%231%3F[.tif": "/data/#1?[.tif",
    "100%25.tif": "100%25.tif",
}


@pytest.mark.parametrize("href", WEB)
def test_web(href):
    location = resolve_href(href)
    assert (location.url, location.host) == WEB[href]
    assert location.path is None
    assert location.href == href


@pytest.mark.parametrize("href", LOCAL)
def test_local(href):
    location = resolve_href(href)
    assert (location.path, location.url, location.host) == (LOCAL[href], None, "file")


@pytest.mark.parametrize(
    ("href", "match"),
    [
        ("az://c/b.tif", r"an az:// href names account, container and blob, as in az://account/container/blob.tif"),
        ("az://UP.case/c/b.tif", r"names account, container and blob"),
        ("az://a//b.tif", r"names account, container and blob"),
        ("abfs://container/b.tif", r"as in abfs://container@account.dfs.core.windows.net/blob.tif"),
        ("abfss://c@a.dfs.core.example.org/b.tif", r"as in abfss://container@account"),
        ("ftp://h/a.tif", r"ftp:// is not read yet: valid are https://, http://, s3://, gs://, az://, file:// and local paths"),
        ("s3://bucket", r"names a bucket and a key"),
        ("gs:///key", r"names a bucket and a key"),
        ("https:///a.tif", r"not a valid URL"),
        ("https://h..org/a.tif", r"not a valid URL"),
        ("https://h org/a.tif", r"not a valid URL"),
        ("https://h:0/a.tif", r"not a valid URL"),
        ("https://[1::2::3]/a.tif", r"not a valid URL"),
        (f"https://{'a' * 64}.org/a.tif", r"not a valid URL"),
        ("https://h:port/a.tif", r"not a valid URL"),
        ("https://[::1/a.tif", r"not a valid URL"),
        ("file://host/a.tif", r"names no other host"),
        ("/vsicurl/https://h/a.tif", r"/vsicurl/ paths are not read here: give the URL itself"),
        ("/vsis3/b/a.tif", r"give s3://"),
        ("", r"empty"),
        ("a\0b", r"impossible path"),
    ],
)
def test_what_is_not_readable_is_refused_by_name(href, match):
    with pytest.raises(ReadError, match=match) as caught:
        resolve_href(href)
    assert "\n" not in str(caught.value)


KINDS = {
    "https://h.org/a.tif": ("web", "", "", ""),
    "gs://b/k.tif": ("web", "", "", ""),
    "s3://b/a b/c.tif": ("s3", "", "b", "a b/c.tif"),
    "az://acc/cont/a/b.tif": ("azure", "acc", "cont", ""),
    "https://acc.blob.core.windows.net/cont/a/b.tif?sig=x": ("azure", "acc", "cont", ""),
    "https://acc.blob.core.windows.net/cont": ("web", "", "", ""),
    "https://acc.blob.core.windows.net.evil.org/cont/b": ("web", "", "", ""),
    "/a/b.tif": ("local", "", "", ""),
}


@pytest.mark.parametrize("href", KINDS)
def test_whose_rules_apply(href):
    location = resolve_href(href)
    assert (location.kind, location.account, location.bucket, location.key) == KINDS[href]


@pytest.mark.parametrize("href", [href for href in WEB if not href.startswith("HTTPS")])
def test_remote_catalogues_name_servers(href):
    assert remote_href(href) == href


@pytest.mark.parametrize(
    ("href", "named"),
    [
        ("/etc/passwd", "local paths"),
        ("data/a.tif", "local paths"),
        ("../a.tif", "local paths"),
        ("C:\\a.tif", "local paths"),
        ("\\\\host\\share\\a.tif", "local paths"),
        ("file:///etc/passwd", "file:// hrefs"),
        ("FILE:/etc/passwd", "file:// hrefs"),
        ("ftp://h/a.tif?sig=s3cr3t", "ftp:// hrefs"),
        ("/vsicurl/https://h/a.tif", "local paths"),
        ("jdbc:x://h/a.tif", "local paths"),
        ("", "local paths"),
        ("a\0b", "local paths"),
    ],
)
def test_remote_catalogues_name_no_local_files(href, named):
    with pytest.raises(
        ReadError, match=f"{named} are not taken from a remote catalogue: valid there are https://, http://, s3://, gs:// and az://"
    ) as e:
        remote_href(href)
    assert "s3cr3t" not in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("href", ["s3://bucket", "https:///x", "az://a/b"])
def test_remote_hrefs_are_checked_too(href):
    with pytest.raises(ReadError):
        remote_href(href)


@pytest.mark.parametrize(
    ("endpoint", "bucket", "region", "url"),
    [
        ("", "b", "", "https://b.s3.amazonaws.com/"),
        ("", "b", "eu-west-1", "https://b.s3.eu-west-1.amazonaws.com/"),
        ("", "b.c", "eu-west-1", "https://s3.eu-west-1.amazonaws.com/b.c/"),
        ("", "b", "cn-north-1", "https://b.s3.cn-north-1.amazonaws.com.cn/"),
        ("http://127.0.0.1:9000", "b", "eu-west-1", "http://127.0.0.1:9000/b/"),
    ],
)
def test_where_buckets_are(endpoint, bucket, region, url):
    assert s3_url(endpoint, bucket, region) == url


ANYTHING = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.text("[]:/@%#?.\\ \t\nab1-_é\0", max_size=20)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(["https://", "http://u:p@", "s3://", "gs://", "az://", "file://", ""]), ANYTHING, ANYTHING)
def test_whatever_is_asked_for_is_sendable_or_refused(scheme, text, location):
    try:
        url = resolve_href(scheme + text).url
    except ReadError:
        return
    for sendable in (url, redirect_target(url or "https://h/", location, None)):
        if sendable is not None:
            assert URL(sendable, encoded=True).host
            assert sendable.isascii()


def test_refusals_keep_secrets():
    with pytest.raises(ReadError) as caught:
        resolve_href("az://account/blob.tif?sig=s3cr3t")
    assert "s3cr3t" not in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_object_keys_survive_the_way_to_the_server(key):
    url = resolve_href(f"s3://bucket/{key}").url
    assert url is not None
    assert url.isascii()
    assert unquote(urlsplit(url).path) == f"/{key}"
    assert not urlsplit(url).query


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40).map(lambda s: s.encode("utf-8", "ignore").decode()))
def test_encoding_is_idempotent(text):
    once = encoded(text)
    assert once.isascii()
    assert encoded(once) == once


@pytest.mark.parametrize(
    ("url", "location", "region", "target"),
    [
        ("https://h/a/b?x=1", "/c?y=%2F", None, "https://h/c?y=%2F"),
        ("https://h/a/b", "c d", None, "https://h/a/c%20d"),
        ("https://h/a", "http://other:81/z#f", None, "http://other:81/z"),
        ("https://h/a", "ftp://h/a", None, None),
        ("https://h/a", "file:///etc/passwd", None, None),
        ("https://h/a", "https://h:port/a", None, None),
        ("https://h/a", "https://[::1/a", None, None),
        ("https://h/a", "https:///a", None, "https://h/a"),
        ("https://h/a", None, None, None),
        ("https://h/a", None, "us-west-2", None),
        ("https://s3.amazonaws.com/us.b.c/k?v", None, "us-west-2", "https://s3.us-west-2.amazonaws.com/us.b.c/k?v"),
        ("https://b.s3.amazonaws.com/k", None, "ap-southeast-1", "https://b.s3.ap-southeast-1.amazonaws.com/k"),
        ("https://b.s3.amazonaws.com/k", None, "us-gov-west-1", "https://b.s3.us-gov-west-1.amazonaws.com/k"),
        ("https://b.s3.amazonaws.com/k", None, "evil.org/x", None),
        ("https://b.s3.eu-west-1.amazonaws.com/k", None, "us-east-1", None),
    ],
)
def test_redirects(url, location, region, target):
    assert redirect_target(url, location, region) == target


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("https://s3.amazonaws.com/a.b/k/l", "s3.amazonaws.com/a.b"),
        ("https://b.s3.amazonaws.com/k", "b.s3.amazonaws.com"),
        ("https://b.s3.eu-west-1.amazonaws.com/k", ""),
        ("https://h.org/k", ""),
    ],
)
def test_bucket_root(url, root):
    assert bucket_root(url) == root
