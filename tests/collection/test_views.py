"""Columns of Arrow's view types are plain ones with the same values, whatever their views point at."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rasteret_sql.collection.incoming import table_of
from rasteret_sql.collection.views import plain_type, without_views

LEAVES = {
    pa.string_view(): st.text(max_size=20),
    pa.binary_view(): st.binary(max_size=20),
    pa.string(): st.text(max_size=3),
    pa.int32(): st.integers(0, 9),
}


@st.composite
def kinds(draw: st.DrawFn, depth: int = 2) -> tuple[pa.DataType, st.SearchStrategy[Any]]:
    """An Arrow type with views in it, and its values."""
    kind = draw(st.sampled_from(["leaf", "struct", "list"] if depth else ["leaf"]))
    if kind == "leaf":
        leaf = draw(st.sampled_from(list(LEAVES)))
        return leaf, st.none() | LEAVES[leaf]
    if kind == "struct":
        parts = [draw(kinds(depth - 1)) for _ in range(draw(st.integers(1, 2)))]
        fields = [(f"f{i}", part) for i, (part, _) in enumerate(parts)]
        return pa.struct(fields), st.none() | st.fixed_dictionaries({f"f{i}": values for i, (_, values) in enumerate(parts)})
    make = draw(st.sampled_from([pa.list_, pa.large_list, pa.list_view, pa.large_list_view]))
    inner, values = draw(kinds(depth - 1))
    return make(inner), st.none() | st.lists(values, max_size=3)


@settings(deadline=None)
@given(st.data())
def test_values_stay_and_views_go(data: st.DataObject) -> None:
    kind, values = data.draw(kinds())
    rows = data.draw(st.lists(values, max_size=5))
    array = pa.array(rows, kind).slice(data.draw(st.integers(0, len(rows))))
    for column in (array, pa.chunked_array([array, array])):
        plain = without_views(column)
        assert plain.type == plain_type(kind)
        assert "view" not in str(plain.type)
        assert plain.to_pylist() == column.to_pylist()
        assert (plain is column) == ("view" not in str(kind))


def test_list_views_in_any_order_and_over_each_other() -> None:
    array = pa.ListViewArray.from_arrays([2, 0, 0, 1], [1, 0, 2, 2], pa.array(["a", "b", "c"], pa.string_view()))
    assert without_views(array).to_pylist() == [["c"], [], ["a", "b"], ["b", "c"]]


def test_maps() -> None:
    array = pa.array([[("a", b"x")], None], pa.map_(pa.string_view(), pa.binary_view()))
    assert without_views(array).type == pa.map_(pa.string(), pa.binary())
    assert without_views(array).to_pylist() == array.to_pylist()


def test_tables_of_users_keep_what_is_said_of_their_fields() -> None:
    said = {b"ARROW:extension:name": b"geoarrow.wkb"}
    schema = pa.schema([pa.field("geometry", pa.binary_view(), metadata=said), ("id", pa.int64())], metadata={b"a": b"b"})

    class Frame:
        def __arrow_c_stream__(self, _: object = None) -> object:
            return pa.table([pa.array([b"x"], pa.binary_view()), pa.array([1])], schema=schema).__arrow_c_stream__()

    table = table_of(Frame())
    assert table.schema.field("geometry").type == pa.binary()
    assert table.schema.field("geometry").metadata == said
    assert table.schema.metadata == {b"a": b"b"}


@pytest.mark.parametrize(
    "kind", [pa.int64(), pa.struct([("a", pa.list_(pa.string()))]), pa.map_(pa.string(), pa.int64()), pa.null(), pa.decimal128(5, 1)]
)
def test_plain_types_are_their_own(kind: pa.DataType) -> None:
    assert plain_type(kind) == kind
