"""Rows kept in files, fetched by number: Parquet row groups of a collection, Arrow files of a journal."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from rasteret_sql.collection.unite import conformed

HELD_BYTES = 64 << 20
"""Decoded row groups that a store keeps."""


class Store:
    """Rows in pieces, numbered through from the first piece's first row."""

    def __init__(self, pieces: Sequence[tuple[int, Callable[[], pa.Table]]]) -> None:
        """``pieces``: rows, and what loads them."""
        self._load = [load for _, load in pieces]
        self._starts = np.concatenate(([0], np.cumsum([rows for rows, _ in pieces], dtype=np.int64))).astype(np.int64)
        self._held: OrderedDict[int, pa.Table] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, rows: npt.NDArray[np.int64], schema: pa.Schema) -> pa.Table:
        """The rows in the order asked for, with the columns and types of ``schema``."""
        pieces = np.searchsorted(self._starts, rows, side="right") - 1
        order = np.argsort(pieces, kind="stable")
        used, firsts = np.unique(pieces[order], return_index=True)
        tables = []
        for piece, mine in zip(used.tolist(), np.split(order, firsts[1:]), strict=True):
            tables.append(conformed(self._piece(piece).take(pa.array(rows[mine] - self._starts[piece])), schema))
        back = np.empty(len(rows), np.int64)
        back[order] = np.arange(len(rows))
        return pa.concat_tables(tables).combine_chunks().take(pa.array(back))

    def release(self) -> None:
        """Forget what is held (mapped files leave the process's memory with it)."""
        self._held.clear()
        self._bytes = 0

    def _piece(self, number: int) -> pa.Table:
        if number in self._held:
            self._held.move_to_end(number)
            return self._held[number]
        table = self._load[number]()
        self._held[number] = table
        self._bytes += table.nbytes
        while self._bytes > HELD_BYTES and len(self._held) > 1:
            _, dropped = self._held.popitem(last=False)
            self._bytes -= dropped.nbytes
        return table


def parquet_store(files: Sequence[Path], columns: Callable[[str], bool]) -> Store:
    """The rows of Parquet files, one after the other; of their columns those that are wanted."""
    opened = _LastOpened()
    pieces: list[tuple[int, Callable[[], pa.Table]]] = []
    for file in files:
        metadata = pq.read_metadata(file)
        groups = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        pieces += [(rows, partial(_row_group, opened, file, group, columns)) for group, rows in enumerate(groups)]
    return Store(pieces)


@dataclass(slots=True)
class _LastOpened:
    """The file that was read last stays open: its footer is long."""

    path: Path | None = None
    file: pq.ParquetFile | None = None

    def get(self, path: Path) -> pq.ParquetFile:
        if self.path != path:
            self.path, self.file = path, pq.ParquetFile(path)
        return self.file


def _row_group(opened: _LastOpened, file: Path, group: int, columns: Callable[[str], bool]) -> pa.Table:
    parquet = opened.get(file)
    wanted = [name for name in parquet.schema_arrow.names if columns(name)]
    return parquet.read_row_group(group, columns=wanted, use_threads=False).replace_schema_metadata(None)


def arrow_store(files: Sequence[Path]) -> Store:
    """The rows of Arrow files, mapped: only what is taken is read."""
    pieces: list[tuple[int, Callable[[], pa.Table]]] = []
    for file in files:
        with pa.memory_map(str(file)) as source:
            rows = sum(batch.num_rows for batch in _batches(source))
        pieces.append((rows, partial(_mapped, file)))
    return Store(pieces)


def _batches(source: pa.MemoryMappedFile) -> list[pa.RecordBatch]:
    reader = pa.ipc.open_file(source)
    return [reader.get_batch(number) for number in range(reader.num_record_batches)]


def _mapped(file: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(file))).read_all()
