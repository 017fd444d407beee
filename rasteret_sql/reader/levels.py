"""What a record is read as: its bands, each at the overview that serves, and the grid that their arrays come on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rasteret_sql.raster.crs import same_crs, transform_bounds
from rasteret_sql.raster.grid import Grid, Window, window_origins, window_transform
from rasteret_sql.raster.resample import margin
from rasteret_sql.raster.targets import COUNTABLE, NEAREST, Target, check_sizes, overview_for, pixel_scales, target_grid
from rasteret_sql.reader.areas import Windows, read_grid
from rasteret_sql.reader.band import Band

_EDGE = 2
"""Pixels around a record that may have values of it: those that lie partly in it."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A record's bands (None where it lacks one) and the grid they are read on."""

    bands: tuple[Band | None, ...]
    grid: Grid
    crs: str
    home: Grid
    """The record's own grid, at full resolution."""
    home_crs: str
    resampling: str = NEAREST
    kept: frozenset[str] = frozenset()
    """Bands taken by the nearest pixel whatever ``resampling`` says."""
    whole: Grid | None = None
    """The grid for all records that :func:`bounded` took ``grid`` from, and where it begins there."""
    corner: tuple[int, int] = (0, 0)

    @property
    def endless(self) -> bool:
        """Is the grid one for all records, on which arrays reach beyond the raster?"""
        return self.grid.width == 0

    @property
    def leading(self) -> Band:
        """A band of the grid that is read on; where that is none's, the finest."""
        present = [band for band in self.bands if band is not None]
        return next((band for band in present if band.grid == self.grid), present[0])

    @property
    def own(self) -> bool:
        """Is the grid the record's own?"""
        return (self.grid, self.crs) == (self.home, self.home_crs)

    @property
    def streams(self) -> bool:
        """Are the pixels of all bands taken as they are?"""
        return all(band is None or self.copies(band) for band in self.bands)

    def ruled(self, rule: str) -> tuple[Grid, tuple[int, int]]:
        """On which grid it is decided what a geometry selects, and where ours begins there.

        Centres on an edge are decided by rounding: on the grid for all records, so that every function and record decides alike. Shares of pixels
        are most exact near the grid's corner.
        """
        return (self.grid, (0, 0)) if self.whole is None or rule == "fractional" else (self.whole, self.corner)

    def method(self, band: Band) -> str:
        """How a band is resampled where it is."""
        return NEAREST if band.name in self.kept else self.resampling

    def copies(self, band: Band) -> bool:
        """Are its pixels taken as they are, row by row and column by column? Others go through GDAL's warper."""
        if band.grid == self.grid:
            return True
        straight = band.grid.axis_aligned and self.grid.axis_aligned
        return self.method(band) == NEAREST and straight and same_crs(band.crs, self.crs)

    def scales(self, band: Band) -> tuple[float, float]:
        """How many columns and rows of a band a pixel is long."""
        return pixel_scales(band.grid, band.crs, self.grid, self.crs)


def view_of(bands: Sequence[Band | None], target: Target) -> View | None:
    """The view of one record that a call asks for; None where the record has none of the bands."""
    where = read_grid(bands)
    if where is None:
        return None
    grid, crs = target_grid(target, *where)
    view = View(tuple(bands), grid, crs, *where, target.resampling, frozenset(target.kept))
    if target.own:
        return view
    return replace(view, bands=tuple(None if band is None else _level(band, view) for band in bands))


def bounded(view: View, windows: Windows) -> tuple[View, Windows]:
    """A view on an endless grid, and windows of it, cut to where the record may have pixels; other views as they are.

    Windows that lie elsewhere have height and width 0. Where no box says where that is (it crosses the antimeridian), all windows stay whole.
    """
    if not view.endless or not len(windows):
        return view, windows
    check_sizes(windows, COUNTABLE, "a geometry")
    far = windows[:, :2] + windows[:, 2:]
    low, high = windows[:, :2].min(axis=0), far.max(axis=0)
    xmin, ymin, xmax, ymax = transform_bounds(np.array([view.home.bounds]), view.home_crs, view.crs)[0]
    if np.isfinite([xmin, ymin, xmax, ymax]).all() and xmin <= xmax:
        cols, rows = view.grid.to_pixel([xmin, xmax], [ymax, ymin])
        low = np.floor([rows[0], cols[0]]).astype(np.int64) - _EDGE
        high = np.ceil([rows[1], cols[1]]).astype(np.int64) + _EDGE
    first, last = np.maximum(windows[:, :2], low), np.minimum(far, high)
    cut = np.concatenate([first - low, last - first], axis=1)
    cut[(cut[:, 2:] <= 0).any(axis=1)] = 0
    row, col = low.tolist()
    height, width = (high - low).tolist()
    grid = Grid(window_transform(view.grid, Window(row, col, height, width)), height=height, width=width)
    return replace(view, grid=grid, whole=view.grid, corner=(row, col)), cut


def _level(band: Band, view: View) -> Band:
    sizes = [(overview.grid.width, overview.grid.height) for overview in band.overviews]
    chosen = overview_for(band.grid.width, band.grid.height, sizes, view.scales(band), view.method(band))
    return replace(band if chosen is None else band.overviews[chosen], overviews=())


def source_windows(view: View, band: Band, windows: Windows) -> Windows:
    """The pixels of a band that windows of the view's grid are told from, cut to its image; height and width 0 where there are none.

    Of bands that are copied the outer bounds, of others these and the kernel's reach.
    """
    if band.grid == view.grid:
        return windows
    if view.copies(band):
        return _cut(_bounds(view.grid, windows), band.grid, 0)
    boxes = transform_bounds(_bounds(view.grid, windows), view.crs, band.crs)
    return _cut(boxes, band.grid, margin(view.method(band), max(view.scales(band))))


def _bounds(grid: Grid, windows: Windows) -> npt.NDArray[np.float64]:
    """Boxes around windows: float64 ``[n, 4]`` of (xmin, ymin, xmax, ymax)."""
    far = windows[:, :2] + windows[:, 2:]
    corners = [windows[:, :2], np.stack([windows[:, 0], far[:, 1]], axis=1), np.stack([far[:, 0], windows[:, 1]], axis=1), far]
    x, y = np.stack([np.stack(window_origins(grid, corner)) for corner in corners], axis=1)
    return np.stack([x.min(axis=0), y.min(axis=0), x.max(axis=0), y.max(axis=0)], axis=1)


def _cut(boxes: npt.NDArray[np.float64], grid: Grid, reach: int) -> Windows:
    """Windows around boxes, widened and cut to the image. Boxes across the antimeridian take all columns, boxes that are nowhere the whole image."""
    lost, across = ~np.isfinite(boxes).all(axis=1), boxes[:, 0] > boxes[:, 2]
    low_x, high_x = np.where(across, grid.bounds[0], boxes[:, 0]), np.where(across, grid.bounds[2], boxes[:, 2])
    with np.errstate(invalid="ignore"):
        cols, rows = grid.to_pixel(np.stack([low_x, low_x, high_x, high_x]), np.stack([boxes[:, 1], boxes[:, 3], boxes[:, 1], boxes[:, 3]]))
        edges = [np.floor(rows.min(axis=0)) - reach, np.floor(cols.min(axis=0)) - reach]
        edges += [np.ceil(rows.max(axis=0)) + reach, np.ceil(cols.max(axis=0)) + reach]
    limits = (grid.height, grid.width, grid.height, grid.width)
    top, left, bottom, right = (np.clip(np.where(lost, 0, edge), 0, limit) for edge, limit in zip(edges, limits, strict=True))
    bottom, right = np.where(lost, grid.height, bottom), np.where(lost, grid.width, right)
    out = np.stack([top, left, bottom - top, right - left], axis=1).astype(np.int64)
    out[(out[:, 2] <= 0) | (out[:, 3] <= 0)] = 0
    return out
