"""The geometries of a call and where they lie in records."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from rasteret_sql.raster.crs import turned_onto
from rasteret_sql.raster.grid import Grid
from rasteret_sql.raster.targets import endless_windows
from rasteret_sql.reader.areas import Windows, project, windows_of
from rasteret_sql.reader.levels import View

Objects = npt.NDArray[np.object_]


class Geometries:
    """The geometries of a call, each parsed once, projected once per CRS, windowed once per grid, however many records it meets."""

    def __init__(self, bounds: npt.NDArray[np.int64], nos: pa.Array, wkbs: pa.Array, crs: str) -> None:
        self._bounds = bounds
        self._nos = nos.to_numpy().astype(np.int64)
        self._unique, firsts = np.unique(self._nos, return_index=True)
        self._shapes: Objects = np.asarray(shapely.from_wkb(np.asarray(wkbs.take(pa.array(firsts)).to_pylist(), dtype=object)))
        self._crs = crs
        self._projected: dict[str, Objects] = {}
        self._windows: dict[tuple[str, Grid], Windows] = {}

    def windows(self, row: int, grid: Grid, crs: str) -> tuple[npt.NDArray[np.int64], Windows]:
        """Numbers and windows of the row's geometries that meet the grid."""
        if (crs, grid) not in self._windows:
            self._windows[crs, grid] = windows_of(turned_onto(self.projected(crs), crs, grid), grid)
        nos = self._nos[self._bounds[row] : self._bounds[row + 1]]
        windows = self._windows[crs, grid][np.searchsorted(self._unique, nos)]
        meets = (windows[:, 2] > 0) & (windows[:, 3] > 0)
        return nos[meets], windows[meets]

    def met(self, row: int, view: View) -> tuple[npt.NDArray[np.int64], Windows]:
        """Numbers of the row's geometries that meet the record, and their windows on the grid that it is read on."""
        nos, windows = self.windows(row, view.home, view.home_crs)
        if (view.grid, view.crs) == (view.home, view.home_crs):
            return nos, windows
        if (view.crs, view.grid) not in self._windows:
            shapes = turned_onto(self.projected(view.crs), view.crs, view.grid)
            self._windows[view.crs, view.grid] = endless_windows(shapes, view.grid) if view.endless else windows_of(shapes, view.grid)
        windows = self._windows[view.crs, view.grid][np.searchsorted(self._unique, nos)]
        here = windows[:, 2] > 0
        return nos[here], windows[here]

    def projected(self, crs: str) -> Objects:
        if crs not in self._projected:
            self._projected[crs] = project(self._shapes, self._crs, crs)
        return self._projected[crs]

    def shapes_of(self, nos: npt.NDArray[np.int64], crs: str, grid: Grid) -> Objects:
        """Projected geometries by number, where the grid has them."""
        return turned_onto(np.asarray(self.projected(crs)[np.searchsorted(self._unique, nos)]), crs, grid)
