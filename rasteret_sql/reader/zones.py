"""Statistics of zones: the pixels of records under polygons, reduced chunk by chunk as their tiles arrive.

A *visit* is one record with the zones that may lie in it; a *pair* is one zone in one group of records (a record of its own, or all records of a
period): one row of the result. Chunks are visited place by place over all records, so that what zones select there is worked out once, and a pair is
finished, and its pixels forgotten, when its last chunk is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from rasteret_sql.errors import InvalidArgument
from rasteret_sql.raster.decoded import DecodedSegment
from rasteret_sql.raster.partials import Needs, ZonePixels
from rasteret_sql.raster.statistics import Statistic
from rasteret_sql.raster.targets import Target
from rasteret_sql.reader.band import Band, fill_value, physical
from rasteret_sql.reader.cache import Pixels
from rasteret_sql.reader.chunks import ChunkBook, ChunkPixels, ZoneGrid, chunk_size
from rasteret_sql.reader.cost import Stored, announce_read, check_budget
from rasteret_sql.reader.engine import Query
from rasteret_sql.reader.gather import Bools, Gathered, Ints, segment_job
from rasteret_sql.reader.levels import View, view_of
from rasteret_sql.reader.resampled import BlockChunk, block_size, read_block_chunks
from rasteret_sql.reader.segments import SegmentJob, read_segments
from rasteret_sql.reader.shapes import Shapes, ZonesMet, zones_met
from rasteret_sql.reader.tally import Failure, Tally, ZoneRows
from rasteret_sql.reader.validity import band_key, valid_pixels

Column = tuple[npt.NDArray[Any], Bools | None]
"""Values and their validity (None: all valid)."""
Evaluate = Callable[[Sequence[tuple[str, str]], Mapping[str, Column], Mapping[str, str]], Mapping[str, Column]]
"""Evaluates named SQL expressions over columns of given SQL types."""
MASK, WEIGHT = "__rasteret_mask", "__rasteret_weight"
"""Names under which mask and weights are evaluated."""


@dataclass(frozen=True, slots=True, eq=False)
class ZoneVisit:
    """The bands of one record (None where it lacks one), the zones to look for in it, and where their numbers go."""

    bands: tuple[Band | None, ...]
    """Given at full resolution; then those of the view."""
    zones: Ints
    group: int
    source: int
    """Rank of the record in the order of time and id: decides between equal extremes."""
    target: Target = field(default_factory=Target)
    view: View | None = field(init=False)
    """What the record is read as; None without any band."""

    def __post_init__(self) -> None:
        view = view_of(self.bands, self.target)
        object.__setattr__(self, "view", view)
        if view is not None:
            object.__setattr__(self, "bands", view.bands)


@dataclass(frozen=True, slots=True, eq=False)
class ZoneRequest:
    """What is asked of every zone."""

    names: tuple[str, ...]
    """Names of the bands that visits carry."""
    outputs: tuple[str, ...]
    """Bands and expressions that are reduced, in the order of the result."""
    expressions: Mapping[str, str]
    """Name → SQL of the outputs that are no bands, of the mask and of the weights."""
    uses: Mapping[str, frozenset[str]]
    """Output → the bands without which it cannot be told: its own, the mask's, the weights'."""
    kinds: Mapping[str, str]
    """Band → SQL type that expressions see."""
    statistics: tuple[Statistic, ...]
    needs: Needs
    pixels: str = "fractional"
    scaled: bool = False


class ZoneReader:
    """Reads visits of one set of zones."""

    def __init__(self, shapes: Shapes, request: ZoneRequest, query: Query, evaluate: Evaluate) -> None:
        self.shapes = shapes
        self.request = request
        self.query = query
        self.evaluate = evaluate
        self.book = ChunkBook()

    def read(self, visits: Sequence[ZoneVisit]) -> ZoneRows:
        """One row per pair. Raises :class:`BudgetExceeded` before anything is fetched when the segments are over the query's limit."""
        met = [zones_met(self.shapes, visit.view, visit.zones) for visit in visits]
        keys = [(visit.group << 32) | found.zones for visit, found in zip(visits, met, strict=True)]
        pairs = np.unique(np.concatenate(keys)) if keys else np.empty(0, np.int64)
        tally = Tally(pairs & 0xFFFFFFFF, pairs >> 32, self.request)
        chunks = self._chunks(visits, met, [np.searchsorted(pairs, key) for key in keys], tally)
        streams = [chunk for chunk in chunks if isinstance(chunk, _Chunk)]
        jobs = [job for chunk in streams for job in chunk.jobs()]
        failures = read_segments(jobs, self.query)
        for position, error in failures.items():
            use = jobs[position].use
            if isinstance(use, _Use):
                use.chunk.fail(use.band, use.segment, str(error))
        for chunk in streams:
            chunk.finish()
        read_block_chunks([chunk for chunk in chunks if isinstance(chunk, BlockChunk)], self.query)
        return tally.rows(visits)

    def _chunks(self, visits: Sequence[ZoneVisit], met: Sequence[ZonesMet], pairs: Sequence[Ints], tally: Tally) -> list[_Chunk | BlockChunk]:
        """Every chunk of every record that holds pixels of zones, place by place; checks the byte budget."""
        grids: dict[tuple[object, ...], tuple[ZoneGrid, list[int]]] = {}
        for number, found in enumerate(met):
            view = found.view
            if view is None or not len(found.zones):
                continue
            memory = self.query.settings.memory_bytes
            size = chunk_size(view.grid, view.leading.layout) if view.streams else block_size(view, memory)
            key = (view.crs, view.grid, view.whole, size, found.zones.tobytes())
            if key not in grids:
                grids[key] = (ZoneGrid(found.zones, found.shapes[found.zones], found.windows, view, self.request.pixels, size), [])
            grids[key][1].append(number)
        chunks: list[_Chunk | BlockChunk] = []
        for zone_grid, members, place in self._places(grids.values()):
            pixels = self.book.pixels(zone_grid, place)
            if len(pixels.index):
                for number in members:
                    mine = pairs[number][pixels.zones]
                    tally.expect(mine)
                    chunks.append(self._chunk(visits[number], met[number].view, zone_grid, place, mine, tally, len(chunks)))
        self._check_budget(chunks)
        return chunks

    def _chunk(self, visit: ZoneVisit, view: View | None, zones: ZoneGrid, place: int, pairs: Ints, tally: Tally, number: int) -> _Chunk | BlockChunk:
        work = _Work(self, visit, tally, number, pairs)
        if view is None or view.streams:
            return _Chunk(self, visit, zones, place, work)
        return BlockChunk(view, partial(self.book.pixels, zones, place), work.reduce)

    def _places(self, grids: Collection[tuple[ZoneGrid, list[int]]]) -> list[tuple[ZoneGrid, list[int], int]]:
        """The places of all grids with the visits there, those of several grids sorted by where their zones lie: what belongs to one zone comes
        together, so that few zones are open at once.
        """
        places = [(zone_grid, members, place) for zone_grid, members in grids for place in range(len(zone_grid.chunks))]
        if len(grids) < 2:
            return places
        bounds = shapely.bounds(self.shapes.shapes)
        x, y = (bounds[:, 0] + bounds[:, 2]) / 2, (bounds[:, 1] + bounds[:, 3]) / 2
        there = [(x[zones], y[zones]) for zone_grid, members, place in places for zones in (zone_grid.zones[zone_grid.members(place)],)]
        height = float(np.median([np.ptp(ys) for _, ys in there])) or 1.0
        order = sorted(range(len(places)), key=lambda i: (-round(float(there[i][1].mean()) / height), float(there[i][0].mean())))
        return [places[i] for i in order]

    def _check_budget(self, chunks: Sequence[_Chunk | BlockChunk]) -> None:
        segments: dict[Hashable, tuple[Band, list[int]]] = {}
        for chunk in chunks:
            for band, numbers in chunk.segments():
                segments.setdefault(band_key(band), (band, []))[1].extend(numbers)
        announce_read([Stored.of(band, np.unique(np.array(numbers, dtype=np.int64))) for band, numbers in segments.values()], self.query)
        check_budget(self.query)


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """What becomes of the pixels of one chunk."""

    reader: ZoneReader
    visit: ZoneVisit
    tally: Tally
    number: int
    pairs: Ints

    def reduce(self, pixels: ChunkPixels, found: Mapping[int, Gathered], failures: Sequence[tuple[int, Ints, str]]) -> None:
        """Fold bands, by position, into the numbers of their pairs. ``failures``: a band, positions of the zones it failed for, and why."""
        request = self.reader.request
        columns: dict[str, Column] = {}
        for index, band in enumerate(self.visit.bands):
            if band is not None:
                columns[request.names[index]] = physical(found[index].values, band, scaled=request.scaled), found[index].valid
        self.add(pixels, columns, [Failure(request.names[index], self.pairs[zones], message) for index, zones, message in failures])

    def add(self, pixels: ChunkPixels, columns: Mapping[str, Column], failures: Sequence[Failure]) -> None:
        try:
            self.tally.add(self.number, self.pairs, _reduced(self.reader, pixels, columns, self.pairs, self.visit.source), failures)
        except InvalidArgument as error:
            self.tally.refuse(error)


class _Chunk:
    """One chunk of one record: gathers the pixels of its bands as their segments arrive (in decoder threads), then reduces them."""

    def __init__(self, reader: ZoneReader, visit: ZoneVisit, zones: ZoneGrid, place: int, work: _Work) -> None:
        self.reader = reader
        self.visit = visit
        self.zones = zones
        self.place = place
        self.work = work
        self.failures: list[Failure] = []
        self._values: dict[int, Pixels] = {}
        self._held: ChunkPixels | None = None
        self._lock = threading.Lock()
        self._waiting = 0
        self._finished = False
        self._layers, self._masks = _layers(visit.bands)
        self._segments = [(index, band, list(self.pixels.parts(band))) for index, band in self._layers.items()]

    @property
    def pixels(self) -> ChunkPixels:
        """Kept from the first segment to the last one."""
        return self._held or self.reader.book.pixels(self.zones, self.place)

    def segments(self) -> list[tuple[Band, list[int]]]:
        return [(band, numbers) for _, band, numbers in self._segments]

    def jobs(self) -> list[SegmentJob]:
        """One job per segment of each band; sparse segments have none."""
        jobs = [
            job
            for index, band, numbers in self._segments
            for number in numbers
            if (job := segment_job(band, number, _Use(self, index, number))) is not None
        ]
        self._waiting = len(jobs)
        return jobs

    def take(self, index: int, number: int, segment: DecodedSegment) -> None:
        """Copy what is wanted of a segment; the last one completes the chunk."""
        band = self._layers[index]
        self._held = self.pixels
        self._held.parts(band)[number].copy(segment.whole(), band.segment_sample, self._array(index, band))
        with self._lock:
            self._waiting -= 1
            complete = self._waiting == 0
        if complete:
            self.finish()

    def fail(self, index: int, number: int, message: str) -> None:
        """A segment could not be read: what needs the band, or bands that it masks, cannot be told of the zones that have pixels in it."""
        pixels = self.pixels
        positions = pixels.parts(self._layers[index])[number].positions
        pairs = self.work.pairs
        met = pairs if positions is None else pairs[np.unique(np.searchsorted(pixels.starts, positions, side="right") - 1)]
        names = self.reader.request.names
        self.failures += [Failure(names[band], met, message) for band in range(len(names)) if index in (band, self._masks.get(band))]

    def finish(self) -> None:
        """Reduce what was gathered, once."""
        if self._finished:
            return
        self._finished = True
        columns: dict[str, Column] = {}
        for index, (name, band) in enumerate(zip(self.reader.request.names, self.visit.bands, strict=True)):
            if band is not None:
                columns[name] = self._column(index, band)
        self.work.add(self.pixels, columns, self.failures)
        self._values.clear()
        self._held = None

    def _array(self, index: int, band: Band) -> Pixels:
        with self._lock:
            if index not in self._values:
                self._values[index] = np.full(len(self.pixels.index), fill_value(band.dtype, band.nodata), dtype=band.dtype)
            return self._values[index]

    def _column(self, index: int, band: Band) -> Column:
        values: npt.NDArray[Any] = self._array(index, band)
        mask = self._masks.get(index)
        valid = valid_pixels(band, values, None if mask is None else self._array(mask, self._layers[mask]))
        if band.grid != self.zones.grid:  # pixels outside of a coarser band's image are in none of its segments
            inside = np.zeros(len(values), dtype=bool)
            for part in self.pixels.parts(band).values():
                inside[slice(None) if part.positions is None else part.positions] = True
            valid = inside if valid is None else valid & inside
        return (values * band.scale + band.offset if self.reader.request.scaled else values), valid


def _layers(bands: Sequence[Band | None]) -> tuple[dict[int, Band], dict[int, int]]:
    """What is read for some bands, by number: the bands by their position, then their masks, each once; and which mask is which band's."""
    layers = {index: band for index, band in enumerate(bands) if band is not None}
    numbers: dict[Hashable, int] = {}
    masks: dict[int, int] = {}
    for index, band in list(layers.items()):
        if band.mask is not None:
            masks[index] = numbers.setdefault(band_key(band.mask), len(bands) + len(numbers))
            layers[masks[index]] = band.mask
    return layers, masks


@dataclass(frozen=True, slots=True, eq=False)
class _Use:
    """What a job does with its segment."""

    chunk: _Chunk
    band: int
    segment: int

    def __call__(self, segment: DecodedSegment) -> None:
        self.chunk.take(self.band, self.segment, segment)


def _reduced(
    reader: ZoneReader, pixels: ChunkPixels, columns: Mapping[str, Column], pairs: Ints, source: int
) -> dict[str, tuple[ZonePixels, Bools | None] | None]:
    """Per output the pixels to reduce and, where a mask took some, which were valid before; None for a band that the record lacks.

    Expressions see a band that the record lacks as NULL.
    """
    request = reader.request
    count = len(pixels.index)
    missing = dict.fromkeys((name for name in request.names if name not in columns), (np.zeros(count), np.zeros(count, dtype=bool)))
    wanted = list(request.expressions.items())
    found = dict(reader.evaluate(wanted, {**columns, **missing}, request.kinds)) if wanted else {}
    keep = _true(found.pop(MASK)) if MASK in found else None
    weight = found.pop(WEIGHT, None)
    rows, cols = pixels.places() if request.needs.places else (None, None)
    results: dict[str, tuple[ZonePixels, Bools | None] | None] = {}
    for name in request.outputs:
        if name not in found and name not in columns:
            results[name] = None
            continue
        values, valid = found[name] if name in found else columns[name]
        before = valid
        if keep is not None:
            before = np.ones(len(values), bool) if valid is None else valid
            valid = before & keep
        weights = None if weight is None else np.where(weight[1], weight[0], np.nan) if weight[1] is not None else weight[0]
        zone_pixels = ZonePixels(pairs, pixels.starts, values, valid, pixels.coverage, weights, source, rows, cols)
        results[name] = (zone_pixels, before if keep is not None else None)
    return results


def _true(column: Column) -> Bools:
    """A mask keeps where it is true; NULL is not."""
    values, valid = column
    return values if valid is None else values & valid
