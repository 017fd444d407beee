"""Pixel arrays on the grid of a view: what can be copied is, the rest is read as stored and resampled when all of it is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from rasteret_sql.errors import UnsupportedRaster
from rasteret_sql.raster.grid import Grid, Window, window_transform
from rasteret_sql.raster.resample import Place, resample
from rasteret_sql.reader.areas import Windows, block_nbytes, read_blocks
from rasteret_sql.reader.band import Band, fill_value, finite_cast, integer_nodata
from rasteret_sql.reader.blocks import Block, BlockRequest
from rasteret_sql.reader.engine import Query
from rasteret_sql.reader.gather import Ints
from rasteret_sql.reader.levels import View, source_windows

_NUMBER_NBYTES = 4
"""Of a pixel's number, by which the nearest one is found."""
LARGE_PIXELS = 1 << 18
"""Of an array that is worth a thread of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class ViewRequest:
    """One record's view under one window of its grid."""

    view: View
    window: Window

    @property
    def bands(self) -> tuple[Band | None, ...]:
        return self.view.bands

    @property
    def grid(self) -> Grid:
        return self.view.grid


@dataclass(slots=True, eq=False)
class _Warp:
    """One band of a request that goes through the warper."""

    request: ViewRequest
    number: int
    """The request's position among all."""
    index: int
    band: Band
    source: BlockRequest
    found: Block = field(init=False)

    @property
    def pixels(self) -> int:
        """Of the larger one of its two arrays."""
        return max(window.height * window.width for window in (self.source.window, self.request.window))

    def run(self, *, raise_errors: bool) -> None:
        """Resample what was read; what could not be read stays invalid. Runs in a decoder thread."""
        values, valid = self.found.values[0], self.found.valid[0]
        if values is None or self.found.errors:
            return
        request, view = self.request, self.request.view
        height, width = values.shape
        source = Place(window_transform(self.band.grid, self.source.window), height, width, self.band.crs)
        target = Place(window_transform(view.grid, request.window), request.window.height, request.window.width, view.crs)
        nodata, scales = _telling_nodata(self.band), view.scales(self.band)
        try:
            self.found.values[0], self.found.valid[0] = resample(values, valid, nodata, source, target, view.method(self.band), scales)
        except UnsupportedRaster as error:
            if raise_errors:
                raise
            self.found.errors.append(f"{self.band.name}: {error}")


def read_views(requests: Sequence[ViewRequest], query: Query) -> list[Block]:
    """All blocks, of whole windows; every segment is fetched and decoded once."""
    copies = [_copied(request) for request in requests]
    warps = _warps(requests)
    read = read_blocks([*copies, *(warp.source for warp in warps)], query)
    blocks = read[: len(requests)]
    for warp, found in zip(warps, read[len(requests) :], strict=True):
        warp.found = found
    for _ in query.engine.decoders.map(partial(_run_all, raise_errors=query.raise_errors), _shares(warps)):
        pass
    for warp in warps:
        block, values, valid = blocks[warp.number], warp.found.values[0], warp.found.valid[0]
        block.errors += [error for error in warp.found.errors if error not in block.errors]
        block.failed.update(dict.fromkeys([warp.index] if warp.found.errors else [], "; ".join(warp.found.errors)))
        if warp.found.errors or values is None:
            block.valid[warp.index][:] = False
            continue
        block.values[warp.index], block.valid[warp.index] = values, valid
    for request, block in zip(requests, blocks, strict=True):
        _fill(request, block)
    return blocks


def view_nbytes(view: View, windows: Windows) -> Ints:
    """Bytes that reading each window takes: its block, and of bands that are resampled the pixels it is told from."""
    total = block_nbytes(view.bands, windows)
    for band in view.bands:
        if band is not None and not view.copies(band):
            sources = source_windows(view, band, windows)
            worked = 2 * max(band.dtype.itemsize, _NUMBER_NBYTES)  # here and in GDAL's file
            total = total + block_nbytes([band], sources) + worked * (_areas(sources) + _areas(windows))
    return total


def _areas(windows: Windows) -> Ints:
    areas: Ints = windows[:, 2] * windows[:, 3]
    return areas


def _copied(request: ViewRequest) -> BlockRequest:
    """The bands that are copied; None in the place of others."""
    bands = tuple(None if band is None or not request.view.copies(band) else band for band in request.bands)
    return BlockRequest(bands, request.grid, request.window)


def _warps(requests: Sequence[ViewRequest]) -> list[_Warp]:
    """The bands that are resampled and lie under their window. Windows of one view are placed together."""
    by_view: dict[int, list[int]] = {}
    for number, request in enumerate(requests):
        by_view.setdefault(id(request.view), []).append(number)
    found = []
    for numbers in by_view.values():
        view = requests[numbers[0]].view
        windows = [requests[number].window for number in numbers]
        table = np.array([(window.row, window.col, window.height, window.width) for window in windows], dtype=np.int64)
        for index, band in enumerate(view.bands):
            if band is None or view.copies(band):
                continue
            for number, (row, col, height, width) in zip(numbers, source_windows(view, band, table).tolist(), strict=True):
                if height and width:
                    source = BlockRequest((band,), band.grid, Window(row, col, height, width))
                    found.append(_Warp(requests[number], number, index, band, source))
    return found


def _shares(warps: Sequence[_Warp]) -> list[list[_Warp]]:
    """What a thread does at once: a large array, or all small ones. Threads that call GDAL for a millisecond wait for each other most of it."""
    small = [warp for warp in warps if warp.pixels < LARGE_PIXELS]
    large = [[warp] for warp in warps if warp.pixels >= LARGE_PIXELS]
    return [small, *large] if small else large


def _run_all(warps: Sequence[_Warp], *, raise_errors: bool) -> None:
    for warp in warps:
        warp.run(raise_errors=raise_errors)


def _fill(request: ViewRequest, block: Block) -> None:
    """Bands that are neither copied nor under the window, or could not be read: nothing valid."""
    for index, band in enumerate(request.bands):
        if band is not None and block.values[index] is None:
            shape = request.window.height, request.window.width
            block.values[index] = np.full(shape, fill_value(band.dtype, band.nodata), dtype=band.dtype)


def _telling_nodata(band: Band) -> float | None:
    """The nodata value that alone tells a band's invalid pixels, if one does and a pixel can hold it."""
    if band.mask is not None or band.nodata is None:
        return None
    return finite_cast(band.nodata, band.dtype) if band.dtype.kind == "f" else integer_nodata(band.nodata, band.dtype)
