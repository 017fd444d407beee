"""Which statements are known, and for how long."""

from __future__ import annotations

import numpy as np
import pytest

from rasteret_sql.reader import statements as module
from rasteret_sql.reader.ledger import segment_keys
from rasteret_sql.reader.statements import StatementBook, statement_of_origin


def test_the_next_statement_of_a_connection_begins_anew() -> None:
    book = StatementBook()
    first = book.of("con", 1)
    first.ledger.add(5)
    assert book.of("con", 1) is first
    assert book.of("other", 1) is not first
    assert book.of("con", 2).ledger.nbytes == 0
    assert book.of("con", 1) is not first
    assert len(book) == 2
    for nameless in (("", 1), ("con", None)):
        assert statement_of_origin(*nameless) is not statement_of_origin(*nameless)


def test_the_book_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_STATEMENTS", 3)
    monkeypatch.setattr(module, "MOST_KEYS", 100)
    book = StatementBook()
    known = [book.of(f"con {i}", 1) for i in range(5)]
    assert len(book) == 3
    known[3].ledger.claim(segment_keys("a", np.arange(90)))
    known[4].ledger.claim(segment_keys("a", np.arange(60)))
    book.of("con 6", 1)
    assert book.of("con 4", 1) is known[4]
    assert book.of("con 3", 1) is not known[3], "the oldest goes where they hold too much together"


def test_what_was_read_ahead_is_kept_for_the_statements_used_last(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[object] = []

    def close(ahead: object) -> None:
        closed.append(ahead)

    monkeypatch.setattr(module.ReadAhead, "close", close)
    book = StatementBook()
    known = [book.of(f"con {i}", 1) for i in range(module.MOST_AHEAD)]
    assert not closed
    book.of("con 0", 1)
    book.of("one more", 1)
    assert closed == [known[1].ahead], "the one that was not used for longest"
    book.of("con 2", 2)
    assert known[2].ahead in closed, "its connection runs another statement now"
