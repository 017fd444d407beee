"""The pixels of one decoded segment, with the differences of predictor 2 undone as late, and for as few pixels, as possible.

Predictor 2 (TIFF 6.0 section 14) stores each sample minus the one to its left. To undo that is a chain of additions, one pixel a cycle: a tenth of
the time of reading deflated tiles. The *sum* of a stretch of a row has no such chain, processors add sixteen and more samples at a time; so single
pixels and small windows are summed up where they are wanted.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import imagecodecs
import numpy as np

from rasteret_sql.raster.predictor import as_bits, undo_differences

if TYPE_CHECKING:
    import numpy.typing as npt

    Pixels = npt.NDArray[Any]
    Ints = npt.NDArray[np.int64]
    Indices = npt.NDArray[np.int32]

_SUMMED = 1 / 16
"""Costs, counted in pixels whose differences are undone in a row (0.4 ns): of a pixel that is only summed up, …"""
_PER_POINT = 100
"""… of a point, …"""
_PER_CALL = 1 << 14
"""… and of a call."""


class SegmentPixels:
    """Pixels of segments, in any order; one may come twice. What summing up needs is worked out once for all segments."""

    __slots__ = ("_stretches", "cols", "rows")

    def __init__(self, rows: Ints, cols: Ints) -> None:
        self.rows = rows
        self.cols = cols
        self._stretches: _Stretches | None = None

    def sums(self, differences: Pixels) -> Pixels:
        """The sums of rows up to each pixel, modulo the width of the type."""
        if self._stretches is None:
            self._stretches = _stretches(self.rows, self.cols, differences.shape[1])
        bounds, upto, before = self._stretches
        totals = np.zeros(len(bounds), differences.dtype)
        stretches = np.add.reduceat(differences.reshape(-1)[: bounds[-1]], bounds[:-1], dtype=differences.dtype)
        np.cumsum(stretches, out=totals[1:])
        sums: Pixels = totals[upto]
        sums -= totals[before]
        return sums


class _Stretches(NamedTuple):
    """A segment's rows, from the first one with a pixel on, cut at the rows' ends and after each pixel."""

    bounds: Ints
    """Where stretches begin and end, counted row by row from the segment's first pixel."""
    upto: Indices
    """Per pixel, how many stretches end with it or before."""
    before: Indices
    """Per pixel, how many of these lie before its row."""


def _stretches(rows: Ints, cols: Ints, width: int) -> _Stretches:
    places = rows * width + cols
    order = np.argsort(places)
    places, lines = places[order], (places - cols)[order]
    first = np.diff(lines, prepend=-1) != 0
    heads = np.flatnonzero(first)
    ends = np.cumsum(first) + np.arange(len(lines))  # where the pixels' ends, and before each row's first the row's begin, stand in order
    marks = np.empty(len(lines) + len(heads), np.int64)
    marks[ends] = places + 1
    marks[ends[heads] - 1] = lines[heads]
    new = np.diff(marks, prepend=-1) != 0
    number = np.cumsum(new, dtype=np.int32) - np.int32(1)
    upto, before = np.empty((2, len(lines)), np.int32)
    upto[order] = number[ends]
    before[order] = np.repeat(number[ends[heads] - 1], np.diff(heads, append=len(lines)))
    return _Stretches(marks[new], upto, before)


class DecodedSegment:
    """Pixels of a segment: (rows, width), or (rows, width, samples) where it holds several. Thread-safe; what it hands out is not to be written to.

    Differences are undone for the whole segment once what was spent on parts of it is worth as much: the worst is twice the least.
    """

    __slots__ = ("_differences", "_lock", "_pixels", "_spent")

    def __init__(self, pixels: Pixels, *, differences: bool = False) -> None:
        """``differences``: the rows, of one sample, are still to be summed up. The array is the segment's own from here on."""
        pixels.flags.writeable = differences
        self._pixels = pixels
        self._differences = differences
        self._spent = 0.0
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        return self._pixels.nbytes

    def whole(self) -> Pixels:
        """All pixels."""
        if self._differences:
            with self._lock:
                self._undo()
        return self._pixels

    def at(self, places: SegmentPixels, sample: int | None = None) -> Pixels:
        """Values of some pixels, of one ``sample`` of several."""
        if self._differences:
            with self._lock:
                if self._in_part(_PER_POINT * len(places.rows) + _SUMMED * self._pixels.size):
                    return places.sums(as_bits(self._pixels)).view(self._pixels.dtype)
        return self._pixels[places.rows, places.cols] if sample is None else self._pixels[places.rows, places.cols, sample]

    def copy_window(self, rows: slice, cols: slice, sample: int | None, out: Pixels) -> None:
        """Fill ``out`` with a rectangle of one ``sample``."""
        if self._differences:
            with self._lock:
                if self._in_part(out.size + _SUMMED * len(out) * cols.start):
                    _sum_window(as_bits(self._pixels), rows, cols, as_bits(out))
                    return
        out[:] = self._pixels[rows, cols] if sample is None else self._pixels[rows, cols, sample]

    def _in_part(self, cost: float) -> bool:
        """Is a part still to be summed up for itself? Else all differences are undone now. With the lock held."""
        if not self._differences:
            return False
        self._spent += cost + _PER_CALL
        if self._spent > self._pixels.size:
            self._undo()
        return self._differences

    def _undo(self) -> None:
        if self._differences:
            undo_differences(self._pixels)
            self._pixels.flags.writeable = False
            self._differences = False


def _sum_window(differences: Pixels, rows: slice, cols: slice, out: Pixels) -> None:
    np.copyto(out, differences[rows, cols])
    if cols.start:
        out[:, 0] += differences[rows, : cols.start].sum(axis=1, dtype=differences.dtype)
    imagecodecs.delta_decode(out, axis=1, out=out)
