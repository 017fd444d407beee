"""Grids that arrays are asked for on: another resolution, another CRS, one grid for all records; and the overview that serves them. Pure.

The rules:

- ``resolution`` alone keeps a record's CRS, orientation and outer corner: pixels are ``resolution`` long and wide, in units of the CRS, and the
  corner of the first one is the raster's. In a geographic CRS ``resolution`` is in metres: a pixel is ``resolution / 111,319.49`` degrees high
  (a degree of the WGS 84 equator), and wider by ``1 / cos`` of the latitude of the raster's centre.
- ``target_crs`` needs ``resolution``, in units of that CRS (degrees of a geographic one). Pixel edges are whole multiples of ``resolution`` away from
  ``align_to``, (0, 0) by default, rows run south, and nothing depends on the record: all records have one grid.
- ``align_to`` without ``target_crs`` moves the corner of a record's grid outwards until edges are whole multiples away from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import shapely

from rasteret_sql.errors import BudgetExceeded, UnsupportedRaster
from rasteret_sql.raster.crs import CRS84, is_geographic, same_crs, transform_points
from rasteret_sql.raster.grid import Floats, Geometries, Grid, Ints

NEAREST: Final = "nearest"
OVERSAMPLING: Final = {NEAREST: 1.2}
"""How many times coarser than asked for an overview may be, by resampling; 1 for all others."""
SLACK: Final = 0.1
"""What an overview's factor may exceed that by (GDAL's EPSILON)."""
MAX_PIXELS: Final = 1 << 28
"""Pixels of one array: 16,384 x 16,384, more than twice a whole Sentinel-2 tile at 10 m."""
MAX_ZONE_PIXELS: Final = 1 << 34
"""Pixels around one geometry where they are read part by part: ten times a whole 1 m scene of 40 km."""
_TOO_FAR: Final = 1 << 30
"""Height and width of windows whose pixels cannot be counted."""
COUNTABLE: Final = _TOO_FAR**2 - 1
"""Pixels that any window may have whose pixels can be counted."""
_DEGREE_M: Final = math.pi / 180.0 * 6_378_137.0
_SNAP: Final = 1e-6
"""Share of a pixel below which an edge lies on another."""
_LATTICE: Final = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, slots=True)
class Target:
    """What a call asks of the grid of its arrays; without resolution it is each record's own."""

    resolution: float | None = None
    crs: str | None = None
    align_to: tuple[float, float] | None = None
    resampling: str = NEAREST
    kept: tuple[str, ...] = ()
    """Bands that are taken by the nearest pixel whatever ``resampling`` says: codes and classes that only a mask looks at."""

    @property
    def own(self) -> bool:
        """Do records come on their own grids?"""
        return self.resolution is None


def target_grid(target: Target, grid: Grid, crs: str) -> tuple[Grid, str]:
    """The grid (and its CRS) that a record whose pixels lie on ``grid`` comes on.

    A grid for all records has no end: its width and height are 0, rows and columns of windows may be negative.
    Raises :class:`UnsupportedRaster` for ``align_to`` on a rotated raster.
    """
    if target.resolution is None:
        return grid, crs
    if target.crs is not None:
        x, y = target.align_to or (0.0, 0.0)
        return Grid((target.resolution, 0.0, x, 0.0, -target.resolution, y), 0, 0), target.crs
    a, b, c, d, e, f = grid.transform
    wide, high = _pixel_size(target.resolution, grid, crs)
    along, down = wide / math.hypot(a, d), high / math.hypot(b, e)
    if not grid.axis_aligned:
        if target.align_to is not None:
            raise UnsupportedRaster("align_to cannot be met on a rotated raster; leave it out, or give target_crs")
        sized = (a * along, b * down, c, d * along, e * down, f)
        return Grid(sized, _count(grid.width / along), _count(grid.height / down)), crs
    wide, high = math.copysign(wide, a), math.copysign(high, e)
    x, y = target.align_to or (c, f)
    left, top = x + _floor((c - x) / wide) * wide, y + _floor((f - y) / high) * high
    right, bottom = c + a * grid.width, f + e * grid.height
    return Grid((wide, 0.0, left, 0.0, high, top), _count((right - left) / wide), _count((bottom - top) / high)), crs


def _pixel_size(resolution: float, grid: Grid, crs: str) -> tuple[float, float]:
    """Width and height of a pixel in units of the CRS."""
    if not is_geographic(crs):
        return resolution, resolution
    _, lat = transform_points(*grid.to_xy([grid.width / 2], [grid.height / 2]), crs, CRS84)
    degrees = resolution / _DEGREE_M
    return degrees / max(math.cos(math.radians(float(lat[0]))), 0.01), degrees


def _floor(position: float) -> int:
    """The edge before a position, in pixels; positions next to an edge are on it."""
    return round(position) if abs(position - round(position)) < _SNAP else math.floor(position)


def _count(pixels: float) -> int:
    """Whole pixels that cover so many."""
    return max(-_floor(-pixels), 1)


def endless_windows(shapes: Geometries, grid: Grid) -> Ints:
    """The smallest window of each geometry on a north-up grid without end: int64 ``[n, 4]`` of (row, col, height, width), zeros where there is none.

    From the floor of the least pixel coordinate to the ceiling of the greatest, at least one pixel each way, as ``geometry_windows`` has it.
    Windows that reach 2**31 pixels or more from the origin are for :func:`check_sizes` to refuse.
    """
    with np.errstate(invalid="ignore"):
        xmin, ymin, xmax, ymax = shapely.bounds(shapes).reshape(-1, 4).T
        left, top = grid.to_pixel(xmin, ymax)
        right, bottom = grid.to_pixel(xmax, ymin)
    known = np.isfinite(left) & np.isfinite(top) & np.isfinite(right) & np.isfinite(bottom)
    left, top, right, bottom = (np.where(known, edge, 0.0) for edge in (left, top, right, bottom))
    col, row = np.floor(left), np.floor(top)
    width, height = np.maximum(np.ceil(right) - col, 1), np.maximum(np.ceil(bottom) - row, 1)
    far = np.abs(np.stack([row, col, row + height, col + width])).max(axis=0, initial=0.0) >= 1 << 31
    row, col, height, width = (np.where(far, replaced, edge) for replaced, edge in ((0, row), (0, col), (_TOO_FAR, height), (_TOO_FAR, width)))
    windows = np.stack([row, col, height, width], axis=1).astype(np.int64)
    windows[~known] = 0
    return windows


def check_sizes(windows: Ints, most: int = MAX_PIXELS, what: str = "an array") -> None:
    """Refuse windows of more than ``most`` pixels: a resolution in the wrong unit asks for them."""
    area = windows[:, 2] * windows[:, 3]
    if len(area) and area.max() > most:
        height, width = windows[int(area.argmax()), 2:].tolist()
        if height == _TOO_FAR:
            raise BudgetExceeded("a geometry lies 2**31 pixels or more from the grid's origin; ask for a coarser resolution (is the unit right?)")
        raise BudgetExceeded(
            f"{what} of {height:,} x {width:,} pixels is more than {most:,}; ask for a coarser resolution (is the unit right?) or smaller geometries"
        )


@lru_cache(maxsize=4096)
def pixel_scales(source: Grid, source_crs: str, grid: Grid, crs: str) -> tuple[float, float]:
    """How many columns and rows of ``source`` a pixel of ``grid`` is long: the median over 25 places of the source.

    One figure for a whole raster, so that a pixel's value depends on no window. (1, 1) where no place of the source has one in ``crs``.
    """
    a, b, _, d, e, _ = grid.transform
    inverse = np.linalg.inv(np.array([[a, b], [d, e]]))
    if same_crs(source_crs, crs):
        sa, sb, _, sd, se, _ = source.transform
        jacobian = np.linalg.inv(inverse @ np.array([[sa, sb], [sd, se]]))
        return float(np.hypot(*jacobian[0])), float(np.hypot(*jacobian[1]))
    u, v = (np.array(side).ravel() for side in np.meshgrid(_LATTICE, _LATTICE))
    col, row = u * source.width, v * source.height
    steps = [(0.5, 0.0), (-0.5, 0.0), (0.0, 0.5), (0.0, -0.5)]
    places = [np.stack(transform_points(*source.to_xy(col + dc, row + dr), source_crs, crs)) for dc, dr in steps]
    with np.errstate(invalid="ignore"):
        per_col, per_row = inverse @ (places[0] - places[1]), inverse @ (places[2] - places[3])
        forward = np.stack([per_col, per_row], axis=-1).transpose(1, 0, 2)
        usable = np.isfinite(forward).all(axis=(1, 2)) & (np.abs(np.linalg.det(np.nan_to_num(forward))) > 0)
    if not usable.any():
        return 1.0, 1.0
    backward: Floats = np.linalg.inv(forward[usable])
    lengths = np.median(np.hypot(backward[:, :, 0], backward[:, :, 1]), axis=0)
    return float(lengths[0]), float(lengths[1])


def overview_for(width: int, height: int, overviews: Sequence[tuple[int, int]], scales: tuple[float, float], resampling: str) -> int | None:
    """Which overview (by its position in their sizes) serves pixels ``scales`` columns and rows of the full resolution long; None: that itself.

    GDAL's rule of ``RasterIO`` (``GDALBandGetBestOverviewLevel2``), so that of rasterio's ``read(out_shape=…)``: the coarsest one whose factor
    ``min(width / its width, height / its height)`` is below the wanted one ``min(scales)`` times 1.2 (nearest) or 1 (all others), plus 0.1.
    """
    wanted = min(scales)
    if max(scales) <= 1.0:
        return None
    limit = wanted * OVERSAMPLING.get(resampling, 1.0) + SLACK
    best, chosen = 0.0, None
    for position, (its_width, its_height) in enumerate(overviews):
        factor = min(width / its_width, height / its_height)
        if best < factor < limit:
            best, chosen = factor, position
    return chosen
