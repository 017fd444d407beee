"""While DuckDB works on a batch of rasteret_read, the next one is being read: that it is, what it may cost, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import shapely

from rasteret_sql.reader.engine import engine
from rasteret_sql.reader.readahead import Asking, ReadAhead
from tests.reader.oracle import SKY, fetch, write_tif
from tests.servers.ranged import RangeServer

SIZE, TILE = 1024, 128
TILES = (SIZE // TILE) ** 2
TILE_BYTES = TILE * TILE * 2
BATCH = 10
"""Plots whose pixels, 48 KiB each, fill half of the least memory that can be set."""


@dataclass
class World:
    con: duckdb.DuckDBPyConnection
    server: RangeServer
    folder: Path

    def tiles(self) -> float:
        """Fetched so far."""
        return self.server.stats().bytes / TILE_BYTES

    def settled(self, within_s: float = 5.0) -> float:
        """Tiles, once no more come."""
        ends, before = time.monotonic() + within_s, -1.0
        while time.monotonic() < ends and (now := self.tiles()) != before:
            before = now
            time.sleep(0.3)
        return before

    def read(self, more: str = "") -> str:
        return f"SELECT no, b1 FROM rasteret_read('{self.server.url('a.tif')}', plots, bands := ['b1'], {UTM}, pixels := 'window') {more}"


UTM = "geometry_crs := 'EPSG:32633'"


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 65536, (SIZE, SIZE), dtype="uint16")


@pytest.fixture
def world(con, tmp_path: Path, pixels: np.ndarray) -> Iterator[World]:
    """Plots of one tile each, in the order in which they are read."""
    write_tif(tmp_path / "a.tif", pixels, blockxsize=TILE, blockysize=TILE, compress="none")
    boxes = [
        shapely.box(*(SKY @ (col + 0.1, row + TILE - 0.1)), *(SKY @ (col + TILE - 0.1, row + 0.1)))
        for row in range(0, SIZE, TILE)
        for col in range(0, SIZE, TILE)
    ]
    con.register("__plots", pa.table({"no": range(TILES), "geom": shapely.to_wkb(boxes)}))
    con.execute("CREATE TABLE plots AS FROM __plots").fetchall()
    con.execute("SET VARIABLE rasteret_memory_bytes = 1048576").fetchall()
    con.execute("SET streaming_buffer_size = '100KB'").fetchall()
    with RangeServer(tmp_path) as server:
        found = World(con, server, tmp_path)
        con.execute(f"SELECT * FROM rasteret_bands('{server.url('a.tif')}')").fetchall()  # the header is known
        engine().cache.clear()
        server.reset()
        yield found


def check(found: pa.Table, pixels: np.ndarray) -> None:
    assert sorted(found["no"].to_pylist()) == list(range(TILES))
    for no, values in zip(found["no"].to_pylist(), found["b1"].to_pylist(), strict=True):
        row, col = divmod(no, SIZE // TILE)
        expected = pixels[row * TILE :, col * TILE :][:TILE, :TILE].ravel()
        np.testing.assert_array_equal(np.array([0 if value is None else value for value in values]), expected)


@pytest.mark.parametrize("threads", [1, 4])
def test_every_tile_is_fetched_once_and_every_pixel_is_right(world: World, pixels: np.ndarray, threads: int) -> None:
    world.con.execute(f"SET threads = {threads}").fetchall()
    world.con.execute("SET VARIABLE rasteret_cache_bytes = 0").fetchall()  # nothing hides what is read twice
    check(fetch(world.con, world.read()), pixels)
    assert world.tiles() == TILES


def test_the_next_batch_is_read_before_it_is_asked_for(world: World, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes one row and waits finds the next batch read, and no more than that."""
    asked: list[int] = []
    ask = ReadAhead.ask

    def count(ahead: ReadAhead, numbers: np.ndarray, *rest: Any) -> Asking:
        asked.append(len(numbers))
        return ask(ahead, numbers, *rest)

    monkeypatch.setattr(ReadAhead, "ask", count)
    world.con.execute(world.read())
    first = world.con.fetchmany(1)
    assert len(first) == 1
    assert world.settled() == sum(asked) + BATCH
    assert set(asked) == {BATCH}
    rest = world.con.fetchall()
    assert world.tiles() == TILES
    found = pa.table({"no": [no for no, _ in first + rest], "b1": [values for _, values in first + rest]})
    check(found, pixels)


def test_a_limit_costs_one_batch_more_at_most(world: World) -> None:
    assert len(world.con.execute(world.read("LIMIT 3")).fetchall()) == 3
    assert world.settled() <= 3 * BATCH  # DuckDB itself may ask for a second one


def test_what_a_filter_takes_away_is_not_read(world: World) -> None:
    """Also where what it leaves fills a batch and more."""
    kept = [no for no in range(TILES) if no % 8 not in (2, 5)]
    found = fetch(world.con, world.read(f"WHERE no IN ({', '.join(map(str, kept))})"))
    assert sorted(found["no"].to_pylist()) == kept
    assert world.settled() == len(kept)
    engine().cache.clear()
    fetch(world.con, world.read(f"WHERE no < {3 * BATCH}"))  # three whole batches: nothing tells before that no fourth will be asked for
    assert world.settled() <= len(kept) + 4 * BATCH


def test_a_tile_that_fails_ahead_fails_the_statement_and_no_other(world: World) -> None:
    """The file ends before the last tiles: what is read ahead meets it first, and says so when its turn comes."""
    whole = world.server.root / "a.tif"
    cut = whole.read_bytes()[: 36 * TILE_BYTES]
    whole.unlink()
    whole.write_bytes(cut)
    with pytest.raises(duckdb.Error, match=r"a\.tif"):
        world.con.execute(world.read()).fetchall()
    found = fetch(world.con, world.read().replace(UTM, f"{UTM}, on_error := 'null'").replace("SELECT no", "SELECT no, status"))
    assert len(found) == TILES
    assert set(found["status"].to_pylist()) <= {"ok", "error"}
    assert world.con.execute("SELECT 42").fetchall() == [(42,)]


def test_an_interrupt_ends_what_is_read_ahead(world: World) -> None:
    world.server.latency_s = 0.3
    world.con.execute("SET VARIABLE rasteret_max_concurrency = 1").fetchall()
    timer = threading.Timer(0.9, world.con.interrupt)
    timer.start()
    with pytest.raises(duckdb.Error):
        world.con.execute(world.read()).fetchall()
    timer.join()
    asked = world.server.stats().requests
    time.sleep(1.0)
    assert world.server.stats().requests <= asked + 1
    world.server.latency_s = 0.0
    assert len(world.con.execute(world.read()).fetchall()) == TILES


def test_the_next_statement_ends_what_was_read_ahead_for_the_last(world: World) -> None:
    world.server.latency_s = 0.3
    world.con.execute("SET VARIABLE rasteret_max_concurrency = 1").fetchall()
    world.con.execute("CREATE TABLE one AS FROM plots LIMIT 1").fetchall()
    world.con.execute(world.read())
    world.con.fetchmany(1)
    before = world.tiles()
    if hasattr(world.con, "abort"):  # DuckDB 2.0 wants to be told
        world.con.abort()
    assert len(fetch(world.con, world.read().replace("plots", "one"))) == 1
    assert world.settled() <= before + 2 * BATCH, "one that DuckDB 2.0 has asked for by itself, and one ahead of it"


PROGRAM = """
import sys
import rasteret_sql

con = rasteret_sql.connect()
con.execute("SET VARIABLE rasteret_memory_bytes = 1048576").fetchall()
con.execute("SET streaming_buffer_size = '100KB'").fetchall()
con.execute(f"CREATE TABLE plots AS FROM '{sys.argv[2]}'").fetchall()
con.execute(sys.argv[1])
print(len(con.fetchmany(1)))
"""


def test_a_process_ends_while_it_reads_ahead(world: World) -> None:
    """At once, and without a word."""
    world.con.execute(f"COPY plots TO '{world.folder}/plots.parquet'").fetchall()
    world.server.latency_s = 0.5
    begun = time.monotonic()
    command = [sys.executable, "-W", "error", "-c", PROGRAM, world.read(), f"{world.folder}/plots.parquet"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=os.environ | {"RASTERET_MAX_CONCURRENCY": "2"})
    assert (told.returncode, told.stdout, told.stderr) == (0, "1\n", "")
    assert time.monotonic() - begun < 20
