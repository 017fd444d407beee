"""Geometries on the map of longitudes and latitudes where it ends: at the antimeridian and at the poles. Pure.

``half_turn`` is half a circle in the units of the CRS: 180 for degrees.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely

from rasteret_sql.raster.grid import Floats

_COLLECTION: Final = 7
"""Type id of a geometry collection in shapely."""
_TURNS: Final = (-2, -1, 0, 1, 2)


def across_antimeridian(geometry: Any, half_turn: float, pole: float | None) -> Any:
    """A geometry whose longitudes jump, put together on one side and cut at the antimeridian.

    ``pole`` is the latitude of the pole that lies inside of its outer rings, if one does: a ring that winds around it is closed along it. None for a
    ring that winds around and has no pole.
    """
    if shapely.get_type_id(geometry) == _COLLECTION:
        parts = [across_antimeridian(part, half_turn, pole) for part in shapely.get_parts(geometry)]
        return None if None in parts else shapely.geometrycollections(parts)
    if shapely.get_dimensions(geometry) == 0:
        return geometry
    start = shapely.get_coordinates(geometry)[0, 0]
    whole = _moved(geometry, lambda lon: lon - np.round((lon - start) / (2 * half_turn)) * 2 * half_turn)
    parts = shapely.get_parts(whole)
    curves = shapely.get_rings(parts) if shapely.get_dimensions(whole) == 2 else parts
    lon, curve = shapely.get_coordinates(curves, return_index=True)
    if not ((np.abs(np.diff(lon[:, 0])) > half_turn) & (np.diff(curve) == 0)).any():
        return cut_to_world(whole, half_turn)
    if shapely.get_dimensions(whole) == 2 and pole is None:
        return None
    return cut_to_world(shapely.union_all([_unwound(part, half_turn, pole) for part in parts]), half_turn)


def _unwound(part: Any, half_turn: float, pole: float | None) -> Any:
    """A line or polygon with longitudes that run on instead of jumping; rings around the pole are closed along it."""
    if shapely.get_dimensions(part) == 1:
        return shapely.linestrings(_running(shapely.get_coordinates(part), half_turn))
    shell, *holes = (_closed(_running(shapely.get_coordinates(ring), half_turn), half_turn, pole) for ring in shapely.get_rings(part))
    # a hole that lies a turn away from where its shell came to lie is one all the same
    moved = [shapely.transform(hole, partial(np.add, [2.0 * turns * half_turn, 0.0])) for hole in holes for turns in _TURNS]
    return shapely.difference(shell, shapely.union_all(moved)) if moved else shell


def _running(xy: Floats, half_turn: float) -> Floats:
    return np.stack([np.unwrap(xy[:, 0], period=2 * half_turn), xy[:, 1]], axis=1)


def _closed(ring: Floats, half_turn: float, pole: float | None) -> Any:
    if abs(ring[-1, 0] - ring[0, 0]) > half_turn and pole is not None:
        ring = np.concatenate([ring, [[ring[-1, 0], pole], [ring[0, 0], pole]]])
    polygon = shapely.polygons(ring)
    return polygon if shapely.is_valid(polygon) else shapely.make_valid(polygon)


def _moved(geometry: Any, move: Callable[[Floats], Floats]) -> Any:
    return shapely.transform(geometry, lambda xy: np.stack([move(xy[:, 0]), xy[:, 1]], axis=1))


def cut_to_world(geometry: Any, half_turn: float) -> Any:
    """A geometry that leaves ±180° of longitude, its parts moved back inside."""
    if shapely.get_type_id(geometry) == _COLLECTION:
        return shapely.geometrycollections([cut_to_world(part, half_turn) for part in shapely.get_parts(geometry)])
    return _in_strips(geometry, [((2 * turns - 1) * half_turn, (2 * turns + 1) * half_turn, -turns) for turns in _TURNS], half_turn)


def turned_into(geometry: Any, west: float, east: float, half_turn: float) -> Any:
    """The parts of a geometry that lie between two longitudes, which may be more than ±180°, moved there by whole turns."""
    if shapely.get_type_id(geometry) == _COLLECTION:
        return shapely.geometrycollections([turned_into(part, west, east, half_turn) for part in shapely.get_parts(geometry)])
    strips = [(west - 2 * turns * half_turn, east - 2 * turns * half_turn, turns) for turns in _TURNS]
    return _in_strips(geometry, strips, half_turn)


def _in_strips(geometry: Any, strips: list[tuple[float, float, int]], half_turn: float) -> Any:
    """The parts of a geometry in strips ``(west, east, turns)``, each moved by so many turns, as one geometry."""
    whole = geometry if shapely.is_valid(geometry) else shapely.make_valid(geometry)
    pieces = []
    for west, east, turns in strips:
        piece = shapely.intersection(whole, shapely.box(west, -half_turn, east, half_turn))
        if not shapely.is_empty(piece) and shapely.get_dimensions(piece) == shapely.get_dimensions(whole):
            pieces.append(shapely.transform(piece, partial(np.add, [2.0 * turns * half_turn, 0.0])))
    return shapely.union_all(pieces)


def leave_world(bounds: npt.NDArray[np.float64], half_turn: float) -> npt.NDArray[np.bool_]:
    """Which boxes ``[n, 4]`` reach beyond ±180° (by more than rounding)."""
    edge = half_turn * (1 + 1e-12)
    with np.errstate(invalid="ignore"):
        beyond: npt.NDArray[np.bool_] = np.isfinite(bounds).all(axis=1) & ((bounds[:, 0] < -edge) | (bounds[:, 2] > edge))
    return beyond
