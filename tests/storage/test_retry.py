"""Pauses, budgets, Retry-After."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasteret_sql.storage.retry import RetryPolicy, parse_retry_after

NOW = datetime(2024, 6, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("Sat, 01 Jun 2024 12:00:30 GMT", 30.0),
        ("Sat, 01 Jun 2024 11:00:00 GMT", 0.0),
        ("Saturday, 01-Jun-24 12:01:00 GMT", 60.0),
        ("Sat Jun  1 12:00:10 2024", 10.0),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("1e9", None),
        ("²", None),
    ],
)
def test_retry_after(value, seconds):
    assert parse_retry_after(value, NOW) == seconds


@given(st.text(max_size=40))
def test_retry_after_never_fails(value):
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or seconds >= 0


def test_pauses_grow_to_their_cap_and_are_spread():
    policy = RetryPolicy(base_s=1.0, cap_s=3.0)
    for retry, longest in ((1, 1.0), (2, 2.0), (3, 3.0), (9, 3.0)):
        drawn = [policy.pause(retry, None) for _ in range(400)]
        assert 0.0 <= min(drawn) < 0.1 * longest
        assert 0.9 * longest < max(drawn) <= longest


def test_what_the_server_asks_for_is_a_lower_bound():
    assert all(5.0 <= RetryPolicy(base_s=1.0).pause(1, 5.0) <= 6.0 for _ in range(100))


def test_the_budget_grows_with_the_query():
    policy = RetryPolicy(budget_floor=10, budget_share=0.5)
    assert policy.within_budget(retries=9, requests=0)
    assert not policy.within_budget(retries=10, requests=0)
    assert policy.within_budget(retries=10, requests=1)
    assert not policy.within_budget(retries=60, requests=100)
