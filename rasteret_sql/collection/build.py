"""Building a collection: records in, each header read once in its life, Parquet out.

The same call again adds what is new, keeps what is known and reads again what changed; records that the source no longer gives go, since the
source with its parameters is what the collection *is*. What is known is asked record by record (:mod:`rasteret_sql.collection.identity`), so another
source or other parameters under the same name make another collection, in which only headers of the very same files are reused.
"""

from __future__ import annotations

import hashlib
import shutil
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from rasteret_sql.collection.assets import TableOptions, TableSource
from rasteret_sql.collection.batches import Batch, KnownRows, finished, prepared
from rasteret_sql.collection.built import Built, load_built, save_built
from rasteret_sql.collection.facts import Facts
from rasteret_sql.collection.identity import identity_digest
from rasteret_sql.collection.index import FAILURES, Kind, index_records
from rasteret_sql.collection.journal import Journal, Kinds
from rasteret_sql.collection.keys import JOURNAL, NO_TIME, OLD, Keys, Lookup
from rasteret_sql.collection.links import remove_link
from rasteret_sql.collection.lock import locked
from rasteret_sql.collection.merge import Rows, from_headers, write_files
from rasteret_sql.collection.remains import building_folder, remove_remains
from rasteret_sql.collection.remove import check_nothing_else
from rasteret_sql.collection.source import AssetTable, RecordSource
from rasteret_sql.collection.stores import parquet_store
from rasteret_sql.collection.unite import united_schema
from rasteret_sql.collection.workspace import ROWS, SUFFIXES, check_name, generation_of, lock_file, workspace_path
from rasteret_sql.collection.write import clean_up, has_links, put_in_place, recover, save_failures
from rasteret_sql.errors import InvalidArgument, InvalidRaster, RasteretError, listing
from rasteret_sql.reader.engine import Query
from rasteret_sql.reader.headers import FileHeader, HeaderReader, read_headers
from rasteret_sql.storage import loop

Tell = Callable[[int, int], None]
"""Told (files finished, files in all); the latter is 0 while unknown."""


@dataclass(frozen=True, slots=True, repr=False)
class BuildReport:
    """What a build did: the row that a build statement returns."""

    collection: str
    path: str
    records: int = 0
    added: int = 0
    """Records that are new, or of which a header was read."""
    unchanged: int = 0
    """Records whose headers were all known."""
    failed: int = 0
    """Assets that could not be indexed; the next build tries them again."""
    bands: list[str] = field(default_factory=list)
    epsg: list[int] = field(default_factory=list)
    bounds: list[float] | None = None
    first: datetime | None = None
    last: datetime | None = None
    requests: int = 0
    bytes: int = 0
    seconds: float = 0.0

    def __repr__(self) -> str:
        """One line for people: ``<built 's2': 12 records, 3 added, 9 unchanged, 0 assets failed, …>``."""
        period = [f"{moment:%Y-%m-%d}" for moment in (self.first, self.last) if moment is not None]
        parts = [f"{self.records:,} records", f"{self.added:,} added", f"{self.unchanged:,} unchanged", f"{self.failed:,} assets failed"]
        parts += [f"bands {listing(self.bands, 8)}", *([" … ".join(dict.fromkeys(period))] if period else [])]
        parts += [f"{self.requests:,} requests", f"{self.bytes:,} bytes", f"{self.seconds:.1f} s"]
        return f"<built {self.collection!r}: {', '.join(parts)}>"


def build_from_table(
    table: pa.Table,
    name: str,
    options: TableOptions,
    query: Query,
    *,
    source: str = "table",
    force: bool = False,
    done: Tell | None = None,
) -> BuildReport:
    """Index the files that a table of records names; the collection then equals the table."""
    return build_collection(TableSource(table, options, source), name, query, force=force, done=done)


def build_collection(source: RecordSource, name: str, query: Query, *, force: bool = False, done: Tell | None = None) -> BuildReport:
    """Build or update the collection ``name`` in the workspace of the query's settings.

    ``force`` reads every header again. Each batch may take as long as the setting ``timeout_s``. Two builds of one name run one after the other.
    Killed at any moment, the old collection is whole, and the next build of the same identity goes on with the batches that were finished.
    """
    started = time.monotonic()
    workspace = workspace_path(query.settings.workspace)
    folder = workspace / f"{check_name(name)}_{source.kind}"
    for other in (workspace / f"{name}{suffix}" for suffix in SUFFIXES):
        if other != folder and other.exists() and generation_of(other) is None:
            raise InvalidArgument(f"{name!r} names a folder that was not built here, {other}; choose another name, or remove it")
    with locked(lock_file(workspace, name), f"collection {name!r}", query.deadline, query.cancelled.is_set):
        recover(folder)
        check_nothing_else(folder, "replaced")
        report = _Build(source, name, folder, query, done).run(force=force)
        remove_remains(workspace, name)
    counters = query.metrics.snapshot()
    return replace(report, requests=counters.requests, bytes=counters.bytes, seconds=time.monotonic() - started)


def index_files(hrefs: Sequence[str], query: Query, *, crs: str | None = None) -> pa.Table:
    """Bare GeoTIFFs as a collection's table: one record per file, bands ``b1``…``bn``. The first file that cannot be read is an error."""
    ids = [Path(href.rstrip("/")).stem for href in hrefs]
    assets = AssetTable(
        ids=ids,
        datetimes=pa.nulls(len(ids), pa.timestamp("us")),
        hrefs={"": list(hrefs)},
        samples={"": [0] * len(ids)},
        crs=[crs] * len(ids),
        extra=pa.table({"href": pa.array(list(hrefs), pa.string())}),
        every_sample=True,
    )
    unique = list(dict.fromkeys(hrefs))
    indexed = index_records(assets, dict(zip(unique, read_headers(unique, query), strict=True)))
    if len(indexed.failures):
        raise InvalidRaster(indexed.failures["error"][0].as_py())
    corners = indexed.rows["bbox"].combine_chunks().flatten()
    boxes = np.stack([corner.to_numpy() for corner in corners], axis=1)
    facts = Facts.of(indexed.kinds, boxes, np.full(len(ids), NO_TIME), indexed.bands)
    return indexed.rows.replace_schema_metadata(facts.metadata("", "files") | {ROWS: str(len(indexed.rows))})


@dataclass(slots=True)
class _Build:
    """One run, under the lock."""

    source: RecordSource
    name: str
    folder: Path
    query: Query
    done: Tell | None
    records: int = 0
    """Records that the source gave so far, and of these the ones added."""
    added: int = 0
    bands: dict[str, None] = field(default_factory=dict)
    failures: list[pa.Table] = field(default_factory=list)

    def run(self, *, force: bool) -> BuildReport:
        digest = identity_digest(self.source.identity)
        built = None if force else load_built(self.folder)
        kinds = Kinds(built.kinds if built else ())
        journal = Journal(building_folder(self.folder), digest, force=force, kinds=kinds)
        if journal.forced:
            built = None
        old = None if built is None else parquet_store([self.folder / file.file for file in built.files], from_headers)
        known = [KnownRows(JOURNAL, Lookup(journal.known()), journal.store())] if len(journal.resumed) else []
        if built is not None and old is not None:
            known.insert(0, KnownRows(OLD, Lookup(built.keys), old))
        try:
            content = self._read_all(known, journal, kinds)
        except BaseException:
            journal.remove_if_empty()
            raise
        failures = pa.concat_tables([FAILURES.empty_table(), *self.failures])
        if not len(journal):
            journal.remove()
            raise InvalidArgument(
                f"none of the {self.records} records has a readable file; the first: {failures['error'][0].as_py()}"
                if len(failures)
                else "the source names no files; nothing to build"
            )
        keys = journal.keys()
        facts = Facts.of(_used(kinds, keys), keys.boxes, keys.time, list(self.bands))
        if built is None or not _is_unchanged(built, keys, content, digest):
            made = Built(uuid.uuid4().hex[:8], self.source.identity, digest, content, tuple(kinds.listed), (), keys)
            metadata = facts.metadata(self.name, self.source.label, made.generation)
            schema = facts.schema(united_schema(_said(schema) for schema in journal.schemas), metadata)
            self._write(made, Rows(keys, len(journal.resumed), journal.store(), old, schema), journal.folder / "out", failures)
        else:
            save_failures(self.folder, failures)
            clean_up(self.folder, built.generation)
        journal.remove()
        return self._report(keys, facts, len(failures))

    def _read_all(self, known: Sequence[KnownRows], journal: Journal, kinds: Kinds) -> str:
        """All batches into the journal, the headers of some being read while the source gives the next; returns a digest of what the source said."""
        content = hashlib.blake2b(digest_size=16)
        telling = _Telling(self.done)
        reader = HeaderReader(self.query)
        running: deque[tuple[Batch, _Headers]] = deque()
        batches, failure = iter(self.source.batches()), None
        try:
            while True:
                try:
                    assets = next(batches)
                except StopIteration:
                    break
                except RasteretError as error:  # of the source; what it gave before is kept for the next time
                    failure = error
                    break
                self.records += len(assets.ids)
                batch = prepared(assets, known)
                self.query.deadline = time.monotonic() + self.query.settings.timeout_s
                running.append((batch, reader.start(batch.hrefs, telling.of(len(batch.hrefs)))))
                if len(running) == _BATCHES_AHEAD:
                    self._finish(*running[0], journal, kinds, content.update)
                    running.popleft()
            telling.complete = True
            while running:
                self._finish(*running[0], journal, kinds, content.update)
                running.popleft()
        finally:
            for _, headers in running:
                headers.cancel()
        if failure is not None:
            raise failure
        return content.hexdigest()

    def _finish(self, batch: Batch, headers: _Headers, journal: Journal, kinds: Kinds, said: Callable[[bytes], None]) -> None:
        answers = loop.wait(headers, cancel=self.query.cancelled)
        outcome = finished(batch, dict(zip(batch.hrefs, answers, strict=True)), kinds)
        self.bands |= dict.fromkeys(outcome.bands)
        self.added += outcome.added
        self.failures.append(outcome.failures)
        if len(outcome.rows):
            journal.add(outcome.rows, outcome.keys)
            said(_serialised(outcome.light))

    def _write(self, made: Built, rows: Rows, aside: Path, failures: pa.Table) -> None:
        """All files beside, then in the place of the old ones; a collection of this name from another kind of source goes."""
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        linked = has_links(aside)
        files, order = write_files(aside, rows, "part-0.parquet" if linked else f"part-0-{made.generation}.parquet")
        save_built(aside, replace(made, files=tuple(files), keys=made.keys.take(order)))
        save_failures(aside, failures)
        put_in_place(aside, self.folder, made.generation, linked=linked)
        remove_link(self.name, str(self.folder.parent))
        for suffix in SUFFIXES:
            other = self.folder.with_name(f"{self.name}{suffix}")
            if other != self.folder:
                shutil.rmtree(other, ignore_errors=True)
            clean_up(other, made.generation)

    def _report(self, keys: Keys, facts: Facts, failed: int) -> BuildReport:
        return BuildReport(
            collection=self.name,
            path=str(self.folder),
            records=len(keys),
            added=self.added,
            unchanged=len(keys) - self.added,
            failed=failed,
            bands=facts.bands,
            epsg=facts.epsg,
            bounds=facts.bounds,
            first=facts.first,
            last=facts.last,
        )


_Headers = Future[list[FileHeader | RasteretError]]
_BATCHES_AHEAD = 3
"""One that is worked on, one whose last headers are on their way, and one whose first are."""


@dataclass(slots=True)
class _Telling:
    """Progress over all batches."""

    done: Tell | None
    files: int = 0
    finished: int = 0
    complete: bool = False
    """The source has given its last batch."""

    def of(self, count: int) -> Callable[[int], None]:
        """For a batch of so many files."""
        self.files += count
        return self._tell

    def _tell(self, _: int) -> None:
        """Called in the event loop's thread alone."""
        self.finished += 1
        if self.done is not None:
            self.done(self.finished, self.files if self.complete else 0)


def _used(kinds: Kinds, keys: Keys) -> list[Kind]:
    listed = kinds.listed
    return [listed[number] for number in np.unique(keys.kind).tolist()]


def _said(schema: pa.Schema) -> pa.Schema:
    return pa.schema([column for column in schema if not from_headers(column.name)])


def _serialised(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    found: bytes = sink.getvalue().to_pybytes()
    return found


def _is_unchanged(built: Built, keys: Keys, content: str, digest: str) -> bool:
    """Every record of the old collection is one of this, and the source says of them what it said before."""
    same = (built.content, built.digest, len(built.keys)) == (content, digest, len(keys))
    return bool(same and (keys.store == OLD).all() and len(np.unique(keys.row)) == len(keys))
