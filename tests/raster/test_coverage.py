"""Masks and spans against GDAL's rasteriser, through rasterio: every pixel, ties included."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import geometry_mask
from rasterio.mask import raster_geometry_mask

from rasteret_sql.errors import InvalidArgument
from rasteret_sql.raster import coverage
from rasteret_sql.raster.coverage import geometry_masks, polygon_spans
from rasteret_sql.raster.grid import Grid, Window, geometry_windows, window_transform

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
"""rasterio 1.4 multiplies transforms in a way that affine 3 has moved on from."""

SIZE = 24
TRANSFORMS = [
    (1.0, 0.0, 0.0, 0.0, -1.0, 24.0),
    (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    (10.0, 0.0, 399960.0, 0.0, -10.0, 5000040.0),
    (10.0, 0.0, 399960.0, 0.0, 10.0, 5000040.0),
    (0.6, 0.0, 399960.6, 0.0, -0.6, 4500000.2),
    (1 / 3600, 0.0, -120 - 1 / 7200, 0.0, -1 / 3600, 40 + 1 / 7200),
    (0.00026949458523585647, 0.0, -56.1234567, 0.0, -0.00026949458523585647, -25.7654321),
    (0.0013, 0.0, -0.1, 0.0, -0.0011, 0.07),
    (-2.0, 0.0, 5.0, 0.0, 2.0, -9.0),
    (6.0, 8.0, 1000.0, 8.0, -6.0, 3000.0),
    (0.0, 5.0, 10.0, 5.0, 0.0, 20.0),
    (7.1, 0.3, 500000.0, 0.4, -6.9, 4000000.0),
]
UNIT = Grid(TRANSFORMS[0], SIZE, SIZE)


def gdal_mask(geometry, grid: Grid, window, *, all_touched: bool = False):
    """The oracle. It warns about empty geometries and refuses empty windows, so those are answered here."""
    row, col, height, width = (int(part) for part in window)
    if not height or not width or geometry is None or geometry.is_empty:
        return np.zeros((height, width), dtype=bool)
    transform = Affine(*window_transform(grid, Window(row, col, height, width)))
    return geometry_mask([geometry], (height, width), transform, invert=True, all_touched=all_touched)


def assert_like_gdal(geometries, grid: Grid, windows=None, rule: str = "center"):
    windows = geometry_windows(geometries, grid) if windows is None else windows
    masks = geometry_masks(geometries, grid, windows, rule)
    spans = polygon_spans(geometries, grid, windows, rule)
    assert (np.diff(spans.geometry) >= 0).all()
    assert (spans.stop > spans.start).all()
    for index, (geometry, window, mask) in enumerate(zip(geometries, windows.tolist(), masks, strict=True)):
        expected = gdal_mask(geometry, grid, window, all_touched=rule == "all_touched")
        assert mask.dtype == bool
        assert mask.shape == expected.shape
        assert (mask == expected).all(), f"{geometry.wkt} on {grid} in {window}"
        painted = np.zeros((grid.height, grid.width), dtype=int)
        for row, start, stop in zip(*(column[spans.geometry == index] for column in spans[1:]), strict=True):
            painted[row, start:stop] += 1
        row, col, height, width = window
        np.testing.assert_array_equal(painted[row : row + height, col : col + width], expected)
        assert painted.sum() == expected.sum()


def in_grid(geometry, grid: Grid):
    """From pixel coordinates to those of the grid."""
    return shapely.transform(geometry, lambda xy: np.stack(grid.to_xy(xy[:, 0], xy[:, 1]), axis=1))


def corners(count: int, fraction: int):
    number = st.integers(-3 * fraction, (SIZE - 8) * fraction)
    return st.lists(st.tuples(number, number), min_size=count, max_size=8).map(lambda points: [(x / fraction, y / fraction) for x, y in points])


@st.composite
def polygons(draw, fraction: int):
    kind = draw(st.sampled_from(["any", "box", "holes", "hull"]))
    points = draw(corners(4, fraction))
    if kind == "box":
        box = shapely.box(*np.min(points, axis=0), *np.max(points, axis=0))
        return box.reverse() if draw(st.booleans()) else box
    if kind == "holes":
        return shapely.Polygon(points, [draw(corners(3, fraction)) for _ in range(draw(st.integers(1, 2)))])
    if kind == "hull":
        hull = shapely.MultiPoint(points).convex_hull
        return hull if hull.geom_type == "Polygon" else shapely.Polygon(points)
    return shapely.Polygon(points)


@st.composite
def polygonal(draw):
    """A polygon or multipolygon, valid or not, with corners on quarters, halves, thirds or tenths of pixels: many ties."""
    fraction = draw(st.sampled_from([1, 2, 2, 4, 3, 10]))
    if draw(st.integers(0, 3)):
        return draw(polygons(fraction))
    return shapely.MultiPolygon(draw(st.lists(polygons(fraction), min_size=1, max_size=3)))


WINDOWS = st.sampled_from([None, (0, 0, SIZE, SIZE), (5, 3, 9, 12)])


@settings(max_examples=250, deadline=None)
@given(shapes=st.lists(polygonal(), min_size=1, max_size=8), transform=st.sampled_from(TRANSFORMS), window=WINDOWS)
def test_centre_rule_equals_gdal(shapes, transform, window):
    grid = Grid(transform, SIZE, SIZE)
    geometries = np.array([in_grid(shape, grid) for shape in shapes], dtype=object)
    assert_like_gdal(geometries, grid, None if window is None else np.tile(np.array(window, dtype=np.int64), (len(shapes), 1)))


@settings(max_examples=40, deadline=None)
@given(shapes=st.lists(polygonal(), min_size=1, max_size=4), transform=st.sampled_from(TRANSFORMS), window=WINDOWS)
def test_all_touched_equals_gdal(shapes, transform, window):
    grid = Grid(transform, SIZE, SIZE)
    geometries = np.array([in_grid(shape, grid) for shape in shapes], dtype=object)
    assert_like_gdal(geometries, grid, None if window is None else np.tile(np.array(window, dtype=np.int64), (len(shapes), 1)), "all_touched")


TIES = {
    "corners on centres": "POLYGON ((2.5 2.5, 8.5 2.5, 8.5 8.5, 2.5 8.5, 2.5 2.5))",
    "corners on centres, other way": "POLYGON ((2.5 2.5, 2.5 8.5, 8.5 8.5, 8.5 2.5, 2.5 2.5))",
    "edges on edges": "POLYGON ((2 2, 8 2, 8 8, 2 8, 2 2))",
    "diamond on centres": "POLYGON ((5.5 1.5, 9.5 5.5, 5.5 9.5, 1.5 5.5, 5.5 1.5))",
    "stairs with horizontal edges on centre rows": "POLYGON ((1 1, 9 1, 9 2.5, 7 2.5, 7 4.5, 5 4.5, 5 6.5, 3 6.5, 3 4.5, 1 4.5, 1 1))",
    "hole with horizontal edges on centre rows": "POLYGON ((1 1, 15 1, 15 15, 1 15, 1 1), (3.5 4.5, 9.5 4.5, 9.5 8.5, 3.5 8.5, 3.5 4.5))",
    "hole the other way": "POLYGON ((1 1, 15 1, 15 15, 1 15, 1 1), (3.5 4.5, 3.5 8.5, 9.5 8.5, 9.5 4.5, 3.5 4.5))",
    "overlapping parts": "MULTIPOLYGON (((1 1, 9 1, 9 9, 1 9, 1 1)), ((4 4, 14 4, 14 14, 4 14, 4 4)))",
    "parts that share an edge": "MULTIPOLYGON (((1 1, 6.5 1, 6.5 9, 1 9, 1 1)), ((6.5 1, 12 1, 12 9, 6.5 9, 6.5 1)))",
    "parts in a hole": "MULTIPOLYGON (((1 1, 15 1, 15 15, 1 15, 1 1), (3 3, 3 12, 12 12, 12 3, 3 3)), ((5.5 5.5, 8.5 5.5, 8.5 8.5, 5.5 5.5)))",
    "bow tie": "POLYGON ((1 1, 9 9, 9 1, 1 9, 1 1))",
    "bow tie with an edge on a centre row": "POLYGON ((1.5 2.5, 9.5 2.5, 2.5 9.5, 8.5 9.5, 1.5 2.5))",
    "ring twice around": "POLYGON ((2 2, 9 2, 9 9, 2 9, 2 2, 9 2, 9 9, 2 9, 2 2))",
    "sliver between centres": "POLYGON ((1.6 1, 1.7 20, 1.65 20, 1.6 1))",
    "sliver along a centre column": "POLYGON ((3.5 1, 3.5 20, 3.500001 20, 3.5 1))",
    "no area": "POLYGON ((1 2.5, 9 2.5, 1 2.5, 1 2.5))",
    "partly outside": "POLYGON ((-7 -7, 12.5 3.5, 60 30.5, 3 17.5, -7 -7))",
    "outside altogether": "POLYGON ((-7 -7, -2 -7, -2 -2, -7 -7))",
    "around everything": "POLYGON ((-1e7 -1e7, 1e7 -1e7, 1e7 1e7, -1e7 1e7, -1e7 -1e7))",
}


@pytest.mark.parametrize("flip", [1.0, -1.0], ids=["north-up", "south-up"])
@pytest.mark.parametrize("wkt", TIES.values(), ids=list(TIES))
def test_ties_equal_gdal(wkt, flip):
    grid = Grid((1.0, 0.0, 0.0, 0.0, -flip, SIZE * (flip > 0)), SIZE, SIZE)
    geometries = np.array([shapely.from_wkt(wkt)], dtype=object)
    for windows in (None, np.array([[0, 0, SIZE, SIZE]]), np.array([[4, 3, 10, 7]])):
        assert_like_gdal(geometries, grid, windows)


MIXED = [
    "POINT (3.5 4.5)",
    "POINT (3 4)",
    "MULTIPOINT ((1 1), (5.2 7.7), (40 40))",
    "LINESTRING (1 1, 12.3 7.7, 3 20)",
    "LINESTRING (1.5 2.5, 9.5 2.5)",
    "LINEARRING (1 1, 9 2, 5 9, 1 1)",
    "MULTILINESTRING ((1 1, 9 9), (9.5 1, 0.5 9))",
    "GEOMETRYCOLLECTION (POLYGON ((2 2, 8 2, 8 8, 2 2)), LINESTRING (1 20, 20 1), POINT (15.5 15.5))",
    "GEOMETRYCOLLECTION (POLYGON ((1 1, 9 1, 9 9, 1 9, 1 1)), POLYGON ((4 4, 14 4, 14 14, 4 14, 4 4)))",
    "POLYGON Z ((2 2 1, 8 2 2, 8 8 3, 2 2 1))",
]


@pytest.mark.parametrize("rule", ["center", "all_touched"])
def test_lines_points_and_collections_equal_gdal(rule):
    assert_like_gdal(np.array([shapely.from_wkt(text) for text in MIXED], dtype=object), UNIT, None, rule)


def test_nested_collections_are_the_union_of_their_parts():
    nested = shapely.from_wkt("GEOMETRYCOLLECTION (GEOMETRYCOLLECTION (POLYGON ((1 1, 9 1, 9 9, 1 1)), MULTIPOINT ((15 15), (2 20))), POINT EMPTY)")
    flat = shapely.from_wkt("GEOMETRYCOLLECTION (POLYGON ((1 1, 9 1, 9 9, 1 1)), POINT (15 15), POINT (2 20))")
    windows = np.array([[0, 0, SIZE, SIZE]])
    (mask,) = geometry_masks(np.array([nested], dtype=object), UNIT, windows, "center")
    assert (mask == gdal_mask(flat, UNIT, windows[0])).all()
    assert mask.any()


@pytest.mark.parametrize("grid", [UNIT, Grid((6.0, 8.0, -50.0, 8.0, -6.0, 3.0), SIZE, SIZE)], ids=["north-up", "rotated"])
@pytest.mark.parametrize("rule", coverage.RULES)
def test_what_is_missing_empty_or_infinite_selects_nothing(rule, grid):
    odd = ["POLYGON EMPTY", "GEOMETRYCOLLECTION EMPTY", "POINT EMPTY", "MULTIPOLYGON (EMPTY, EMPTY)"]
    with np.errstate(invalid="ignore"):
        infinite = [
            shapely.Polygon([(0, 0), (np.inf, -np.inf), (5, 5)]),
            shapely.Polygon([(0, 0), (np.nan, 0), (5, 5)]),
            shapely.LineString([(0, 0), (np.nan, 3)]),
        ]
    geometries = np.array([None, *(shapely.from_wkt(text) for text in odd), *infinite], dtype=object)
    windows = np.tile([2, 2, 6, 5], (len(geometries), 1))
    masks = geometry_masks(geometries, grid, windows, rule)
    assert all(mask.shape == (6, 5) for mask in masks)
    assert not any(mask.any() for mask in masks[: 1 + len(odd)])
    if rule != "window":
        assert not any(mask.any() for mask in masks)
    own = geometry_windows(geometries, grid)
    assert [mask.size for mask in geometry_masks(geometries, grid, own, rule)[:5]] == [0] * 5
    assert [len(column) for column in polygon_spans(geometries[:5], grid, None, rule)] == [0] * 4


def test_window_rule_selects_the_whole_window():
    geometries = np.array([shapely.Point(3, 3), shapely.box(1, 1, 4.5, 9)], dtype=object)
    windows = geometry_windows(geometries, UNIT)
    masks = geometry_masks(geometries, UNIT, windows, "window")
    assert [mask.shape for mask in masks] == [tuple(window) for window in windows[:, 2:].tolist()]
    assert all(mask.all() for mask in masks)
    assert (polygon_spans(geometries, UNIT, windows, "window").stop > 0).all()


def test_nothing_in_nothing_out():
    nothing = np.empty(0, dtype=object)
    for rule in coverage.RULES:
        assert geometry_masks(nothing, UNIT, np.empty((0, 4), dtype=np.int64), rule) == []
        assert len(polygon_spans(nothing, UNIT, None, rule).row) == 0


def test_unknown_rules_are_refused():
    with pytest.raises(InvalidArgument, match="rules: center, all_touched, window"):
        geometry_masks(np.empty(0, dtype=object), UNIT, np.empty((0, 4), dtype=np.int64), "centre")


def fields(grid: Grid, count: int, seed: int = 0, radius: float = 40):
    """Star-shaped polygons of 50 corners."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, 50, endpoint=False)
    reach = radius * rng.uniform(0.5, 1, (count, 50))
    col, row = rng.uniform(-20, grid.width + 20, (count, 1)), rng.uniform(-20, grid.height + 20, (count, 1))
    return shapely.polygons(np.stack(grid.to_xy(col + reach * np.cos(angle), row + reach * np.sin(angle)), axis=-1))


def test_many_polygons_never_meet_gdal(monkeypatch):
    grid = Grid(TRANSFORMS[2], 4392, 4392)
    geometries = fields(grid, 300)
    windows = geometry_windows(geometries, grid)
    expected = [gdal_mask(geometry, grid, window) for geometry, window in zip(geometries, windows, strict=True)]
    burnt = []
    monkeypatch.setattr(coverage, "_burn", lambda geometries, *args, **kwargs: burnt.extend(geometries) or [])
    masks = geometry_masks(geometries, grid, windows, "center")
    assert not burnt
    assert sum((mask != other).sum() for mask, other in zip(masks, expected, strict=True)) == 0


def test_batches_and_crowded_polygons_change_nothing(monkeypatch):
    grid = Grid(TRANSFORMS[2], 500, 500)
    geometries = np.concatenate([fields(grid, 30, radius=90), [shapely.unary_union(fields(grid, 5))]])
    monkeypatch.setattr(coverage, "_BATCH", 300)  # a window or two, and fewer crossings than the larger polygons have
    monkeypatch.setattr(coverage, "_GDAL_BATCH", 4)
    assert_like_gdal(geometries, grid)


def test_one_polygon_over_a_scene_equals_gdal():
    grid = Grid(TRANSFORMS[2], 4392, 4392)
    (geometry,) = fields(grid, 1, seed=3, radius=2500)
    windows = geometry_windows(np.array([geometry]), grid)
    (mask,) = geometry_masks(np.array([geometry]), grid, windows, "center")
    assert mask.size > 4_000_000
    assert (mask == gdal_mask(geometry, grid, windows[0])).all()


@pytest.mark.parametrize("all_touched", [False, True])
@pytest.mark.parametrize(
    "name", ["landsat8/LC08_L1TP_224077_20200518_20200518_01_RT_B2_60m.TIF", "cogs/landsat.tif", "cogs/srtm90.tif", "rgbn/rgbn_20160101.tif"]
)
def test_masks_equal_those_of_rasterio_mask_on_real_rasters(real_data, name, all_touched):
    with rasterio.open(real_data / name) as dataset:
        grid = Grid(tuple(dataset.transform)[:6], dataset.width, dataset.height)
        geometries = fields(grid, 25, seed=7, radius=min(dataset.width, dataset.height) / 6)
        windows = geometry_windows(geometries, grid)
        masks = geometry_masks(geometries, grid, windows, "all_touched" if all_touched else "center")
        met = 0
        for geometry, (row, col, height, width), mask in zip(geometries, windows.tolist(), masks, strict=True):
            if not height:
                continue
            met += 1
            theirs, _, window = raster_geometry_mask(dataset, [geometry], crop=True, all_touched=all_touched)
            if (window.row_off, window.col_off, window.height, window.width) == (row, col, height, width):
                assert (mask == ~theirs).all()
            else:  # rasterio 1.5 may add an empty row or column
                assert (window.height, window.width) >= (height, width)
                assert mask.sum() == (~theirs).sum()
        assert met > 10
