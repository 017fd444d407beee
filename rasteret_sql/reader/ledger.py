"""What a statement is going to fetch: each segment counts once in it, however many calls of whichever functions want it.

DuckDB calls a function with 2,048 rows at most, in several threads, so that no call sees its whole statement. What a call finds out it writes into
the ledger of the statement (:mod:`rasteret_sql.reader.statements`), and what is refused is the sum.
"""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
MOST_KEYS = 8_000_000
"""Segments that a ledger remembers at most, and all together when a statement begins, 8 bytes each. One that is not remembered counts again where it
is wanted again.
"""
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
"""Of the finalizer of SplitMix64 (G. Steele, D. Lea, C. Flood, OOPSLA 2014)."""


def segment_keys(href: str, offsets: npt.NDArray[np.int64]) -> Keys:
    """A number for each segment of a file, by its offset; of different segments they differ but for a chance of 1 in 2**64."""
    mixed = offsets.astype(np.uint64) * _MIX[0] + np.uint64(hash(href) & 0xFFFFFFFFFFFFFFFF)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[1]
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[2]
    keys: Keys = mixed ^ (mixed >> np.uint64(31))
    return keys


class Ledger:
    """Segments that were claimed, and the bytes that fetching them takes. Safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: list[Keys] = []
        """Sorted, the longest first; each at least twice as long as the next, so that a key is moved few times."""
        self._nbytes = 0
        self.held = 0
        """Keys that are remembered."""

    @property
    def nbytes(self) -> int:
        return self._nbytes

    def claim(self, keys: Keys) -> Bools:
        """Which of these segments nobody claimed before; of equal ones the first. They are claimed now."""
        unique, firsts = np.unique(keys, return_index=True)
        with self._lock:
            for run in self._runs:
                new = run[np.minimum(np.searchsorted(run, unique), len(run) - 1)] != unique
                unique, firsts = unique[new], firsts[new]
            if self.held + len(unique) <= MOST_KEYS:
                self._remember(unique)
        fresh = np.zeros(len(keys), dtype=bool)
        fresh[firsts] = True
        return fresh

    def add(self, nbytes: int) -> None:
        """So many more bytes are going to be fetched."""
        with self._lock:
            self._nbytes += nbytes

    def _remember(self, keys: Keys) -> None:
        self.held += len(keys)
        while self._runs and len(self._runs[-1]) < 2 * len(keys):
            keys = np.sort(np.concatenate([self._runs.pop(), keys]), kind="stable")
        if len(keys):
            self._runs.append(keys)
