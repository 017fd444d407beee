"""Serving, from options to the signal that ends it: what is refused, what is written where, and who may read it.

The token is in the client's script and nowhere else: not on stdout (but for ``--client -``), not on stderr, not in messages.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

import duckdb

from rasteret_sql.errors import InvalidArgument
from rasteret_sql.serve.quack import catalog_of, free_port, load_extensions, opened, start, statements_for_elsewhere, stop
from rasteret_sql.serve.script import ATTACHED, LOCAL_HOSTS, Address, client_script
from rasteret_sql.serve.tokens import chosen_token
from rasteret_sql.sql.quote import text

_INTERRUPTED = 130
_STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of ``rasteret-sql serve``."""

    host: str = "127.0.0.1"
    port: int = 0
    database: str = ":memory:"
    read_only: bool = False
    workspace: str | None = None
    client: str | None = None
    token: str | None = None
    token_file: str | None = None
    address: str | None = None
    allow_remote: bool = False


def serve(options: Options, out: TextIO, log: TextIO) -> NoReturn:
    """Serve until a signal comes; then end this process, with status 130 after Ctrl-C, else 0. Raises errors of ours where it cannot serve.

    The process ends without Python's own end: threads of quack that still let go of our functions then, or run statements, which nothing can stop,
    would abort it. All that is to be left in order is in order by then: the database closed, the script removed, both streams written out.

    Sets ``RASTERET_WORKSPACE`` for this process: clients' connections take their settings from the environment.
    """
    _check_host(options)
    token = chosen_token(options.token, options.token_file, os.environ)
    if options.workspace is not None:
        os.environ["RASTERET_WORKSPACE"] = str(Path(options.workspace).expanduser().resolve())
    with ExitStack() as stack:
        stopped = stack.enter_context(_signals())  # first: Ctrl-C in DuckDB's hands would be an error of its own
        con = stack.enter_context(opened(options.database, read_only=options.read_only))
        load = load_extensions(con)
        here = Address(options.host, free_port(options.host, options.port))
        seen = _seen_by_clients(options, here)
        if options.address is not None or seen.host not in LOCAL_HOSTS:  # clients are elsewhere
            load = statements_for_elsewhere()
        script = client_script(seen, token, load=load, catalog=catalog_of(con))
        file = stack.enter_context(_script_file(options.client, script))
        start(con, here, token)
        _write(out, script if file is None else _hints(file, seen))
        _write(log, f"rasteret-sql: serving DuckDB {duckdb.__version__} at {here.uri}; Ctrl-C stops it\n")
        received = stopped()
        running = stop(con, here)
        _write(log, f"rasteret-sql: stopped{f'; statements cut short: {running}' if running else ''}\n")
    os._exit(_INTERRUPTED if received == signal.SIGINT else 0)


def _check_host(options: Options) -> None:
    if options.host not in LOCAL_HOSTS and not options.allow_remote:
        raise InvalidArgument(
            f"--host {options.host} lets other machines in: whoever has the token can run any SQL in this process, and so read and write your files, "
            "and nothing is encrypted; on a network that you trust, say --allow-remote too; better, stay on 127.0.0.1 and use a tunnel: "
            "ssh -L 9494:127.0.0.1:9494 this-machine"
        )


def _seen_by_clients(options: Options, here: Address) -> Address:
    """The server's address as clients say it; where it listens on all, this machine's name."""
    if options.address is None:
        return Address(socket.gethostname(), here.port) if options.host in ("0.0.0.0", "::") else here  # noqa: S104 - compared, not bound
    found = re.fullmatch(r"(?:quack:)?(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?", options.address)
    if found is None:
        raise InvalidArgument(f"--address {options.address} is not valid; HOST or HOST:PORT is, such as data.example.org:443")
    return Address(found[1].strip("[]"), int(found[2] or here.port), tls=True)


@contextmanager
def _signals() -> Iterator[Callable[[], int]]:
    """What waits for a signal that means "stop", and says which came. A second one ends the process at once.

    Python's handler runs only between two steps of Python: a signal that came just before the waiting began would never be heard. So the system's
    own handler wakes it, through a pipe.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - how handlers are called
        if received:
            os._exit(_INTERRUPTED)
        received.append(number)

    def wait() -> int:
        while not received:
            os.read(read, 1)
        return received[0]

    before = {number: signal.signal(number, handle) for number in _STOPPING}
    listener = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield wait
    finally:
        signal.set_wakeup_fd(listener)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)


@contextmanager
def _script_file(asked: str | None, script: str) -> Iterator[Path | None]:
    """The client's script in a file that only the user can read: the one asked for, which stays, or one that goes in the end. None for stdout."""
    if asked == "-":
        yield None
        return
    kept = Path(asked).expanduser().absolute() if asked else None
    handle, name = tempfile.mkstemp(prefix="rasteret-serve-", suffix=".sql", dir=kept.parent if kept else None)  # of mode 0600 from its beginning
    file = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as opened_file:
            opened_file.write(script)
        if kept:
            file = file.replace(kept)
        yield file
    finally:
        if file != kept:
            file.unlink(missing_ok=True)


def _hints(file: Path, seen: Address) -> str:
    """What to type in a client. The token is in the file."""
    python = f"con.execute(open({str(file)!r}).read())"
    return (
        f"The functions are served at {seen.uri}. In a client with DuckDB {duckdb.__version__}, paste:\n\n"
        f"  duckdb CLI   .read {text(str(file))}\n"
        f"  Python       {python}\n\n"
        "Then, for example:\n\n"
        f"  CREATE TABLE {ATTACHED}.plots AS FROM 'plots.parquet';            -- a table of yours, sent to the server\n"
        "  FROM rasteret_zonal('collection', plots, stats := ['mean']);\n\n"
        "The file holds the token. Whoever has it can run any SQL here, and so read and write your files.\n"
    )


def _write(stream: TextIO, words: str) -> None:
    stream.write(words)
    stream.flush()
