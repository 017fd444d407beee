"""A DuckDB of our own, in memory, shut off from files and extensions: users' expressions are parsed, typed and evaluated here.

One instance per process (it costs about 30 ms, so it is made when first needed; a forked child makes its own), one connection per
thread. It runs on the calling thread alone: callers are threads of another DuckDB already.
"""

from __future__ import annotations

import os
import threading
from functools import cache

import duckdb

from rasteret_sql.errors import one_line

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "threads": "1",
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "lock_configuration": "true",
}
NUMBERS = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL"}
    | {"UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"},
)
"""DuckDB's numeric types that pixels can have or become."""
_OF_ANYTHING = {"greatest", "least"}
"""Functions of any type that are of use for numbers."""
_MACROS = {"nullif", "if", "fdiv", "fmod"}
"""DuckDB's own scalar macros that are of use for numbers; all others are refused."""


class _Process:
    """What this process has: the instance, and the lock under which it is made."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.instance: duckdb.DuckDBPyConnection | None = None
        self.local = threading.local()


_processes = [_Process()]
"""A child adds its own; its parent's stay, untouched, since closing them is not the child's affair."""


def _after_fork_in_child() -> None:
    _processes.append(_Process())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def connection() -> duckdb.DuckDBPyConnection:
    """The calling thread's connection."""
    process = _processes[-1]
    cursor: duckdb.DuckDBPyConnection | None = getattr(process.local, "cursor", None)
    if cursor is None:
        with process.lock:
            if process.instance is None:
                process.instance = duckdb.connect(":memory:", config=_CONFIG)
            cursor = process.local.cursor = process.instance.cursor()
    return cursor


def reason(error: duckdb.Error) -> str:
    """DuckDB's message without its kind, candidates and position, on one line."""
    first = str(error).strip().partition("\n")[0]
    return one_line(first.partition(" Error: ")[2] or first)


@cache
def functions() -> dict[str, str]:
    """Every function's name with its kind: ``number`` for those an expression may call, else scalar, aggregate, macro …

    These are built-in scalar functions, always of one result for one input (DuckDB's stability CONSISTENT), of numbers or conditions
    only, as DuckDB's own catalogue has them. Nothing of text, lists or files is among them, nor anything random or with an effect.
    """
    rows = (
        connection()
        .execute("SELECT lower(function_name), function_type, stability, parameter_types, return_type FROM duckdb_functions() WHERE internal")
        .fetchall()
    )
    kinds: dict[str, str] = {}
    values = NUMBERS | {"BOOLEAN"}
    for name, kind, stability, parameters, result in rows:
        plain = result in values and all(parameter in values for parameter in parameters)
        useful = kind == "scalar" and stability == "CONSISTENT" and (plain or name in _OF_ANYTHING) and not name.startswith("__")
        if useful or (kind == "macro" and name in _MACROS):
            kinds[name] = "number"
        else:
            kinds.setdefault(name, kind)
    return kinds


@cache
def type_names() -> dict[str, str]:
    """Every name of a numeric type or BOOLEAN, in lower case → the type's own name."""
    rows = connection().execute("SELECT lower(type_name), logical_type FROM duckdb_types() WHERE internal").fetchall()
    return {name: logical for name, logical in rows if logical in NUMBERS or logical == "BOOLEAN"}
