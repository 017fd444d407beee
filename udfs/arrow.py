"""Arrow arrays as DuckDB hands them over, and the nested arrays it takes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rasteret_sql.collection.nested import one_chunk


def numbers(array: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    """Values as NumPy; NULL becomes NaN in float arrays."""
    return np.asarray(one_chunk(array).to_numpy(zero_copy_only=False))


def list_parts(array: pa.Array | pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """Row boundaries and flat values of a list array; a NULL list counts as empty."""
    lists = one_chunk(array)
    bounds = lists.offsets.to_numpy().astype(np.int64)
    return bounds - bounds[0], lists.values.slice(bounds[0], bounds[-1] - bounds[0])


def rows_at(array: pa.Array | pa.ChunkedArray, rows: npt.NDArray[np.int64]) -> pa.Array:
    """These rows; where each follows the one before, as the live rows of a paced call do, without a copy."""
    column = one_chunk(array)
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return column.slice(rows[0], len(rows))
    return column.take(pa.array(rows))


def with_nulls(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_], kind: pa.DataType) -> pa.Array:
    """A typed array that is NULL where not valid; one copy of the values at most. Packing bits here takes a tenth of what ``mask`` would."""
    data = np.ascontiguousarray(values, kind.to_pandas_dtype())
    bits = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(data), [bits, pa.py_buffer(data)])


def lists(lengths: Sequence[int] | npt.NDArray[np.int64], values: pa.Array, missing: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """A list array of these lengths over the flat values; ``missing`` rows are NULL. 64-bit offsets where 32 would overflow."""
    offsets = np.concatenate(([0], np.cumsum(np.asarray(lengths, dtype=np.int64))))
    mask = None if missing is None or not missing.any() else pa.array(missing)
    if offsets[-1] < 1 << 31:
        return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values, mask=mask)
    return pa.LargeListArray.from_arrays(pa.array(offsets), values, mask=mask)


def ones(rows: pa.Array) -> pa.Array:
    """Each row as a list of one: the shape whose ``unnest`` makes DuckDB call a function exactly once."""
    return lists(np.ones(len(rows), dtype=np.int64), rows)


def joined(parts: Sequence[npt.NDArray[Any]], dtype: Any) -> npt.NDArray[Any]:
    """Arrays (1-D) one after the other, each cast to the type as it is copied; those that follow each other in memory are taken as they lie."""
    if not parts:
        return np.empty(0, dtype)
    stretch = _stretch_of([part for part in parts if part.size], np.dtype(dtype))
    return np.concatenate(parts, dtype=dtype, casting="unsafe") if stretch is None else stretch


def _stretch_of(parts: Sequence[npt.NDArray[Any]], dtype: np.dtype[Any]) -> npt.NDArray[Any] | None:
    """The part of an array that these views of it make up, in this order; None where they do not."""
    whole = parts[0].base if parts else None
    if not isinstance(whole, np.ndarray) or whole.ndim != 1 or whole.dtype != dtype or not whole.flags.c_contiguous:
        return None
    first = address = parts[0].ctypes.data
    for part in parts:
        if part.base is not whole or part.dtype != dtype or not part.flags.c_contiguous or part.ctypes.data != address:
            return None
        address += part.nbytes
    start = (first - whole.ctypes.data) // dtype.itemsize
    return whole[start : start + (address - first) // dtype.itemsize]


_ARROW = {
    "UTINYINT": pa.uint8(),
    "USMALLINT": pa.uint16(),
    "UINTEGER": pa.uint32(),
    "UBIGINT": pa.uint64(),
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
}


def arrow_type(sql_type: str) -> pa.DataType:
    """The Arrow type of a SQL scalar type."""
    return _ARROW[sql_type]


def value_type(dtype: np.dtype[Any]) -> str:
    """SQL type of a single value: integers up to 16 bits INTEGER, 32 bits BIGINT, 64 bits as they are; float16/32 FLOAT, float64 DOUBLE."""
    if dtype.kind == "f":
        return "DOUBLE" if dtype.itemsize == 8 else "FLOAT"
    if dtype.itemsize == 8:
        return "UBIGINT" if dtype.kind == "u" else "BIGINT"
    return "INTEGER" if dtype.itemsize <= 2 else "BIGINT"


def pixel_type(dtype: np.dtype[Any]) -> str:
    """SQL type of a pixel in an array: the band's own (float16, which SQL lacks, as FLOAT)."""
    if dtype.kind == "f":
        return "DOUBLE" if dtype.itemsize == 8 else "FLOAT"
    widths = {1: "TINYINT", 2: "SMALLINT", 4: "INTEGER", 8: "BIGINT"}
    return ("U" if dtype.kind == "u" else "") + widths[dtype.itemsize]
