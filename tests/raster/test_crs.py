"""Points, boxes, geometries and footprints in another CRS, against pyproj and the true course of edges."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from rasteret_sql.errors import InvalidArgument
from rasteret_sql.raster.crs import (
    CRS84,
    TOLERANCE_M,
    check_crs,
    is_geographic,
    raster_footprint,
    same_crs,
    transform_bounds,
    transform_geometries,
    transform_points,
    turned_onto,
    within_world,
)
from rasteret_sql.raster.grid import Grid

UTM32 = "EPSG:32632"
TARGETS = {UTM32: (9, 50), "EPSG:3857": (9, 50), "EPSG:3035": (12, 48), "EPSG:3413": (-40, 70), "EPSG:6933": (30, -20), "EPSG:5070": (-96, 40)}


@lru_cache(maxsize=64)
def oracle(src, dst):
    return pyproj.Transformer.from_crs(src, dst, always_xy=True)


def pyproj_xy(x, y, src, dst):
    return oracle(src, dst).transform(x, y)


@pytest.mark.parametrize(
    "text", ["EPSG:32632", "epsg:32632", "32632", " EPSG:32632 ", pyproj.CRS.from_epsg(32632).to_wkt(), pyproj.CRS.from_epsg(32632).to_json()]
)
def test_every_spelling_of_a_crs(text):
    check_crs(text)
    assert same_crs(text, UTM32)


def test_crs84_goes_by_its_short_name():
    check_crs("crs84")
    assert same_crs("crs84", CRS84)


@pytest.mark.parametrize("text", ["", "nonsense", "EPSG:99999", "99999999", '{"type": "GeographicCRS"}', 'GEOGCRS["cut'])
def test_unknown_crs_is_one_line_that_names_it(text):
    with pytest.raises(InvalidArgument, match="unknown CRS") as caught:
        check_crs(text)
    assert "\n" not in str(caught.value)
    assert text[:20] in str(caught.value)


def test_no_transformation_is_one_line():
    local = 'ENGCRS["site",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]'
    with pytest.raises(InvalidArgument, match="no transformation from") as caught:
        transform_points([1.0], [2.0], local, UTM32)
    assert "\n" not in str(caught.value)


def test_order_of_axes_does_not_make_another_crs():
    assert same_crs(CRS84, "EPSG:4326")
    assert not same_crs(CRS84, "EPSG:4269")
    assert not same_crs("EPSG:4326", UTM32)
    x, y = np.array([9.0]), np.array([50.0])
    out = transform_points(x, y, "EPSG:4326", CRS84)
    assert out[0] is x
    assert out[1] is y


@pytest.mark.parametrize("src", [CRS84, "EPSG:4326", "EPSG:4269"])
@pytest.mark.parametrize("dst", list(TARGETS))
def test_points_equal_pyprojs_with_x_first(src, dst):
    lon, lat = TARGETS[dst]
    rng = np.random.default_rng(0)
    x, y = rng.uniform(lon - 2, lon + 2, (50, 4)), rng.uniform(lat - 2, lat + 2, (50, 4))
    np.testing.assert_array_equal(transform_points(x, y, src, dst), pyproj_xy(x, y, src, dst))
    back = transform_points(*transform_points(x, y, src, dst), dst, src)
    np.testing.assert_allclose(back, [x, y], atol=1e-9)


def test_points_without_a_place_are_not_finite_and_raise_nothing():
    x, y = transform_points([9.0, 9.0, np.nan, np.inf], [50.0, 95.0, 50.0, 50.0], CRS84, UTM32)
    assert np.isfinite(x).tolist() == np.isfinite(y).tolist() == [True, False, False, False]
    frozen = np.array([9.0])
    frozen.flags.writeable = False
    assert np.isfinite(transform_points(frozen, np.array([50]), CRS84, UTM32)).all()
    assert transform_points([], [], CRS84, UTM32)[0].shape == (0,)


def test_several_threads_get_the_same_points():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(6, 12, 2000), rng.uniform(45, 55, 2000)
    jobs = [f"EPSG:{32600 + zone}" for zone in (31, 32, 33)] * 20
    expected = {crs: pyproj_xy(x, y, CRS84, crs) for crs in set(jobs)}
    with ThreadPoolExecutor(8) as pool:
        for crs, found in zip(jobs, pool.map(lambda crs: transform_points(x, y, CRS84, crs), jobs), strict=True):
            np.testing.assert_array_equal(found, expected[crs])


# -- geometries ---------------------------------------------------------------------------------------------------------------


def farthest(geometry, moved, src, dst):
    """Greatest distance of the true course of the edges from the transformed geometry, in units of dst."""
    course = shapely.get_coordinates(shapely.segmentize(geometry, shapely.length(geometry) / 5000))
    points = shapely.points(np.stack(pyproj_xy(course[:, 0], course[:, 1], src, dst), axis=1))
    return shapely.distance(points, shapely.boundary(moved) if shapely.area(moved) else moved).max()


@settings(max_examples=60, deadline=None)
@given(
    target=st.sampled_from(sorted(TARGETS)),
    size=st.sampled_from([0.001, 0.01, 0.1, 1.0, 5.0]),
    flat=st.sampled_from([1.0, 0.3, 0.01]),
    angle=st.floats(0, math.pi),
    shift=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
)
def test_edges_stay_within_the_tolerance(target, size, flat, angle, shift):
    lon, lat = TARGETS[target]
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    ring = (np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) * [size, size * flat]) @ turn + [lon + shift[0], lat + shift[1]]
    for geometry in (shapely.Polygon(ring), shapely.LineString(ring[[0, 2]])):
        (moved,) = transform_geometries(np.array([geometry], dtype=object), CRS84, target)
        assert farthest(geometry, moved, CRS84, target) <= TOLERANCE_M


def test_edges_stay_within_the_tolerance_in_degrees():
    box = shapely.box(2e5, 5e6, 8e5, 5.6e6)
    (moved,) = transform_geometries(np.array([box], dtype=object), UTM32, CRS84)
    assert farthest(box, moved, UTM32, CRS84) * 111_320 <= TOLERANCE_M
    (coarse,) = transform_geometries(np.array([box], dtype=object), UTM32, CRS84, tolerance=1e-3)
    assert farthest(box, coarse, UTM32, CRS84) <= 1e-3
    assert shapely.get_num_coordinates(coarse) < 200 < shapely.get_num_coordinates(moved)


def test_a_long_edge_through_the_centre_of_symmetry_is_cut():
    line = shapely.LineString([(3, -6), (15, 6)])  # its middle lies on the straight line between its ends
    (moved,) = transform_geometries(np.array([line], dtype=object), CRS84, UTM32)
    assert farthest(line, moved, CRS84, UTM32) <= TOLERANCE_M


def test_an_edge_that_bends_only_aslant_is_cut():
    line = shapely.LineString([(-0.5, 44.5), (0.5, 45.5)])  # sinusoidal on its central meridian: parallels and meridians are straight
    (moved,) = transform_geometries(np.array([line], dtype=object), CRS84, "ESRI:54008")
    assert farthest(line, moved, CRS84, "ESRI:54008") <= TOLERANCE_M


def test_small_polygons_keep_their_vertices():
    rng = np.random.default_rng(1)
    angle = np.linspace(0, 2 * np.pi, 50, endpoint=False)
    centre = np.stack([rng.uniform(6, 12, 200), rng.uniform(45, 55, 200)], axis=1)[:, None]
    ring = centre + 0.004 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    fields = shapely.polygons(ring)
    moved = transform_geometries(fields, CRS84, UTM32)
    np.testing.assert_array_equal(shapely.get_num_coordinates(moved), 51)
    flat = shapely.get_coordinates(fields)
    np.testing.assert_array_equal(shapely.get_coordinates(moved).T, pyproj_xy(flat[:, 0], flat[:, 1], CRS84, UTM32))


def test_every_kind_of_geometry_and_none():
    texts = [
        "POINT (9 50)",
        "MULTIPOINT (9 50, 10 51)",
        "LINESTRING (9 50, 9.001 50)",
        "POLYGON Z ((9 50 1, 9.001 50 2, 9 50.001 3, 9 50 1))",
        "GEOMETRYCOLLECTION (POINT (9 50), POLYGON ((9 50, 9.001 50, 9 50.001, 9 50)))",
        "POLYGON EMPTY",
    ]
    given_ = np.array([*(shapely.from_wkt(text) for text in texts), None], dtype=object)
    before = given_.copy()
    moved = transform_geometries(given_, "EPSG:4326", UTM32)
    assert (given_ == before).all()
    assert [None if shape is None else shape.geom_type for shape in moved] == [None if shape is None else shape.geom_type for shape in given_]
    assert not shapely.has_z(moved).any()
    np.testing.assert_allclose(shapely.get_coordinates(moved[0])[0], pyproj_xy(9, 50, CRS84, UTM32))
    assert transform_geometries(given_, "EPSG:4326", CRS84) is given_
    assert len(transform_geometries(np.empty(0, dtype=object), CRS84, UTM32)) == 0


def test_geometries_without_a_place_are_none():
    shapes = np.array([shapely.Point(9, 95), shapely.Point(9, 50), shapely.Polygon([(9, 50), (9, 95), (10, 50)])], dtype=object)
    moved = transform_geometries(shapes, CRS84, UTM32)
    assert [shape is None for shape in moved] == [True, False, True]


def test_geometries_across_the_antimeridian_are_split_there():
    box, line = shapely.box(7e5, 4e6, 9e5, 4.1e6), shapely.LineString([(7e5, 4e6), (9e5, 4.1e6)])
    holed = shapely.Polygon(shapely.box(7e5, 4e6, 9e5, 4.1e6).exterior.coords, [shapely.box(7.8e5, 4.02e6, 8e5, 4.05e6).exterior.coords])
    near = shapely.box(7e5, 4e6, 7.1e5, 4.1e6)
    both = shapely.geometrycollections([box, line])
    moved = transform_geometries(np.array([box, line, holed, near, both], dtype=object), "EPSG:32660", CRS84)
    assert [shape.geom_type for shape in moved] == ["MultiPolygon", "MultiLineString", "MultiPolygon", "Polygon", "GeometryCollection"]
    assert shapely.is_valid(moved).all()
    assert (np.abs(shapely.bounds(moved[:3])[:, [0, 2]]) == 180).all()
    lon, lat = np.meshgrid(np.concatenate([np.linspace(179.1, 179.99, 30), np.linspace(-179.99, -178.4, 30)]), np.linspace(36, 37.1, 40))
    points = shapely.points(np.stack([lon.ravel(), lat.ravel()], axis=1))
    here = shapely.points(np.stack(pyproj_xy(lon.ravel(), lat.ravel(), CRS84, "EPSG:32660"), axis=1))
    for shape, original in ((moved[0], box), (moved[2], holed)):
        np.testing.assert_array_equal(shapely.contains(shape, points), shapely.contains(original, here))


@pytest.mark.parametrize(("crs", "pole"), [("EPSG:3413", 90.0), ("EPSG:3031", -90.0)])
def test_a_polygon_around_a_pole_is_closed_along_it(crs, pole):
    """A square around the pole, the same with a hole around the pole, one beside a second that is not around it; points are the judge."""
    square, small = shapely.box(-1e6, -1.2e6, 1.1e6, 1e6), shapely.box(-2e5, -2e5, 2.5e5, 2e5)
    shapes = [square, square.difference(small), shapely.MultiPolygon([small, shapely.box(-9e5, -1e5, -7e5, 1e5)])]
    moved = transform_geometries(np.array(shapes, dtype=object), crs, CRS84)
    rng = np.random.default_rng(3)
    x, y = rng.uniform(-1.5e6, 1.5e6, (2, 4000))
    lon, lat = pyproj_xy(x, y, crs, CRS84)
    for shape, original in zip(moved, shapes, strict=True):
        assert shapely.is_valid(shape)
        np.testing.assert_array_equal(shapely.contains_xy(shape, lon, lat), shapely.contains_xy(original, x, y))
    assert pole in shapely.bounds(moved[0])
    assert pole not in shapely.bounds(moved[1])


def test_geometries_beyond_the_world_come_back_into_it():
    shapes = np.array([shapely.box(170, 0, 190, 10), shapely.Point(181, 5), shapely.box(-1, 0, 1, 1), None], dtype=object)
    inside = within_world(shapes, CRS84)
    assert shapely.equals(inside[0], shapely.union(shapely.box(170, 0, 180, 10), shapely.box(-180, 0, -170, 10)))
    assert inside[1] == shapely.Point(-179, 5)
    assert (inside[2], inside[3]) == (shapes[2], None)
    assert within_world(shapes[2:], CRS84) is not None
    assert within_world(shapes, "EPSG:3857") is shapes
    far = turned_onto(inside[:3], CRS84, Grid((1.0, 0.0, 0.0, 0.0, -1.0, 90.0), 360, 180))
    assert shapely.equals(far[0], shapely.box(170, 0, 190, 10))
    assert far[1] == shapely.Point(181, 5)
    assert shapely.equals(far[2], shapely.union(shapely.box(0, 0, 1, 1), shapely.box(359, 0, 360, 1)))


# -- boxes and footprints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dst", list(TARGETS))
def test_bounds_cover_the_box_and_little_more(dst):
    lon, lat = TARGETS[dst]
    rng = np.random.default_rng(3)
    low = np.stack([rng.uniform(lon - 3, lon + 2, 40), rng.uniform(lat - 3, lat + 2, 40)], axis=1)
    for src, boxes in ((CRS84, np.concatenate([low, low + rng.uniform(0, 2, (40, 2))], axis=1)), (dst, None)):
        to = dst if src == CRS84 else CRS84
        given_ = boxes if boxes is not None else transform_bounds(np.concatenate([low, low + 1], axis=1), CRS84, dst)
        found = transform_bounds(given_, src, to)
        for box, ours in zip(given_, found, strict=True):
            course = shapely.get_coordinates(shapely.segmentize(shapely.box(*box).exterior, max(shapely.box(*box).length / 4000, 1e-9)))
            x, y = pyproj_xy(course[:, 0], course[:, 1], src, to)
            true = np.array([x.min(), y.min(), x.max(), y.max()])
            slack = 1e-9 * np.abs(true).max()
            assert (ours[:2] <= true[:2] + slack).all()
            assert (ours[2:] >= true[2:] - slack).all()
            assert np.abs(ours - true).max() <= 2e-3 * max(np.ptp(x), np.ptp(y))
            theirs = oracle(src, to).transform_bounds(*box, densify_pts=21)
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-3 * max(np.ptp(x), np.ptp(y)))


def test_bounds_at_poles_and_the_antimeridian_are_projs():
    for box, src, dst in [
        ((7e5, 4e6, 9e5, 4.1e6), "EPSG:32660", CRS84),
        ((-1e5, -1e5, 1e5, 1e5), "EPSG:3413", CRS84),
        ((-1e5, -2e5, 1e5, 1e5), "EPSG:3031", "EPSG:4326"),
        ((178.0, 10.0, -178.0, 12.0), CRS84, "EPSG:32660"),
    ]:
        expected = oracle(src, dst).transform_bounds(*box, densify_pts=21)
        np.testing.assert_allclose(transform_bounds(np.array([box]), src, dst), [expected])


def test_bounds_of_nothing_and_of_points():
    found = transform_bounds(np.array([[np.nan] * 4, [9.0, 50.0, 9.0, 50.0], [9.0, 95.0, 10.0, 96.0]]), CRS84, UTM32)
    assert np.isnan(found[[0, 2]]).all()
    np.testing.assert_allclose(found[1], np.tile(np.ravel(pyproj_xy(9, 50, CRS84, UTM32)), 2))
    same = np.array([[1.0, 2.0, 3.0, 4.0]])
    np.testing.assert_array_equal(transform_bounds(same, CRS84, "EPSG:4326"), same)
    assert transform_bounds(np.empty((0, 4)), CRS84, UTM32).shape == (0, 4)


def everywhere(grid: Grid, crs: str):
    """Longitudes and latitudes of points all over a raster, its edges included."""
    col, row = np.meshgrid(np.linspace(0, grid.width, 301), np.linspace(0, grid.height, 301))
    return pyproj_xy(*grid.to_xy(col.ravel(), row.ravel()), crs, CRS84)


@pytest.mark.parametrize(
    ("transform", "crs"),
    [
        ((10.0, 0.0, 399960.0, 0.0, -10.0, 5000040.0), UTM32),
        ((10.0, 0.0, 399960.0, 0.0, 10.0, 5000040.0), UTM32),
        ((7.1, 5.3, 500000.0, 5.4, -6.9, 4000000.0), UTM32),
        ((30.0, 0.0, -96e4, 0.0, -30.0, 2e6), "EPSG:5070"),
    ],
)
def test_footprints_cover_their_raster_and_little_more(transform, crs):
    grid = Grid(transform, 9000, 8000)
    polygon, box = raster_footprint(grid, crs)
    lon, lat = everywhere(grid, crs)
    assert polygon.geom_type == "Polygon"
    assert polygon.is_valid
    assert box[0] <= lon.min()
    assert box[1] <= lat.min()
    assert box[2] >= lon.max()
    assert box[3] >= lat.max()
    np.testing.assert_allclose(box, [lon.min(), lat.min(), lon.max(), lat.max()], rtol=0, atol=3e-3)
    points = shapely.points(np.stack([lon, lat], axis=1))
    assert shapely.distance(points, polygon).max() < 3e-3


def test_footprint_in_longitude_and_latitude_is_its_corners():
    polygon, box = raster_footprint(Grid((0.5, 0.0, 10.0, 0.0, -0.25, 40.0), 10, 20), "EPSG:4326")
    assert box == (10.0, 35.0, 15.0, 40.0)
    assert polygon.equals(shapely.box(*box))
    assert shapely.get_num_coordinates(polygon) == 5


@pytest.mark.parametrize(
    ("grid", "crs"),
    [(Grid((100.0, 0.0, 7e5, 0.0, -100.0, 4.1e6), 2000, 1000), "EPSG:32660"), (Grid((0.5, 0.0, 170.0, 0.0, -0.5, 10.0), 40, 40), "EPSG:4326")],
)
def test_footprint_across_the_antimeridian_is_split_and_its_box_runs_east(grid, crs):
    polygon, (west, south, east, north) = raster_footprint(grid, crs)
    assert polygon.geom_type == "MultiPolygon"
    assert polygon.bounds[::2] == (-180.0, 180.0)
    assert -180 <= east < 0 < west <= 180
    lon, lat = everywhere(grid, crs)
    lon = np.where(lon > 180, lon - 360, lon)
    assert ((lon >= west) | (lon <= east)).all()
    assert (lat.min() >= south) & (lat.max() <= north)
    assert shapely.distance(shapely.points(np.stack([lon, lat], axis=1)), polygon).max() < 1e-4


@pytest.mark.parametrize(("crs", "pole"), [("EPSG:3413", 90.0), ("EPSG:3031", -90.0)])
def test_footprint_around_a_pole_reaches_it(crs, pole):
    grid = Grid((1000.0, 0.0, -1.2e6, 0.0, -1000.0, 1e6), 2000, 2000)
    polygon, box = raster_footprint(grid, crs)
    lon, lat = everywhere(grid, crs)
    assert box[::2] == (-180.0, 180.0)
    assert pole in box
    assert min(box[1], box[3]) <= lat.min()
    assert max(box[1], box[3]) >= lat.max()
    assert shapely.distance(shapely.points(np.stack([lon, lat], axis=1)), polygon).max() < 0.05


def test_footprint_of_a_raster_partly_off_the_earth_is_a_box_around_the_rest():
    disc = "+proj=geos +h=35786023 +lon_0=-75 +sweep=x +a=6378137 +b=6356752.31414 +units=m"
    grid = Grid((3000.0, 0.0, -5434894.0, 0.0, -3000.0, 5434894.0), 3623, 3623)
    polygon, box = raster_footprint(grid, disc)
    lon, lat = everywhere(grid, disc)
    known = np.isfinite(lon) & np.isfinite(lat)
    assert 0 < known.sum() < known.size
    assert polygon.equals(shapely.box(*box))
    assert shapely.contains_xy(polygon, lon[known], lat[known]).all()


def test_a_raster_nowhere_on_earth_is_refused():
    disc = "+proj=geos +h=35786023 +lon_0=-75 +sweep=x +a=6378137 +b=6356752.31414 +units=m"
    with pytest.raises(InvalidArgument, match="no part of the raster"):
        raster_footprint(Grid((1.0, 0.0, 9e7, 0.0, -1.0, 9e7), 10, 10), disc)


def test_what_is_known_of_crs84_is_what_proj_says():
    said = pyproj.CRS(CRS84)
    assert is_geographic(CRS84) == said.is_geographic
    assert {axis.unit_conversion_factor for axis in said.axis_info} == {math.pi / 180}  # so half a turn is 180
    across = shapely.box(170, 0, 190, 10)
    assert within_world(np.array([across]), CRS84)[0].bounds == within_world(np.array([across]), "EPSG:4326")[0].bounds
    check_crs(CRS84)
