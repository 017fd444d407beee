"""The geometries of a call: projected once per CRS, windowed once per grid, however many records they meet."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import shapely

from rasteret_sql.raster.crs import transform_geometries, turned_onto
from rasteret_sql.raster.grid import Grid, geometry_windows

Objects = npt.NDArray[np.object_]
Windows = npt.NDArray[np.int64]
"""(n, 4): row, col, height, width."""
_VERTEX_BYTES = 16
_SHAPE_BYTES = 200


@dataclass(frozen=True, slots=True, eq=False)
class ZoneShapes:
    """Geometries in one CRS (None for missing ones), named by position."""

    shapes: Objects
    crs: str
    _projected: dict[str, Objects] = field(default_factory=dict, init=False)
    _on: dict[tuple[str, Grid], tuple[Objects, Windows]] = field(default_factory=dict, init=False)

    @property
    def nbytes(self) -> int:
        """About what they take in memory."""
        return int(shapely.get_num_coordinates(self.shapes).sum()) * _VERTEX_BYTES + len(self.shapes) * _SHAPE_BYTES

    def on(self, crs: str, grid: Grid) -> tuple[Objects, Windows]:
        """All geometries in a record's CRS (edges densified where it is another), and their windows on its grid: height 0 where they miss it."""
        if crs not in self._projected:
            self._projected[crs] = transform_geometries(self.shapes, self.crs, crs)
        if (crs, grid) not in self._on:
            shapes = turned_onto(self._projected[crs], crs, grid)
            self._on[crs, grid] = shapes, geometry_windows(shapely.bounds(shapes) if grid.axis_aligned else shapes, grid)
        return self._on[crs, grid]
