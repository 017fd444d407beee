"""The ``rasteret-sql`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rasteret_sql import __version__
from rasteret_sql.errors import RasteretError

EPILOG = """\
in DuckDB:
  python -c "import rasteret_sql; rasteret_sql.connect().sql('FROM rasteret_functions()').show()"
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status. Errors are one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="rasteret-sql",
        description="Cloud GeoTIFFs in SQL: index the headers once, then join tables with pixels in DuckDB.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rasteret-sql {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    demo = commands.add_parser("demo", help="plots and points joined with real Landsat imagery, served and read on this machine; needs no internet")
    demo.add_argument("--keep", metavar="FOLDER", help="keep the collection in this workspace folder, to go on with it")
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    try:
        from rasteret_sql.demo import run_demo  # noqa: PLC0415 - `--help` and `--version` need no DuckDB

        run_demo(sys.stdout, keep=arguments.keep)
    except ImportError as error:
        return _fail(f"a package is missing or broken: {error}; reinstall with: pip install rasteret-sql")
    except RasteretError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
    except KeyboardInterrupt:
        return 130
    return 0


def _fail(message: str) -> int:
    sys.stderr.write(f"rasteret-sql: {message}\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
