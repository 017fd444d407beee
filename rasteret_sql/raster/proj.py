"""PROJ lives in one thread of its own.

pyproj keeps a PROJ context per Python thread and frees it with the thread's state; DuckDB calls functions from threads whose Python state ends with
every call. An object that was made there and is used later crashes the process, so every use of pyproj that outlives a call goes through here.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class _ProjThread:
    """The thread of this process; a forked child makes its own."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._identity: int | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="rasteret-proj", initializer=self._started)

    def _started(self) -> None:
        self._identity = threading.get_ident()

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        if threading.get_ident() == self._identity:
            return function(*args, **kwargs)
        return self._executor.submit(function, *args, **kwargs).result()


_lock = threading.Lock()
_threads: list[_ProjThread] = []


def _thread() -> _ProjThread:
    with _lock:
        if not _threads or _threads[-1].pid != os.getpid():
            _threads[:] = [_ProjThread()]
        return _threads[-1]


def in_proj_thread(function: Callable[P, R]) -> Callable[P, R]:
    """The function, run in PROJ's thread; calls among such functions stay there."""

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        return _thread().call(function, *args, **kwargs)

    return called
