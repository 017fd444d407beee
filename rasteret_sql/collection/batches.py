"""One batch of a build: which of its records are known, which headers are to be read, and the rows and keys that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rasteret_sql.collection.identity import U64, fingerprints, id_hashes, stamp_of_file, stamps
from rasteret_sql.collection.index import Answers, Kind, index_records, light_columns, unreadable
from rasteret_sql.collection.journal import Kinds
from rasteret_sql.collection.keys import JOURNAL, NO_TIME, OWN, Keys, Lookup
from rasteret_sql.collection.schema import ASSET, BAND_METADATA, metadata_column
from rasteret_sql.collection.source import AssetTable
from rasteret_sql.collection.stores import Store
from rasteret_sql.collection.unite import conformed, united_schema
from rasteret_sql.errors import RasteretError


@dataclass(frozen=True, slots=True)
class KnownRows:
    """Rows that an earlier build wrote."""

    where: int
    """:data:`~rasteret_sql.collection.keys.OLD` or :data:`~rasteret_sql.collection.keys.JOURNAL`."""
    lookup: Lookup
    """Its keys' ``row`` is the place in ``store``."""
    store: Store


@dataclass(slots=True)
class Batch:
    """Records of a source, and what is known of them."""

    assets: AssetTable
    prints: U64
    ids: U64
    stamps: U64
    known: Keys
    """Of each record: where its header columns lie, ``store`` being ``OWN`` for those that are not known."""
    todo: list[int]
    """Records not known, or known without all of their assets."""
    taken: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)
    """(record, band) → metadata known from an earlier row of the record, for records to do."""
    errors: dict[str, RasteretError] = field(default_factory=dict)
    """Hrefs that are not tried."""
    hrefs: list[str] = field(default_factory=list)
    """Files whose headers are to be read."""


@dataclass(slots=True)
class Outcome:
    """What became of a batch: rows for the journal with their keys, and what failed."""

    rows: pa.Table
    keys: Keys
    light: pa.Table
    """What the source said of the same records, in its own order."""
    bands: list[str]
    added: int
    failures: pa.Table


def prepared(assets: AssetTable, known: Sequence[KnownRows]) -> Batch:
    """Look the records up; nothing is read from the network."""
    prints = fingerprints(assets)
    found = Keys.blank(len(assets.ids))
    for rows in known:
        at = rows.lookup.same(prints)
        hit = np.flatnonzero((at >= 0) & (found.store == OWN))
        found.put(hit, rows.lookup.keys.take(at[hit]), rows.where)
    todo = np.flatnonzero((found.store == OWN) | ~found.whole).tolist()
    batch = Batch(assets, prints, id_hashes(assets), stamps(assets), found, todo)
    if not assets.every_sample:
        for rows in known:
            _take_known_assets(batch, rows)
    wanted = [href for row in todo for band, hrefs in assets.hrefs.items() if (href := hrefs[row]) is not None and (row, band) not in batch.taken]
    for href in dict.fromkeys(wanted):
        error = unreadable(href, remote=assets.remote)
        if error is None:
            batch.hrefs.append(href)
        else:
            batch.errors[href] = error
    return batch


def _take_known_assets(batch: Batch, known: KnownRows) -> None:
    """Bands of a record that an earlier row of it has, of the same href, sample and version, unless the local file has changed since."""
    pairs = []
    for row in batch.todo:
        same = known.lookup.of_id(int(batch.ids[row]))
        same = same[known.lookup.keys.stamp[same] == batch.stamps[row]]
        if len(same):
            pairs.append((row, int(known.lookup.keys.row[same[0]])))
    if not pairs:
        return
    bands = list(batch.assets.hrefs)
    schema = pa.schema([("assets", pa.struct([(band, ASSET) for band in bands])), *((metadata_column(band), BAND_METADATA) for band in bands)])
    table = known.store.take(np.array([place for _, place in pairs], np.int64), schema)
    named: list[dict[str, Any] | None] = table["assets"].to_pylist()
    for band in bands:
        hrefs, samples = batch.assets.hrefs[band], batch.assets.samples[band]
        column = table[metadata_column(band)]
        for index, (row, _) in enumerate(pairs):
            asset = (named[index] or {}).get(band)
            if not asset or (row, band) in batch.taken or (asset["href"], asset["band_index"] or 0) != (hrefs[row], samples[row]):
                continue
            metadata = column[index].as_py()
            stamp = None if batch.assets.remote else stamp_of_file(asset["href"])
            if metadata is not None and stamp in (None, metadata["etag"]):
                batch.taken[row, band] = metadata


def finished(batch: Batch, answers: Answers, kinds: Kinds) -> Outcome:
    """Rows and keys from the headers that were read."""
    assets = batch.assets
    taken = {(index, band): batch.taken[row, band] for index, row in enumerate(batch.todo) for band in assets.hrefs if (row, band) in batch.taken}
    indexed = index_records(_subset(assets, batch.todo), {**answers, **batch.errors}, taken)
    done = np.array([batch.todo[place] for place in indexed.places], np.int64)
    fresh, whole = np.array(indexed.fresh, bool), np.array(indexed.whole, bool)
    keys = _keys(batch, done, indexed.rows, whole, indexed.kinds, kinds)
    as_before = ~fresh & (whole == batch.known.whole[done]) & (batch.known.store[done] != OWN)
    keys.store[as_before], keys.row[as_before] = batch.known.store[done[as_before]], batch.known.row[done[as_before]]

    todo = np.zeros(len(assets.ids), bool)
    todo[batch.todo] = True
    kept = np.flatnonzero(~todo)
    kept_keys = batch.known.take(kept)
    light = pa.table(light_columns(assets, kept.tolist()))
    kept_keys.time = _times(light)
    schema = united_schema([indexed.rows.schema, light.schema])
    everything = np.concatenate([done, kept])
    order = np.sort(everything).tolist()
    return Outcome(
        rows=pa.concat_tables([conformed(indexed.rows, schema), conformed(light, schema)]),
        keys=Keys.joined([keys, kept_keys]),
        light=light if len(kept) == len(order) else pa.table(light_columns(assets, order)),
        bands=[] if assets.every_sample and not batch.todo else indexed.bands,
        added=int(fresh.sum() + (kept_keys.store == JOURNAL).sum()),
        failures=indexed.failures,
    )


def _keys(batch: Batch, done: npt.NDArray[np.int64], rows: pa.Table, whole: npt.NDArray[np.bool_], found: Sequence[Kind], kinds: Kinds) -> Keys:
    xmin, ymin, xmax, ymax = (corner.to_numpy() for corner in rows["bbox"].combine_chunks().flatten())
    return Keys(
        high=batch.prints[done, 0],
        low=batch.prints[done, 1],
        id=batch.ids[done],
        stamp=batch.stamps[done],
        whole=whole,
        kind=np.array([kinds.number(kind) for kind in found], np.int32),
        xmin=xmin,
        ymin=ymin,
        xmax=xmax,
        ymax=ymax,
        time=_times(rows),
        store=np.full(len(done), OWN, np.int8),
        row=np.full(len(done), -1, np.int64),
    )


def _times(table: pa.Table) -> npt.NDArray[np.int64]:
    times: npt.NDArray[np.int64] = table["datetime"].cast(pa.timestamp("us")).cast(pa.int64()).fill_null(NO_TIME).to_numpy()
    return times


def _subset(assets: AssetTable, rows: Sequence[int]) -> AssetTable:
    if len(rows) == len(assets.ids):
        return assets
    places = pa.array(rows, pa.int64())
    return replace(
        assets,
        ids=[assets.ids[row] for row in rows],
        datetimes=assets.datetimes.take(places),
        hrefs={band: [column[row] for row in rows] for band, column in assets.hrefs.items()},
        samples={band: [column[row] for row in rows] for band, column in assets.samples.items()},
        crs=[assets.crs[row] for row in rows],
        extra=assets.extra.take(places),
        versions=None if assets.versions is None else [assets.versions[row] for row in rows],
        collections=None if assets.collections is None else [assets.collections[row] for row in rows],
    )
