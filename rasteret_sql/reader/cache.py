"""Decoded segments shared by all queries of a process: least recently used out first, bounded in bytes, each loaded by one query only."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rasteret_sql.raster.decoded import DecodedSegment

Pixels = npt.NDArray[np.generic]


class SegmentKey(NamedTuple):
    """A segment of a file as it was when it was indexed."""

    href: str
    offset: int
    etag: str | None


class SegmentCache:
    """``claim`` answers with pixels (a hit), with another query's future (in flight), or with nothing: then the caller loads and must ``settle``."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._segments: OrderedDict[SegmentKey, DecodedSegment] = OrderedDict()
        self._in_flight: dict[SegmentKey, Future[DecodedSegment]] = {}
        self._nbytes = 0

    @property
    def nbytes(self) -> int:
        return self._nbytes

    def resize(self, max_bytes: int) -> None:
        with self._lock:
            self._max_bytes = max_bytes
            self._evict()

    def clear(self) -> None:
        with self._lock:
            self._segments.clear()
            self._nbytes = 0

    def peek(self, key: SegmentKey) -> bool:
        """Is the segment held now? Changes nothing, not even its age."""
        with self._lock:
            return key in self._segments

    def claim(self, key: SegmentKey) -> DecodedSegment | Future[DecodedSegment] | None:
        """The pixels, or the future of who loads them, or None: the caller has claimed the load."""
        with self._lock:
            held = self._segments.get(key)
            if held is not None:
                self._segments.move_to_end(key)
                return held
            loading = self._in_flight.get(key)
            if loading is not None:
                return loading
            self._in_flight[key] = Future()
            return None

    def settle(self, key: SegmentKey, result: DecodedSegment | BaseException) -> None:
        """End a claimed load: keep the pixels, wake who waits."""
        with self._lock:
            waiting = self._in_flight.pop(key, None)
            if isinstance(result, DecodedSegment):
                self._store(key, result)
        if waiting is None or waiting.done():
            return
        if isinstance(result, BaseException):
            waiting.set_exception(result)
            waiting.exception()  # seen here: a load nobody waited for is no unhandled error
        else:
            waiting.set_result(result)

    def _store(self, key: SegmentKey, segment: DecodedSegment) -> None:
        held = self._segments.pop(key, None)
        if held is not None:
            self._nbytes -= held.nbytes
        if segment.nbytes <= self._max_bytes:
            self._segments[key] = segment
            self._nbytes += segment.nbytes
            self._evict()

    def _evict(self) -> None:
        while self._nbytes > self._max_bytes:
            _, dropped = self._segments.popitem(last=False)
            self._nbytes -= dropped.nbytes
