"""Headers of many files: one ranged read each where the first 32 KB hold it, more only where the directories lie further in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from rasteret_sql.errors import InvalidRaster, RasteretError, UnsupportedRaster, redact
from rasteret_sql.raster.codec import supports
from rasteret_sql.raster.header import Header
from rasteret_sql.raster.tiff import NeedBytes, SparseBytes, parse_header
from rasteret_sql.reader.engine import Query
from rasteret_sql.storage import loop
from rasteret_sql.storage.hrefs import resolve_href
from rasteret_sql.storage.store import Identity

HEAD_BYTES = 32 << 10
MAX_ROUNDS = 12
"""A header that is not complete after so many reads is not worth following."""


@dataclass(frozen=True, slots=True, eq=False)
class FileHeader:
    """A header and the identity of the file it was read from."""

    header: Header
    etag: str | None
    size: int | None


def read_headers(hrefs: Sequence[str], query: Query, done: Callable[[int], None] | None = None) -> list[FileHeader | RasteretError]:
    """The header of each file, or the error that kept it from being read, in order. ``done`` is told the number of files finished."""
    return loop.run(_read_all(hrefs, query, done), cancel=query.cancelled)


def start_headers(hrefs: Sequence[str], query: Query, done: Callable[[int], None] | None = None) -> Future[list[FileHeader | RasteretError]]:
    """:func:`read_headers`, under way: the caller has other work to do before it waits (:func:`rasteret_sql.storage.loop.wait`)."""
    return loop.spawn(_read_all(hrefs, query, done))


async def _read_all(hrefs: Sequence[str], query: Query, done: Callable[[int], None] | None) -> list[FileHeader | RasteretError]:
    found: list[FileHeader | RasteretError] = [RasteretError("not read")] * len(hrefs)
    waiting = iter(enumerate(hrefs))
    finished = 0

    async def worker() -> None:
        nonlocal finished
        for index, href in waiting:
            try:
                found[index] = await _read_one(href, query)
            except RasteretError as error:
                found[index] = error
            finished += 1
            if done is not None:
                done(finished)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(min(query.settings.max_concurrency, len(hrefs))):
            tasks.create_task(worker())
    return found


async def _read_one(href: str, query: Query) -> FileHeader:
    store = query.store
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
