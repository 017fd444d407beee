"""Expressions and masks: checked to be scalar, and equal to what plain DuckDB gives for the same SQL over a table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rasteret_sql.errors import BandNotFound, InvalidArgument, RasteretError
from rasteret_sql.sql import evaluator, sandbox
from rasteret_sql.sql.evaluator import Column, Evaluator
from rasteret_sql.sql.expressions import (
    Expression,
    check_boolean,
    check_names,
    check_numeric,
    parse_expression,
    parse_expressions,
    parse_mask,
    result_type,
)
from rasteret_sql.sql.syntax import tree

TYPES = {
    "B04": "SMALLINT",
    "B08": "USMALLINT",
    "F": "FLOAT",
    "D": "DOUBLE",
    "SCL": "UTINYINT",
    "my band": "INTEGER",
    'A"q': "BIGINT",
    "select": "TINYINT",
}
DTYPES = {"SMALLINT": "i2", "USMALLINT": "u2", "FLOAT": "f4", "DOUBLE": "f8", "UTINYINT": "u1", "INTEGER": "i4", "BIGINT": "i8", "TINYINT": "i1"}
ROWS: dict[str, list[Any]] = {
    "B04": [0, 1, -7, 300, None, 32767, 5, -32768, 2],
    "B08": [0, 3, 7, 65535, 12, None, 5, 1, 2],
    "F": [0.0, 1.5, -2.25, 1e30, None, 0.1, float("nan"), float("inf"), -0.0],
    "D": [0.0, -1.5, 1e-3, 1e300, 3.0, None, 0.1, float("-inf"), 2.5],
    "SCL": [0, 4, 5, 6, 255, None, 24, 8, 1],
    "my band": [1, 2, 3, 4, 5, 6, 7, 8, None],
    'A"q': [1 << 40, 2, 3, 4, 5, 6, None, 8, -(1 << 62)],
    "select": [1, 2, 3, -128, 127, None, 7, 8, 9],
}
BANDS = list(TYPES)
EVERY, CALM, PLUS = tuple(range(9)), (0, 1, 2, 4, 6, 8), (1, 8)
"""All rows; those without the extremes, over which most sums stay in range; small positive numbers."""


def columns(rows: tuple[int, ...]) -> dict[str, Column]:
    made: dict[str, Column] = {}
    for name, values in ROWS.items():
        dtype = np.dtype(DTYPES[TYPES[name]])
        filled = np.array([77 if value is None else value for value in values]).astype(dtype)
        made[name] = (filled[list(rows)], np.array([values[row] is not None for row in rows]))
    return made


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.fixture(scope="module")
def plain() -> Iterator[duckdb.DuckDBPyConnection]:
    """Another DuckDB, with the rows in an ordinary table, and no access to anything else."""
    connection = duckdb.connect(config={"threads": "1", "enable_external_access": "false", "python_enable_replacements": "false"})
    connection.execute(f"CREATE TABLE t ({', '.join(f'{quoted(name)} {kind}' for name, kind in TYPES.items())})").fetchall()
    for row in zip(*ROWS.values(), strict=True):
        connection.execute(f"INSERT INTO t VALUES ({', '.join('?' * len(row))})", row).fetchall()
    yield connection
    connection.close()


def by_table(plain: duckdb.DuckDBPyConnection, text: str, rows: tuple[int, ...]) -> list[Any] | None:
    """What the table gives for the text as it stands: floats or booleans or None; without result where DuckDB refuses."""
    try:
        kind = plain.execute(f"DESCRIBE SELECT ({text}\n) AS v FROM t").fetchall()[0][1]
        to = "BOOLEAN" if kind == "BOOLEAN" else "DOUBLE"
        return [row[0] for row in plain.execute(f"SELECT CAST(({text}\n) AS {to}) FROM t WHERE rowid IN {rows} ORDER BY rowid").fetchall()]
    except duckdb.Error:
        return None


def by_evaluator(expression: Expression, rows: tuple[int, ...]) -> list[Any] | None:
    given_columns = {band: columns(rows)[band] for band in expression.bands}
    try:
        values, valid = Evaluator()([(expression.name, expression.sql)], given_columns, TYPES)[expression.name]
    except InvalidArgument as error:
        assert "\n" not in str(error)
        assert str(error).startswith("expressions.x: ")
        return None
    assert values.dtype in (np.dtype(bool), np.dtype(float))
    return [value if good else None for value, good in zip(values.tolist(), [True] * len(values) if valid is None else valid.tolist(), strict=True)]


def same(a: list[Any] | None, b: list[Any] | None) -> bool:
    return repr(a) == repr(b)  # nan equals nan, and -0.0 is not 0.0


def parsed(text: str) -> Expression:
    return parse_expression("expressions.x", "x", text, BANDS)


VALID = [
    "(B08 - B04) / (B08 + B04)", "(b08::INT - b04) / (B08 + B04)", "B08 - B04", "B04 / B08", "B04 // 3", "B04 // 0", "B04 % 7", "D / 0", "F * 1e3", "B04 * 1.50", "B04 * .5",
    "B04 * 5.", "007.5 * B04", "0.0105e0 + B04", "1e-320 + D", "1_000 + B04", "18446744073709551616 + B04", "9223372036854775807 + D", "-9223372036854775808 + D", "-128 + \"select\"",
    "170141183460469231731687303715884105727 + D", "B04 - -1", "- -B04", "-(-(B04))", "+B04", "~B08", "@B04", "B04!", "SCL IN (4, 5, 6)", "SCL NOT IN (4, NULL)", "SCL & 24 = 0",
    "SCL | 3", "xor(SCL, 3)", "SCL << 2", "SCL >> 2", "B04 ** 2", "B04 ^ 2", "B04 BETWEEN 1 AND 400", "B04 NOT BETWEEN 1 AND B08", "B04 IS NULL", "B04 IS NOT NULL", "NOT B04 > 1",
    "B04 > 1 AND B08 > 1 OR F > 0", "B04 IS DISTINCT FROM B08", "B04 IS NOT DISTINCT FROM NULL", "(B04 > 1) IS TRUE", "(B04 > 1) IS NOT FALSE", "true AND B04 > 1", "B04 = NULL",
    "CASE WHEN B04 > 1 THEN 1.5 END", "CASE WHEN B04 > 1 THEN 1 WHEN B04 < 0 THEN -1 ELSE B08 END", "CASE SCL WHEN 4 THEN 1 WHEN 5 THEN 2 ELSE 0 END", "if(B04 > 1, B04, B08)",
    "coalesce(B04, B08, 0)", "ifnull(B04, 0)", "nullif(B04, 0)", "B04 / nullif(B04 + 7, 0)", "greatest(B04, B08, 3)", "least(B04, F)", "sqrt(B08)", "sqrt(B04)", "ln(B08)", "log(2, B08 + 1)",
    "exp(F)", "abs(B04)", "round(D, 2)", "floor(F)", "ceil(F)", "sign(B04)", "power(B04, 2)", "atan2(B04, B08)", "pi() * B04", "mod(B04, 3)", "fmod(D, 2)", "isnan(F)", "isinf(D)", "isfinite(F)",
    "bit_count(B04)", "B04::DOUBLE", "CAST(B04 AS REAL)", "TRY_CAST(B04 AS UTINYINT)", "B04::UTINYINT", "B04::DECIMAL(7,2) / 3", "B04::NUMERIC", "B04::int1", "B04::BOOLEAN",
    "try(B04::UTINYINT)", "'NaN'::DOUBLE + B04", "B04 = '5'", '"my band" + "A""q" + "select"', '"b04" + 1', "B04 -- a comment", "/* a */ B04", "B04\n+\n1", "SQRT(B08)",
    "+".join(["D"] * 190), "(" * 190 + "B04" + ")" * 190, " AND ".join(["B04 > 0"] * 600), "B04 IN (" + ", ".join(map(str, range(1500))) + ")", "B04 <> 1 AND B04 != 2", "(NOT B04 > 1) IS NULL", "(NOT B04 > 1) = (B08 > 1)",
]  # fmt: skip


@pytest.mark.parametrize("text", VALID)
def test_a_valid_expression_gives_what_a_table_gives(plain: duckdb.DuckDBPyConnection, text: str) -> None:
    expression = parsed(text)
    found = {rows: by_table(plain, text, rows) for rows in (EVERY, CALM, PLUS)}
    assert found[PLUS] is not None or text == "B04 // 0"  # NULL in DuckDB 1.5, an error in 2.0
    for rows, values in found.items():
        assert same(by_evaluator(expression, rows), values)
        assert same(by_table(plain, expression.sql, rows), values)
    kinds = [plain.execute(f"DESCRIBE SELECT ({sql}\n) AS v FROM t").fetchall()[0][1] for sql in (text, expression.sql)]
    assert kinds[0] == kinds[1] == result_type(expression, TYPES)
    assert parsed(expression.sql).bands == expression.bands


LEAVES = st.sampled_from(["B04", "B08", "F", "D", "SCL", '"select"', "0", "1", "2", "-3", "7.25", "1e-2", "NULL", "40000", "2147483647"])


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, inner)
    condition = st.one_of(
        st.tuples(inner, st.sampled_from(["=", "<", ">=", "<>", "IS DISTINCT FROM"]), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        inner.map(lambda a: f"({a} IS NULL)"),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} BETWEEN {p[1]} AND {p[2]})"),
        two.map(lambda p: f"{p[0]} IN ({p[1]}, 4)"),
    )
    return st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda p: f"{p[0]} {p[1]} {p[2]}"),
        st.tuples(condition, st.sampled_from(["AND", "OR"]), condition, inner, inner).map(
            lambda p: f"CASE WHEN {p[0]} {p[1]} NOT {p[2]} THEN {p[3]} ELSE {p[4]} END"
        ),
        st.tuples(st.sampled_from(["abs", "sqrt", "-", "floor", "TRY"]), inner).map(lambda p: f"{p[0]}({p[1]})"),
        st.tuples(st.sampled_from(["coalesce", "nullif", "greatest", "least"]), inner, inner).map(lambda p: f"{p[0]}({p[1]}, {p[2]})"),
        st.tuples(inner, st.sampled_from(["DOUBLE", "INTEGER", "UTINYINT", "DECIMAL(9,3)", "REAL"])).map(lambda p: f"TRY_CAST({p[0]} AS {p[1]})"),
    )


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.recursive(LEAVES, grown, max_leaves=8).map(lambda text: f"{text} + 0 * SCL"))
def test_any_tree_gives_what_a_table_gives(plain: duckdb.DuckDBPyConnection, text: str) -> None:
    expression = parsed(text)
    assert all(same(by_evaluator(expression, rows), by_table(plain, text, rows)) for rows in (EVERY, CALM))


ATTACKS = [
    "1) FROM read_csv('/etc/passwd') WHERE (1", "B04) FROM (SELECT 1 AS B04", "B04 FROM t", "B04; DROP TABLE t", "B04); DROP TABLE t; --", "B04); COPY (SELECT 1) TO 'stolen.csv'; SELECT (1",
    "(SELECT 1)", "(SELECT max(B04) FROM t)", "EXISTS (SELECT 1)", "B04 IN (SELECT 1)", "B04 = ANY (SELECT 1)", "B04 = ANY ([1])", "(FROM t)", "(VALUES (1))", "(WITH x AS (SELECT 1) FROM x)",
    "sum(B04)", "count(*)", "B04 + count(B04)", "sum(B04) OVER ()", "row_number() OVER ()", "max(B04) FILTER (WHERE B04 > 1)", "sqrt(DISTINCT B08)", "sqrt(B08 ORDER BY B08)",
    "*", "t.*", "COLUMNS('B.*')", "* EXCLUDE (B04)", "#1", "B04 + #1", "$1", "B04 + ?", "$x", "t.B04", "main.t.B04", "B04.x", "B04[1]", "B04[1:2]", "{'a': B04}", "[B04]", "(B04, B08)", "row(B04)", "MAP {1: B04}",
    "list_transform([1], x -> x)", "list_transform([1], lambda x: x + B04)", "x -> x", "B04 -> 1", "getvariable('x')", "current_setting('threads')", "error('x')", "error(B04)", "random()", "B04 + random()",
    "nextval('s')", "setseed(0.5)", "uuid()", "now()", "today()", "current_date", "current_user", "user", "getenv('HOME')", "version()", "txid_current()", "write_log('x')", "sleep_ms(B04)",
    "read_text('/etc/passwd')", "read_csv('/etc/passwd')", "glob('*')", "pragma_version()", "query('SELECT 1')", "json_execute_serialized_sql('x')", "json_serialize_sql('SELECT 1')", "unnest([B04])",
    "range(B04)", "generate_series(1000000000000)", "repeat('x', 1000000000)", "lpad('x', 1000000000, 'y')", "printf('%d', B04)", "B04 || 'x'", "B04 LIKE '%'", "B04 SIMILAR TO 'x'", "regexp_matches('a', 'b')",
    "B04 COLLATE nocase", "DEFAULT", "B04 AS x", "B04 x", "B04, B08", "B04,", "(B04", "B04)", "B04) IN (1", "B04) + (B08", "B04) x, (B08", "", " ", "--", "/*", "'", '"', '"B04', "'B04", "$$B04", "B04 $$ $$",
    "B04 /* ; */ ; SELECT 1", "B04 -- \n; SELECT 1", "B04\0", "B04\0; DROP TABLE t", "\ud800", "B04 + \u0660", "Ｂ04", "B04\u00a0+\u20281", "B04 UNION SELECT 1", "B04 LIMIT 1", "B04 ORDER BY 1", "DISTINCT B04",
    "ALL B04", "B04 USING SAMPLE 1", "B04 WINDOW w AS ()", "B04 INTO x", "B04 GROUP BY 1", "B04 HAVING true", "B04 QUALIFY true", "B04 WHERE true", "sqrt(x := B08)", "main.sqrt(B08)", "system.main.sqrt(B08)",
    '"system"."main"."sqrt"(B08)', "B08.sqrt()", "__internal_compress_integral_utinyint(B08, B08)", "B04::VARCHAR", "B04::INTEGER[]", "B04::STRUCT(a INTEGER)", "B04::ENUM('a')", "B04::main.INTEGER", "B04::x",
    "B04::DECIMAL(300)", "B04::DECIMAL(5, 9)", "DATE '2020-01-01'", "INTERVAL 1 DAY", "B04 AT TIME ZONE 'UTC'", "extract(year FROM B04)", "position('a' IN 'b')", "'" + "x" * 200 + "' = B04", "1e999 + B04",
    "9" * 400 + " + B04", "(" * 9000, "(" * 3000 + "B04" + ")" * 3000, "abs(" * 1500 + "B04" + ")" * 1500, "NOT " * 2000 + "B04", "- " * 4000 + "B04", "CASE WHEN B04 THEN " * 400, "+".join(["B04"] * 2000),
    "B04" * 4000, "ATTACH 'x.db'", "COPY t TO 'x'", "INSTALL httpfs", "SET threads = 5", "CREATE TABLE x AS SELECT 1", "EXPLAIN SELECT B04", "1", "NULL", "true", "rowid", "B04 + rowid", "grouping(B04)", "try(random())",
]  # fmt: skip
CLASSES = {"CONSTANT", "COLUMN_REF", "FUNCTION", "OPERATOR", "COMPARISON", "CONJUNCTION", "BETWEEN", "CASE", "CAST", "TYPE"}
EFFECTS = {
    "random",
    "error",
    "nextval",
    "getvariable",
    "current_setting",
    "setseed",
    "read_csv",
    "read_text",
    "query",
    "unnest",
    "repeat",
    "sleep_ms",
}


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(inner)


def harmless(plain: duckdb.DuckDBPyConnection, text: str) -> bool:
    """Whether the text is taken; if so, it is one scalar expression, of the same value as the text itself."""
    try:
        expression = parsed(text)
    except RasteretError as error:
        assert isinstance(error, InvalidArgument | BandNotFound)
        assert "\n" not in str(error)
        assert str(error).startswith("expressions.x: ")
        assert len(str(error)) < 1000
        return False
    parsed_again = json.loads(plain.execute("SELECT json_serialize_sql(?)", [f"SELECT {expression.sql} FROM t"]).fetchall()[0][0])
    assert not parsed_again["error"]
    (statement,) = parsed_again["statements"]
    assert statement["node"]["type"] == "SELECT_NODE"
    assert len(statement["node"]["select_list"]) == 1
    assert not statement["node"]["modifiers"]
    assert (statement["node"]["where_clause"], statement["node"]["from_table"]["table_name"]) == (None, "t")
    found = list(nodes(statement["node"]["select_list"]))
    assert {node["class"] for node in found if "class" in node} <= CLASSES
    assert {node["column_names"][0] for node in found if "column_names" in node} == set(expression.bands) <= set(BANDS)
    assert not {str(node.get("function_name")).lower() for node in found} & EFFECTS
    assert all(same(by_evaluator(expression, rows), by_table(plain, text, rows)) for rows in (EVERY, CALM))
    return True


@pytest.mark.parametrize("text", ATTACKS, ids=range(len(ATTACKS)))
def test_what_is_no_scalar_expression_over_bands_is_refused(plain: duckdb.DuckDBPyConnection, text: str) -> None:
    assert not harmless(plain, text)


STATEMENTS = ["B04, B08", "B04 WHERE true", "B04 FROM t", "B04 FROM range(3)", "B04 GROUP BY 1", "B04 HAVING true", "B04 QUALIFY true", "B04 LIMIT 1", "B04 ORDER BY 1", "DISTINCT B04",
              "B04 USING SAMPLE 1", "B04 UNION SELECT 1", "B04; SELECT 1"]  # fmt: skip


@pytest.mark.parametrize("text", STATEMENTS)
def test_a_statement_with_more_than_one_item_has_no_tree(text: str) -> None:
    """Behind the two ways every text is parsed in: nothing of a statement but its one item is ever taken."""
    assert tree("x", "SELECT B04")["column_names"] == ["B04"]
    with pytest.raises(InvalidArgument, match="^x: more than one expression"):
        tree("x", f"SELECT {text}")


def test_an_attack_leaves_nothing(plain: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = (
        sandbox.connection().execute("SELECT count(*) FROM duckdb_tables()").fetchall(),
        sandbox.connection().execute("SELECT * FROM duckdb_settings() ORDER BY name").fetchall(),
    )
    for text in ATTACKS:
        harmless(plain, text)
    after = (
        sandbox.connection().execute("SELECT count(*) FROM duckdb_tables()").fetchall(),
        sandbox.connection().execute("SELECT * FROM duckdb_settings() ORDER BY name").fetchall(),
    )
    assert before == after
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY (SELECT 1) TO 'x.csv'",
        "ATTACH 'x.db'",
        "INSTALL spatial",
        "SET threads = 2",
        "SELECT * FROM BANDS",
    ],
)
def test_the_sandbox_is_shut(sql: str) -> None:
    with pytest.raises(duckdb.Error):
        sandbox.connection().execute(sql).fetchall()


PIECES = ["B04", "B08", "SCL", '"my band"', "x", "t.", "(", ")", "[", "]", "{", "}", ",", ";", "'", '"', "--", "/*", "*/", "$$", "$1", "?", "#1", "*", "+", "-", "/", "=", "<", ">", "|", "&", "::", ":=", "->", "=>",
          "\n", "\0", "\\", "\u2028", "é", "\U0001f600", "1", "0.5", "1e5", "'a'", " ", " ", " ", "SELECT", "FROM", "WHERE", "UNION", "AND", "OR", "NOT", "IN", "IS", "NULL", "CASE",
          "WHEN", "THEN", "ELSE", "END", "CAST", "AS", "INTEGER", "OVER", "sum(", "sqrt(", "random()", "error(", "read_csv('/etc/passwd')", "DROP TABLE t", "COLUMNS(*)", "LIMIT", "ORDER BY", "LAMBDA", "EXISTS", "VALUES", "BETWEEN"]  # fmt: skip


@settings(max_examples=1600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=12), st.sampled_from(["", " "]))
@example(["B04", "+", "1"], "")
def test_any_pieces_of_sql_are_harmless(plain: duckdb.DuckDBPyConnection, pieces: list[str], between: str) -> None:
    harmless(plain, between.join(pieces))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40), st.sampled_from(["{}", "B04 + {}", "B04 = '{}'", '"{}"', "sqrt({})", "B04 /* {} */", "B04 -- {}"]))
def test_any_text_is_harmless(plain: duckdb.DuckDBPyConnection, text: str, place: str) -> None:
    harmless(plain, place.replace("{}", text))


def refused(text: str, bands: list[str] | None = BANDS) -> str:
    with pytest.raises((InvalidArgument, BandNotFound)) as caught:
        parse_mask(text, bands)
    return str(caught.value)


def test_messages() -> None:
    short = ["B04", "SCL"]
    assert refused("SLC = 4", short) == "mask: no band 'SLC'; did you mean 'SCL'? bands: B04, SCL"
    assert refused("zzz = 4", short) == "mask: no band 'zzz'; bands: B04, SCL"
    assert refused("1 = 1", short) == "mask: names no band; bands: B04, SCL"
    assert refused("B04 = = 1", short).startswith("mask: does not parse: syntax error at ")
    assert refused("sqr(B04)", short) == "mask: no function 'sqr'; did you mean 'sqrt'?"
    assert refused("sum(B04)", short) == "mask: sum is an aggregate; functions of single values are valid"
    assert refused("B04 " * 2501, short) == "mask: 10004 characters; at most 10000 are valid"
    assert refused("(" * 201 + "B04" + ")" * 201, short) == "mask: nested deeper than 200"
    assert refused("b1", ["B1", "b1"]) == "mask: 'b1' is ambiguous: the bands B1, b1 differ in case only, and names in SQL do not"
    assert refused("", short).startswith("mask: a SQL expression in quotes is valid")


def test_types_are_checked_by_duckdb() -> None:
    def message(check: Any, expression: Expression) -> str:
        with pytest.raises(InvalidArgument) as caught:
            check(expression, TYPES)
        return str(caught.value)

    assert message(check_boolean, parse_mask("B04 + 1", BANDS)) == "mask := 'B04 + 1' gives SMALLINT; a condition (BOOLEAN) is valid"
    assert message(check_numeric, parsed("CASE WHEN B04 > 1 THEN 'a' END")) == "expressions.x gives VARCHAR; a number is valid"
    assert message(check_numeric, parsed("B04 > 1")) == "expressions.x gives BOOLEAN; a number is valid"
    assert message(check_numeric, parsed("sqrt(B04, 2, 3)")).startswith("expressions.x: No function matches")
    check_boolean(parse_mask("SCL IN (4, 5, 6)", BANDS), TYPES)
    check_numeric(parsed("(B08 - B04) / (B08 + B04)"), TYPES)
    with pytest.raises(InvalidArgument, match="no band 'F'"):
        result_type(parsed("F + 1"), {"B04": "SMALLINT"})
    with pytest.raises(InvalidArgument, match="cannot be used in expressions"):
        result_type(parsed("B04 + 1"), {"B04": "SMALLINT) AS x, (1"})


def test_names_are_those_of_the_collection() -> None:
    expression = parse_expression("expressions.x", "x", 'b04 + B04 + "MY BAND"', BANDS)
    assert expression.bands == ("B04", "my band")
    assert '"B04"' in expression.sql
    assert '"b04"' not in expression.sql


def test_bands_of_a_relation_are_any_names() -> None:
    assert parse_expression("expressions.x", "x", 'red - "Near IR" * RED', None).bands == ("red", "Near IR")
    assert refused("current_date > 1", None) == "mask: 'current_date' is no band; SQL has a meaning of its own for it"
    assert refused("t.red > 1", None).startswith("mask: 't.red' is not valid")
    assert refused("1 = 1", None) == "mask: names no band"


def test_names_of_expressions_are_unique() -> None:
    made = parse_expressions({"ndvi": "B08 - B04", "s": "B08 + B04"}, BANDS)
    assert [(e.name, e.bands) for e in made] == [("ndvi", ("B08", "B04")), ("s", ("B08", "B04"))]
    with pytest.raises(InvalidArgument, match=r"^expressions\.NDVI: the expression 'ndvi' has this name already"):
        parse_expressions({"ndvi": "B08", "NDVI": "B04"}, BANDS)
    with pytest.raises(InvalidArgument, match=r"^expressions\.b04: the band 'B04' has this name already"):
        check_names(["b04"], ["B04"])
    with pytest.raises(InvalidArgument, match="no name for a column"):
        parse_expressions({" ": "B08"}, BANDS)


def test_errors_while_running_name_the_expression() -> None:
    made = parse_expressions({"fine": "B08 + 0", "bad": "B08 - 5"}, BANDS)
    values: npt.NDArray[Any] = np.array([3, 9], np.uint16)
    with pytest.raises(InvalidArgument, match=r"^expressions\.bad: Overflow in subtraction of UINT16"):
        Evaluator()([(e.name, e.sql) for e in made], {"B08": (values, None)}, {"B08": "USMALLINT"})
    mask = parse_mask("CAST(B08 AS TINYINT) > 0", BANDS)
    with pytest.raises(InvalidArgument, match=r"^mask: ") as caught:
        Evaluator()([(mask.name, mask.sql)], {"B08": (values + 1000, None)}, {"B08": "USMALLINT"})
    assert "\n" not in str(caught.value)
    assert Evaluator()([("fine", made[0].sql)], {"B08": (values, None)}, {"B08": "USMALLINT"})["fine"][0].tolist() == [3, 9]


def test_columns_of_any_layout_become_the_types_asked_for() -> None:
    sums = [("x", '("a" / 2)'), ("c", '("a" > 1)')]
    for dtype in ("u1", "i2", ">u2", ">f8", "f2", "f4", "i8", "u8"):
        block: npt.NDArray[Any] = np.array([[1, 9], [2, 9], [3, 9]], dtype)
        block.flags.writeable = False
        for kind in ("DOUBLE", "INTEGER", "UTINYINT", "DECIMAL(9, 2)"):
            found = Evaluator()(sums, {"a": (block[:, 0], None)}, {"a": kind})
            assert found["x"][0].tolist() == [0.5, 1.0, 1.5]
            assert found["c"][0].tolist() == [False, True, True]
            assert found["x"][1] is None
    flags = np.array([True, False, True])
    assert Evaluator()([("x", '("a" AND NOT "b")')], {"a": (flags, None), "b": (flags, ~flags)}, {"a": "BOOLEAN", "b": "BOOLEAN"})["x"][1] is not None


def test_no_rows_and_no_expressions() -> None:
    empty: Column = (np.empty(0, np.int16), None)
    found = Evaluator()([("x", '("a" / 2)'), ("c", '("a" > 1)')], {"a": empty}, {"a": "SMALLINT"})
    assert {name: (values.dtype.kind, len(values)) for name, (values, _) in found.items()} == {"x": ("f", 0), "c": ("b", 0)}
    assert Evaluator()([], {"a": (np.ones(3), None)}, {"a": "DOUBLE"}) == {}


def test_parts_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    a, valid = rng.integers(-99, 99, 10_001).astype(np.int16), rng.random(10_001) > 0.3
    valid[:4096] = True
    expressions = [("x", '("a" * 2 + 1)'), ("m", '("a" > 0)')]
    whole = Evaluator()(expressions, {"a": (a, valid)}, {"a": "INTEGER"})
    monkeypatch.setattr(evaluator, "MOST_ROWS", 1000)
    parts = Evaluator()(expressions, {"a": (a, valid)}, {"a": "INTEGER"})
    for name in ("x", "m"):
        assert repr(whole[name][0].tolist()) == repr(parts[name][0].tolist())
        assert np.array_equal(whole[name][1], valid)  # type: ignore[arg-type]
        assert np.array_equal(parts[name][1], valid)  # type: ignore[arg-type]
    assert np.array_equal(whole["x"][0][valid], a[valid] * 2.0 + 1)
    assert np.isnan(whole["x"][0][~valid]).all()
    assert not whole["m"][0][~valid].any()


def test_threads_share_an_evaluator() -> None:
    shared = Evaluator()

    def work(number: int) -> bool:
        a = np.arange(5000 + number, dtype=np.int32) + number
        for text, expected in (("a + 1", a + 1.0), ("a * 0.5", a * 0.5), ("a // 3", a // 3)):
            made = parse_expression("expressions.x", "x", text, ["a"])
            values, valid = shared([("x", made.sql)], {"a": (a, None)}, {"a": "INTEGER"})["x"]
            if valid is not None or not np.array_equal(values, expected):
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(80)))


def test_it_runs_inside_a_function_of_another_duckdb() -> None:
    def inner(column: Any) -> Any:
        return Evaluator()([("x", '("a" * 2)')], {"a": (column.to_numpy(), None)}, {"a": "BIGINT"})["x"][0].astype(np.int64)

    outer = duckdb.connect(config={"threads": "2"})
    outer.create_function("twice", lambda *columns: inner(columns[0].combine_chunks()), [duckdb.type("BIGINT")], duckdb.type("BIGINT"), type="arrow")
    assert outer.execute("SELECT sum(twice(i)) FROM range(100000) AS r(i)").fetchall() == [(99999 * 100000,)]
    outer.close()


FORK = """
import os, warnings
import numpy as np
from rasteret_sql.sql.evaluator import Evaluator
warnings.simplefilter("ignore", DeprecationWarning)
def run(): return Evaluator()([("x", '("a" + 1)')], {"a": (np.arange(3), None)}, {"a": "BIGINT"})["x"][0].tolist() == [1, 2, 3]
assert run()
child = os.fork()
if child == 0:
    os._exit(0 if run() else 1)
assert os.waitpid(child, 0)[1] == 0 and run()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_a_duckdb_of_its_own() -> None:
    assert subprocess.run([sys.executable, "-c", FORK], timeout=60, check=False).returncode == 0
