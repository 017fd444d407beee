"""``rasteret_read``: geometries of every kind, statuses, filters and errors, against rasterio."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import shapely
from affine import Affine
from pyproj import CRS, Transformer

from tests.reader.oracle import SKY, blocks, fetch, read_under, rows, same, write_tif
from tests.sql.zones import zones_table

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

UTM = "geometry_crs := 'EPSG:32633'"
SIZE = 60


def at(*pixels: tuple[float, float]) -> list[tuple[float, float]]:
    """Coordinates of (col, row) positions."""
    return [SKY @ pixel for pixel in pixels]


@pytest.fixture
def scene(tmp_path: Path) -> str:
    """60 x 60 pixels of two bands with nodata holes."""
    rng = np.random.default_rng(9)
    planes = rng.integers(1, 30000, (2, SIZE, SIZE), dtype="int16")
    planes[:, rng.random((SIZE, SIZE)) < 0.1] = -1
    planes[1, 20:30, 20:30] = -1
    return write_tif(tmp_path / "scene.tif", planes, nodata=-1)


def shapes_table(con, geometries: list[shapely.Geometry | None]) -> None:
    zones_table(con, geometries, "shapes")


def assert_like_rasterio(con, path: str, geometries: list[shapely.Geometry], rule: str, bands: tuple[str, ...] = ("b1", "b2")) -> None:
    """Every geometry that rasterio can read gives the same array, on the same transform; the others are outside."""
    shapes_table(con, geometries)
    table = fetch(con, f"FROM rasteret_read('{path}', 'shapes', bands := {list(bands)}, pixels := '{rule}', {UTM}) ORDER BY no")
    assert table["no"].to_pylist() == list(range(len(geometries)))
    found = [blocks(table, band) for band in bands]
    for row, geometry in enumerate(geometries):
        expected = read_under(path, geometry, rule)
        if expected is None:
            assert table["status"][row].as_py() == "outside", geometry.wkt
            assert table["transform"][row].as_py() is None
            continue
        assert tuple(table["transform"][row].as_py()) == tuple(expected[1])[:6], geometry.wkt
        for index in range(len(bands)):
            same(found[index][row], expected[0][index], geometry.wkt)


@pytest.mark.parametrize("rule", ["center", "all_touched"])
def test_geometries_of_every_kind(con, scene: str, rule: str) -> None:
    ring = shapely.Polygon(at((5.2, 5.1), (50.3, 8.2), (44.4, 52.7)), [at((30.1, 20.2), (40.2, 22.2), (38.7, 30.3))])
    geometries = [
        ring,
        shapely.reverse(ring),
        shapely.MultiPolygon([shapely.box(*at((1.3, 9.9))[0], *at((4.4, 2.2))[0]), shapely.Point(at((30.3, 30.3))[0]).buffer(53)]),
        shapely.Polygon(at((10.2, 10.1), (20.3, 20.4), (20.3, 10.1), (10.2, 20.4))),  # a bow tie
        shapely.LineString(at((1.3, 1.4), (22.2, 9.9), (58.7, 57.1))),
        shapely.MultiLineString([at((1.3, 50.4), (9.2, 41.9)), at((30.3, 31.2), (33.3, 31.3))]),
        shapely.MultiPoint(at((3.3, 3.4), (9.7, 8.8), (59.9, 59.9))),
        shapely.GeometryCollection([shapely.Point(at((7.7, 7.7))[0]), shapely.LineString(at((9.3, 9.4), (15.2, 9.9)))]),
        shapely.Polygon(at((-9.3, 30.2), (12.2, 20.4), (12.3, 40.6))),
        shapely.Polygon(at((-9.3, -9.2), (70.2, -9.4), (70.3, 70.6), (-9.9, 70.2))),
        shapely.Polygon(at((70.3, 2.2), (90.2, 2.4), (80.3, 30.6))),
        shapely.Polygon(at((-30.3, 70.2), (-0.2, 70.4), (-5.3, 61.6))),
        shapely.Polygon(at((0.1, -4.2), (5.2, -0.4), (9.3, -8.6))),
    ]
    assert_like_rasterio(con, scene, geometries, rule)


@pytest.mark.parametrize("rule", ["center", "all_touched", "window"])
def test_thousands_of_geometries(con, scene: str, rule: str) -> None:
    """More than DuckDB hands over at once, in no order; each as if it were alone."""
    rng = np.random.default_rng(6)
    x, y = rng.uniform(-2, SIZE + 2, (2, 2100))
    circles = [shapely.Point(SKY @ place).buffer(radius) for place, radius in zip(zip(x, y, strict=True), rng.uniform(3, 45, 2100), strict=True)]
    assert_like_rasterio(con, scene, circles, rule, ("b1",))


@pytest.mark.parametrize(
    ("expression", "crs"),
    [("wkt", UTM), ("wkb", UTM), ("hex(wkb)", UTM), ("wkt::GEOMETRY", UTM), (f"wkt::GEOMETRY('{CRS(32633).to_json()}')", "")],
)
def test_forms_of_geometries(con, scene: str, expression: str, crs: str) -> None:
    plot = shapely.Polygon(at((5.2, 5.1), (50.3, 8.2), (44.4, 52.7)))
    con.register("texts", pa.table({"wkt": [plot.wkt], "wkb": [plot.wkb]}))
    con.execute(f"CREATE TEMP TABLE plots AS SELECT {expression} AS geom FROM texts").fetchall()
    table = fetch(con, f"FROM rasteret_read({', '.join(filter(None, [repr(scene), repr('plots'), crs]))}, bands := ['b1'])")
    same(blocks(table, "b1")[0], read_under(scene, shapely.from_wkt(plot.wkt), "center")[0][0], expression)


def test_points_as_columns(con, scene: str) -> None:
    con.execute(f"CREATE TEMP TABLE places AS SELECT {at((4.5, 9.5))[0][0]} AS px, {at((4.5, 9.5))[0][1]}::DECIMAL(18, 3) AS py").fetchall()
    found = rows(con, f"FROM rasteret_read('{scene}', 'places', bands := ['b1'], x := 'px', y := 'py', {UTM})")[0]
    assert (found["height"], found["width"]) == (1, 1)
    assert found["b1"] == read_under(scene, shapely.box(*at((4.2, 9.8))[0], *at((4.8, 9.2))[0]), "all_touched")[0][0].ravel().tolist()


BAD = {
    "NULL": ("NULL", "outside", "NULL, empty"),
    "empty": ("'POLYGON EMPTY'", "outside", "NULL, empty"),
    "an empty point": ("'POINT EMPTY'", "outside", "NULL, empty"),
    "not WKT": ("'POLYGON((1'", "error", "no valid WKT"),
    "not closed": ("'POLYGON((0 0, 1 0, 1 1))'", "error", "no valid WKT"),
    "not finite": ("'POLYGON((0 0, 1 0, 1 inf, 0 0))'", "outside", "not on Earth"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_geometries_stay_with_a_reason(con, scene: str, case: str) -> None:
    text, status, reason = BAD[case]
    good = shapely.box(*at((5.2, 9.1))[0], *at((9.3, 5.2))[0])
    con.execute(f"CREATE TEMP TABLE plots AS SELECT * FROM (VALUES (1, {text}), (2, '{good}')) AS t(no, geom)").fetchall()
    call = f"rasteret_read('{scene}', 'plots', bands := ['b1'], {UTM}"
    found = rows(con, f"FROM {call}, on_error := 'null') ORDER BY no")
    assert [(row["no"], row["b1"] is None, row["status"]) for row in found] == [(1, True, status), (2, False, "ok")]
    assert reason in found[0]["error"]
    assert found[1]["error"] is None
    if status == "error":
        with pytest.raises(duckdb.Error, match="on_error := 'null'"):
            con.execute(f"FROM {call})").fetchall()


def test_user_columns_come_first_and_keep_their_names(con, scene: str) -> None:
    plot = shapely.box(*at((5.2, 9.1))[0], *at((9.3, 5.2))[0])
    con.execute(
        f"""CREATE TEMP TABLE mine AS SELECT 1::UTINYINT AS height, 'A' AS "B1", '{plot}' AS geom, 2 AS u, 3 AS t, 4 AS s, 5 AS g, 6 AS live, 7 AS met,
        8 AS src, 9 AS payload, 10 AS no, 11 AS seq, 12 AS k, 13 AS f, 14 AS nbytes"""
    ).fetchall()
    sql = f"FROM rasteret_read('{scene}', 'mine', bands := ['b1'], {UTM})"
    described = [(name, kind) for name, kind, *_ in con.execute(f"DESCRIBE {sql}").fetchall()]
    own = con.execute("DESCRIBE mine").fetchall()
    assert described[: len(own)] == [(name, kind) for name, kind, *_ in own]
    assert described[len(own) :] == [
        ("record_id", "VARCHAR"),
        ("datetime", "TIMESTAMP"),
        ("crs", "VARCHAR"),
        ("transform", "DOUBLE[]"),
        ("height_1", "INTEGER"),
        ("width", "INTEGER"),
        ("b1_1", "SMALLINT[]"),
        ("status", "VARCHAR"),
        ("error", "VARCHAR"),
    ]
    answer = rows(con, sql)[0]
    assert [answer[name] for name, _ in described[3 : len(own)]] == list(range(2, 15))
    assert (answer["height"], answer["B1"], answer["height_1"], len(answer["b1_1"])) == (1, "A", 5, 25)


def test_records_may_have_any_columns(con, scene: str) -> None:
    """Names that the plan itself uses are the user's to use, in tables of records too."""
    con.execute(
        f"CREATE TEMP TABLE records AS SELECT 'a' AS id, '{scene}' AS path, 1 AS t, 2 AS k, 3 AS f, 4 AS g, 5 AS src, 6 AS size, 7 AS xmin"
    ).fetchall()
    con.execute("FROM rasteret_build_from_table('records', name := 'named', href_column := 'path')").fetchall()
    shapes_table(con, [shapely.box(*at((5.2, 9.1))[0], *at((9.3, 5.2))[0])])
    con.execute("CREATE TEMP TABLE filtered AS FROM rasteret_collection('named') WHERE t = 1 AND k = 2").fetchall()
    found = [
        con.execute(f"SELECT b1, b2 FROM rasteret_read('{source}', 'shapes', bands := ['b1', 'b2'], {UTM})").fetchall()
        for source in ("named", "filtered")
    ]
    assert found[0] == found[1]
    assert len(found[0][0][0]) == 25


def test_scaled(con, tmp_path: Path) -> None:
    planes = np.array([[[1, 2], [3, 0]]], dtype="int16")
    path = write_tif(tmp_path / "s.tif", planes, nodata=0, scales=(0.5,), offsets=(-1.0,))
    shapes_table(con, [shapely.box(*at((0.1, 1.9))[0], *at((1.9, 0.1))[0])])
    sql = f"SELECT b1 FROM rasteret_read('{path}', 'shapes', scaled := true, {UTM})"
    assert con.execute(f"DESCRIBE {sql}").fetchall()[0][1] == "DOUBLE[]"
    assert con.execute(sql).fetchall() == [([-0.5, 0.0, 0.5, None],)]


def test_over_the_antimeridian(con, tmp_path: Path) -> None:
    """A raster in UTM zone 1 that lies on both sides of 180°."""
    to_utm = Transformer.from_crs("OGC:CRS84", "EPSG:32601", always_xy=True)
    x, y = to_utm.transform(180.0, 52.0)
    plane = np.arange(10000, dtype="uint16").reshape(100, 100)
    path = write_tif(tmp_path / "line.tif", plane, crs="EPSG:32601", transform=Affine(20, 0, x - 1000, 0, -20, y + 1000))
    col, row = np.array([10, 49, 51, 90]), np.array([20, 40, 60, 80])
    lon, lat = to_utm.transform(x - 1000 + 20 * (col + 0.4), y + 1000 - 20 * (row + 0.4), direction="INVERSE")
    assert lon.min() < -179.9
    assert lon.max() > 179.9
    con.register("places", pa.table({"no": range(4), "x": lon, "y": lat}))
    found = con.execute(f"SELECT b1, status FROM rasteret_sample('{path}', 'places', x := 'x', y := 'y') ORDER BY no").fetchall()
    assert found == [(int(plane[r, c]), "ok") for r, c in zip(row, col, strict=True)]
    plot = shapely.Point(x, y).buffer(444.4)
    shapes_table(con, [plot])
    table = fetch(con, f"FROM rasteret_read('{path}', 'shapes', geometry_crs := 'EPSG:32601')")
    same(blocks(table, "b1")[0], read_under(path, plot, "center")[0][0], "circle")


def test_nothing_met_or_nothing_valid(con, tmp_path: Path) -> None:
    path = write_tif(tmp_path / "empty.tif", np.zeros((40, 40), "uint8"), nodata=0)
    shapes_table(
        con, [shapely.box(*at((5.2, 9.1))[0], *at((9.3, 5.2))[0]), shapely.box(*at((50.2, 9.1))[0], *at((59.3, 5.2))[0]), shapely.Point(0, 0)]
    )
    found = rows(con, f"FROM rasteret_read('{path}', 'shapes', {UTM}, pixels := 'window') ORDER BY no")
    assert [(row["status"], row["record_id"], row["height"], row["b1"], row["error"]) for row in found] == [
        ("nodata", "empty", 5, [None] * 25, None),
        ("outside", None, None, None, None),
        ("outside", None, None, None, None),
    ]
    con.execute("CREATE TEMP TABLE none AS FROM shapes WHERE false").fetchall()
    assert con.execute(f"FROM rasteret_read('{path}', 'none', {UTM})").fetchall() == []


def test_errors_cost_their_band(con, tmp_path: Path) -> None:
    """One file of a record cannot be decoded and one is gone: their arrays are NULL throughout, the third is whole."""
    rng = np.random.default_rng(3)
    planes = {name: rng.integers(1, 60000, (32, 48), dtype="uint16") for name in ("good", "bad", "gone")}
    paths = {name: write_tif(tmp_path / f"{name}.tif", plane) for name, plane in planes.items()}
    con.register("__r", pa.table({"id": ["a"], **{name: [path] for name, path in paths.items()}}))
    con.execute("FROM rasteret_build_from_table('__r', name := 'hurt', band_columns := {'good': 'good', 'bad': 'bad', 'gone': 'gone'})").fetchall()
    Path(paths["gone"]).unlink()
    data = bytearray(Path(paths["bad"]).read_bytes())
    data[-3000:-1000] = bytes(2000)
    Path(paths["bad"]).write_bytes(data)
    plot = shapely.box(*at((1.2, 31.1))[0], *at((47.3, 1.2))[0])
    shapes_table(con, [plot])
    call = f"rasteret_read('hurt', 'shapes', bands := ['good', 'bad', 'gone'], {UTM}"
    table = fetch(con, f"FROM {call}, on_error := 'null')")
    assert table["status"].to_pylist() == ["error"]
    message = table["error"][0].as_py()
    assert "bad.tif" in message
    assert "gone.tif" in message
    same(blocks(table, "good")[0], read_under(paths["good"], plot, "center")[0][0], "good")
    for band in ("bad", "gone"):
        assert np.ma.getmaskarray(blocks(table, band)[0]).all()
    with pytest.raises(duckdb.Error, match=r"(bad|gone)\.tif"):
        con.execute(f"FROM {call})").fetchall()


def test_a_file_changed_since_it_was_indexed(con, tmp_path: Path) -> None:
    """Old offsets in a new file would decode to something: it is an error instead."""
    path = write_tif(tmp_path / "f.tif", np.full((40, 40), 5, "uint8"))
    con.register("__r", pa.table({"id": ["a"], "path": [path]}))
    con.execute("FROM rasteret_build_from_table('__r', name := 'was', href_column := 'path')").fetchall()
    write_tif(tmp_path / "f.tif", np.random.default_rng(0).integers(0, 255, (80, 80), dtype="uint8"))
    shapes_table(con, [shapely.box(*at((5.2, 9.1))[0], *at((9.3, 5.2))[0])])
    with pytest.raises(duckdb.Error, match=r"f\.tif.*(changed|differ|size)"):
        con.execute(f"FROM rasteret_read('was', 'shapes', bands := ['b1'], {UTM})").fetchall()


def test_filters_and_projections_change_no_row(con, tmp_path: Path) -> None:
    """What WHERE lets through is what it would let through of the whole result; columns may be asked for in any number and order."""
    records = [
        {"id": f"r{i}", "datetime": dt.datetime(2024, 1, 1 + i % 3), "path": write_tif(tmp_path / f"{i}.tif", np.full((40, 40), i + 1, "uint8"))}
        for i in range(6)
    ]
    con.register("__r", pa.Table.from_pylist(records))
    con.execute("FROM rasteret_build_from_table('__r', name := 'six', href_column := 'path')").fetchall()
    shapes_table(con, [shapely.box(*at((i, i + 5))[0], *at((i + 5, i))[0]) for i in range(4)])
    call = f"rasteret_read('six', 'shapes', bands := ['b1'], {UTM})"
    con.execute(f"CREATE TEMP TABLE everything AS FROM {call}").fetchall()
    for condition in (
        "datetime >= TIMESTAMP '2024-01-02'",
        "record_id IN ('r1', 'r4') AND no > 1",
        "no = 2",
        "status = 'ok' AND b1[1] > 3",
        "height * width = 25 AND record_id <> 'r0'",
        "record_id LIKE 'r%' AND list_sum(b1) / 25 = 4",
        "false",
    ):
        for columns in ("*", "b1, no", "record_id", "count(*)"):
            order = "" if columns == "count(*)" else " ORDER BY ALL"
            expected = con.execute(f"SELECT {columns} FROM everything WHERE {condition}{order}").fetchall()
            assert con.execute(f"SELECT {columns} FROM {call} WHERE {condition}{order}").fetchall() == expected, (columns, condition)


def test_arrays_aggregate_in_sql(con, scene: str) -> None:
    plot = shapely.Polygon(at((5.2, 5.1), (50.3, 8.2), (44.4, 52.7)))
    shapes_table(con, [plot])
    sums = con.execute(
        f"SELECT list_sum(b1), list_count(b1), list_max(b2) FROM rasteret_read('{scene}', 'shapes', bands := ['b1', 'b2'], {UTM})"
    ).fetchall()
    expected = read_under(scene, plot, "center")[0]
    assert sums == [(int(expected[0].sum()), int(expected[0].count()), int(expected[1].max()))]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("bands := ['b1'], pixels := 'centre'", "did you mean 'center'"),
        ("bands := ['b1'], resolution := -20", "resolution := -20 is not valid; a number greater than 0 is"),
        ("bands := ['b1'], target_crs := 'EPSG:3857'", "needs resolution"),
        ("", "bands is missing; choose from: b1, b2"),
        ("bands := []", "a list of band names is"),
    ],
)
def test_one_bad_argument_fails_in_one_line(con, scene: str, arguments: str, message: str) -> None:
    shapes_table(con, [shapely.Point(0, 0)])
    with pytest.raises(duckdb.Error) as caught:
        con.execute(f"FROM rasteret_read({', '.join(filter(None, [repr(scene), repr('shapes'), arguments]))})").fetchall()
    assert message in str(caught.value).splitlines()[0]
