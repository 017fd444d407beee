"""What there is to complete: keywords, functions, tables and their columns, collections and their bands. Asked once per statement."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from rasteret_sql.collection.links import known_names
from rasteret_sql.collection.schema import metadata_column
from rasteret_sql.collection.workspace import find_collection
from rasteret_sql.errors import RasteretError
from rasteret_sql.shell.session import Session
from rasteret_sql.sql.catalogue import TABLE_FUNCTIONS
from rasteret_sql.sql.described import Argument
from rasteret_sql.sql.manual import DESCRIPTIONS

_SUFFIX = metadata_column("")
_WHAT_IS_THERE = """
SELECT database_name, schema_name, table_name, column_name, data_type FROM duckdb_columns()
WHERE NOT internal AND database_name NOT IN ('rasteret', 'rasteret_sql', 'system') ORDER BY table_name, column_index"""


@dataclass(frozen=True)
class Names:
    """A look at the database and the workspace; each part is looked up when it is first asked for."""

    session: Session
    keywords: tuple[str, ...]
    builtins: Mapping[str, str]
    """Functions of DuckDB: name → kind."""

    @cached_property
    def tables(self) -> Mapping[str, Mapping[str, str]]:
        """Tables and views: name → columns with their types."""
        found: dict[str, dict[str, str]] = {}
        for _, _, table, column, kind in self.session.rows(_WHAT_IS_THERE):
            found.setdefault(table, {})[column] = kind
        return found

    @cached_property
    def schemas(self) -> tuple[str, ...]:
        """Databases and schemas, as they come before a dot."""
        rows = self.session.rows("SELECT DISTINCT database_name, schema_name FROM duckdb_schemas() WHERE NOT internal")
        return tuple(sorted({part for row in rows for part in row} - {"temp", "system"}))

    @cached_property
    def collections(self) -> tuple[str, ...]:
        return tuple(self.session.collections())

    @cached_property
    def _bands(self) -> dict[str, tuple[str, ...]]:
        return {}

    def bands(self, collection: str) -> tuple[str, ...]:
        """Of a collection built here, or of a relation with a collection's columns. Nothing is fetched, so others have none."""
        if collection not in self._bands:
            self._bands[collection] = self._found_bands(collection)
        return self._bands[collection]

    def _found_bands(self, name: str) -> tuple[str, ...]:
        columns = self.tables.get(name.rpartition(".")[2])
        if columns is not None:
            return tuple(column.removesuffix(_SUFFIX) for column in columns if column.endswith(_SUFFIX) and column != _SUFFIX)
        with suppress(RasteretError, OSError):
            workspace = self.session.workspace()
            found = find_collection(name, workspace) if name in known_names(workspace) else None
            return () if found is None else tuple(band.name for band in found.bands)
        return ()


def arguments_of(function: str) -> Mapping[str, Argument]:
    """Of one of our functions, table form first; empty for others."""
    name = qualified(function)
    found = DESCRIPTIONS.get((name, "table")) or DESCRIPTIONS.get((name, "scalar"))
    return {} if found is None else found.arguments


def qualified(function: str) -> str:
    """``sample`` of ``rasteret.sample`` is ``rasteret_sample``."""
    return function if function.startswith("rasteret_") else f"rasteret_{function}"


OURS: Mapping[str, str] = {function.name: function.help for function in TABLE_FUNCTIONS} | {"rasteret_value": "the newest valid value at one point"}
"""Name → a line of help."""


def look(session: Session) -> tuple[tuple[str, ...], dict[str, str]]:
    """Keywords and functions of this DuckDB; they stay the same."""
    keywords = tuple(session.values("SELECT keyword_name FROM duckdb_keywords() ORDER BY ALL"))
    functions = session.rows(
        "SELECT function_name, any_value(function_type) FROM duckdb_functions() "
        "WHERE regexp_full_match(function_name, '[a-z][a-z0-9_]*') AND NOT starts_with(function_name, '__') "
        "AND NOT starts_with(function_name, 'rasteret_') AND database_name NOT IN ('rasteret', 'rasteret_sql') GROUP BY 1 ORDER BY 1"
    )
    return keywords, {row[0]: row[1] for row in functions}
