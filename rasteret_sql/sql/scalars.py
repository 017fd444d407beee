"""Small functions that SQL folds while binding the scalar forms."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from rasteret_sql.collection.nested import one_chunk
from rasteret_sql.errors import InvalidArgument, one_line
from rasteret_sql.settings import resolve_settings
from rasteret_sql.sql.interrupts import bound
from rasteret_sql.udfs.geometry import struct_fields
from rasteret_sql.udfs.options import Options


def typed_field(struct_type: pa.Array, wanted: pa.Array) -> pa.Array:
    """Name of the metadata field that carries a band's type: the one wanted, or ``nodata`` (a DOUBLE) in relations that have it not."""
    rows = zip(one_chunk(struct_type).to_pylist(), one_chunk(wanted).to_pylist(), strict=True)
    return pa.array([name if name in struct_fields(kind) else "nodata" for kind, name in rows], pa.string())


def scalar_options(function: pa.Array, band: pa.Array, settings: pa.Array) -> pa.Array:
    """Options of a scalar call: one band, the settings of the connection."""
    made: list[str] = []
    for called, name, values in zip(one_chunk(function).to_pylist(), _texts("band", band), one_chunk(settings).to_pylist(), strict=True):
        chosen: dict[str, Any] = {key: value for key, value in values.items() if value is not None}
        options = Options(called, (name,), settings=resolve_settings(chosen))
        bound(options.settings.origin)
        made.append(options.to_json())
    return pa.array(made, pa.string())


def _texts(argument: str, column: pa.Array) -> list[Any]:
    """The values of an argument that is a text; None for NULL, which the call answers."""
    values = one_chunk(column)
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type) or pa.types.is_null(values.type)):
        raise InvalidArgument(f"{argument} is {one_line(str(values.type), 80)}; a text in quotes is valid")
    return list(values.to_pylist())


def zonal_options(band: pa.Array, stat: pa.Array, settings: pa.Array) -> pa.Array:
    """Options of the scalar ``rasteret_zonal``: one band, one statistic, exact coverage."""
    made: list[str] = []
    for name, statistic, values in zip(_texts("band", band), _texts("stat", stat), one_chunk(settings).to_pylist(), strict=True):
        chosen: dict[str, Any] = {key: value for key, value in values.items() if value is not None}
        options = Options("rasteret_zonal", (name,), pixels="fractional", outputs=(name,), statistics=(statistic,), settings=resolve_settings(chosen))
        bound(options.settings.origin)
        made.append(options.to_json())
    return pa.array(made, pa.string())
