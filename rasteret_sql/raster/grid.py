"""Pixel grids: from coordinates to pixels, windows and tiles. Whole arrays at a time, no I/O.

Pixels are (row, col), coordinates are (x, y) in the grid's own CRS. A pixel coordinate is a float: pixel (row, col) covers
``row <= y' < row + 1`` and ``col <= x' < col + 1``, so a point on an edge belongs to the pixel right of it and below it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import shapely

from rasteret_sql.errors import InvalidArgument

if TYPE_CHECKING:
    from rasteret_sql.raster.header import Affine, Level

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Geometries: TypeAlias = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the pixels of one image lie. Hashable: records that share a grid share what is computed for it."""

    transform: Affine
    width: int
    height: int

    def __post_init__(self) -> None:
        a, b, _, d, e, _ = self.transform
        if not all(map(math.isfinite, self.transform)) or a * e - b * d == 0:
            raise InvalidArgument(f"transform {self.transform} cannot be inverted; give (a, b, c, d, e, f) with a*e - b*d other than 0")

    @property
    def axis_aligned(self) -> bool:
        """True when rows run along x and columns along y (north-up and south-up grids), False for rotated and sheared ones."""
        return self.transform[1] == 0 and self.transform[3] == 0

    @property
    def inverse(self) -> Affine:
        """Coordinates to pixel coordinates.

        Written like the affine package's ``~transform``, operation for operation, because rounding decides on which side of an
        edge a point falls: rasterio up to 1.4 (``index``, ``sample``, ``geometry_window``) uses exactly these numbers. rasterio 1.5
        solves a linear system instead; its results on edges depend on how many points are asked at once, so it is not followed.
        """
        a, b, c, d, e, f = self.transform
        scale = 1.0 / (a * e - b * d)
        ra, rb, rd, re = e * scale, -b * scale, -d * scale, a * scale
        return ra, rb, -c * ra - f * rb, rd, re, -c * rd - f * re

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """``(xmin, ymin, xmax, ymax)`` of the outer pixel edges, in the grid's CRS."""
        x, y = self.to_xy(np.array([0.0, self.width, self.width, 0.0]), np.array([0.0, 0.0, self.height, self.height]))
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def to_pixel(self, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Coordinates to pixel coordinates ``(col, row)``, float64, same shape; (0, 0) is the outer corner of the first pixel."""
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        a, b, c, d, e, f = self.inverse
        with np.errstate(invalid="ignore", over="ignore"):  # infinite coordinates have no pixel: NaN
            return a * x + b * y + c, d * x + e * y + f

    def to_xy(self, col: npt.ArrayLike, row: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Pixel coordinates to coordinates ``(x, y)``; add 0.5 to whole columns and rows for pixel centres."""
        col, row = np.asarray(col, dtype=np.float64), np.asarray(row, dtype=np.float64)
        a, b, c, d, e, f = self.transform
        return a * col + b * row + c, d * col + e * row + f

    def contains(self, x: npt.ArrayLike, y: npt.ArrayLike) -> Bools:
        """True where a point has a pixel."""
        return _inside(self, *self.to_pixel(x, y))


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of pixels; row and col are its first."""

    row: int
    col: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Tiling:
    """How one image is cut into tiles (strips are tiles as wide as the image). Tile ids count row by row from 0."""

    width: int
    height: int
    tile_width: int
    tile_height: int

    @classmethod
    def of(cls, level: Level) -> Tiling:
        return cls(level.width, level.height, level.layout.tile_width, level.layout.tile_height)

    @property
    def across(self) -> int:
        return -(-self.width // self.tile_width)

    @property
    def down(self) -> int:
        return -(-self.height // self.tile_height)


def sample_pixels(grid: Grid, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Ints, Ints, Bools]:
    """The pixel under each point, as rasterio's ``sample`` finds it: ``(rows, cols, inside)``.

    Points off the raster, and points that are not finite, have ``inside`` False and row and column -1.
    """
    col, row = grid.to_pixel(x, y)
    inside = _inside(grid, col, row)
    rows = np.floor(np.where(inside, row, -1.0)).astype(np.int64)
    cols = np.floor(np.where(inside, col, -1.0)).astype(np.int64)
    return rows, cols, inside


def geometry_windows(shapes: npt.NDArray[np.float64] | Geometries, grid: Grid) -> Ints:
    """The smallest window of each geometry, clipped to the raster: int64 ``[n, 4]`` of (row, col, height, width).

    ``shapes`` are bounds, float64 ``[n, 4]`` of (xmin, ymin, xmax, ymax), or shapely geometries, in the grid's CRS. On rotated grids
    geometries give a tight window, bounds the window of their rectangle.

    The rule: from the floor of the least pixel coordinate to the ceiling of the greatest, at least one pixel each way (a point, or a
    line along an edge, takes the pixel right of and below it). That is ``rasterio.features.geometry_window`` up to rasterio 1.4 except
    for that one pixel, which rasterio does not grant. rasterio 1.5 computes pixel coordinates differently: a bound that
    lies on a pixel edge may cost it one more, empty, row or column, and on rotated grids it takes the rectangle's window.

    What misses the raster, is empty, None or not finite has height and width 0 (and row and col 0).
    """
    low_col, low_row, high_col, high_row = _pixel_bounds(shapes, grid)
    known = np.isfinite(low_col) & np.isfinite(low_row) & np.isfinite(high_col) & np.isfinite(high_row)
    col, width = _clipped(low_col, high_col, grid.width, known)
    row, height = _clipped(low_row, high_row, grid.height, known)
    windows = np.stack([row, col, height, width], axis=1)
    windows[(height == 0) | (width == 0)] = 0
    return windows


def window_transform(grid: Grid, window: Window) -> Affine:
    """The transform of a window, bit for bit that of ``rasterio.windows.transform``."""
    a, b, c, d, e, f = grid.transform
    col, row = float(window.col), float(window.row)
    return a, b, a * col + b * row + c, d, e, d * col + e * row + f


def window_origins(grid: Grid, windows: Ints) -> tuple[Floats, Floats]:
    """The outer corner ``(x, y)`` of each window's first pixel; ``windows`` is int64 ``[n, 2 or more]`` starting with (row, col)."""
    return grid.to_xy(windows[:, 1], windows[:, 0])


def tiles_of_window(tiling: Tiling | Level, window: Window) -> tuple[Ints, Ints]:
    """Tile rows and tile columns (two ascending arrays, to be crossed) that a window within the image meets."""
    cut = tiling if isinstance(tiling, Tiling) else Tiling.of(tiling)
    if window.height <= 0 or window.width <= 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    rows = np.arange(window.row // cut.tile_height, (window.row + window.height - 1) // cut.tile_height + 1, dtype=np.int64)
    cols = np.arange(window.col // cut.tile_width, (window.col + window.width - 1) // cut.tile_width + 1, dtype=np.int64)
    return rows, cols


def tiles_of_windows(tiling: Tiling | Level, windows: Ints) -> tuple[Ints, Ints]:
    """All tiles of many windows: ``(window_index, tile_id)``, by window, then row by row. Empty windows have none."""
    cut = tiling if isinstance(tiling, Tiling) else Tiling.of(tiling)
    row, col, height, width = windows.T
    first_row, first_col = row // cut.tile_height, col // cut.tile_width
    down = (row + height - 1) // cut.tile_height - first_row + 1
    across = (col + width - 1) // cut.tile_width - first_col + 1
    counts = np.where((height > 0) & (width > 0), down * across, 0)
    index = np.repeat(np.arange(len(windows), dtype=np.int64), counts)
    nth = np.arange(len(index), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
    tile_row = first_row[index] + nth // across[index]
    tile_col = first_col[index] + nth % across[index]
    return index, tile_row * cut.across + tile_col


def tile_ids(tiling: Tiling | Level, rows: Ints, cols: Ints) -> Ints:
    """The id of the tile that holds each pixel; row and column 0 or greater."""
    cut = tiling if isinstance(tiling, Tiling) else Tiling.of(tiling)
    ids: Ints = (rows // cut.tile_height) * cut.across + cols // cut.tile_width
    return ids


def _inside(grid: Grid, col: Floats, row: Floats) -> Bools:
    inside: Bools = (col >= 0) & (col < grid.width) & (row >= 0) & (row < grid.height)
    return inside


def _clipped(low: Floats, high: Floats, size: int, known: Bools) -> tuple[Ints, Ints]:
    """First pixel and number of pixels along one axis, clipped to ``[0, size]``."""
    start = np.floor(np.where(known, low, 0.0))
    stop = np.maximum(np.ceil(np.where(known, high, 0.0)), start + 1)
    first = np.clip(start, 0, size).astype(np.int64)
    last = np.clip(stop, 0, size).astype(np.int64)
    return first, np.where(known, last - first, 0)


def _pixel_bounds(shapes: npt.NDArray[np.float64] | Geometries, grid: Grid) -> tuple[Floats, Floats, Floats, Floats]:
    """Least column, least row, greatest column, greatest row (pixel coordinates) of each shape; NaN where there is none."""
    if shapes.dtype == np.object_ and not grid.axis_aligned:
        return _vertex_bounds(shapes.astype(np.object_, copy=False), grid)
    with np.errstate(invalid="ignore"):  # GEOS compares NaN coordinates
        bounds = shapely.bounds(shapes) if shapes.dtype == np.object_ else np.asarray(shapes, dtype=np.float64)
    xmin, ymin, xmax, ymax = np.asarray(bounds, dtype=np.float64).reshape(-1, 4).T
    cols, rows = grid.to_pixel(np.stack([xmin, xmin, xmax, xmax]), np.stack([ymin, ymax, ymin, ymax]))
    return cols.min(axis=0), rows.min(axis=0), cols.max(axis=0), rows.max(axis=0)


def _vertex_bounds(geometries: Geometries, grid: Grid) -> tuple[Floats, Floats, Floats, Floats]:
    coordinates, owner = shapely.get_coordinates(geometries, return_index=True)
    cols, rows = grid.to_pixel(coordinates[:, 0], coordinates[:, 1])
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    out = np.full((4, len(geometries)), np.nan)
    if len(starts):
        found = owner[starts]
        out[0, found], out[1, found] = np.minimum.reduceat(cols, starts), np.minimum.reduceat(rows, starts)
        out[2, found], out[3, found] = np.maximum.reduceat(cols, starts), np.maximum.reduceat(rows, starts)
    return out[0], out[1], out[2], out[3]
