"""The pixels of zones, cut into chunks: rectangles of about a tile, small enough to be worked on at once.

A *zone* is a polygon. The zones of a record on one grid are cut along chunk borders; what a chunk needs (:class:`ChunkPixels`) is worked out from the
edges that cross it alone, so that a zone as large as a scene costs no memory of its size, and is the same for all records on that grid.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rasteret_sql.raster.fractions import CoverageSpans, coverage_spans
from rasteret_sql.raster.grid import Grid, Tiling, Window, tiles_of_windows
from rasteret_sql.raster.header import Layout
from rasteret_sql.reader.areas import nearest_pixels
from rasteret_sql.reader.band import Band
from rasteret_sql.reader.cache import Pixels
from rasteret_sql.reader.gather import Ints
from rasteret_sql.reader.levels import View
from rasteret_sql.reader.shapes import Objects

Floats = npt.NDArray[np.float64]

MIN_PIXELS = 1 << 18
"""Small tiles and strips are taken together up to this size: less costs more in calls than in pixels."""
MAX_PIXELS = 1 << 21
"""Larger segments (files of one strip) are worked on in parts of this size."""
COVERAGE_STEP = 2.0**-34
"""Coverage is kept in whole steps (6e-11 of a pixel): sums of up to half a million pixels are then exact, in any order of chunks and records."""
BOOK_BYTES = 64 << 20
"""Chunks kept for the other records on the same grid."""


def chunk_size(grid: Grid, layout: Layout) -> tuple[int, int]:
    """Height and width of a chunk: whole segments where these are of reasonable size."""
    width = layout.tile_width * max(1, 512 // layout.tile_width)
    height = layout.tile_height
    if width * height < MIN_PIXELS:
        height *= MIN_PIXELS // (width * height)
    elif width * height > MAX_PIXELS:
        height = max(1, MAX_PIXELS // width)
    return min(height, grid.height), width


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Pixels of a chunk that lie in one segment of a band."""

    positions: Ints | None
    """Positions in the chunk's arrays; None for all of them, in order."""
    index: Ints
    """Flat (row-major) place of each pixel in the segment, samples apart."""

    def copy(self, segment: Pixels, sample: int | None, target: Pixels) -> None:
        """Copy the pixels from the decoded segment into the chunk's array."""
        flat = segment.reshape(-1)
        index = self.index if sample is None else self.index * segment.shape[2] + sample
        if self.positions is None:
            np.take(flat, index, out=target, mode="clip")
        else:
            target[self.positions] = flat[index]


@dataclass(slots=True, eq=False)
class ChunkPixels:
    """All covered pixels of one chunk, zone after zone, row by row."""

    window: Window
    grid: Grid
    zones: Ints
    """Positions (ascending) of the zones met, in the list of the :class:`ZoneGrid`."""
    starts: Ints
    """Where each zone's pixels begin in the arrays below, and their end."""
    index: Ints
    """Flat place in the chunk's window."""
    coverage: Floats | None
    """Share of each pixel; None when all are covered whole."""
    corner: tuple[int, int]
    """Where the grid begins on the one for all records."""
    _parts: dict[tuple[Grid, int, int], dict[int, Part]] = field(default_factory=dict, init=False)

    @property
    def nbytes(self) -> int:
        return self.index.nbytes * 2 + (0 if self.coverage is None else self.coverage.nbytes)

    def rows_cols(self) -> tuple[Ints, Ints]:
        """Row and column of each pixel in the grid."""
        rows, cols = np.divmod(self.index, self.window.width)
        return rows + self.window.row, cols + self.window.col

    def places(self) -> tuple[Ints, Ints]:
        """Row and column of each pixel in the grid for all records, where there is one."""
        rows, cols = self.rows_cols()
        return rows + self.corner[0], cols + self.corner[1]

    def parts(self, band: Band) -> dict[int, Part]:
        """By segment of the band: which pixels lie in it, and where. Pixels outside of a coarser band's image are in none."""
        key = (band.grid, band.layout.tile_height, band.layout.tile_width)
        if key not in self._parts:
            self._parts[key] = self._cut(band)
        return self._parts[key]

    def _cut(self, band: Band) -> dict[int, Part]:
        height, width, across = band.layout.tile_height, band.layout.tile_width, band.level.tiles_across
        window = self.window
        if (
            band.grid == self.grid
            and window.width == width
            and window.col % width == 0
            and window.row // height == (window.row + window.height - 1) // height
        ):
            inside = self.index + (window.row % height) * width if window.row % height else self.index
            return {(window.row // height) * across + window.col // width: Part(None, inside)}
        rows, cols = self._on(band.grid)
        known = np.flatnonzero((rows >= 0) & (cols >= 0))
        rows, cols = rows[known], cols[known]
        segments = (rows // height) * across + cols // width
        near = segments - segments.min(initial=0)
        order = np.argsort(near.astype(np.uint16) if near.max(initial=0) < 1 << 16 else near, kind="stable")  # 16 bits: a radix sort
        firsts = np.flatnonzero(np.diff(segments[order], prepend=-1))
        inside = (rows % height) * width + cols % width
        groups = np.split(order, firsts[1:])
        return {int(segments[group[0]]): Part(known[group], inside[group]) for group in groups if len(group)}

    def _on(self, grid: Grid) -> tuple[Ints, Ints]:
        """Row and column of each pixel on a band's own grid; -1 outside."""
        if grid == self.grid:
            return self.rows_cols()
        lines, columns = nearest_pixels(self.grid, self.window, grid)
        rows, cols = np.divmod(self.index, self.window.width)
        return lines[rows], columns[cols]


class ZoneGrid:
    """Zones on one grid, and which chunks they meet."""

    def __init__(self, zones: Ints, shapes: Objects, windows: Ints, view: View, rule: str, size: tuple[int, int]) -> None:
        """``size``: height and width of a chunk."""
        self.zones = zones
        self.grid = grid = view.grid
        self._corner = view.corner
        self._ruled = view.ruled(rule)
        self._shapes = shapes
        self._windows = windows
        self._rule = rule
        height, width = size
        self._tiling = Tiling(grid.width, grid.height, width, height)
        index, chunk = tiles_of_windows(self._tiling, windows)
        order = np.argsort(chunk, kind="stable")
        self.chunks, firsts = np.unique(chunk[order], return_index=True)
        self._members = np.split(index[order], firsts[1:])

    def members(self, number: int) -> Ints:
        """Positions of the zones whose windows meet the ``number``-th chunk."""
        return self._members[number]

    def pixels(self, number: int) -> ChunkPixels:
        """The covered pixels of the ``number``-th chunk."""
        chunk, members = int(self.chunks[number]), self._members[number]
        tiling = self._tiling
        row, col = chunk // tiling.across * tiling.tile_height, chunk % tiling.across * tiling.tile_width
        height = min(tiling.tile_height, self.grid.height - row)
        windows = _clip(self._windows[members], row, col, height, min(tiling.tile_width, self.grid.width - col))
        grid, (top, left) = self._ruled
        spans = coverage_spans(self._shapes[members], grid, windows + np.array([top, left, 0, 0]), self._rule)
        if (top, left) != (0, 0):
            spans = spans._replace(row=spans.row - top, start=spans.start - left, stop=spans.stop - left)
        return _expand(spans, Window(row, col, height, tiling.tile_width), members, self.grid, self._corner)


def _clip(windows: Ints, row: int, col: int, height: int, width: int) -> Ints:
    """The parts of windows inside a rectangle."""
    top, left = np.maximum(windows[:, 0], row), np.maximum(windows[:, 1], col)
    bottom, right = np.minimum(windows[:, 0] + windows[:, 2], row + height), np.minimum(windows[:, 1] + windows[:, 3], col + width)
    return np.stack([top, left, np.maximum(bottom - top, 0), np.maximum(right - left, 0)], axis=1)


def _expand(spans: CoverageSpans, window: Window, members: Ints, grid: Grid, corner: tuple[int, int]) -> ChunkPixels:
    """Runs of pixels to single pixels."""
    lengths = spans.stop - spans.start
    ends = np.cumsum(lengths)
    count = int(ends[-1]) if len(ends) else 0
    first = (spans.row - window.row) * window.width + spans.start - window.col
    index = np.repeat(first - (ends - lengths), lengths)
    index += np.arange(count)
    runs = np.flatnonzero(np.diff(spans.geometry, prepend=-1))
    starts = np.append((ends - lengths)[runs], count)
    whole = bool((spans.coverage == 1.0).all())
    coverage = None if whole else np.repeat(np.maximum(np.round(spans.coverage / COVERAGE_STEP), 1) * COVERAGE_STEP, lengths)
    return ChunkPixels(window, grid, members[spans.geometry[runs]], starts, index, coverage, corner)


class ChunkBook:
    """Chunks worked out lately, bounded in bytes; records on one grid share them. Thread-safe."""

    def __init__(self, max_bytes: int = BOOK_BYTES) -> None:
        self._lock = threading.Lock()
        self._max_bytes = max_bytes
        self._chunks: OrderedDict[tuple[ZoneGrid, int], ChunkPixels] = OrderedDict()
        self._nbytes = 0

    def pixels(self, zones: ZoneGrid, number: int) -> ChunkPixels:
        """The chunk, worked out again when it was forgotten."""
        key = (zones, number)
        with self._lock:
            found = self._chunks.get(key)
            if found is not None:
                self._chunks.move_to_end(key)
                return found
        made = zones.pixels(number)
        with self._lock:
            if key not in self._chunks:
                self._chunks[key] = made
                self._nbytes += made.nbytes
                while self._nbytes > self._max_bytes and len(self._chunks) > 1:
                    self._nbytes -= self._chunks.popitem(last=False)[1].nbytes
        return made
