"""Coalescing against its own definition: every byte asked for is fetched, no request breaks a limit it need not break."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rasteret_sql.storage.ranges import Span, coalesce

RANGES = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 60)), max_size=30)


def merge(ranges, max_gap, max_length):
    starts, lengths = (np.array(column, dtype=np.int64) for column in zip(*ranges, strict=True))
    return coalesce(starts, lengths, max_gap=max_gap, max_length=max_length)


@settings(max_examples=300, deadline=None)
@given(RANGES.filter(bool), st.integers(0, 30), st.integers(1, 200))
def test_every_range_lies_whole_in_one_request(ranges, max_gap, max_length):
    merged = merge(ranges, max_gap, max_length)
    assert sorted(i for m in merged for i in m.members.tolist()) == list(range(len(ranges)))
    for m in merged:
        inside = [(ranges[i][0], sum(ranges[i])) for i in m.members]
        assert (m.start, m.stop) == (min(a for a, _ in inside), max(b for _, b in inside))
        assert [a for a, _ in inside] == sorted(a for a, _ in inside)
        assert m.length <= max([max_length, *(b - a for a, b in inside)])
        wanted = np.zeros(m.length, bool)
        for a, b in inside:
            wanted[a - m.start : b - m.start] = True
        unwanted = "".join("x" if w else "." for w in wanted).split("x")
        assert max(map(len, unwanted)) <= max_gap
    assert [m.start for m in merged] == sorted(m.start for m in merged)


@settings(max_examples=200, deadline=None)
@given(RANGES.filter(bool), st.integers(0, 30), st.integers(1, 200))
def test_neighbours_stay_apart_only_for_a_reason(ranges, max_gap, max_length):
    merged = merge(ranges, max_gap, max_length)
    for left, right in pairwise(merged):
        first = right.members[0]
        start, stop = ranges[first][0], sum(ranges[first])
        assert start - left.stop > max_gap or stop - left.start > max_length


@settings(max_examples=100, deadline=None)
@given(RANGES.filter(bool), st.integers(0, 30))
def test_without_a_length_limit_requests_do_not_overlap(ranges, max_gap):
    merged = merge(ranges, max_gap, 1 << 40)
    assert all(left.stop + max_gap < right.start for left, right in pairwise(merged))


def test_worked_example():
    starts, lengths = np.array([500, 0, 100, 130, 105]), np.array([10, 50, 20, 10, 5])
    merged = coalesce(starts, lengths, max_gap=10, max_length=1000)
    assert [(m.start, m.stop, m.members.tolist()) for m in merged] == [(0, 50, [1]), (100, 140, [2, 4, 3]), (500, 510, [0])]


def test_a_long_range_stays_whole_and_takes_in_what_it_covers():
    merged = coalesce(np.array([0, 10, 99]), np.array([100, 5, 2]), max_gap=50, max_length=20)
    assert [(m.start, m.stop, m.members.tolist()) for m in merged] == [(0, 100, [0, 1]), (99, 101, [2])]


def test_none():
    assert coalesce(np.array([], dtype=np.int64), np.array([], dtype=np.int64), max_gap=0, max_length=1) == []


@pytest.mark.parametrize(("starts", "lengths"), [([-1], [5]), ([0], [0]), ([0], [-3]), ([1 << 62], [(1 << 63) - 1]), ([0, 1], [1]), ([[0]], [[1]])])
def test_what_is_no_range_is_refused(starts, lengths):
    with pytest.raises(ValueError, match=r"byte range|alike"):
        coalesce(np.array(starts), np.array(lengths), max_gap=0, max_length=10)


def test_a_span_knows_its_length():
    assert Span(3, 10).length == 7
