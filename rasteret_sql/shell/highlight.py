"""Colours while typing."""

from __future__ import annotations

from collections.abc import Callable, Container

from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.lexers import Lexer
from prompt_toolkit.styles import Style

from rasteret_sql.shell.tokens import Token, tokens

STYLE = Style.from_dict(
    {
        "sql.keyword": "ansiblue bold",
        "sql.function": "ansicyan",
        "sql.string": "ansigreen",
        "sql.number": "ansimagenta",
        "sql.comment": "ansibrightblack italic",
        "sql.command": "ansiyellow bold",
        "prompt": "bold",
    }
)


class SqlLexer(Lexer):
    """Keywords as this DuckDB knows them, our functions, texts, numbers, comments."""

    def __init__(self, keywords: Container[str], functions: Container[str]) -> None:
        """Both in small letters."""
        self._keywords = keywords
        self._functions = functions

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        text = document.text
        if text.lstrip().startswith("."):
            return lambda number: [("class:sql.command", document.lines[number])]
        lines: list[StyleAndTextTuples] = [[]]
        position = 0
        for token in tokens(text):
            _add(lines, "", text[position : token.start])
            _add(lines, self._style(token), token.text)
            position = token.end
        _add(lines, "", text[position:])
        return lambda number: lines[number] if number < len(lines) else []

    def _style(self, token: Token) -> str:
        match token.kind:
            case "word" if token.text.lower() in self._functions:
                return "class:sql.function"
            case "word" if token.text.lower() in self._keywords:
                return "class:sql.keyword"
            case "string" | "number" | "comment":
                return f"class:sql.{token.kind}"
        return ""


def _add(lines: list[StyleAndTextTuples], style: str, text: str) -> None:
    first, *others = text.split("\n")
    if first:
        lines[-1].append((style, first))
    lines.extend([(style, other)] if other else [] for other in others)
