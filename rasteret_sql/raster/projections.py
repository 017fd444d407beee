"""CRSs that GeoKeys spell out with parameters instead of a code, as PROJ CRSs.

Which keys hold a method's parameters, and what stands in for a missing one, follows libgeotiff (``GTIFFetchProjParms``), which GDAL reads by; methods
and parameters have their EPSG codes (Guidance Note 7-2), so that PROJ knows them whatever their names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import pyproj
from pyproj.crs import CoordinateOperation, Datum, Ellipsoid, PrimeMeridian  # type: ignore[attr-defined]  # public, but not in its __all__
from pyproj.exceptions import CRSError, ProjError

GeoKeys = Mapping[int, int | str | tuple[float, ...]]

_USER_DEFINED = 32767
_EQUIVALENT = 70
"""pyproj's confidence of an EPSG code whose CRS is the same but for its name."""
_ESRI_WKT = "ESRI PE String = "
_METRE, _DEGREE = 9001, 9102
_LINEAR: Mapping[int, tuple[str, float]] = {
    _METRE: ("metre", 1.0),
    9002: ("foot", 0.3048),
    9003: ("US survey foot", 12 / 39.37),
    9036: ("kilometre", 1000.0),
}
_ANGULAR: Mapping[int, tuple[str, float]] = {
    9101: ("radian", 1.0),
    _DEGREE: ("degree", math.pi / 180),
    9103: ("arc-minute", math.pi / 10800),
    9104: ("arc-second", math.pi / 648000),
    9105: ("grad", math.pi / 200),
    9106: ("gon", math.pi / 200),
    9122: ("degree", math.pi / 180),
}
"""Units by EPSG code: name, and size in metres or radians."""


class Key(IntEnum):
    """GeoKeys with parameters (names of GeoTIFF 1.0)."""

    CITATION = 1026
    GEOGRAPHIC = 2048
    GEOG_CITATION = 2049
    DATUM = 2050
    PRIME_MERIDIAN = 2051
    ANGULAR_UNITS = 2054
    ANGULAR_UNIT_SIZE = 2055
    ELLIPSOID = 2056
    SEMI_MAJOR_AXIS = 2057
    SEMI_MINOR_AXIS = 2058
    INVERSE_FLATTENING = 2059
    PRIME_MERIDIAN_LONG = 2061
    TO_WGS84 = 2062
    PROJECTED = 3072
    PCS_CITATION = 3073
    PROJECTION = 3074
    COORD_TRANS = 3075
    LINEAR_UNITS = 3076
    LINEAR_UNIT_SIZE = 3077
    STD_PARALLEL_1 = 3078
    STD_PARALLEL_2 = 3079
    NAT_ORIGIN_LONG = 3080
    NAT_ORIGIN_LAT = 3081
    FALSE_EASTING = 3082
    FALSE_NORTHING = 3083
    FALSE_ORIGIN_LONG = 3084
    FALSE_ORIGIN_LAT = 3085
    FALSE_ORIGIN_EASTING = 3086
    FALSE_ORIGIN_NORTHING = 3087
    CENTER_LONG = 3088
    CENTER_LAT = 3089
    CENTER_EASTING = 3090
    CENTER_NORTHING = 3091
    SCALE_AT_NAT_ORIGIN = 3092
    SCALE_AT_CENTER = 3093
    AZIMUTH_ANGLE = 3094
    STRAIGHT_VERT_POLE_LONG = 3095
    RECTIFIED_GRID_ANGLE = 3096


MAX_NAME = 500
"""Letters of a citation that are kept."""
ANGLE, LENGTH, SCALE = "angle", "length", "scale"


@dataclass(frozen=True, slots=True)
class _Parameter:
    """One parameter of a method: its EPSG code and name, its kind, the keys it is looked for in, and its default."""

    code: int
    name: str
    kind: str
    keys: tuple[Key, ...]
    default: float = 0.0


_LONGS = (Key.NAT_ORIGIN_LONG, Key.FALSE_ORIGIN_LONG, Key.CENTER_LONG)
_LATS = (Key.NAT_ORIGIN_LAT, Key.FALSE_ORIGIN_LAT, Key.CENTER_LAT)
_EASTINGS = (Key.FALSE_EASTING, Key.CENTER_EASTING, Key.FALSE_ORIGIN_EASTING)
_NORTHINGS = (Key.FALSE_NORTHING, Key.CENTER_NORTHING, Key.FALSE_ORIGIN_NORTHING)
_SCALES = (Key.SCALE_AT_NAT_ORIGIN, Key.SCALE_AT_CENTER)
_LAT = _Parameter(8801, "Latitude of natural origin", ANGLE, _LATS)
_LONG = _Parameter(8802, "Longitude of natural origin", ANGLE, _LONGS)
_SCALE = _Parameter(8805, "Scale factor at natural origin", SCALE, _SCALES, 1.0)
_EAST = _Parameter(8806, "False easting", LENGTH, _EASTINGS)
_NORTH = _Parameter(8807, "False northing", LENGTH, _NORTHINGS)
_PARALLEL = _Parameter(8823, "Latitude of 1st standard parallel", ANGLE, (Key.STD_PARALLEL_1,))
_PARALLEL_2 = _Parameter(8824, "Latitude of 2nd standard parallel", ANGLE, (Key.STD_PARALLEL_2,))
_FALSE_LONG = _Parameter(8822, "Longitude of false origin", ANGLE, _LONGS)
_FALSE_LAT = _Parameter(8821, "Latitude of false origin", ANGLE, _LATS)
_FALSE_EAST = _Parameter(8826, "Easting at false origin", LENGTH, (Key.FALSE_ORIGIN_EASTING, Key.FALSE_EASTING))
_FALSE_NORTH = _Parameter(8827, "Northing at false origin", LENGTH, (Key.FALSE_ORIGIN_NORTHING, Key.FALSE_NORTHING))
_POLE_LONG = (Key.STRAIGHT_VERT_POLE_LONG, *_LONGS)
_OBLIQUE = (
    _Parameter(8811, "Latitude of projection centre", ANGLE, _LATS),
    _Parameter(8812, "Longitude of projection centre", ANGLE, _LONGS),
    _Parameter(8813, "Azimuth at projection centre", ANGLE, (Key.AZIMUTH_ANGLE,)),
    _Parameter(8814, "Angle from Rectified to Skew Grid", ANGLE, (Key.RECTIFIED_GRID_ANGLE,), 90.0),
    _Parameter(8815, "Scale factor at projection centre", SCALE, _SCALES, 1.0),
)
_PLACED = (_LAT, _LONG, _SCALE, _EAST, _NORTH)
_UNSCALED = (_LAT, _LONG, _EAST, _NORTH)
_WORLD = (_LONG, _EAST, _NORTH)
_CONIC = (_FALSE_LAT, _FALSE_LONG, _PARALLEL, _PARALLEL_2, _FALSE_EAST, _FALSE_NORTH)
_MERCATOR, _POLAR = 7, 15

_METHODS: Mapping[int, tuple[str, int | None, tuple[_Parameter, ...]]] = {
    1: ("Transverse Mercator", 9807, _PLACED),
    3: ("Hotine Oblique Mercator (variant A)", 9812, (*_OBLIQUE, _EAST, _NORTH)),
    _MERCATOR: ("Mercator (variant A)", 9804, _PLACED),
    8: ("Lambert Conic Conformal (2SP)", 9802, _CONIC),
    9: ("Lambert Conic Conformal (1SP)", 9801, _PLACED),
    10: ("Lambert Azimuthal Equal Area", 9820, _UNSCALED),
    11: ("Albers Equal Area", 9822, _CONIC),
    12: ("Azimuthal Equidistant", None, _UNSCALED),
    13: ("Equidistant Conic", None, _CONIC),
    14: ("Stereographic", None, _PLACED),
    _POLAR: ("Polar Stereographic (variant A)", 9810, (_LAT, _Parameter(8802, "Longitude of natural origin", ANGLE, _POLE_LONG), *_PLACED[2:])),
    16: ("Oblique Stereographic", 9809, _PLACED),
    17: ("Equidistant Cylindrical", 1028, (_PARALLEL, _LAT, _LONG, _EAST, _NORTH)),
    18: ("Cassini-Soldner", 9806, _UNSCALED),
    19: ("Gnomonic", None, _UNSCALED),
    20: ("Miller Cylindrical", None, _WORLD),
    21: ("Orthographic", 9840, _UNSCALED),
    22: ("American Polyconic", 9818, _UNSCALED),
    23: ("Robinson", None, _WORLD),
    24: ("Sinusoidal", None, _WORLD),
    25: ("Van Der Grinten", None, _WORLD),
    26: ("New Zealand Map Grid", 9811, _UNSCALED),
    27: ("Transverse Mercator (South Orientated)", 9808, _PLACED),
    28: ("Lambert Cylindrical Equal Area", 9835, (_PARALLEL, _LONG, _EAST, _NORTH)),
    9815: (
        "Hotine Oblique Mercator (variant B)",
        9815,
        (
            *_OBLIQUE,
            _Parameter(8816, "Easting at projection centre", LENGTH, _EASTINGS),
            _Parameter(8817, "Northing at projection centre", LENGTH, _NORTHINGS),
        ),
    ),
}
"""ProjCoordTrans code → method, its EPSG code, its parameters. 9815 is GDAL's."""
_MERCATOR_B = ("Mercator (variant B)", 9805, (_PARALLEL, _LONG, _EAST, _NORTH))
_POLAR_B = (
    "Polar Stereographic (variant B)",
    9829,
    (
        _Parameter(8832, "Latitude of standard parallel", ANGLE, _LATS),
        _Parameter(8833, "Longitude of origin", ANGLE, _POLE_LONG),
        _EAST,
        _NORTH,
    ),
)


def resolve(keys: GeoKeys, *, is_geographic: bool) -> tuple[int | None, str | None]:
    """``(EPSG code, "EPSG:n")``, or ``(None, WKT2)`` where no code says it, or ``(None, None)`` where PROJ makes no CRS of the keys.

    A code that PROJ finds likely counts only if its CRS is the same: an ellipsoid without a datum is not the datum that has that ellipsoid.
    """
    try:
        crs = geographic(keys) if is_geographic else projected(keys)
        if crs is None:
            return None, None
        if crs.is_bound:  # has no code, and PROJ takes seconds to find that out
            return None, crs.to_wkt()
        epsg = crs.to_epsg(min_confidence=_EQUIVALENT)
        if epsg is None or not pyproj.CRS.from_epsg(epsg).equals(crs, ignore_axis_order=True):
            return None, crs.to_wkt()
    except (CRSError, ProjError):
        return None, None
    return epsg, f"EPSG:{epsg}"


def horizontal(crs: pyproj.CRS) -> pyproj.CRS | None:
    """The CRS itself or the horizontal part of a compound one; None where it has none (vertical, geocentric, engineering)."""
    part = crs.sub_crs_list[0] if crs.is_compound else crs
    return part if part.is_projected or part.is_geographic else None


def geographic(keys: GeoKeys) -> pyproj.CRS | None:
    """The geographic CRS that keys of that model name or spell out."""
    crs = _from_citation(keys)
    if crs is not None:
        return crs
    crs = geographic_crs(keys, _code(keys, Key.GEOGRAPHIC))
    return None if crs is None else bound(crs, keys)


def projected(keys: GeoKeys) -> pyproj.CRS | None:
    """The projected CRS that keys name, or spell out."""
    name = next((text for key in (Key.PCS_CITATION, Key.CITATION) if (text := _text(keys, key))), "unknown")
    code = _code(keys, Key.PROJECTED)
    if code is not None:
        crs = horizontal(pyproj.CRS.from_epsg(code))
        return crs if crs is None or crs.is_geographic or _is_unit_of(crs, keys) else with_unit(crs, keys)
    if (crs := _from_citation(keys)) is not None:
        return crs
    base = geographic_crs(keys, _code(keys, Key.GEOGRAPHIC))
    if base is None:
        return None
    conversion = _code(keys, Key.PROJECTION)
    return projected_crs(keys, base, name) if conversion is None else by_conversion(base, conversion, keys, name)


def _from_citation(keys: GeoKeys) -> pyproj.CRS | None:
    """A CRS that a citation has as Esri's WKT."""
    for key in (Key.PCS_CITATION, Key.CITATION, Key.GEOG_CITATION):
        text = keys.get(key)
        if isinstance(text, str) and text.startswith(_ESRI_WKT):
            try:
                return horizontal(pyproj.CRS.from_wkt(text.removeprefix(_ESRI_WKT)))
            except CRSError:
                continue
    return None


def _is_unit_of(crs: pyproj.CRS, keys: GeoKeys) -> bool:
    """Does a CRS count in the linear unit of the keys? Without a unit there it does."""
    _, metres = _unit(keys, Key.LINEAR_UNITS, Key.LINEAR_UNIT_SIZE, _LINEAR, _METRE)
    return Key.LINEAR_UNITS not in keys or math.isclose(crs.axis_info[0].unit_conversion_factor, metres, rel_tol=1e-9)


def geographic_crs(keys: GeoKeys, code: int | None) -> pyproj.CRS | None:
    """The geographic CRS by its code, or by datum, ellipsoid and prime meridian; None where the keys lack them."""
    if code is not None:
        crs = horizontal(pyproj.CRS.from_epsg(code))
        return crs if crs is None or crs.is_geographic else None
    datum = _datum(keys)
    name, radians = _unit(keys, Key.ANGULAR_UNITS, Key.ANGULAR_UNIT_SIZE, _ANGULAR, _DEGREE)
    if datum is None or not radians > 0:
        return None
    unit = "degree" if name == "degree" else {"type": "AngularUnit", "name": name, "conversion_factor": radians}
    axes = [("Geodetic latitude", "Lat", "north"), ("Geodetic longitude", "Lon", "east")]
    system = {"subtype": "ellipsoidal", "axis": [{"name": a, "abbreviation": b, "direction": c, "unit": unit} for a, b, c in axes]}
    kind = "datum_ensemble" if datum["type"] == "DatumEnsemble" else "datum"
    return pyproj.CRS.from_json_dict({"type": "GeographicCRS", "name": _name(keys), kind: datum, "coordinate_system": system})


def projected_crs(keys: GeoKeys, base: pyproj.CRS, name: str) -> pyproj.CRS | None:
    """A projected CRS by ProjCoordTrans and its parameters on a geographic one; None where the method is not one of those known."""
    transformation = keys.get(Key.COORD_TRANS)
    method = _METHODS.get(transformation) if isinstance(transformation, int) else None
    linear, metres = _unit(keys, Key.LINEAR_UNITS, Key.LINEAR_UNIT_SIZE, _LINEAR, _METRE)
    if method is None or not metres > 0:
        return None
    if transformation == _MERCATOR and Key.STD_PARALLEL_1 in keys and not any(key in keys for key in _SCALES):
        method = _MERCATOR_B
    if transformation == _POLAR and abs(abs(_number(keys, _LATS, 0.0)) - 90.0) > 1e-8:
        method = _POLAR_B
    angular = _angle_unit(base)
    length = "metre" if metres == 1.0 else {"type": "LinearUnit", "name": linear, "conversion_factor": metres}
    units = {ANGLE: angular, LENGTH: length, SCALE: "unity"}
    method_name, code, parameters = method
    conversion = {
        "name": name,
        "method": {"name": method_name} | ({} if code is None else {"id": {"authority": "EPSG", "code": code}}),
        "parameters": [
            {
                "name": parameter.name,
                "value": _number(keys, parameter.keys, parameter.default),
                "unit": units[parameter.kind],
                "id": {"authority": "EPSG", "code": parameter.code},
            }
            for parameter in parameters
        ],
    }
    return _on(base, name, conversion, length, keys)


def with_unit(crs: pyproj.CRS, keys: GeoKeys) -> pyproj.CRS | None:
    """A projected CRS with the linear unit of the keys in the place of its own."""
    linear, metres = _unit(keys, Key.LINEAR_UNITS, Key.LINEAR_UNIT_SIZE, _LINEAR, _METRE)
    if not metres > 0:
        return None
    described = crs.to_json_dict()
    described.pop("id", None)
    unit = "metre" if metres == 1.0 else {"type": "LinearUnit", "name": linear, "conversion_factor": metres}
    for axis in described["coordinate_system"]["axis"]:
        axis["unit"] = unit
    return pyproj.CRS.from_json_dict(described)


def by_conversion(base: pyproj.CRS, conversion: int, keys: GeoKeys, name: str) -> pyproj.CRS | None:
    """A projected CRS by the EPSG code of its conversion (``UTM zone 32N``) on a geographic one."""
    operation = CoordinateOperation.from_epsg(conversion)
    if operation.type_name != "Conversion":
        return None
    return with_unit(pyproj.crs.ProjectedCRS(operation, geodetic_crs=base, name=name), keys)


def _on(base: pyproj.CRS, name: str, conversion: Mapping[str, Any], unit: object, keys: GeoKeys) -> pyproj.CRS:
    axes = [("Easting", "E", "east"), ("Northing", "N", "north")]
    described: dict[str, Any] = {
        "type": "ProjectedCRS",
        "name": name,
        "base_crs": base.to_json_dict(),
        "conversion": dict(conversion),
        "coordinate_system": {"subtype": "Cartesian", "axis": [{"name": a, "abbreviation": b, "direction": c, "unit": unit} for a, b, c in axes]},
    }
    return bound(pyproj.CRS.from_json_dict(described), keys)


def bound(crs: pyproj.CRS, keys: GeoKeys) -> pyproj.CRS:
    """The CRS with the Helmert parameters to WGS 84 that the keys give (three or seven numbers), if they do."""
    shift = keys.get(Key.TO_WGS84)
    if not isinstance(shift, tuple) or len(shift) not in (3, 7):
        return crs
    base = crs.geodetic_crs or crs
    wgs84 = pyproj.CRS.from_epsg(4326)
    transformation = pyproj.crs.coordinate_operation.ToWGS84Transformation(base, *shift)
    return pyproj.crs.BoundCRS(crs, wgs84, transformation)


def _datum(keys: GeoKeys) -> dict[str, Any] | None:
    """A datum by its code, else an unnamed one by ellipsoid and prime meridian, in PROJJSON."""
    code = _code(keys, Key.DATUM)
    meridian = _prime_meridian(keys)
    if code is not None:
        known: dict[str, Any] = Datum.from_epsg(code).to_json_dict()
        if meridian is None:
            return known
        known = {"type": "GeodeticReferenceFrame", "name": known["name"], "ellipsoid": known["ellipsoid"]}  # an ensemble has no other meridian
        return known | {"prime_meridian": meridian}
    ellipsoid = _ellipsoid(keys)
    if ellipsoid is None:
        return None
    described = {"type": "GeodeticReferenceFrame", "name": _named(keys, "Datum") or "unknown", "ellipsoid": ellipsoid}
    return described | ({} if meridian is None else {"prime_meridian": meridian})


def _ellipsoid(keys: GeoKeys) -> dict[str, Any] | None:
    if (code := _code(keys, Key.ELLIPSOID)) is not None:
        return Ellipsoid.from_epsg(code).to_json_dict()
    major, minor, flattening = (_number(keys, (key,), math.nan) for key in (Key.SEMI_MAJOR_AXIS, Key.SEMI_MINOR_AXIS, Key.INVERSE_FLATTENING))
    if not major > 0:
        return None
    name = _named(keys, "Ellipsoid") or "unknown"
    if flattening > 1:
        return {"name": name, "semi_major_axis": major, "inverse_flattening": flattening}
    if math.isnan(minor) or minor == major:
        return {"name": name, "radius": major} if flattening == 0 or minor == major else None
    return {"name": name, "semi_major_axis": major, "semi_minor_axis": minor} if 0 < minor < major else None


def _prime_meridian(keys: GeoKeys) -> dict[str, Any] | None:
    """None for Greenwich."""
    code = _code(keys, Key.PRIME_MERIDIAN)
    if code is not None:
        return None if code == 8901 else PrimeMeridian.from_epsg(code).to_json_dict()
    longitude = _number(keys, (Key.PRIME_MERIDIAN_LONG,), 0.0)
    return None if longitude == 0 else {"name": _named(keys, "Primem") or "unknown", "longitude": longitude}


def _name(keys: GeoKeys) -> str:
    """The geographic citation: the text itself, or its ``GCS Name`` part."""
    return _named(keys, "GCS Name") or _text(keys, Key.GEOG_CITATION).partition("|")[0].strip() or "unknown"


def _named(keys: GeoKeys, part: str) -> str | None:
    """``Datum = …`` and the like of a geographic citation in parts."""
    for piece in _text(keys, Key.GEOG_CITATION).split("|"):
        label, equals, value = piece.partition("=")
        if equals and label.strip() == part and value.strip():
            return value.strip()
    return None


def _text(keys: GeoKeys, key: Key) -> str:
    """A citation as a name may be: printable, not endless, without braces, by which pyproj knows JSON; empty without one."""
    text = keys.get(key)
    letters = text[:MAX_NAME] if isinstance(text, str) else ""
    return "".join(letter if letter.isprintable() and letter not in "{}" else " " for letter in letters).strip()


def _angle_unit(base: pyproj.CRS) -> object:
    """The unit of a geographic CRS's axes: that of the projection's angles."""
    axis = base.axis_info[0]
    if axis.unit_name == "degree":
        return "degree"
    return {"type": "AngularUnit", "name": axis.unit_name, "conversion_factor": axis.unit_conversion_factor}


def _unit(keys: GeoKeys, code_key: Key, size_key: Key, known: Mapping[int, tuple[str, float]], default: int) -> tuple[str, float]:
    """Name and size of a unit; user-defined ones have a size of their own. Size 0 where it is not known."""
    code = keys.get(code_key, default)
    size = _number(keys, (size_key,), 0.0)
    if code == _USER_DEFINED and size > 0:
        return "unknown", size
    return known.get(code, ("", 0.0)) if isinstance(code, int) else ("", 0.0)


def _code(keys: GeoKeys, key: Key) -> int | None:
    value = keys.get(key)
    return value if isinstance(value, int) and 1024 <= value < _USER_DEFINED else None


def _number(keys: GeoKeys, names: Sequence[Key], default: float) -> float:
    """The first of the keys that has a number."""
    for name in names:
        value = keys.get(name)
        if isinstance(value, tuple) and value and math.isfinite(value[0]):
            return value[0]
    return default
