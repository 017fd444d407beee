"""From a call's arguments to SQL text. Pure but for the file system; never raises: an error goes out as ``error('…')``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from rasteret_sql.collection.nested import one_chunk
from rasteret_sql.errors import InvalidArgument, RasteretError, one_line
from rasteret_sql.progress import begins
from rasteret_sql.sql import interrupts, manual, plan_areas, plan_build, plan_collections, plan_export, plan_pixels, plan_points, plan_zonal
from rasteret_sql.sql.arguments import Arguments
from rasteret_sql.sql.quote import text


def plan(function: pa.Array, arguments: pa.Array) -> pa.Array:
    """The function that ``FROM query(…)`` folds while binding."""
    columns = one_chunk(arguments)
    names = [columns.type.field(i).name for i in range(columns.type.num_fields)]
    rows = zip(*(_values(columns.field(i)) for i in range(len(names))), strict=True)
    calls = zip(one_chunk(function).to_pylist(), (dict(zip(names, row, strict=True)) for row in rows), strict=True)
    return pa.array([plan_text(name, row) for name, row in calls], pa.string())


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """A value that Python has no counterpart for: a date after the year 9999, a row without names inside of a list."""

    kind: str


def _values(column: pa.Array) -> list[Any]:
    """An argument as Python has it, where it can have it."""
    try:
        return _as_python(column)
    except (ValueError, OverflowError, TypeError, pa.ArrowException):
        return [_Unreadable(str(column.type))] * len(column)


def _as_python(column: pa.Array) -> list[Any]:
    """A row without names, such as ``(7, 4)``, is a tuple."""
    fields = column.type.num_fields if pa.types.is_struct(column.type) else 0
    if fields < 2 or len({column.type.field(i).name for i in range(fields)}) == fields:
        return list(column.to_pylist())
    here = column.is_valid().to_pylist()
    rows = zip(*(column.field(i).to_pylist() for i in range(fields)), strict=True)
    return [row if valid else None for row, valid in zip(rows, here, strict=True)]


def plan_text(function: str, row: Mapping[str, Any]) -> str:
    """SQL text of one call; an error becomes text that raises it in one line."""
    try:
        for name, value in row.items():
            if isinstance(value, _Unreadable):
                raise InvalidArgument(f"{name} := a value of type {one_line(value.kind, 80)} is not valid here")
        arguments = Arguments.of(function, row)
        interrupts.bound(arguments.settings.origin)
        begins((arguments.settings.origin, function))
        return PLANNERS[function](arguments)
    except RasteretError as error:
        return f"FROM query(error({text(one_line(f'{function}: {error}'))}))"


PLANNERS: Mapping[str, Callable[[Arguments], str]] = {
    "rasteret_sample": plan_points.plan_sample,
    "rasteret_read": plan_areas.plan_read,
    "rasteret_plan": plan_areas.plan_cost,
    "rasteret_pixels": plan_pixels.plan_pixels,
    "rasteret_zonal": plan_zonal.plan_zonal,
    "rasteret_value": plan_points.plan_value,
    "rasteret_collection": plan_collections.plan_collection,
    "rasteret_collections": plan_collections.plan_collections,
    "rasteret_bands": plan_collections.plan_bands,
    "rasteret_failures": plan_collections.plan_failures,
    "rasteret_functions": plan_collections.plan_functions,
    "rasteret_help": manual.plan_help,
    "rasteret_settings": plan_collections.plan_settings,
    "rasteret_io": plan_collections.plan_io,
    "rasteret_build_from_table": plan_build.plan_build_from_table,
    "rasteret_build_from_stac": plan_build.plan_build_from_stac,
    "rasteret_build": plan_build.plan_build,
    "rasteret_datasets": plan_build.plan_datasets,
    "rasteret_export": plan_export.plan_export,
}
