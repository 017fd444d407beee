"""``rasteret-sql serve``."""

from __future__ import annotations

import argparse
import sys
from argparse import Namespace
from typing import Any

from rasteret_sql.cli.arguments import Commands, command
from rasteret_sql.errors import InvalidArgument

DEFAULT_PORT = 9494
"""quack's own."""


def add_to(commands: Commands[Any]) -> None:
    serve = command(
        commands,
        "serve",
        "call the functions from the duckdb CLI and any other DuckDB client, over DuckDB's remote protocol (quack)",
        ["serve", "serve --database plots.duckdb --read-only", "serve --port 0 --client client.sql"],
        run=_run,
    )
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)")
    serve.add_argument("--port", type=_port, default=DEFAULT_PORT, metavar="N", help=f"port (default: {DEFAULT_PORT}); 0 for any that is free")
    serve.add_argument("--database", default=":memory:", metavar="FILE", help="DuckDB file with tables for clients (default: tables in memory)")
    serve.add_argument("--read-only", action="store_true", help="open the database file for reading only; files and exports are written all the same")
    serve.add_argument("--workspace", metavar="FOLDER", help="folder of the collections (RASTERET_WORKSPACE, else ~/rasteret_workspace)")
    serve.add_argument("--client", metavar="FILE", help="keep the client's script in this file; - prints it, with the token, instead of a file")
    serve.add_argument("--token", metavar="TEXT", help="token of clients (others see it in the list of processes; default: a random one)")
    serve.add_argument("--token-file", metavar="FILE", help="file with the token, readable for you only (or RASTERET_SERVE_TOKEN)")
    serve.add_argument("--address", metavar="HOST[:PORT]", help="where clients find the server: the end of a tunnel, a proxy that adds TLS")
    serve.add_argument("--allow-remote", action="store_true", help="listen on other addresses than loopback: without TLS, for a network you trust")


def _run(arguments: Namespace) -> None:
    if arguments.read_only and arguments.database == ":memory:":
        raise InvalidArgument("--read-only is about a database file: say which with --database FILE")
    from rasteret_sql.serve.process import Options, serve  # noqa: PLC0415 - `--help` and `--version` need no DuckDB

    names = ("host", "port", "database", "read_only", "workspace", "client", "token", "token_file", "address", "allow_remote")
    serve(Options(**{name: getattr(arguments, name) for name in names}), sys.stdout, sys.stderr)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; a whole number up to 65535 is")
    return int(text)
