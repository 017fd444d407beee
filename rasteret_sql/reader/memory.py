"""Memory of segments.

Fresh memory costs a page fault for every 4 KiB, a good part of what decoding costs, and blocks of megabytes that come and go leave the heap of the
C library full of holes that it keeps: hundreds of megabytes after thousands of segments. So blocks are used again (:class:`BlockPool`), those of
decoded pixels and those of fetched bytes, and what else fetching leaves behind is given back to the system from time to time (:class:`Trimmer`).
"""

from __future__ import annotations

import ctypes
import math
import sys
import threading
import weakref
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

SMALLEST = 128 << 10
"""Smaller arrays are left to NumPy."""
STEP = 1 << 20
"""Blocks of fetched bytes come in few sizes, so that they fit again."""
KEEP_BYTES = 16 << 20
"""Free blocks kept for the next segments; more than a few are there only after a cache was emptied."""
TRIM_BYTES = 128 << 20
"""The heap is trimmed once per so many fetched bytes: it takes a millisecond, and pages used again must be mapped again."""


_Block = npt.NDArray[np.uint8]


class BlockPool:
    """Makes arrays on reused memory. A block is free again when the last array or view on it is gone: NumPy's own references decide."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # blocks come back wherever Python collects garbage, also within the methods below
        self._free: dict[int, list[_Block]] = {}
        self._free_bytes = 0

    @property
    def free_bytes(self) -> int:
        """Bytes kept for what comes next."""
        return self._free_bytes

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """Like ``numpy.empty``."""
        nbytes = math.prod(shape) * dtype.itemsize
        if nbytes < SMALLEST:
            return np.empty(shape, dtype)
        return self._lend(nbytes).view(dtype).reshape(shape)

    def buffer(self, nbytes: int) -> memoryview:
        """So many bytes, of a block that has whole steps of :data:`STEP`: pages that are not written to cost nothing."""
        return self._lend(-(-nbytes // STEP) * STEP)[:nbytes].data

    def _lend(self, nbytes: int) -> _Block:
        block = self._take(nbytes)
        # whoever looks at the memory keeps this view of the block alive, and the view's end gives the block back
        view = (ctypes.c_ubyte * nbytes).from_buffer(block.data)
        weakref.finalize(view, self._put, block).atexit = False
        return np.frombuffer(memoryview(view), np.uint8)

    def _take(self, nbytes: int) -> _Block:
        with self._lock:
            blocks = self._free.get(nbytes)
            if blocks:
                self._free_bytes -= nbytes
                return blocks.pop()
        return np.empty(nbytes, np.uint8)

    def _put(self, block: _Block) -> None:
        with self._lock:
            if self._free_bytes + len(block) <= KEEP_BYTES:
                self._free.setdefault(len(block), []).append(block)
                self._free_bytes += len(block)


class Trimmer:
    """Counts fetched bytes and trims the heap after each :data:`TRIM_BYTES` of them; does nothing where the C library is not glibc."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since = 0

    def count(self, nbytes: int) -> None:
        with self._lock:
            self._since += nbytes
            due = self._since >= TRIM_BYTES
            if due:
                self._since = 0
        trim = _malloc_trim()
        if due and trim is not None:
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
