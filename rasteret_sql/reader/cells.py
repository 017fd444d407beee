"""Points by grid cells: SQL pairs the cells that hold points with records (``sql/pairing.py``), and which points lie in a cell is known here.

So nothing is made per pair of a point and a record, neither a row nor an entry of a list: a hundred thousand points in a dozen records are 1.2
million pairs, but some tens of cells.
"""

from __future__ import annotations

import numpy as np

from rasteret_sql.raster.grid import Floats, Ints

ROWS = 1 << 32
"""The number of a cell is ``floor(lon / size) * ROWS + floor(lat / size)``."""
_LAST = (1 << 31) - 1
"""Cells beyond are taken as one, on either side: a number has 64 bits, and what lies there is not on Earth."""


class PointCells:
    """The cells of ``size`` degrees that hold points, in ascending order of their numbers. Points without a place (NaN, inf) lie in none."""

    def __init__(self, lon: Floats, lat: Floats, size: float) -> None:
        placed = np.flatnonzero(np.isfinite(lon) & np.isfinite(lat))
        cols, rows = (np.clip(np.floor(side[placed] / size), -_LAST, _LAST).astype(np.int64) for side in (lon, lat))
        in_cells = cols * ROWS + rows
        order = np.argsort(in_cells, kind="stable")
        self.numbers, firsts = np.unique(in_cells[order], return_index=True)
        self._bounds = np.append(firsts, len(order))
        self._points = placed[order]

    @property
    def counts(self) -> Ints:
        """How many points lie in each."""
        return np.diff(self._bounds)

    @property
    def nbytes(self) -> int:
        return int(self.numbers.nbytes + self._bounds.nbytes + self._points.nbytes)

    def points(self, numbers: Ints) -> Ints:
        """Positions of the points in these of the cells; ascending within a cell."""
        at = np.searchsorted(self.numbers, numbers).tolist()
        return np.concatenate([self._points[:0], *(self._points[self._bounds[i] : self._bounds[i + 1]] for i in at)])
