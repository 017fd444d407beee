"""From a user's table of records to what must be indexed: ids, times, and per band the file and the sample in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rasteret_sql.collection.schema import CONTRACT, METADATA_SUFFIX, is_taken
from rasteret_sql.collection.source import BATCH_RECORDS, AssetTable
from rasteret_sql.errors import InvalidArgument, listing, near, redact

_ZONE = r"([Zz]|:[\d.]+[+-]\d\d(:?\d\d)?)$"
"""The end of an ISO text that names its offset from UTC; one without is UTC."""

_LEAST_BATCH = 100


@dataclass(frozen=True, slots=True)
class TableOptions:
    """The arguments of ``rasteret_build_from_table``."""

    column_map: Mapping[str, str] = field(default_factory=dict)
    href_column: str | None = None
    band_index_map: Mapping[str, int] | None = None
    band_columns: Mapping[str, str] | None = None
    band_codes: Sequence[str] | None = None
    url_rewrite: Mapping[str, str] = field(default_factory=dict)


class TableSource:
    """A table of records as a source: ``id``, ``datetime``, ``assets``, ``crs`` and ``updated`` (a change stamp) are read, the rest passes."""

    kind = "records"

    def __init__(self, table: pa.Table, options: TableOptions, source: str = "table") -> None:
        """Raises :class:`InvalidArgument` where the options do not fit the table; ``source`` is what the user calls it."""
        renamed = _renamed(table, options.column_map)
        names = set(renamed.column_names)
        if "id" not in names:
            raise InvalidArgument(
                f"the table has no column 'id'; name one with column_map := {{'<column>': 'id'}}; columns: {listing(table.column_names)}"
            )
        if taken := [name for name in renamed.column_names if is_taken(name)]:
            rename = f"column_map := {{'{taken[0]}': '<name>'}}"
            raise InvalidArgument(f"column {taken[0]!r}: reading a collection adds one of this name; rename it: {rename}")
        self._options = options
        self._bands = _bands(renamed.slice(0, 0), options)
        check_band_names(self._bands.hrefs)
        ids = pc.cast(renamed["id"], pa.string())
        if ids.null_count:
            raise InvalidArgument(f"column 'id' is NULL in row {pc.index(ids.is_null(), True).as_py() + 1}; every record needs an id")
        times = _datetimes(renamed["datetime"]) if "datetime" in names else pa.nulls(len(renamed), pa.timestamp("us"))
        for name, column in (("id", ids), ("datetime", times)):
            place = renamed.schema.get_field_index(name)
            renamed = renamed.append_column(name, column) if place < 0 else renamed.set_column(place, name, column)
        self._table = renamed
        self.label = source
        shown = dataclasses.replace(options, url_rewrite={prefix: redact(other) for prefix, other in options.url_rewrite.items()})
        self.identity: Mapping[str, Any] = {"source": redact(source), "options": dataclasses.asdict(shown)}

    def batches(self) -> Iterator[AssetTable]:
        """A small table comes in quarters, so that rows are made while headers are read."""
        size = min(BATCH_RECORDS, max(_LEAST_BATCH, -(-len(self._table) // 4)))
        for start in range(0, len(self._table), size):
            yield self._batch(self._table.slice(start, size))

    def _batch(self, table: pa.Table) -> AssetTable:
        found = _bands(table, self._options)
        names = set(table.column_names)
        extra = [name for name in table.column_names if name not in CONTRACT and name not in found.used and not name.endswith(METADATA_SUFFIX)]
        return AssetTable(
            ids=table["id"].to_pylist(),
            datetimes=table["datetime"].combine_chunks(),
            hrefs={band: [rewrite(href, self._options.url_rewrite) for href in column] for band, column in found.hrefs.items()},
            samples=found.samples,
            crs=table["crs"].to_pylist() if "crs" in names else [None] * len(table),
            extra=table.select(extra),
            every_sample=found.every_sample,
            versions=[None if value is None else str(value) for value in table["updated"].to_pylist()] if "updated" in names else None,
        )


def rewrite(href: str | None, patterns: Mapping[str, str]) -> str | None:
    """The href with the first matching prefix exchanged."""
    for prefix, other in patterns.items() if href else ():
        if href is not None and href.startswith(prefix):
            return other + href[len(prefix) :]
    return href


def _renamed(table: pa.Table, column_map: Mapping[str, str]) -> pa.Table:
    for source in column_map:
        if source not in table.column_names:
            raise InvalidArgument(f"column_map names no column {source!r}{near(source, table.column_names)}; columns: {listing(table.column_names)}")
    targets = set(column_map.values())
    kept = [name for name in table.column_names if name in column_map or name not in targets]
    return table.select(kept).rename_columns([column_map.get(name, name) for name in kept])


@dataclass(frozen=True, slots=True)
class _Bands:
    """Hrefs and samples per band, the columns used up, and whether the bands are yet to be found in the files."""

    hrefs: dict[str, list[str | None]]
    samples: dict[str, list[int]]
    used: frozenset[str] = frozenset()
    every_sample: bool = False


def _bands(table: pa.Table, options: TableOptions) -> _Bands:
    if options.href_column is not None:
        hrefs = _strings(table, options.href_column, "href_column")
        if options.band_index_map:
            for band, index in options.band_index_map.items():
                if not isinstance(index, int) or index < 0:
                    raise InvalidArgument(f"band_index_map: {band!r} has index {index!r}; 0-based positions in the file are valid")
            return _Bands(dict.fromkeys(options.band_index_map, hrefs), _samples(options.band_index_map, len(table)))
        return _Bands({"": hrefs}, {"": [0] * len(table)}, every_sample=True)
    if options.band_columns:
        found = {band: _strings(table, column, "band_columns") for band, column in options.band_columns.items()}
        return _Bands(found, {band: [0] * len(table) for band in found}, frozenset(options.band_columns.values()))
    if "assets" in table.column_names:
        return _Bands(*_struct_assets(table["assets"].combine_chunks(), options))
    raise InvalidArgument(
        "the table names no files: give href_column := '<column>' (with band_index_map for several bands), "
        f"band_columns := {{'<band>': '<column>'}}, or an 'assets' column; columns: {listing(table.column_names)}"
    )


def check_band_names(bands: Iterable[str]) -> None:
    """Bands become columns: SQL cannot hold a NUL in their names, and does not tell upper from lower case."""
    seen: dict[str, str] = {}
    for band in bands:
        if "\0" in band:
            raise InvalidArgument(f"{band!r} is no name of a band: a name cannot hold a NUL character")
        if (other := seen.setdefault(band.lower(), band)) != band:
            raise InvalidArgument(f"bands {other!r} and {band!r} differ in case only, which SQL does not see; rename one")


def _samples(index_map: Mapping[str, int], count: int) -> dict[str, list[int]]:
    return {band: [index] * count for band, index in index_map.items()}


def _strings(table: pa.Table, column: str, argument: str) -> list[str | None]:
    if column not in table.column_names:
        raise InvalidArgument(f"{argument} names no column {column!r}{near(column, table.column_names)}; columns: {listing(table.column_names)}")
    values: list[Any] = table[column].to_pylist()
    return [None if value in (None, "") else str(value) for value in values]


def _struct_assets(assets: pa.Array, options: TableOptions) -> tuple[dict[str, list[str | None]], dict[str, list[int]]]:
    if not pa.types.is_struct(assets.type):
        raise InvalidArgument(f"column 'assets' is {assets.type}; STRUCT(band STRUCT(href VARCHAR, band_index BIGINT), …) is valid")
    keys = [assets.type.field(i).name for i in range(assets.type.num_fields)]
    chosen = list(options.band_codes) if options.band_codes else keys
    if missing := [band for band in chosen if band not in keys]:
        raise InvalidArgument(f"the assets have no band {missing[0]!r}{near(missing[0], keys)}; bands: {listing(keys)}")
    hrefs: dict[str, list[str | None]] = {}
    samples: dict[str, list[int]] = {}
    index_map = options.band_index_map or {}
    for band in chosen:
        hrefs[band], found = _asset_column(pc.struct_field(assets, [keys.index(band)]))
        samples[band] = [index_map.get(band, 0) if sample is None else sample for sample in found]
    return hrefs, samples


def _asset_column(column: pa.Array) -> tuple[list[str | None], list[int | None]]:
    """Hrefs and samples of one band: from structs of ``href`` and ``band_index``, or plain hrefs. Empty hrefs are none."""
    if not pa.types.is_struct(column.type):
        return [str(value) if value else None for value in column.to_pylist()], [None] * len(column)
    names = [column.type.field(i).name for i in range(column.type.num_fields)]
    hrefs, samples = (
        pc.struct_field(column, [names.index(name)]).to_pylist() if name in names else [None] * len(column) for name in ("href", "band_index")
    )
    found: list[int | None] = list(samples)
    return [href or None for href in hrefs], found


def _datetimes(column: pa.ChunkedArray) -> pa.Array:
    """UTC timestamps without zone from timestamps, dates, ISO texts or years."""
    values = column.combine_chunks()
    if pa.types.is_integer(values.type):
        texts = pc.binary_join_element_wise(pc.utf8_lpad(pc.cast(values, pa.string()), 4, "0"), "-01-01", "")
        return pc.cast(pc.cast(texts, pa.date32()), pa.timestamp("us"))
    if pa.types.is_timestamp(values.type) and values.type.tz is not None:
        return pc.cast(pc.cast(values, pa.timestamp("us", "UTC")), pa.timestamp("us"))
    try:
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            zoned = pc.match_substring_regex(values, _ZONE)
            moments = pc.cast(pc.if_else(zoned, values, None), pa.timestamp("us", "UTC"))
            return pc.coalesce(pc.cast(moments, pa.timestamp("us")), pc.cast(pc.if_else(zoned, None, values), pa.timestamp("us")))
        return pc.cast(values, pa.timestamp("us"))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InvalidArgument(
            f"column 'datetime' is {values.type} and not readable as a time; timestamps, dates, ISO texts and years are valid"
        ) from None
