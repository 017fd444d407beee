"""Visits: one record with the points that may lie in it. What they are made of, what they find, and in which order a point goes through its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rasteret_sql.raster.crs import CRS84, transform_points
from rasteret_sql.raster.proj import in_proj_thread
from rasteret_sql.reader.band import Band
from rasteret_sql.reader.cells import PointCells
from rasteret_sql.reader.gather import Bools, Ints

Floats = npt.NDArray[np.float64]

OK, NODATA, FALLBACK, ERROR, MASKED, UNMATCHED = 0, 1, 2, 3, 4, 5
"""Status of a (point, record) pair; UNMATCHED is of a point alone: it lies in records, but in none near enough in time."""
NO_TIME = int(np.iinfo(np.int64).min)
"""The time of a point that has none."""
_MANY = 16
"""One in so many, of all numbers there are."""


@dataclass(slots=True, eq=False)
class Points:
    """Coordinates of all points of a call, in one CRS; visits name them by position."""

    x: Floats
    y: Floats
    crs: str
    time: Ints | None = None
    """Microseconds since 1970 in UTC, NO_TIME where there is none; needed by ``nearest`` only."""
    _elsewhere: dict[str, tuple[Floats, Floats]] = field(default_factory=dict, init=False, repr=False)
    _cells: PointCells | None = field(default=None, init=False, repr=False)

    def in_crs(self, crs: str) -> tuple[Floats, Floats]:
        """Coordinates in another CRS; worked out once, however many calls read these points: who asks meanwhile waits for it."""
        found = (self.x, self.y) if crs == self.crs else self._elsewhere.get(crs)
        return self._located(crs) if found is None else found

    @in_proj_thread
    def _located(self, crs: str) -> tuple[Floats, Floats]:
        if crs not in self._elsewhere:
            self._elsewhere[crs] = transform_points(self.x, self.y, self.crs, crs)
        return self._elsewhere[crs]

    def divide(self, size: float) -> PointCells:
        """The cells of so many degrees that hold points."""
        self._cells = PointCells(*self.in_crs(CRS84), size)
        return self._cells

    def in_cells(self, numbers: Ints) -> Ints:
        """Those in some of the cells that they were divided into, in ascending order."""
        if self._cells is None:
            raise ValueError("points were not divided into cells")
        return ascending(self._cells.points(numbers), len(self.x))

    @property
    def nbytes(self) -> int:
        cells = 0 if self._cells is None else self._cells.nbytes
        return cells + sum(x.nbytes + y.nbytes for x, y in ((self.x, self.y), *list(self._elsewhere.values())))


def ascending(numbers: Ints, count: int) -> Ints:
    """Distinct numbers below ``count`` in their order: where they are many of them, marked and found again, several times faster than sorting."""
    if len(numbers) * _MANY < count:
        return np.sort(numbers)
    marked = np.zeros(count, dtype=bool)
    marked[numbers] = True
    return np.flatnonzero(marked).astype(numbers.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """The bands of one record (None where the record lacks one) and the positions of the points to read there."""

    bands: tuple[Band | None, ...]
    points: Ints
    time: int | None = None
    """Microseconds since 1970 in UTC; needed by ``nearest`` only."""


@dataclass(slots=True, eq=False)
class VisitResult:
    """What a visit found: one entry per point that lies in the record."""

    points: Ints
    values: list[npt.NDArray[np.generic] | None]
    """Per band, in the band's own type (float64 when interpolated); None for a band the record lacks."""
    valid: list[Bools]
    status: npt.NDArray[np.uint8]
    distance: Floats | None
    """Pixels between the point's own pixel and the one the value was taken from; NaN where there is no value. None where none but the own is read."""
    errors: dict[int, str] = field(default_factory=dict)
    """Entry position → message, for entries with status ERROR."""
    windows: list[tuple[npt.NDArray[np.generic], Bools] | None] = field(default_factory=list)
    """Per band (entries, (2r+1)²) neighbourhood values and their validity, when asked for."""

    def restate(self) -> None:
        """Status and distance from what is valid: a pair is ok when every band asked for has a value."""
        complete = np.logical_and.reduce(self.valid) if self.valid else np.zeros(len(self.points), bool)
        self.status = np.where(complete, np.uint8(OK), np.uint8(NODATA))
        if self.distance is not None:
            some = np.logical_or.reduce(self.valid) if self.valid else complete
            self.status[complete & (self.distance > 0)] = FALLBACK
            self.distance = np.where(some, np.nan_to_num(self.distance), np.nan)
        if self.errors:
            self.status[np.fromiter(self.errors, dtype=np.int64)] = ERROR

    def hide(self, kept: Bools) -> None:
        """Take the values of entries that a mask does not keep; what held none anyway stays nodata, and an error an error."""
        some = np.logical_or.reduce(self.valid) if self.valid else np.zeros(len(self.points), bool)
        self.valid = [valid & kept for valid in self.valid]
        hidden = some & ~kept & (self.status != ERROR)
        self.restate()
        self.status[hidden] = MASKED

    def only(self, keep: Bools) -> VisitResult:
        """The entries to keep."""
        positions = np.flatnonzero(keep)
        renumbered = {int(old): new for new, old in enumerate(positions)} if self.errors else {}
        return VisitResult(
            self.points[keep],
            [None if values is None else values[keep] for values in self.values],
            [valid[keep] for valid in self.valid],
            self.status[keep],
            None if self.distance is None else self.distance[keep],
            {renumbered[entry]: message for entry, message in self.errors.items() if entry in renumbered},
            [None if window is None else (window[0][keep], window[1][keep]) for window in self.windows],
        )

    @classmethod
    def joined(cls, parts: Sequence[VisitResult]) -> VisitResult:
        """Parts of one visit (without windows), one after the other."""
        if len(parts) == 1:
            return parts[0]
        starts = np.cumsum([0, *(len(part.points) for part in parts)]).tolist()
        distances = [part.distance for part in parts if part.distance is not None]
        columns = [[array for array in band if array is not None] for band in zip(*(part.values for part in parts), strict=True)]
        return cls(
            np.concatenate([part.points for part in parts]),
            [np.concatenate(arrays) if arrays else None for arrays in columns],
            [np.concatenate(arrays) for arrays in zip(*(part.valid for part in parts), strict=True)],
            np.concatenate([part.status for part in parts]),
            np.concatenate(distances) if distances else None,
            {start + entry: message for start, part in zip(starts, parts, strict=False) for entry, message in part.errors.items()},
        )

    @property
    def empty(self) -> Bools:
        """Entries that leave their point to its next record: nodata and masked ones. An error does not, it may hide a value."""
        return np.asarray((self.status == NODATA) | (self.status == MASKED))


class Queue:
    """Which visits each point still has before it, in order: a table sorted by point, then by the order of its visits."""

    def __init__(self, points: Ints, visits: Ints, count: int) -> None:
        self._visits = visits
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


def in_order(visits: Sequence[Visit], count: int) -> Queue:
    """Every point goes through its visits in the order given."""
    points, numbers = _pairs(visits)
    order = np.argsort(points, kind="stable")
    return Queue(points[order], numbers[order], count)


def nearest_in_time(visits: Sequence[Visit], times: Ints, tolerance: int | None) -> Queue:
    """Every point goes through the visits at most ``tolerance`` microseconds from its own time, the closest first; of two as close the earlier one.

    Visits of one time keep the order given. A visit or a point without a time matches nothing.
    """
    points, numbers = _pairs(visits)
    here = times[points]
    there = np.array([NO_TIME if visit.time is None else visit.time for visit in visits], dtype=np.int64)[numbers]
    later = there > here
    gap = np.where(later, there - here, here - there).view(np.uint64)  # modulo 2**64, so that no distance overflows
    usable = (here != NO_TIME) & (there != NO_TIME)
    if tolerance is not None:
        usable &= gap <= np.uint64(tolerance)
    points, numbers, gap, later = points[usable], numbers[usable], gap[usable], later[usable]
    order = np.lexsort((later, gap, points))
    return Queue(points[order], numbers[order], len(times))


def _pairs(visits: Sequence[Visit]) -> tuple[Ints, Ints]:
    """All (point, visit) pairs, visit by visit."""
    points = np.concatenate([visit.points for visit in visits]) if visits else np.empty(0, np.int64)
    numbers = np.repeat(np.arange(len(visits)), [len(visit.points) for visit in visits])
    return points.astype(np.int64), numbers.astype(np.int64)
