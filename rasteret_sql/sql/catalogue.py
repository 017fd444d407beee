"""Every SQL function: its signature, its line of help, and the macro behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rasteret_sql.settings import FIELDS
from rasteret_sql.sql.quote import ident, listed, text

READ = {"bands": "NULL", "geometry": "NULL", "geometry_crs": "NULL", "x": "NULL", "y": "NULL", "scaled": "NULL", "on_error": "NULL", "crs": "NULL"}
"""Arguments of every read."""
STATEMENT = "hash(current_query_id(), txid_current())"
"""Tells executions apart, for functions that are called while one runs: what is planned once may run many times. DuckDB 1.5 keeps the number of the
query in a prepared statement that it does not plan anew, but not that of the transaction.
"""
TARGET = {"resolution": "NULL", "target_crs": "NULL", "align_to": "NULL", "resampling": "NULL"}
"""Arguments that choose the grid of pixels."""


@dataclass(frozen=True, slots=True)
class TableFunction:
    """``FROM name(positional, named := …)``."""

    name: str
    help: str
    positional: tuple[str, ...] = ()
    named: Mapping[str, str] = field(default_factory=dict)

    @property
    def signature(self) -> str:
        return f"{self.name}({listed([*self.positional, *(f'{name} := {default}' for name, default in self.named.items())])})"

    def macro(self, name: str, instance: str) -> str:
        """``CREATE … MACRO`` body: the planner's text, folded while binding. All arguments go as one struct, with the settings."""
        pairs = [f"'{argument}': {ident(argument)}" for argument in (*self.positional, *self.named)]
        arguments = "{" + listed([*pairs, f"'settings': {_settings(instance)}"]) + "}"
        named = [f"{ident(argument)} := {default}" for argument, default in self.named.items()]
        return f"{name}({listed([*self.positional, *named])}) AS TABLE FROM query(__rasteret_plan({text(self.name)}, {arguments}))"


TABLE_FUNCTIONS = (
    TableFunction("rasteret_collections", "the collections built in the workspace"),
    TableFunction("rasteret_collection", "the records of a collection, one row each", ("collection",), {"crs": "NULL"}),
    TableFunction("rasteret_bands", "the bands of a collection: type, nodata, resolution, tiling", ("collection",), {"crs": "NULL"}),
    TableFunction("rasteret_failures", "assets that could not be indexed, and why", ("collection",)),
    TableFunction("rasteret_datasets", "the datasets that rasteret_build knows: bands, coverage, dates, access, licence"),
    TableFunction(
        "rasteret_build",
        "build a collection of a dataset for a place and a period",
        ("dataset",),
        {
            "name": "NULL",
            "bbox": "NULL",
            "date_range": "NULL",
            "query": "NULL",
            "max_items": "NULL",
            "bands": "NULL",
            "force": "NULL",
        },
    ),
    TableFunction(
        "rasteret_build_from_stac",
        "build a collection of any STAC API or static catalogue",
        ("api", "collection"),
        {
            "name": "NULL",
            "band_map": "NULL",
            "band_index_map": "NULL",
            "bbox": "NULL",
            "date_range": "NULL",
            "query": "NULL",
            "filter": "NULL",
            "intersects": "NULL",
            "ids": "NULL",
            "sort_by": "NULL",
            "max_items": "NULL",
            "url_rewrite": "NULL",
            "force": "NULL",
        },
    ),
    TableFunction(
        "rasteret_build_from_table",
        "index the GeoTIFFs that a table names into a collection",
        ("records",),
        {
            "name": "NULL",
            "href_column": "NULL",
            "band_index_map": "NULL",
            "band_columns": "NULL",
            "band_codes": "NULL",
            "column_map": "NULL",
            "url_rewrite": "NULL",
            "force": "NULL",
        },
    ),
    TableFunction(
        "rasteret_export",
        "write the records of a collection or relation as a collection: to a folder, a .parquet file or s3://",
        ("collection", "path"),
        {"partition_by": "NULL", "overwrite": "NULL"},
    ),
    TableFunction(
        "rasteret_sample",
        'values of bands at points: one row per point and record; time_column is time, which DuckDB 1.5 takes only as "time"',
        ("collection", "points"),
        READ
        | {
            "match": "'all'",
            "time": "NULL",
            "time_column": "NULL",
            "tolerance": "NULL",
            "expressions": "NULL",
            "mask": "NULL",
            "max_distance_pixels": "0",
            "neighbourhood": "0",
            "interpolation": "'nearest'",
            "layout": "'wide'",
        },
    ),
    TableFunction(
        "rasteret_read",
        "pixel arrays under geometries: one row per geometry and record",
        ("collection", "geometries"),
        READ | {"pixels": "'center'"} | TARGET,
    ),
    TableFunction(
        "rasteret_pixels",
        "one row per pixel under each geometry and record, with the share of it that the geometry covers",
        ("collection", "geometries"),
        READ | {"pixels": "'fractional'"} | TARGET,
    ),
    TableFunction(
        "rasteret_zonal",
        "statistics of bands and expressions under polygons: one row per geometry, record (or period) and band",
        ("collection", "geometries"),
        READ
        | {
            "stats": "NULL",
            "pixels": "'fractional'",
            "expressions": "NULL",
            "mask": "NULL",
            "weights": "NULL",
            "per": "'record'",
            "solar_day": "false",
        }
        | TARGET,
    ),
    TableFunction("rasteret_plan", "what a read would fetch; nothing is read", ("collection", "geometries"), READ | {"pixels": "'center'"} | TARGET),
    TableFunction("rasteret_functions", "every function with its signature and a line of help"),
    TableFunction("rasteret_help", "arguments, result columns and an example of one function, or of all", (), {"function": "NULL"}),
    TableFunction("rasteret_settings", "limits and options in force"),
    TableFunction("rasteret_io", "what the last reads did: requests, bytes, cache hits", (), {"last": "10"}),
)


@dataclass(frozen=True, slots=True)
class ScalarFunction:
    """``SELECT name(…)``."""

    name: str
    signature: str
    help: str
    body: str
    """``(arguments) AS expression`` of the macro."""


def typed_null(meta: str, kind: str) -> str:
    """A NULL of the type of a band's values (``kind`` "value") or pixels ("pixel"), out of its metadata; where that lost it, DOUBLE's."""
    return f"struct_extract({meta}, __rasteret_typed_field(typeof({meta}), {text(kind)}))"


def _record_call(called: str, kinds: Mapping[str, str], instance: str, geometry: str, prepared: str | None = None) -> str:
    """One branch per type, folded to the one that the record's band has; each calls one function."""
    function, field_name = ("__rasteret_value", "value") if called == "rasteret_sample" else ("__rasteret_pixels", "pixel")
    meta = "struct_extract(record, band || '_metadata')"
    example = typed_null(meta, field_name)
    payload = f"{{'crs': record.crs, 'b0': {{'asset': struct_extract(record.assets, band), 'meta': {meta}}}}}"
    crs = f"__rasteret_geometry_crs(typeof({geometry}), NULL)"
    wrapped = f"[{example}]" if field_name == "pixel" else example
    arguments = f"__rasteret_scalar_options('{called}', band, {_settings(instance)}), {payload}, {prepared or geometry}, {crs}, {STATEMENT}"
    branches = " ".join(f"WHEN '{name}' THEN cast_to_type({function}_{slot}({arguments}), {wrapped})" for name, slot in kinds.items())
    return f"CASE typeof({example}) {branches} END"


def _settings(instance: str) -> str:
    """The settings that SQL variables give, and who asks: the connection, of the database whose token ``instance`` is."""
    variables = listed(f"'{name}': getvariable('rasteret_{name}')" for name in FIELDS)
    return f"{{{variables}, 'origin': {text(f'{instance}/')} || current_connection_id()}}"


def scalar_functions(value_slots: Mapping[str, str], pixel_slots: Mapping[str, str], instance: str = "") -> tuple[ScalarFunction, ...]:
    """The scalar forms; they share engine, cache and rules with the table forms."""
    zone = "__rasteret_polygons(geometry, __rasteret_geometry_crs(typeof(geometry), NULL), 'refuse').wkb"
    zonal_payload = "{'crs': record.crs, 'b0': {'asset': struct_extract(record.assets, band), 'meta': struct_extract(record, band || '_metadata')}}"
    area = "__rasteret_geometries(geometry, __rasteret_geometry_crs(typeof(geometry), NULL), 'refuse').wkb"
    return (
        ScalarFunction(
            "rasteret_sample",
            "rasteret_sample(record, point, band)",
            "value of a band of a record (the alias of a collection) at a point; NULL where there is none",
            f"(record, point, band) AS {_record_call('rasteret_sample', value_slots, instance, 'point')}",
        ),
        ScalarFunction(
            "rasteret_read",
            "rasteret_read(record, geometry, band)",
            "pixels of a band of a record under a geometry, row-major; NULL where they do not meet",
            f"(record, geometry, band) AS {_record_call('rasteret_read', pixel_slots, instance, 'geometry', area)}",
        ),
        ScalarFunction(
            "rasteret_zonal",
            "rasteret_zonal(record, geometry, band, stat := 'mean')",
            "one statistic of a band of a record under a polygon; NULL where there is none",
            f"(record, geometry, band, stat := 'mean') AS __rasteret_zonal_value(__rasteret_zonal_options(band, stat, {_settings(instance)}), "
            f"{zonal_payload}, {zone}, __rasteret_geometry_crs(typeof(geometry), NULL), {STATEMENT})",
        ),
        ScalarFunction(
            "rasteret_value",
            "rasteret_value(collection, point, band)",
            "the newest valid value at one point",
            "(collection, point, bands) AS (SELECT any_value(value) FROM query(__rasteret_plan('rasteret_value', "
            f"{{'collection': collection, 'point': point, 'bands': bands, 'settings': {_settings(instance)}}})))",
        ),
    )


def functions_text() -> str:
    """``rasteret_functions()`` as SQL text."""
    rows = [(f.name, "table", f.signature, f.help) for f in TABLE_FUNCTIONS]
    rows += [(f.name, "scalar", f.signature, f.help) for f in scalar_functions({}, {})]
    values = listed(f"({listed(text(part) for part in row)})" for row in sorted(rows))
    return f"SELECT * FROM (VALUES {values}) AS f(name, kind, signature, help)"
