"""The statistics of zones: their names, what each is, and its numbers from a :class:`~rasteret_sql.raster.partials.Partial`.

Names and meaning are exactextract's (its ``stdev`` and ``variance`` are ``stddev_pop`` and ``var_pop``, as SQL calls them). For the valid
pixels *i* of a zone with value ``x_i``, covered fraction ``c_i`` and weight ``w_i``:

================== ==========================================================================================================
count              sum(c_i)
sum, mean          sum(c_i x_i), sum / count
var_pop, var_samp  M2 / count, M2 / (count - 1) with M2 = sum(c_i (x_i - mean)**2); var_samp is NULL unless count > 1
stddev_pop, _samp  their square roots
min, max           of x_i, whatever the coverage
min_point, …       the pixel (record, row, col) of min and max, the first in that order where several are equal
median             quantile(0.5)
quantile(q)        below
mode, minority     the value with the greatest, the least coverage; the greatest, the least such value where several are equal
variety            the number of distinct values
frac               for every distinct value its coverage / count
values, coverage   x_i and c_i, by record, row and col
weighted_sum       sum(c_i w_i x_i); NULL once a valid pixel's weight is not known
weighted_mean      weighted_sum / sum(c_i w_i); also NULL where the weights add up to 0
valid_fraction     count / sum of c_i over all pixels, valid or not
================== ==========================================================================================================

The quantile is exactextract's. Let ``v_0 < … < v_(n-1)`` be the distinct values and ``W_k`` the coverage of each. Value ``k`` stands at

    s_k = k W_k + (n - 1) (W_0 + … + W_(k-1))

and the quantile is interpolated between the two values on either side of ``q s_(n-1)``. It is not rounded: exactextract cuts the
fraction off for integer rasters, here the median of {1, 2} is 1.5 in every type.

A zone without a valid pixel has count 0 and valid_fraction 0 (NULL when it has no pixels at all); everything else is NULL. A number that
is no number (infinities of both signs in one sum) is NULL too.

Worked example: the raster ::

    1  2  2
    5  -  7        (- is nodata)

under a zone that covers the first row by half and the second row fully. Coverage: 1: 0.5, 2: 0.5 + 0.5, 5: 1, 7: 1.

- count = 0.5 + 1 + 1 + 1 = 3.5; valid_fraction = 3.5 / 4.5; sum = 0.5 + 2 + 5 + 7 = 14.5; mean = 14.5 / 3.5 = 4.142857…
- M2 = (0.5 * 1 + 1 * 4 + 1 * 25 + 1 * 49) - 14.5**2 / 3.5 = 18.428571…; var_pop = 5.265306…; var_samp = 18.428571… / 2.5 = 7.371428…
- min 1 at (0, 0), max 7 at (1, 2), variety 4; minority 1 (0.5), mode 7 (2, 5 and 7 have 1 each); frac {1: 1/7, 2: 2/7, 5: 2/7, 7: 2/7}
- median: s = 0, 1 + 3 * 0.5 = 2.5, 2 + 3 * 1.5 = 6.5, 3 + 3 * 2.5 = 10.5; q s_3 = 5.25 lies between 2.5 and 6.5:
  2 + (5.25 - 2.5) * (5 - 2) / (6.5 - 2.5) = 4.0625
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np

from rasteret_sql.errors import InvalidArgument, listing, near, one_line
from rasteret_sql.raster.distribution import Distribution, Values, offsets_of, ragged_rows
from rasteret_sql.raster.grid import Bools, Floats, Ints
from rasteret_sql.raster.partials import Extreme, Needs, Partial, PixelLists, Spread, Weighted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Statistic:
    """One statistic that was asked for."""

    name: str
    """A key of :data:`DEFINITIONS`."""
    quantile: float | None
    """0 to 1, for ``quantile`` alone."""
    label: str
    """The name of its column: ``mean``, ``quantile_90``, ``quantile_97_5``."""


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """One DOUBLE for each zone; NULL where not ``valid``."""

    values: Floats
    valid: Bools


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """One BIGINT for each zone; NULL where not ``valid``."""

    values: Ints
    valid: Bools


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """Distinct values (ascending, the band's own type) and their share of the count, zone after zone; length 0 is NULL."""

    lengths: Ints
    keys: Values
    shares: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Arrays:
    """Values (the band's own type) or coverage of all valid pixels, zone after zone, by (source, row, col); length 0 is NULL."""

    lengths: Ints
    values: Values


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """One pixel for each zone: rank of the record, row, col; NULL where not ``valid``."""

    source: Ints
    row: Ints
    col: Ints
    valid: Bools


Result: TypeAlias = Numbers | Counts | Shares | Arrays | Places


class Definition(NamedTuple):
    """What a statistic gives, what it needs, and how it comes from a partial."""

    kind: type[Result]
    needs: Needs
    compute: Callable[[Partial, Statistic], Result]


def parse_statistics(asked: Sequence[str]) -> tuple[Statistic, ...]:
    """The statistics named by ``asked``: any case, blanks anywhere, ``quantile(0.9)`` also as ``quantile(q=0.9)``.

    InvalidArgument for an unknown name, a quantile without a number from 0 to 1, an argument to anything else, none or one twice.
    """
    if not asked:
        raise InvalidArgument(f"no statistic is asked for; {_valid()}")
    statistics: dict[str, Statistic] = {}
    for text in asked:
        statistic = _parse(text)
        if statistic.label in statistics:
            raise InvalidArgument(f"statistic {statistic.label!r} is asked for twice; each can be there once")
        statistics[statistic.label] = statistic
    return tuple(statistics.values())


def _parse(text: str) -> Statistic:
    match = _CALL.fullmatch(text) if isinstance(text, str) else None
    shown = repr(one_line(str(text), 80))
    if match is None:
        raise InvalidArgument(f"{shown} is not a statistic; {_valid()}")
    name, argument = match["name"].lower(), match["argument"]
    if name == "quantile":
        number = None if argument is None else _QUANTILE.fullmatch(argument)
        if number is None or not 0 <= float(number[1]) <= 1:
            raise InvalidArgument(f"statistic {shown}: quantile takes one number from 0 to 1; write quantile(0.9)")
        quantile = abs(float(number[1]))
        return Statistic(name, quantile, f"quantile_{_percent(quantile)}")
    if name not in DEFINITIONS:
        raise InvalidArgument(f"unknown statistic {shown}{_hint(name)}; {_valid()}")
    if argument is not None:
        raise InvalidArgument(f"statistic {shown}: {name} takes no argument; write {name}")
    return Statistic(name, None, name)


def _percent(quantile: float) -> str:
    """0.9 as 90, 0.975 as 97_5."""
    text = f"{Decimal(repr(quantile)) * 100:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace(".", "_")


def _valid() -> str:
    return f"valid: {listing('quantile(q)' if name == 'quantile' else name for name in DEFINITIONS)}"


def _hint(name: str) -> str:
    percent = _PERCENTILE.fullmatch(name)
    if percent is not None and float(percent[1].replace("_", ".")) <= 100:
        return f"; did you mean 'quantile({Decimal(percent[1].replace('_', '.')) / 100})'?"
    return f"; did you mean {_OTHER_NAMES[name]!r}?" if name in _OTHER_NAMES else near(name, DEFINITIONS)


def needs_of(statistics: Sequence[Statistic]) -> Needs:
    """What the partials have to hold for these statistics."""
    needs = Needs()
    for statistic in statistics:
        needs |= DEFINITIONS[statistic.name].needs
    return needs


def finish(partial: Partial, zones: Ints, statistics: Sequence[Statistic]) -> list[Result]:
    """One result for each statistic, its rows those of ``zones``, in any order; zones that the partial does not have are empty.

    ValueError when the partial was made without what a statistic needs.
    """
    rows = aligned(partial, zones)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        return [DEFINITIONS[statistic.name].compute(rows, statistic) for statistic in statistics]


def aligned(partial: Partial, zones: Ints) -> Partial:
    """The partial with exactly ``zones`` as its zones; rows of zeros for those it lacks."""
    if np.array_equal(partial.zones, zones):
        return partial
    known = len(partial.zones)
    rows = np.searchsorted(partial.zones, zones)
    rows[rows == known] = 0
    found = partial.zones[rows] == zones if known else np.zeros(len(zones), dtype=np.bool_)
    slots, rows = np.flatnonzero(found), rows[found]

    def placed(values: Values) -> Values:
        new = np.zeros((len(zones), *values.shape[1:]), dtype=values.dtype)
        new[slots] = values[rows]
        return new

    def extreme(of: Extreme | None) -> Extreme | None:
        return of and Extreme(placed(of.values), None if of.places is None else placed(of.places))

    def entries(starts: Ints) -> tuple[Ints, Ints]:
        return offsets_of(placed(np.diff(starts))), ragged_rows(starts, rows)[0]

    spread, weighted, distribution, pixels = partial.spread, partial.weighted, partial.distribution, partial.pixels
    if distribution is not None:
        starts, where = entries(distribution.starts)
        distribution = Distribution(starts, distribution.values[where], distribution.coverage[where])
    if pixels is not None:
        starts, where = entries(pixels.starts)
        pixels = PixelLists(starts, pixels.values[where], pixels.coverage[where], pixels.places[where])
    return Partial(
        zones=zones,
        total=placed(partial.total),
        count=placed(partial.count),
        sum=placed(partial.sum),
        spread=spread and Spread(placed(spread.mean), placed(spread.m2)),
        least=extreme(partial.least),
        greatest=extreme(partial.greatest),
        weighted=weighted and Weighted(placed(weighted.weight), placed(weighted.sum)),
        distribution=distribution,
        pixels=pixels,
    )


def _numbers(values: Values, valid: Bools) -> Numbers:
    """As DOUBLE; no number is NULL, and -0.0 is 0.0."""
    numbers = values.astype(np.float64) + 0.0
    return Numbers(numbers, valid & ~np.isnan(numbers))


def _lacking(statistic: Statistic) -> ValueError:
    return ValueError(f"the partial was made without what {statistic.label} needs")


def _count(partial: Partial, _: Statistic) -> Result:
    return _numbers(partial.count, np.ones(len(partial.zones), dtype=np.bool_))


def _sum(partial: Partial, _: Statistic) -> Result:
    return _numbers(partial.sum, partial.count > 0)


def _mean(partial: Partial, _: Statistic) -> Result:
    return _numbers(partial.sum / partial.count, partial.count > 0)


def _valid_fraction(partial: Partial, _: Statistic) -> Result:
    return _numbers(np.minimum(partial.count / partial.total, 1), partial.total > 0)


def _spread(partial: Partial, statistic: Statistic) -> Result:
    if partial.spread is None:
        raise _lacking(statistic)
    freedom = partial.count - 1 if statistic.name.endswith("_samp") else partial.count
    variance = partial.spread.m2 / freedom
    return _numbers(np.sqrt(variance) if statistic.name.startswith("stddev") else variance, freedom > 0)


def _extreme(partial: Partial, statistic: Statistic) -> Extreme:
    extreme = partial.least if statistic.name.startswith("min") else partial.greatest
    if extreme is None:
        raise _lacking(statistic)
    return extreme


def _min_or_max(partial: Partial, statistic: Statistic) -> Result:
    return _numbers(_extreme(partial, statistic).values, partial.count > 0)


def _point(partial: Partial, statistic: Statistic) -> Result:
    places = _extreme(partial, statistic).places
    if places is None:
        raise _lacking(statistic)
    return Places(places[:, 0], places[:, 1], places[:, 2], partial.count > 0)


def _weighted(partial: Partial, statistic: Statistic) -> Result:
    weighted = partial.weighted
    if weighted is None:
        raise _lacking(statistic)
    return _numbers(weighted.sum / weighted.weight if statistic.name == "weighted_mean" else weighted.sum, partial.count > 0)


def _distribution(partial: Partial, statistic: Statistic) -> tuple[Distribution, Ints]:
    """The distribution, and the zones that have a value."""
    if partial.distribution is None:
        raise _lacking(statistic)
    return partial.distribution, np.flatnonzero(np.diff(partial.distribution.starts))


def _variety(partial: Partial, statistic: Statistic) -> Result:
    distribution, _ = _distribution(partial, statistic)
    lengths = np.diff(distribution.starts)
    return Counts(lengths, lengths > 0)


def _frac(partial: Partial, statistic: Statistic) -> Result:
    distribution, _ = _distribution(partial, statistic)
    lengths = np.diff(distribution.starts)
    return Shares(lengths, distribution.values, distribution.coverage / np.repeat(partial.count, lengths))


def _mode(partial: Partial, statistic: Statistic) -> Result:
    """Mode and minority; values ascend within a zone, so the last of equally frequent ones is the greatest, the first the least."""
    distribution, some = _distribution(partial, statistic)
    heads, lengths = distribution.starts[some], np.diff(distribution.starts)[some]
    pick = np.maximum if statistic.name == "mode" else np.minimum
    here = distribution.coverage == np.repeat(pick.reduceat(distribution.coverage, heads), lengths)
    position = np.where(here, np.arange(len(here)), -1 if pick is np.maximum else len(here))
    return _at(distribution.values[pick.reduceat(position, heads)], some, partial)


def _at(values: Values, some: Ints, partial: Partial) -> Numbers:
    numbers = np.full(len(partial.zones), np.nan)
    numbers[some] = values
    return _numbers(numbers, partial.count > 0)


def _quantile(partial: Partial, statistic: Statistic) -> Result:
    distribution, some = _distribution(partial, statistic)
    q = 0.5 if statistic.quantile is None else statistic.quantile
    numbers = np.zeros(len(some))
    for batch, values, coverage, lengths in _tables(distribution, some):
        rows, last = np.arange(len(batch)), lengths - 1
        before = np.cumsum(coverage, axis=1)
        before -= coverage
        position = np.arange(values.shape[1]) * coverage + last[:, None] * before
        wanted = q * position[rows, last]
        inside = np.arange(values.shape[1]) < lengths[:, None]
        left = np.count_nonzero((position <= wanted[:, None]) & inside, axis=1) - 1
        right = np.minimum(left + 1, last)
        low, high = values[rows, left], values[rows, right]
        step = wanted - position[rows, left]
        between = low + step * (high - low) / (position[rows, right] - position[rows, left])
        numbers[batch] = np.where(step > 0, between, low)
    return _at(numbers, some, partial)


def _tables(distribution: Distribution, some: Ints) -> Iterator[tuple[Ints, Floats, Floats, Ints]]:
    """Zones of like length as the rows of one table, so that each zone is summed by itself and by its own order.

    Gives positions in ``some``, values and coverage [rows, longest] padded with 0, and lengths. A table is at most twice its zones' values.
    """
    starts, lengths = distribution.starts[some], np.diff(distribution.starts)[some]
    size = np.frexp(lengths)[1]
    for one in np.unique(size):
        batch = np.flatnonzero(size == one)
        row, col = np.nonzero(np.arange(lengths[batch].max()) < lengths[batch][:, None])
        entry = starts[batch][row] + col
        values, coverage = np.zeros((2, len(batch), int(lengths[batch].max())))
        values[row, col] = distribution.values[entry]
        coverage[row, col] = distribution.coverage[entry]
        yield batch, values, coverage, lengths[batch]


def _arrays(partial: Partial, statistic: Statistic) -> Result:
    pixels = partial.pixels
    if pixels is None:
        raise _lacking(statistic)
    lengths = np.diff(pixels.starts)
    source, row, col = pixels.places.T
    order = np.lexsort((col, row, source, np.repeat(np.arange(len(lengths)), lengths)))
    return Arrays(lengths, (pixels.values if statistic.name == "values" else pixels.coverage)[order])


_CALL: Final = re.compile(r"\s*(?P<name>[A-Za-z_][A-Za-z_0-9]*)\s*(?:\((?P<argument>[^()]*)\))?\s*", re.ASCII)
_QUANTILE: Final = re.compile(r"\s*(?:[qQ]\s*=\s*)?([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*", re.ASCII)
_PERCENTILE: Final = re.compile(r"(?:percentile|perc|pct|quantile|p|q)_?(\d+(?:_\d+)?)", re.ASCII)

_OTHER_NAMES: Final = {
    **dict.fromkeys(("std", "stdev", "stddev", "std_dev", "sd", "standard_deviation"), "stddev_pop"),
    **dict.fromkeys(("var", "variance"), "var_pop"),
    **dict.fromkeys(("avg", "average"), "mean"),
    **dict.fromkeys(("majority", "most_common"), "mode"),
    **dict.fromkeys(("unique", "nunique", "distinct", "n_unique"), "variety"),
    **dict.fromkeys(("percentile", "percentile_cont", "quantile_cont"), "quantile(0.9)"),
    **dict.fromkeys(("frac_valid", "valid", "nodata", "valid_percent"), "valid_fraction"),
    **dict.fromkeys(("minimum", "lowest"), "min"),
    **dict.fromkeys(("maximum", "highest"), "max"),
    **dict.fromkeys(("min_center_x", "min_center_y", "argmin"), "min_point"),
    **dict.fromkeys(("max_center_x", "max_center_y", "argmax"), "max_point"),
    **dict.fromkeys(("histogram", "fraction"), "frac"),
    "total": "sum",
    "coverage_fraction": "coverage",
}
"""Names that other programs (exactextract, rasterstats, QGIS, SQL) use for the same; only to say the right one."""

_NONE, _DISTINCT = Needs(), Needs(distribution=True)
DEFINITIONS: Final[dict[str, Definition]] = {
    "count": Definition(Numbers, _NONE, _count),
    "sum": Definition(Numbers, _NONE, _sum),
    "mean": Definition(Numbers, _NONE, _mean),
    "median": Definition(Numbers, _DISTINCT, _quantile),
    "min": Definition(Numbers, Needs(extremes=True), _min_or_max),
    "max": Definition(Numbers, Needs(extremes=True), _min_or_max),
    "mode": Definition(Numbers, _DISTINCT, _mode),
    "minority": Definition(Numbers, _DISTINCT, _mode),
    "variety": Definition(Counts, _DISTINCT, _variety),
    "stddev_pop": Definition(Numbers, Needs(variance=True), _spread),
    "stddev_samp": Definition(Numbers, Needs(variance=True), _spread),
    "var_pop": Definition(Numbers, Needs(variance=True), _spread),
    "var_samp": Definition(Numbers, Needs(variance=True), _spread),
    "quantile": Definition(Numbers, _DISTINCT, _quantile),
    "frac": Definition(Shares, _DISTINCT, _frac),
    "values": Definition(Arrays, Needs(arrays=True), _arrays),
    "coverage": Definition(Arrays, Needs(arrays=True), _arrays),
    "min_point": Definition(Places, Needs(points=True), _point),
    "max_point": Definition(Places, Needs(points=True), _point),
    "weighted_mean": Definition(Numbers, Needs(weights=True), _weighted),
    "weighted_sum": Definition(Numbers, Needs(weights=True), _weighted),
    "valid_fraction": Definition(Numbers, _NONE, _valid_fraction),
}
"""Every statistic there is, by name."""
