"""What a user reads when a call is wrong: one line that names what was asked and what is valid, on every DuckDB; nothing secret in it."""

from __future__ import annotations

import os

import duckdb
import pytest
import rasterio

import rasteret_sql
from tests.collection.asking import one, refused, rows
from tests.collection.tiffs import records, write
from tests.servers.faulty import Fault, FaultyServer, status

SIGNED = "?X-Amz-Signature=s3cr3t&X-Amz-Credential=s3cr3t"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("errors")
    (root / "workspace").mkdir()
    write(root / "a.tif", bands=2)
    return root


@pytest.fixture(scope="module")
def con(folder):
    """``demo`` with bands red and nir; ``points`` and ``plots`` on it; relations that are odd."""
    with rasteret_sql.connect() as connection:
        connection.execute(f"SET VARIABLE rasteret_workspace = '{folder}/workspace'").fetchall()
        connection.register("files", records({"a": folder / "a.tif"}))
        connection.execute(
            "FROM rasteret_build_from_table(files, name := 'demo', href_column := 'href', band_index_map := {'red': 0, 'nir': 1})"
        ).fetchall()
        connection.execute("CREATE TABLE points AS SELECT 'POINT(15.001 46.9525)' AS geom").fetchall()
        connection.execute("CREATE TABLE plots AS SELECT 'POLYGON((15 46.95, 15.002 46.95, 15.002 46.953, 15 46.95))' AS geom").fetchall()
        connection.execute("CREATE TABLE two AS SELECT 'POINT(0 0)'::GEOMETRY AS a, 'POINT(0 0)'::GEOMETRY AS b").fetchall()
        connection.execute("CREATE TABLE none AS SELECT 1 AS id, 'x' AS label").fetchall()
        connection.execute("CREATE TABLE rel AS FROM rasteret_collection(demo)").fetchall()
        yield connection


# -- arguments ---------------------------------------------------------------------------------------------------------------

CALLS = {
    # collections
    "rasteret_bands(demmo)": "rasteret_bands: no collection 'demmo'; did you mean 'demo'?; built: demo",
    "rasteret_failures(nosuch)": "rasteret_failures: no collection 'nosuch'; built: demo (in {workspace}; rasteret_workspace names another folder)",
    "rasteret_read('/no/such', plots)": "rasteret_read: no collection '/no/such'; there is no folder '/no'; built: demo; no file or folder of that name either",
    "rasteret_sample('such.parquet', points)": "rasteret_sample: no collection 'such.parquet'; built: demo; no file or folder of that name either",
    "rasteret_bands(5)": "rasteret_bands: collection := 5 is not valid; a name, a path, a list of GeoTIFFs or a table is",
    "rasteret_bands('')": "rasteret_bands: collection := '' is not valid; a name, a path, a list of GeoTIFFs or a table is",
    "rasteret_bands(NULL)": "rasteret_bands: collection is missing",
    "rasteret_bands(DATE '2020-01-01')": "rasteret_bands: collection := 2020-01-01 is not valid; a name, a path, a list of GeoTIFFs or a table is",
    "rasteret_bands('a.')": "rasteret_bands: 'a.' is no name of a table",
    # bands
    "rasteret_sample(demo, points)": "rasteret_sample: bands is missing; choose from: red, nir",
    "rasteret_read(demo, plots)": "rasteret_read: bands is missing; choose from: red, nir",
    "rasteret_plan(demo, plots)": "rasteret_plan: bands is missing; choose from: red, nir",
    "rasteret_sample(rel, points)": "rasteret_sample: no built collection 'rel'; built: demo; of a table or view name the bands, such as bands := ['B04']",
    "rasteret_sample(demo, points, bands := ['rad'])": "rasteret_sample: unknown band 'rad'; did you mean 'red'?; bands: red, nir",
    "rasteret_read(demo, plots, bands := ['red', 'B04'])": "rasteret_read: unknown band 'B04'; bands: red, nir",
    "rasteret_sample(demo, points, bands := ['RED'])": "rasteret_sample: unknown band 'RED'; bands: red, nir",
    "rasteret_plan(demo, plots, bands := ['red', 'red'])": "rasteret_plan: band 'red' is asked for twice",
    "rasteret_sample(demo, points, bands := 5)": "rasteret_sample: bands := 5 is not valid; a list of band names is, such as ['B04', 'B08']",
    "rasteret_sample(demo, points, bands := [])": "rasteret_sample: bands := [] is not valid; a list of band names is, such as ['B04', 'B08']",
    "rasteret_sample(demo, points, bands := [NULL])": "rasteret_sample: bands := [NULL] is not valid; a list of band names is, such as ['B04', 'B08']",
    "rasteret_sample(demo, points, bands := true)": "rasteret_sample: bands := true is not valid; a list of band names is, such as ['B04', 'B08']",
    # words
    "rasteret_sample(demo, points, bands := 'red', match := 'lates')": "rasteret_sample: match := 'lates' is not valid; did you mean 'latest'?; valid: all, latest, nearest",
    "rasteret_sample(demo, points, bands := 'red', match := 4)": "rasteret_sample: match := 4 is not valid; valid: all, latest, nearest",
    "rasteret_sample(demo, points, bands := 'red', match := INTERVAL 1 DAY)": None,
    "rasteret_sample(demo, points, bands := 'red', layout := 'tall')": "rasteret_sample: layout := 'tall' is not valid; valid: wide, long",
    "rasteret_sample(demo, points, bands := 'red', interpolation := 'cubics')": "rasteret_sample: interpolation := 'cubics' is not valid; did you mean 'cubic'?; valid: nearest, bilinear, cubic",
    "rasteret_read(demo, plots, bands := 'red', pixels := 'centre')": "rasteret_read: pixels := 'centre' is not valid; did you mean 'center'?; valid: center, all_touched, window",
    "rasteret_plan(demo, plots, bands := 'red', pixels := 'all')": "rasteret_plan: pixels := 'all' is not valid; valid: center, all_touched, window, fractional",
    "rasteret_read(demo, plots, bands := 'red', on_error := 'ignore')": "rasteret_read: on_error := 'ignore' is not valid; valid: raise, null",
    "rasteret_sample(demo, points, bands := 'red', scaled := 'yes')": "rasteret_sample: scaled := 'yes' is not valid; valid: true, false",
    # numbers
    "rasteret_sample(demo, points, bands := 'red', max_distance_pixels := -1)": "rasteret_sample: max_distance_pixels := -1 is not valid; whole numbers from 0 to 100 are",
    "rasteret_sample(demo, points, bands := 'red', max_distance_pixels := 1.5)": "rasteret_sample: max_distance_pixels := 1.5 is not valid; whole numbers from 0 to 100 are",
    "rasteret_sample(demo, points, bands := 'red', max_distance_pixels := true)": "rasteret_sample: max_distance_pixels := true is not valid; whole numbers from 0 to 100 are",
    "rasteret_sample(demo, points, bands := 'red', neighbourhood := 1000)": "rasteret_sample: neighbourhood := 1000 is not valid; whole numbers from 0 to 50 are",
    "rasteret_sample(demo, points, bands := 'red', neighbourhood := 1, layout := 'long')": "rasteret_sample: neighbourhood goes with layout := 'wide'",
    "rasteret_io(last := 0)": "rasteret_io: last := 0 is not valid; a whole number from 1 is",
    "rasteret_io(last := 'x')": "rasteret_io: last := 'x' is not valid; a whole number from 1 is",
    # geometry columns
    "rasteret_sample(demo, none, bands := 'red')": "no geometry column; name it with geometry := '<column>', or points with x := '<column>', y := '<column>'; columns: id, label",
    "rasteret_read(demo, none, bands := 'red')": "no geometry column; name it with geometry := '<column>', or points with x := '<column>', y := '<column>'; columns: id, label",
    "rasteret_plan(demo, two, bands := 'red')": "several geometry columns (a, b); choose with geometry := '<column>'",
    "rasteret_sample(demo, points, bands := 'red', geometry := 'gem')": "no column 'gem'; did you mean 'geom'?; columns: geom",
    "rasteret_sample(demo, points, bands := 'red', geometry := 3)": "rasteret_sample: geometry := 3 is not valid; a column name in quotes is",
    "rasteret_sample(demo, none, bands := 'red', geometry := 'id')": "the geometry column is int32; GEOMETRY, WKB (BLOB) and WKT (VARCHAR) are valid",
    "rasteret_sample(demo, points, bands := 'red', x := 'lon')": "rasteret_sample: x and y go together: x := '<column>', y := '<column>'",
    "rasteret_sample(demo, 5, bands := 'red')": "rasteret_sample: 5 is no table; a table, view, CTE or the path of a file is valid",
    "rasteret_sample(demo, NULL, bands := 'red')": "rasteret_sample: points is missing",
    # CRS
    "rasteret_sample(demo, points, bands := 'red', geometry_crs := 'EPSG:999999')": None,
    "rasteret_read(demo, plots, bands := 'red', geometry_crs := 'rubbish')": None,
    "rasteret_sample(demo, points, bands := 'red', geometry_crs := 5)": "rasteret_sample: geometry_crs := 5 is not valid; a CRS in quotes such as 'EPSG:32643' is",
    "rasteret_bands(demo, crs := 5)": "rasteret_bands: crs := 5 is not valid; a CRS in quotes such as 'EPSG:32643' is",
    # grids
    "rasteret_read(demo, plots, bands := 'red', resolution := 0)": "rasteret_read: resolution := 0 is not valid; a number greater than 0 is",
    "rasteret_read(demo, plots, bands := 'red', resolution := -1.5)": "rasteret_read: resolution := -1.5 is not valid; a number greater than 0 is",
    "rasteret_read(demo, plots, bands := 'red', resolution := 'NaN'::DOUBLE)": "rasteret_read: resolution := nan is not valid; a number greater than 0 is",
    "rasteret_read(demo, plots, bands := 'red', resolution := '60')": "rasteret_read: resolution := '60' is not valid; a number greater than 0 is",
    "rasteret_read(demo, plots, bands := 'red', resolution := true)": "rasteret_read: resolution := true is not valid; a number greater than 0 is",
    "rasteret_plan(demo, plots, bands := 'red', resolution := [60])": "rasteret_plan: resolution := [60] is not valid; a number greater than 0 is",
    "rasteret_read(demo, plots, bands := 'red', target_crs := 'EPSG:4326')": "rasteret_read: target_crs := 'EPSG:4326' needs resolution, the size of a pixel in units of that CRS",
    "rasteret_read(demo, plots, bands := 'red', target_crs := 'rubbish', resolution := 10)": None,
    "rasteret_read(demo, plots, bands := 'red', target_crs := 5, resolution := 10)": "rasteret_read: target_crs := 5 is not valid; a CRS in quotes such as 'EPSG:32643' is",
    "rasteret_read(demo, plots, bands := 'red', resampling := 'bilinear')": "rasteret_read: resampling has no effect on one band without resolution or target_crs: its pixels come as stored",
    "rasteret_read(demo, plots, bands := 'red', resolution := 10, resampling := 'bilinar')": "rasteret_read: resampling := 'bilinar' is not valid; did you mean 'bilinear'?; valid: nearest, bilinear, cubic, average, mode, min, max, med, q1, q3, rms",
    "rasteret_read(demo, plots, bands := 'red', align_to := [0, 0])": "rasteret_read: align_to has no effect without resolution: arrays come on the record's own grid",
    "rasteret_read(demo, plots, bands := 'red', resolution := 10, align_to := [1, 2, 3])": "rasteret_read: align_to := [1, 2, 3] is not valid; two coordinates such as [0, 0] are",
    "rasteret_read(demo, plots, bands := 'red', resolution := 10, align_to := 'x')": "rasteret_read: align_to := 'x' is not valid; two coordinates such as [0, 0] are",
    "rasteret_read(demo, plots, bands := 'red', resolution := 10, align_to := ['a', 'b'])": "rasteret_read: align_to := ['a', 'b'] is not valid; two coordinates such as [0, 0] are",
    # builds
    "rasteret_build_from_table(files)": "rasteret_build_from_table: name is missing",
    "rasteret_build_from_table(files, name := 3)": "rasteret_build_from_table: name := 3 is not valid; a name in quotes is",
    "rasteret_build_from_table(files, name := '../x')": "rasteret_build_from_table: '../x' is no collection name; letters, digits, '_', '-' and '.' are valid",
    "rasteret_build_from_table(files, name := '')": "rasteret_build_from_table: '' is no collection name; letters, digits, '_', '-' and '.' are valid",
    "rasteret_build_from_table(5, name := 'x')": "rasteret_build_from_table: 5 is no table; a table, view, CTE or the path of a file is valid",
    "rasteret_build_from_table(files, name := 'x', href_column := 5)": "rasteret_build_from_table: href_column := 5 is not valid; a column name in quotes is",
    "rasteret_build_from_table(files, name := 'x', band_codes := 3)": "rasteret_build_from_table: band_codes := 3 is not valid; a list of names is, such as ['B04', 'B08']",
    "rasteret_build_from_table(files, name := 'x', band_codes := [1])": "rasteret_build_from_table: band_codes := [1] is not valid; a list of names is, such as ['B04', 'B08']",
    "rasteret_build_from_table(files, name := 'x', column_map := 3)": "rasteret_build_from_table: column_map := 3 is not valid; {'name': 'other', …} is",
    "rasteret_build_from_table(files, name := 'x', column_map := ['a'])": "rasteret_build_from_table: column_map := ['a'] is not valid; {'name': 'other', …} is",
    "rasteret_build_from_table(files, name := 'x', column_map := [1, 2])": "rasteret_build_from_table: column_map := [1, 2] is not valid; {'name': 'other', …} is",
    "rasteret_build_from_table(files, name := 'x', band_index_map := {'a': 'b'})": "rasteret_build_from_table: band_index_map := {'a': 'b'} is not valid; {'name': 0, …} is",
    "rasteret_build_from_table(files, name := 'x', band_index_map := {'a': true})": "rasteret_build_from_table: band_index_map := {'a': True} is not valid; {'name': 0, …} is",
    "rasteret_build_from_table(files, name := 'x', url_rewrite := MAP {1: 2})": None,
}


@pytest.mark.parametrize("call", CALLS)
def test_bad_calls(con, folder, call):
    message = refused(con, f"FROM {call}")
    if CALLS[call] is not None:
        assert message == CALLS[call].replace("{workspace}", f"{folder}/workspace")
    else:
        assert message.startswith(call.partition("(")[0] + ": ")
        assert "valid" in message or "unknown CRS" in message
    assert not any(word in message for word in ("TypeError", "ValueError", "KeyError", "Decimal", "datetime.", "None", "<")) or "'<" in message


@pytest.mark.parametrize("call", [call for call in CALLS if "geometry := 'id'" not in call])
def test_bad_calls_fail_while_binding(con, call):
    """EXPLAIN is enough to see them: nothing was read or built."""
    refused(con, f"EXPLAIN FROM {call}")


SCALARS = {
    "rasteret_value('demo', 'rubbish', 'red')": "the geometry is no valid WKT: 'rubbish'",
    "rasteret_value('demo', 'POLYGON((0 0, 1 1, 0 1, 0 0))', 'red')": "a Polygon is no point; use rasteret_read for areas, or ST_Centroid of it",
    "rasteret_value('demo', 3, 'red')": "rasteret_value: point is not valid; WKT such as 'POINT(77.58 12.97)' is, longitude first",
    "rasteret_value('demo', NULL, 'red')": "rasteret_value: point is missing",
    "rasteret_value('demo', 'POINT(0 0)', 'rad')": "rasteret_value: unknown band 'rad'; did you mean 'red'?; bands: red, nir",
    "rasteret_value('demo', 'POINT(0 0)', ['red', 'nir'])": "rasteret_value: one band gives one value",
    "rasteret_value('/no/such', 'POINT(0 0)', 'red')": "rasteret_value: no collection '/no/such'; there is no folder '/no'; built: demo; no file or folder of that name either",
    "rasteret_sample(d, 'rubbish', 'red')": "the geometry is no valid WKT: 'rubbish'",
    "rasteret_read(d, 'rubbish', 'red')": "the geometry is no valid WKT: 'rubbish'",
}


@pytest.mark.parametrize("call", SCALARS)
def test_bad_scalar_calls(con, call):
    assert refused(con, f"SELECT {call} FROM rasteret_collection(demo) AS d") == SCALARS[call]


NATIVE = {
    "FROM rasteret_sample(demo, nosuch, bands := 'red')": "Table with name nosuch does not exist!",
    "FROM rasteret_sample(nosuch, points, bands := 'red')": "Table with name nosuch does not exist!",
    "FROM rasteret_sample(rel, points, bands := 'blue')": 'Could not find key "blue" in struct',
    "SELECT rasteret_sample(d, 'POINT(0 0)', 'blue') FROM rasteret_collection(demo) AS d": 'Could not find key "blue_metadata" in struct',
    "FROM rasteret_sample(points, points, bands := 'red')": "not found in FROM clause!",
    "FROM rasteret_sample(demo, points, bands := 'red', x := 'a', y := 'b')": 'Could not find key "a" in struct',
    "FROM rasteret_sample(demo, points, nosuch := 3)": "Macro rasteret_sample() does not support the supplied arguments.",
    "FROM rasteret_sample(demo)": "Macro rasteret_sample() does not support the supplied arguments.",
    "FROM rasteret_build_from_table('nosuch.parquet', name := 'x')": 'No files found that match the pattern "nosuch.parquet"',
}


@pytest.mark.parametrize("statement", NATIVE)
def test_what_only_duckdb_can_know(con, statement):
    """Names in the user's own tables: its message, on its own first line."""
    with pytest.raises(duckdb.Error) as caught:
        con.execute(statement).fetchall()
    assert NATIVE[statement] in str(caught.value).splitlines()[0]


# -- data --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["sample", "read", "plan"])
def test_no_records(con, function):
    """A relation without rows is no error: points and plots stay, with their reason."""
    found = rows(con, f"WITH empty AS (FROM rasteret_collection(demo) WHERE false) FROM rasteret_{function}(empty, points, bands := ['red'])")
    if function == "plan":
        assert found == [{"record_id": "total", "band": None, "tiles": 0, "requests": 0, "bytes": 0, "bytes_cached": 0}]
    else:
        (row,) = found
        assert (row["record_id"], row["red"], row["status"]) == (None, None, "outside")


@pytest.mark.parametrize(
    "call",
    [
        "rasteret_sample(demo, empty, bands := 'red')",
        "rasteret_sample(demo, empty, bands := 'red', match := 'latest')",
        "rasteret_read(demo, empty, bands := 'red')",
    ],
)
def test_no_points(con, call):
    assert rows(con, f"WITH empty AS (FROM points WHERE false) FROM {call}") == []


@pytest.mark.parametrize("kind", ["VARCHAR", "GEOMETRY", "BLOB"])
def test_nothing_at_all(con, kind):
    """Neither records nor points, in every type of geometry."""
    statement = f"WITH no AS (SELECT NULL::{kind} AS geom WHERE false), empty AS (FROM rasteret_collection(demo) WHERE false) FROM rasteret_{{}}(empty, no, bands := ['red'])"
    assert rows(con, statement.format("sample")) == rows(con, statement.format("read")) == []


NOWHERE = [
    "NULL",
    "NULL::GEOMETRY",
    "NULL::BLOB",
    "'POINT EMPTY'",
    "'POLYGON EMPTY'",
    "'GEOMETRYCOLLECTION EMPTY'",
    "'POINT(nan 3)'",
    "'POINT(inf 0)'",
]


@pytest.mark.parametrize("value", NOWHERE)
def test_geometries_that_are_nowhere(con, value):
    for call, what in (("sample(demo, p, bands := 'red')", "point"), ("read(demo, p, bands := 'red')", "geometry")):
        if "POLY" in value or "COLL" in value:
            continue  # an empty polygon given to sample is still a polygon
        found = one(con, f"WITH p AS (SELECT 1 AS id, {value} AS geom) SELECT id, record_id, red, status, error FROM rasteret_{call}")
        assert found == {"id": 1, "record_id": None, "red": None, "status": "outside", "error": f"the {what} is NULL, empty or not on Earth"}
    found = one(con, f"WITH p AS (SELECT 1 AS id, {value} AS geom) SELECT status, error FROM rasteret_read(demo, p, bands := 'red')")
    assert found == {"status": "outside", "error": "the geometry is NULL, empty or not on Earth"}


BROKEN = {
    "'rubbish'": "the geometry is no valid WKT: 'rubbish'",
    "''": "the geometry is no valid WKT: ''",
    "'POINT(1)'": "the geometry is no valid WKT: 'POINT(1)'",
    "'" + "x" * 300 + "'": "the geometry is no valid WKT: '" + "x" * 39 + "…'",
    r"'\x00'::BLOB": "the geometry is no valid WKB: '00'",
    r"''::BLOB": "the geometry is no valid WKB: ''",
}


@pytest.mark.parametrize("value", BROKEN)
@pytest.mark.parametrize("function", ["sample", "read"])
def test_broken_geometries(con, value, function):
    """An error by default, naming the value and the way on; with on_error := 'null' the row stays with it."""
    statement = f"WITH p AS (SELECT 1 AS id, {value} AS geom UNION ALL SELECT 2, NULL) SELECT id, status, error FROM rasteret_{function}(demo, p, bands := 'red'{{}}) ORDER BY id"
    assert refused(con, statement.format("")) == f"{BROKEN[value]}; on_error := 'null' keeps such rows with their error"
    found = rows(con, statement.format(", on_error := 'null'"))
    assert found[0] == {"id": 1, "status": "error", "error": BROKEN[value]}
    assert found[1]["status"] == "outside"


def test_broken_geometries_in_a_plan(con):
    """They read nothing, so they cost nothing; without on_error they are an error here too."""
    statement = (
        "WITH p AS (SELECT 'rubbish' AS geom UNION ALL FROM plots) SELECT record_id, tiles > 0 AS some FROM rasteret_plan(demo, p, bands := 'red'{})"
    )
    assert refused(con, statement.format("")) == "the geometry is no valid WKT: 'rubbish'; on_error := 'null' keeps such rows with their error"
    assert rows(con, statement.format(", on_error := 'null'")) == [{"record_id": "a", "some": True}, {"record_id": "total", "some": True}]


@pytest.mark.parametrize("kind", ["Polygon", "LineString", "MultiPoint", "GeometryCollection"])
def test_areas_given_to_sample(con, kind):
    shapes = {"Polygon": "((0 0, 1 1, 0 1, 0 0))", "LineString": "(0 0, 1 1)", "MultiPoint": "(0 0, 1 1)", "GeometryCollection": "(POINT(0 0))"}
    reason = f"a {kind} is no point; use rasteret_read for areas, or ST_Centroid of it"
    statement = (
        f"WITH p AS (SELECT '{kind.upper()}{shapes[kind]}'::GEOMETRY AS geom) SELECT status, error FROM rasteret_sample(demo, p, bands := 'red'{{}})"
    )
    assert refused(con, statement.format("")) == f"{reason}; on_error := 'null' keeps such rows with their error"
    assert rows(con, statement.format(", on_error := 'null'")) == [{"status": "error", "error": reason}]


# -- files and servers that fail after they were indexed ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """Tiles that do not lie within the header's read."""
    return write(tmp_path_factory.mktemp("big") / "big.tif", width=400, height=400, blockxsize=256, blockysize=256, compress=None).read_bytes()


FAULTS = {
    "gone": (status(404), "no such file (HTTP 404)"),
    "private": (
        status(403, body=b"<Error><Code>ExpiredToken</Code></Error>"),
        "access denied: the file is private, or its signed URL has expired (HTTP 403",
    ),
    "login": (Fault(200, {"Content-Type": "text/html", "Content-Range": None}, b"<html>"), "an HTML page came back instead of the file"),
    "whole": (Fault(200, {"Content-Range": None}, whole=True), "the server ignores range requests"),
    "other version": (Fault(headers={"ETag": '"v2"'}), "the file changed since it was indexed"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("function", ["sample", "read"])
def test_servers_that_fail(con, big, fault, function):
    """One line with the asset and what is wrong, no signature; with on_error := 'null' a row with the same words."""
    answer, reason = FAULTS[fault]
    path = f"/{fault.replace(' ', '-')}-{function}.tif"
    with FaultyServer(big) as server:
        url = server.url(path)
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE signed AS SELECT 'x' AS id, '{url.replace('http://', 'http://user:s3cr3t@')}{SIGNED}' AS href"
        ).fetchall()
        assert one(con, "SELECT records, failed FROM rasteret_build_from_table(signed, name := 'signed', href_column := 'href')") == {
            "records": 1,
            "failed": 0,
        }
        server.script(path, forever=answer)
        call = f"rasteret_{function}(signed, points, bands := 'b1'{{}})"
        message = refused(con, f"FROM {call.format('')}")
        assert "s3cr3t" not in message
        assert "user" not in message
        assert message.startswith(f"{url}: {reason}"), message
        found = one(con, f"SELECT record_id, b1, status, error FROM {call.format(', on_error := ' + repr('null'))}")
        assert (found["record_id"], found["status"]) == ("x", "error")
        assert "s3cr3t" not in found["error"]
        assert reason in found["error"]
        assert found["b1"] is None or set(found["b1"]) == {None}


def test_secrets_stay_out_of_everything_that_is_shown(con, big):
    """Failures keep the href as data, because it is needed to try again; their words do not."""
    with FaultyServer(big) as server:
        server.script("/gone.tif", forever=status(404))
        urls = [f"{server.url(path).replace('http://', 'http://user:s3cr3t@')}{SIGNED}" for path in ("/ok.tif", "/gone.tif")]
        con.register("handed", records(dict(zip("ab", urls, strict=True))))
        con.execute("FROM rasteret_build_from_table(handed, name := 'shown', href_column := 'href')").fetchall()
        assert "s3cr3t" not in one(con, "SELECT error FROM rasteret_failures(shown)")["error"]
        con.execute("FROM rasteret_sample(shown, points, bands := 'b1')").fetchall()
        assert "s3cr3t" not in str(rows(con, "FROM rasteret_io(last := 5)"))
        assert "s3cr3t" not in refused(con, f"FROM rasteret_bands('{urls[1]}')")
        con.register("handed", records({"b": urls[1]}))
        assert "s3cr3t" not in refused(con, "FROM rasteret_build_from_table(handed, name := 'shown', href_column := 'href')")
        assert "s3cr3t" not in str(rows(con, "FROM rasteret_collections()"))
        for bad in (
            f"s3://user:s3cr3t@bucket/index{SIGNED}",
            f"/vsicurl/{urls[0]}",
            f"https://[s3cr3t/x{SIGNED}",
            f"ftp://user:s3cr3t@host/x.tif{SIGNED}",
        ):
            message = refused(con, f"FROM rasteret_sample('{bad}', points, bands := 'b1')")
            assert "X-Amz" not in message
            assert "user" not in message


def test_a_file_cut_after_it_was_indexed(con, tmp_path, big):
    file = tmp_path / "cut.tif"
    file.write_bytes(big)
    con.execute(f"CREATE OR REPLACE TEMP TABLE cut AS SELECT 'x' AS id, '{file}' AS href").fetchall()
    con.execute("FROM rasteret_build_from_table(cut, name := 'cut', href_column := 'href')").fetchall()
    os.truncate(file, len(big) // 4)
    message = refused(con, "FROM rasteret_sample(cut, points, bands := 'b1')")
    assert message.startswith(f"{file}: the file changed since it was indexed: {len(big) // 4:,} bytes, {len(big):,} then; index it again")
    file.unlink()
    assert refused(con, "FROM rasteret_sample(cut, points, bands := 'b1')").startswith(f"{file}: no such file")


def test_a_broken_tile_is_named(con, tmp_path):
    """Bytes that do not decode: the asset, which tile, and no value from it."""
    file = write(tmp_path / "broken.tif", width=64, height=64, blockxsize=64, blockysize=64)
    con.execute(f"CREATE OR REPLACE TEMP TABLE broken AS SELECT 'x' AS id, '{file}' AS href").fetchall()
    con.execute("FROM rasteret_build_from_table(broken, name := 'broken', href_column := 'href')").fetchall()
    with rasterio.open(file) as source:
        assert source.block_shapes == [(64, 64)]
    data = bytearray(file.read_bytes())
    start = one(con, "SELECT b1_metadata.tile_offsets[1] AS at FROM rasteret_collection(broken)")["at"]
    data[start : start + 200] = bytes(200)
    file.write_bytes(data)
    message = refused(con, "FROM rasteret_sample(broken, points, bands := 'b1')")
    assert str(file) in message
    found = one(con, "SELECT b1, status, error FROM rasteret_sample(broken, points, bands := 'b1', on_error := 'null')")
    assert (found["b1"], found["status"]) == (None, "error")
    assert str(file) in found["error"]


# -- settings ----------------------------------------------------------------------------------------------------------------

SETTINGS = {
    "max_bytes = 'x'": "rasteret_max_bytes = 'x' is not a whole number: a query that would fetch more bytes is refused before reading",
    "max_bytes = -1": "rasteret_max_bytes = -1 is too small; the least is 0: a query that would fetch more bytes is refused before reading",
    "max_bytes = 'inf'::DOUBLE": "rasteret_max_bytes = inf is not a whole number: a query that would fetch more bytes is refused before reading",
    "max_concurrency = 0": "rasteret_max_concurrency = 0 is too small; the least is 1: byte-range requests in flight at once",
    "timeout_s = 'soon'": "rasteret_timeout_s = 'soon' is not a number: deadline of one query's reading in seconds",
    "progress = 'maybe'": "rasteret_progress = 'maybe' is not true or false: progress bars on long work (stderr, terminals only)",
    "workspace = ''": "rasteret_workspace = '' is not a text: folder of the built collections",
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_bad_settings(con, folder, setting):
    """Every function says so, in its own name; none goes on with another value."""
    con.execute(f"SET VARIABLE rasteret_{setting}").fetchall()
    try:
        for call in ("settings()", "collections()", "bands(demo)", "sample(demo, points, bands := 'red')", "read(demo, plots, bands := 'red')"):
            assert refused(con, f"FROM rasteret_{call}") == f"rasteret_{call.partition('(')[0]}: {SETTINGS[setting]}"
        assert refused(con, "SELECT rasteret_value('demo', 'POINT(0 0)', 'red')") == f"rasteret_value: {SETTINGS[setting]}"
        assert SETTINGS[setting] in refused(con, "SELECT rasteret_sample(d, 'POINT(0 0)', 'red') FROM rasteret_collection(demo) AS d")
    finally:
        con.execute(f"RESET VARIABLE rasteret_{setting.partition(' ')[0]}").fetchall()
        con.execute(f"SET VARIABLE rasteret_workspace = '{folder}/workspace'").fetchall()


def test_unknown_environment_is_ignored(con, monkeypatch):
    monkeypatch.setenv("RASTERET_NONSENSE", "1")
    assert "rasteret_nonsense" not in {row["name"] for row in rows(con, "FROM rasteret_settings()")}


def test_bad_environment_is_named(con, monkeypatch):
    monkeypatch.setenv("RASTERET_MAX_BYTES", "lots")
    assert (
        refused(con, "FROM rasteret_bands(demo)")
        == "rasteret_bands: RASTERET_MAX_BYTES = 'lots' is not a whole number: a query that would fetch more bytes is refused before reading"
    )


def test_the_connection_works_after_errors(con):
    for call in list(CALLS)[::10]:
        refused(con, f"FROM {call}")
    assert one(con, "SELECT status FROM rasteret_sample(demo, points, bands := 'red')") == {"status": "ok"}
