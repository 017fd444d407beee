"""Which pixels of a window a geometry selects, exactly as GDAL's rasteriser (``rasterio.features.geometry_mask``) decides it.

Polygons under the centre rule are worked out here, all polygons at once: every edge is cut at the pixel-centre lines it crosses, the
crossings of a line are sorted, and each pair of them is a span of selected pixels. All-touched masks, lines and points go to GDAL.

The centre rule in full (GDAL, ``alg/llrasterize.cpp``, ``GDALdllImageFilledPolygon``; the tests hold it against GDAL itself):

- Vertices are moved to pixel coordinates with the inverse transform of the *window*. An edge crosses the centre line ``row + 0.5``
  when ``y1 <= row + 0.5 < y2``, at ``(row + 0.5 - y1) * (x2 - x1) / (y2 - y1) + x1``; that is rounded by ``floor(x + 0.5)``, so
  a centre exactly on a left edge is in, and one exactly on a right edge is out.
- The rings of one polygon share one even-odd count; the polygons of a multipolygon are filled one by one (their union).
- A horizontal edge exactly on a centre line is in when, with its ring taken clockwise in the geometry's CRS, it runs to the left
  (in a north-up image the edges below the interior).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import shapely

from rasteret_sql.errors import InvalidArgument, listing
from rasteret_sql.raster.grid import Bools, Floats, Geometries, Grid, Ints, geometry_windows, window_origins

if TYPE_CHECKING:
    from collections.abc import Iterator

RULES: Final = ("center", "all_touched", "window")
"""``center``: pixels whose centre lies in the polygon (for lines Bresenham's); ``all_touched``: every pixel met; ``window``: all pixels."""

_BATCH: Final = 1 << 22
"""Pixels of the windows worked on at once: bounds the memory of the arrays in between, and of the buffer that masks share."""
_GDAL_BATCH: Final = 256
"""Geometries whose coordinates are Python lists at once, on their way to GDAL."""
_POLYGON, _FIRST_MULTI, _MULTIPOLYGON = 3, 4, 6
"""Type ids of shapely; those from 4 on have parts."""


class Spans(NamedTuple):
    """Selected pixels as runs ``[row, start:stop]``: int64 arrays of one length, disjoint, ordered by geometry, row and start."""

    geometry: Ints
    row: Ints
    start: Ints
    stop: Ints


class _Edges(NamedTuple):
    """Edges of all rings in pixel coordinates of their windows, in the direction of the ring."""

    x1: Floats
    y1: Floats
    x2: Floats
    y2: Floats
    ring: Ints
    part: Ints
    """Index of the polygon the ring belongs to."""


def geometry_masks(geometries: Geometries, grid: Grid, windows: Ints, rule: str) -> list[Bools]:
    """Per geometry a bool array (height, width) of its window, True where the pixel is selected.

    ``geometries`` are in the grid's CRS (None and empty ones select nothing); ``windows`` is int64 ``[n, 4]`` of (row, col, height, width)
    as :func:`rasteret_sql.raster.grid.geometry_windows` gives them; ``rule`` is one of :data:`RULES`. Masks of one call share memory.
    """
    _check_rule(rule)
    if rule == "window":
        chosen = ~(shapely.is_missing(geometries) | shapely.is_empty(geometries))
        return [np.full((height, width), value) for (height, width), value in zip(windows[:, 2:].tolist(), chosen, strict=True)]
    masks: list[Bools | None] = [None] * len(windows)
    for index, spans in _fill(geometries, grid, windows, rule):
        for position, mask in zip(index.tolist(), _paint(spans, windows[index]), strict=True):
            masks[position] = mask
    elsewhere = np.array([position for position, mask in enumerate(masks) if mask is None], dtype=np.int64)
    burnt = iter(_burn(geometries[elsewhere], grid, windows[elsewhere], all_touched=rule == "all_touched"))
    return [next(burnt) if mask is None else mask for mask in masks]


def polygon_spans(geometries: Geometries, grid: Grid, windows: Ints | None = None, rule: str = "center") -> Spans:
    """The selection of :func:`geometry_masks` as spans, in rows and columns of the grid; lines and points are welcome too.

    ``windows`` default to :func:`rasteret_sql.raster.grid.geometry_windows`. Under the centre rule no mask is ever made for polygons.
    """
    _check_rule(rule)
    if windows is None:
        windows = geometry_windows(geometries, grid)
    found: list[Spans] = []
    pending = np.ones(len(windows), dtype=bool)
    for index, spans in _fill(geometries, grid, windows, rule):
        found.append(spans._replace(geometry=index[spans.geometry]))
        pending[index] = False
    elsewhere = np.flatnonzero(pending)
    masks = geometry_masks(geometries[elsewhere], grid, windows[elsewhere], rule)
    found.extend(_mask_spans(position, mask) for position, mask in zip(elsewhere.tolist(), masks, strict=True))
    if not found:
        return Spans(*(np.empty(0, np.int64) for _ in Spans._fields))
    joined = [np.concatenate(column) for column in zip(*found, strict=True)]
    order = np.argsort(joined[0], kind="stable")
    geometry, row, start, stop = (column[order] for column in joined)
    return Spans(geometry, row + windows[geometry, 0], start + windows[geometry, 1], stop + windows[geometry, 1])


def _check_rule(rule: str) -> None:
    if rule not in RULES:
        raise InvalidArgument(f"no rule {rule!r} for the pixels of a geometry; rules: {listing(RULES)}")


# -- the centre rule for polygons ---------------------------------------------------------------------------------------------


def _fill(geometries: Geometries, grid: Grid, windows: Ints, rule: str) -> Iterator[tuple[Ints, Spans]]:
    """Batches of ``(indices, spans)`` for the polygons that are decided here; what no batch names is left to GDAL.

    Spans are in rows and columns of the windows, their geometry counts within the batch.
    """
    if rule != "center":
        return
    polygonal = np.flatnonzero(np.isin(shapely.get_type_id(geometries), (_POLYGON, _MULTIPOLYGON)))
    batch_number = np.cumsum(windows[polygonal, 2] * windows[polygonal, 3]) // _BATCH
    for index in np.split(polygonal, np.flatnonzero(np.diff(batch_number)) + 1):
        spans, doubtful = _polygon_spans(geometries[index], grid, windows[index])
        if doubtful.any():
            renumbered = np.cumsum(~doubtful) - 1
            kept = ~doubtful[spans.geometry]
            spans = Spans(*(column[kept] for column in spans))
            spans = spans._replace(geometry=renumbered[spans.geometry])
        yield index[~doubtful], spans


def _polygon_spans(geometries: Geometries, grid: Grid, windows: Ints) -> tuple[Spans, Bools]:
    """Spans of each (multi)polygon within its window, and the geometries for which they are in doubt."""
    polygons, owner = shapely.get_parts(geometries, return_index=True)
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    edges = _edges(rings, polygon, owner, grid, windows)
    heights, widths = windows[owner, 2], windows[owner, 3]
    top, count = _lines_met(edges, heights)
    doubtful = np.bincount(owner[edges.part], count, minlength=len(geometries)) > _BATCH
    count[doubtful[owner[edges.part]]] = 0
    line_of_part = np.cumsum(heights) - heights
    shift = int(windows[:, 3].max(initial=0)).bit_length()

    key = np.sort(_crossings(edges, top, count, widths, line_of_part, shift))
    line, start, stop = key[0::2] >> shift, key[0::2] & ((1 << shift) - 1), key[1::2] & ((1 << shift) - 1)
    flat, doubtful_rings = _flat_edges(edges, heights, rings)
    doubtful[owner[polygon[doubtful_rings]]] = True

    line_of_geometry = np.cumsum(windows[:, 2]) - windows[:, 2]
    if len(polygons) != len(geometries) or len(flat):
        part = np.searchsorted(line_of_part, line, side="right") - 1
        line += (line_of_geometry[owner] - line_of_part)[part]
        line, start, stop = _with_flat_edges(edges, flat, line_of_geometry[owner], widths, (line, start, stop))
        line, start, stop = _union(line, start, stop, shift)
    some = stop > start
    line, start, stop = line[some], start[some], stop[some]
    geometry = np.searchsorted(line_of_geometry, line, side="right") - 1
    return Spans(geometry, line - line_of_geometry[geometry], start, stop), doubtful


def _edges(rings: Geometries, polygon: Ints, owner: Ints, grid: Grid, windows: Ints) -> _Edges:
    """All edges; those of polygons with coordinates that are not finite are left out."""
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    with np.errstate(invalid="ignore", over="ignore"):
        x, y = _window_pixels(xy, owner[polygon][ring], grid, windows)
    first = np.flatnonzero(ring[1:] == ring[:-1])
    part = polygon[ring[first]]
    broken = ~(np.isfinite(x) & np.isfinite(y))
    if broken.any():
        kept = ~np.isin(owner[part], owner[polygon[ring[broken]]])
        first, part = first[kept], part[kept]
    return _Edges(x[first], y[first], x[first + 1], y[first + 1], ring[first], part)


def _window_pixels(xy: Floats, owner: Ints, grid: Grid, windows: Ints) -> tuple[Floats, Floats]:
    """Coordinates to pixel coordinates of their windows, rounding as GDAL does (``GDALInvGeoTransform``, ``GDALGenImgProjTransform``)."""
    a, b, _, d, e, _ = grid.transform
    c, f = window_origins(grid, windows)
    if b == 0 and d == 0:
        return (-c / a)[owner] + xy[:, 0] * (1.0 / a), (-f / e)[owner] + xy[:, 1] * (1.0 / e)
    scale = 1.0 / (a * e - b * d)
    col0, row0 = (b * f - c * e) * scale, (-a * f + c * d) * scale
    return (
        col0[owner] + xy[:, 0] * (e * scale) + xy[:, 1] * (-b * scale),
        row0[owner] + xy[:, 0] * (-d * scale) + xy[:, 1] * (a * scale),
    )


def _lines_met(edges: _Edges, heights: Ints) -> tuple[Ints, Ints]:
    """First row whose centre line each edge crosses within its window, and the number of such rows."""
    height = heights[edges.part]
    top = np.clip(np.ceil(np.minimum(edges.y1, edges.y2) - 0.5), 0, height).astype(np.int64)
    bottom = np.clip(np.ceil(np.maximum(edges.y1, edges.y2) - 0.5), 0, height).astype(np.int64)
    return top, bottom - top


def _crossings(edges: _Edges, top: Ints, count: Ints, widths: Ints, line_of_part: Ints, shift: int) -> Ints:
    """Every crossing of an edge and a centre line, as ``line << shift | column``; lines count through the windows of all parts."""
    meets = np.flatnonzero(count)
    x1, y1, x2, y2, _, part = (column[meets] for column in edges)
    top, count = top[meets], count[meets]
    down = y1 < y2
    low_x, low_y = np.where(down, x1, x2), np.where(down, y1, y2)
    run, rise = np.where(down, x2 - x1, x1 - x2), np.abs(y2 - y1)

    edge = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(edge)) + (top - np.cumsum(count) + count)[edge]
    x = (row + 0.5 - low_y[edge]) * run[edge] / rise[edge] + low_x[edge]
    column = np.clip(np.floor(x + 0.5), 0, widths[part][edge]).astype(np.int64)
    keys: Ints = (line_of_part[part][edge] + row) << shift | column
    return keys


def _flat_edges(edges: _Edges, heights: Ints, rings: Geometries) -> tuple[Ints, Ints]:
    """Horizontal edges on centre lines that select pixels, and the rings whose sense of rotation cannot be told for certain.

    GDAL finds the rotation at the lowest vertex (``OGRLineString::isClockwise``). For a valid ring that is the sign of its area; for others the
    answer depends on the vertex, and they are left to GDAL, as are rings too small for their coordinates.
    """
    x1, y1, x2, y2, ring, part = edges
    flat = np.flatnonzero((y1 == y2) & (x1 != x2) & (y1 > 0) & (y1 < heights[part]) & (np.floor(y1) + 0.5 == y1))
    if not len(flat):
        return flat, flat
    touched, which = np.unique(ring[flat], return_inverse=True)
    polygons = shapely.polygons(rings[touched])
    largest = np.abs(shapely.bounds(polygons)).max(axis=1)
    certain = shapely.is_valid(polygons) & (shapely.area(polygons) > 1e-12 * largest * shapely.length(polygons))
    counter_clockwise = shapely.is_ccw(rings[touched])[which]
    return flat[(x1[flat] > x2[flat]) != counter_clockwise], touched[~certain]


def _with_flat_edges(edges: _Edges, flat: Ints, line_of_part: Ints, widths: Ints, spans: tuple[Ints, Ints, Ints]) -> tuple[Ints, Ints, Ints]:
    part = edges.part[flat]
    first, last = np.minimum(edges.x1[flat], edges.x2[flat]), np.maximum(edges.x1[flat], edges.x2[flat])
    return (
        np.concatenate([spans[0], line_of_part[part] + np.floor(edges.y1[flat]).astype(np.int64)]),
        np.concatenate([spans[1], np.clip(np.floor(first + 0.5), 0, widths[part]).astype(np.int64)]),
        np.concatenate([spans[2], np.clip(np.floor(last + 0.5), 0, widths[part]).astype(np.int64)]),
    )


def _union(line: Ints, start: Ints, stop: Ints, shift: int) -> tuple[Ints, Ints, Ints]:
    """Overlapping and touching spans of a line become one; sorted by line and start."""
    if not len(line):
        return line, start, stop
    order = np.argsort(line << shift | start, kind="stable")
    begin, reach = (line << shift | start)[order], np.maximum.accumulate((line << shift | stop)[order])
    first = np.flatnonzero(np.concatenate([[True], begin[1:] > reach[:-1]]))
    last = np.concatenate([first[1:] - 1, [len(begin) - 1]])
    column = (1 << shift) - 1
    return begin[first] >> shift, begin[first] & column, reach[last] & column


def _paint(spans: Spans, windows: Ints) -> list[Bools]:
    """The masks of windows from their spans, in one buffer."""
    height, width = windows[:, 2], windows[:, 3]
    stops = np.cumsum(height * width)
    line = (stops - height * width)[spans.geometry] + spans.row * width[spans.geometry]
    bounds = np.stack([line + spans.start, line + spans.stop], axis=1).ravel()
    total = int(stops[-1]) if len(stops) else 0
    runs = np.diff(bounds, prepend=0, append=total)
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return [
        pixels[stop - rows * columns : stop].reshape(rows, columns)
        for stop, rows, columns in zip(stops.tolist(), height.tolist(), width.tolist(), strict=True)
    ]


def _mask_spans(geometry: int, mask: Bools) -> Spans:
    edges = np.diff(mask.astype(np.int8), axis=1, prepend=0, append=0)
    row, start = np.nonzero(edges == 1)
    stop = np.nonzero(edges == -1)[1]
    return Spans(np.full(len(row), geometry), row, start, stop)


# -- everything else: GDAL ----------------------------------------------------------------------------------------------------


def _burn(geometries: Geometries, grid: Grid, windows: Ints, *, all_touched: bool) -> list[Bools]:
    """Masks by ``rasterio.features.rasterize``, one geometry after the other, in one GDAL environment."""
    if not len(geometries):
        return []
    import rasterio  # noqa: PLC0415  (slow to import, and polygons under the centre rule do without)
    from affine import Affine as Transform  # noqa: PLC0415
    from rasterio.features import rasterize  # noqa: PLC0415

    a, b, _, d, e, _ = grid.transform
    xs, ys = window_origins(grid, windows)
    masks = []
    with rasterio.Env():
        for first in range(0, len(geometries), _GDAL_BATCH):
            batch = slice(first, first + _GDAL_BATCH)
            sizes, origins = windows[batch, 2:].tolist(), zip(xs[batch].tolist(), ys[batch].tolist(), strict=True)
            for shapes, (height, width), (x, y) in zip(_geojson(geometries[batch]), sizes, origins, strict=True):
                pixels = np.zeros((height, width), dtype=np.uint8)
                if shapes and height and width:
                    rasterize(shapes, out=pixels, transform=Transform(a, b, x, d, e, y), all_touched=all_touched)
                masks.append(pixels.view(bool))
    return masks


def _geojson(geometries: Geometries) -> list[list[dict[str, Any]]]:
    """The single points, lines and polygons of each geometry; none where it is missing, empty or has coordinates that are not finite.

    rasterio takes collections and multipolygons apart likewise (collections one level deep).
    """
    parts, owner = geometries, np.arange(len(geometries))
    while (shapely.get_type_id(parts) >= _FIRST_MULTI).any():
        parts, index = shapely.get_parts(parts, return_index=True)
        owner = owner[index]
    polygonal = shapely.get_type_id(parts) == _POLYGON
    rings, polygon = shapely.get_rings(parts[polygonal], return_index=True)
    curves = np.concatenate([rings, parts[~polygonal]])
    part = np.concatenate([np.flatnonzero(polygonal)[polygon], np.flatnonzero(~polygonal)])
    xy, curve = shapely.get_coordinates(curves, return_index=True)
    stops = np.cumsum(np.bincount(curve, minlength=len(curves))).tolist()
    coordinates = xy.tolist()

    pieces: list[list[list[list[float]]]] = [[] for _ in parts]
    for number, start, stop in zip(part.tolist(), [0, *stops], stops, strict=False):
        if stop > start:
            pieces[number].append(coordinates[start:stop])
    shapes: list[list[dict[str, Any]]] = [[] for _ in geometries]
    for shape, piece, number in zip(parts, pieces, owner.tolist(), strict=True):
        if piece:
            kind = shape.geom_type
            shapes[number].append({"type": kind, "coordinates": piece if kind == "Polygon" else piece[0][0] if kind == "Point" else piece[0]})
    for number in np.unique(owner[part[curve[~np.isfinite(xy).all(axis=1)]]]).tolist():
        shapes[number] = []
    return shapes
