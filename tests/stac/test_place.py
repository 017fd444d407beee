"""Dates, boxes and geometries as users write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from rasteret_sql.collection.stac.place import boxes_meet, halves, parse_box, parse_date, parse_geometry, parse_interval
from rasteret_sql.errors import InvalidArgument


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (["2024-01-01", "2024-01-31"], "2024-01-01T00:00:00Z/2024-01-31T23:59:59.999999Z"),
        ("2024-01-01/2024-01-31", "2024-01-01T00:00:00Z/2024-01-31T23:59:59.999999Z"),
        (["2024-02", "2024-02"], "2024-02-01T00:00:00Z/2024-02-29T23:59:59.999999Z"),
        (["2023", "2024"], "2023-01-01T00:00:00Z/2024-12-31T23:59:59.999999Z"),
        ([2023, 2024], "2023-01-01T00:00:00Z/2024-12-31T23:59:59.999999Z"),
        ("2024", "2024-01-01T00:00:00Z/2024-12-31T23:59:59.999999Z"),
        ([date(2024, 1, 1), date(2024, 1, 2)], "2024-01-01T00:00:00Z/2024-01-02T23:59:59.999999Z"),
        ([datetime(2024, 1, 1, 5), None], "2024-01-01T05:00:00Z/.."),
        (["..", "2024-01-31T12:00:00+02:00"], "../2024-01-31T10:00:00Z"),
        (["", "2024"], "../2024-12-31T23:59:59.999999Z"),
        ("2024/..", "2024-01-01T00:00:00Z/.."),
        (datetime(2024, 1, 1, tzinfo=UTC), "2024-01-01T00:00:00Z/2024-01-01T00:00:00Z"),
        (["2024-01-01T00:00:00.5Z", "9999-12-31"], "2024-01-01T00:00:00.500000Z/9999-12-31T23:59:59Z"),
    ],
)
def test_date_ranges(value, text):
    interval = parse_interval(value)
    assert interval.text == text
    assert parse_interval(text) == interval


@pytest.mark.parametrize(
    "value",
    [
        "",
        [None, ".."],
        [],
        ["2024", "2025", "2026"],
        "2024-13",
        "2024-02-30",
        ["2024-02-02", "2024-02-01"],
        "yesterday",
        True,
        3.5,
        ["2024", True],
        "0000",
        "24-01-01",
    ],
)
def test_no_date_ranges(value):
    with pytest.raises(InvalidArgument, match=r"^[^\n]+$"):
        parse_interval(value)


@given(st.dates(date(1970, 1, 1), date(2100, 1, 1)))
def test_a_day_holds_each_of_its_moments_and_no_other(day):
    first, last = parse_date(day.isoformat())
    assert first == datetime.combine(day, datetime.min.time())
    assert last + timedelta(microseconds=1) == first + timedelta(days=1)
    month = parse_date(f"{day:%Y-%m}")
    assert month[0] <= first
    assert last <= month[1]
    assert parse_date(f"{day:%Y}")[0] <= month[0]


@pytest.mark.parametrize(
    ("value", "box"),
    [
        ([1, 2, 3, 4], (1, 2, 3, 4)),
        ([1, 2, -9, 3, 4, 9], (1, 2, 3, 4)),
        ([170, 2, -170, 4], (170, 2, -170, 4)),
        ([1, 2, 1, 2], (1, 2, 1, 2)),
        ([-180, -90, 180, 90], (-180, -90, 180, 90)),
        (None, None),
    ],
)
def test_boxes(value, box):
    assert parse_box(value) == box


@pytest.mark.parametrize(
    "value",
    [
        [1, 2, 3],
        [1, 2, 3, 4, 5],
        "1,2,3,4",
        [1, 2, 3, "4"],
        [1, 2, 3, None],
        [True, 2, 3, 4],
        [1, 2, float("nan"), 4],
        [3, 2, 1, 4],
        [1, 4, 3, 2],
        [0, 0, 181, 1],
        [0, -91, 1, 1],
        [1.0, -90, 0, 90, 0],
    ],
)
def test_no_boxes(value):
    with pytest.raises(InvalidArgument, match=r"^[^\n]+$"):
        parse_box(value)


LON, LAT, WIDTH = st.floats(-180, 180), st.floats(-85, 80), st.floats(0.01, 170)


@given(LON, LAT, WIDTH, LON, LAT, WIDTH)
def test_boxes_meet_as_arcs_do(west, south, width, west2, south2, width2):
    """Judged on the circle of longitudes."""
    boxes = []
    for start, bottom, size in ((west, south, width), (west2, south2, width2)):
        end = start + size
        boxes.append((start, bottom, end - 360 if end > 180 else end, bottom + 5))
    on_circle = (west2 - west) % 360 <= width or (west - west2) % 360 <= width2
    expected = on_circle and abs(south - south2) <= 5
    touching = (
        min(
            abs((west2 - west) % 360 - width),
            abs((west - west2) % 360 - width2),
            abs(abs(south - south2) - 5),
            abs(west - west2),
            360 - abs(west - west2),
        )
        < 1e-5
    )
    assert boxes_meet(*boxes) == boxes_meet(*boxes[::-1])
    assert touching or boxes_meet(*boxes) == expected
    assert sum(part[2] - part[0] for part in halves(boxes[0])) == pytest.approx(width)


@pytest.mark.parametrize(
    "value",
    [
        "POINT (1 2)",
        shapely.to_wkb(shapely.Point(1, 2)),
        '{"type": "Point", "coordinates": [1, 2]}',
        {"type": "Point", "coordinates": [1, 2, 3]},
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": {}},
    ],
)
def test_geometries(value):
    assert parse_geometry(value) == {"type": "Point", "coordinates": [1.0, 2.0]}


@pytest.mark.parametrize(
    "value",
    [
        "POINT",
        "{",
        "[1]",
        b"x",
        3,
        {"type": "Point"},
        {},
        {"type": "Feature", "geometry": None},
        "POLYGON EMPTY",
        "POINT (200 0)",
        '{"type": "Circle"}',
    ],
)
def test_no_geometries(value):
    with pytest.raises(InvalidArgument, match=r"^[^\n]+$"):
        parse_geometry(value)
