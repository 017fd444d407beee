"""The geometries of a call: projected once per CRS, windowed once per grid, however many records they meet."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import shapely

from rasteret_sql.raster.crs import transform_geometries, turned_onto
from rasteret_sql.raster.grid import Grid, geometry_windows
from rasteret_sql.raster.targets import MAX_ZONE_PIXELS, check_sizes, endless_windows
from rasteret_sql.reader.areas import Windows
from rasteret_sql.reader.levels import View, bounded

Objects = npt.NDArray[np.object_]
Ints = npt.NDArray[np.int64]
_VERTEX_BYTES = 16
_SHAPE_BYTES = 200


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
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
        if (crs, grid) not in self._on:
            shapes = turned_onto(self.projected(crs), crs, grid)
            endless = grid.width == 0
            windows = endless_windows(shapes, grid) if endless else geometry_windows(shapely.bounds(shapes) if grid.axis_aligned else shapes, grid)
            self._on[crs, grid] = shapes, windows
        return self._on[crs, grid]

    def projected(self, crs: str) -> Objects:
        """All geometries in a CRS, within ±180° where it is geographic."""
        if crs not in self._projected:
            self._projected[crs] = transform_geometries(self.shapes, self.crs, crs)
        return self._projected[crs]


@dataclass(frozen=True, slots=True, eq=False)
class ZonesMet:
    """The geometries that meet one record."""

    view: View | None
    """What the record is read as, on a grid that has an end; None where it has no band."""
    zones: Ints
    """Positions (ascending) among the geometries of the call."""
    windows: Windows
    """One per geometry met, on the view's grid."""
    shapes: Objects
    """All geometries of the call, in the view's CRS."""


def zones_met(shapes: Shapes, view: View | None, candidates: Ints) -> ZonesMet:
    """Which of the candidates (positions, ascending) have a window on the record's own grid and on that of its view.

    Raises :class:`BudgetExceeded` for a grid that no one can have meant: of more than :data:`MAX_ZONE_PIXELS` around a geometry.
    """
    if view is None:
        return ZonesMet(None, candidates[:0], np.empty((0, 4), np.int64), shapes.shapes)
    projected, windows = shapes.on(view.home_crs, view.home)
    zones = candidates[windows[candidates, 2] > 0]
    if view.own:
        return ZonesMet(view, zones, windows[zones], projected)
    projected, windows = shapes.on(view.crs, view.grid)
    view, found = bounded(view, windows[zones])
    check_sizes(found, MAX_ZONE_PIXELS, "a geometry")
    here = found[:, 2] > 0
    return ZonesMet(view, zones[here], found[here], projected)
