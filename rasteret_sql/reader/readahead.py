"""Reading ahead: while DuckDB works on what one call has read, the next call's share is being read.

What a statement is going to ask for is announced as numbered *units*, in the order in which it will ask. A call that asks for as many units as a
batch may have, without gaps, is taken as a sign that the next ones will be asked for too (a filter between announcing and reading leaves gaps), and
the next batch is begun in a thread, as soon as the call itself has nothing left to ask of the network. What was read ahead and is then not asked for
is lost: at most one batch of a statement.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from rasteret_sql.errors import Cancelled, RasteretError
from rasteret_sql.storage import loop

if TYPE_CHECKING:
    from rasteret_sql.reader.engine import Query

Ints = npt.NDArray[np.int64]
MOST_UNITS = 1_000_000
"""Announced by one statement and remembered; what comes after is read when it is asked for."""


BATCH = 2048
"""The most units of a batch: DuckDB's vector size, the most rows that a function is called with."""


def ends(nbytes: Ints, room: int) -> Ints:
    """Where batches end (exclusive) whose units hold at most ``room`` bytes; one unit at least."""
    totals = np.cumsum(nbytes)
    found: list[int] = []
    start = 0
    while start < len(totals):
        start = _end(totals, start, room)
        found.append(start)
    return np.array(found, dtype=np.int64)


def _end(totals: Ints, start: int, room: int) -> int:
    before = totals[start - 1] if start else 0
    return min(max(int(np.searchsorted(totals, before + room, "right")), start + 1), start + BATCH)


@dataclass(frozen=True, slots=True, eq=False)
class Announced:
    """Units of one call that announces, numbered without gaps."""

    first: int
    nbytes: Ints
    """What each one's result holds."""
    room: int
    """The bytes of a batch."""
    query: Callable[[], Query]
    """A new read of the statement."""
    read: Callable[[Query, int, int], list[Any]]
    """Results of the units from one position up to another."""
    totals: Ints = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "totals", np.cumsum(self.nbytes))

    @property
    def stop(self) -> int:
        return self.first + len(self.nbytes)


@dataclass(slots=True, eq=False)
class _Part:
    """Units that are read ahead."""

    first: int
    stop: int
    query: Query
    dropped: bool = False
    future: Future[list[Any]] = field(default_factory=Future)

    def __post_init__(self) -> None:
        self.future.set_running_or_notify_cancel()  # who stops waiting for it cannot cancel it

    def meets(self, first: int, stop: int) -> bool:
        return self.first < stop and self.stop > first

    def run(self, after: int, read: Callable[[], list[Any]]) -> None:
        """In a thread of its own: once the read of number ``after`` leaves the network alone."""
        flow = self.query.flow
        try:
            flow.wait_for(after)
            if self.dropped:
                self.future.set_exception(Cancelled("nobody asks for it any more"))
                return
            with self.query:
                found = read()
            self.future.set_result(found)
        except BaseException as error:  # noqa: BLE001 - whoever asks for the units gets it
            self.future.set_exception(error)
        finally:
            flow.has_asked(self.query.number)

    def drop(self) -> None:
        self.dropped = True
        self.query.cancelled.set()


class ReadAhead:
    """Of one statement. Safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._announced: list[Announced] = []
        self._units = 0
        self._parts: list[_Part] = []

    def announce(self, units: Announced) -> None:
        with self._lock:
            if len(units.nbytes) and self._units + len(units.nbytes) <= MOST_UNITS:
                self._units += len(units.nbytes)
                self._announced.append(units)
                self._announced.sort(key=lambda known: known.first)

    def ask(self, numbers: Ints, query: Query, read: Callable[[Ints], list[Any]]) -> Asking:
        """Ask for units, one at least; ``query`` reads, by ``read`` and positions in ``numbers``, those that are not read ahead."""
        first, stop = int(numbers.min()), int(numbers.max()) + 1
        with self._lock:
            parts = [part for part in self._parts if part.meets(first, stop)]
            covered = np.zeros(len(numbers), dtype=bool)
            for part in parts:
                covered |= (numbers >= part.first) & (numbers < part.stop)
            left = np.flatnonzero(~covered)
            if len(left):
                query.flow.begins(query.number)
            if stop - first == len(numbers):
                self._begin_next(first, stop, query.number if len(left) else parts[-1].query.number)
        return Asking(self, numbers, query, read, parts, left)

    def _begin_next(self, first: int, stop: int, after: int) -> None:
        index = bisect_right(self._announced, first, key=lambda units: units.first) - 1
        if index < 0 or any(part.first >= stop for part in self._parts):
            return
        units = self._announced[index]
        if units.stop < stop or units.first + _end(units.totals, first - units.first, units.room) > stop:
            return
        start = max([stop, *(part.stop for part in self._parts if part.meets(units.first, units.stop))]) - units.first
        if start >= len(units.nbytes):
            return
        end = _end(units.totals, start, units.room)
        part = _Part(units.first + start, units.first + end, units.query())
        thread = threading.Thread(target=part.run, args=(after, lambda: units.read(part.query, start, end)), name="rasteret-ahead", daemon=True)
        part.query.flow.begins(part.query.number)
        try:
            thread.start()
        except RuntimeError:  # there are too many, or the process ends
            part.query.flow.has_asked(part.query.number)
        else:
            self._parts.append(part)

    def done(self, stop: int, parts: list[_Part]) -> None:
        """All units before ``stop`` of these parts were taken."""
        with self._lock:
            self._parts = [part for part in self._parts if part not in parts or part.stop > stop]

    def close(self) -> None:
        """Nobody is going to ask for anything."""
        with self._lock:
            dropped, self._parts, self._announced = self._parts, [], []
        for part in dropped:
            part.drop()


@dataclass(slots=True, eq=False)
class Asking:
    """Units that were asked for. What fails within ends what is read ahead."""

    ahead: ReadAhead
    numbers: Ints
    query: Query
    read: Callable[[Ints], list[Any]]
    parts: list[_Part]
    left: Ints
    """Positions of units that are not read ahead."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self.ahead.close()
        self.query.flow.has_asked(self.query.number)

    def results(self) -> list[Any]:
        """Of all units; waits for them."""
        results: list[Any] = [None] * len(self.numbers)
        self._read(self.left, results)
        for part in self.parts:
            here = np.flatnonzero((self.numbers >= part.first) & (self.numbers < part.stop))
            try:
                found = loop.wait(part.future, cancel=self.query.cancelled)
            except RasteretError as error:
                if self.query.cancelled.is_set() or (len(here) == part.stop - part.first and not isinstance(error, Cancelled)):
                    raise
                self._read(here, results)  # what failed may be of units that nobody asked for
                continue
            for position, number in zip(here.tolist(), self.numbers[here].tolist(), strict=True):
                results[position], found[number - part.first] = found[number - part.first], None
            self._read(here[[results[position] is None for position in here.tolist()]], results)  # asked for, and taken, before
        self.ahead.done(int(self.numbers.max()) + 1, self.parts)
        return results

    def _read(self, positions: Ints, results: list[Any]) -> None:
        if len(positions):
            with self.query:
                for position, result in zip(positions.tolist(), self.read(positions), strict=True):
                    results[position] = result
