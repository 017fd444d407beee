"""``rasteret-sql`` and ``rasteret-sql shell``: the prompt on a terminal, statements from stdin otherwise."""

from __future__ import annotations

import os
import stat
import sys
from argparse import Namespace
from collections.abc import Iterable
from typing import Any

from rasteret_sql.cli.arguments import Commands, Parser, command
from rasteret_sql.errors import InvalidArgument, RasteretError


def add_to(commands: Commands[Any]) -> None:
    shell = command(
        commands,
        "shell",
        "an interactive SQL shell with all functions, as is rasteret-sql alone; statements from stdin where that is no terminal",
        ["shell", "shell plots.duckdb", "shell plots.duckdb --read-only --workspace collections"],
        run=run_shell,
    )
    shell.add_argument("database", nargs="?", metavar="FILE", help="a DuckDB database; without one, everything is in memory")
    add_database(shell)


def add_database(parser: Parser) -> None:
    """How a database is opened, and where collections are."""
    parser.add_argument("--read-only", action="store_true", help="open the database so that it cannot be changed")
    parser.add_argument("--workspace", metavar="FOLDER", help="folder of the collections (RASTERET_WORKSPACE, else ~/rasteret_workspace)")


def run_bare(arguments: Namespace) -> bool:
    """``rasteret-sql`` without a command: the shell on a terminal, a script from a pipe or file. False where stdin is neither."""
    if not (on_terminal() or _has_script()):
        return False
    run_shell(Namespace(**vars(arguments), database=None, read_only=False, workspace=None))
    return True


def run_shell(arguments: Namespace) -> None:
    """Raises RasteretError at the first error of a script, KeyboardInterrupt where it was interrupted."""
    if arguments.read_only and arguments.database is None:
        raise InvalidArgument("--read-only needs the FILE of a database")
    if on_terminal():
        _interact(arguments)
    else:
        _run_lines(sys.stdin, arguments)


def on_terminal() -> bool:
    """Is there somebody to ask?"""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()


def _has_script() -> bool:
    """Is stdin a pipe or a file? ``/dev/null`` is neither."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def _interact(arguments: Namespace) -> None:
    try:
        from rasteret_sql.shell.prompt import interact  # noqa: PLC0415 - an extra, and DuckDB
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "prompt_toolkit":
            raise
        raise RasteretError("the interactive shell needs prompt_toolkit: pip install 'rasteret-sql[shell]'; scripts need nothing more") from None
    from rasteret_sql.shell.session import Session  # noqa: PLC0415 - DuckDB

    session = Session(arguments.database, read_only=arguments.read_only, workspace=arguments.workspace)
    try:
        interact(session, arguments.database)
    finally:
        session.close()


def _run_lines(lines: Iterable[str], arguments: Namespace) -> None:
    from rasteret_sql.shell.commands import run_command  # noqa: PLC0415 - DuckDB
    from rasteret_sql.shell.interpreter import Interpreter, run_script  # noqa: PLC0415
    from rasteret_sql.shell.session import Session  # noqa: PLC0415

    session = Session(arguments.database, read_only=arguments.read_only, workspace=arguments.workspace)
    try:
        run_script(Interpreter(session, run_command, interactive=False), lines)
    finally:
        session.close()
