"""Where and when a search looks: boxes, geometries and date ranges as users write them. Pure."""

from __future__ import annotations

import calendar
import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import shapely
from shapely.geometry import mapping, shape

from rasteret_sql.errors import InvalidArgument, one_line

Box = tuple[float, float, float, float]
"""West, south, east, north in degrees; west > east where it crosses the antimeridian."""

_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")
_OPEN = ("", "..")
_STEP = timedelta(microseconds=1)
_NO_GEOMETRY = (ValueError, TypeError, KeyError, AttributeError, IndexError, shapely.errors.ShapelyError)
"""What reading a text or a dictionary that is no geometry may raise."""
_MARGIN = 1e-6
"""Degrees by which a catalogue's boxes may be rounded."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends belong to it; None is open. UTC, without zone."""

    start: datetime | None = None
    end: datetime | None = None

    @property
    def text(self) -> str:
        """As STAC APIs take it (RFC 3339, ``..`` for an open end)."""
        return "/".join(".." if end is None else f"{end.isoformat()}Z" for end in (self.start, self.end))

    def meets(self, start: datetime | None, end: datetime | None) -> bool:
        """Does a moment (both the same) or a period meet it? An end that is not known does not exclude."""
        return not (end is not None and self.start is not None and end < self.start) and not (
            start is not None and self.end is not None and start > self.end
        )


def parse_interval(value: Any) -> Interval | None:
    """``['2024-01-01', '2024-01-31']``, ``'2024-01'``, ``'2023/..'``; years, months and days stand for the whole of them, so an end is inclusive.

    Raises :class:`InvalidArgument` for what is no date, for an interval without ends, and for one that ends before it starts.
    """
    if value is None:
        return None
    ends = value.split("/") if isinstance(value, str) else list(value) if isinstance(value, list | tuple) else [value]
    if len(ends) == 3 and isinstance(value, str):
        raise InvalidArgument(f"{value!r} is no date; 'YYYY-MM-DD' is, and for both ends ['2024-01-01', '2024-01-31']")
    if len(ends) not in (1, 2):
        raise InvalidArgument(f"date_range has {len(ends)} ends; one date or two are valid, such as ['2024-01-01', '2024-01-31']")
    first, last = parse_date(ends[0]), parse_date(ends[-1])
    interval = Interval(first and first[0], last and last[1])
    if interval.start is None and interval.end is None:
        raise InvalidArgument("date_range is open at both ends; leave it out, or give one end")
    if interval.start is not None and interval.end is not None and interval.start > interval.end:
        raise InvalidArgument(f"date_range ends before it starts: {ends[0]} … {ends[-1]}")
    return interval


def parse_date(value: Any) -> tuple[datetime, datetime] | None:
    """The first and the last moment of a year, month, day or time; None for an open end (``..``, empty, NULL)."""
    if value is None or (isinstance(value, str) and value.strip() in _OPEN):
        return None
    if isinstance(value, datetime):
        return (_utc(value), _utc(value))
    if isinstance(value, date):
        value = value.isoformat()
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"{value:04d}"
    if isinstance(value, str):
        text = value.strip()
        found = _DATE.fullmatch(text)
        try:
            if found is None:
                moment = parse_time(text)
                return (moment, moment)
            return _whole(int(found[1]), int(found[2] or 0), int(found[3] or 0))
        except (ValueError, OverflowError):
            pass
    raise InvalidArgument(f"{value!r} is no date; 'YYYY-MM-DD', 'YYYY-MM', 'YYYY', a time such as '2024-01-31T12:00:00Z' and '..' are valid")


def _whole(year: int, month: int, day: int) -> tuple[datetime, datetime]:
    first = datetime(year, month or 1, day or 1)  # noqa: DTZ001 - UTC without zone, as in collections
    last = datetime(year, month or 12, day or calendar.monthrange(year, month or 12)[1])  # noqa: DTZ001
    return first, last + timedelta(days=1) - _STEP if last.year < 9999 else last.replace(hour=23, minute=59, second=59)


def parse_time(text: str) -> datetime:
    """RFC 3339 and its relatives as UTC without zone; one without offset is UTC. ``ValueError`` for anything else."""
    return _utc(datetime.fromisoformat(text))


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def parse_box(value: Any) -> Box | None:
    """Four numbers west, south, east, north, or six with heights (which are not searched by).

    West > east crosses the antimeridian where that way is the shorter one; else the box is reversed. Raises :class:`InvalidArgument`.
    """
    if value is None:
        return None
    numbers = _numbers(value)
    if numbers is None:
        written = [part.strip() for part in value.split(",")] if isinstance(value, str) else []
        valid = "[west, south, east, north] in degrees" if len(written) != 4 else f"[{', '.join(written)}], without quotes,"
        raise InvalidArgument(f"bbox := {value!r} is not valid; {valid} is")
    west, south, east, north = numbers
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= 90 and -90 <= north <= 90):
        turned = abs(south) > 90 or abs(north) > 90
        meant = f"; longitude comes first: [{south:g}, {west:g}, {north:g}, {east:g}]?" if turned and abs(west) <= 90 and abs(east) <= 90 else ""
        raise InvalidArgument(f"bbox {list(numbers)} is outside of -180…180 and -90…90 degrees; [west, south, east, north] is valid{meant}")
    if south > north:
        raise InvalidArgument(f"bbox {list(numbers)} is reversed: south {south:g} lies above north {north:g}; [west, south, east, north] is valid")
    if west > east and west - east < 180:
        raise InvalidArgument(f"bbox {list(numbers)} is reversed: west {west:g} lies east of east {east:g}; [west, south, east, north] is valid")
    return numbers


def _numbers(value: Any) -> Box | None:
    """Four finite numbers of four or six (STAC: x, y, z of both corners)."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) not in (4, 6):
        return None
    if not all(isinstance(number, int | float | Decimal) and not isinstance(number, bool) and math.isfinite(number) for number in value):
        return None
    half = len(value) // 2
    return (float(value[0]), float(value[1]), float(value[half]), float(value[half + 1]))


def halves(box: Box) -> tuple[Box, ...]:
    """The box, or its two parts on either side of the antimeridian: servers disagree on west > east (pgstac exchanges the two)."""
    west, south, east, north = box
    return (box,) if west <= east else ((west, south, 180.0, north), (-180.0, south, east, north))


def boxes_meet(first: Box, second: Box) -> bool:
    """Do they share a point, give or take how boxes are rounded?"""
    return any(
        a[0] <= b[2] + _MARGIN and b[0] <= a[2] + _MARGIN and a[1] <= b[3] + _MARGIN and b[1] <= a[3] + _MARGIN
        for a in halves(first)
        for b in halves(second)
    )


def item_boxes(item: Mapping[str, Any]) -> list[Box]:
    """An item's box as it says, and that of its geometry: where one is careless (the antimeridian), the other counts too."""
    boxes = [box] if (box := _numbers(item.get("bbox"))) is not None else []
    geometry = item_geometry(item)
    return boxes if geometry is None else [*boxes, geometry.bounds]


def item_geometry(item: Mapping[str, Any]) -> shapely.Geometry | None:
    """The item's outline; None where it has none, or none that can be read."""
    geometry = item.get("geometry")
    found = None
    if isinstance(geometry, dict):
        with suppress(*_NO_GEOMETRY):
            found = shape(geometry)
    return None if found is None or found.is_empty else found


def parse_geometry(value: Any) -> dict[str, Any] | None:
    """GeoJSON (text, struct, a Feature), WKT or WKB as a GeoJSON geometry in longitude and latitude; :class:`InvalidArgument` for anything else."""
    if value is None:
        return None
    try:
        found = _shape(value)
    except (*_NO_GEOMETRY, RecursionError) as error:
        raise InvalidArgument(f"intersects is no geometry ({one_line(str(error), 80)}); GeoJSON, WKT or a GEOMETRY is valid") from None
    if found.is_empty:
        raise InvalidArgument("intersects is an empty geometry")
    west, south, east, north = found.bounds
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise InvalidArgument(f"intersects reaches from {west:g}, {south:g} to {east:g}, {north:g}: longitude and latitude in degrees are valid")
    geojson: dict[str, Any] = json.loads(json.dumps(mapping(shapely.force_2d(found))))
    return geojson


def _shape(value: Any) -> shapely.Geometry:
    if isinstance(value, bytes | bytearray):
        return shapely.from_wkb(bytes(value))
    if isinstance(value, str):
        if not value.lstrip().startswith("{"):
            return shapely.from_wkt(value)
        value = json.loads(value)
    return shape(value["geometry"] if value.get("type") == "Feature" else value)
