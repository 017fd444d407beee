"""``expressions`` and ``mask``: SQL scalar expressions over band names, checked to be just that.

What is valid: names of bands, numbers, true, false, NULL, ``+ - * / // % ** & | ~ << >>``, comparisons, AND, OR, NOT, IN, BETWEEN,
IS NULL, CASE, coalesce, nullif, casts to numbers, and DuckDB's functions of numbers. The text goes into statements only as written anew
by :mod:`rasteret_sql.sql.syntax` from the checked parse tree. DuckDB types and evaluates it, so promotion, overflow, NULL and division
are DuckDB's: ``/`` of integers is a DOUBLE, ``//`` whole; ``UTINYINT - UTINYINT`` below zero is an error, as it is in a table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import duckdb

from rasteret_sql.errors import InvalidArgument, listing, near
from rasteret_sql.sql import quote, sandbox
from rasteret_sql.sql.syntax import MOST_DEEP, Writer, tree

MASK = "mask"
"""The name of a mask's expression."""
MOST_CHARACTERS = 10_000


@dataclass(frozen=True, slots=True)
class Expression:
    """One checked expression."""

    name: str
    sql: str
    """Written from the checked tree, in parentheses: safe inside other SQL."""
    bands: tuple[str, ...]
    """The bands it names, as the collection spells them, in order of first use."""
    text: str = field(default="", compare=False)
    """As the user wrote it, for messages."""


def parse_expression(argument: str, name: str, text: str, bands: Sequence[str] | None) -> Expression:
    """Checks one expression. Without ``bands`` (of a relation, unknown before it runs) every plain name counts as a band.

    Raises InvalidArgument, or BandNotFound for a name that is no band; one line that starts with ``argument``.
    """
    if not isinstance(text, str) or not text.strip():
        raise InvalidArgument(f"{argument}: a SQL expression in quotes is valid, such as '(B08 - B04) / (B08 + B04)'")
    if len(text) > MOST_CHARACTERS:
        raise InvalidArgument(f"{argument}: {len(text)} characters; at most {MOST_CHARACTERS} are valid")
    if _brackets(text) > MOST_DEEP:  # DuckDB 2.0's parser takes a time that grows with the square of these
        raise InvalidArgument(f"{argument}: nested deeper than {MOST_DEEP}")
    writer = Writer(argument, bands)
    sql = _written(writer, f"({text}\n)")
    if _written(Writer(argument, bands), f"{text}\n") != sql:  # `a) IN (b` is one only within parentheses
        raise InvalidArgument(f"{argument}: does not parse alone; a single scalar expression over bands is valid")
    if not writer.used:
        raise InvalidArgument(f"{argument}: names no band" + ("" if bands is None else f"; bands: {listing(bands)}"))
    if _written(Writer(argument, bands), sql) != sql:
        raise InvalidArgument(f"{argument}: cannot be written as SQL again; simplify it")
    return Expression(name, sql, tuple(writer.used.values()), text)


def parse_expressions(value: Mapping[str, str], bands: Sequence[str] | None) -> tuple[Expression, ...]:
    """``expressions := {'ndvi': '(B08 - B04) / (B08 + B04)', …}``, in their order."""
    for name in value:
        if not name.strip() or "\0" in name:
            raise InvalidArgument(f"expressions: {name!r} is no name for a column")
    check_names(value, ())
    return tuple(parse_expression(label(name), name, text, bands) for name, text in value.items())


def parse_mask(text: str, bands: Sequence[str] | None) -> Expression:
    """``mask := 'SCL IN (4, 5, 6)'``."""
    return parse_expression(MASK, MASK, text, bands)


def check_names(names: Sequence[str] | Mapping[str, str], bands: Sequence[str]) -> None:
    """No two expressions of one name, and none named like a band that is asked for (``bands``): names in SQL do not tell case apart."""
    taken = {band.lower(): f"the band {band!r}" for band in bands}
    for name in names:
        if name.lower() in taken:
            raise InvalidArgument(f"{label(name)}: {taken[name.lower()]} has this name already; choose another")
        taken[name.lower()] = f"the expression {name!r}"


def result_type(expression: Expression, types: Mapping[str, str]) -> str:
    """The SQL type of the result, where the bands have these SQL types; for DuckDB alone decides it."""
    argument = MASK if expression.name == MASK else label(expression.name)
    if missing := [band for band in expression.bands if band not in types]:
        raise InvalidArgument(f"{argument}: no band {missing[0]!r}{near(missing[0], types)}; bands: {listing(types)}")
    columns = tuple((band, types[band]) for band in expression.bands)
    try:
        return bound_type(expression.sql, columns)
    except duckdb.Error as error:
        raise InvalidArgument(f"{argument}: {sandbox.reason(error)}") from None


def check_numeric(expression: Expression, types: Mapping[str, str]) -> None:
    """An expression must give a number."""
    found = result_type(expression, types)
    if not is_number(found):
        raise InvalidArgument(f"{label(expression.name)} gives {found}; a number is valid")


def check_boolean(expression: Expression, types: Mapping[str, str]) -> None:
    """A mask must give a condition."""
    found = result_type(expression, types)
    if found != "BOOLEAN":
        raise InvalidArgument(f"{MASK} := {(expression.text or expression.sql)!r} gives {found}; a condition (BOOLEAN) is valid")


def label(name: str) -> str:
    """How messages call the expression of this name."""
    return f"expressions.{' '.join(name.split())}"


def is_number(kind: str) -> bool:
    return kind.partition("(")[0] in sandbox.NUMBERS


@lru_cache(maxsize=512)
def bound_type(sql: str, columns: tuple[tuple[str, str], ...]) -> str:
    """The type DuckDB binds checked text to over columns (name, SQL type). Raises duckdb.Error."""
    typed = quote.listed(f"CAST(NULL AS {sql_type(kind)}) AS {quote.ident(name)}" for name, kind in columns)
    (row,) = sandbox.connection().execute(f"DESCRIBE SELECT {sql} AS value FROM (SELECT {typed})").fetchall()
    return str(row[1])


def sql_type(kind: str) -> str:
    """A type's name, checked to be one."""
    base, bracket, rest = kind.partition("(")
    known = sandbox.type_names().get(base.strip().lower())
    if known is None or (bracket and not re.fullmatch(r"\d{1,2}\s*(,\s*\d{1,2}\s*)?\)", rest)):
        raise InvalidArgument(f"bands of type {kind!r} cannot be used in expressions; numbers can")
    return known + bracket + rest


def _written(writer: Writer, text: str) -> str:
    return f"({writer.write(tree(writer.argument, f'SELECT {text}'))})"


def _brackets(text: str) -> int:
    """How deep opening brackets pile up, at least; quotes are not looked at."""
    depth = deepest = 0
    for character in text:
        if character in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]}":
            depth -= 1
    return deepest
