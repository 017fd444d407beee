"""What the reads of one statement share: requests under way, bytes that wait for decoding, decoders. Who began first goes first."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count

Order = tuple[int, int]
"""Number of the read in its statement, and what it is in the plan of the read."""


class Turns:
    """Lets so many at once go, those in front first. On the event loop only."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: list[tuple[Order, int, asyncio.Future[None]]] = []
        self._numbers = count()

    @asynccontextmanager
    async def take(self, order: Order) -> AsyncIterator[None]:
        if self._free:
            self._free -= 1
        else:
            turn = asyncio.get_running_loop().create_future()
            heappush(self._waiting, (order, next(self._numbers), turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._pass_on()
                raise
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            *_, turn = heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Room:
    """Lets so many bytes be held at once, and one that is larger when nothing else is; those in front first. On the event loop only."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._waiting: list[tuple[Order, int, int, asyncio.Future[None]]] = []
        self._numbers = count()

    async def take(self, nbytes: int, order: Order) -> None:
        """Wait until they fit. They are held until :meth:`free`."""
        if not self._waiting and self._fits(nbytes):
            self._held += nbytes
            return
        granted = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (order, next(self._numbers), nbytes, granted))
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.free(nbytes)
            raise

    def free(self, nbytes: int) -> None:
        self._held -= nbytes
        self._grant()

    def _fits(self, nbytes: int) -> bool:
        return not self._held or self._held + nbytes <= self._most

    def _grant(self) -> None:
        while self._waiting:
            *_, nbytes, granted = self._waiting[0]
            if not granted.done() and not self._fits(nbytes):
                return
            heappop(self._waiting)
            if not granted.done():  # who waited for it has not been cancelled
                self._held += nbytes
                granted.set_result(None)


class Flow:
    """The limits of one statement."""

    def __init__(self, requests: int, nbytes: int, decoders: int) -> None:
        self.requests = Turns(requests)
        self.room = Room(nbytes)
        self.decoders = Turns(decoders)
        """One more than there are threads: what belongs together is then complete soon, and little waits half done."""
        self._numbers = count()
        self._changed = threading.Condition()
        self._asking: set[int] = set()

    def next_read(self) -> int:
        """The number of a read to come."""
        return next(self._numbers)

    def begins(self, read: int) -> None:
        """The read is going to ask for ranges."""
        with self._changed:
            self._asking.add(read)

    def has_asked(self, read: int) -> None:
        """It has asked for all, or has ended."""
        with self._changed:
            self._asking.discard(read)
            self._changed.notify_all()

    def wait_for(self, read: int) -> None:
        """Until the read has asked for all it wants. Not on the event loop."""
        with self._changed:
            self._changed.wait_for(lambda: read not in self._asking)
