"""Coordinate reference systems: points, boxes and geometries from one to another.

Coordinates are (x, y) everywhere: longitude before latitude, easting before northing, whatever order the authority declares
(PROJ's ``always_xy``). Two CRSs that differ in that order only, like OGC:CRS84 and EPSG:4326, are the same here.
CRSs are named by text; what the text means is looked up once per process. All functions may be called from any thread: what pyproj makes
stays in a thread of its own (:mod:`rasteret_sql.raster.proj`) and never leaves this module.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from pyproj.exceptions import CRSError, ProjError

from rasteret_sql.errors import InvalidArgument, one_line
from rasteret_sql.raster.proj import begin_in_proj_thread, in_proj_thread
from rasteret_sql.raster.utm import pipeline
from rasteret_sql.raster.world import across_antimeridian, cut_to_world, leave_world, turned_into

if TYPE_CHECKING:
    from rasteret_sql.raster.grid import Bools, Floats, Geometries, Grid

CRS84: Final = "OGC:CRS84"
"""Longitude and latitude on WGS 84: the CRS of footprints and boxes, and of geometries that name none. What is asked of it most is known here, so
that a statement's first steps need not wait until PROJ has opened its database.
"""

TOLERANCE_M: Final = 0.05
"""Metres on the ground that an edge may lie off its true course after a change of CRS."""

_EARTH_RADIUS_M: Final = 6_371_008.8
_DENSIFY: Final = 22
"""Pieces of each side of a box, as in GDAL and PROJ (``densify_pts=21``)."""
_PROBES: Final = 5
"""Points along each side of the lattice that measures how much a transformation bends a geometry's box."""
_POLYGON: Final = 3
"""Type id of a polygon in shapely."""
_NO_BRACES: Final = str.maketrans("{}", "()")
"""pyproj takes any text with a brace for JSON; in WKT braces occur in names only."""
_MAX_PIECES: Final = 4096
"""Most pieces that the diagonal of a geometry's box is cut into."""


def check_crs(text: str) -> None:
    """Raise :class:`InvalidArgument` when the text names no CRS that PROJ knows."""
    if text != CRS84:
        _checked(text)


@in_proj_thread
def _checked(text: str) -> None:
    _parse_crs(text)


@in_proj_thread
def crs_wkt(text: str) -> str:
    """WKT2 of a CRS, for other programs; :class:`InvalidArgument` as in :func:`check_crs`."""
    return str(_parse_crs(text).to_wkt())


def _parse_crs(text: str) -> pyproj.CRS:
    """``EPSG:32643``, ``OGC:CRS84``, a bare EPSG code, WKT, PROJJSON or a PROJ string; :class:`InvalidArgument` when it is none of them."""
    found = _looked_up(text)
    if isinstance(found, str):
        raise InvalidArgument(found)
    return found


@lru_cache(maxsize=512)
def _looked_up(text: str) -> pyproj.CRS | str:
    """The CRS, or what is wrong: PROJ searches long for what it does not know, and a statement asks several times."""
    name = text.strip()
    if not name.startswith("{"):
        name = name.translate(_NO_BRACES)
    try:
        return pyproj.CRS.from_user_input(CRS84 if name.upper() == "CRS84" else f"EPSG:{name}" if name.isdigit() else name)
    except (CRSError, ProjError) as error:
        asked = one_line(name, 80)
        return f"unknown CRS {asked!r} ({one_line(str(error), 120)}); give an EPSG code (EPSG:32643), OGC:CRS84, WKT2 or PROJJSON"


def same_crs(first: str, second: str) -> bool:
    """True when both texts name one CRS, the order of its axes aside."""
    return first == second or _alike(first, second)


@lru_cache(maxsize=1024)
@in_proj_thread
def _alike(first: str, second: str) -> bool:
    return bool(_parse_crs(first).equals(_parse_crs(second), ignore_axis_order=True))


@lru_cache(maxsize=512)
def _way(src: str, dst: str) -> pyproj.Transformer:
    """The transformation of points from ``src`` to ``dst``; errors as of :func:`_transformer`. It does not know its CRSs, as boxes need."""
    known = pipeline(src, dst)
    return _transformer(src, dst) if known is None else pyproj.Transformer.from_pipeline(known)


@lru_cache(maxsize=512)
def _transformer(src: str, dst: str) -> pyproj.Transformer:
    """The transformation from ``src`` to ``dst``, (x, y) to (x, y); :class:`InvalidArgument` when PROJ knows none."""
    try:
        return pyproj.Transformer.from_crs(_parse_crs(src), _parse_crs(dst), always_xy=True)
    except ProjError as error:
        names = f"{one_line(src, 80)!r} to {one_line(dst, 80)!r}"
        raise InvalidArgument(f"no transformation from {names} ({one_line(str(error), 120)}); name other CRSs") from None


def get_ready() -> None:
    """Have PROJ open its database while nobody waits for it; that takes 10 ms."""
    begin_in_proj_thread(_transformer, CRS84, "EPSG:32631")


def transform_points(x: npt.ArrayLike, y: npt.ArrayLike, src: str, dst: str) -> tuple[Floats, Floats]:
    """Coordinates in ``dst``: float64, of the same shape; inf or NaN where there are none (a pole in Mercator, latitude 95).

    The arrays given are returned as they are when the CRSs are the same and they are float64 already.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if same_crs(src, dst) or not x.size:
        return x, y
    return _transform(x, y, src, dst)


@in_proj_thread
def _transform(x: Floats, y: Floats, src: str, dst: str) -> tuple[Floats, Floats]:
    out_x, out_y = _way(src, dst).transform(x, y)
    return np.asarray(out_x, dtype=np.float64), np.asarray(out_y, dtype=np.float64)


def transform_geometries(geometries: Geometries, src: str, dst: str, tolerance: float | None = None) -> Geometries:
    """The geometries in ``dst``, two-dimensional, with vertices added where a straight edge of ``src`` is a curve in ``dst``.

    An edge then lies within ``tolerance`` (units of ``dst``; :data:`TOLERANCE_M` by default) of its true course. The rule: the second
    differences of the transformation over a lattice on the geometry's box bound how far an edge of a given length bends; geometries
    whose box is too small for that are left as they are, the edges of others are cut to the length that keeps twice the bend within the
    tolerance (at most 4096 pieces across the box).

    None where a geometry is None or has a vertex that has no place in ``dst``. Geometries that cross the antimeridian of a geographic ``dst`` are
    split there; one around a pole is closed along it. The array given is returned when the CRSs are the same.
    """
    if same_crs(src, dst):
        return geometries
    out = np.array(geometries, dtype=np.object_)
    lengths = _edge_lengths(out, src, dst, _tolerance(dst) if tolerance is None else tolerance)
    bent = np.flatnonzero(np.isfinite(lengths))
    out[bent] = shapely.segmentize(out[bent], lengths[bent])

    xy, owner = shapely.get_coordinates(out, return_index=True)
    x, y = transform_points(xy[:, 0], xy[:, 1], src, dst)
    placed = np.ones(len(out), dtype=bool)
    placed[owner[~(np.isfinite(x) & np.isfinite(y))]] = False
    out[~placed] = None
    x, y, owner = x[placed[owner]], y[placed[owner]], owner[placed[owner]]
    shapely.set_coordinates(out, np.stack([x, y], axis=1))
    if is_geographic(dst):
        jumps = (np.abs(np.diff(x)) > _half_turn(dst)) & (np.diff(owner) == 0)
        for index in np.unique(owner[1:][jumps]).tolist():
            out[index] = across_antimeridian(out[index], _half_turn(dst), _pole_inside(geometries[index], src, dst))
    return out


def within_world(geometries: Geometries, crs: str) -> Geometries:
    """Geometries of a geographic CRS with longitudes beyond ±180° cut there, and the parts beyond moved by a turn; the array given where none has."""
    if not is_geographic(crs):
        return geometries
    beyond = np.flatnonzero(leave_world(shapely.bounds(geometries), _half_turn(crs)))
    if not len(beyond):
        return geometries
    out = np.array(geometries, dtype=np.object_)
    for index in beyond.tolist():
        out[index] = cut_to_world(out[index], _half_turn(crs))
    return out


def turned_onto(geometries: Geometries, crs: str, grid: Grid) -> Geometries:
    """Geometries, within ±180°, moved by whole turns to where a geographic grid that reaches beyond has them; the array given for other grids."""
    if not is_geographic(crs) or not leave_world(np.array([grid.bounds]), _half_turn(crs))[0]:
        return geometries
    west, _, east, _ = grid.bounds
    out = np.array(geometries, dtype=np.object_)
    for index in np.flatnonzero(~(shapely.is_missing(out) | shapely.is_empty(out))).tolist():
        out[index] = turned_into(out[index], west, east, _half_turn(crs))
    return out


def transform_bounds(bounds: Floats, src: str, dst: str) -> Floats:
    """The box in ``dst`` around each box of ``src``: float64 ``[n, 4]`` of (xmin, ymin, xmax, ymax).

    Sides are sampled in 22 pieces as by PROJ (``proj_trans_bounds``), and the box grows by what they may bend between samples, so
    that it covers. In a geographic ``dst`` a box across the antimeridian has xmin > xmax, one around a pole reaches it; a box
    of a geographic ``src`` may have xmin > xmax likewise. A row is NaN where its box is, or has no place in ``dst``.
    """
    bounds = np.asarray(bounds, dtype=np.float64).reshape(-1, 4)
    if same_crs(src, dst) or not len(bounds):
        return bounds
    xmin, ymin, xmax, ymax = bounds.T[:, :, None]
    col, row = _outline()
    x, y = transform_points(xmin + col * (xmax - xmin), ymin + row * (ymax - ymin), src, dst)
    with np.errstate(invalid="ignore"):
        bend_x, bend_y = _bend(x), _bend(y)
        out = np.stack([x.min(axis=1) - bend_x, y.min(axis=1) - bend_y, x.max(axis=1) + bend_x, y.max(axis=1) + bend_y], axis=1)
        special = ~np.isfinite(out).all(axis=1)
        if is_geographic(dst):
            special |= (np.abs(np.diff(x, axis=1)) > _half_turn(dst)).any(axis=1)
    special |= bounds[:, 0] > bounds[:, 2]
    special &= np.isfinite(bounds).all(axis=1)
    for index in np.flatnonzero(special).tolist():
        out[index] = _proj_bounds(bounds[index], src, dst)
    return out


def raster_footprint(grid: Grid, crs: str) -> tuple[Any, tuple[float, float, float, float]]:
    """Outline of a raster in CRS84: ``(polygon, (xmin, ymin, xmax, ymax))``.

    The sides are curves there and drawn with 22 pieces each; the box covers them entirely. Across the antimeridian the outline is a multipolygon
    cut at ±180° and the box has xmin > xmax; around a pole they reach it. Where a part of the raster lies off the Earth
    (full-disc images, corners of global projections) the outline is the box of the part that does not.
    """
    straight = same_crs(crs, CRS84)
    col, row = (np.array([0.0, 1.0, 1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0, 1.0, 0.0])) if straight else _outline()
    lon, lat = transform_points(*grid.to_xy(col * grid.width, row * grid.height), crs, CRS84)
    if not (np.isfinite(lon) & np.isfinite(lat)).all():
        return _visible_box(grid, crs)
    lon = lon if straight else np.unwrap(lon, period=360.0)
    bend_lon, bend_lat = (0.0, 0.0) if straight else (float(_bend(part[None])[0]) for part in (lon, lat))
    west, east = float(lon.min()) - bend_lon, float(lon.max()) + bend_lon
    south, north = max(float(lat.min()) - bend_lat, -90.0), min(float(lat.max()) + bend_lat, 90.0)
    if abs(lon[-1] - lon[0]) > 180.0:
        pole_x, pole_y = transform_points([0.0, 0.0], [90.0, -90.0], CRS84, crs)
        pole = 90.0 if grid.contains(pole_x, pole_y)[0] else -90.0
        lon, lat = np.append(lon, [lon[-1], lon[0]]), np.append(lat, [pole, pole])
        west, east, south, north = -180.0, 180.0, min(south, pole), max(north, pole)
    polygon = shapely.polygons(np.stack([lon, lat], axis=1))
    if lon.min() < -180.0 or lon.max() > 180.0:
        polygon = cut_to_world(polygon, 180.0)
    if east - west >= 360.0:
        west, east = -180.0, 180.0
    return polygon, (_wrapped(west), south, _wrapped(east), north)


# -- how much a transformation bends ------------------------------------------------------------------------------------------


def is_geographic(crs: str) -> bool:
    """Are its coordinates angles?"""
    return crs == CRS84 or _has_angles(crs)


@lru_cache(maxsize=512)
@in_proj_thread
def _has_angles(crs: str) -> bool:
    return bool(_parse_crs(crs).is_geographic)


def _unit(crs: str) -> float:
    """One unit of a CRS: radians of a geographic one, metres of others."""
    return math.pi / 180.0 if crs == CRS84 else _said_unit(crs)


@lru_cache(maxsize=512)
@in_proj_thread
def _said_unit(crs: str) -> float:
    parsed = _parse_crs(crs)
    usual = math.pi / 180.0 if parsed.is_geographic else 1.0
    return float(parsed.axis_info[0].unit_conversion_factor or usual) if parsed.axis_info else usual


def _tolerance(crs: str) -> float:
    """:data:`TOLERANCE_M` in the units of a CRS."""
    return TOLERANCE_M / (_unit(crs) * (_EARTH_RADIUS_M if is_geographic(crs) else 1.0))


def _half_turn(crs: str) -> float:
    """Half a circle in the units of a geographic CRS: 180 for degrees."""
    return math.pi / _unit(crs)


def _edge_lengths(geometries: Geometries, src: str, dst: str, tolerance: float) -> Floats:
    """Greatest length (units of ``src``) of an edge that stays within half the tolerance; inf where no edge of the geometry is longer.

    An edge ``u`` of a map ``T`` bends by ``|T''(u, u)| / 8``; ``T''`` is taken from the differences between neighbours of the lattice,
    its greatest over the lattice, and its parts along x, along y and mixed are added up as if they pointed the same way.
    """
    lengths = np.full(len(geometries), np.inf)
    with np.errstate(invalid="ignore"):
        bounds = shapely.bounds(geometries)
        extents = bounds[:, 2:] - bounds[:, :2]
        diagonal = np.hypot(extents[:, 0], extents[:, 1])
        extended = np.flatnonzero((diagonal > 0) & np.isfinite(diagonal) & (shapely.get_dimensions(geometries) > 0))
    if not len(extended):
        return lengths
    step = np.maximum(extents[extended], extents[extended].max(axis=1, keepdims=True) * 0.01) / (_PROBES - 1)
    offset = np.arange(_PROBES) - (_PROBES - 1) / 2
    centre = (bounds[extended, :2] + bounds[extended, 2:]) / 2
    x = centre[:, 0, None, None] + step[:, 0, None, None] * offset[None, None, :]
    y = centre[:, 1, None, None] + step[:, 1, None, None] * offset[None, :, None]
    x, y = np.broadcast_arrays(x, y)
    probes = np.stack(transform_points(x, y, src, dst))
    probes[:, ~np.isfinite(probes).all(axis=0)] = np.nan
    along_x = _greatest(np.diff(probes, n=2, axis=3)) / step[:, 0] ** 2
    along_y = _greatest(np.diff(probes, n=2, axis=2)) / step[:, 1] ** 2
    mixed = _greatest(np.diff(np.diff(probes, axis=2), axis=3)) / (step[:, 0] * step[:, 1])
    curvature = (along_x + along_y + 2 * mixed) / 8
    with np.errstate(divide="ignore"):
        limit = np.maximum(np.sqrt(tolerance / 2 / curvature), diagonal[extended] / _MAX_PIECES)
    lengths[extended] = np.where(limit < diagonal[extended], limit, np.inf)
    return lengths


def _greatest(differences: Floats) -> Floats:
    """Greatest length of the vectors ``[2, n, …]`` of each geometry; those that are NaN do not count."""
    size = np.hypot(differences[0], differences[1]).reshape(differences.shape[1], -1)
    greatest: Floats = np.fmax.reduce(size, axis=1, initial=0.0)
    return greatest


def _bend(ring: Floats) -> Floats:
    """How far a curve may leave the chords between its samples ``[n, samples]`` on one axis: an eighth of the greatest second difference.

    Corners, where two sides meet, are left out.
    """
    sides = [np.abs(np.diff(ring[:, start : start + _DENSIFY + 1], n=2, axis=1)) for start in range(0, ring.shape[1] - 1, _DENSIFY)]
    bend: Floats = np.concatenate(sides, axis=1).max(axis=1, initial=0.0) / 8
    return bend


@lru_cache(maxsize=1)
def _outline() -> tuple[Floats, Floats]:
    """The sides of the unit square from (0, 0), once around and closed, in 22 pieces each."""
    along = np.arange(_DENSIFY) / _DENSIFY
    low, high = np.zeros(_DENSIFY), np.ones(_DENSIFY)
    return np.concatenate([along, high, 1 - along, low, [0.0]]), np.concatenate([low, along, high, 1 - along, [0.0]])


# -- poles, the antimeridian and the edge of the world ------------------------------------------------------------------------


@in_proj_thread
def _proj_bounds(box: Floats, src: str, dst: str) -> Floats:
    """PROJ's own answer for one box: it knows poles and the antimeridian."""
    xmin, ymin, xmax, ymax = box.tolist()
    try:
        out = np.asarray(_transformer(src, dst).transform_bounds(xmin, ymin, xmax, ymax, densify_pts=_DENSIFY - 1), dtype=np.float64)
    except ProjError:
        return np.full(4, np.nan)
    return out if np.isfinite(out).all() else np.full(4, np.nan)


def _pole_inside(geometry: Any, src: str, dst: str) -> float | None:
    """The latitude (in units of ``dst``) of the pole that the outer rings of a geometry of ``src`` enclose; None without."""
    quarter = _half_turn(dst) / 2
    x, y = transform_points([0.0, 0.0], [quarter, -quarter], dst, src)
    parts = shapely.get_parts(shapely.get_parts(geometry))
    shells = shapely.polygons(shapely.get_exterior_ring(parts[shapely.get_type_id(parts) == _POLYGON]))
    for pole_x, pole_y, latitude in zip(x, y, (quarter, -quarter), strict=True):
        if np.isfinite(pole_x) and np.isfinite(pole_y) and shapely.intersects_xy(shells, pole_x, pole_y).any():
            return latitude
    return None


def _visible_box(grid: Grid, crs: str) -> tuple[Any, tuple[float, float, float, float]]:
    """The box of those of 65 × 65 pixel corners that lie on the Earth, grown by three times the greatest step between neighbours.

    Towards the limb coordinates run like a square root; the last step before it is then at least 0.41 of what may lie beyond it.
    """
    col, row = np.meshgrid(np.linspace(0, grid.width, 65), np.linspace(0, grid.height, 65))
    lon, lat = transform_points(*grid.to_xy(col, row), crs, CRS84)
    known: Bools = np.isfinite(lon) & np.isfinite(lat)
    if not known.any():
        raise InvalidArgument(
            f"no part of the raster with transform {grid.transform} lies on the Earth in CRS {one_line(crs, 80)!r}; check transform and CRS"
        )
    places = np.where(known, np.stack([lon, lat]), np.nan)
    steps = [np.nanmax(np.abs(np.diff(places, axis=axis)), axis=(1, 2), initial=0.0) for axis in (1, 2)]
    pad = 3 * np.max(steps, axis=0)
    low = np.maximum(np.nanmin(places, axis=(1, 2)) - pad, [-180.0, -90.0])
    high = np.minimum(np.nanmax(places, axis=(1, 2)) + pad, [180.0, 90.0])
    box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return shapely.box(*box), box


def _wrapped(lon: float) -> float:
    """A longitude within ±180°."""
    return lon if -180.0 <= lon <= 180.0 else (lon + 180.0) % 360.0 - 180.0
