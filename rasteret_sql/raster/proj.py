"""PROJ lives in one thread of its own.

pyproj keeps a PROJ context per Python thread and frees it with the thread's state; DuckDB calls functions from threads whose Python state ends with
every call. An object that was made there and is used later crashes the process, so every use of pyproj that outlives a call goes through here.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class _ProjThread:
    """The thread of this process; a forked child makes its own."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._identity: int | None = None
        self._begun: Future[object] | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="rasteret-proj", initializer=self._started)

    def _started(self) -> None:
        self._identity = threading.get_ident()

    def begin(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        self._begun = self._executor.submit(function, *args, **kwargs)

    def settle(self) -> None:
        """Wait until what was begun is done: PROJ has locks of its own, and a child that was forked meanwhile would find them locked."""
        if self.pid == os.getpid() and self._begun is not None:
            wait([self._begun], timeout=_MOST_S)

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        if threading.get_ident() == self._identity:
            return function(*args, **kwargs)
        return self._executor.submit(function, *args, **kwargs).result()


_lock = threading.Lock()
_threads: list[_ProjThread] = []
_MOST_S = 1.0


def _settle() -> None:
    for thread in _threads[-1:]:
        thread.settle()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_settle)


def _thread() -> _ProjThread:
    with _lock:
        if not _threads or _threads[-1].pid != os.getpid():
            _threads[:] = [_ProjThread()]
        return _threads[-1]


def begin_in_proj_thread(function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Have the function called in PROJ's thread, and do not wait for it; what it answers or raises is lost."""
    with suppress(RuntimeError):  # there is no thread to be had, as where the interpreter ends
        _thread().begin(function, *args, **kwargs)


def in_proj_thread(function: Callable[P, R]) -> Callable[P, R]:
    """The function, run in PROJ's thread; calls among such functions stay there."""

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        return _thread().call(function, *args, **kwargs)

    return called
