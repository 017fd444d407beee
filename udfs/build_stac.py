"""``rasteret_build`` and ``rasteret_build_from_stac``: index what a search finds; ``rasteret_datasets``: what there is to build from."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pyarrow as pa

from rasteret_sql.collection.build import BuildReport, build_collection
from rasteret_sql.collection.datasets import Dataset, api_root
from rasteret_sql.collection.nested import one_chunk
from rasteret_sql.collection.registry import datasets as all_datasets
from rasteret_sql.collection.stac.bands import BandRef
from rasteret_sql.collection.stac.given import GivenItems
from rasteret_sql.collection.stac.search import make_search
from rasteret_sql.collection.stac.source import StacSource
from rasteret_sql.errors import redact
from rasteret_sql.reader.engine import Query
from rasteret_sql.settings import Settings

DATASETS = (
    "STRUCT(id VARCHAR, name VARCHAR, description VARCHAR, bands VARCHAR[], coverage VARCHAR, dates VARCHAR, auth VARCHAR, licence VARCHAR, "
    "example VARCHAR, source VARCHAR)[]"
)


def build(arguments: pa.Array) -> pa.Array:
    """One JSON text per build (:mod:`rasteret_sql.sql.plan_build` writes it); answers with the reports."""
    return pa.array([[dataclasses.asdict(carry_out(json.loads(text)))] for text in one_chunk(arguments).to_pylist()])


def carry_out(arguments: dict[str, Any]) -> BuildReport:
    """Build what a request says."""
    settings = Settings(**arguments["settings"])
    with Query(arguments["function"], settings, raise_errors=False) as query:
        source = StacSource(
            place=arguments["place"],
            search=make_search(arguments["search"]),
            bands=tuple(BandRef(*ref) for ref in arguments["bands"]),
            query=query,
            rewrites=arguments["url_rewrite"],
            label=arguments["label"],
            every_band=arguments["every_band"],
        )
        return build_collection(source, arguments["name"], query, force=arguments["force"], done=query.work.count)


def carry_out_given(items: Any, arguments: dict[str, Any]) -> BuildReport:
    """Build from items that are there already."""
    settings = Settings(**arguments["settings"])
    with Query(arguments["function"], settings, raise_errors=False) as query:
        source = GivenItems(items, tuple(BandRef(*ref) for ref in arguments["bands"]), arguments["url_rewrite"])
        return build_collection(source, arguments["name"], query, force=arguments["force"], done=query.work.count)


def datasets(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of ``rasteret_datasets()``."""
    settings = Settings(**arguments["settings"])
    return [_row(dataset, settings) for dataset in all_datasets(settings.workspace).values()]


def _row(dataset: Dataset, settings: Settings) -> dict[str, Any]:
    place = redact(api_root(dataset, settings.stac_endpoints) if dataset.is_stac else dataset.collection_url)
    return {
        "id": dataset.id,
        "name": dataset.name,
        "description": dataset.description or None,
        "bands": list(dataset.bands),
        "coverage": dataset.coverage or None,
        "dates": dataset.dates or None,
        "auth": dataset.auth,
        "licence": dataset.licence or None,
        "example": dataset.example,
        "source": f"{place}, collection {dataset.collection}" if dataset.collection else place,
    }
