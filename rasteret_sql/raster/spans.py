"""The byte spans of one file that are known so far, and the question for more of them."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rasteret_sql.errors import InvalidRaster

if TYPE_CHECKING:
    from collections.abc import Iterable

Span = tuple[int, int]
"""``(offset, length)`` in bytes."""

FIRST_READ = 32 << 10
"""Bytes of the first read: the whole header of most cloud-optimised files."""
READ_STEP = 16 << 10
"""A span asked for is at least this long, so that what lies behind it comes along."""
MAX_READ_AHEAD = 1 << 20
MERGE_GAP = 4 << 10
"""Asked spans that lie this near are one span."""


@dataclass(frozen=True, slots=True)
class NeedBytes:
    """The parser needs more of the file: add the bytes of these spans and parse again."""

    ranges: tuple[Span, ...]
    """``(offset, length)``: sorted, disjoint, inside the file as far as its size is known. A span of a file whose size is not known may run
    over its end; the reader then sets :attr:`SparseBytes.size`."""


class SparseBytes:
    """Byte spans of one file. Not thread-safe. Spans are kept as they came, without copies; where they overlap the first one counts."""

    __slots__ = ("_chunks", "_starts", "known_bytes", "size")

    def __init__(self, size: int | None) -> None:
        self.size = size
        """File size in bytes; None while unknown. May be set once a response tells it."""
        self.known_bytes = 0
        self._starts: list[int] = []
        self._chunks: list[memoryview] = []

    def add(self, offset: int, data: bytes) -> None:
        """Remember ``data``, which starts at byte ``offset`` of the file."""
        if offset < 0:
            raise ValueError(f"byte offset {offset} is negative")
        view = memoryview(data)
        for start, end in self._gaps(offset, len(data)):
            at = bisect_right(self._starts, start)
            self._starts.insert(at, start)
            self._chunks.insert(at, view[start - offset : end - offset])
            self.known_bytes += end - start

    @property
    def prefix(self) -> int:
        """How many bytes from the start of the file on are known."""
        return len(self._chunks[0]) if self._starts and self._starts[0] == 0 else 0

    def get(self, offset: int, length: int, what: object) -> memoryview | None:
        """``length`` bytes at ``offset``, or None if they are not all known yet. :class:`InvalidRaster` naming ``what`` if the file ends before."""
        if self.size is not None and offset + length > self.size:
            raise InvalidRaster(f"truncated or damaged TIFF: {what} at bytes {offset}-{offset + length - 1}, but the file has {self.size} bytes")
        if length == 0:
            return memoryview(b"")
        at = bisect_right(self._starts, offset) - 1
        if at < 0:
            return None
        chunk, skip = self._chunks[at], offset - self._starts[at]
        if skip + length <= len(chunk):
            return chunk[skip : skip + length]
        if self._gaps(offset, length):
            return None
        pieces = [chunk[skip:]]
        missing = length - len(pieces[0])
        while missing > 0:
            at += 1
            pieces.append(self._chunks[at][:missing])
            missing -= len(pieces[-1])
        return memoryview(b"".join(pieces))

    def need(self, spans: Iterable[Span]) -> NeedBytes:
        """The unknown parts of ``spans``, each rounded up to :data:`READ_STEP` and merged with its neighbours."""
        gaps = sorted((start, self._round_up(start, end)) for offset, length in spans for start, end in self._gaps(offset, length))
        merged: list[list[int]] = []
        for start, end in gaps:
            if merged and start <= merged[-1][1] + MERGE_GAP:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([start, end])
        return NeedBytes(tuple((start, end - start) for start, end in merged))

    def ahead(self, span: Span) -> Span:
        """``span`` and what may lie behind it. The length doubles with what was read, so that chains of scattered directories end soon."""
        offset, length = span
        most = min(max(READ_STEP, self.known_bytes), MAX_READ_AHEAD)
        return offset, max(length, most if self.size is None else min(most, self.size - offset))

    def _round_up(self, start: int, end: int) -> int:
        at = bisect_right(self._starts, start)
        limits = [limit for limit in (self.size, self._starts[at] if at < len(self._starts) else None) if limit is not None]
        return max(end, min([start + READ_STEP, *limits]))

    def _gaps(self, offset: int, length: int) -> list[Span]:
        """The unknown parts of a span, as ``(start, end)``."""
        gaps: list[Span] = []
        position, end = offset, offset + length
        at = max(bisect_right(self._starts, offset) - 1, 0)
        while at < len(self._starts) and self._starts[at] < end and position < end:
            start = self._starts[at]
            if start > position:
                gaps.append((position, start))
            position = max(position, start + len(self._chunks[at]))
            at += 1
        if position < end:
            gaps.append((position, end))
        return gaps
