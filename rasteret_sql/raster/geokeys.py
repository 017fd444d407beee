"""Georeferencing: GeoTIFF tags to the affine transform and the CRS. The rules are those of GeoTIFF 1.1 as GDAL reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING

from rasteret_sql.errors import InvalidRaster, UnsupportedRaster

if TYPE_CHECKING:
    import pyproj

    from rasteret_sql.raster.header import Affine

GeoKeys = Mapping[int, int | str]
"""GeoKey values by number: codes and texts. Those with doubles (parameters of user-defined projections) are not used."""

_GEO_ASCII_PARAMS = 34737
_PIXEL_IS_POINT = 2
_PROJECTED, _GEOGRAPHIC, _USER_DEFINED = 1, 2, 32767
_METRE = 9001
_UNIT_METRES: Mapping[int, float] = {_METRE: 1.0, 9002: 0.3048, 9003: 12 / 39.37, 9036: 1000.0}
"""Linear units by EPSG code: metre, international foot, US survey foot, kilometre."""
_ESRI_WKT = "ESRI PE String = "
_EQUIVALENT = 70
"""pyproj's confidence of an EPSG code whose CRS is the same but for its name."""


class GeoKey(IntEnum):
    """GeoKeys by number (names of GeoTIFF 1.0)."""

    MODEL_TYPE = 1024
    RASTER_TYPE = 1025
    CITATION = 1026
    GEOGRAPHIC_TYPE = 2048
    PROJECTED_CS_TYPE = 3072
    PCS_CITATION = 3073
    PROJECTION = 3074
    PROJ_LINEAR_UNITS = 3076


def parse_geokeys(directory: Sequence[int], ascii_params: str) -> GeoKeys:
    """The codes and texts of a GeoKeyDirectory; ``ascii_params`` is GeoAsciiParams, one character per byte. Texts outside of it are left out."""
    keys: dict[int, int | str] = {}
    count = min(directory[3], (len(directory) - 4) // 4) if len(directory) >= 4 else 0
    for at in range(4, 4 + 4 * count, 4):
        key, location, number, value = directory[at : at + 4]
        if location == 0:
            keys[key] = value
        elif location == _GEO_ASCII_PARAMS and value < len(ascii_params):
            keys[key] = ascii_params[value : value + number].rstrip("|\0")
    return keys


def is_pixel_point(keys: GeoKeys) -> bool:
    """Whether coordinates are those of pixel centres (GTRasterTypeGeoKey is RasterPixelIsPoint)."""
    return keys.get(GeoKey.RASTER_TYPE) == _PIXEL_IS_POINT


def resolve_transform(
    scale: Sequence[float], tiepoint: Sequence[float], tiepoint_values: int, matrix: Sequence[float], *, pixel_is_point: bool
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
        The file is not georeferenced, or only by ground control points.
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

    Of compound CRSs the horizontal part; vertical and geocentric ones are none. An EPSG code holds only if its linear unit is also the file's.
    """
    model = keys.get(GeoKey.MODEL_TYPE, 0)
    if model == _GEOGRAPHIC:
        return _named(_code(keys, GeoKey.GEOGRAPHIC_TYPE), None)
    if model not in (0, _PROJECTED, _USER_DEFINED):
        return None, None
    unit = _code(keys, GeoKey.PROJ_LINEAR_UNITS)
    if (projected := _code(keys, GeoKey.PROJECTED_CS_TYPE)) is not None:
        return _named(projected, unit)
    for key in (GeoKey.PCS_CITATION, GeoKey.CITATION):
        citation = keys.get(key)
        if isinstance(citation, str) and citation.startswith(_ESRI_WKT):
            return _from_wkt(citation.removeprefix(_ESRI_WKT))
    base, projection = _code(keys, GeoKey.GEOGRAPHIC_TYPE), _code(keys, GeoKey.PROJECTION)
    if base is not None and projection is not None and unit in (None, _METRE):
        return _from_parts(base, projection)
    return None, None


def _code(keys: GeoKeys, key: GeoKey) -> int | None:
    """An EPSG code; None for undefined (0), reserved and user-defined (32767) values."""
    value = keys.get(key)
    return value if isinstance(value, int) and 1024 <= value <= 32766 else None


def _named(epsg: int | None, unit: int | None) -> tuple[int | None, str | None]:
    if epsg is None:
        return None, None
    if _is_metric_utm(epsg) and unit in (None, _METRE):
        return epsg, f"EPSG:{epsg}"
    return _checked(epsg, unit)


def _is_metric_utm(epsg: int) -> bool:
    """The CRSs of most archives, and two more: known without opening the PROJ database."""
    return 32601 <= epsg <= 32660 or 32701 <= epsg <= 32760 or epsg in (3857, 4326)


@lru_cache(maxsize=256)
def _checked(epsg: int, unit: int | None) -> tuple[int | None, str | None]:
    import pyproj  # noqa: PLC0415 - 50 ms and the PROJ database, which most files do not need

    try:
        crs = pyproj.CRS.from_epsg(epsg)
    except pyproj.exceptions.CRSError:
        return None, None
    horizontal = crs.sub_crs_list[0] if crs.is_compound else crs
    if not (horizontal.is_projected or horizontal.is_geographic):
        return None, None
    if horizontal.is_projected and unit is not None:
        metres = _UNIT_METRES.get(unit)
        if metres is None or not math.isclose(horizontal.axis_info[0].unit_conversion_factor, metres, rel_tol=1e-9):
            return None, None
    return _said(horizontal) if crs.is_compound else (epsg, f"EPSG:{epsg}")


@lru_cache(maxsize=256)
def _from_wkt(wkt: str) -> tuple[int | None, str | None]:
    import pyproj  # noqa: PLC0415

    try:
        return _said(pyproj.CRS.from_wkt(wkt))
    except pyproj.exceptions.CRSError:
        return None, None


@lru_cache(maxsize=256)
def _from_parts(base: int, projection: int) -> tuple[int | None, str | None]:
    """The EPSG code of a CRS in metres that is given as a geographic CRS and a projection (``UTM zone 32N`` on ``WGS 84``), if there is one."""
    import pyproj  # noqa: PLC0415

    try:
        conversion = f"urn:ogc:def:coordinateOperation:EPSG::{projection}"
        crs = pyproj.crs.ProjectedCRS(conversion, geodetic_crs=f"EPSG:{base}", name="user-defined")
    except pyproj.exceptions.CRSError:
        return None, None
    epsg = crs.to_epsg(min_confidence=_EQUIVALENT)
    return (None, None) if epsg is None else (epsg, f"EPSG:{epsg}")


def _said(crs: pyproj.CRS) -> tuple[int | None, str | None]:
    epsg = crs.to_epsg(min_confidence=_EQUIVALENT)
    return (None, crs.to_wkt()) if epsg is None else (epsg, f"EPSG:{epsg}")
