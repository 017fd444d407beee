"""The main thread sleeps, instead of polling, while a thread of DuckDB's runs one of our functions.

DuckDB's Python client, waiting for a statement whose tasks other threads have, asks again and again whether there is a task, and takes Python's lock
each time to look for signals (``CompletePendingQuery``). A function in Python takes turns with that loop for the lock, and decoding shares the
processor with it: on two cores a read took half as many CPU seconds again.

What it looks for is the way in. While functions run, or what gets ready for them (:func:`working`), a thread of ours pretends that a signal came
(``_thread.interrupt_main``, which sends none), and the handler, called from that loop, waits until nothing of ours runs, or for :data:`_SLEEP_S`:
then DuckDB looks for tasks once more. A main thread that answers late had a task and works; it is left alone for a while.

The signal is SIGURG, whose default is to be ignored and which hardly anything uses. Nothing happens where it has another handler, where an event loop
listens to signals through a file descriptor, where there is no such signal (Windows), with ``RASTERET_LEAVE_SIGNALS=1``, and with DuckDB from 2.0 on,
whose client does not poll. Statements of other threads than the main one poll as ever: Python has no signals there. ``SET threads = 1`` avoids it
anywhere.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import duckdb
import pyarrow as pa

from rasteret_sql.sql import main_thread

_POLLS = int(duckdb.__version__.partition(".")[0]) < 2
_SIGNAL: signal.Signals | None = getattr(signal, "SIGURG", None) if _POLLS else None
_START_S = 0.002
"""A function that takes no longer is not worth a nap."""
_SLEEP_S = 0.02
_PAUSE_S = 0.0005
"""Between two naps: DuckDB looks for tasks."""
_PROMPT_S = 0.01
"""A loop that only polls answers within this time, also where it waits for Python's lock."""
_AT_WORK_S = 0.02
"""After a late answer, the time until the next try."""


class _Busy:
    """A time in which functions run without a break; its lock is free once it is over."""

    __slots__ = ("ended", "functions")

    def __init__(self) -> None:
        self.functions = 0
        self.ended = _thread.allocate_lock()
        self.ended.acquire()


class _Sleeper(threading.Thread):
    """Sends the main thread to sleep while functions run."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(name="rasteret-sleep", daemon=True)
        self.signal = number
        self.lock = threading.Lock()
        self.begins = threading.Event()
        self.answered = threading.Event()
        self.busy: _Busy | None = None
        self.asked = 0.0
        """When the main thread was last asked."""
        self.slept = False
        self.allowed = False
        """Is the signal ours, and does nobody listen to it?"""

    def enter(self) -> None:
        with self.lock:
            if self.busy is None:
                self.busy = _Busy()
                self.begins.set()
            self.busy.functions += 1

    def leave(self) -> None:
        with self.lock:
            busy = self.busy
            if busy is None:
                return
            busy.functions -= 1
            if not busy.functions:
                self.busy = None
                self.begins.clear()
                busy.ended.release()

    def run(self) -> None:
        while True:
            self.begins.wait()
            pause = _START_S
            while (busy := self.busy) is not None:
                if busy.ended.acquire(timeout=pause):
                    break
                self.slept = False
                self.answered.clear()
                self.asked = time.perf_counter()
                _thread.interrupt_main(self.signal)
                self.answered.wait(_SLEEP_S + _AT_WORK_S)
                pause = _PAUSE_S if self.slept else _AT_WORK_S

    def on_signal(self, _number: int, frame: FrameType | None) -> None:
        """In the main thread: sleep, if it polls."""
        busy = self.busy
        if busy is not None and main_thread.waits_at(frame) and time.perf_counter() - self.asked < _PROMPT_S:
            self.slept = True
            busy.ended.acquire(timeout=_SLEEP_S)
        self.answered.set()


_sleeper: _Sleeper | None = None
"""Made by the main thread when it first makes a statement; None in a forked child until it does."""


def begins() -> None:
    """The main thread makes a statement: from now on it may be sent to sleep, where the signal is ours."""
    global _sleeper  # noqa: PLW0603 - one per process
    if _SIGNAL is None:
        return
    handler = signal.getsignal(_SIGNAL)
    if _sleeper is None and handler in {signal.SIG_DFL, signal.SIG_IGN}:
        _sleeper = _Sleeper(_SIGNAL)
        handler = _sleeper.on_signal
        signal.signal(_SIGNAL, handler)
        signal.siginterrupt(_SIGNAL, False)
        _sleeper.start()
    if _sleeper is not None:
        _sleeper.allowed = handler == _sleeper.on_signal and not _listened_to()


def below(frame: FrameType | None) -> FrameType | None:
    """What the main thread did before it went to sleep, if it sleeps."""
    return frame.f_back if frame is not None and frame.f_code is _Sleeper.on_signal.__code__ else frame


@contextmanager
def working() -> Iterator[None]:
    """In a thread that works for a statement: meanwhile the main thread sleeps, if it polls."""
    sleeper = _sleeper
    if sleeper is None or not sleeper.allowed or threading.current_thread() is threading.main_thread():
        yield
        return
    sleeper.enter()
    try:
        yield
    finally:
        sleeper.leave()


def counted(function: Callable[..., pa.Array]) -> Callable[..., pa.Array]:
    """The function, known to run while it runs. Without a signature of its own, which DuckDB would read argument types from."""

    def run(*columns: Any) -> pa.Array:
        with working():
            return function(*columns)

    return run


def _listened_to() -> bool:
    """Does an event loop hear of signals through a file descriptor? Each pretended signal would be a byte there, and it would be full soon."""
    number = signal.set_wakeup_fd(-1)
    if number == -1:
        return False
    with suppress(ValueError, OSError):  # it was closed
        signal.set_wakeup_fd(number, warn_on_full_buffer=False)
    return True


def _after_fork_in_child() -> None:
    global _sleeper  # noqa: PLW0603 - its thread did not come along
    if _sleeper is not None and _SIGNAL is not None:
        signal.signal(_SIGNAL, signal.SIG_DFL)
    _sleeper = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
