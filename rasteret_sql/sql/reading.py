"""What the plans of all reads share: records, bands, options, and the CTEs up to one row per record with its candidates.

Every plan of a read has one shape: number the user's rows (``__g``), pair them with records by cell, let one function per record see all its
candidates, spread its answers with ``unnest``, and join the user's rows back, so that a row without a record stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rasteret_sql.sql import pairing
from rasteret_sql.sql.arguments import Arguments, chosen_bands
from rasteret_sql.sql.sources import Geometries, Records, records_of, unknown_bands
from rasteret_sql.udfs.options import Options

STATUS = "CASE {} WHEN 0 THEN 'ok' WHEN 1 THEN 'nodata' WHEN 2 THEN 'fallback' WHEN 3 THEN 'error' WHEN 4 THEN 'masked' END"
PIXELS = ("center", "all_touched", "window")


def reading(arguments: Arguments, name: str, *, needs_bands: bool = True) -> tuple[Records, list[str], Options]:
    """What all reads share: records, bands, options. Where expressions come back, ``bands`` may be left out: there are none then."""
    records = records_of(arguments.required(name), arguments.settings, arguments.crs("crs"))
    asked = arguments.get("bands")
    if records.collection is None and asked is None and needs_bands:
        raise unknown_bands(arguments.required(name), arguments.settings)
    bands = chosen_bands(asked, records.bands) if needs_bands or asked is not None else []
    on_error = arguments.choice("on_error", ("raise", "null"))
    return records, bands, Options(arguments.function, tuple(bands), on_error, scaled=arguments.flag("scaled"), settings=arguments.settings)


def records_cte(records: Records) -> str:
    return pairing.record_ctes(records if records.collection is not None else replace(records, scan="__rasteret_rel"))


def area_ctes(records: Records, geometries: Geometries, bands: Sequence[str], on_error: str, *, polygons: bool = False) -> str:
    """The CTEs that plans over areas share, up to ``__v``: one row per record with its candidates and its payload; see ``Geometries.areas``."""
    head = f"WITH {pairing.relation_cte(records)} __g AS MATERIALIZED ({geometries.areas(on_error, polygons=polygons)}),"
    return f"{head}{records_cte(records)},{pairing.area_pairs()},{pairing.with_payload(records, records.payload(bands))}"


def status_of(status: str, met: str) -> str:
    return f"CASE WHEN __g.g.error IS NOT NULL THEN 'error' WHEN {met} IS NULL THEN 'outside' ELSE {STATUS.format(status)} END"
