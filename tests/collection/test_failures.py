"""A bad asset costs that asset, not the build: it is listed with its reason, its record keeps what is good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from tests.collection.asking import one, refused, rows
from tests.collection.tiffs import records, write
from tests.servers.faulty import Fault, FaultyServer, status

HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>" * 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("files")
    write(root / "good.tif", bands=2)
    data = (root / "good.tif").read_bytes()
    (root / "page.tif").write_bytes(HTML)
    (root / "empty.tif").write_bytes(b"")
    (root / "text.tif").write_bytes(b"id,name\n1,a\n" * 10)
    (root / "cut.tif").write_bytes(data[:100])
    (root / "png.tif").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (root / "folder.tif").mkdir()
    write(root / "complex.tif", dtype="complex64")
    write(root / "unplaced.tif", epsg=None)
    write(root / "bits.tif", dtype="uint32", nbits=20)
    return root


@pytest.fixture(scope="module")
def server(folder):
    with FaultyServer((folder / "good.tif").read_bytes()) as running:
        running.script("/private.tif", forever=status(403))
        running.script("/gone.tif", forever=status(404))
        running.script("/login.tif", forever=Fault(200, {"Content-Type": "text/html", "Content-Range": None}, HTML))
        running.script("/whole.tif", forever=Fault(200, {"Content-Range": None}, whole=True))
        running.script("/page.tif", forever=Fault(206, {"Content-Range": f"bytes 0-{len(HTML) - 1}/{len(HTML)}"}, HTML))
        running.script("/zipped.tif", forever=Fault(headers={"Content-Encoding": "gzip"}))
        yield running


LOCAL = {
    "missing.tif": "no such file (bytes 0-32767)",
    "folder.tif": "this path is not a file (bytes 0-32767)",
    "empty.tif": "the file is empty (bytes 0-32767)",
    "page.tif": "not a TIFF",
    "text.tif": "not a TIFF",
    "png.tif": "not a TIFF",
    "cut.tif": "truncated",
    "complex.tif": "complex",
    "bits.tif": "20",
    "unplaced.tif": "the file names no CRS; give it with crs := 'EPSG:…', or the records of a table a column crs",
}
REMOTE = {
    "/private.tif": "access denied: the file is private, or its signed URL has expired (HTTP 403)",
    "/gone.tif": "no such file (HTTP 404)",
    "/login.tif": "an HTML page came back instead of the file",
    "/whole.tif": "the server ignores range requests",
    "/page.tif": "not a TIFF",
    "/zipped.tif": "the server sends the file compressed",
}


def build(con, table, name="c", more=", href_column := 'href'"):
    con.register("given", table)
    return one(con, f"FROM rasteret_build_from_table(given, name := '{name}'{more})")


def failures(con, name="c"):
    return rows(con, f"FROM rasteret_failures({name}) ORDER BY id")


def check_listed(found, expected):
    assert {row["id"] for row in found} == set(expected)
    for row in found:
        assert expected[row["id"]] in row["error"], row
        assert "\n" not in row["error"]
        assert row["href"].endswith(row["id"])
        assert timedelta(seconds=-2) < datetime.now(UTC).replace(tzinfo=None) - row["failed_at"] < timedelta(minutes=2)


def test_bad_files_are_left_out_and_listed(con, folder):
    report = build(con, records({name: folder / name for name in ["good.tif", *LOCAL]}))
    assert (report["records"], report["added"], report["failed"]) == (1, 1, len(LOCAL))
    assert rows(con, "SELECT id FROM rasteret_collection(c)") == [{"id": "good.tif"}]
    check_listed(failures(con), LOCAL)


def test_bad_answers_are_left_out_and_listed(con, folder, server):
    report = build(con, records({path: server.url(path) for path in ["/good.tif", *REMOTE]}))
    assert (report["records"], report["failed"]) == (1, len(REMOTE))
    check_listed(failures(con), REMOTE)
    assert {server.attempts(path) for path in REMOTE} == {1}, "asking again would not help"


def test_a_record_keeps_its_good_assets(con, folder):
    table = pa.table(
        {
            "id": ["a", "b", "c"],
            "red": [str(folder / f"{n}.tif") for n in ("good", "missing", "complex")],
            "nir": [str(folder / f"{n}.tif") for n in ("text", "good", "cut")],
        }
    )
    report = build(con, table, more=", band_columns := {'red': 'red', 'nir': 'nir'}")
    assert (report["records"], report["failed"], report["bands"]) == (2, 4, ["red", "nir"])
    assert [(row["id"], row["band"]) for row in rows(con, "FROM rasteret_failures(c) ORDER BY id, band")] == [
        ("a", "nir"),
        ("b", "red"),
        ("c", "nir"),
        ("c", "red"),
    ]
    found = rows(
        con,
        "SELECT id, assets.red IS NULL AS no_red, red_metadata IS NULL AS no_red_meta, assets.nir IS NULL AS no_nir FROM rasteret_collection(c) ORDER BY id",
    )
    assert found == [
        {"id": "a", "no_red": False, "no_red_meta": False, "no_nir": True},
        {"id": "b", "no_red": True, "no_red_meta": True, "no_nir": False},
    ]


def test_a_sample_that_the_file_has_not(con, folder):
    report = build(con, records({"a": folder / "good.tif"}), more=", href_column := 'href', band_index_map := {'one': 1, 'four': 4}")
    assert (report["records"], report["failed"]) == (1, 1)
    (failure,) = failures(con)
    assert (failure["band"], failure["error"]) == ("four", f"{folder}/good.tif: band index 4 is not in the file, which has 2 bands")


def test_a_crs_column_places_files_that_name_none(con, folder):
    table = records({"a": folder / "unplaced.tif", "b": folder / "good.tif"}, crs=["EPSG:32632", None])
    assert build(con, table)["failed"] == 0
    found = rows(con, 'SELECT id, crs, "proj:epsg" AS epsg, bbox.xmin AS west FROM rasteret_collection(c) ORDER BY id')
    assert [(row["id"], row["crs"], row["epsg"]) for row in found] == [("a", "EPSG:32632", 32632), ("b", "EPSG:32633", 32633)]
    assert found[1]["west"] - found[0]["west"] == pytest.approx(6.0, abs=1e-6), "one zone further east"


def test_a_crs_that_is_none_is_one_line(con, folder):
    con.register("given", records({"a": folder / "unplaced.tif"}, crs=["EPSG:0"]))
    assert "unknown CRS 'EPSG:0'" in refused(con, "FROM rasteret_build_from_table(given, name := 'c', href_column := 'href')")


def test_all_bad_is_an_error_and_the_old_collection_stays(con, folder, workspace):
    build(con, records({"a": folder / "good.tif"}))
    before = {file: file.read_bytes() for file in sorted(workspace.rglob("*")) if file.is_file()}
    con.register("given", records({"x": folder / "missing.tif", "y": folder / "text.tif"}))
    message = refused(con, "FROM rasteret_build_from_table(given, name := 'c', href_column := 'href')")
    assert message == f"none of the 2 records has a readable file; the first: {folder}/missing.tif: no such file (bytes 0-32767)"
    assert {file: file.read_bytes() for file in sorted(workspace.rglob("*")) if file.is_file()} == before
    assert rows(con, "SELECT id FROM rasteret_collection(c)") == [{"id": "a"}]
    assert failures(con) == []


def test_a_rebuild_forgets_old_failures(con, folder):
    build(con, records({"a": folder / "good.tif", "b": folder / "text.tif"}))
    assert len(failures(con)) == 1
    assert build(con, records({"a": folder / "good.tif"}))["failed"] == 0
    assert failures(con) == []


def test_failures_are_no_records(con, folder, workspace):
    """The file that lists them is no part of the collection, for us and for dataset readers."""
    report = build(con, records({"a": folder / "good.tif", "b": folder / "text.tif"}))
    path = Path(report["path"])
    partitions = ds.partitioning(pa.schema([("year", pa.int32()), ("month", pa.int32())]), flavor="hive")
    assert ds.dataset(path, partitioning=partitions).count_rows() == 1
    assert one(con, f"SELECT count(*) AS n FROM rasteret_collection('{path}')") == {"n": 1}
    assert one(con, "SELECT records FROM rasteret_collections()") == {"records": 1}
