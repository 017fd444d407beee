"""Stopping reads that run: each has a flag, and belongs to an *origin*, the connection that asked for it (empty where none is known).

Functions run in DuckDB's threads and cannot see that their statement was interrupted; who hears of it (:mod:`rasteret_sql.sql.interrupts`) says
so here, and every waiting thread looks at its flag (:func:`rasteret_sql.storage.loop.wait`).
"""

from __future__ import annotations

import os
import threading
import weakref

from rasteret_sql import progress


class Cancel:
    """The flag of one read, which only ever goes up. Safe in a signal handler, as an ``Event`` is not: it takes no lock."""

    __slots__ = ("__weakref__", "_raised", "origin")

    def __init__(self, origin: str = "") -> None:
        self.origin = origin
        self._raised = False

    def is_set(self) -> bool:
        return self._raised

    def set(self) -> None:
        self._raised = True


_lock = threading.RLock()
"""Reentrant: the handler of a signal may run in the middle of :func:`watch`, in the same thread."""
_running: weakref.WeakSet[Cancel] = weakref.WeakSet()


def watch(origin: str = "") -> Cancel:
    """The flag of a read that begins; it is forgotten with its last user."""
    flag = Cancel(origin)
    with _lock:
        _running.add(flag)
    return flag


def cancel(origin: str) -> int:
    """Stop all reads of an origin that have begun; how many were not stopped before."""
    with _lock:
        begun = [flag for flag in _running if flag.origin == origin and not flag.is_set()]
        for flag in begun:
            flag.set()
    progress.interrupted(origin)
    return len(begun)


def cancel_all() -> None:
    """Stop every read that has begun, whoever asked for it: the process ends."""
    with _lock:
        origins = {flag.origin for flag in _running}
    for origin in origins:
        cancel(origin)


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603 - a lock held by another thread of the parent would stay held
    _lock = threading.RLock()
    _running.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
