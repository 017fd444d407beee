"""Georeferencing: GeoTIFF tags to the affine transform and the CRS. The rules are those of GeoTIFF 1.1 as GDAL reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING

from rasteret_sql.errors import InvalidRaster, UnsupportedRaster

if TYPE_CHECKING:
    from rasteret_sql.raster.header import Affine

GeoKeys = Mapping[int, int | str | tuple[float, ...]]
"""GeoKey values by number: codes, texts and numbers."""

_GEO_DOUBLE_PARAMS, _GEO_ASCII_PARAMS = 34736, 34737
_PIXEL_IS_POINT = 2
_PROJECTED, _GEOGRAPHIC, _USER_DEFINED = 1, 2, 32767
_METRE = 9001


class GeoKey(IntEnum):
    """GeoKeys by number (names of GeoTIFF 1.0)."""

    MODEL_TYPE = 1024
    RASTER_TYPE = 1025
    GEOGRAPHIC_TYPE = 2048
    PROJECTED_CS_TYPE = 3072
    PROJ_LINEAR_UNITS = 3076


def parse_geokeys(directory: Sequence[int], ascii_params: str, double_params: Sequence[float]) -> GeoKeys:
    """The values of a GeoKeyDirectory; ``ascii_params`` is GeoAsciiParams, one character per byte, ``double_params`` GeoDoubleParams.

    What would lie outside of these is left out.
    """
    keys: dict[int, int | str | tuple[float, ...]] = {}
    count = min(directory[3], (len(directory) - 4) // 4) if len(directory) >= 4 else 0
    for at in range(4, 4 + 4 * count, 4):
        key, location, number, value = directory[at : at + 4]
        if location == 0:
            keys[key] = value
        elif location == _GEO_ASCII_PARAMS and value < len(ascii_params):
            keys[key] = ascii_params[value : value + number].rstrip("|\0")
        elif location == _GEO_DOUBLE_PARAMS and value < len(double_params):
            keys[key] = tuple(double_params[value : value + number])
    return keys


def is_pixel_point(keys: GeoKeys) -> bool:
    """Whether coordinates are those of pixel centres (GTRasterTypeGeoKey is RasterPixelIsPoint)."""
    return keys.get(GeoKey.RASTER_TYPE) == _PIXEL_IS_POINT


def resolve_transform(
    scale: Sequence[float], tiepoint: Sequence[float], tiepoint_values: int, matrix: Sequence[float], *, pixel_is_point: bool, has_rpc: bool = False
) -> Affine:
    """The affine transform of pixel corners.

    In GDAL's order: ModelPixelScale with the first ModelTiepoint, else ModelTransformation; y decreases downwards whatever the sign of the
    scale (GDAL's GTIFF_HONOUR_NEGATIVE_SCALEY default); for PixelIsPoint the origin moves by half a pixel.

    Parameters
    ----------
    scale, matrix:
        Values of ModelPixelScale (2 or 3) and ModelTransformation (16); empty if absent.
    tiepoint, tiepoint_values:
        The first six values of ModelTiepoint and the number of values the tag has.

    Raises
    ------
    UnsupportedRaster
        The file is not georeferenced, or only by ground control points or (``has_rpc``) rational polynomial coefficients.
    InvalidRaster
        The transform is not finite or maps all pixels to one line.
    """
    if len(scale) >= 2 and scale[0] != 0 and scale[1] != 0 and len(tiepoint) == 6:
        a, b, d, e = scale[0], 0.0, 0.0, -abs(scale[1])
        c, f = tiepoint[3] - tiepoint[0] * a, tiepoint[4] - tiepoint[1] * e
    elif len(matrix) == 16:
        a, b, c, d, e, f = matrix[0], matrix[1], matrix[3], matrix[4], matrix[5], matrix[7]
    elif tiepoint_values > 6:
        raise UnsupportedRaster(f"georeferenced only by {tiepoint_values // 6} ground control points (GCPs), which are not read; warp the file first")
    elif has_rpc:
        raise UnsupportedRaster("georeferenced only by rational polynomial coefficients (RPCs), which are not read; orthorectify the file first")
    else:
        raise UnsupportedRaster(
            "has no georeferencing (no ModelPixelScale with ModelTiepoint, no ModelTransformation); add it with gdal_edit -a_ullr -a_srs"
        )
    if pixel_is_point:
        c, f = c - (a + b) * 0.5, f - (d + e) * 0.5
    determinant = a * e - b * d
    if not all(map(math.isfinite, (a, b, c, d, e, f, determinant))) or determinant == 0:
        raise InvalidRaster(f"the transform ({a:g}, {b:g}, {c:g}, {d:g}, {e:g}, {f:g}) is not invertible")
    return a, b, c, d, e, f


def resolve_crs(keys: GeoKeys) -> tuple[int | None, str | None]:
    """``(EPSG code, "EPSG:n")``, or ``(None, WKT2)`` where no code says it, or ``(None, None)`` when the keys name no CRS we can tell exactly.

    Of compound CRSs the horizontal part; vertical and geocentric ones are none.
    """
    model = keys.get(GeoKey.MODEL_TYPE, 0)
    if model not in (0, _PROJECTED, _GEOGRAPHIC, _USER_DEFINED):
        return None, None
    main = GeoKey.GEOGRAPHIC_TYPE if model == _GEOGRAPHIC else GeoKey.PROJECTED_CS_TYPE
    epsg = _code(keys, main)
    if epsg is not None and _is_usual(epsg) and keys.get(GeoKey.PROJ_LINEAR_UNITS, _METRE) == _METRE:
        return epsg, f"EPSG:{epsg}"
    return _resolved(tuple(sorted(keys.items())), model == _GEOGRAPHIC)


def _code(keys: GeoKeys, key: GeoKey) -> int | None:
    """An EPSG code; None for undefined (0), reserved and user-defined (32767) values."""
    value = keys.get(key)
    return value if isinstance(value, int) and 1024 <= value <= 32766 else None


def _is_usual(epsg: int) -> bool:
    """The CRSs of most archives, and two more: known without opening the PROJ database."""
    return 32601 <= epsg <= 32660 or 32701 <= epsg <= 32760 or epsg in (3857, 4326)


@lru_cache(maxsize=256)
def _resolved(items: tuple[tuple[int, int | str | tuple[float, ...]], ...], is_geographic: bool) -> tuple[int | None, str | None]:
    from rasteret_sql.raster import projections  # noqa: PLC0415 - pyproj takes 50 ms and opens the PROJ database, which most files do not need

    return projections.resolve(dict(items), is_geographic=is_geographic)
