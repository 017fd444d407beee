"""``rasteret-sql query`` and scripts from stdin: the real program in a process of its own, its results read back by others."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import time

import duckdb
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

import rasteret_sql
from rasteret_sql.sample import data_dir, records
from tests.cli.running import MODULE, environment, run, run_here
from tests.servers.ranged import RangeServer

PLOTS = data_dir() / "plots.parquet"
POINTS = data_dir() / "points.parquet"
READ = f"SELECT id, label, geom, B4, height FROM rasteret_read(landsat, '{PLOTS}', bands := ['B4']) ORDER BY id, record_id"


def fed(text, *arguments, binary=False, **more):
    """The finished process, which had this on its stdin."""
    command = [*MODULE, *map(str, arguments)]
    done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=120, env=environment(**more), check=False)
    return done if binary else subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def queried(collections, *arguments):
    """stdout as bytes, of a query that must succeed without a word on stderr."""
    done = fed("", "query", *arguments, binary=True, RASTERET_WORKSPACE=collections)
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout


@pytest.fixture(scope="module")
def expected(collections):
    """What Python gets of the same statement."""
    with rasteret_sql.connect() as con:
        con.execute(f"SET VARIABLE rasteret_workspace = '{collections}'").fetchall()
        return con.execute(READ).fetchall()


def plain(rows):
    """Without the geometry, which each format has in its own way."""
    return [(row[0], row[1], list(row[3]), row[4]) for row in rows]


def test_parquet_is_read_back_with_types_pixels_and_geometries(collections, expected, tmp_path):
    file = tmp_path / "out.parquet"
    assert queried(collections, READ, "--output", file) == b""
    with duckdb.connect() as con:
        assert con.execute(f"SELECT column_type FROM (DESCRIBE FROM '{file}')").fetchall()[3] == ("USMALLINT[]",)
        assert plain(con.execute(f"FROM '{file}'").fetchall()) == plain(expected)
        assert con.execute(f"SELECT typeof(geom) FROM '{file}' LIMIT 1").fetchall() == [("GEOMETRY('OGC:CRS84')",)]
    piped = queried(collections, READ, "--format", "parquet")
    assert pq.read_table(io.BytesIO(piped)).column("B4").to_pylist() == [list(row[3]) for row in expected]
    geo = json.loads(pq.read_metadata(io.BytesIO(piped)).metadata[b"geo"])
    assert geo["primary_column"] == "geom"
    assert geo["columns"]["geom"]["encoding"] == "WKB"


def test_arrow_stream(collections, expected, tmp_path):
    table = pa.ipc.open_stream(queried(collections, READ, "--format", "arrow")).read_all()
    assert table.column("B4").to_pylist() == [list(row[3]) for row in expected]
    assert str(table.schema.field("B4").type) == "list<l: uint16>"
    queried(collections, READ, "--output", tmp_path / "a.arrows")
    assert pa.ipc.open_stream((tmp_path / "a.arrows").read_bytes()).read_all().equals(table)


def test_csv_json_and_jsonl(collections, expected):
    said = queried(collections, READ, "--format", "csv").decode()
    rows = list(csv.DictReader(io.StringIO(said)))
    assert [json.loads(row["B4"].replace("NULL", "null")) for row in rows] == [list(row[3]) for row in expected]
    assert [(int(row["id"]), row["label"]) for row in rows] == [(row[0], row[1]) for row in expected]
    assert rows[0]["geom"].startswith("POLYGON ((")
    objects = json.loads(queried(collections, READ, "--format", "json"))
    assert [(each["id"], each["label"], each["B4"], each["height"]) for each in objects] == plain(expected)
    lines = queried(collections, READ, "--format", "jsonl").decode().splitlines()
    assert [json.loads(line) for line in lines] == objects


ODD = '''SELECT * FROM (VALUES (1, 'a,b', NULL, ''), (2, 'say "hi"', 'x', ' y '), (3, E'two\\nlines', 'ö', 'NULL')) AS t(i, "a ""name""", c, i)'''


def test_csv_of_odd_texts(tmp_path, collections):
    queried(collections, ODD, "--output", tmp_path / "odd.csv")
    with duckdb.connect() as con:
        wanted = con.execute(ODD).fetchall()
        read = con.execute(
            f"FROM read_csv('{tmp_path / 'odd.csv'}', header := true, quote := '\"', escape := '\"', delim := ',', allow_quoted_nulls := false)"
        ).fetchall()
    assert read == wanted
    assert list(csv.reader(io.StringIO((tmp_path / "odd.csv").read_bytes().decode(), newline=""))) == [
        ["i", 'a "name"', "c", "i_1"],
        *[["" if v is None else str(v) for v in row] for row in wanted],
    ]
    (first, *_) = json.loads(queried(collections, ODD, "--format", "json"))
    assert first == {"i": 1, 'a "name"': "a,b", "c": None, "i_1": ""}


def test_numbers_that_json_has_no_words_for(collections):
    sql = "SELECT 'nan'::DOUBLE AS a, ['inf'::FLOAT, 1] AS b, 0.1::DOUBLE AS c, 170141183460469231731687303715884105727::HUGEINT AS d, DATE '2024-01-31' AS e"
    assert json.loads(queried(collections, sql, "--format", "json")) == [
        {"a": None, "b": [None, 1.0], "c": 0.1, "d": 170141183460469231731687303715884105727, "e": "2024-01-31"}
    ]
    assert queried(collections, "SELECT 1 WHERE false", "--format", "json") == b"[]\n"
    assert queried(collections, "SELECT 1 AS a WHERE false", "--format", "csv") == b"a\n"


def test_every_type_is_written_as_duckdb_writes_it(collections):
    """Those that Arrow holds only in part come whole, too."""
    columns = "* EXCLUDE (small_enum, medium_enum, large_enum)"
    with duckdb.connect() as con:
        exclude = ", tuple" if any(row[0] == "tuple" for row in con.execute("DESCRIBE FROM test_all_types()").fetchall()) else ""
        columns = columns.replace(")", f"{exclude})")
        wanted = con.execute(f"SELECT CAST(COLUMNS({columns}) AS VARCHAR) FROM test_all_types()").fetchall()
    said = queried(collections, f"SELECT {columns} FROM test_all_types()", "--format", "csv").decode()
    rows = list(csv.reader(io.StringIO(said, newline="")))[1:]
    assert len(rows) == len(wanted) == 3
    assert rows == [["" if value is None else value for value in row] for row in wanted]


def test_tables_cut_lists_and_rows(collections):
    said = fed("", "query", READ, RASTERET_WORKSPACE=collections, COLUMNS=90).stdout
    assert max(map(len, said.splitlines())) <= 90
    assert ", … (270)]" in said
    many = queried(collections, "FROM range(1000) AS t(i)", "--max-rows", "6").decode()
    assert [line.strip("│ ") for line in many.splitlines()[4:-4]] == ["0", "1", "2", "·", "·", "·", "997", "998", "999"]
    assert "1,000 rows (6 shown)" in many
    assert "physical_plan" not in queried(collections, "EXPLAIN SELECT 1").decode()


def test_several_statements_the_last_rows_count(collections, tmp_path):
    file = tmp_path / "a.sql"
    file.write_text(
        "CREATE TABLE t(i INTEGER);\nINSERT INTO t VALUES (1), (2); -- ; no end\nSELECT 'not me';\nSELECT sum(i) AS s FROM t; DROP TABLE t;"
    )
    assert queried(collections, "--file", file, "--format", "csv") == b"s\n3\n"
    assert fed(file.read_text(), "query", "-", "--format", "csv").stdout == "s\n3\n"
    assert fed(file.read_text(), "query", "--file", "-", "--format", "csv").stdout == "s\n3\n"
    assert queried(collections, "CREATE TABLE t AS SELECT 1") == b""
    assert queried(collections, "CREATE TABLE t(i INT); INSERT INTO t VALUES (7) RETURNING i + 1 AS j", "--format", "csv") == b"j\n8\n"
    assert queried(collections, "CREATE TABLE t AS SELECT 1 AS a, 'x' AS k; PIVOT t ON k USING sum(a)", "--format", "csv") == b"x\n1\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["SELECT * FORM x"], ['Parser Error: syntax error at or near "x"', "LINE 1: SELECT * FORM x", "^"]),
        (["SELECT 1; SELECT nowhere"], ["Binder Error: ", "nowhere"]),
        ([" ; -- nothing"], ["there is no statement"]),
        (["SELECT 1::UHUGEINT AS a", "--output", "{tmp}/a.parquet"], ["column 'a' is UHUGEINT", "CAST it to VARCHAR"]),
        (["SELECT INTERVAL 1 DAY AS a", "--output", "{tmp}/a.parquet"], ["INTERVAL", "CAST it to VARCHAR"]),
        (["SELECT 1", "--output", "{tmp}/no/folder/a.csv"], ["No such file or directory"]),
        (["--file", "{tmp}/none.sql"], ["No such file or directory", "none.sql"]),
        (["SELECT 1", "--database", "{tmp}/none.duckdb", "--read-only"], ["none.duckdb"]),
        (["FROM rasteret_bands('/no/where.tif')"], ["where.tif"]),
    ],
)
def test_errors_are_short_and_leave_nothing(arguments, words, tmp_path):
    done = run("query", *(each.replace("{tmp}", str(tmp_path)) for each in arguments), RASTERET_WORKSPACE=tmp_path / "w")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("rasteret-sql: ")
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 4
    for word in words:
        assert word in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name != "w"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give the statements"),
        (["SELECT 1", "--file", "a.sql"], "give the statements"),
        (["SELECT 1", "--read-only"], "--read-only needs --database"),
        (["SELECT 1", "--format", "xlsx"], "xlsx"),
        (["SELECT 1", "--max-rows", "none"], "no number"),
        (["SELECT 1", "--otput", "a"], "did you mean '--output'"),
    ],
)
def test_mistakes_on_the_command_line_are_status_2(arguments, words):
    done = run_here("query", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_a_failing_query_leaves_the_old_file(collections, tmp_path):
    file = tmp_path / "out.csv"
    file.write_text("old")
    for _ in range(3):
        done = run("query", "SELECT CASE WHEN i = 900000 THEN error('late') ELSE i END AS i FROM range(1000000) t(i)", "--output", file)
        if (
            "Interrupted!" not in done.stderr
        ):  # DuckDB's own race: in 2 of 1,000 runs it names how it stopped its other thread (1.5.5, without us too)
            break
    assert (done.returncode, done.stderr) == (1, "rasteret-sql: Invalid Input Error: late\n")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
    assert queried(collections, "SELECT 1 AS a", "--output", file) == b""
    assert [path.read_text() for path in tmp_path.iterdir()] == ["a\n1\n"]


@pytest.mark.parametrize("form", ["csv", "jsonl", "arrow"])
def test_a_reader_that_leaves_is_no_error_to_talk_about(form):
    process = subprocess.Popen(
        [*MODULE, "query", "FROM range(1000000000)", "--format", form], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    assert process.stdout.read(4)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(30) == 1


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_memory_does_not_grow_with_the_result(form, tmp_path):
    """A gigabyte of lists; peak memory from the kernel's account of the process."""
    sql = "SELECT i, list_transform(range(2000), lambda x: x + i) AS pixels FROM range({}) t(i)"
    peaks = []
    for rows in (100, 60_000):
        command = [*MODULE, "query", sql.format(rows), "--format", form, "--output", os.devnull]
        process = subprocess.Popen(command, env=environment(OMP_NUM_THREADS="1"), stderr=subprocess.PIPE)
        errors = process.stderr.read()
        process.stderr.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert (process.returncode, errors) == (0, b"")
        peaks.append(usage.ru_maxrss / 1024)
    assert peaks[1] < peaks[0] + 550, peaks


@pytest.fixture
def stalled(tmp_path):
    """A workspace whose collection lies at a server that lets everyone wait."""
    with RangeServer(data_dir()) as server:
        workspace = tmp_path / "stalled"
        rasteret_sql.build_from_table(records(server.url("").rstrip("/")), name="landsat", workspace=workspace, settings={"progress": False})
        server.latency_s = 8.0
        server.reset()
        yield workspace, server


@pytest.mark.parametrize("script", [False, True], ids=["query", "script"])
def test_ctrl_c_is_status_130_and_leaves_nothing(stalled, tmp_path, script):
    workspace, server = stalled
    out = tmp_path / "out"
    out.mkdir()
    command = [*MODULE] if script else [*MODULE, "query", READ, "--output", str(out / "a.parquet")]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(RASTERET_WORKSPACE=workspace)
    )
    if script:
        process.stdin.write(f"{READ};\nSELECT 'never';\n".encode())
        process.stdin.flush()
    until = time.monotonic() + 30
    while not server.stats().requests and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.3)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    out_text, err = process.communicate(timeout=20)
    assert time.monotonic() - began < 5  # far from when the server answers, also on a machine that is busy
    assert (process.returncode, out_text, err) == (130, b"", b"")
    assert list(out.iterdir()) == []


def test_a_script_from_stdin_stops_at_its_first_error(collections):
    script = "CREATE TABLE t AS SELECT 1 AS i;\n.mode csv\nFROM t;\nSELECT i + 1 AS j\n  FROM t;\nSELECT nothing FROM t;\nSELECT 'never';\n"
    for arguments in ([], ["shell"]):
        done = fed(script, *arguments, RASTERET_WORKSPACE=collections)
        assert done.returncode == 1
        assert done.stdout == "i\n1\nj\n2\n"
        assert done.stderr.startswith('rasteret-sql: Binder Error: Referenced column "nothing" not found')
    assert "┌" in fed("SELECT 1 AS a").stdout  # the last statement needs no semicolon


def test_a_script_says_its_costs_on_stderr_alone(collections):
    done = fed(
        f".timer on\n.mode csv\nSELECT count(*) AS n FROM rasteret_sample(landsat, '{POINTS}', bands := ['B4']);\n.quit\nSELECT 'never';",
        RASTERET_WORKSPACE=collections,
    )
    assert (done.returncode, done.stdout) == (0, "n\n9\n")
    assert " requests · " in done.stderr


def test_a_file_database(tmp_path, collections):
    file = tmp_path / "mine.duckdb"
    made = f"CREATE TABLE kept AS SELECT id, B4 FROM rasteret_sample(landsat, '{POINTS}', bands := ['B4'])"
    assert queried(collections, made, "--database", file) == b""
    with duckdb.connect(str(file), read_only=True) as con:
        assert con.execute("SELECT count(*) FROM kept").fetchall() == [(9,)]
        ours = "SELECT function_name FROM duckdb_functions() WHERE function_name LIKE '%rasteret%'"
        assert con.execute(ours).fetchall() == con.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall() == []
    assert queried(collections, "SELECT count(*) AS n FROM kept", "--database", file, "--read-only", "--format", "csv") == b"n\n9\n"


def test_without_anybody_to_talk_to_there_is_help():
    assert run().stdout.startswith("usage: rasteret-sql")
    assert run("shell", "--read-only").returncode == 1
