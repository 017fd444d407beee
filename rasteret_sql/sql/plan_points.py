"""Plans of ``rasteret_sample`` and ``rasteret_value``: values at points."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rasteret_sql.errors import InvalidArgument
from rasteret_sql.reader.interpolate import SIDES
from rasteret_sql.reader.visits import MASKED, NODATA, OK, UNMATCHED
from rasteret_sql.sql import hints, pairing
from rasteret_sql.sql.arguments import Arguments
from rasteret_sql.sql.catalogue import STATEMENT
from rasteret_sql.sql.durations import microseconds
from rasteret_sql.sql.formulas import Formulas
from rasteret_sql.sql.quote import ident, listed, text
from rasteret_sql.sql.reading import files_ahead, get_ready, of_live, reading, status_of
from rasteret_sql.sql.sources import BandType, Records, double_types
from rasteret_sql.sql.tables import Geometries, located_points
from rasteret_sql.udfs.options import Options

MAX_NEIGHBOURHOOD = 50
MAX_DISTANCE = 100
_OWN = "__rasteret_"
"""Our columns beside the user's."""
_FOUND = f"{_OWN}s"
"""What was found of a point in a record, or NULLs, as a struct."""
_TICKET = "(SELECT h.ticket FROM __h)"
"""The reader's for all points."""
_ZONED = r":[0-9.]+\s*([+-][0-9:]+|[A-Za-z].*)\s*$"
"""Text of a time with an offset or the name of a zone."""


@dataclass(frozen=True, slots=True)
class _Sample:
    """One call, checked."""

    records: Records
    shown: list[str]
    """Bands that come back."""
    formulas: Formulas
    options: Options
    time: str | None
    """Of ``match`` nearest: the column of the points that says when."""
    layout: str

    @property
    def bands(self) -> list[str]:
        """Bands with values: those that come back and those of expressions."""
        return list(self.options.bands[: len(self.options.bands) - self.options.mask_only])

    @property
    def stored(self) -> list[BandType]:
        """Types of what is read, of all bands: what the mask sees."""
        return double_types(self.options.bands) if self.options.scaled else self.records.types(self.options.bands, "value")

    @property
    def values(self) -> list[BandType]:
        return double_types(self.bands) if self.options.interpolation != "nearest" else self.stored[: len(self.bands)]

    @property
    def spread(self) -> str:
        """The columns of ``__s``, out of the function's result."""
        values = [f"unnest({kind.pick('u', i)}) AS v{i}" for i, kind in enumerate(self.values)]
        distance = "unnest(u.distance)" if self.options.max_distance_pixels else "NULL::DOUBLE"
        found = ["unnest(u.no) AS no", "unnest(u.status) AS status", f"{distance} AS distance", "unnest(u.error) AS error"]
        return listed([*found, *values, *self._windows])

    @property
    def columns(self) -> list[str]:
        """Columns of ``__s`` beside the bands' values."""
        return ["record_id", "datetime", "no", "status", "distance", "error", *(f"w{i}" for i in range(len(self._windows)))]

    @property
    def _windows(self) -> list[str]:
        if not self.options.neighbourhood:
            return []
        pixels = double_types(self.bands) if self.options.scaled else self.records.types(self.bands, "pixel")
        return [f"unnest({_window(pixels[i], self.values[i], i)}) AS w{i}" for i in range(len(self.bands))]

    @property
    def when(self) -> str | None:
        """Microseconds of a point's time, out of the user's row ``src``; None where points need none."""
        if self.time is None:
            return None
        value = f"struct_extract(src, __rasteret_time_column(typeof(src), {text(self.time)}))"
        return _microseconds(value, "CAST" if self.options.raise_errors else "TRY_CAST")

    @property
    def call(self) -> str:
        """The function with its first arguments; brackets stay open."""
        return self._calling("__rasteret_sample" if self.options.match == "all" else "__rasteret_first_match")

    @property
    def announcing(self) -> str:
        """The function that says beforehand what all records take, likewise."""
        return self._calling("__rasteret_sample_announce")

    def _calling(self, function: str) -> str:
        return f"{function}({text(self.options.to_json())}, [{listed(kind.sql for kind in self.stored)}]"

    @property
    def point_bytes(self) -> int:
        """About what a point takes while a record is read, result included."""
        window = (2 * self.options.neighbourhood + 1) ** 2 if self.options.neighbourhood else 0
        around = 64 * SIDES.get(self.options.interpolation, 0) ** 2
        return 16 + around + len(self.options.bands) * (9 + 9 * window)


def plan_sample(arguments: Arguments) -> str:
    asked = _asked(arguments)
    get_ready(asked.records, asked.options)
    geometries = Geometries.of(arguments, "points")
    read = _sample_all(asked) if asked.options.match == "all" else _first_match(asked)
    points = geometries.points(asked.options.on_error, asked.when, files_ahead(asked.records))
    ctes = f"WITH {pairing.relation_cte(asked.records, asked.options.bands)} {points},{pairing.record_ctes(asked.records)},{read},\n{_unmet(asked)}"
    source = "__s"
    if asked.formulas.expressions:
        ctes += f",\n__e AS ({asked.formulas.over('__s', asked.columns, asked.bands)})"
        source = "__e"
    at = {band: f"{_FOUND}.v{asked.bands.index(band)}" for band in asked.shown}
    columns = [*at.items(), *((expression.name, f"{_FOUND}.e{i}") for i, expression in enumerate(asked.formulas.expressions))]
    if asked.layout == "wide":
        names = [f"{value} AS {ident(name)}" for name, value in columns]
        names += [f"{_FOUND}.w{asked.bands.index(band)} AS {ident(band + '_window')}" for band in asked.shown if asked.options.neighbourhood]
        values = listed(names)
    else:
        long = listed(f"{{'band': {text(name)}, 'value': {value}::DOUBLE}}" for name, value in columns)
        values = f"unnest([{long}], recursive := true)"
    own = {"no": "r.no", "broken": "w.broken", "why": "w.why"} | ({"untimed": f"{asked.when} IS NULL"} if asked.time else {})
    rows = f"SELECT src, {listed(f'{value} AS {_OWN}{name}' for name, value in own.items())} FROM __rows AS r LEFT JOIN __w AS w ON w.no = r.no"
    ours = listed(_OWN + name for name in own)
    record = (f"{_OWN}record_id", f"{_OWN}datetime")  # not out of the struct: filters on them go below the reading
    return f"""
SELECT * EXCLUDE ({ours}, {listed(record)}, {_FOUND}), {record[0]} AS record_id, {record[1]} AS datetime, {values}, {_reasons(asked)} FROM (
{ctes}
SELECT p.*, {_OWN}r.record_id AS {record[0]}, {_OWN}r.datetime AS {record[1]}, {_OWN}r AS {_FOUND}
FROM (SELECT {ours}, src.* FROM ({rows})) AS p LEFT JOIN {source} AS {_OWN}r ON {_OWN}r.no = p.{_OWN}no)"""


def _asked(arguments: Arguments) -> _Sample:
    layout = arguments.choice("layout", ("wide", "long"))
    match = arguments.choice("match", ("all", "latest", "nearest"))
    interpolation = arguments.choice("interpolation", ("nearest", *SIDES))
    time, tolerance = _time(arguments, match)
    records, shown, formulas, options = formula_reading(arguments)
    options = replace(
        options,
        max_distance_pixels=arguments.count("max_distance_pixels", MAX_DISTANCE),
        neighbourhood=arguments.count("neighbourhood", MAX_NEIGHBOURHOOD),
        match=match,
        tolerance_us=tolerance,
        interpolation=interpolation,
    )
    if layout == "long" and options.neighbourhood:
        raise InvalidArgument("neighbourhood goes with layout := 'wide'")
    for name in ("max_distance_pixels", "neighbourhood"):
        for other, given in ((f"interpolation := {text(interpolation)}", interpolation != "nearest"), ("mask", formulas.mask is not None)):
            if given and getattr(options, name):
                raise InvalidArgument(f"{name} does not go with {other}, which looks at the point's own place; leave one of them out")
    asked = _Sample(records, shown, formulas, options, time, layout)
    stored = {band: kind.name for band, kind in zip(options.bands, asked.stored, strict=True)}
    values = {band: kind.name for band, kind in zip(asked.bands, asked.values, strict=True)}
    if records.collection is not None:
        formulas.check_types({band: name for band, name in values.items() if name}, {band: name for band, name in stored.items() if name})
    return asked


def _time(arguments: Arguments, match: str) -> tuple[str | None, int | None]:
    """Column and tolerance (microseconds) of ``match := 'nearest'``; ``time_column`` is ``time`` for DuckDB 1.5, whose parser knows that word."""
    given = {name: arguments.name(name) for name in ("time", "time_column")}
    tolerance = arguments.get("tolerance")
    columns = [column for column in given.values() if column is not None]
    if match != "nearest":
        for name, value in (*given.items(), ("tolerance", tolerance)):
            if value is not None:
                raise InvalidArgument(f"{name} goes with match := 'nearest'; match is {match!r}")
        return None, None
    if len(columns) == 2:
        raise InvalidArgument("time and time_column are one argument with two spellings; give one of them")
    if not columns:
        raise InvalidArgument("match := 'nearest' needs time_column := '<column of the points>' (or \"time\" := …)")
    return columns[0], None if tolerance is None else microseconds("tolerance", tolerance)


def formula_reading(arguments: Arguments) -> tuple[Records, list[str], Formulas, Options]:
    """Records, the bands that come back, expressions and mask, and options with all bands to read. With expressions, bands may be left out."""
    without = arguments.get("bands") is None and arguments.get("expressions") is not None
    records, shown, options = reading(arguments, "collection", needs_bands=not without)
    formulas = Formulas.of(arguments, records.bands)
    bands, mask_only = formulas.bands_read(shown)
    options = replace(options, bands=tuple(bands), mask_only=mask_only)
    if formulas.mask:
        options = replace(options, mask=formulas.mask.sql, mask_bands=formulas.mask.bands)
    return records, shown, formulas, options


def _unmet(asked: _Sample) -> str:
    """``__w``: the points of which it is known beforehand why they can, or may, meet no record, and whether they are broken."""
    hint = f"{hints.no_degrees('lon', 'lat')}, {hints.exchanged(asked.records, 'lon', 'lat')}"
    why = f"coalesce(error, if(lon IS NULL, 'the point is NULL, empty or not on Earth', NULL), {hint})"
    return f"__w AS (SELECT * FROM (SELECT no, error IS NOT NULL AS broken, {why} AS why FROM __g) WHERE why IS NOT NULL)"


def _reasons(asked: _Sample) -> str:
    """``status``, ``error`` and ``distance_pixels``: why there is no value where there is none."""
    broken, why, untimed, status = (f"{_OWN}{name}" for name in ("broken", "why", "untimed", "s.status"))
    reasons = [f"if({_FOUND}.no IS NULL, {why}, {_FOUND}.error)"]
    for i, expression in enumerate(asked.formulas.expressions):
        none = f"{_FOUND}.status NOT IN ({NODATA}, {MASKED}, {UNMATCHED}) AND {_FOUND}.e{i} IS NULL"
        status = f"if({none}, {NODATA}, {status})"
        reasons.append(f"if({none}, {text(f'the expression {expression.name} is NULL here')}, NULL)")
    if asked.time:
        tolerance = "has a time" if asked.options.tolerance_us is None else "is within tolerance of the time of the point"
        reasons.append(f"if({untimed}, 'the time of the point is NULL or no time', NULL)")
        reasons.append(f"if({_FOUND}.status = {UNMATCHED}, 'no record here {tolerance}', NULL)")
    distance = f"coalesce({_FOUND}.distance, if({_FOUND}.status = {OK}, 0, NULL))"
    return f"{status_of(status, broken)} AS status, coalesce({listed(reasons)}) AS error, {distance} AS distance_pixels"


def _microseconds(value: str, cast: str = "CAST") -> str:
    """Of a timestamp, date or text, since 1970 in UTC; NULL where infinite.

    A cast to TIMESTAMP would shift a TIMESTAMPTZ to the session's zone, and drops the zone of text; one to TIMESTAMPTZ takes text without a zone
    for the session's.
    """
    zoned, plain = f"epoch_us({cast}({value} AS TIMESTAMPTZ))", f"epoch_us({cast}({value} AS TIMESTAMP))"
    written = f"if(regexp_matches({value}::VARCHAR, {text(_ZONED)}), {zoned}, {plain})"
    return f"CASE typeof({value}) WHEN 'TIMESTAMP WITH TIME ZONE' THEN {zoned} WHEN 'VARCHAR' THEN {written} ELSE {plain} END"


def _sample_all(asked: _Sample) -> str:
    """Records are paced, so that one call's results hold no more than the memory setting; a tile serves one record, so no tile is read twice."""
    records, options = asked.records, asked.options
    pace = f"__rasteret_pace({text(options.to_json())}, points * {asked.point_bytes})"
    ticket = f"{_TICKET}, statement"
    return f"""{pairing.point_pairs(records)},{pairing.with_payload(records)},
__a AS (SELECT *, {asked.announcing}, payload, cells, {ticket}) AS announced FROM __v ORDER BY announced, f, k),
__p AS (SELECT *, unnest({pace}) AS live FROM __a, {pairing.MANY}),
__u AS (
  SELECT record_id, datetime, {records.carried()}
    unnest({asked.call}, {of_live("payload")}, {of_live("cells")}, {ticket})) AS u FROM __p
),
__s AS (SELECT record_id, datetime, {asked.spread} FROM __u)"""


def _first_match(asked: _Sample) -> str:
    """Needs all records of a point at once: one row for all, records newest first."""
    records = asked.records
    met = pairing.met(records)
    time = f", 'time': {_microseconds('datetime')}" if asked.options.match == "nearest" else ""
    join = "LEFT JOIN" if asked.options.match == "nearest" else "JOIN"
    return f"""{pairing.point_pairs(records)},
__recs AS MATERIALIZED (
  SELECT d.*, {met.columns}, (row_number() OVER (ORDER BY d.datetime DESC NULLS LAST, d.record_id, d.f, d.k) - 1)::INTEGER AS ri
  FROM {met.source}
),
__u AS (
  SELECT {records.carried()} unnest({asked.call}, payloads, pairs, ticket, statement)) AS u FROM (
    SELECT {records.carried("any_value(examples) AS examples")}
      list(payload ORDER BY ri) AS payloads, list({{'record': ri, 'cells': cells{time}}}) AS pairs,
      {_TICKET} AS ticket, {STATEMENT} AS statement FROM __recs
  ) WHERE payloads IS NOT NULL
),
__s1 AS (SELECT u.record[1] AS ri, {asked.spread} FROM __u),
__s AS (SELECT r.record_id, r.datetime, t.* FROM __s1 AS t {join} __recs AS r ON r.ri = t.ri)"""


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
    asked = _Sample(records, bands, Formulas(), replace(options, match="latest"), None, "wide")
    shape = text(point) if isinstance(point, str) else f"from_hex({text(point.hex())})"
    located = located_points(f"(SELECT 0 AS no, {shape} AS place, 'OGC:CRS84' AS crs)", "refuse")
    return f"""
WITH {pairing.relation_cte(records, bands)} {located},{pairing.record_ctes(records)},{_first_match(asked)}
SELECT v0 AS value FROM __s"""
