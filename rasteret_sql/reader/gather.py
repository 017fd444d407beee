"""Single pixels of many bands: the primitive under point sampling, neighbourhoods and the search for a valid neighbour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from rasteret_sql.errors import RasteretError
from rasteret_sql.raster.decoded import DecodedSegment, SegmentPixels
from rasteret_sql.raster.header import Layout
from rasteret_sql.reader.band import Band, fill_value
from rasteret_sql.reader.cache import Pixels, SegmentKey
from rasteret_sql.reader.engine import Query
from rasteret_sql.reader.segments import SegmentJob, read_segments
from rasteret_sql.reader.validity import valid_pixels, with_masks

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(slots=True, eq=False)
class PixelSet:
    """Pixels (row, col) of one grid, all inside it. Their order by segment is worked out once per tiling and shared by all bands that use the set."""

    rows: Ints
    cols: Ints
    _by_tiling: dict[tuple[int, int, int], _Segmented] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return len(self.rows)

    def by_segment(self, layout: Layout, tiles_across: int) -> _Segmented:
        tiling = (layout.tile_height, layout.tile_width, tiles_across)
        if tiling not in self._by_tiling:
            self._by_tiling[tiling] = _segmented(self.rows, self.cols, *tiling)
        return self._by_tiling[tiling]


@dataclass(frozen=True, slots=True, eq=False)
class _Segmented:
    """Pixels in segment order: segment ``ids[i]`` has ``order[starts[i]:starts[i + 1]]``, at ``places[i]`` inside it."""

    order: Ints
    ids: Ints
    starts: Ints
    places: list[SegmentPixels]


def _segmented(rows: Ints, cols: Ints, tile_height: int, tile_width: int, tiles_across: int) -> _Segmented:
    tile_rows, rows_inside = np.divmod(rows, tile_height)
    tile_cols, cols_inside = np.divmod(cols, tile_width)
    ids = tile_rows * tiles_across + tile_cols
    # a stable sort of 16-bit integers is a radix sort: seven times faster for 100,000 points
    order = np.argsort(ids.astype(np.uint16) if len(ids) and ids.max() < 1 << 16 else ids, kind="stable")
    ids, rows_inside, cols_inside = ids[order], rows_inside[order], cols_inside[order]
    firsts = np.flatnonzero(np.diff(ids, prepend=-1))
    starts = np.append(firsts, len(order))
    places = [SegmentPixels(rows_inside[start:stop], cols_inside[start:stop]) for start, stop in pairwise(starts.tolist())]
    return _Segmented(order, ids[firsts], starts, places)


@dataclass(slots=True, eq=False)
class Gathered:
    """Values of one band at one pixel set, in the set's order."""

    values: Pixels
    valid: Bools
    errors: list[tuple[Ints, RasteretError]] = field(default_factory=list)
    """Positions whose segment could not be read, and why."""


def gather(requests: Sequence[tuple[Band, PixelSet]], query: Query) -> list[Gathered]:
    """Read every (band, pixels) pair; all segments of all pairs and of the bands' masks make one plan, each is fetched and decoded once."""
    wide, masks = with_masks(requests)
    results = [Gathered(np.full(len(pixels), fill_value(band.dtype, band.nodata), dtype=band.dtype), np.empty(0, bool)) for band, pixels in wide]
    jobs: list[SegmentJob] = []
    places: list[tuple[int, Ints]] = []
    for index, (band, pixels) in enumerate(wide):
        parts = pixels.by_segment(band.layout, band.level.tiles_across)
        for i, segment in enumerate(parts.ids):
            positions = parts.order[parts.starts[i] : parts.starts[i + 1]]
            use = _Scatter(results[index].values, positions, parts.places[i], band.segment_sample)
            job = segment_job(band, int(segment), use)
            if job is not None:
                jobs.append(job)
                places.append((index, positions))
    for failed, error in read_segments(jobs, query).items():
        index, positions = places[failed]
        results[index].errors.append((positions, error))
    for (band, _), mask, result in zip(requests, masks, results, strict=False):  # the masks' own results lie behind
        found = None if mask is None else results[mask]
        valid = valid_pixels(band, result.values, None if found is None else found.values)
        result.valid = np.ones(len(result.values), bool) if valid is None else valid
        if found is not None:
            result.errors += found.errors
        for positions, _ in result.errors:
            result.valid[positions] = False
    return results[: len(requests)]


@dataclass(frozen=True, slots=True, eq=False)
class _Scatter:
    """Put the wanted pixels of a decoded segment where they belong in the result."""

    target: Pixels
    positions: Ints
    places: SegmentPixels
    sample: int | None

    def __call__(self, segment: DecodedSegment) -> None:
        self.target[self.positions] = segment.at(self.places, self.sample)


def segment_job(band: Band, segment: int, use: Callable[[DecodedSegment], None]) -> SegmentJob | None:
    """The job that reads one segment of a band; None for a sparse one, which is nodata without a read.

    A segment is always decoded whole, so that it serves later queries too; the part that a query wants would be cheaper only for that query.
    """
    length = int(band.level.byte_counts[segment])
    if length == 0:
        return None
    key = SegmentKey(band.href, int(band.level.offsets[segment]), band.etag)
    return SegmentJob(key, length, band.layout, segment_rows(band, segment), band.size, use)


def segment_rows(band: Band, segment: int) -> int:
    """Rows stored in a segment: its full height, less in the last strip of a file."""
    if band.layout.tiled:
        return band.layout.tile_height
    first = (segment // band.level.tiles_across) * band.layout.tile_height
    return min(band.layout.tile_height, band.level.height - first)
