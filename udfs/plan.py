"""``rasteret_plan``: what a read would fetch, band by band; nothing is fetched."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from rasteret_sql.udfs.arrow import list_parts, lists, one_chunk
from rasteret_sql.udfs.candidates import Geometries
from rasteret_sql.udfs.options import options_of

from rasteret_sql.collection.rows import bands_of_payload
from rasteret_sql.reader.cost import Ints, cost_under
from rasteret_sql.reader.levels import source_windows, view_of

RESULT = "STRUCT(band VARCHAR, tiles BIGINT, requests BIGINT, bytes BIGINT, bytes_cached BIGINT)[]"
_TYPE = pa.struct([("band", pa.string())] + [(name, pa.int64()) for name in ("tiles", "requests", "bytes", "bytes_cached")])


def plan(options: pa.Array, payload: pa.Array, nos: pa.Array, wkbs: pa.Array, crs: pa.Array) -> pa.Array:
    """One row per record with its candidate geometries; answers with a cost per band that the geometries meet."""
    chosen = options_of(options)
    if chosen is None:
        return pa.array([], pa.list_(_TYPE))
    geometries = Geometries(*list_parts(nos), list_parts(wkbs)[1], one_chunk(crs)[0].as_py())
    query = chosen.query()
    rows: list[dict[str, Any]] = []
    counts: list[int] = []
    counted: dict[str, Ints] = {}
    for row, bands in enumerate(bands_of_payload(one_chunk(payload), chosen.bands, overviews=chosen.target.resolution is not None)):
        before = len(rows)
        view = view_of(bands, chosen.target)
        if view is not None:
            _, windows = geometries.met(row, view)
            for band in view.bands:
                if band is not None and len(windows):
                    cost = cost_under(band, source_windows(view, band, windows), query, counted)
                    rows.append(
                        {"band": band.name, "tiles": cost.tiles, "requests": cost.requests, "bytes": cost.bytes, "bytes_cached": cost.bytes_cached}
                    )
        counts.append(len(rows) - before)
    return lists(counts, pa.array(rows, _TYPE))
