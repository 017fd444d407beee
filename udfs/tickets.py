"""What one function of a statement leaves for the next: SQL passes a small number instead of tile tables or a million coordinates."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from itertools import count
from typing import Generic, TypeVar

from rasteret_sql.errors import BudgetExceeded
from rasteret_sql.reader.band import Band
from rasteret_sql.reader.levels import View
from rasteret_sql.reader.shapes import Shapes
from rasteret_sql.reader.validity import band_key
from rasteret_sql.reader.visits import Points

Held = TypeVar("Held")
Bands = tuple[Band | None, ...]
MAX_SEGMENTS = 32_000_000
"""Segments that all announced records may have together (16 bytes each): about 250,000 Sentinel-2 bands."""


class RecordBook:
    """Announced records by ticket. The same record gets the same ticket again; the oldest are forgotten when the book is full."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tickets: OrderedDict[int, View] = OrderedDict()
        self._known: dict[tuple[object, ...], int] = {}
        self._numbers = count(1)
        self._segments = 0

    def announce(self, view: View) -> int:
        """The ticket of what a record is read as."""
        bands = tuple(None if band is None else _identity(band) for band in view.bands)
        key = (bands, view.grid, view.crs, view.home, view.home_crs, view.resampling, view.kept, view.whole)
        with self._lock:
            ticket = self._known.get(key)
            if ticket is None:
                ticket = next(self._numbers)
                self._known[key] = ticket
                self._tickets[ticket] = view
                self._segments += _segments(view.bands)
                self._forget()
            else:
                self._tickets.move_to_end(ticket)
            return ticket

    def view(self, ticket: int) -> View:
        with self._lock:
            found = self._tickets.get(ticket)
        if found is None:
            raise BudgetExceeded("the statement touches more records than can be announced at once; filter the records or read them in parts")
        return found

    def _forget(self) -> None:
        while self._segments > MAX_SEGMENTS and len(self._tickets) > 1:
            gone, view = self._tickets.popitem(last=False)
            self._segments -= _segments(view.bands)
            self._known = {key: ticket for key, ticket in self._known.items() if ticket != gone}


def _identity(band: Band) -> Hashable:
    mask = None if band.mask is None else band_key(band.mask)
    return band_key(band), band.nodata, band.crs, band.level.offsets.tobytes(), mask


def _segments(bands: Bands) -> int:
    levels = (part.level for band in bands if band is not None for part in (band, band.mask) if part is not None)
    return sum(len(level.offsets) for level in levels)


class Shelf(Generic[Held]):
    """What running statements hold by ticket, such as the coordinates of their points; what was not used for a while is forgotten when others need
    the room.
    """

    KEEP_BYTES = 64 << 20
    KEEP_S = 300.0

    def __init__(self, what: str, size: Callable[[Held], int]) -> None:
        self._what = what
        self._size = size
        self._lock = threading.Lock()
        self._held: dict[int, tuple[Held, float]] = {}
        self._numbers = count(1)

    def hold(self, held: Held) -> int:
        """A ticket for it."""
        with self._lock:
            self._forget(self._size(held))
            ticket = next(self._numbers)
            self._held[ticket] = (held, time.monotonic())
            return ticket

    def get(self, ticket: int) -> Held:
        with self._lock:
            if ticket not in self._held:
                raise BudgetExceeded(f"the statement waited too long while others needed the room of its {self._what}; run it again")
            held, _ = self._held[ticket]
            self._held[ticket] = (held, time.monotonic())
            return held

    def _forget(self, coming: int) -> None:
        total = coming + sum(self._size(held) for held, _ in self._held.values())
        for ticket, (held, used) in sorted(self._held.items(), key=lambda item: item[1][1]):
            if total <= self.KEEP_BYTES or time.monotonic() - used < self.KEEP_S:
                break
            del self._held[ticket]
            total -= self._size(held)


BOOK = RecordBook()
POINTS: Shelf[Points] = Shelf("points", lambda points: points.nbytes)
ZONES: Shelf[Shapes] = Shelf("zones", lambda zones: zones.nbytes)
