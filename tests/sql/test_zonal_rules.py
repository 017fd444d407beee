"""``rasteret_zonal``: rows that stay, errors, budgets, the scalar form, and what arguments it refuses."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely
import tifffile
from pyproj import Transformer

from rasteret_sql.reader.engine import engine
from tests.reader.oracle import SKY, rows, write_tif
from tests.servers.ranged import RangeServer
from tests.sql.zones import close, exact_of_file, zones_table

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

UTM = "geometry_crs := 'EPSG:32633'"
SIZE, TILE = 256, 64


def at(*pixels: tuple[float, float]) -> list[tuple[float, float]]:
    return [SKY @ pixel for pixel in pixels]


def box(left: float, top: float, right: float, bottom: float) -> shapely.Polygon:
    return shapely.Polygon(at((left, top), (right, top), (right, bottom), (left, bottom)))


@pytest.fixture
def scene(tmp_path: Path) -> str:
    rng = np.random.default_rng(4)
    planes = rng.integers(1, 3000, (2, SIZE, SIZE)).astype("uint16")
    return write_tif(tmp_path / "scene.tif", planes, nodata=0, blockxsize=TILE, blockysize=TILE, interleave="band")


@pytest.fixture
def server(tmp_path: Path, scene: str):
    with RangeServer(tmp_path) as serving:
        engine().cache.clear()
        yield serving


def tiles_of(path: str, band: int, covered: set[tuple[int, int]]) -> int:
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        across = page.imagewidth // TILE
        plane = band * across * across
        return sum(page.databytecounts[plane + line * across + col] for line, col in covered)


def test_only_covered_tiles_are_fetched_and_once(con, scene: str, server: RangeServer) -> None:
    """A diagonal polygon meets 7 of 16 tiles; its box meets them all. The second query asks for nothing."""
    diagonal = shapely.Polygon(at((2.5, 1.5), (6.5, 1.5), (254.5, 250.5), (250.5, 254.5)))
    inside = {
        (line, col) for line in range(4) for col in range(4) if diagonal.intersects(box(col * TILE, line * TILE, (col + 1) * TILE, (line + 1) * TILE))
    }
    zones_table(con, [diagonal, diagonal, box(3, 3, 9, 9)])
    url = server.url("scene.tif")
    con.execute(f"FROM rasteret_bands('{url}')").fetchall()
    server.reset()
    call = f"SELECT sum(mean) FROM rasteret_zonal('{url}', 'zones', bands := ['b1', 'b2'], stats := ['mean'], {UTM})"
    first = con.execute(call).fetchall()
    stats = server.stats()
    wanted = tiles_of(scene, 0, inside) + tiles_of(scene, 1, inside)
    assert stats.requests <= 2 * len(inside)
    assert wanted <= stats.bytes <= 1.03 * wanted
    server.reset()
    assert con.execute(call).fetchall() == first
    assert server.stats().requests == 0
    con.execute("SET VARIABLE rasteret_max_bytes = 1000").fetchall()
    engine().cache.clear()
    server.reset()
    with pytest.raises(duckdb.Error, match=r"would fetch [\d,]+ bytes, more than rasteret_max_bytes = 1,000"):
        con.execute(call).fetchall()
    assert server.stats().requests == 0


def test_order_of_zones_changes_nothing(con, scene: str) -> None:
    rng = np.random.default_rng(8)
    polygons = [
        shapely.Point(SKY @ place).buffer(radius) for place, radius in zip(rng.uniform(0, SIZE, (2500, 2)), rng.uniform(3, 90, 2500), strict=True)
    ]
    numbered = list(enumerate(polygons))
    results = []
    for seed in (1, 2):
        random.Random(seed).shuffle(numbered)
        con.register(f"z{seed}", pa.table({"no": [n for n, _ in numbered], "geom": [p.wkb for _, p in numbered]}))
        call = f"SELECT no, band, count, mean, median FROM rasteret_zonal('{scene}', 'z{seed}', bands := ['b1', 'b2'], stats := ['count', 'mean', 'median'], {UTM})"
        results.append(con.execute(f"{call} ORDER BY no, band").fetchall())
    assert results[0] == results[1]
    assert len(results[0]) == 5000


def test_rows_that_stay(con, scene: str) -> None:
    """NULL, empty, far away, broken: each zone keeps its rows, one for every band, with a reason."""
    shapes = [None, shapely.Polygon(), box(-90, -90, -50, -50), box(10, 10, 20, 20)]
    con.register("zones", pa.table({"no": range(5), "geom": [None if s is None else s.wkt for s in shapes] + ["POLYGON((1"]}))
    call = f"rasteret_zonal('{scene}', 'zones', bands := ['b1', 'b2'], stats := ['count', 'mean', 'variety'], {UTM}, on_error := 'null')"
    found = con.execute(f"SELECT no, band, count, mean IS NULL, variety IS NULL, status, error FROM {call} ORDER BY no, band").fetchall()
    assert [row[:6] for row in found] == [
        *((0, band, 0.0, True, True, "outside") for band in ("b1", "b2")),
        *((1, band, 0.0, True, True, "outside") for band in ("b1", "b2")),
        *((2, band, 0.0, True, True, "outside") for band in ("b1", "b2")),
        *((3, band, 100.0, False, False, "ok") for band in ("b1", "b2")),
        *((4, band, None, True, True, "error") for band in ("b1", "b2")),
    ]
    assert "no valid WKT" in found[-1][6]
    assert found[0][6] == "the geometry is NULL, empty or not on Earth"


def test_empty_tables(con, scene: str) -> None:
    con.execute("CREATE TEMP TABLE none_at_all (no INTEGER, geom BLOB)").fetchall()
    assert con.execute(f"FROM rasteret_zonal('{scene}', 'none_at_all', bands := ['b1'])").fetchall() == []
    assert con.execute(f"FROM rasteret_zonal('{scene}', 'none_at_all', bands := ['b1'], per := 'all')").fetchall() == []
    zones_table(con, [box(1, 1, 5, 5)])
    for per in ("record", "all"):
        call = f"rasteret_zonal((SELECT 'nothing'), 'zones', bands := ['b1'], per := '{per}')"
        con.execute(f"CREATE OR REPLACE TEMP TABLE nothing AS FROM rasteret_collection('{scene}') WHERE false").fetchall()
        call = f"rasteret_zonal('nothing', 'zones', bands := ['b1'], per := '{per}', {UTM})"
        assert con.execute(f"SELECT status, count FROM {call}").fetchall() == [("outside", 0.0)]


def test_a_tile_that_cannot_be_read(con, scene: str, tmp_path: Path) -> None:
    """Under ``on_error := 'null'`` the zones on it have no number, not one from the rest of their pixels; others do."""
    with tifffile.TiffFile(scene) as tiff:
        offset = tiff.pages[0].dataoffsets[5]
    with Path(scene).open("r+b") as file:
        file.seek(offset)
        file.write(b"\0" * 50)
    zones_table(con, [box(70, 70, 80, 80), box(10, 10, 100, 100), box(140, 140, 150, 150)])
    call = (
        f"rasteret_zonal('{scene}', 'zones', bands := ['b1', 'b2'], stats := ['count', 'mean', 'values'], expressions := {{'both': 'b1 + b2'}}, {UTM}"
    )
    with pytest.raises(duckdb.Error, match=r"scene\.tif"):
        con.execute(f"FROM {call})").fetchall()
    found = rows(con, f"FROM {call}, on_error := 'null') ORDER BY no, band")
    for row in found:
        broken = row["no"] < 2 and row["band"] != "b2"
        assert row["status"] == ("error" if broken else "ok"), row
        assert (row["mean"] is None) == (row["count"] is None) == (row["values"] is None) == broken, row
        assert ("scene.tif" in (row["error"] or "")) == broken
    merged = rows(con, f"FROM {call}, on_error := 'null', per := 'all') ORDER BY no, band")
    assert [row["status"] for row in merged] == [row["status"] for row in found]


def test_scalar_form(con, scene: str) -> None:
    """One number per row, that of the table form; NULL where there is none; rows of one record share its tiles."""
    back = Transformer.from_crs(32633, "OGC:CRS84", always_xy=True)
    shapes = [box(10.3, 10.2, 40.7, 31.1), box(100.1, 90.2, 190.3, 99.9), box(900, 900, 910, 910)]
    zones_table(con, [shapely.transform(shape, back.transform, interleaved=False) for shape in shapes])
    con.execute(f"CREATE TEMP VIEW s AS FROM rasteret_collection('{scene}')").fetchall()
    con.execute("CREATE TEMP TABLE plots AS SELECT no, geom FROM zones UNION ALL SELECT 3, NULL").fetchall()
    before = engine().metrics.snapshot().tiles_decoded
    engine().cache.clear()
    found = con.execute(
        "SELECT no, rasteret_zonal(s, geom, 'b1'), rasteret_zonal(s, geom, 'b2', stat := 'quantile(0.9)') FROM s, plots ORDER BY no"
    ).fetchall()
    assert engine().metrics.snapshot().tiles_decoded - before <= 2 * 4
    table = con.execute(
        f"SELECT mean, quantile_90 FROM rasteret_zonal('{scene}', 'zones', bands := ['b1', 'b2'], stats := ['mean', 'quantile(0.9)']) ORDER BY no, band"
    ).fetchall()
    assert found == [(0, table[0][0], table[1][1]), (1, table[2][0], table[3][1]), (2, None, None), (3, None, None)]
    for statistic, message in (("frac", "frac is no number"), ("sume", "did you mean 'sum'")):
        with pytest.raises(duckdb.Error, match=message):
            con.execute(f"SELECT rasteret_zonal(s, geom, 'b1', stat := '{statistic}') FROM s, plots").fetchall()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("bands := ['b1'], stats := ['average']", "unknown statistic 'average'; did you mean 'mean'"),
        ("bands := ['b1'], stats := ['quantile(1.5)']", "quantile takes one number from 0 to 1"),
        ("bands := ['b1'], stats := ['mean', 'Mean']", "asked for twice"),
        ("bands := ['b1'], stats := ['weighted_mean']", "weighted_mean needs weights"),
        ("bands := ['b1'], per := 'week'", "per := 'week' is not valid; valid: record, day, month, year, all"),
        ("bands := ['b1'], per := 'month', solar_day := true", "solar_day := true goes with per := 'day'"),
        ("bands := ['b1'], pixels := 'exact'", "valid: fractional, center, all_touched, window"),
        ("bands := ['b9']", "unknown band 'b9'; bands: b1, b2"),
        ("bands := ['b1'], expressions := {'x': 'b1 +'}", "expressions.x: does not parse"),
        ("bands := ['b1'], expressions := {'x': '1 + 1'}", "names no band"),
        ("bands := ['b1'], expressions := {'x': 'b7 + 1'}", "no band 'b7'"),
        ("bands := ['b1'], expressions := {'b1': 'b2 + 1'}", "b1"),
        ("bands := ['b1'], mask := 'b2 + 1'", "a condition (BOOLEAN) is valid"),
        ("bands := ['b1'], mask := 'b2 > (SELECT 1)'", "subquer"),
        ("bands := ['b1'], expressions := {'x': 'b1 > 1'}", "a number is valid"),
        ("", "bands is missing"),
    ],
)
def test_bad_arguments_are_one_line(con, scene: str, arguments: str, message: str) -> None:
    zones_table(con, [box(1, 1, 5, 5)])
    with pytest.raises(duckdb.Error) as caught:
        con.execute(f"FROM rasteret_zonal('{scene}', 'zones', {arguments}{', ' if arguments else ''}{UTM})").fetchall()
    line = str(caught.value).splitlines()[0]
    assert message in line
    assert "rasteret_zonal: " in line
    assert "\n" not in str(caught.value).strip() or "LINE" in str(caught.value)


@pytest.mark.parametrize("wkt", ["POINT(500100 5199900)", "LINESTRING(500100 5199900, 500200 5199950)"])
def test_what_has_no_area_is_no_zone(con, scene: str, wkt: str) -> None:
    con.execute(f"CREATE TEMP TABLE lines AS SELECT 1 AS no, '{wkt}' AS geom").fetchall()
    with pytest.raises(duckdb.Error, match="has no area"):
        con.execute(f"FROM rasteret_zonal('{scene}', 'lines', bands := ['b1'], {UTM})").fetchall()
    kept = con.execute(f"SELECT status, error FROM rasteret_zonal('{scene}', 'lines', bands := ['b1'], {UTM}, on_error := 'null')").fetchall()
    assert kept[0][0] == "error"
    assert "has no area" in kept[0][1]


def test_bands_of_different_resolution(con, tmp_path: Path) -> None:
    """The finest grid of the bands asked for; coarser bands by the nearest pixel."""
    fine = np.random.default_rng(1).integers(1, 99, (64, 64)).astype("int16")
    coarse = np.random.default_rng(2).integers(1, 99, (32, 32)).astype("int16")
    first = write_tif(tmp_path / "f.tif", fine)
    second = write_tif(tmp_path / "c.tif", coarse, transform=SKY @ SKY.scale(2, 2))
    con.register("recs", pa.table({"id": ["a"], "datetime": [dt.datetime(2024, 1, 1)], "fine": [first], "coarse": [second]}))
    con.execute("FROM rasteret_build_from_table('recs', name := 'two', band_columns := {'fine': 'fine', 'coarse': 'coarse'})").fetchall()
    upsampled = write_tif(tmp_path / "u.tif", np.kron(coarse, np.ones((2, 2), "int16")))
    zone = shapely.Polygon(at((3.3, 4.4), (60.2, 9.1), (33.3, 61.7)))
    zones_table(con, [zone])
    both = rows(con, f"FROM rasteret_zonal('two', 'zones', bands := ['fine', 'coarse'], stats := ['count', 'mean', 'median'], {UTM})")
    for row, path in zip(both, (first, upsampled), strict=True):
        theirs = exact_of_file(path, 1, zone, ["count", "mean", "median"])
        for name in ("count", "mean", "median"):
            close(row[name], theirs[name], f"{row['band']} {name}")
    alone = rows(con, f"FROM rasteret_zonal('two', 'zones', bands := ['coarse'], stats := ['count', 'mean'], {UTM})")[0]
    theirs = exact_of_file(second, 1, zone, ["count", "mean"])
    close(alone["count"], theirs["count"], "on its own grid")
    mixed = rows(con, f"FROM rasteret_zonal('two', 'zones', expressions := {{'d': 'fine - coarse'}}, stats := ['mean'], {UTM})")[0]
    assert mixed["mean"] == pytest.approx(both[0]["mean"] - both[1]["mean"], rel=1e-9)


def test_relations_carry_their_types(con, scene: str) -> None:
    """A filtered CTE as collection, with expressions in the bands' own promoted types: integer division stays integer division."""
    zones_table(con, [box(10, 10, 40, 30)])
    call = f"rasteret_zonal('mine', 'zones', bands := ['b1'], stats := ['mean', 'count'], expressions := {{'half': 'b1 // 2'}}, {UTM})"
    found = rows(con, f"WITH mine AS (FROM rasteret_collection('{scene}') WHERE id = 'scene') FROM {call}")
    with rasterio.open(scene) as source:
        pixels = source.read(1)[10:30, 10:40]
    assert [row["mean"] for row in found] == pytest.approx([pixels.mean(), (pixels // 2).mean()], rel=1e-12)
    assert [row["count"] for row in found] == [600.0, 600.0]


def test_filters_reach_the_index(con, tmp_path: Path) -> None:
    """A condition on datetime or record_id of the result keeps the other records unread."""
    hrefs = [write_tif(tmp_path / f"{i}.tif", np.full((32, 32), i + 1, "int16")) for i in range(4)]
    con.register("recs", pa.table({"id": list("abcd"), "href": hrefs, "datetime": [dt.datetime(2024, 1, i + 1) for i in range(4)]}))
    con.execute("FROM rasteret_build_from_table('recs', name := 'four', href_column := 'href', band_index_map := {'v': 0})").fetchall()
    for gone in (0, 1, 3):
        Path(hrefs[gone]).unlink()
    zones_table(con, [box(3, 3, 9, 9)])
    call = f"FROM rasteret_zonal('four', 'zones', stats := ['mean'], {UTM}"
    assert con.execute(f"SELECT mean {call}) WHERE record_id = 'c'").fetchall() == [(3.0,)]
    assert con.execute(f"SELECT mean {call}) WHERE datetime = TIMESTAMP '2024-01-03'").fetchall() == [(3.0,)]
    assert con.execute(
        f"WITH c AS (FROM rasteret_collection('four') WHERE id = 'c') SELECT mean {call.replace(repr('four'), repr('c'))}, bands := ['v'], per := 'all')"
    ).fetchall() == [(3.0,)]


def test_scaled_values(con, tmp_path: Path) -> None:
    path = write_tif(tmp_path / "s.tif", np.arange(1, 1025, dtype="int16").reshape(32, 32), scales=(0.1,), offsets=(5.0,))
    zones_table(con, [box(2.5, 2.5, 9.5, 9.5)])
    plain, scaled = (
        rows(con, f"FROM rasteret_zonal('{path}', 'zones', bands := ['b1'], stats := ['mean', 'max'], {UTM}{more})")[0]
        for more in ("", ", scaled := true")
    )
    assert scaled["mean"] == pytest.approx(plain["mean"] * 0.1 + 5)
    assert scaled["max"] == pytest.approx(plain["max"] * 0.1 + 5)


@pytest.mark.parametrize("on_error", ["raise", "null"])
def test_an_expression_that_overflows_is_the_statements_error(con, scene: str, on_error: str) -> None:
    """Promoted types are wide, but not endless; the message names the expression."""
    zones_table(con, [box(3, 3, 9, 9)])
    call = f"rasteret_zonal('{scene}', 'zones', expressions := {{'big': 'b1::BIGINT * 9000000000000000000'}}, {UTM}, on_error := '{on_error}')"
    with pytest.raises(duckdb.Error, match=r"expressions\.big.*[Oo]verflow"):
        con.execute(f"FROM {call}").fetchall()
