"""What a call of the sampling functions may be given beside plain rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from rasteret_sql.udfs import sample
from rasteret_sql.udfs.options import Options
from rasteret_sql.udfs.tickets import POINTS

from rasteret_sql.reader.visits import Points


def test_a_call_of_rows_that_only_pace_answers_with_none() -> None:
    """Dead rows fill DuckDB's vectors; a vector may hold nothing else."""
    ticket = POINTS.hold(Points(np.zeros(2), np.zeros(2), "OGC:CRS84"))
    dead = 3
    columns = (
        pa.array([Options("rasteret_sample", ("B1",)).to_json()] * dead),
        pa.array([["INTEGER"]] * dead),
        pa.nulls(dead, pa.struct([("file", pa.string()), ("row", pa.int64())])),
        pa.nulls(dead, pa.list_(pa.int64())),
        pa.array([ticket] * dead, pa.int64()),
        pa.nulls(dead, pa.uint64()),
    )
    assert sample.sample(*columns, lambda *_: {}).to_pylist() == [[]] * dead
