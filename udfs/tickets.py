"""Records announced to the engine: SQL passes a small number from the announcing function to the fetching one instead of tile tables."""

from __future__ import annotations

import threading
from collections import OrderedDict
from itertools import count

from rasteret_sql.errors import BudgetExceeded
from rasteret_sql.reader.band import Band

Bands = tuple[Band | None, ...]
MAX_SEGMENTS = 32_000_000
"""Segments that all announced records may have together (16 bytes each): about 250,000 Sentinel-2 bands."""


class RecordBook:
    """Announced records by ticket. The same record gets the same ticket again; the oldest are forgotten when the book is full."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tickets: OrderedDict[int, Bands] = OrderedDict()
        self._known: dict[tuple[object, ...], int] = {}
        self._numbers = count(1)
        self._segments = 0

    def announce(self, bands: Bands) -> int:
        """The ticket of a record's bands."""
        key = tuple(None if b is None else (b.href, b.sample, b.etag, b.nodata, b.crs, b.grid, b.layout, b.level.offsets.tobytes()) for b in bands)
        with self._lock:
            ticket = self._known.get(key)
            if ticket is None:
                ticket = next(self._numbers)
                self._known[key] = ticket
                self._tickets[ticket] = bands
                self._segments += _segments(bands)
                self._forget()
            else:
                self._tickets.move_to_end(ticket)
            return ticket

    def bands(self, ticket: int) -> Bands:
        with self._lock:
            found = self._tickets.get(ticket)
        if found is None:
            raise BudgetExceeded("the statement touches more records than can be announced at once; filter the records or read them in parts")
        return found

    def _forget(self) -> None:
        while self._segments > MAX_SEGMENTS and len(self._tickets) > 1:
            gone, bands = self._tickets.popitem(last=False)
            self._segments -= _segments(bands)
            self._known = {key: ticket for key, ticket in self._known.items() if ticket != gone}


def _segments(bands: Bands) -> int:
    return sum(len(band.level.offsets) for band in bands if band is not None)


BOOK = RecordBook()
