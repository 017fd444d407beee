"""What is read ahead: which units, when, and what becomes of it; with reads that are only pretended."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasteret_sql.errors import Cancelled, ReadError
from rasteret_sql.reader import interrupts
from rasteret_sql.reader.engine import Query
from rasteret_sql.reader.readahead import BATCH, Announced, ends
from rasteret_sql.reader.statements import Statement

ROOM = 100
UNIT = 10
FIRST = 1000


class World:
    """Thirty units of ten bytes, ten a batch, and what was read of them."""

    def __init__(self) -> None:
        self.statement = Statement()
        self.read: list[range] = []
        self.directly: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fails: set[int] = set()
        units = Announced(FIRST, np.full(30, UNIT), ROOM, self.query, self.ahead)
        self.statement.ahead.announce(units)

    def query(self) -> Query:
        return Query("test", statement=self.statement)

    def ahead(self, query: Query, start: int, stop: int) -> list[int]:
        assert self.gate.wait(10)
        self.read.append(range(start, stop))
        if query.cancelled.is_set():
            raise Cancelled("stopped")
        if self.fails & set(range(start, stop)):
            raise ReadError("gone", "a.tif")
        return [FIRST + unit for unit in range(start, stop)]

    def ask(self, *units: int) -> list[int]:
        query = self.query()
        numbers = FIRST + np.array(units)

        def read(positions: np.ndarray) -> list[int]:
            self.directly.append(numbers[positions].tolist())
            return numbers[positions].tolist()

        with self.statement.ahead.ask(numbers, query, read) as asking:
            return asking.results()

    def wait(self) -> None:
        """Until nothing is being read ahead."""
        for thread in threading.enumerate():
            if thread.name == "rasteret-ahead":
                thread.join(10)


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    found.gate.set()
    found.statement.ahead.close()
    found.wait()


def numbers(first: int, stop: int) -> list[int]:
    return list(range(FIRST + first, FIRST + stop))


def test_batch_after_batch(world: World) -> None:
    assert world.ask(*range(10)) == numbers(0, 10)
    world.wait()
    assert world.read == [range(10, 20)]
    assert world.ask(*range(10, 20)) == numbers(10, 20)
    assert world.ask(*range(20, 30)) == numbers(20, 30)
    world.wait()
    assert world.read == [range(10, 20), range(20, 30)]
    assert world.directly == [numbers(0, 10)]


def test_units_that_lie_across_batches(world: World) -> None:
    """DuckDB ends a batch where its vector ends; what was read ahead is kept until all of it was taken."""
    world.ask(*range(10))
    assert world.ask(*range(10, 13)) == numbers(10, 13)
    assert world.ask(*range(13, 23)) == numbers(13, 23)
    assert world.directly == [numbers(0, 10), numbers(20, 23)]
    assert world.ask(*range(23, 30)) == numbers(23, 30)
    world.wait()
    assert world.read == [range(10, 20), range(23, 30)]


@pytest.mark.parametrize(
    "units", [[0, 1, 2, 3, 4, 5, 6, 7, 8, 10], [3], [*range(9)], [*range(20, 30)]], ids=["with a gap", "one", "less than a batch", "the last"]
)
def test_nothing_is_read_ahead_of(world: World, units: list[int]) -> None:
    assert world.ask(*units) == [FIRST + unit for unit in units]
    world.wait()
    assert not world.read


def test_units_that_nobody_announced_are_read(world: World) -> None:
    assert world.ask(*range(-5, 5)) == numbers(-5, 5)
    assert world.ask(*range(40, 50)) == numbers(40, 50)
    assert not world.read


def test_reading_ahead_waits_until_the_call_has_asked(world: World) -> None:
    """What is asked for now comes first."""
    query = world.query()
    units = FIRST + np.arange(10)
    with world.statement.ahead.ask(units, query, lambda positions: units[positions].tolist()) as asking:
        threading.Event().wait(0.05)
        assert not world.read
        asking.results()
    world.wait()
    assert world.read == [range(10, 20)]


def test_a_failure_ahead_is_raised_when_its_turn_comes(world: World) -> None:
    world.fails = {15}
    assert world.ask(*range(10)) == numbers(0, 10)
    with pytest.raises(ReadError, match="gone"):
        world.ask(*range(10, 20))
    world.wait()
    assert world.read == [range(10, 20), range(20, 30)] or world.read == [range(10, 20)]


def test_a_failure_of_units_that_are_not_asked_for_is_none(world: World) -> None:
    world.fails = {15}
    world.ask(*range(10))
    assert world.ask(*range(10, 13)) == numbers(10, 13)
    assert world.directly[-1] == numbers(10, 13)


def test_an_interrupt_ends_both(world: World) -> None:
    """Who waits for what is read ahead is woken, and the reading is told."""
    world.gate.clear()
    world.ask(*range(10))
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            world.ask(*range(10, 20))
        except Cancelled as error:
            raised.append(error)

    waiting = threading.Thread(target=ask)
    waiting.start()
    while interrupts.cancel("") < 2:
        pass
    waiting.join(5)
    assert raised
    world.gate.set()
    world.wait()
    assert world.read in ([], [range(10, 20)]), "and the batch after it is not begun"


def test_what_fails_while_units_are_asked_for_ends_what_is_read_ahead(world: World) -> None:
    query = world.query()
    with pytest.raises(ZeroDivisionError), world.statement.ahead.ask(FIRST + np.arange(10), query, lambda _: 1 / 0):
        raise ZeroDivisionError
    world.wait()
    assert not world.read, "it had not begun"
    assert world.ask(*range(10, 20)) == numbers(10, 20)
    world.wait()
    assert not world.read, "nor does it begin again"


def test_a_unit_that_is_asked_for_again_is_read_again(world: World) -> None:
    world.ask(*range(10))
    assert world.ask(*range(10, 15)) == numbers(10, 15)
    assert world.ask(*range(12, 17)) == numbers(12, 17)
    assert world.directly == [numbers(0, 10), numbers(12, 15)]


def test_nothing_is_read_ahead_where_no_thread_can_be_had(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert world.ask(*range(10)) == numbers(0, 10)
    assert world.ask(*range(10, 20)) == numbers(10, 20)
    assert not world.read


def test_closing_before_it_has_begun_leaves_who_asks_to_read(world: World) -> None:
    """It waits for the first call to have asked, and is dropped meanwhile."""
    first, second = world.query(), world.query()
    units = FIRST + np.arange(20)
    with world.statement.ahead.ask(units[:10], first, lambda positions: units[:10][positions].tolist()) as asking:
        with world.statement.ahead.ask(units[10:], second, lambda positions: units[10:][positions].tolist()) as next_one:
            world.statement.ahead.close()
            first.flow.has_asked(first.number)
            assert next_one.results() == numbers(10, 20)
        assert asking.results() == numbers(0, 10)
    world.wait()
    assert not world.read


def test_closing_leaves_who_is_waiting_to_read(world: World) -> None:
    """Another statement of the connection began: what this one still asks for it reads itself."""
    world.gate.clear()
    world.ask(*range(10))
    found: list[list[int]] = []
    waiting = threading.Thread(target=lambda: found.append(world.ask(*range(10, 20))))
    waiting.start()
    while not any(query_waits(world)):
        pass
    world.statement.ahead.close()
    world.gate.set()
    waiting.join(5)
    assert found == [numbers(10, 20)]


def query_waits(world: World) -> list[bool]:
    return [part.first == FIRST + 20 for part in world.statement.ahead._parts]


def test_so_many_units_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rasteret_sql.reader.readahead.MOST_UNITS", 20)
    world = World()
    assert world.ask(*range(10)) == numbers(0, 10)
    world.wait()
    assert not world.read


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 100))
def test_batches_hold_what_fits(nbytes: list[int], room: int) -> None:
    """Against adding up one by one."""
    expected: list[int] = []
    held = count = 0
    for position, size in enumerate(nbytes):
        if count and held + size > room:
            expected.append(position)
            held = count = 0
        held, count = held + size, count + 1
    if nbytes:
        expected.append(len(nbytes))
    assert ends(np.array(nbytes, dtype=np.int64), room).tolist() == expected


def test_a_batch_is_no_longer_than_a_vector() -> None:
    assert ends(np.zeros(5000, np.int64), 1).tolist() == [BATCH, 2 * BATCH, 5000]
