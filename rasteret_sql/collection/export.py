"""Writing any relation with the contract columns as a collection: spooled to disk batch by batch, sorted by keys in memory, written by partition.

So an export of a million records holds their keys (100 bytes each) and one block of rows, and each row group is a place on the map, as in a build.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from rasteret_sql.collection.destinations import Destination, is_one_file
from rasteret_sql.collection.facts import Facts, box_around, extents_of, moment_of
from rasteret_sql.collection.keys import NO_TIME, Keys
from rasteret_sql.collection.merge import Rows, write_partition
from rasteret_sql.collection.schema import ASSET, BAND_METADATA, BBOX, band_names, metadata_column
from rasteret_sql.collection.stores import arrow_store
from rasteret_sql.collection.unite import conformed, united_schema
from rasteret_sql.errors import CollectionNotFound, InvalidArgument, InvalidRaster, listing, near

_NEEDED = ("id", "datetime", "assets", "bbox")
_DERIVED = ("year", "month")
_SPOOL_BYTES = 64 << 20
"""Of one file of the spool: what a mapping of it may take."""
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class Exported:
    """The row that an export returns."""

    path: str
    records: int
    files: int
    bytes: int
    seconds: float


@dataclass
class Export:
    """One export under way. :meth:`add` may be called from several threads; then :meth:`finish`, or :meth:`abandon`."""

    destination: Destination
    partition_by: Sequence[str]
    name: str
    source: str
    touched: float = field(init=False, default_factory=time.monotonic)
    _started: float = field(init=False, default_factory=time.monotonic)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _spool: _Spool = field(init=False)
    _keys: list[Keys] = field(init=False, default_factory=list)
    _partitions: dict[str, int] = field(init=False, default_factory=dict)
    _labels: list[npt.NDArray[np.int32]] = field(init=False, default_factory=list)
    _seen: _Seen = field(init=False)
    _failed: BaseException | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if is_one_file(self.destination.shown) and self.partition_by:
            raise InvalidArgument(f"{self.destination.shown} is one file, which has no partitions; name a folder, or give partition_by := []")
        self._spool = _Spool()
        self._seen = _Seen()

    def add(self, rows: pa.Table) -> int:
        """Take a batch; its number of rows. An error of one batch is the error of all that come after it."""
        try:
            return self._add(rows)
        except BaseException as error:
            with self._lock:
                self._failed = self._failed or error
            self.abandon()
            raise

    def _add(self, rows: pa.Table) -> int:
        self._check(rows)
        times = _times(rows)
        labels = self._label(rows, times)
        table = self._normal(rows)
        keys = _keys_of(table, times)
        with self._lock:
            if self._failed is not None:
                raise self._failed
            self.touched = time.monotonic()
            self._seen.see(table, rows)
            self._spool.add(table)
            self._keys.append(keys)
            self._labels.append(np.fromiter((self._partitions.setdefault(label, len(self._partitions)) for label in labels), np.int32, len(labels)))
        return len(rows)

    def finish(self) -> Exported:
        """Write what came, all of it or nothing."""
        try:
            self._write()
            done = self.destination.finish()
            records = sum(file.records for file in done)
            return Exported(self.destination.shown, records, len(done), sum(f.bytes for f in done), time.monotonic() - self._started)
        except BaseException:
            self.destination.abandon()
            raise
        finally:
            self._spool.close()

    def abandon(self) -> None:
        """Forget what came."""
        with self._lock:
            self._spool.close()
            self.destination.abandon()

    def _check(self, rows: pa.Table) -> None:
        names = rows.column_names
        if missing := [name for name in _NEEDED if name not in names]:
            raise InvalidRaster(f"the relation is no collection: it lacks the columns {listing(missing)}")
        if not band_names(names):
            raise InvalidRaster("the relation is no collection: it has no column <band>_metadata")
        for name in self.partition_by:
            if name not in _DERIVED and (name not in names or pa.types.is_nested(rows.schema.field(name).type)):
                known = [*_DERIVED, *(n for n in names if not pa.types.is_nested(rows.schema.field(n).type) and n not in ("geometry", *_DERIVED))]
                raise InvalidArgument(f"partition_by names no column {name!r}{near(name, known)}; valid: {listing(known)}")

    def _label(self, rows: pa.Table, times: npt.NDArray[np.int64]) -> list[str]:
        """The folder of each record."""
        if not self.partition_by:
            return [""] * len(rows)
        columns: list[list[str | None]] = []
        dates = times.view("datetime64[us]")
        for name in self.partition_by:
            if name == "year":
                values = dates.astype("datetime64[Y]").astype(np.int64) + 1970
            elif name == "month":
                values = dates.astype("datetime64[M]").astype(np.int64) % 12 + 1
            else:
                columns.append(rows[name].cast(pa.string()).to_pylist())
                continue
            columns.append([None if at == NO_TIME else str(value) for at, value in zip(times.tolist(), values.tolist(), strict=True)])
        return ["/".join(map(self._folder, self.partition_by, values)) for values in zip(*columns, strict=True)]

    def _folder(self, name: str, value: str | None) -> str:
        return f"{quote(name, safe=' :')}={_NULL_PARTITION if value is None else quote(value, safe=' :')}"

    def _normal(self, rows: pa.Table) -> pa.Table:
        """The contract's columns in its types; typed NULLs that ride along in relations go, and so do columns that the folders give."""
        kinds: dict[str, pa.DataType] = {"id": pa.string(), "datetime": pa.timestamp("us"), "geometry": pa.binary()}
        kinds |= {"bbox": BBOX, "proj:epsg": pa.int32(), "crs": pa.string()}
        bands = band_names(rows.column_names)
        kinds["assets"] = pa.struct([(band, ASSET) for band in bands])
        for band in bands:
            kinds[metadata_column(band)] = BAND_METADATA
        kept = [f for f in rows.schema if f.name not in kinds and f.name not in self.partition_by and f.name not in _DERIVED]
        schema = pa.schema([*kinds.items(), *((f.name, _plain(f.type)) for f in kept)])
        if not self.partition_by:
            moments = pa.array(_times(rows).view("datetime64[us]"))
            for name, part in zip(_DERIVED, (pc.year(moments), pc.month(moments)), strict=True):
                schema = schema.append(pa.field(name, pa.int32()))
                rows = rows.drop_columns([n for n in (name,) if n in rows.column_names]).append_column(name, part.cast(pa.int32()))
        return conformed(_storage(rows), schema)

    def _write(self) -> None:
        if not self._keys:
            raise CollectionNotFound("there is nothing to export: no record is left")
        keys = Keys.joined(self._keys)
        labels = np.concatenate(self._labels)
        facts = self._seen.facts(keys)
        schema = facts.schema(self._spool.schema(facts.bands), facts.metadata(self.name, self.source))
        rows = Rows(keys, 0, arrow_store(self._spool.files()), None, schema)
        for name in sorted(self._partitions):
            mine = np.flatnonzero(labels == self._partitions[name])
            file = self._spool.folder / "part-0.parquet"
            write_partition(file, rows, mine)
            self.destination.add(file, f"{name}/part-0.parquet".lstrip("/"), len(mine))


class _Spool:
    """Batches on local disk, in Arrow files that are mapped afterwards."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="rasteret-export-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        self._files: list[Path] = []
        self._schema: pa.Schema | None = None
        self._waiting: list[pa.Table] = []
        self._bytes = 0

    def add(self, table: pa.Table) -> None:
        self._schema = table.schema if self._schema is None else united_schema([self._schema, table.schema])
        self._waiting.append(table)
        self._bytes += table.nbytes
        if self._bytes >= _SPOOL_BYTES:
            self._flush()

    def files(self) -> list[Path]:
        """All of them, in the order of the rows."""
        self._flush()
        return self._files

    def schema(self, bands: Sequence[str]) -> pa.Schema:
        """Of the columns that are not made from headers, id and datetime among them."""
        made = {"geometry", "assets", "bbox", "proj:epsg", "crs", *map(metadata_column, bands)}
        return pa.schema([column for column in self._schema or () if column.name not in made])

    def close(self) -> None:
        self._folder.cleanup()

    def _flush(self) -> None:
        if self._waiting:
            file = self.folder / f"{len(self._files):06d}.arrow"
            with ExitStack() as stack:
                sink = stack.enter_context(pa.OSFile(str(file), "wb"))
                writer = stack.enter_context(pa.ipc.new_file(sink, self._waiting[0].schema))
                for table in self._waiting:
                    writer.write_table(conformed(table, self._waiting[0].schema).combine_chunks())
            self._files.append(file)
            self._waiting, self._bytes = [], 0


class _Seen:
    """What the collection's metadata will say, gathered over the batches."""

    def __init__(self) -> None:
        self.dtypes: dict[str, set[str]] = {}
        self.epsg: set[int] = set()
        self.geometry_types: set[str] = set()

    def see(self, table: pa.Table, rows: pa.Table) -> None:
        for band in band_names(rows.column_names):
            metadata = table[metadata_column(band)].combine_chunks()
            known = pc.unique(pc.struct_field(metadata, ["dtype"])).to_pylist()
            self.dtypes.setdefault(band, set()).update(name for name in known if name)
        self.epsg.update(code for code in pc.unique(table["proj:epsg"]).to_pylist() if code is not None)
        shapes = shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False), on_invalid="ignore")
        self.geometry_types.update(shape.geom_type for shape in shapes if shape is not None)

    def facts(self, keys: Keys) -> Facts:
        known = keys.time[keys.time != NO_TIME]
        boxes = keys.boxes[~np.isnan(keys.boxes).any(axis=1)]
        return Facts(
            bands=list(self.dtypes),
            dtypes={band: sorted(found) for band, found in self.dtypes.items()},
            epsg=sorted(self.epsg),
            geometry_types=sorted(self.geometry_types),
            bounds=box_around(boxes) if len(boxes) else None,
            extents=extents_of(boxes),
            first=moment_of(known.min()) if len(known) else None,
            last=moment_of(known.max()) if len(known) else None,
        )


def _keys_of(table: pa.Table, times: npt.NDArray[np.int64]) -> Keys:
    keys = Keys.blank(len(table))
    keys.time = times
    keys.id = np.fromiter((order_of(text) for text in table["id"].to_pylist()), np.uint64, len(table))
    corners = table["bbox"].combine_chunks()
    for name in ("xmin", "ymin", "xmax", "ymax"):
        values = pc.struct_field(corners, [name])
        setattr(keys, name, np.asarray(values.to_numpy(zero_copy_only=False), np.float64))
    return keys


def order_of(text: str | None) -> int:
    """A number that orders ids alike in every process."""
    data = (text or "").encode()[:8].ljust(8, b"\0")
    return int.from_bytes(data, "big")


def _times(rows: pa.Table) -> npt.NDArray[np.int64]:
    """Microseconds since 1970, UTC; :data:`NO_TIME` for NULL."""
    column = rows["datetime"]
    if not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type) or pa.types.is_null(column.type)):
        raise InvalidRaster(f"the relation is no collection: its datetime is {column.type}, not a TIMESTAMP")
    moments = column.cast(pa.timestamp("us", getattr(column.type, "tz", None))).cast(pa.int64())
    return np.asarray(pc.fill_null(moments, NO_TIME).to_numpy(), np.int64)


def _storage(rows: pa.Table) -> pa.Table:
    """Geometries as WKB, whatever DuckDB calls their type."""
    if "geometry" not in rows.column_names:
        return rows
    column = rows["geometry"].combine_chunks()
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    place = rows.schema.get_field_index("geometry")
    return rows.set_column(place, "geometry", column.cast(pa.binary()))


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
