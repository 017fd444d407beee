"""Pixels around points: neighbourhoods, and the neighbour that has a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rasteret_sql.raster.grid import Grid
from rasteret_sql.reader.gather import Bools, Gathered, Ints, PixelSet
from rasteret_sql.reader.visits import Floats, VisitResult


@dataclass(frozen=True, slots=True, eq=False)
class Around:
    """Pixels around some entries: those inside the grid as a pixel set, with the (entry, offset) each belongs to."""

    pixels: PixelSet
    slots: Ints
    """Position of each pixel in the flattened (entry, offset) table."""
    entries: int
    offsets: int

    @classmethod
    def of(cls, rows: Ints, cols: Ints, offsets: Ints, grid: Grid) -> Around:
        """Pixels at each of the offsets (n, 2: row, col) from each entry's (row, col)."""
        all_rows = (rows[:, None] + offsets[:, 0]).ravel()
        all_cols = (cols[:, None] + offsets[:, 1]).ravel()
        slots = np.flatnonzero((all_rows >= 0) & (all_rows < grid.height) & (all_cols >= 0) & (all_cols < grid.width))
        return cls(PixelSet(all_rows[slots], all_cols[slots]), slots, len(rows), len(offsets))

    def spread(self, found: Gathered) -> tuple[npt.NDArray[np.generic], Bools]:
        """Values and validity as (entries, offsets) tables; what lies outside the grid is not valid."""
        values = np.zeros(self.entries * self.offsets, dtype=found.values.dtype)
        valid = np.zeros(self.entries * self.offsets, dtype=bool)
        values[self.slots] = found.values
        valid[self.slots] = found.valid
        return values.reshape(self.entries, self.offsets), valid.reshape(self.entries, self.offsets)


def disc(radius: int) -> Ints:
    """Pixel offsets (row, col) within ``radius`` (Euclidean), nearest first, then by row and column; the pixel itself excluded."""
    offsets = square(-radius, radius)
    squared = (offsets**2).sum(axis=1)
    offsets, squared = offsets[(squared > 0) & (squared <= radius**2)], squared[(squared > 0) & (squared <= radius**2)]
    return np.asarray(offsets[np.argsort(squared, kind="stable")])


def square(first: int, last: int) -> Ints:
    """Pixel offsets (row, col) from ``first`` to ``last`` both ways, row by row."""
    side = np.arange(first, last + 1)
    return np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)


def adopt(result: VisitResult, members: Sequence[int], missing: Ints, around: Around, found: Sequence[Gathered], distances: Floats) -> None:
    """Write the nearest jointly valid neighbour of each missing entry into the result; ``distances`` belong to the offsets."""
    spread = [around.spread(band) for band in found]
    usable = np.logical_and.reduce([valid for _, valid in spread])
    wanted = np.logical_or.reduce([~result.valid[member][missing] for member in members])
    hit = usable.any(axis=1) & wanted
    nearest = usable.argmax(axis=1)
    lines = np.flatnonzero(hit)
    for member, (values, _) in zip(members, spread, strict=True):
        target = result.values[member]
        if target is not None:
            target[missing[lines]] = values[lines, nearest[lines]]
            result.valid[member][missing[lines]] = True
    if result.distance is not None:
        result.distance[missing[lines]] = np.fmax(np.nan_to_num(result.distance[missing[lines]]), distances[nearest[lines]])
