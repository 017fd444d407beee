"""What the calls of one statement share: the ledger of what it fetches, limits, and what is read ahead for it.

A statement is known by its connection (the *origin*, as in :mod:`rasteret_sql.reader.interrupts`) and by the number that DuckDB gives each execution:
a prepared statement, a view or a relation has a new one whenever it runs. A connection runs one statement at a time; so a statement is forgotten when
the next one begins.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable

from rasteret_sql.reader.flow import Flow
from rasteret_sql.reader.ledger import MOST_KEYS, Ledger
from rasteret_sql.reader.readahead import ReadAhead
from rasteret_sql.settings import Settings

MOST_STATEMENTS = 256
MOST_AHEAD = 4
"""Statements, the ones used last, that may hold what was read ahead for them, half of their ``memory_bytes`` each: one that is not read to its end
does not say so.
"""


class Statement:
    """One execution. Safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.ledger = Ledger()
        self.ahead = ReadAhead()
        self._flow: Flow | None = None

    def flow(self, settings: Settings, decoders: int) -> Flow:
        """The limits of all its reads: those of the first."""
        with self._lock:
            if self._flow is None:
                self._flow = Flow(settings.max_concurrency, settings.memory_bytes, decoders)
            return self._flow


class StatementBook:
    """Running statements: the last one of each origin."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._statements: OrderedDict[Hashable, tuple[Hashable, Statement]] = OrderedDict()

    def of(self, origin: Hashable, number: Hashable) -> Statement:
        """A statement; another one of the same origin is forgotten. Calls that run keep theirs."""
        with self._lock:
            known = self._statements.get(origin)
            if known is None or known[0] != number:
                if known is not None:
                    known[1].ahead.close()
                for _, idle in list(self._statements.values())[: 1 - MOST_AHEAD]:
                    idle.ahead.close()
                known = self._statements[origin] = (number, Statement())
                self._forget(origin)
            self._statements.move_to_end(origin)
            return known[1]

    def __len__(self) -> int:
        return len(self._statements)

    def _forget(self, newest: Hashable) -> None:
        """The oldest, where there are too many or their ledgers hold too much."""
        self._statements.move_to_end(newest)
        held = sum(statement.ledger.held for _, statement in self._statements.values())
        while len(self._statements) > 1 and (len(self._statements) > MOST_STATEMENTS or held > MOST_KEYS):
            _, (_, statement) = self._statements.popitem(last=False)
            held -= statement.ledger.held


_book = StatementBook()


def statement_of_origin(origin: Hashable, number: Hashable) -> Statement:
    """The statement of a connection that has this number; a new one where either is not known."""
    return _book.of(origin, number) if origin and number is not None else Statement()


def _after_fork_in_child() -> None:
    global _book  # noqa: PLW0603 - the child's statements are its own, and a lock held by another thread of the parent would stay held
    _book = StatementBook()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
