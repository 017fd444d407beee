"""The SQL that makes a DuckDB a client: the extension, the token, and macros by which a call reads as it does where the package is.

A macro of the client turns its arguments into the text of a statement, and ``quack_query`` runs that text on the server. Nothing of a call is
evaluated by the client but its arguments, which must be constants there as they must be here.

- Arguments travel as texts that are cast back to their types on the server; nested ones as JSON, for DuckDB 1.5 writes ``[[']']]`` as a text that it
  cannot read again.
- A relation is a name, which the server looks up; or a subquery, a text in parentheses, which becomes a CTE of the server's statement.
- Variables ``rasteret_…`` of the client travel with each call, so ``SET VARIABLE`` works as it does here.
- Each call has a connection of its own on the server: calls may be joined with each other, which scans of one attached catalog may not.

Macros live in an in-memory catalog, which cursors see, and once more as temporary macros, for their plain names: nothing stays in a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rasteret_sql.settings import FIELDS
from rasteret_sql.sql.catalogue import TABLE_FUNCTIONS, TableFunction, scalar_functions
from rasteret_sql.sql.quote import ident, listed, text

ATTACHED = "rasteret_server"
"""The server's own database, as clients know it; the secret has this name too."""
CATALOG = "rasteret_client"
"""Where the client's macros live; a name that no file of a user will have."""
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
"""Hosts that quack itself takes for local: bound without more ado by servers, spoken to without TLS by clients."""
_ROW = r"STRUCT\([A-Z0-9]+(\([^)]*\))?(\[\d*\])*[,)]"
"""In the name of a type: a STRUCT whose fields have no names, which has no name that SQL could read back."""
_NESTED = r"^(STRUCT|MAP|UNION)\(|\]$"
_HERE = f"{CATALOG}.main"
_RELATIONS = frozenset({"collection", "points", "geometries", "records"})


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is, as a client says it."""

    host: str
    port: int
    tls: bool = False
    """Does something in front of the server, a proxy, speak TLS? quack's clients assume so of any host that is not local."""

    @property
    def uri(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"quack:{host}:{self.port}"

    @property
    def plain(self) -> bool:
        """Must a client be told that there is no TLS?"""
        return self.host not in LOCAL_HOSTS and not self.tls


def client_script(address: Address, token: str, *, load: Sequence[str], catalog: str) -> str:
    """The whole script. ``load`` are the statements that load the extensions; ``catalog`` is ours on the server."""
    lines = [
        f"-- A client of rasteret-sql serve at {address.uri}. This file holds the server's token: whoever can read it can run SQL there.",
        *load,
        f"CREATE OR REPLACE SECRET {ATTACHED} (TYPE quack, TOKEN {text(token)}, SCOPE {text(address.uri)});",
        f"DETACH DATABASE IF EXISTS {ATTACHED};",
        f"ATTACH {text(address.uri)} AS {ATTACHED} (TYPE quack{', DISABLE_SSL true' if address.plain else ''});",
        f"ATTACH IF NOT EXISTS ':memory:' AS {CATALOG};",
        *(f"CREATE OR REPLACE MACRO {CATALOG}.main.{macro};" for macro in _plumbing(address, catalog)),
    ]
    for macro in [*map(_table_macro, TABLE_FUNCTIONS), *_scalar_macros(catalog)]:
        lines += [f"CREATE OR REPLACE MACRO {CATALOG}.main.{macro};", f"CREATE OR REPLACE TEMP MACRO {macro};"]
    return "\n".join(lines) + "\n"


def _plumbing(address: Address, catalog: str) -> Iterable[str]:
    """Macros behind the functions: from arguments to the text of a statement, and the call."""
    yield "__rasteret_quoted(value) AS '''' || replace(value, '''', '''''') || ''''"
    yield (
        "__rasteret_literal(value) AS CASE "
        f"WHEN regexp_matches(typeof(value), {text(_ROW)}) THEN error('a row such as (0, 0) cannot be sent to a server; a list can: [0, 0]') "
        f"WHEN regexp_matches(typeof(value), {text(_NESTED)}) AND NOT contains(typeof(value), 'BLOB') "
        f"THEN 'CAST(' || {_HERE}.__rasteret_quoted(to_json(value)::VARCHAR) || '::JSON AS ' || typeof(value) || ')' "
        f"ELSE 'CAST(' || {_HERE}.__rasteret_quoted(value::VARCHAR) || ' AS ' || typeof(value) || ')' END"
    )
    yield f"__rasteret_pair(name, value) AS CASE WHEN value IS NOT NULL THEN '''' || name || ''': ' || {_HERE}.__rasteret_literal(value) END"
    yield "__rasteret_is_query(value) AS typeof(value) = 'VARCHAR' AND regexp_full_match(value::VARCHAR, '\\s*\\(.*\\)\\s*', 's')"
    yield (
        f"__rasteret_cte(name, value) AS CASE WHEN {_HERE}.__rasteret_is_query(value) "
        "THEN 'rasteret_query_' || name || ' AS (' || value::VARCHAR || ')' END"
    )
    yield (
        f"__rasteret_relation(name, value) AS CASE WHEN {_HERE}.__rasteret_is_query(value) "
        f"THEN '''' || name || ''': ''rasteret_query_' || name || '''' ELSE {_HERE}.__rasteret_pair(name, value) END"
    )
    variables = listed(f"{_HERE}.__rasteret_pair({text(name)}, getvariable({text(f'rasteret_{name}')}))" for name in FIELDS)
    origin = f"'origin': {catalog}.main.__rasteret_instance() || '/' || current_connection_id()"
    yield f"__rasteret_settings() AS '''settings'': {{' || concat_ws(', ', {text(origin)}, {variables}) || '}}'"
    yield (
        "__rasteret_statement(function, name_1, value_1, name_2, value_2, arguments) AS "
        f"coalesce('WITH ' || nullif(concat_ws(', ', {_HERE}.__rasteret_cte(name_1, value_1), "
        f"{_HERE}.__rasteret_cte(name_2, value_2)), '') || ' ', '') "
        f"|| 'FROM query(__rasteret_plan(''' || function || ''', {{' || concat_ws(', ', {_HERE}.__rasteret_relation(name_1, value_1), "
        f"{_HERE}.__rasteret_relation(name_2, value_2), nullif(arguments, ''), {_HERE}.__rasteret_settings()) || '}}))'"
    )
    more = ", disable_ssl := true" if address.plain else ""
    yield (
        "__rasteret_call(function, name_1, value_1, name_2, value_2, arguments) AS TABLE FROM quack_query("
        f"{text(address.uri)}, {_HERE}.__rasteret_statement(function, name_1, value_1, name_2, value_2, arguments){more})"
    )


def _call(function: str, relations: Sequence[str], values: Sequence[str]) -> str:
    """The call with these arguments."""
    names = [*relations, None, None][:2]
    pairs = listed(part for name in names for part in ((text(name), ident(name)) if name else ("NULL", "NULL")))
    others = listed(["', '", *(f"{_HERE}.__rasteret_pair({text(name)}, {ident(name)})" for name in values)])
    return f"{_HERE}.__rasteret_call({text(function)}, {pairs}, {f'concat_ws({others})' if values else 'NULL'})"


def _table_macro(function: TableFunction) -> str:
    """``name(arguments) AS TABLE …``, with the signature that the function has here."""
    relations = [] if function.name == "rasteret_build_from_stac" else [name for name in function.positional if name in _RELATIONS]
    values = [name for name in (*function.positional, *function.named) if name not in relations]
    parameters = listed([*function.positional, *(f"{ident(name)} := {default}" for name, default in function.named.items())])
    return f"{function.name}({parameters}) AS TABLE FROM {_call(function.name, relations, values)}"


def _scalar_macros(catalog: str) -> Iterable[str]:
    """``rasteret_value`` is a call like others. The forms that take a record would be a call per row: they say where they do work."""
    for function in scalar_functions({}, {}):
        if function.name == "rasteret_value":
            call = _call(function.name, ["collection"], ["point", "bands"])
            yield f"rasteret_value(collection, point, bands) AS (SELECT any_value(value) FROM {call})"
        else:
            signature = function.body.partition(" AS ")[0]
            told = (
                f"{function.name}: a record is on the server; there, SQL runs as FROM {ATTACHED}.query('SELECT …'), "
                f"with functions named as {catalog}.{function.name.removeprefix('rasteret_')}; or use the table form, FROM {function.name}(…)"
            )
            yield f"{function.name}{signature} AS error({text(told)})"
