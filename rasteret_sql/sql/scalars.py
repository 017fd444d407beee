"""Small functions of the scalar forms: types that SQL folds while binding, and the options of their rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from rasteret_sql.collection.alike import alike_rows
from rasteret_sql.collection.nested import one_chunk
from rasteret_sql.errors import InvalidArgument, one_line
from rasteret_sql.settings import Settings, resolve_settings
from rasteret_sql.sql.interrupts import bound
from rasteret_sql.udfs.geometry import struct_fields
from rasteret_sql.udfs.options import Options


def typed_field(struct_type: str, wanted: str) -> str:
    """Name of the metadata field that carries a band's type: the one wanted, or ``nodata`` (a DOUBLE) in relations that have it not."""
    return wanted if wanted in struct_fields(struct_type) else "nodata"


def scalar_options(function: pa.Array, band: pa.Array, settings: pa.Array) -> pa.Array:
    """Options of a scalar call: one band, the settings of the connection."""
    _check_text("band", band)
    return _for_each(lambda called, name, chosen: Options(called, (name,), settings=chosen), function, band, settings)


def zonal_options(band: pa.Array, stat: pa.Array, settings: pa.Array) -> pa.Array:
    """Options of the scalar ``rasteret_zonal``: one band, one statistic, exact coverage; NULL where the statistic is."""
    _check_text("band", band)
    _check_text("stat", stat)
    return _for_each(_zonal_options, band, stat, settings)


def _zonal_options(band: str, stat: str | None, settings: Settings) -> Options | None:
    return None if stat is None else Options("rasteret_zonal", (band,), pixels="fractional", outputs=(band,), statistics=(stat,), settings=settings)


def _check_text(argument: str, column: pa.Array) -> None:
    """NULL is for the call to answer."""
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise InvalidArgument(f"{argument} is {one_line(str(kind), 80)}; a text in quotes is valid")


def _for_each(make: Callable[[Any, Any, Settings], Options | None], first: pa.Array, second: pa.Array, settings: pa.Array) -> pa.Array:
    """The options of each row as JSON; made once for rows that are the same, as all rows of a statement mostly are."""
    columns = [one_chunk(column) for column in (first, second, settings)]
    alike = alike_rows(columns[:2], columns[2:])
    made: list[str | None] = []
    for a, b, values in zip(*(column.take(pa.array(alike.firsts)).to_pylist() for column in columns), strict=True):
        options = make(a, b, resolve_settings({key: value for key, value in values.items() if value is not None}))
        if options is None:
            made.append(None)
            continue
        bound(options.settings.origin)
        made.append(options.to_json())
    return alike.expanded(made, pa.string())
