"""``rasteret_plan``: what a read would fetch, band by band; nothing is fetched."""

from __future__ import annotations

import pyarrow as pa
from rasteret_sql.udfs.arrow import list_parts, lists
from rasteret_sql.udfs.candidates import Geometries
from rasteret_sql.udfs.options import options_of, statement_of

from rasteret_sql.collection.nested import one_chunk
from rasteret_sql.collection.rows import bands_of_payload
from rasteret_sql.reader.cost import Cost, Stored, cost_of, fresh_of, stored_under
from rasteret_sql.reader.engine import Query
from rasteret_sql.reader.levels import source_windows, view_of
from rasteret_sql.reader.statements import statement_of_origin

RESULT = "STRUCT(band VARCHAR, tiles BIGINT, requests BIGINT, bytes BIGINT, bytes_cached BIGINT)[]"
_TYPE = pa.struct([("band", pa.string())] + [(name, pa.int64()) for name in ("tiles", "requests", "bytes", "bytes_cached")])


def plan(options: pa.Array, payload: pa.Array, nos: pa.Array, wkbs: pa.Array, crs: pa.Array, call: pa.Array) -> pa.Array:
    """One row per record with its candidate geometries; answers with a cost per band that the geometries meet. ``call`` has a number of its own for
    each execution of each ``rasteret_plan``, over which a segment counts once.
    """
    chosen = options_of(options)
    if chosen is None:
        return pa.array([], pa.list_(_TYPE))
    geometries = Geometries(*list_parts(nos), list_parts(wkbs)[1], one_chunk(crs)[0].as_py())
    number = statement_of(call)
    query = Query(chosen.function, chosen.settings, chosen.raise_errors, statement_of_origin(("plan", number), number))
    counts: list[int] = []
    names: list[str] = []
    parts: list[Stored] = []
    owner: list[int] = []
    for row, bands in enumerate(bands_of_payload(one_chunk(payload), chosen.bands, overviews=not chosen.target.own)):
        before = len(names)
        view = view_of(bands, chosen.target)
        if view is not None:
            _, windows = geometries.met(row, view)
            for band in view.bands:
                if band is not None and len(windows):
                    found = stored_under([(band, source_windows(view, band, windows))])
                    owner += [len(names)] * len(found)
                    parts += found
                    names.append(band.name)
        counts.append(len(names) - before)
    costs = [Cost(0, 0, 0, 0)] * len(names)
    for number, part in zip(owner, fresh_of(parts, query), strict=True):
        costs[number] += cost_of(part, query)
    columns = [pa.array(names, pa.string())]
    columns += [pa.array([getattr(cost, field) for cost in costs], pa.int64()) for field in ("tiles", "requests", "bytes", "bytes_cached")]
    return lists(counts, pa.StructArray.from_arrays(columns, fields=list(_TYPE)))
