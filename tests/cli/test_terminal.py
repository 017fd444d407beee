"""On a terminal: progress, questions, Ctrl-C; and what is loaded when nothing needs to be."""

from __future__ import annotations

import os
import pty
import select
import shlex
import signal
import socket
import subprocess
import sys
import time

import pytest

from rasteret_sql.cli.arguments import joined
from rasteret_sql.cli.main import parser
from tests.cli.conftest import BOX
from tests.cli.running import MODULE, environment, run, run_here
from tests.collection.tiffs import write
from tests.servers.ranged import RangeServer


def on_terminal(command, answer=None, **more):
    """(status, stdout, what the terminal showed): stderr, and stdin where there is an answer, are a pseudo-terminal."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*MODULE, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=follower,
        stdin=follower if answer else subprocess.DEVNULL,
        env=environment(**more),
    )
    os.close(follower)
    shown, until = b"", time.monotonic() + 60
    try:
        while time.monotonic() < until:
            if not select.select([leader], [], [], 0.1)[0]:
                if process.poll() is not None:
                    break
                continue
            try:
                part = os.read(leader, 65536)
            except OSError:  # Linux: the other side is closed
                break
            shown += part
            if answer and b"[y/N]" in shown:
                os.write(leader, answer)
                answer = None
            if not part:
                break
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        os.close(leader)
    return process.returncode, out.decode(), shown.decode()


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """Forty files at a server that takes its time, and a table that names them."""
    folder = tmp_path_factory.mktemp("slow")
    write(folder / "a.tif")
    with RangeServer(folder, latency_s=0.3) as server:
        lines = [f"{number},{server.url('a.tif')}?n={number}" for number in range(40)]
        (folder / "files.csv").write_text("\n".join(["id,href", *lines]))
        yield folder / "files.csv"


def test_progress_on_a_terminal_alone(slow, workspace):
    command = ["collections", "build", slow, "--name", "c", "--href-column", "href", "--json"]
    settings = {"RASTERET_WORKSPACE": workspace, "RASTERET_MAX_CONCURRENCY": 4}
    status, out, shown = on_terminal(command, **settings)
    assert status == 0
    assert '"records": 40' in out
    assert "MB/s" not in out
    assert " of 40 files " in shown
    assert "MB/s" in shown
    assert shown.endswith("\r\033[J"), "the line is left on the screen"
    piped = run(*command, "--force", **settings)
    assert (piped.returncode, piped.stderr) == (0, "")
    quiet = on_terminal([*command, "--force"], **settings, RASTERET_PROGRESS="false")
    assert (quiet[0], quiet[2]) == (0, "")


@pytest.mark.parametrize(("answer", "left"), [(b"y\n", 0), (b"yes\n", 0), (b"n\n", 1), (b"\n", 1), (b"\x04", 1)])
def test_delete_asks(built, answer, left):
    status, out, shown = on_terminal(["collections", "delete", "s2"], answer, RASTERET_WORKSPACE=built)
    assert f"remove 's2' ({built}/s2_stac)? [y/N] " in shown
    assert len([path for path in built.iterdir() if not path.name.startswith(".")]) == left
    if not left:
        assert (status, out) == (0, f"removed s2 ({built}/s2_stac)\n")
    else:
        assert (status, out) == (1, "")
        assert "rasteret-sql: nothing was removed" in shown


def test_ctrl_c_ends_it_at_once(workspace):
    """While a server does not answer: exit status 130, in a moment, without a word."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        api = f"earthsearch=http://127.0.0.1:{silent.getsockname()[1]}/v1"
        command = [*MODULE, "build", "earthsearch/sentinel-2-l2a", "--name", "x", "--bbox", BOX, "--dates", "2024"]
        env = environment(RASTERET_STAC_ENDPOINTS=api, RASTERET_WORKSPACE=workspace)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
        connection, _ = silent.accept()
        with connection:
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
            assert (process.returncode, out, err) == (130, "", "")
            assert time.monotonic() - began < 3


def test_ctrl_c_while_headers_are_read(slow, workspace):
    """What was built before stays; the next build goes on."""
    settings = {"RASTERET_WORKSPACE": workspace, "RASTERET_MAX_CONCURRENCY": 1}
    command = [*MODULE, "collections", "build", str(slow), "--name", "c", "--href-column", "href"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(**settings))
    until = time.monotonic() + 30
    while not list(workspace.glob(".c.lock")) and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.3)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "")
    assert time.monotonic() - began < 3
    assert list(workspace.glob("c_*")) == []


HEAVY = ("duckdb", "pyarrow", "numpy", "aiohttp", "asyncio", "shapely", "pyproj", "imagecodecs", "rasterio")


def test_help_loads_nothing_heavy():
    script = (
        "import sys\nfrom rasteret_sql.cli import main\n"
        "for words in ('--help', '--version', '', 'build --help', 'collections build --help', 'nonsense', 'build --name x'):\n"
        "    try:\n        main(words.split())\n    except SystemExit:\n        pass\n"
        "sys.exit(', '.join(set(sys.argv[1].split(',')) & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", script, ",".join(HEAVY)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"loaded: {done.stderr}"
    assert done.stdout.count("usage: rasteret-sql") == 4


def test_importing_the_package_loads_nothing_heavy_and_builds_no_duckdb():
    script = "import sys, rasteret_sql\nprint(sorted(set({0!r}) & set(sys.modules)))\nrasteret_sql.build\nprint('duckdb' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script.format(HEAVY)], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\nFalse\n"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["demo"],
        ["build"],
        ["doctor"],
        ["datasets"],
        *(["datasets", name] for name in ("list", "info", "register-local", "unregister-local", "export-local")),
        ["collections"],
        *(["collections", name] for name in ("list", "info", "build", "import", "export", "delete")),
    ],
    ids=" ".join,
)
def test_every_help_has_an_example_that_parses(words):
    """Each line under “examples” is a command line that is understood."""
    done = run_here(*words, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    examples = [line.strip() for line in done.stdout.split("examples:\n")[1].splitlines() if line.startswith("  rasteret-sql ")]
    assert examples
    for example in examples:
        arguments, unknown = parser().parse_known_args(joined(shlex.split(example)[1:]))
        assert unknown == []
        assert arguments.run is not None
