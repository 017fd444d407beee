"""Giving memory back to the system.

glibc keeps freed blocks of megabytes in its arenas once a program has used some; after thousands of segments that is hundreds of megabytes
of nothing.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import lru_cache

TRIM_BYTES = 64 << 20
"""Reads that moved less than this leave too little behind to be worth a call."""


def give_back(moved: int) -> None:
    """Return freed memory to the system after a read that moved this many bytes; does nothing where the C library is not glibc."""
    trim = _malloc_trim()
    if trim is not None and moved >= TRIM_BYTES:
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
