"""Damage to bytes, by a seed: single bits and bytes, numbers at the edges of their types in either byte order, blocks moved, cut, repeated or taken from
another input.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

_EDGES = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 257, 511, 4095, 4096, 32767, 32768, 65535)
_EDGES += (1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 16, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
_DOUBLES = (0.0, -0.0, 1.0, -1.0, 1e-320, 1e300, -1e300, 1.7976931348623157e308, float("nan"), float("inf"), float("-inf"), 90.0, 180.0, 6378137.0)
_WIDTHS = ((1, "B"), (2, "H"), (4, "I"), (8, "Q"))
_Change = Callable[[random.Random, bytearray, Sequence[bytes]], None]


def mutate(rng: random.Random, data: bytes, others: Sequence[bytes], most_bytes: int) -> bytes:
    """``data`` with one to eight changes; ``others`` lend pieces."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        rng.choice(_CHANGES)(rng, found, others)
    return bytes(found[:most_bytes])


def _place(rng: random.Random, data: bytearray) -> int:
    """Any byte, those of the start more often: headers lie there."""
    return rng.randrange(min(len(data), rng.choice((16, 64, 512, 1 << 20)))) if data else 0


def _bit(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _byte(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        data[_place(rng, data)] = rng.randrange(256)


def _number(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    size, code = rng.choice(_WIDTHS)
    value = (rng.choice(_EDGES) if rng.random() < 0.7 else len(data) + rng.randint(-9, 9)) % (1 << 8 * size)
    _put(rng, data, struct.pack(rng.choice("<>") + code, value))


def _step(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    """A number that is there, a little larger or smaller."""
    size = rng.choice((1, 2, 4))
    order = rng.choice(("little", "big"))
    at = _place(rng, data)
    value = int.from_bytes(data[at : at + size], order) + rng.choice((-2, -1, 1, 2, 16, 256))
    data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, order)


def _double(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    _put(rng, data, struct.pack(rng.choice("<>") + "d", rng.choice(_DOUBLES)))


def _put(rng: random.Random, data: bytearray, value: bytes) -> None:
    at = _place(rng, data)
    data[at : at + len(value)] = value


def _cut(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, data)
    del data[at : at + rng.choice((1, 2, 4, 12, 64, 1 << 20))]


def _insert(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    data[(at := _place(rng, data)) : at] = rng.randbytes(rng.choice((1, 2, 4, 12)))


def _copy(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    """A block of the data over another one: entries of a directory change places."""
    size, start = rng.choice((1, 2, 4, 8, 12, 20, 64)), _place(rng, data)
    _put(rng, data, bytes(data[start : start + size]))


def _splice(rng: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    other = rng.choice(others) if others else b""
    if other:
        start = rng.randrange(len(other))
        _put(rng, data, other[start : start + rng.choice((2, 8, 12, 64, 512))])


_CHANGES: Sequence[_Change] = (_bit, _byte, _number, _number, _step, _double, _cut, _insert, _copy, _splice)
