"""Plans of ``rasteret_sample`` and ``rasteret_value``: values at points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rasteret_sql.errors import InvalidArgument
from rasteret_sql.sql import pairing
from rasteret_sql.sql.arguments import Arguments
from rasteret_sql.sql.quote import ident, listed, text
from rasteret_sql.sql.reading import reading, records_cte, status_of
from rasteret_sql.sql.sources import BandType, Geometries, Records, double_types
from rasteret_sql.udfs.options import Options

MAX_NEIGHBOURHOOD = 50
MAX_DISTANCE = 100


def plan_sample(arguments: Arguments) -> str:
    layout = arguments.choice("layout", ("wide", "long"))
    match = arguments.choice("match", ("all", "latest"))
    arguments.choice("interpolation", ("nearest",))
    records, bands, options = reading(arguments, "collection")
    options = replace(
        options,
        max_distance_pixels=arguments.count("max_distance_pixels", MAX_DISTANCE),
        neighbourhood=arguments.count("neighbourhood", MAX_NEIGHBOURHOOD),
    )
    types = double_types(bands) if options.scaled else records.types(bands, "value")
    pixel_types = double_types(bands) if options.scaled else records.types(bands, "pixel")
    geometries = Geometries.of(arguments, "points")
    values = [f"unnest({kind.pick('u', i)}) AS v{i}" for i, kind in enumerate(types)]
    windows = [f"unnest({_window(pixel_types[i], types[i], i)}) AS w{i}" for i in range(len(bands))] if options.neighbourhood else []
    spread = listed(
        [
            "u.record[1] AS ri",
            "unnest(u.no) AS no",
            "unnest(u.status) AS status",
            "unnest(u.distance) AS distance",
            "unnest(u.error) AS error",
            *values,
            *windows,
        ]
    )
    call = f"__rasteret_{'sample' if match == 'all' else 'latest'}({text(options.to_json())}, [{listed(kind.sql for kind in types)}]"
    read = _sample_all(records, bands, options, call, spread) if match == "all" else _sample_latest(records, bands, call, spread)
    ctes = f"""
WITH {pairing.relation_cte(records)} __g AS MATERIALIZED ({geometries.points(options.on_error)}),{records_cte(records)},{read}"""
    reason = "coalesce(__g.g.error, s.error, if(__g.g.lon IS NULL, 'the point is NULL, empty or not on Earth', NULL))"
    reasons = f"{status_of('s.status', 's.no')} AS status, {reason} AS error, coalesce(s.distance, if(s.status = 0, 0, NULL)) AS distance_pixels"
    joined = "FROM __g LEFT JOIN __s AS s ON s.no = __g.no"
    if layout == "wide":
        names = [f"s.v{i} AS {ident(band)}" for i, band in enumerate(bands)]
        names += [f"s.w{i} AS {ident(band + '_window')}" for i, band in enumerate(bands) if windows]
        return f"{ctes}\nSELECT src.*, s.record_id, s.datetime, {listed(names)}, {reasons} {joined}"
    if windows:
        raise InvalidArgument("neighbourhood goes with layout := 'wide'")
    long = listed(f"{{'band': {text(band)}, 'value': s.v{i}::DOUBLE}}" for i, band in enumerate(bands))
    return f"""{ctes}
SELECT src.*, record_id, datetime, b.band AS band, b.value AS value, status, error, distance_pixels
FROM (SELECT __g.src, s.record_id, s.datetime, unnest([{long}]) AS b, {reasons} {joined})"""


HELD = "__h AS MATERIALIZED (SELECT __rasteret_hold(list({'no': no, 'x': g.x, 'y': g.y}), any_value(crs)) AS ticket FROM __g)"
"""The coordinates of all points, handed to the reader once."""


def _sample_all(records: Records, bands: Sequence[str], options: Options, call: str, spread: str) -> str:
    """Records are paced, so that one call's results hold no more than the memory setting; a tile serves one record, so no tile is read twice."""
    window = (2 * options.neighbourhood + 1) ** 2 if options.neighbourhood else 0
    result_bytes = f"len(nos) * {16 + len(bands) * (9 + 9 * window)}"
    return f"""{pairing.point_pairs()},{pairing.with_payload(records, records.payload(bands))},
{HELD},
__p AS (SELECT *, unnest(__rasteret_pace({text(options.to_json())}, {result_bytes})) AS live FROM __v, {pairing.MANY}),
__u AS (
  SELECT record_id, datetime, payload,
    unnest({call}, if(live IS NULL, NULL, payload), if(live IS NULL, NULL, nos), (SELECT ticket FROM __h))) AS u FROM __p
),
__s AS (SELECT record_id, datetime, {spread} FROM __u)"""


def _sample_latest(records: Records, bands: Sequence[str], call: str, spread: str) -> str:
    """Needs all records of a point at once: one row for all, records newest first."""
    payload = f"SELECT {records.file} AS f, {records.row} AS k, {records.payload(bands)} AS payload FROM {pairing.source_of(records)}"
    return f"""{pairing.point_pairs()},
{HELD},
__recs AS MATERIALIZED (
  SELECT d.*, m.payload, (row_number() OVER (ORDER BY d.datetime DESC NULLS LAST, d.record_id, d.f, d.k) - 1)::INTEGER AS ri
  FROM __pairs AS d JOIN ({payload}) AS m ON m.f = d.f AND m.k = d.k
),
__u AS (
  SELECT payloads[1] AS payload, unnest({call}, payloads, pairs, ticket)) AS u FROM (
    SELECT list(payload ORDER BY ri) AS payloads, list({{'record': ri, 'nos': nos}}) AS pairs, (SELECT ticket FROM __h) AS ticket FROM __recs
  ) WHERE payloads IS NOT NULL
),
__s1 AS (SELECT {spread} FROM __u),
__s AS (SELECT r.record_id, r.datetime, t.* FROM __s1 AS t JOIN __recs AS r ON r.ri = t.ri)"""


def _window(pixel: BandType, value: BandType, index: int) -> str:
    """Neighbourhoods travel as 64-bit lists; they are cast back to the band's own type."""
    if pixel.name is None:
        slots = (("WHEN 'UBIGINT' THEN", "wu"), ("WHEN 'FLOAT' THEN", "wf"), ("WHEN 'DOUBLE' THEN", "wf"), ("ELSE", "wi"))
        cases = " ".join(f"{case} cast_to_type(u.{slot}[{index + 1}], [[{pixel.example}]])" for case, slot in slots)
        return f"CASE {value.sql} {cases} END"
    slot = "wf" if pixel.name in ("FLOAT", "DOUBLE") else "wu" if pixel.name == "UBIGINT" else "wi"
    return f"u.{slot}[{index + 1}]::{pixel.name}[][]"


def plan_value(arguments: Arguments) -> str:
    """One number: the newest valid value at one point."""
    records, bands, options = reading(arguments, "collection")
    if len(bands) != 1:
        raise InvalidArgument("one band gives one value")
    point = arguments.required("point")
    if not isinstance(point, str | bytes):
        raise InvalidArgument("point is not valid; WKT such as 'POINT(77.58 12.97)' is, longitude first")
    kind = (double_types(bands) if options.scaled else records.types(bands, "value"))[0]
    call = f"__rasteret_latest({text(options.to_json())}, [{kind.sql}]"
    spread = f"u.record[1] AS ri, unnest(u.no) AS no, unnest({kind.pick('u', 0)}) AS v0"
    shape = text(point) if isinstance(point, str) else f"from_hex({text(point.hex())})"
    row = f"SELECT 0 AS no, 'OGC:CRS84' AS crs, unnest([__rasteret_points({shape}, 'OGC:CRS84', 'refuse')]) AS g"
    return f"""
WITH {pairing.relation_cte(records)} __g AS MATERIALIZED ({row}),{records_cte(records)},{_sample_latest(records, bands, call, spread)}
SELECT v0 AS value FROM __s"""
