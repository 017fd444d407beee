"""The IPython extension: ``%load_ext rasteret_sql`` gives ``%rasteret`` and ``%%rasteret``, SQL in cells of Jupyter and IPython.

The magic has a name of its own, so that it lives beside others. Where jupysql is loaded already, its ``%sql`` gets our connection too, under the
alias ``rasteret``. A statement runs once, when its cell does: what comes back is a DuckDB relation over its result in memory, which displays
itself, is a table by its variable's name for the next cell, and gives frames (``.df()``, ``.pl()``, ``.to_arrow_table()``).
"""

from __future__ import annotations

import warnings
import weakref
from contextlib import suppress
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import duckdb
from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand

from rasteret_sql.errors import Cancelled, RasteretError, listing, near
from rasteret_sql.sql.extension import connect, register

ALIAS = "rasteret"
"""Of our connection in jupysql."""
_PASSED = "__rasteret_connection"
"""The variable by which jupysql is given the connection; it is there for that moment only."""
_STACK = "\n\nAt:\n"
"""What DuckDB 1.5 writes between the message of an error in a function and its Python stack."""
_INTERRUPTED = ("Query interrupted", f"UDF: {Cancelled.__name__}: ", f"UDF: {KeyboardInterrupt.__name__}: ")
"""What DuckDB says of a statement that Ctrl-C stopped: by itself (a RuntimeError), and where a function of ours heard of it first."""
_SAYS_NOTHING = (["Count"], ["Success"])
"""Columns of what statements that give no rows answer, in some versions of DuckDB."""
_HELP = "%%rasteret [--con VARIABLE] [RESULT], SQL below; or in one line %rasteret [--con VARIABLE] SQL"


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext rasteret_sql``."""
    magics = RasteretMagics(shell)
    shell.register_magics(magics)
    sql = shell.magics_manager.magics["line"].get("sql")
    if sql is not None and getattr(sql, "__module__", "").split(".")[0] == "sql":
        shell.user_ns[_PASSED] = magics.connection
        try:
            shell.run_line_magic("sql", f"{_PASSED} --alias {ALIAS}")
        finally:
            del shell.user_ns[_PASSED]


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext rasteret_sql``: the magics go; a connection that is held elsewhere stays open."""
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop("rasteret", None)


@dataclass(frozen=True, slots=True)
class Call:
    """What stands behind the magic's name."""

    connection: str | None
    """Variable of another connection."""
    result: str | None
    """Variable that gets the result."""
    sql: str

    @classmethod
    def of(cls, line: str, cell: str | None) -> Call:
        """:class:`UsageError` where the line of a cell magic is more than the names."""
        words = line.split(maxsplit=2)
        connection = None
        if words and words[0] == "--con":
            if len(words) < 2:
                raise UsageError(f"--con needs the name of a variable: {_HELP}")
            connection, line = words[1], words[2] if len(words) > 2 else ""
        if cell is None:
            return cls(connection, None, line)
        name = line.strip()
        if name and not name.isidentifier():
            raise UsageError(f"{name!r} is no name for a result; the SQL begins on the next line: {_HELP}")
        return cls(connection, name or None, cell)


@magics_class
class RasteretMagics(Magics):
    """``%rasteret`` and ``%%rasteret`` of one shell, with the connection that they use."""

    shell: Any

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._registered: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The connection of the session: in memory, made at first use, unless ``%rasteret --con`` chose another."""
        if self._connection is None:
            self._connection = connect()
        return self._connection

    @no_var_expand
    @line_cell_magic
    def rasteret(self, line: str, cell: str | None = None) -> Any:
        """SQL with all rasteret functions.

        %rasteret                    the connection: con = %rasteret
        %rasteret --con con          from now on, the connection in the variable con
        %rasteret SELECT 42          a statement in one line: x = %rasteret SELECT 42
        %%rasteret                   statements in a cell; the last one's result is displayed
        %%rasteret means             the last one's result goes to the variable means
        %%rasteret --con con means   with another connection, for this cell

        Variables are tables by their name (frames, Arrow, relations), and parameters with a dollar: WHERE label = $label.
        """
        call = Call.of(line, cell)
        connection = self.connection if call.connection is None else self._known(call.connection)
        if not call.sql.strip():
            if call.connection is not None:
                self._connection = connection
            return connection if call.connection is None else None
        result = self._run(connection, call.sql)
        if call.result is None:
            return result
        self.shell.user_ns[call.result] = result
        return None

    def _known(self, name: str) -> duckdb.DuckDBPyConnection:
        """The connection in a variable, with our functions."""
        variables = self.shell.user_ns
        found = variables.get(name)
        if isinstance(found, duckdb.DuckDBPyConnection):
            if found not in self._registered:
                self._registered.add(_with_functions(found))
            return found
        valid = [key for key, value in variables.items() if isinstance(value, duckdb.DuckDBPyConnection) and not key.startswith("_")]
        if name not in variables:
            raise UsageError(f"no variable {name!r}{near(name, valid)}; DuckDB connections: {listing(valid)}; make one: con = rasteret_sql.connect()")
        raise UsageError(f"{name} is a {type(found).__name__}, no DuckDB connection; DuckDB connections: {listing(valid)}")

    def _run(self, connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyRelation | None:
        """All statements, one after the other; the last one's result where it has one."""
        result = None
        try:
            for statement in connection.extract_statements(sql):
                result = self._run_one(connection, statement)
        except (duckdb.Error, RuntimeError, RasteretError, KeyboardInterrupt) as error:
            if _is_interruption(error):
                with suppress(duckdb.Error, RuntimeError):  # an interruption that came as the statement ended would hit the next one
                    connection.execute("SELECT NULL").fetchall()
                raise KeyboardInterrupt("the statement was interrupted") from None
            if not isinstance(error, duckdb.Error | RasteretError):
                raise
            raise UsageError(str(error).split(_STACK, maxsplit=1)[0].strip()) from None
        return result

    def _run_one(self, connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> duckdb.DuckDBPyRelation | None:
        variables = self.shell.user_ns
        names = sorted(statement.named_parameters)
        if missing := [name for name in names if name not in variables]:
            if missing[0].isdigit():
                raise UsageError("parameters are variables by name: $label, not ? or $1")
            known = [name for name in variables if name not in self.shell.user_ns_hidden]
            raise UsageError(f"${missing[0]}: no variable of this name{near(missing[0], known)}")
        arrow = FunctionType(_arrow.__code__, variables)  # DuckDB looks for tables among the variables of the function that called it
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # DuckDB 2.0 says that execute() copies once more than sql()
            table = arrow(connection, statement, {name: variables[name] for name in names})
        silent = table is None or (statement.type != duckdb.StatementType.SELECT and table.column_names in _SAYS_NOTHING)
        return None if silent else connection.from_arrow(table)


def _is_interruption(error: BaseException) -> bool:
    return isinstance(error, duckdb.InterruptException | KeyboardInterrupt) or any(sign in str(error) for sign in _INTERRUPTED)


def _with_functions(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    try:
        return register(connection)
    except (duckdb.Error, RasteretError) as error:
        raise UsageError(str(error)) from None


def _arrow(_rasteret_connection: Any, _rasteret_statement: Any, _rasteret_parameters: Any) -> Any:
    """Runs with the notebook's variables as its globals; its own names are none that a table has."""
    # sql() with parameters fetches under Python's lock on DuckDB 1.5, which functions written in Python wait for in vain
    if _rasteret_parameters:
        return _rasteret_connection.execute(_rasteret_statement, _rasteret_parameters).to_arrow_table()
    _rasteret_result = _rasteret_connection.sql(_rasteret_statement)
    return None if _rasteret_result is None else _rasteret_result.to_arrow_table()
