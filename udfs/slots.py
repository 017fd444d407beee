"""How values travel whose types only the records know: a function in SQL has one result type, so that has a slot for each type there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rasteret_sql.udfs.arrow import arrow_type, joined, lists, with_nulls

VALUE_SLOTS = {"INTEGER": "i4", "BIGINT": "i8", "UBIGINT": "u8", "FLOAT": "f4", "DOUBLE": "f8"}
"""Types of single values, safe to compute with, and the struct field each travels in."""
PIXEL_SLOTS = {
    "UTINYINT": "u1",
    "USMALLINT": "u2",
    "UINTEGER": "u4",
    "UBIGINT": "u8",
    "TINYINT": "i1",
    "SMALLINT": "i2",
    "INTEGER": "i4",
    "BIGINT": "i8",
    "FLOAT": "f4",
    "DOUBLE": "f8",
}
"""A band's own type and the struct field its pixels travel in."""
BANDS = 4
"""So many bands have a field of their own in a slot, the others share a list: DuckDB 1.5 copies a list that it takes out of a list."""
Column = tuple[npt.NDArray[Any], npt.NDArray[np.bool_]] | None
"""Values and validity of one band in one row; None where the row has nothing for it."""


def slots_sql(slots: Mapping[str, str]) -> str:
    """The fields of all slots, as in a SQL type."""
    return ", ".join(f"{slot} STRUCT({', '.join(f'b{i} {name}[]' for i in range(BANDS))}, more {name}[][])" for name, slot in slots.items())


def slots_type(slots: Mapping[str, str]) -> list[tuple[str, pa.DataType]]:
    """The same in Arrow's types."""
    return [(slot, _slot_type(arrow_type(name))) for name, slot in slots.items()]


def _slot_type(kind: pa.DataType) -> pa.StructType:
    return pa.struct([*((f"b{i}", pa.list_(kind)) for i in range(BANDS)), ("more", pa.list_(pa.list_(kind)))])


def pick(slots: str, slot: str, index: int) -> str:
    """SQL of the list of a band, by its position, in a result ``slots``."""
    return f"{slots}.{slot}.b{index}" if index < BANDS else f"{slots}.{slot}.more[{index - BANDS + 1}]"


def slot_fields(table: Sequence[Sequence[Column]], types: Sequence[str], slots: Mapping[str, str]) -> dict[str, pa.Array]:
    """One field per slot, of ``table``'s rows of bands; a band fills the slot of its own type and is NULL in the others."""
    return {slot: _slot(table, types, name) for name, slot in slots.items()}


def _slot(table: Sequence[Sequence[Column]], types: Sequence[str], name: str) -> pa.Array:
    kind = arrow_type(name)
    if name not in types:
        return pa.nulls(len(table), _slot_type(kind))
    own = [_lists([row[i] if mine == name else None for row in table], kind) for i, mine in enumerate(types[:BANDS])]
    own += [pa.nulls(len(table), pa.list_(kind)) for _ in range(BANDS - len(own))]
    more = slot_lists([row[BANDS:] for row in table], types[BANDS:], name)
    return pa.StructArray.from_arrays([*own, more], [*(f"b{i}" for i in range(BANDS)), "more"])


def slot_lists(table: Sequence[Sequence[Column]], types: Sequence[str], name: str) -> pa.Array:
    """Rows of lists, one per band, of values of one type; NULL for bands of other types, and for all where no band has it."""
    kind = arrow_type(name)
    if name not in types:
        return pa.nulls(len(table), pa.list_(pa.list_(kind)))
    cells = [cell if mine == name else None for row in table for cell, mine in zip(row, types, strict=True)]
    return lists(np.full(len(table), len(types)), _lists(cells, kind))


def _lists(cells: Sequence[Column], kind: pa.DataType) -> pa.Array:
    """A list per cell."""
    present = [cell for cell in cells if cell is not None]
    # with a dtype: joining a blank row of another type would carry 64-bit integers through float64
    values = joined([cell[0].ravel() for cell in present], kind.to_pandas_dtype())
    valid = joined([cell[1].ravel() for cell in present], np.bool_)
    lengths = np.fromiter((0 if cell is None else cell[0].size for cell in cells), dtype=np.int64, count=len(cells))
    missing = np.fromiter((cell is None for cell in cells), dtype=bool, count=len(cells))
    return lists(lengths, with_nulls(values, valid, kind), missing)
