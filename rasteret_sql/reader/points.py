"""Values at points: the pixel under each, what lies around it, and the record that has a value there.

A *visit* is one record with the points that may lie in it. All visits of a call are planned together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rasteret_sql.raster.grid import Grid, sample_pixels
from rasteret_sql.reader.around import Around, adopt, disc, square
from rasteret_sql.reader.band import Band
from rasteret_sql.reader.cost import Stored, announce_read, check_budget, stored_pixels
from rasteret_sql.reader.engine import Query
from rasteret_sql.reader.gather import Bools, Gathered, Ints, PixelSet, gather
from rasteret_sql.reader.interpolate import SIDES, Kernel
from rasteret_sql.reader.visits import NODATA, UNMATCHED, Points, Queue, Visit, VisitResult, in_order, nearest_in_time

GridKey = tuple[str, Grid]
PlacesKey = tuple[tuple[GridKey, ...], bytes]
PART_PIXELS = 2_000_000
"""Pixels around points that are held at a time, about 100 bytes each."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a mask sees of one visit: its bands and, in the same order, what they hold in the pixel under each of ``count`` points."""

    bands: tuple[Band | None, ...]
    found: tuple[Gathered | None, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Mask:
    """Which pixels count."""

    bands: tuple[int, ...]
    """Positions of the bands that the mask looks at, in each visit's bands."""
    keep: Callable[[Sequence[Looked]], Bools]
    """Answers for all entries of all visits in a row. Called once a round."""


@dataclass(frozen=True, slots=True)
class How:
    """What is wanted of every point."""

    max_distance: int = 0
    neighbourhood: int = 0
    interpolation: str = "nearest"
    mask: Mask | None = None
    mask_only: int = 0
    """So many bands, the last ones of each visit, are for the mask alone: they are no part of the result."""


class PointReader:
    """Reads visits of one set of points; positions on each grid are worked out once, whatever the number of records on it."""

    def __init__(self, points: Points, query: Query, how: How | None = None, known: Mapping[PlacesKey, Places] | None = None) -> None:
        """``known`` is what :meth:`announce` answered with."""
        self._points = points
        self._query = query
        self._how = how or How()
        self._known = known or {}
        self._pixels: dict[GridKey, tuple[Ints, Ints, Bools]] = {}

    def all(self, visits: Sequence[Visit]) -> list[VisitResult]:
        """Every visit's values. Raises :class:`BudgetExceeded` before anything is fetched when the segments are over the query's limit."""
        return self._at_once(visits) if self._is_small(visits) else self._in_parts(visits, self._most_points)

    def announce(self, visits: Sequence[Visit]) -> Mapping[PlacesKey, Places]:
        """Write into the statement's ledger what reading all visits takes: their segments as :meth:`all` foresees them.

        Answers with where visits have their points, as far as that is small, so that the reading need not work it out again.
        """
        stored: list[Stored] = []
        small, held = self._is_small(visits), 0
        places: dict[PlacesKey, Places] = {}
        for visit in visits:
            grids, key = _grids(visit), _key(visit)
            if key not in places:
                places[key] = self._places_among(grids, visit.points, kernels=small)
                held += len(places[key].points)
            stored += stored_pixels(self._requests(self._plan(visit, places[key])))
            if held > PART_PIXELS:
                places.clear()
                held, small = 0, small and self._how.interpolation == "nearest"
        announce_read(stored, self._query)
        return places if small else {}

    def _is_small(self, visits: Sequence[Visit]) -> bool:
        """May all pixels around points be held at once?"""
        return self._how.interpolation == "nearest" or sum(len(visit.points) for visit in visits) <= self._most_points

    @property
    def _most_points(self) -> int:
        return PART_PIXELS // SIDES.get(self._how.interpolation, 1) ** 2

    def _requests(self, plan: _Plan) -> list[tuple[Band, PixelSet]]:
        """What is read of a visit before anything is known of it: for its values, then for its mask."""
        return [*plan.reads(), *(pair for pair in self._looks(plan) if pair)]

    def _looks(self, plan: _Plan) -> list[tuple[Band, PixelSet] | None]:
        return plan.looks(self._how.mask.bands) if self._how.mask else []

    def _under(self, visit: Visit, points: Ints) -> list[tuple[Band, PixelSet]]:
        """Every band with the pixels under some points, which lie inside."""
        return [(band, PixelSet(*(part[points] for part in self._locate(band.crs, band.grid)[:2]))) for band in visit.bands if band is not None]

    def _in_parts(self, visits: Sequence[Visit], most: int) -> list[VisitResult]:
        """At most so many points at a time, tile by tile: every point takes many pixels."""
        ordered: list[Visit] = []
        under: list[tuple[Band, PixelSet]] = []
        for visit in visits:
            kept = self._inside(_grids(visit), visit.points)
            reads = self._under(visit, kept)
            order = reads[0][1].by_segment(reads[0][0].layout, reads[0][0].level.tiles_across).order if reads else slice(0)
            ordered.append(Visit(visit.bands, kept[order]))
            under += reads
        self._check(under)  # tiles beside those under the points count in their own part
        pieces = [(n, Visit(v.bands, v.points[i : i + most])) for n, v in enumerate(ordered) for i in range(0, max(len(v.points), 1), most)]
        found: list[list[VisitResult]] = [[] for _ in visits]
        for part in _parts(pieces, most):
            for (number, _), result in zip(part, self._at_once([piece for _, piece in part]), strict=True):
                found[number].append(result)
        return [VisitResult.joined(parts) for parts in found]

    def _at_once(self, visits: Sequence[Visit]) -> list[VisitResult]:
        plans = self._plans(visits)
        mask = self._how.mask
        looks = [self._looks(plan) for plan in plans]
        gathered = iter(self._gather([read for plan in plans for read in self._requests(plan)]))
        results: list[VisitResult] = []
        looked: list[Looked] = []
        for plan, look in zip(plans, looks, strict=True):
            results.append(plan.result(gathered, distances=bool(self._how.max_distance)))
            found = tuple(next(gathered) if pair else None for pair in look)
            looked.append(Looked(tuple(pair[0] if pair else None for pair in look), found, len(plan.points)))
        if mask:
            _apply(mask, results, looked)
        if self._how.max_distance:
            self._fall_back(plans, results)
        if self._how.neighbourhood:
            self._surround(plans, results)
        return results

    def latest(self, visits: Sequence[Visit]) -> tuple[list[VisitResult], Ints]:
        """Per point the first visit (in the order given: newest first) with a value.

        Returns results and, for each, its visit's index. A point that never finds a value keeps its newest answer.
        """
        results, origins, _ = self._in_rounds(visits, in_order(visits, len(self._points.x)))
        return results, origins

    def nearest(self, visits: Sequence[Visit], tolerance: int | None) -> tuple[list[VisitResult], Ints]:
        """Per point the visit closest to the point's time, at most ``tolerance`` microseconds away, with a value; of two as close the earlier one.

        Returns results and, for each, its visit's index. A point that never finds a value keeps its closest answer. The last result, of
        index -1, has the points with status UNMATCHED: they lie in records, but in none near enough in time.
        """
        if self._points.time is None:
            raise ValueError("points have no time")
        results, origins, answered = self._in_rounds(visits, nearest_in_time(visits, self._points.time, tolerance))
        apart = [self._inside(_grids(visit), points) for visit in visits if len(points := visit.points[~answered[visit.points]])]
        points = np.unique(np.concatenate(apart)) if apart else np.empty(0, np.int64)
        bands = len(visits[0].bands) - self._how.mask_only if visits else 0
        none = np.zeros(len(points), bool)
        distance = np.full(len(points), np.nan) if self._how.max_distance else None
        unmatched = VisitResult(points, [None] * bands, [none] * bands, np.full(len(points), UNMATCHED, np.uint8), distance)
        return [*results, unmatched], np.append(origins, -1)

    def _in_rounds(self, visits: Sequence[Visit], queue: Queue) -> tuple[list[VisitResult], Ints, Bools]:
        """Results, their visits, and which points lie in one of them.

        A point that found nothing goes on to its next visit, so that further records are read only where better ones hold no value.
        """
        count = len(self._points.x)
        answered, found = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        rounds: list[tuple[int, VisitResult]] = []
        while len(queue.pending):
            chosen = queue.next_visits()
            for (number, _), result in zip(chosen, self.all([Visit(visits[n].bands, points) for n, points in chosen]), strict=True):
                has_value = ~result.empty
                kept = result.only(has_value | ~answered[result.points])
                answered[result.points] = True
                found[result.points[has_value]] = True
                queue.done(result.points[has_value])
                rounds.append((number, kept))
        # the first answer of a point stays unless a later one had a value
        results = [result.only(~result.empty | ~found[result.points]) for _, result in rounds]
        return results, np.array([number for number, _ in rounds], dtype=np.int64), answered

    def _check(self, requests: Sequence[tuple[Band, PixelSet]]) -> None:
        """Refuse what is over the byte budget together with what the statement is going to fetch, and has fetched, already."""
        announce_read(stored_pixels(requests), self._query)
        check_budget(self._query)

    def _gather(self, requests: Sequence[tuple[Band, PixelSet]]) -> list[Gathered]:
        self._check(requests)
        return gather(requests, self._query)

    # -- planning ---------------------------------------------------------------------------------------------------------

    def _plans(self, visits: Sequence[Visit]) -> list[_Plan]:
        """Plans of all visits; records on the same grids with the same points share their pixel sets, and the sorting these do."""
        known, shared = self._known, dict[PlacesKey, Places]()
        plans: list[_Plan] = []
        for visit in visits:
            grids, key = _grids(visit), _key(visit)
            if key not in shared:
                shared[key] = known[key] if key in known else self._places(grids, self._inside(grids, visit.points))
            plans.append(self._plan(visit, shared[key]))
        return plans

    def _plan(self, visit: Visit, places: Places) -> _Plan:
        return _Plan(visit.bands[: len(visit.bands) - self._how.mask_only], visit.bands, places)

    def _inside(self, grids: Sequence[GridKey], points: Ints) -> Ints:
        """The points that lie inside every grid."""
        inside = np.full(len(points), bool(grids))
        for key in grids:
            inside &= self._locate(*key)[2][points]
        within: Ints = points[inside]
        return within

    def _places(self, grids: Sequence[GridKey], points: Ints) -> Places:
        places = Places(points)
        for crs, grid in grids:
            rows, cols, _ = self._locate(crs, grid)
            places.sets[crs, grid] = PixelSet(rows[points], cols[points])
        self._add_kernels(places)
        return places

    def _places_among(self, grids: Sequence[GridKey], candidates: Ints, *, kernels: bool) -> Places:
        """The same of some points alone, which may lie outside."""
        found = []
        inside = np.full(len(candidates), bool(grids))
        for crs, grid in grids:
            x, y = self._points.in_crs(crs)
            rows, cols, within = sample_pixels(grid, x[candidates], y[candidates])
            found.append((rows, cols))
            inside &= within
        places = Places(candidates[inside])
        for key, (rows, cols) in zip(grids, found, strict=True):
            places.sets[key] = PixelSet(rows[inside], cols[inside])
        if kernels:
            self._add_kernels(places)
        return places

    def _add_kernels(self, places: Places) -> None:
        for crs, grid in places.sets if self._how.interpolation != "nearest" else ():
            x, y = self._points.in_crs(crs)
            at = grid.to_pixel(x[places.points], y[places.points])
            places.kernels[crs, grid] = Kernel.of(grid, *at, self._how.interpolation)

    def _locate(self, crs: str, grid: Grid) -> tuple[Ints, Ints, Bools]:
        """Pixel of every point of the call on one grid."""
        if (crs, grid) not in self._pixels:
            self._pixels[crs, grid] = sample_pixels(grid, *self._points.in_crs(crs))
        return self._pixels[crs, grid]

    # -- neighbours -------------------------------------------------------------------------------------------------------

    def _fall_back(self, plans: Sequence[_Plan], results: Sequence[VisitResult]) -> None:
        """Give points on nodata the nearest pixel, at most ``max_distance`` away, at which every band of the same grid has a value."""
        offsets = disc(self._how.max_distance)
        work: list[tuple[_Plan, VisitResult, list[int], Ints, Around]] = []
        for plan, result in zip(plans, results, strict=True):
            missing = np.flatnonzero(result.status == NODATA)
            for key, pixels in plan.places.sets.items() if len(missing) else ():
                members = [i for i, band in enumerate(plan.bands) if band is not None and (band.crs, band.grid) == key]
                if members:
                    work.append((plan, result, members, missing, Around.of(pixels.rows[missing], pixels.cols[missing], offsets, key[1])))
        requests = [(band, around.pixels) for plan, _, members, _, around in work for i in members if (band := plan.bands[i]) is not None]
        gathered = iter(self._gather(requests))
        for _, result, members, missing, around in work:
            adopt(result, members, missing, around, [next(gathered) for _ in members], np.hypot(*offsets.T))
        for result in results:
            result.restate()

    def _surround(self, plans: Sequence[_Plan], results: Sequence[VisitResult]) -> None:
        """Fill ``windows``: the (2r+1)² values around each point, row by row; pixels outside the raster are not valid."""
        offsets = square(-self._how.neighbourhood, self._how.neighbourhood)
        for plan, result in zip(plans, results, strict=True):
            around = {key: Around.of(pixels.rows, pixels.cols, offsets, key[1]) for key, pixels in plan.places.sets.items()}
            present = [band for band in plan.bands if band is not None]
            gathered = iter(self._gather([(band, around[band.crs, band.grid].pixels) for band in present]))
            result.windows = [None if band is None else around[band.crs, band.grid].spread(next(gathered)) for band in plan.bands]


def _grids(visit: Visit) -> tuple[GridKey, ...]:
    return tuple(dict.fromkeys((band.crs, band.grid) for band in visit.bands if band is not None))


def _key(visit: Visit) -> PlacesKey:
    """The same for visits of the same points on the same grids."""
    return _grids(visit), visit.points.tobytes()


def _parts(pieces: Sequence[tuple[int, Visit]], most: int) -> Iterator[list[tuple[int, Visit]]]:
    """Pieces in their order, as many together as hold no more than so many points."""
    part: list[tuple[int, Visit]] = []
    held = 0
    for piece in pieces:
        if part and held + len(piece[1].points) > most:
            yield part
            part, held = [], 0
        part.append(piece)
        held += len(piece[1].points)
    if part:
        yield part


def _apply(mask: Mask, results: Sequence[VisitResult], looked: Sequence[Looked]) -> None:
    """Hide what the mask does not keep. A pixel that the mask could not be read for is an error."""
    if not any(look.count for look in looked):
        return
    parts = np.split(mask.keep(looked), np.cumsum([look.count for look in looked])[:-1])
    for result, look, kept in zip(results, looked, parts, strict=True):
        for gathered in look.found:
            for positions, error in () if gathered is None else gathered.errors:
                result.errors.update(dict.fromkeys(positions.tolist(), str(error)))
        result.restate()
        result.hide(kept)


@dataclass(slots=True, eq=False)
class Places:
    """Points inside all of some grids, and their pixels on each; kernels where values are interpolated."""

    points: Ints
    sets: dict[GridKey, PixelSet] = field(default_factory=dict)
    kernels: dict[GridKey, Kernel] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    bands: tuple[Band | None, ...]
    """Bands of the result."""
    all_bands: tuple[Band | None, ...]
    places: Places

    @property
    def points(self) -> Ints:
        return self.places.points

    def reads(self) -> list[tuple[Band, PixelSet]]:
        """What the values are made of."""
        pixels = {key: kernel.pixels for key, kernel in self.places.kernels.items()} or self.places.sets
        return [(band, pixels[band.crs, band.grid]) for band in self.bands if band is not None]

    def looks(self, positions: Sequence[int]) -> list[tuple[Band, PixelSet] | None]:
        """What a mask looks at: the pixel under each point, whatever the values are made of."""
        chosen = [self.all_bands[position] for position in positions]
        return [None if band is None else (band, self.places.sets[band.crs, band.grid]) for band in chosen]

    def result(self, gathered: Iterator[Gathered], *, distances: bool) -> VisitResult:
        """The values, from what :meth:`reads` asked for."""
        count = len(self.points)
        result = VisitResult(self.points, [], [], np.zeros(count, np.uint8), np.zeros(count) if distances else None)
        for band in self.bands:
            found = None if band is None else next(gathered)
            if band is None or found is None:
                result.values.append(None)
                result.valid.append(np.zeros(count, dtype=bool))
                continue
            kernel = self.places.kernels.get((band.crs, band.grid))
            values, valid = kernel.apply(found) if kernel else (found.values, found.valid)
            result.values.append(values)
            result.valid.append(valid)
            for pixels, error in found.errors:
                result.errors.update(dict.fromkeys((kernel.entries_of(pixels) if kernel else pixels).tolist(), str(error)))
        result.restate()
        return result
