"""Headers of many files: one ranged read each where the first 32 KB hold it, more only where the directories lie further in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from rasteret_sql.errors import InvalidRaster, RasteretError, UnsupportedRaster, redact
from rasteret_sql.raster.codec import supports
from rasteret_sql.raster.header import Header
from rasteret_sql.raster.tiff import NeedBytes, SparseBytes, parse_header
from rasteret_sql.reader.engine import Query
from rasteret_sql.storage import loop
from rasteret_sql.storage.hrefs import resolve_href
from rasteret_sql.storage.store import Identity, Store

HEAD_BYTES = 32 << 10
AT_ONCE = 2
"""Headers are small: so many times as many as byte ranges of pixels (``max_concurrency``) are under way. 500 at 20 ms: 0.34 s, not 0.48 s."""
MAX_ROUNDS = 12
"""A header that is not complete after so many reads is not worth following."""


@dataclass(frozen=True, slots=True, eq=False)
class FileHeader:
    """A header and the identity of the file it was read from."""

    header: Header
    etag: str | None
    size: int | None


def read_headers(hrefs: Sequence[str], query: Query) -> list[FileHeader | RasteretError]:
    """The header of each file, or the error that kept it from being read, in order."""
    return loop.wait(HeaderReader(query).start(hrefs), cancel=query.cancelled)


class HeaderReader:
    """Reads the headers of batch after batch, so many at once over all of them.

    An earlier batch goes before a later one, so that it can be worked on while the next is read; no request waits for the end of a batch.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self._most = AT_ONCE * query.settings.max_concurrency
        self._store = Store(replace(query.settings, max_concurrency=self._most), query.metrics)
        self._free = asyncio.Semaphore(self._most)

    def start(self, hrefs: Sequence[str], done: Callable[[int], None] | None = None) -> Future[list[FileHeader | RasteretError]]:
        """Begin with a batch; wait for it with :func:`rasteret_sql.storage.loop.wait`. ``done`` is told the number of its files finished."""
        return loop.spawn(self._read(hrefs, done))

    async def _read(self, hrefs: Sequence[str], done: Callable[[int], None] | None) -> list[FileHeader | RasteretError]:
        found: list[FileHeader | RasteretError] = [RasteretError("not read")] * len(hrefs)
        waiting = iter(enumerate(hrefs))
        finished = 0

        async def worker() -> None:
            nonlocal finished
            async with self._free:
                for index, href in waiting:
                    try:
                        found[index] = await _read_one(href, self._query, self._store)
                    except RasteretError as error:
                        found[index] = error
                    finished += 1
                    if done is not None:
                        done(finished)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(self._most, len(hrefs))):
                tasks.create_task(worker())
        return found


async def _read_one(href: str, query: Query, store: Store) -> FileHeader:
    stamp = local_stamp(href)
    head = await store.read_head(href, HEAD_BYTES, deadline=query.deadline, metrics=query.metrics)
    known = SparseBytes(head.size)
    known.add(0, head.data)
    try:
        for _ in range(MAX_ROUNDS):
            answer = parse_header(known)
            if not isinstance(answer, NeedBytes):
                return FileHeader(_readable(answer), head.etag or stamp, head.size)
            for start, length in answer.ranges:
                data = await store.read_range(
                    href, start, length, expect=Identity(head.etag, head.size), deadline=query.deadline, metrics=query.metrics
                )
                known.add(start, data)
    except (InvalidRaster, UnsupportedRaster) as error:
        raise type(error)(f"{redact(href)}: {error}") from None
    raise InvalidRaster(f"{redact(href)}: its directories are scattered over more than {MAX_ROUNDS} places")


def local_stamp(href: str) -> str | None:
    """In the place of an ETag, which local files have not: a file that was changed and indexed again shares no cached tile with what it was."""
    path = resolve_href(href).path
    try:
        return None if path is None else f'"{Path(path).stat().st_mtime_ns:x}"'
    except OSError:
        return None


def _readable(header: Header) -> Header:
    if reason := supports(header.levels[0].layout):
        raise UnsupportedRaster(reason)
    return header
