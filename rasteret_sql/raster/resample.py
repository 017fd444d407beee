"""Pixels of one grid on another, by GDAL's warper on arrays in memory: no file is opened, nothing is fetched.

GDAL transforms coordinates approximately unless told otherwise (an eighth of a pixel), and guesses the width of its kernels from the window it is
given. Both would make a pixel's value depend on the geometry it is read under; here coordinates are exact (to :data:`TOLERANCE` of a pixel) and the
width of the kernels is told (``XSCALE``, ``YSCALE``). The results are those of ``rasterio.vrt.WarpedVRT`` on the whole file with the same options.
rasterio's ``reproject`` serves less well: before 1.5 it has no tolerance.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rasteret_sql.errors import UnsupportedRaster
from rasteret_sql.raster.crs import crs_wkt
from rasteret_sql.raster.grid import Bools
from rasteret_sql.raster.header import Affine
from rasteret_sql.raster.targets import NEAREST

RESAMPLING: Final = (NEAREST, "bilinear", "cubic", "average", "mode", "min", "max", "med", "q1", "q3", "rms")
"""Ways to tell a pixel from those under it, by rasterio's names. (Of its others ``sum``, ``lanczos`` and ``cubic_spline`` depend on the window.)"""
TOLERANCE: Final = 1e-9
"""Greatest error of GDAL's approximation of coordinates, in source pixels. (With 0 some versions make no VRT.)"""
_RADII: Final = {NEAREST: 0.0, "bilinear": 1.0, "cubic": 2.0}
"""Reach of the kernels in source pixels, before they are widened; the others take what lies under a pixel."""
_local = threading.local()

Pixels = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pixels of one array lie."""

    transform: Affine
    height: int
    width: int
    crs: str


def margin(resampling: str, scale: float) -> int:
    """Source pixels that may be needed beyond the outline of the target's, where a target pixel is ``scale`` source pixels long."""
    return 2 + math.ceil(max(1.0, _RADII.get(resampling, 0.0)) * max(1.0, scale))


def resample(
    values: Pixels, valid: Bools, nodata: float | None, source: Place, target: Place, resampling: str, scales: tuple[float, float]
) -> tuple[Pixels, Bools]:
    """Values (height, width) of the target, of the same dtype, and which of them are valid.

    ``nodata`` is what tells invalid pixels by itself, where that is all there is; GDAL then keeps results off that number, as it does in files.
    Without it (None) ``valid`` tells. ``scales``: columns and rows of the source that a target pixel is long.

    Raises :class:`UnsupportedRaster` for 64-bit integers by other methods than ``nearest``: GDAL computes in double precision.
    """
    if resampling == NEAREST:
        return _nearest(values, valid, source, target, scales)
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8:
        raise UnsupportedRaster(f"{values.dtype} pixels are resampled by 'nearest' only; others would round them to double precision")
    worked = values.astype(np.float32) if values.dtype == np.float16 else values
    if nodata is not None:
        found = _warp(worked, None, nodata, source, target, resampling, scales)
        return found.astype(values.dtype, copy=False), ~np.isnan(found) if np.isnan(nodata) else found != found.dtype.type(nodata)
    here = _warp(valid.astype(np.uint8), None, 0.0, source, target, resampling, scales).astype(bool)
    found = _warp(worked, None if valid.all() else valid, None, source, target, resampling, scales)
    return found.astype(values.dtype, copy=False), here


def _nearest(values: Pixels, valid: Bools, source: Place, target: Place, scales: tuple[float, float]) -> tuple[Pixels, Bools]:
    """By the numbers of the pixels: exact for every dtype."""
    numbers = np.arange(values.size, dtype=np.int32).reshape(values.shape)
    found = _warp(numbers, None, -1.0, source, target, NEAREST, scales)
    here = found >= 0
    at = np.where(here, found, 0)
    return values.ravel()[at], here & valid.ravel()[at]


def _warp(
    values: Pixels, valid: Bools | None, nodata: float | None, source: Place, target: Place, resampling: str, scales: tuple[float, float]
) -> Pixels:
    import rasterio  # noqa: PLC0415  (slow to import, and most reads do without)
    from affine import Affine as Transform  # noqa: PLC0415
    from rasterio.enums import Resampling  # noqa: PLC0415
    from rasterio.io import MemoryFile  # noqa: PLC0415
    from rasterio.vrt import WarpedVRT  # noqa: PLC0415

    height, width = values.shape
    profile = {"driver": "GTiff", "count": 1, "height": height, "width": width, "dtype": values.dtype.name, "BIGTIFF": "IF_SAFER"}
    placed = {"crs": _rasterio_crs(source.crs), "transform": Transform(*source.transform), "nodata": nodata}
    warped: dict[str, Any] = {"crs": _rasterio_crs(target.crs), "transform": Transform(*target.transform)}
    warped |= {"height": target.height, "width": target.width, "resampling": Resampling[resampling], "tolerance": TOLERANCE}
    warped |= {"XSCALE": repr(1.0 / scales[0]), "YSCALE": repr(1.0 / scales[1])}
    if nodata is not None:
        warped |= {"src_nodata": nodata, "nodata": nodata}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), MemoryFile() as file:
        with file.open(**profile, **placed) as dataset:
            dataset.write(values, 1)
            if valid is not None:
                dataset.write_mask(valid)
        with file.open() as dataset, WarpedVRT(dataset, **warped) as view:
            found: Pixels = view.read(1)
    return found


def _rasterio_crs(text: str) -> Any:
    """The object of rasterio for a CRS, made once per thread: GDAL's are not to be shared."""
    known: dict[str, Any] = _local.__dict__
    if text not in known:
        from rasterio.crs import CRS  # noqa: PLC0415

        authority, _, code = text.partition(":")
        known[text] = CRS.from_epsg(int(code)) if authority.upper() == "EPSG" and code.isdigit() else CRS.from_wkt(crs_wkt(text))
    return known[text]
