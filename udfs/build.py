"""``rasteret_build_from_table``: index the files that a table names."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pyarrow as pa

from rasteret_sql.collection.assets import TableOptions
from rasteret_sql.collection.build import BuildReport, build_from_table
from rasteret_sql.collection.nested import one_chunk
from rasteret_sql.errors import InvalidArgument
from rasteret_sql.reader.engine import Query
from rasteret_sql.settings import Settings

RESULT = (
    "STRUCT(collection VARCHAR, path VARCHAR, records BIGINT, added BIGINT, unchanged BIGINT, failed BIGINT, bands VARCHAR[], epsg INTEGER[], "
    "bounds DOUBLE[], first TIMESTAMP, last TIMESTAMP, requests BIGINT, bytes BIGINT, seconds DOUBLE)[]"
)


def build(arguments: pa.Array, rows: pa.Array) -> pa.Array:
    """All rows of the table as one list of structs; answers with the build's report."""
    reports = [_build(text, table) for text, table in zip(one_chunk(arguments).to_pylist(), one_chunk(rows), strict=True)]
    return pa.array([[dataclasses.asdict(report)] for report in reports])


def _build(text: str, rows: pa.ListScalar) -> BuildReport:
    values = rows.values
    return carry_out(json.loads(text), pa.table({}) if values is None else pa.Table.from_struct_array(values))


def carry_out(arguments: dict[str, Any], records: pa.Table) -> BuildReport:
    """Build what a request says from these records."""
    if not len(records):
        raise InvalidArgument("the table of records is empty; nothing to build")
    settings = Settings(**arguments["settings"])
    with Query("rasteret_build_from_table", settings, raise_errors=False) as query:
        return build_from_table(
            records,
            arguments["name"],
            TableOptions(**arguments["options"]),
            query,
            source=arguments["source"],
            force=arguments["force"],
            done=query.work.count,
        )
