"""From a journal (and the files of the collection before it) to a collection's Parquet files, a block of rows at a time.

Files are partitioned by year and month. Within a large month rows follow a Hilbert curve, so that a row group is a place on the map and filters on
``bbox`` leave most of them unread; a month that fits into one row group is sorted by time and id.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rasteret_sql.collection.built import Written
from rasteret_sql.collection.keys import JOURNAL, NO_TIME, OLD, OWN, Keys
from rasteret_sql.collection.schema import METADATA_SUFFIX
from rasteret_sql.collection.stores import Store
from rasteret_sql.collection.workspace import ROWS

ROW_GROUP_ROWS = 2048
"""Small enough that a bbox or a date prunes, large enough for the footer to stay small."""
_FEW_ROWS = 256
"""Of so few rows a file is packed with snappy: it is hardly larger (a tenth), and to read what a statement asks for of it takes 3 ms, not 8. zstd
has to be set up for each of some hundred columns. Larger files are smaller by a sixth with zstd.
"""
_BLOCK_BYTES = 48 << 20
"""Rows gathered at a time, and at most one row group's."""
_LEAST_ROWS = 64
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_FROM_HEADERS = ("geometry", "assets", "bbox", "proj:epsg", "crs")


def from_headers(column: str) -> bool:
    """Is a column made from headers? The others are what the source says."""
    return column in _FROM_HEADERS or column.endswith(METADATA_SUFFIX)


@dataclass(frozen=True, slots=True)
class Rows:
    """Records to be written: their keys, and where their columns lie."""

    keys: Keys
    """In the order of the journal's rows from ``first`` on."""
    first: int
    journal: Store
    old: Store | None
    schema: pa.Schema

    def gather(self, records: npt.NDArray[np.int64]) -> pa.Table:
        """The whole rows of these records, in this order."""
        tables, order = [], []
        for store, source in ((OWN, None), (OLD, self.old), (JOURNAL, self.journal)):
            mine = np.flatnonzero(self.keys.store[records] == store)
            if len(mine):
                tables.append(self._rows(records[mine], source))
                order.append(mine)
        back = np.empty(len(records), np.int64)
        back[np.concatenate(order)] = np.arange(len(records))
        return (tables[0] if len(tables) == 1 else pa.concat_tables(tables).combine_chunks()).take(pa.array(back))

    def _rows(self, records: npt.NDArray[np.int64], source: Store | None) -> pa.Table:
        """What the source said comes from this run's journal; what headers say from where they were read."""
        if source is None:
            return self.journal.take(records + self.first, self.schema)
        said = self.journal.take(records + self.first, pa.schema([field for field in self.schema if not from_headers(field.name)]))
        heads = source.take(self.keys.row[records], pa.schema([field for field in self.schema if from_headers(field.name)]))
        columns = [(heads if from_headers(name) else said)[name] for name in self.schema.names]
        return pa.Table.from_arrays(columns, schema=self.schema)


def write_files(folder: Path, rows: Rows, name: str) -> tuple[list[Written], npt.NDArray[np.int64]]:
    """Write all records below ``folder``, each partition to a file of this name.

    Returns the files, and the records (numbers in ``rows.keys``) in the order of the files' rows.
    """
    files: list[Written] = []
    order: list[npt.NDArray[np.int64]] = []
    months = rows.keys.months
    by_month = np.argsort(months, kind="stable")
    values, firsts = np.unique(months[by_month], return_index=True)
    for month, records in zip(values.tolist(), np.split(by_month, firsts[1:]), strict=True):
        file = folder / _partition(month) / name
        file.parent.mkdir(parents=True)
        written = write_partition(file, rows, records)
        order.append(written)
        files.append(Written(file.relative_to(folder).as_posix(), len(written), file.stat().st_size))
    return files, np.concatenate(order)


def _partition(month: int) -> str:
    if month == NO_TIME:
        return f"year={_NULL_PARTITION}/month={_NULL_PARTITION}"
    return f"year={1970 + month // 12}/month={month % 12 + 1}"


def write_partition(file: Path, rows: Rows, records: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    records = _sorted(rows.keys, records)
    written: list[npt.NDArray[np.int64]] = []
    with ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for block, table in _blocks(rows, records):
            if writer is None:
                writer = stack.enter_context(_writer(file, rows.schema, len(records)))
            order = _by_time(table) if len(records) <= ROW_GROUP_ROWS else np.arange(len(block))
            writer.write_table(table.take(pa.array(order)), row_group_size=ROW_GROUP_ROWS)
            written.append(block[order])
    return np.concatenate(written)


def _by_time(table: pa.Table) -> npt.NDArray[np.int64]:
    order: npt.NDArray[np.int64] = pc.sort_indices(table, sort_keys=[("datetime", "ascending"), ("id", "ascending")]).to_numpy().astype(np.int64)
    return order


def _sorted(keys: Keys, records: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    mine = keys.take(records)
    by = (mine.id, mine.time) if len(records) <= ROW_GROUP_ROWS else (mine.id, mine.time, mine.places())
    return records[np.lexsort(by)]


def _blocks(rows: Rows, records: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray[np.int64], pa.Table]]:
    """As many records at a time as are worth a bounded number of bytes, judged by those before; whole row groups where they fit."""
    start, count = 0, min(_LEAST_ROWS, len(records))
    sample = rows.gather(records[:: max(1, len(records) // count)][:count])
    while start < len(records):
        worth = _BLOCK_BYTES * len(sample) // max(sample.nbytes, 1)
        size = max(_LEAST_ROWS, worth // ROW_GROUP_ROWS * ROW_GROUP_ROWS or worth)
        block = records[start : start + size]
        sample = rows.gather(block)
        yield block, sample
        start += len(block)


def _writer(file: Path, schema: pa.Schema, count: int) -> pq.ParquetWriter:
    """Statistics where filters may be; those of tile tables would only make the footer long."""
    plain = [name for name in schema.names if not name.endswith(METADATA_SUFFIX) and name not in ("geometry", "assets")]
    leaves = [f"bbox.{corner}" for corner in ("xmin", "ymin", "xmax", "ymax")]
    packing: dict[str, Any] = {"compression": "zstd", "compression_level": 3} if count > _FEW_ROWS else {"compression": "snappy"}
    said = schema.with_metadata({**(schema.metadata or {}), ROWS: str(count)})
    return pq.ParquetWriter(file, said, **packing, write_statistics=[*(n for n in plain if n != "bbox"), *leaves])
