"""Points by cells, against every point looked at."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rasteret_sql.reader.cells import ROWS, PointCells
from rasteret_sql.reader.visits import Points

NOWHERE = (math.nan, math.inf, -math.inf)
DEGREES = st.one_of(st.floats(-400, 400), st.sampled_from([0.0, -0.0, -1e-9, 0.5, -0.5, 180.0, -180.0, *NOWHERE]))
PLACES = st.lists(st.tuples(DEGREES, DEGREES), max_size=60)
SIZES = st.sampled_from([2e-7, 1e-3, 0.25, 0.3, 1.0, 500.0])


def cells_of(places: list[tuple[float, float]], size: float) -> dict[int, list[int]]:
    """By the definition: Python's integers, one point after the other."""
    found: dict[int, list[int]] = {}
    for i, (lon, lat) in enumerate(places):
        if math.isfinite(lon) and math.isfinite(lat):
            found.setdefault(math.floor(lon / size) * ROWS + math.floor(lat / size), []).append(i)
    return found


def sides(places: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    lon, lat = np.array(places, dtype=np.float64).reshape(-1, 2).T
    return lon, lat


@settings(deadline=None, max_examples=300)
@given(PLACES, SIZES, st.randoms(use_true_random=False))
def test_cells_hold_the_points_that_lie_in_them(places, size, random) -> None:
    cells, known = PointCells(*sides(places), size), cells_of(places, size)
    assert cells.numbers.tolist() == sorted(known)
    assert cells.counts.tolist() == [len(known[number]) for number in sorted(known)]
    asked = random.sample(sorted(known), random.randint(0, len(known)))
    assert sorted(cells.points(np.array(asked, dtype=np.int64)).tolist()) == sorted(i for number in asked for i in known[number])


def test_many_points_in_cells_far_apart() -> None:
    """Nearly as many cells as points."""
    random = np.random.default_rng(7)
    lon, lat = random.uniform(-180, 180, 20_000), random.uniform(-90, 90, 20_000)
    cells, known = PointCells(lon, lat, 0.01), cells_of(list(zip(lon.tolist(), lat.tolist(), strict=True)), 0.01)
    assert dict(zip(cells.numbers.tolist(), cells.counts.tolist(), strict=True)) == {number: len(known[number]) for number in known}
    some = cells.numbers[::7]
    assert sorted(cells.points(some).tolist()) == sorted(i for number in some.tolist() for i in known[number])


@pytest.mark.parametrize("far", [1e9, 1e300, -1e300])
def test_coordinates_that_are_no_degrees_disturb_no_others(far: float) -> None:
    cells = PointCells(np.array([far, 10.0, 10.0]), np.array([5.0, far, 5.0]), 2e-7)
    mine = math.floor(10.0 / 2e-7) * ROWS + math.floor(5.0 / 2e-7)
    assert len(cells.numbers) == 3
    assert cells.points(np.array([mine])).tolist() == [2]


def test_points_of_another_crs_lie_in_cells_of_degrees() -> None:
    points = Points(np.array([500_100.0, 500_100.0]), np.array([100.0, 5_600_000.0]), "EPSG:32633")  # just east of 15 E: on the equator, above 50 N
    assert points.divide(1.0).numbers.tolist() == [15 * ROWS, 15 * ROWS + 50]
    assert points.in_cells(np.array([15 * ROWS + 50])).tolist() == [1]
    assert points.nbytes > Points(points.x, points.y, points.crs).nbytes


def test_points_are_divided_before_they_are_asked_for() -> None:
    with pytest.raises(ValueError, match="divided"):
        Points(np.zeros(1), np.zeros(1), "OGC:CRS84").in_cells(np.zeros(1, np.int64))
