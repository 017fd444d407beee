"""The command as users start it: in a process of its own, its output read, its exit status checked."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any
from unittest import mock

from rasteret_sql.cli.main import main

Runner = Callable[..., subprocess.CompletedProcess[str]]
"""How a command is run: :func:`run` or :func:`run_here`."""
MODULE = [sys.executable, "-W", "error", "-m", "rasteret_sql.cli"]


def environment(**more: Any) -> dict[str, str]:
    """No setting of the tester's own, no keys, but for what a test gives; nor ``CI``, where progress is not shown."""
    kept = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith(("RASTERET_", "AWS_"))}
    return kept | {"PYTHONIOENCODING": "utf-8", "COLUMNS": "120"} | {name: str(value) for name, value in more.items()}


def run(*arguments: Any, **more: Any) -> subprocess.CompletedProcess[str]:
    """The finished process; keyword arguments are environment variables."""
    command = [*MODULE, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", timeout=60, env=environment(**more), check=False, stdin=subprocess.DEVNULL
    )


def run_here(*arguments: Any, **more: Any) -> subprocess.CompletedProcess[str]:
    """The same in this process, which takes a moment less; for the many ways in which a command line can be wrong."""
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.dict(os.environ, environment(**more), clear=True), redirect_stdout(out), redirect_stderr(err):
        try:
            status = main(list(map(str, arguments)))
        except SystemExit as end:
            status = int(end.code or 0)
    return subprocess.CompletedProcess(list(arguments), status, out.getvalue(), err.getvalue())


def said(*arguments: Any, runner: Runner = run_here, **more: Any) -> str:
    """What a command that must succeed prints; nothing on stderr."""
    done = runner(*arguments, **more)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def told(*arguments: Any, **more: Any) -> Any:
    """The JSON of a command that must succeed."""
    return json.loads(said(*arguments, "--json", **more))


def refused(*arguments: Any, status: int = 1, runner: Runner = run_here, **more: Any) -> str:
    """The one line of a command that must fail, and nothing on stdout."""
    done = runner(*arguments, **more)
    assert (done.returncode, done.stdout) == (status, ""), done
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.endswith("\n")
    return done.stderr.rstrip("\n")
