"""What ``rasteret_pixels`` may cost: requests and bytes counted by a server, tiles worked out with rasterio and tifffile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely
from rasterio.features import geometry_mask

from tests.reader.oracle import SKY
from tests.sql.test_budgets import CONDITIONS, PLOTS, SIZE, TILE, UTM, Archive, Tiles, archive, assert_within_budget, folder, run, some_plots

__all__ = ["archive", "folder"]  # fixtures
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

RULES = {"fractional": True, "all_touched": True, "center": False}
"""Rule → does it take pixels that are only touched?"""


def tiles_met(archive: Archive, name: str, geometries: list[shapely.Geometry], rule: str) -> Tiles:
    """Tiles that hold a pixel of some geometry."""
    with rasterio.open(archive.folder / name) as ds:
        taken = np.zeros(ds.shape, bool)
        for geometry in geometries:
            taken |= geometry_mask([geometry], ds.shape, ds.transform, all_touched=RULES[rule], invert=True)
    corners = {(row // TILE * TILE, col // TILE * TILE) for row, col in zip(*np.nonzero(taken), strict=True)}
    return archive.tiles(name, [(int(row), int(col), 1, 1) for row, col in corners])


def stack_tiles(
    archive: Archive, geometries: list[shapely.Geometry], rule: str, records: range | tuple[int, ...] = range(4), bands: str = "RN"
) -> Tiles:
    return {key: size for i in records for band in bands for key, size in tiles_met(archive, f"{i}{band}.tif", geometries, rule).items()}


@pytest.mark.parametrize("rule", RULES)
def test_each_tile_is_fetched_once(con, archive: Archive, rule: str) -> None:
    some_plots(con)
    tiles = stack_tiles(archive, PLOTS, rule)
    archive.reset()
    sql = f"SELECT count(*) FROM rasteret_pixels('stack', 'plots', bands := ['R', 'N'], pixels := '{rule}', {UTM})"
    counted = run(con, sql)
    assert_within_budget(archive, tiles)
    first = archive.requests()
    assert run(con, sql) == counted
    assert archive.requests() == first, "the second time everything is in the cache"
    con.execute("CREATE TEMP TABLE turned AS FROM plots ORDER BY no DESC").fetchall()
    archive.reset()
    assert run(con, sql.replace("'plots'", "'turned'")) == counted
    assert archive.requests() == first, "the order of the plots makes no request"


def test_tiles_in_the_window_but_off_the_plot_are_not_fetched(con, archive: Archive) -> None:
    """Three sides of a frame around the middle."""
    frame = shapely.box(*(SKY @ (10.2, 630.3)), *(SKY @ (630.2, 10.3))) - shapely.box(*(SKY @ (30.2, 630.3)), *(SKY @ (600.2, 30.3)))
    con.register("plots", pa.table({"no": [0], "geom": [frame.wkb]}))
    tiles = tiles_met(archive, "0R.tif", [frame], "fractional")
    assert len(tiles) == 13
    archive.reset()
    run(con, f"SELECT count(*) FROM rasteret_pixels('stack', 'plots', bands := ['R'], {UTM}) WHERE record_id = 'r0'")
    assert_within_budget(archive, tiles)


def test_many_plots_and_a_small_cache(con, archive: Archive) -> None:
    """More pairs than DuckDB hands over at once, in random order, in batches of a megabyte: order is the reader's, not the table's."""
    rng = np.random.default_rng(2)
    circles = [shapely.Point(SKY @ place).buffer(55) for place in rng.uniform(0, SIZE, (1500, 2))]
    con.register("plots", pa.table({"no": range(1500), "geom": shapely.to_wkb(circles)}))
    tiles = stack_tiles(archive, circles, "fractional", bands="R")
    con.execute("SET VARIABLE rasteret_cache_bytes = 2000000").fetchall()
    con.execute("SET VARIABLE rasteret_memory_bytes = 1048576").fetchall()
    archive.reset()
    assert run(con, f"SELECT count(*) FROM rasteret_pixels('stack', 'plots', bands := ['R'], {UTM})")[0][0] > 500_000
    stats = archive.server.stats()
    assert stats.requests <= len(tiles)
    assert sum(tiles.values()) <= stats.bytes <= 1.03 * sum(tiles.values())


@pytest.mark.parametrize("rule", ["fractional", "window"])
def test_a_plot_in_parts_fetches_each_tile_once(con, archive: Archive, rule: str) -> None:
    """Half a million pixels a record in batches of a megabyte, parts smaller than a tile, a cache of a few tiles."""
    plot = shapely.Point(SKY @ (320, 320)).buffer(3190)
    con.register("plots", pa.table({"no": [0], "geom": [plot.wkb]}))
    tiles = stack_tiles(archive, [plot] if rule == "fractional" else [plot.envelope], "fractional", bands="R")
    con.execute("SET VARIABLE rasteret_cache_bytes = 300000").fetchall()
    con.execute("SET VARIABLE rasteret_memory_bytes = 1048576").fetchall()
    archive.reset()
    found = run(con, f"SELECT count(*) FROM rasteret_pixels('stack', 'plots', bands := ['R'], pixels := '{rule}', {UTM})")
    assert found[0][0] > 4 * 300_000
    stats = archive.server.stats()
    assert stats.requests <= len(tiles)
    assert sum(tiles.values()) <= stats.bytes <= 1.03 * sum(tiles.values())


@pytest.mark.parametrize("condition", CONDITIONS)
def test_filters_go_below_the_read(con, archive: Archive, condition: str) -> None:
    """WHERE on record_id, datetime and the user's columns keeps tiles from being fetched."""
    some_plots(con)
    records, chosen = CONDITIONS[condition]
    tiles = stack_tiles(archive, [PLOTS[i] for i in chosen], "fractional", records, "R")
    archive.reset()
    found = run(con, f"SELECT DISTINCT record_id, no FROM rasteret_pixels('stack', 'plots', bands := ['R'], {UTM}) WHERE {condition}")
    assert sorted(found) == sorted((f"r{record}", no) for record in records for no in chosen)
    assert_within_budget(archive, tiles)


def scans_of(node: Any) -> Iterator[dict[str, Any]]:
    """What the Parquet scans of a plan say of themselves."""
    for child in node if isinstance(node, list) else node["children"]:
        if "READ_PARQUET" in child["name"]:
            yield child["extra_info"]
        yield from scans_of(child)


def test_filters_reach_parquet(con, archive: Archive) -> None:
    some_plots(con)
    sql = f"FROM rasteret_pixels('stack', 'plots', bands := ['R'], {UTM}) WHERE datetime >= TIMESTAMP '2024-01-03' AND record_id = 'r2'"
    plan = run(con, f"EXPLAIN (FORMAT json) {sql}")[0][1]
    scan = next(found for found in scans_of(json.loads(plan)) if "Filters" in found)
    assert "2024-01-03" in str(scan["Filters"])
    assert "r2" in str(scan["Filters"])


def test_a_limit_ends_the_reading(con, archive: Archive) -> None:
    """Ten rows of two million: a few batches are read, not all."""
    plot = shapely.Point(SKY @ (320, 320)).buffer(3190)
    con.register("plots", pa.table({"no": [0], "geom": [plot.wkb]}))
    con.execute("SET VARIABLE rasteret_memory_bytes = 4194304").fetchall()
    every = stack_tiles(archive, [plot], "fractional", bands="R")
    archive.reset()
    assert len(run(con, f"SELECT x, y, R FROM rasteret_pixels('stack', 'plots', bands := ['R'], {UTM}) LIMIT 10")) == 10
    assert 0 < archive.server.stats().bytes < 0.5 * sum(every.values())


def test_explain_and_describe_read_nothing(con, archive: Archive) -> None:
    some_plots(con)
    archive.reset()
    call = f"rasteret_pixels('stack', 'plots', bands := ['R'], {UTM})"
    run(con, f"EXPLAIN FROM {call}")
    run(con, f"DESCRIBE FROM {call}")
    assert archive.requests() == 0


def test_max_bytes_refuses_before_the_first_request(con, archive: Archive) -> None:
    """The figure is ``rasteret_plan``'s: tiles under the windows."""
    some_plots(con)
    needed = sum(sum(archive.tiles(f"{i}{band}.tif", archive.windows(f"{i}{band}.tif", PLOTS)).values()) for i in range(4) for band in "RN")
    call = f"rasteret_pixels('stack', 'plots', bands := ['R', 'N'], {UTM})"
    archive.reset()
    con.execute(f"SET VARIABLE rasteret_max_bytes = {needed - 1}").fetchall()
    with pytest.raises(duckdb.Error) as caught:
        run(con, f"FROM {call}")
    first = str(caught.value).splitlines()[0]
    assert f"rasteret_pixels would fetch {needed:,} bytes" in first
    assert archive.requests() == 0
    con.execute(f"SET VARIABLE rasteret_max_bytes = {needed}").fetchall()
    assert run(con, f"FROM {call} LIMIT 1")
