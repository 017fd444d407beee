"""``rasteret_build`` of a dataset that is a collection already: a name for the part that was asked for."""

from __future__ import annotations

import dataclasses
import json
import time
from datetime import datetime
from typing import Any

import pyarrow as pa

from rasteret_sql.collection.build import BuildReport
from rasteret_sql.collection.links import Link, find_link, link_of_json, save_link
from rasteret_sql.collection.nested import one_chunk
from rasteret_sql.errors import CollectionNotFound, redact
from rasteret_sql.settings import Settings


def link(arguments: pa.Array, found: pa.Array) -> pa.Array:
    """Save the link that a JSON text describes; ``found`` is what the part holds, as a struct."""
    texts, structs = one_chunk(arguments).to_pylist(), one_chunk(found).to_pylist()
    return pa.array([[dataclasses.asdict(_link(json.loads(text), holds))] for text, holds in zip(texts, structs, strict=True)])


def _link(arguments: dict[str, Any], holds: dict[str, Any]) -> BuildReport:
    started = time.monotonic()
    workspace = Settings(**arguments["settings"]).workspace
    wanted = link_of_json(arguments["link"])
    if not holds["records"]:
        raise CollectionNotFound(f"no records found at {redact(wanted.place)} for {arguments['told']}")
    same = _same(find_link(wanted.name, workspace), wanted)
    save_link(wanted, workspace)
    first, last = (_naive(holds[end]) for end in ("first", "last"))
    bounds = None if holds["west"] is None else [holds[side] for side in ("west", "south", "east", "north")]
    return BuildReport(
        collection=wanted.name,
        path=redact(wanted.place),
        records=holds["records"],
        added=0 if same else holds["records"],
        unchanged=holds["records"] if same else 0,
        bands=arguments["bands"],
        epsg=sorted(holds["epsg"] or ()),
        bounds=bounds,
        first=first,
        last=last,
        seconds=time.monotonic() - started,
    )


def _same(known: Link | None, wanted: Link) -> bool:
    return known == wanted


def _naive(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=None)
