"""The shell as people use it: the real program under a pseudo-terminal."""

from __future__ import annotations

import re
import sqlite3
import time

import duckdb
import pytest

from rasteret_sql.sample import data_dir, records
from rasteret_sql.shell.commands import COMMANDS
from tests.servers.ranged import RangeServer
from tests.shell.terminal import CTRL_C, CTRL_D, ENTER, TAB, UP


def test_a_query_with_cut_arrays_types_counts_and_cost(shell):
    terminal = shell()
    shown = terminal.run("SELECT id, label, B4, NULL AS nothing FROM rasteret_read(landsat, plots, bands := ['B4']) ORDER BY ALL;")
    assert "│ int64 │  varchar  │" in shown[2]
    assert "uint16[]" in shown[2]
    row = next(line for line in shown if "tree" in line)
    assert re.search(r"│ \[6178, 6131, \d+, .*, … \(256\)\] +│ +NULL +│", row), row
    assert max(map(len, shown)) <= 120
    assert re.fullmatch(r"│ 7 rows +4 columns │", shown[-3])
    assert re.fullmatch(r"\d\.\d{3} s · \d+ requests · [\d.]+ kB", shown[-1]), shown[-1]
    again = terminal.run("SELECT count(*) FROM rasteret_read(landsat, plots, bands := ['B4']);")
    assert re.fullmatch(r"\d\.\d{3} s · 0 requests · 0 B · \d+ tiles from memory", again[-1]), again[-1]
    assert not re.search(r"\d s$", terminal.run("SELECT 1;")[-1])


def test_statements_of_many_lines_end_with_a_semicolon(shell):
    terminal = shell(tables=False)
    shown = terminal.run("SELECT 41 +\r  ';'::VARCHAR ||\r'x' AS a -- ;\r, 7 AS b;".replace("41 +\r  ", "\r "))
    assert any("…>" in line for line in terminal.lines)
    assert any(re.search(r"│ ;x +│ +7 │", line) for line in shown), shown


def test_several_statements_and_comments_in_one_entry(shell):
    terminal = shell(tables=False)
    shown = "\n".join(terminal.run("SELECT 1 AS first; /* ; */ SELECT 2 AS second;"))
    assert "first" in shown
    assert "second" in shown
    assert terminal.run("-- nothing") == []


def test_tab_completes(shell):
    terminal = shell()
    for typed, expected in [
        ("FROM rasteret_sam", "FROM rasteret_sample"),
        ("FROM rasteret_read(lan", "rasteret_read(landsat"),
        ("FROM rasteret_bands('la", "rasteret_bands('landsat"),
        ("FROM rasteret_read(landsat, plo", "(landsat, plots"),
        ("FROM rasteret_read(landsat, plots, ban", "plots, bands :="),
        ("FROM rasteret_zonal(landsat, plots, stats := ['stddev_p", "['stddev_pop"),
        ("FROM rasteret_sample(landsat, points, match := 'lat", "match := 'latest"),
        ("SELECT lab", "SELECT label"),
        ("FROM points AS p WHERE p.lab", "WHERE p.label"),
        ("selec", "select"),
        ("FROM poi", "FROM points"),
        (".he", ".help"),
        (".mode js", ".mode json"),
        (".bands lan", ".bands landsat"),
        (".help rasteret_zon", ".help rasteret_zonal"),
    ]:
        terminal.complete(typed, expected)


def test_tab_lists_the_bands_of_the_collection(shell):
    terminal = shell()
    terminal.type("FROM rasteret_read(landsat, plots, bands := ['")
    terminal.wait_for("bands := ['")
    terminal.type(TAB)
    for band in ("B2", "B3", "B4"):
        terminal.wait_for(band)
    assert "collection" not in terminal.lines[-1]


def test_errors_are_one_line_and_keep_the_shell(shell):
    terminal = shell(columns=220)
    assert terminal.run("FROM rasteret_sample(landsat, points, bands := ['B44']);") == [
        "rasteret_sample: unknown band 'B44'; did you mean 'B4'?; bands: B2, B3, B4"
    ]
    assert terminal.run("SELECT * FORM x;") == [
        'Parser Error: syntax error at or near "x"',
        "LINE 1: SELECT * FORM x",
        " " * len("LINE 1: SELECT * FORM ") + "^",
    ]
    terminal.run("SET VARIABLE rasteret_cache_bytes = 0; SET VARIABLE rasteret_max_bytes = 10;")
    (line,) = terminal.run("SELECT B4 FROM rasteret_read(landsat, plots, bands := ['B4']);")
    assert line.startswith("rasteret_read would fetch ")
    assert "A collection is called 'landsat'" in " ".join(terminal.run("FROM rasteret_read(lansat, plots, bands := ['B4']);"))
    assert terminal.run(".hlep")[0].startswith("no command .hlep; did you mean '.help'?")
    assert "Traceback" not in terminal.text
    assert re.search(r"│ +3 │", "\n".join(terminal.run("SELECT 3 AS a;")))


def test_help(shell):
    terminal = shell(tables=False, rows=60)
    listed = "\n".join(terminal.run(".help"))
    assert all(f"{name} " in listed for name in COMMANDS)
    assert "rasteret_zonal  " in listed
    said = "\n".join(terminal.run(".help rasteret_sample"))
    for part in (
        "rasteret_sample(collection, points, bands := NULL",
        "match ",
        "'all', 'latest', 'nearest'",
        "(default: 'all')",
        "Example:",
        "ORDER BY id;",
    ):
        assert part in said, part
    assert terminal.run(".help rasteret_sampel")[0].startswith("no function 'rasteret_sampel'; did you mean 'rasteret_sample'?")


def test_looking_around(shell):
    terminal = shell()
    assert any("points" in line for line in terminal.run(".tables"))
    assert not any("plots" in line for line in terminal.run(".tables po%"))
    assert any("landsat" in line for line in terminal.run(".collections"))
    assert any(re.search(r"│ B4 +│ uint16 ", line) for line in terminal.run(".bands landsat"))
    assert terminal.run(".bands") == ["type: .bands NAME"]


def test_modes_output_timer_and_io(shell, tmp_path):
    terminal = shell()
    terminal.run(".mode csv")
    assert terminal.run("SELECT 1 AS a, NULL AS b;") == ["a,b", "1,"]
    terminal.run(".mode json")
    assert terminal.run("SELECT 1 AS a, NULL AS b;") == ['[{"a":1,"b":null}]']
    terminal.run(".mode line")
    assert terminal.run("SELECT 1 AS a, NULL AS long;") == ["   a = 1", "long = NULL"]
    terminal.run(f".output {tmp_path / 'out.csv'}")
    terminal.run(".mode csv")
    assert terminal.run("SELECT 5 AS five;") == []
    terminal.run(".output")
    assert (tmp_path / "out.csv").read_text() == "five\n5\n"
    terminal.run(".mode table")
    assert terminal.run(".io") == ["the last statement read no imagery"]
    terminal.run("SELECT B4 FROM rasteret_sample(landsat, points, bands := ['B4']);")
    shown = "\n".join(terminal.run(".io"))
    assert "│ rasteret_sample │" in shown
    terminal.run(".timer on")
    assert re.fullmatch(r"\d\.\d{3} s", terminal.run("SELECT 1;")[-1])
    assert terminal.run(".timer maybe") == ["type: .timer on, or .timer off"]
    assert terminal.run(".mode cvs")[0].startswith("no mode 'cvs'; did you mean 'csv'?")


def test_read_a_file(shell, tmp_path):
    (tmp_path / "a.sql").write_text("CREATE TABLE t AS SELECT 1 AS i;\n\nSELECT i + 41 AS answer\nFROM t;\nSELECT nothing FROM t;\nDROP TABLE t;")
    terminal = shell(tables=False)
    shown = "\n".join(terminal.run(f".read {tmp_path / 'a.sql'}"))
    assert "42" in shown
    assert f"{tmp_path / 'a.sql'}:5: Binder Error" in shown.replace("\n", "")
    assert any("│ t " in line for line in terminal.run(".tables"))
    assert terminal.run(".read nowhere.sql") == ["nowhere.sql: No such file or directory"]


def test_history_goes_over_restarts_and_keeps_no_secrets(shell, state):
    first = shell(tables=False)
    first.run("SELECT 'remember me' AS a,\r2 AS b;")
    first.run("CREATE SECRET s (TYPE s3, KEY_ID 'AKIAIOSFODNN7EXAMPLE', SECRET 'very-secret');")
    first.run("SELECT 'https://host/a.tif?sig=very-secret' AS signed;")
    first.type(CTRL_D)
    assert first.end() == 0
    file = state / "rasteret-sql" / "history"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "very-secret" not in file.read_text()
    second = shell(tables=False)
    second.wait_line("rasteret>")
    second.type(UP)
    second.wait_for("       …> 2 AS b;")
    second.type(ENTER)
    second.wait_for("│ remember me │")


def test_ctrl_c_and_ctrl_d_at_the_prompt(shell):
    terminal = shell(tables=False)
    terminal.type("SELECT something")
    terminal.wait_for("something")
    terminal.type(CTRL_C)
    terminal.wait_line("rasteret>")
    assert "1 row" in "\n".join(terminal.run("SELECT 1;"))
    terminal.type(CTRL_D)
    assert terminal.end() == 0


def test_quit(shell):
    terminal = shell(tables=False)
    terminal.type(".quit", ENTER)
    assert terminal.end() == 0


def test_ctrl_c_stops_plain_sql_and_keeps_the_shell(shell):
    terminal = shell(tables=False)
    terminal.run("CREATE TABLE kept AS SELECT 7 AS seven;")
    terminal.type("SELECT count(*) FROM range(1000000000000);", ENTER)
    terminal.pump(1)
    terminal.type(CTRL_C)
    assert terminal.wait_for("interrupted") < 1.5
    assert "7" in "\n".join(terminal.run("FROM kept;"))


@pytest.fixture
def slow(tmp_path):
    """A workspace whose collection lies at a server that lets everyone wait; headers came from the files."""
    import rasteret_sql

    with RangeServer(data_dir(), latency_s=0.0) as server:
        workspace = tmp_path / "slow"
        rasteret_sql.build_from_table(records(server.url("").rstrip("/")), name="far", workspace=workspace, settings={"progress": False})
        server.latency_s = 6.0
        yield workspace


def test_ctrl_c_stops_a_read_that_waits_for_a_server(shell, slow):
    terminal = shell(RASTERET_WORKSPACE=slow, RASTERET_PROGRESS="true")
    terminal.type("SELECT id, B4 FROM rasteret_read(far, plots, bands := ['B4']);", ENTER)
    terminal.wait_for("requests")  # the line of progress
    time.sleep(0.5)
    terminal.type(CTRL_C)
    assert terminal.wait_for("interrupted") < 1.5
    assert re.search(r"│ +1 │", "\n".join(terminal.run("SELECT 1 AS a;")))


def test_a_database_file_keeps_what_the_user_made_and_nothing_of_ours(shell, tmp_path):
    file = tmp_path / "mine.duckdb"
    terminal = shell("shell", file)
    terminal.run("CREATE TABLE kept AS SELECT id, B4 FROM rasteret_sample(landsat, points, bands := ['B4']);")
    terminal.type(CTRL_D)
    assert terminal.end() == 0
    with duckdb.connect(str(file), read_only=True) as con:
        assert con.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [("kept",)]
        assert con.execute("SELECT count(*) FROM kept").fetchall()[0][0] > 5
        made = "SELECT function_name FROM duckdb_functions() WHERE NOT internal OR function_name LIKE '%rasteret%'"
        assert con.execute(made).fetchall() == []
    again = shell("shell", file, "--read-only", tables=False)
    assert "read-only" in " ".join(again.run("CREATE TABLE no AS SELECT 1;"))
    assert "kept" in "\n".join(again.run(".tables"))


def test_workspace_option(shell, tmp_path):
    terminal = shell("shell", "--workspace", tmp_path / "empty", tables=False)
    assert "0 rows" in "\n".join(terminal.run(".collections"))


def test_variables_of_the_program_are_no_tables(shell):
    terminal = shell(tables=False)
    for name in ("statement", "session", "batch", "answer"):
        assert "does not exist" in " ".join(terminal.run(f"FROM {name};"))


def test_what_steers_a_terminal_is_written_out(shell):
    terminal = shell(tables=False)
    shown = "\n".join(terminal.run(r"SELECT e'a\x1b[31mb\nc' AS evil;"))
    assert r"a\u001b[31mb\nc" in shown


def test_not_a_database(tmp_path, state):
    from tests.cli.running import run

    file = tmp_path / "other.db"
    with sqlite3.connect(file) as con:
        con.execute("CREATE TABLE a(i)")
    con.close()
    done = run("query", "SELECT 1", "--database", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("rasteret-sql: ")
    assert "Traceback" not in done.stderr
