"""Where the main thread waits for DuckDB: the place in its Python code from which it made the last statement.

Python runs the handlers of signals in the main thread, and DuckDB's client looks for signals while it waits. A handler that finds the main thread at
this place knows that nothing but DuckDB is under it: neither a function of ours that DuckDB runs in this thread, nor other work of the user's.
"""

from __future__ import annotations

import os
import sys
import threading
from types import FrameType

LEAVE_SIGNALS = "RASTERET_LEAVE_SIGNALS"
"""Environment variable: 1 for no handlers of ours."""
_OURS = ("rasteret_sql.sql.", "rasteret_sql.udfs.")

_bound_at: tuple[int, int] | None = None
"""The frame that called DuckDB, and its instruction. Only the main thread touches it."""


def may_handle_signals() -> bool:
    """Is this the main thread, and are handlers wanted?"""
    return threading.current_thread() is threading.main_thread() and os.environ.get(LEAVE_SIGNALS, "").lower() not in {"1", "true"}


def binds() -> None:
    """The calling thread, which is the main thread, makes a statement."""
    global _bound_at  # noqa: PLW0603 - what the handlers look at, of the main thread alone
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - how Python gives a frame
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith(_OURS):
        frame = frame.f_back
    _bound_at = _place(frame)


def waits_at(frame: FrameType | None) -> bool:
    """Is this frame of the main thread in the call that made the last statement?"""
    return _bound_at is not None and _place(frame) == _bound_at


def _place(frame: FrameType | None) -> tuple[int, int] | None:
    return None if frame is None else (id(frame), frame.f_lasti)
