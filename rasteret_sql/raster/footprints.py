"""Footprints of many rasters at once: one call of PROJ per CRS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from rasteret_sql.errors import InvalidArgument
from rasteret_sql.raster.crs import CRS84, raster_footprint, same_crs, transform_points
from rasteret_sql.raster.grid import Grid
from rasteret_sql.raster.header import Affine

_PIECES = 22
"""Pieces of each side, as in :func:`~rasteret_sql.raster.crs.raster_footprint`."""
Frame = tuple[str, Affine, int, int]
"""CRS, transform, width, height: what a footprint follows from."""
Footprint = tuple[Any, tuple[float, float, float, float]]


@dataclass(frozen=True, slots=True)
class _Sides:
    """The sides of the unit square from (0, 0), once around and closed."""

    col: npt.NDArray[np.float64]
    row: npt.NDArray[np.float64]

    @classmethod
    def of(cls, pieces: int) -> _Sides:
        along, low, high = np.arange(pieces) / pieces, np.zeros(pieces), np.ones(pieces)
        return cls(np.concatenate([along, high, 1 - along, low, [0.0]]), np.concatenate([low, along, high, 1 - along, [0.0]]))


def raster_footprints(frames: Sequence[Frame]) -> list[Footprint | InvalidArgument]:
    """:func:`~rasteret_sql.raster.crs.raster_footprint` of each frame, to the last digit; equal frames are drawn once, an error is that frame's.

    Frames that lie whole and plain on the map go through PROJ together; those at poles, at the antimeridian or beyond the Earth one by one.
    """
    found: dict[Frame, Footprint | InvalidArgument] = {}
    groups: dict[str, list[Frame]] = {}
    for frame in dict.fromkeys(frames):
        groups.setdefault(frame[0], []).append(frame)
    for crs, members in groups.items():
        try:
            found |= _together(crs, members)
        except InvalidArgument as error:
            found |= dict.fromkeys(members, error)
    return [found[frame] for frame in frames]


def _together(crs: str, frames: Sequence[Frame]) -> dict[Frame, Footprint | InvalidArgument]:
    straight = same_crs(crs, CRS84)
    sides = _Sides.of(1 if straight else _PIECES)
    transforms = np.array([frame[1] for frame in frames], dtype=np.float64).T[:, :, None]
    a, b, c, d, e, f = transforms
    col = sides.col * np.array([frame[2] for frame in frames], dtype=np.float64)[:, None]
    row = sides.row * np.array([frame[3] for frame in frames], dtype=np.float64)[:, None]
    lon, lat = transform_points(a * col + b * row + c, d * col + e * row + f, crs, CRS84)
    with np.errstate(invalid="ignore"):
        bend_lon, bend_lat = (_bend(lon), _bend(lat)) if not straight else (np.zeros(len(frames)), np.zeros(len(frames)))
        west, east = lon.min(axis=1) - bend_lon, lon.max(axis=1) + bend_lon
        south, north = np.maximum(lat.min(axis=1) - bend_lat, -90.0), np.minimum(lat.max(axis=1) + bend_lat, 90.0)
        plain = np.isfinite(lon).all(axis=1) & np.isfinite(lat).all(axis=1) & (west >= -180.0) & (east <= 180.0)
        plain &= (np.abs(np.diff(lon, axis=1)) < 180.0).all(axis=1) & (east - west < 360.0) & ((a * e - b * d)[:, 0] != 0)
    found: dict[Frame, Footprint | InvalidArgument] = {}
    rings = shapely.polygons(np.stack([lon, lat], axis=2)[plain])
    boxes = np.stack([west, south, east, north], axis=1)[plain].tolist()
    for index, polygon, (xmin, ymin, xmax, ymax) in zip(np.flatnonzero(plain).tolist(), rings, boxes, strict=True):
        found[frames[index]] = (polygon, (xmin, ymin, xmax, ymax))
    for index in np.flatnonzero(~plain).tolist():
        _, transform, width, height = frames[index]
        try:
            found[frames[index]] = raster_footprint(Grid(transform, width, height), crs)
        except InvalidArgument as error:
            found[frames[index]] = error
    return found


def _bend(ring: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """An eighth of the greatest second difference along the sides ``[n, samples]``; corners, where two sides meet, are left out."""
    sides = [np.abs(np.diff(ring[:, start : start + _PIECES + 1], n=2, axis=1)) for start in range(0, ring.shape[1] - 1, _PIECES)]
    bend: npt.NDArray[np.float64] = np.concatenate(sides, axis=1).max(axis=1, initial=0.0) / 8
    return bend
