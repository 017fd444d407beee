"""``rasteret-sql serve`` in a process of its own, and the real ``duckdb`` CLI as its client."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import duckdb

from rasteret_sql.serve.quack import EXTENSIONS, _wheel
from tests.cli.running import MODULE, environment

MARK = "==== results ===="


def no_quack() -> str | None:
    """Why nothing can be served here, if so."""
    if all(map(_wheel, EXTENSIONS)):
        return None
    return f"no wheels of httpfs and quack for DuckDB {duckdb.__version__}"


def no_cli() -> str | None:
    """Why the duckdb CLI cannot be a client here, if so: it must be of the version that the extensions are for."""
    if why := no_quack():
        return why
    program = cli_program()
    if program is None:
        return "no duckdb CLI (pip install duckdb-cli)"
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout.split()[0]
    return None if version == f"v{duckdb.__version__}" else f"the duckdb CLI is {version}, the extensions are for v{duckdb.__version__}"


def cli_program() -> str | None:
    """The program itself: what the wheel puts among Python's programs is a script around it, which signals would end alone."""
    wheel = importlib.util.find_spec("duckdb_cli")
    inside = Path(wheel.origin).parent / "duckdb" if wheel and wheel.origin else None
    if inside and inside.exists():
        return str(inside)
    return shutil.which("duckdb", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


class Served:
    """A server that runs: ``with Served(workspace, script) as server``. What it wrote is in files, so that nothing blocks it."""

    def __init__(self, folder: Path, *arguments: Any, client: str | None = "client.sql", port: int = 0, **more: Any) -> None:
        self.script = folder / (client or "nothing")
        asked = ["--client", self.script] if client else []
        self.files = [folder / "stdout.txt", folder / "stderr.txt"]
        command = [*MODULE, "serve", "--port", str(port), *map(str, [*asked, *arguments])]
        self.command = command
        with self.files[0].open("wb") as out, self.files[1].open("wb") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=environment(**more))

    @property
    def out(self) -> str:
        return self.files[0].read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return self.files[1].read_text(encoding="utf-8")

    def __enter__(self) -> Self:
        until = time.monotonic() + 60
        while " at quack:" not in self.err:
            if self.process.poll() is not None or time.monotonic() > until:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"it does not serve: {self.err}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(30)

    @property
    def uri(self) -> str:
        found = re.search(r" at (quack:\S+);", self.err)
        assert found, self.err
        return found[1]

    @property
    def port(self) -> int:
        return int(self.uri.rpartition(":")[2])

    @property
    def token(self) -> str:
        found = re.search(r"TOKEN '([^']+)'", self.script.read_text(encoding="utf-8"))
        assert found
        return found[1]

    def stopped(self, number: int = signal.SIGINT) -> int:
        """The exit status after a signal."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def cli(self, sql: str, *, script: Path | None = None, database: Path | None = None) -> subprocess.CompletedProcess[str]:
        """What the duckdb CLI says: stdout without what the script itself says, which is on stderr if it fails."""
        done = subprocess.run(
            [*cli_command(database), "-json"],
            input=cli_input(script or self.script, sql),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            env=environment(),
            check=False,
        )
        before, mark, after = done.stdout.partition(f"{MARK}\n")
        assert mark, (before, done.stderr)
        return subprocess.CompletedProcess(done.args, done.returncode, after, done.stderr)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """The rows of one statement, asked for by the CLI."""
        done = self.cli(sql)
        assert not done.stderr, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
        return found

    def python(self) -> duckdb.DuckDBPyConnection:
        """DuckDB in Python as a client, which knows nothing of our package."""
        con = duckdb.connect()
        con.execute(self.script.read_text(encoding="utf-8")).fetchall()
        return con


def cli_command(database: Path | None = None) -> Sequence[str]:
    program = cli_program()
    assert program
    return [program, "-no-init", *([str(database)] if database else [])]


def cli_input(script: Path, sql: str) -> str:
    return f".read '{script}'\n.print {MARK}\n{sql.rstrip().rstrip(';')};\n"


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
