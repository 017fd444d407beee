"""What HTTP keeps open between requests, one per event loop: the session with its connections, the limit per host, proxies, S3 regions."""

from __future__ import annotations

import asyncio
from collections import deque
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

_READ_BUFFER = 1 << 20
"""Bytes aiohttp buffers before it stops reading from the socket; measured: with 64 KiB the stops cost a fifth of the CPU time."""
_KEEP_ALIVE_S = 15.0
"""Idle connections are closed before servers do it (S3 after about 20 s)."""
_DNS_S = 60


class ConnectionDroppedError(aiohttp.ClientError):
    """The connection ended before an answer came."""


async def _send_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Keep aiohttp from sending a request again by itself: attempts are counted, limited and paused here.

    aiohttp repeats idempotent requests after ``ClientOSError`` and ``ServerDisconnectedError``; another class is passed on as it is.
    """
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise ConnectionDroppedError(type(error).__name__) from error


class Gate:
    """Requests in flight to one host, first come, first served; each caller brings the limit of its settings."""

    def __init__(self) -> None:
        self._inside = 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def enter(self, limit: int) -> None:
        if self._inside < limit and not self._queue:
            self._inside += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((limit, place))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()
            else:
                self._queue.remove((limit, place))
                self._admit()
            raise

    def leave(self) -> None:
        self._inside -= 1
        self._admit()

    def _admit(self) -> None:
        while self._queue and self._inside < self._queue[0][0]:
            _, place = self._queue.popleft()
            if not place.done():
                self._inside += 1
                place.set_result(None)


class Network:
    """One per event loop, made by :func:`rasteret_sql.storage.loop.resource`; used on that loop only."""

    def __init__(self) -> None:
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S, ttl_dns_cache=_DNS_S),
            headers={"Accept-Encoding": "identity", "User-Agent": "rasteret-sql"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_READ_BUFFER,
            middlewares=(_send_once,),
        )
        self.regions: dict[str, str] = {}
        """Region of the S3 buckets that redirected there, by :func:`rasteret_sql.storage.hrefs.bucket_root`."""
        self._gates: dict[str, Gate] = {}
        self._proxies: dict[tuple[str, str], str | None] = {}

    async def close(self) -> None:
        await self.session.close()

    def gate(self, host: str) -> Gate:
        return self._gates.setdefault(host, Gate())

    def proxy(self, url: str) -> str | None:
        """The proxy for ``url`` by ``http_proxy``, ``https_proxy`` and ``no_proxy``, read once per host.

        Instead of aiohttp's ``trust_env``, which spends two thread switches on every request and sends credentials from ``~/.netrc``.
        """
        parts = urlsplit(url)
        key = (parts.scheme, parts.hostname or "")
        if key not in self._proxies:
            proxies = getproxies()
            chosen = proxies.get(parts.scheme) or proxies.get("all")
            self._proxies[key] = None if chosen is None or proxy_bypass(key[1]) else chosen
        return self._proxies[key]
