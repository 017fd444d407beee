"""What the plans of all reads share: records, bands, options, and the CTEs up to one row per record with its candidates.

Every plan of a read has one shape: number the user's rows (``__g``), pair them with records by cell, let one function per record see all its
candidates, spread its answers with ``unnest``, and join the user's rows back, so that a row without a record stays.
"""

from __future__ import annotations

from collections.abc import Sequence

from rasteret_sql.collection import ahead
from rasteret_sql.errors import InvalidArgument
from rasteret_sql.raster.crs import check_crs
from rasteret_sql.raster.resample import RESAMPLING
from rasteret_sql.raster.targets import Target
from rasteret_sql.reader.visits import ERROR, FALLBACK, MASKED, NODATA, OK
from rasteret_sql.sql import pairing
from rasteret_sql.sql.arguments import Arguments, chosen_bands, shown
from rasteret_sql.sql.catalogue import STATEMENT
from rasteret_sql.sql.polling import working
from rasteret_sql.sql.sources import Records, records_of, unknown_bands
from rasteret_sql.sql.tables import Geometries
from rasteret_sql.udfs.options import Options

_STATUS = f"WHEN {OK} THEN 'ok' WHEN {NODATA} THEN 'nodata' WHEN {FALLBACK} THEN 'fallback' WHEN {ERROR} THEN 'error' WHEN {MASKED} THEN 'masked'"
PIXELS = ("center", "all_touched", "window")
MOST_UNITS = 1e10
"""The Earth is 4e7 metres around; beyond, numbers are no places on it, and lose the pixels' own places to rounding."""


def reading(arguments: Arguments, name: str, *, needs_bands: bool = True) -> tuple[Records, list[str], Options]:
    """What all reads share: records, bands, options. Where expressions come back, ``bands`` may be left out: there are none then."""
    records = records_of(arguments.required(name), arguments.settings, arguments.crs("crs"))
    asked = arguments.get("bands")
    if records.collection is None and asked is None and needs_bands:
        raise unknown_bands(arguments.required(name), arguments.settings)
    bands = chosen_bands(asked, records.bands) if needs_bands or asked is not None else []
    on_error = arguments.choice("on_error", ("raise", "null"))
    return records, bands, Options(arguments.function, tuple(bands), on_error, scaled=arguments.flag("scaled"), settings=arguments.settings)


def target_of(arguments: Arguments, bands: Sequence[str], kept: Sequence[str] = ()) -> Target:
    """The grid that a call asks for; what would have no effect is refused. ``kept`` are bands taken by the nearest pixel always."""
    resolution, crs, align_to = arguments.number("resolution"), arguments.crs("target_crs"), arguments.place("align_to")
    for name, numbers in (("resolution", (resolution,)), ("align_to", align_to or ())):
        if any(number is not None and abs(number) > MOST_UNITS for number in numbers):
            raise InvalidArgument(f"{name} := {shown(arguments.get(name))} is not valid; numbers up to {MOST_UNITS:g} are")
    asked = arguments.get("resampling")
    resampling = arguments.choice("resampling", RESAMPLING)
    if crs is not None:
        check_crs(crs)
        if resolution is None:
            raise InvalidArgument(f"target_crs := {shown(crs)} needs resolution, the size of a pixel in units of that CRS")
    elif resolution is None:
        if align_to is not None:
            raise InvalidArgument("align_to has no effect without resolution: arrays come on the record's own grid")
        if asked is not None and len(bands) == 1:
            raise InvalidArgument("resampling has no effect on one band without resolution or target_crs: its pixels come as stored")
    return Target(resolution, crs, align_to, resampling, tuple(kept))


def get_ready(records: Records, options: Options) -> None:
    """Begin with what the first call of the statement would wait for; DuckDB plans meanwhile."""
    if records.collection is not None:
        ahead.get_ready(records.collection.files, options.bands, overviews=not options.target.own, within=working)


def files_ahead(records: Records) -> Sequence[str]:
    """The files whose records are looked up ahead, as far as they are."""
    return () if records.collection is None else records.collection.files[: ahead.MOST_FILES]


def area_ctes(
    records: Records, geometries: Geometries, bands: Sequence[str], on_error: str, *, polygons: bool = False, number: str = STATEMENT
) -> str:
    """The CTEs that plans over areas share, up to ``__v``: one row per record with its candidates and its payload; see ``Geometries.areas``."""
    head = f"WITH {pairing.relation_cte(records, bands)} __g AS MATERIALIZED ({geometries.areas(on_error, polygons=polygons)}),"
    return f"{head}{pairing.record_ctes(records)},{pairing.area_pairs(records)},{pairing.with_payload(records, number)}"


def status_of(status: str, broken: str) -> str:
    """The text of a status, out of the reader's number (NULL where no record was met) and whether the place itself is ``broken``."""
    return f"CASE {status} {_STATUS} ELSE if({broken}, 'error', 'outside') END"


def of_live(expression: str) -> str:
    """An expression on a paced row (:mod:`rasteret_sql.udfs.pacing`); NULL in dead rows, which repeat a live one.

    A function is handed all 2,048 rows of a vector, polygons of a megabyte too.
    """
    return f"if(live IS NULL, NULL, {expression})"
