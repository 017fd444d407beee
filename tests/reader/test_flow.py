"""Turns and room of a statement: never more than there is, those in front first, nothing lost to who gives up."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasteret_sql.reader.flow import Flow, Room, Turns


async def settled() -> None:
    """All tasks have gone as far as they can."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_turns_go_in_order() -> None:
    async def main() -> None:
        turns, went, gate = Turns(2), list[int](), asyncio.Event()

        async def go(read: int, position: int) -> None:
            async with turns.take((read, position)):
                went.append(10 * read + position)
                await gate.wait()
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(go(*order)) for order in ((1, 0), (1, 1), (1, 2), (0, 7), (2, 0), (0, 3))]
        await settled()
        assert went == [10, 11], "two at a time"
        gate.set()
        await asyncio.gather(*tasks)
        assert went == [10, 11, 3, 7, 12, 20]

    asyncio.run(main())


@pytest.mark.parametrize("granted", [False, True])
def test_a_turn_that_is_given_up_goes_on(granted: bool) -> None:
    """Also where it was given in the moment in which who waited for it was cancelled."""

    async def main() -> None:
        turns, gate = Turns(1), asyncio.Event()

        async def go() -> str:
            async with turns.take((0, 0)):
                await gate.wait()
                return "went"

        first, second, third = (asyncio.create_task(go()) for _ in range(3))
        await settled()
        if granted:
            gate.set()
            await asyncio.wait([first])
        second.cancel()
        gate.set()
        assert await asyncio.gather(first, third) == ["went", "went"]
        async with asyncio.timeout(1), turns.take((9, 9)):
            pass

    asyncio.run(main())


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 3), st.booleans()), max_size=30), st.integers(1, 60))
def test_room_is_never_exceeded(asks: list[tuple[int, int, bool]], most: int) -> None:
    """But by one that is larger than all of it, alone. Some give up while they wait or hold; in the end all of it is free."""

    async def main() -> None:
        room, held, done = Room(most), list[int](), list[int]()

        async def hold(nbytes: int, pauses: int, position: int) -> None:
            await room.take(nbytes, (0, position))
            held.append(nbytes)
            assert sum(held) <= most or held == [nbytes]
            try:
                for _ in range(pauses):
                    await asyncio.sleep(0)
            finally:
                held.remove(nbytes)
                room.free(nbytes)
            done.append(position)

        tasks = [asyncio.create_task(hold(nbytes, pauses, position)) for position, (nbytes, pauses, _) in enumerate(asks)]
        await asyncio.sleep(0)
        quitters = {position for position, (*_, gives_up) in enumerate(asks) if gives_up}
        for position in quitters:
            tasks[position].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert set(done) >= set(range(len(asks))) - quitters
        async with asyncio.timeout(1):
            await room.take(most, (9, 9))

    asyncio.run(main())


def test_room_goes_to_those_in_front() -> None:
    async def main() -> None:
        room, went = Room(10), list[int]()
        await room.take(10, (0, 0))

        async def hold(read: int) -> None:
            await room.take(6, (read, 0))
            went.append(read)
            room.free(6)

        tasks = [asyncio.create_task(hold(read)) for read in (3, 1, 2)]
        await settled()
        room.free(10)
        await asyncio.gather(*tasks)
        assert went == [1, 2, 3]

    asyncio.run(main())


def test_a_read_waits_until_another_has_asked() -> None:
    flow = Flow(1, 1, 1)
    first, second = flow.next_read(), flow.next_read()
    flow.wait_for(first)  # it has not begun
    flow.begins(first)
    waited = threading.Thread(target=flow.wait_for, args=(first,))
    waited.start()
    flow.has_asked(second)
    time.sleep(0.05)
    assert waited.is_alive()
    flow.has_asked(first)
    waited.join(1)
    assert not waited.is_alive()
