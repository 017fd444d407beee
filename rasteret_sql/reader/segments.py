"""Segments in, each fetched once, decoded once: byte ranges run ahead on the event loop, decoding and use run in threads.

:func:`read_segments` is the only place where pixels come from. Its memory is bounded: a range is asked for only when its bytes fit into what
the query may hold (one request always may), and no more segments are decoded at once than there are decoder threads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np

from rasteret_sql import errors
from rasteret_sql.raster.codec import decode_for_parts
from rasteret_sql.raster.decoded import DecodedSegment
from rasteret_sql.raster.header import Layout
from rasteret_sql.reader.cache import SegmentKey
from rasteret_sql.reader.engine import Query
from rasteret_sql.storage import loop
from rasteret_sql.storage.ranges import coalesce
from rasteret_sql.storage.store import Identity

MAX_REQUEST_BYTES = 4 << 20
"""Neighbouring segments are fetched together up to this size: past 2-4 MB a request only delays decoding."""
GAP_FRACTION = 0.02
"""Unwanted bytes between two segments are fetched along when they are below this share of a segment: a request costs more."""


@dataclass(frozen=True, slots=True, eq=False)
class SegmentJob:
    """Fetch one stored segment, decode its ``rows`` rows, hand them to ``use`` (called in a decoder thread)."""

    key: SegmentKey
    length: int
    layout: Layout
    rows: int
    size: int | None
    use: Callable[[DecodedSegment], None]


def request_groups(jobs: Sequence[SegmentJob]) -> list[list[int]]:
    """Which jobs share a request: lists of positions in ``jobs``, in the order of each group's first job. Pure."""
    by_file: dict[SegmentKey | tuple[str, str | None], list[int]] = {}
    for position, job in enumerate(jobs):
        by_file.setdefault((job.key.href, job.key.etag), []).append(position)
    groups: list[list[int]] = []
    for positions in by_file.values():
        starts = np.array([jobs[p].key.offset for p in positions], dtype=np.int64)
        lengths = np.array([jobs[p].length for p in positions], dtype=np.int64)
        gap = int(GAP_FRACTION * float(lengths.mean()))
        groups += [[positions[m] for m in merged.members] for merged in coalesce(starts, lengths, max_gap=gap, max_length=MAX_REQUEST_BYTES)]
    return sorted(groups, key=min)


def read_segments(jobs: Sequence[SegmentJob], query: Query) -> dict[int, errors.RasteretError]:
    """Run all jobs; returns the error of each job (by position) that failed.

    Jobs for one segment are one load. With ``query.raise_errors`` the first error is raised instead, and what is still under way is dropped.
    """
    shared: dict[SegmentKey, list[int]] = {}
    for position, job in enumerate(jobs):
        shared.setdefault(job.key, []).append(position)
    cache = query.engine.cache
    run = _Run([_together([jobs[p] for p in positions]) for positions in shared.values()], query)
    query.work.expect(len(run.jobs))
    loads: list[int] = []
    waits: list[tuple[int, Future[DecodedSegment]]] = []
    try:
        for position, job in enumerate(run.jobs):
            held = cache.claim(job.key)
            if held is None:
                loads.append(position)
            elif isinstance(held, Future):
                waits.append((position, held))
            else:
                query.metrics.count(cache_hits=1)
                job.use(held)
        if loads or waits:
            loop.run(run.all(loads, waits), cancel=query.cancelled)
    finally:
        for position in loads:
            cache.settle(run.jobs[position].key, errors.Cancelled("the query that was loading this segment ended"))
    return {p: run.failures[i] for i, positions in enumerate(shared.values()) if i in run.failures for p in positions}


def _together(jobs: Sequence[SegmentJob]) -> SegmentJob:
    """One load for several users of a segment."""
    if len(jobs) == 1:
        return jobs[0]

    def use(segment: DecodedSegment) -> None:
        for job in jobs:
            job.use(segment)

    return replace(jobs[0], use=use)


class _Run:
    """The state of one :func:`read_segments`: lives on the event loop."""

    def __init__(self, jobs: Sequence[SegmentJob], query: Query) -> None:
        self.jobs = jobs
        self.query = query
        self.failures: dict[int, errors.RasteretError] = {}
        self._flow = query.flow
        self._holding = 0
        """Bytes of the statement's room."""
        self._ended = False

    async def all(self, loads: Sequence[int], waits: Sequence[tuple[int, Future[DecodedSegment]]]) -> None:
        groups = request_groups([self.jobs[p] for p in loads])
        queue = deque([loads[i] for i in group] for group in groups)
        workers = min(self.query.settings.max_concurrency, len(queue))
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(workers):
                    tasks.create_task(self._worker(queue, tasks))
                for position, future in waits:
                    tasks.create_task(self._follow(position, future))
        except BaseExceptionGroup as failed:
            raise _first(failed) from None
        finally:
            self._let_go(self._holding)  # of tasks that were cancelled before they began
            self._ended = True

    async def _worker(self, queue: deque[list[int]], tasks: asyncio.TaskGroup) -> None:
        while queue:
            group = queue.popleft()
            if not queue:
                self._flow.has_asked(self.query.number)
            cost = sum(self.jobs[p].length for p in group)
            try:
                spans = await self._fetch(group, cost)
            except errors.RasteretError as error:
                self._fail(group, error)
                continue
            tasks.create_task(self._decode(group, spans, cost))
            del spans  # they are the decoder's now: kept here, they would outlive their share of the budget

    async def _fetch(self, group: list[int], cost: int) -> list[memoryview]:
        """What is stored of a group, in its turn; where it could be read, ``cost`` bytes are held now."""
        order = (self.query.number, group[0])
        async with self._flow.requests.take(order):
            await self._flow.room.take(cost, order)
            self._holding += cost
            try:
                return await self._request(group)
            except BaseException:
                self._let_go(cost)
                raise

    def _let_go(self, cost: int) -> None:
        if not self._ended:
            self._holding -= cost
            self._flow.room.free(cost)

    async def _request(self, group: list[int]) -> list[memoryview]:
        first = self.jobs[group[0]]
        start = min(self.jobs[p].key.offset for p in group)
        stop = max(self.jobs[p].key.offset + self.jobs[p].length for p in group)
        data = await self.query.store.read_into(
            self.query.engine.bodies.buffer,
            first.key.href,
            start,
            stop - start,
            expect=Identity(first.key.etag, first.size),
            deadline=self.query.deadline,
            metrics=self.query.metrics,
        )
        view = memoryview(data)
        return [view[self.jobs[p].key.offset - start :][: self.jobs[p].length] for p in group]

    async def _decode(self, group: list[int], spans: list[memoryview], cost: int) -> None:
        event_loop = asyncio.get_running_loop()
        try:
            async with self._flow.decoders.take((self.query.number, group[0])):
                failed = await event_loop.run_in_executor(self.query.engine.decoders, self._decode_group, group, spans)
        finally:
            self._let_go(cost)
        for position, error in failed:
            self._fail([position], error)

    def _decode_group(self, group: list[int], spans: list[memoryview]) -> list[tuple[int, errors.RasteretError]]:
        """In a decoder's thread, all that one request brought: to go through the event loop for each segment costs a twentieth of a large read.

        Stops early where the first error ends the read, or where it has ended.
        """
        failed: list[tuple[int, errors.RasteretError]] = []
        for position, span in zip(group, spans, strict=True):
            if self._ended or (failed and self.query.raise_errors):
                break
            error = self._decode_and_use(position, span)
            if error is not None:
                failed.append((position, error))
        return failed

    def _decode_and_use(self, position: int, span: memoryview) -> errors.RasteretError | None:
        """The error is returned: raised, it would stay behind, never asked for, where the statement ends meanwhile."""
        job = self.jobs[position]
        try:
            segment = decode_for_parts(span, job.layout, job.rows, empty=self.query.engine.blocks.empty)
        except errors.InvalidRaster as error:
            return errors.ReadError(str(error), job.key.href, (job.key.offset, job.key.offset + job.length))
        except errors.RasteretError as error:
            return error
        self.query.metrics.count(tiles_decoded=1)
        self.query.engine.cache.settle(job.key, segment)
        try:
            job.use(segment)
        except errors.RasteretError as error:
            return error
        self.query.engine.trimmer.count(job.length)
        return None

    async def _follow(self, position: int, future: Future[DecodedSegment]) -> None:
        """Use what another query loads; where that fails, load it here. (Shielded: to be cancelled here must not end the load for others.)"""
        job = self.jobs[position]
        span = (job.key.offset, job.key.offset + job.length)
        try:
            async with asyncio.timeout_at(self.query.deadline):
                segment = await asyncio.shield(_heard(asyncio.wrap_future(future)))
        except errors.RasteretError:
            segment = None
        except TimeoutError:
            self._fail([position], errors.ReadError("not read before the query's deadline (setting timeout_s)", job.key.href, span))
            return
        if segment is not None:
            self.query.metrics.count(cache_hits=1)
            job.use(segment)
            return
        try:
            spans = await self._fetch([position], job.length)
        except errors.RasteretError as error:
            self._fail([position], error)
            return
        await self._decode([position], spans, job.length)

    def _fail(self, group: Sequence[int], error: errors.RasteretError) -> None:
        if self.query.raise_errors:
            raise error
        self.query.work.failed += len(group)
        for position in group:
            self.failures[position] = error
            self.query.engine.cache.settle(self.jobs[position].key, error)


def _heard(future: asyncio.Future[DecodedSegment]) -> asyncio.Future[DecodedSegment]:
    """Its error counts as told, also where nobody waits any more: asyncio would write it to stderr."""
    future.add_done_callback(lambda done: None if done.cancelled() else done.exception())
    return future


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a task group, however deep it lies."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
