"""quack in this process: its extension loaded, a server started and stopped.

What quack 1.5.5 does, as tried: it listens with ``SO_REUSEPORT``, so that a second server on the same port gets every other client instead of an
error; it has no TLS; each client's call runs on a connection of its own, in threads of the extension; ``quack_stop`` ends listening, not statements.
"""

from __future__ import annotations

import importlib.util
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import duckdb

from rasteret_sql.errors import InvalidArgument, RasteretError, one_line
from rasteret_sql.reader import interrupts
from rasteret_sql.serve.script import LOCAL_HOSTS, Address
from rasteret_sql.sql.extension import connect
from rasteret_sql.sql.quote import text

EXTENSIONS = ("httpfs", "quack")
"""In the order in which they must be loaded: quack speaks HTTP by httpfs."""
_PATIENCE = 5.0
"""Seconds that statements have to end once their reads are cancelled."""


@contextmanager
def opened(database: str, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with our functions; what DuckDB says against the file is one line of ours."""
    try:
        con = connect(database, read_only=read_only)
    except duckdb.Error as error:
        raise RasteretError(f"the database {database!r} cannot be opened: {_first_line(error)}") from None
    with closing(con):
        yield con


def load_extensions(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Load httpfs and quack; returns the statements that loaded them, which load them in a client of this DuckDB version on this machine as well.

    An extension comes from the wheel ``duckdb-extension-…`` if that is installed for exactly this DuckDB, else from DuckDB's own folder of
    extensions, else DuckDB downloads it. Raises :class:`RasteretError` where none of these works.
    """
    done: list[str] = []
    for name in EXTENSIONS:
        file = _wheel(name)
        found = [f"LOAD {text(str(file))};"] if file else [f"INSTALL {name};", f"LOAD {name};"]
        try:
            if file is None and _installed(con, name):
                con.execute(found[-1]).fetchall()
            else:
                for statement in found:
                    con.execute(statement).fetchall()
        except duckdb.Error as error:
            version = duckdb.__version__
            wheels = " ".join(f"duckdb-extension-{extension}=={version}" for extension in EXTENSIONS)
            raise RasteretError(
                f"DuckDB's extension {name!r}, which serve needs, cannot be loaded into DuckDB {version}: {_first_line(error)}; "
                f"with internet, run INSTALL {name} in DuckDB; without, pip install {wheels}, if there are wheels for that version"
            ) from None
        done += found
    return done


def catalog_of(con: duckdb.DuckDBPyConnection) -> str:
    """The catalog of this database that holds our functions."""
    ((name,),) = con.execute("SELECT database_name FROM duckdb_functions() WHERE function_name = '__rasteret_instance'").fetchall()
    return str(name)


def free_port(host: str, port: int) -> int:
    """``port`` if nothing listens there, or any free one for 0. Raises :class:`InvalidArgument` for one that is taken or not allowed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InvalidArgument(
                f"cannot listen on {host}, port {port}: {error.strerror or error}; choose another with --port, or --port 0 for any that is free"
            ) from None
        return int(probe.getsockname()[1])


def start(con: duckdb.DuckDBPyConnection, address: Address, token: str) -> None:
    """Listen. The token goes as a parameter: a text of the statement would stand in DuckDB's query log."""
    options = "disable_ssl := true" if address.host in LOCAL_HOSTS else "disable_ssl := true, allow_other_hostname := true"
    try:
        con.execute(f"CALL quack_serve($uri, token := $token, {options})", {"uri": address.uri, "token": token}).fetchall()
    except duckdb.Error as error:
        raise RasteretError(f"quack cannot serve at {address.uri}: {_first_line(error).replace(token, '…')}") from None


def stop(con: duckdb.DuckDBPyConnection, address: Address) -> int:
    """Cancel all reads, wait a moment for their statements, listen no longer; returns how many statements run all the same.

    In this order: a server that has been stopped forgets which statements it runs.
    """
    until = time.monotonic() + _PATIENCE
    while (running := _running(con)) and time.monotonic() < until:
        interrupts.cancel_all()
        time.sleep(0.05)
    with suppress(duckdb.Error):  # a client has stopped it
        con.execute("CALL quack_stop($uri)", {"uri": address.uri}).fetchall()
    with suppress(duckdb.Error):  # a read-only file; a transaction that is open
        con.execute("CHECKPOINT").fetchall()
    return running


def _running(con: duckdb.DuckDBPyConnection) -> int:
    ((count,),) = con.execute("SELECT count(*) FROM quack_active_connections() WHERE state = 'active'").fetchall()
    return int(count)


def _installed(con: duckdb.DuckDBPyConnection, name: str) -> bool:
    return bool(con.execute("SELECT 1 FROM duckdb_extensions() WHERE extension_name = $name AND installed", {"name": name}).fetchall())


def _wheel(name: str) -> Path | None:
    """The extension in its wheel, which has a folder per DuckDB version."""
    wheel = importlib.util.find_spec(f"duckdb_extension_{name}")
    if wheel is None or wheel.origin is None:
        return None
    file = Path(wheel.origin).parent / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
    return file if file.exists() else None


def _first_line(error: duckdb.Error) -> str:
    return one_line(str(error).splitlines()[0])


def statements_for_elsewhere() -> list[str]:
    """What loads the extensions where our files are not."""
    return [statement for name in EXTENSIONS for statement in (f"INSTALL {name};", f"LOAD {name};")]
