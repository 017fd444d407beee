"""Whole objects: written, listed, looked at and deleted, as an export and a reader of collections need it."""

from __future__ import annotations

import re
from typing import NamedTuple, TypeVar
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from aiohttp import ClientResponse

from rasteret_sql.errors import ReadError, WriteError
from rasteret_sql.storage.answers import refusal
from rasteret_sql.storage.http import Exchange, Transfer
from rasteret_sql.storage.retry import RETRIED_STATUS, TransientError, parse_retry_after
from rasteret_sql.storage.routes import Call

T = TypeVar("T")

LARGEST_PUT = 5 << 30
"""What S3 takes in one request."""
_LARGEST_LISTING = 16 << 20
_NAMESPACE = re.compile(r"\{[^}]*\}")


class Entry(NamedTuple):
    """An object that was found."""

    href: str
    size: int
    """Bytes."""
    etag: str | None


class Look(Exchange[Entry]):
    """Size and ETag of a file."""

    def __init__(self, href: str) -> None:
        self._href = href
        self.call = Call("HEAD")

    def error(self, message: str) -> ReadError:
        return ReadError(message, self._href)

    async def take(self, response: ClientResponse, transfer: Transfer) -> Entry:
        del transfer
        _done(response, self)
        length = response.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise self.error("the server does not say how large the file is")
        return Entry(self._href, int(length), response.headers.get("ETag"))


class Put(Exchange[str | None]):
    """Bytes stored as an object; its ETag."""

    def __init__(self, href: str, data: bytes, data_sha256: str) -> None:
        self._href = href
        self.call = Call("PUT", payload=data, payload_sha256=data_sha256, headers={"content-type": "application/octet-stream"})

    def error(self, message: str) -> WriteError:
        return WriteError(message, self._href)

    async def take(self, response: ClientResponse, transfer: Transfer) -> str | None:
        transfer.nbytes = len(self.call.payload or b"")
        _done(response, self)
        return response.headers.get("ETag")


class Delete(Exchange[None]):
    """An object removed, if it was there."""

    def __init__(self, href: str) -> None:
        self._href = href
        self.call = Call("DELETE")

    def error(self, message: str) -> WriteError:
        return WriteError(message, self._href)

    async def take(self, response: ClientResponse, transfer: Transfer) -> None:
        del transfer
        _done(response, self)


class Page(NamedTuple):
    """One answer to a listing."""

    entries: list[Entry]
    next_token: str | None


class ListPage(Exchange[Page]):
    """One page (1,000 objects) of what lies below a prefix: S3's ListObjectsV2."""

    def __init__(self, href: str, bucket: str, prefix: str, token: str | None) -> None:
        self._href = href
        self._bucket = bucket
        query = [("list-type", "2"), ("encoding-type", "url"), ("prefix", prefix)]
        self.call = Call(query=query if token is None else [*query, ("continuation-token", token)])

    def error(self, message: str) -> ReadError:
        return ReadError(message, self._href)

    async def take(self, response: ClientResponse, transfer: Transfer) -> Page:
        _done(response, self)
        body = bytearray()
        while chunk := await response.content.readany():
            transfer.nbytes += len(chunk)
            body += chunk
            if len(body) > _LARGEST_LISTING:
                raise self.error("the listing is larger than a listing can be")
        try:
            return self._parsed(bytes(body))
        except (ET.ParseError, ValueError):
            raise self.error("the server answered with something else than a listing") from None

    def _parsed(self, body: bytes) -> Page:
        if b"<!" in body.replace(b"<![CDATA[", b""):
            raise ValueError("a listing declares no entities")
        root = ET.fromstring(body)  # noqa: S314 - declarations, through which XML attacks, were refused above
        if _NAMESPACE.sub("", root.tag) != "ListBucketResult":
            raise ValueError(root.tag)
        encoded = any(_NAMESPACE.sub("", child.tag) == "EncodingType" for child in root)
        entries, token = [], None
        for child in root:
            name = _NAMESPACE.sub("", child.tag)
            if name == "Contents":
                fields = {_NAMESPACE.sub("", part.tag): part.text or "" for part in child}
                key = unquote_plus(fields["Key"]) if encoded else fields["Key"]
                entries.append(Entry(f"s3://{self._bucket}/{key}", int(fields["Size"]), fields.get("ETag")))
            elif name == "NextContinuationToken":
                token = child.text
        return Page(entries, token)


def _done(response: ClientResponse, exchange: Exchange[T]) -> None:
    if response.status in RETRIED_STATUS:
        raise TransientError(f"the server answered HTTP {response.status}", parse_retry_after(response.headers.get("Retry-After")))
    if not 200 <= response.status < 300:
        raise exchange.error(refusal(response.status))
