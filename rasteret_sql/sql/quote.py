"""The only way a name or a value gets into generated SQL."""

from __future__ import annotations

from collections.abc import Iterable

from rasteret_sql.errors import InvalidArgument


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
    return ".".join(ident(part) for part in name_parts(name))


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
        raise InvalidArgument(f"{name!r} is no name of a table")
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
