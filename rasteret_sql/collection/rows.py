"""Rows of a collection, as SQL hands them over, to bands the reader can use.

SQL sends only what a read needs of a record, the *payload*: ``STRUCT(crs, b0 STRUCT(asset STRUCT(href, band_index?), meta <band metadata>), b1 …)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from rasteret_sql.collection.schema import MetadataReader
from rasteret_sql.errors import InvalidArgument
from rasteret_sql.reader.band import Band


def bands_of_payload(payload: pa.StructArray, names: Sequence[str]) -> list[tuple[Band | None, ...]]:
    """The asked bands of each record; None where the record has no such asset."""
    crs = payload.field("crs").to_pylist()
    columns = []
    for index, name in enumerate(names):
        parts = payload.field(f"b{index}")
        reader = MetadataReader(name, parts.field("meta"))
        hrefs, samples = _assets(parts.field("asset"))
        columns.append([reader.band(row, hrefs[row], samples[row], crs[row]) for row in range(len(payload))])
    bands: list[tuple[Band | None, ...]] = list(zip(*columns, strict=True)) if columns else [()] * len(payload)
    for band in (band for row in bands for band in row):
        if band is not None and not band.crs:
            raise InvalidArgument(f"{band.href} names no CRS and the record's crs is empty; give it with crs := 'EPSG:…'")
    return bands


def _assets(asset: pa.StructArray) -> tuple[list[str | None], list[int | None]]:
    names = {asset.type.field(i).name for i in range(asset.type.num_fields)}
    hrefs: list[str | None] = asset.field("href").to_pylist()
    samples: list[Any] = asset.field("band_index").to_pylist() if "band_index" in names else [None] * len(asset)
    here = asset.is_valid().to_pylist()
    return [href if present else None for href, present in zip(hrefs, here, strict=True)], samples
