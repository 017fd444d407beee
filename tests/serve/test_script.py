"""The client's script as text, and its macros that need no server: run in plain DuckDB, of any version."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rasteret_sql
from rasteret_sql.serve.script import CATALOG, Address, client_script
from rasteret_sql.settings import FIELDS
from rasteret_sql.sql.quote import text
from tests.serve.serving import Served, no_quack

HERE = f"{CATALOG}.main"
SCRIPT = client_script(Address("127.0.0.1", 9494), "a-token-of-the-tests", load=["LOAD httpfs;", "LOAD quack;"], catalog="rasteret")


def statements(script: str) -> list[str]:
    return [line for line in script.splitlines() if not line.startswith("--")]


@pytest.fixture(scope="module")
def plain() -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with those macros of the script that make texts; the call itself is replaced by its text."""
    with duckdb.connect() as con:
        for statement in statements(SCRIPT):
            if statement.startswith(("ATTACH IF", "CREATE OR REPLACE MACRO", "CREATE OR REPLACE TEMP MACRO")):
                shown = rf"FROM query('SELECT ' || {HERE}.__rasteret_quoted(\1) || ' AS statement');"
                con.execute(re.sub(r"FROM quack_query\('[^']*', (.*)\);$", shown, statement)).fetchall()
        yield con


def statement_of(con: duckdb.DuckDBPyConnection, call: str) -> str:
    ((found,),) = con.execute(f"FROM {call}").fetchall()
    return str(found)


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.sampled_from(
    ["NULL", "null", "", " ", "a,b", "[", "]", "{", "}", "'", '"', "\\", "\\'", "it's", "a: b", "a=b", "(x)", "\n", "$$", "--", ";"]
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.recursive(TEXTS | st.none() | st.integers(-(2**31), 2**31 - 1), lambda inner: st.lists(inner, max_size=3), max_leaves=6), word=TEXTS)
def test_texts_survive(plain: duckdb.DuckDBPyConnection, value: object, word: str) -> None:
    """Whatever an argument holds, the server's SQL reads the same value of the same type from its text."""
    for sql in (literal(word), f"[{literal(word)}, NULL]", f"{{'a b': {literal(word)}, 'n': NULL, 'l': [[{literal(word)}]]}}", literal(value)):
        try:
            kind, expected = plain.execute(f"SELECT typeof({sql}), {sql}").fetchall()[0]
        except duckdb.Error:
            continue  # a list of things that have no type in common
        ((written,),) = plain.execute(f"SELECT {HERE}.__rasteret_literal({sql})").fetchall()
        if written is None:
            assert expected is None
            continue
        back = plain.execute(f"SELECT typeof({written}), {written}").fetchall()[0]
        assert back[1] == expected
        assert back[0] == kind or expected is None


def literal(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return "NULL" if value is None else text(value) if isinstance(value, str) else str(value)


@pytest.mark.parametrize("value", ["1.5", "0.1::DOUBLE", "1e300::DOUBLE", "0.1::FLOAT", "true", "DATE '2024-02-29'", "TIMESTAMP '2024-01-01 10:00:00.123456'",
                                   "INTERVAL 36 HOUR", "'\\xAA\\x00'::BLOB", "['\\xAA\\x00'::BLOB]", "MAP {'a': 1}", "'POINT(0.1 1e-7)'::GEOMETRY", "['2024-01-01', '..']", "[1.5, 2]", "[]"])  # fmt: skip
def test_values_survive(plain: duckdb.DuckDBPyConnection, value: str) -> None:
    ((written,),) = plain.execute(f"SELECT {HERE}.__rasteret_literal({value})").fetchall()
    assert plain.execute(f"SELECT {written} IS NOT DISTINCT FROM {value}, typeof({written}) = typeof({value})").fetchall() == [(True, True)]


def test_a_row_without_names(plain: duckdb.DuckDBPyConnection) -> None:
    """DuckDB 2 can name its type; 1.5 cannot, and says what to write."""
    if duckdb.__version__ >= "2":
        assert "'align_to': CAST('(0, 1.5)' AS TUPLE(INTEGER, DECIMAL(2,1)))" in statement_of(plain, "rasteret_plan(c, g, align_to := row(0, 1.5))")
        assert plain.execute("SELECT CAST('(0, 1.5)' AS TUPLE(INTEGER, DECIMAL(2,1))) = row(0, 1.5)").fetchall() == [(True,)]
    else:
        with pytest.raises(duckdb.Error, match=r"a row such as \(0, 0\) cannot be sent to a server; a list can: \[0, 0\]"):
            statement_of(plain, "rasteret_plan(c, g, align_to := row(0, 1.5))")


def test_names_and_subqueries(plain: duckdb.DuckDBPyConnection) -> None:
    assert statement_of(plain, "rasteret_bands(landsat)").startswith(
        "FROM query(__rasteret_plan('rasteret_bands', {'collection': CAST('landsat' AS VARCHAR), 'settings': "
    )
    assert "'collection': CAST('main.landsat' AS VARCHAR)" in statement_of(plain, "rasteret_bands(main.landsat)")
    both = statement_of(plain, "rasteret_sample($$ (FROM c) $$, '(FROM p\n)')")
    assert both.startswith("WITH rasteret_query_collection AS ( (FROM c) ), rasteret_query_points AS ((FROM p\n)) FROM query(")
    assert "'collection': 'rasteret_query_collection', 'points': 'rasteret_query_points'" in both
    one = statement_of(plain, "rasteret_zonal(['a.tif', '(b).tif'], '(FROM p)')")
    assert one.startswith("WITH rasteret_query_geometries AS ((FROM p)) FROM query(")
    assert """'collection': CAST('["a.tif","(b).tif"]'::JSON AS VARCHAR[])""" in one
    assert "'a.tif (1)'" in statement_of(plain, "rasteret_bands('a.tif (1)')")


def test_variables_travel(plain: duckdb.DuckDBPyConnection) -> None:
    cursor = plain.cursor()
    assert "CAST" not in statement_of(cursor, f"{HERE}.rasteret_io()").partition("'settings': ")[2]
    for name in FIELDS:
        cursor.execute(f"SET VARIABLE rasteret_{name} = 'it''s'").fetchall()
    sent = statement_of(cursor, f"{HERE}.rasteret_io()").partition("'settings': ")[2]
    assert [name for name in FIELDS if f"'{name}': CAST('it''s' AS VARCHAR)" not in sent] == []


def parameters(con: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], list[str]]:
    rows = con.execute(
        "SELECT function_name, function_type, parameters FROM duckdb_functions() WHERE function_name LIKE 'rasteret_%' AND database_name = 'temp'"
    ).fetchall()
    return {(name, kind): names for name, kind, names in rows}


def test_every_function_with_its_own_signature(plain: duckdb.DuckDBPyConnection) -> None:
    with rasteret_sql.connect() as con:
        ours = parameters(con)
    assert ("rasteret_zonal", "table_macro") in ours
    assert ("rasteret_zonal", "macro") in ours
    assert parameters(plain) == ours


@pytest.mark.parametrize(
    "form", ["rasteret_sample(r, 'POINT(1 2)', 'b')", "rasteret_read(r, 'POINT(1 2)', 'b')", "rasteret_zonal(r, 'POINT(1 2)', 'b', stat := 'max')"]
)
def test_forms_with_a_record_say_where_they_work(plain: duckdb.DuckDBPyConnection, form: str) -> None:
    with pytest.raises(duckdb.Error, match=rf"{form.partition('(')[0]}: a record is on the server; there, SQL runs as FROM rasteret_server.query"):
        plain.execute(f"SELECT {form} FROM (SELECT 1) AS r").fetchall()


@pytest.mark.parametrize(
    ("address", "uri", "plain_http"),
    [
        (Address("127.0.0.1", 9494), "quack:127.0.0.1:9494", False),
        (Address("::1", 1), "quack:[::1]:1", False),
        (Address("10.0.0.5", 9494), "quack:10.0.0.5:9494", True),
        (Address("data.example.org", 443, tls=True), "quack:data.example.org:443", False),
    ],
)
def test_addresses(address: Address, uri: str, plain_http: bool) -> None:
    script = client_script(address, "it's", load=[], catalog="rasteret_sql")
    assert (address.uri, address.plain) == (uri, plain_http)
    assert f"SCOPE '{uri}'" in script
    assert script.count(f"'{uri}'") == 3
    assert ("DISABLE_SSL true" in script, "disable_ssl := true" in script) == (plain_http, plain_http)
    assert "TOKEN 'it''s'" in script
    assert "rasteret_sql.main.__rasteret_instance()" in script


def test_one_statement_a_line() -> None:
    """What prompts and tools that know no scripts can be fed with, too."""
    for line in statements(SCRIPT):
        assert line.endswith(";")
        assert len(duckdb.extract_statements(line)) == 1


@pytest.mark.skipif(no_quack() is not None, reason=no_quack() or "")
def test_the_script_again_is_harmless(server: Served) -> None:
    with server.python() as con:
        for _ in itertools.repeat(None, 2):
            con.execute(server.script.read_text()).fetchall()
        assert con.execute("SELECT count(*) FROM rasteret_server.plots").fetchall() == [(4,)]
