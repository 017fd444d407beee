"""``rasteret_pixels``: one row per pixel, against rasterio's masks and exactextract's coverage."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import exactextract
import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from rasteret_sql.reader.engine import engine
from rasteret_sql.reader.runs import cut_windows
from tests.reader.oracle import SKY, fetch, read_under, rows, scalars, write_tif

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

UTM = "geometry_crs := 'EPSG:32633'"
SIZE = 60
RULES = ["center", "all_touched", "window"]


def at(*pixels: tuple[float, float]) -> list[tuple[float, float]]:
    """Coordinates of (col, row) positions."""
    return [SKY @ pixel for pixel in pixels]


@pytest.fixture
def scene(tmp_path: Path) -> str:
    """60 x 60 pixels of two bands, tiles of 16, with holes; some pixels have a value in neither band."""
    rng = np.random.default_rng(9)
    planes = rng.integers(1, 30000, (2, SIZE, SIZE), dtype="int16")
    planes[:, rng.random((SIZE, SIZE)) < 0.1] = -1
    planes[1, 20:30, 20:30] = -1
    return write_tif(tmp_path / "scene.tif", planes, nodata=-1)


def table_of(con: Any, geometries: list[shapely.Geometry | None], name: str = "shapes") -> None:
    wkb = pa.array(list(shapely.to_wkb(np.array(geometries, dtype=object))), pa.binary())
    con.register(name, pa.table({"no": range(len(geometries)), "geom": wkb}))


SHAPES = [
    shapely.Polygon(at((5.2, 5.1), (50.3, 8.2), (44.4, 52.7)), [at((30.1, 20.2), (40.2, 22.2), (38.7, 30.3))]),
    shapely.MultiPolygon([shapely.box(*at((1.3, 9.9))[0], *at((4.4, 2.2))[0]), shapely.Point(at((30.3, 30.3))[0]).buffer(53)]),
    shapely.Polygon(at((-9.3, 30.2), (12.2, 20.4), (12.3, 40.6))),
    shapely.Polygon(at((-9.3, -9.2), (70.2, -9.4), (70.3, 70.6), (-9.9, 70.2))),
    shapely.box(*at((15.4, 16.3))[0], *at((15.9, 16.1))[0]),  # a sliver within one pixel, holding no centre
    shapely.box(*at((16, 32))[0], *at((32, 16))[0]),  # a tile, to the pixel
    shapely.Polygon(at((70.3, 2.2), (90.2, 2.4), (80.3, 30.6))),
]
LINES = [
    shapely.LineString(at((1.3, 1.4), (22.2, 9.9), (58.7, 57.1))),
    shapely.MultiPoint(at((3.3, 3.4), (9.7, 8.8), (59.9, 59.9))),
]


def expected_rows(path: str, geometry: shapely.Geometry, rule: str) -> dict[str, np.ndarray]:
    """What rasterio masks, as columns: whole-image rows and columns, centres, values; pixels without any value left out."""
    found = read_under(path, geometry, rule)
    if found is None:
        return {name: np.empty(0) for name in ("row", "col", "x", "y", "b1", "b2")}
    planes, transform = found
    with rasterio.open(path) as ds:
        left, top = ~ds.transform @ (transform.c, transform.f)
    row, col = np.nonzero(~np.ma.getmaskarray(planes).all(axis=0))
    xs, ys = rasterio.transform.xy(transform, row, col)
    values = {f"b{i + 1}": plane[row, col] for i, plane in enumerate(planes)}
    return {"row": row + round(top), "col": col + round(left), "x": np.array(xs), "y": np.array(ys), **values}


def assert_rows(table: pa.Table, expected: dict[str, np.ndarray], where: str) -> None:
    """Row by row, in the order of the image."""
    for name, column in expected.items():
        found = scalars(table[name])
        mask = np.ma.getmaskarray(column)
        np.testing.assert_array_equal(np.ma.getmaskarray(found), mask, err_msg=f"NULLs of {name}, {where}")
        np.testing.assert_allclose(found.data[~mask], np.ma.getdata(column)[~mask], rtol=1e-15, err_msg=f"{name}, {where}")


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_against_rasterio(con, scene: str, rule: str) -> None:
    geometries = SHAPES + LINES
    table_of(con, geometries)
    table = fetch(con, f"FROM rasteret_pixels('{scene}', 'shapes', bands := ['b1', 'b2'], pixels := '{rule}', {UTM}) ORDER BY no, row, col")
    assert set(table["coverage"].to_pylist()) == {1.0}
    for no, geometry in enumerate(geometries):
        assert_rows(table.filter(pa.compute.equal(table["no"], no)), expected_rows(scene, geometry, rule), geometry.wkt)


def test_rows_come_in_order(con, scene: str) -> None:
    """Row by row within a geometry, without asking."""
    table_of(con, SHAPES[:1])
    found = con.execute(f"SELECT row, col FROM rasteret_pixels('{scene}', 'shapes', bands := ['b1'], {UTM})").fetchall()
    assert found == sorted(found)
    assert len(found) > 500


GRIDS = {
    "north-up": SKY,
    "south-up": Affine(10.0, 0.0, 500000.0, 0.0, 10.0, 5199400.0),
    "oblong": Affine(7.5, 0.0, 500012.0, 0.0, -12.5, 5200007.0),
    "rotated": Affine(8.0, 6.0, 500000.0, 6.0, -8.0, 5199700.0),
}


def extracted(path: str, geometry: shapely.Geometry, band: int = 1) -> dict[tuple[int, int], tuple[float, float]]:
    """(row, col) → (coverage, value), by exactextract."""
    feature = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(geometry)}
    with rasterio.open(path) as ds:
        found = exactextract.exact_extract(ds, feature, ["coverage", "values", "center_x", "center_y"])[0]["properties"]
        prefix = f"band_{band}_" if ds.count > 1 else ""
        columns = [np.asarray(found[f"{prefix}{name}"]) for name in ("center_x", "center_y", "coverage", "values")]
        cols, lines = ~ds.transform @ (columns[0], columns[1])
    pixels = zip(np.floor(lines).astype(int).tolist(), np.floor(cols).astype(int).tolist(), strict=True)
    return {pixel: (float(share), float(value)) for pixel, share, value in zip(pixels, columns[2], columns[3], strict=True)}


@pytest.mark.parametrize("grid", ["north-up", "oblong"])
def test_coverage_against_exactextract(con, tmp_path: Path, grid: str) -> None:
    rng = np.random.default_rng(4)
    plane = rng.integers(1, 30000, (SIZE, SIZE), dtype="int32")
    plane[rng.random((SIZE, SIZE)) < 0.1] = -1
    path = write_tif(tmp_path / "plane.tif", plane, nodata=-1, transform=GRIDS[grid])
    circles = [shapely.Point(SKY @ place).buffer(radius) for place, radius in zip(rng.uniform(-3, 63, (60, 2)), rng.uniform(2, 90, 60), strict=True)]
    geometries = SHAPES + circles
    table_of(con, geometries)
    sql = f"FROM rasteret_pixels('{path}', 'shapes', {UTM})"
    found: dict[int, dict[tuple[int, int], tuple[float, float]]] = {no: {} for no in range(len(geometries))}
    for no, row, col, coverage, value in con.execute(f"SELECT no, row, col, coverage, b1 {sql}").fetchall():
        assert (row, col) not in found[no]
        found[no][row, col] = (coverage, value)
    means = dict(con.execute(f"SELECT no, sum(coverage * b1) / sum(coverage) {sql} GROUP BY no").fetchall())
    for no, geometry in enumerate(geometries):
        expected = {pixel: cell for pixel, cell in extracted(path, geometry).items() if cell[1] != -1}
        for pixel in expected.keys() | found[no].keys():
            share, value = found[no].get(pixel, (0.0, None))
            assert share == pytest.approx(expected.get(pixel, (0.0, 0.0))[0], abs=1e-6), (no, pixel)
            assert value is None or share < 1e-6 or value == expected[pixel][1]
        if expected:
            with rasterio.open(path) as ds:
                feature = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(geometry)}
                mean = exactextract.exact_extract(ds, feature, ["mean"])[0]["properties"]["mean"]
            assert means[no] == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("rule", ["fractional", *RULES])
def test_every_grid(con, tmp_path: Path, grid: str, rule: str) -> None:
    """Whatever way a grid lies: centres map to the pixel, values are the pixel's, coverage adds up to the area."""
    plane = np.arange(1, SIZE * SIZE + 1, dtype="uint16").reshape(SIZE, SIZE)
    path = write_tif(tmp_path / "plane.tif", plane, transform=GRIDS[grid])
    plot = shapely.Point(GRIDS[grid] @ (31.3, 28.7)).buffer(140.0)
    table_of(con, [plot])
    found = con.execute(f"SELECT row, col, x, y, coverage, b1 FROM rasteret_pixels('{path}', 'shapes', pixels := '{rule}', {UTM})").fetchall()
    for row, col, x, y, _, value in found:
        assert (x, y) == pytest.approx(GRIDS[grid] @ (col + 0.5, row + 0.5), rel=1e-12)
        assert value == plane[row, col]
    pixel = abs(GRIDS[grid].determinant)
    area = sum(coverage for *_, coverage, _ in found) * pixel
    if rule == "fractional":
        assert area == pytest.approx(plot.area, rel=1e-9)
    elif rule != "window":
        inside = {(row, col) for row in range(SIZE) for col in range(SIZE) if plot.contains(shapely.Point(GRIDS[grid] @ (col + 0.5, row + 0.5)))}
        pixels = {(row, col) for row, col, *_ in found}
        assert pixels == inside if rule == "center" else pixels > inside


def test_records_in_several_zones(con, tmp_path: Path) -> None:
    """Pixels come in each record's own CRS; their centres lie in the plot, judged in the plot's CRS."""
    to_lonlat = {zone: Transformer.from_crs(f"EPSG:326{zone}", "OGC:CRS84", always_xy=True) for zone in (32, 33)}
    lon, lat = 12.0, 47.0
    for zone, transformer in to_lonlat.items():
        x, y = transformer.transform(lon, lat, direction="INVERSE")
        plane = np.random.default_rng(zone).integers(1, 9999, (200, 200), dtype="uint16")
        write_tif(tmp_path / f"z{zone}.tif", plane, crs=f"EPSG:326{zone}", transform=Affine(10, 0, x - 1000, 0, -10, y + 1000))
    plot = shapely.Point(lon, lat).buffer(0.006, quad_segs=3)
    table_of(con, [plot])
    for rule, tolerance in (("center", 1e-6), ("fractional", 1e-3)):
        table = fetch(con, f"FROM rasteret_pixels('{tmp_path}/z*.tif', 'shapes', bands := ['b1'], pixels := '{rule}')")
        assert set(table["record_id"].to_pylist()) == {"z32", "z33"}
        for zone, transformer in to_lonlat.items():
            mine = table.filter(pa.compute.equal(table["record_id"], f"z{zone}"))
            with rasterio.open(tmp_path / f"z{zone}.tif") as ds:
                plane, transform = ds.read(1), ds.transform
            rows_, cols = mine["row"].to_numpy(), mine["col"].to_numpy()
            assert np.array_equal(mine["b1"].to_numpy(), plane[rows_, cols])
            every_row, every_col = np.indices(plane.shape)
            inside = shapely.contains_xy(plot.buffer(-tolerance * 0.006), *transformer.transform(*(transform @ (every_col + 0.5, every_row + 0.5))))
            outside = ~shapely.contains_xy(plot.buffer(tolerance * 0.006), *transformer.transform(*(transform @ (every_col + 0.5, every_row + 0.5))))
            taken = np.zeros(plane.shape, bool)
            taken[rows_, cols] = mine["coverage"].to_numpy() > 0.75 if rule == "fractional" else True
            if rule == "center":
                assert taken[inside].all()
            assert not taken[outside].any()
            assert taken.sum() > 5000


def test_bands_of_different_resolution(con, tmp_path: Path) -> None:
    """All bands on the finest grid, the coarser by the nearest pixel; beyond its edge it is NULL."""
    fine = np.arange(1, SIZE * SIZE + 1, dtype="uint16").reshape(SIZE, SIZE)
    coarse = np.random.default_rng(0).integers(1, 200, (20, 25), dtype="uint8")
    files = {
        "fine": write_tif(tmp_path / "fine.tif", fine),
        "coarse": write_tif(tmp_path / "coarse.tif", coarse, transform=SKY @ Affine.scale(2)),
    }
    con.register("__r", pa.table({"id": ["a"], **{name: [path] for name, path in files.items()}}))
    con.execute("FROM rasteret_build_from_table('__r', name := 'mixed', band_columns := {'fine': 'fine', 'coarse': 'coarse'})").fetchall()
    table_of(con, SHAPES)
    for rule in ("fractional", "all_touched"):
        table = fetch(con, f"FROM rasteret_pixels('mixed', 'shapes', bands := ['coarse', 'fine'], pixels := '{rule}', {UTM})")
        row, col = table["row"].to_numpy(), table["col"].to_numpy()
        assert np.array_equal(table["fine"].to_numpy(), fine[row, col])
        found = scalars(table["coarse"])
        off = (row >= 40) | (col >= 50)
        assert off.any()
        assert np.array_equal(np.ma.getmaskarray(found), off)
        assert np.array_equal(found.data[~off], coarse[row[~off] // 2, col[~off] // 2])
        only = fetch(con, f"SELECT max(row) AS row FROM rasteret_pixels('mixed', 'shapes', bands := ['coarse'], pixels := '{rule}', {UTM})")
        assert only["row"].to_pylist() == [19]


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_bands_of_one_file(con, tmp_path: Path, interleave: str) -> None:
    planes = np.random.default_rng(3).integers(1, 250, (3, SIZE, SIZE), dtype="uint8")
    path = write_tif(tmp_path / "three.tif", planes, interleave=interleave)
    table_of(con, SHAPES)
    table = fetch(con, f"FROM rasteret_pixels('{path}', 'shapes', bands := ['b3', 'b1'], {UTM})")
    row, col = table["row"].to_numpy(), table["col"].to_numpy()
    assert np.array_equal(table["b3"].to_numpy(), planes[2, row, col])
    assert np.array_equal(table["b1"].to_numpy(), planes[0, row, col])


DTYPES = {
    "uint8": "INTEGER",
    "int8": "INTEGER",
    "uint16": "INTEGER",
    "int16": "INTEGER",
    "uint32": "BIGINT",
    "int32": "BIGINT",
    "uint64": "UBIGINT",
    "int64": "BIGINT",
    "float32": "FLOAT",
    "float64": "DOUBLE",
}


def test_values_have_types_that_arithmetic_is_safe_in(con, tmp_path: Path) -> None:
    """Whether the plan knows the type (a collection) or the relation carries it (a table, a view, a CTE)."""
    bands = [f"b_{dtype}" for dtype in DTYPES]
    planes = {dtype: np.array([[1, 2], [3, np.iinfo(dtype).max if "int" in dtype else 0.1]], dtype=dtype) for dtype in DTYPES}
    table = {"id": ["a"], **{f"b_{dtype}": [write_tif(tmp_path / f"{dtype}.tif", plane)] for dtype, plane in planes.items()}}
    con.register("__r", pa.table(table))
    mapping = ", ".join(f"'{band}': '{band}'" for band in bands)
    con.execute(f"FROM rasteret_build_from_table('__r', name := 'all', band_columns := {{{mapping}}})").fetchall()
    con.execute("CREATE TEMP TABLE kept AS FROM rasteret_collection('all')").fetchall()
    con.execute("CREATE TEMP VIEW seen AS FROM kept WHERE id = 'a'").fetchall()
    table_of(con, [shapely.box(*at((0.1, 1.9))[0], *at((1.9, 0.1))[0])])
    for prefix, source in (("", "all"), ("", "kept"), ("", "seen"), ("WITH picked AS (FROM rasteret_collection('all')) ", "picked")):
        call = f"rasteret_pixels('{source}', 'shapes', bands := {bands}, pixels := 'window', {UTM})"
        described = {name: kind for name, kind, *_ in con.execute(f"DESCRIBE SELECT * FROM ({prefix}FROM {call})").fetchall()}
        assert {band: described[band] for band in bands} == {f"b_{dtype}": kind for dtype, kind in DTYPES.items()}, source
        found = con.execute(f"{prefix}SELECT {', '.join(bands)} FROM {call} ORDER BY row, col").fetchall()
        assert found == [tuple(plane[row, col].item() for plane in planes.values()) for row in (0, 1) for col in (0, 1)], source
    assert con.execute(
        "SELECT b_uint8 - b_uint16 FROM rasteret_pixels('all', 'shapes', bands := ['b_uint8', 'b_uint16'], " + UTM + ") LIMIT 1"
    ).fetchall()


def test_columns_and_their_names(con, scene: str) -> None:
    con.execute(f"""CREATE TEMP TABLE mine AS SELECT 1::UTINYINT AS row, 'A' AS "B1", '{SHAPES[1].wkt}' AS geom, 2 AS u, 3 AS t, 4 AS a, 5 AS x, 6 AS live,
        7 AS v0, 8 AS src, 9 AS pixel_row, 10 AS no, 11 AS coverage""").fetchall()
    sql = f"FROM rasteret_pixels('{scene}', 'mine', bands := ['b1'], {UTM})"
    described = [(name, kind) for name, kind, *_ in con.execute(f"DESCRIBE {sql}").fetchall()]
    own = con.execute("DESCRIBE mine").fetchall()
    assert described[: len(own)] == [(name, kind) for name, kind, *_ in own]
    assert described[len(own) :] == [
        ("record_id", "VARCHAR"),
        ("datetime", "TIMESTAMP"),
        ("x_1", "DOUBLE"),
        ("y", "DOUBLE"),
        ("row_1", "INTEGER"),
        ("col", "INTEGER"),
        ("coverage_1", "DOUBLE"),
        ("b1_1", "INTEGER"),
    ]
    answer = rows(con, f"{sql} LIMIT 1")[0]
    assert [answer[name] for name, *_ in own if name not in ("B1", "geom")] == [1, *range(2, 12)]


def test_scaled(con, tmp_path: Path) -> None:
    path = write_tif(tmp_path / "s.tif", np.array([[[1, 2], [3, 0]]], dtype="int16"), nodata=0, scales=(0.5,), offsets=(-1.0,))
    table_of(con, [shapely.box(*at((0.1, 1.9))[0], *at((1.9, 0.1))[0])])
    sql = f"SELECT b1 FROM rasteret_pixels('{path}', 'shapes', scaled := true, {UTM})"
    assert con.execute(f"DESCRIBE {sql}").fetchall()[0][1] == "DOUBLE"
    assert con.execute(sql).fetchall() == [(-0.5,), (0.0,), (0.5,)]


def test_no_row_where_there_is_no_pixel(con, tmp_path: Path) -> None:
    """Outside, off all centres, NULL, empty, nothing but nodata; and tables without rows."""
    path = write_tif(tmp_path / "half.tif", np.repeat(np.array([[0, 7]], "uint8"), 20, axis=1).repeat(40, axis=0), nodata=0)
    table_of(
        con,
        [shapely.box(*at((25, 9))[0], *at((27, 8))[0]), SHAPES[6], SHAPES[4], None, shapely.Polygon(), shapely.box(*at((1, 9))[0], *at((9, 5))[0])],
    )
    found = con.execute(f"SELECT no, b1, coverage FROM rasteret_pixels('{path}', 'shapes', pixels := 'center', {UTM})").fetchall()
    assert found == [(0, 7, 1.0), (0, 7, 1.0)]
    con.execute("CREATE TEMP TABLE none AS FROM shapes WHERE false").fetchall()
    assert con.execute(f"FROM rasteret_pixels('{path}', 'none', {UTM})").fetchall() == []
    con.execute(f"CREATE TEMP TABLE records AS FROM rasteret_collection('{path}')").fetchall()
    con.execute("CREATE TEMP TABLE no_records AS FROM records WHERE false").fetchall()
    assert con.execute(f"FROM rasteret_pixels('no_records', 'shapes', bands := ['b1'], {UTM})").fetchall() == []
    assert len(con.execute(f"FROM rasteret_pixels('records', 'shapes', bands := ['b1'], {UTM})").fetchall()) == 2


def test_a_record_without_one_of_the_bands(con, tmp_path: Path) -> None:
    path = write_tif(tmp_path / "a.tif", np.full((20, 20), 3, "uint8"))
    other = write_tif(tmp_path / "b.tif", np.full((20, 20), 4, "uint8"))
    con.register("__r", pa.table({"id": ["a", "b"], "R": [path, path], "Q": [None, other]}))
    con.execute("FROM rasteret_build_from_table('__r', name := 'gaps', band_columns := {'R': 'R', 'Q': 'Q'})").fetchall()
    table_of(con, [shapely.box(*at((5, 7))[0], *at((7, 5))[0])])
    assert con.execute(
        f"SELECT record_id, R, Q, count(*) FROM rasteret_pixels('gaps', 'shapes', bands := ['R', 'Q'], {UTM}) GROUP BY ALL ORDER BY 1"
    ).fetchall() == [
        ("a", 3, None, 4),
        ("b", 3, 4, 4),
    ]
    assert con.execute(f"SELECT DISTINCT record_id FROM rasteret_pixels('gaps', 'shapes', bands := ['Q'], {UTM})").fetchall() == [("b",)]


def test_an_unreadable_tile_costs_its_pixels(con, tmp_path: Path) -> None:
    """NULL in its band; absent where no band has a value; an error unless told otherwise."""
    rng = np.random.default_rng(3)
    planes = {name: rng.integers(1, 60000, (32, 48), dtype="uint16") for name in ("good", "bad")}
    paths = {name: write_tif(tmp_path / f"{name}.tif", plane) for name, plane in planes.items()}
    con.register("__r", pa.table({"id": ["a"], **{name: [path] for name, path in paths.items()}}))
    con.execute("FROM rasteret_build_from_table('__r', name := 'hurt', band_columns := {'good': 'good', 'bad': 'bad'})").fetchall()
    offsets, lengths = con.execute("SELECT bad_metadata.tile_offsets, bad_metadata.tile_byte_counts FROM rasteret_collection('hurt')").fetchall()[0]
    data = bytearray(Path(paths["bad"]).read_bytes())
    data[offsets[4] : offsets[4] + lengths[4]] = bytes(lengths[4])  # rows 16 to 32, columns 16 to 32
    Path(paths["bad"]).write_bytes(data)
    table_of(con, [shapely.box(*at((2, 30))[0], *at((40, 10))[0])])
    call = f"rasteret_pixels('hurt', 'shapes', bands := ['good', 'bad'], {UTM}"
    found = con.execute(f"SELECT row, col, good, bad FROM {call}, on_error := 'null') ORDER BY row, col").fetchall()
    broken = {(row, col) for row in range(16, 30) for col in range(16, 32)}
    pixels = [(row, col) for row in range(10, 30) for col in range(2, 40)]
    assert found == [(r, c, planes["good"][r, c], None if (r, c) in broken else planes["bad"][r, c]) for r, c in pixels]
    alone = con.execute(f"SELECT row, col FROM {call.replace('[' + repr('good') + ', ', '[')}, on_error := 'null')").fetchall()
    assert set(alone) == set(pixels) - broken
    with pytest.raises(duckdb.Error, match=r"bad\.tif"):
        con.execute(f"FROM {call})").fetchall()


@pytest.mark.parametrize("geometry", LINES, ids=["line", "points"])
def test_what_has_no_area_has_no_fractions(con, scene: str, geometry: shapely.Geometry) -> None:
    table_of(con, [geometry, SHAPES[1]])
    call = f"rasteret_pixels('{scene}', 'shapes', bands := ['b1'], {UTM}"
    with pytest.raises(duckdb.Error) as caught:
        con.execute(f"FROM {call})").fetchall()
    first = str(caught.value).splitlines()[0]
    assert f"a {geometry.geom_type} has no area" in first
    assert "pixels := 'all_touched'" in first
    assert con.execute(f"SELECT DISTINCT no FROM {call}, on_error := 'null')").fetchall() == [(1,)]
    assert sorted(con.execute(f"SELECT DISTINCT no FROM {call}, pixels := 'all_touched')").fetchall()) == [(0,), (1,)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("bands := ['b1'], pixels := 'fractions'", "pixels := 'fractions' is not valid; did you mean 'fractional'"),
        ("bands := ['b3']", "unknown band 'b3'"),
        ("", "bands is missing; choose from: b1, b2"),
        ("bands := ['b1'], on_error := 'skip'", "on_error := 'skip' is not valid"),
        ("bands := ['b1'], geometry := 'shape'", "no column 'shape'"),
        ("bands := ['b1'], geometry_crs := 'EPSG:99999999'", "99999999"),
    ],
)
def test_one_bad_argument_fails_in_one_line(con, scene: str, arguments: str, message: str) -> None:
    table_of(con, SHAPES)
    with pytest.raises(duckdb.Error) as caught:
        con.execute(f"FROM rasteret_pixels({', '.join(filter(None, [repr(scene), repr('shapes'), arguments]))})").fetchall()
    assert message in str(caught.value).splitlines()[0]


def test_broken_geometries_have_no_rows(con, scene: str) -> None:
    con.execute(f"CREATE TEMP TABLE plots AS SELECT * FROM (VALUES (1, 'POLYGON((1'), (2, '{SHAPES[1]}'), (3, NULL)) AS t(no, geom)").fetchall()
    call = f"rasteret_pixels('{scene}', 'plots', bands := ['b1'], {UTM}"
    assert con.execute(f"SELECT DISTINCT no FROM {call}, on_error := 'null')").fetchall() == [(2,)]
    with pytest.raises(duckdb.Error, match="on_error := 'null'"):
        con.execute(f"FROM {call})").fetchall()


def test_an_index_per_plot_and_date(con, tmp_path: Path) -> None:
    """The example of the manual, as it stands."""
    rng = np.random.default_rng(8)
    dates = [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 11)]
    planes = [
        {"B04": rng.integers(200, 3000, (SIZE, SIZE), dtype="uint16"), "B08": rng.integers(200, 6000, (SIZE, SIZE), dtype="uint16")} for _ in dates
    ]
    clouds = [rng.integers(0, 12, (SIZE // 2, SIZE // 2), dtype="uint8") for _ in dates]
    records: dict[str, list[Any]] = {"id": ["one", "two"], "datetime": dates, "B04": [], "B08": [], "SCL": []}
    for i, (bands, cloud) in enumerate(zip(planes, clouds, strict=True)):
        for name, plane in bands.items():
            records[name].append(write_tif(tmp_path / f"{name}{i}.tif", plane, nodata=0))
        records["SCL"].append(write_tif(tmp_path / f"SCL{i}.tif", cloud, transform=SKY @ Affine.scale(2), nodata=0))
    con.register("__r", pa.table(records))
    con.execute("FROM rasteret_build_from_table('__r', name := 's2', band_columns := {'B04': 'B04', 'B08': 'B08', 'SCL': 'SCL'})").fetchall()
    to_lonlat = Transformer.from_crs("EPSG:32633", "OGC:CRS84", always_xy=True).transform
    plots = [shapely.transform(shape, to_lonlat, interleaved=False) for shape in SHAPES[:2]]
    con.register("plots", pa.table({"plot_id": [1, 2], "geometry": shapely.to_wkb(plots)}))
    found = con.execute("""FROM rasteret_pixels(s2, plots, bands := ['B04', 'B08', 'SCL'], pixels := 'fractional')
SELECT plot_id, datetime, sum(coverage * (B08 - B04) / (B08 + B04)) / sum(coverage) AS ndvi
WHERE SCL IN (4, 5, 6) GROUP BY ALL""").fetchall()
    assert len(found) == 4
    for plot, date, ndvi in found:
        i = dates.index(date)
        red, nir = planes[i]["B04"].astype(float), planes[i]["B08"].astype(float)
        clear = np.isin(clouds[i], (4, 5, 6)).repeat(2, axis=0).repeat(2, axis=1)
        shares = np.zeros((SIZE, SIZE))
        for pixel, (share, _) in extracted(records["B04"][i], SHAPES[plot - 1]).items():
            shares[pixel] = share
        shares *= clear
        assert ndvi == pytest.approx((shares * (nir - red) / (nir + red)).sum() / shares.sum(), rel=1e-5)


WINDOWS = st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(1, 300), st.integers(1, 300))


@settings(max_examples=150, deadline=None)
@given(
    windows=st.lists(WINDOWS, min_size=1, max_size=3),
    tile=st.tuples(st.integers(1, 70), st.one_of(st.integers(1, 70), st.just(800))),
    most=st.integers(1, 5000),
)
def test_windows_are_cut_along_tiles(windows: list[tuple[int, int, int, int]], tile: tuple[int, int], most: int) -> None:
    """Parts tile their window; none is larger than asked, except a single row of a tile; only a tile too large is cut."""
    tall, wide = tile
    owner, parts = cut_windows(np.array(windows), tall, wide, most)
    for number, (row, col, height, width) in enumerate(windows):
        seen = np.zeros((height, width), int)
        for r, c, h, w in parts[owner == number].tolist():
            assert h > 0
            assert w > 0
            seen[r - row : r - row + h, c - col : c - col + w] += 1
            assert h * w <= most or h == 1
            assert r == row or r % tall == 0 or tall * wide > most
            assert c == col or c % wide == 0
        assert (seen == 1).all()


def tiles_of(table: pa.Table) -> set[tuple[int, int]]:
    """Tiles of 128 that hold the rows' pixels."""
    return set(zip((table["row"].to_numpy() // 128).tolist(), (table["col"].to_numpy() // 128).tolist(), strict=True))


@pytest.mark.parametrize("rule", ["fractional", *RULES])
def test_large_geometries_in_parts_are_the_same(con, tmp_path: Path, rule: str) -> None:
    """In the least memory a plot comes in many parts: each pixel once, as if it were whole, and no tile is decoded twice."""
    plane = np.random.default_rng(2).integers(0, 50, (900, 1000), dtype="uint16")
    path = write_tif(tmp_path / "large.tif", plane, nodata=0, blockxsize=128, blockysize=128)
    star = shapely.Point(SKY @ (480.3, 460.2)).buffer(4900).difference(shapely.Point(SKY @ (300.7, 400.1)).buffer(1100))
    overlapping = shapely.MultiPolygon([shapely.box(*at((c, r + 600))[0], *at((c + 700, r))[0]) for c, r in ((50.3, 60.2), (120.1, 110.9))])
    table_of(con, [star, shapely.box(*at((100.2, 300.4))[0], *at((700.6, 200.9))[0]), overlapping])
    sql = f"SELECT no, row, col, coverage, b1 FROM rasteret_pixels('{path}', 'shapes', pixels := '{rule}', {UTM}) ORDER BY no, row, col"
    con.execute("SET VARIABLE rasteret_memory_bytes = 1000000000").fetchall()
    whole = fetch(con, sql)
    assert rows(con, "FROM rasteret_io(last := 1)")[0]["tiles_decoded"] == len(tiles_of(whole)), "one call"
    con.execute("SET VARIABLE rasteret_memory_bytes = 1048576").fetchall()
    con.execute("SET VARIABLE rasteret_cache_bytes = 1000000").fetchall()
    engine().cache.clear()
    engine().reports.clear()
    parts = fetch(con, sql)
    assert len(parts) > 700_000 if rule == "window" else len(parts) > 500_000
    assert parts.drop_columns("coverage").equals(whole.drop_columns("coverage"))
    np.testing.assert_allclose(parts["coverage"].to_numpy(), whole["coverage"].to_numpy(), atol=1e-12)
    logged = rows(con, "FROM rasteret_io(last := 1000) WHERE function = 'rasteret_pixels'")
    assert len(logged) > 10
    assert sum(row["tiles_decoded"] for row in logged) == len(tiles_of(whole))
    assert parts["b1"].null_count == 0


PROGRAM = """
import json, sys
import pyarrow as pa, shapely
import rasteret_sql

path, memory = sys.argv[1], int(sys.argv[2])
con = rasteret_sql.connect()
con.execute("SET enable_progress_bar = false").fetchall()
con.execute(f"SET VARIABLE rasteret_memory_bytes = {memory}").fetchall()
con.execute("SET VARIABLE rasteret_cache_bytes = 8000000").fetchall()

def read(radius):
    con.register("plots", pa.table({"geom": [shapely.Point(530000, 5170000).buffer(radius, quad_segs=64).wkb]}))
    call = f"rasteret_pixels('{path}', 'plots', pixels := 'fractional', geometry_crs := 'EPSG:32633')"
    return con.execute(f"SELECT count(*), sum(coverage), sum(coverage * b1), min(x), max(y) FROM {call}").fetchall()

def peak():
    # in KiB; not ru_maxrss, which a process inherits from the one that started it
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

read(3000)
before = peak()
answer = read(30000)
print(json.dumps({"answer": answer[0], "growth": (peak() - before) * 1024}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read where Linux keeps it")
def test_a_scene_of_rows_streams(tmp_path: Path) -> None:
    """One plot as large as a scene, 28 million rows (1.3 GB as columns), in 16 MB: measured in a process of its own."""
    path = write_tif(tmp_path / "scene.tif", np.full((6000, 6000), 7, "uint8"), blockxsize=512, blockysize=512, compress="zstd")
    found = {}
    for memory in (16 << 20, 192 << 20):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM, path, str(memory)], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        found[memory] = json.loads(done.stdout.splitlines()[-1])
    for answer in (entry["answer"] for entry in found.values()):
        area = shapely.Point(530000, 5170000).buffer(30000, quad_segs=64).area / 100
        assert answer[0] > 28_000_000
        assert answer[1:3] == pytest.approx([area, 7 * area], rel=1e-9)
        assert answer[3:] == [500005.0, 5199995.0]
    growth = [entry["growth"] / (1 << 20) for entry in found.values()]
    assert growth[0] < 110, growth
    assert growth[1] > 1.5 * growth[0], f"the judge: more memory where more is given ({growth})"
