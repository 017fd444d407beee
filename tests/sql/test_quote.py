"""Names and texts of every kind through a real connection: the right thing or a clean error, never another statement.

A table ``canary`` lies on every connection and must survive.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

import rasteret_sql
from rasteret_sql.errors import InvalidArgument
from rasteret_sql.sql.quote import ident, name_parts, relation, text
from tests.collection.tiffs import value_by_rasterio, write

NASTY = [
    '"; DROP TABLE canary; --',
    "'; DROP TABLE canary; --",
    "x') ; DROP TABLE canary; --",
    "*/ DROP TABLE canary /*",
    "a -- b",
    "a/*b*/",
    "$$; DROP TABLE canary; $$",
    "\\'; DROP TABLE canary; --",
    "select",
    "from table",
    'a"b',
    '"a"',
    '""',
    '"',
    "'",
    "a.b",
    ".",
    "a\nb\r\tc",
    "a'b",
    "ß ü ﬀ 💥 ＂ ‘’ \u202e",
    "e\u0301",
    "{'a': 1}",
    "[1]",
    "?",
    "$1",
    "%s {0} {x}",
    "NULL",
    "1e9",
    "lambda x: x",
    "COLUMNS(*)",
    "(SELECT 1)",
    "r",
    "src",
    "__g",
    "geometry",
    "href",
]
NAMES = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.sampled_from("\"'`;.-/*\\$ \n(){}[],:=aAé_0%"), min_size=1, max_size=12),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=8),
)
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SLOW = settings(QUICK, max_examples=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("quoting")
    (root / "workspace").mkdir()
    write(root / "a.tif", seed=1)
    return root


@pytest.fixture(scope="module")
def con(folder):
    """One connection for all examples: what one leaves behind, the next would meet."""
    with rasteret_sql.connect() as connection:
        connection.execute(f"SET VARIABLE rasteret_workspace = '{folder}/workspace'").fetchall()
        connection.execute("CREATE TABLE canary AS SELECT 42 AS alive").fetchall()
        connection.execute(f"CREATE TABLE files AS SELECT 'a' AS id, '{folder}/a.tif' AS href").fetchall()
        lon, lat, value = value_by_rasterio(folder / "a.tif", 1, 7, 9)
        connection.execute(
            f"CREATE TABLE points AS SELECT {lon}::DOUBLE AS lon, {lat}::DOUBLE AS lat, {value} AS expected, 'POINT({lon} {lat})' AS geom"
        ).fetchall()
        connection.execute("FROM rasteret_build_from_table(files, name := 'c', href_column := 'href')").fetchall()
        before = tables(connection)
        yield connection
        assert tables(connection) == before


def tables(con):
    return {row[0] for row in con.execute("SELECT table_name FROM information_schema.tables").fetchall()}


def alive(con):
    assert con.execute("SELECT alive FROM canary").fetchall() == [(42,)], "the canary is dead"


@contextlib.contextmanager
def table(con, name, query, schema="main"):
    con.execute(f"CREATE TABLE {ident(schema)}.{ident(name)} AS {query}").fetchall()
    try:
        yield
    finally:
        con.execute(f"DROP TABLE {ident(schema)}.{ident(name)}").fetchall()


def fits(name):
    """DuckDB folds case: a name that is one of the fixture's tables would be that table."""
    return name.lower() not in {"canary", "files", "points"}


# -- the four functions --------------------------------------------------------------------------------------------------------


@QUICK
@given(NAMES)
def test_ident(con, name):
    (row,) = con.execute(f"SELECT * FROM (SELECT 1 AS {ident(name)})").fetchall()
    assert row == (1,)
    assert con.execute(f"SELECT 1 AS {ident(name)}").description[0][0] == name
    con.fetchall()
    alive(con)


@QUICK
@given(st.one_of(NAMES, st.just("")))
def test_text(con, value):
    assert con.execute(f"SELECT {text(value)}").fetchall() == [(value,)]
    alive(con)


@QUICK
@given(st.lists(NAMES, min_size=1, max_size=3))
def test_quoted_parts_come_apart(parts):
    assert name_parts(".".join(ident(part) for part in parts)) == parts
    assert relation(".".join(ident(part) for part in parts)) == ".".join(ident(part) for part in parts)


@QUICK
@given(NAMES)
@example('a"b')
@example('a"')
def test_a_plain_name_is_one_part(name):
    """Whatever it holds, unless a dot or a leading double quote says that there is more to it."""
    assume("." not in name and not name.startswith('"'))
    assert name_parts(name) == [name]


@QUICK
@given(st.text(max_size=12))
@example('"a')
@example('"a"b')
@example('"a"."b')
@example("")
@example("..")
@example('""')
def test_any_text_is_parts_or_refused(name):
    try:
        parts = name_parts(name)
    except InvalidArgument as error:
        assert "\n" not in str(error)
    else:
        assert all(parts)
        assert relation(name) == ".".join(ident(part) for part in parts) if "\0" not in name else True


@QUICK
@given(NAMES, NAMES)
def test_relation(con, schema, name):
    assume(schema.lower() not in {"main", "temp", "pg_catalog", "information_schema"})
    con.execute(f"CREATE SCHEMA {ident(schema)}").fetchall()
    try:
        with table(con, name, "SELECT 'right' AS x", schema=schema):
            assert con.execute(f"SELECT x FROM {relation(f'{ident(schema)}.{ident(name)}')}").fetchall() == [("right",)]
    finally:
        con.execute(f"DROP SCHEMA {ident(schema)}").fetchall()
    alive(con)


@pytest.mark.parametrize("function", [ident, text, relation])
def test_nul_is_refused(function):
    with pytest.raises(InvalidArgument, match="cannot hold a NUL character"):
        function("a\0b")


# -- through the functions that users call --------------------------------------------------------------------------------------


def values(con, call):
    return con.execute(f"SELECT b1 = expected FROM {call}").fetchall()


@SLOW
@given(NAMES)
def test_table_names(con, name):
    """As a quoted text, and as an identifier where it has no dots (a macro sees an identifier without its quotes)."""
    assume(fits(name))
    with table(con, name, "FROM points"):
        assert values(con, f"rasteret_sample(c, {text(ident(name))}, x := 'lon', y := 'lat')") == [(True,)]
        if "." not in name and not name.startswith('"'):
            assert values(con, f"rasteret_sample(c, {ident(name)}, x := 'lon', y := 'lat')") == [(True,)]
            assert values(con, f"rasteret_sample(c, {text(name)}, x := 'lon', y := 'lat')") == [(True,)]
    alive(con)


@SLOW
@given(NAMES)
def test_tables_that_are_not_there(con, name):
    """Any text as any table argument: an error or a table of that name, and nothing else happens."""
    assume(fits(name) and not (name.startswith(("/", "~")) and any(char in name for char in "*?[")))  # patterns over this machine's files
    for call in (
        f"rasteret_sample(c, {text(name)}, x := 'lon', y := 'lat')",
        f"rasteret_read({text(name)}, points, bands := ['b1'])",
        f"rasteret_bands({text(name)})",
        f"rasteret_build_from_table({text(name)}, name := 'never', href_column := 'href')",
    ):
        with contextlib.suppress(duckdb.Error):
            con.execute(f"FROM {call}").fetchall()
            pytest.fail(f"{call} answered")
    alive(con)


@SLOW
@given(NAMES)
def test_relations_as_collections(con, name):
    assume(fits(name) and name.lower() != "c" and not looks_like_a_path(name))
    with table(con, name, "FROM rasteret_collection(c)"):
        assert values(con, f"rasteret_sample({text(ident(name))}, points, bands := ['b1'], x := 'lon', y := 'lat')") == [(True,)]
    alive(con)


def looks_like_a_path(name):
    return "/" in name or name.startswith("~") or name.lower().endswith((".tif", ".parquet"))


@SLOW
@given(NAMES)
def test_columns_pass_through(con, name):
    """A user's column of any name keeps it, its value and its place; ours beside it, under another name where they would collide."""
    assume(name.lower() not in {"lon", "lat", "expected", "geom"})
    with table(con, "carrier", f"SELECT 'mine' AS {ident(name)}, * FROM points"):
        cursor = con.execute("FROM rasteret_sample(c, carrier, x := 'lon', y := 'lat')")
        names = [column[0] for column in cursor.description]
        (row,) = cursor.fetchall()
    assert (names[0], row[0]) == (name, "mine")
    assert len({name.lower() for name in names}) == len(names)
    assert "ok" in row
    alive(con)


@SLOW
@given(NAMES)
def test_geometry_columns(con, name):
    assume(name.lower() not in {"lon", "lat", "expected"})
    with table(con, "carrier", f"SELECT geom AS {ident(name)}, expected FROM points"):
        assert values(con, f"rasteret_sample(c, carrier, geometry := {text(name)})") == [(True,)]
    with table(
        con, "carrier", f"SELECT geom::GEOMETRY AS {ident(name)}, expected, {{'inner one': 1, {ident(name)}: 'GEOMETRY'}} AS more FROM points"
    ):
        assert values(con, "rasteret_sample(c, carrier)") == [(True,)]
    with table(con, "carrier", f"SELECT lon AS {ident(name)}, lat AS yy, expected FROM points"):
        assert values(con, f"rasteret_sample(c, carrier, x := {text(name)}, y := 'yy')") == [(True,)]
    alive(con)


@SLOW
@given(NAMES)
def test_band_names(con, folder, name):
    """Through a build, a wide and a long result, a window, a read and the scalar form."""
    con.execute(
        f"FROM rasteret_build_from_table(files, name := 'named', href_column := 'href', band_index_map := MAP {{{text(name)}: 0}})"
    ).fetchall()
    assert [row[0] for row in con.execute("FROM rasteret_bands(named)").fetchall()] == [name]
    cursor = con.execute(f"FROM rasteret_sample(named, points, bands := [{text(name)}], x := 'lon', y := 'lat', neighbourhood := 1)")
    names = [column[0] for column in cursor.description]
    row = dict(zip(names, cursor.fetchall()[0], strict=True))
    assert row["expected"] in row.values()
    assert row["status"] == "ok"
    assert con.execute(
        f"SELECT band, value = expected FROM rasteret_sample(named, points, bands := {text(name)}, x := 'lon', y := 'lat', layout := 'long')"
    ).fetchall() == [(name, True)]
    assert con.execute("SELECT record_id, band, tiles FROM rasteret_plan(named, points)").fetchall()[0] == ("a", name, 1)
    assert con.execute(f"SELECT rasteret_value('named', 'POINT(0 0)', {text(name)})").fetchall() == [(None,)]
    (found,) = con.execute(
        f"SELECT rasteret_sample(n, p.geom, {text(name)}) = p.expected FROM points AS p, rasteret_collection(named) AS n"
    ).fetchall()
    assert found == (True,)
    alive(con)


@SLOW
@given(NAMES)
def test_bands_that_are_not_there(con, name):
    assume(name != "b1")
    for call in (
        f"rasteret_sample(c, points, bands := [{text(name)}], x := 'lon', y := 'lat')",
        f"rasteret_read(c, points, bands := [{text(name)}])",
        f"rasteret_plan(c, points, bands := {text(name)})",
    ):
        with pytest.raises(duckdb.InvalidInputException, match=r"unknown band .* bands: b1") as caught:
            con.execute(f"FROM {call}").fetchall()
        assert "\n" not in str(caught.value).partition("\n\nLINE")[0]
    alive(con)


@SLOW
@given(NAMES)
def test_collection_names(con, folder, name):
    """Built under a name that is one path component, or refused; never outside of the workspace."""
    workspace = folder / "workspace"
    before = set(folder.iterdir())
    try:
        con.execute(f"FROM rasteret_build_from_table(files, name := {text(name)}, href_column := 'href')").fetchall()
    except duckdb.InvalidInputException as error:
        assert "is no collection name; letters, digits, '_', '-' and '.' are valid" in str(error)
        assert not re.fullmatch(r"\w[\w.-]*", name)
    else:
        assert (workspace / f"{name}_records").is_dir()
        assert values(con, f"rasteret_sample({text(name)}, points, x := 'lon', y := 'lat')") == [(True,)]
    assert set(folder.iterdir()) == before
    alive(con)


@SLOW
@given(NAMES)
@example("{}")
@example("100%")
@example("a*b")
@example("[ab]")
@example("a\\b")
@example("a\\[b")
@example("year=x")
def test_paths(con, folder, name):
    """A folder of any name that a file system takes, with a GeoTIFF and a collection in it."""
    assume("/" not in name and name not in {".", ".."} and len(os.fsencode(name)) < 200)
    place = Path(tempfile.mkdtemp(dir=folder)) / name
    place.mkdir()
    tiff, parquet = place / "a.tif", place / "c.parquet"
    tiff.write_bytes((folder / "a.tif").read_bytes())
    con.execute(f"COPY (FROM rasteret_collection(c)) TO {text(str(folder / 'copy.parquet'))}").fetchall()
    (folder / "copy.parquet").rename(parquet)
    assert values(con, f"rasteret_sample({text(str(tiff))}, points, x := 'lon', y := 'lat')") == [(True,)]
    for source in (parquet, place):
        if "\\" in name and any(char in name for char in "*?["):
            with pytest.raises(duckdb.Error, match="which DuckDB cannot name; rename it"):
                con.execute(f"FROM rasteret_bands({text(str(source))})").fetchall()
                con.execute(f"FROM rasteret_collection({text(str(source))})").fetchall()
        else:
            assert values(con, f"rasteret_sample({text(str(source))}, points, x := 'lon', y := 'lat')") == [(True,)], source
    assert values(con, f"rasteret_sample([{text(str(tiff))}], points, x := 'lon', y := 'lat')") == [(True,)]
    alive(con)


@SLOW
@given(NAMES)
def test_words_as_arguments(con, name):
    """Every argument that is a word refuses others in one line."""
    assume(name not in {"all", "latest", "wide", "long", "nearest", "raise", "null"})
    for argument in ("match", "layout", "interpolation", "on_error"):
        with pytest.raises(duckdb.InvalidInputException, match=f"{argument} := .* is not valid.*; valid: ") as caught:
            con.execute(f"FROM rasteret_sample(c, points, {argument} := {text(name)})").fetchall()
        assert "\n" not in str(caught.value).partition("\n\nLINE")[0]
    alive(con)


@SLOW
@given(NAMES)
def test_user_values_as_data(con, folder, name):
    """Ids, hrefs and geometries are data: whatever they hold, they come back or are refused by name."""
    with table(con, "given", f"SELECT {text(name)} AS id, '{folder}/a.tif' AS href, {text(name)} AS label"):
        con.execute("FROM rasteret_build_from_table(given, name := 'odd', href_column := 'href')").fetchall()
    assert con.execute("SELECT id, label FROM rasteret_collection(odd)").fetchall() == [(name, name)]
    assert con.execute("SELECT record_id, b1 = expected FROM rasteret_sample(odd, points, x := 'lon', y := 'lat')").fetchall() == [(name, True)]
    with table(con, "given", f"SELECT {text(name)} AS geom"):
        assert con.execute("SELECT status FROM rasteret_sample(c, given, on_error := 'null')").fetchall() == [("error",)]
    with table(con, "given", f"SELECT 'x' AS id, {text(name)} AS href UNION ALL FROM files"):
        (failed,) = con.execute("SELECT failed FROM rasteret_build_from_table(given, name := 'odd', href_column := 'href')").fetchall()
    assert failed == (1,)
    assert con.execute("SELECT href FROM rasteret_failures(odd)").fetchall() == [(name,)]
    alive(con)


def test_a_name_in_place_of_a_built_collection(con):
    """A built collection's name wins over a relation of the same name; qualified, the relation is meant."""
    with table(con, "c", "SELECT * REPLACE ('relation' AS id) FROM rasteret_collection(c)"):
        record = "SELECT record_id FROM rasteret_sample({}, points, bands := ['b1'], x := 'lon', y := 'lat')"
        assert con.execute(record.format("c")).fetchall() == [("a",)]
        assert con.execute(record.format("main.c")).fetchall() == [("relation",)]
        assert con.execute(record.format("'main.c'")).fetchall() == [("relation",)]


NUL = "a' || chr(0) || 'b"
NUL_CALLS = [
    f"rasteret_bands('{NUL}')",
    f"rasteret_bands('/{NUL}')",
    f"rasteret_bands('/{NUL}.tif')",
    f"rasteret_bands('/{NUL}*.tif')",
    f"rasteret_bands('file:///{NUL}.tif')",
    f"rasteret_bands('http://{NUL}/x.tif')",
    f"rasteret_bands(['{NUL}'])",
    f"rasteret_sample(c, '{NUL}')",
    f"rasteret_sample(c, '{NUL}.parquet')",
    f"rasteret_sample(c, points, bands := ['{NUL}'])",
    f"rasteret_sample(c, points, geometry := '{NUL}')",
    f"rasteret_sample(c, points, x := '{NUL}', y := 'lat')",
    f"rasteret_sample(c, points, geometry_crs := '{NUL}')",
    f"rasteret_sample(c, points, crs := '{NUL}')",
    f"rasteret_sample(c, points, layout := '{NUL}')",
    f"rasteret_build_from_table('{NUL}', name := 'x')",
    f"rasteret_build_from_table(files, name := '{NUL}', href_column := 'href')",
    f"rasteret_build_from_table(files, name := 'x', href_column := '{NUL}')",
    f"rasteret_build_from_table(files, name := 'x', column_map := MAP {{'{NUL}': 'id'}})",
]


@pytest.mark.parametrize("call", NUL_CALLS)
def test_nul_is_one_line(con, call):
    with pytest.raises(duckdb.Error) as caught:
        con.execute(f"FROM {call}").fetchall()
    message = str(caught.value)
    assert "ValueError" not in message
    assert "TypeError" not in message
    assert "\0" not in message
    alive(con)


def test_bands_that_sql_cannot_name(con, folder):
    """They are refused when they are made."""
    with pytest.raises(duckdb.Error, match="bands 'a' and 'A' differ in case only, which SQL does not see; rename one"):
        con.execute("FROM rasteret_build_from_table(files, name := 'nul', href_column := 'href', band_index_map := MAP {'a': 0, 'A': 1})").fetchall()
    with pytest.raises(duckdb.Error, match="is no name of a band: a name cannot hold a NUL character"):
        con.execute(f"FROM rasteret_build_from_table(files, name := 'nul', href_column := 'href', band_index_map := MAP {{'{NUL}': 0}})").fetchall()
    assert not Path(folder, "workspace", "nul_records").exists()
