"""Values as DuckDB writes them: batches of any types to batches of texts, by a DuckDB of our own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from rasteret_sql.errors import RasteretError, one_line
from rasteret_sql.sql.quote import ident, text

SHOWN_ITEMS = 200
"""Of a list in a box: more than a terminal is wide."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A value as text; of a list that was cut, how long it is."""

    text: str
    items: int | None = None


class Writer:
    """Casts to text, and rows to JSON. Close it after use."""

    def __init__(self) -> None:
        self._con = duckdb.connect(config={"threads": 1})
        self._zone = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._con.close()

    def columns(self, batch: pa.RecordBatch) -> list[list[str | None]]:
        """Per column its values as texts; NULL is None."""
        self._take(batch, [f"c{number}" for number in range(batch.num_columns)])
        chosen = ", ".join(f"CAST(c{number} AS VARCHAR)" for number in range(batch.num_columns))
        rows = self._run(f"SELECT {chosen} FROM batch")
        return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(batch.num_columns)]

    def objects(self, batch: pa.RecordBatch, names: Sequence[str]) -> list[str]:
        """Per row a JSON object. Numbers that JSON has no words for (NaN, infinity) are null."""
        self._take(batch, names)
        parts = ", ".join(f"{text(name)}: {_finite(ident(name), kind)}" for name, kind in zip(names, batch.schema.types, strict=True))
        return [row[0] for row in self._run(f"SELECT to_json({{{parts}}})::VARCHAR FROM batch")]

    def _run(self, statement: str) -> list[tuple[Any, ...]]:
        try:
            found: list[tuple[Any, ...]] = self._con.execute(statement).fetchall()
        except duckdb.Error as error:
            raise RasteretError(f"a value has no text: {one_line(str(error))}; CAST it, or choose other columns") from None
        return found

    def _take(self, batch: pa.RecordBatch, names: Sequence[str]) -> None:
        for kind in batch.schema.types:
            if pa.types.is_timestamp(kind) and kind.tz and kind.tz != self._zone:
                self._con.execute(f"SET TimeZone = {text(kind.tz)}").fetchall()
                self._zone = kind.tz
        self._con.register("batch", pa.Table.from_batches([batch]).rename_columns(list(names)))


def _finite(value: str, kind: pa.DataType) -> str:
    if pa.types.is_floating(kind):
        return f"CASE WHEN isfinite({value}) THEN {value} END"
    if pa.types.is_list(kind) and pa.types.is_floating(kind.value_type):
        return f"list_transform({value}, lambda v: CASE WHEN isfinite(v) THEN v END)"
    return value


def cells(writer: Writer, batch: pa.RecordBatch) -> list[list[Cell | None]]:
    """Per column what a box shows of it; only the beginnings of long lists become text."""
    columns, lengths = [], []
    for column in batch.columns:
        is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
        long = is_list and len(column) > 0 and (pc.max(pc.list_value_length(column)).as_py() or 0) > 1
        lengths.append(pc.list_value_length(column).to_pylist() if long else None)
        columns.append(pc.list_slice(column, 0, SHOWN_ITEMS) if long else column)
    fields = [field.with_type(column.type) for field, column in zip(batch.schema, columns, strict=True)]
    found = writer.columns(pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields)))
    return [
        [None if value is None else Cell(value, None if counts is None else counts[row]) for row, value in enumerate(column)]
        for column, counts in zip(found, lengths, strict=True)
    ]


def unique(names: Sequence[str]) -> list[str]:
    """Names with ``_1``, ``_2``, … where one comes again, whatever its case."""
    seen: set[str] = set()
    found = []
    for name in names:
        chosen, number = name, 0
        while chosen.lower() in seen:
            number += 1
            chosen = f"{name}_{number}"
        seen.add(chosen.lower())
        found.append(chosen)
    return found
