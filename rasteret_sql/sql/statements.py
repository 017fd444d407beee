"""Table functions called from Python: a connection for one statement, its row back, DuckDB's errors as one line of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import duckdb

from rasteret_sql.errors import RasteretError, one_line
from rasteret_sql.sql.catalogue import TABLE_FUNCTIONS
from rasteret_sql.sql.extension import connect
from rasteret_sql.sql.quote import listed

_BEFORE = re.compile(r"^([A-Z][A-Za-z ]* Error: )?(Python exception occurred while executing the UDF: (\w+: )?)?(rasteret_\w+: )?")


def one_row(function: str, arguments: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a function that answers with one; arguments by name, settings as the SQL variables they are.

    Raises :class:`RasteretError` with what DuckDB was told.
    """
    (known,) = (table for table in TABLE_FUNCTIONS if table.name == function)
    given = [name for name, value in arguments.items() if value is not None]
    words = [f"${name}" if name in known.positional else f"{name} := ${name}" for name in given]
    with connect() as con:
        try:
            for name, value in variables.items():
                con.execute(f"SET VARIABLE rasteret_{name} = $value", {"value": value}).fetchall()
            cursor = con.execute(f"FROM {function}({listed(words)})", {name: arguments[name] for name in given})
            (row,) = cursor.fetchall()
        except duckdb.Error as error:
            raise RasteretError(_BEFORE.sub("", one_line(str(error).splitlines()[0], 2000))) from None
        return dict(zip((column[0] for column in cursor.description or ()), row, strict=True))
