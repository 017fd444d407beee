"""One search, checked: what is asked of an API, or applied here to the items of a static catalogue. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import shapely
from shapely.geometry import shape

from rasteret_sql.collection.stac.place import (
    Box,
    Interval,
    boxes_meet,
    item_boxes,
    item_geometry,
    parse_box,
    parse_geometry,
    parse_interval,
    parse_time,
)
from rasteret_sql.errors import InvalidArgument, ReadError, listing, near, one_line

Item = Mapping[str, Any]
Json = dict[str, Any]

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda value, wanted: bool(value == wanted),
    "neq": lambda value, wanted: bool(value != wanted),
    "lt": lambda value, wanted: bool(value < wanted),
    "lte": lambda value, wanted: bool(value <= wanted),
    "gt": lambda value, wanted: bool(value > wanted),
    "gte": lambda value, wanted: bool(value >= wanted),
    "startsWith": lambda value, wanted: str(value).startswith(wanted),
    "endsWith": lambda value, wanted: str(value).endswith(wanted),
    "contains": lambda value, wanted: wanted in value,
    "in": lambda value, wanted: value in wanted,
}
"""The operators of the STAC API query extension."""


@dataclass(frozen=True, slots=True)
class Search:
    """All conditions hold together; None or empty is no condition."""

    collection: str | None = None
    bbox: Box | None = None
    interval: Interval | None = None
    intersects: Json | None = None
    ids: tuple[str, ...] = ()
    query: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    filter: str | Json | None = None
    """CQL2 as text, or as JSON."""
    sort_by: tuple[str, ...] = ()
    """Properties; ``-`` in front: descending."""
    max_items: int | None = None
    area: shapely.Geometry | None = field(init=False, compare=False, repr=False)
    """``intersects``, ready to be compared with many."""

    def __post_init__(self) -> None:
        area = None if self.intersects is None else shape(self.intersects)
        shapely.prepare(area)
        object.__setattr__(self, "area", area)

    @property
    def conditions(self) -> Json:
        """What is asked for, as JSON: for messages and for the identity of a build."""
        every = {
            "collection": self.collection,
            "bbox": None if self.bbox is None else list(self.bbox),
            "date_range": None if self.interval is None else self.interval.text,
            "intersects": self.intersects,
            "ids": list(self.ids),
            "query": self.query,
            "filter": self.filter,
            "sort_by": list(self.sort_by),
            "max_items": self.max_items,
        }
        return {name: value for name, value in every.items() if value not in (None, [], {})}

    @property
    def told(self) -> str:
        """For messages: ``collection 'x', bbox [1, 2, 3, 4], …``."""
        return ", ".join(f"{name} {one_line(value if isinstance(value, str) else json.dumps(value), 120)}" for name, value in self.conditions.items())

    def broken_by(self, item: Item) -> str | None:
        """The condition on collection, ids, dates or place that the item clearly does not meet; None where it meets all."""
        if self.collection is not None and item.get("collection") not in (None, self.collection):
            return "collection"
        if self.ids and item.get("id") not in self.ids:
            return "ids"
        if self.interval is not None and not self._is_in_time(item):
            return "date_range"
        boxes = item_boxes(item)
        if self.bbox is not None and boxes and not any(boxes_meet(self.bbox, box) for box in boxes):
            return "bbox"
        if self.area is not None and boxes and not any(boxes_meet(self.area.bounds, box) for box in boxes):
            return "intersects"
        return None

    def _is_in_time(self, item: Item) -> bool:
        """An item without any time is in every one."""
        periods = item_periods(item)
        return not periods or any(self.interval is None or self.interval.meets(*period) for period in periods)

    def meets_area(self, item: Item) -> bool:
        """Does the item's own geometry intersect? One without a geometry that can be compared was judged by its box."""
        geometry = item_geometry(item)
        if self.area is None or geometry is None:
            return True
        with suppress(shapely.errors.ShapelyError):
            return bool(shapely.intersects(self.area, geometry))
        return True

    def meets_query(self, item: Item) -> bool:
        """The query extension's conditions on an item's properties; what an item does not have, or cannot be compared, it does not meet."""
        properties = members(item, "properties")
        return all(_meets(properties.get(name), tests) for name, tests in self.query.items())


def make_search(values: Mapping[str, Any]) -> Search:
    """A search from a user's arguments: those of :class:`Search`, ``date_range`` for the interval. :class:`InvalidArgument` names what is wrong."""
    max_items = values.get("max_items")
    if max_items is not None and (isinstance(max_items, bool) or not isinstance(max_items, int) or max_items < 1):
        raise InvalidArgument(f"max_items := {max_items!r} is not valid; a whole number from 1 is")
    if values.get("bbox") is not None and values.get("intersects") is not None:
        raise InvalidArgument("bbox and intersects are both given; a search takes one of them")
    return Search(
        collection=_text("collection", values.get("collection")),
        bbox=parse_box(values.get("bbox")),
        interval=parse_interval(values.get("date_range")),
        intersects=parse_geometry(values.get("intersects")),
        ids=_texts("ids", values.get("ids")),
        query=_parse_query(values.get("query")),
        filter=_parse_filter(values.get("filter")),
        sort_by=_texts("sort_by", values.get("sort_by")),
        max_items=max_items,
    )


def members(item: Item, name: str) -> Mapping[str, Any]:
    """An object inside an item, such as its properties or assets; empty where it is none."""
    found = item.get(name)
    return found if isinstance(found, dict) else {}


def checked_items(features: Any, place: str) -> list[Json]:
    """The items of a list; one that is none, or has no id, is a :class:`ReadError`."""
    for item in features:
        if not isinstance(item, dict) or not isinstance(item.get("id"), str | int):
            raise ReadError("an item has no id", place)
    return list(features)


def item_periods(item: Item) -> list[tuple[datetime | None, datetime | None]]:
    """The item's moment and its period, as far as it has them; an end that is not known is None."""
    properties = members(item, "properties")
    moment, start, end = (_time(properties.get(name)) for name in ("datetime", "start_datetime", "end_datetime"))
    found: list[tuple[datetime | None, datetime | None]] = [] if moment is None else [(moment, moment)]
    if start is not None or end is not None:
        found.append((start, end))
    return found


def item_datetime(item: Item) -> datetime | None:
    """The item's time; the start of its period where ``datetime`` is NULL (STAC item spec, "datetime")."""
    return next((known for period in item_periods(item) for known in period if known is not None), None)


def _time(value: Any) -> datetime | None:
    try:
        return parse_time(value) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def _meets(value: Any, tests: Mapping[str, Any]) -> bool:
    try:
        return value is not None and all(_COMPARE[name](value, wanted) for name, wanted in tests.items())
    except TypeError:
        return False


def _text(name: str, value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise InvalidArgument(f"{name} := {value!r} is not valid; a text in quotes is")
    return value


def _texts(name: str, value: Any) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(found, list) or not all(isinstance(text, str) and text for text in found):
        raise InvalidArgument(f"{name} := {value!r} is not valid; a list of texts is")
    return tuple(found)


def plain(value: Any) -> Any:
    """A SQL value as JSON has it: STRUCTs and MAPs as objects, decimals as numbers, dates as texts."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list) and value and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        return {name: plain(item) for name, item in value}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def _parse_query(value: Any) -> dict[str, dict[str, Any]]:
    """``{'eo:cloud_cover': {'lt': 20}}``; a bare value means equality, NULL members (of a list of structs) count for nothing."""
    if isinstance(value, str):
        value = _json("query", value)
    found = plain(value) if value is not None else {}
    if not isinstance(found, dict):
        raise InvalidArgument(f"query := {value!r} is not valid; {{'eo:cloud_cover': {{'lt': 20}}}} is")
    query: dict[str, dict[str, Any]] = {}
    for name, tests in found.items():
        chosen = {key: item for key, item in tests.items() if item is not None} if isinstance(tests, dict) else {"eq": tests}
        for operator in chosen:
            if operator not in _COMPARE:
                raise InvalidArgument(f"query: {operator!r} is no operator{near(operator, _COMPARE)}; operators: {listing(_COMPARE)}")
        if tests is not None and chosen:
            query[str(name)] = chosen
    return query


def _parse_filter(value: Any) -> str | Json | None:
    """CQL2 text, or CQL2 JSON as a text or a STRUCT."""
    if isinstance(value, str):
        if not value.strip():
            raise InvalidArgument("filter is empty; CQL2 is valid, such as 'eo:cloud_cover < 20'")
        value = _json("filter", value) if value.lstrip().startswith("{") else value.strip()
    if isinstance(value, dict):
        value = plain(value)
        if not isinstance(value.get("op"), str) or not isinstance(value.get("args"), list):
            raise InvalidArgument(
                """filter is no CQL2 JSON: it lacks "op" or "args", as in {"op": "<", "args": [{"property": "eo:cloud_cover"}, 20]}"""
            )
    if value is not None and not isinstance(value, str | dict):
        raise InvalidArgument(f"filter := {value!r} is not valid; CQL2 as text or JSON is")
    return value


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{name} is no valid JSON: {error}") from None
