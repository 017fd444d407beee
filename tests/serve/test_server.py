"""The server as a process: who is let in, what is refused, what is shown, how it ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
import warnings
from pathlib import Path

import duckdb
import pytest

from rasteret_sql.errors import InvalidArgument
from rasteret_sql.sample import PLOTS, data_dir
from rasteret_sql.serve.quack import EXTENSIONS, free_port
from tests.cli.running import refused, run
from tests.collection.tiffs import ORIGIN, records, write
from tests.serve.serving import Served, cli_command, cli_input, is_free, no_cli, no_quack
from tests.servers.faulty import Fault, FaultyServer

needs_quack = pytest.mark.skipif(no_quack() is not None, reason=no_quack() or "")
needs_cli = pytest.mark.skipif(no_cli() is not None, reason=no_cli() or "")
TOKEN = "a-token-with-'quotes'-\"and\"-$igns"


# -- without quack ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, object]:
    """An environment with neither wheels of the extensions nor a folder of installed ones, nor a network to get them from."""
    for name in EXTENSIONS:
        package = tmp_path / "shadow" / f"duckdb_extension_{name}"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
    return {"PYTHONPATH": f"{tmp_path / 'shadow'}{os.pathsep}{Path.cwd()}", "HOME": tmp_path, "HTTP_PROXY": "http://127.0.0.1:9"}


def test_without_the_extension(bare: dict[str, object]) -> None:
    said = refused("serve", "--port", "0", runner=run, **bare)
    version = re.escape(duckdb.__version__)
    assert re.match(rf"rasteret-sql: DuckDB's extension 'httpfs', which serve needs, cannot be loaded into DuckDB {version}: ", said)
    assert re.search(
        rf"; with internet, run INSTALL httpfs in DuckDB; without, pip install duckdb-extension-httpfs=={version} duckdb-extension-quack=={version}, ",
        said,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--host", "0.0.0.0"],
            r"--host 0\.0\.0\.0 lets other machines in: whoever has the token can run any SQL in this process, .* say --allow-remote too",
        ),
        (["--host", "127.0.0.2"], r"--host 127\.0\.0\.2 lets other machines in"),
        (["--read-only"], r"--read-only is about a database file: say which with --database FILE"),
        (["--token", "hunter2"], r"--token is not valid: 16 or more letters"),
        (["--token", "a token with spaces in it"], r"--token is not valid"),
        (["--token", "x" * 20, "--token-file", "f"], r"give --token or --token-file, not both"),
        (["--token-file", "/no/such/file"], r"No such file or directory: /no/such/file"),
    ],
)
def test_refused_before_anything_is_opened(arguments: list[str], message: str) -> None:
    said = refused("serve", *arguments)
    assert re.search(message, said), said
    assert "hunter2" not in said


def test_a_bad_port() -> None:
    assert "'70000' is no port; a whole number up to 65535 is" in refused("serve", "--port", "70000", status=2)


def test_a_token_from_the_environment_is_checked_and_not_shown() -> None:
    said = refused("serve", RASTERET_SERVE_TOKEN="hunter2")
    assert "RASTERET_SERVE_TOKEN is not valid" in said
    assert "hunter2" not in said


def test_a_token_file_that_others_may_read(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("x" * 32)
    file.chmod(0o640)
    assert refused("serve", "--token-file", file) == f"rasteret-sql: others may read {file}, which holds the token; type: chmod 600 {file}"


def test_a_database_that_cannot_be_opened(tmp_path: Path) -> None:
    file = tmp_path / "no.duckdb"
    file.write_text("no database " * 400)
    assert re.match(rf"rasteret-sql: the database '{file}' cannot be opened: ", refused("serve", "--port", "0", "--database", file))


# -- who is let in ------------------------------------------------------------------------------------------------------------------


@needs_cli
def test_a_wrong_token_is_refused(server: Served, tmp_path: Path) -> None:
    script = tmp_path / "client.sql"
    script.write_text(server.script.read_text().replace(server.token, "another-token-of-the-same-kind"))
    done = server.cli("FROM rasteret_functions()", script=script)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Invalid Input Error: Authentication failed" in done.stderr
    with server.python() as con, pytest.raises(duckdb.InvalidInputException, match="Authentication failed"):
        con.execute(f"FROM quack_query('{server.uri}', 'SELECT 1', token := 'another-token-of-the-same-kind')").fetchall()
    script.write_text("\n".join(line for line in server.script.read_text().splitlines() if "TOKEN" not in line))
    done = server.cli("FROM rasteret_functions()", script=script)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Could not find a Quack authentication token" in done.stderr


@needs_cli
@pytest.mark.parametrize("how", ["--token", "--token-file", "environment"])
def test_a_token_of_ones_own(how: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(f"{TOKEN}\n")
    arguments, more = {
        "--token": (["--token", TOKEN], {}),
        "--token-file": (["--token-file", file], {}),
        "environment": ([], {"RASTERET_SERVE_TOKEN": TOKEN}),
    }[how]
    with Served(tmp_path, *arguments, **more) as server:
        assert f"TOKEN {duckdb_text(TOKEN)}" in server.script.read_text()
        assert server.rows("SELECT count(*) > 9 AS found FROM rasteret_functions()") == [{"found": True}]
        assert TOKEN not in server.out + server.err


def duckdb_text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


@needs_quack
def test_tokens_are_random_and_shown_to_nobody(server: Served, tmp_path: Path) -> None:
    with Served(tmp_path) as other:
        assert other.token != server.token
        assert min(len(other.token), len(server.token)) >= 43  # 256 bits
        for running in (server, other):
            assert running.token not in running.out + running.err
            assert running.token not in Path(f"/proc/{running.process.pid}/cmdline").read_text()


@needs_quack
def test_the_token_is_not_in_duckdbs_log(tmp_path: Path) -> None:
    """The statement that starts to serve is in the query log of who turned that on."""
    import rasteret_sql
    from rasteret_sql.serve.quack import free_port, load_extensions, start, stop
    from rasteret_sql.serve.script import Address

    with rasteret_sql.connect() as con:
        load_extensions(con)
        con.execute("CALL enable_logging('QueryLog')").fetchall()
        address = Address("127.0.0.1", free_port("127.0.0.1", 0))
        start(con, address, TOKEN)
        assert stop(con, address) == 0
        log = str(con.execute("SELECT message FROM duckdb_logs").fetchall())
    assert "quack_serve" in log
    assert "a-token-with" not in log


# -- files --------------------------------------------------------------------------------------------------------------------------


@needs_quack
def test_the_script_is_private_from_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "client.sql").write_text("old")
    (tmp_path / "client.sql").chmod(0o644)
    with Served(tmp_path) as server:
        assert stat.S_IMODE(server.script.stat().st_mode) == 0o600
        assert server.stopped(signal.SIGTERM) == 0
    assert "TOKEN" in server.script.read_text()  # it was asked for; it stays
    assert not list(tmp_path.glob("rasteret-serve-*"))


@needs_cli
def test_without_a_file_asked_for_there_is_one_while_it_serves(tmp_path: Path) -> None:
    with Served(tmp_path, client=None, TMPDIR=tmp_path) as server:
        (file,) = tmp_path.glob("rasteret-serve-*.sql")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        line = re.search(r"^  duckdb CLI   (\.read .*)$", server.out, re.MULTILINE)
        assert line
        done = subprocess.run(
            [*cli_command(), "-csv"],
            input=f"{line[1]}\nSELECT 6 * 7 AS n FROM rasteret_io();\nSELECT count(*) FROM rasteret_functions() WHERE name = 'rasteret_io';\n",
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert done.stdout.endswith("count_star()\n1\n")
        python = re.search(r"^  Python       (con\.execute.*)$", server.out, re.MULTILINE)
        assert python
        with duckdb.connect() as con:
            with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # what people paste leaves the file to be closed by itself
                eval(python[1], {"con": con}).fetchall()
            assert con.execute("SELECT count(*) FROM rasteret_functions() WHERE name = 'rasteret_io'").fetchall() == [(1,)]
        assert server.stopped(signal.SIGTERM) == 0
    assert not list(tmp_path.glob("rasteret-serve-*"))


@needs_quack
def test_printed_instead(tmp_path: Path) -> None:
    with Served(tmp_path, "--client", "-", client=None, TMPDIR=tmp_path) as server:
        until = time.monotonic() + 20
        while "CREATE OR REPLACE TEMP MACRO rasteret_value" not in server.out and time.monotonic() < until:
            time.sleep(0.05)
        with duckdb.connect() as con:
            con.execute(server.out).fetchall()
            assert con.execute("SELECT count(*) FROM rasteret_functions() WHERE name = 'rasteret_io'").fetchall() == [(1,)]
        assert "TOKEN" not in server.err
        assert not list(tmp_path.glob("rasteret-serve-*"))


# -- ports and hosts ----------------------------------------------------------------------------------------------------------------


@needs_quack
def test_a_port_in_use(server: Served) -> None:
    """By a server of ours: quack itself would share the port with it. And by any other."""
    said = refused("serve", "--port", server.port, runner=run)
    ends = "Address already in use; choose another with --port, or --port 0 for any that is free"
    assert said == f"rasteret-sql: cannot listen on 127.0.0.1, port {server.port}: {ends}"
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(InvalidArgument, match=re.escape(ends)):
        free_port("127.0.0.1", other.getsockname()[1])
    with pytest.raises(InvalidArgument, match="cannot listen on no.such.host.invalid, port 0: "):
        free_port("no.such.host.invalid", 0)


@needs_cli
def test_another_address_when_told_so(tmp_path: Path) -> None:
    """127.0.0.2 is no local host to quack: the client must be told that there is no TLS. Its extensions come from files of this machine by hand."""
    with Served(tmp_path, "--host", "127.0.0.2", "--allow-remote") as server:
        assert server.uri.startswith("quack:127.0.0.2:")
        lines = server.script.read_text().splitlines()
        assert [line for line in lines if "httpfs" in line or " quack;" in line] == [
            "INSTALL httpfs;",
            "LOAD httpfs;",
            "INSTALL quack;",
            "LOAD quack;",
        ]
        from rasteret_sql.serve.quack import _wheel

        loads = [f"LOAD '{_wheel(name)}';" for name in EXTENSIONS]
        server.script.write_text("\n".join([*loads, *(line for line in lines if not line.startswith(("INSTALL", "LOAD")))]))
        assert server.rows("SELECT count(*) AS n FROM rasteret_functions() WHERE name = 'rasteret_io'") == [{"n": 1}]
        assert server.rows("CREATE TABLE rasteret_server.t AS SELECT 7 AS a; FROM rasteret_server.t") == [{"a": 7}]


@needs_quack
def test_an_address_that_clients_see(tmp_path: Path) -> None:
    with Served(tmp_path, "--address", "data.example.org:443") as server:
        script = server.script.read_text()
        assert "ATTACH 'quack:data.example.org:443' AS rasteret_server (TYPE quack);" in script
        assert server.uri.startswith("quack:127.0.0.1:")
    assert "--address a b is not valid; HOST or HOST:PORT is" in refused("serve", "--port", "0", "--address", "a b", runner=run)


# -- the end ------------------------------------------------------------------------------------------------------------------------


@needs_cli
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_it_stops_and_frees_its_port(number: int, status: int, tmp_path: Path) -> None:
    """With a client attached. What was sent to its database file is there afterwards."""
    database = tmp_path / "tables.duckdb"
    with Served(tmp_path, "--database", database) as server, server.python() as con:
        con.execute("CREATE TABLE rasteret_server.kept AS FROM range(3)").fetchall()
        assert con.execute("SELECT count(*) FROM rasteret_functions() WHERE name = 'rasteret_io'").fetchall() == [(1,)]
        assert not is_free(server.port)
        assert server.stopped(number) == status
        assert is_free(server.port)
        assert server.err.splitlines()[1:] == ["rasteret-sql: stopped"]
        with pytest.raises(duckdb.IOException, match="Could not connect to server"):
            con.execute("FROM rasteret_functions()").fetchall()
        with Served(tmp_path, port=server.port) as again:  # at once, on the same port
            assert again.port == server.port
    with duckdb.connect(str(database), read_only=True) as con:
        assert con.execute("FROM kept").fetchall() == [(0,), (1,), (2,)]
        assert con.execute("SELECT count(*) FROM duckdb_functions() WHERE function_name LIKE '%rasteret%'").fetchall() == [(0,)]


@needs_cli
def test_a_read_ends_with_the_server(tmp_path: Path) -> None:
    """It waits for a server that says nothing; the client is told."""
    place = f"(SELECT {ORIGIN[0] + 1.0} AS x, {ORIGIN[1] - 1.0} AS y)"
    path = write(tmp_path / "a.tif")
    with FaultyServer(path.read_bytes()) as images, Served(tmp_path, RASTERET_WORKSPACE=tmp_path / "workspace") as server:
        import rasteret_sql

        rasteret_sql.build_from_table(
            records({"a": images.url("/a.tif")}),
            name="c",
            href_column="href",
            band_index_map={"b": 0},
            workspace=tmp_path / "workspace",
            settings={"progress": False},
        )
        images.script("/a.tif", forever=Fault(send=10, end="hang"))
        asked = len(images.requests)
        client = subprocess.Popen([*cli_command(), "-json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            client.stdin.write(cli_input(server.script, f"FROM rasteret_sample('c', '{place}', x := 'x', y := 'y', geometry_crs := 'EPSG:32633')"))
            client.stdin.flush()
            until = time.monotonic() + 30
            while len(images.requests) == asked:
                assert time.monotonic() < until, client.poll()
                time.sleep(0.05)
            began = time.monotonic()
            assert server.stopped() == 130
            assert time.monotonic() - began < 10
            _, told = client.communicate(timeout=30)
            assert "Error" in told
        finally:
            client.kill()
            client.communicate()
    assert "rasteret-sql: stopped" in server.err


@needs_quack
def test_a_statement_without_reads_is_cut_short(tmp_path: Path) -> None:
    with Served(tmp_path) as server, server.python() as con:
        import threading

        def ask() -> None:
            with pytest.raises(duckdb.Error):
                con.execute(
                    "FROM rasteret_server.query('SELECT count(*) FROM range(1000000) a, range(10000000) b WHERE (a.range * b.range) % 7 = 3')"
                ).fetchall()

        asking = threading.Thread(target=ask)
        asking.start()
        with server.python() as other:
            until = time.monotonic() + 30
            while not other.execute(
                "FROM rasteret_server.query('SELECT 1 FROM quack_active_connections() WHERE query LIKE ''%b.range%7 = 3''')"
            ).fetchall():
                assert time.monotonic() < until
        assert server.stopped(signal.SIGTERM) == 0
        asking.join(30)
        assert not asking.is_alive()
    assert server.err.splitlines()[1:] == ["rasteret-sql: stopped; statements cut short: 1"]


# -- databases ----------------------------------------------------------------------------------------------------------------------


@needs_cli
def test_a_file_for_reading_only(tmp_path: Path, collections: Path) -> None:
    database = tmp_path / "rasteret.duckdb"  # which is the name of our own catalog, too
    with duckdb.connect(str(database)) as con:
        con.execute(f"CREATE TABLE mine AS FROM '{data_dir() / PLOTS}'").fetchall()
    before = database.read_bytes()
    with Served(tmp_path, "--database", database, "--read-only", "--workspace", collections) as server:
        assert server.rows("SELECT count(*) AS n FROM rasteret_server.mine") == [{"n": 4}]
        assert server.rows("SELECT count(*) AS n FROM rasteret_zonal(landsat, mine, bands := ['B4'], stats := ['mean'])") == [{"n": 7}]
        done = server.cli("CREATE TABLE rasteret_server.more AS SELECT 1 AS a")
        assert "read-only mode" in done.stderr
        file = tmp_path / "plots.parquet"  # the way in that is left: a file, or a subquery
        shutil.copyfile(data_dir() / PLOTS, file)
        assert server.rows(f"SELECT count(*) AS n FROM rasteret_zonal(landsat, '{file}', bands := ['B4'], stats := ['mean'])") == [{"n": 7}]
    assert database.read_bytes() == before


@needs_quack
def test_a_database_that_another_process_has(tmp_path: Path) -> None:
    database = tmp_path / "tables.duckdb"
    with Served(tmp_path, "--database", database):
        said = refused("serve", "--port", "0", "--database", database, runner=run)
        assert re.match(rf"rasteret-sql: the database '{database}' cannot be opened: IO Error: ", said)
