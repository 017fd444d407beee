"""Plans of ``rasteret_read`` and ``rasteret_plan``: pixels under geometries, and what they would cost."""

from __future__ import annotations

from dataclasses import replace

from rasteret_sql.sql import hints
from rasteret_sql.sql.arguments import Arguments
from rasteret_sql.sql.quote import ident, listed, text
from rasteret_sql.sql.reading import PIXELS, area_ctes, get_ready, of_live, reading, status_of, target_of
from rasteret_sql.sql.sources import BandType
from rasteret_sql.sql.tables import Geometries


def plan_read(arguments: Arguments) -> str:
    records, bands, options = reading(arguments, "collection")
    options = replace(options, pixels=arguments.choice("pixels", PIXELS), target=target_of(arguments, bands))
    get_ready(records, options)
    types = [BandType("DOUBLE", "pixel", "")] * len(bands) if options.scaled else records.types(bands, "pixel")
    geometries = Geometries.of(arguments, "geometries")
    fixed = text(options.to_json())
    pixels = [f"{kind.pick('u', i)} AS {ident(band)}" for i, (band, kind) in enumerate(zip(bands, types, strict=True))]
    hint = hints.exchanged(records, "(g.xmin + g.xmax) / 2", "(g.ymin + g.ymax) / 2")
    return f"""
{area_ctes(records, geometries, bands, options.on_error)},
__t AS (SELECT record_id, datetime, {records.carried()} unnest(__rasteret_announce({fixed}, payload, nos, wkbs, crs, statement)) AS t FROM __v),
__o AS (
  SELECT g.src, g.g, g.crs, t.record_id, t.datetime, {records.carried("t.examples")} t.t
  FROM __g AS g LEFT JOIN __t AS t ON t.t.no = g.no ORDER BY t.t.seq NULLS LAST
),
__p AS (SELECT *, unnest(__rasteret_pace({fixed}, t.nbytes)) AS live FROM __o),
__b AS (
  SELECT src, g, record_id, datetime, {records.carried()} t.no AS met,
    unnest(__rasteret_fetch({fixed}, [{listed(kind.sql for kind in types)}], live, {of_live("t")}, {of_live("g.wkb")}, crs)) AS u FROM __p
),
__l AS (SELECT *, unnest(u.live) AS live FROM __b)
SELECT src.*, record_id, datetime, u.crs AS crs, u.transform AS transform, u.height AS height, u.width AS width, {listed(pixels)},
  {status_of("u.status", "g.error IS NOT NULL")} AS status,
  coalesce(g.error, u.error, if(g.xmin IS NULL, 'the geometry is NULL, empty or not on Earth', NULL), if(met IS NULL, {hint}, NULL)) AS error
FROM __l WHERE live IS NOT NULL"""


def plan_cost(arguments: Arguments) -> str:
    totals = listed(f"coalesce(sum(c.{name}), 0)::BIGINT" for name in ("tiles", "requests", "bytes", "bytes_cached"))
    records, bands, options = reading(arguments, "collection")
    rule = arguments.choice("pixels", (*PIXELS, "fractional"))  # all of them read tiles of the same windows
    options = replace(options, pixels=rule, target=target_of(arguments, bands))
    geometries = Geometries.of(arguments, "geometries")
    return f"""
{area_ctes(records, geometries, bands, options.on_error, number="(SELECT hash(uuid()) FROM __g LIMIT 1)")},
__t AS MATERIALIZED (SELECT record_id, unnest(__rasteret_cost({text(options.to_json())}, payload, nos, wkbs, crs, statement)) AS c FROM __v)
SELECT record_id, c.band AS band, c.tiles AS tiles, c.requests AS requests, c.bytes AS bytes, c.bytes_cached AS bytes_cached FROM __t
UNION ALL
SELECT 'total', NULL, {totals} FROM __t"""
