"""Statements for scripts: all are run, and the rows of the last one that has any are written in one format."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rasteret_sql.errors import InvalidArgument
from rasteret_sql.progress import hidden
from rasteret_sql.shell.files import BYTES, written_aside
from rasteret_sql.shell.results import MODES, terminal_shape
from rasteret_sql.shell.running import Stopped, stoppable
from rasteret_sql.shell.session import Answer, Session
from rasteret_sql.shell.tokens import cut, is_blank


@dataclass(frozen=True, slots=True)
class Request:
    """What ``rasteret-sql query`` was asked."""

    text: str
    format: str
    """A name of :data:`~rasteret_sql.shell.results.MODES` or :data:`~rasteret_sql.shell.files.BYTES`."""
    output: Path | None
    """None for stdout."""
    database: str | None
    read_only: bool
    workspace: str | None
    max_rows: int


def run_query(request: Request) -> None:
    """Raises :class:`RasteretError` at the first statement that fails, KeyboardInterrupt after Ctrl-C; then nothing is written."""
    complete, rest = cut(request.text)
    statements = [*complete, *([] if is_blank(rest) else [rest.strip()])]
    if not statements:
        raise InvalidArgument("there is no statement in what was given")
    session = Session(request.database, read_only=request.read_only, workspace=request.workspace)
    try:
        if request.format in MODES:
            session.texts_keep_all()
        stoppable(lambda: _all(session, statements, request), session.interrupt)
    except Stopped:
        raise KeyboardInterrupt from None
    finally:
        session.close()


def _all(session: Session, statements: list[str], request: Request) -> None:
    wanted = max((number for number, sql in enumerate(statements) if session.has_rows(sql)), default=-1)
    for number, sql in enumerate(statements):
        answer = session.answer(sql)
        if answer is None:
            continue
        if number == wanted:
            _write(answer, request)
        else:
            for _ in answer.batches:  # DuckDB runs a statement while its rows are fetched
                pass


def _write(answer: Answer, request: Request) -> None:
    with _destination(request.output) as out:
        if request.format in BYTES:
            BYTES[request.format](answer, out)
            return
        text = io.TextIOWrapper(out, encoding="utf-8", newline="\n", write_through=True)
        buffered = text if request.output is not None else sys.stdout
        streaming = request.output is None and request.format != "table" and sys.stdout.isatty()
        try:
            with hidden() if streaming else nullcontext():  # the line of progress would come between the rows
                MODES[request.format](answer, buffered, terminal_shape(request.max_rows))
                buffered.flush()
        finally:
            text.detach()


@contextmanager
def _destination(path: Path | None) -> Iterator[BinaryIO]:
    if path is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with written_aside(path) as out:
        yield out
