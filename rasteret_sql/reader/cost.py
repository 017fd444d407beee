"""What a read would cost, before it is made: distinct segments, requests, bytes. Nothing is fetched here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rasteret_sql.errors import BudgetExceeded
from rasteret_sql.raster.grid import Tiling, tiles_of_windows
from rasteret_sql.reader.band import Band
from rasteret_sql.reader.cache import SegmentKey
from rasteret_sql.reader.engine import Query
from rasteret_sql.reader.gather import PixelSet
from rasteret_sql.reader.ledger import Bools, segment_keys
from rasteret_sql.reader.segments import GAP_FRACTION, MAX_REQUEST_BYTES
from rasteret_sql.reader.validity import with_masks
from rasteret_sql.storage.ranges import coalesce

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cost:
    """One band of one record: distinct segments under the pairs and what fetching them takes."""

    tiles: int
    requests: int
    bytes: int
    bytes_cached: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.tiles + other.tiles, self.requests + other.requests, self.bytes + other.bytes, self.bytes_cached + other.bytes_cached)


class Stored(NamedTuple):
    """Segments of a band that take bytes to read: sparse ones are left out."""

    band: Band
    starts: Ints
    lengths: Ints

    @classmethod
    def of(cls, band: Band, segments: Ints) -> Stored:
        starts, lengths = band.level.offsets[segments], band.level.byte_counts[segments]
        here = lengths > 0
        return cls(band, starts[here], lengths[here])

    def only(self, keep: Bools) -> Stored:
        return Stored(self.band, self.starts[keep], self.lengths[keep])


def segments_under(band: Band, windows: Ints) -> Ints:
    """Distinct segment numbers under windows (n, 4: row, col, height, width) of the band's grid."""
    return np.unique(tiles_of_windows(band.level, windows)[1])


def stored_under(reads: Iterable[tuple[Band, Ints]]) -> list[Stored]:
    """Segments of bands, and of their masks, under windows (n, 4) of each band's grid. They are searched once for bands that are tiled alike."""
    known: dict[Tiling, tuple[Ints, Ints]] = {}
    stored = []
    for band, windows in reads:
        for part in (band, band.mask):
            if part is None:
                continue
            tiling = Tiling.of(part.level)
            if tiling not in known or known[tiling][0] is not windows:
                known[tiling] = windows, segments_under(part, windows)
            stored.append(Stored.of(part, known[tiling][1]))
    return stored


def fresh_of(parts: Sequence[Stored], query: Query) -> list[Stored]:
    """What of these segments no call of the statement has asked for before: bands of a chunky file share theirs, and so do records of one file."""
    if not parts:
        return []
    fresh = query.ledger.claim(np.concatenate([segment_keys(part.band.href, part.starts) for part in parts]))
    bounds = np.cumsum([len(part.starts) for part in parts])[:-1]
    return [part.only(mine) for part, mine in zip(parts, np.split(fresh, bounds), strict=True)]


def cost_of(part: Stored, query: Query) -> Cost:
    """Cost of some segments of a band."""
    starts, lengths = part.starts, part.lengths
    cached = _cached(part, query)
    missing = ~cached
    gap = int(GAP_FRACTION * float(lengths[missing].mean())) if missing.any() else 0
    merged = coalesce(starts[missing], lengths[missing], max_gap=gap, max_length=MAX_REQUEST_BYTES) if missing.any() else []
    return Cost(len(starts), len(merged), int(lengths.sum()), int(lengths[cached].sum()))


def announce_read(parts: Sequence[Stored], query: Query) -> None:
    """These segments are going to be read: write what is neither known nor in the cache into the statement's ledger."""
    query.ledger.add(sum(int(part.lengths[~_cached(part, query)].sum()) for part in fresh_of(parts, query)))


def check_budget(query: Query) -> None:
    """Refuse a statement that would fetch, with what it has fetched already, more than ``rasteret_max_bytes``, with both figures."""
    needed, limit = query.ledger.nbytes, query.settings.max_bytes
    if needed > limit:
        raise BudgetExceeded(
            f"{query.function} would fetch {needed:,} bytes, more than rasteret_max_bytes = {limit:,}; "
            "filter records or geometries first, or SET VARIABLE rasteret_max_bytes = <bytes>"
        )


def stored_pixels(reads: Sequence[tuple[Band, PixelSet]]) -> list[Stored]:
    """Segments under pixels of bands, and of their masks."""
    wide = with_masks(reads)[0]
    return [Stored.of(band, pixels.by_segment(band.layout, band.level.tiles_across).ids) for band, pixels in wide]


def _cached(part: Stored, query: Query) -> Bools:
    peek, band = query.engine.cache.peek, part.band
    return np.array([peek(SegmentKey(band.href, start, band.etag)) for start in part.starts.tolist()], dtype=bool)
