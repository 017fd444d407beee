"""Tables of different schemas as one: columns by name, types promoted, text where nothing else holds both."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import pyarrow as pa

from rasteret_sql.collection.nested import one_chunk


def united_schema(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """Every column of any of them, in order of appearance. Types that cannot be promoted to one become text."""
    kinds: dict[str, pa.DataType] = {}
    for schema in schemas:
        for name, kind in zip(schema.names, schema.types, strict=True):
            kinds[name] = kind if name not in kinds else _promoted(kinds[name], kind)
    return pa.schema(list(kinds.items()))


def _promoted(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    if first == second:
        return first
    if pa.types.is_struct(first) and pa.types.is_struct(second):
        inner = united_schema(pa.schema([kind.field(i) for i in range(kind.num_fields)]) for kind in (first, second))
        return pa.struct(list(inner))
    if pa.types.is_list(first) and pa.types.is_list(second):
        return pa.list_(_promoted(first.value_type, second.value_type))
    try:
        return pa.unify_schemas([pa.schema([("c", kind)]) for kind in (first, second)], promote_options="permissive").field(0).type
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.string()


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the columns and types of a schema that :func:`united_schema` made of its own and others."""
    if table.schema.equals(schema):
        return table
    columns = [_column(table, field) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _column(table: pa.Table, field: pa.Field) -> pa.Array | pa.ChunkedArray:
    if field.name not in table.column_names:
        return pa.nulls(len(table), field.type)
    column = table[field.name]
    return column if column.type == field.type else _cast(one_chunk(column), field.type)


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type == kind:
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), kind)
    if pa.types.is_struct(kind) and pa.types.is_struct(array.type):
        return _cast_struct(array, kind)
    if pa.types.is_list(kind) and pa.types.is_list(array.type):
        lists = array if array.offset == 0 else pa.concat_arrays([array])
        values = _cast(lists.values, kind.value_type)
        return pa.ListArray.from_arrays(lists.offsets, values, type=kind, mask=lists.is_null() if lists.null_count else None)
    if not pa.types.is_nested(array.type):
        with suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return array.cast(kind)
    return pa.array([_text(value) for value in array.to_pylist()], kind)


def _cast_struct(array: pa.StructArray, kind: pa.StructType) -> pa.Array:
    have = {array.type.field(i).name: i for i in range(array.type.num_fields)}
    fields = [kind.field(i) for i in range(kind.num_fields)]
    values = [_cast(array.field(have[f.name]), f.type) if f.name in have else pa.nulls(len(array), f.type) for f in fields]
    return pa.StructArray.from_arrays(values, fields=fields, mask=array.is_null())


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, default=str, ensure_ascii=False)
