"""Pixels of zones folded into partial results, and partial results merged. Pure NumPy, whole chunks at a time.

A :class:`Partial` holds what the asked statistics need (:class:`Needs`) and nothing that grows with the pixels, except for the
distribution, which grows with the *distinct* values of a zone, and the lists of pixels that ``values`` and ``coverage`` are.
:mod:`rasteret_sql.raster.statistics` turns a partial into results.

A pixel takes part when it is valid, no NaN, and covered at all (coverage above 0). How the numbers are kept:

- Sums are float64. Those of integer bands of up to 32 bits under whole pixels are taken in int64 first, so they are exact up to 2**53.
- Spread is (mean, M2), M2 the weighted sum of squared distances from the mean, in two passes over the pixels of a chunk and merged by
  Chan, Golub & LeVeque, *Updating formulae and a pairwise algorithm for computing sample variances* (1979). No sum of squares is ever
  taken from another; a constant zone has M2 of exactly 0.
- Values are compared in the band's own type, so 64-bit integers stay apart beyond 2**53. When parts of different types meet, they are
  promoted as NumPy does (int64 with uint64 gives float64).
- Sums of coverage are float64: exact, and so the same in any order, for whole pixels and for fractions with up to some 30 binary digits;
  else they differ by rounding (1e-16 of the sum) when the same pixels come in other parts. The same parts in the same order give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from rasteret_sql.raster.distribution import Distribution, Values, distinct, offsets_of, ragged_rows
from rasteret_sql.raster.grid import Bools, Floats, Ints

if TYPE_CHECKING:
    from collections.abc import Sequence

_T = TypeVar("_T")
_LAST: Final = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Needs:
    """What a partial has to hold for the statistics asked for. Count, total and sum are always there."""

    variance: bool = False
    extremes: bool = False
    points: bool = False
    distribution: bool = False
    arrays: bool = False
    weights: bool = False

    def __or__(self, other: Needs) -> Needs:
        return Needs(
            variance=self.variance or other.variance,
            extremes=self.extremes or other.extremes,
            points=self.points or other.points,
            distribution=self.distribution or other.distribution,
            arrays=self.arrays or other.arrays,
            weights=self.weights or other.weights,
        )

    @property
    def places(self) -> bool:
        """Whether pixels must come with their rows and columns."""
        return self.points or self.arrays


@dataclass(frozen=True, slots=True, eq=False)
class ZonePixels:
    """Pixels of one band of one record, grouped by zone: the pixels of ``zones[i]`` are ``starts[i]:starts[i + 1]`` of the arrays."""

    zones: Ints
    """Ascending distinct zone numbers (Z,)."""
    starts: Ints
    """(Z + 1,), from 0 to P; no run is empty."""
    values: Values
    """(P,) in the band's own type."""
    valid: Bools | None = None
    """(P,); None: all valid."""
    coverage: Floats | None = None
    """(P,) covered fraction of each pixel; None: 1 everywhere."""
    weights: Floats | None = None
    """(P,) weight of each pixel for the weighted statistics, NaN where it is not known."""
    source: int = 0
    """Rank of the record in (datetime, id) order."""
    rows: Ints | None = None
    cols: Ints | None = None
    """(P,) each; only when :attr:`Needs.places`."""


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """Weighted mean and sum of squared distances from it, (Z,) each; 0 where a zone has no valid pixel."""

    mean: Floats
    m2: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Extreme:
    """The least or the greatest value of each zone (Z,); 0 where a zone has no valid pixel."""

    values: Values
    places: Ints | None
    """(Z, 3): source, row and col of the first pixel with that value in this order; None unless points are needed."""


@dataclass(frozen=True, slots=True, eq=False)
class Weighted:
    """Sum of coverage × weight and of coverage × weight × value over valid pixels, (Z,) each; NaN once a weight is NaN."""

    weight: Floats
    sum: Floats


@dataclass(frozen=True, slots=True, eq=False)
class PixelLists:
    """All valid pixels of each zone, in no order: zone ``i`` is ``starts[i]:starts[i + 1]``; ``places`` is (N, 3) of source, row, col."""

    starts: Ints
    values: Values
    coverage: Floats
    places: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Partial:
    """What is known of some zones. Fields that :class:`Needs` did not ask for are None."""

    zones: Ints
    """Ascending distinct zone numbers (Z,)."""
    total: Floats
    """Sum of the coverage of all pixels, valid or not (Z,)."""
    count: Floats
    """Sum of the coverage of the valid pixels (Z,); 0 exactly when there are none."""
    sum: Floats
    """Sum of coverage × value over the valid pixels (Z,)."""
    spread: Spread | None = None
    least: Extreme | None = None
    greatest: Extreme | None = None
    weighted: Weighted | None = None
    distribution: Distribution | None = None
    pixels: PixelLists | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Taking:
    """The pixels of a chunk that take part; zones without any are left out of ``starts``."""

    slots: Ints
    """Position in the chunk's zones of each run."""
    starts: Ints
    values: Values
    coverage: Floats | None
    weights: Floats | None
    rows: Ints | None
    cols: Ints | None

    @property
    def heads(self) -> Ints:
        return self.starts[:-1]

    @property
    def lengths(self) -> Ints:
        return np.diff(self.starts)


def reduce_pixels(pixels: ZonePixels, needs: Needs) -> Partial:
    """The partial of one chunk. ValueError when ``needs`` asks for weights, rows or columns that ``pixels`` does not have."""
    zones = len(pixels.zones)
    lengths = np.diff(pixels.starts)
    coverage = pixels.coverage
    total = lengths.astype(np.float64) if coverage is None else np.add.reduceat(coverage, pixels.starts[:-1]) if zones else np.zeros(0)
    taking = _taking(pixels, lengths)
    with np.errstate(invalid="ignore", over="ignore"):
        count, sums = _sums(taking)
        least = _extreme(taking, pixels.source, zones, needs, np.minimum)
        greatest = _extreme(taking, pixels.source, zones, needs, np.maximum)
        return Partial(
            zones=pixels.zones,
            total=total,
            count=_spaced(count, taking.slots, zones),
            sum=_spaced(sums, taking.slots, zones),
            spread=_spread(taking, count, zones) if needs.variance else None,
            least=least,
            greatest=greatest,
            weighted=_weighted(taking, zones) if needs.weights else None,
            distribution=_distribution(taking, zones) if needs.distribution else None,
            pixels=_pixel_lists(taking, pixels.source, zones) if needs.arrays else None,
        )


def _taking(pixels: ZonePixels, lengths: Ints) -> _Taking:
    values = pixels.values
    if values.dtype.kind == "b":
        values = values.view(np.uint8)
    keep = pixels.valid
    if values.dtype.kind == "f":
        missing = np.isnan(values)
        if missing.any():
            keep = ~missing if keep is None else keep & ~missing
    if pixels.coverage is not None and len(pixels.coverage) and not pixels.coverage.min() > 0:
        covered = pixels.coverage > 0
        keep = covered if keep is None else keep & covered
    slots = np.arange(len(lengths))
    if keep is None or keep.all():
        return _Taking(slots, pixels.starts, values, pixels.coverage, pixels.weights, pixels.rows, pixels.cols)
    kept = np.add.reduceat(keep, pixels.starts[:-1], dtype=np.int64)
    slots = slots[kept > 0]
    return _Taking(
        slots,
        offsets_of(kept[slots]),
        values[keep],
        None if pixels.coverage is None else pixels.coverage[keep],
        None if pixels.weights is None else pixels.weights[keep],
        None if pixels.rows is None else pixels.rows[keep],
        None if pixels.cols is None else pixels.cols[keep],
    )


def _sums(taking: _Taking) -> tuple[Floats, Floats]:
    """Count and sum of each run."""
    values, heads = taking.values, taking.heads
    if taking.coverage is not None:
        return np.add.reduceat(taking.coverage, heads), np.add.reduceat(values * taking.coverage, heads)
    exact = values.dtype.kind in "iu" and values.dtype.itemsize <= 4
    sums = np.add.reduceat(values, heads, dtype=np.int64 if exact else np.float64)
    return taking.lengths.astype(np.float64), sums.astype(np.float64)


def _spread(taking: _Taking, count: Floats, zones: int) -> Spread:
    """Two passes about the first value of each run and then about the mean, so that equal values have a spread of exactly 0."""
    heads, lengths = taking.heads, taking.lengths
    away = taking.values.astype(np.float64)
    pivot = away[heads]
    away -= np.repeat(pivot, lengths)
    shift = np.add.reduceat(away if taking.coverage is None else away * taking.coverage, heads) / count
    away -= np.repeat(shift, lengths)
    away *= away
    if taking.coverage is not None:
        away *= taking.coverage
    return Spread(_spaced(pivot + shift, taking.slots, zones), _spaced(np.add.reduceat(away, heads), taking.slots, zones))


def _extreme(taking: _Taking, source: int, zones: int, needs: Needs, better: np.ufunc) -> Extreme | None:
    """The best value of each run, and the first pixel in (row, col) order that has it."""
    if not (needs.extremes or needs.points):
        return None
    best: Values = better.reduceat(taking.values, taking.heads)
    places = None
    if needs.points:
        rows, cols = _rows_and_cols(taking)
        width = int(cols.max(initial=0)) + 1
        position = rows.astype(np.int64) * width + cols
        position[taking.values != np.repeat(best, taking.lengths)] = _LAST
        row, col = np.divmod(np.minimum.reduceat(position, taking.heads), width)
        places = _spaced(np.stack([np.full_like(row, source), row, col], axis=1), taking.slots, zones)
    return Extreme(_spaced(best, taking.slots, zones), places)


def _weighted(taking: _Taking, zones: int) -> Weighted:
    if taking.weights is None:
        raise ValueError("weighted statistics need the weights of the pixels")
    weight = taking.weights if taking.coverage is None else taking.weights * taking.coverage
    sums = np.add.reduceat(weight * taking.values, taking.heads)
    return Weighted(_spaced(np.add.reduceat(weight, taking.heads), taking.slots, zones), _spaced(sums, taking.slots, zones))


def _distribution(taking: _Taking, zones: int) -> Distribution:
    found = distinct(taking.values, taking.coverage, taking.starts)
    return Distribution(offsets_of(_spaced(np.diff(found.starts), taking.slots, zones)), found.values, found.coverage)


def _pixel_lists(taking: _Taking, source: int, zones: int) -> PixelLists:
    number = len(taking.values)
    coverage = np.ones(number) if taking.coverage is None else taking.coverage
    rows, cols = _rows_and_cols(taking)
    places = np.stack([np.full(number, source, dtype=np.int64), rows, cols], axis=1)
    return PixelLists(offsets_of(_spaced(taking.lengths, taking.slots, zones)), taking.values, coverage, places)


def _rows_and_cols(taking: _Taking) -> tuple[Ints, Ints]:
    if taking.rows is None or taking.cols is None:
        raise ValueError("points and arrays need the rows and columns of the pixels")
    return taking.rows, taking.cols


def _spaced(found: Values, slots: Ints, number: int) -> Values:
    """``found[i]`` at ``slots[i]`` of ``number`` rows, 0 elsewhere."""
    if len(slots) == number:
        return found
    spaced = np.zeros((number, *found.shape[1:]), dtype=found.dtype)
    spaced[slots] = found
    return spaced


@dataclass(frozen=True, slots=True, eq=False)
class _Groups:
    """The zones of several partials laid end to end and sorted by zone, parts in their order: group ``i`` is ``order[starts[i]:starts[i + 1]]``."""

    slots: Ints
    """Position of each group among the zones of the result."""
    order: Ints
    starts: Ints

    def sums(self, values: Values) -> Values:
        summed: Values = np.add.reduceat(values[self.order], self.starts[:-1])
        return summed

    def repeated(self, values: Values) -> Values:
        """One value of each group for every member of it."""
        return np.repeat(values, np.diff(self.starts))


def merge_partials(parts: Sequence[Partial], needs: Needs) -> Partial:
    """One partial of all zones of ``parts``, which are of one band and made with the same ``needs``.

    The same parts in the same order give the same bits; another order, or other parts of the same pixels, gives the same distribution,
    extremes and lists, and sums that differ by rounding only. ValueError when a part lacks what ``needs`` asks for.
    """
    if not parts:
        none, nothing = np.zeros(0, dtype=np.int64), np.zeros(0)
        return reduce_pixels(ZonePixels(none, np.zeros(1, dtype=np.int64), nothing, weights=nothing, rows=none, cols=none), needs)
    if len(parts) == 1:
        return parts[0]
    every = np.concatenate([part.zones for part in parts])
    order = np.argsort(every, kind="stable")
    zones, heads = np.unique(every[order], return_index=True)
    groups = _Groups(np.arange(len(zones)), order, np.append(heads, len(order)))
    counts = np.concatenate([part.count for part in parts])
    filled = _filled(groups, counts)
    with np.errstate(invalid="ignore", over="ignore"):
        return Partial(
            zones=zones,
            total=groups.sums(np.concatenate([part.total for part in parts])),
            count=groups.sums(counts),
            sum=groups.sums(np.concatenate([part.sum for part in parts])),
            spread=_merged_spread([part.spread for part in parts], counts, filled, len(zones)) if needs.variance else None,
            least=_merged_extreme([part.least for part in parts], filled, len(zones), needs, np.minimum),
            greatest=_merged_extreme([part.greatest for part in parts], filled, len(zones), needs, np.maximum),
            weighted=_merged_weighted([part.weighted for part in parts], groups) if needs.weights else None,
            distribution=_merged_distribution([part.distribution for part in parts], filled, len(zones)) if needs.distribution else None,
            pixels=_merged_lists([part.pixels for part in parts], groups) if needs.arrays else None,
        )


def _filled(groups: _Groups, counts: Floats) -> _Groups:
    """Only the members with valid pixels, and the groups that have any."""
    keep = counts[groups.order] > 0
    lengths = np.add.reduceat(keep, groups.starts[:-1], dtype=np.int64) if len(keep) else np.zeros(0, dtype=np.int64)
    slots = groups.slots[lengths > 0]
    return _Groups(slots, groups.order[keep], offsets_of(lengths[slots]))


def _present(found: Sequence[_T | None]) -> list[_T]:
    present = [item for item in found if item is not None]
    if len(present) < len(found):
        raise ValueError("a part was made for other statistics than those it is merged for")
    return present


def _merged_spread(parts: Sequence[Spread | None], counts: Floats, filled: _Groups, zones: int) -> Spread:
    """Chan's update over any number of parts: M2 = sum(M2_i) + sum(n_i * (mean_i - mean)**2), means taken from the first of a group."""
    spreads = _present(parts)
    mean, m2 = np.concatenate([spread.mean for spread in spreads]), np.concatenate([spread.m2 for spread in spreads])
    count, away = counts[filled.order], mean[filled.order]
    pivot = away[filled.starts[:-1]]
    away = away - filled.repeated(pivot)
    shift = np.add.reduceat(count * away, filled.starts[:-1]) / np.add.reduceat(count, filled.starts[:-1])
    between = np.add.reduceat(count * (away - filled.repeated(shift)) ** 2, filled.starts[:-1])
    return Spread(_spaced(pivot + shift, filled.slots, zones), _spaced(filled.sums(m2) + between, filled.slots, zones))


def _merged_extreme(parts: Sequence[Extreme | None], filled: _Groups, zones: int, needs: Needs, better: np.ufunc) -> Extreme | None:
    if not (needs.extremes or needs.points):
        return None
    extremes = _present(parts)
    values = np.concatenate([extreme.values for extreme in extremes])[filled.order]
    heads = filled.starts[:-1]
    best: Values = better.reduceat(values, heads)
    places = None
    if needs.points:
        source, row, col = np.concatenate(_present([extreme.places for extreme in extremes]))[filled.order].T
        group = filled.repeated(filled.slots)
        first = np.lexsort((col, row, source, values != filled.repeated(best), group))[heads]
        places = _spaced(np.stack([source[first], row[first], col[first]], axis=1), filled.slots, zones)
    return Extreme(_spaced(best, filled.slots, zones), places)


def _merged_weighted(parts: Sequence[Weighted | None], groups: _Groups) -> Weighted:
    sums = _present(parts)
    return Weighted(groups.sums(np.concatenate([part.weight for part in sums])), groups.sums(np.concatenate([part.sum for part in sums])))


def _merged_distribution(parts: Sequence[Distribution | None], filled: _Groups, zones: int) -> Distribution:
    some = _present(parts)
    entries, starts = ragged_rows(offsets_of(np.concatenate([np.diff(part.starts) for part in some])), filled.order)
    values, coverage = (np.concatenate(arrays)[entries] for arrays in ([part.values for part in some], [part.coverage for part in some]))
    found = distinct(values, coverage, starts[filled.starts])
    return Distribution(offsets_of(_spaced(np.diff(found.starts), filled.slots, zones)), found.values, found.coverage)


def _merged_lists(parts: Sequence[PixelLists | None], groups: _Groups) -> PixelLists:
    some = _present(parts)
    entries, starts = ragged_rows(offsets_of(np.concatenate([np.diff(part.starts) for part in some])), groups.order)
    values, coverage = (np.concatenate(arrays)[entries] for arrays in ([part.values for part in some], [part.coverage for part in some]))
    return PixelLists(starts[groups.starts], values, coverage, np.concatenate([part.places for part in some])[entries])
