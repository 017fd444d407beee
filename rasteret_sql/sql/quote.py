"""The only way a name or a value gets into generated SQL."""

from __future__ import annotations

from collections.abc import Iterable

from rasteret_sql.errors import InvalidArgument, one_line

RESERVED = "__rasteret_"
"""What relations inside of plans start with, where a user's relation may stand beside them."""
MOST_PARTS = 3
"""Of a relation's name: catalog, schema, table."""


def ident(name: str) -> str:
    """A quoted identifier."""
    if "\0" in name:
        raise InvalidArgument("a name cannot hold a NUL character")
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A string literal."""
    if "\0" in value:
        raise InvalidArgument("a text cannot hold a NUL character")
    return "'" + value.replace("'", "''") + "'"


def relation(name: str) -> str:
    """A relation's name as a macro hands it over: ``s2``, ``main.s2``, or with parts in double quotes where they hold dots."""
    parts = name_parts(name)
    if len(parts) > MOST_PARTS:
        raise InvalidArgument(f"{one_line(name, 120)!r} is no name of a table: it has {len(parts)} parts; names with dots go in double quotes")
    if len(parts) == 1 and parts[0].lower().startswith(RESERVED):
        raise InvalidArgument(f"{one_line(name, 120)!r} is a name for what plans make; say in which schema such a table is, or rename it")
    return ".".join(ident(part) for part in parts)


def name_parts(name: str) -> list[str]:
    """``a.b`` → a, b; ``"a.b".c`` → a.b, c. Anything else inside a part is taken as it is."""
    parts: list[str] = []
    rest = name
    while True:
        if rest.startswith('"') and (end := _closing_quote(rest)) and rest[end + 1 : end + 2] in ("", "."):
            part, rest = rest[1:end].replace('""', '"'), rest[end + 1 :]
        else:
            part, dot, tail = rest.partition(".")
            rest = dot + tail
        parts.append(part)
        if not rest:
            break
        rest = rest[1:]
    if not all(parts):
        raise InvalidArgument(f"{one_line(name, 120)!r} is no name of a table")
    return parts


def _closing_quote(name: str) -> int:
    """Position of the double quote that ends a quoted part; 0 when it never ends."""
    position = 1
    while position < len(name):
        if name[position] == '"':
            if name[position + 1 : position + 2] != '"':
                return position
            position += 1
        position += 1
    return 0


def listed(items: Iterable[str]) -> str:
    return ", ".join(items)
