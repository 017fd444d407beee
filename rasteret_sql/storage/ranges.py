"""Which byte ranges of a file are fetched together. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_LARGEST = 1 << 62
"""Offsets and lengths up to here add up without leaving int64."""


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open byte range ``[start, stop)``."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True, eq=False)
class Merged(Span):
    """One request, and which of the ranges asked for it covers."""

    members: npt.NDArray[np.intp]
    """Positions in the arrays given to :func:`coalesce`, by their start."""


def coalesce(starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], *, max_gap: int, max_length: int) -> list[Merged]:
    """Merge the ranges of one file into requests, sorted by offset.

    A range joins the request before it when at most ``max_gap`` unwanted bytes lie between them and the request stays within
    ``max_length`` bytes; a range that is longer by itself stays alone and whole. Every range is a member of exactly one request.
    Starts (``>= 0``) and lengths (``> 0``) are bytes, shape ``(n,)``; anything else is a ``ValueError``.
    """
    starts, lengths = np.asarray(starts, dtype=np.int64), np.asarray(lengths, dtype=np.int64)
    if starts.shape != lengths.shape or starts.ndim != 1:
        raise ValueError(f"starts {starts.shape} and lengths {lengths.shape} must be one-dimensional and alike")
    if starts.size == 0:
        return []
    if starts.min() < 0 or lengths.min() <= 0 or starts.max() > _LARGEST or lengths.max() > _LARGEST:
        raise ValueError("a byte range must start at 0 or later and hold at least one byte")
    stops = starts + lengths
    order = np.lexsort((stops, starts))
    merged: list[Merged] = []
    first, (start, stop) = 0, (int(starts[order[0]]), int(stops[order[0]]))
    for position, (next_start, next_stop) in enumerate(zip(starts[order].tolist(), stops[order].tolist(), strict=True)):
        inside = next_stop <= stop
        if inside or (next_start - stop <= max_gap and next_stop - start <= max_length):
            stop = max(stop, next_stop)
        else:
            merged.append(Merged(start, stop, order[first:position]))
            first, start, stop = position, next_start, next_stop
    merged.append(Merged(start, stop, order[first:]))
    return merged
