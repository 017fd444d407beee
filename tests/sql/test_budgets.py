"""What reads may cost: requests and bytes counted by a server, tiles worked out on their own with tifffile and rasterio."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely
import tifffile
from pyproj import Transformer
from rasterio.errors import WindowError
from rasterio.features import geometry_window

from rasteret_sql.reader.engine import engine
from tests.reader.oracle import SKY, rows, write_tif
from tests.servers.ranged import RangeServer

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

UTM = "geometry_crs := 'EPSG:32633'"
XY = f"x := 'x', y := 'y', {UTM}"
SIZE, TILE = 640, 128
Tiles = dict[tuple[str, int], int]
"""(file name, offset) → stored bytes."""


@dataclass
class Archive:
    """Four records with a file per band (B of noise: tiles of 32 KB), and two files of three bands, chunky and planar."""

    server: RangeServer
    folder: Path

    def reset(self) -> None:
        engine().cache.clear()
        self.server.reset()

    def requests(self) -> int:
        return self.server.stats().requests

    def tiles(self, name: str, windows: list[tuple[int, int, int, int]], band: int = 0) -> Tiles:
        """Tiles of one band under windows (row, col, height, width)."""
        with tifffile.TiffFile(self.folder / name) as tiff:
            page = tiff.pages[0]
            across, per_plane = -(-page.imagewidth // TILE), -(-page.imagewidth // TILE) * -(-page.imagelength // TILE)
            plane = band * per_plane if page.planarconfig == 2 else 0
            numbers = {
                plane + row * across + col
                for top, left, height, width in windows
                for row in range(top // TILE, (top + height - 1) // TILE + 1)
                for col in range(left // TILE, (left + width - 1) // TILE + 1)
            }
            return {(name, page.dataoffsets[n]): page.databytecounts[n] for n in numbers if page.databytecounts[n]}

    def windows(self, name: str, geometries: list[shapely.Geometry]) -> list[tuple[int, int, int, int]]:
        found = []
        with rasterio.open(self.folder / name) as ds:
            for geometry in geometries:
                try:
                    w = geometry_window(ds, [geometry])
                except WindowError:
                    continue
                found.append((int(w.row_off), int(w.col_off), int(w.height), int(w.width)))
        return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(11)
    tiled = {"blockxsize": TILE, "blockysize": TILE}
    files = tmp_path_factory.mktemp("files")
    for record in range(4):
        for band in ("R", "N"):
            write_tif(files / f"{record}{band}.tif", rng.integers(0, 65536, (SIZE, SIZE), dtype="uint16"), **tiled)
    for interleave in ("pixel", "band"):
        write_tif(files / f"{interleave}.tif", rng.integers(0, 65536, (3, SIZE, SIZE), dtype="uint16"), interleave=interleave, **tiled)
    return files


@pytest.fixture
def archive(con, folder: Path) -> Iterator[Archive]:
    with RangeServer(folder) as server:
        table = {
            "id": [f"r{i}" for i in range(4)],
            "datetime": [dt.datetime(2024, 1, 1 + i) for i in range(4)],
            "cloud": [10 * i for i in range(4)],
            **{band: [server.url(f"{i}{band}.tif") for i in range(4)] for band in ("R", "N")},
        }
        con.register("__r", pa.table(table))
        report = rows(con, "FROM rasteret_build_from_table('__r', name := 'stack', band_columns := {'R': 'R', 'N': 'N'})")[0]
        assert (report["requests"], server.stats().requests) == (8, 8)
        assert all(spans == [(0, 32768)] for spans in server.stats().ranges.values())
        yield Archive(server, folder)


def some_points(con, count: int = 60, seed: int = 1) -> list[tuple[int, int]]:
    """(row, col) of points in a few tiles, in random order, registered as ``points``."""
    rng = np.random.default_rng(seed)
    row, col = rng.integers(0, 300, count), rng.integers(100, 400, count)
    con.register("points", pa.table({"no": np.arange(count), "x": SKY.c + SKY.a * (col + 0.5), "y": SKY.f + SKY.e * (row + 0.5)}))
    return list(zip(row.tolist(), col.tolist(), strict=True))


PLOTS = [
    shapely.Point(SKY @ (150.2, 170.3)).buffer(300),
    shapely.Point(SKY @ (170.2, 190.3)).buffer(200),
    shapely.Point(SKY @ (560.2, 90.3)).buffer(500),
    shapely.box(*(SKY @ (270.2, 500.3)), *(SKY @ (520.2, 370.3))),
    shapely.Point(SKY @ (900.2, 90.3)).buffer(500),
]


def some_plots(con) -> None:
    con.register("plots", pa.table({"no": range(len(PLOTS)), "geom": shapely.to_wkb(PLOTS)}))


def assert_within_budget(archive: Archive, tiles: Tiles) -> None:
    """No request more than there are tiles, hardly a byte more than they have, all of them, none twice."""
    stats = archive.server.stats()
    assert stats.requests <= len(tiles)
    assert sum(tiles.values()) <= stats.bytes <= 1.03 * sum(tiles.values())
    spans = {name.strip("/"): sorted(found) for name, found in stats.ranges.items()}
    for (name, start), length in tiles.items():
        assert any(first <= start and start + length <= last for first, last in spans[name]), (name, start)
    for found in spans.values():
        assert all(before[1] <= after[0] for before, after in pairwise(found)), "bytes fetched twice"


def run(con, sql: str) -> list[tuple]:
    return con.execute(sql).fetchall()


def test_sample(con, archive: Archive) -> None:
    windows = [(row, col, 1, 1) for row, col in some_points(con)]
    tiles: Tiles = {}
    for record in range(4):
        for band in ("R", "N"):
            tiles |= archive.tiles(f"{record}{band}.tif", windows)
    archive.reset()
    sql = f"FROM rasteret_sample('stack', 'points', bands := ['R', 'N'], {XY})"
    assert len(run(con, sql)) == 240
    assert_within_budget(archive, tiles)
    first = archive.requests()
    run(con, sql)
    assert archive.requests() == first, "the second time everything is in the cache"
    con.execute("CREATE TEMP TABLE sorted AS FROM points ORDER BY y, x").fetchall()
    archive.reset()
    run(con, sql.replace("'points'", "'sorted'"))
    assert archive.requests() == first, "the order of the points makes no request"


def test_latest_reads_older_records_only_where_it_must(con, archive: Archive) -> None:
    windows = [(row, col, 1, 1) for row, col in some_points(con)]
    archive.reset()
    found = run(con, f"SELECT DISTINCT record_id FROM rasteret_sample('stack', 'points', bands := ['R'], match := 'latest', {XY})")
    assert found == [("r3",)]
    assert_within_budget(archive, archive.tiles("3R.tif", windows))


def test_read(con, archive: Archive) -> None:
    some_plots(con)
    tiles: Tiles = {}
    for record in range(4):
        for band in ("R", "N"):
            tiles |= archive.tiles(f"{record}{band}.tif", archive.windows(f"{record}{band}.tif", PLOTS))
    archive.reset()
    sql = f"FROM rasteret_read('stack', 'plots', bands := ['R', 'N'], {UTM})"
    assert len(run(con, sql)) == 4 * 4 + 1
    assert_within_budget(archive, tiles)
    first = archive.requests()
    run(con, sql)
    assert archive.requests() == first
    con.execute("CREATE TEMP TABLE turned AS FROM plots ORDER BY no DESC").fetchall()
    archive.reset()
    run(con, sql.replace("'plots'", "'turned'"))
    assert archive.requests() == first


def test_many_overlapping_plots_fetch_each_tile_once(con, archive: Archive) -> None:
    """More pairs than DuckDB hands over at once, in random order, while the cache is tiny: order is the reader's, not the table's."""
    rng = np.random.default_rng(2)
    circles = [shapely.Point(SKY @ place).buffer(25) for place in rng.uniform(0, SIZE, (1500, 2))]
    con.register("plots", pa.table({"no": range(1500), "geom": shapely.to_wkb(circles)}))
    tiles = {key: size for i in range(4) for key, size in archive.tiles(f"{i}R.tif", archive.windows(f"{i}R.tif", circles)).items()}
    con.execute("SET VARIABLE rasteret_cache_bytes = 4000000").fetchall()
    archive.reset()
    counted = run(con, f"SELECT count(*), sum(len(R)) FROM rasteret_read('stack', 'plots', bands := ['R'], {UTM})")
    assert counted[0][0] >= 5500
    stats = archive.server.stats()
    assert stats.requests <= len(tiles)
    assert stats.bytes <= 1.03 * sum(tiles.values())


@pytest.mark.parametrize("name", ["pixel", "band"])
def test_bands_of_one_file(con, archive: Archive, name: str) -> None:
    """A chunky tile serves all bands; planar bands have their own."""
    some_plots(con)
    url = archive.server.url(f"{name}.tif")
    run(con, f"FROM rasteret_bands('{url}')")
    windows = archive.windows(f"{name}.tif", PLOTS)
    tiles = {key: size for band in (0, 2) for key, size in archive.tiles(f"{name}.tif", windows, band).items()}
    archive.reset()
    run(con, f"FROM rasteret_read('{url}', 'plots', bands := ['b1', 'b3'], {UTM})")
    assert_within_budget(archive, tiles)
    windows = [(row, col, 1, 1) for row, col in some_points(con)]
    archive.reset()
    run(con, f"FROM rasteret_sample('{url}', 'points', bands := ['b3', 'b1'], {XY})")
    assert_within_budget(archive, {key: size for band in (0, 2) for key, size in archive.tiles(f"{name}.tif", windows, band).items()})


PLANNED = {"files": ("stack", "['R', 'N']"), "one band": ("stack", "['N']"), "pixel": (None, "['b1', 'b3', 'b2']"), "band": (None, "['b1', 'b3']")}


@pytest.mark.parametrize("case", PLANNED)
@pytest.mark.parametrize("rule", ["center", "all_touched", "window"])
def test_the_plan_tells_what_the_read_does(con, archive: Archive, case: str, rule: str) -> None:
    some_plots(con)
    name, bands = PLANNED[case]
    source = name or archive.server.url(f"{case}.tif")
    run(con, f"FROM rasteret_bands('{source}')")
    call = f"('{source}', 'plots', bands := {bands}, pixels := '{rule}', {UTM})"
    archive.reset()
    plan = rows(con, f"FROM rasteret_plan{call}")
    assert archive.requests() == 0
    total = plan[-1]
    assert total["record_id"] == "total"
    for column in ("tiles", "requests", "bytes", "bytes_cached"):
        assert total[column] == sum(row[column] for row in plan[:-1])
    run(con, f"FROM rasteret_read{call}")
    stats = archive.server.stats()
    assert (total["requests"], total["bytes"], total["bytes_cached"]) == (stats.requests, stats.bytes, 0)
    again = rows(con, f"FROM rasteret_plan{call}")[-1]
    assert (again["tiles"], again["requests"], again["bytes"], again["bytes_cached"]) == (total["tiles"], 0, total["bytes"], total["bytes"])


@pytest.mark.parametrize("function", ["sample", "latest", "read"])
@pytest.mark.parametrize("source", ["stack", "pixel"])
def test_max_bytes_refuses_before_the_first_request(con, archive: Archive, function: str, source: str) -> None:
    """The limit is exact: what is needed passes, a byte less does not, and what is in the cache costs nothing."""
    name = "stack" if source == "stack" else archive.server.url("pixel.tif")
    bands, files = ("['R', 'N']", [f"{i}{band}.tif" for i in range(4) for band in "RN"]) if source == "stack" else ("['b1', 'b2']", ["pixel.tif"])
    run(con, f"FROM rasteret_bands('{name}')")
    points = [(row, col, 1, 1) for row, col in some_points(con)]
    some_plots(con)
    if function == "read":
        call = f"rasteret_read('{name}', 'plots', bands := {bands}, {UTM})"
        needed = sum(sum(archive.tiles(file, archive.windows(file, PLOTS)).values()) for file in files)
    else:
        match = "latest" if function == "latest" else "all"
        call = f"rasteret_sample('{name}', 'points', bands := {bands}, match := '{match}', {XY})"
        used = [file for file in files if function == "sample" or file[0] in "3p"]
        needed = sum(sum(archive.tiles(file, points).values()) for file in used)
    archive.reset()
    con.execute(f"SET VARIABLE rasteret_max_bytes = {needed - 1}").fetchall()
    with pytest.raises(duckdb.Error) as caught:
        run(con, f"FROM {call}")
    first = str(caught.value).splitlines()[0]
    assert "BudgetExceeded" in first
    assert f"{needed:,}" in first
    assert f"{needed - 1:,}" in first
    assert archive.requests() == 0
    con.execute(f"SET VARIABLE rasteret_max_bytes = {needed}").fetchall()
    run(con, f"FROM {call}")
    con.execute("SET VARIABLE rasteret_max_bytes = 1").fetchall()
    run(con, f"FROM {call}")


@pytest.mark.parametrize("form", ["rasteret_sample", "rasteret_read"])
def test_max_bytes_holds_for_scalar_forms(con, archive: Archive, form: str) -> None:
    x, y = SKY @ (150.5, 170.5)
    lon, lat = Transformer.from_crs("EPSG:32633", "OGC:CRS84", always_xy=True).transform(x, y)
    sql = f"SELECT {form}(s, 'POINT ({lon} {lat})', 'R') AS v FROM rasteret_collection('stack') AS s"
    needed = sum(sum(archive.tiles(f"{record}R.tif", [(170, 150, 1, 1)]).values()) for record in range(4))
    archive.reset()
    con.execute(f"SET VARIABLE rasteret_max_bytes = {needed - 1}").fetchall()
    with pytest.raises(duckdb.Error, match=f"would fetch {needed:,} bytes"):
        run(con, sql)
    assert archive.requests() == 0
    con.execute(f"SET VARIABLE rasteret_max_bytes = {needed}").fetchall()
    assert len(run(con, sql)) == 4
    assert archive.requests() == 4


def test_max_bytes_holds_over_the_rounds_of_latest(con, archive: Archive, tmp_path: Path) -> None:
    """Older records are read where the newest has nothing: what all rounds fetch together stays within the limit."""
    empty = np.full((SIZE, SIZE), 7, "uint16")
    empty[::2, ::3] = 9
    for name, plane in (("new", empty), ("old", np.full((SIZE, SIZE), 5, "uint16"))):
        plane[0, 0] = 1
        write_tif(archive.folder / f"{name}.tif", plane, nodata=7, blockxsize=TILE, blockysize=TILE)
    when = [dt.datetime(2024, 2, 1), dt.datetime(2024, 1, 1)]
    con.register("__r", pa.table({"id": ["new", "old"], "datetime": when, "path": [archive.server.url(f"{name}.tif") for name in ("new", "old")]}))
    run(con, "FROM rasteret_build_from_table('__r', name := 'two', href_column := 'path', band_index_map := {'B': 0})")
    x, y = SKY @ (5.5, 5.5)
    con.register("points", pa.table({"no": [0], "x": [x], "y": [y]}))
    new, old = (sum(archive.tiles(f"{name}.tif", [(5, 5, 1, 1)]).values()) for name in ("new", "old"))
    sql = f"SELECT record_id, B FROM rasteret_sample('two', 'points', match := 'latest', {XY})"
    archive.reset()
    con.execute(f"SET VARIABLE rasteret_max_bytes = {new + old - 1}").fetchall()
    with pytest.raises(duckdb.Error, match=f"would fetch {new + old:,} bytes"):
        run(con, sql)
    assert archive.requests() == 1
    archive.reset()
    con.execute(f"SET VARIABLE rasteret_max_bytes = {new + old}").fetchall()
    assert run(con, sql) == [("old", 5)]


CONDITIONS = {
    "datetime >= TIMESTAMP '2024-01-03'": ((2, 3), (0, 1, 2, 3)),
    "record_id = 'r1'": ((1,), (0, 1, 2, 3)),
    "record_id IN ('r0', 'r3') AND datetime < DATE '2024-01-02'": ((0,), (0, 1, 2, 3)),
    "no = 2": ((0, 1, 2, 3), (2,)),
    "no IN (0, 1) AND record_id = 'r2'": ((2,), (0, 1)),
    "no BETWEEN 2 AND 3": ((0, 1, 2, 3), (2, 3)),
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_filters_go_below_the_read(con, archive: Archive, condition: str) -> None:
    """WHERE on record_id, datetime and the user's columns keeps tiles from being fetched."""
    some_plots(con)
    records, chosen = CONDITIONS[condition]
    tiles: Tiles = {}
    for record in records:
        tiles |= archive.tiles(f"{record}R.tif", archive.windows(f"{record}R.tif", [PLOTS[i] for i in chosen]))
    archive.reset()
    found = run(con, f"SELECT record_id, no FROM rasteret_read('stack', 'plots', bands := ['R'], {UTM}) WHERE {condition} AND status <> 'outside'")
    assert sorted(found) == sorted((f"r{record}", no) for record in records for no in chosen)
    assert_within_budget(archive, tiles)


@pytest.mark.parametrize("condition", ["datetime >= TIMESTAMP '2024-01-03'", "record_id IN ('r2', 'r3')", "record_id > 'r1'"])
def test_filters_go_below_the_sample(con, archive: Archive, condition: str) -> None:
    windows = [(row, col, 1, 1) for row, col in some_points(con)]
    archive.reset()
    found = run(con, f"SELECT DISTINCT record_id FROM rasteret_sample('stack', 'points', bands := ['R'], {XY}) WHERE {condition}")
    assert sorted(found) == [("r2",), ("r3",)]
    assert_within_budget(archive, archive.tiles("2R.tif", windows) | archive.tiles("3R.tif", windows))


def test_filters_of_the_collection(con, archive: Archive) -> None:
    """Records filtered first: nothing of the others is read, by any column."""
    windows = [(row, col, 1, 1) for row, col in some_points(con)]
    archive.reset()
    found = run(
        con,
        f"""WITH clear AS (FROM rasteret_collection('stack') WHERE cloud <= 10)
        SELECT DISTINCT record_id FROM rasteret_sample('clear', 'points', bands := ['N'], {XY})""",
    )
    assert sorted(found) == [("r0",), ("r1",)]
    assert_within_budget(archive, archive.tiles("0N.tif", windows) | archive.tiles("1N.tif", windows))


def test_the_log_agrees_with_the_server(con, archive: Archive) -> None:
    some_points(con)
    archive.reset()
    run(con, f"FROM rasteret_sample('stack', 'points', bands := ['R'], {XY})")
    logged = rows(con, "FROM rasteret_io(last := 1)")[0]
    stats = archive.server.stats()
    assert (logged["function"], logged["requests"], logged["bytes"]) == ("rasteret_sample", stats.requests, stats.bytes)
    assert (logged["retries"], logged["failures"]) == (0, 0)


def test_explain_and_describe_read_nothing(con, archive: Archive) -> None:
    some_points(con)
    some_plots(con)
    archive.reset()
    for call in (f"rasteret_sample('stack', 'points', bands := ['R'], {XY})", f"rasteret_read('stack', 'plots', bands := ['R'], {UTM})"):
        run(con, f"EXPLAIN FROM {call}")
        run(con, f"DESCRIBE FROM {call}")
    assert archive.requests() == 0
