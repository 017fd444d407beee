"""Rows of a collection, as SQL hands them over, to bands the reader can use.

SQL sends only what a read needs of a record, the *payload*. Of a collection on disk that is ``STRUCT(file, row)``, and the row groups that hold
these rows are read here, no others, several files at a time; of a user's relation
``STRUCT(crs, b0 STRUCT(asset STRUCT(href, band_index?), meta <band metadata>), b1 …)``.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rasteret_sql.collection.alike import alike_rows
from rasteret_sql.collection.assets import rewrite
from rasteret_sql.collection.footers import Version, footer
from rasteret_sql.collection.nested import one_chunk
from rasteret_sql.collection.remote import RemoteFile, is_remote_file, mount_of, opened
from rasteret_sql.collection.schema import MetadataReader, metadata_column
from rasteret_sql.errors import InvalidArgument
from rasteret_sql.reader.band import Band
from rasteret_sql.storage.hrefs import barred_href

Bands = tuple[Band | None, ...]


def bands_of_payload(payload: pa.StructArray, names: Sequence[str], *, overviews: bool = False) -> list[Bands]:
    """The asked bands of each record, with their overviews if asked for; None where the record has no such asset."""
    if "file" in {payload.type.field(i).name for i in range(payload.type.num_fields)}:
        return _looked_up(payload.field("file"), payload.field("row"), Wanted(tuple(names), overviews))
    return _parsed(payload, names, overviews=overviews)


def _parsed(payload: pa.StructArray, names: Sequence[str], *, overviews: bool) -> list[Bands]:
    """Rows that are the same have the same bands: the records of a join are parsed once each."""
    keys, columns = [], [payload.field("crs")]
    for index in range(len(names)):
        asset, meta = (payload.field(f"b{index}").field(part) for part in ("asset", "meta"))
        keys.append(asset.field("href"))
        read = MetadataReader.reads([field.name for field in meta.type], overviews=overviews)
        columns += [asset, meta.is_valid(), *(meta.field(name) for name in read)]
    alike = alike_rows(keys, columns)
    if len(alike.firsts) < len(payload):
        different = _parsed_each(payload.take(pa.array(alike.firsts)), names, overviews=overviews)
        return [different[place] for place in alike.which.tolist()]
    return _parsed_each(payload, names, overviews=overviews)


def _parsed_each(payload: pa.StructArray, names: Sequence[str], *, overviews: bool) -> list[Bands]:
    crs = payload.field("crs").to_pylist()
    columns = []
    for index, name in enumerate(names):
        parts = payload.field(f"b{index}")
        reader = MetadataReader(name, parts.field("meta"), overviews=overviews)
        hrefs, samples = _assets(parts.field("asset"))
        columns.append([reader.band(row, hrefs[row], samples[row], crs[row]) for row in range(len(payload))])
    bands: list[Bands] = list(zip(*columns, strict=True)) if columns else [()] * len(payload)
    for band in (band for row in bands for band in row):
        if band is not None and not band.crs:
            raise InvalidArgument(f"{band.href} names no CRS and the record's crs is empty; give it with crs := 'EPSG:…'")
    return bands


def rows_by_bands(bands: Sequence[Bands]) -> list[tuple[Bands, npt.NDArray[np.int64]]]:
    """Rows of one record together: the bands of each, with its rows in their order."""
    members: dict[int, list[int]] = {}
    for row, mine in enumerate(bands):
        members.setdefault(id(mine), []).append(row)
    return [(bands[rows[0]], np.array(rows, np.int64)) for rows in members.values()]


def _assets(asset: pa.StructArray) -> tuple[list[str | None], list[int | None]]:
    names = {asset.type.field(i).name for i in range(asset.type.num_fields)}
    hrefs: list[str | None] = asset.field("href").to_pylist()
    samples: list[Any] = asset.field("band_index").to_pylist() if "band_index" in names else [None] * len(asset)
    here = asset.is_valid().to_pylist()
    return [href if present else None for href, present in zip(hrefs, here, strict=True)], samples


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of every row that is looked up: bands, with their overviews or without."""

    names: tuple[str, ...]
    overviews: bool


def _looked_up(files: pa.Array, rows: pa.Array, wanted: Wanted) -> list[Bands]:
    """Of rows in Parquet files: row groups are found by their counts, and read where they hold one of the rows."""
    numbers = rows.to_numpy(zero_copy_only=False).astype(np.int64)
    encoded = files.dictionary_encode()
    places = encoded.indices.to_numpy(zero_copy_only=False)
    parts = [np.flatnonzero(places == index) for index in range(len(encoded.dictionary))]
    names = encoded.dictionary.to_pylist()
    by_file = _rows_of([(_Source.of(name, wanted), numbers[part]) for name, part in zip(names, parts, strict=True)])
    found: list[Bands] = [()] * len(numbers)
    for part, mine in zip(parts, by_file, strict=True):
        for place, bands in zip(part.tolist(), mine, strict=True):
            found[place] = bands
    return found


@dataclass(frozen=True, slots=True)
class _Source:
    """One version of a file, and what is asked of its rows."""

    version: Version
    wanted: Wanted

    @classmethod
    def of(cls, file: str, wanted: Wanted) -> Self:
        return cls(Version.of(file), wanted)


class _Lately:
    """Rows that were looked up lately: a statement announces its records, then it reads them. Thread-safe."""

    KEEP_BYTES = 32 << 20

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: deque[tuple[_Source, npt.NDArray[np.int64], Sequence[Bands], int]] = deque()
        self._nbytes = 0

    def find(self, source: _Source, rows: npt.NDArray[np.int64]) -> Sequence[Bands] | None:
        """These rows of a source, if all of them were looked up at once."""
        with self._lock:
            entries = [(numbers, found) for known, numbers, found, _ in self._found if known == source]
        for numbers, found in entries:
            if np.array_equal(numbers, rows):
                return found
            order = np.argsort(numbers, kind="stable")
            place = order[np.minimum(np.searchsorted(numbers, rows, sorter=order), len(numbers) - 1)]
            if np.array_equal(numbers[place], rows):
                return [found[i] for i in place.tolist()]
        return None

    def keep(self, source: _Source, rows: npt.NDArray[np.int64], found: Sequence[Bands], nbytes: int) -> None:
        with self._lock:
            self._found.append((source, rows, found, nbytes))
            self._nbytes += nbytes
            while self._nbytes > self.KEEP_BYTES:
                self._nbytes -= self._found.popleft()[3]


_LATELY = _Lately()


_FILES_AT_ONCE = 8
_FEW_ROWS = 256
"""Of so few rows columns are read sooner than handed to other threads."""
_BAND_BYTES = 1500
"""About what a band takes beside its tile table."""


def _rows_of(asked: Sequence[tuple[_Source, npt.NDArray[np.int64]]]) -> list[Sequence[Bands]]:
    """Per source its rows: those that were looked up lately, and the others of several sources at a time."""
    found = [_known_rows(source, rows) for source, rows in asked]
    missing = [number for number, known in enumerate(found) if known is None]
    if len(missing) > 1:
        with ThreadPoolExecutor(min(len(missing), _FILES_AT_ONCE), thread_name_prefix="rasteret-rows") as pool:
            looked_up = list(pool.map(_look_up, *zip(*(asked[number] for number in missing), strict=True)))
    else:
        looked_up = [_look_up(*asked[number]) for number in missing]
    rest = iter(looked_up)
    return [next(rest) if known is None else known for known in found]


def _known_rows(source: _Source, rows: npt.NDArray[np.int64]) -> Sequence[Bands] | None:
    ahead = _AHEAD.get(source)
    if ahead is not None:
        ahead.wait()
    return _LATELY.find(source, rows)


def _look_up(source: _Source, rows: npt.NDArray[np.int64]) -> Sequence[Bands]:
    payload = _read_rows(source, rows)
    found = _parsed(payload, source.wanted.names, overviews=source.wanted.overviews)
    _LATELY.keep(source, rows, found, payload.nbytes + _BAND_BYTES * len(rows) * len(source.wanted.names))
    return found


class LookAhead:
    """All rows of a small file, looked up before a statement asks for some; who asks meanwhile waits for them.

    Announced where it is made, run in another thread. Large files, broken ones and those far away are left to whoever needs them.
    """

    MOST_BANDS = 128
    """Rows times bands: at 30 µs a band they are parsed sooner than DuckDB has planned."""
    MOST_BYTES = 4 << 20

    def __init__(self, file: str, wanted: Wanted) -> None:
        self.file = file
        self._source = _Source.of(file, wanted)
        self._done = threading.Event()
        _AHEAD[self._source] = self

    def run(self) -> Sequence[Bands]:
        """The bands of the rows, where there are any."""
        try:
            metadata = footer(self._source.version)
            nbytes = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
            if metadata.num_rows * len(self._source.wanted.names) > self.MOST_BANDS or nbytes > self.MOST_BYTES:
                return []
            rows = np.arange(metadata.num_rows)
            found = _LATELY.find(self._source, rows)
            return _look_up(self._source, rows) if found is None else found
        except Exception:  # noqa: BLE001 - whatever it is: whoever needs the rows is told
            return []
        finally:
            _AHEAD.pop(self._source, None)
            self._done.set()

    def wait(self) -> None:
        self._done.wait()


_AHEAD: dict[_Source, LookAhead] = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_AHEAD.clear)  # the threads stay behind


def _read_rows(asked: _Source, rows: npt.NDArray[np.int64]) -> pa.StructArray:
    file, wanted = asked.version.file, asked.wanted
    remote = is_remote_file(file)
    metadata = footer(asked.version)
    source = opened(file)
    parquet = pq.ParquetFile(source, metadata=metadata, pre_buffer=False)
    starts = np.cumsum([0, *(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))])
    groups = np.searchsorted(starts, rows, side="right") - 1
    used, place = np.unique(groups, return_inverse=True)
    columns = ["crs", *(f"assets.{name}" for name in wanted.names), *_metadata_fields(metadata, used.tolist(), wanted)]
    if isinstance(source, RemoteFile):
        source.load(*_chunks(metadata, used.tolist(), columns))
    table = parquet.read_row_groups(used.tolist(), columns=columns, use_threads=len(rows) > _FEW_ROWS)
    ahead = np.concatenate(([0], np.cumsum(starts[used + 1] - starts[used])))
    chosen = ahead[place] + rows - starts[groups]
    if not np.array_equal(chosen, np.arange(len(table))):  # taking rows costs as much as reading them: thirty columns a band
        table = table.take(pa.array(chosen))
    assets = one_chunk(table["assets"])
    fields: dict[str, pa.Array] = {"crs": one_chunk(table["crs"])}
    for index, name in enumerate(wanted.names):
        asset = pc.struct_field(assets, [assets.type.get_field_index(name)])
        if remote:
            asset = _from_afar(asset, mount_of(file).rewrites)
        fields[f"b{index}"] = pa.StructArray.from_arrays([asset, one_chunk(table[metadata_column(name)])], names=["asset", "meta"])
    return pa.StructArray.from_arrays(list(fields.values()), names=list(fields))


def _metadata_fields(metadata: pq.FileMetaData, groups: Sequence[int], wanted: Wanted) -> list[str]:
    """What is read of the bands' metadata: fields that are looked at, without lists that are empty in all rows of these groups."""
    leaves = {metadata.schema.column(leaf).path: leaf for leaf in range(len(metadata.schema))}
    chosen = []
    for column in map(metadata_column, wanted.names):
        below = {path.removeprefix(f"{column}.").split(".")[0]: leaf for path, leaf in leaves.items() if path.startswith(f"{column}.")}
        empty = {
            field for field in MetadataReader.LEVELS if field in below and all(_is_empty(metadata.row_group(g).column(below[field])) for g in groups)
        }
        chosen += [f"{column}.{field}" for field in MetadataReader.reads(below, overviews=wanted.overviews) if field not in empty]
    return chosen


def _is_empty(chunk: pq.ColumnChunkMetaData) -> bool:
    """Does the footer say that a column holds NULL in all rows? An empty list counts as one."""
    statistics = chunk.statistics if chunk.is_stats_set else None
    return statistics is not None and statistics.has_null_count and statistics.null_count == chunk.num_values


def _chunks(metadata: pq.FileMetaData, groups: Sequence[int], columns: Sequence[str]) -> tuple[list[int], list[int]]:
    """Where the bytes of these columns, and of what is inside of them, lie: starts and lengths."""
    starts, lengths = [], []
    paths = [metadata.schema.column(leaf).path for leaf in range(len(metadata.schema))]
    leaves = [leaf for leaf, path in enumerate(paths) if any(path == column or path.startswith(f"{column}.") for column in columns)]
    for group in groups:
        row_group = metadata.row_group(group)
        for chunk in map(row_group.column, leaves):
            starts.append(chunk.data_page_offset if chunk.dictionary_page_offset is None else chunk.dictionary_page_offset)
            lengths.append(chunk.total_compressed_size)
    return starts, lengths


def _from_afar(asset: pa.StructArray, rewrites: Mapping[str, str]) -> pa.StructArray:
    """Assets of an index that lies at a URL: hrefs are rewritten, and those of local files become the error of who reads them."""
    names = [asset.type.field(i).name for i in range(asset.type.num_fields)]
    hrefs = [rewrite(href, rewrites) for href in asset.field("href").to_pylist()]
    checked = pa.array([None if href is None else barred_href(href) for href in hrefs], pa.string())
    values = [checked if name == "href" else asset.field(name) for name in names]
    return pa.StructArray.from_arrays(values, names=names, mask=asset.is_null())
