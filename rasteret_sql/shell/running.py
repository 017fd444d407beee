"""Work that Ctrl-C stops: done in a thread, while the main thread waits for either."""

from __future__ import annotations

import threading
from collections.abc import Callable

_WAIT_S = 0.05


class Stopped(Exception):
    """Ctrl-C was pressed, and the work has ended."""


def stoppable(work: Callable[[], None], stop: Callable[[], None]) -> None:
    """Do ``work``; on Ctrl-C call ``stop`` until it has ended, then raise :class:`Stopped`. What work raises is raised here.

    ``stop`` is called again and again since DuckDB forgets an interruption that comes before a statement has begun.
    """
    failures: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            failures.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, name="rasteret-shell-statement", daemon=True).start()
    stopped = False
    while not ended.is_set():
        try:
            ended.wait(_WAIT_S if stopped else None)
            if stopped and not ended.is_set():
                stop()
        except KeyboardInterrupt:
            stopped = True
            stop()
    try:
        if stopped:
            raise Stopped
        if failures:
            raise failures[0]
    finally:
        failures.clear()  # a traceback that holds its own list would keep the connection beyond the program's end
