"""Pixel arrays under geometries: one block per (record, geometry), all blocks of a call read as one plan.

Bands of different resolution share one grid per record, the finest of the bands asked for; the others are read by the nearest pixel.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from rasteret_sql.errors import UnsupportedRaster
from rasteret_sql.raster.decoded import DecodedSegment
from rasteret_sql.raster.grid import Grid, Window
from rasteret_sql.reader.band import Band
from rasteret_sql.reader.blocks import Block, BlockRequest, Bools, blank_blocks
from rasteret_sql.reader.cache import Pixels
from rasteret_sql.reader.engine import Query
from rasteret_sql.reader.gather import Ints, segment_job
from rasteret_sql.reader.segments import SegmentJob, read_segments
from rasteret_sql.reader.validity import band_key, valid_pixels

Windows = npt.NDArray[np.int64]
"""(n, 4): row, col, height, width."""
_ON_EDGE = 1e-9
"""Share of a pixel by which a centre may miss an edge and still lie on it, so in the pixel right of or below it: GDAL's warper has 1e-10."""


def read_grid(bands: Sequence[Band | None]) -> tuple[Grid, str] | None:
    """Grid and CRS that a record is read on: the finest of its bands (the first of equals); None without any band."""
    present = [band for band in bands if band is not None]
    if not present:
        return None
    crs = present[0].crs
    if other := next((band for band in present if band.crs != crs), None):
        raise UnsupportedRaster(
            f"bands {present[0].name} ({crs}) and {other.name} ({other.crs}) of one record lie in different CRSs; read them one by one"
        )
    finest = min(present, key=lambda band: abs(band.grid.transform[0] * band.grid.transform[4] - band.grid.transform[1] * band.grid.transform[3]))
    return finest.grid, crs


def block_nbytes(bands: Sequence[Band | None], windows: Windows) -> Ints:
    """Bytes of each window's block: the pixels of all bands, their validity and their masks."""
    present = [band for band in bands if band is not None]
    per_pixel = sum(band.dtype.itemsize + 1 for band in present) + sum(mask.dtype.itemsize for mask in _masks(present).values())
    return windows[:, 2] * windows[:, 3] * per_pixel


def tile_order(band: Band, windows: Windows) -> Ints:
    """A key that sorts windows so that neighbours in the order share segments: by tile row, then tile column of the first corner."""
    return (windows[:, 0] // band.layout.tile_height) * band.level.tiles_across + windows[:, 1] // band.layout.tile_width


def read_blocks(requests: Sequence[BlockRequest], query: Query) -> list[Block]:
    """All blocks; every segment, of masks too, is fetched and decoded once."""
    blocks = blank_blocks(requests)
    masks = [_empty_masks(request) for request in requests]
    jobs: list[SegmentJob] = []
    owners: list[tuple[int, int | Hashable]] = []
    for number, (request, block) in enumerate(zip(requests, blocks, strict=True)):
        reads: list[tuple[int | Hashable, Band, Pixels]] = [(key, mask, out) for key, (mask, out) in masks[number].items()]
        for index, (band, values) in enumerate(zip(request.bands, block.values, strict=True)):
            if band is not None and values is not None:
                reads.append((index, band, values))
        for part, band, out in reads:
            for job in _jobs(band, request, out):
                jobs.append(job)
                owners.append((number, part))
    for position, error in read_segments(jobs, query).items():
        number, part = owners[position]
        blocks[number].fail(requests[number].bands, part, error)
    for request, block, held in zip(requests, blocks, masks, strict=True):
        for index, (band, values) in enumerate(zip(request.bands, block.values, strict=True)):
            if band is not None and values is not None and index not in block.failed:
                valid = valid_pixels(band, values, None if band.mask is None else held[band_key(band.mask)][1])
                block.valid[index][:] = True if valid is None else valid
                if band.grid != request.grid:
                    block.valid[index] &= _inside(band, request)
        if request.mask is not None:
            block.select(request.mask)
    return blocks


def _inside(band: Band, request: BlockRequest) -> Bools:
    """The pixels that lie inside of the image of a band of another resolution."""
    rows, cols = nearest_pixels(request.grid, request.window, band.grid)
    inside: Bools = (rows >= 0)[:, None] & (cols >= 0)[None, :]
    return inside


def _masks(bands: Sequence[Band | None]) -> dict[Hashable, Band]:
    """The masks of some bands, each once."""
    return {band_key(band.mask): band.mask for band in bands if band is not None and band.mask is not None}


def _empty_masks(request: BlockRequest) -> dict[Hashable, tuple[Band, Pixels]]:
    shape = (request.window.height, request.window.width)
    return {key: (mask, np.zeros(shape, mask.dtype)) for key, mask in _masks(request.bands).items()}


def _jobs(band: Band, request: BlockRequest, out: Pixels) -> Iterator[SegmentJob]:
    """One job per segment under the block, each copying its part."""
    window, tile_height, tile_width = request.window, band.layout.tile_height, band.layout.tile_width
    if band.grid == request.grid:
        down = _stretch(window.row, window.height, tile_height)
        across = _stretch(window.col, window.width, tile_width)
    else:
        rows, cols = nearest_pixels(request.grid, window, band.grid)
        down, across = _scattered(rows, tile_height), _scattered(cols, tile_width)
    for tile_row, lines, inside_rows in down:
        for tile_col, columns, inside_cols in across:
            segment = tile_row * band.level.tiles_across + tile_col
            job = segment_job(band, segment, _Copy(out[lines, columns], inside_rows, inside_cols, band.segment_sample))
            if job is not None:
                yield job


@dataclass(frozen=True, slots=True, eq=False)
class _Copy:
    """Copy the wanted rows and columns of a segment into a block."""

    target: Pixels
    rows: slice | Ints
    cols: slice | Ints
    sample: int | None

    def __call__(self, segment: DecodedSegment) -> None:
        if isinstance(self.rows, slice) and isinstance(self.cols, slice):
            segment.copy_window(self.rows, self.cols, self.sample, self.target)
            return
        pixels = segment.whole() if self.sample is None else segment.whole()[:, :, self.sample]
        self.target[:] = pixels[self.rows][:, self.cols]


_Cut = list[tuple[int, slice, slice | Ints]]
"""Rows or columns cut by tiles: the tile's number, which of them lie in it, and where in it."""


def _stretch(first: int, count: int, size: int) -> _Cut:
    """So many rows or columns from ``first`` on, in tiles of this size."""
    stop = first + count
    cut: _Cut = []
    for tile in range(first // size, -(-stop // size)):
        begin, end = max(first, tile * size), min(stop, (tile + 1) * size)
        cut.append((tile, slice(begin - first, end - first), slice(begin - tile * size, end - tile * size)))
    return cut


def _scattered(positions: Ints, size: int) -> _Cut:
    """Ascending or descending rows or columns, any of them repeated; negative ones (outside) are left out."""
    tiles = np.where(positions >= 0, positions // size, -1)
    edges = np.flatnonzero(np.diff(tiles, prepend=-2, append=-2))
    parts = [(int(tiles[start]), slice(start, stop)) for start, stop in pairwise(edges.tolist()) if tiles[start] >= 0]
    return [(tile, part, _as_slice(positions[part] - tile * size)) for tile, part in parts]


def _as_slice(positions: Ints) -> slice | Ints:
    """A slice where the positions are consecutive: a copy by slice costs a fraction of one by index."""
    first, last = int(positions[0]), int(positions[-1])
    return slice(first, last + 1) if last - first + 1 == len(positions) and (np.diff(positions) == 1).all() else positions


def nearest_pixels(grid: Grid, window: Window, source: Grid) -> tuple[Ints, Ints]:
    """Row and column of ``source`` under each pixel centre of the window's rows and columns; -1 outside. Axis-parallel grids only."""
    if any(g.transform[1] or g.transform[3] for g in (grid, source)):
        raise UnsupportedRaster("bands of different resolution on a rotated grid cannot be read together; read them one by one")
    a, _, c, _, e, f = grid.transform
    sa, _, sc, _, se, sf = source.transform
    cols = np.floor((c + a * (np.arange(window.col, window.col + window.width) + 0.5) - sc) / sa + _ON_EDGE).astype(np.int64)
    rows = np.floor((f + e * (np.arange(window.row, window.row + window.height) + 0.5) - sf) / se + _ON_EDGE).astype(np.int64)
    cols[(cols < 0) | (cols >= source.width)] = -1
    rows[(rows < 0) | (rows >= source.height)] = -1
    return rows, cols
