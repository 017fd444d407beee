"""Blocks as rows of DuckDB's: what ``rasteret_read`` answers with for each geometry and record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from rasteret_sql.udfs.pacing import VECTOR_BYTES, spaced
from rasteret_sql.udfs.slots import PIXEL_SLOTS, Column, slot_fields, slots_sql, slots_type

from rasteret_sql.raster.grid import window_transform
from rasteret_sql.reader.band import physical
from rasteret_sql.reader.blocks import Block, Bools
from rasteret_sql.reader.warp import ViewRequest

BLOCK = (
    "STRUCT(crs VARCHAR, transform DOUBLE[], height INTEGER, width INTEGER, status UTINYINT, error VARCHAR, live UTINYINT[], "
    + slots_sql(PIXEL_SLOTS)
    + ")"
)
_FIXED = {
    "crs": pa.string(),
    "transform": pa.list_(pa.float64()),
    "height": pa.int32(),
    "width": pa.int32(),
    "status": pa.uint8(),
    "error": pa.string(),
}
BLOCK_TYPE = pa.struct([*_FIXED.items(), ("live", pa.list_(pa.uint8())), *slots_type(PIXEL_SLOTS)])
OK, NODATA, ERROR = 0, 1, 3
NO_CENTRE = "the geometry holds no pixel's centre; pixels := 'all_touched' takes the pixels it touches"
"""Said of geometries too small for the rule."""


Found = tuple[ViewRequest, Bools, Block] | None
"""What was asked for, the pixels of its window that the geometry selects, and what was read; None where a geometry meets no record."""


def block_rows(table: Sequence[Found], types: Sequence[str], names: Sequence[str], *, scaled: bool) -> pa.StructArray:
    """A struct per row, of bands that have SQL ``types`` and ``names``; ``live`` spaces rows out, all else is NULL without a block."""
    cells: list[list[Column]] = []
    fixed: dict[str, list[Any]] = {name: [] for name in _FIXED}
    for entry in table:
        if entry is None:
            cells.append([None] * len(names))
            for column in fixed.values():
                column.append(None)
            continue
        request, mask, block = entry
        cells.append(
            [
                (np.zeros(mask.size), np.zeros(mask.size, bool)) if values is None or band is None else (physical(values, band, scaled=scaled), valid)
                for values, valid, band in zip(block.values, block.valid, request.bands, strict=True)
            ]
        )
        lacking = [name for name, band in zip(names, request.bands, strict=True) if band is None]
        messages = block.errors + ([f"the record has no asset for {', '.join(lacking)}"] if lacking else [])
        if not np.count_nonzero(mask):
            messages.append(NO_CENTRE)
        fixed["crs"].append(request.view.crs)
        fixed["transform"].append(window_transform(request.grid, request.window))
        fixed["height"].append(request.window.height)
        fixed["width"].append(request.window.width)
        fixed["status"].append(ERROR if block.errors else NODATA if block.nodata or lacking else OK)
        fixed["error"].append("; ".join(messages) or None)
    nbytes = [sum(values.nbytes + valid.nbytes for values, valid in filter(None, row)) for row in cells]
    arrays = {name: pa.array(column, _FIXED[name]) for name, column in fixed.items()}
    arrays["live"] = spaced(np.array(nbytes, np.int64), VECTOR_BYTES)
    arrays |= slot_fields(cells, types, PIXEL_SLOTS)
    return pa.StructArray.from_arrays(list(arrays.values()), list(arrays))
