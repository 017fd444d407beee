"""How many rows DuckDB works on at once: up to 2,048, whatever they hold. Where that would be too much, dead rows fill the vector up."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rasteret_sql.udfs.arrow import lists, numbers
from rasteret_sql.udfs.options import Options, options_of

from rasteret_sql.reader.readahead import BATCH, ends

AHEAD = "rasteret_read"
"""The function whose next batch is read while DuckDB works on the last."""
VECTOR_BYTES = 1 << 20
"""Of pixels that are handed on together. DuckDB copies lists once or twice on their way out, and for that writes down the place of every pixel of a
vector, in memory it has not touched before: the 6 MB of twelve chips took 42 ms as one vector and 22 ms as twelve.
"""


def batch_bytes(options: Options) -> int:
    """What the results of one batch may hold: half of the setting where the next batch is read meanwhile."""
    return options.settings.memory_bytes // (2 if options.function == AHEAD else 1)


def pace(options: pa.Array, nbytes: pa.Array) -> pa.Array:
    """Per row of so many bytes a list, so that ``unnest`` gives every batch a vector of its own."""
    chosen = options_of(options)
    if chosen is None:
        return pa.array([], pa.list_(pa.uint8()))
    return spaced(np.nan_to_num(numbers(nbytes).astype(float)).astype(np.int64), batch_bytes(chosen))


def spaced(nbytes: npt.NDArray[np.int64], room: int) -> pa.Array:
    """A list per row: one live entry, and NULLs after the last of the rows that hold ``room`` bytes, as many as fill DuckDB's vector."""
    lengths = np.ones(len(nbytes), dtype=np.int64)
    stops = ends(nbytes, room)
    if len(stops) > 1:
        lengths[stops - 1] += BATCH - np.diff(stops, prepend=0)
    dead = np.ones(lengths.sum(), dtype=bool)
    dead[np.cumsum(lengths) - lengths] = False
    return lists(lengths, pa.array(np.ones(len(dead), np.uint8), mask=dead))
