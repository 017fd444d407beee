"""The judge of arrays on other grids: GDAL's warper on the whole file, through rasterio, with exact coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from rasterio.enums import Resampling
from rasterio.features import geometry_mask
from rasterio.vrt import WarpedVRT

from rasteret_sql.raster.crs import transform_geometries
from rasteret_sql.raster.grid import Grid
from rasteret_sql.raster.targets import pixel_scales

COMMON_GRIDS = [
    ("EPSG:32633", 25, (0, 0)),
    ("EPSG:3857", 12, (None, None)),
    ("EPSG:3857", 50, (1, 0)),
    ("EPSG:4326", 0.0003, (0, 0)),
    ("EPSG:3035", 9.5, (None, None)),
]
"""Targets of 10 m rasters in UTM 33: CRS, resolution, and the overview (of factors 2 and 4) that serves ``nearest`` and the other methods."""


def warped(
    path: str,
    crs: str,
    transform: Sequence[float],
    shape: tuple[int, int],
    *,
    resampling: str = "nearest",
    scales: tuple[float, float] = (1.0, 1.0),
    overview: int | None = None,
    band: int = 1,
) -> np.ma.MaskedArray:
    """One band of a file (at one of its overviews) on a grid. ``scales``: source columns and rows per pixel of it, which fix the kernels' width."""
    level = {} if overview is None else {"OVERVIEW_LEVEL": overview}
    with rasterio.open(path, **level) as source:
        grid: dict[str, Any] = {"crs": crs, "transform": Affine(*transform), "height": shape[0], "width": shape[1]}
        exact = {"tolerance": 1e-9, "resampling": Resampling[resampling], "XSCALE": 1 / scales[0], "YSCALE": 1 / scales[1]}
        kind = np.dtype(source.dtypes[0])
        by_nodata = source.nodata is not None and (kind.kind == "f" or np.iinfo(kind).min <= source.nodata <= np.iinfo(kind).max)
        with WarpedVRT(source, **grid, **exact, add_alpha=not by_nodata) as view:
            values = view.read(band)
            valid = view.read_masks(band) > 0 if by_nodata else view.read(view.count) > 0
    return np.ma.array(values, mask=~valid)


def under(found: np.ma.MaskedArray, geometry: Any, transform: Sequence[float], *, all_touched: bool = False) -> np.ma.MaskedArray:
    """Masked outside of a geometry in the grid's CRS."""
    outside = geometry_mask([geometry], found.shape, Affine(*transform), all_touched=all_touched)
    return np.ma.array(found.data, mask=np.ma.getmaskarray(found) | outside)


def kernel(path: str, crs: str, resolution: float, overview: int | None) -> tuple[float, float]:
    """How many columns and rows of a file (at one of its overviews) a pixel of another grid is long.

    Judged by ``test_kernels_are_as_wide_as_gdal_makes_them``.
    """
    level = {} if overview is None else {"OVERVIEW_LEVEL": overview}
    with rasterio.open(path, **level) as source:
        grid = Grid(tuple(source.transform)[:6], source.width, source.height)
        return pixel_scales(grid, source.crs.to_string(), Grid((resolution, 0.0, 0.0, 0.0, -resolution, 0.0), 0, 0), crs)


def place_around(path: str, crs: str, resolution: float, origin: tuple[float, float] = (0.0, 0.0)) -> tuple[list[float], tuple[int, int]]:
    """A window of the grid for all records, and more, around a file."""
    with rasterio.open(path) as source:
        box = transform_geometries(np.array([shapely.box(*source.bounds)], dtype=object), source.crs.to_string(), crs)[0].bounds
    left, top = math.floor((box[0] - origin[0]) / resolution) - 20, math.ceil((box[3] - origin[1]) / resolution) + 20
    shape = (top - math.floor((box[1] - origin[1]) / resolution) + 20, math.ceil((box[2] - origin[0]) / resolution) - left + 20)
    return [resolution, 0.0, origin[0] + left * resolution, 0.0, -resolution, origin[1] + top * resolution], shape
