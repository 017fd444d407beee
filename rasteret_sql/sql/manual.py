"""The descriptions of all functions together, and ``rasteret_help()``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rasteret_sql.errors import InvalidArgument, listing, near
from rasteret_sql.sql.arguments import Arguments, shown
from rasteret_sql.sql.described import Argument, Column, Description
from rasteret_sql.sql.described_builds import BUILDS, LOOKS
from rasteret_sql.sql.described_reads import READS, SCALARS
from rasteret_sql.sql.quote import listed, text

GROUPS: Mapping[str, Mapping[str, Description]] = {"Looking around": LOOKS, "Building": BUILDS, "Reading": READS, "Scalar forms": SCALARS}
"""Of the reference, in the order of a day's work."""
DESCRIPTIONS: Mapping[tuple[str, str], Description] = {
    (name, "scalar" if group is SCALARS else "table"): description for group in GROUPS.values() for name, description in group.items()
}
"""By name and kind."""

Row = tuple[str, str, str, str | None, str | None, str | None, str]


def plan_help(arguments: Arguments) -> str:
    """``rasteret_help``: the descriptions as rows. Raises InvalidArgument for a name that no function has."""
    asked = arguments.get("function")
    names = sorted({name for name, _ in DESCRIPTIONS})
    if asked is not None and asked not in names:
        raise InvalidArgument(f"function := {shown(asked)} is none{near(str(asked), names)}; functions: {listing(names)}")
    rows = [row for (name, kind), found in DESCRIPTIONS.items() if asked in (None, name) for row in _rows(name, kind, found)]
    values = listed(f"({listed('NULL' if part is None else text(part) for part in row)})" for row in rows)
    return f'SELECT * FROM (VALUES {values}) AS h(function, kind, part, name, type, "default", help)'


def _rows(name: str, kind: str, found: Description) -> Iterator[Row]:
    yield name, kind, "about", None, None, None, found.about
    for argument, said in found.arguments.items():
        yield name, kind, "argument", argument, said.type, said.default or None, meaning(said)
    for column in found.columns:
        yield name, kind, "column", column.name or None, column.type, None, measured(column)
    yield name, kind, "example", None, None, None, found.example


def meaning(argument: Argument) -> str:
    """What an argument means, with the words that are valid."""
    return argument.help + (f": {', '.join(repr(word) for word in argument.choices)}" if argument.choices else "")


def measured(column: Column) -> str:
    """What a column means, with its unit."""
    return f"{column.help} [{column.unit}]" if column.unit else column.help
