"""SQL text as tokens, as far as finding the ends of statements, completing and colouring need it. Nothing is parsed: DuckDB does that."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["word", "quoted", "string", "number", "comment", "symbol"]


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of text; blanks are no tokens."""

    kind: Kind
    text: str
    start: int
    closed: bool = True
    """False for a text, name or comment that the end of the input cut off."""

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def name(self) -> str:
        """The name that a word or quoted word means."""
        return self.text.strip('"').replace('""', '"') if self.kind == "quoted" else self.text


_PATTERN = re.compile(
    r"""(?P<blank>\s+)
    |(?P<comment>--[^\n]*)
    |(?P<open_comment>/\*)
    |(?P<string>[eE]'(?:[^'\\]|''|\\.)*+'|'(?:[^']|'')*+')
    |(?P<open_string>[eE]?'.*)
    |(?P<quoted>"(?:[^"]|"")*+")
    |(?P<open_quoted>".*)
    |(?P<dollar>\$(?:[A-Za-z_]\w*)?\$)
    |(?P<number>\d[\w.]*|\.\d\w*)
    |(?P<word>[^\W\d][\w$]*)
    |(?P<symbol>:=|::|->|.)""",
    re.VERBOSE | re.DOTALL,
)


def tokens(text: str) -> Iterator[Token]:
    """All tokens of a text, which may end anywhere."""
    position = 0
    while position < len(text):
        found = _PATTERN.match(text, position)
        if found is None:  # pragma: no cover - the last branch takes any character
            raise AssertionError(position)
        token = _token(found, text)
        position = found.end() if token is None else token.end
        if token is not None:
            yield token


def _token(found: re.Match[str], text: str) -> Token | None:
    kind, start, said = found.lastgroup or "", found.start(), found.group()
    if kind == "blank":
        return None
    if kind == "open_comment":
        end, closed = _comment_end(text, start)
        return Token("comment", text[start:end], start, closed)
    if kind == "dollar":
        end = text.find(said, found.end())
        return Token("string", text[start : len(text) if end < 0 else end + len(said)], start, end >= 0)
    return Token(_KINDS[kind], said, start, not kind.startswith("open_"))


_KINDS: Mapping[str, Kind] = {
    "comment": "comment",
    "string": "string",
    "open_string": "string",
    "quoted": "quoted",
    "open_quoted": "quoted",
    "number": "number",
    "word": "word",
    "symbol": "symbol",
}


def _comment_end(text: str, start: int) -> tuple[int, bool]:
    """Comments nest, as in PostgreSQL's grammar, from which DuckDB's lexer comes."""
    depth = 0
    for mark in re.compile(r"/\*|\*/").finditer(text, start):
        depth += 1 if mark.group() == "/*" else -1
        if depth == 0:
            return mark.end(), True
    return len(text), False


def cut(text: str) -> tuple[list[str], str]:
    """(complete statements without their semicolons, what follows the last semicolon). Statements of nothing but comments are left out."""
    statements: list[str] = []
    begin, any_token = 0, False
    for token in tokens(text):
        if token.kind == "symbol" and token.text == ";":
            if any_token:
                statements.append(text[begin : token.start].strip())
            begin, any_token = token.end, False
        elif token.kind != "comment":
            any_token = True
    return statements, text[begin:]


def is_blank(text: str) -> bool:
    """Nothing but blanks and comments that are closed?"""
    return all(token.kind == "comment" and token.closed for token in tokens(text))
