"""The plan of ``rasteret_export``: one step that begins, one that takes the rows as they stream by, one that ends."""

from __future__ import annotations

import json
from dataclasses import asdict

from rasteret_sql.collection.destinations import is_one_file
from rasteret_sql.errors import InvalidArgument, redact
from rasteret_sql.sql.arguments import Arguments, shown
from rasteret_sql.sql.quote import text
from rasteret_sql.sql.sources import records_of
from rasteret_sql.sql.tables import ROW


def _partitions(arguments: Arguments, place: str) -> list[str]:
    asked = arguments.get("partition_by")
    if asked is None:
        return [] if is_one_file(place) else ["year", "month"]
    return [] if asked == [] else arguments.names("partition_by") or []


def plan_export(arguments: Arguments) -> str:
    """``rasteret_export``: records of a collection or relation to a folder, a file or ``s3://``."""
    source = arguments.required("collection")
    place = arguments.required("path")
    if not isinstance(place, str) or not place.strip():
        raise InvalidArgument(f"path := {shown(place)} is not valid; a folder, a file that ends in .parquet, or s3://bucket/prefix/ is")
    partitions = _partitions(arguments, place)
    if len(set(partitions)) < len(partitions):
        raise InvalidArgument(f"partition_by := {shown(partitions)} names a column twice")
    records = records_of(source, arguments.settings)
    found = records.collection
    hidden = "__rasteret_row" if found is None else "__rasteret_file, file_row_number"
    request = {
        "path": place,
        "partition_by": partitions,
        "overwrite": arguments.flag("overwrite"),
        "name": found.name if found is not None else str(source),
        "source": (found.metadata.get("data_source") if found is not None else None) or redact(str(source)),
        "settings": asdict(arguments.settings),
    }
    return f"""
WITH __rasteret_to AS MATERIALIZED (SELECT __rasteret_export_begin({text(json.dumps(request))}) AS t),
     __rasteret_took AS (
  SELECT sum(__rasteret_export_take(__rasteret_to.t, {ROW})) AS n FROM __rasteret_to, (SELECT * EXCLUDE ({hidden}) FROM {records.scan}) AS {ROW}
)
SELECT unnest(u, recursive := true) FROM (
  SELECT unnest(__rasteret_export_end((SELECT t FROM __rasteret_to), coalesce(n, 0)::BIGINT)) AS u FROM __rasteret_took
)"""
