"""The commands that begin with a dot."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rasteret_sql.errors import InvalidArgument, listing, near
from rasteret_sql.shell import costs, guide
from rasteret_sql.shell.boxes import box
from rasteret_sql.shell.interpreter import Interpreter, Left
from rasteret_sql.shell.results import MODES
from rasteret_sql.sql.quote import text

_OWN_CATALOGS = "('rasteret', 'rasteret_sql', 'system')"


@dataclass(frozen=True, slots=True)
class DotCommand:
    """``.name ARGUMENTS``."""

    arguments: str
    help: str
    do: Callable[[Interpreter, list[str]], None]
    least: int = 0
    most: int = 0


def run_command(shell: Interpreter, line: str) -> None:
    """Do a line such as ``.mode csv``. Raises InvalidArgument with what would be right."""
    try:
        name, *arguments = shlex.split(line.rstrip().removesuffix(";"), posix=True)
    except ValueError:
        raise InvalidArgument(f"{line}: a quote is not closed") from None
    found = COMMANDS.get(_ALSO.get(name, name))
    if found is None:
        raise InvalidArgument(f"no command {name}{near(name, COMMANDS)}; commands: {listing(COMMANDS)}")
    if not found.least <= len(arguments) <= found.most:
        raise InvalidArgument(f"type: {name} {found.arguments}".rstrip())
    found.do(shell, arguments)


def _help(shell: Interpreter, arguments: list[str]) -> None:
    if not arguments:
        width = max(len(f"{name} {command.arguments}") for name, command in COMMANDS.items())
        lines = [f"{f'{name} {command.arguments}'.ljust(width)}  {command.help}" for name, command in COMMANDS.items()]
        shell.out.write("\n".join([*lines, "", *guide.overview(), ""]))
        return
    (asked,) = arguments
    if (dotted := f".{asked.lstrip('.')}") in COMMANDS:
        command = COMMANDS[dotted]
        shell.out.write(f"{f'{dotted} {command.arguments}'.rstrip()}\n{command.help}\n")
        return
    shell.out.write(f"{guide.function(asked, shell.shape.width)}\n")


def _tables(shell: Interpreter, arguments: list[str]) -> None:
    like = f"AND name LIKE {text(arguments[0])}" if arguments else ""
    shell.look(
        "SELECT database_name AS database, schema_name AS schema, name, kind, columns FROM ("
        "SELECT database_name, schema_name, table_name AS name, 'table' AS kind, column_count AS columns, internal FROM duckdb_tables() UNION ALL "
        "SELECT database_name, schema_name, view_name, 'view', column_count, internal FROM duckdb_views()) "
        f"WHERE NOT internal AND database_name NOT IN {_OWN_CATALOGS} {like} ORDER BY ALL"
    )


def _collections(shell: Interpreter, arguments: list[str]) -> None:
    del arguments
    shell.look("SELECT name, records, bands, first, last, source FROM rasteret_collections() ORDER BY name")


def _bands(shell: Interpreter, arguments: list[str]) -> None:
    shell.look(f"FROM rasteret_bands({text(arguments[0])})")


def _read(shell: Interpreter, arguments: list[str]) -> None:
    try:
        shell.file(arguments[0])
    except OSError as error:
        raise InvalidArgument(f"{arguments[0]}: {error.strerror}") from None


def _output(shell: Interpreter, arguments: list[str]) -> None:
    try:
        shell.send_to(arguments[0] if arguments else None)
    except OSError as error:
        raise InvalidArgument(f"{arguments[0]}: {error.strerror}") from None


def _mode(shell: Interpreter, arguments: list[str]) -> None:
    if not arguments:
        shell.say(shell.mode)
        return
    if arguments[0] not in MODES:
        raise InvalidArgument(f"no mode {arguments[0]!r}{near(arguments[0], MODES)}; modes: {listing(MODES)}")
    shell.mode = arguments[0]


def _max_rows(shell: Interpreter, arguments: list[str]) -> None:
    if not arguments[0].isdecimal() or int(arguments[0]) < 2:
        raise InvalidArgument(f"{arguments[0]!r} is no number of rows; a whole number from 2 is")
    shell.max_rows = int(arguments[0])


def _timer(shell: Interpreter, arguments: list[str]) -> None:
    if arguments[0] not in {"on", "off"}:
        raise InvalidArgument("type: .timer on, or .timer off")
    shell.timer = arguments[0] == "on"


def _io(shell: Interpreter, arguments: list[str]) -> None:
    del arguments
    if not shell.last_reads:
        shell.say("the last statement read no imagery")
        return
    shell.out.write(box(costs.columns(shell.last_reads), len(shell.last_reads), shell.shape.width) + "\n")
    shell.say(shell.last_cost)


def _quit(shell: Interpreter, arguments: list[str]) -> None:
    del shell, arguments
    raise Left


COMMANDS: Mapping[str, DotCommand] = {
    ".help": DotCommand("[NAME]", "this list; or all about a function: .help rasteret_sample", _help, 0, 1),
    ".tables": DotCommand("[PATTERN]", "tables and views; PATTERN as in LIKE", _tables, 0, 1),
    ".collections": DotCommand("", "the collections of the workspace", _collections),
    ".bands": DotCommand("NAME", "the bands of a collection, or of a GeoTIFF by path or URL", _bands, 1, 1),
    ".read": DotCommand("FILE", "run the statements of a file; it ends at the first error", _read, 1, 1),
    ".output": DotCommand("[FILE]", "results go to a file; without FILE, here again", _output, 0, 1),
    ".mode": DotCommand("[MODE]", f"how results look: {', '.join(MODES)}", _mode, 0, 1),
    ".maxrows": DotCommand("N", "rows that a box shows", _max_rows, 1, 1),
    ".timer": DotCommand("on|off", "say after every statement how long it took", _timer, 1, 1),
    ".io": DotCommand("", "what the last statement read: requests, bytes, tiles", _io),
    ".quit": DotCommand("", "leave; so does Ctrl-D", _quit),
}
_ALSO = {".exit": ".quit", ".q": ".quit", ".h": ".help"}
