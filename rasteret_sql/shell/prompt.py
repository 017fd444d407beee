"""The prompt: a statement may have many lines, and ends with a semicolon."""

from __future__ import annotations

import sys

import duckdb
from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.filters import completion_is_selected
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.shortcuts import CompleteStyle

from rasteret_sql import __version__
from rasteret_sql.errors import RasteretError
from rasteret_sql.shell.commands import run_command
from rasteret_sql.shell.completion import SqlCompleter
from rasteret_sql.shell.highlight import STYLE, SqlLexer
from rasteret_sql.shell.history import open_history
from rasteret_sql.shell.interpreter import Interpreter, Left
from rasteret_sql.shell.names import OURS, Names, look
from rasteret_sql.shell.running import Stopped
from rasteret_sql.shell.session import Session
from rasteret_sql.shell.tokens import cut, is_blank

PROMPT, MORE = "rasteret> ", "       …> "


def interact(session: Session, database: str | None) -> None:
    """Ask, run, show, until the user leaves."""
    shell = Interpreter(session, run_command, interactive=True)
    prompt = _Prompt(session)
    where = "a database in memory" if database is None else database
    shell.say(f"rasteret-sql {__version__}, DuckDB {duckdb.__version__}, {where}.\nStatements end with ;  Tab completes, .help helps, .quit leaves.")
    try:
        while True:
            try:
                text = prompt.ask()
            except KeyboardInterrupt:  # what was typed is gone, the shell is not
                continue
            except EOFError:
                break
            _do(shell, text)
            prompt.forget()
    except Left:
        pass
    finally:
        shell.close()


def _do(shell: Interpreter, text: str) -> None:
    """One entry; what goes wrong is said."""
    if is_blank(text):
        return
    try:
        shell.lines(f"{text}\n".splitlines(keepends=True))
    except (Stopped, KeyboardInterrupt):  # while a statement ran; between two
        shell.say("interrupted")
    except RasteretError as error:
        sys.stdout.flush()
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
    except OSError as error:  # the file of .output: a full disk
        sys.stderr.write(f"{error.strerror or error}\n")


class _Prompt:
    """prompt_toolkit's session with our history, completion and colours."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._keywords, self._builtins = look(session)
        self._names: Names | None = None
        functions = frozenset({*OURS, *self._builtins})
        self._prompt: PromptSession[str] = PromptSession(
            multiline=True,
            key_bindings=_bindings(),
            history=open_history(),
            auto_suggest=AutoSuggestFromHistory(),
            completer=SqlCompleter(self.names),
            complete_while_typing=False,
            complete_style=CompleteStyle.MULTI_COLUMN,
            lexer=SqlLexer(frozenset(self._keywords), functions),
            style=STYLE,
            prompt_continuation=MORE,
            enable_history_search=True,
        )

    def names(self) -> Names:
        """As they were when they were first asked for since the last statement."""
        if self._names is None:
            self._names = Names(self._session, self._keywords, self._builtins)
        return self._names

    def forget(self) -> None:
        """A statement may have changed what there is."""
        self._names = None

    def ask(self) -> str:
        return self._prompt.prompt(PROMPT)


def is_complete(text: str) -> bool:
    """Does Enter run it? A dot command, nothing at all, or statements of which the last has its semicolon."""
    if text.lstrip().startswith(".") or is_blank(text):
        return True
    statements, rest = cut(text)
    return bool(statements) and is_blank(rest)


def _bindings() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter", filter=~completion_is_selected)
    def _enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if is_complete(buffer.text):
            buffer.validate_and_handle()
        else:
            buffer.newline(copy_margin=True)

    @keys.add("enter", filter=completion_is_selected)
    def _take(event: KeyPressEvent) -> None:
        event.current_buffer.complete_state = None

    return keys
