"""What a build asks the network for: one request a file, whoever shares it; and what it says of that."""

from __future__ import annotations

import pyarrow as pa
import pytest
import rasterio

from tests.collection.asking import one
from tests.collection.tiffs import records, write
from tests.servers.ranged import RangeServer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("files")
    for i in range(6):
        write(root / f"{i}.tif", bands=4, seed=i, width=200, height=200)
    return root


@pytest.fixture
def server(folder):
    with RangeServer(folder) as running:
        yield running


def build(con, table, more):
    con.register("given", table)
    return one(con, f"FROM rasteret_build_from_table(given, name := 'c', {more})")


def test_one_request_a_file(con, server):
    report = build(con, records({str(i): server.url(f"{i}.tif") for i in range(6)}), "href_column := 'href'")
    stats = server.stats()
    assert stats.requests == 6
    assert {path: len(ranges) for path, ranges in stats.ranges.items()} == {f"/{i}.tif": 1 for i in range(6)}
    assert {ranges[0] for ranges in stats.ranges.values()} == {(0, 32768)}
    assert (report["requests"], report["bytes"]) == (stats.requests, stats.bytes)
    assert 0 < report["seconds"] < 30


def test_bands_and_records_of_one_file_share_its_request(con, server):
    table = records({str(i): server.url("0.tif") for i in range(50)})
    report = build(con, table, "href_column := 'href', band_index_map := {'R': 0, 'G': 1, 'B': 2, 'N': 3}")
    assert (server.stats().requests, report["requests"], report["records"]) == (1, 1, 50)


def test_band_columns_that_name_one_file(con, server):
    table = pa.table({"id": ["a"], "one": [server.url("1.tif")], "two": [server.url("1.tif")], "three": [server.url("2.tif")]})
    build(con, table, "band_columns := {'one': 'one', 'two': 'two', 'three': 'three'}")
    assert server.stats().requests == 2


def test_a_missing_file_is_asked_for_once(con, server):
    table = records({str(i): server.url("none.tif" if i else "0.tif") for i in range(5)})
    report = build(con, table, "href_column := 'href', band_index_map := {'R': 0, 'G': 1}")
    assert (server.stats().requests, report["failed"], report["records"]) == (2, 8, 1)


def test_directories_at_the_end_cost_one_more(con, folder, server):
    """A file whose directory lies behind its pixels: two requests, not one per tag."""
    write(folder / "late.tif", width=600, height=600, compress=None)
    with rasterio.open(folder / "late.tif", "r+") as out:
        out.update_tags(1, note="x" * 50_000)  # moves the directory behind the pixels
    build(con, records({"a": server.url("late.tif")}), "href_column := 'href'")
    assert server.stats().requests <= 3
    assert server.stats().bytes < 300_000


def test_no_more_in_flight_than_the_setting(con, folder):
    with RangeServer(folder, latency_s=0.02) as server:
        con.execute("SET VARIABLE rasteret_max_concurrency = 3").fetchall()
        build(con, records({str(i): server.url(f"{i % 6}.tif?v={i}") for i in range(30)}), "href_column := 'href'")
        assert server.stats().requests == 30
        assert 3 < server.stats().max_in_flight <= 6, "headers: twice as many"
