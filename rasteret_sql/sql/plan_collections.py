"""Plans that make collections and look at them, and at what the package itself knows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rasteret_sql.errors import InvalidArgument
from rasteret_sql.sql.arguments import Arguments, shown
from rasteret_sql.sql.catalogue import functions_text
from rasteret_sql.sql.quote import ident, listed, text
from rasteret_sql.sql.sources import collection_on_disk, records_of
from rasteret_sql.storage.hrefs import REMOTE


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
    if records.collection.remote:
        columns.append(f"{_from_afar(names, records.collection.path)} AS assets")
    replaced = f" REPLACE ({listed(columns)})" if columns else ""
    return f"SELECT * EXCLUDE (__rasteret_file, file_row_number){replaced} FROM {records.scan}"


def _from_afar(bands: Sequence[str], place: str) -> str:
    """The assets of a collection at a URL: one that names a file of this machine stops the statement, since a relation no longer tells its source."""
    fine = " AND ".join(f"coalesce(regexp_matches(assets.{ident(band)}.href, '^(https?|s3|gs|az|abfss?)://', 'i'), true)" for band in bands)
    message = f"{place} names files by local paths, which are not taken from a remote collection: valid there are {REMOTE}"
    return f"if({fine or 'true'}, assets, error({text(message)}))"


def plan_bands(arguments: Arguments) -> str:
    collection = collection_on_disk(arguments.required("collection"), arguments.settings, arguments.crs("crs"))
    return _rows("__rasteret_bands", {"bands": collection.band_names, "files": list(collection.files)})


def plan_failures(arguments: Arguments) -> str:
    collection = collection_on_disk(arguments.required("collection"), arguments.settings)
    return _rows("__rasteret_failures", {"path": collection.path})


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
