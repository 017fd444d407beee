"""What a read would cost, before it is made: distinct segments, requests, bytes. Nothing is fetched here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rasteret_sql.errors import BudgetExceeded
from rasteret_sql.raster.grid import tiles_of_windows
from rasteret_sql.reader.band import Band
from rasteret_sql.reader.cache import SegmentKey
from rasteret_sql.reader.engine import Query
from rasteret_sql.reader.gather import PixelSet
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


def segments_under(band: Band, windows: Ints) -> Ints:
    """Distinct segment numbers under windows (n, 4: row, col, height, width) of the band's grid."""
    return np.unique(tiles_of_windows(band.level, windows)[1])


def cost_of(band: Band, segments: Ints, query: Query, counted: dict[str, Ints]) -> Cost:
    """Cost of some segments of a band; sparse ones are free, and so are those ``counted`` before (href → offsets): the bands of a chunky file share
    theirs.
    """
    starts, lengths = band.level.offsets[segments], band.level.byte_counts[segments]
    fresh = (lengths > 0) & ~np.isin(starts, counted.get(band.href, ()))
    starts, lengths = starts[fresh], lengths[fresh]
    counted[band.href] = np.append(counted.get(band.href, starts[:0]), starts)
    cached = np.array([query.engine.cache.peek(SegmentKey(band.href, int(start), band.etag)) for start in starts], dtype=bool)
    missing = ~cached
    gap = int(GAP_FRACTION * float(lengths[missing].mean())) if missing.any() else 0
    merged = coalesce(starts[missing], lengths[missing], max_gap=gap, max_length=MAX_REQUEST_BYTES) if missing.any() else []
    return Cost(len(starts), len(merged), int(lengths.sum()), int(lengths[cached].sum()))


def cost_under(band: Band, windows: Ints, query: Query, counted: dict[str, Ints]) -> Cost:
    """Cost of the segments of a band, and of its mask, under windows (n, 4) of the band's grid."""
    cost = cost_of(band, segments_under(band, windows), query, counted)
    return cost if band.mask is None else cost + cost_of(band.mask, segments_under(band.mask, windows), query, counted)


def check_budget(needed: int, query: Query) -> None:
    """Refuse what is, with what the query has fetched already, over ``rasteret_max_bytes``, with both figures."""
    limit = query.settings.max_bytes
    needed += query.metrics.snapshot().bytes
    if needed > limit:
        raise BudgetExceeded(
            f"{query.function} would fetch {needed:,} bytes, more than rasteret_max_bytes = {limit:,}; "
            "filter records or geometries first, or SET VARIABLE rasteret_max_bytes = <bytes>"
        )


def bytes_of_pixels(reads: Iterable[tuple[Band, PixelSet]], query: Query) -> int:
    """Stored bytes of the distinct segments under pixels of bands, and of their masks, that are not in the cache."""
    seen: dict[SegmentKey, int] = {}
    for band, pixels in with_masks(list(reads))[0]:
        segments = pixels.by_segment(band.layout, band.level.tiles_across).ids
        starts, lengths = band.level.offsets[segments].tolist(), band.level.byte_counts[segments].tolist()
        seen.update((SegmentKey(band.href, start, band.etag), length) for start, length in zip(starts, lengths, strict=True))
    return sum(length for key, length in seen.items() if not query.engine.cache.peek(key))
