"""Ctrl-C and ``con.interrupt()``: both stop the reads of a statement, not only DuckDB's part of it.

DuckDB tells a function that runs nothing of an interruption; it waits for it to end, and that may take until a server answers. So:

- Every statement's plan carries its *origin*: a token of the database instance (numbers of connections repeat between instances) and
  ``current_connection_id()``, both folded while binding. Reads are registered under it (:mod:`rasteret_sql.reader.interrupts`).
- ``con.interrupt()``: the method of the connection class is wrapped, once per process. It calls DuckDB's own first, then stops the reads of this
  connection's origin. Origins are known of registered connections and of their cursors (``cursor()`` and ``duplicate()`` are wrapped too, to ask
  each cursor for its number); on other connections it is DuckDB's own and nothing else.
- Ctrl-C: Python raises KeyboardInterrupt in the main thread, and DuckDB's threads go on. While a statement is bound in the main thread, a
  handler is put before Python's own, if that is the one in place: it interrupts the connections that the main thread used, and their reads, and
  goes on to Python's. Where the main thread waits for DuckDB, in the very call that bound the statement, and reads were stopped, it ends there:
  DuckDB says so with an exception of its own. (KeyboardInterrupt thrown into that call leaves the connection interrupted on 1.5, and its next
  statement fails.) Statements of other threads go on, as other work of theirs does. A handler that somebody else has installed is left alone,
  and so are all with the environment variable ``RASTERET_LEAVE_SIGNALS=1``; then Ctrl-C stops what the main thread itself waits for.
  Installed while binding, and not when the package is loaded, since notebooks set the handler anew for each cell.
- The end of the process: DuckDB's threads go on with results that nobody has read to the end, and one that calls a function of ours after Python has
  begun to end takes the process down (seen with DuckDB 2.0). So results are given up before.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from types import FrameType
from typing import Any, TypeAlias

import duckdb

from rasteret_sql.reader import interrupts
from rasteret_sql.sql import main_thread, polling

_MOST_ORIGINS = 1000

Connection: TypeAlias = duckdb.DuckDBPyConnection
_lock = threading.RLock()
"""Reentrant: a signal's handler may run in the middle of :func:`follow`, in the same thread."""
_origins: weakref.WeakKeyDictionary[Connection, str] = weakref.WeakKeyDictionary()
_of_main_thread: dict[str, None] = {}
"""Origins of the statements that the main thread made, the latest last. Only that thread touches it."""
_interrupt: Callable[[Connection], None] = Connection.interrupt


def follow(con: Connection, instance: str) -> None:
    """Know the origin of a connection from now on; ``instance`` is its database's token."""
    _wrap_methods()
    (number,) = con.execute("SELECT current_connection_id()").fetchall()[0]
    with _lock:
        _origins[con] = f"{instance}/{number}"


def bound(origin: str) -> None:
    """A statement of this origin is being bound in the calling thread."""
    if not main_thread.may_handle_signals():
        return
    main_thread.binds()
    polling.begins()
    _of_main_thread.pop(origin, None)
    _of_main_thread[origin] = None
    if len(_of_main_thread) > _MOST_ORIGINS:
        del _of_main_thread[next(iter(_of_main_thread))]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _on_sigint)


def _on_sigint(number: int, frame: FrameType | None) -> None:
    """In the main thread. Reads of an unknown origin (indexes at URLs, which DuckDB itself reads) stop too."""
    with _lock:
        known = list(_origins.items())
    for con, origin in known:
        if origin in _of_main_thread:
            with suppress(duckdb.Error):  # it is closed
                _interrupt(con)
    stopped = sum(interrupts.cancel(origin) for origin in ("", *_of_main_thread))
    if not stopped or not main_thread.waits_at(polling.below(frame)):
        signal.default_int_handler(number, frame)


def _origin_of(con: Connection) -> str | None:
    with _lock:
        return _origins.get(con)


def _wrap_methods() -> None:
    if getattr(Connection.interrupt, "_stops_reads", False):
        return

    @wraps(_interrupt)
    def interrupt(self: Connection) -> None:
        _interrupt(self)
        origin = _origin_of(self)
        if origin is not None:
            interrupts.cancel(origin)

    interrupt._stops_reads = True  # type: ignore[attr-defined]  # noqa: SLF001 - a mark on our own function
    wrapped: Any = Connection
    wrapped.interrupt = interrupt
    for name in ("cursor", "duplicate"):
        setattr(wrapped, name, _following(getattr(Connection, name)))


def _following(original: Callable[[Connection], Connection]) -> Callable[[Connection], Connection]:
    @wraps(original)
    def cursor(self: Connection) -> Connection:
        made = original(self)
        origin = _origin_of(self)
        if origin is not None:
            follow(made, origin.partition("/")[0])
        return made

    return cursor


def _give_up_results() -> None:
    """Of all connections that are known; DuckDB before 2.0 has no way, and no need."""
    with _lock:
        known = list(_origins.items())
    for con, origin in known:
        if abort := getattr(con, "abort", None):
            interrupts.cancel(origin)
            with suppress(duckdb.Error):  # it is closed
                abort()


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603 - a lock held by another thread of the parent would stay held
    _lock = threading.RLock()


atexit.register(_give_up_results)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
