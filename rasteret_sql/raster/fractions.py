"""How much of each pixel a geometry covers: exact areas, all polygons at once, as runs of pixels.

The method is signed-area accumulation, as font rasterisers have it (FreeType's ``ftgrays.c``, font-rs). Every edge is cut at the row lines
and then at the column lines it crosses, so that a piece lies in one pixel. Within the row, a piece that runs down by ``dy`` covers ``dy``
of each pixel right of it and, of its own pixel, ``dy`` times the mean distance to the pixel's right side; pieces that run up take
as much away. The sum over the pieces of a pixel, and a running sum along the row, are the coverage. Nothing is as large as a window:
time and memory go with the vertices and the pixels on the border.

Heights are whole multiples of 2**-50 pixel and their running sums are integers: what lies between two border pixels is covered
by exactly 1.0, with no error that grows along a row.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import shapely

from rasteret_sql.errors import InvalidArgument, listing
from rasteret_sql.raster.coverage import RULES, polygon_spans
from rasteret_sql.raster.grid import Floats, Geometries, Grid, Ints, geometry_windows

if TYPE_CHECKING:
    from collections.abc import Iterator

COVERAGE_RULES: Final = ("fractional", *RULES)
"""``fractional``: the exact share of each pixel; the others select whole pixels (:data:`rasteret_sql.raster.coverage.RULES`)."""

_BATCH: Final = 1 << 16
"""Pieces of edges worked on at once, about: bounds the memory of the arrays in between, and keeps them in the processor's caches."""
_UNIT: Final = 2.0**50
"""Heights within a pixel are integers of this many to the pixel."""
_SNAP: Final = 1e-9
"""Vertices this near to a pixel line (in pixels) lie on it, and runs this near to none or all of a pixel are that."""
_NOTHING: Final = 1e-14
"""Coverage up to here is rounding: an edge through the corner of a pixel met its neighbour."""
_FAR: Final = 2.0**50
"""Pixel coordinates beyond this are moved here, so that no difference of two overflows."""
_POLYGON, _FIRST_MULTI, _MULTIPOLYGON, _COLLECTION = 3, 4, 6, 7
"""Type ids of shapely; those from 4 on have parts."""


class CoverageSpans(NamedTuple):
    """Runs of pixels ``[row, start:stop]`` of the grid and the share of each of them that the geometry covers.

    Arrays of one length, int64 but for ``coverage`` (float64, above 0 and at most 1); disjoint, ordered by geometry, row and start.
    """

    geometry: Ints
    row: Ints
    start: Ints
    stop: Ints
    coverage: Floats


class _Edges(NamedTuple):
    """Edges that run down, in pixels from their window's corner and cut to its rows."""

    x1: Floats
    y1: Floats
    x2: Floats
    y2: Floats
    sign: Floats
    """1 where the interior lies right of the edge, -1 where it lies left."""
    line: Ints
    """The first row of the edge's window, in a count through the rows of all windows."""
    width: Floats
    """Of the edge's window."""


class _Sums(NamedTuple):
    """What the pieces of each border pixel add up to, one entry per pixel, ordered by key."""

    key: Ints
    """``line << shift | column``"""
    area: Floats
    """Of the pixel itself, in units of 2**-50 pixels."""
    height: Ints
    """For the pixels right of it, in units of 2**-50 pixels."""


def coverage_spans(geometries: Geometries, grid: Grid, windows: Ints | None = None, rule: str = "fractional") -> CoverageSpans:
    """The pixels of each geometry and how much of them it covers; see :class:`CoverageSpans`.

    ``geometries`` are in the grid's CRS; ``windows``, int64 ``[n, 4]`` of (row, col, height, width), cut the result and default to
    :func:`rasteret_sql.raster.grid.geometry_windows`; ``rule`` is one of :data:`COVERAGE_RULES`.

    Under ``fractional`` only areas count: None, empty ones, lines, points and geometries with coordinates that are not finite select
    nothing. Invalid polygons have the area that GDAL's rasteriser sees (rings even-odd, parts of a multipolygon united), except that
    a hole outside its shell, where the default window does not reach, adds nothing.
    """
    if rule not in COVERAGE_RULES:
        raise InvalidArgument(f"no rule {rule!r} for the pixels of a geometry; rules: {listing(COVERAGE_RULES)}")
    if windows is None:
        windows = geometry_windows(geometries, grid)
    if rule != "fractional":
        spans = polygon_spans(geometries, grid, windows, rule)
        return CoverageSpans(*spans, np.ones(len(spans.row)))
    found = [_spans(geometries[index], grid, windows[index], index) for index in _batches(geometries, windows)]
    if not found:
        nothing = np.empty(0, np.int64)
        return CoverageSpans(nothing, nothing, nothing, nothing, np.empty(0))
    return CoverageSpans(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _batches(geometries: Geometries, windows: Ints) -> Iterator[Ints]:
    """Indices of the geometries that have an area in their window, in batches of about :data:`_BATCH` border pixels."""
    areal = np.isin(shapely.get_type_id(geometries), (_POLYGON, _MULTIPOLYGON, _COLLECTION))
    index = np.flatnonzero(areal & (windows[:, 2] > 0) & (windows[:, 3] > 0))
    if len(index):
        size = shapely.get_num_coordinates(geometries[index]) + 2 * (windows[index, 2] + windows[index, 3])
        yield from np.split(index, np.flatnonzero(np.diff(np.cumsum(size) // _BATCH)) + 1)


def _spans(geometries: Geometries, grid: Grid, windows: Ints, index: Ints) -> CoverageSpans:
    """One batch; ``index`` are the numbers of its geometries."""
    polygons, owner = _valid_polygons(geometries)
    edges = _edges(polygons, owner, grid, windows)
    shift = int(windows[:, 3].max()).bit_length()
    row_count, pieces = _sizes(edges)
    chunk = np.cumsum(pieces) // _BATCH
    bounds = [0, *(np.flatnonzero(np.diff(chunk)) + 1).tolist(), len(chunk)]
    sums = []
    for first, stop in pairwise(bounds):
        part = slice(first, stop)
        sums.append(_add_up(*_cut(_Edges._make(column[part] for column in edges), row_count[part], shift)))
    whole = sums[0] if len(sums) == 1 else _add_up(*(np.concatenate(column) for column in zip(*sums, strict=True)))
    line_of_geometry = np.cumsum(windows[:, 2]) - windows[:, 2]
    line, start, stop_, coverage = _runs(whole, shift, line_of_geometry, windows[:, 3])
    geometry = np.searchsorted(line_of_geometry, line, side="right") - 1
    row = line - line_of_geometry[geometry] + windows[geometry, 0]
    col = windows[geometry, 1]
    return CoverageSpans(index[geometry], row, start + col, stop_ + col, coverage)


# -- polygons to edges ----------------------------------------------------------------------------------------------------------


def _valid_polygons(geometries: Geometries) -> tuple[Geometries, Ints]:
    """The single polygons of all geometries and whose they are; those of one geometry do not overlap."""
    with np.errstate(invalid="ignore"):  # GEOS compares NaN coordinates
        repair = np.flatnonzero(~shapely.is_valid(geometries) | (shapely.get_type_id(geometries) == _COLLECTION))
    if len(repair):
        geometries = geometries.copy()
        for position in repair.tolist():
            geometries[position] = _area(geometries[position])
    polygons, owner = shapely.get_parts(geometries, return_index=True)
    return polygons, owner.astype(np.int64, copy=False)


def _area(geometry: shapely.Geometry) -> shapely.Geometry | None:
    """The area of a geometry as a valid one: rings even-odd but within the shell, polygons united, lines and points left out."""
    if not np.isfinite(shapely.get_coordinates(geometry)).all():
        return None
    polygons = _polygonal(np.array([geometry], dtype=np.object_))
    shells = shapely.polygons(shapely.get_exterior_ring(polygons))
    return shapely.union_all([shapely.intersection(_even_odd(polygon), _even_odd(shell)) for polygon, shell in zip(polygons, shells, strict=True)])


def _even_odd(polygon: shapely.Geometry) -> shapely.Geometry:
    return shapely.union_all(_polygonal(np.array([shapely.make_valid(polygon)], dtype=np.object_)))


def _polygonal(geometries: Geometries) -> Geometries:
    while (shapely.get_type_id(geometries) >= _FIRST_MULTI).any():
        geometries = shapely.get_parts(geometries)
    polygons: Geometries = geometries[shapely.get_type_id(geometries) == _POLYGON]
    return polygons


def _edges(polygons: Geometries, owner: Ints, grid: Grid, windows: Ints) -> _Edges:
    """The edges that have a height within the rows of their window and do not lie right of it."""
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    geometry_of_ring = owner[polygon]
    geometry = geometry_of_ring[ring]
    x, y = _pixels(xy, grid)
    x -= windows[geometry, 1]
    y -= windows[geometry, 0]
    height, width = windows[:, 2].astype(np.float64)[geometry], windows[:, 3].astype(np.float64)[geometry]
    kept = ring[1:] == ring[:-1]
    kept &= y[1:] != y[:-1]
    kept &= np.minimum(x[1:], x[:-1]) < width[1:]
    kept &= np.minimum(y[1:], y[:-1]) < height[1:]
    kept &= np.maximum(y[1:], y[:-1]) > 0
    first = np.flatnonzero(kept)

    a, b, _, d, e, _ = grid.transform
    with np.errstate(over="ignore", invalid="ignore"):  # GEOS multiplies coordinates
        counter_clockwise = shapely.is_ccw(rings)
    inner_left = counter_clockwise == (np.diff(polygon, prepend=-1) != 0)  # a shell counter-clockwise, a hole clockwise
    ring_sign = np.where(inner_left == (a * e - b * d < 0), 1.0, -1.0)  # rows usually count against y
    down = y[first] < y[first + 1]
    top, bottom = np.where(down, first, first + 1), np.where(down, first + 1, first)
    sign = np.where(down, ring_sign[ring[first]], -ring_sign[ring[first]])
    x1, y1, x2, y2 = x[top], y[top], x[bottom], y[bottom]
    slope = (x2 - x1) / (y2 - y1)
    height = height[first]
    x1, y1, x2, y2 = (
        np.where(y1 < 0, x1 - y1 * slope, x1),
        np.maximum(y1, 0.0),
        np.where(y2 > height, x1 + (height - y1) * slope, x2),
        np.minimum(y2, height),
    )
    line_of_geometry = np.cumsum(windows[:, 2]) - windows[:, 2]
    return _Edges(x1, y1, x2, y2, sign, line_of_geometry[geometry[first]], width[first])


def _pixels(xy: Floats, grid: Grid) -> tuple[Floats, Floats]:
    """Pixel coordinates (column, row) of the grid, on the pixel line where a coordinate cannot be told from it.

    They are taken from the grid's corner, which loses least: whoever's corners are pixels' corners gets whole numbers.
    """
    a, b, c, d, e, f = grid.transform
    x, y = xy[:, 0] - c, xy[:, 1] - f
    if grid.axis_aligned:
        x, y = x / a, y / e
    else:
        determinant = a * e - b * d
        x, y = (e * x - b * y) / determinant, (a * y - d * x) / determinant
    pixel = min(np.hypot(a, d), np.hypot(b, e))
    tolerance = max(_SNAP, 4 * np.finfo(np.float64).eps * max(map(abs, grid.bounds)) / pixel)
    return _snapped(x, tolerance), _snapped(y, tolerance)


def _snapped(x: Floats, tolerance: float) -> Floats:
    x = np.clip(x, -_FAR, _FAR)
    whole = np.rint(x)
    return np.where(np.abs(x - whole) <= tolerance, whole, x)


# -- edges to border pixels ------------------------------------------------------------------------------------------------------


def _sizes(edges: _Edges) -> tuple[Ints, Ints]:
    """The rows each edge runs through, and the pieces it will have at most."""
    rows = np.ceil(edges.y2) - np.floor(edges.y1)
    columns = np.clip(np.maximum(edges.x1, edges.x2), -1.0, edges.width) - np.clip(np.minimum(edges.x1, edges.x2), -1.0, edges.width)
    return rows.astype(np.int64), (rows + columns + 2).astype(np.int64)


def _cut(edges: _Edges, row_count: Ints, shift: int) -> tuple[Ints, Floats, Ints]:
    """All pieces of the edges: key, area and height as in :class:`_Sums`."""
    x1, y1, x2, y2, sign, line, width = edges
    last = np.cumsum(row_count) - 1
    first = last - row_count + 1
    top = np.floor(y1)
    slope = (x2 - x1) / (y2 - y1)
    number = np.arange(int(row_count.sum()))

    # One part per edge and row: it ends at the row line below, or where the edge does.
    end = number - np.repeat(first, row_count) + np.repeat(top + 1 - y1, row_count)
    end *= np.repeat(slope, row_count)
    end += np.repeat(x1, row_count)
    end[last] = x2
    begin = np.empty_like(end)
    begin[1:] = end[:-1]
    begin[first] = x1
    height = np.full(len(end), _UNIT)
    height[last] = np.rint((y2 - np.ceil(y2) + 1) * _UNIT)
    height[first] -= np.rint((y1 - top) * _UNIT)
    height *= np.repeat(sign, row_count)
    row_key = (number + np.repeat(line + top.astype(np.int64) - first, row_count)) << shift

    # Column -1 is all that lies left of the window; what lies right of it has no effect.
    low, high = np.minimum(begin, end), np.maximum(begin, end)
    width = np.repeat(width, row_count)
    left = np.maximum(np.floor(low), -1.0)
    right = np.minimum(np.maximum(np.ceil(high) - 1, left), width - 1)
    count = np.maximum(right - left + 1, 0.0).astype(np.int64)
    return _cut_columns(low, high, height, left, row_key, count)


def _cut_columns(low: Floats, high: Floats, height: Floats, left: Floats, row_key: Ints, count: Ints) -> tuple[Ints, Floats, Ints]:
    """Parts of one row, from x ``low`` to ``high`` and over ``count`` columns from ``left`` on, to pieces of one pixel."""
    first = np.cumsum(count) - count
    column = np.arange(int(count.sum())) + np.repeat(left - first, count)
    whole = np.repeat(height, count)
    run = high - low
    per_column = np.repeat(np.divide(height, run, out=np.zeros_like(run), where=run > 0), count)
    low, high = np.repeat(low, count), np.repeat(high, count)
    begin, end = np.maximum(low, column), np.minimum(high, column + 1)
    reached = np.where(end == high, whole, np.rint((end - low) * per_column))
    piece = reached.copy()
    piece[1:] -= reached[:-1]
    first = first[count > 0]
    piece[first] = reached[first]
    area = piece * np.where(column < 0, 1.0, column + 1 - 0.5 * (begin + end))
    key = np.repeat(row_key, count) + np.maximum(column, 0.0).astype(np.int64)
    return key, area, piece.astype(np.int64)


def _add_up(key: Ints, area: Floats, height: Ints) -> _Sums:
    if not len(key):
        return _Sums(key, area, height)
    order = np.argsort(key)
    key = key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    return _Sums(key[first], np.add.reduceat(area[order], first), np.add.reduceat(height[order], first))


# -- border pixels to runs -------------------------------------------------------------------------------------------------------


def _runs(sums: _Sums, shift: int, line_of_geometry: Ints, widths: Ints) -> tuple[Ints, Ints, Ints, Floats]:
    """Lines, starts, stops and coverages: every border pixel, and the pixels from it to the next one of its line."""
    key, area, height = sums
    if not len(key):
        return key, key, key, area
    line, column = key >> shift, key & ((1 << shift) - 1)
    new_line = np.diff(line, prepend=-1) != 0
    reach = np.cumsum(height)  # may wrap around: only differences within a line count
    at_start = (reach - height)[new_line]
    after = reach - at_start[np.cumsum(new_line) - 1]
    border = ((after - height) + area) / _UNIT
    border = np.where(border > 1 - _NOTHING, 1.0, np.where(border < _NOTHING, 0.0, border))
    between = after / _UNIT
    between = np.where(between > 1 - _SNAP, 1.0, np.where(between < _SNAP, 0.0, between))
    until = np.empty_like(column)
    until[:-1] = column[1:]
    ends = np.append(new_line[1:], True)
    until[ends] = widths[np.searchsorted(line_of_geometry, line[ends], side="right") - 1]

    start = np.stack([column, column + 1], axis=1).ravel()
    stop = np.stack([column + 1, until], axis=1).ravel()
    coverage = np.stack([border, between], axis=1).ravel()
    some = np.flatnonzero((coverage > 0) & (stop > start))
    line, start, stop, coverage = line[some >> 1], start[some], stop[some], coverage[some]
    if not len(line):
        return line, start, stop, coverage
    joins = (line[1:] == line[:-1]) & (start[1:] == stop[:-1]) & (coverage[1:] == coverage[:-1])
    first = np.flatnonzero(np.append(True, ~joins))
    last = np.append(first[1:], len(line)) - 1
    return line[first], start[first], stop[last], coverage[first]
