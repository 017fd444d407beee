"""What the first call of a statement would wait for, got ready while DuckDB still plans it: the records of a small collection, the ways to their
CRSs, the codecs of their tiles.

It only saves time: what goes wrong here goes wrong again, and is told, where the statement itself comes to it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace

import numpy as np

from rasteret_sql.collection.remote import is_remote_file
from rasteret_sql.collection.rows import LookAhead, Wanted
from rasteret_sql.raster.codec import decode_segment
from rasteret_sql.raster.crs import CRS84, transform_points
from rasteret_sql.raster.header import Layout

MOST_FILES = 4
MOST_CRS = 4
_lock = threading.Lock()
_met: OrderedDict[str, list[str]] = OrderedDict()
"""By file, of the last few."""


Within = Callable[[], AbstractContextManager[None]]


def get_ready(files: Sequence[str], bands: Sequence[str], *, overviews: bool, within: Within = nullcontext) -> None:
    """Begin with what reading these bands of a collection's files takes, in threads that end by themselves; they work ``within`` a context."""
    if len(files) > MOST_FILES or any(map(is_remote_file, files)):
        return
    for file in files:
        with suppress(OSError):  # gone meanwhile
            ahead = LookAhead(file, Wanted(tuple(bands), overviews))
            try:
                threading.Thread(target=_get_ready, args=(ahead, within), name="rasteret-ahead").start()
            except RuntimeError:  # no more threads: it is waited for, so it is done here
                ahead.run()


def _get_ready(ahead: LookAhead, within: Within) -> None:
    with within():
        bands = [band for record in ahead.run() for band in record if band is not None]
        met = list(dict.fromkeys(band.crs for band in bands))[:MOST_CRS]
        for crs in met:
            _find_way(crs)
        _leave(ahead.file, met)
        for layout in {band.layout.compression: band.layout for band in bands}.values():
            _load_codec(layout)


def _leave(file: str, met: list[str]) -> None:
    with _lock:
        _met.pop(file, None)
        _met[file] = met
        while len(_met) > MOST_FILES * 4:
            _met.popitem(last=False)


def crs_met(files: Sequence[str]) -> list[str]:
    """The CRSs of the records of some files, as far as they were looked up ahead; they may have changed since."""
    with _lock:
        return list(dict.fromkeys(crs for file in files for crs in _met.get(file, ())))


def _find_way(crs: str) -> None:
    """From the CRS of most geometries."""
    with suppress(Exception):
        transform_points(np.zeros(1), np.zeros(1), CRS84, crs)


def _load_codec(layout: Layout) -> None:
    """Imagecodecs loads a codec when it is first asked for: here for a segment that holds nothing."""
    with suppress(Exception):
        decode_segment(b"", replace(layout, tile_width=8, tile_height=8), 8)
