"""Giving memory back to the system.

glibc keeps freed blocks of megabytes in its arenas once a program has used some; after thousands of segments that is hundreds of megabytes
of nothing.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from functools import lru_cache

TRIM_BYTES = 64 << 20
"""A trim costs milliseconds, and pages that are used again must be mapped again: once per so many decoded bytes is not felt."""


class Trimmer:
    """Counts decoded bytes and trims the heap after each :data:`TRIM_BYTES` of them; does nothing where the C library is not glibc."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since = 0

    def count(self, nbytes: int) -> None:
        with self._lock:
            self._since += nbytes
            due = self._since >= TRIM_BYTES
            if due:
                self._since = 0
        if due:
            self.trim()

    def trim(self) -> None:
        """Return freed memory to the system now."""
        trim = _malloc_trim()
        if trim is not None:
            trim(0)


@lru_cache(maxsize=1)
def _malloc_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None
    return found
