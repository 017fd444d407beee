"""Counters: parents, threads, snapshots."""

from __future__ import annotations

import threading

from rasteret_sql.storage.metrics import HostCounts, Metrics


def test_a_child_counts_in_its_parents():
    process = Metrics()
    query = process.child()
    other = Metrics(parent=process)
    query.count_io("a", requests=2, nbytes=10, retries=1, seconds=0.5)
    other.count_io("b", requests=1, failures=1)
    other.count(cache_hits=3, cache_misses=2, tiles_decoded=1)
    assert query.snapshot().hosts == {"a": HostCounts(2, 10, 1, 0, 0.5)}
    total = process.snapshot()
    assert (total.requests, total.bytes, total.retries, total.failures, total.seconds) == (3, 10, 1, 1, 0.5)
    assert (total.cache_hits, total.cache_misses, total.tiles_decoded) == (3, 2, 1)
    assert query.snapshot().cache_hits == 0
    assert set(total.hosts) == {"a", "b"}


def test_a_snapshot_stays_as_it_was():
    metrics = Metrics()
    before = metrics.snapshot()
    metrics.count_io("a", requests=1)
    assert (before.requests, dict(before.hosts), metrics.snapshot().requests) == (0, {}, 1)


def test_threads_lose_no_count():
    process = Metrics()

    def work():
        query = process.child()
        for _ in range(2000):
            query.count_io("a", requests=1, nbytes=3)
            query.count(cache_hits=1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = process.snapshot()
    assert (total.requests, total.bytes, total.cache_hits) == (16000, 48000, 16000)
