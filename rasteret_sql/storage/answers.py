"""Is this HTTP answer the one that was asked for? Pure: status and headers in, facts or an error out.

HTTP libraries check none of this, and a wrong answer taken for the right one is a wrong pixel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from rasteret_sql.errors import ReadError
from rasteret_sql.storage.ranges import Span
from rasteret_sql.storage.retry import RETRIED_STATUS, TransientError, parse_retry_after

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII | re.IGNORECASE)
_UNSATISFIED = re.compile(r"bytes \*/(\d{1,19})", re.ASCII | re.IGNORECASE)
_ENCODINGS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress"})
_MEANING = {
    401: "the server asks for credentials",
    403: "access denied: the file is private, or its signed URL has expired",
    404: "no such file",
    407: "the proxy asks for credentials",
    410: "the file is gone",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Which version of a file was indexed; None where that is not known."""

    etag: str | None = None
    size: int | None = None
    """The file's bytes."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: what for, and what its answer must be."""

    href: str
    span: Span
    head: bool
    """The file may end before the span does."""
    expect: Identity | None = None

    def error(self, message: str) -> ReadError:
        return ReadError(message, self.href, (self.span.start, self.span.stop))


@dataclass(frozen=True, slots=True)
class Facts:
    """What the headers of an accepted answer say."""

    length: int
    """Bytes its body must have."""
    size: int | None
    """Bytes of the whole file; None when the server does not say."""
    etag: str | None


def check_answer(status: int, headers: Mapping[str, str], asked: Asked) -> Facts:
    """The facts of a valid 206; anything else is a :class:`ReadError`, or a :class:`TransientError` when asking again may help.

    ``headers`` must find names whatever their case. Rules: RFC 9110, sections 14.4 (Content-Range), 15.3.7 (206), 15.5.17 (416).
    """
    if status in RETRIED_STATUS:
        raise TransientError(f"the server answered HTTP {status}", parse_retry_after(headers.get("Retry-After")))
    if status == 206:
        return _check_partial(headers, asked)
    if status == 200:
        if headers.get("Content-Type", "").lower().startswith("text/html"):
            raise asked.error("an HTML page came back instead of the file: a login or error page, or not the file's own URL")
        raise asked.error("the server ignores range requests (HTTP 200 where 206 was due), so single tiles cannot be read from it")
    if status == 416:
        found = _UNSATISFIED.fullmatch(headers.get("Content-Range", "").strip())
        size = None if found is None else int(found[1])
        check_identity(asked, size, headers.get("ETag"))
        if asked.head and size == 0:
            raise asked.error("the file is empty")
        raise asked.error(f"the range lies beyond the end of the file (size {'unknown' if size is None else f'{size:,}'})")
    raise asked.error(refusal(status))


def refusal(status: int, said: str = "", meaning: str = "") -> str:
    """The message for a status that is final: what it means, and what the server ``said``."""
    return f"{meaning or _MEANING.get(status, 'the server refused')} (HTTP {status}{', ' if said else ''}{said})"


def _check_partial(headers: Mapping[str, str], asked: Asked) -> Facts:
    span, etag = asked.span, headers.get("ETag")
    if (encoding := headers.get("Content-Encoding", "").strip().lower()) in _ENCODINGS:
        raise asked.error(f"the server sends the file compressed (Content-Encoding: {encoding}), so offsets in it mean nothing")
    found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if found is None:
        raise asked.error("the server answered 206 without saying which bytes (no valid Content-Range)")
    start, stop = int(found[1]), int(found[2]) + 1
    size = None if found[3] == "*" else int(found[3])
    check_identity(asked, size, etag)
    if asked.head:
        due = stop <= span.stop if size is None else stop == min(span.stop, size)
    else:
        due = stop == span.stop
        if start == span.start and size is not None and stop == size < span.stop:
            raise asked.error(f"the file ends at byte {size:,}, before the range does")
    if start != span.start or stop <= start or not due or (size is not None and stop > size):
        raise asked.error(f"the server sent other bytes than asked for (Content-Range: {found[0]})")
    length = stop - start
    if (promised := headers.get("Content-Length")) is not None and promised.strip() != str(length):
        raise TransientError(f"the answer is cut short: {_number(promised)} of {length:,} bytes announced")
    return Facts(length, size, etag)


def _number(text: str) -> str:
    return f"{int(text):,}" if text.isascii() and text.isdigit() and len(text) < 20 else "an unreadable number"


def check_identity(asked: Asked, size: int | None, etag: str | None) -> None:
    """A file that is not the one indexed must not be read with its offsets. Weak ETags (``W/…``) say nothing about bytes and are not compared."""
    expect = asked.expect
    if expect is None:
        return
    if expect.size is not None and size is not None and size != expect.size:
        raise asked.error(f"the file changed since it was indexed: {size:,} bytes, {expect.size:,} then; index it again")
    strong = [tag for tag in (expect.etag, etag) if tag is not None and not tag.startswith("W/")]
    if len(strong) == 2 and strong[0] != strong[1]:
        raise asked.error("the file changed since it was indexed (its ETag is another); index it again")
