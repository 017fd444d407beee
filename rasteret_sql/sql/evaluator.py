"""Checked expressions over columns of pixels, computed by DuckDB itself, so that they give what the same SQL gives over a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rasteret_sql.errors import InvalidArgument
from rasteret_sql.sql import quote, sandbox
from rasteret_sql.sql.expressions import MASK, bound_type, is_number, label, sql_type

Bools = npt.NDArray[np.bool_]
Column = tuple[npt.NDArray[Any], Bools | None]
"""Values of one dimension, and where they are valid (None: everywhere)."""
MOST_ROWS = 1 << 20
"""Rows of one statement: a statement costs about 1 ms, and these rows some 30 MB."""
_NATURAL = {
    np.dtype(kind): name
    for kind, name in (
        ("i1", "TINYINT"), ("i2", "SMALLINT"), ("i4", "INTEGER"), ("i8", "BIGINT"), ("f4", "FLOAT"), ("f8", "DOUBLE"),
        ("u1", "UTINYINT"), ("u2", "USMALLINT"), ("u4", "UINTEGER"), ("u8", "UBIGINT"), ("?", "BOOLEAN"),
    )
}  # fmt: skip


class Evaluator:
    """Evaluates expressions; threads may share one, and each has a connection of its own.

    A call gives, per expression, its values and where they are valid (None: everywhere): numbers as float64 (NULL: nan and not valid;
    nan and inf that DuckDB computes, as in ``B04 / 0.0``, are values), conditions as bool (NULL: False and not valid). Overflows and
    casts that fail are errors, as in DuckDB: one line with the expression's name.
    """

    def __call__(self, expressions: Sequence[tuple[str, str]], columns: Mapping[str, Column], kinds: Mapping[str, str]) -> dict[str, Column]:
        """``expressions``: (name, checked SQL). ``columns``: all of one length. ``kinds``: the SQL type each column is to have."""
        names = tuple((name, sql_type(kinds[name])) for name in columns)
        rows = {len(values) for values, _ in columns.values()}
        if len(rows) != 1:
            raise ValueError(f"columns of {len(rows)} lengths")
        (count,) = rows
        source = quote.listed(_column(str(at), values.dtype, name, kinds[name]) for at, (name, (values, _)) in enumerate(columns.items()))
        selected: list[str] = []
        results: dict[str, Column] = {}
        for at, (name, sql) in enumerate(expressions):
            number = is_number(_type_of(name, sql, names))
            selected.append(f'CAST({sql} AS {"DOUBLE" if number else "BOOLEAN"}) AS "{at}"')
            results[name] = (np.empty(count, np.float64 if number else np.bool_), None)
        for start in range(0, count if selected else 0, MOST_ROWS):
            part = slice(start, start + MOST_ROWS)
            batch = pa.record_batch(
                [_array(values[part], valid if valid is None else valid[part]) for values, valid in columns.values()], names=_numbers(columns)
            )
            try:
                found = _run(selected, source, batch)
            except duckdb.Error as error:
                raise _blamed(error, expressions, selected, source, batch) from None
            for at, (name, _) in enumerate(expressions):
                results[name] = _put(results[name], part, found[str(at)])
        return results


def _numbers(columns: Mapping[str, Column]) -> list[str]:
    return [str(at) for at in range(len(columns))]


def _type_of(name: str, sql: str, columns: tuple[tuple[str, str], ...]) -> str:
    try:
        return bound_type(sql, columns)
    except duckdb.Error as error:
        raise InvalidArgument(f"{MASK if name == MASK else label(name)}: {sandbox.reason(error)}") from None


def _column(number: str, dtype: np.dtype[Any], name: str, kind: str) -> str:
    """A column of the arrays, as the SQL type it is to have."""
    same = _NATURAL.get(dtype.newbyteorder("=")) == kind
    return f"{quote.ident(number)} AS {quote.ident(name)}" if same else f"CAST({quote.ident(number)} AS {sql_type(kind)}) AS {quote.ident(name)}"


def _array(values: npt.NDArray[Any], valid: Bools | None) -> pa.Array:
    """The values where they are (bits of booleans and of ``valid`` are packed)."""
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    native = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    packed = native if native.dtype != np.bool_ else np.packbits(native, bitorder="little")
    bits = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(pa.from_numpy_dtype(native.dtype), len(native), [bits, pa.py_buffer(packed)])


def _run(selected: Sequence[str], source: str, batch: pa.RecordBatch) -> dict[str, npt.NDArray[Any]]:
    connection = sandbox.connection()
    connection.register("pixels", batch)
    try:
        found: dict[str, npt.NDArray[Any]] = connection.execute(f"SELECT {quote.listed(selected)} FROM (SELECT {source} FROM pixels)").fetchnumpy()
    finally:
        connection.unregister("pixels")
    return found


def _put(result: Column, part: slice, found: npt.NDArray[Any]) -> Column:
    """Copies one part's results to their place."""
    values, valid = result
    mask = np.ma.getmaskarray(found) if isinstance(found, np.ma.MaskedArray) else None
    values[part] = np.ma.getdata(found)
    if mask is not None and mask.any():
        values[part][mask] = False if values.dtype == np.bool_ else np.nan
        valid = np.ones(len(values), np.bool_) if valid is None else valid
        valid[part] = ~mask
    return values, valid


def _blamed(
    error: duckdb.Error, expressions: Sequence[tuple[str, str]], selected: Sequence[str], source: str, batch: pa.RecordBatch
) -> InvalidArgument:
    """The error with the name of the expression that raises it when run alone."""
    for (name, _), one in zip(expressions, selected, strict=True):
        try:
            _run([one], source, batch)
        except duckdb.Error as alone:
            return InvalidArgument(f"{MASK if name == MASK else label(name)}: {sandbox.reason(alone)}")
    return InvalidArgument(f"expressions: {sandbox.reason(error)}")
