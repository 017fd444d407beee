"""Secrets that the user gives, by Python call for the process or in the environment: held in memory, sent where they belong, shown nowhere."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from rasteret_sql.errors import InvalidArgument
from rasteret_sql.storage.sigv4 import Keys

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~\w-]+", re.ASCII)
_OWN = frozenset({"host", "range", "content-length", "transfer-encoding", "connection", "accept-encoding"})
"""Headers that requests are made with; another value would break reading."""
_DEFAULT_PORT = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class BucketAccess:
    """What was given for a bucket, or for all."""

    keys: Keys
    region: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class _Given:
    """All that was given by Python calls; replaced as a whole, so that readers need no lock."""

    s3: Mapping[str | None, BucketAccess] = field(default_factory=dict, repr=False)
    sas: Mapping[tuple[str, str | None], str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)


_lock = threading.Lock()
_given = _Given()


def s3_credentials(
    *,
    key_id: str,
    secret: str,
    session_token: str | None = None,
    bucket: str | None = None,
    region: str | None = None,
    endpoint: str | None = None,
) -> None:
    """Sign requests for ``s3://`` with these keys, in this process: for one ``bucket``, or for all that have no keys of their own.

    They go before the environment's and the profile's. ``endpoint`` is the URL of an S3-compatible store.
    """
    for name, value in (("key_id", key_id), ("secret", secret)):
        _clean(name, value)
    if session_token is not None:
        _clean("session_token", session_token)
    if endpoint is not None and not (urlsplit(endpoint).hostname and urlsplit(endpoint).scheme in {"http", "https"} and "@" not in endpoint):
        raise InvalidArgument("endpoint is not an http(s) URL without credentials")
    access = BucketAccess(Keys(key_id, secret, session_token, "rasteret_sql.s3_credentials"), region or "", (endpoint or "").rstrip("/"))
    _replace(s3={**_given.s3, bucket: access})


def azure_sas(token: str, *, account: str, container: str | None = None) -> None:
    """Add this SAS token (``sv=…&sig=…``) to reads of an Azure storage account, or of one container of it, in this process."""
    token = token.strip().removeprefix("?")
    if "sig=" not in token or any(c.isspace() for c in token):
        raise InvalidArgument("token is no SAS token: it is a query string with sig=…, as in sv=2022-11-02&…&sig=…")
    _replace(sas={**_given.sas, (account.lower(), container): token})


def http_headers(host: str, headers: Mapping[str, str]) -> None:
    """Send ``headers`` with requests to ``host`` (``host:port`` where the port is not the scheme's own), in this process; an empty mapping ends it.

    They go to this host alone, whatever redirects say, and over https only, but for loopback addresses.
    """
    name = host.strip().lower()
    _replace(headers={**_given.headers, name: _checked_headers(name, headers, "http_headers")})


def forget_credentials() -> None:
    """Forget what :func:`s3_credentials`, :func:`azure_sas` and :func:`http_headers` were given."""
    _replace(s3={}, sas={}, headers={})


def given_s3(bucket: str) -> BucketAccess | None:
    return _given.s3.get(bucket) or _given.s3.get(None)


def given_sas(account: str, container: str) -> str | None:
    """The token of a Python call, else of AZURE_STORAGE_SAS_TOKEN where AZURE_STORAGE_ACCOUNT names this account."""
    found = _given.sas.get((account, container)) or _given.sas.get((account, None))
    if found is None and (token := os.environ.get("AZURE_STORAGE_SAS_TOKEN")) and os.environ.get("AZURE_STORAGE_ACCOUNT", "").lower() == account:
        return token.strip().removeprefix("?")
    return found


def headers_for(url: str) -> Mapping[str, str]:
    """The headers given for the host of ``url``: by :func:`http_headers`, else by RASTERET_HTTP_HEADERS, JSON such as
    ``{"host": {"Authorization": "Bearer …"}}``.
    """
    text = os.environ.get("RASTERET_HTTP_HEADERS", "")
    if not text and not _given.headers:
        return {}
    name, safe = _where(url)
    found = _given.headers.get(name)
    if found is None and text:
        found = _environment_headers(text).get(name)
    return found if found and safe else {}


def header_hint(url: str) -> str:
    """Why headers that were given for this host did not go with a request to ``url``; empty where none were."""
    known = {*_given.headers, *_environment_headers(os.environ.get("RASTERET_HTTP_HEADERS", ""))}
    name, safe = _where(url)
    if name in known:
        return "" if safe else "; the headers given for this host are not sent over plain http"
    host = urlsplit(url).hostname or ""
    other = [key for key in known if key.rpartition(":")[0] == host or key == host]
    return f"; headers were given for {other[0]}, not for {name}" if other else ""


@lru_cache(maxsize=1024)
def _where(url: str) -> tuple[str, bool]:
    """(host, with its port where that is not the scheme's own; may secrets go there)."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    named = f"[{host}]" if ":" in host else host
    name = named if parts.port in {None, _DEFAULT_PORT.get(parts.scheme)} else f"{named}:{parts.port}"
    return name, parts.scheme == "https" or is_loopback(host)


def is_loopback(host: str) -> bool:
    """Does ``host`` name this machine?"""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=8)
def _environment_headers(text: str) -> Mapping[str, Mapping[str, str]]:
    if not text:
        return {}
    shape = 'RASTERET_HTTP_HEADERS is not JSON of the form {"host": {"Header": "value"}}'
    try:
        hosts = json.loads(text)
    except json.JSONDecodeError:
        raise InvalidArgument(shape) from None
    if not isinstance(hosts, dict) or not all(isinstance(headers, dict) for headers in hosts.values()):
        raise InvalidArgument(shape)
    return {host.strip().lower(): _checked_headers(host, headers, "RASTERET_HTTP_HEADERS") for host, headers in hosts.items()}


def _checked_headers(host: str, headers: Mapping[str, str], label: str) -> Mapping[str, str]:
    if not re.fullmatch(r"(\[[0-9a-f:]+\]|[a-z0-9._-]+)(:\d{1,5})?", host.strip().lower()):
        raise InvalidArgument(f"{label}: a host is named as in data.example.org or localhost:8000, without scheme and path")
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise InvalidArgument(f"{label}: a header for {host} has an impossible name")
        if name.lower() in _OWN:
            raise InvalidArgument(f"{label}: {name} is set by the reader itself")
        if not isinstance(value, str) or not value.isprintable():
            raise InvalidArgument(f"{label}: the value of {name} for {host} is not one line of text")
    return dict(headers)


def _clean(name: str, value: str) -> None:
    if not isinstance(value, str) or not value or not value.isprintable() or value != value.strip():
        raise InvalidArgument(f"{name} is empty or has characters that no key has")


def _replace(
    *,
    s3: Mapping[str | None, BucketAccess] | None = None,
    sas: Mapping[tuple[str, str | None], str] | None = None,
    headers: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    global _given  # noqa: PLW0603 - the one place where the process's secrets live
    with _lock:
        _given = _Given(
            _given.s3 if s3 is None else s3,
            _given.sas if sas is None else sas,
            _given.headers if headers is None else headers,
        )
