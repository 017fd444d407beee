"""Which records a geometry may meet, found by DuckDB: an equi-join on grid cells, then the boxes, then (in the reader) the exact test.

Boxes are in CRS84. A cell is as large as the median record, so a record covers a handful and a join row is a real candidate; a bare range join
costs seconds where this costs hundredths. A pair that shares several cells counts in one only: the cell of its lower left corner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rasteret_sql.reader.cells import ROWS
from rasteret_sql.sql.catalogue import STATEMENT
from rasteret_sql.sql.quote import listed, text
from rasteret_sql.sql.sources import Records

_RELATION = "__rasteret_rel"

_LEAST_CELL = 2e-7
"""Degrees: two centimetres; cells have numbers as far as 429 degrees then."""
_MOST_CELLS = 64
LARGER = (
    "a record is larger than the files of its collection say (rasteret_sql:extents in the metadata of the first); "
    "write them anew, with rasteret_export(collection, path)"
)
PAD = 0.001
"""Boxes are widened by this share of their size: curved edges may bulge out of the box of their corners; the exact test follows."""


def record_ctes(records: Records) -> str:
    """``__r``: one row per record with its key (f, k), its id and time, its widened box (a box across the antimeridian spans the globe)."""
    west, east = "if(bbox.xmin > bbox.xmax, -180, bbox.xmin)", "if(bbox.xmin > bbox.xmax, 180, bbox.xmax)"
    return f"""
__r AS {records.materialized} (
  SELECT f, k, record_id, datetime, x0 - {PAD} * (x1 - x0) - 1e-9 AS xmin, y0 - {PAD} * (y1 - y0) - 1e-9 AS ymin,
    x1 + {PAD} * (x1 - x0) + 1e-9 AS xmax, y1 + {PAD} * (y1 - y0) + 1e-9 AS ymax
  FROM (
    SELECT {records.file} AS f, {records.row} AS k, id AS record_id, datetime, {west} AS x0, bbox.ymin AS y0, {east} AS x1, bbox.ymax AS y1
    FROM {_RELATION if records.collection is None else records.scan}
  )
)"""


def _cell_size(records: Records, divisor: int) -> str:
    """The size of the cells in degrees: the median record's extent divided by ``divisor``, such that no record covers more than 64 along a side.

    What a collection written here says of all its records serves parts of it as well; of others it is asked of the records.
    """
    known = None if records.collection is None else records.collection.extents
    if known is not None:
        median, greatest = known
        return f"{max(_LEAST_CELL, median / divisor, greatest / _MOST_CELLS)!r}::DOUBLE"  # a number with a point is a DECIMAL
    return f"""(
    SELECT greatest({_LEAST_CELL}, quantile_cont(extent, 0.5) / {divisor}, max(extent) / {_MOST_CELLS})
    FROM (SELECT greatest(xmax - xmin, ymax - ymin) AS extent FROM __r WHERE isfinite(xmin + ymin + xmax + ymax))
  )"""


def _record_cells() -> str:
    """Records by cells of ``__c.size``. One that is larger than the files say would be in millions of them, and is refused."""
    large = f"greatest(xmax - xmin, ymax - ymin) > {_MOST_CELLS + 1} * size"  # one more than said: boxes are widened
    last = f"if({large}, error({text(LARGER)}), floor(xmax / size)::BIGINT)"
    return f"""
__rx AS (
  SELECT f, k, record_id, datetime, xmin, ymin, xmax, ymax, size,
    unnest(range(floor(xmin / size)::BIGINT, {last} + 1)) AS cx
  FROM __r, __c WHERE isfinite(xmin + ymin + xmax + ymax)
),
__rc AS (SELECT *, unnest(range(floor(ymin / size)::BIGINT, floor(ymax / size)::BIGINT + 1)) AS cy FROM __rx)"""


def point_pairs(records: Records) -> str:
    """``__pairs``: one row per record with the numbers of its cells that hold points, and how many points these are.

    The reader knows which points lie in a cell (``reader/cells.py``), so that nothing is made per pair; record_id and datetime are grouping keys,
    so that filters on them go below the reading.
    """
    return f"""
__c AS MATERIALIZED (SELECT {_cell_size(records, 2)} AS size),{_record_cells()},
__gc AS (SELECT unnest(__rasteret_cells((SELECT h.ticket FROM __h), size), recursive := true) FROM __c),
__pairs AS (
  SELECT r.f, r.k, r.record_id, r.datetime, list(p.cell) AS cells, sum(p.points)::BIGINT AS points
  FROM __rc AS r JOIN __gc AS p ON r.cx * {ROWS} + r.cy = p.cell
  GROUP BY r.f, r.k, r.record_id, r.datetime
)"""


def area_pairs(records: Records) -> str:
    """``__pairs``: one row per record with numbers and WKB of the geometries whose boxes meet its box, and their CRS; grouped as for points.

    Cells are such that no geometry covers more than 64 along a side either.
    """
    west, east = "if(g.xmin > g.xmax, -180, g.xmin)", "if(g.xmin > g.xmax, 180, g.xmax)"
    return f"""
__c AS MATERIALIZED (
  SELECT greatest({_cell_size(records, 1)}, coalesce(max(greatest({east} - {west}, g.ymax - g.ymin)), 0) / {_MOST_CELLS}) AS size FROM __g
),{_record_cells()},
__gx AS (
  SELECT no, crs, g.wkb AS wkb, {west} AS gx0, g.ymin AS gy0, {east} AS gx1, g.ymax AS gy1, size,
    unnest(range(floor({west} / size)::BIGINT, floor({east} / size)::BIGINT + 1)) AS cx
  FROM __g, __c WHERE g.xmin IS NOT NULL
),
__gc AS (SELECT *, unnest(range(floor(gy0 / size)::BIGINT, floor(gy1 / size)::BIGINT + 1)) AS cy FROM __gx),
__pairs AS (
  SELECT r.f, r.k, r.record_id, r.datetime, list(p.no) AS nos, list(p.wkb) AS wkbs, any_value(p.crs) AS crs
  FROM __rc AS r JOIN __gc AS p ON r.cx = p.cx AND r.cy = p.cy
  WHERE p.gx0 <= r.xmax AND p.gx1 >= r.xmin AND p.gy0 <= r.ymax AND p.gy1 >= r.ymin
    AND r.cx = greatest(floor(r.xmin / r.size)::BIGINT, floor(p.gx0 / p.size)::BIGINT)
    AND r.cy = greatest(floor(r.ymin / r.size)::BIGINT, floor(p.gy0 / p.size)::BIGINT)
  GROUP BY r.f, r.k, r.record_id, r.datetime
)"""


@dataclass(frozen=True, slots=True)
class Met:
    """The records that geometries may meet, with what the reader needs of them."""

    source: str
    """``FROM`` item: ``d`` is a row of ``__pairs``, ``m`` has what was asked for more."""
    columns: str
    """The payload; of a relation its examples too."""


def met(records: Records, more: str = "") -> Met:
    """Of a collection on disk the reader looks up the rows itself, by file and row (``collection/rows.py``): band metadata is some sixty columns a
    band, which DuckDB would carry through every step. Only a relation's rows are joined; a collection's where ``more`` of their columns is asked for.
    """
    key = [f"{records.file} AS f", f"{records.row} AS k"]
    if records.collection is not None:
        more_of = f" JOIN (SELECT {listed([*key, more])} FROM {records.scan}) AS m ON m.f = d.f AND m.k = d.k" if more else ""
        return Met(f"__pairs AS d{more_of}", "{'file': d.f, 'row': d.k} AS payload")
    columns = listed([*key, "payload", "examples", *([more] if more else [])])
    source = f"__pairs AS d JOIN (SELECT {columns} FROM {_RELATION}) AS m ON m.f = d.f AND m.k = d.k"
    return Met(source, "m.payload AS payload, m.examples AS examples")


def with_payload(records: Records, number: str = STATEMENT) -> str:
    """``__v``: pairs by record with what the reader needs of the record and with what tells executions apart; sorted, so that one call gets all."""
    found = met(records)
    return f"""
__v AS (
  SELECT d.*, {found.columns}, {number} AS statement FROM {found.source} ORDER BY d.f, d.k
)"""


MANY = "(SELECT 1 AS one FROM range(1000000000) LIMIT (SELECT 1)) AS many"
"""One row that DuckDB takes for a thousand million.

A record's row becomes as many rows as it has points, which DuckDB does not foresee: it would build the hash table of the last join from the
results (1.2 million rows, 100 MB) and probe it with the points. Told that there are many, it builds from the points, and results stream.
"""


def relation_cte(records: Records, bands: Sequence[str]) -> str:
    """``__rasteret_rel``: of a user's relation what reads need, read once, so that its row numbers hold."""
    if records.collection is not None:
        return ""
    columns = listed(["id", "datetime", "bbox", records.row, f"{records.payload(bands)} AS payload", f"{records.examples(bands)} AS examples"])
    return f"{_RELATION} AS MATERIALIZED (SELECT {columns} FROM {records.scan}),"
