"""``rasteret-sql demo``."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from rasteret_sql.cli.arguments import Commands, command


def add_to(commands: Commands[Any]) -> None:
    demo = command(
        commands,
        "demo",
        "plots and points joined with real Landsat imagery, served and read on this machine; needs no internet",
        ["demo", "demo --keep workspace"],
        run=_run,
    )
    demo.add_argument("--keep", metavar="FOLDER", help="keep the collection in this workspace folder, to go on with it")


def _run(arguments: Namespace) -> None:
    from rasteret_sql.demo import run_demo  # noqa: PLC0415 - `--help` and `--version` need no DuckDB

    run_demo(sys.stdout, keep=arguments.keep)
