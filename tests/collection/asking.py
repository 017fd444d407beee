"""Asking a connection, and the one line that a refusal is."""

from __future__ import annotations

import re
from typing import Any

import duckdb
import pytest

_UDF = re.compile(r"Python exception occurred while executing the UDF: (\w+: )?")
_KIND = re.compile(r"^[A-Z][A-Za-z ]* Error: ")
_AFTER = re.compile(r"\s*(At:\n(.*\n)*?\s*)?(LINE \d+:(.|\n)*)?\Z")
"""What DuckDB may put below our line: the Python stack (1.5) and the place in the statement."""


def rows(con: duckdb.DuckDBPyConnection, statement: str, parameters: Any = None) -> list[dict[str, Any]]:
    """All rows of a statement, each as column → value."""
    cursor = con.execute(statement, parameters) if parameters is not None else con.execute(statement)
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def one(con: duckdb.DuckDBPyConnection, statement: str, parameters: Any = None) -> dict[str, Any]:
    """The only row of a statement."""
    (row,) = rows(con, statement, parameters)
    return row


def refused(con: duckdb.DuckDBPyConnection, statement: str) -> str:
    """The message of a statement that must fail: our own line alone, with nothing of ours below it."""
    with pytest.raises(duckdb.Error) as caught:
        con.execute(statement).fetchall()
    first, _, below = str(caught.value).partition("\n")
    assert _AFTER.fullmatch(below), f"more than one line: {caught.value}"
    return _UDF.sub("", _KIND.sub("", first))
