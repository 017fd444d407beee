"""What a build takes as its table of records, and every way a table can name its files. The judge of values is rasterio."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.collection.asking import one, refused, rows
from tests.collection.tiffs import records, value_by_rasterio, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """``one.tif`` and ``two.tif`` with 3 bands, and one file per band: ``one_red.tif`` …"""
    root = tmp_path_factory.mktemp("files")
    for seed, name in enumerate(("one", "two")):
        write(root / f"{name}.tif", bands=3, seed=seed)
        for number, band in enumerate(("red", "nir")):
            write(root / f"{name}_{band}.tif", seed=10 * seed + number + 5)
    return root


def check_value(con, collection, record, band, href, index):
    """One pixel of one record, read through SQL and by rasterio."""
    lon, lat, expected = value_by_rasterio(href, index, col=21, row=17)
    con.execute(f"CREATE OR REPLACE TEMP TABLE place AS SELECT {lon} AS lon, {lat} AS lat").fetchall()
    found = rows(con, f"FROM rasteret_sample({collection}, place, bands := ['{band}'], x := 'lon', y := 'lat')")
    assert {row["record_id"]: (row[band], row["status"]) for row in found}[record] == (expected, "ok")


def build(con, call):
    return one(con, f"FROM rasteret_build_from_table({call})")


# -- where the records come from ---------------------------------------------------------------------------------------------


def as_table(con, table, tmp_path):
    con.register("given", table)
    con.execute("CREATE TABLE mine AS FROM given").fetchall()
    return "mine"


def as_temp_table(con, table, tmp_path):
    con.register("given", table)
    con.execute("CREATE TEMP TABLE mine AS FROM given").fetchall()
    return "mine"


def as_qualified_table(con, table, tmp_path):
    con.register("given", table)
    con.execute("CREATE SCHEMA s").fetchall()
    con.execute('CREATE TABLE s."my records" AS FROM given').fetchall()
    return "'s.\"my records\"'"


def as_view(con, table, tmp_path):
    con.register("given", table)
    con.execute("CREATE TEMP VIEW mine AS SELECT * FROM given WHERE true").fetchall()
    return "mine"


def as_arrow(con, table, tmp_path):
    con.register("mine", table)
    return "mine"


def as_parquet(con, table, tmp_path):
    pq.write_table(table, tmp_path / "mine.parquet")
    return f"'{tmp_path}/mine.parquet'"


def as_csv(con, table, tmp_path):
    con.register("given", table)
    con.execute(f"COPY given TO '{tmp_path}/mine.csv'").fetchall()
    return f"'{tmp_path}/mine.csv'"


@pytest.mark.parametrize("kind", [as_table, as_temp_table, as_qualified_table, as_view, as_arrow, as_parquet, as_csv])
def test_records_come_from(con, folder, tmp_path, kind):
    source = kind(con, records({name: folder / f"{name}.tif" for name in ("one", "two")}), tmp_path)
    report = build(con, f"{source}, name := 'c', href_column := 'href'")
    assert (report["collection"], report["records"], report["added"], report["failed"], report["bands"]) == ("c", 2, 2, 0, ["b1", "b2", "b3"])
    check_value(con, "c", "two", "b2", folder / "two.tif", 2)


def test_records_come_from_a_cte(con, folder):
    con.register("given", records({name: folder / f"{name}.tif" for name in ("one", "two")}))
    report = one(con, "WITH chosen AS (FROM given WHERE id = 'two') FROM rasteret_build_from_table(chosen, name := 'c', href_column := 'href')")
    assert report["records"] == 1
    check_value(con, "c", "two", "b3", folder / "two.tif", 3)


def test_a_build_is_done_once_however_its_result_is_used(con, folder, workspace):
    """EXPLAIN builds nothing; a filter on the report does not build twice."""
    con.register("given", records({"one": folder / "one.tif"}))
    con.execute("EXPLAIN FROM rasteret_build_from_table(given, name := 'c', href_column := 'href')").fetchall()
    assert list(workspace.iterdir()) == []
    found = rows(con, "SELECT records, requests FROM rasteret_build_from_table(given, name := 'c', href_column := 'href') WHERE records > 0")
    assert found == [{"records": 1, "requests": 1}]


# -- how it names the files --------------------------------------------------------------------------------------------------


def test_column_map_and_band_index_map(con, folder):
    """The example of the documentation: another name for the id, a year as datetime, bands by their position."""
    con.register(
        "given", pa.table({"fid": [7, 8], "year": [2021, 2022], "path": [str(folder / "one.tif"), str(folder / "two.tif")], "label": ["a", "b"]})
    )
    build(con, "given, name := 'c', href_column := 'path', band_index_map := {'R': 0, 'G': 2}, column_map := {'fid': 'id', 'year': 'datetime'}")
    found = rows(con, "SELECT id, datetime::VARCHAR AS at, label, assets FROM rasteret_collection(c) ORDER BY id")
    assert [(row["id"], row["at"], row["label"]) for row in found] == [("7", "2021-01-01 00:00:00", "a"), ("8", "2022-01-01 00:00:00", "b")]
    assert found[0]["assets"] == {
        "R": {"href": str(folder / "one.tif"), "band_index": 0},
        "G": {"href": str(folder / "one.tif"), "band_index": 2},
    }
    check_value(con, "c", "8", "R", folder / "two.tif", 1)
    check_value(con, "c", "8", "G", folder / "two.tif", 3)


def test_arguments_may_be_maps(con, folder):
    """STRUCTs fold their keys; a MAP takes any."""
    con.register("given", records({"one": folder / "one.tif"}))
    build(con, "given, name := 'c', href_column := 'href', band_index_map := MAP {'no-2': 1}")
    check_value(con, "c", "one", "no-2", folder / "one.tif", 2)


def test_band_columns(con, folder):
    table = pa.table(
        {
            "id": ["one", "two"],
            "red_path": [str(folder / "one_red.tif"), str(folder / "two_red.tif")],
            "nir_path": [str(folder / "one_nir.tif"), None],
        }
    )
    con.register("given", table)
    report = build(con, "given, name := 'c', band_columns := {'red': 'red_path', 'nir': 'nir_path'}")
    assert (report["records"], report["failed"], report["bands"]) == (2, 0, ["red", "nir"])
    assert [row[0] for row in con.execute("DESCRIBE FROM rasteret_collection(c)").fetchall()].count("red_path") == 0, "used up by the assets"
    check_value(con, "c", "one", "nir", folder / "one_nir.tif", 1)
    check_value(con, "c", "two", "red", folder / "two_red.tif", 1)
    lon, lat, _ = value_by_rasterio(folder / "two_red.tif", 1, 5, 5)
    con.execute(f"CREATE TABLE p AS SELECT {lon} AS x, {lat} AS y").fetchall()
    found = {row["record_id"]: row for row in rows(con, "FROM rasteret_sample(c, p, bands := ['red', 'nir'], x := 'x', y := 'y')")}
    assert found["two"]["red"] is not None
    assert (found["two"]["nir"], found["one"]["error"]) == (None, None)
    assert found["two"]["error"] == "the record has no asset for nir"


def test_assets_struct(con, folder):
    """As STAC tables have it: href, and a position in the file where there is one."""
    con.execute(
        f"""CREATE TABLE given AS SELECT 'one' AS id, {{
            'R': {{'href': '{folder}/one.tif', 'band_index': 2::BIGINT}}, 'N': {{'href': '{folder}/one_nir.tif', 'band_index': NULL::BIGINT}}}} AS assets"""
    ).fetchall()
    assert build(con, "given, name := 'c'")["bands"] == ["R", "N"]
    check_value(con, "c", "one", "R", folder / "one.tif", 3)
    check_value(con, "c", "one", "N", folder / "one_nir.tif", 1)


def test_assets_struct_of_plain_hrefs_and_band_codes(con, folder):
    con.execute(
        f"CREATE TABLE given AS SELECT 'one' AS id, {{'red': '{folder}/one_red.tif', 'nir': '{folder}/one_nir.tif', 'thumb': 'x.png'}} AS assets"
    ).fetchall()
    report = build(con, "given, name := 'c', band_codes := ['nir', 'red']")
    assert (report["bands"], report["failed"]) == (["nir", "red"], 0)
    check_value(con, "c", "one", "nir", folder / "one_nir.tif", 1)


def test_url_rewrite(con, folder):
    con.register("given", records({"one": "bucket://archive/one.tif", "two": f"{folder}/two.tif"}))
    report = build(con, f"given, name := 'c', href_column := 'href', url_rewrite := {{'bucket://archive/': '{folder}/'}}")
    assert (report["records"], report["failed"]) == (2, 0)
    assert rows(con, "SELECT assets.b1.href AS href FROM rasteret_collection(c) ORDER BY id") == [
        {"href": f"{folder}/{n}.tif"} for n in ("one", "two")
    ]


def test_files_of_other_band_counts(con, folder):
    con.register("given", records({"one": folder / "one.tif", "red": folder / "one_red.tif"}))
    assert build(con, "given, name := 'c', href_column := 'href'")["bands"] == ["b1", "b2", "b3"]
    found = rows(con, "SELECT id, assets.b3 IS NULL AS lacking FROM rasteret_collection(c) ORDER BY id")
    assert found == [{"id": "one", "lacking": False}, {"id": "red", "lacking": True}]


def test_records_that_share_an_id_keep_their_own_header(con, folder):
    write(folder / "far.tif", origin=(600000.0, 5200000.0), seed=77)
    con.register("given", pa.table({"id": ["same", "same"], "href": [str(folder / "one_red.tif"), str(folder / "far.tif")]}))
    build(con, "given, name := 'c', href_column := 'href'")
    check_value(con, "c", "same", "b1", folder / "one_red.tif", 1)
    check_value(con, "c", "same", "b1", folder / "far.tif", 1)


def test_user_columns_pass_through(con, folder):
    """In their types; those that a build writes itself give way."""
    con.execute(
        f"""CREATE TABLE given AS SELECT 'one' AS id, '{folder}/one.tif' AS href, 4.5 AS "eo:cloud_cover", ['a', 'b'] AS tags, {{'k': 1}} AS props,
        1 AS "it's odd", 'old' AS bbox, 1999 AS year"""
    ).fetchall()
    build(con, "given, name := 'c', href_column := 'href'")
    found = one(con, """SELECT "eo:cloud_cover", tags, props, "it's odd", href, bbox.xmin IS NOT NULL AS box, year FROM rasteret_collection(c)""")
    assert {k: str(v) if k == "eo:cloud_cover" else v for k, v in found.items()} == {
        "eo:cloud_cover": "4.5",
        "tags": ["a", "b"],
        "props": {"k": 1},
        "it's odd": 1,
        "href": f"{folder}/one.tif",
        "box": True,
        "year": None,
    }


# -- what is no table of records ---------------------------------------------------------------------------------------------

BAD = {
    "no id": (
        "SELECT 1 AS fid, 'a.tif' AS href",
        "href_column := 'href'",
        "the table has no column 'id'; name one with column_map := {'<column>': 'id'}; columns: fid, href",
    ),
    "a name that reading adds": (
        "SELECT 'a' AS id, 'a.tif' AS href, 1 AS File_Row_Number",
        "href_column := 'href'",
        "column 'File_Row_Number': reading a collection adds one of this name; rename it: column_map := {'File_Row_Number': '<name>'}",
    ),
    "NULL id": ("SELECT NULL::VARCHAR AS id, 'a.tif' AS href", "href_column := 'href'", "column 'id' is NULL in row 1; every record needs an id"),
    "no files": (
        "SELECT 1 AS id",
        "name := 'c'",
        "the table names no files: give href_column := '<column>' (with band_index_map for several bands), band_columns := {'<band>': '<column>'}, "
        "or an 'assets' column; columns: id",
    ),
    "href column": (
        "SELECT 1 AS id, 'a.tif' AS href",
        "href_column := 'hrf'",
        "href_column names no column 'hrf'; did you mean 'href'?; columns: id, href",
    ),
    "column map": ("SELECT 1 AS id", "column_map := {'fid': 'id'}", "column_map names no column 'fid'; did you mean 'id'?; columns: id"),
    "band column": (
        "SELECT 1 AS id, 'a' AS red",
        "band_columns := {'r': 'rad'}",
        "band_columns names no column 'rad'; did you mean 'red'?; columns: id, red",
    ),
    "band codes": (
        "SELECT 1 AS id, {'red': 'a.tif'} AS assets",
        "band_codes := ['rad']",
        "the assets have no band 'rad'; did you mean 'red'?; bands: red",
    ),
    "assets": (
        "SELECT 1 AS id, 'a.tif' AS assets",
        "name := 'c'",
        "column 'assets' is string; STRUCT(band STRUCT(href VARCHAR, band_index BIGINT), …) is valid",
    ),
    "index": (
        "SELECT 1 AS id, 'a.tif' AS href",
        "href_column := 'href', band_index_map := {'R': -1}",
        "band_index_map: 'R' has index -1; 0-based positions in the file are valid",
    ),
    "time": (
        "SELECT 1 AS id, 'yesterday' AS datetime, 'a.tif' AS href",
        "href_column := 'href'",
        "column 'datetime' is string and not readable as a time; timestamps, dates, ISO texts and years are valid",
    ),
    "empty": ("SELECT 1 AS id, 'a.tif' AS href WHERE false", "href_column := 'href'", "the table of records is empty; nothing to build"),
    "metadata": (
        "SELECT 1 AS id, 'a.tif' AS href, 3 AS red_metadata",
        "href_column := 'href', band_index_map := {'red': 0}",
        None,  # the file is missing: the column gives way without a word
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_tables_that_cannot_be_built(con, workspace, case):
    query, arguments, message = BAD[case]
    con.execute(f"CREATE TABLE given AS {query}").fetchall()
    call = arguments if arguments.startswith("name") else f"name := 'c', {arguments}"
    assert refused(con, f"FROM rasteret_build_from_table(given, {call})") == (
        message or "none of the 1 records has a readable file; the first: a.tif: no such file (bytes 0-32767)"
    )
    assert list(workspace.iterdir()) == []
