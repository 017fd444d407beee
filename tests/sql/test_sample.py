"""``rasteret_sample``: its options, inputs, statuses and errors, against rasterio and plain NumPy."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import CRS

from tests.reader.oracle import SKY, fetch, rows, same, scalars, write_tif

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

UTM = "geometry_crs := 'EPSG:32633'"
XY = f"x := 'x', y := 'y', {UTM}"


def centres(row: np.ndarray, col: np.ndarray, transform: Affine = SKY) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates inside pixels, off their centres."""
    return transform.c + transform.a * (np.asarray(col) + 0.3), transform.f + transform.e * (np.asarray(row) + 0.6)


def register_points(con, row, col, name: str = "points") -> None:
    x, y = centres(row, col)
    con.register(name, pa.table({"no": np.arange(len(x)), "x": x, "y": y}))


def register_grid(con, height: int, width: int) -> None:
    """One point in every pixel, row by row."""
    row, col = np.indices((height, width)).reshape(2, -1)
    register_points(con, row, col)


def build(con, name: str, records: list[dict], bands: dict[str, int] | None = None) -> None:
    """A collection of records (id, datetime, path) with bands by index."""
    con.register("__records", pa.Table.from_pylist(records))
    index_map = "{" + ", ".join(f"'{band}': {index}" for band, index in (bands or {"B": 0}).items()) + "}"
    con.execute(f"FROM rasteret_build_from_table('__records', name := '{name}', href_column := 'path', band_index_map := {index_map})").fetchall()
    con.unregister("__records")


# -- match := 'latest' ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stack(con, tmp_path: Path) -> list[tuple[str, dt.datetime | None, np.ndarray]]:
    """Seven records of two bands full of holes on one grid, two of the same time, one without a time; the collection ``stack``."""
    rng = np.random.default_rng(1)
    days = {"c": 3, "a": 9, "e": 9, "b": 1, "f": 4, "g": 2, "d": None}
    made, records = [], []
    for name, day in days.items():
        planes = rng.integers(1, 250, (2, 30, 34), dtype="uint8")
        planes[:, rng.random((30, 34)) < 0.55] = 0
        planes[1, rng.random((30, 34)) < 0.2] = 0
        planes[:, :4, :5] = 0
        when = None if day is None else dt.datetime(2024, 1, day)
        made.append((name, when, planes))
        records.append({"id": name, "datetime": when, "path": write_tif(tmp_path / f"{name}.tif", planes, nodata=0)})
    build(con, "stack", records, {"r": 0, "g": 1})
    return made


def newest_first(stack) -> list[tuple[str, dt.datetime | None, np.ndarray]]:
    return sorted(stack, key=lambda record: (record[1] is None, -(record[1].timestamp() if record[1] else 0), record[0]))


def newest(stack, bands: list[int]) -> list[tuple]:
    """(record, datetime, values…, status) per pixel, row by row: the first record with a value in all bands, else the newest."""
    ordered, found = newest_first(stack), []
    for row, col in np.indices((30, 34)).reshape(2, -1).T:
        for name, when, planes in ordered:
            if planes[bands, row, col].all():
                found.append((name, when, *planes[bands, row, col].tolist(), "ok"))
                break
        else:
            name, when, planes = ordered[0]
            found.append((name, when, *(v or None for v in planes[bands, row, col].tolist()), "nodata"))
    return found


@pytest.mark.parametrize("bands", [["r"], ["r", "g"]])
@pytest.mark.parametrize("source", ["stack", "shuffled"])
def test_latest_is_the_newest_with_a_value(con, stack, bands, source) -> None:
    con.execute("CREATE TEMP TABLE shuffled AS FROM rasteret_collection('stack') ORDER BY hash(id)").fetchall()
    register_grid(con, 30, 34)
    values = ", ".join(bands)
    found = con.execute(
        f"SELECT record_id, datetime, {values}, status FROM rasteret_sample('{source}', 'points', bands := {bands}, match := 'latest', {XY}) ORDER BY no"
    ).fetchall()
    expected = newest(stack, [["r", "g"].index(band) for band in bands])
    assert found == expected
    assert {row[-1] for row in found} == {"ok", "nodata"}
    assert {row[0] for row in found} >= {"a", "e", "f", "c"}


def test_latest_of_shuffled_points_and_points_outside(con, stack) -> None:
    register_points(con, np.array([5, -3, 17, 500, 2]), np.array([9, 4, 33, 2, 2]))
    con.execute("CREATE TEMP TABLE mixed AS FROM points ORDER BY hash(no)").fetchall()
    found = rows(con, f"FROM rasteret_sample('stack', 'mixed', bands := ['r'], match := 'latest', {XY}) ORDER BY no")
    expected = newest(stack, [0])
    assert [(row["record_id"], row["r"]) for row in found if row["no"] in (0, 2, 4)] == [
        (name, value) for name, _, value, _ in (expected[5 * 34 + 9], expected[17 * 34 + 33], expected[2 * 34 + 2])
    ]
    assert [(row["no"], row["status"], row["record_id"], row["r"]) for row in found if row["no"] in (1, 3)] == [
        (1, "outside", None, None),
        (3, "outside", None, None),
    ]


def test_latest_over_records_that_lie_apart(con, tmp_path: Path) -> None:
    """A newer record beside the point does not count; the older one under it does."""
    new = write_tif(tmp_path / "new.tif", np.full((20, 20), 2, "uint8"), nodata=0)
    old = write_tif(tmp_path / "old.tif", np.full((20, 20), 1, "uint8"), nodata=0, transform=SKY @ Affine.translation(10, 0), crs="EPSG:32633")
    build(
        con,
        "apart",
        [{"id": "new", "datetime": dt.datetime(2024, 2, 1), "path": new}, {"id": "old", "datetime": dt.datetime(2024, 1, 1), "path": old}],
    )
    register_points(con, np.array([5, 5, 5]), np.array([3, 15, 25]))
    found = con.execute(f"SELECT record_id, B FROM rasteret_sample('apart', 'points', match := 'latest', {XY}) ORDER BY no").fetchall()
    assert found == [("new", 2), ("new", 2), ("old", 1)]


# -- layout, neighbours, scale --------------------------------------------------------------------------------------------------


def test_long_is_wide_turned(con, stack) -> None:
    register_grid(con, 12, 12)
    call = f"rasteret_sample('stack', 'points', bands := ['g', 'r'], {XY}"
    names = "no, record_id, datetime"
    long = con.execute(f"SELECT {names}, band, value, status, distance_pixels, typeof(value) FROM {call}, layout := 'long') ORDER BY ALL").fetchall()
    wide = con.execute(
        f"""SELECT {names}, unnest(['g', 'r']) AS band, unnest([g::DOUBLE, r::DOUBLE]) AS value, status, distance_pixels, 'DOUBLE'
        FROM {call}) ORDER BY ALL"""
    ).fetchall()
    assert long == wide
    assert len(long) == 2 * 7 * 144


@pytest.mark.parametrize("radius", [1, 3, 7])
def test_the_nearest_valid_pixel(con, tmp_path: Path, radius: int) -> None:
    rng = np.random.default_rng(radius)
    plane = rng.integers(1, 60000, (37, 41), dtype="uint16")
    plane[rng.random(plane.shape) < 0.93] = 0
    plane[:12, :12] = 0
    path = write_tif(tmp_path / "holes.tif", plane, nodata=0)
    register_grid(con, 37, 41)
    table = fetch(con, f"FROM rasteret_sample('{path}', 'points', max_distance_pixels := {radius}, {XY}) ORDER BY no")
    valid = np.argwhere(plane)
    for no, (row, col) in enumerate(np.indices(plane.shape).reshape(2, -1).T):
        distance = np.hypot(*(valid - (row, col)).T)
        best = np.lexsort((valid[:, 1], valid[:, 0], distance))[0]
        answer = tuple(table[name][no].as_py() for name in ("b1", "status", "distance_pixels"))
        if distance[best] > radius:
            assert answer == (None, "nodata", None)
        else:
            value = int(plane[tuple(valid[best])])
            assert answer == (value, "fallback" if distance[best] else "ok", pytest.approx(distance[best], abs=1e-12)), (row, col)
    assert {"ok", "fallback", "nodata"} == set(table["status"].to_pylist())


def test_neighbours_are_valid_in_every_band(con, tmp_path: Path) -> None:
    """The nearest pixel of one band alone would mix two places."""
    planes = np.zeros((2, 9, 9), "uint8")
    planes[0, 4, 5], planes[0, 4, 7], planes[1, 4, 7], planes[1, 3, 4] = 10, 11, 21, 22
    path = write_tif(tmp_path / "two.tif", planes, nodata=0)
    register_points(con, np.array([4]), np.array([4]))
    found = con.execute(
        f"SELECT b1, b2, status, distance_pixels FROM rasteret_sample('{path}', 'points', bands := ['b1', 'b2'], max_distance_pixels := 4, {XY})"
    )
    assert found.fetchall() == [(11, 21, "fallback", 3.0)]


def test_points_outside_get_no_neighbour(con, tmp_path: Path) -> None:
    path = write_tif(tmp_path / "full.tif", np.ones((9, 9), "uint8"), nodata=0)
    register_points(con, np.array([4, 4]), np.array([-1, 9]))
    found = con.execute(f"SELECT b1, status, distance_pixels FROM rasteret_sample('{path}', 'points', max_distance_pixels := 5, {XY})").fetchall()
    assert found == [(None, "outside", None)] * 2


@pytest.mark.parametrize(
    ("dtype", "kind"), [("uint16", "USMALLINT"), ("int8", "TINYINT"), ("uint64", "UBIGINT"), ("float32", "FLOAT"), ("float64", "DOUBLE")]
)
@pytest.mark.parametrize("radius", [1, 2])
def test_neighbourhoods(con, tmp_path: Path, dtype: str, kind: str, radius: int) -> None:
    rng = np.random.default_rng(2)
    planes = rng.integers(0, 120, (2, 33, 35)).astype(dtype)
    if dtype == "uint64":
        planes[planes > 60] += np.uint64(2**63)
    planes[:, rng.random((33, 35)) < 0.3] = 7
    path = write_tif(tmp_path / "n.tif", planes, nodata=7)
    register_grid(con, 33, 35)
    sql = f"FROM rasteret_sample('{path}', 'points', bands := ['b2', 'b1'], neighbourhood := {radius}, {XY}) ORDER BY no"
    types = {name: found for name, found, *_ in con.execute(f"DESCRIBE {sql}").fetchall()}
    assert (types["b1_window"], types["b2_window"]) == (f"{kind}[]", f"{kind}[]")
    table = fetch(con, sql)
    hidden = np.pad(planes == 7, ((0, 0), (radius, radius), (radius, radius)), constant_values=True)
    padded = np.ma.array(np.pad(planes, ((0, 0), (radius, radius), (radius, radius))), mask=hidden)
    side = 2 * radius + 1
    for band in (0, 1):
        found = scalars(table[f"b{band + 1}_window"].combine_chunks().values).reshape(33, 35, side, side)
        for row in range(side):
            for col in range(side):
                same(found[:, :, row, col], padded[band, row : row + 33, col : col + 35], f"offset {row} {col}")
        same(scalars(table[f"b{band + 1}"]).reshape(33, 35), np.ma.masked_equal(planes[band], planes.dtype.type(7)), "centre")


def test_scaled(con, tmp_path: Path) -> None:
    planes = np.array([[[1, 2], [3, 0]], [[5, 6], [7, 8]]], dtype="int16")
    path = write_tif(tmp_path / "s.tif", planes, nodata=0, scales=(0.0001, 2.0), offsets=(-0.1, 5.0))
    register_grid(con, 2, 2)
    sql = f"SELECT b1, b2, b1_window[5] AS w FROM rasteret_sample('{path}', 'points', bands := ['b1', 'b2'], scaled := true, neighbourhood := 1, {XY}) ORDER BY no"
    assert [kind for _, kind, *_ in con.execute(f"DESCRIBE {sql}").fetchall()] == ["DOUBLE"] * 3
    first = [1 * 0.0001 - 0.1, 2 * 0.0001 - 0.1, 3 * 0.0001 - 0.1, None]
    assert con.execute(sql).fetchall() == list(zip(first, [15.0, 17.0, 19.0, 21.0], first, strict=True))
    stored = con.execute(f"SELECT b1, b2 FROM rasteret_sample('{path}', 'points', bands := ['b1', 'b2'], {XY}) ORDER BY no").fetchall()
    assert stored == [(1, 5), (2, 6), (3, 7), (None, 8)]


# -- inputs ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def ramp(tmp_path: Path) -> str:
    """20 x 20 pixels that hold their own position."""
    return write_tif(tmp_path / "ramp.tif", np.arange(400, dtype="int32").reshape(20, 20))


FORMS = {
    "text": ("shape.wkt", UTM),
    "bytes": ("shape.wkb", UTM),
    "hexadecimal": ("hex(shape.wkb)", UTM),
    "geometry": ("shape.wkt::GEOMETRY", UTM),
    "geometry with a CRS": (f"shape.wkt::GEOMETRY('{CRS(32633).to_json()}')", ""),
    "argument before type": (f"shape.wkt::GEOMETRY('{CRS(3857).to_json()}')", UTM),
    "3-D": ("replace(replace(shape.wkt, 'POINT', 'POINT Z'), ')', ' 7)')", UTM),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_points(con, ramp: str, form: str) -> None:
    expression, crs = FORMS[form]
    x, y = centres(np.array([3, 0, 19]), np.array([4, 0, 19]))
    shapes = shapely.points(x, y)
    con.register("shapes", pa.table({"no": range(3), "shape": [{"wkt": s.wkt, "wkb": s.wkb} for s in shapes]}))
    con.execute(f"CREATE TEMP TABLE places AS SELECT no, {expression} AS geom FROM shapes").fetchall()
    arguments = ", ".join(filter(None, [f"'{ramp}'", "'places'", crs]))
    assert con.execute(f"SELECT no, b1, status FROM rasteret_sample({arguments}) ORDER BY no").fetchall() == [
        (0, 64, "ok"),
        (1, 0, "ok"),
        (2, 399, "ok"),
    ]


@pytest.mark.parametrize("crs", [None, "OGC:CRS84", "EPSG:4326", "EPSG:3857", "EPSG:32632"])
def test_points_in_other_crss(con, ramp: str, crs: str | None) -> None:
    """Axis order is x, y in all of them; without a word it is longitude and latitude."""
    row, col = np.indices((20, 20)).reshape(2, -1)
    x, y = rasterio.warp.transform("EPSG:32633", crs or "OGC:CRS84", *map(list, centres(row, col)))
    con.register("places", pa.table({"no": range(400), "px": x, "py": y}))
    named = f", geometry_crs := '{crs}'" if crs else ""
    found = con.execute(f"SELECT b1 FROM rasteret_sample('{ramp}', 'places', x := 'px', y := 'py'{named}) ORDER BY no").fetchall()
    assert [value for (value,) in found] == list(range(400))


def test_the_geometry_column_is_found_or_named(con, ramp: str) -> None:
    x, y = centres(np.array([3]), np.array([4]))
    point, other = shapely.Point(x[0], y[0]), shapely.Point(x[0] + 10, y[0])
    con.execute(f"CREATE TEMP TABLE two AS SELECT '{point}' AS geometry, '{other}' AS spot").fetchall()
    assert con.execute(f"SELECT b1 FROM rasteret_sample('{ramp}', 'two', {UTM})").fetchall() == [(64,)]
    assert con.execute(f"SELECT b1 FROM rasteret_sample('{ramp}', 'two', geometry := 'SPOT', {UTM})").fetchall() == [(65,)]
    con.execute(f'CREATE TEMP TABLE odd AS SELECT \'{point}\'::GEOMETRY AS "the, ""place", \'x\' AS "a b"').fetchall()
    assert con.execute(f"SELECT b1 FROM rasteret_sample('{ramp}', 'odd', {UTM})").fetchall() == [(64,)]


def test_user_columns_come_first_and_keep_their_names(con, ramp: str) -> None:
    x, y = centres(np.array([3]), np.array([4]))
    con.execute(
        f"""CREATE TEMP TABLE mine AS SELECT {{'deep': [1, 2]}} AS s, 'A' AS "Status", 1.5::DECIMAL(4, 2) AS b1, '{shapely.Point(x[0], y[0])}' AS geom,
        DATE '2024-01-01' AS datetime, 9 AS record_id, 'user' AS src, 5 AS no, 6 AS g, 7 AS crs"""
    ).fetchall()
    sql = f"FROM rasteret_sample('{ramp}', 'mine', {UTM})"
    described = [(name, kind) for name, kind, *_ in con.execute(f"DESCRIBE {sql}").fetchall()]
    own = con.execute("DESCRIBE mine").fetchall()
    assert described[: len(own)] == [(name, kind) for name, kind, *_ in own]
    assert [name for name, _ in described[len(own) :]] == ["record_id_1", "datetime_1", "b1_1", "status_1", "error", "distance_pixels"]
    answer = rows(con, sql)[0]
    assert (answer["s"], answer["Status"], answer["record_id"], answer["src"], answer["crs"]) == ({"deep": [1, 2]}, "A", 9, "user", 7)
    assert (answer["record_id_1"], answer["b1_1"], answer["status_1"]) == ("ramp", 64, "ok")


@pytest.mark.parametrize("kind", ["table", "view", "cte", "parquet"])
def test_sources_of_points(con, ramp: str, tmp_path: Path, kind: str) -> None:
    register_grid(con, 20, 20)
    name, before = "here", ""
    match kind:
        case "table":
            con.execute("CREATE TABLE here AS FROM points").fetchall()
        case "view":
            con.execute("CREATE TEMP VIEW here AS FROM points").fetchall()
        case "cte":
            before = "WITH here AS (FROM points WHERE true)"
        case "parquet":
            name = str(tmp_path / "p.parquet")
            con.execute(f"COPY points TO '{name}'").fetchall()
    found = con.execute(f"{before} SELECT count(*), sum(b1), count(DISTINCT b1) FROM rasteret_sample('{ramp}', '{name}', {XY})").fetchall()
    assert found == [(400, 400 * 399 // 2, 400)]


BAD = {
    "NULL": ("NULL", "outside", "NULL, empty"),
    "empty": ("'POINT EMPTY'", "outside", "NULL, empty"),
    "not WKT": ("'POINT(1'", "error", "no valid WKT"),
    "an area": ("'POLYGON ((0 0, 1 0, 1 1, 0 0))'", "error", "is no point"),
    "not finite": ("'POINT (inf 5)'", "outside", "not on Earth"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("match", ["all", "latest"])
def test_bad_points_stay_with_a_reason(con, ramp: str, case: str, match: str) -> None:
    text, status, reason = BAD[case]
    x, y = centres(np.array([3]), np.array([4]))
    con.execute(f"CREATE TEMP TABLE places AS SELECT * FROM (VALUES (1, {text}), (2, '{shapely.Point(x[0], y[0])}')) AS t(no, geom)").fetchall()
    call = f"rasteret_sample('{ramp}', 'places', match := '{match}', {UTM}"
    found = rows(con, f"FROM {call}, on_error := 'null') ORDER BY no")
    assert [(row["no"], row["b1"], row["status"]) for row in found] == [(1, None, status), (2, 64, "ok")]
    assert reason in found[0]["error"]
    assert found[1]["error"] is None
    if status == "error":
        with pytest.raises(duckdb.Error, match="on_error := 'null'"):
            con.execute(f"FROM {call})").fetchall()


def test_no_points_no_rows(con, ramp: str) -> None:
    con.execute("CREATE TEMP TABLE nothing (no INTEGER, x DOUBLE, y DOUBLE)").fetchall()
    for match in ("all", "latest"):
        assert con.execute(f"FROM rasteret_sample('{ramp}', 'nothing', match := '{match}', {XY})").fetchall() == []


# -- what is not there ----------------------------------------------------------------------------------------------------------


def test_sparse_tiles_are_nodata(con, tmp_path: Path) -> None:
    planes = np.full((48, 48), 3, "uint8")
    planes[16:32, 16:32] = 0
    for nodata in (0, None):
        path = write_tif(tmp_path / f"sparse{nodata}.tif", planes, nodata=nodata, SPARSE_OK=True)
        register_points(con, np.array([2, 20]), np.array([2, 20]))
        found = con.execute(f"SELECT b1, status FROM rasteret_sample('{path}', 'points', {XY}) ORDER BY no").fetchall()
        assert found == [(3, "ok"), (None, "nodata") if nodata == 0 else (0, "ok")]


def broken(tmp_path: Path) -> tuple[str, np.ndarray]:
    """A file whose second tile (columns 16 to 31) cannot be inflated."""
    plane = np.random.default_rng(7).integers(1, 60000, (32, 48), dtype="uint16")
    path = write_tif(tmp_path / "broken.tif", plane, nodata=0)
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        start, length = tiff.pages[0].dataoffsets[1], tiff.pages[0].databytecounts[1]
    data = bytearray(Path(path).read_bytes())
    data[start : start + length] = bytes(255 - byte for byte in data[start : start + length])
    Path(path).write_bytes(data)
    return path, plane


@pytest.mark.parametrize("match", ["all", "latest"])
def test_a_corrupt_tile_costs_its_points_only(con, tmp_path: Path, match: str) -> None:
    path, plane = broken(tmp_path)
    register_grid(con, 32, 48)
    call = f"rasteret_sample('{path}', 'points', match := '{match}', {XY}"
    with pytest.raises(duckdb.Error) as caught:
        con.execute(f"FROM {call})").fetchall()
    first = str(caught.value).splitlines()[0]
    assert "ReadError" in first
    assert "broken.tif" in first
    table = fetch(con, f"FROM {call}, on_error := 'null') ORDER BY no")
    bad = np.zeros(plane.shape, bool)
    bad[:16, 16:32] = True
    same(scalars(table["b1"]).reshape(plane.shape), np.ma.array(plane, mask=bad), "values")
    assert table["status"].to_pylist() == np.where(bad, "error", "ok").ravel().tolist()
    messages = table["error"].to_pylist()
    assert all(("broken.tif" in message) if hurt else message is None for message, hurt in zip(messages, bad.ravel().tolist(), strict=True))


def test_a_missing_file_costs_its_record_only(con, tmp_path: Path) -> None:
    paths = [write_tif(tmp_path / f"{name}.tif", np.full((20, 20), value, "uint8")) for name, value in (("here", 1), ("gone", 2))]
    build(con, "pair", [{"id": Path(p).stem, "datetime": dt.datetime(2024, 1, 1), "path": p} for p in paths])
    Path(paths[1]).unlink()
    register_points(con, np.array([4]), np.array([5]))
    found = rows(con, f"FROM rasteret_sample('pair', 'points', on_error := 'null', {XY}) ORDER BY record_id")
    assert [(row["record_id"], row["B"], row["status"]) for row in found] == [("gone", None, "error"), ("here", 1, "ok")]
    assert "gone.tif" in found[0]["error"]
    with pytest.raises(duckdb.Error, match=r"gone\.tif"):
        con.execute(f"FROM rasteret_sample('pair', 'points', {XY})").fetchall()


def test_records_that_lack_a_band(con, tmp_path: Path) -> None:
    red, green = (write_tif(tmp_path / f"{name}.tif", np.full((20, 20), value, "uint8")) for name, value in (("red", 1), ("green", 2)))
    con.register("__r", pa.table({"id": ["both", "red"], "r": [red, red], "g": [green, None]}))
    con.execute("FROM rasteret_build_from_table('__r', name := 'some', band_columns := {'R': 'r', 'G': 'g'})").fetchall()
    register_points(con, np.array([4]), np.array([5]))
    found = rows(con, f"FROM rasteret_sample('some', 'points', bands := ['R', 'G'], {XY}) ORDER BY record_id")
    assert [(row["record_id"], row["R"], row["G"], row["status"]) for row in found] == [("both", 1, 2, "ok"), ("red", 1, None, "nodata")]
    assert found[1]["error"] == "the record has no asset for G"
    assert found[0]["error"] is None


def test_two_records_of_one_id(con, tmp_path: Path) -> None:
    """Records are told apart by their place in the collection, not by their id: each keeps its own header."""
    one = write_tif(tmp_path / "one.tif", np.full((20, 20), 1, "uint8"))
    two = write_tif(tmp_path / "two.tif", np.full((40, 40), 2, "uint8"), blockxsize=32, blockysize=32, compress="lzw")
    when = dt.datetime(2024, 1, 1)
    build(con, "twins", [{"id": "same", "datetime": when, "path": one}, {"id": "same", "datetime": when, "path": two}])
    register_points(con, np.array([4, 30]), np.array([5, 30]))
    for source in ("twins", "copied"):
        con.execute("CREATE OR REPLACE TEMP TABLE copied AS FROM rasteret_collection('twins')").fetchall()
        found = con.execute(f"SELECT no, record_id, B FROM rasteret_sample('{source}', 'points', bands := ['B'], {XY}) ORDER BY no, B").fetchall()
        assert found == [(0, "same", 1), (0, "same", 2), (1, "same", 2)]


REFUSED = {
    "bands := ['b9']": "unknown band 'b9'; bands: b1",
    "bands := ['b1', 'b1']": "asked for twice",
    "match := 'newest'": "did you mean 'nearest'?; valid: all, latest, nearest",
    "layout := 'tall'": "valid: wide, long",
    "interpolation := 'lanczos'": "valid: nearest, bilinear, cubic",
    "max_distance_pixels := -1": "whole numbers from 0",
    "neighbourhood := 1, layout := 'long'": "layout := 'wide'",
    "on_error := 'ignore'": "valid: raise, null",
    "geometry_crs := 'EPSG:99999'": "EPSG:99999",
    "x := 'x'": "x and y go together",
    "geometry := 'nope'": "no column 'nope'",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_one_bad_argument_fails_in_one_line(con, ramp: str, arguments: str) -> None:
    con.execute("CREATE TEMP TABLE places AS SELECT 1.0 AS x, 2.0 AS y, 'POINT(1 2)' AS geom").fetchall()
    with pytest.raises(duckdb.Error) as caught:
        con.execute(f"FROM rasteret_sample('{ramp}', 'places', {arguments})").fetchall()
    assert REFUSED[arguments] in str(caught.value).splitlines()[0]


def test_what_nobody_asks_for_is_not_worked_out(con, ramp: str) -> None:
    register_grid(con, 20, 20)
    told = {}
    for asked in ("b1", "status, error, distance_pixels"):
        told[asked] = con.execute(f"EXPLAIN (FORMAT json) SELECT {asked} FROM rasteret_sample('{ramp}', 'points', {XY})").fetchall()[0][1]
    shown = {asked: re.search("(?<!max_)distance_pixels", text) for asked, text in told.items()}  # max_distance_pixels is among the options
    assert shown["status, error, distance_pixels"]
    assert not shown["b1"]
