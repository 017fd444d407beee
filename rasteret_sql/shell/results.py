"""Results on a text stream: boxes, CSV, JSON, JSON lines, one value a line. All but the box of a huge result stream."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TextIO

import pyarrow as pa

from rasteret_sql.shell.boxes import NULL, Column, box, visible
from rasteret_sql.shell.session import Answer
from rasteret_sql.shell.texts import Cell, Writer, cells, unique


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a box may be."""

    width: int
    rows: int = 40


def terminal_shape(rows: int = 40) -> Shape:
    """As wide as the terminal (or the environment's ``COLUMNS``), else 120."""
    return Shape(max(20, shutil.get_terminal_size((120, 40)).columns), rows)


def write_table(answer: Answer, out: TextIO, shape: Shape) -> None:
    """A box; of many rows the first and the last ones, with the count of all. Plans are shown as they are."""
    with Writer() as writer:
        if answer.names == ("explain_key", "explain_value"):
            _write_plan(answer, out, writer)
            return
        held = _Ends(writer, len(answer.names), shape.rows)
        for batch in answer.batches:
            held.add(batch)
        columns = [Column(name, kind, values) for name, kind, values in zip(answer.names, answer.types, held.columns(), strict=True)]
    out.write(box(columns, held.rows, shape.width, held.gap) + "\n")


def _write_plan(answer: Answer, out: TextIO, writer: Writer) -> None:
    for batch in answer.batches:
        out.writelines(f"{value}\n" for value in writer.columns(batch)[1])


class _Ends:
    """The first and the last rows of a stream; of the others only the count stays."""

    def __init__(self, writer: Writer, columns: int, most: int) -> None:
        self.rows = 0
        self._writer = writer
        self._width = columns
        self._most = max(2, most)
        self._first: list[list[Cell | None]] = [[] for _ in range(columns)]
        self._last: deque[pa.RecordBatch] = deque()
        """Batches that together hold at least the last rows that are shown."""

    @property
    def gap(self) -> int | None:
        """Where rows are missing."""
        return (self._most + 1) // 2 if self.rows > self._most else None

    def add(self, batch: pa.RecordBatch) -> None:
        room = self._most - len(self._first[0])
        if room > 0:
            _extend(self._first, cells(self._writer, batch.slice(0, room)))
        self.rows += batch.num_rows
        last = self._most // 2
        self._last.append(_alone(batch.slice(max(0, batch.num_rows - last))))
        while sum(held.num_rows for held in self._last) - self._last[0].num_rows >= last:
            self._last.popleft()

    def columns(self) -> list[list[Cell | None]]:
        """The cells that are shown."""
        gap = self.gap
        if gap is None:
            return self._first
        last: list[list[Cell | None]] = [[] for _ in range(self._width)]
        for batch in self._last:
            _extend(last, cells(self._writer, batch))
        return [first[:gap] + ending[-(self._most // 2) :] for first, ending in zip(self._first, last, strict=True)]


def _extend(columns: list[list[Cell | None]], more: list[list[Cell | None]]) -> None:
    for column, found in zip(columns, more, strict=True):
        column.extend(found)


def _alone(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A copy of a slice, which does not keep all of its batch in memory."""
    return batch.take(pa.array(range(batch.num_rows)))


def write_csv(answer: Answer, out: TextIO, shape: Shape) -> None:
    """A line of names, then a line per row; NULL is empty, and an empty text is ``""``."""
    del shape
    out.write(",".join(map(_field, answer.names)) + "\n")
    with Writer() as writer:
        for batch in answer.batches:
            columns = [[_field(value) for value in column] for column in writer.columns(batch)]
            out.write("".join(f"{','.join(row)}\n" for row in zip(*columns, strict=True)))


def _field(value: str | None) -> str:
    if value is None:
        return ""
    if value == "" or value != value.strip() or any(mark in value for mark in ',"\n\r'):
        return '"' + value.replace('"', '""') + '"'
    return value


def write_jsonl(answer: Answer, out: TextIO, shape: Shape) -> None:
    """An object per line."""
    del shape
    out.writelines(f"{text}\n" for text in _objects(answer))


def write_json(answer: Answer, out: TextIO, shape: Shape) -> None:
    """An array of objects, one per line."""
    del shape
    between = "["
    for text in _objects(answer):
        out.write(f"{between}{text}")
        between = ",\n"
    out.write("[]\n" if between == "[" else "]\n")


def _objects(answer: Answer) -> Iterator[str]:
    names = unique(answer.names)
    with Writer() as writer:
        for batch in answer.batches:
            yield from writer.objects(batch, names)


def write_lines(answer: Answer, out: TextIO, shape: Shape) -> None:
    """``name = value``, and a blank line between rows."""
    del shape
    room = max(map(len, answer.names))
    first = True
    with Writer() as writer:
        for batch in answer.batches:
            for row in zip(*writer.columns(batch), strict=True):
                out.write("" if first else "\n")
                first = False
                values = zip(answer.names, row, strict=True)
                out.writelines(f"{visible(name).rjust(room)} = {NULL if value is None else value}\n" for name, value in values)


Write = Callable[[Answer, TextIO, Shape], None]
MODES: Mapping[str, Write] = {"table": write_table, "csv": write_csv, "json": write_json, "jsonl": write_jsonl, "line": write_lines}
"""By the names of ``.mode``."""
