"""``rasteret_sample(interpolation := …)`` against GDAL's warper, one pixel centred on each point; and what it may fetch."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from affine import Affine

from rasteret_sql.reader.points import PointReader
from tests.reader.oracle import SKY, fetch, rows, scalars, write_tif
from tests.reader.test_interpolate import METHODS, like, warped
from tests.sql.test_budgets import SIZE, TILE, Archive, archive, assert_within_budget, folder, run  # noqa: F401 - fixtures
from tests.sql.test_sample import XY, broken, build

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")


def some_points(con, height: int, width: int, count: int = 150, seed: int = 1, transform: Affine = SKY) -> list[tuple[float, float]]:
    """(col, row) of points anywhere on the raster, along its edges too, registered as ``points``."""
    rng = np.random.default_rng(seed)
    col, row = rng.uniform(0, width, count), rng.uniform(0, height, count)
    col[:20], row[20:40], col[40:60], row[60:80] = col[:20] % 1, row[20:40] % 1, width - col[40:60] % 1, height - row[60:80] % 1
    x, y = transform @ (col, row)
    con.register("points", pa.table({"no": range(count), "x": x, "y": y}))
    return list(zip(col.tolist(), row.tolist(), strict=True))


def judged(path: str, band: int, points: list[tuple[float, float]], method: str) -> np.ma.MaskedArray:
    return np.ma.concatenate([warped(path, band, col, row, (1, 1), method).ravel() for col, row in points])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("dtype", "nodata"), [("uint8", 0), ("int16", -5), ("uint32", None), ("float32", np.nan), ("float64", -1e9)])
def test_as_gdal_warps(con, tmp_path: Path, method: str, dtype: str, nodata: float | None) -> None:
    """Tiles of 16 over 37 x 41 pixels, a fifth of them nodata: windows over tile edges, raster edges and holes. DOUBLE, whatever is stored."""
    rng = np.random.default_rng(3)
    planes = rng.integers(1, 120, (2, 37, 41)).astype(dtype)
    if nodata is not None:
        planes[rng.random(planes.shape) < 0.2] = nodata
        planes[:, 10:30, 12:34] = rng.integers(1, 120, (2, 20, 22))
    path = write_tif(tmp_path / "a.tif", planes, nodata=nodata)
    points = some_points(con, 37, 41)
    sql = f"SELECT b2, b1, status FROM rasteret_sample('{path}', 'points', bands := ['b2', 'b1'], interpolation := '{method}', {XY}) ORDER BY no"
    assert [kind for _, kind, *_ in con.execute(f"DESCRIBE {sql}").fetchall()] == ["DOUBLE", "DOUBLE", "VARCHAR"]
    table = fetch(con, sql)
    expected = [judged(path, band, points, method) for band in (1, 2)]
    for band in (1, 2):
        like(scalars(table[f"b{band}"]), expected[band - 1])
    hidden = np.ma.getmaskarray(expected[0]) | np.ma.getmaskarray(expected[1])
    assert table["status"].to_pylist() == np.where(hidden, "nodata", "ok").tolist()


@pytest.mark.parametrize("method", METHODS)
def test_each_band_on_its_own_grid(con, tmp_path: Path, method: str) -> None:
    rng = np.random.default_rng(4)
    fine = write_tif(tmp_path / "fine.tif", rng.uniform(0, 1, (40, 44)).astype("float32"))
    coarse = write_tif(tmp_path / "coarse.tif", rng.uniform(0, 1, (20, 22)).astype("float32"), transform=SKY @ Affine.scale(2))
    con.register("__r", pa.table({"id": ["a"], "f": [fine], "c": [coarse]}))
    con.execute("FROM rasteret_build_from_table('__r', name := 'two', band_columns := {'F': 'f', 'C': 'c'})").fetchall()
    points = some_points(con, 40, 44)
    table = fetch(con, f"SELECT F, C FROM rasteret_sample('two', 'points', bands := ['C', 'F'], interpolation := '{method}', {XY}) ORDER BY no")
    like(scalars(table["F"]), judged(fine, 1, points, method))
    like(scalars(table["C"]), judged(coarse, 1, [(col / 2, row / 2) for col, row in points], method))


@pytest.mark.parametrize("source", ["ours", "relation"])
def test_a_relation_scaled_values_and_the_long_layout(con, tmp_path: Path, source: str) -> None:
    plane = np.random.default_rng(5).integers(1, 5000, (20, 20), dtype="int16")
    path = write_tif(tmp_path / "s.tif", plane, nodata=0, scales=(0.0001,), offsets=(-0.1,))
    build(con, "ours", [{"id": "a", "datetime": dt.datetime(2024, 1, 1), "path": path}])
    con.execute("CREATE TEMP TABLE relation AS FROM rasteret_collection('ours')").fetchall()
    points = some_points(con, 20, 20)
    call = f"rasteret_sample('{source}', 'points', bands := ['B'], interpolation := 'cubic', {XY}"
    expected = judged(path, 1, points, "cubic")
    like(scalars(fetch(con, f"SELECT B FROM {call}) ORDER BY no")["B"]), expected)
    like(scalars(fetch(con, f"SELECT B FROM {call}, scaled := true) ORDER BY no")["B"]), expected * 0.0001 - 0.1)
    like(scalars(fetch(con, f"SELECT value FROM {call}, layout := 'long') ORDER BY no")["value"]), expected)


@pytest.mark.parametrize("method", METHODS)
def test_latest_of_interpolated_values(con, tmp_path: Path, method: str) -> None:
    """The newest record whose own pixel has a value, as without interpolation; the values are that record's alone."""
    rng = np.random.default_rng(6)
    records = []
    for day in range(1, 5):
        plane = rng.integers(1, 250, (20, 24), dtype="uint8")
        plane[rng.random(plane.shape) < 0.4] = 0
        records.append({"id": f"r{day}", "datetime": dt.datetime(2024, 1, day), "path": write_tif(tmp_path / f"{day}.tif", plane, nodata=0)})
    build(con, "days", records)
    points = some_points(con, 20, 24)
    values = [judged(record["path"], 1, points, method) for record in reversed(records)]
    found = con.execute(
        f"SELECT record_id, B FROM rasteret_sample('days', 'points', match := 'latest', interpolation := '{method}', {XY}) ORDER BY no"
    ).fetchall()
    for no, (name, value) in enumerate(found):
        first = next((i for i, mine in enumerate(values) if not np.ma.getmaskarray(mine)[no]), None)
        if first is None:
            assert (name, value) == ("r4", None)
        else:
            assert name == f"r{4 - first}"
            assert value == pytest.approx(float(values[first][no]), rel=1e-6)
    assert {name for name, _ in found} == {"r1", "r2", "r3", "r4"}


def test_a_corrupt_tile_costs_the_points_that_need_it(con, tmp_path: Path) -> None:
    """Points beside the tile (columns 16 to 31) need its pixels too."""
    path, plane = broken(tmp_path)
    col = np.array([14.9, 15.4, 15.6, 20.0, 32.4, 32.6, 40.0])
    x, y = SKY @ (col, np.full(len(col), 8.0))
    con.register("points", pa.table({"no": range(len(col)), "x": x, "y": y}))
    call = f"rasteret_sample('{path}', 'points', interpolation := 'bilinear', {XY}"
    found = rows(con, f"FROM {call}, on_error := 'null') ORDER BY no")
    assert [row["status"] for row in found] == ["ok", "ok", "error", "error", "error", "ok", "ok"]
    assert all("broken.tif" in row["error"] for row in found if row["status"] == "error")
    assert found[-1]["b1"] == pytest.approx(plane[7:9, 39:41].mean())
    with pytest.raises(duckdb.Error, match=r"broken\.tif"):
        con.execute(f"FROM {call})").fetchall()


def test_points_outside(con, tmp_path: Path) -> None:
    path = write_tif(tmp_path / "a.tif", np.ones((9, 9), "uint8"), nodata=0)
    x, y = SKY @ (np.array([-0.1, 0.1, 8.9, 9.1]), np.full(4, 4.0))
    con.register("points", pa.table({"no": range(4), "x": x, "y": y}))
    found = con.execute(f"SELECT b1, status FROM rasteret_sample('{path}', 'points', interpolation := 'cubic', {XY}) ORDER BY no").fetchall()
    assert found == [(None, "outside"), (1.0, "ok"), (1.0, "ok"), (None, "outside")]


@pytest.mark.parametrize(("method", "before", "after"), [("bilinear", 0, 1), ("cubic", 1, 2)])
def test_tiles_of_interpolated_points(con, archive: Archive, method: str, before: int, after: int) -> None:  # noqa: F811
    """Each tile once, and no tile that holds none of the 2 x 2 or 4 x 4 pixels; the limit of bytes is exact."""
    rng = np.random.default_rng(8)
    col, row = rng.uniform(0, 400, 50), rng.uniform(0, 300, 50)
    col[:10] = TILE + rng.uniform(-2.4, 2.4, 10)
    col[10], row[10] = 0.2, 0.3
    x, y = SKY @ (col, row)
    con.register("points", pa.table({"no": range(50), "x": x, "y": y}))
    low = np.floor(np.stack([row, col], axis=1) - 0.5).astype(int) - before
    high = np.minimum(low + before + after, SIZE - 1)
    low = np.maximum(low, 0)
    windows = [(r0, c0, r1 - r0 + 1, c1 - c0 + 1) for (r0, c0), (r1, c1) in zip(low.tolist(), high.tolist(), strict=True)]
    tiles = {key: size for i in range(4) for band in "RN" for key, size in archive.tiles(f"{i}{band}.tif", windows).items()}
    sql = f"FROM rasteret_sample('stack', 'points', bands := ['R', 'N'], interpolation := '{method}', {XY})"
    archive.reset()
    needed = sum(tiles.values())
    run(con, f"SET VARIABLE rasteret_max_bytes = {needed - 1}")
    with pytest.raises(duckdb.Error, match=f"would fetch {needed:,} bytes"):
        run(con, sql)
    assert archive.requests() == 0
    run(con, f"SET VARIABLE rasteret_max_bytes = {needed}")
    assert len(run(con, sql)) == 200
    assert_within_budget(archive, tiles)


@pytest.mark.parametrize("match", ["all", "latest"])
def test_many_points_in_parts(con, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, match: str) -> None:
    """A few points at a time give what all at once give, errors, masks and absent bands included."""
    rng = np.random.default_rng(9)
    path, _ = broken(tmp_path)
    planes = [rng.integers(0, 9, (32, 48), dtype="uint8") for _ in range(3)]
    paths = [write_tif(tmp_path / f"{i}.tif", plane, nodata=0) for i, plane in enumerate(planes)]
    table = {"id": ["a", "b", "c"], "datetime": [dt.datetime(2024, 1, day) for day in (1, 2, 3)], "f": [*paths[:2], path], "c": [None, *paths[1:]]}
    con.register("__r", pa.table(table))
    con.execute("FROM rasteret_build_from_table('__r', name := 'three', band_columns := {'F': 'f', 'C': 'c'})").fetchall()
    some_points(con, 32, 48, 300)
    sql = f"""FROM rasteret_sample('three', 'points', bands := ['F'], expressions := {{'e': 'F + C'}}, mask := 'C <> 5', interpolation := 'bilinear',
        match := '{match}', on_error := 'null', {XY}) ORDER BY ALL"""
    expected = con.execute(sql).fetchall()
    assert {"ok", "error", "nodata"} <= {row[-3] for row in expected} | ({"nodata"} if match == "latest" else set())
    for most in (4, 100, 1000):
        monkeypatch.setattr(f"{PointReader.__module__}.PART_PIXELS", most)
        assert con.execute(sql).fetchall() == expected


def test_parts_read_each_tile_once(con, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Points go tile by tile: a cache that holds two tiles will do."""
    rng = np.random.default_rng(10)
    centres = np.stack(np.meshgrid(np.arange(0, SIZE, TILE), np.arange(0, SIZE, TILE)), -1).reshape(-1, 2)
    places = (centres[rng.integers(0, len(centres), 400)] + rng.uniform(3, TILE - 3, (400, 2))).T
    x, y = SKY @ places
    con.register("points", pa.table({"no": range(400), "x": x, "y": y}))
    windows = [(int(row), int(col), 1, 1) for col, row in places.T]
    tiles = {key: size for i in range(4) for key, size in archive.tiles(f"{i}R.tif", windows).items()}
    run(con, f"SET VARIABLE rasteret_cache_bytes = {3 * TILE * TILE * 2}")
    sql = f"FROM rasteret_sample('stack', 'points', bands := ['R'], interpolation := 'cubic', {XY})"
    monkeypatch.setattr(f"{PointReader.__module__}.PART_PIXELS", 16 * 50)
    archive.reset()
    run(con, f"SET VARIABLE rasteret_max_bytes = {sum(tiles.values()) - 1}")
    with pytest.raises(duckdb.Error, match=f"would fetch {sum(tiles.values()):,} bytes"):
        run(con, sql)
    assert archive.requests() == 0
    run(con, "RESET VARIABLE rasteret_max_bytes")
    assert len(run(con, sql)) == 1600
    stats = archive.server.stats()
    assert stats.bytes <= 1.5 * sum(tiles.values())


REFUSED = {
    "interpolation := 'lanczos'": "rasteret_sample: interpolation := 'lanczos' is not valid; valid: nearest, bilinear, cubic",
    "interpolation := 'bilinear', neighbourhood := 1": "rasteret_sample: neighbourhood does not go with interpolation := 'bilinear'",
    "interpolation := 'cubic', max_distance_pixels := 2": "rasteret_sample: max_distance_pixels does not go with interpolation := 'cubic'",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_refused_in_one_line(con, tmp_path: Path, arguments: str) -> None:
    path = write_tif(tmp_path / "a.tif", np.ones((9, 9), "uint8"))
    con.execute("CREATE TEMP TABLE places AS SELECT 1.0 AS x, 2.0 AS y").fetchall()
    with pytest.raises(duckdb.Error) as caught:
        con.execute(f"FROM rasteret_sample('{path}', 'places', {arguments}, {XY})").fetchall()
    assert REFUSED[arguments] in str(caught.value).splitlines()[0]
