"""``rasteret_max_bytes`` over whole statements: 5,000 records, of which DuckDB hands 2,048 to a function at a time, of 60 files on a counting server."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import shapely
import tifffile
from pyproj import Transformer

from rasteret_sql.reader.engine import engine
from tests.reader.oracle import SKY, rows, write_tif
from tests.servers.ranged import RangeServer

RECORDS, FILES, SIZE, TILE = 5000, 60, 64, 16
UTM = "geometry_crs := 'EPSG:32633'"
XY = f"x := 'x', y := 'y', {UTM}"
PLACES = ((4, 4), (20, 37))
"""(row, col) of pixels in tiles 0 and 6, far from their edges."""
UNDER = (0, 6)


@dataclass
class World:
    con: duckdb.DuckDBPyConnection
    server: RangeServer
    bytes: list[int]
    """Of the tiles under the places, by file."""

    @property
    def needed(self) -> int:
        return sum(self.bytes)

    def reset(self) -> None:
        engine().cache.clear()
        self.server.reset()

    def requests(self) -> int:
        return self.server.stats().requests

    def limit(self, nbytes: int) -> None:
        self.con.execute(f"SET VARIABLE rasteret_max_bytes = {nbytes}").fetchall()

    def run(self, sql: str) -> list[tuple]:
        return self.con.execute(sql).fetchall()

    def refused(self, sql: str) -> str:
        with pytest.raises(duckdb.Error) as caught:
            self.run(sql)
        first = str(caught.value).splitlines()[0]
        assert "BudgetExceeded" in first
        return first


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(7)
    files = tmp_path_factory.mktemp("files")
    for i in range(FILES):
        write_tif(files / f"{i}.tif", rng.integers(0, 65536, (SIZE, SIZE), dtype="uint16"), blockxsize=TILE, blockysize=TILE)
    return files


@pytest.fixture(scope="module")
def sized(folder: Path) -> list[int]:
    """Bytes under the places, by tifffile."""
    found = []
    for i in range(FILES):
        with tifffile.TiffFile(folder / f"{i}.tif") as tiff:
            found.append(sum(tiff.pages[0].databytecounts[number] for number in UNDER))
    return found


@pytest.fixture
def world(con, folder: Path, sized: list[int]) -> Iterator[World]:
    """``many``: 5,000 records in the order of their files, so that each call of a function sees other files."""
    with RangeServer(folder) as server:
        table = {
            "id": [f"f{i}" for i in range(FILES)],
            "datetime": [dt.datetime(2024, 1, 1) + dt.timedelta(days=i) for i in range(FILES)],
            "path": [server.url(f"{i}.tif") for i in range(FILES)],
        }
        con.register("__r", pa.table(table))
        con.execute("FROM rasteret_build_from_table('__r', name := 'few', href_column := 'path', band_index_map := {'B': 0})").fetchall()
        times = f"(SELECT unnest(range({RECORDS})) AS i)"
        con.execute(
            f"""CREATE TEMP TABLE many AS SELECT f.* REPLACE (printf('%05d', n.i) AS id, f.datetime + to_seconds(n.i) AS datetime)
            FROM rasteret_collection('few') AS f JOIN {times} AS n ON f.id = 'f' || (n.i * {FILES} // {RECORDS}) ORDER BY n.i"""
        ).fetchall()
        centres = [SKY @ (col + 0.5, row + 0.5) for row, col in PLACES]
        con.register("points", pa.table({"no": [0, 1], "x": [x for x, _ in centres], "y": [y for _, y in centres]}))
        plots = [shapely.box(x - 12, y - 12, x + 12, y + 12) for x, y in centres]
        con.register("plots", pa.table({"no": [0, 1], "geom": shapely.to_wkb(plots)}))
        yield World(con, server, sized)


CALLS = {
    "read": f"rasteret_read('many', 'plots', bands := ['B'], {UTM})",
    "pixels": f"rasteret_pixels('many', 'plots', bands := ['B'], {UTM})",
    "zonal": f"rasteret_zonal('many', 'plots', bands := ['B'], stats := ['mean'], {UTM})",
    "zonal, lists": f"rasteret_zonal('many', 'plots', bands := ['B'], stats := ['values'], {UTM})",
    "zonal, a period": f"rasteret_zonal('many', 'plots', bands := ['B'], stats := ['mean'], per := 'all', {UTM})",
    "sample": f"rasteret_sample('many', 'points', bands := ['B'], {XY})",
    "sample, long": f"rasteret_sample('many', 'points', bands := ['B'], layout := 'long', {XY})",
    "sample, between": f"rasteret_sample('many', 'points', bands := ['B'], interpolation := 'cubic', {XY})",
    "sample, around": f"rasteret_sample('many', 'points', bands := ['B'], neighbourhood := 1, {XY})",
}


@pytest.mark.parametrize("case", CALLS)
def test_a_statement_is_refused_before_its_first_request(world: World, case: str) -> None:
    """The figure is that of all records; a byte more and it runs."""
    total = rows(world.con, f"FROM rasteret_plan('many', 'plots', bands := ['B'], {UTM})")[-1]
    assert (total["bytes"], total["bytes_cached"], total["tiles"]) == (world.needed, 0, FILES * len(UNDER))
    world.reset()
    world.limit(world.needed - 1)
    sql = f"SELECT count(*) FROM {CALLS[case]}"
    assert f"would fetch {world.needed:,} bytes, more than rasteret_max_bytes = {world.needed - 1:,};" in world.refused(sql)
    assert world.requests() == 0
    world.limit(world.needed)
    assert world.run(sql)[0][0] > 0
    assert world.server.stats().bytes == world.needed
    world.limit(1)
    assert world.run(sql)[0][0] > 0, "what is in the cache does not count"


@pytest.mark.parametrize("match", ["match := 'latest'", "match := 'nearest', time_column := 'at'"])
def test_one_record_of_many(world: World, match: str) -> None:
    """Counts the records that are read, as they turn out; here it is one, refused before its first byte."""
    world.run("CREATE TEMP TABLE dated AS SELECT *, TIMESTAMP '2025-01-01' AS at FROM points")
    points = "dated" if "at" in match else "points"
    sql = f"SELECT DISTINCT record_id FROM rasteret_sample('many', '{points}', bands := ['B'], {match}, {XY})"
    world.reset()
    world.limit(world.bytes[-1] - 1)
    assert f"would fetch {world.bytes[-1]:,} bytes" in world.refused(sql)
    assert world.requests() == 0
    world.limit(world.bytes[-1])
    assert world.run(sql) == [("04999",)]


def test_batches_of_few_rows(world: World) -> None:
    """Where the memory setting makes many small batches, all is announced before the first."""
    world.con.execute("SET VARIABLE rasteret_memory_bytes = 1048576").fetchall()
    world.limit(world.needed - 1)
    for case in ("read", "pixels", "zonal, lists", "sample"):
        world.reset()
        assert f"would fetch {world.needed:,} bytes" in world.refused(f"SELECT count(*) FROM {CALLS[case]}")
        assert world.requests() == 0


@pytest.mark.parametrize(
    ("case", "way"),
    [("read", "prepared"), ("zonal", "prepared"), ("sample", "prepared"), *(("sample", way) for way in ("again", "view", "relation", "transaction"))],
)
def test_every_execution_counts_for_itself(world: World, case: str, way: str) -> None:
    """One limit holds each of three executions, none of which finds anything in the cache."""
    world.limit(world.needed)
    sql = f"SELECT count(*) FROM {CALLS[case]}"
    if way == "prepared":
        world.run(f"PREPARE held AS {sql}")
    if way == "view":
        world.run(f"CREATE TEMP VIEW held AS {sql}")
    if way == "transaction":
        world.run("BEGIN")
    relation = world.con.sql(sql) if way == "relation" else None
    statement = {"prepared": "EXECUTE held", "view": "FROM held"}.get(way, sql)
    counts = []
    for _ in range(3):
        world.reset()
        counts += relation.to_arrow_table().to_pydict()["count_star()"] if relation is not None else [world.run(statement)[0][0]]
        assert world.server.stats().bytes == world.needed
    assert counts[0] > 0
    assert len(set(counts)) == 1


@pytest.mark.parametrize("way", ["plain", "prepared", "transaction"])
@pytest.mark.parametrize("case", ["read", "sample"])
def test_statements_one_after_another_do_not_count_together(world: World, case: str, way: str) -> None:
    """Two halves of the records, which have no file in common, under a limit that holds one."""
    half = FILES // 2
    sql = f"SELECT count(*) FROM {CALLS[case]} WHERE record_id BETWEEN {{}} AND {{}}"
    world.limit(max(sum(world.bytes[:half]), sum(world.bytes[half:])))
    world.run({"plain": "SELECT 1", "prepared": f"PREPARE held AS {sql.format('$1', '$2')}", "transaction": "BEGIN"}[way])
    for ends in (("'00000'", "'02499'"), ("'02500'", "'04999'"), ("'00000'", "'02499'")):
        world.reset()
        found = world.run(f"EXECUTE held({', '.join(ends)})" if way == "prepared" else sql.format(*ends))
        assert found == [(RECORDS,)], "two places in half of the records"
        assert world.server.stats().bytes == sum(world.bytes[:half] if "'00000'" in ends else world.bytes[half:])


def test_functions_of_one_statement_count_together(world: World) -> None:
    """Tiles that both want count once."""
    world.run("CREATE TEMP TABLE rest AS FROM many WHERE id >= '02500'")
    world.run("CREATE TEMP TABLE start AS FROM many WHERE id < '02500'")
    calls = [f"(SELECT count(*) FROM {CALLS['read'].replace('many', name)})" for name in ("start", "rest")]
    world.reset()
    world.limit(world.needed - 1)
    assert f"would fetch {world.needed:,} bytes" in world.refused(f"SELECT {calls[0]} + {calls[1]}")
    world.limit(world.needed)
    world.reset()
    both = world.run(f"SELECT {calls[0]} + {calls[1]}")
    world.reset()
    assert world.run(f"SELECT (SELECT count(*) FROM {CALLS['read']}) + 0 * (SELECT count(*) FROM {CALLS['zonal']})") == both


def test_cursors_do_not_count_together(world: World) -> None:
    """Two at a time, of other files, each at its limit, five times."""
    cursors = [world.con.cursor() for _ in range(2)]
    half = FILES // 2
    failures: list[BaseException] = []
    world.run("CREATE TABLE places AS FROM plots")
    for i, cursor in enumerate(cursors):
        world.run(f"CREATE TABLE half{i} AS FROM many WHERE (id >= '02500') = {bool(i)}")
        cursor.execute(f"SET VARIABLE rasteret_max_bytes = {sum(world.bytes[i * half : (i + 1) * half])}").fetchall()
    ready = threading.Barrier(2)

    def work(i: int) -> None:
        try:
            for _ in range(5):
                if ready.wait(60) == 0:
                    world.reset()
                ready.wait(60)
                cursors[i].execute(f"SELECT count(*) FROM rasteret.read('half{i}', 'places', bands := ['B'], {UTM})").fetchall()
        except BaseException as error:
            failures.append(error)
            ready.abort()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_plans_of_one_statement_do_not_share(world: World) -> None:
    """A plan says what its own read would fetch, whatever else the statement asks."""
    plan = f"FROM rasteret_plan('many', 'plots', bands := ['B'], {UTM})"
    alone = rows(world.con, plan)[-1]
    twice = rows(
        world.con, f"WITH a AS ({plan}) SELECT * FROM a WHERE record_id = 'total' UNION ALL SELECT * FROM ({plan}) WHERE record_id = 'total'"
    )
    assert twice == [alone, alone]
    assert rows(world.con, plan)[-1] == alone


SCALARS = {
    "rasteret_sample": "sum(rasteret_sample(m, 'POINT ({lon} {lat})', 'B'))",
    "rasteret_read": "sum(len(rasteret_read(m, 'POINT ({lon} {lat})', 'B')))",
    "rasteret_zonal": "sum(rasteret_zonal(m, 'POLYGON (({lon} {lat}, {east} {lat}, {east} {north}, {lon} {lat}))', 'B'))",
}


@pytest.mark.parametrize("form", SCALARS)
def test_scalar_forms_stop_where_the_sum_is_over(world: World, form: str) -> None:
    """Each call adds to what the statement has fetched; every execution begins anew."""
    lon, lat = Transformer.from_crs("EPSG:32633", "OGC:CRS84", always_xy=True).transform(*(SKY @ (4.5, 4.5)))
    place = {"lon": lon, "lat": lat, "east": lon + 1e-5, "north": lat + 1e-5}
    sql = f"SELECT {SCALARS[form].format(**place)} FROM many AS m"
    world.reset()
    assert world.run(sql)[0][0] > 0
    needed = world.server.stats().bytes
    world.limit(needed - 1)
    world.reset()
    assert f"more than rasteret_max_bytes = {needed - 1:,};" in world.refused(sql)
    assert world.server.stats().bytes < needed
    world.limit(needed)
    world.run(f"PREPARE held AS {sql}")
    found = []
    for _ in range(3):
        world.reset()
        found += world.run("EXECUTE held")
        assert world.server.stats().bytes == needed
    assert len(set(found)) == 1
