"""DuckDB's errors as people read them: one line, and the place in the statement where DuckDB names one."""

from __future__ import annotations

import re

from rasteret_sql import errors
from rasteret_sql.errors import RasteretError, one_line, presentable

LONGEST = 2000
_STACK = re.compile(r"\n+(At:\n|Stack Trace:)")
_PLACE = re.compile(r"\n+(?=LINE \d+: )")
_WRAPPER = re.compile(r"^[A-Z][A-Za-z ]* Error: Python exception occurred while executing the UDF: (?:(\w+): )?")
_OURS = re.compile(r"^(?:[A-Z][A-Za-z ]* Error: )(?=rasteret_\w+: )")
_OWN_CLASSES = frozenset(name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, RasteretError))


class StatementFailed(RasteretError):
    """A statement that could not be run: a message of one line, and where DuckDB shows the place, its line and the mark below."""

    def __init__(self, message: str, place: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.place = place

    def __str__(self) -> str:
        return f"{super().__str__()}\n\n{self.place}" if self.place else super().__str__()


def plain(error: str, statement: str) -> StatementFailed:
    """A DuckDB error without the wrappers and stacks of functions; with its place, where that lies in ``statement``.

    What functions of ours raise has no place: DuckDB knows only that it was in the call.
    """
    text = _STACK.split(error.strip(), maxsplit=1)[0]
    head, *places = _PLACE.split(text, maxsplit=1)
    wrapped = _WRAPPER.match(head)
    if wrapped:
        name = wrapped.group(1)
        return StatementFailed(one_line(head[wrapped.end() :] if name in _OWN_CLASSES or not name else head[wrapped.start(1) :], LONGEST))
    if _OURS.match(head):
        return StatementFailed(one_line(_OURS.sub("", head), LONGEST))
    return StatementFailed(one_line(head, LONGEST), places[0].rstrip() if places and _is_in(places[0], statement) else "")


def _is_in(place: str, statement: str) -> bool:
    """Is the line one that the user wrote (our functions are macros: a place may lie in the text that they stand for), and may it be shown?"""
    shown = place.split("\n", 1)[0].partition(": ")[2].strip().removeprefix("...").removesuffix("...")
    return bool(shown) and shown in statement and presentable(shown) == shown
