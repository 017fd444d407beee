"""``rasteret-sql query``: statements for scripts; the result of the last one that has rows goes to stdout or a file."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rasteret_sql.cli.arguments import Commands, command, count
from rasteret_sql.cli.shell import add_database
from rasteret_sql.errors import InvalidArgument

if TYPE_CHECKING:
    from rasteret_sql.shell.query import Request

FORMATS = ("table", "csv", "json", "jsonl", "parquet", "arrow")
_BYTES = ("parquet", "arrow")
_BY_SUFFIX = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".arrow": "arrow", ".arrows": "arrow"}


def add_to(commands: Commands[Any]) -> None:
    query = command(
        commands,
        "query",
        "run SQL statements with all functions and print the last result",
        [
            """query "FROM rasteret_collections()" """.rstrip(),
            """query "SELECT id, B4 FROM rasteret_sample(landsat, 'points.parquet', bands := ['B4'])" --format csv""",
            "query --file statements.sql --database plots.duckdb --output values.parquet",
        ],
        run=_run,
    )
    query.add_argument("sql", nargs="?", metavar="SQL", help="one or more statements; - reads them from stdin")
    query.add_argument("--file", metavar="FILE", help="a file of statements, in the place of SQL; - is stdin")
    query.add_argument("--database", metavar="FILE", help="a DuckDB database; without one, everything is in memory")
    add_database(query)
    query.add_argument("--format", choices=FORMATS, help="of the result; by the ending of --output, else table")
    query.add_argument("--output", metavar="FILE", help="write the result to a file, which appears when it is whole; - is stdout")
    query.add_argument("--max-rows", type=count, default=40, metavar="N", help="rows that a table shows (40); other formats have all rows")


def _run(arguments: Namespace) -> None:
    """Raises RasteretError; KeyboardInterrupt where it was interrupted."""
    request_of = _request(arguments)
    from rasteret_sql.shell.query import run_query  # noqa: PLC0415 - `--help` and mistakes need no DuckDB

    run_query(request_of)


def _request(arguments: Namespace) -> Request:
    if (arguments.sql is None) == (arguments.file is None):
        arguments.parser.error("give the statements: as SQL in quotes, as --file FILE, or as - for stdin")
    if arguments.read_only and arguments.database is None:
        arguments.parser.error("--read-only needs --database FILE")
    output = None if arguments.output in (None, "-") else Path(arguments.output).expanduser()
    form = arguments.format or (_BY_SUFFIX.get(output.suffix.lower(), "table") if output else "table")
    if form in _BYTES and output is None and sys.stdout.isatty():
        arguments.parser.error(f"{form} is no text for a terminal: add --output FILE, or send it to a program")
    from rasteret_sql.shell.query import Request  # noqa: PLC0415 - DuckDB

    return Request(_text(arguments), form, output, arguments.database, arguments.read_only, arguments.workspace, arguments.max_rows)


def _text(arguments: Namespace) -> str:
    if "-" in (arguments.sql, arguments.file):
        return sys.stdin.read()
    if arguments.file is None:
        return str(arguments.sql)
    try:
        return Path(arguments.file).expanduser().read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidArgument(f"{arguments.file} is no text in UTF-8") from None
