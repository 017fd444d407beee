"""Tables as users of Python hand them over: Arrow, whatever gives Arrow, rows as dictionaries, Parquet and CSV files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from rasteret_sql.collection.views import without_views
from rasteret_sql.errors import InvalidArgument, one_line

_TEXT_ENDINGS = {".csv": ",", ".tsv": "\t"}


def table_of(source: Any) -> pa.Table:
    """An Arrow table of: one; anything with the Arrow stream protocol (record batches, DuckDB relations, polars and pandas frames); a list of
    dictionaries; the path of a Parquet, CSV or TSV file. :class:`InvalidArgument` for anything else.
    """
    if isinstance(source, str | os.PathLike):
        return _read(Path(source).expanduser())
    if isinstance(source, pa.Table):
        return source
    if isinstance(source, list) and all(isinstance(row, Mapping) for row in source):
        return pa.Table.from_pylist(source)
    if hasattr(source, "__arrow_c_stream__"):
        return _plain(pa.table(source))
    if hasattr(source, "__arrow_c_array__"):
        return _plain(pa.Table.from_batches([pa.record_batch(source)]))
    raise InvalidArgument(f"a {type(source).__name__} is no table; Arrow, a DuckDB relation, a data frame, a list of dictionaries or a path is valid")


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise InvalidArgument(f"no such file: {path}; the path of a Parquet, CSV or TSV file is valid")
    separator = _TEXT_ENDINGS.get(path.suffix.lower())
    try:
        if separator is None:
            return pq.ParquetFile(path).read()
        return pa.csv.read_csv(path, parse_options=pa.csv.ParseOptions(delimiter=separator))
    except pa.ArrowInvalid as error:
        raise InvalidArgument(f"{path} is no {'Parquet' if separator is None else 'CSV'} file: {one_line(str(error), 120)}") from None


def _plain(table: pa.Table) -> pa.Table:
    for place, column in enumerate(table.columns):
        plain = without_views(column)
        if plain is not column:
            table = table.set_column(place, table.field(place).with_type(plain.type), plain)
    return table
