"""What the duckdb CLI gets from a server is what the same statement gives where the package is: columns, types, rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import rasteret_sql
from rasteret_sql.sample import PLOTS, POINTS, data_dir
from tests.serve.serving import Served

STATEMENTS = {
    "sample": "FROM rasteret_sample('landsat', points, bands := ['B2', 'B4'])",
    "sample latest": "FROM rasteret_sample(landsat, points, bands := ['B4'], match := 'latest')",
    "sample with expressions": (
        "FROM rasteret_sample(landsat, points, expressions := {'greenness': '(B3 - B4) / (B3 + B4)', \"a 'b'\": 'CASE WHEN B4 > 7000 AND ''x\\y'' <> ''\"'' THEN 1 END'})"
    ),
    "zonal": "FROM rasteret_zonal('landsat', plots, bands := ['B4'], stats := ['count', 'mean', 'quantile(0.9)'], mask := 'B4 < 9000', per := 'day')",
    "read": "FROM rasteret_read(landsat, plots, bands := ['B3', 'B4'])",
    "read on a grid": "FROM rasteret_read(landsat, plots, bands := ['B4'], resolution := 60, target_crs := 'EPSG:32621', align_to := [0, 0])",
    "pixels": "FROM rasteret_pixels(landsat, plots, bands := ['B4'])",
    "plan": "SELECT * EXCLUDE (requests, bytes_cached) FROM rasteret_plan(landsat, plots, bands := ['B2', 'B4'])",
    "collection": "FROM rasteret_collection(rgbn)",
    "bands": "FROM rasteret_bands(rgbn)",
    "value": "SELECT rasteret_value('landsat', 'POINT(-54.6 -25.4)', 'B4') AS red",
    "value at a geometry": "SELECT rasteret_value(landsat, 'POINT(-54.6 -25.4)'::GEOMETRY, ['B4']) AS red",
    "files": f"FROM rasteret_bands(['{data_dir()}/rgbn/rgbn_20170203.tif', '{data_dir()}/rgbn/rgbn_20160101.tif'])",
    "functions": "FROM rasteret_functions()",
    "failures": "FROM rasteret_failures(landsat)",
    "two calls joined": (
        "SELECT p.id, z.mean, p.B4 FROM rasteret_zonal(landsat, plots, bands := ['B4'], stats := ['mean']) AS z "
        "JOIN rasteret_sample(landsat, points, bands := ['B4']) AS p USING (label)"
    ),
}


@pytest.fixture(scope="module")
def here(collections: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with rasteret_sql.connect() as con:
        con.execute(f"SET VARIABLE rasteret_workspace = '{collections}'").fetchall()
        for name, file in (("plots", PLOTS), ("points", POINTS)):
            con.execute(f"CREATE TABLE {name} AS FROM '{data_dir() / file}'").fetchall()
        yield con


def same(server: Served, con: duckdb.DuckDBPyConnection, asked: str, expected: str, tmp_path: Path) -> int:
    """The CLI's result of ``asked`` against ours of ``expected``; returns how many rows they have."""
    file = tmp_path / "result.parquet"
    done = server.cli(f"CREATE TABLE result AS {asked}; COPY result TO '{file}'; SELECT column_name, column_type FROM (DESCRIBE result)")
    assert not done.stderr, done.stderr
    types = con.execute(f"SELECT column_name, column_type FROM (DESCRIBE {expected})").fetchall()
    assert [(row["column_name"], row["column_type"]) for row in json.loads(done.stdout)] == types
    con.execute(f"CREATE OR REPLACE TEMP TABLE ours AS {expected}").fetchall()
    con.execute(f"CREATE OR REPLACE TEMP TABLE theirs AS FROM '{file}'").fetchall()
    columns = ", ".join(f'"{name}"::VARCHAR AS "{name}"' for name, _ in types)
    ours, theirs = (f"SELECT {columns} FROM {name}" for name in ("ours", "theirs"))
    for one, other in ((ours, theirs), (theirs, ours)):
        assert con.execute(f"({one}) EXCEPT ALL ({other})").fetchall() == []
    ((count,),) = con.execute("SELECT count(*) FROM ours").fetchall()
    return int(count)


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_same_statement(server: Served, here: duckdb.DuckDBPyConnection, name: str, tmp_path: Path) -> None:
    count = same(server, here, STATEMENTS[name], STATEMENTS[name], tmp_path)
    assert count or name == "failures"


def test_subqueries_are_texts_in_parentheses(server: Served, here: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    asked = (
        "FROM rasteret_sample($$(FROM rasteret.collection(landsat) WHERE bbox.ymin < -25.45)$$, "
        "'(SELECT id, label, geom FROM points WHERE label IN (''water'', ''crop''))', bands := ['B4'])"
    )
    expected = (
        "WITH c AS (FROM rasteret_collection(landsat) WHERE bbox.ymin < -25.45), "
        "p AS (SELECT id, label, geom FROM points WHERE label IN ('water', 'crop')) FROM rasteret_sample(c, p, bands := ['B4'])"
    )
    assert 0 < same(server, here, asked, expected, tmp_path) < 9


def test_lists_arrive_typed(server: Served) -> None:
    types = server.rows("SELECT DISTINCT typeof(B4) AS type, typeof(B2) AS other FROM rasteret_read(landsat, plots, bands := ['B2', 'B4'])")
    assert types == [{"type": "USMALLINT[]", "other": "USMALLINT[]"}]
    kept = server.rows(
        "CREATE TABLE kept AS FROM rasteret_read(rgbn, '(SELECT ''POLYGON((-72.21 18.51, -72.2 18.51, -72.2 18.52, -72.21 18.51))'' AS geometry)', bands := ['R']);"
        "SELECT typeof(R) AS type, count(*) > 0 AS found, sum(list_count(R)) > 0 AS filled FROM kept GROUP BY ALL"
    )
    assert kept == [{"type": "UTINYINT[]", "found": True, "filled": True}]


def test_a_million_rows(server: Served) -> None:
    """Each row is made by the server; all arrive, once, typed."""
    (row,) = server.rows(
        "SELECT count(*) AS n, count(DISTINCT i) AS different, sum(i) AS total, any_value(typeof(B4)) AS type, count(B4) AS valued, min(status) AS status FROM "
        "rasteret_sample(landsat, '(SELECT i, -54.6 + i * 1e-8 AS lon, -25.4 - i * 1e-8 AS lat FROM range(1000000) t(i))', "
        "x := 'lon', y := 'lat', bands := ['B4'], match := 'latest')"
    )
    assert row == {"n": 1_000_000, "different": 1_000_000, "total": "499999500000", "type": "INTEGER", "valued": 1_000_000, "status": "ok"}
