"""Orders in which points go through their records, against sorting in Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rasteret_sql.reader.visits import MASKED, NO_TIME, NODATA, OK, Queue, Visit, VisitResult, ascending, in_order, nearest_in_time

FAR = (1 << 63) - 1


def drained(queue: Queue) -> dict[int, list[int]]:
    """All visits of each point, in the queue's order."""
    found: dict[int, list[int]] = {}
    while len(queue.pending):
        for visit, points in queue.next_visits():
            for point in points.tolist():
                found.setdefault(point, []).append(visit)
    return found


TIMES = st.one_of(st.none(), st.integers(-20, 20), st.sampled_from([-FAR, FAR]))


@given(
    st.lists(TIMES, max_size=8), st.lists(TIMES, min_size=1, max_size=6), st.one_of(st.none(), st.integers(0, 25), st.just(FAR)), st.integers(0, 99)
)
@settings(max_examples=200, deadline=None)
def test_nearest_in_time(records: list[int | None], places: list[int | None], tolerance: int | None, seed: int) -> None:
    """By distance in time, then the earlier one, then as given; without overflow at the ends of time."""
    rng = np.random.default_rng(seed)
    visits = [Visit((), np.flatnonzero(rng.random(len(places)) < 0.8), time) for time in records]
    times = np.array([NO_TIME if time is None else time for time in places], dtype=np.int64)
    expected = {}
    for point, mine in enumerate(places):
        order = []
        for number, visit in enumerate(visits):
            if mine is not None and visit.time is not None and point in visit.points:
                gap = abs(visit.time - mine)
                if tolerance is None or gap <= tolerance:
                    order.append((gap, visit.time, number))
        if order:
            expected[point] = [number for _, _, number in sorted(order)]
    assert drained(nearest_in_time(visits, times, tolerance)) == expected


def test_in_order_and_done() -> None:
    visits = [Visit((), np.array(points)) for points in ([0, 2], [0, 1, 2], [2, 0])]
    assert drained(in_order(visits, 4)) == {0: [0, 1, 2], 1: [1], 2: [0, 1, 2]}
    queue = in_order(visits, 4)
    assert [(visit, points.tolist()) for visit, points in queue.next_visits()] == [(0, [0, 2]), (1, [1])]
    queue.done(np.array([0]))
    assert [(visit, points.tolist()) for visit, points in queue.next_visits()] == [(1, [2])]
    assert queue.pending.tolist() == [2]


def test_hide() -> None:
    """What a mask takes is masked; what was nodata anyway stays so."""
    result = VisitResult(np.arange(4), [np.arange(4)], [np.array([True, True, False, False])], np.zeros(4, np.uint8), np.zeros(4))
    result.restate()
    result.hide(np.array([True, False, True, False]))
    assert result.status.tolist() == [OK, MASKED, NODATA, NODATA]
    assert result.valid[0].tolist() == [True, False, False, False]
    assert np.isnan(result.distance).tolist() == [False, True, True, True]
    assert result.empty.tolist() == [False, True, True, True]


@given(st.integers(1, 400).flatmap(lambda count: st.tuples(st.just(count), st.sets(st.integers(0, count - 1)), st.integers(0, 9))))
@settings(max_examples=100, deadline=None)
def test_ascending(asked: tuple[int, set[int], int]) -> None:
    """Few or many of all numbers, in any order."""
    count, numbers, seed = asked
    given_numbers = np.random.default_rng(seed).permutation(np.array(sorted(numbers), np.int32))
    found = ascending(given_numbers, count)
    assert found.tolist() == sorted(numbers)
    assert found.dtype == np.int32
