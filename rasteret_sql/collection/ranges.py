"""Byte ranges of remote Parquet files that were read lately: footers, and the columns that one statement scans more than once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable

LARGEST = 8 << 20
"""Bytes of one range that is kept."""
CAPACITY = 64 << 20
"""Of all."""


class RangeCache:
    """Least recently used ranges go first. A key holds the file's version, so nothing in here is ever wrong."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._held: OrderedDict[Hashable, bytes] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> bytes | None:
        with self._lock:
            data = self._held.get(key)
            if data is not None:
                self._held.move_to_end(key)
            return data

    def put(self, key: Hashable, data: bytes) -> None:
        if len(data) > min(LARGEST, self._capacity):
            return
        with self._lock:
            self._bytes += len(data) - len(self._held.pop(key, b""))
            self._held[key] = data
            while self._bytes > self._capacity:
                _, dropped = self._held.popitem(last=False)
                self._bytes -= len(dropped)

    def clear(self) -> None:
        with self._lock:
            self._held.clear()
            self._bytes = 0


RANGES = RangeCache()
