"""``.help``: functions with their arguments and examples, from the functions' own descriptions."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from rasteret_sql.errors import InvalidArgument, listing, near
from rasteret_sql.sql.catalogue import TABLE_FUNCTIONS, scalar_functions
from rasteret_sql.sql.manual import DESCRIPTIONS, meaning


def overview() -> list[str]:
    """A line per function."""
    helps = {function.name: function.help for function in TABLE_FUNCTIONS}
    helps.update({function.name: function.help for function in scalar_functions({}, {}) if function.name not in helps})
    width = max(map(len, helps))
    return [f"{name.ljust(width)}  {helps[name].partition(';')[0]}" for name in helps]


def function(name: str, width: int = 100) -> str:
    """All about a function: signature, arguments, example. Raises InvalidArgument for a name that none has."""
    asked = name.lower().partition("(")[0]
    names = sorted({known for known, _ in DESCRIPTIONS})
    if asked not in names and f"rasteret_{asked}" in names:
        asked = f"rasteret_{asked}"
    if asked not in names:
        raise InvalidArgument(f"no function {name!r}{near(asked, names)}; functions: {listing(names)}")
    return "\n\n".join(_one(asked, kind, width) for known, kind in DESCRIPTIONS if known == asked)


def _one(name: str, kind: str, width: int) -> str:
    found = DESCRIPTIONS[name, kind]
    lines = [*_wrapped(signatures()[name, kind], width, "    "), ""]
    for paragraph in found.about.split("\n\n"):
        lines += [*_wrapped(_unmarked(paragraph), width), ""]
    if found.arguments:
        room = max(map(len, found.arguments))
        for argument, said in found.arguments.items():
            default = f" (default: {said.default})" if said.default else ""
            needed = " (needed)" if said.required else ""
            lines += _wrapped(f"{argument.ljust(room)}  {_unmarked(meaning(said))}{default}{needed}", width, " " * (room + 2))
        lines.append("")
    return "\n".join([*lines, "Example:", "", *found.example.splitlines()])


def signatures() -> dict[tuple[str, str], str]:
    """By name and kind, table and scalar."""
    return {(f.name, "table"): f.signature for f in TABLE_FUNCTIONS} | {(f.name, "scalar"): f.signature for f in scalar_functions({}, {})}


def _unmarked(markdown: str) -> str:
    """Without backquotes, and with the words of links alone."""
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", markdown).replace("`", "")


def _wrapped(line: str, width: int, later: str = "") -> Iterator[str]:
    yield from textwrap.wrap(line, max(40, min(width, 120)), subsequent_indent=later, break_long_words=False, break_on_hyphens=False) or [""]
