"""The geometries of a call and where they lie in records."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from rasteret_sql.raster.crs import turned_onto
from rasteret_sql.raster.grid import Grid
from rasteret_sql.reader.areas import Windows
from rasteret_sql.reader.levels import View
from rasteret_sql.reader.shapes import Shapes

Objects = npt.NDArray[np.object_]


class Geometries:
    """The geometries of a call by their numbers, each parsed once however many rows name it."""

    def __init__(self, bounds: npt.NDArray[np.int64], nos: pa.Array, wkbs: pa.Array, crs: str) -> None:
        self._bounds = bounds
        self._nos = nos.to_numpy().astype(np.int64)
        self._unique, firsts = np.unique(self._nos, return_index=True)
        self._shapes = Shapes(np.asarray(shapely.from_wkb(np.asarray(wkbs.take(pa.array(firsts)).to_pylist(), dtype=object))), crs)

    def windows(self, row: int, grid: Grid, crs: str) -> tuple[npt.NDArray[np.int64], Windows]:
        """Numbers and windows of the row's geometries that meet the grid."""
        return self._meeting(self._nos[self._bounds[row] : self._bounds[row + 1]], grid, crs)

    def met(self, row: int, view: View) -> tuple[npt.NDArray[np.int64], Windows]:
        """Numbers of the row's geometries that meet the record, and their windows on the grid that it is read on."""
        nos, windows = self.windows(row, view.home, view.home_crs)
        return (nos, windows) if view.own else self._meeting(nos, view.grid, view.crs)

    def _meeting(self, nos: npt.NDArray[np.int64], grid: Grid, crs: str) -> tuple[npt.NDArray[np.int64], Windows]:
        windows = self._shapes.on(crs, grid)[1][np.searchsorted(self._unique, nos)]
        here = (windows[:, 2] > 0) & (windows[:, 3] > 0)
        return nos[here], windows[here]

    def shapes(self, nos: npt.NDArray[np.int64]) -> Objects:
        """Geometries by number, as they were given."""
        return np.asarray(self._shapes.shapes[np.searchsorted(self._unique, nos)])

    def shapes_of(self, nos: npt.NDArray[np.int64], crs: str, grid: Grid) -> Objects:
        """Projected geometries by number, where the grid has them."""
        return turned_onto(np.asarray(self._shapes.projected(crs)[np.searchsorted(self._unique, nos)]), crs, grid)
