"""Clients at work: the CLI, two at once, Python with its cursors; what is evaluated where."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import duckdb
import pytest

from rasteret_sql.sample import PLOTS, data_dir
from tests.serve.serving import Served, cli_command, cli_input, no_cli, no_quack

pytestmark = pytest.mark.skipif(no_quack() is not None, reason=no_quack() or "")
needs_cli = pytest.mark.skipif(no_cli() is not None, reason=no_cli() or "")

MANY = "(SELECT i, -54.6 + (i % 100000) * 1e-8 AS lon, -25.4 AS lat FROM range(600000) t(i))"


@needs_cli
def test_a_table_of_the_client(server: Served) -> None:
    """Made by the client's own SQL, sent, used by its name."""
    rows = server.rows(
        f"CREATE TABLE farms AS SELECT 'farm ' || id AS farm, geometry FROM (SELECT id, COLUMNS('geom') AS geometry FROM '{data_dir() / PLOTS}') WHERE id <= 2;"
        "CREATE OR REPLACE TABLE rasteret_server.farms AS FROM farms;"
        "SELECT farm, record_id[11:16] AS scene, count(*) AS n FROM rasteret_read(landsat, farms, bands := ['B4']) GROUP BY ALL ORDER BY ALL;"
    )
    assert [(row["farm"], row["scene"]) for row in rows] == [("farm 1", "224077"), ("farm 2", "224077"), ("farm 2", "224078")]


@needs_cli
def test_filters_inside_the_call_reach_the_server(server: Served) -> None:
    """A budget that all plots would exceed allows what is left of them; the same filter around the call comes too late."""
    budget = "SET VARIABLE rasteret_cache_bytes = 0; SET VARIABLE rasteret_max_bytes = 65000;"
    call = "FROM rasteret_read(landsat, {}, bands := ['B2', 'B3', 'B4'])"
    done = server.cli(f"{budget} SELECT id {call.format('plots')} WHERE id = 4;")
    assert "more than rasteret_max_bytes = 65,000" in done.stderr
    filtered = call.format("'(FROM plots WHERE id = 1)'")
    done = server.cli(f"{budget} SELECT DISTINCT id {filtered}")
    assert (done.stderr, done.stdout) == ("", '[{"id":1}]\n')


@needs_cli
def test_errors_are_the_servers(server: Served) -> None:
    for call, first in {
        "rasteret_sample(landsat, points, bands := ['B44'])": "Invalid Input Error: rasteret_sample: unknown band 'B44'; did you mean 'B4'?; bands: B2, B3, B4",
        "rasteret_bands(landsatt)": "Invalid Input Error: rasteret_bands: no collection 'landsatt'; did you mean 'landsat'?",
        "rasteret_sample(landsat, nowhere, bands := ['B4'])": "Invalid Input Error: Table with name nowhere does not exist!",
        "rasteret_zonal(landsat, '(FROM plots WHERE nothing = 1)', bands := ['B4'])": 'Invalid Input Error: Referenced column "nothing" not found in FROM clause!',
    }.items():
        done = server.cli(f"FROM {call}")
        assert done.stdout == ""
        assert done.stderr.startswith(first), done.stderr


@needs_cli
def test_settings_of_the_client(server: Served, tmp_path: Path) -> None:
    assert server.rows(f"SET VARIABLE rasteret_workspace = '{tmp_path}'; FROM rasteret_collections();") == []
    assert [row["name"] for row in server.rows("FROM rasteret_collections() ORDER BY name")] == ["landsat", "rgbn"]
    set_here = "SET VARIABLE rasteret_max_concurrency = 3; SELECT value FROM rasteret_settings() WHERE name = 'rasteret_max_concurrency'"
    assert server.rows(set_here) == [{"value": "3"}]


@needs_cli
def test_results_can_go_back(server: Served) -> None:
    """A table of results on the server, made of a call; and SQL of the client's own run there."""
    assert server.rows(
        "CREATE OR REPLACE TABLE rasteret_server.means AS FROM rasteret_zonal(landsat, plots, bands := ['B4'], stats := ['mean']);"
        "SELECT count(*) AS n FROM rasteret_server.means;"
    ) == [{"n": 7}]
    assert server.rows(
        "FROM rasteret_server.query('SELECT count(*) AS n FROM rasteret.zonal(landsat, plots, bands := [''B4'']) WHERE mean > 7000')"
    ) == [{"n": 4}]


@needs_cli
def test_forms_with_a_record_run_there(server: Served) -> None:
    """As the error says that the client's macro of that name raises."""
    done = server.cli("SELECT rasteret_sample(c, 'POINT(-54.6 -25.4)', 'B4') FROM rasteret_collection(landsat) AS c")
    assert "functions named as rasteret.sample" in done.stderr
    call = "SELECT c.id[11:16] AS scene, rasteret.sample(c, 'POINT(-54.6 -25.4)', 'B4') AS v FROM rasteret.collection(landsat) AS c ORDER BY ALL"
    assert server.rows(f"FROM rasteret_server.query($${call}$$)") == [{"scene": "224077", "v": 6248}, {"scene": "224078", "v": 6248}]


@needs_cli
def test_builds_and_exports(server: Served, tmp_path: Path) -> None:
    """From a table of the client, into a workspace that it names; carried out once."""
    path = next((data_dir() / "rgbn").glob("*.tif"))
    variables = f"SET VARIABLE rasteret_workspace = '{tmp_path}';"
    built = server.rows(
        f"CREATE OR REPLACE TABLE rasteret_server.images AS SELECT 'one' AS id, '{path}' AS path; {variables}"
        "SELECT collection, records, requests FROM rasteret_build_from_table(images, name := 'mine', href_column := 'path', band_index_map := {'R': 0, 'G': 1})"
    )
    assert built == [{"collection": "mine", "records": 1, "requests": 1}]
    out = tmp_path / "out.parquet"
    assert server.rows(f"{variables} SELECT records FROM rasteret_export('(FROM rasteret.collection(''{tmp_path}/mine_records''))', '{out}')") == [
        {"records": 1}
    ]
    assert duckdb.sql(f"SELECT id FROM '{out}'").fetchall() == [("one",)]


@needs_cli
def test_nothing_stays_in_the_clients_file(server: Served, tmp_path: Path) -> None:
    database = tmp_path / "client.duckdb"
    done = server.cli("CREATE TABLE kept AS FROM rasteret_bands(rgbn)", database=database)
    assert done.stderr == ""
    with duckdb.connect(str(database)) as con:
        assert con.execute("SELECT count(*) FROM duckdb_functions() WHERE function_name LIKE '%rasteret%'").fetchall() == [(0,)]
        assert con.execute("SHOW TABLES").fetchall() == [("kept",)]
        assert con.execute("FROM duckdb_secrets()").fetchall() == []


@needs_cli
def test_two_clients_at_once(server: Served) -> None:
    """Both are seen at work by a third, and both get all of their rows."""
    sql = f"SELECT count(*) AS n, count(B4) AS v FROM rasteret_sample(landsat, '{MANY}', x := 'lon', y := 'lat', bands := ['B4'], match := 'latest')"
    clients = []
    try:
        for _ in range(2):
            client = subprocess.Popen([*cli_command(), "-json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            clients.append(client)
            client.stdin.write(cli_input(server.script, sql))
            client.stdin.flush()
        with server.python() as con:
            active, until = 0, time.monotonic() + 60
            while active < 2 and time.monotonic() < until and any(client.poll() is None for client in clients):
                rows = con.execute("FROM rasteret_server.query('SELECT query FROM quack_active_connections() WHERE state = ''active''')").fetchall()
                active = sum("rasteret_sample" in query for (query,) in rows)
        for client in clients:
            out, err = client.communicate(timeout=120)
            assert err == ""
            assert out.endswith('[{"n":600000,"v":600000}]\n')
        assert active == 2
    finally:
        for client in clients:
            client.kill()
            client.communicate()


def test_python_and_its_cursors(server: Served) -> None:
    with server.python() as con:
        assert con.execute("SELECT count(*) FROM rasteret_bands($1)", ["landsat"]).fetchall() == [(3,)]
        rows = con.execute(
            "SELECT id, B4 FROM rasteret_sample($c, points, bands := $b, match := 'latest') ORDER BY id", {"c": "landsat", "b": ["B4"]}
        ).fetchall()
        assert rows == [(1, 6254), (2, 8080), (3, 6106), (4, 8111), (5, 7341)]
        cursor = con.cursor()  # which sees no temporary macros
        assert (
            cursor.execute(
                "SELECT id, B4 FROM rasteret_client.rasteret_sample(landsat, points, bands := ['B4'], match := 'latest') ORDER BY id"
            ).fetchall()
            == rows
        )
        pixels = con.execute("SELECT B4 FROM rasteret_read(landsat, plots, bands := ['B4']) LIMIT 1").to_arrow_table()
        assert str(pixels.schema.field("B4").type) == "list<l: uint16>"


def test_a_call_runs_once(server: Served) -> None:
    """Not once for its columns and once for its rows."""
    with server.python() as con:
        con.execute("FROM rasteret_server.query('CREATE OR REPLACE SEQUENCE runs')").fetchall()
        call = "rasteret_sample(landsat, '(SELECT nextval(''runs'') AS run, -54.6 AS x, -25.4 AS y)', x := 'x', y := 'y', bands := ['B4'], match := 'latest')"
        runs = [con.execute(f"SELECT run FROM {call}").fetchall()[0][0] for _ in range(3)]
        assert runs == [runs[0], runs[0] + 1, runs[0] + 2]
