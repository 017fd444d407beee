"""The command: help, version, the demo, and one line when something is wrong. Each in a process of its own, as users start it."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import duckdb
import pytest

import rasteret_sql
from rasteret_sql import __version__
from rasteret_sql.cli import main
from rasteret_sql.sample import PLOTS, POINTS, data_dir, records
from rasteret_sql.sql.quote import text
from tests.cli.running import run
from tests.collection.asking import rows


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo, run once with ``--keep``: what it said, how long it took, where it kept."""
    folder = tmp_path_factory.mktemp("kept") / "it's here"
    started = time.monotonic()
    done = run("demo", "--keep", str(folder))
    return done, time.monotonic() - started, folder


def test_help_and_version_need_nothing():
    """Not even DuckDB: they answer where it is missing."""
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("usage: rasteret-sql", "demo", "--version", "rasteret_functions()"):
        assert word in done.stdout
    assert run("--version").stdout == f"rasteret-sql {__version__}\n"
    assert run().stdout == done.stdout, "no command is a question for help"
    assert "--keep FOLDER" in run("demo", "--help").stdout


def test_the_installed_command():
    """The entry point of the package is this function."""
    from importlib.metadata import entry_points

    (command,) = entry_points(group="console_scripts", name="rasteret-sql")
    assert command.load() is main


def test_unknown_commands_and_options():
    for arguments in (["dmo"], ["demo", "--kep", "x"], ["--nonsense"]):
        done = run(*arguments)
        assert done.returncode == 2
        assert done.stdout == ""
        assert "Traceback" not in done.stderr


def test_the_demo_in_time(demo):
    done, seconds, _ = demo
    assert (done.returncode, done.stderr) == (0, "")
    assert seconds < 15


def test_the_demo_shows_its_figures(demo):
    """Requests and bytes, counted by the server: a small part of the files."""
    done, _, _ = demo
    (figures,) = re.findall(r"In all (\d+) requests and ([\d,]+) bytes in [\d.]+ s; the whole files are ([\d,]+) bytes\.", done.stdout)
    requests, fetched, whole = (int(figure.replace(",", "")) for figure in figures)
    assert whole == sum(file.stat().st_size for file in (data_dir() / "landsat").iterdir())
    assert 6 <= requests < 60
    assert 0 < fetched < whole
    assert duckdb.__version__ in done.stdout


def statements(output):
    """The SQL of each step as printed, between its title and its result."""
    return [step.partition("\n\n")[2].partition(";\n")[0] for step in output.split("\n── ")[1:]]


def test_the_printed_sql_runs(demo, tmp_path):
    """Every statement as a reader would copy it, on the same tables."""
    printed = statements(demo[0].stdout)
    assert len(printed) == 6
    with rasteret_sql.connect() as con:
        con.execute(f"SET VARIABLE rasteret_workspace = '{tmp_path}'").fetchall()
        con.register("scenes", records(str(data_dir())))
        for name, file in (("points", POINTS), ("plots", PLOTS)):
            con.execute(f"CREATE TABLE {name} AS FROM read_parquet('{data_dir() / file}')").fetchall()
        for statement in printed:
            assert re.match(r"(SELECT|FROM) ", statement), statement
            assert rows(con, statement), statement


def test_the_printed_python_runs(demo):
    """What it says to type next, but for the user's own file."""
    done, _, _ = demo
    typed = [line.strip().removeprefix(">>> ") for line in done.stdout.splitlines() if line.strip().startswith(">>> ")]
    sample = str(next((data_dir() / "landsat").glob("*B4.tif")))
    script = "\n".join(typed).replace("scene.tif", sample)
    shown = subprocess.run(
        [sys.executable, "-c", script + "\nprint(con.sql('FROM rasteret_collection(demo)').fetchall())"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert shown.returncode == 0, f"{script}\n{shown.stderr}"
    assert "LC08" in shown.stdout


def test_keep_leaves_a_collection_that_reads(demo):
    """After the demo's server is gone."""
    _, _, folder = demo
    assert [path.name for path in folder.iterdir() if not path.name.startswith(".")] == ["demo_records"]
    with rasteret_sql.connect() as con:
        con.execute(f"SET VARIABLE rasteret_workspace = {text(str(folder))}").fetchall()
        con.execute(f"CREATE TABLE points AS FROM read_parquet('{data_dir() / POINTS}')").fetchall()
        assert [(row["name"], row["records"]) for row in rows(con, "FROM rasteret_collections()")] == [("demo", 2)]
        found = rows(con, "SELECT status, B4 FROM rasteret_sample(demo, points, bands := ['B4'])")
        assert {row["status"] for row in found} == {"ok"}


def test_without_keep_nothing_is_left(tmp_path):
    done = run("demo", TMPDIR=str(tmp_path), HOME=str(tmp_path / "home"))
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


def check_one_line(done, *words):
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("rasteret-sql: ")
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("module", ["duckdb", "pyarrow", "imagecodecs", "pyproj", "aiohttp"])
def test_a_broken_environment_is_one_line(tmp_path, module):
    """A dependency that cannot be loaded: its own words, and what to do."""
    (tmp_path / f"{module}.py").write_text(f"raise ImportError('{module}: libfoo.so.3: cannot open shared object file')")
    check_one_line(run("demo", PYTHONPATH=str(tmp_path)), f"{module}: libfoo.so.3: cannot open shared object file", "pip install rasteret-sql")
    assert run("--help", PYTHONPATH=str(tmp_path)).returncode == 0
    assert run("--version", PYTHONPATH=str(tmp_path)).returncode == 0


def test_a_missing_module_is_one_line(tmp_path):
    (tmp_path / "duckdb.py").write_text("import nonsense_that_is_not_there")
    check_one_line(run("demo", PYTHONPATH=str(tmp_path)), "No module named 'nonsense_that_is_not_there'")


def test_a_folder_that_cannot_be_kept_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    check_one_line(run("demo", "--keep", str(tmp_path / "file")))
    check_one_line(run("demo", "--keep", str(tmp_path / "file" / "below")))


def test_bad_settings_are_one_line():
    check_one_line(run("demo", RASTERET_MAX_BYTES="lots"), "RASTERET_MAX_BYTES = 'lots' is not a whole number")


def test_a_reader_that_leaves(tmp_path):
    """``rasteret-sql demo | head -1``: no traceback."""
    done = subprocess.run(f"{sys.executable} -m rasteret_sql.cli demo | head -1", shell=True, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("Six real Landsat-8 files")
