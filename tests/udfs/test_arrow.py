"""Arrays for DuckDB, against pyarrow's own."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasteret_sql.udfs.arrow import joined, with_nulls


@given(st.lists(st.tuples(st.integers(0, 255), st.booleans()), max_size=70), st.sampled_from(["uint8", "int16", "float32", "float64", "uint64"]))
@settings(max_examples=100, deadline=None)
def test_with_nulls(pairs: list[tuple[int, bool]], dtype: str) -> None:
    values, valid = np.array([value for value, _ in pairs], dtype), np.array([here for _, here in pairs], bool)
    kind = pa.from_numpy_dtype(np.dtype(dtype))
    found = with_nulls(values, valid, kind)
    found.validate(full=True)
    assert found.equals(pa.array(values, kind, mask=~valid))
    assert found.null_count == int((~valid).sum())


@pytest.mark.parametrize("values", [np.arange(20, dtype="uint16")[::2], np.arange(12, dtype=">i4"), np.arange(6, dtype="uint8")])
def test_values_that_lie_apart_or_are_of_another_type_are_copied(values: np.ndarray) -> None:
    valid = np.arange(len(values)) % 3 > 0
    assert with_nulls(values, valid, pa.int64()).to_pylist() == [int(value) if here else None for value, here in zip(values, valid, strict=True)]


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_joined(data: st.DataObject) -> None:
    """Parts of an array (in a row or not, of it or of others) as NumPy joins them; without a copy where nothing lies between them."""
    whole = np.arange(60, dtype=data.draw(st.sampled_from(["uint8", "uint16", "float32"])))
    cuts = sorted(data.draw(st.lists(st.integers(0, 60), min_size=2, max_size=6)))
    parts = [whole[start:stop] for start, stop in pairwise(cuts)]
    change = data.draw(st.sampled_from(["none", "copied", "turned", "gap", "strided", "order"]))
    place = data.draw(st.integers(0, len(parts) - 1))
    if change == "copied":
        parts[place] = parts[place].copy()
    elif change == "turned":
        parts[place] = parts[place][::-1]
    elif change == "gap":
        parts[place] = parts[place][1:]
    elif change == "strided":
        parts[place] = parts[place][::2]
    elif change == "order":
        parts.reverse()
    dtype = data.draw(st.sampled_from([whole.dtype, np.dtype("float64")]))
    found = joined(parts, dtype)
    np.testing.assert_array_equal(found, np.concatenate(parts))
    assert found.dtype == dtype
    if change == "none" and dtype == whole.dtype and len(found):
        assert np.shares_memory(found, whole)


def test_nothing_joined_is_empty() -> None:
    assert joined([], np.uint16).dtype == np.uint16
