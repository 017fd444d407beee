"""From a call's arguments to SQL text. Pure but for the file system; never raises: an error goes out as ``error('…')``.

Every plan of a read has one shape: number the user's rows (``__g``), pair them with records by cell, let one function per record see all its
candidates, spread its answers with ``unnest``, and join the user's rows back, so that a row without a record stays.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa

from rasteret_sql.collection.workspace import check_name
from rasteret_sql.errors import InvalidArgument, RasteretError, one_line
from rasteret_sql.sql import pairing
from rasteret_sql.sql.arguments import Arguments, chosen_bands, shown
from rasteret_sql.sql.catalogue import functions_text
from rasteret_sql.sql.quote import ident, listed, text
from rasteret_sql.sql.sources import ROW, BandType, Geometries, Records, collection_on_disk, double_types, records_of, table_scan, unknown_bands
from rasteret_sql.udfs.arrow import one_chunk
from rasteret_sql.udfs.options import Options

STATUS = "CASE {} WHEN 0 THEN 'ok' WHEN 1 THEN 'nodata' WHEN 2 THEN 'fallback' WHEN 3 THEN 'error' END"
PIXELS = ("center", "all_touched", "window")
MAX_NEIGHBOURHOOD = 50
MAX_DISTANCE = 100


def plan(function: pa.Array, arguments: pa.Array) -> pa.Array:
    """The function that ``FROM query(…)`` folds while binding."""
    rows = zip(one_chunk(function).to_pylist(), one_chunk(arguments).to_pylist(), strict=True)
    return pa.array([plan_text(name, row) for name, row in rows], pa.string())


def plan_text(function: str, row: Mapping[str, Any]) -> str:
    """SQL text of one call; an error becomes text that raises it in one line."""
    try:
        return PLANNERS[function](Arguments.of(function, row))
    except RasteretError as error:
        return f"FROM query(error({text(one_line(f'{function}: {error}'))}))"


# -- reading --------------------------------------------------------------------------------------------------------------------


def plan_sample(arguments: Arguments) -> str:
    layout = arguments.choice("layout", ("wide", "long"))
    match = arguments.choice("match", ("all", "latest"))
    arguments.choice("interpolation", ("nearest",))
    records, bands, options = _reading(arguments, "collection")
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
WITH {pairing.relation_cte(records)} __g AS MATERIALIZED ({geometries.points(options.on_error)}),{_records_cte(records)},{read}"""
    reason = "coalesce(__g.g.error, s.error, if(__g.g.lon IS NULL, 'the point is NULL, empty or not on Earth', NULL))"
    reasons = f"{_status('s.status', 's.no')} AS status, {reason} AS error, coalesce(s.distance, if(s.status = 0, 0, NULL)) AS distance_pixels"
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


def _area_ctes(records: Records, geometries: Geometries, bands: Sequence[str], on_error: str) -> str:
    """The CTEs that plans over areas share, up to ``__v``: one row per record with its candidates and its payload."""
    head = f"WITH {pairing.relation_cte(records)} __g AS MATERIALIZED ({geometries.areas(on_error)}),"
    return f"{head}{_records_cte(records)},{pairing.area_pairs()},{pairing.with_payload(records, records.payload(bands))}"


def plan_read(arguments: Arguments) -> str:
    records, bands, options = _reading(arguments, "collection")
    options = replace(options, pixels=arguments.choice("pixels", PIXELS))
    types = [BandType("DOUBLE", "pixel", "")] * len(bands) if options.scaled else records.types(bands, "pixel")
    geometries = Geometries.of(arguments, "geometries")
    fixed = text(options.to_json())
    pixels = [f"{kind.pick('u', i)} AS {ident(band)}" for i, (band, kind) in enumerate(zip(bands, types, strict=True))]
    examples = "payload, " if records.collection is None else ""
    return f"""
{_area_ctes(records, geometries, bands, options.on_error)},
__t AS (SELECT record_id, datetime, {examples} unnest(__rasteret_announce({fixed}, payload, nos, wkbs, crs)) AS t FROM __v),
__o AS (
  SELECT g.src, g.g, g.crs, t.record_id, t.datetime, {"t.payload, " if examples else ""} t.t
  FROM __g AS g LEFT JOIN __t AS t ON t.t.no = g.no ORDER BY t.t.seq NULLS LAST
),
__p AS (SELECT *, unnest(__rasteret_pace({fixed}, t.nbytes)) AS live FROM __o),
__b AS (
  SELECT src, g, record_id, datetime, {examples} t.no AS met,
    unnest(__rasteret_fetch({fixed}, [{listed(kind.sql for kind in types)}], live, t, g.wkb, crs)) AS u FROM __p
)
SELECT src.*, record_id, datetime, u.crs AS crs, u.transform AS transform, u.height AS height, u.width AS width, {listed(pixels)},
  CASE WHEN g.error IS NOT NULL THEN 'error' WHEN met IS NULL THEN 'outside' ELSE {STATUS.format("u.status")} END AS status,
  coalesce(g.error, u.error, if(g.xmin IS NULL, 'the geometry is NULL, empty or not on Earth', NULL)) AS error
FROM __b"""


def plan_cost(arguments: Arguments) -> str:
    totals = listed(f"coalesce(sum(c.{name}), 0)::BIGINT" for name in ("tiles", "requests", "bytes", "bytes_cached"))
    records, bands, options = _reading(arguments, "collection")
    arguments.choice("pixels", PIXELS)  # all of them read the same tiles
    geometries = Geometries.of(arguments, "geometries")
    return f"""
{_area_ctes(records, geometries, bands, options.on_error)},
__t AS MATERIALIZED (SELECT record_id, unnest(__rasteret_cost({text(options.to_json())}, payload, nos, wkbs, crs)) AS c FROM __v)
SELECT record_id, c.band AS band, c.tiles AS tiles, c.requests AS requests, c.bytes AS bytes, c.bytes_cached AS bytes_cached FROM __t
UNION ALL
SELECT 'total', NULL, {totals} FROM __t"""


def plan_value(arguments: Arguments) -> str:
    """One number: the newest valid value at one point."""
    records, bands, options = _reading(arguments, "collection")
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
WITH {pairing.relation_cte(records)} __g AS MATERIALIZED ({row}),{_records_cte(records)},{_sample_latest(records, bands, call, spread)}
SELECT v0 AS value FROM __s"""


def _reading(arguments: Arguments, name: str) -> tuple[Records, list[str], Options]:
    """What all reads share: records, bands, options."""
    records = records_of(arguments.required(name), arguments.settings, arguments.crs("crs"))
    if records.collection is None and arguments.get("bands") is None:
        raise unknown_bands(arguments.required(name), arguments.settings)
    bands = chosen_bands(arguments.get("bands"), records.bands)
    on_error = arguments.choice("on_error", ("raise", "null"))
    return records, bands, Options(arguments.function, tuple(bands), on_error, scaled=arguments.flag("scaled"), settings=arguments.settings)


def _records_cte(records: Records) -> str:
    return pairing.record_ctes(records if records.collection is not None else replace(records, scan="__rel"))


def _status(status: str, met: str) -> str:
    return f"CASE WHEN __g.g.error IS NOT NULL THEN 'error' WHEN {met} IS NULL THEN 'outside' ELSE {STATUS.format(status)} END"


# -- collections ------------------------------------------------------------------------------------------------------------------


def plan_collection(arguments: Arguments) -> str:
    """The rows of a collection; each band's metadata gains typed NULLs, so that what is filtered from it still knows its types."""
    records = records_of(arguments.required("collection"), arguments.settings, arguments.crs("crs"))
    if records.collection is None:
        return f"SELECT * EXCLUDE (__rasteret_row) FROM {records.scan}"
    columns = []
    names = records.collection.band_names
    for band, value, pixel in zip(records.collection.bands, records.types(names, "value"), records.types(names, "pixel"), strict=True):
        column = ident(f"{band.name}_metadata")
        if not band.typed:
            typed = f"struct_insert({column}, value := NULL::{value.name}, pixel := NULL::{pixel.name})"
            columns.append(f"if({column} IS NULL, NULL, {typed}) AS {column}")
    replaced = f" REPLACE ({listed(columns)})" if columns else ""
    return f"SELECT * EXCLUDE (__rasteret_file, file_row_number){replaced} FROM {records.scan}"


def plan_bands(arguments: Arguments) -> str:
    collection = collection_on_disk(arguments.required("collection"), arguments.settings, arguments.crs("crs"))
    return _rows("__rasteret_bands", {"bands": collection.band_names, "files": [str(file) for file in collection.files]})


def plan_failures(arguments: Arguments) -> str:
    collection = collection_on_disk(arguments.required("collection"), arguments.settings)
    return _rows("__rasteret_failures", {"path": str(collection.path)})


def plan_collections(arguments: Arguments) -> str:
    return _rows("__rasteret_collections", {"settings": asdict(arguments.settings)})


def plan_settings(arguments: Arguments) -> str:
    return _rows("__rasteret_settings", {"settings": asdict(arguments.settings)})


def plan_io(arguments: Arguments) -> str:
    last = arguments.get("last", 10)
    if isinstance(last, bool) or not isinstance(last, int) or last < 1:
        raise InvalidArgument(f"last := {shown(last)} is not valid; a whole number from 1 is")
    return _rows("__rasteret_io", {"last": last})


def plan_functions(arguments: Arguments) -> str:
    del arguments
    return functions_text()


def _rows(function: str, arguments: Mapping[str, Any]) -> str:
    return f"SELECT unnest({function}({text(json.dumps(arguments))}), recursive := true)"


def plan_build(arguments: Arguments) -> str:
    name = arguments.required("name")
    if not isinstance(name, str):
        raise InvalidArgument(f"name := {shown(name)} is not valid; a name in quotes is")
    check_name(name)
    source = arguments.required("records")
    options = {
        "column_map": arguments.mapping("column_map", str) or {},
        "href_column": arguments.name("href_column"),
        "band_index_map": arguments.mapping("band_index_map", int),
        "band_columns": arguments.mapping("band_columns", str),
        "band_codes": arguments.names("band_codes"),
        "url_rewrite": arguments.mapping("url_rewrite", str) or {},
    }
    request = {"name": name, "source": str(source), "options": options, "settings": asdict(arguments.settings)}
    return f"""
SELECT unnest(u, recursive := true) FROM (
  SELECT unnest(__rasteret_build({text(json.dumps(request))}, coalesce(rows, []))) AS u
  FROM (SELECT list({ROW}) AS rows FROM {table_scan(source)} AS {ROW})
)"""


PLANNERS: Mapping[str, Callable[[Arguments], str]] = {
    "rasteret_sample": plan_sample,
    "rasteret_read": plan_read,
    "rasteret_plan": plan_cost,
    "rasteret_value": plan_value,
    "rasteret_collection": plan_collection,
    "rasteret_collections": plan_collections,
    "rasteret_bands": plan_bands,
    "rasteret_failures": plan_failures,
    "rasteret_functions": plan_functions,
    "rasteret_settings": plan_settings,
    "rasteret_io": plan_io,
    "rasteret_build_from_table": plan_build,
}
