"""The command as a whole: its groups, and what an error, Ctrl-C or a reader that leaves mean for its exit status.

0: done; 1: an error, one line on stderr; 2: the command line itself is wrong; 130: interrupted. Only results go to stdout. DuckDB, Arrow and the
reader are loaded by the commands that need them, none by ``--help``.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence

from rasteret_sql import __version__
from rasteret_sql.cli import build, collections, datasets, demo, doctor, query, serve, shell
from rasteret_sql.cli.arguments import Parser, joined
from rasteret_sql.errors import RasteretError, near

FAILED, INTERRUPTED = 1, 130

EPILOG = """\
examples:
  rasteret-sql
  rasteret-sql demo
  rasteret-sql query "FROM rasteret_collections()"
  rasteret-sql datasets list
  rasteret-sql build earthsearch/sentinel-2-l2a --name s2 --bbox 77.5,12.9,77.7,13.1 --dates 2024-01-01/2024-01-31
  rasteret-sql collections info s2

without a command: an interactive SQL shell (on a terminal), or a script of statements (from a pipe or file)

in DuckDB, from Python:
  python -c "import rasteret_sql; rasteret_sql.connect().sql('FROM rasteret_functions()').show()"
"""


def parser() -> Parser:
    """The whole command line."""
    root = Parser("rasteret-sql", "Cloud GeoTIFFs in SQL: index the headers once, then join tables with pixels in DuckDB.", EPILOG)
    root.add_argument("--version", action="version", version=f"rasteret-sql {__version__}")
    commands = root.commands()
    for group in (shell, query, demo, datasets, build, collections, serve, doctor):
        group.add_to(commands)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status. Errors are one line on stderr."""
    arguments, unknown = parser().parse_known_args(joined(sys.argv[1:] if argv is None else argv))
    command: Parser = arguments.parser
    if unknown:
        command.error(f"{unknown[0]!r} is not understood{near(unknown[0], command.options())}")
    return _run(arguments.run or (lambda _: _without_command(command, arguments)), arguments)


def _without_command(command: Parser, arguments: Namespace) -> None:
    """``rasteret-sql`` alone is the shell where somebody or something can talk to it; a group of commands alone is its help."""
    if command.prog != "rasteret-sql" or not shell.run_bare(arguments):
        command.print_help()


def _run(command: Callable[[Namespace], None], arguments: Namespace) -> int:
    """Do it; what goes wrong is one line and an exit status."""
    message = ""
    try:
        command(arguments)
        sys.stdout.flush()
    except ImportError as error:
        message = f"a package is missing or broken: {error}; reinstall with: pip install rasteret-sql"
    except RasteretError as error:
        message = str(error)
    except BrokenPipeError:  # `… | head`: nobody reads on; Python would say so once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        message = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    if message:
        sys.stderr.write(f"rasteret-sql: {message}\n")
        return FAILED
    return 0
