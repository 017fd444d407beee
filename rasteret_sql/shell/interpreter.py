"""Statements and dot commands, one after the other: what the prompt, scripts and files of statements are made of."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import TextIO

from rasteret_sql.errors import InvalidArgument, RasteretError
from rasteret_sql.progress import hidden
from rasteret_sql.shell import costs
from rasteret_sql.shell.results import MODES, Shape, terminal_shape
from rasteret_sql.shell.running import Stopped, stoppable
from rasteret_sql.shell.session import Session
from rasteret_sql.shell.tokens import cut, is_blank
from rasteret_sql.shell.wording import StatementFailed

Command = Callable[["Interpreter", list[str]], None]
_DEEPEST = 20
"""Of files that read files."""


class Left(Exception):
    """The user is done."""


class Interpreter:
    """What the shell knows between statements: where results go and how they look."""

    def __init__(self, session: Session, commands: Callable[[Interpreter, str], None], *, interactive: bool) -> None:
        """``commands`` does a line that begins with a dot."""
        self.session = session
        self.interactive = interactive
        self.mode = "table"
        self.timer = False
        self.max_rows = 40
        self.last_cost = ""
        self.last_reads = session.reads
        self._commands = commands
        self._out: TextIO | None = None
        self._depth = 0
        session.texts_keep_all()

    @property
    def out(self) -> TextIO:
        """Where results go."""
        return self._out or sys.stdout

    @property
    def shape(self) -> Shape:
        return terminal_shape(self.max_rows)

    def send_to(self, path: str | None) -> None:
        """Results go to a file from now on, or to the terminal again."""
        opened = None if path is None else Path(path).expanduser().open("w", encoding="utf-8", newline="")
        self.close()
        self._out = opened

    def close(self) -> None:
        """The file of ``.output`` is complete."""
        if self._out is not None:
            self._out.close()
            self._out = None

    def say(self, text: str) -> None:
        """To the user, never into results: stdout of a terminal, stderr of a script."""
        stream = sys.stdout if self.interactive else sys.stderr
        stream.write(f"{text}\n")
        stream.flush()

    def statement(self, sql: str) -> None:
        """Run it and write its result. Raises :class:`RasteretError`, or :class:`Stopped` after Ctrl-C."""
        began = time.monotonic()
        try:
            stoppable(lambda: self._answer(sql), self.session.interrupt)
        finally:
            self.session.note_reads()
            self.last_reads = self.session.reads
            self.last_cost = costs.line(time.monotonic() - began, self.last_reads)
        if self.timer or (self.interactive and self.last_reads):
            self.say(self.last_cost)

    def look(self, sql: str) -> None:
        """Run a statement of a command: what the user's last statement read stays known."""
        stoppable(lambda: self._answer(sql), self.session.interrupt)

    def _answer(self, sql: str) -> None:
        answer = self.session.answer(sql)
        if answer is not None:
            out = self.out
            with hidden() if self.interactive and self.mode != "table" and self._out is None else nullcontext():
                MODES[self.mode](answer, out, self.shape)
            out.flush()

    def command(self, line: str) -> None:
        """Do a dot command. Raises :class:`RasteretError`, :class:`Left`."""
        self._commands(self, line)

    def file(self, path: str) -> None:
        """Do all that a file holds; stops at its first error, which names the line where the statement begins."""
        place = Path(path).expanduser()
        if self._depth >= _DEEPEST:
            raise InvalidArgument(f"{path}: files that read files end after {_DEEPEST}")
        self._depth += 1
        try:
            with place.open(encoding="utf-8-sig") as lines:
                self.lines(lines, str(place))
        except UnicodeDecodeError:
            raise InvalidArgument(f"{place} is no text in UTF-8") from None
        finally:
            self._depth -= 1

    def lines(self, lines: Iterable[str], source: str = "") -> None:
        """Statements as they become complete, and dot commands on lines of their own; the last statement needs no semicolon."""
        rest, began = "", 1
        for number, line in enumerate(lines, start=1):
            if is_blank(rest):
                rest, began = "", number
                if line.lstrip().startswith("."):
                    self._named(line.strip(), source, number, self.command)
                    continue
            rest += line
            if ";" in line:
                complete, rest = cut(rest)
                for sql in complete:
                    self._named(sql, source, began, self.statement)
                began = number
        if not is_blank(rest):
            self._named(rest.strip(), source, began, self.statement)

    def _named(self, text: str, source: str, number: int, do: Callable[[str], None]) -> None:
        try:
            do(text)
        except RasteretError as error:
            if not source or re.match(r".+:\d+: ", str(error)):
                raise
            if isinstance(error, StatementFailed):
                raise StatementFailed(f"{source}:{number}: {error.message}", error.place) from None
            raise RasteretError(f"{source}:{number}: {error}") from None


def run_script(interpreter: Interpreter, lines: Iterable[str]) -> None:
    """All of a script; ``.quit`` ends it. Raises at the first error, and KeyboardInterrupt after Ctrl-C."""
    try:
        interpreter.lines(lines)
    except Left:
        pass
    except Stopped:
        raise KeyboardInterrupt from None
    finally:
        interpreter.close()
