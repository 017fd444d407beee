"""The plugin of dbt-duckdb: models call ``rasteret_`` functions, from every thread that dbt uses.

In ``profiles.yml``::

    plugins:
      - module: rasteret_sql.dbt
        config: {workspace: rasteret_workspace, max_concurrency: 16}

``config`` holds settings of :mod:`rasteret_sql.settings` by their names. dbt-duckdb opens one connection per run and a cursor of it per model: the
functions go to the connection, plain names and settings to each cursor. Nothing of them is stored in the user's database file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeAlias

import duckdb

try:
    from dbt.adapters.duckdb.environments.local import DuckDBCursorWrapper
    from dbt.adapters.duckdb.plugins import BasePlugin
    from dbt_common.exceptions import DbtRuntimeError
except ImportError as missing:
    raise ImportError(f"rasteret_sql.dbt is a plugin of dbt-duckdb ({missing.msg}): pip install 'rasteret-sql[dbt]'") from None

from rasteret_sql import errors
from rasteret_sql.errors import InvalidArgument, RasteretError, listing, near, one_line
from rasteret_sql.settings import FIELDS, resolve_settings
from rasteret_sql.sql.extension import register, register_cursor

_MODULE = "rasteret_sql.dbt"
_QUIET: Mapping[str, Any] = {"progress": False}
"""Bars of four models at once would write over each other, and over dbt's own lines."""
_OURS = "|".join(sorted(name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, RasteretError)))
_MESSAGE = re.compile(
    rf"[A-Z][A-Za-z ]* Error: (?:(?P<planned>rasteret_\w+: .*)|Python exception occurred while executing the UDF: (?:{_OURS}): (?P<read>.*))"
)
Connection: TypeAlias = duckdb.DuckDBPyConnection


class Plugin(BasePlugin):  # type: ignore[misc]  # dbt-duckdb is not there where types are checked
    """What dbt-duckdb makes of ``module: rasteret_sql.dbt``."""

    def initialize(self, plugin_config: Mapping[str, Any]) -> None:
        """Check the settings; a wrong one is dbt's error, in one line that names it and the valid ones."""
        try:
            self._variables = checked_config(self._own(plugin_config))
        except RasteretError as error:
            raise DbtRuntimeError(f"plugin {_MODULE}: {error}") from None
        _show_one_line()

    def configure_connection(self, conn: Connection) -> None:
        """Functions belong to the database instance: once per run."""
        try:
            register(conn)
        except RasteretError as error:
            raise DbtRuntimeError(f"plugin {_MODULE}: {error}") from None

    def configure_cursor(self, cursor: Connection) -> None:
        """Temporary macros and variables belong to a cursor: once per model."""
        register_cursor(cursor)
        for name, value in self._variables.items():
            cursor.execute(f"SET VARIABLE rasteret_{name} = $value", {"value": value}).fetchall()

    def _own(self, plugin_config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Without the profile's ``settings``, which dbt-duckdb mixes in: those are DuckDB's, and ``s3_region`` is a name of both."""
        for plugin in getattr(self.creds, "plugins", None) or ():
            if plugin.module == _MODULE and self.name == (plugin.alias or _MODULE.rpartition(".")[2]):
                return plugin.config or {}
        return plugin_config


def checked_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The SQL variables that a plugin's configuration sets, dbt's own defaults among them.

    What is empty (YAML's ``~``) is left to the environment or the default. :class:`InvalidArgument` names what is not valid.
    """
    if unknown := sorted(map(str, config.keys() - FIELDS.keys())):
        raise InvalidArgument(f"unknown setting {unknown[0]!r}{near(unknown[0], FIELDS)}; settings: {listing(FIELDS)}")
    chosen = {name: value for name, value in config.items() if value is not None}
    settings = resolve_settings(chosen)
    quiet = {} if "RASTERET_PROGRESS" in os.environ else _QUIET
    return {**quiet, **{name: getattr(settings, name) for name in chosen}}


def plain_message(error: BaseException) -> str | None:
    """The one line of an error that this package raised in a statement; None for errors of DuckDB's own, and of functions of others.

    DuckDB 1.5 puts the stack of its function, and the place in the statement, after it.
    """
    found = _MESSAGE.match(str(error))
    if found is None:
        return None
    return one_line(found["planned"] or f"rasteret_sql: {found['read']}", 2000)


def _show_one_line() -> None:
    """Let dbt print our errors as one line: what a statement raises passes through its cursor's wrapper. Once per process."""
    execute = DuckDBCursorWrapper.execute
    if not getattr(execute, "_plain_messages", False):
        DuckDBCursorWrapper.execute = _with_plain_messages(execute)


def _with_plain_messages(execute: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(execute)
    def plain(self: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return execute(self, *arguments, **named)
        except duckdb.Error as error:
            message = plain_message(error)
            if message is None:
                raise
            raise DbtRuntimeError(message) from error

    plain._plain_messages = True  # type: ignore[attr-defined]  # noqa: SLF001 - a mark on our own function
    return plain
