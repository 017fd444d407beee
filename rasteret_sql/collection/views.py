"""Arrow's view types as the plain ones: DuckDB sends them where ``arrow_output_version`` is 1.4 or more, polars always does."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa


@lru_cache(maxsize=1024)
def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type with texts, blobs and lists for views of them, at any depth of structs, lists and maps; other types as they are."""
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(plain_type(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(kind.key_field.with_type(plain_type(kind.key_type)), kind.item_field.with_type(plain_type(kind.item_type)), kind.keys_sorted)
    if pa.types.is_list(kind) or pa.types.is_list_view(kind):
        return pa.list_(kind.value_field.with_type(plain_type(kind.value_type)))
    if pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind):
        return pa.large_list(kind.value_field.with_type(plain_type(kind.value_type)))
    return {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}.get(kind, kind)


def without_views(column: Any) -> Any:
    """The column, an array or a chunked one, in its plain type; itself where it has no views."""
    kind = plain_type(column.type)
    if kind == column.type:
        return column
    if isinstance(column, pa.ChunkedArray):
        return pa.chunked_array([_plain(chunk, kind) for chunk in column.chunks], kind)
    return _plain(column, kind)


def _plain(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type == kind:
        return array
    if pa.types.is_struct(kind):
        fields = [_plain(array.field(i), kind.field(i).type) for i in range(kind.num_fields)]
        return pa.StructArray.from_arrays(fields, fields=list(kind), mask=array.is_null() if array.null_count else None)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        # flatten() has the elements in order and none of missing lists, wherever views point; pyarrow's cast of list views loses elements (26.0)
        lengths = array.value_lengths().fill_null(0).to_numpy().astype(np.int64)
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        make, width = (pa.ListArray, np.int32) if pa.types.is_list(kind) else (pa.LargeListArray, np.int64)
        mask = array.is_null() if array.null_count else None
        return make.from_arrays(pa.array(offsets.astype(width)), _plain(array.flatten(), kind.value_type), type=kind, mask=mask)
    return array.cast(kind)
