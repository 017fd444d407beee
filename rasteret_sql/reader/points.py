"""Values at points: nearest pixel, valid neighbours, neighbourhoods, and the newest valid record per point.

A *visit* is one record with the points that may lie in it. All visits of a call are planned together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rasteret_sql.raster.crs import transform_points
from rasteret_sql.raster.grid import Grid, sample_pixels
from rasteret_sql.reader.band import Band
from rasteret_sql.reader.cost import bytes_of_pixels, check_budget
from rasteret_sql.reader.engine import Query
from rasteret_sql.reader.gather import Bools, Gathered, Ints, PixelSet, gather

Floats = npt.NDArray[np.float64]

OK, NODATA, FALLBACK, ERROR = 0, 1, 2, 3
"""Status of a (point, record) pair."""


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Coordinates of all points of a call, in one CRS; visits name them by position."""

    x: Floats
    y: Floats
    crs: str


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """The bands of one record (None where the record lacks one) and the positions of the points to read there."""

    bands: tuple[Band | None, ...]
    points: Ints


@dataclass(slots=True, eq=False)
class VisitResult:
    """What a visit found: one entry per point that lies in the record."""

    points: Ints
    values: list[npt.NDArray[np.generic] | None]
    """Per band, in the band's own type; None for a band the record lacks."""
    valid: list[Bools]
    status: npt.NDArray[np.uint8]
    distance: Floats
    """Pixels between the point's own pixel and the one the value was taken from; NaN where there is no value."""
    errors: dict[int, str] = field(default_factory=dict)
    """Entry position → message, for entries with status ERROR."""
    windows: list[tuple[npt.NDArray[np.generic], Bools] | None] = field(default_factory=list)
    """Per band (entries, (2r+1)²) neighbourhood values and their validity, when asked for."""


class PointReader:
    """Reads visits of one set of points; positions on each grid are worked out once, whatever the number of records on it."""

    def __init__(self, points: Points, query: Query, *, max_distance: int = 0, neighbourhood: int = 0) -> None:
        self._points = points
        self._query = query
        self._max_distance = max_distance
        self._radius = neighbourhood
        self._projected: dict[str, tuple[Floats, Floats]] = {}
        self._pixels: dict[tuple[str, Grid], tuple[Ints, Ints, Bools]] = {}

    def all(self, visits: Sequence[Visit]) -> list[VisitResult]:
        """Every visit's values. Raises :class:`BudgetExceeded` before anything is fetched when the segments are over the query's limit."""
        plans = self._plans(visits)
        gathered = iter(self._gather([read for plan in plans for read in plan.reads()]))
        results = [plan.result([None if band is None else next(gathered) for band in plan.bands]) for plan in plans]
        if self._max_distance:
            self._fall_back(plans, results)
        if self._radius:
            self._surround(plans, results)
        return results

    def latest(self, visits: Sequence[Visit]) -> tuple[list[VisitResult], npt.NDArray[np.int64]]:
        """Per point the first visit (in the order given: newest first) with a value.

        Works in rounds: a point that found nodata goes on to its next visit, so that older records are read only where newer ones hold nothing.
        Returns results and, for each, its visit's index. A point that never finds a value keeps its newest answer.
        """
        count = len(self._points.x)
        queue = _candidates(visits, count)
        answered, found = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        rounds: list[tuple[int, VisitResult]] = []
        while len(queue.pending):
            chosen = queue.next_visits()
            for (number, _), result in zip(chosen, self.all([Visit(visits[n].bands, points) for n, points in chosen]), strict=True):
                has_value = result.status != NODATA
                kept = _only(result, has_value | ~answered[result.points])
                answered[result.points] = True
                found[result.points[has_value]] = True
                queue.done(result.points[has_value])
                rounds.append((number, kept))
        # the newest answer of a point stays unless an older record had a value
        results = [_only(result, (result.status != NODATA) | ~found[result.points]) for _, result in rounds]
        return results, np.array([number for number, _ in rounds], dtype=np.int64)

    def _gather(self, requests: Sequence[tuple[Band, PixelSet]]) -> list[Gathered]:
        check_budget(bytes_of_pixels(requests, self._query), self._query)
        return gather(requests, self._query)

    # -- planning ---------------------------------------------------------------------------------------------------------

    def _plans(self, visits: Sequence[Visit]) -> list[_Plan]:
        """Plans of all visits; records on the same grids with the same points share their pixel sets, and the sorting these do."""
        shared: dict[tuple[object, ...], tuple[Ints, dict[tuple[str, Grid], PixelSet]]] = {}
        plans: list[_Plan] = []
        for visit in visits:
            grids = tuple(dict.fromkeys((band.crs, band.grid) for band in visit.bands if band is not None))
            key = (grids, visit.points.tobytes())
            if key not in shared:
                shared[key] = self._pixel_sets(grids, visit.points)
            plans.append(_Plan(visit.bands, *shared[key]))
        return plans

    def _pixel_sets(self, grids: Sequence[tuple[str, Grid]], points: Ints) -> tuple[Ints, dict[tuple[str, Grid], PixelSet]]:
        """The points that lie inside every grid, and their pixels on each."""
        located = {key: self._locate(*key) for key in grids}
        inside = np.full(len(points), bool(located))
        for _, _, within in located.values():
            inside &= within[points]
        kept = points[inside]
        return kept, {key: PixelSet(rows[kept], cols[kept]) for key, (rows, cols, _) in located.items()}

    def _locate(self, crs: str, grid: Grid) -> tuple[Ints, Ints, Bools]:
        """Pixel of every point of the call on one grid."""
        if (crs, grid) not in self._pixels:
            if crs not in self._projected:
                self._projected[crs] = transform_points(self._points.x, self._points.y, self._points.crs, crs)
            self._pixels[crs, grid] = sample_pixels(grid, *self._projected[crs])
        return self._pixels[crs, grid]

    # -- neighbours -------------------------------------------------------------------------------------------------------

    def _fall_back(self, plans: Sequence[_Plan], results: Sequence[VisitResult]) -> None:
        """Give points on nodata the nearest pixel, at most ``max_distance`` away, at which every band of the same grid has a value."""
        offsets = disc(self._max_distance)
        work: list[tuple[_Plan, VisitResult, list[int], Ints, _Around]] = []
        for plan, result in zip(plans, results, strict=True):
            missing = np.flatnonzero(result.status == NODATA)
            for key, pixels in plan.sets.items() if len(missing) else ():
                members = [i for i, band in enumerate(plan.bands) if band is not None and (band.crs, band.grid) == key]
                work.append((plan, result, members, missing, _Around.of(pixels, missing, offsets, key[1])))
        requests = [(band, around.pixels) for plan, _, members, _, around in work for i in members if (band := plan.bands[i]) is not None]
        gathered = iter(self._gather(requests))
        for _, result, members, missing, around in work:
            _adopt(result, members, missing, around, [next(gathered) for _ in members], np.hypot(*offsets.T))
        for result in results:
            _restate(result)

    def _surround(self, plans: Sequence[_Plan], results: Sequence[VisitResult]) -> None:
        """Fill ``windows``: the (2r+1)² values around each point, row by row; pixels outside the raster are not valid."""
        side = np.arange(-self._radius, self._radius + 1)
        offsets = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
        for plan, result in zip(plans, results, strict=True):
            entries = np.arange(len(plan.points))
            around = {key: _Around.of(pixels, entries, offsets, key[1]) for key, pixels in plan.sets.items()}
            present = [band for band in plan.bands if band is not None]
            gathered = iter(self._gather([(band, around[band.crs, band.grid].pixels) for band in present]))
            result.windows = [
                None if band is None else around[band.crs, band.grid].spread(next(gathered), len(entries), len(offsets)) for band in plan.bands
            ]


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    bands: tuple[Band | None, ...]
    points: Ints
    sets: dict[tuple[str, Grid], PixelSet]

    def reads(self) -> list[tuple[Band, PixelSet]]:
        return [(band, self.sets[band.crs, band.grid]) for band in self.bands if band is not None]

    def result(self, gathered: Sequence[Gathered | None]) -> VisitResult:
        count = len(self.points)
        values = [None if g is None else g.values for g in gathered]
        valid = [np.zeros(count, dtype=bool) if g is None else g.valid for g in gathered]
        result = VisitResult(self.points, values, valid, np.zeros(count, np.uint8), np.zeros(count))
        for found in gathered:
            for positions, error in () if found is None else found.errors:
                result.errors.update(dict.fromkeys(positions.tolist(), str(error)))
        _restate(result)
        return result


@dataclass(frozen=True, slots=True, eq=False)
class _Around:
    """Pixels around some entries: those inside the grid as a pixel set, with the (entry, offset) each belongs to."""

    pixels: PixelSet
    slots: Ints
    """Position of each pixel in the flattened (entry, offset) table."""

    @classmethod
    def of(cls, pixels: PixelSet, entries: Ints, offsets: Ints, grid: Grid) -> _Around:
        rows = (pixels.rows[entries][:, None] + offsets[:, 0]).ravel()
        cols = (pixels.cols[entries][:, None] + offsets[:, 1]).ravel()
        slots = np.flatnonzero((rows >= 0) & (rows < grid.height) & (cols >= 0) & (cols < grid.width))
        return cls(PixelSet(rows[slots], cols[slots]), slots)

    def spread(self, found: Gathered, entries: int, offsets: int) -> tuple[npt.NDArray[np.generic], Bools]:
        values = np.zeros(entries * offsets, dtype=found.values.dtype)
        valid = np.zeros(entries * offsets, dtype=bool)
        values[self.slots] = found.values
        valid[self.slots] = found.valid
        return values.reshape(entries, offsets), valid.reshape(entries, offsets)


def disc(radius: int) -> Ints:
    """Pixel offsets (row, col) within ``radius`` (Euclidean), nearest first, then by row and column; the pixel itself excluded."""
    side = np.arange(-radius, radius + 1)
    offsets = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    squared = (offsets**2).sum(axis=1)
    offsets, squared = offsets[(squared > 0) & (squared <= radius**2)], squared[(squared > 0) & (squared <= radius**2)]
    return np.asarray(offsets[np.argsort(squared, kind="stable")])


def _adopt(result: VisitResult, members: Sequence[int], missing: Ints, around: _Around, found: Sequence[Gathered], distances: Floats) -> None:
    """Write the nearest jointly valid neighbour of each missing entry into the result."""
    spread = [around.spread(band, len(missing), len(distances)) for band in found]
    usable = np.logical_and.reduce([valid for _, valid in spread])
    wanted = np.logical_or.reduce([~result.valid[member][missing] for member in members])
    hit = usable.any(axis=1) & wanted
    nearest = usable.argmax(axis=1)
    lines = np.flatnonzero(hit)
    for member, (values, _) in zip(members, spread, strict=True):
        target = result.values[member]
        if target is not None:
            target[missing[lines]] = values[lines, nearest[lines]]
            result.valid[member][missing[lines]] = True
    result.distance[missing[lines]] = np.fmax(np.nan_to_num(result.distance[missing[lines]]), distances[nearest[lines]])


def _restate(result: VisitResult) -> None:
    """Status and distance from what is valid: a pair is ok when every band asked for has a value."""
    complete = np.logical_and.reduce(result.valid) if result.valid else np.zeros(len(result.points), bool)
    some = np.logical_or.reduce(result.valid) if result.valid else complete
    result.status = np.where(complete, np.where(result.distance > 0, FALLBACK, OK), NODATA).astype(np.uint8)
    result.distance = np.where(some, np.nan_to_num(result.distance), np.nan)
    if result.errors:
        result.status[np.fromiter(result.errors, dtype=np.int64)] = ERROR


def _only(result: VisitResult, keep: Bools) -> VisitResult:
    positions = np.flatnonzero(keep)
    renumbered = {int(old): new for new, old in enumerate(positions)}
    return VisitResult(
        result.points[keep],
        [None if values is None else values[keep] for values in result.values],
        [valid[keep] for valid in result.valid],
        result.status[keep],
        result.distance[keep],
        {renumbered[entry]: message for entry, message in result.errors.items() if entry in renumbered},
        [None if window is None else (window[0][keep], window[1][keep]) for window in result.windows],
    )


class _Queue:
    """Which visits each point still has before it, in order: a table sorted by point, then by visit."""

    def __init__(self, points: Ints, visits: Ints, count: int) -> None:
        order = np.lexsort((visits, points))
        self._visits = visits[order]
        self._stops = np.cumsum(np.bincount(points, minlength=count))
        self._next = np.concatenate(([0], self._stops[:-1]))
        self.pending: Ints = np.flatnonzero(self._next < self._stops)

    def next_visits(self) -> list[tuple[int, Ints]]:
        """The next visit of every pending point, grouped by visit; moves each point on."""
        points = self.pending
        visits = self._visits[self._next[points]]
        self._next[points] += 1
        self.pending = points[self._next[points] < self._stops[points]]
        order = np.argsort(visits, kind="stable")
        ids, firsts = np.unique(visits[order], return_index=True)
        return list(zip(ids.tolist(), np.split(points[order], firsts[1:]), strict=True))

    def done(self, points: Ints) -> None:
        """These points need no further visit."""
        self._next[points] = self._stops[points]
        self.pending = self.pending[self._next[self.pending] < self._stops[self.pending]]


def _candidates(visits: Sequence[Visit], count: int) -> _Queue:
    points = np.concatenate([visit.points for visit in visits]) if visits else np.empty(0, np.int64)
    numbers = np.repeat(np.arange(len(visits)), [len(visit.points) for visit in visits])
    return _Queue(points.astype(np.int64), numbers.astype(np.int64), count)
