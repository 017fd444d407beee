"""A connection with all functions, and statements run on it as streams of Arrow batches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import duckdb
import pyarrow as pa

from rasteret_sql.collection.links import known_names
from rasteret_sql.errors import near
from rasteret_sql.reader.engine import ReadReport, engine
from rasteret_sql.settings import resolve_settings
from rasteret_sql.shell.tokens import tokens
from rasteret_sql.shell.wording import StatementFailed, plain
from rasteret_sql.sql.extension import connect
from rasteret_sql.sql.quote import text

Connection: TypeAlias = duckdb.DuckDBPyConnection

_ROWS, _ROWS_OF_LISTS = 8192, 64
"""Rows of a batch; few where a row may hold an image."""
_RELATIONS_STREAM = int(duckdb.__version__.split(".", maxsplit=1)[0]) >= 2
"""DuckDB 2 streams a relation and copies the result of ``execute``; DuckDB 1 streams ``execute`` and copies a relation."""
_NO_ROWS = (("Count",), ("Success",))
"""Columns of statements that answer with no rows of their own."""
_KINDS = duckdb.StatementType
_WITH_ROWS = frozenset(
    {_KINDS.SELECT, _KINDS.MULTI, _KINDS.EXPLAIN, _KINDS.CALL, _KINDS.PRAGMA, _KINDS.EXECUTE, _KINDS.RELATION, _KINDS.LOGICAL_PLAN}
)
_MISSING = re.compile(r"Table with name (\S+) does not exist")


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of a statement, to be read once."""

    names: tuple[str, ...]
    types: tuple[str, ...]
    """DuckDB's."""
    batches: Iterator[pa.RecordBatch]
    """Raises :class:`StatementFailed`."""
    schema: pa.Schema


class Session:
    """A database, in memory or in a file, with all functions. A file holds nothing of ours afterwards."""

    def __init__(self, database: str | None = None, *, read_only: bool = False, workspace: str | None = None) -> None:
        """Raises StatementFailed where the database cannot be opened."""
        try:
            self.con: Connection = connect(":memory:" if database is None else str(Path(database).expanduser()), read_only=read_only)
            for setting in ("python_enable_replacements = false", "enable_progress_bar = false"):
                self.con.execute(f"SET {setting}").fetchall()  # names are tables, never variables of this program
            if workspace is not None:
                self.con.execute(f"SET VARIABLE rasteret_workspace = {text(str(Path(workspace).expanduser().resolve()))}").fetchall()
        except duckdb.Error as error:
            raise plain(str(error), "") from None
        self._reported: ReadReport | None = None
        self.reads: list[ReadReport] = []
        """What the last statement read."""

    def close(self) -> None:
        self.con.close()

    def texts_keep_all(self) -> None:
        """Results become text: types that Arrow has no equal for come as extension types, with nothing lost."""
        self.con.execute("SET arrow_lossless_conversion = true").fetchall()

    def answer(self, statement: str) -> Answer | None:
        """Run one statement up to its first rows; None where it has none to give. Raises :class:`StatementFailed`."""
        before = self._last_report()
        self.reads = []
        self._reported = before
        try:
            parsed = self.con.extract_statements(statement)
            if not parsed:
                return None
            source = self.con.sql(statement) if _RELATIONS_STREAM else self.con.execute(statement)
            if source is None:
                return None
            names, types = _columns(source)
            if names in _NO_ROWS and parsed[-1].type != duckdb.StatementType.SELECT:
                source.fetchall()
                return None
            reader = source.to_arrow_reader(_ROWS_OF_LISTS if any("[" in kind or "BLOB" in kind for kind in types) else _ROWS)
        except duckdb.Error as error:
            raise self._failed(error, statement) from None
        return Answer(names, types, self._batches(reader, statement), reader.schema)

    def has_rows(self, statement: str) -> bool:
        """Does it answer with rows of its own? What only running it would tell, as INSERT … RETURNING, counts when the text says so."""
        with suppress(duckdb.Error):
            parsed = self.con.extract_statements(statement)
            if parsed and parsed[-1].type not in _WITH_ROWS:
                return any(token.kind == "word" and token.text.lower() == "returning" for token in tokens(statement))
        return True

    def _batches(self, reader: pa.RecordBatchReader, statement: str) -> Iterator[pa.RecordBatch]:
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
            except (duckdb.Error, OSError, pa.ArrowException) as error:
                raise self._failed(error, statement) from None
            if batch.num_rows:
                yield batch

    def _failed(self, error: Exception, statement: str) -> StatementFailed:
        failed = plain(str(error), statement)
        missing = _MISSING.search(failed.message)
        return StatementFailed(failed.message + self._near_collection(missing.group(1)), failed.place) if missing else failed

    def _near_collection(self, name: str) -> str:
        found = near(name, self.collections()).removeprefix("; did you mean ")
        return f" A collection is called {found.removesuffix('?')}." if found else ""

    def collections(self) -> list[str]:
        """Names of the workspace; none where it cannot be read."""
        with suppress(OSError):
            return sorted(known_names(self.workspace()))
        return []

    def workspace(self) -> str:
        values = self.values("SELECT getvariable('rasteret_workspace')")
        return resolve_settings({"workspace": values[0]} if values and values[0] else {}).workspace

    def values(self, statement: str) -> list[str]:
        """The first column of a statement of ours; nothing where it fails, as all do within a transaction that failed."""
        with suppress(duckdb.Error):
            return [row[0] for row in self.con.execute(statement).fetchall()]
        return []

    def rows(self, statement: str) -> list[tuple[str, ...]]:
        """All columns; as :meth:`values`."""
        with suppress(duckdb.Error):
            found: list[tuple[str, ...]] = self.con.execute(statement).fetchall()
            return found
        return []

    def note_reads(self) -> None:
        """The statement has ended: know what it read."""
        found: list[ReadReport] = []
        for report in reversed(list(engine().reports)):
            if report is self._reported:
                break
            found.append(report)
        self.reads = found[::-1]

    def _last_report(self) -> ReadReport | None:
        reports = engine().reports
        return reports[-1] if reports else None

    def interrupt(self) -> None:
        with suppress(duckdb.Error):
            self.con.interrupt()


def _columns(source: Connection | duckdb.DuckDBPyRelation) -> tuple[tuple[str, ...], tuple[str, ...]]:
    described = source.description or []
    kinds = source.types if isinstance(source, duckdb.DuckDBPyRelation) else [column[1] for column in described]
    return tuple(column[0] for column in described), tuple(map(str, kinds))
