"""Registering: on every kind of connection, as often as one likes, seen where it should be, and leaving nothing in the user's file."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading

import duckdb
import pytest

import rasteret_sql
from rasteret_sql.errors import RasteretError
from tests.collection.asking import one, refused, rows
from tests.collection.tiffs import value_by_rasterio, write


@pytest.fixture(scope="module")
def tiff(tmp_path_factory):
    return write(tmp_path_factory.mktemp("files") / "a.tif", bands=2)


@pytest.fixture(scope="module")
def place(tiff):
    """Longitude, latitude, and what lies there in band 2."""
    return value_by_rasterio(tiff, 2, 12, 30)


def value(con, tiff, place, prefix="rasteret_"):
    lon, lat, _ = place
    return con.execute(f"SELECT {prefix}value('{tiff}', 'POINT({lon} {lat})', 'b2')").fetchall()[0][0]


def names(con):
    """Macros and functions of ours, by the database they lie in."""
    found = con.execute(
        "SELECT database_name, function_name FROM duckdb_functions() WHERE function_name ILIKE '%rasteret%' OR database_name LIKE 'rasteret%'"
    ).fetchall()
    return {(database, name) for database, name in found}


@pytest.fixture
def in_memory():
    with rasteret_sql.connect() as con:
        yield con


# -- kinds of connections -----------------------------------------------------------------------------------------------------


def test_connect_in_memory(in_memory, tiff, place):
    assert value(in_memory, tiff, place) == place[2]


def test_register_answers_with_the_connection():
    with duckdb.connect() as con:
        assert rasteret_sql.register(con) is con


def test_register_twice(in_memory, tiff, place):
    before = names(in_memory)
    for _ in range(2):
        rasteret_sql.register(in_memory)
    assert names(in_memory) == before
    assert value(in_memory, tiff, place) == place[2]


def test_the_default_connection(tiff, place):
    """Of the duckdb module itself, in a process of its own."""
    lon, lat, expected = place
    script = f"""
import duckdb, rasteret_sql
rasteret_sql.register(duckdb.default_connection() if callable(duckdb.default_connection) else duckdb.default_connection)
print(duckdb.sql("SELECT rasteret_value('{tiff}', 'POINT({lon} {lat})', 'b2')").fetchall()[0][0])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == str(expected)


@pytest.mark.parametrize("name", ["mine.db", "rasteret.db", "rasteret_sql.duckdb", "RASTERET.db"])
def test_nothing_is_left_in_the_users_file(tmp_path, tiff, place, name):
    """Also where the file's name is that of our catalog."""
    path = str(tmp_path / name)
    with rasteret_sql.connect(path) as con:
        con.execute("CREATE TABLE theirs AS SELECT 1 AS x").fetchall()
        assert value(con, tiff, place) == place[2]
        con.execute("CHECKPOINT").fetchall()
    with duckdb.connect(path) as con:
        assert names(con) == set()
        assert (
            con.execute("SELECT function_name FROM duckdb_functions() WHERE function_type IN ('macro', 'table_macro') AND NOT internal").fetchall()
            == []
        )
        assert con.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [("theirs",)]
        assert con.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall() == []
        assert (
            con.execute(
                "SELECT schema_name FROM duckdb_schemas() WHERE database_name = current_database() AND schema_name NOT IN ('main', 'information_schema', 'pg_catalog')"
            ).fetchall()
            == []
        )
        assert len(con.execute("SELECT 1 FROM duckdb_databases() WHERE NOT internal").fetchall()) == 1


@pytest.mark.parametrize("name", ["mine.db", "rasteret.db"])
def test_a_read_only_file(tmp_path, tiff, place, name):
    path = tmp_path / name
    with duckdb.connect(str(path)) as con:
        con.execute(f"CREATE TABLE places AS SELECT 'POINT({place[0]} {place[1]})' AS geom").fetchall()
    before = path.read_bytes()
    with rasteret_sql.connect(str(path), read_only=True) as con:
        assert rows(con, f"SELECT b2 FROM rasteret_sample('{tiff}', places, bands := ['b2'])") == [{"b2": place[2]}]
        assert con.execute("SELECT readonly FROM duckdb_databases() WHERE path IS NOT NULL").fetchall() == [(True,)]
    assert path.read_bytes() == before


def test_a_locked_down_connection(tiff, place):
    """Without DuckDB's own access to files and with its configuration locked; our functions read through their own means where DuckDB is not asked."""
    with duckdb.connect(config={"lock_configuration": "true"}) as con:
        rasteret_sql.register(con)
        assert value(con, tiff, place) == place[2]


def test_another_schema_in_use(tiff, place):
    with duckdb.connect() as con:
        con.execute("CREATE SCHEMA s").fetchall()
        con.execute("USE s").fetchall()
        rasteret_sql.register(con)
        assert value(con, tiff, place) == place[2]
        con.execute(f"CREATE TABLE places AS SELECT 'POINT({place[0]} {place[1]})' AS geom").fetchall()
        assert rows(con, f"SELECT b2 FROM rasteret_sample('{tiff}', places, bands := 'b2')") == [{"b2": place[2]}]
        assert con.execute("SELECT current_schema()").fetchall() == [("s",)]


# -- who sees them ------------------------------------------------------------------------------------------------------------


def test_cursors_see_the_qualified_names(in_memory, tiff, place):
    """As polars, pandas and notebooks use them; long and short, tables and scalars."""
    in_memory.execute(f"CREATE TABLE places AS SELECT 'POINT({place[0]} {place[1]})' AS geom").fetchall()
    with in_memory.cursor() as cursor:
        for prefix in ("rasteret.", "rasteret.rasteret_", "rasteret.main."):
            assert rows(cursor, f"SELECT b2 FROM {prefix}sample('{tiff}', places, bands := ['b2'])") == [{"b2": place[2]}]
            assert rows(cursor, f"SELECT {prefix}sample(r, geom, 'b2') AS v FROM places, {prefix}collection('{tiff}') AS r") == [{"v": place[2]}]
            assert value(cursor, tiff, place, prefix) == place[2]
            assert len(rows(cursor, f"FROM {prefix}functions()")) > 10
        with pytest.raises(
            duckdb.CatalogException, match="rasteret_functions does not exist"
        ):  # plain names belong to the connection that registered them
            cursor.execute("FROM rasteret_functions()").fetchall()
        rasteret_sql.register(cursor)
        assert value(cursor, tiff, place) == place[2]


def test_cursors_where_the_file_has_our_name(tmp_path, tiff, place):
    with rasteret_sql.connect(str(tmp_path / "rasteret.db")) as con, con.cursor() as cursor:
        assert value(cursor, tiff, place, "rasteret_sql.") == place[2]


def test_a_second_connection_to_the_same_file(tmp_path, tiff, place):
    """They share the functions; each has its own plain names."""
    path = str(tmp_path / "shared.db")
    with rasteret_sql.connect(path) as first, rasteret_sql.connect(path) as second, duckdb.connect(path) as third:
        for con in (first, second):
            assert value(con, tiff, place) == place[2]
        assert value(third, tiff, place, "rasteret.") == place[2]


def test_the_first_connection_closes(tmp_path, tiff, place):
    """What it registered lives on with the database: every function is called after its connection, and its memory, are gone."""
    path = str(tmp_path / "shared.db")
    first = rasteret_sql.connect(path)
    with duckdb.connect(path) as second:
        first.close()
        del first
        gc.collect()
        junk = [object() for _ in range(100_000)]
        second.execute(f"CREATE TABLE places AS SELECT 'POINT({place[0]} {place[1]})' AS geom").fetchall()
        assert value(second, tiff, place, "rasteret.") == place[2]
        assert rows(second, f"SELECT rasteret.sample(r, geom, 'b2') AS v FROM places, rasteret.collection('{tiff}') AS r") == [{"v": place[2]}]
        assert rows(second, f"SELECT rasteret.read(r, geom, 'b2') AS v FROM places, rasteret.collection('{tiff}') AS r") == [{"v": [place[2]]}]
        assert rows(second, f"SELECT b2 FROM rasteret.read('{tiff}', places, bands := 'b2')") == [{"b2": [place[2]]}]
        assert len(rows(second, f"FROM rasteret.bands('{tiff}')")) == 2
        assert len(junk) == 100_000


def test_threads(in_memory, tiff, place):
    """One cursor each, all at once."""
    in_memory.execute(f"CREATE TABLE places AS SELECT range AS no, 'POINT({place[0]} {place[1]})' AS geom FROM range(50)").fetchall()
    found, problems = [], []

    def work():
        try:
            with in_memory.cursor() as cursor:
                for _ in range(5):
                    found.extend(rows(cursor, f"SELECT DISTINCT b2 FROM rasteret.sample('{tiff}', places, bands := 'b2')"))
        except duckdb.Error as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []
    assert found == [{"b2": place[2]}] * 30


def test_registering_in_threads():
    """On one database at once."""
    with duckdb.connect() as con:
        cursors = [con.cursor() for _ in range(6)]
        problems = []

        def work(cursor):
            try:
                rasteret_sql.register(cursor)
                assert len(cursor.execute("FROM rasteret_functions()").fetchall()) > 10
            except (duckdb.Error, AssertionError) as error:
                problems.append(error)

        threads = [threading.Thread(target=work, args=(cursor,)) for cursor in cursors]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for cursor in cursors:
            cursor.close()
        assert problems == []


# -- transactions and errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("work", ["SELECT 1", "INSERT INTO t VALUES (2)", "INSERT INTO t SELECT error('x')"])
def test_an_open_transaction_is_refused_and_kept(tiff, place, work):
    """Half a registration that a rollback takes back would be worse; nothing of the user's is touched."""
    with duckdb.connect() as con:
        con.execute("CREATE TABLE t AS SELECT 1 AS x").fetchall()
        con.execute("BEGIN").fetchall()
        try:
            con.execute(work).fetchall()
        except duckdb.InvalidInputException:
            assert "error" in work
        with pytest.raises(RasteretError, match="the connection has an open transaction; COMMIT or ROLLBACK it, then register"):
            rasteret_sql.register(con)
        con.execute("ROLLBACK" if "error" in work else "COMMIT").fetchall()
        assert one(con, "SELECT count(*) AS n FROM t") == {"n": 2 if "VALUES" in work else 1}
        rasteret_sql.register(con)
        assert value(con, tiff, place) == place[2]


def test_use_within_transactions(in_memory, tiff, place):
    in_memory.execute("BEGIN").fetchall()
    in_memory.execute(f"CREATE TABLE t AS SELECT 'POINT({place[0]} {place[1]})' AS geom").fetchall()
    assert rows(in_memory, f"SELECT b2 FROM rasteret_sample('{tiff}', t, bands := 'b2')") == [{"b2": place[2]}], "rows not yet committed are seen"
    in_memory.execute("ROLLBACK").fetchall()
    assert value(in_memory, tiff, place) == place[2]


def test_after_an_error(in_memory, tiff, place):
    refused(in_memory, "FROM rasteret_bands('/no/such')")
    refused(in_memory, f"SELECT rasteret_value('{tiff}', 'rubbish', 'b2')")
    with pytest.raises(duckdb.CatalogException):
        in_memory.execute("FROM nosuch").fetchall()
    assert value(in_memory, tiff, place) == place[2]
    rasteret_sql.register(in_memory)
    assert value(in_memory, tiff, place) == place[2]


# -- what statements can do with them -----------------------------------------------------------------------------------------


def test_results_persist_as_plain_tables(tmp_path, tiff, place):
    """Reopened without us: the rows and their types are there."""
    path = str(tmp_path / "kept.db")
    with rasteret_sql.connect(path) as con:
        con.execute(f"CREATE TABLE places AS SELECT 7 AS id, 'POINT({place[0]} {place[1]})' AS geom").fetchall()
        con.execute(f"CREATE TABLE chips AS FROM rasteret_read('{tiff}', places, bands := ['b2'])").fetchall()
        con.execute(f"CREATE TABLE samples AS FROM rasteret_sample('{tiff}', places, bands := ['b2'])").fetchall()
        con.execute("CREATE VIEW ids AS SELECT id, b2 FROM chips").fetchall()
    with duckdb.connect(path) as con:
        assert con.execute("FROM ids").fetchall() == [(7, [place[2]])]
        assert con.execute("SELECT b2, typeof(b2) FROM samples").fetchall() == [(place[2], "INTEGER")]
        assert con.execute("SELECT typeof(b2) FROM chips").fetchall() == [("USMALLINT[]",)]


def test_views_over_functions(in_memory, tiff, place):
    """Read anew whenever they are asked; with qualified names from cursors too."""
    in_memory.execute(f"CREATE TEMP VIEW here AS FROM rasteret_bands('{tiff}')").fetchall()
    in_memory.execute(f"CREATE VIEW everywhere AS FROM rasteret.bands('{tiff}')").fetchall()
    assert len(rows(in_memory, "FROM here")) == len(rows(in_memory, "FROM everywhere")) == 2
    with in_memory.cursor() as cursor:
        assert len(rows(cursor, "FROM everywhere")) == 2


def test_prepared_statements(in_memory, tiff, place):
    lon, lat, expected = place
    assert rows(in_memory, "SELECT rasteret_value(?, ?, ?) AS v", [str(tiff), f"POINT({lon} {lat})", "b2"]) == [{"v": expected}]
    assert len(rows(in_memory, "FROM rasteret_bands($file)", {"file": str(tiff)})) == 2
    in_memory.execute(f"PREPARE bands AS SELECT count(*) AS n FROM rasteret_bands('{tiff}')").fetchall()
    assert rows(in_memory, "EXECUTE bands") == [{"n": 2}]


def test_a_prepared_statement_sees_changed_parameters(in_memory, tiff, tmp_path):
    """The plan is made for the values of each execution."""
    other = write(tmp_path / "other.tif", bands=5)
    for file, count in ((tiff, 2), (other, 5), (tiff, 2)):
        assert len(rows(in_memory, "FROM rasteret_bands(?)", [str(file)])) == count


def test_variables_as_arguments_and_settings(in_memory, tiff):
    in_memory.execute(f"SET VARIABLE file = '{tiff}'").fetchall()
    assert len(rows(in_memory, "FROM rasteret_bands(getvariable('file'))")) == 2
    in_memory.execute("SET VARIABLE rasteret_max_concurrency = 7").fetchall()
    assert one(in_memory, "SELECT value FROM rasteret_settings() WHERE name = 'rasteret_max_concurrency'") == {"value": "7"}
    in_memory.execute("SET VARIABLE rasteret_max_concurrency = 8").fetchall()
    assert one(in_memory, "SELECT value FROM rasteret_settings() WHERE name = 'rasteret_max_concurrency'") == {"value": "8"}
    in_memory.execute("RESET VARIABLE rasteret_max_concurrency").fetchall()
    assert one(in_memory, "SELECT value = \"default\" AS same FROM rasteret_settings() WHERE name = 'rasteret_max_concurrency'") == {"same": True}


def test_settings_by_environment(in_memory, monkeypatch, tmp_path):
    monkeypatch.setenv("RASTERET_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("RASTERET_TIMEOUT_S", "12.5")
    found = {row["name"]: row["value"] for row in rows(in_memory, "FROM rasteret_settings()")}
    assert (found["rasteret_workspace"], found["rasteret_timeout_s"]) == (str(tmp_path), "12.5")
    in_memory.execute("SET VARIABLE rasteret_timeout_s = 3").fetchall()
    assert one(in_memory, "SELECT value FROM rasteret_settings() WHERE name = 'rasteret_timeout_s'") == {"value": "3.0"}, "a variable comes first"


def test_settings_belong_to_the_connection(in_memory):
    """As DuckDB's variables do."""
    in_memory.execute("SET VARIABLE rasteret_max_concurrency = 7").fetchall()
    with in_memory.cursor() as cursor:
        assert one(cursor, "SELECT value = \"default\" AS same FROM rasteret.settings() WHERE name = 'rasteret_max_concurrency'") == {"same": True}


def test_results_leave_in_every_way(in_memory, tiff):
    """Relations, Arrow, NumPy: all in one piece."""
    statement = f"SELECT band FROM rasteret_bands('{tiff}') ORDER BY band"
    assert in_memory.sql(statement).fetchall() == [("b1",), ("b2",)]
    assert in_memory.sql(statement).filter("band = 'b2'").fetchall() == [("b2",)]
    assert in_memory.sql(statement).to_arrow_table().column("band").to_pylist() == ["b1", "b2"]
    assert in_memory.execute(statement).fetchnumpy()["band"].tolist() == ["b1", "b2"]
