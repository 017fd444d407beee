"""When a failed attempt is repeated, and after how long. Pure, but for the dice."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRIED_STATUS = frozenset({408, 429, 500, 502, 503, 504})


class TransientError(Exception):
    """An attempt failed in a way that the next may not. ``str()`` is the reason, fit for a message; never leaves this package."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class UnsentError(Exception):
    """A request that is not sent, because it could not succeed. ``str()`` is the reason, fit for a message; never leaves this package."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter (https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/)."""

    attempts: int = 4
    """Attempts of one request, the first one included."""
    base_s: float = 0.25
    cap_s: float = 8.0
    """The pause before retry *n* (from 1) is drawn from 0 to ``min(cap_s, base_s * 2**(n - 1))``."""
    longest_wait_s: float = 120.0
    """A server that asks for a longer pause (Retry-After) is not waited for."""
    budget_floor: int = 40
    budget_share: float = 0.2
    """A query may retry ``budget_floor`` times plus this share of its requests: a server that is down must not be asked four times for everything."""

    def pause(self, retry: int, retry_after_s: float | None) -> float:
        """Seconds to wait before ``retry`` (1 is the first); what the server asked for is a lower bound."""
        drawn = random.uniform(0.0, min(self.cap_s, self.base_s * 2.0 ** (retry - 1)))  # noqa: S311 - jitter, no secret
        return drawn + (retry_after_s or 0.0)

    def within_budget(self, retries: int, requests: int) -> bool:
        """May a query that has sent ``requests``, ``retries`` of them again, retry once more?"""
        return retries < self.budget_floor + self.budget_share * requests


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds to wait by a Retry-After header: a number of seconds or an HTTP date (RFC 9110, 10.2.3); None when absent or unreadable."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())
