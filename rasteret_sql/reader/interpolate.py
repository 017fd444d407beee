"""Values between pixel centres, by the rules of GDAL's warper at the raster's own resolution.

``bilinear`` weighs the 2 x 2 pixels around the point; those that are nodata or off the raster are left out and the other weights scaled up to 1.
``cubic`` is Keys' convolution with a = -0.5 over 4 x 4 pixels (Catmull-Rom; R. Keys, IEEE Trans. ASSP 29, 1981); where one of the sixteen is nodata
or off the raster, bilinear takes its place. Both have a value exactly where the pixel under the point has one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rasteret_sql.raster.grid import Grid
from rasteret_sql.reader.around import Around, square
from rasteret_sql.reader.gather import Bools, Gathered, Ints, PixelSet
from rasteret_sql.reader.visits import Floats

SIDES = {"bilinear": 2, "cubic": 4}
"""Pixels each way."""


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """The pixels around some points of one grid, and what each weighs; shared by all bands on the grid."""

    around: Around
    row: Floats
    col: Floats
    """How far each point lies below and right of the last pixel centre before it: 0 to 1."""
    own: Ints
    """Which of its pixels each point lies in."""
    side: int

    @classmethod
    def of(cls, grid: Grid, col: Floats, row: Floats, method: str) -> Kernel:
        """``col`` and ``row`` are pixel coordinates inside the grid (pixel centres at .5)."""
        side = SIDES[method]
        reach = side // 2 - 1
        first_row, first_col = np.floor(row - 0.5), np.floor(col - 0.5)
        own = (np.floor(row) - first_row + reach) * side + np.floor(col) - first_col + reach
        around = Around.of(first_row.astype(np.int64), first_col.astype(np.int64), square(-reach, side - 1 - reach), grid)
        return cls(around, row - 0.5 - first_row, col - 0.5 - first_col, own.astype(np.int64), side)

    @property
    def pixels(self) -> PixelSet:
        return self.around.pixels

    def apply(self, found: Gathered) -> tuple[Floats, Bools]:
        """Interpolated values and where there is one."""
        stored, valid = self.around.spread(found)
        values = np.where(valid, stored, 0).astype(np.float64)
        here = valid[np.arange(len(values)), self.own]
        if self.side == 2:
            return self._bilinear(values, valid), here
        inner = square(1, 2) @ np.array([4, 1])
        out = self._bilinear(values[:, inner], valid[:, inner])
        full = np.flatnonzero(valid.all(axis=1))
        out[full] = _weighed(_outer(_cubic(self.row[full]), _cubic(self.col[full])), values[full])
        return out, here

    def entries_of(self, pixels: Ints) -> Ints:
        """The points that need some of the pixels (positions in the pixel set)."""
        return np.unique(self.around.slots[pixels] // self.around.offsets)

    def _bilinear(self, values: Floats, valid: Bools) -> Floats:
        """Values are (n, 4), row by row, 0 where not valid."""
        weights = _outer(_linear(self.row), _linear(self.col))
        weights[~valid] = 0.0
        total = weights.sum(axis=1)
        out: Floats = np.divide(_weighed(weights, values), total, out=np.zeros(len(values)), where=total > 0)
        return out


def _outer(row: Floats, col: Floats) -> Floats:
    return (row[:, :, None] * col[:, None, :]).reshape(len(row), row.shape[1] * col.shape[1])


def _weighed(weights: Floats, values: Floats) -> Floats:
    """Sums; what weighs nothing counts for nothing, NaN and infinite values too."""
    with np.errstate(invalid="ignore"):  # inf - inf
        summed: Floats = np.where(weights == 0, 0.0, weights * values).sum(axis=1)
    return summed


def _linear(t: Floats) -> Floats:
    return np.stack([1 - t, t], axis=1)


def _cubic(t: Floats) -> Floats:
    """Weights of the pixel centres at -1, 0, 1 and 2 for a point at ``t``; they sum up to 1."""
    a = -0.5
    near = [((a + 2) * d - (a + 3)) * d * d + 1 for d in (t, 1 - t)]
    far = [a * (((d - 5) * d + 8) * d - 4) for d in (1 + t, 2 - t)]
    weights: npt.NDArray[np.float64] = np.stack([far[0], near[0], near[1], far[1]], axis=1)
    return weights
