"""Byte ranges over HTTP: one checked attempt at a time, repeated by the rules of :mod:`rasteret_sql.storage.retry`."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from dataclasses import dataclass, field

import aiohttp
from aiohttp import ClientResponse, ClientTimeout
from yarl import URL

from rasteret_sql.errors import ReadError
from rasteret_sql.storage import loop
from rasteret_sql.storage.answers import Asked, check_answer, refusal
from rasteret_sql.storage.hrefs import bucket_root, redirect_target
from rasteret_sql.storage.metrics import Metrics
from rasteret_sql.storage.network import ConnectionDroppedError, Network
from rasteret_sql.storage.retry import RETRIED_STATUS, RetryPolicy, TransientError

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_EXPLAINED = frozenset({400, 403})
"""Answers whose body is looked into for the store's own error code."""
_EXPLANATION_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Answer:
    """A checked answer."""

    data: bytes
    size: int | None
    """Bytes of the whole file, where the server says so."""
    etag: str | None


@dataclass(slots=True)
class _Transfer:
    """One request on its way: counted when it ends, however it ends."""

    started: float = field(default_factory=time.monotonic)
    nbytes: int = 0


class HttpReader:
    """Reads ranges of http(s) URLs. Holds settings only; connections belong to the loop's :class:`Network`."""

    def __init__(self, max_concurrency: int, policy: RetryPolicy, stall_timeout_s: float) -> None:
        self._limit = max_concurrency
        self._policy = policy
        self._stall_s = stall_timeout_s
        self._timeout = ClientTimeout(total=None, sock_connect=stall_timeout_s, sock_read=stall_timeout_s)

    async def fetch(self, url: str, host: str, asked: Asked, metrics: Metrics, deadline: float | None) -> Answer:
        """The bytes asked for, or a :class:`ReadError` once attempts, retry budget or time (``deadline``, of ``time.monotonic()``) are used up."""
        last: TransientError | None = None
        attempt = 0
        network = loop.resource(Network)
        gate = network.gate(host)
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    attempt += 1
                    await gate.enter(self._limit)
                    try:
                        return await self._attempt(network, url, host, asked, metrics)
                    except TransientError as failure:
                        last = failure
                    finally:
                        gate.leave()
                    pause = self._pause(last, attempt, asked, metrics, deadline)
                    await asyncio.sleep(pause)
                    metrics.count_io(host, retries=1)
        except ReadError:
            metrics.count_io(host, failures=1)
            raise
        except TimeoutError:
            metrics.count_io(host, failures=1)
            before = "" if last is None else f"; before that, {last}"
            raise asked.error(f"not read before the query's deadline (setting timeout_s){before}") from None

    def _pause(self, failure: TransientError, attempt: int, asked: Asked, metrics: Metrics, deadline: float | None) -> float:
        """Seconds until the next attempt; raises when there is to be none."""
        policy = self._policy
        tried = "1 attempt" if attempt == 1 else f"{attempt} attempts"
        if attempt >= policy.attempts:
            raise asked.error(f"{failure}; gave up after {tried}")
        counts = metrics.snapshot()
        if not policy.within_budget(counts.retries, counts.requests):
            raise asked.error(f"{failure}; not retried: {counts.retries} of the query's {counts.requests} requests were retries already")
        pause = policy.pause(attempt, failure.retry_after_s)
        left = policy.longest_wait_s if deadline is None else min(policy.longest_wait_s, deadline - time.monotonic())
        if pause >= left:
            raise asked.error(f"{failure}; the next attempt would be too late (in {pause:.1f} s, setting timeout_s), gave up after {tried}")
        return pause

    async def _attempt(self, network: Network, url: str, host: str, asked: Asked, metrics: Metrics) -> Answer:
        """One attempt, redirects followed."""
        if network.regions and (region := network.regions.get(bucket_root(url))):
            url = redirect_target(url, None, region) or url
        for _ in range(MAX_REDIRECTS + 1):
            transfer = _Transfer()
            try:
                answer = await self._request(network, url, asked, transfer)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise self._explained(error, asked) from None
            finally:
                metrics.count_io(host, requests=1, nbytes=transfer.nbytes, seconds=time.monotonic() - transfer.started)
            if isinstance(answer, Answer):
                return answer
            url = answer
        raise asked.error(f"more than {MAX_REDIRECTS} redirects")

    async def _request(self, network: Network, url: str, asked: Asked, transfer: _Transfer) -> Answer | str:
        """One request: the answer, or the URL it redirects to. Leaving early closes the connection, so an unwanted body is never downloaded."""
        headers = {"Range": f"bytes={asked.span.start}-{asked.span.stop - 1}"}
        async with network.session.get(
            URL(url, encoded=True), headers=headers, allow_redirects=False, proxy=network.proxy(url), timeout=self._timeout
        ) as response:
            if response.status in _REDIRECTS:
                return _redirect(network, url, response, asked)
            if response.status in _EXPLAINED:
                raise asked.error(refusal(response.status, await response.content.read(_EXPLANATION_BYTES)))
            facts = check_answer(response.status, response.headers, asked)
            data = await _read_body(response, facts.length, asked, transfer)
        return Answer(data, facts.size, facts.etag)

    def _explained(self, error: aiohttp.ClientError | TimeoutError, asked: Asked) -> ReadError | TransientError:
        final = _final_reason(error)
        return TransientError(_transient_reason(error, self._stall_s)) if final is None else asked.error(final)


def _final_reason(error: aiohttp.ClientError | TimeoutError) -> str | None:
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


def _transient_reason(error: aiohttp.ClientError | TimeoutError, stall_s: float) -> str:
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


def _redirect(network: Network, url: str, response: ClientResponse, asked: Asked) -> str:
    """The URL that ``response`` leads to; the region of a bucket is remembered."""
    location, region = response.headers.get("Location"), response.headers.get("x-amz-bucket-region")
    target = redirect_target(url, location, region)
    if target is None:
        raise asked.error(f"a redirect (HTTP {response.status}) that leads to no http(s) URL")
    if region is not None and (root := bucket_root(url)):
        network.regions[root] = region
    return target


async def _read_body(response: ClientResponse, length: int, asked: Asked, transfer: _Transfer) -> bytes:
    """Exactly ``length`` bytes. Chunks joined once: measured faster than filling a bytearray, and bounded unlike ``response.read()``."""
    chunks: list[bytes] = []
    while chunk := await response.content.readany():
        transfer.nbytes += len(chunk)
        if transfer.nbytes > length:
            raise asked.error(f"the server sent more than the {length:,} bytes it announced")
        chunks.append(chunk)
    if transfer.nbytes != length:
        raise TransientError(f"the answer is cut short: {transfer.nbytes:,} of {length:,} bytes came")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
