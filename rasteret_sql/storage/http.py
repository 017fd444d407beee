"""Requests over HTTP: one checked attempt at a time, repeated by the rules of :mod:`rasteret_sql.storage.retry`, sent as a route says."""

from __future__ import annotations

import asyncio
import io
import socket
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import aiohttp
from aiohttp import ClientResponse, ClientTimeout
from yarl import URL

from rasteret_sql.errors import RasteretError, ReadError, WriteError
from rasteret_sql.storage import receiving
from rasteret_sql.storage.answers import Asked, check_answer
from rasteret_sql.storage.gathering import gathering
from rasteret_sql.storage.metrics import Metrics
from rasteret_sql.storage.network import ConnectionDroppedError
from rasteret_sql.storage.retry import RETRIED_STATUS, RetryPolicy, TransientError, UnsentError
from rasteret_sql.storage.routes import Call, Refusal, Route

T = TypeVar("T")
Memory = Callable[[int], memoryview]

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_EXPLAINED = frozenset({400, 401, 403, 404, 409})
"""Answers whose body is looked into for the store's own error code."""
_EXPLANATION_BYTES = 4096
_SLOWEST_BYTES_S = 1 << 18
"""An upload may take so long that nothing is read meanwhile: a byte rate below this counts as stalled."""


@dataclass(slots=True)
class Transfer:
    """One request on its way: counted when it ends, however it ends."""

    stall_s: float
    """Seconds without a byte after which it counts as stalled."""
    started: float = field(default_factory=time.monotonic)
    nbytes: int = 0


class Exchange(ABC, Generic[T]):
    """What is asked for, and how its answer becomes a ``T``."""

    call: Call

    @abstractmethod
    def error(self, message: str) -> RasteretError:
        """A failure of this exchange; names the href."""

    @abstractmethod
    async def take(self, response: ClientResponse, transfer: Transfer) -> T:
        """The result from an answer that is no redirect and no refusal; an error or TransientError from a wrong one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A checked answer."""

    data: bytes | memoryview
    """Bytes, but where memory was given for them."""
    size: int | None
    """Bytes of the whole file, where the server says so."""
    etag: str | None


@dataclass(frozen=True, slots=True)
class _Done(Generic[T]):
    """The result of an exchange."""

    result: T


class RangeRead(Exchange[Answer]):
    """A byte range of a file; where it is large, in memory made by ``memory(nbytes)``."""

    def __init__(self, asked: Asked, memory: Memory | None = None) -> None:
        self._asked = asked
        self._memory = memory
        self.call = Call(headers={"range": f"bytes={asked.span.start}-{asked.span.stop - 1}"})

    def error(self, message: str) -> ReadError:
        return self._asked.error(message)

    async def take(self, response: ClientResponse, transfer: Transfer) -> Answer:
        """Leaves early where the headers are wrong: that closes the connection, so an unwanted body is never downloaded."""
        facts = check_answer(response.status, response.headers, self._asked)
        return Answer(await self._body(response, facts.length, transfer), facts.size, facts.etag)

    async def _body(self, response: ClientResponse, length: int, transfer: Transfer) -> bytes | memoryview:
        if self._memory and length >= receiving.SMALLEST and receiving.exchanges() and receiving.is_plain(response, length):
            return await _receive_body(response, self._memory(length), transfer)
        return await _read_body(response, length, self._asked, transfer)


class HttpClient:
    """Sends requests. Holds settings only; connections belong to the loop's :class:`Network`."""

    def __init__(self, max_concurrency: int, policy: RetryPolicy, stall_timeout_s: float) -> None:
        self._limit = max_concurrency
        self._policy = policy
        self._stall_s = stall_timeout_s
        self._timeout = ClientTimeout(total=None, sock_connect=stall_timeout_s, sock_read=stall_timeout_s)

    async def perform(self, exchange: Exchange[T], route: Route, deadline: float | None) -> T:
        """The result, or an error once attempts, retry budget or time (``deadline``, of ``time.monotonic()``) are used up."""
        last: TransientError | None = None
        attempt = 0
        host, metrics = route.host, route.metrics
        gate = route.network.gate(host)
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    attempt += 1
                    await gate.enter(self._limit)
                    try:
                        return await self._attempt(exchange, route)
                    except TransientError as failure:
                        last = failure
                    finally:
                        gate.leave()
                    pause = self._pause(last, attempt, exchange, metrics, deadline)
                    await asyncio.sleep(pause)
                    metrics.count_io(host, retries=1)
        except (ReadError, WriteError):
            metrics.count_io(host, failures=1)
            raise
        except TimeoutError:
            metrics.count_io(host, failures=1)
            before = "" if last is None else f"; before that, {last}"
            raise exchange.error(
                f"not {_PARTICIPLE.get(exchange.call.method, 'read')} before the query's deadline (setting timeout_s){before}"
            ) from None

    def _pause(self, failure: TransientError, attempt: int, exchange: Exchange[T], metrics: Metrics, deadline: float | None) -> float:
        """Seconds until the next attempt; raises when there is to be none."""
        policy = self._policy
        tried = "1 attempt" if attempt == 1 else f"{attempt} attempts"
        if attempt >= policy.attempts:
            raise exchange.error(f"{failure}; gave up after {tried}")
        counts = metrics.snapshot()
        if not policy.within_budget(counts.retries, counts.requests):
            raise exchange.error(f"{failure}; not retried: {counts.retries} of the query's {counts.requests} requests were retries already")
        pause = policy.pause(attempt, failure.retry_after_s)
        left = policy.longest_wait_s if deadline is None else min(policy.longest_wait_s, deadline - time.monotonic())
        if pause >= left:
            raise exchange.error(f"{failure}; the next attempt would be too late (in {pause:.1f} s, setting timeout_s), gave up after {tried}")
        return pause

    async def _attempt(self, exchange: Exchange[T], route: Route) -> T:
        """One attempt: redirects followed (so many), refusals answered where the route knows how (each way once)."""
        route.begin()
        redirects = 0
        while True:
            try:
                url, headers = await route.dress(exchange.call)
            except UnsentError as reason:
                raise exchange.error(str(reason)) from None
            transfer = Transfer(self._stall_s)
            try:
                answer = await self._request(exchange, route, url, headers, transfer)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise self._explained(error, exchange) from None
            finally:
                route.metrics.count_io(route.host, requests=1, nbytes=transfer.nbytes, seconds=time.monotonic() - transfer.started)
            if isinstance(answer, _Done):
                return answer.result
            if isinstance(answer, Refusal):
                await _answered(answer, exchange, route)
                continue
            redirects += 1
            if redirects > MAX_REDIRECTS:
                raise exchange.error(f"more than {MAX_REDIRECTS} redirects")

    async def _request(
        self, exchange: Exchange[T], route: Route, url: str, headers: Mapping[str, str], transfer: Transfer
    ) -> _Done[T] | Refusal | None:
        """One request: the result, the refusal, or None for a redirect, which the route has taken."""
        call, network, timeout = exchange.call, route.network, self._timeout
        if call.payload:
            stall = self._stall_s + len(call.payload) / _SLOWEST_BYTES_S
            timeout = ClientTimeout(total=None, sock_connect=self._stall_s, sock_read=stall)
        body = None if call.payload is None else io.BytesIO(call.payload)
        async with network.session.request(
            call.method, URL(url, encoded=True), headers=headers, data=body, allow_redirects=False, proxy=network.proxy(url), timeout=timeout
        ) as response:
            status = response.status
            if status in _REDIRECTS:
                if not route.redirected(response.headers.get("Location"), response.headers.get("x-amz-bucket-region")):
                    raise exchange.error(f"a redirect (HTTP {status}) that leads to no http(s) URL")
                return None
            if status in _EXPLAINED:
                refusal = Refusal(status, response.headers, await response.content.read(_EXPLANATION_BYTES))
                if refusal.code == "RequestTimeout":
                    raise TransientError("the server waited too long for the request (RequestTimeout)")
                return refusal
            result = await exchange.take(response, transfer)
        route.accepted()
        return _Done(result)

    def _explained(self, error: aiohttp.ClientError | TimeoutError, exchange: Exchange[T]) -> RasteretError | TransientError:
        final = final_reason(error)
        return TransientError(transient_reason(error, self._stall_s)) if final is None else exchange.error(final)


async def _answered(refusal: Refusal, exchange: Exchange[T], route: Route) -> None:
    """Return where the route's next request may do better; else raise what is to be told."""
    try:
        again = await route.refused(refusal)
    except UnsentError as reason:
        raise exchange.error(f"{route.explain(refusal)}; {reason}") from None
    if not again:
        failure = exchange.error(route.explain(refusal))
        if isinstance(failure, ReadError):
            failure.status = refusal.status
        raise failure


_PARTICIPLE = {"PUT": "written", "DELETE": "deleted"}


def final_reason(error: aiohttp.ClientError | TimeoutError) -> str | None:
    """Why another attempt would end like this one; None when it may not. Never holds a URL, as aiohttp's own words may."""
    match error:
        case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as reason):
            return f"the server's TLS certificate is not valid ({reason.verify_message})"
        case aiohttp.ClientConnectorCertificateError():
            return "the server's TLS certificate is not valid"
        case aiohttp.ClientConnectorDNSError(os_error=socket.gaierror(errno=socket.EAI_NONAME)):
            return "the host's name is not known: check the href and the network"
        case aiohttp.ClientHttpProxyError() if error.status not in RETRIED_STATUS:
            return f"the proxy refused to connect (HTTP {error.status})"
        case aiohttp.InvalidURL():
            return "not a valid URL"
    return None


def transient_reason(error: aiohttp.ClientError | TimeoutError, stall_s: float) -> str:
    """What went wrong this time, without any URL."""
    match error:
        case aiohttp.ClientProxyConnectionError():
            reason = "the proxy cannot be reached"
        case aiohttp.ClientConnectorError():
            reason = f"the server cannot be reached ({error.os_error.strerror or type(error.os_error).__name__})"
        case aiohttp.ConnectionTimeoutError():
            reason = f"no connection within {stall_s:g} s"
        case TimeoutError():
            reason = f"no bytes came for {stall_s:g} s"
        case ConnectionDroppedError():
            reason = "the connection ended before an answer came"
        case aiohttp.ClientPayloadError():
            reason = "the connection ended in the middle of the answer"
        case _:
            reason = f"the connection failed ({type(error).__name__})"
    return reason


async def _receive_body(response: ClientResponse, target: memoryview, transfer: Transfer) -> memoryview:
    body = receiving.Body(response, target, transfer.stall_s)
    try:
        await body.read()
    finally:
        transfer.nbytes = body.filled
    _check_length(transfer, len(target))
    return target


async def _read_body(response: ClientResponse, length: int, asked: Asked, transfer: Transfer) -> bytes:
    """Exactly ``length`` bytes. Chunks joined once: measured faster than filling a bytearray, and bounded unlike ``response.read()``."""
    chunks: list[bytes] = []
    with gathering(response) as gather:
        while chunk := await response.content.readany():
            transfer.nbytes += len(chunk)
            if transfer.nbytes > length:
                raise asked.error(f"the server sent more than the {length:,} bytes it announced")
            chunks.append(chunk)
            gather.arrived(len(chunk), length - transfer.nbytes)
    _check_length(transfer, length)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _check_length(transfer: Transfer, length: int) -> None:
    if transfer.nbytes != length:
        raise TransientError(f"the answer is cut short: {transfer.nbytes:,} of {length:,} bytes came")
