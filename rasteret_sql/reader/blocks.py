"""Blocks: the pixels of one record under one geometry, all bands, as one read fills them.

The pixels of a band lie in one stretch of memory for all blocks of a read, one after the other: what becomes of them, an Arrow array, takes the
stretch as it is. The stretch is zeroed by the system when it is first written to, so that asking for segments need not wait for it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from rasteret_sql.errors import RasteretError
from rasteret_sql.raster.grid import Grid, Window
from rasteret_sql.reader.band import Band, fill_value
from rasteret_sql.reader.cache import Pixels
from rasteret_sql.reader.validity import band_key

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class BlockRequest:
    """One record's bands (None where it lacks one) under one window of its read grid."""

    bands: tuple[Band | None, ...]
    grid: Grid
    window: Window
    mask: Bools | None = None
    """(height, width): pixels that the geometry selects; None: all."""


@dataclass(slots=True, eq=False)
class Block:
    """Pixels of one request: per band (height, width) values and validity."""

    values: list[Pixels | None]
    valid: list[Bools]
    errors: list[str] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    """Bands, by position, that could not be read, and why."""

    def fail(self, bands: Sequence[Band | None], part: int | Hashable, error: RasteretError) -> None:
        """A segment of a band (by position) or of a mask (by key) could not be read: no pixel of that band, or of those it masks, is valid."""
        for index, band in enumerate(bands):
            if index == part or (band is not None and band.mask is not None and band_key(band.mask) == part):
                self.failed.setdefault(index, str(error))
        if str(error) not in self.errors:
            self.errors.append(str(error))

    def select(self, mask: Bools) -> None:
        """Of (height, width) pixels, those that a geometry selects: no other is valid."""
        for valid in self.valid:
            np.logical_and(valid, mask, out=valid)

    @property
    def nodata(self) -> bool:
        """No band has a single valid pixel."""
        return not any(map(np.count_nonzero, self.valid))


def blank_blocks(requests: Sequence[BlockRequest]) -> list[Block]:
    """Blocks of what sparse segments are filled with; nothing is valid yet."""
    values, valid = _Stretches(), _Stretches()
    for request in requests:
        for index, band in enumerate(request.bands):
            valid.count((index, np.dtype(bool)), request.window)
            if band is not None:
                values.count((index, band.dtype), request.window)
    return [_blank(request, values, valid) for request in requests]


def _blank(request: BlockRequest, values: _Stretches, valid: _Stretches) -> Block:
    block = Block([], [])
    for index, band in enumerate(request.bands):
        block.valid.append(valid.next((index, np.dtype(bool)), request.window))
        if band is None:
            block.values.append(None)
            continue
        pixels = values.next((index, band.dtype), request.window)
        fill = fill_value(band.dtype, band.nodata)
        if fill != 0:
            pixels[:] = fill
        block.values.append(pixels)
    return block


class _Stretches:
    """Stretches of zeros by band and type: counted first, then handed out window after window."""

    def __init__(self) -> None:
        self._sizes: dict[tuple[int, np.dtype[Any]], int] = {}
        self._stretches: dict[tuple[int, np.dtype[Any]], tuple[npt.NDArray[Any], int]] = {}

    def count(self, kind: tuple[int, np.dtype[Any]], window: Window) -> None:
        self._sizes[kind] = self._sizes.get(kind, 0) + window.height * window.width

    def next(self, kind: tuple[int, np.dtype[Any]], window: Window) -> npt.NDArray[Any]:
        if kind not in self._stretches:
            self._stretches[kind] = np.zeros(self._sizes[kind], kind[1]), 0
        stretch, start = self._stretches[kind]
        stop = start + window.height * window.width
        self._stretches[kind] = stretch, stop
        return stretch[start:stop].reshape(window.height, window.width)
