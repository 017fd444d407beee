"""What all queries of a process share (cache, decode threads, counters), and what one query carries (limits, access, deadline, its own counters)."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rasteret_sql.progress import Work
from rasteret_sql.reader import interrupts
from rasteret_sql.reader.cache import SegmentCache
from rasteret_sql.reader.flow import Flow
from rasteret_sql.reader.ledger import Ledger
from rasteret_sql.reader.memory import BlockPool, Trimmer
from rasteret_sql.reader.statements import Statement
from rasteret_sql.settings import Settings
from rasteret_sql.storage.metrics import Metrics
from rasteret_sql.storage.store import Store

_LOG_LENGTH = 1000


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What one read did: a row of ``rasteret_io()``."""

    function: str
    started: float
    seconds: float
    metrics: Metrics


class Engine:
    """One per process; a forked child gets its own."""

    def __init__(self, settings: Settings) -> None:
        self.pid = os.getpid()
        self.metrics = Metrics()
        self.cache = SegmentCache(settings.cache_bytes)
        self.decode_threads = os.cpu_count() or 2
        self.decoders = ThreadPoolExecutor(max_workers=self.decode_threads, thread_name_prefix="rasteret-decode")
        self.reports: deque[ReadReport] = deque(maxlen=_LOG_LENGTH)
        self.blocks = BlockPool()
        self.bodies = BlockPool()
        self.trimmer = Trimmer()

    def follow(self, settings: Settings) -> None:
        """Take over the settings that are the process's: the cache's size."""
        self.cache.resize(settings.cache_bytes)


_lock = threading.Lock()
_engine: Engine | None = None


def engine(settings: Settings | None = None) -> Engine:
    """The process's engine, made on first use; it follows the settings last used."""
    global _engine  # noqa: PLW0603 - the one place where the process's engine lives
    with _lock:
        if _engine is None or _engine.pid != os.getpid():
            _engine = Engine(settings or Settings())
        elif settings is not None:
            _engine.follow(settings)
        return _engine


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603 - a lock held by another thread of the parent would stay held
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


@dataclass(slots=True)
class Query:
    """One read: its limits, its deadline and its counters (which also count in the engine's)."""

    function: str
    settings: Settings = field(default_factory=Settings)
    raise_errors: bool = True
    statement: Statement = field(default_factory=Statement)
    """The one that it is part of."""
    flow: Flow = field(init=False)
    number: int = field(init=False)
    """Of the reads of the statement."""
    work: Work = field(init=False)
    """What the line of progress on a terminal is told."""
    engine: Engine = field(init=False)
    cancelled: interrupts.Cancel = field(init=False)
    """Set when the statement that reads was interrupted."""
    store: Store = field(init=False)
    metrics: Metrics = field(init=False)
    deadline: float = field(init=False)
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.engine = engine(self.settings)
        self.flow = self.statement.flow(self.settings, self.engine.decode_threads + 1)
        self.number = self.flow.next_read()
        self.cancelled = interrupts.watch(self.settings.origin)
        self.metrics = Metrics(parent=self.engine.metrics)
        self.store = Store(self.settings, self.metrics)
        key = (self.settings.origin, self.function) if self.settings.origin else object()  # without a connection it stands alone
        self.work = Work(key, self.function, self.metrics.progress, self.settings.progress)
        self._start()

    def _start(self) -> None:
        self.started = time.time()
        self.deadline = time.monotonic() + self.settings.timeout_s

    @property
    def ledger(self) -> Ledger:
        """What the statement is going to fetch."""
        return self.statement.ledger

    def __enter__(self) -> Self:
        self._start()
        self.work.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.work.__exit__(kind, error, trace)
        self.flow.has_asked(self.number)
        self.engine.reports.append(ReadReport(self.function, self.started, time.time() - self.started, self.metrics))
