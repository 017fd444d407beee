"""From the href of an asset to the place its bytes come from. Pure."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_address
from typing import Literal
from urllib.parse import quote, unquote, urljoin, urlsplit

from rasteret_sql.errors import ReadError
from rasteret_sql.storage.metrics import LOCAL_HOST

VALID = "https://, http://, s3://, gs://, az://, file:// and local paths"
REMOTE = "https://, http://, s3://, gs:// and az://"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://?")
_ILLEGAL = re.compile(r"[^!#$%&'()*+,/:;=?@\[\]~\w.-]", re.ASCII)
_BARRED = "barred:"
"""Before an href that is not taken from where it was found."""
_HOST = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_S3_HOST = re.compile(r"(?P<bucket>.+\.)?s3\.amazonaws\.com")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
_GDAL = {"/vsicurl/": "the URL itself", "/vsis3/": "s3://", "/vsigs/": "gs://", "/vsiaz/": "az://"}
_AZURE_HOST = re.compile(r"([a-z0-9-]{1,63})\.blob\.core\.windows\.net")
_ABFS_HOST = re.compile(r"([^@/]+)@([a-z0-9-]{1,63})\.(?:dfs|blob)\.core\.windows\.net", re.IGNORECASE)
_ACCOUNT = re.compile(r"[a-z0-9-]{1,63}")


@dataclass(frozen=True, slots=True)
class Location:
    """Where an asset lies: exactly one of ``url`` and ``path`` is set."""

    href: str
    """As asked for; may hold a signature, so it is shown through :func:`rasteret_sql.errors.redact` only."""
    url: str | None
    """http(s), percent-encoded, ready to send."""
    path: str | None
    """In the local file system."""
    host: str
    """Whose limits and counters apply; ``file`` for local files."""
    kind: Literal["web", "s3", "azure", "local"] = "web"
    """Whose rules of access apply. ``gs://`` is the web: public objects only."""
    account: str = ""
    """Of Azure blobs."""
    bucket: str = ""
    """Of S3 objects; the container of Azure blobs."""
    key: str = ""
    """Of S3 objects, not encoded."""


@lru_cache(maxsize=8192)
def resolve_href(href: str) -> Location:
    """Resolve ``href``; what is not readable is a :class:`ReadError` naming what is.

    ``s3://bucket/key`` becomes ``https://bucket.s3.amazonaws.com/key``, path-style when the bucket's name has dots (the certificate
    ``*.s3.amazonaws.com`` covers no dots); ``gs://bucket/key`` becomes ``https://storage.googleapis.com/bucket/key``. Keys of ``s3://``,
    ``gs://`` and ``az://`` are taken literally and encoded; an http(s) URL is sent as it is, because its encoding may be signed.
    ``az://account/container/blob`` and ``abfs(s)://container@account.dfs.core.windows.net/blob`` become
    ``https://account.blob.core.windows.net/container/blob``.
    """
    for prefix, instead in _GDAL.items():
        if href.startswith(prefix):
            raise ReadError(f"GDAL's {prefix} paths are not read here: give {instead}", href)
    if href.startswith(_BARRED):
        href = remote_href(href.removeprefix(_BARRED))  # raises
    found = _SCHEME.match(href)
    scheme = found[1].lower() if found else ""
    if not scheme:
        return _local(href, href)
    if scheme in {"http", "https"}:
        return _web(href, href)
    if scheme in {"s3", "gs"}:
        bucket, _, key = href[len(scheme) + 3 :].partition("/")
        if not bucket or not key:
            raise ReadError(f"a {scheme}:// href names a bucket and a key, as in {scheme}://bucket/key.tif", href)
        if scheme == "gs":
            return _web(href, f"https://storage.googleapis.com/{bucket}/{quote(key)}")
        return replace(_web(href, s3_url("", bucket, "") + quote(key)), kind="s3", bucket=bucket, key=key)
    if scheme in {"az", "abfs", "abfss"}:
        return _azure(href, scheme)
    if scheme == "file":
        rest = href[len("file:") :]
        host, slash, path = rest[2:].partition("/") if rest.startswith("//") else ("", "", rest)
        if host not in {"", "localhost"}:
            raise ReadError("a file:// href names no other host: write file:///path", href)
        return _local(href, unquote(slash + path))
    raise ReadError(f"{scheme}:// is not read yet: valid are {VALID}", href)


def remote_href(href: str) -> str:
    """``href``, which came from a remote source (a STAC API, a catalogue or table on a server), if it may be read; a :class:`ReadError` if not.

    A stranger's catalogue must not make this machine read its own files: paths, ``file://``, GDAL's paths and unknown schemes are refused by name.
    """
    found = _SCHEME.match(href)
    scheme = found[1].lower() if found else ""
    if scheme in {"http", "https", "s3", "gs", "az", "abfs", "abfss"}:
        return resolve_href(href).href
    named = f"{scheme}:// hrefs" if scheme else "local paths"
    raise ReadError(f"{named} are not taken from a remote catalogue: valid there are {REMOTE}", href.replace("\0", "\\0"))


def barred_href(href: str) -> str:
    """``href`` if :func:`remote_href` lets it through; else one that stands for it, and is that function's error for whoever reads it.

    So one such record of a stranger's index fails by itself, in its turn, and nothing is ever opened in its place.
    """
    try:
        return remote_href(href)
    except ReadError:
        return f"{_BARRED}{href}"


def s3_url(endpoint: str, bucket: str, region: str) -> str:
    """The URL of a bucket with a slash at its end: path-style at a custom ``endpoint`` and for dotted names, else with the bucket in the host."""
    if endpoint:
        return f"{endpoint}/{bucket}/"
    root = f"s3.{region}.amazonaws.com" if region else "s3.amazonaws.com"
    if region.startswith("cn-"):
        root += ".cn"
    return f"https://{root}/{bucket}/" if "." in bucket else f"https://{bucket}.{root}/"


def _azure(href: str, scheme: str) -> Location:
    rest = href.partition("://")[2]
    first, _, path = rest.partition("/")
    if scheme == "az":
        account, (container, _, blob) = first, path.partition("/")
    else:
        found = _ABFS_HOST.fullmatch(first)
        (container, account), blob = (found[1], found[2].lower()) if found else ("", ""), path
    if not blob or not container or not _ACCOUNT.fullmatch(account):
        form = "az://account/container/blob.tif" if scheme == "az" else f"{scheme}://container@account.dfs.core.windows.net/blob.tif"
        raise ReadError(f"an {scheme}:// href names account, container and blob, as in {form}", href)
    return _web(href, f"https://{account}.blob.core.windows.net/{quote(container)}/{quote(blob)}")


def _local(href: str, path: str) -> Location:
    if not path or "\0" in path:
        raise ReadError(f"an empty or impossible path: valid are {VALID}", href.replace("\0", "\\0"))
    return Location(href, None, os.fspath(path), LOCAL_HOST, "local")


def _web(href: str, url: str) -> Location:
    url = encoded(url.partition("#")[0])
    host = valid_host(url)
    if host is None:
        raise ReadError("not a valid URL: its host or port cannot be", href)
    if found := _AZURE_HOST.fullmatch(host):
        container, _, blob = unquote(urlsplit(url).path).lstrip("/").partition("/")
        if blob:
            return Location(href, url, None, host, "azure", account=found[1], bucket=container)
    return Location(href, url, None, host)


def valid_host(url: str) -> str | None:
    """The host of a URL that can be sent: http or https, a DNS name or an IP address, a possible port; else None."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme not in {"http", "https"} or parts.port == 0:
            return None
        if ":" in host:
            ip_address(host)
            return host
    except ValueError:
        return None
    return host if _HOST.fullmatch(host) else None


def encoded(url: str) -> str:
    """``url`` with what must not be sent (spaces, non-ASCII characters) percent-encoded, everything else untouched."""
    return _ILLEGAL.sub(lambda character: quote(character[0], safe=""), url)


def bucket_root(url: str) -> str:
    """What all objects of an S3 bucket share at the global endpoint: its host, with the bucket's name when that is in the path; else ``""``."""
    parts = urlsplit(url)
    found = _S3_HOST.fullmatch(parts.netloc)
    if found is None:
        return ""
    return parts.netloc if found["bucket"] else f"{parts.netloc}/{parts.path.split('/')[1]}"


def redirect_target(url: str, location: str | None, region: str | None) -> str | None:
    """Where an HTTP redirect from ``url`` leads; None when it names no place that http(s) reaches.

    ``location`` is the answer's Location header. S3 sends none when a bucket of another region is asked for at the global endpoint; it names
    the ``region`` in ``x-amz-bucket-region`` instead (Amazon S3 user guide, "Making requests: Redirection and the REST API").
    """
    try:
        if location:
            target = encoded(urljoin(url, location).partition("#")[0])
        elif region and _REGION.fullmatch(region) and (host := _S3_HOST.fullmatch(urlsplit(url).netloc)):
            target = urlsplit(url)._replace(netloc=f"{host['bucket'] or ''}s3.{region}.amazonaws.com").geturl()
        else:
            return None
    except ValueError:
        return None
    return target if valid_host(target) else None
