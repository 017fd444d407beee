"""Items of a catalogue as a batch of records: one column per thing an index needs of them, nothing else kept in memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from rasteret_sql.collection.assets import rewrite
from rasteret_sql.collection.schema import CONTRACT, METADATA_SUFFIX, is_taken
from rasteret_sql.collection.source import AssetTable, Declared
from rasteret_sql.collection.stac.bands import BandRef, asset_of, declared, declared_crs, not_geotiff
from rasteret_sql.collection.stac.catalogue import resolve
from rasteret_sql.collection.stac.place import parse_time
from rasteret_sql.collection.stac.search import item_datetime, members

TIMES = ("start_datetime", "end_datetime", "created", "updated", "published", "unpublished", "expires")
"""Properties that are times by STAC's common metadata."""
_TAKEN = frozenset(CONTRACT) | {"collection"}
_LARGEST = sys.float_info.max


@dataclass(slots=True)
class Batch:
    """Records gathered from items until they are handed on with :meth:`table`."""

    bands: Sequence[BandRef]
    rewrites: Mapping[str, str] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    keys: dict[str, None] = field(default_factory=dict)
    """Asset keys of the items, in the order seen."""
    refused: dict[str, str] = field(default_factory=dict)
    """Band → why an asset of it is no GeoTIFF."""
    readable: set[str] = field(default_factory=set)
    """Bands that some item has as what may be a GeoTIFF."""
    _datetimes: list[datetime | None] = field(default_factory=list)
    _crs: list[str | None] = field(default_factory=list)
    _hrefs: dict[str, list[str | None]] = field(default_factory=dict)
    _declared: dict[str, list[Declared | None]] = field(default_factory=dict)
    _versions: list[str | None] = field(default_factory=list)
    _collections: list[str | None] = field(default_factory=list)
    _properties: list[dict[str, Any]] = field(default_factory=list)

    def add(self, item: Mapping[str, Any], place: str) -> None:
        """One item; relative hrefs in it start at ``place``."""
        properties = members(item, "properties")
        self.ids.append(str(item["id"]))
        self.keys.update(dict.fromkeys(members(item, "assets")))
        self._datetimes.append(item_datetime(item))
        self._versions.append(_text(properties.get("updated")))
        self._collections.append(_text(item.get("collection")))
        self._properties.append(_kept(properties))
        crs: str | None = None
        for ref in self.bands:
            asset = asset_of(item, ref.key)
            href = None if asset is None else rewrite(resolve(asset["href"], place), self.rewrites)
            self._hrefs.setdefault(ref.band, []).append(href)
            self._declared.setdefault(ref.band, []).append(None if asset is None else declared(item, asset, ref.sample))
            if asset is not None:
                crs = crs or declared_crs(item, asset)
                if reason := not_geotiff(asset):
                    self.refused[ref.band] = reason
                else:
                    self.readable.add(ref.band)
        self._crs.append(crs)

    def table(self, *, remote: bool) -> AssetTable:
        """What was gathered, as the build takes it."""
        count = len(self.ids)
        return AssetTable(
            ids=self.ids,
            datetimes=pa.array(self._datetimes, pa.timestamp("us")),
            hrefs={ref.band: self._hrefs.get(ref.band, [None] * count) for ref in self.bands},
            samples={ref.band: [ref.sample] * count for ref in self.bands},
            crs=self._crs,
            extra=property_table(self._properties),
            versions=self._versions,
            collections=self._collections,
            declared=self._declared,
            remote=remote,
        )


def _kept(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The properties that become columns. A name of the contract gets ``stac:`` in front; one that would look like a band's metadata ``_`` behind."""
    kept = {}
    for name, value in properties.items():
        if value is None or name == "datetime" or name.startswith("proj:") or not name or "\0" in name:
            continue  # the time is a column of its own; of the projection the files' headers know better
        column = f"stac:{name}" if name.lower() in _TAKEN or is_taken(name) else f"{name}_" if name.lower().endswith(METADATA_SUFFIX) else name
        kept[column] = value
    return kept


def property_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Properties as columns: numbers DOUBLE (one item's 20 is another's 20.5), texts, booleans, times; nested and mixed ones as JSON text."""
    spellings: dict[str, str] = {}
    for row in rows:
        for name in row:
            spellings.setdefault(name.lower(), name)
    by_name: dict[str, list[Any]] = {name: [None] * len(rows) for name in spellings.values()}
    for index, row in enumerate(rows):
        for name, value in row.items():
            by_name[spellings[name.lower()]][index] = value
    columns = {name: _column(name, values) for name, values in by_name.items()}
    return pa.table(columns) if columns else _empty(len(rows))


def _empty(count: int) -> pa.Table:
    """A table without columns still has rows."""
    return pa.table({"": pa.nulls(count)}).select([])


def _column(name: str, values: Sequence[Any]) -> pa.Array:
    if name in TIMES:
        return pa.array([_time(value) for value in values], pa.timestamp("us"))
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and all(value is None or abs(value) <= _LARGEST for value in values):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    return pa.array([value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values], pa.string())


def _time(value: Any) -> datetime | None:
    try:
        return parse_time(value) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
