"""Arrays for DuckDB, against pyarrow's own."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasteret_sql.udfs.arrow import with_nulls


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
