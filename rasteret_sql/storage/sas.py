"""Read tokens for Azure containers from a service such as Planetary Computer's: asked once, shared, renewed before they expire.

The service answers ``{sas_api}/token/{account}/{container}`` with ``{"token": "sv=…&sig=…", "msft:expiry": "2026-01-01T00:00:00Z"}``, and with a
status of the 400s for containers that it has no tokens for (Planetary Computer, "Using tokens for data access").
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import aiohttp
from yarl import URL

from rasteret_sql.storage.hrefs import encoded
from rasteret_sql.storage.metrics import Metrics
from rasteret_sql.storage.network import Network
from rasteret_sql.storage.retry import RETRIED_STATUS, TransientError, parse_retry_after

_MARGIN_S = 120.0
"""A token is renewed so long before it expires: a request takes a while, and clocks differ."""
_HOLD_S = 10.0
"""A fresh token is used at least so long, even if by this machine's clock it has expired: the service must not be asked for every tile."""
_TIMEOUT = aiohttp.ClientTimeout(total=30)
_LARGEST = 1 << 16

Key = tuple[str, str, str]
"""Service, account, container."""


@dataclass(frozen=True, slots=True)
class Token:
    """A query string that opens a container, and until when (``time.time()``) it is used."""

    text: str = field(repr=False)
    renew_at: float


class SasTokens:
    """The tokens of the process; one per event loop."""

    def __init__(self) -> None:
        self._held: dict[Key, Token | None] = {}
        """None: the service has no token for this container."""
        self._flights: dict[Key, asyncio.Task[Token | None]] = {}

    async def close(self) -> None:
        self._held.clear()

    def is_open(self, key: Key) -> bool:
        """Is this container known to need no token of the service, or to have none?"""
        return key in self._held and self._held[key] is None

    def known(self, key: Key) -> bool:
        return key in self._held

    def drop(self, key: Key, refused: str) -> None:
        """Forget a token that the store refused, if it is still this one."""
        held = self._held.get(key)
        if held is not None and held.text == refused:
            self._held[key] = Token(refused, 0.0)

    async def get(self, key: Key, network: Network, metrics: Metrics) -> str | None:
        """The token of a container; None where the service has none. Asked once, however many wait; TransientError where asking again may help."""
        held = self._held.get(key)
        if key in self._held and (held is None or time.time() < held.renew_at):
            return held.text if held else None
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(_fetch(key, network, metrics))
            flight.add_done_callback(lambda task: self._landed(key, task))
        token = await asyncio.shield(flight)
        return token.text if token else None

    def _landed(self, key: Key, task: asyncio.Task[Token | None]) -> None:
        del self._flights[key]
        if not task.cancelled() and task.exception() is None:
            self._held[key] = task.result()


async def _fetch(key: Key, network: Network, metrics: Metrics) -> Token | None:
    api, account, container = key
    url = f"{api}/token/{quote(account, safe='')}/{quote(container, safe='')}"
    host, started = urlsplit(url).hostname or "", time.monotonic()
    service, body = f"the token service at {host}", b""
    try:
        async with network.session.get(URL(url, encoded=True), proxy=network.proxy(url), timeout=_TIMEOUT, allow_redirects=False) as answer:
            if answer.status in RETRIED_STATUS:
                raise TransientError(f"{service} answered HTTP {answer.status}", parse_retry_after(answer.headers.get("Retry-After")))
            if 400 <= answer.status < 500:
                return None
            if answer.status != 200:
                raise TransientError(f"{service} answered HTTP {answer.status}")
            while len(body) < _LARGEST and (chunk := await answer.content.readany()):
                body += chunk
    except (aiohttp.ClientError, TimeoutError) as error:
        raise TransientError(f"{service} cannot be reached ({type(error).__name__})") from None
    finally:
        metrics.count_io(host, requests=1, nbytes=len(body), seconds=time.monotonic() - started)
    token = _parsed(body, time.time())
    if token is None:
        raise TransientError(f"{service} answered without a token")
    return token


def _parsed(body: bytes, now: float) -> Token | None:
    try:
        answer = json.loads(body)
        text, expiry = answer["token"], datetime.fromisoformat(answer["msft:expiry"])
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(text, str) or "sig=" not in text:
        return None
    expires = (expiry if expiry.tzinfo else expiry.replace(tzinfo=UTC)).timestamp()
    return Token(encoded(text.strip().removeprefix("?")), max(expires - _MARGIN_S, now + _HOLD_S))
