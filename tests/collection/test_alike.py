"""Which rows are the same: by comparing every value with Python, NaN and the bits of floats included."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rasteret_sql.collection import alike as alike_module
from rasteret_sql.collection.alike import alike_rows

KIND = pa.struct(
    [
        ("href", pa.string()),
        ("width", pa.int32()),
        ("nodata", pa.float64()),
        ("half", pa.float16()),
        ("alpha", pa.bool_()),
        ("at", pa.timestamp("us")),
        ("offsets", pa.list_(pa.int64())),
        ("transform", pa.large_list(pa.float64())),
        ("levels", pa.list_(pa.struct([("width", pa.int32()), ("counts", pa.list_(pa.uint32()))]))),
        ("nothing", pa.null()),
    ]
)
FLOATS = st.sampled_from([0.0, -0.0, 1.5, float("nan"), None])
LEVEL = st.none() | st.fixed_dictionaries({"width": st.integers(0, 1), "counts": st.none() | st.lists(st.integers(0, 1), max_size=2)})
ROW = st.none() | st.fixed_dictionaries(
    {
        "href": st.sampled_from(["a", "b", None]),
        "width": st.sampled_from([1, 2, None]),
        "nodata": FLOATS,
        "half": FLOATS.map(lambda value: None if value is None else np.float16(value)),
        "alpha": st.sampled_from([True, False, None]),
        "at": st.sampled_from([0, 1, None]),
        "offsets": st.none() | st.lists(st.sampled_from([0, 1, None]), max_size=2),
        "transform": st.none() | st.lists(FLOATS, max_size=2),
        "levels": st.none() | st.lists(LEVEL, max_size=2),
        "nothing": st.none(),
    }
)


def bits(value: Any) -> Any:
    """A value whose equality is that of its bits."""
    if isinstance(value, dict):
        return tuple((name, bits(part)) for name, part in value.items())
    if isinstance(value, list):
        return ("list", *(bits(part) for part in value))
    return struct.pack("<d", value) if isinstance(value, float | np.floating) else value


@settings(deadline=None)
@given(st.data())
def test_rows_equal_the_first_with_their_key_or_stand_alone(data: st.DataObject) -> None:
    different = data.draw(st.lists(ROW, min_size=1, max_size=5))
    rows = data.draw(st.lists(st.sampled_from(different), min_size=1, max_size=12))
    column = pa.array(rows, KIND)
    start = data.draw(st.integers(0, len(rows) - 1))
    column, rows = column.slice(start), column.to_pylist()[start:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alike_module, "_ELEMENTS", data.draw(st.sampled_from([2, 1 << 20])))
        alike = alike_rows([column.field("href")], [column])

    hrefs = column.field("href").to_pylist()
    expected = []
    for place, row in enumerate(rows):
        first = hrefs.index(hrefs[place])
        expected.append(first if bits(rows[first]) == bits(row) else place)
    assert alike.firsts[alike.which].tolist() == expected
    assert alike.firsts.tolist() == sorted(set(expected))


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from(["x", None])), max_size=9))
def test_several_keys_and_parallel_columns(pairs: list[tuple[str | None, str | None]]) -> None:
    columns = [pa.array([pair[i] for pair in pairs], pa.string()) for i in range(2)]
    alike = alike_rows(columns, columns)
    assert [pairs[place] for place in alike.firsts[alike.which]] == pairs
    assert len(alike.firsts) == len(set(pairs))
    made = alike.expanded([str(pairs[place]) for place in alike.firsts], pa.string())
    assert made.to_pylist() == [str(pair) for pair in pairs]


@pytest.mark.parametrize("other", [pa.map_(pa.string(), pa.int64()), pa.decimal128(38, 2), pa.string_view()], ids=str)
def test_types_that_are_not_compared_are_never_taken_for_equal(other: pa.DataType) -> None:
    keys = pa.array(["a", "a", "b"])
    assert alike_rows([keys], [keys, pa.nulls(3, other)]).firsts.tolist() == [0, 1, 2]


def test_long_lists_are_compared_a_part_at_a_time() -> None:
    """2,048 rows of a raster of 20,000 tiles: what the comparison takes is a part of what the rows take."""
    rows, tiles = 2048, 20_000
    numbers = pa.array(np.tile(np.arange(tiles), rows))
    column = pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32) * tiles), numbers)
    tracemalloc.start()
    alike = alike_rows([pa.array(["a"] * rows)], [column])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert alike.firsts.tolist() == [0]
    assert peak < 100e6 < column.nbytes
