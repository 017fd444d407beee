"""Distinct values of runs of pixels with their coverage: what medians, quantiles, modes and shares are worked out from. Pure NumPy.

Integers are counted in bins where their ranges allow, all other values are sorted; both give the same distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from rasteret_sql.raster.grid import Floats, Ints

Values: TypeAlias = npt.NDArray[Any]
"""Pixel values in a band's own type: integers or floats."""

_BINS_A_PIXEL: Final = 4
_FREE_BINS: Final = 1 << 16
"""Integers are counted in bins, not sorted, while the value ranges of all zones together span at most so many bins."""
_LONG_RUN: Final = 64
"""From so many pixels a zone on, sorting zone by zone is faster than sorting all at once (NumPy's quicksort is vectorised, its merge is not)."""


@dataclass(frozen=True, slots=True, eq=False)
class Distribution:
    """Distinct values of each zone, ascending, with the coverage they have together: zone ``i`` is ``starts[i]:starts[i + 1]``."""

    starts: Ints
    values: Values
    coverage: Floats


def distinct(values: Values, coverage: Floats | None, starts: Ints) -> Distribution:
    """Distinct values of every run ``starts[i]:starts[i + 1]`` (none empty) and their summed coverage (None: 1 for each value)."""
    if values.dtype.kind in "iu":
        counted = _counted(values, coverage, starts)
        if counted is not None:
            return counted
    values, coverage = _sorted_runs(values, coverage, starts)
    new = np.ones(len(values), dtype=np.bool_)
    np.not_equal(values[1:], values[:-1], out=new[1:])
    new[starts[:-1]] = True
    heads = np.flatnonzero(new)
    summed = np.diff(heads, append=len(values)).astype(np.float64) if coverage is None else np.add.reduceat(coverage, heads)
    distinct = values[heads]
    if distinct.dtype.kind == "f":
        distinct += 0.0  # of -0.0 and 0.0, which are equal, whichever came first would stay
    return Distribution(np.searchsorted(heads, starts), distinct, summed)


def _counted(values: Values, coverage: Floats | None, starts: Ints) -> Distribution | None:
    """Integers counted in one bin for every value between least and greatest of each run; None when that would be too many bins.

    All arithmetic is modulo 2**64, so that the whole range of int64 and uint64 works.
    """
    lengths = np.diff(starts)
    low = _modular(np.minimum.reduceat(values, starts[:-1]))
    span = _modular(np.maximum.reduceat(values, starts[:-1])) - low
    if float(span.sum(dtype=np.float64)) + len(span) > _BINS_A_PIXEL * len(values) + _FREE_BINS:
        return None
    bases = offsets_of(span.view(np.int64) + 1)
    shift = bases[:-1].view(np.uint64) - low
    bins = _modular(values)
    bins += np.repeat(shift, lengths)
    counts = np.bincount(bins.view(np.int64), weights=coverage, minlength=int(bases[-1]))
    hit = np.flatnonzero(counts > 0)
    cuts = np.searchsorted(hit, bases)
    distinct = hit.astype(np.uint64) - np.repeat(shift, np.diff(cuts))
    return Distribution(cuts, distinct.astype(values.dtype), counts[hit].astype(np.float64))


def _modular(values: Values) -> npt.NDArray[np.uint64]:
    """Integers modulo 2**64, in an array of its own."""
    return values.astype(np.int64).view(np.uint64) if values.dtype.kind == "i" else values.astype(np.uint64)


def _sorted_runs(values: Values, coverage: Floats | None, starts: Ints) -> tuple[Values, Floats | None]:
    """Values ascending within each run, and their coverage with them."""
    runs = len(starts) - 1
    if len(values) < _LONG_RUN * runs:
        order = np.argsort(values)
        run = np.repeat(np.arange(runs, dtype=np.uint16 if runs <= 1 << 16 else np.int64), np.diff(starts))
        order = order[np.argsort(run[order], kind="stable")]
        return values[order], None if coverage is None else coverage[order]
    bounds = starts.tolist()
    if coverage is None:
        values = values.copy()
        for start, stop in pairwise(bounds):
            values[start:stop].sort()
        return values, None
    order = np.empty(len(values), dtype=np.int64)
    for start, stop in pairwise(bounds):
        np.add(np.argsort(values[start:stop]), start, out=order[start:stop])
    return values[order], coverage[order]


def offsets_of(lengths: Ints) -> Ints:
    """0 and the running sums of ``lengths``."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def ragged_rows(starts: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Positions of the entries of ``rows`` of a ragged array, one row after the other, and the starts of those rows among them."""
    lengths = starts[rows + 1] - starts[rows]
    offsets = offsets_of(lengths)
    return np.arange(offsets[-1]) + np.repeat(starts[rows] - offsets[:-1], lengths), offsets
