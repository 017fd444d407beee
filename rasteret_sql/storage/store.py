"""The seam: an href and byte ranges in, exactly those bytes out, from HTTP or a local file.

All coroutines run on the process's loop: ``loop.run(store.read_range(…))``.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rasteret_sql.errors import ReadError, WriteError
from rasteret_sql.settings import Settings
from rasteret_sql.storage import local
from rasteret_sql.storage.access import Access
from rasteret_sql.storage.answers import Asked, Identity
from rasteret_sql.storage.hrefs import Location, resolve_href
from rasteret_sql.storage.http import Answer, HttpClient, Memory, RangeRead
from rasteret_sql.storage.metrics import LOCAL_HOST, Metrics
from rasteret_sql.storage.objects import LARGEST_PUT, Delete, Entry, ListPage, Look, Put
from rasteret_sql.storage.ranges import Span, coalesce
from rasteret_sql.storage.retry import RetryPolicy
from rasteret_sql.storage.routes import Route

__all__ = ["Entry", "Head", "Identity", "Store"]

T = TypeVar("T")

HEAD_BYTES = 32768
MAX_GAP = 64 << 10
"""Unwanted bytes that are fetched along rather than asked around: at 20 ms a request, 64 KiB are the cheaper choice on any network."""
MAX_REQUEST = 4 << 20
"""Neighbouring ranges are fetched together up to this size: larger requests only delay what is done with the first bytes."""


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a file, and which file it is."""

    data: bytes
    """The bytes asked for, or all of a shorter file."""
    size: int | None
    """Bytes of the whole file; None when the server does not say."""
    etag: str | None
    """None for local files: times of files do not survive copying, so only their size is compared."""


class Store:
    """Reads byte ranges, and handles whole objects; safe to share between threads and queries.

    Each method takes ``metrics``, the counters of the query (the store's own by default; a child counts in its parents too), and
    ``deadline``, a value of ``time.monotonic()``. Every failure is a :class:`ReadError` that names href and range.
    """

    def __init__(self, settings: Settings, metrics: Metrics, *, policy: RetryPolicy | None = None, stall_timeout_s: float = 15.0) -> None:
        self._metrics = metrics
        self._access = Access(settings)
        self._http = HttpClient(settings.max_concurrency, policy or RetryPolicy(), stall_timeout_s)

    async def read_range(
        self,
        href: str,
        start: int,
        length: int,
        *,
        expect: Identity | None = None,
        deadline: float | None = None,
        metrics: Metrics | None = None,
    ) -> bytes:
        """Exactly ``length`` (``> 0``) bytes from ``start``. With ``expect``, of the file that was indexed or not at all."""
        return bytes(await self.read_into(None, href, start, length, expect=expect, deadline=deadline, metrics=metrics))

    async def read_into(
        self,
        memory: Memory | None,
        href: str,
        start: int,
        length: int,
        *,
        expect: Identity | None = None,
        deadline: float | None = None,
        metrics: Metrics | None = None,
    ) -> bytes | memoryview:
        """The same; what comes from a server, and is large, in what ``memory(length)`` makes, where that is given."""
        asked = Asked(href, _span(href, start, length), head=False, expect=expect)
        return (await self._read(resolve_href(href), asked, deadline, metrics or self._metrics, memory)).data

    async def read_head(self, href: str, length: int = HEAD_BYTES, *, deadline: float | None = None, metrics: Metrics | None = None) -> Head:
        """The first ``length`` bytes, or the whole of a shorter file, with the file's size and ETag."""
        asked = Asked(href, _span(href, 0, length), head=True)
        answer = await self._read(resolve_href(href), asked, deadline, metrics or self._metrics)
        return Head(bytes(answer.data), answer.size, answer.etag)

    async def read_ranges(
        self,
        href: str,
        starts: npt.ArrayLike,
        lengths: npt.ArrayLike,
        *,
        expect: Identity | None = None,
        deadline: float | None = None,
        metrics: Metrics | None = None,
        max_gap: int = MAX_GAP,
        max_length: int = MAX_REQUEST,
    ) -> list[memoryview]:
        """One view per range, in the order asked for; neighbours are fetched together (:func:`coalesce`) and share their bytes."""
        starts, lengths = np.asarray(starts, dtype=np.int64), np.asarray(lengths, dtype=np.int64)
        merged = coalesce(starts, lengths, max_gap=max_gap, max_length=max_length)
        fetches = [self.read_range(href, m.start, m.length, expect=expect, deadline=deadline, metrics=metrics) for m in merged]
        views: list[memoryview] = [memoryview(b"")] * len(starts)
        for request, data in zip(merged, await _all(fetches), strict=True):
            whole = memoryview(data)
            for member in request.members.tolist():
                begin = int(starts[member]) - request.start
                views[member] = whole[begin : begin + int(lengths[member])]
        return views

    async def stat(self, href: str, *, deadline: float | None = None, metrics: Metrics | None = None) -> Entry | None:
        """Size and ETag of a remote file; None where there is none."""
        try:
            return await self._http.perform(Look(href), self._route(href, metrics), deadline)
        except ReadError as error:
            if error.status == 404:
                return None
            raise

    async def list(self, prefix: str, *, deadline: float | None = None, metrics: Metrics | None = None) -> list[Entry]:
        """All objects whose ``s3://`` href starts with ``prefix`` (``s3://bucket/`` for a whole bucket), sorted by key; a page has 1,000."""
        bucket, _, key = prefix.partition("://")[2].partition("/")
        if not prefix.startswith("s3://"):
            raise ReadError("only s3:// is listed", prefix)
        location = resolve_href(prefix if key else f"s3://{bucket}/-")
        found: list[Entry] = []
        token: str | None = None
        while True:
            route = self._access.route(replace(location, key=""), metrics or self._metrics)
            page = await self._http.perform(ListPage(prefix, bucket, key, token), route, deadline)
            found += page.entries
            if not page.next_token:
                return found
            if page.next_token == token:
                raise ReadError("the server sends the same page of its listing again and again", prefix)
            token = page.next_token

    async def write(self, href: str, data: bytes, *, deadline: float | None = None, metrics: Metrics | None = None) -> str | None:
        """Store ``data`` (up to 5 GB) under an ``s3://`` href, whole or not at all; its ETag. Every failure is a :class:`WriteError`."""
        if len(data) > LARGEST_PUT:
            raise WriteError(f"{len(data):,} bytes are more than one object takes ({LARGEST_PUT:,}): write several files", href)
        _writable(href)
        digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        return await self._http.perform(Put(href, data, digest), self._route(href, metrics), deadline)

    async def delete(self, href: str, *, deadline: float | None = None, metrics: Metrics | None = None) -> None:
        """Remove an object; one that is not there is no error."""
        _writable(href)
        await self._http.perform(Delete(href), self._route(href, metrics), deadline)

    def _route(self, href: str, metrics: Metrics | None) -> Route:
        location = resolve_href(href)
        if location.url is None:
            raise ReadError("a local path, where an object on a server is meant", href)
        return self._access.route(location, metrics or self._metrics)

    async def _read(self, location: Location, asked: Asked, deadline: float | None, metrics: Metrics, memory: Memory | None = None) -> Answer:
        if location.url is not None:
            return await self._http.perform(RangeRead(asked, memory), self._access.route(location, metrics), deadline)
        try:
            async with asyncio.timeout_at(deadline):
                data, size = await local.read(location.path or "", asked, metrics)
        except TimeoutError:
            metrics.count_io(LOCAL_HOST, failures=1)
            raise asked.error("not read before the query's deadline (setting timeout_s)") from None
        except ReadError:
            metrics.count_io(LOCAL_HOST, failures=1)
            raise
        return Answer(data, size, None)


def _writable(href: str) -> None:
    if not href.startswith("s3://"):
        raise WriteError("objects are written to s3:// only", href)


def _span(href: str, start: int, length: int) -> Span:
    if start < 0 or length <= 0:
        raise ReadError(f"{length} bytes from {start} are no byte range", href)
    return Span(start, start + length)


async def _all(coroutines: list[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in order; the first error cancels the rest and is raised as it is."""
    if len(coroutines) == 1:
        return [await coroutines[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]
