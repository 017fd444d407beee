"""Small functions that SQL folds while binding the scalar forms."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from rasteret_sql.settings import resolve_settings
from rasteret_sql.udfs.arrow import one_chunk
from rasteret_sql.udfs.geometry import struct_fields
from rasteret_sql.udfs.options import Options


def typed_field(struct_type: pa.Array, wanted: pa.Array) -> pa.Array:
    """Name of the metadata field that carries a band's type: the one wanted, or ``nodata`` (a DOUBLE) in relations that have it not."""
    rows = zip(one_chunk(struct_type).to_pylist(), one_chunk(wanted).to_pylist(), strict=True)
    return pa.array([name if name in struct_fields(kind) else "nodata" for kind, name in rows], pa.string())


def scalar_options(band: pa.Array, settings: pa.Array) -> pa.Array:
    """Options of a scalar call: one band, the settings of the connection."""
    rows: list[tuple[str, dict[str, Any]]] = list(zip(one_chunk(band).to_pylist(), one_chunk(settings).to_pylist(), strict=True))
    made = [
        Options("rasteret_sample", (name,), settings=resolve_settings({k: v for k, v in values.items() if v is not None})).to_json()
        for name, values in rows
    ]
    return pa.array(made, pa.string())
