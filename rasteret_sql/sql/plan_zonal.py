"""Plan of ``rasteret_zonal``: statistics per geometry and record, or merged over the records of a period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rasteret_sql.errors import InvalidArgument
from rasteret_sql.raster.statistics import Statistic, parse_statistics
from rasteret_sql.reader.zones import MASK, WEIGHT
from rasteret_sql.sql import hints, pairing
from rasteret_sql.sql.arguments import Arguments, shown
from rasteret_sql.sql.catalogue import STATEMENT
from rasteret_sql.sql.expressions import Expression, check_boolean, check_numeric, parse_expression
from rasteret_sql.sql.formulas import Formulas
from rasteret_sql.sql.quote import ident, listed, text
from rasteret_sql.sql.reading import get_ready, of_live, reading, status_of, target_of
from rasteret_sql.sql.sources import BandType, Records, double_types
from rasteret_sql.sql.tables import Geometries
from rasteret_sql.udfs.options import Options

ZONE_PIXELS = ("fractional", "center", "all_touched", "window")
PERIODS = {"record": "", "day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y", "all": ""}
"""``per`` and how a period is written."""
DEFAULT_STATISTICS = ["count", "mean", "min", "max", "stddev_pop"]
_COLUMNS = {"frac": "shares", "values": "vals", "coverage": "cover", "min_point": "least", "max_point": "greatest"}
"""Statistics that are no numbers and the field each travels in."""
_LONG = ("frac", "values", "coverage")
"""Statistics as long as the zone has pixels: their records are paced."""


@dataclass(frozen=True, slots=True)
class _Zonal:
    """What a call wants of the bands: which come out, which are read for it, and the checked expressions."""

    bands: tuple[str, ...]
    outputs: tuple[str, ...]
    expressions: tuple[tuple[str, Expression], ...]
    """By the name they are evaluated under: the outputs that are no bands, then mask and weights."""

    @classmethod
    def of(cls, arguments: Arguments, shown: Sequence[str], known: Sequence[str] | None, statistics: Sequence[Statistic]) -> _Zonal:
        formulas = Formulas.of(arguments, known)
        read, _ = formulas.bands_read(shown)
        expressions = [(expression.name, expression) for expression in formulas.expressions]
        if formulas.mask is not None:
            expressions.append((MASK, formulas.mask))
        weights = arguments.name("weights", "a band or an expression in quotes")
        if weights is not None:
            expressions.append((WEIGHT, parse_expression("weights", "weights", weights, known)))
        elif weighted := next((s.label for s in statistics if s.name.startswith("weighted_")), None):
            raise InvalidArgument(f"{weighted} needs weights := '<band or expression>'")
        bands = dict.fromkeys([*read, *(band for _, expression in expressions for band in expression.bands)])
        return cls(tuple(bands), (*shown, *(expression.name for expression in formulas.expressions)), tuple(expressions))

    @property
    def masking(self) -> list[str]:
        """The bands that only the mask looks at: codes and flags, which cannot be averaged."""
        others = {band for name, expression in self.expressions if name != MASK for band in expression.bands}
        return [band for band in self.bands if band not in others and band not in self.outputs]

    def check(self, types: Mapping[str, str]) -> None:
        """Conditions must be conditions, everything else numbers."""
        for name, expression in self.expressions:
            (check_boolean if name == MASK else check_numeric)(expression, types)


def plan_zonal(arguments: Arguments) -> str:
    per = arguments.choice("per", tuple(PERIODS))
    solar = arguments.flag("solar_day")
    if solar and per != "day":
        raise InvalidArgument(f"solar_day := true goes with per := 'day', not with per := {shown(per)}")
    names = arguments.names("stats") or DEFAULT_STATISTICS
    statistics = parse_statistics(names)
    records, shown_bands, options = reading(arguments, "collection", needs_bands=arguments.get("expressions") is None)
    asked = _Zonal.of(arguments, shown_bands, records.bands, statistics)
    options = replace(
        options,
        bands=asked.bands,
        pixels=arguments.choice("pixels", ZONE_PIXELS),
        outputs=asked.outputs,
        expressions=tuple((name, expression.sql, expression.bands) for name, expression in asked.expressions),
        statistics=tuple(names),
        target=target_of(arguments, asked.bands, asked.masking),
    )
    get_ready(records, options)
    types = double_types(asked.bands) if options.scaled else records.types(asked.bands, "value")
    if records.collection is not None:
        asked.check({band: kind.name for band, kind in zip(asked.bands, types, strict=True) if kind.name})
    geometries = Geometries.of(arguments, "geometries")
    long = any(statistic.name in _LONG for statistic in statistics)
    read = _per_record(records, options, types, paced=long) if per == "record" else _per_period(records, options, types, per, solar=solar)
    hint = hints.exchanged(records, "(g.g.xmin + g.g.xmax) / 2", "(g.g.ymin + g.g.ymax) / 2")
    first = "z.record_id AS record_id" if per == "record" else "z.period AS period"
    return f"""
WITH {pairing.relation_cte(records, options.bands)} __g AS MATERIALIZED ({geometries.areas(options.on_error, polygons=True)}),
{pairing.record_ctes(records)},
{pairing.area_pairs(records)},
__h AS MATERIALIZED (SELECT __rasteret_hold_zones(list({{'no': no, 'wkb': g.wkb}}), any_value(crs)) AS ticket FROM __g),{read}
SELECT src.*, {first}, z.datetime AS datetime, ([{listed(map(text, asked.outputs))}])[g.o + 1] AS band, {listed(_statistic_columns(statistics))},
  {status_of("z.u.status", "g.g.error IS NOT NULL")} AS status,
  coalesce(g.g.error, z.u.error, if(g.g.xmin IS NULL, 'the geometry is NULL, empty or not on Earth', NULL), if(z.u IS NULL, {hint}, NULL)) AS error
FROM (SELECT *, unnest(range({len(asked.outputs)})) AS o FROM __g) AS g LEFT JOIN __z AS z ON z.u."no" = g.no AND z.u.output = g.o"""


def _call(options: Options, types: list[BandType]) -> str:
    return f"{text(options.to_json())}, [{listed(kind.sql for kind in types)}]"


def _per_record(records: Records, options: Options, types: list[BandType], *, paced: bool) -> str:
    """Each record on its own, so that filters on record_id and datetime go below the reading."""
    ticket = "(SELECT ticket FROM __h)"
    call = _call(options, types)
    rows, live = "__a", ("payload", '"nos"')
    pace = ""
    if paced:
        weight = f"__rasteret_weigh({text(options.to_json())}, payload, nos, {ticket})"
        pace = f"\n__p AS (SELECT *, unnest(__rasteret_pace({text(options.to_json())}, {weight})) AS live FROM __a),"
        rows, live = "__p", (of_live("payload"), of_live("nos"))
    return f"""{pairing.with_payload(records)},
__a AS (
  SELECT *, __rasteret_zonal_announce({text(options.to_json())}, payload, nos, {ticket}, statement) AS announced FROM __v ORDER BY announced, f, k
),{pace}
__z AS (SELECT record_id, datetime, unnest(__rasteret_zonal({call}, {live[0]}, {live[1]}, {ticket}, statement)) AS u FROM {rows})"""


def _per_period(records: Records, options: Options, types: list[BandType], per: str, *, solar: bool) -> str:
    """All records at once, in the order of time: zones are merged over the records of each period."""
    lon = "if(bbox.xmin > bbox.xmax, (bbox.xmin + bbox.xmax + 360) / 2, (bbox.xmin + bbox.xmax) / 2)"
    met = pairing.met(records, f"{lon} AS lon" if solar else "")
    when = "d.datetime + to_seconds((m.lon * 240)::BIGINT)" if solar else "d.datetime"  # the sun moves a degree in 240 s
    start = "NULL::TIMESTAMP" if per == "all" else f"date_trunc({text(per)}, {when})::TIMESTAMP"
    label = "'all'" if per == "all" else f"strftime(start, {text(PERIODS[per])})"
    since = "min(datetime)" if per == "all" else "any_value(start)"
    return f"""
__recs AS MATERIALIZED (
  SELECT *, (dense_rank() OVER (ORDER BY start NULLS LAST) - 1)::INTEGER AS grp FROM (
    SELECT d.record_id, d.datetime, d.nos, {met.columns}, {start} AS start,
      (row_number() OVER (ORDER BY d.datetime NULLS FIRST, d.record_id, d.f, d.k) - 1)::INTEGER AS source
    FROM {met.source}
  )
),
__groups AS MATERIALIZED (SELECT grp, {label} AS period, {since} AS datetime FROM __recs GROUP BY grp, start),
__u AS (
  SELECT {records.carried()} unnest(__rasteret_zonal_merged({_call(options, types)}, payloads, pairs, ticket, statement)) AS u FROM (
    SELECT {records.carried("any_value(examples) AS examples")}
      list(payload ORDER BY source) AS payloads, list({{'grp': grp, 'nos': nos}} ORDER BY source) AS pairs,
      (SELECT ticket FROM __h) AS ticket, {STATEMENT} AS statement
    FROM __recs
  ) WHERE payloads IS NOT NULL
),
__z AS (SELECT p.period, p.datetime, t.u FROM __u AS t JOIN __groups AS p ON p.grp = t.u.grp)"""


def _statistic_columns(statistics: tuple[Statistic, ...]) -> list[str]:
    columns: list[str] = []
    numbers = 0
    for statistic in statistics:
        if field := _COLUMNS.get(statistic.name):
            value = f"z.u.{field}"
        else:
            numbers += 1
            value = f"z.u.numbers[{numbers}]"
            if statistic.name == "count":
                value = f"if(z.u IS NULL AND g.g.error IS NULL, 0, {value})"
            elif statistic.name == "variety":
                value = f"{value}::BIGINT"
        columns.append(f"{value} AS {ident(statistic.label)}")
    return columns
