"""Memory that is used again, and never while somebody looks at it."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from rasteret_sql.reader.memory import KEEP_BYTES, SMALLEST, STEP, BlockPool


def place(buffer: memoryview | np.ndarray) -> int:
    return np.frombuffer(buffer, np.uint8).ctypes.data


def test_a_buffer_is_used_again_once_nobody_looks_at_it() -> None:
    pool = BlockPool()
    first = pool.buffer(3 * STEP - 5)
    at, part = place(first), first[10:20]
    part[:] = bytes(10)
    del first
    other = pool.buffer(3 * STEP)
    assert place(other) != at
    other[:] = b"x" * len(other)
    assert bytes(part) == bytes(10)
    del part
    assert place(pool.buffer(2 * STEP + 1)) == at


def test_a_decoded_block_is_used_again_in_another_shape() -> None:
    pool = BlockPool()
    first = pool.empty((SMALLEST, 2), np.dtype("uint16"))
    first[:] = 7
    at, corner = place(first.reshape(-1)), first[:1]
    del first
    assert place(pool.empty((SMALLEST * 2,), np.dtype("int16"))) != at
    assert (corner == 7).all()
    del corner
    again = pool.empty((SMALLEST,), np.dtype("float32"))
    assert (place(again), again.shape, again.dtype, again.flags.writeable) == (at, (SMALLEST,), np.dtype("float32"), True)


@pytest.mark.parametrize("nbytes", [1, STEP - 1, STEP, STEP + 1, 4 * STEP])
def test_a_buffer_has_the_bytes_asked_for(nbytes) -> None:
    buffer = BlockPool().buffer(nbytes)
    buffer[:] = bytes(nbytes)
    assert (len(buffer), buffer.format, buffer.readonly) == (nbytes, "B", False)


def test_no_more_than_so_much_is_kept() -> None:
    pool = BlockPool()
    held = [pool.buffer(4 * STEP) for _ in range(3 * KEEP_BYTES // (4 * STEP))]
    assert pool.free_bytes == 0
    held.clear()
    assert 0 < pool.free_bytes <= KEEP_BYTES


def test_garbage_in_cycles_comes_back_while_the_pool_works() -> None:
    """The collector may run within the pool's own methods: a lock that is not reentrant would never be had."""
    pool = BlockPool()
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for number in range(200):
            cycle: list[object] = [pool.buffer(STEP * (1 + number % 5))]
            cycle.append(cycle)
    finally:
        gc.set_threshold(*threshold)
    assert pool.free_bytes <= KEEP_BYTES
