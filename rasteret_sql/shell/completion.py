"""Completing what is being typed, from where the cursor is and what there is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from rasteret_sql.raster.statistics import DEFINITIONS
from rasteret_sql.shell.commands import COMMANDS
from rasteret_sql.shell.context import Call, Context, context_at
from rasteret_sql.shell.names import OURS, Names, arguments_of
from rasteret_sql.shell.results import MODES
from rasteret_sql.sql.quote import ident

Found = Iterable[tuple[str, str]]
"""(what it completes to, what it is)."""
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COLLECTION, _TABLE = "collection", "table"
_BAND_ARGUMENTS = frozenset({"bands", "band"})
_FUNCTION_KINDS = {"table": "table function", "table_macro": "table function", "scalar": "function", "aggregate": "aggregate", "macro": "function"}


class SqlCompleter(Completer):
    """Dot commands, and SQL by its context."""

    def __init__(self, names: Callable[[], Names]) -> None:
        self._names = names

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        before = document.text_before_cursor
        if before.lstrip().startswith("."):
            yield from self._of_command(before.lstrip(), complete_event)
            return
        context = context_at(before, document.text_after_cursor)
        if context.in_comment:
            return
        seen: set[str] = set()
        for text, what in _candidates(context, self._names()):
            if text.lower().startswith(context.prefix.lower()) and text not in seen:
                seen.add(text)
                said = _written(text, what, context)
                yield Completion(said, start_position=-len(context.prefix), display=text, display_meta=what)

    def _of_command(self, line: str, event: CompleteEvent) -> Iterator[Completion]:
        words = line.split()
        typed = "" if line.endswith(" ") else words[-1]
        if len(words) == 1 and typed:
            found: Found = [(name, command.help) for name, command in COMMANDS.items()]
        elif words[0] in {".read", ".output"}:
            yield from PathCompleter(expanduser=True).get_completions(Document(typed), event)
            return
        else:
            found = self._arguments(words[0])
        for text, what in found:
            if text.startswith(typed):
                yield Completion(text, start_position=-len(typed), display_meta=what)

    def _arguments(self, command: str) -> Found:
        match command:
            case ".help":
                return [*OURS.items(), *((name, each.help) for name, each in COMMANDS.items())]
            case ".mode":
                return [(name, "") for name in MODES]
            case ".timer":
                return [("on", ""), ("off", "")]
            case ".bands":
                return [(name, _COLLECTION) for name in self._names().collections]
            case ".tables":
                return [(name, _TABLE) for name in self._names().tables]
        return []


def _written(text: str, what: str, context: Context) -> str:
    """As SQL: a name that needs quotes gets them, words keep the case in which they were begun."""
    if context.quote:
        return text.replace("'", "''") if context.quote == "'" else text
    if what == "keyword" and context.prefix.islower():
        return text.lower()
    if what in {_TABLE, _COLLECTION} or what.startswith("column"):
        return text if _PLAIN.fullmatch(text) else ident(text)
    return text


def _candidates(context: Context, names: Names) -> Iterator[tuple[str, str]]:
    call = context.call
    arguments = arguments_of(call.name) if call is not None else {}
    if context.quote == "'":
        if call is not None and arguments:
            yield from _texts(call, list(arguments), names)
        elif context.wants_relation:
            yield from ((name, _TABLE) for name in names.tables)
        return
    if context.qualifier is not None:
        yield from _members(context, names)
        return
    if context.quote:
        yield from _columns(context, names)
        yield from ((name, _TABLE) for name in names.tables)
        return
    if call is not None and arguments and (call.argument is None or not call.begun):
        yield from _in_call(call, list(arguments), names)
        if call.argument is None and (call.position < 2 or not call.begun):
            return
    if context.wants_relation:
        yield from _relations(names)
        return
    yield from _columns(context, names)
    yield from OURS.items()
    yield from ((name, _TABLE) for name in names.tables)
    yield from ((word.upper(), "keyword") for word in names.keywords)
    yield from ((name, _FUNCTION_KINDS.get(kind, kind)) for name, kind in names.builtins.items())


def _argument_name(call: Call, arguments: list[str]) -> str:
    """Of the argument that the cursor is in, by name or by its place."""
    return call.argument or (arguments[call.position] if call.position < len(arguments) else "")


def _texts(call: Call, arguments: list[str], names: Names) -> Iterator[tuple[str, str]]:
    """Within quotes in a call of ours."""
    name = _argument_name(call, arguments)
    described = arguments_of(call.name).get(name)
    if name in {_COLLECTION, "record"}:
        yield from ((each, _COLLECTION) for each in names.collections)
        yield from ((each, _TABLE) for each in names.tables)
    elif name in _BAND_ARGUMENTS:
        yield from ((band, "band") for band in names.bands(call.first))
    elif name in {"points", "geometries", "records"}:
        yield from ((each, _TABLE) for each in names.tables)
    elif name in {"stats", "stat"}:
        yield from ((each, "statistic") for each in DEFINITIONS)
    elif name in {"geometry", "x", "y", "time", "time_column"}:
        for table in names.tables.values():
            yield from ((column, f"column {kind}") for column, kind in table.items())
    elif described is not None and described.choices:
        yield from ((choice, name) for choice in described.choices)
    elif name in {"mask", "expressions", "band_map"}:
        yield from ((band, "band") for band in names.bands(call.first))


def _in_call(call: Call, arguments: list[str], names: Names) -> Iterator[tuple[str, str]]:
    """Outside of quotes in a call of ours: what the argument is, or the names of those that are not given yet."""
    name = _argument_name(call, arguments)
    described = arguments_of(call.name)
    if call.argument is None and call.position < 2 and described.get(name) is not None and described[name].required:
        if name == _COLLECTION:
            yield from ((each, _COLLECTION) for each in names.collections)
        yield from ((each, _TABLE) for each in names.tables)
        return
    if call.argument is None:
        for each, said in described.items():
            if (not said.required or each == "name") and each not in call.given:
                yield f"{each} := ", said.type
        return
    if call.argument in described and "BOOLEAN" in described[call.argument].type:
        yield from (("true", "BOOLEAN"), ("false", "BOOLEAN"))


def _relations(names: Names) -> Iterator[tuple[str, str]]:
    yield from ((name, _TABLE) for name in names.tables)
    yield from OURS.items()
    yield from ((name, "schema") for name in names.schemas)
    yield from ((name, "table function") for name, kind in names.builtins.items() if kind.startswith("table"))


def _members(context: Context, names: Names) -> Iterator[tuple[str, str]]:
    """After a dot: columns of a table or alias, tables of a schema, functions of our catalog."""
    name = dict(context.aliases).get(context.qualifier or "", context.qualifier or "")
    table: Mapping[str, str] | None = names.tables.get(name)
    if table is not None:
        yield from ((column, f"column {kind}") for column, kind in table.items())
    elif name in {"rasteret", "rasteret_sql"}:
        yield from ((function.removeprefix("rasteret_"), said) for function, said in OURS.items())
    elif name in names.schemas:
        yield from ((each, _TABLE) for each in names.tables)
        yield from ((each, "schema") for each in names.schemas if each != name)


def _columns(context: Context, names: Names) -> Iterator[tuple[str, str]]:
    """Of the relations that the statement names; of all while it names none."""
    named = [names.tables[name] for name in context.relations if name in names.tables]
    for table in named or names.tables.values():
        yield from ((column, f"column {kind}") for column, kind in table.items())
    for name in context.relations:
        yield from ((band, "column of a band") for band in names.bands(name) if name not in names.tables)
    yield from ((alias, "alias") for alias, _ in context.aliases)
