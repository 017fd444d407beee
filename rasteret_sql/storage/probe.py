"""A look at how one place is reached, for diagnosis: the host by itself, then one range through the same routes, signatures and checks as reads."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from aiohttp import ClientResponse

from rasteret_sql.errors import ReadError
from rasteret_sql.settings import Settings
from rasteret_sql.storage import loop
from rasteret_sql.storage.access import Access
from rasteret_sql.storage.answers import Asked
from rasteret_sql.storage.hrefs import resolve_href
from rasteret_sql.storage.http import Answer, HttpClient, RangeRead, Transfer
from rasteret_sql.storage.metrics import Metrics
from rasteret_sql.storage.network import Network
from rasteret_sql.storage.ranges import Span
from rasteret_sql.storage.retry import RetryPolicy, UnsentError
from rasteret_sql.storage.routes import Call

TIMEOUT_S = 10.0
_DEFAULT_PORT = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Host:
    """What a host said when it was connected to, up to the step that failed."""

    name: str
    """With its port."""
    addresses: int = 0
    connect_s: float = 0.0
    certificate_ends: datetime | None = None
    """Of https, once the certificate was accepted."""
    skew_s: float | None = None
    """Its clock minus ours; None where it names no time."""
    failed: str = ""
    """The step that failed: name, connect, certificate, tls."""
    reason: str = ""


@dataclass(slots=True)
class Look:
    """One range as the reader asks for it: what came, or the reader's own error."""

    error: ReadError | None = None
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None
    nbytes: int = 0
    first_s: float = 0.0
    """Until the answer's headers."""
    seconds: float = 0.0


class _Inspected(RangeRead):
    """A range read that remembers the headers of its last answer, whatever they are worth."""

    def __init__(self, asked: Asked, look: Look) -> None:
        super().__init__(asked)
        self._look = look
        self._began = time.monotonic()

    async def take(self, response: ClientResponse, transfer: Transfer) -> Answer:
        self._look.status, self._look.headers = response.status, response.headers
        self._look.first_s = time.monotonic() - self._began
        return await super().take(response, transfer)


def target_of(href: str, settings: Settings) -> str:
    """The URL that requests for ``href`` go to, with endpoints applied; a :class:`ReadError` where none can be made. Local paths have none: ''."""
    return loop.run(_target(href, settings))


async def _target(href: str, settings: Settings) -> str:
    location = resolve_href(href)
    if location.url is None:
        return ""
    route = Access(settings).route(location, Metrics())
    route.begin()
    try:
        url, _ = await route.dress(Call())
    except UnsentError as reason:
        raise ReadError(str(reason), href) from None
    return url


def proxy_of(url: str) -> str | None:
    """The proxy that requests to ``url`` go through."""

    async def ask() -> str | None:
        return loop.resource(Network).proxy(url)

    return loop.run(ask())


def reach(url: str, timeout_s: float = TIMEOUT_S) -> Host:
    """Name, connection, certificate, clock: one step after the other, straight to the host of an http(s) URL. Never raises."""
    parts = urlsplit(url)
    name, port = parts.hostname or "", parts.port or _DEFAULT_PORT[parts.scheme]
    shown = f"{name}:{port}"
    try:
        addresses = {entry[4][0] for entry in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError) as error:
        return Host(shown, failed="name", reason=getattr(error, "strerror", "") or str(error))
    began = time.monotonic()
    try:
        connection = socket.create_connection((name, port), timeout=timeout_s)
    except OSError as error:
        reason = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        return Host(shown, len(addresses), failed="connect", reason=reason)
    seconds = time.monotonic() - began
    ends: datetime | None = None
    with connection:
        if parts.scheme == "http":
            return Host(shown, len(addresses), seconds, skew_s=_skew(connection, parts.netloc.rpartition("@")[2]))
        try:
            with ssl.create_default_context().wrap_socket(connection, server_hostname=name) as secured:
                until = secured.getpeercert() or {}
                ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(until["notAfter"])), UTC) if "notAfter" in until else None
                return Host(shown, len(addresses), seconds, ends, _skew(secured, parts.netloc.rpartition("@")[2]))
        except ssl.SSLCertVerificationError as error:
            return Host(shown, len(addresses), seconds, failed="certificate", reason=error.verify_message or str(error))
        except OSError as error:  # ssl.SSLError is one
            return Host(shown, len(addresses), seconds, failed="tls", reason=getattr(error, "reason", None) or str(error))


def _skew(connection: socket.socket, host: str) -> float | None:
    """The server's clock minus ours, by the Date of its answer to a HEAD of its root; the answer itself says nothing."""
    try:
        connection.sendall(f"HEAD / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: rasteret-sql\r\nConnection: close\r\n\r\n".encode())
        answer = http.client.HTTPResponse(connection, method="HEAD")
        try:
            answer.begin()
            said = parsedate_to_datetime(answer.getheader("Date") or "")
        finally:
            answer.close()
    except (OSError, http.client.HTTPException, TypeError, ValueError):
        return None
    return (said if said.tzinfo else said.replace(tzinfo=UTC)).timestamp() - time.time()


def look_at(href: str, settings: Settings, start: int, length: int, *, head: bool, timeout_s: float = TIMEOUT_S) -> Look:
    """Ask for one range of a remote file, once, as the reader does; errors are in the answer."""
    look = Look()
    began = time.monotonic()
    try:
        answer = loop.run(_ask(href, settings, Span(start, start + length), look, head=head, timeout_s=timeout_s))
    except ReadError as error:
        look.error = error
    else:
        look.size, look.nbytes = answer.size, len(answer.data)
    look.seconds = time.monotonic() - began
    return look


async def _ask(href: str, settings: Settings, span: Span, look: Look, *, head: bool, timeout_s: float) -> Answer:
    client = HttpClient(settings.max_concurrency, RetryPolicy(attempts=1), timeout_s)
    route = Access(settings).route(resolve_href(href), Metrics())
    return await client.perform(_Inspected(Asked(href, span, head=head), look), route, time.monotonic() + timeout_s)
