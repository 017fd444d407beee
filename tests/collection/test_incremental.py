"""The same call again: adds what is new, keeps what is known without asking for it, reads again what changed. Requests are counted by the server."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from tests.collection.asking import one, refused, rows
from tests.collection.tiffs import records, value_by_rasterio, write
from tests.servers.faulty import FaultyServer, status
from tests.servers.ranged import RangeServer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("files")
    for i in range(8):
        write(root / f"{i}.tif", bands=1 + i % 2, seed=i, origin=(500000.0 + 400 * i, 5200000.0))
    return root


@pytest.fixture
def server(folder):
    with RangeServer(folder) as running:
        yield running


def build(con, table, more="href_column := 'href'", name="c"):
    con.register("given", table)
    return one(con, f"FROM rasteret_build_from_table(given, name := '{name}', {more})")


def counts(report):
    return {name: report[name] for name in ("records", "added", "unchanged", "failed", "requests")}


def files(server, numbers, **columns):
    return records({f"r{i}": server.url(f"{i}.tif") for i in numbers}, **{name: [value] * len(numbers) for name, value in columns.items()})


def content(con, name="c"):
    return rows(con, f"SELECT * EXCLUDE (year, month) FROM rasteret_collection({name}) ORDER BY id")


def test_nothing_new_asks_for_nothing(con, server, workspace):
    first = build(con, files(server, range(4)))
    before = content(con)
    inode = next((workspace / "c_records").rglob("*.parquet")).stat().st_ino
    again = build(con, files(server, range(4)))
    assert counts(first) == {"records": 4, "added": 4, "unchanged": 0, "failed": 0, "requests": 4}
    assert counts(again) == {"records": 4, "added": 0, "unchanged": 4, "failed": 0, "requests": 0}
    same = ("collection", "path", "bands", "epsg", "bounds", "first", "last")
    assert {name: again[name] for name in same} == {name: first[name] for name in same}
    assert server.stats().requests == 4
    assert content(con) == before
    assert next((workspace / "c_records").rglob("*.parquet")).stat().st_ino == inode, "not even written again"


def test_new_records_are_added_and_gone_ones_go(con, server):
    build(con, files(server, [0, 1, 2, 3]))
    server.reset()
    assert counts(build(con, files(server, [2, 3, 4, 5, 6]))) == {"records": 5, "added": 3, "unchanged": 2, "failed": 0, "requests": 3}
    assert sorted(server.stats().ranges) == ["/4.tif", "/5.tif", "/6.tif"]
    incremental = content(con)
    build(con, files(server, [2, 3, 4, 5, 6]), name="anew")
    assert incremental == content(con, "anew"), "as if built at once"
    assert rows(con, "SELECT band, records FROM rasteret_bands(c)") == [{"band": "b1", "records": 5}, {"band": "b2", "records": 2}]


def test_columns_of_the_table_change_without_a_header(con, server):
    build(con, files(server, range(3), split="train"))
    server.reset()
    report = build(con, files(server, range(3), split="test", datetime=datetime(2024, 5, 6), weight=1.5))
    assert counts(report) == {"records": 3, "added": 0, "unchanged": 3, "failed": 0, "requests": 0}
    assert report["first"] == datetime(2024, 5, 6)
    assert rows(con, "SELECT DISTINCT split, weight, datetime, year, month FROM rasteret_collection(c)") == [
        {"split": "test", "weight": 1.5, "datetime": datetime(2024, 5, 6), "year": 2024, "month": 5}
    ]


@pytest.mark.parametrize(("first", "then", "asked"), [("2024-01-01", "2024-02-01", 3), ("2024-01-01", "2024-01-01", 0), (None, "2024-01-01", 3)])
def test_another_version_is_read_again(con, server, first, then, asked):
    build(con, files(server, range(3)).append_column("updated", pa.array([first] * 3, pa.string())))
    server.reset()
    report = build(con, files(server, range(3), updated=then))
    assert (report["added"], report["unchanged"], server.stats().requests) == (asked, 3 - asked, asked)


def test_another_file_behind_one_record(con, server):
    build(con, files(server, range(3)))
    server.reset()
    table = records({"r0": server.url("0.tif"), "r1": server.url("7.tif"), "r2": server.url("2.tif")})
    assert counts(build(con, table)) == {"records": 3, "added": 1, "unchanged": 2, "failed": 0, "requests": 1}
    assert [row["href"] for row in rows(con, "SELECT assets.b1.href AS href FROM rasteret_collection(c) ORDER BY id")] == table["href"].to_pylist()


def test_one_band_of_a_record_changes(con, server):
    """The other band's header is known, and of the same version."""

    def table(name):
        return pa.table({"id": ["a"], "one": [server.url("0.tif")], "two": [server.url(name)]})

    options = "band_columns := {'one': 'one', 'two': 'two'}"
    build(con, table("2.tif"), options)
    server.reset()
    assert counts(build(con, table("4.tif"), options)) == {"records": 1, "added": 1, "unchanged": 0, "failed": 0, "requests": 1}
    assert list(server.stats().ranges) == ["/4.tif"]
    build(con, table("4.tif"), options, name="anew")
    assert content(con) == content(con, "anew")


def test_a_local_file_that_was_written_again(con, tmp_path):
    file = write(tmp_path / "a.tif", seed=1)
    table = records({"a": file, "b": write(tmp_path / "b.tif", seed=2)})
    build(con, table)
    write(file, seed=9, width=60, height=60)
    os.utime(file, ns=(1, file.stat().st_mtime_ns + 1))
    report = build(con, table)
    assert (report["added"], report["unchanged"]) == (1, 1)
    lon, lat, expected = value_by_rasterio(file, 1, 55, 55)
    assert one(con, f"SELECT rasteret_value('c', 'POINT({lon} {lat})', 'b1') AS v") == {"v": expected}


def test_force_reads_everything(con, server):
    build(con, files(server, range(3)))
    server.reset()
    report = build(con, files(server, range(3)), "href_column := 'href', force := true")
    assert counts(report) == {"records": 3, "added": 3, "unchanged": 0, "failed": 0, "requests": 3}
    assert "force := 'yes' is not valid" in refused(con, "FROM rasteret_build_from_table(given, name := 'c', href_column := 'href', force := 'yes')")


def test_other_parameters_make_another_collection(con, server):
    build(con, files(server, range(4)))
    other = "href_column := 'href', band_index_map := {'red': 0}"
    report = build(con, files(server, range(2)), other)
    assert (report["records"], report["bands"]) == (2, ["red"])
    build(con, files(server, range(2)), other, name="anew")
    assert content(con) == content(con, "anew")


def test_failures_are_retried_and_only_they(con, folder):
    with FaultyServer((folder / "0.tif").read_bytes()) as server:
        server.script("/bad.tif", forever=status(404))
        table = pa.table(
            {"id": ["a", "b"], "one": [server.url("/a.tif"), server.url("/b.tif")], "two": [server.url("/bad.tif"), server.url("/d.tif")]}
        )
        options = "band_columns := {'one': 'one', 'two': 'two'}"
        first = build(con, table, options)
        assert (first["records"], first["failed"]) == (2, 1)
        again = build(con, table, options)
        assert counts(again) == {"records": 2, "added": 0, "unchanged": 2, "failed": 1, "requests": 1}
        assert rows(con, "SELECT id, band FROM rasteret_failures(c)") == [{"id": "a", "band": "two"}]
        server.script("/bad.tif", forever=None)
        healed = build(con, table, options)
        assert counts(healed) == {"records": 2, "added": 1, "unchanged": 1, "failed": 0, "requests": 1}
        assert rows(con, "FROM rasteret_failures(c)") == []
        assert one(con, "SELECT count(assets.two.href) AS two, count(two_metadata) AS meta FROM rasteret_collection(c)") == {"two": 2, "meta": 2}
        assert build(con, table, options)["requests"] == 0


def test_a_folder_that_was_tampered_with_is_read_anew(con, server, workspace):
    build(con, files(server, range(3), datetime=datetime(2024, 1, 1)))
    server.reset()
    next((workspace / "c_records").rglob("part-0.parquet")).unlink()
    assert counts(build(con, files(server, range(3), datetime=datetime(2024, 1, 1))))["requests"] == 3
    assert len(content(con)) == 3


def test_a_copied_collection_is_whole_without_its_hidden_part(con, server, workspace, tmp_path):
    table = files(server, range(3), datetime=datetime(2024, 1, 1))
    path = Path(build(con, table)["path"])
    path.rename(tmp_path / "moved")
    assert len(rows(con, f"FROM rasteret_collection('{tmp_path / 'moved'}')")) == 3
    assert ds.dataset(tmp_path / "moved", partitioning="hive").count_rows() == 3
    assert build(con, table)["added"] == 3


def test_duplicate_ids_keep_their_own_files(con, server):
    table = pa.table({"id": ["x", "x"], "href": [server.url("0.tif"), server.url("2.tif")]})
    build(con, table)
    assert counts(build(con, table)) == {"records": 2, "added": 0, "unchanged": 2, "failed": 0, "requests": 0}
    assert build(con, table.slice(1))["records"] == 1
    assert one(con, "SELECT assets.b1.href AS href FROM rasteret_collection(c)") == {"href": server.url("2.tif")}
