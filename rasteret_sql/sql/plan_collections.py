"""Plans that make collections and look at them, and at what the package itself knows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rasteret_sql.collection.workspace import check_name
from rasteret_sql.errors import InvalidArgument
from rasteret_sql.sql.arguments import Arguments, shown
from rasteret_sql.sql.catalogue import functions_text
from rasteret_sql.sql.quote import ident, listed, text
from rasteret_sql.sql.sources import ROW, collection_on_disk, records_of, table_scan


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
