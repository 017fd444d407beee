"""Where in a statement the cursor is: in which call, which argument, which list, within a text or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rasteret_sql.shell.tokens import Token, tokens

_OPENING, _CLOSING = "([{", ")]}"
_RELATION_WORDS = frozenset({"from", "join", "into", "table", "update", "describe", "summarize", "show", "using", "view"})
_ENDS_RELATIONS = frozenset(
    {"select", "where", "group", "order", "having", "limit", "on", "set", "values", "qualify", "window", "union", "as", "and", "or", "by"}
)


@dataclass(slots=True)
class Call:
    """A call whose parenthesis is open."""

    name: str
    position: int = 0
    """Of the argument that the cursor is in."""
    argument: str | None = None
    """Its name, where ``name :=`` was said."""
    given: set[str] = field(default_factory=set)
    first: str = ""
    """The first argument: what a text says, or a name."""
    begun: bool = False
    """Has anything been typed of the argument?"""


@dataclass(frozen=True, slots=True)
class Context:
    """What completing needs to know."""

    prefix: str
    """The word, or the text within quotes, that ends at the cursor."""
    quote: str = ""
    """``'`` or ``"`` where the cursor is within them."""
    call: Call | None = None
    """The innermost call; that of a list or struct within its arguments too."""
    qualifier: str | None = None
    """``a`` of ``a.b``."""
    wants_relation: bool = False
    """After FROM and the like."""
    relations: tuple[str, ...] = ()
    """Names that follow FROM and JOIN in the statement."""
    aliases: tuple[tuple[str, str], ...] = ()
    """(alias, relation)."""
    in_comment: bool = False


def context_at(text: str, after: str = "") -> Context:
    """The context at the end of ``text``; ``after`` is what follows the cursor, where relations may be named too."""
    found = list(tokens(text))
    last = found[-1] if found else None
    if last is not None and last.kind == "comment" and (not last.closed or (last.text.startswith("--") and last.end == len(text))):
        return Context("", in_comment=True)
    prefix, quote, before = _typed(found, len(text))
    statement = _since_semicolon(before)
    whole = [*statement, *_until_semicolon(list(tokens(text[len(text) - len(prefix) :] + after)))]
    relations, aliases = _relations(whole)
    qualifier = statement[-2].name if len(statement) > 1 and statement[-1].text == "." and statement[-2].kind in {"word", "quoted"} else None
    return Context(prefix, quote, _innermost(statement), qualifier, _wants_relation(statement), relations, aliases)


def _typed(found: Sequence[Token], end: int) -> tuple[str, str, Sequence[Token]]:
    """(what is being typed, the quote it is in, the tokens before it)."""
    if not found or found[-1].end < end:
        return "", "", found
    last = found[-1]
    if not last.closed and last.kind in {"string", "quoted"} and last.text[0] in "'\"":
        return last.text[1:], last.text[0], found[:-1]
    if last.kind == "word":
        return last.text, "", found[:-1]
    return "", "", found


def _since_semicolon(found: Sequence[Token]) -> list[Token]:
    kept: list[Token] = []
    for token in found:
        if token.kind == "symbol" and token.text == ";":
            kept = []
        elif token.kind != "comment":
            kept.append(token)
    return kept


def _until_semicolon(found: Sequence[Token]) -> list[Token]:
    ends = [number for number, token in enumerate(found) if token.text == ";" and token.kind == "symbol"]
    return [token for token in found[: ends[0] if ends else len(found)] if token.kind != "comment"]


def _innermost(statement: Sequence[Token]) -> Call | None:
    """The innermost open call of a named function; brackets and braces belong to its argument."""
    open_: list[Call | None] = []
    for number, token in enumerate(statement):
        call = next((each for each in reversed(open_) if each is not None), None)
        if token.kind == "symbol" and token.text in _OPENING:
            if call is not None:
                call.begun = True
            named = number > 0 and token.text == "(" and statement[number - 1].kind in {"word", "quoted"}
            open_.append(Call(statement[number - 1].name.lower()) if named else None)
        elif token.kind == "symbol" and token.text in _CLOSING:
            if open_:
                open_.pop()
        elif call is not None:
            _follow(call, token, statement, number, directly=open_[-1] is call)
    return next((each for each in reversed(open_) if each is not None), None)


def _follow(call: Call, token: Token, statement: Sequence[Token], number: int, *, directly: bool) -> None:
    if directly and token.text == ",":
        call.position, call.argument, call.begun = call.position + 1, None, False
    elif directly and token.text == ":=":
        call.argument = statement[number - 1].name.lower()
        call.given.add(call.argument)
    else:
        call.begun = True
        if call.position == 0 and directly and token.kind in {"word", "quoted", "string"}:
            call.first = token.text[1:-1].replace("''", "'") if token.kind == "string" else call.first + token.name
        elif call.position == 0 and directly and token.text == ".":
            call.first += "."


def _wants_relation(statement: Sequence[Token]) -> bool:
    """Is a relation's name expected? After FROM, JOIN, …, and after a comma of such a list."""
    depth = 0
    for number in range(len(statement) - 1, -1, -1):
        token = statement[number]
        if token.kind == "symbol" and token.text in _CLOSING:
            depth += 1
        elif token.kind == "symbol" and token.text in _OPENING:
            depth -= 1
            if depth < 0:
                return False
        elif depth == 0 and token.kind == "word":
            if token.text.lower() in _RELATION_WORDS:
                return number == len(statement) - 1 or statement[-1].text == ","
            if token.text.lower() in _ENDS_RELATIONS:
                return False
    return False


def _relations(statement: Sequence[Token]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Names after FROM and JOIN, and what they are called; calls count by their arguments that are names."""
    relations: list[str] = []
    aliases: list[tuple[str, str]] = []
    expecting = False
    for number, token in enumerate(statement):
        if token.kind == "word" and token.text.lower() in {"from", "join", "update", "into"}:
            expecting = True
        elif expecting and token.kind in {"word", "quoted"}:
            expecting = False
            end, names = _relation_at(statement, number)
            relations += names
            alias = _alias_at(statement, end)
            if alias and names:
                aliases.append((alias, names[-1]))
        elif token.text == "," and number and relations and statement[number - 1].name in {relations[-1], *(alias for alias, _ in aliases)}:
            expecting = True
    return tuple(dict.fromkeys(relations)), tuple(aliases)


def _relation_at(statement: Sequence[Token], number: int) -> tuple[int, list[str]]:
    """(position after it, its name; of a call the names among its arguments)."""
    name, end = statement[number].name, number + 1
    while end + 1 < len(statement) and statement[end].text == "." and statement[end + 1].kind in {"word", "quoted"}:
        name, end = statement[end + 1].name, end + 2
    if end >= len(statement) or statement[end].text != "(":
        return end, [name]
    depth, inside = 0, []
    while end < len(statement):
        token = statement[end]
        depth += (token.text in _OPENING) - (token.text in _CLOSING) if token.kind == "symbol" else 0
        if depth == 1 and token.kind in {"word", "quoted"} and (end + 1 >= len(statement) or statement[end + 1].text != ":="):
            inside.append(token.name)
        end += 1
        if depth == 0:
            break
    return end, inside


def _alias_at(statement: Sequence[Token], end: int) -> str | None:
    if end < len(statement) and statement[end].text.lower() == "as":
        end += 1
    if end < len(statement) and statement[end].kind in {"word", "quoted"} and statement[end].text.lower() not in _ENDS_RELATIONS | {"join", "using"}:
        return statement[end].name
    return None
