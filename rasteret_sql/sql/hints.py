"""Why a geometry met no record, where its coordinates themselves suggest it: SQL expressions, decided row by row."""

from __future__ import annotations

import json

from rasteret_sql.sql.quote import text
from rasteret_sql.sql.sources import Records

EXCHANGED = "with x and y exchanged it would lie within the collection; coordinates are x, y (longitude, latitude)"
NO_DEGREES = "these coordinates are no longitude and latitude; give their CRS, such as geometry_crs := 'EPSG:32643'"


def exchanged(records: Records, lon: str, lat: str) -> str:
    """A reason where (lat, lon) lies within the collection's bounds and (lon, lat) does not, else NULL; ``lon`` and ``lat`` are SQL."""
    bounds = _bounds(records)
    if bounds is None:
        return "NULL"
    west, south, east, north = bounds
    within = "{} BETWEEN " + f"{west!r} AND {east!r}" + " AND {} BETWEEN " + f"{south!r} AND {north!r}"
    return f"if(NOT ({within.format(lon, lat)}) AND {within.format(lat, lon)}, {text(EXCHANGED)}, NULL)"


def no_degrees(lon: str, lat: str) -> str:
    """A reason where numbers that were taken for degrees cannot be such, else NULL."""
    return f"if(abs({lat}) > 90 OR abs({lon}) > 360, {text(NO_DEGREES)}, NULL)"


def _bounds(records: Records) -> tuple[float, float, float, float] | None:
    """West, south, east, north of all footprints, where the collection says so and they do not cross the antimeridian."""
    if records.collection is None:
        return None
    try:
        said = json.loads(records.collection.metadata.get("geo", "{}"))
        west, south, east, north = (float(side) for side in said["columns"]["geometry"]["bbox"])
    except (KeyError, TypeError, ValueError):  # written by others, or without bounds
        return None
    return (west, south, east, north) if west <= east else None
