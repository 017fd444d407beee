"""Lengths of time as a user writes them: an interval, or text such as ``10 days``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from rasteret_sql.errors import InvalidArgument
from rasteret_sql.sql.arguments import shown

_UNITS = {
    "microsecond": 1,
    "millisecond": 1_000,
    "second": 1_000_000,
    "minute": 60_000_000,
    "hour": 3_600_000_000,
    "day": 86_400_000_000,
    "week": 604_800_000_000,
}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
_CALENDAR = ("month", "year")
_MOST = 1 << 63


def microseconds(name: str, value: Any) -> int:
    """A duration in microseconds. DuckDB's INTERVAL arrives as months, days and nanoseconds; months are refused, they have no fixed length."""
    if isinstance(value, timedelta):
        found = value // timedelta(microseconds=1)
    elif isinstance(value, str):
        found = _of_text(name, value)
    elif isinstance(value, tuple) and len(value) == 3:
        months, days, nanoseconds = value
        if months:
            raise _no_months(name)
        found = days * _UNITS["day"] + nanoseconds // 1000
    else:
        raise _not_valid(name, value)
    if not 0 <= found < _MOST:
        raise InvalidArgument(f"{name} is not valid; a duration of 0 or more, shorter than 292,000 years, is")
    return found


def _of_text(name: str, value: str) -> int:
    """Numbers with units, in any number: ``1 day 12 hours``."""
    parts = _PART.findall(value.lower())
    rest = _PART.sub("", value.lower()).strip(" ,")
    units = [unit.removesuffix("s") for _, unit in parts]
    if any(unit in _CALENDAR for unit in units):
        raise _no_months(name)
    if not parts or rest or any(unit not in _UNITS for unit in units):
        raise _not_valid(name, value)
    return sum(round(float(number) * _UNITS[unit]) for (number, _), unit in zip(parts, units, strict=True))


def _no_months(name: str) -> InvalidArgument:
    return InvalidArgument(f"{name}: months and years have no fixed length; give days or smaller, such as INTERVAL 30 DAY")


def _not_valid(name: str, value: Any) -> InvalidArgument:
    return InvalidArgument(f"{name} := {shown(value)} is not valid; INTERVAL 10 DAY or '10 days' is (weeks, days, hours, minutes, seconds)")
