"""The plan of ``rasteret_pixels``: one row per pixel of each geometry and record."""

from __future__ import annotations

from dataclasses import replace

from rasteret_sql.sql.arguments import Arguments
from rasteret_sql.sql.quote import ident, listed, text
from rasteret_sql.sql.reading import PIXELS, area_ctes, get_ready, of_live, reading, target_of
from rasteret_sql.sql.sources import double_types
from rasteret_sql.sql.tables import Geometries

RULES = ("fractional", *PIXELS)
CENTRE = "{} * (pixel_col + 0.5::DOUBLE) + {} * (pixel_row + 0.5::DOUBLE) + {}"


def plan_pixels(arguments: Arguments) -> str:
    """Rows are pixels that hold a value in some band asked for.

    So there is no row for a geometry that meets no record, holds no pixel or, with ``on_error := 'null'``, is broken (a line or point has no area,
    and so no fractions); nor for a pixel whose bands are all nodata or, with ``on_error := 'null'``, could not be read: where only some could,
    the others are NULL.

    The grid is that of ``rasteret_read`` with the same arguments. Centres of pixels are worked out by
    SQL, from row and column: they cost nothing where nobody asks for them.
    """
    records, bands, options = reading(arguments, "collection")
    options = replace(options, pixels=arguments.choice("pixels", RULES), target=target_of(arguments, bands))
    get_ready(records, options)
    fractional = options.pixels == "fractional"
    types = double_types(bands) if options.scaled else records.types(bands, "value")
    geometries = Geometries.of(arguments, "geometries")
    fixed = text(options.to_json())
    spread = [f"unnest({kind.pick('u', i)}) AS v{i}" for i, kind in enumerate(types)]
    coverage = "unnest(u.coverage) AS coverage" if fractional else "1.0::DOUBLE AS coverage"
    values = [f"v{i} AS {ident(band)}" for i, band in enumerate(bands)]
    return f"""
SELECT src.*, record_id, datetime, {CENTRE.format("a", "b", "c")} AS x, {CENTRE.format("d", "e", "f")} AS y,
  pixel_row AS row, pixel_col AS col, coverage, {listed(values)}
FROM (
{area_ctes(records, geometries, bands, options.on_error, polygons=fractional)},
__t AS (SELECT record_id, datetime, {records.carried()} unnest(__rasteret_pixel_tickets({fixed}, payload, nos, wkbs, crs, statement)) AS t FROM __v),
__o AS (
  SELECT g.src, g.g.wkb AS wkb, g.crs, t.record_id, t.datetime, {records.carried("t.examples")} t.t
  FROM __g AS g JOIN __t AS t ON t.t.no = g.no ORDER BY t.t.seq
),
__p AS (SELECT *, unnest(__rasteret_pace({fixed}, t.nbytes)) AS live FROM __o),
__b AS (
  SELECT src, record_id, datetime, {records.carried()}
    unnest(__rasteret_pixel_rows({fixed}, [{listed(kind.sql for kind in types)}], live, {of_live("t")}, {of_live("wkb")}, crs)) AS u
  FROM __p
),
__x AS (
  SELECT src, record_id, datetime, u.a AS a, u.b AS b, u.c AS c, u.d AS d, u.e AS e, u.f AS f,
    unnest(u.row) AS pixel_row, unnest(u.col) AS pixel_col, {coverage}, {listed(spread)} FROM __b
)
SELECT * FROM __x)"""
