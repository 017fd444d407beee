"""``rasteret_pixels``: one row per pixel of each geometry and record, in the three steps of ``rasteret_read``.

*announce* cuts geometries that hold more pixels than a batch may into parts along tiles; *pace* is that of ``rasteret_read``; *fetch* answers per
part with parallel lists: rows, columns, coverage and the values of each band, which SQL unnests. What is the same for all pixels of a part
(the transform, your columns) is not repeated here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from rasteret_sql.udfs.arrow import arrow_type, lists
from rasteret_sql.udfs.candidates import Geometries
from rasteret_sql.udfs.options import Options
from rasteret_sql.udfs.read import Batch, Met, announced, batch_of, windows_of_tickets
from rasteret_sql.udfs.slots import VALUE_SLOTS, Column, slot_fields, slots_sql, slots_type
from rasteret_sql.udfs.tickets import BOOK

from rasteret_sql.collection.nested import one_chunk
from rasteret_sql.raster.coverage import polygon_spans
from rasteret_sql.raster.fractions import coverage_spans
from rasteret_sql.raster.grid import Grid, Window
from rasteret_sql.raster.header import Affine
from rasteret_sql.raster.targets import MAX_ZONE_PIXELS, check_sizes
from rasteret_sql.reader.areas import Windows
from rasteret_sql.reader.band import Band, physical
from rasteret_sql.reader.blocks import Block
from rasteret_sql.reader.engine import Query
from rasteret_sql.reader.gather import Gathered
from rasteret_sql.reader.levels import View, bounded
from rasteret_sql.reader.runs import RunSet, cut_windows, gather_runs, spread, valid_anywhere
from rasteret_sql.reader.warp import ViewRequest, read_views, view_nbytes

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Objects = npt.NDArray[np.object_]

TRANSFORM = ("a", "b", "c", "d", "e", "f")
RESULT = (
    f"STRUCT({', '.join(f'{name} DOUBLE' for name in TRANSFORM)}, row INTEGER[], col INTEGER[], coverage DOUBLE[], " + slots_sql(VALUE_SLOTS) + ")"
)
BATCH_PARTS = 4
"""A part holds at most this share of what a batch may."""
PIXEL_NBYTES = 48
"""Bytes that a pixel takes while it is fetched, its bands apart: row, column, coverage, its place in result and segment."""

MOST_LINES = 1 << 20
"""Rows or columns of a grid that may each be looked up among the tiles of a band."""


class Spans(NamedTuple):
    """Selected pixels as runs ``[row, start:stop]`` of a grid, by ticket, row and start; ``coverage`` None where all are whole."""

    ticket: Ints
    row: Ints
    start: Ints
    stop: Ints
    coverage: Floats | None

    def part(self, of: slice | Ints) -> Spans:
        coverage = None if self.coverage is None else self.coverage[of]
        return Spans(self.ticket[of], self.row[of], self.start[of], self.stop[of], coverage)


def announce(options: pa.Array, payload: pa.Array, nos: pa.Array, wkbs: pa.Array, crs: pa.Array, statement: pa.Array) -> pa.Array:
    """Tickets of the parts of geometries that meet each record, in the order they should be read."""
    return announced(options, payload, nos, wkbs, crs, statement, _parts)


def _parts(met: Met, geometries: Geometries, options: Options) -> tuple[Met, Ints]:
    """Windows that hold too many pixels for a batch, cut; parts that their geometry does not touch are left out."""
    if not met.view.own:
        view, windows = bounded(met.view, met.windows)
        check_sizes(windows, MAX_ZONE_PIXELS, "a geometry")
        here = windows[:, 2] > 0
        met = Met(view, met.nos[here], windows[here])
    room = options.settings.memory_bytes // BATCH_PARTS
    nbytes = _nbytes(met.view, met.windows)
    large = np.flatnonzero(nbytes > room)
    if not len(large):
        return met, nbytes
    most = max(1, int((met.windows[large, 2] * met.windows[large, 3] / nbytes[large]).min() * room))
    layout, side = met.leading.layout, math.isqrt(most)
    tile = (layout.tile_height, layout.tile_width) if _by_runs(met.view) else (side, side)
    owner, parts = cut_windows(met.windows[large], *tile, most)
    owner = large[owner]
    if options.pixels != "window":
        shapes = geometries.shapes_of(met.nos[large], met.view.crs, met.view.whole or met.view.grid)
        touched = _touched(shapes, np.searchsorted(large, owner), met.view.grid, parts)
        owner, parts = owner[touched], parts[touched]
    small = np.flatnonzero(nbytes <= room)
    nos, windows = np.concatenate([met.nos[small], met.nos[owner]]), np.concatenate([met.windows[small], parts])
    return Met(met.view, nos, windows), _nbytes(met.view, windows)


def _nbytes(view: View, windows: Windows) -> Ints:
    """Bytes that the pixels of each window take while they are fetched."""
    per_pixel = PIXEL_NBYTES + sum(band.dtype.itemsize + 17 for band in view.bands if band is not None)
    total: Ints = windows[:, 2] * windows[:, 3] * per_pixel
    return total if _by_runs(view) else total + view_nbytes(view, windows)


def _by_runs(view: View) -> bool:
    """Is a record read pixel by pixel, without the rectangles around? Where bands are resampled it is not; very fine grids have too many lines."""
    return view.streams and max(view.grid.width, view.grid.height) <= MOST_LINES


def _touched(shapes: Objects, owner: Ints, grid: Grid, windows: Windows) -> npt.NDArray[np.bool_]:
    """May the geometry have pixels in its part? A pixel's breadth around it counts as part, as rules differ on edges.

    Of invalid geometries (parts that overlap) GEOS cannot tell; they may.
    """
    shapely.prepare(shapes)
    row, col, height, width = windows.T
    cols = np.stack([col - 1, col + width + 1, col + width + 1, col - 1], axis=1)
    rows = np.stack([row - 1, row - 1, row + height + 1, row + height + 1], axis=1)
    corners = np.stack(grid.to_xy(cols, rows), axis=-1)
    return np.asarray(shapely.intersects(shapes[owner], shapely.polygons(corners)) | ~shapely.is_valid(shapes)[owner])


class _Visit(NamedTuple):
    """Tickets of one record that follow each other in a batch."""

    view: View
    tickets: slice
    windows: Windows
    """Those of its tickets alone, as the spans are."""
    spans: Spans


def fetch(options: pa.Array, types: pa.Array, live: pa.Array, ticket: pa.Array, wkb: pa.Array, crs: pa.Array) -> pa.Array:
    """One batch of parts; every live row has a ticket and answers with the pixels that hold a value in some band, dead rows with nothing."""
    batch = batch_of(options, live, ticket, wkb, crs)
    if batch is None:
        return pa.array([[]] * len(live), pa.list_(_result_type()))
    kinds = one_chunk(types)[0].as_py()
    visits = _visits(batch)
    with batch.query() as query:
        found = _read(visits, query)
    parts = [_Part.of(visit, results, kinds, scaled=batch.options.scaled) for visit, results in zip(visits, found, strict=True)]
    return lists(batch.alive.astype(np.int64), _rows(parts, kinds))


def _visits(batch: Batch) -> list[_Visit]:
    spans, windows = spans_of(batch), windows_of_tickets(batch.columns)
    visits: list[_Visit] = []
    for record, group in groupby(enumerate(batch.columns["record"].tolist()), key=lambda item: item[1]):
        positions = [position for position, _ in group]
        tickets = slice(positions[0], positions[-1] + 1)
        first, last = np.searchsorted(spans.ticket, [tickets.start, tickets.stop])
        visits.append(_Visit(BOOK.view(record), tickets, windows[tickets], spans.part(slice(first, last))))
    return visits


def spans_of(batch: Batch) -> Spans:
    """Pixels of all tickets of a batch; tickets of one geometry and one window on equal grids share the work."""
    windows, nos = windows_of_tickets(batch.columns), batch.columns["no"].astype(np.int64)
    by_grid: dict[tuple[Grid, str, Grid | None], tuple[View, list[int]]] = {}
    views = {record: BOOK.view(record) for record in np.unique(batch.columns["record"]).tolist()}
    for position, record in enumerate(batch.columns["record"].tolist()):
        view = views[record]
        by_grid.setdefault((view.grid, view.crs, view.whole), (view, []))[1].append(position)
    found: list[Spans] = []
    for view, positions in by_grid.values():
        members = np.array(positions)
        _, firsts, back = np.unique(np.column_stack([nos, windows])[members], axis=0, return_index=True, return_inverse=True)
        shapes = batch.geometries.shapes_of(nos[members][firsts], view.crs, view.whole or view.grid)
        drawn = _drawn(shapes, view, windows[members][firsts], batch.options.pixels)
        found.append(_dealt(drawn, back.reshape(-1), members))
    if len(found) == 1:
        return found[0]
    ticket, row, start, stop = (np.concatenate(column) for column in zip(*(spans[:4] for spans in found), strict=True))
    coverages = [spans.coverage for spans in found if spans.coverage is not None]
    joined = Spans(ticket, row, start, stop, np.concatenate(coverages) if coverages else None)
    return joined.part(np.argsort(ticket, kind="stable"))


def _drawn(shapes: Objects, view: View, windows: Windows, rule: str) -> Spans:
    """The pixels that each geometry selects in its window."""
    if rule == "window":
        owner = np.repeat(np.arange(len(windows)), windows[:, 2])
        row = spread(windows[:, 0], windows[:, 2])
        return Spans(owner, row, windows[owner, 1], windows[owner, 1] + windows[owner, 3], None)
    if rule == "fractional":
        return Spans(*coverage_spans(shapes, view.grid, windows))
    grid, (top, left) = view.ruled(rule)
    owner, rows, starts, stops = polygon_spans(shapes, grid, windows + np.array([top, left, 0, 0]), rule)
    return Spans(owner, rows - top, starts - left, stops - left, None)


def _dealt(drawn: Spans, wanted: Ints, tickets: Ints) -> Spans:
    """For each ticket (ascending) the spans of the geometry it wants."""
    counts = np.bincount(drawn.ticket, minlength=int(wanted.max()) + 1)
    index = spread((np.cumsum(counts) - counts)[wanted], counts[wanted])
    return drawn.part(index)._replace(ticket=np.repeat(tickets, counts[wanted]))


def _read(visits: Sequence[_Visit], query: Query) -> list[list[Gathered | None]]:
    """Per visit the values of each band (None where the record lacks it): all that is taken as it is in one plan, what is resampled in another."""
    runs = [visit for visit in visits if _by_runs(visit.view)]
    blocks = [visit for visit in visits if not _by_runs(visit.view)]
    requests: list[tuple[Band, RunSet]] = []
    for visit in runs:
        set_ = RunSet(visit.view.grid, visit.spans.row, visit.spans.start, visit.spans.stop)
        requests += [(band, set_) for band in visit.view.bands if band is not None]
    gathered = iter(gather_runs(requests, query))
    read = iter(read_views([request for visit in blocks for request in _requests(visit)], query) if blocks else [])
    results: list[list[Gathered | None]] = []
    for visit in visits:
        if _by_runs(visit.view):
            results.append([None if band is None else next(gathered) for band in visit.view.bands])
        else:
            results.append(_picked(visit, [next(read) for _ in visit.windows]))
    return results


def _requests(visit: _Visit) -> list[ViewRequest]:
    windows = [Window(*window) for window in visit.windows.tolist()]
    return [ViewRequest(visit.view, window) for window in windows]


def _picked(visit: _Visit, blocks: Sequence[Block]) -> list[Gathered | None]:
    """The pixels of a visit's spans, out of the blocks of its windows."""
    spans = visit.spans
    bounds = np.searchsorted(spans.ticket, np.arange(visit.tickets.start, visit.tickets.stop + 1)).tolist()
    places = []
    for (first, last), (row, col, _, width) in zip(pairwise(bounds), visit.windows.tolist(), strict=True):
        mine = spans.part(slice(first, last))
        places.append(spread((mine.row - row) * width + mine.start - col, mine.stop - mine.start))
    results: list[Gathered | None] = []
    for index, band in enumerate(visit.view.bands):
        values = [found.ravel()[place] for block, place in zip(blocks, places, strict=True) if (found := block.values[index]) is not None]
        valid = [block.valid[index].ravel()[place] for block, place in zip(blocks, places, strict=True)]
        results.append(None if band is None else Gathered(np.concatenate(values), np.concatenate(valid)))
    return results


class _Part(NamedTuple):
    """The pixels of one record's tickets that hold a value: arrays over all of them, in order of the tickets."""

    transform: Affine
    counts: Ints
    """Pixels of each ticket."""
    row: npt.NDArray[np.int32]
    col: npt.NDArray[np.int32]
    coverage: Floats | None
    columns: list[tuple[npt.NDArray[Any], npt.NDArray[np.bool_]] | None]
    """Values and validity by band."""

    @classmethod
    def of(cls, visit: _Visit, found: Sequence[Gathered | None], kinds: Sequence[str], *, scaled: bool) -> _Part:
        """What was read, without the pixels that hold nothing."""
        spans = visit.spans
        lengths = spans.stop - spans.start
        top, left = visit.view.corner
        row = np.repeat((spans.row + top).astype(np.int32), lengths)
        col = spread(spans.start + left, lengths).astype(np.int32)
        coverage = None if spans.coverage is None else np.repeat(spans.coverage, lengths)
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        edges = bounds[np.searchsorted(spans.ticket, np.arange(visit.tickets.start, visit.tickets.stop + 1))]
        keep = valid_anywhere([result for result in found if result is not None], len(row))
        whole = bool(keep.all())
        if not whole:
            edges = np.concatenate([[0], np.cumsum(keep)])[edges]
            row, col, coverage = row[keep], col[keep], None if coverage is None else coverage[keep]
        columns: list[tuple[npt.NDArray[Any], npt.NDArray[np.bool_]] | None] = []
        for band, result, kind in zip(visit.view.bands, found, kinds, strict=True):
            if band is None or result is None:
                columns.append(None)
                continue
            values, valid = (result.values, result.valid) if whole else (result.values[keep], result.valid[keep])
            columns.append((physical(values, band, scaled=scaled).astype(arrow_type(kind).to_pandas_dtype(), copy=False), valid))
        return cls((visit.view.whole or visit.view.grid).transform, np.diff(edges), row, col, coverage, columns)


def _rows(parts: Sequence[_Part], kinds: Sequence[str]) -> pa.StructArray:
    """One struct per ticket, its pixels as parallel lists."""
    counts = np.concatenate([part.counts for part in parts])
    fields: dict[str, pa.Array] = {}
    for index, name in enumerate(TRANSFORM):
        fields[name] = pa.array(np.repeat([part.transform[index] for part in parts], [len(part.counts) for part in parts]))
    fields["row"] = lists(counts, pa.array(np.concatenate([part.row for part in parts])))
    fields["col"] = lists(counts, pa.array(np.concatenate([part.col for part in parts])))
    coverages = [part.coverage for part in parts if part.coverage is not None]
    fields["coverage"] = lists(counts, pa.array(np.concatenate(coverages))) if coverages else pa.nulls(len(counts), pa.list_(pa.float64()))
    fields |= slot_fields([row for part in parts for row in _by_ticket(part)], kinds, VALUE_SLOTS)
    return pa.StructArray.from_arrays(list(fields.values()), list(fields))


def _by_ticket(part: _Part) -> Iterator[list[Column]]:
    """What each band has under each ticket of a part; None for a band that the record lacks."""
    for start, stop in pairwise(np.concatenate([[0], np.cumsum(part.counts)]).tolist()):
        yield [None if cell is None else (cell[0][start:stop], cell[1][start:stop]) for cell in part.columns]


def _result_type() -> pa.DataType:
    fixed = [(name, pa.float64()) for name in TRANSFORM]
    fixed += [("row", pa.list_(pa.int32())), ("col", pa.list_(pa.int32())), ("coverage", pa.list_(pa.float64()))]
    return pa.struct([*fixed, *slots_type(VALUE_SLOTS)])
