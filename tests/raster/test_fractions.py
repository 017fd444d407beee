"""Exact coverage against exactextract, against GEOS' intersections pixel by pixel, and against what must hold for any polygon."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from shapely import MultiPolygon, Polygon, box

from rasteret_sql.errors import InvalidArgument
from rasteret_sql.raster import fractions
from rasteret_sql.raster.coverage import polygon_spans
from rasteret_sql.raster.fractions import coverage_spans
from rasteret_sql.raster.grid import Grid, geometry_windows

ROWS, COLUMNS = 20, 24
TRANSFORMS = [
    (1.0, 0.0, 0.0, 0.0, -1.0, 20.0),
    (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    (-2.0, 0.0, 5.0, 0.0, 2.0, -9.0),
    (10.0, 0.0, 399960.0, 0.0, -10.0, 5000040.0),
    (0.6, 0.0, 399960.6, 0.0, -0.6, 4500000.2),
    (0.00026949458523585647, 0.0, -56.1234567, 0.0, -0.00026949458523585647, -25.7654321),
    (6.0, 8.0, 1000.0, 8.0, -6.0, 3000.0),
    (0.0, 5.0, 10.0, 5.0, 0.0, 20.0),
    (7.1, 0.3, 500000.0, 0.4, -6.9, 4000000.0),
]
"""North-up, south-up, mirrored, in metres far away, in degrees, rotated, transposed, sheared."""
GRIDS = [Grid(transform, COLUMNS, ROWS) for transform in TRANSFORMS]
NORTH_UP = [grid for grid in GRIDS if grid.axis_aligned and grid.transform[0] > 0 > grid.transform[4]]

SHAPES = {
    "pixels": box(3, 4, 9, 11),
    "half pixels": box(3.5, 4.5, 9.5, 11.5),
    "inside one pixel": box(3.2, 4.1, 3.7, 4.9),
    "flat, in one row": box(2.5, 4.25, 15.25, 4.75),
    "thin, in one column": box(4.25, 2.5, 4.75, 15.25),
    "along a row line": box(2.5, 3.9, 15.25, 4.1),
    "triangle": Polygon([(2.3, 1.7), (19.1, 8.4), (7.7, 17.9)]),
    "tiny triangle": Polygon([(5.4, 5.4), (5.4001, 5.4), (5.4, 5.4001)]),
    "sliver over many pixels": Polygon([(1.1, 1.3), (22.7, 15.1), (22.7, 15.1001)]),
    "diamond on pixel corners": Polygon([(10, 2), (18, 10), (10, 18), (2, 10)]),
    "vertices on pixel lines": Polygon([(3, 3.5), (7.5, 3), (12, 8.25), (7, 12), (3, 9)]),
    "hole": Polygon(box(2.2, 2.2, 17.7, 16.6).exterior, [box(5.1, 5.3, 9.9, 12.2).exterior]),
    "hole of pixels": Polygon(box(2, 2, 17, 16).exterior, [box(5, 5, 9, 12).exterior]),
    "hole that touches the shell": Polygon([(2, 2), (16, 2), (16, 16), (2, 16)], [[(2, 9), (9, 5), (9, 12)]]),
    "holes in one pixel": Polygon(box(2, 2, 17, 16).exterior, [box(5.1, 5.1, 5.3, 5.9).exterior, box(5.5, 5.1, 5.9, 5.2).exterior]),
    "other way round": shapely.reverse(Polygon(box(2.2, 2.2, 17.7, 16.6).exterior, [box(5.1, 5.3, 9.9, 12.2).exterior])),
    "parts": MultiPolygon([box(1.5, 1.5, 4.2, 5.1), Polygon([(8, 8), (14.5, 9.1), (9.3, 15.7)])]),
    "parts in one pixel": MultiPolygon([box(5.1, 5.1, 5.3, 5.9), box(5.5, 5.1, 5.9, 5.9)]),
    "part within a hole": MultiPolygon([Polygon(box(2, 2, 17, 16).exterior, [box(5.5, 5.5, 12.5, 12.5).exterior]), box(7.3, 7.3, 9.1, 10.2)]),
    "parts that meet in a point": MultiPolygon([box(2.5, 2.5, 6.5, 6.5), box(6.5, 6.5, 10.5, 10.5)]),
    "over the left edge": Polygon([(-5.5, 3.3), (6.2, 9.9), (-7.1, 15.2)]),
    "over the right edge": Polygon([(31.5, 3.3), (15.2, 9.9), (28.1, 15.2)]),
    "over the top": Polygon([(3.3, -8.2), (17.9, -3.1), (9.9, 7.7)]),
    "over the bottom": Polygon([(3.3, 28.2), (17.9, 23.1), (9.9, 12.7)]),
    "over a corner": Polygon([(20.3, 25.5), (12.2, 14.1), (29.9, 11.3)]),
    "all around": Polygon([(-30, -40), (70, -35), (60, 55), (-45, 48)]),
    "all around, with a hole": Polygon(box(-1e6, -1e6, 1e6, 1e6).exterior, [box(4.4, 5.5, 15.1, 13.3).exterior]),
    "a comb from the left": shapely.unary_union([box(-9, -9, -3, 30), *(box(-5, i + 0.2, 21.4 - i, i + 0.7) for i in range(0, 20, 2))]),
    "a comb from the right": shapely.unary_union([box(27, -9, 33, 30), *(box(21.4 - i, i + 0.2, 29, i + 0.7) for i in range(0, 20, 2))]),
    "outside": box(-9.5, -9.5, -2.5, -3.5),
    "outside, along the edge": box(COLUMNS, 3, COLUMNS + 4, 9),
    "the raster": box(0, 0, COLUMNS, ROWS),
    "bow-tie": Polygon([(2, 2), (14, 15), (14, 2), (2, 15)]),
    "touches itself": Polygon([(2, 2), (8, 8), (14, 2), (14, 14), (8, 8), (2, 14)]),
    "crosses itself": Polygon([(2, 2), (17, 2), (17, 12), (6, 12), (6, 5.5), (12, 5.5), (12, 17), (2, 17)]),
    "hole outside": Polygon(box(2, 2, 8, 8).exterior, [box(6.5, 6.5, 12.5, 12.5).exterior]),
    "parts that overlap": MultiPolygon([box(2.5, 2.5, 9.5, 9.5), box(6.5, 5.5, 15.5, 13.5)]),
    "parts that are the same": MultiPolygon([box(2.5, 2.5, 9.5, 9.5)] * 3),
    "parts side by side": MultiPolygon([box(2.5, 2.5, 9.5, 9.5), box(9.5, 2.5, 12.25, 9.5)]),
    "spike": Polygon([(2, 2), (9, 2), (9, 5), (19, 5), (9, 5), (9, 11.5), (2, 11.5)]),
    "collection": shapely.GeometryCollection([box(2.5, 2.5, 9.5, 9.5), shapely.LineString([(0, 0), (20, 20)]), box(6.5, 5.5, 15.5, 13.5)]),
}
VALID = {name: shape for name, shape in SHAPES.items() if shape.is_valid and shape.geom_type != "GeometryCollection"}


def in_grid(geometries, grid: Grid):
    """From pixel coordinates to those of the grid."""
    return shapely.transform(np.asarray(geometries, dtype=object), lambda xy: np.stack(grid.to_xy(xy[:, 0], xy[:, 1]), axis=1))


def objects(*geometries):
    array = np.empty(len(geometries), dtype=object)
    array[:] = geometries
    return array


def dense(spans, count: int, grid: Grid):
    """Coverage of every pixel, [geometry, row, col]; checks on the way what :class:`CoverageSpans` promises."""
    assert [column.dtype for column in spans] == [np.int64] * 4 + [np.float64]
    assert (spans.start < spans.stop).all()
    assert (spans.coverage > 0).all()
    assert (spans.coverage <= 1).all()
    line = spans.geometry * grid.height + spans.row
    assert (np.diff(line) >= 0).all()
    assert (spans.start[1:] >= spans.stop[:-1])[np.diff(line) == 0].all()
    out = np.zeros((count, grid.height, grid.width))
    for geometry, row, start, stop, coverage in zip(*spans, strict=True):
        assert start >= 0
        assert stop <= grid.width
        out[geometry, row, start:stop] = coverage
    return out


def area_of(geometry):
    """Rings even-odd within the shell, polygons united, by GEOS: lines that are left over have no area."""
    polygons = [part for part in shapely.get_parts(geometry) if part.geom_type == "Polygon"]
    whole = [shapely.make_valid(Polygon(polygon.exterior)) for polygon in polygons]
    holes = [[shapely.make_valid(Polygon(ring)) for ring in polygon.interiors] for polygon in polygons]
    return shapely.union_all([shell.difference(shapely.union_all(inside)) for shell, inside in zip(whole, holes, strict=True)])


def by_geos(geometry, rows: int = ROWS, columns: int = COLUMNS):
    """Coverage of every pixel by a geometry in pixel coordinates."""
    row, column = np.mgrid[:rows, :columns]
    return shapely.area(shapely.intersection(box(column, row, column + 1, row + 1), area_of(geometry)))


def by_counting(rings, rows: int = ROWS, columns: int = COLUMNS, side: int = 32):
    """Coverage of every pixel by the union of even-odd rings: the share of ``side`` × ``side`` points in it that lie in one of them."""
    y, x = ((np.arange(size * side) + 0.4321) / side for size in (rows, columns))
    inside = np.zeros((len(y), len(x)), dtype=bool)
    for ring in rings:
        odd = np.zeros_like(inside)
        for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]], strict=True):
            lines = np.flatnonzero((y1 <= y) != (y2 <= y))
            if len(lines):
                odd[lines] ^= x >= (x1 + (y[lines] - y1) * ((x2 - x1) / (y2 - y1)))[:, None]
        inside |= odd
    return inside.reshape(rows, side, columns, side).mean(axis=(1, 3))


def by_exactextract(geometries, grid: Grid):
    """Coverage of every pixel, float32 as exactextract has it; the grid is north-up."""
    source = NumPyRasterSource(np.ones((grid.height, grid.width)), *grid.bounds)
    features = [
        {"type": "Feature", "id": number, "geometry": shapely.geometry.mapping(geometry), "properties": {}}
        for number, geometry in enumerate(geometries)
    ]
    out = np.zeros((len(features), grid.height * grid.width))
    for coverage, found in zip(out, exact_extract(source, features, ["coverage", "cell_id"]), strict=True):
        coverage[found["properties"]["cell_id"]] = found["properties"]["coverage"]
    return out.reshape(len(features), grid.height, grid.width)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: str(grid.transform))
def test_every_pixel_like_geos(grid: Grid):
    geometries = in_grid(list(SHAPES.values()), grid)
    found = dense(coverage_spans(geometries, grid), len(SHAPES), grid)
    for (name, shape), coverage in zip(SHAPES.items(), found, strict=True):
        np.testing.assert_allclose(coverage, by_geos(shape), atol=2e-7, rtol=0, err_msg=name)


@pytest.mark.parametrize("grid", NORTH_UP, ids=lambda grid: str(grid.transform))
def test_every_pixel_like_exactextract(grid: Grid):
    geometries = in_grid(list(VALID.values()), grid)
    found = dense(coverage_spans(geometries, grid), len(geometries), grid)
    for name, coverage, expected in zip(VALID, found, by_exactextract(geometries, grid), strict=True):
        if name == "diamond on pixel corners" and grid.transform[0] < 0.1:
            expected[[6, 9], [13, 16]] = 1  # exactextract 0.3.0 has 0: an edge meets only a corner of these, and GEOS finds them whole
        np.testing.assert_allclose(coverage, expected, atol=1e-5, rtol=0, err_msg=name)


@pytest.mark.parametrize("name", SHAPES)
def test_pixels_that_are_not_met_are_not_named(name: str):
    shape = SHAPES[name]
    found = dense(coverage_spans(objects(shape), GRIDS[1]), 1, GRIDS[1])[0]
    assert ((found > 0) == (by_geos(shape) > 1e-13)).all()
    assert ((found == 1) == (by_geos(shape) > 1 - 1e-13)).all()


NUMBERS = st.floats(-8, 32, allow_nan=False, width=32) | st.integers(-8, 32).map(float) | st.integers(-16, 64).map(lambda n: n / 2)
RINGS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=3, max_size=9)
FRACTIONS = st.integers(-8 * 64, 32 * 64).map(lambda n: n / 64)
SIXTY_FOURTHS = st.lists(st.tuples(FRACTIONS.map(lambda x: x + 0.0037), FRACTIONS.map(lambda y: y + 0.0061)), min_size=3, max_size=9)


@settings(max_examples=150, deadline=None)
@given(rings=st.lists(RINGS, min_size=1, max_size=3), number=st.integers(0, len(GRIDS) - 1))
@example(rings=[[(0.0, 0.0), (3.0, 15.0), (-5.0, 3.0), (1.0, 0.0)], [(3.0, 0.0), (0.0, 13.0), (-5.0, 3.0), (3.0, 15.0)]], number=0)
def test_any_rings_like_geos(rings, number: int):
    grid, shape = GRIDS[number], MultiPolygon([Polygon(ring) for ring in rings])
    found = dense(coverage_spans(in_grid([shape], grid), grid), 1, grid)[0]
    # Whether almost flat rings cross themselves hangs on the last digit, which the way to the grid's coordinates changes.
    doubtful = np.abs(found - by_geos(shape)) > 1e-6
    if doubtful.any():  # GEOS loses parts of some rings that cross themselves along an edge of another; counting points decides
        np.testing.assert_allclose(found[doubtful], by_counting(rings)[doubtful], atol=0.04, rtol=0)


@settings(max_examples=100, deadline=None)
@given(ring=SIXTY_FOURTHS, hole=SIXTY_FOURTHS, number=st.integers(0, len(NORTH_UP) - 1))
def test_any_polygon_like_exactextract(ring, hole, number: int):
    """Off the pixels' corners: where an edge meets one, exactextract 0.3.0 may have 0 for a pixel that is whole. GEOS judges those."""
    grid = NORTH_UP[number]
    shape = in_grid([shapely.convex_hull(Polygon(ring)).difference(Polygon(hole).buffer(0))], grid)
    assume(shape[0].geom_type in ("Polygon", "MultiPolygon") and shape[0].is_valid and shape[0].area > 0)
    found = dense(coverage_spans(shape, grid), 1, grid)
    np.testing.assert_allclose(found, by_exactextract(shape, grid), atol=1e-5, rtol=0)


@settings(max_examples=100, deadline=None)
@given(
    rings=st.lists(RINGS, min_size=1, max_size=4), window=st.tuples(st.integers(0, 19), st.integers(0, 23), st.integers(0, 20), st.integers(0, 24))
)
def test_windows_cut_and_do_nothing_else(rings, window):
    grid, (row, col, height, width) = GRIDS[1], window
    shapes = objects(*(shapely.make_valid(Polygon(ring)) for ring in rings))
    height, width = min(height, ROWS - row), min(width, COLUMNS - col)
    windows = np.tile(np.array([[row, col, height, width]], dtype=np.int64), (len(shapes), 1))
    expected = dense(coverage_spans(shapes, grid), len(shapes), grid)
    mask = np.zeros((ROWS, COLUMNS), dtype=bool)
    mask[row : row + height, col : col + width] = True
    np.testing.assert_allclose(dense(coverage_spans(shapes, grid, windows), len(shapes), grid), expected * mask, atol=1e-13, rtol=0)


def blobs(count: int, size: int, seed: int):
    """Star-shaped polygons around random centres, over the edges of a raster of ``size`` pixels too; in pixel coordinates."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        corners, radius = random.integers(3, 40), 10 ** random.uniform(-2, 1.7)
        angle = np.sort(random.uniform(0, 2 * np.pi, corners))
        reach = radius * random.uniform(0.4, 1, corners)
        centre = random.uniform(-5, size + 5, 2)
        found.append(shapely.make_valid(Polygon(np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=1) + centre)))
    return objects(*found)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_sums_are_areas(transform):
    size = 200
    grid = Grid(transform, size, size)
    shapes = blobs(300, size, seed=11)
    spans = coverage_spans(in_grid(shapes, grid), grid)
    found = np.bincount(spans.geometry, spans.coverage * (spans.stop - spans.start), minlength=len(shapes))
    noise = 4 * np.finfo(float).eps * max(map(abs, grid.bounds)) / np.sqrt(abs(transform[0] * transform[4] - transform[1] * transform[3]))
    inside = shapely.intersection(shapes, box(0, 0, size, size))
    expected = shapely.area(inside)
    assert (np.abs(found - expected) <= 1e-9 * expected + noise * shapely.length(inside)).all()
    if noise < 1e-12:
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("grid", [Grid(TRANSFORMS[3], 90, 80), Grid(TRANSFORMS[5], 90, 80), Grid(TRANSFORMS[8], 90, 80)], ids=str)
def test_a_tiling_covers_every_pixel_once(grid: Grid):
    points = np.random.default_rng(5).uniform((-20, -20), (110, 100), (900, 2))
    cells = shapely.get_parts(shapely.voronoi_polygons(shapely.MultiPoint(points), extend_to=box(-40, -40, 140, 140)))
    spans = coverage_spans(in_grid(cells, grid), grid)
    total = np.zeros((80, 90))
    for _, row, start, stop, coverage in zip(*spans, strict=True):
        total[row, start:stop] += coverage
    np.testing.assert_allclose(total, 1, atol=1e-9, rtol=0)


def test_a_polygon_as_large_as_a_scene_costs_its_border():
    grid = Grid(TRANSFORMS[3], 100_000, 100_000)
    shape = in_grid([Polygon([(-5, 50_000.3), (50_000.7, -7), (100_020, 50_000.1), (50_000.2, 99_990)])], grid)
    tracemalloc.start()
    spans = coverage_spans(shape, grid)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    expected = shapely.area(shapely.intersection(shape[0], box(*grid.bounds))) / 100
    assert np.dot(spans.coverage, spans.stop - spans.start) == pytest.approx(expected, rel=1e-12)
    assert peak < 400 * len(spans.row)
    inner = spans.stop - spans.start > 1
    assert (spans.coverage[inner] == 1).all()
    assert len(spans.row) < 7 * 100_000


def test_interiors_are_exactly_one_and_one_run():
    angle = np.linspace(0, 2 * np.pi, 5000, endpoint=False)
    grid = Grid(TRANSFORMS[4], 2000, 2000)
    circle = in_grid([Polygon(np.stack([1000.3 + 987.6 * np.cos(angle), 999.8 + 987.6 * np.sin(angle)], axis=1))], grid)
    spans = coverage_spans(circle, grid)
    long = spans.stop - spans.start > 1
    assert (spans.coverage[long] == 1).all()
    assert np.bincount(spans.row[long]).max() == 1
    assert spans.coverage[~long].min() > 1e-9


@pytest.mark.parametrize("grid", [grid for grid in GRIDS if grid.axis_aligned], ids=lambda grid: str(grid.transform))
def test_whole_pixels_are_whole(grid: Grid):
    """However the corners were rounded on the way."""
    spans = coverage_spans(in_grid([box(3, 4, 9, 11), box(0, 0, COLUMNS, ROWS)], grid), grid)
    assert (spans.coverage == 1).all()
    assert spans.row.tolist() == [*range(4, 11), *range(ROWS)]
    assert set(zip(spans.start.tolist(), spans.stop.tolist(), strict=True)) == {(3, 9), (0, COLUMNS)}


def test_equal_neighbours_are_one_run():
    spans = coverage_spans(objects(box(2.5, 3.25, 8.5, 5)), GRIDS[1])
    assert spans.row.tolist() == [3, 3, 3, 4, 4, 4]
    assert spans.start.tolist() == [2, 3, 8, 2, 3, 8]
    assert spans.stop.tolist() == [3, 8, 9, 3, 8, 9]
    assert spans.coverage.tolist() == [0.375, 0.75, 0.375, 0.5, 1.0, 0.5]


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_batches_change_nothing(monkeypatch, batch: int):
    grid = GRIDS[1]
    shapes = objects(*SHAPES.values(), None, *blobs(40, 20, seed=3))
    whole = coverage_spans(shapes, grid)
    monkeypatch.setattr(fractions, "_BATCH", batch)
    parts = coverage_spans(shapes, grid)
    np.testing.assert_allclose(dense(parts, len(shapes), grid), dense(whole, len(shapes), grid), atol=1e-13, rtol=0)


def test_what_has_no_area_selects_nothing():
    with np.errstate(invalid="ignore"):
        not_finite = [Polygon([(1, 1), (9, y), (5, 9)]) for y in (np.nan, np.inf, -np.inf)]
    nothing = objects(
        None,
        Polygon(),
        MultiPolygon(),
        shapely.Point(3.5, 3.5),
        shapely.LineString([(1, 1), (9, 9)]),
        shapely.GeometryCollection([shapely.Point(3, 3)]),
        shapely.GeometryCollection(),
        Polygon([(1, 1), (9, 9), (5, 5)]),
        *not_finite,
        MultiPolygon([box(1, 1, 5, 5), not_finite[0]]),
    )
    some = np.insert(nothing, 3, box(1, 1, 4, 4))
    whole = np.tile(np.array([[0, 0, ROWS, COLUMNS]], dtype=np.int64), (len(some), 1))
    for windows in (None, whole):
        spans = coverage_spans(some, GRIDS[1], windows)
        assert (spans.geometry == 3).all()
        assert spans.row.tolist() == [1, 2, 3]
    for shapes in (nothing, nothing[:0]):
        assert not len(dense(coverage_spans(shapes, GRIDS[1]), len(shapes), GRIDS[1]).nonzero()[0])


def test_absurd_coordinates():
    shapes = objects(box(-1e300, -1e300, 1e300, 1e300), box(-1e308, 3.5, 1e308, 1e308), box(1e200, 1e200, 1e201, 1e201), box(1e-300, 1e-300, 2.5, 2))
    found = dense(coverage_spans(shapes, GRIDS[1]), 4, GRIDS[1])
    assert (found[0] == 1).all()
    assert (found[1] == np.select([np.arange(ROWS) < 3, np.arange(ROWS) == 3], [0, 0.5], 1)[:, None]).all()
    assert not found[2].any()
    assert found[3].sum() == 5


@pytest.mark.parametrize("rule", ["center", "all_touched", "window"])
@pytest.mark.parametrize("cut", [True, False])
def test_other_rules_are_whole_pixels(rule: str, cut: bool):
    grid, shapes = GRIDS[3], in_grid([*VALID.values()], GRIDS[3])
    windows = geometry_windows(shapes, grid)
    if cut:
        windows[:, 2:] = (windows[:, 2:] + 1) // 2
    spans = coverage_spans(shapes, grid, windows if cut else None, rule)
    assert len(spans.row)
    for found, expected in zip(spans, polygon_spans(shapes, grid, windows, rule), strict=False):
        np.testing.assert_array_equal(found, expected)
    assert (spans.coverage == 1).all()
    assert len(spans.coverage) == len(spans.row)


def test_unknown_rule():
    with pytest.raises(InvalidArgument, match="no rule 'exact'.*fractional, center, all_touched"):
        coverage_spans(objects(box(0, 0, 1, 1)), GRIDS[0], rule="exact")
