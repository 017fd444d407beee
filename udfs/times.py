"""The column of a table that says when: found and checked while a statement is bound."""

from __future__ import annotations

from rasteret_sql.udfs.geometry import struct_fields

from rasteret_sql.errors import InvalidArgument, listing, near

_KINDS = ("TIMESTAMP", "DATE", "VARCHAR")


def time_column(row_type: str, asked: str) -> str:
    """Name of the column asked for in a row type ``STRUCT(a INTEGER, seen TIMESTAMP, …)``; another kind of column is an error."""
    fields = struct_fields(row_type)
    folded = {name.lower(): name for name in fields}
    if asked.lower() not in folded:
        raise InvalidArgument(f"no column {asked!r}{near(asked, fields)} for time; columns: {listing(fields)}")
    name = folded[asked.lower()]
    if not fields[name].startswith(_KINDS):
        raise InvalidArgument(f"time := {name!r} is {fields[name]}; TIMESTAMP, DATE and text are valid")
    return name
