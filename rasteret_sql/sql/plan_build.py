"""Plans of builds: of a dataset, from a STAC API or static catalogue, from a table. What can be wrong in a call is found before anything runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rasteret_sql.collection.datasets import Dataset, api_root
from rasteret_sql.collection.links import Link, link_to_json
from rasteret_sql.collection.registry import find_dataset
from rasteret_sql.collection.stac.bands import BandRef, choose_bands, parse_band_map
from rasteret_sql.collection.stac.search import Search, make_search, plain
from rasteret_sql.collection.workspace import Part, check_name
from rasteret_sql.errors import InvalidArgument, redact
from rasteret_sql.sql.arguments import Arguments, shown
from rasteret_sql.sql.quote import text
from rasteret_sql.sql.sources import linked_records
from rasteret_sql.sql.tables import ROW, table_scan

Request = dict[str, Any]
"""What is to be built, checked, as JSON: of SQL in the statement's text, of Python handed on as it is."""
_SEARCH = ("bbox", "date_range", "query", "filter", "intersects", "ids", "sort_by", "max_items")


def plan_build(arguments: Arguments) -> str:
    """``rasteret_build``: the dataset's descriptor says where and what."""
    dataset = asked_dataset(arguments)
    return _statement(dataset_request(arguments, dataset)) if dataset.is_stac else _plan_read_ready(arguments, dataset)


def asked_dataset(arguments: Arguments) -> Dataset:
    """The dataset of a call, with name, place and dates as it needs them."""
    wanted = arguments.required("dataset")
    if not isinstance(wanted, str):
        raise InvalidArgument(f"dataset := {shown(wanted)} is not valid; an id in quotes is, such as 'earthsearch/sentinel-2-l2a'")
    dataset = find_dataset(wanted, arguments.settings.workspace)
    _name(arguments)
    search = _search(arguments, dataset.collection or None)
    if dataset.needs_bbox and search.bbox is None:
        raise InvalidArgument(f"{dataset.id} is {dataset.coverage}: say where with bbox := [west, south, east, north]{_as_in(dataset)}")
    if dataset.needs_dates and search.interval is None:
        raise InvalidArgument(f"{dataset.id} is a time series ({dataset.dates}): say when with date_range := ['2024-01-01', '..']{_as_in(dataset)}")
    return dataset


def dataset_request(arguments: Arguments, dataset: Dataset) -> Request:
    """What to build of a dataset that :func:`asked_dataset` found in a catalogue."""
    bands = choose_bands(parse_band_map(dataset.bands), arguments.names("bands"))
    search = _search(arguments, dataset.collection or None)
    every = arguments.get("bands") is not None and dataset.id.startswith("local/")
    place = api_root(dataset, arguments.settings.stac_endpoints)
    return _request(arguments, place, search, bands, label=dataset.id, every_band=every, url_rewrite=dict(dataset.url_rewrite))


def _plan_read_ready(arguments: Arguments, dataset: Dataset) -> str:
    """A collection that is built already is not copied: the name becomes a link to it, place and period filters on its Parquet files."""
    search = _search(arguments, None)
    if other := sorted(search.conditions.keys() - {"bbox", "date_range"}):
        raise InvalidArgument(
            f"{dataset.id} is a collection built already: {other[0]} does not apply to it; bbox and date_range do, and WHERE afterwards"
        )
    interval = search.interval
    part = Part(search.bbox, None if interval is None else interval.start, None if interval is None else interval.end)
    bands = tuple(arguments.names("bands") or ())
    link = Link(_name(arguments), dataset.collection_url, dataset.id, part, bands, dict(dataset.url_rewrite))
    records = linked_records(link, arguments.settings)
    request = {
        "link": link_to_json(link),
        "bands": records.bands,
        "told": search.told or "all of it",
        "settings": asdict(arguments.settings),
    }
    return f"""
SELECT unnest(u, recursive := true) FROM (
  SELECT unnest(__rasteret_link({text(json.dumps(request))}, found)) AS u
  FROM (SELECT {{'records': count(*), 'epsg': list(DISTINCT "proj:epsg") FILTER ("proj:epsg" IS NOT NULL),
    'first': min(datetime), 'last': max(datetime),
    'west': min(bbox.xmin), 'south': min(bbox.ymin), 'east': max(bbox.xmax), 'north': max(bbox.ymax)}} AS found FROM {records.scan})
)"""


def plan_build_from_stac(arguments: Arguments) -> str:
    """``rasteret_build_from_stac``: any API, any static catalogue."""
    return _statement(stac_request(arguments))


def stac_request(arguments: Arguments) -> Request:
    """What to build from an API or a static catalogue."""
    place = arguments.required("api")
    if not isinstance(place, str) or not place.strip():
        raise InvalidArgument(f"api := {shown(place)} is not valid; the URL of a STAC API or the URL or path of a catalog.json is")
    _name(arguments)
    bands = parse_band_map(_band_map(arguments), arguments.mapping("band_index_map", int))
    search = _search(arguments, arguments.name("collection", "the id of a collection in quotes"))
    if not (search.conditions.keys() - {"collection", "sort_by"}) and place.startswith(("http://", "https://")) and not place.endswith(".json"):
        raise InvalidArgument(f"{redact(place)} may hold millions of items: narrow the search with bbox, date_range, intersects, ids or max_items")
    return _request(arguments, place, search, bands, label=redact(place), every_band=True, url_rewrite=arguments.mapping("url_rewrite", str) or {})


def items_request(arguments: Arguments) -> Request:
    """What to build from items that are given; there is nothing to search."""
    bands = parse_band_map(_band_map(arguments), arguments.mapping("band_index_map", int))
    return {
        "function": arguments.function,
        "name": _name(arguments),
        "bands": _as_lists(bands),
        "url_rewrite": arguments.mapping("url_rewrite", str) or {},
        "force": arguments.flag("force"),
        "settings": asdict(arguments.settings),
    }


def _as_lists(bands: Sequence[BandRef]) -> list[list[str | int]]:
    return [[ref.band, ref.key, ref.sample] for ref in bands]


def _band_map(arguments: Arguments) -> dict[str, str]:
    mapping = arguments.mapping("band_map", str)
    if not mapping:
        raise InvalidArgument("band_map is missing; give the asset of each band, such as {'B04': 'red', 'NIR': 'image[3]'}")
    return mapping


def plan_datasets(arguments: Arguments) -> str:
    return f"SELECT unnest(__rasteret_datasets({text(json.dumps({'settings': asdict(arguments.settings)}))}), recursive := true)"


def plan_build_from_table(arguments: Arguments) -> str:
    """``rasteret_build_from_table``: the whole table goes to one call."""
    return f"""
SELECT unnest(u, recursive := true) FROM (
  SELECT unnest(__rasteret_build({text(json.dumps(table_request(arguments)))}, coalesce(rows, []))) AS u
  FROM (SELECT list({ROW}) AS rows FROM {table_scan(arguments.required("records"))} AS {ROW})
)"""


def table_request(arguments: Arguments) -> Request:
    """What to build from a table, but for the table itself."""
    name = _name(arguments)
    source = arguments.required("records")
    options = {
        "column_map": arguments.mapping("column_map", str) or {},
        "href_column": arguments.name("href_column"),
        "band_index_map": arguments.mapping("band_index_map", int),
        "band_columns": arguments.mapping("band_columns", str),
        "band_codes": arguments.names("band_codes"),
        "url_rewrite": arguments.mapping("url_rewrite", str) or {},
    }
    return {"name": name, "source": str(source), "options": options, "force": arguments.flag("force"), "settings": asdict(arguments.settings)}


def _name(arguments: Arguments) -> str:
    name = arguments.required("name")
    if not isinstance(name, str):
        raise InvalidArgument(f"name := {shown(name)} is not valid; a name in quotes is")
    return check_name(name)


def _search(arguments: Arguments, collection: str | None) -> Search:
    return make_search({"collection": collection, **{name: arguments.get(name) for name in _SEARCH}})


def _as_in(dataset: Dataset) -> str:
    return f"; for example {dataset.example}" if dataset.example_bbox else ""


def _request(
    arguments: Arguments,
    place: str,
    search: Search,
    bands: Sequence[BandRef],
    *,
    label: str,
    every_band: bool,
    url_rewrite: dict[str, str],
) -> Request:
    """All that the function that builds wants to know, as JSON has it; the search reads back as itself."""
    request = {
        "function": arguments.function,
        "name": _name(arguments),
        "place": place,
        "search": search.conditions,
        "bands": _as_lists(bands),
        "label": label,
        "every_band": every_band,
        "url_rewrite": url_rewrite,
        "force": arguments.flag("force"),
        "settings": asdict(arguments.settings),
    }
    return {name: plain(value) for name, value in request.items()}


def _statement(request: Request) -> str:
    """One call of the function that builds."""
    return f"SELECT unnest(u, recursive := true) FROM (SELECT unnest(__rasteret_build_stac({text(json.dumps(request))})) AS u)"
