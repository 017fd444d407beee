"""Every error this package raises on purpose.

A message is one line of characters that print: what was asked, what is there, what to do. It never carries the query string of a URL, because
signed URLs keep their secret there; :func:`redact` is the one place that cuts it. :class:`RasteretError` sees to both, whatever it is given.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_URL = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]+:/|(?<![\w:/])//|/vsi)[^\s'\"]*")
_ALMOST_URL = re.compile(r"\s*(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+:|[\\/]{2}|/vsi)[\\/]*")
"""What is no URL and was meant as one: ``https:/host``, ``https:host``, ``//host``, GDAL's paths. (A single letter is a drive.)"""
_INNER_USER = re.compile(r"://[^/@]*@")
"""Of a URL inside of a URL, as in a list of them."""
_FILE_URL = re.compile(r"(?:.*[^a-z0-9+.-])?file", re.DOTALL)


class RasteretError(Exception):
    """The root: ``except RasteretError`` catches everything this package raises on purpose."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(presentable(arg) if isinstance(arg, str) else arg for arg in args))


class InvalidArgument(RasteretError, ValueError):
    """An argument has a value that is not valid; the message names the values that are."""


class CollectionNotFound(RasteretError, LookupError):
    """No built collection, path or relation answers to this name."""


class BandNotFound(RasteretError, LookupError):
    """The collection has no band of this name; the message lists the bands."""


class UnsupportedRaster(RasteretError):
    """A valid file that uses a codec or layout this version does not read."""


class InvalidRaster(RasteretError):
    """Bytes that are not the GeoTIFF they should be: not a TIFF, truncated, or contradicting themselves."""


class ReadError(RasteretError):
    """Bytes could not be had: network, server, file. Carries the asset and the byte range."""

    def __init__(self, message: str, href: str | None = None, byte_range: tuple[int, int] | None = None) -> None:
        where = "" if href is None else f"{one_line(redact(href), 2000)}: "
        span = "" if byte_range is None else f" (bytes {byte_range[0]}-{byte_range[1] - 1})"
        super().__init__(f"{where}{one_line(message)}{span}")
        self.href = None if href is None else redact(href)
        self.status: int | None = None
        """Of HTTP, where the server refused."""
        self.byte_range = byte_range


class WriteError(RasteretError):
    """Bytes could not be stored: credentials, network, server. Carries the place they were meant for."""

    def __init__(self, message: str, href: str) -> None:
        super().__init__(f"{one_line(redact(href), 2000)}: {one_line(message)}")
        self.href = redact(href)


class BudgetExceeded(RasteretError):
    """The query would fetch or hold more than the user's limit allows; the message has both figures."""


class Cancelled(RasteretError):
    """The user interrupted the query."""


def redact(href: str) -> str:
    """The href without query string, fragment and credentials: what may be shown or logged. Local paths have none of these."""
    scheme, mark, rest = href.partition("://")
    head = f"{scheme}{mark}"
    if not mark and (almost := _ALMOST_URL.match(href)):
        mark, scheme, head, rest = almost[0], almost["scheme"].removesuffix(":"), almost[0], href[almost.end() :]
    if not mark or _FILE_URL.fullmatch(scheme.lower()):
        return href
    host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    user, at, name = host.rpartition("@")
    if scheme.lower() in {"abfs", "abfss"} and ":" not in user:  # there it is the container
        name = f"{user}{at}{name}"
    return f"{head}{name}{slash}{_INNER_USER.sub('://', path)}"


def presentable(text: str) -> str:
    """``text`` as a message may have it: its URLs redacted, line breaks as spaces, other characters that do not print escaped."""
    if "/" in text:
        text = _URL.sub(lambda url: redact(url[0]), text)
    if text.isprintable():
        return text
    return "".join(_printable(character) for character in text)


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else character.encode("unicode_escape").decode()


def one_line(text: str, limit: int = 400) -> str:
    """``text`` on one line, cut at ``limit`` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def listing(names: Iterable[str], limit: int = 30) -> str:
    """``a, b, c`` for messages; long lists are cut with their count."""
    items = list(names)
    if not items:
        return "none"
    shown = ", ".join(items[:limit])
    return shown if len(items) <= limit else f"{shown}, … ({len(items)} in all)"


def near(name: str, names: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` when something close to ``name`` is valid, else an empty string."""
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""
