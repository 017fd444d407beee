"""Rows of Arrow columns that are the same: a join repeats its records and its constants in every row, and one of each is enough to work on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_TEXTS = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())
_ELEMENTS = 1 << 20
"""Of lists, compared at once (or those of one list); each takes some 40 bytes meanwhile."""


@dataclass(frozen=True, slots=True)
class Alike:
    """The different rows among all rows, by the place of the first of each."""

    firsts: Ints
    """(m,) places of rows that stand for themselves, ascending."""
    which: Ints
    """(n,): for every row the index in ``firsts`` of the row that it equals."""

    def expanded(self, made: Iterable[Any], kind: pa.DataType) -> pa.Array:
        """What was made of each different row, once per row."""
        return pa.array(made, kind).take(pa.array(self.which))


def alike_rows(keys: Sequence[pa.Array], columns: Sequence[pa.Array]) -> Alike:
    """Which rows of parallel columns are equal in all of them, bit by bit: NULL is equal to NULL, a NaN to the same NaN.

    A row is compared with the first one that has its keys (texts, some of the columns or more), so that there is one comparison per row; where it
    differs from that one, and where a type is not compared here (views, maps), it stands for itself.
    """
    rows = np.arange(len(columns[0]))
    codes = np.zeros(len(rows), np.int64)
    for key in keys:
        codes = np.unique(codes * (len(rows) + 1) + _places(key) + 1, return_inverse=True)[1]
    _, starts, groups = np.unique(codes, return_index=True, return_inverse=True)
    before = starts[groups]
    same = np.logical_and.reduce([_same(column, rows, before) for column in columns]) if len(starts) < len(rows) else rows == before
    firsts, which = np.unique(np.where(same, before, rows), return_inverse=True)
    return Alike(firsts, which)


def _places(column: pa.Array) -> Ints:
    """A number per row, from -1 for NULL to less than the count of rows: the same for equal values alone."""
    if pa.types.is_null(column.type):
        return np.full(len(column), -1)
    places: Ints = column.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return places


def _same(column: pa.Array, left: Ints, right: Ints) -> Bools:
    """Is the value at the one place that at the other, pair by pair?"""
    kind = column.type
    if pa.types.is_struct(kind):
        same: Bools = np.logical_and.reduce(
            [_same_validity(column, left, right), *(_same(column.field(i), left, right) for i in range(kind.num_fields))]
        )
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        same = _same_validity(column, left, right) & _same_lists(column, left, right)
    elif pa.types.is_null(kind):
        same = np.ones(len(left), bool)
    elif kind in _TEXTS:
        places = _places(column)
        same = places[left] == places[right]
    elif pa.types.is_boolean(kind):
        same = _same(column.cast(pa.uint8()), left, right)
    elif pa.types.is_primitive(kind):
        bits = np.frombuffer(column.buffers()[1] or b"", f"V{kind.bit_width // 8}" if kind.bit_width > 64 else f"u{kind.bit_width // 8}")
        bits = bits[column.offset : column.offset + len(column)]
        same = bits[left] == bits[right]
        if column.null_count:
            same |= column.is_null().to_numpy(zero_copy_only=False)[left]
            same &= _same_validity(column, left, right)
    else:
        same = left == right
    return same


def _same_validity(column: pa.Array, left: Ints, right: Ints) -> Bools:
    if not column.null_count:
        return np.ones(len(left), bool)
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    return np.asarray(valid[left] == valid[right])


def _same_lists(column: pa.Array, left: Ints, right: Ints) -> Bools:
    """By length, then element by element, many pairs of lists at once: rasters of many tiles have long lists, which are not laid out all together."""
    bounds = column.offsets.to_numpy().astype(np.int64)
    lengths = np.diff(bounds)
    same = np.asarray(lengths[left] == lengths[right])
    pairs = np.flatnonzero(same & (left != right) & (lengths[left] > 0))
    ends = np.cumsum(lengths[left[pairs]])
    for part in np.split(pairs, np.flatnonzero(np.diff(ends // _ELEMENTS)) + 1):
        counts = lengths[left[part]]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        one, other = (within + np.repeat(bounds[side[part]], counts) for side in (left, right))
        same[np.repeat(part, counts)[~_same(column.values, one, other)]] = False
    return same
