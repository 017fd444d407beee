"""Table functions called from Python: a connection for one statement, what it answers, DuckDB's errors as one line of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from rasteret_sql.errors import RasteretError, one_line
from rasteret_sql.sql.catalogue import TABLE_FUNCTIONS
from rasteret_sql.sql.extension import connect
from rasteret_sql.sql.quote import ident, listed, text

_BEFORE = re.compile(r"^([A-Z][A-Za-z ]* Error: )?(Python exception occurred while executing the UDF: (\w+: )?)?(rasteret_\w+: )?")


def one_row(function: str, arguments: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a function that answers with one; arguments by name, settings as the SQL variables they are.

    Raises :class:`RasteretError` with what DuckDB was told.
    """
    (known,) = (table for table in TABLE_FUNCTIONS if table.name == function)
    given = [name for name, value in arguments.items() if value is not None]
    words = [f"${name}" if name in known.positional else f"{name} := ${name}" for name in given]
    with _connection(variables) as con:
        cursor = con.execute(f"FROM {function}({listed(words)})", {name: arguments[name] for name in given})
        (row,) = cursor.fetchall()
        return dict(zip((column[0] for column in cursor.description or ()), row, strict=True))


def records(collection: str, columns: Sequence[str] | None, variables: Mapping[str, Any]) -> pa.Table:
    """The rows of ``rasteret_collection`` as Arrow; errors as of :func:`one_row`."""
    chosen = "*" if columns is None else listed(map(ident, columns))
    with _connection(variables) as con:
        table: pa.Table = con.sql(f"SELECT {chosen} FROM rasteret_collection({text(collection)})").to_arrow_table()
        return table


@contextmanager
def _connection(variables: Mapping[str, Any]) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect() as con:
        try:
            for name, value in variables.items():
                con.execute(f"SET VARIABLE rasteret_{name} = $value", {"value": value}).fetchall()
            yield con
        except duckdb.Error as error:
            raise RasteretError(_BEFORE.sub("", one_line(str(error).splitlines()[0], 2000))) from None
