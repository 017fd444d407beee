"""Chunks of records whose bands go through the warper: read window by window, as arrays are, and reduced as soon as they are there.

A band that is resampled cannot be taken from its segments as they arrive: a pixel is told from several of them. So the windows of a chunk are read as
:func:`rasteret_sql.reader.warp.read_views` reads those of arrays, so many at once as the query may hold, and a pixel's value depends on no window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rasteret_sql.raster.grid import Window
from rasteret_sql.reader.areas import Windows
from rasteret_sql.reader.band import Band
from rasteret_sql.reader.blocks import Block
from rasteret_sql.reader.chunks import MIN_PIXELS, ChunkPixels
from rasteret_sql.reader.cost import segments_under
from rasteret_sql.reader.engine import Query
from rasteret_sql.reader.gather import Gathered, Ints
from rasteret_sql.reader.levels import View, source_windows
from rasteret_sql.reader.warp import ViewRequest, read_views, view_nbytes

SOURCE_PIXELS = 1 << 20
"""Of a band that a chunk is told from: four tiles of usual size."""
CALL_PIXELS = 1 << 13
"""What the warper does in the time that a call of it takes."""
ROOM = 4
"""A chunk takes at most this share of the memory that a query may hold, if one pixel does not take more."""

Reduce = Callable[[ChunkPixels, Mapping[int, Gathered], Sequence[tuple[int, Ints, str]]], None]
"""Takes a chunk's bands by position, and for each band that could not be read the positions of the zones concerned."""


def block_size(view: View, memory_bytes: int) -> tuple[int, int]:
    """Height and width of the chunks of a view: few enough pixels that what they are told from is no more than a few tiles."""
    scales = [view.scales(band) for band in view.bands if band is not None and not view.copies(band)]
    under = max(max(1.0, across) * max(1.0, down) for across, down in scales)
    side = max(1, math.isqrt(int(min(MIN_PIXELS, SOURCE_PIXELS / under))))
    row, col = view.grid.height // 2, view.grid.width // 2
    while side > 1 and view_nbytes(view, np.array([[row, col, side, side]]))[0] > memory_bytes // ROOM:
        side //= 2
    return side, side


@dataclass(slots=True, eq=False)
class BlockChunk:
    """One chunk of one record: the windows that it is read by, and what becomes of its pixels."""

    view: View
    pixels: Callable[[], ChunkPixels]
    reduce: Reduce
    windows: Windows = field(init=False)
    bounds: Ints = field(init=False)
    """Window ``i`` holds the pixels of the zones ``bounds[i]:bounds[i + 1]``."""
    _segments: list[tuple[Band, list[int]]] = field(init=False)

    def __post_init__(self) -> None:
        self._divide(_around(self.pixels()))
        apart = self._segments
        together = _hull(self.windows)
        pixels = self.windows[:, 2] * self.windows[:, 3] + CALL_PIXELS
        if len(self.windows) > 1 and together[0, 2] * together[0, 3] <= int(pixels.sum()):
            zones = self.bounds
            self.windows, self.bounds = together, zones[[0, -1]]
            self._segments = self._under()
            if any(len(mine) > len(others) for (_, mine), (_, others) in zip(self._segments, apart, strict=True)):
                self._divide(_around(self.pixels()))

    def _divide(self, windows: Windows) -> None:
        """Read each zone by itself."""
        self.windows, self.bounds = windows, np.arange(len(windows) + 1)
        self._segments = self._under()

    def _under(self) -> list[tuple[Band, list[int]]]:
        """The segments of each band, and of its mask, that the windows are told from."""
        found: list[tuple[Band, list[int]]] = []
        for band in self.view.bands:
            if band is not None:
                sources = source_windows(self.view, band, self.windows)
                found += [(layer, segments_under(layer, sources).tolist()) for layer in (band, band.mask) if layer is not None]
        return found

    def segments(self) -> list[tuple[Band, list[int]]]:
        return self._segments

    @property
    def nbytes(self) -> int:
        """What reading it takes."""
        return int(view_nbytes(self.view, self.windows).sum())

    def requests(self) -> list[ViewRequest]:
        windows = [Window(*window) for window in self.windows.tolist()]
        return [ViewRequest(self.view, window) for window in windows]

    def take(self, blocks: Sequence[Block]) -> bool:
        """Reduce what was read. False where windows of several zones failed: it is then divided, to be read again, and tell which zones did."""
        if len(blocks) < self.bounds[-1] and any(block.failed for block in blocks):
            self._divide(_around(self.pixels()))
            return False
        pixels = self.pixels()
        rows, cols = pixels.rows_cols()
        edges = pixels.starts[self.bounds].tolist()
        found: dict[int, Gathered] = {}
        for index, band in enumerate(self.view.bands):
            if band is None:
                continue
            taken = Gathered(np.empty(len(pixels.index), band.dtype), np.zeros(len(pixels.index), bool))
            for number, (block, (row, col, _, width)) in enumerate(zip(blocks, self.windows.tolist(), strict=True)):
                here, values = slice(edges[number], edges[number + 1]), block.values[index]
                if values is not None:
                    places = (rows[here] - row) * width + cols[here] - col
                    taken.values[here], taken.valid[here] = values.ravel()[places], block.valid[index].ravel()[places]
            found[index] = taken
        failures = [
            (index, np.arange(self.bounds[number], self.bounds[number + 1]), message)
            for number, block in enumerate(blocks)
            for index, message in block.failed.items()
        ]
        self.reduce(pixels, found, failures)
        return True


def read_block_chunks(chunks: Sequence[BlockChunk], query: Query) -> None:
    """Read and reduce all chunks, so many at once as the query's memory holds."""
    for batch in _batches(chunks, query.settings.memory_bytes):
        again = _read(batch, query)
        for chunk in again:
            _read([chunk], query)


def _read(chunks: Sequence[BlockChunk], query: Query) -> list[BlockChunk]:
    """The chunks of these that must be read again, as they now are."""
    requests = [chunk.requests() for chunk in chunks]
    blocks = iter(read_views([request for mine in requests for request in mine], query))
    found = [[next(blocks) for _ in mine] for mine in requests]
    done = query.engine.decoders.map(lambda chunk, mine: chunk.take(mine), chunks, found)
    return [chunk for chunk, complete in zip(chunks, done, strict=True) if not complete]


def _batches(chunks: Sequence[BlockChunk], room: int) -> Iterator[list[BlockChunk]]:
    batch: list[BlockChunk] = []
    held = 0
    for chunk in chunks:
        nbytes = chunk.nbytes
        if batch and held + nbytes > room:
            yield batch
            batch, held = [], 0
        batch.append(chunk)
        held += nbytes
    if batch:
        yield batch


def _around(pixels: ChunkPixels) -> Windows:
    """The window around the pixels of each zone."""
    rows, cols = pixels.rows_cols()
    firsts = pixels.starts[:-1]
    top, left = np.minimum.reduceat(rows, firsts), np.minimum.reduceat(cols, firsts)
    bottom, right = np.maximum.reduceat(rows, firsts) + 1, np.maximum.reduceat(cols, firsts) + 1
    return np.stack([top, left, bottom - top, right - left], axis=1)


def _hull(windows: Windows) -> Windows:
    """The window around all."""
    first, last = windows[:, :2].min(axis=0), (windows[:, :2] + windows[:, 2:]).max(axis=0)
    return np.concatenate([first, last - first])[None, :]
