"""Results on stdout: JSON for programs, aligned tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

_WIDEST = 60
"""Cells of lists of things are cut at this; a thing shown alone is shown whole."""


def write_json(value: Any) -> None:
    """Times as ISO texts; one document, and a line's end."""
    sys.stdout.write(f"{json.dumps(value, indent=2, ensure_ascii=False, default=str)}\n")


def write_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], *, none: str) -> None:
    """A row per thing, numbers to the right; ``none`` is said where there are no rows."""
    if not rows:
        sys.stdout.write(f"{none}\n")
        return
    cells = [[_cut(shown(row.get(column))) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    right = [all(isinstance(row.get(column), int | float | None) for row in rows) for column in columns]
    for line in (columns, ["─" * width for width in widths], *cells):
        padded = [cell.rjust(width) if at_right else cell.ljust(width) for cell, width, at_right in zip(line, widths, right, strict=True)]
        sys.stdout.write(f"{'  '.join(padded).rstrip()}\n")


def write_facts(facts: Mapping[str, Any]) -> None:
    """One thing: a line per fact that is known."""
    known = {name: shown(value) for name, value in facts.items() if value not in (None, "", [], (), {})}
    width = max(map(len, known))
    for name, text in known.items():
        sys.stdout.write(f"{name.ljust(width)}  {text}\n")


def shown(value: Any) -> str:
    """A value as people read it."""
    match value:
        case None:
            text = ""
        case bool():
            text = "yes" if value else "no"
        case int():
            text = f"{value:,}"
        case float():
            text = f"{value:.6g}"
        case dict():
            text = ", ".join(f"{key}={shown(item)}" for key, item in value.items())
        case list() | tuple():
            text = ", ".join(map(_item, value))
        case _:
            text = str(value)
    return text


def _item(value: Any) -> str:
    """In a list: without thousands separators, which would look like more items."""
    return str(value) if isinstance(value, int) else shown(value)


def size(number: int | None) -> str:
    """Bytes as people read them."""
    if number is None:
        return ""
    amount, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.3g} {unit}" if unit != "B" else f"{number} B"


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"
