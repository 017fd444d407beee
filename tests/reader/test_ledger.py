"""What a statement is going to fetch: each segment once, in any order, from any thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rasteret_sql.reader import ledger as module
from rasteret_sql.reader.ledger import Ledger, segment_keys


def test_a_segment_is_claimed_once() -> None:
    """Against a set of pairs: 300 calls that overlap, with repeats within a call."""
    rng = np.random.default_rng(3)
    ledger, known = Ledger(), set[tuple[str, int]]()
    for _ in range(300):
        href = f"https://h/{rng.integers(20)}.tif"
        offsets = rng.integers(0, 400, rng.integers(0, 60)) * 4096
        expected = []
        for offset in offsets.tolist():
            expected.append((href, offset) not in known)
            known.add((href, offset))
        assert ledger.claim(segment_keys(href, offsets)).tolist() == expected
    assert ledger.held == len(known)
    assert len(ledger._runs) <= 2 + np.log2(len(known)), "runs are merged, so that a look-up stays short"


def test_threads_share_what_they_claim() -> None:
    ledger = Ledger()
    offsets = np.arange(2000)

    def work(seed: int) -> int:
        claimed = 0
        for part in np.array_split(np.random.default_rng(seed).permutation(offsets), 50):
            claimed += int(ledger.claim(segment_keys("a.tif", part)).sum())
            ledger.add(1)
        return claimed

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) == len(offsets)
    assert ledger.nbytes == 200


def test_a_full_ledger_counts_again_what_it_cannot_remember(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEYS", 100)
    ledger = Ledger()
    assert ledger.claim(segment_keys("a", np.arange(80))).all()
    for _ in range(2):
        assert ledger.claim(segment_keys("b", np.arange(80))).all()
    assert not ledger.claim(segment_keys("a", np.arange(80))).any()
