"""Counters of what was read: one :class:`Metrics` for the process, a child for each query; what a child counts its parents count too."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

LOCAL_HOST = "file"
"""The host name under which reads of local files are counted."""


@dataclass(frozen=True, slots=True)
class HostCounts:
    """What one host was asked for."""

    requests: int = 0
    """Every attempt that was sent, retries and redirects too; for local files the spans read."""
    bytes: int = 0
    """Body bytes that arrived, also those of attempts that failed in the end."""
    retries: int = 0
    """Attempts that repeated a failed one."""
    failures: int = 0
    """Reads that were given up with an error."""
    seconds: float = 0.0
    """Time of all attempts added up; more than the wall clock's when they ran side by side."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All counts at one moment: totals over the hosts, the hosts, and what the reader counts."""

    requests: int
    bytes: int
    retries: int
    failures: int
    seconds: float
    cache_hits: int
    cache_misses: int
    tiles_decoded: int
    hosts: Mapping[str, HostCounts] = field(default_factory=dict)


class Metrics:
    """Thread-safe counters; with a ``parent`` every count is passed on to it."""

    def __init__(self, parent: Metrics | None = None) -> None:
        self._parent = parent
        self._lock = threading.Lock()
        self._hosts: dict[str, HostCounts] = {}
        self._cache_hits = 0
        self._cache_misses = 0
        self._tiles_decoded = 0

    def child(self) -> Metrics:
        """Counters for one query, which count here too."""
        return Metrics(parent=self)

    def count_io(self, host: str, *, requests: int = 0, nbytes: int = 0, retries: int = 0, failures: int = 0, seconds: float = 0.0) -> None:
        """Add what happened with ``host``."""
        with self._lock:
            held = self._hosts.get(host) or HostCounts()
            self._hosts[host] = HostCounts(
                requests=held.requests + requests,
                bytes=held.bytes + nbytes,
                retries=held.retries + retries,
                failures=held.failures + failures,
                seconds=held.seconds + seconds,
            )
        if self._parent is not None:
            self._parent.count_io(host, requests=requests, nbytes=nbytes, retries=retries, failures=failures, seconds=seconds)

    def count(self, *, cache_hits: int = 0, cache_misses: int = 0, tiles_decoded: int = 0) -> None:
        """Add what the reader did with tiles."""
        with self._lock:
            self._cache_hits += cache_hits
            self._cache_misses += cache_misses
            self._tiles_decoded += tiles_decoded
        if self._parent is not None:
            self._parent.count(cache_hits=cache_hits, cache_misses=cache_misses, tiles_decoded=tiles_decoded)

    def progress(self) -> tuple[int, int, int]:
        """Requests, bytes, and tiles that are had: decoded, or taken from the cache."""
        with self._lock:
            hosts = list(self._hosts.values())
            tiles = self._tiles_decoded + self._cache_hits
        return sum(host.requests for host in hosts), sum(host.bytes for host in hosts), tiles

    def snapshot(self) -> Snapshot:
        with self._lock:
            hosts = dict(self._hosts)
            hits, misses, decoded = self._cache_hits, self._cache_misses, self._tiles_decoded
        counts = hosts.values()
        return Snapshot(
            requests=sum(c.requests for c in counts),
            bytes=sum(c.bytes for c in counts),
            retries=sum(c.retries for c in counts),
            failures=sum(c.failures for c in counts),
            seconds=sum(c.seconds for c in counts),
            cache_hits=hits,
            cache_misses=misses,
            tiles_decoded=decoded,
            hosts=hosts,
        )
