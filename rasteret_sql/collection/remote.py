"""Collections on object storage: which files make one up, and their bytes.

A collection by URL is one Parquet file, or what its ``_collection.json`` lists, or all Parquet files below an ``s3://`` prefix. Its files are
named ``rasteret://<key>/year=2024/month=1/part-0.parquet`` towards DuckDB and Arrow. The key stands for URL, settings and versions of the files, so
neither a signed URL nor an old version of a file can come back from a cache under such a name, and no error shows a query string.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rasteret_sql.collection.ranges import RANGES
from rasteret_sql.errors import CollectionNotFound, InvalidRaster, RasteretError, ReadError, one_line, redact
from rasteret_sql.reader.engine import engine
from rasteret_sql.reader.interrupts import watch
from rasteret_sql.settings import Settings
from rasteret_sql.storage import loop
from rasteret_sql.storage.metrics import Metrics
from rasteret_sql.storage.store import Entry, Identity, Store

SCHEME = "rasteret://"
"""Of the names under which DuckDB and Arrow know remote files."""
MANIFEST = "_collection.json"
"""Lists the files of an exported collection; written last, so that it never names a file that is not there."""
FORMAT = 1
PARQUET = (".parquet", ".geoparquet", ".parq")
FRESH_S = 5.0
"""How long what lies at a URL is taken for known: DuckDB plans one statement several times."""
_MANIFEST_BYTES = 64 << 20
_MOUNTS = 256
_MAGIC = 4
_TAIL = 64 << 10
"""Fetched with the last eight bytes of a file, which say how long its footer is; most footers fit."""


@dataclass(frozen=True, slots=True)
class RemoteEntry:
    """One Parquet file of a collection."""

    path: str
    """Below the collection's URL, with its partitions; the file's own name where the URL is one file's."""
    href: str = field(repr=False)
    size: int
    etag: str | None
    version: str
    """Tells this content of the file from any other: its ETag, or what stands for one."""


@dataclass(frozen=True, slots=True)
class Mount:
    """The files of one URL, as one statement after the other sees them."""

    key: str
    place: str
    """The URL as it may be shown."""
    settings: Settings
    entries: Mapping[str, RemoteEntry]
    rewrites: Mapping[str, str] = field(default_factory=dict)
    """Prefixes of hrefs in the index that are to be exchanged."""

    def names(self) -> list[str]:
        return [f"{SCHEME}{self.key}/{path}" for path in self.entries]


class _Mounts:
    """What was opened lately: by key for those who read files, by URL for those who plan."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_key: OrderedDict[str, Mount] = OrderedDict()
        self._by_url: dict[tuple[Any, ...], tuple[float, Mount]] = {}

    def fresh(self, asked: tuple[Any, ...]) -> Mount | None:
        with self._lock:
            opened, mount = self._by_url.get(asked, (0.0, None))
            return mount if mount is not None and time.monotonic() - opened < FRESH_S else None

    def keep(self, asked: tuple[Any, ...], mount: Mount) -> None:
        with self._lock:
            now = time.monotonic()
            self._by_url = {key: found for key, found in self._by_url.items() if now - found[0] < FRESH_S} | {asked: (now, mount)}
            self._by_key[mount.key] = mount
            self._by_key.move_to_end(mount.key)
            while len(self._by_key) > _MOUNTS:
                self._by_key.popitem(last=False)

    def find(self, name: str) -> tuple[Mount, RemoteEntry]:
        key, _, path = name.removeprefix(SCHEME).partition("/")
        with self._lock:
            mount = self._by_key.get(key)
        if mount is None or path not in mount.entries:
            raise CollectionNotFound(f"{one_line(name, 120)} was opened by another process, or long ago; prepare the statement again")
        return mount, mount.entries[path]

    def forget(self) -> None:
        with self._lock:
            self._by_url.clear()


MOUNTS = _Mounts()


def is_remote_file(name: str) -> bool:
    """Is it the name of a file on object storage, as :func:`mounted` gave it?"""
    return name.startswith(SCHEME)


def mounted(url: str, settings: Settings, rewrites: Mapping[str, str] | None = None) -> Mount:
    """The files of the collection at an http(s), s3, gs or az URL.

    Raises :class:`CollectionNotFound` where there is none, :class:`ReadError` where the server does not let one look.
    """
    asked = (url, settings, tuple((rewrites or {}).items()))
    found = MOUNTS.fresh(asked)
    if found is None:
        entries = _entries(url, settings)
        told = json.dumps([url, repr(settings), list(asked[2]), [[e.path, e.href, e.size, e.version] for e in entries]])
        key = hashlib.blake2b(told.encode(), digest_size=12).hexdigest()
        found = Mount(key, redact(url), settings, {entry.path: entry for entry in entries}, rewrites or {})
        MOUNTS.keep(asked, found)
    return found


def _entries(url: str, settings: Settings) -> list[RemoteEntry]:
    store = _store(settings)
    deadline = time.monotonic() + settings.timeout_s
    if redact(url).lower().endswith(PARQUET):
        return [_one_file(url, store, deadline)]
    prefix = f"{redact(url).rstrip('/')}/"
    entries = _from_manifest(prefix, store, deadline)
    if entries is None:
        if not prefix.startswith("s3://"):
            raise CollectionNotFound(
                f"{prefix} is no collection: it has no {MANIFEST} (rasteret_export writes it), and only s3:// can be listed; name its .parquet file"
            )
        found = _listing(prefix, store, deadline)
        entries = [_found(entry, entry.href[len(prefix) :]) for entry in found if _is_data(entry.href[len(prefix) :])]
        if not entries:
            what = f"{len(found)} objects, none of them a Parquet file" if found else "nothing"
            raise CollectionNotFound(f"{prefix} is no collection: {what} lies below it")
    return sorted(entries, key=lambda entry: entry.path)


def _listing(prefix: str, store: Store, deadline: float) -> list[Entry]:
    return loop.run(store.list(prefix, deadline=deadline), cancel=watch())


def _found(entry: Entry, path: str) -> RemoteEntry:
    return RemoteEntry(path, entry.href, entry.size, entry.etag, entry.etag or uuid.uuid4().hex)


def _is_data(path: str) -> bool:
    return path.lower().endswith(PARQUET) and not any(part.startswith(("_", ".")) for part in path.split("/"))


def _one_file(url: str, store: Store, deadline: float) -> RemoteEntry:
    try:
        head = loop.run(store.read_head(url, _MAGIC, deadline=deadline), cancel=watch())
    except ReadError as error:
        if error.status == 404:
            raise CollectionNotFound(f"no such file: {redact(url)} (HTTP 404)") from None
        raise
    if head.data != b"PAR1":
        raise InvalidRaster(f"{redact(url)} is no collection: it is no Parquet file")
    if head.size is None:
        raise ReadError("the server does not say how large the file is", url)
    return RemoteEntry(redact(url).rpartition("/")[2], url, head.size, head.etag, head.etag or uuid.uuid4().hex)


def _from_manifest(prefix: str, store: Store, deadline: float) -> list[RemoteEntry] | None:
    """The files that ``_collection.json`` lists; None where there is none, or where one may not ask for what is not there (S3 without listing)."""
    place = f"{prefix}{MANIFEST}"
    try:
        head = loop.run(store.read_head(place, _MANIFEST_BYTES, deadline=deadline), cancel=watch())
    except ReadError as error:
        if error.status == 404:
            return None
        if error.status == 403 and prefix.startswith("s3://") and "AccessDenied" in str(error) and _may_list(prefix, store, deadline):
            return None  # who may not list a bucket is not told that an object is missing; who may list this one, was
        raise
    try:
        said = json.loads(head.data)
        if said["format"] != FORMAT:
            raise InvalidRaster(f"{place} was written by another version (format {said['format']!r}); this one reads {FORMAT}")
        return [_listed(prefix, file, str(said["generation"])) for file in said["files"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidRaster(f"{place} is no list of a collection's files") from None


def _may_list(prefix: str, store: Store, deadline: float) -> bool:
    try:
        return bool(_listing(prefix, store, deadline))
    except ReadError:
        return False


def _listed(prefix: str, file: Mapping[str, Any], generation: str) -> RemoteEntry:
    path, size, etag = file["path"], file["bytes"], file.get("etag")
    if not _is_data(path) or ".." in path.split("/") or "://" in path or not isinstance(size, int) or not isinstance(etag, str | None):
        raise ValueError(path)
    return RemoteEntry(path, f"{prefix}{path}", size, etag, etag or generation)


def mount_of(name: str) -> Mount:
    """The mount that a file's name stands for."""
    return MOUNTS.find(name)[0]


def opened(name: str) -> str | RemoteFile:
    """What pyarrow reads a collection's file from: a local path as it is, else the remote file."""
    return RemoteFile(*MOUNTS.find(name)) if is_remote_file(name) else name


class RemoteFile(io.RawIOBase):
    """A Parquet file at a URL, read by ranges; footers and small ranges come from memory the second time.

    Safe to share between threads: each has a position of its own, as DuckDB seeks and reads in two steps.
    """

    def __init__(self, mount: Mount, entry: RemoteEntry) -> None:
        super().__init__()
        self.entry = entry
        self._settings = mount.settings
        self._store = _store(mount.settings)
        self._at = threading.local()
        self._loaded: list[tuple[int, bytes]] = []

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def size(self) -> int:
        return self.entry.size

    def tell(self) -> int:
        place: int = getattr(self._at, "place", 0)
        return place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self.entry.size}[whence]
        self._at.place = max(0, base + offset)
        return self.tell()

    def read(self, size: int | None = -1, /) -> bytes:
        start = self.tell()
        length = self.entry.size - start if size is None or size < 0 else min(size, self.entry.size - start)
        if length <= 0:
            return b""
        try:
            data = self._range(start, length)
        except RasteretError as error:
            raise error.with_traceback(None) from None  # DuckDB 2.0 shows the stack in its message
        self._at.place = start + length
        return bytes(data)

    def readinto(self, buffer: Any, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def load(self, starts: Sequence[int], lengths: Sequence[int]) -> None:
        """Fetch these ranges at once, many requests at a time; reads within them then wait for nothing."""
        wanted = [(start, length) for start, length in zip(starts, lengths, strict=True) if self._held(start, length) is None]
        if wanted:
            firsts, counts = zip(*wanted, strict=True)
            views = self._run(self._store.read_ranges(self.entry.href, firsts, counts, expect=self._identity, deadline=self._deadline()))
            blocks: dict[int, tuple[int, bytes]] = {}
            for first, view in zip(firsts, views, strict=True):  # neighbours were fetched together and share their bytes
                block: bytes = view.obj
                blocks[id(block)] = (min(first, blocks.get(id(block), (first, block))[0]), block)
            self._loaded += blocks.values()
            for first, block in blocks.values():
                RANGES.put((*self._version, first), block)

    def _range(self, start: int, length: int) -> bytes | memoryview:
        held = self._held(start, length)
        if held is not None:
            return held
        if start + length > self.entry.size - _TAIL:
            footer, data = self._footer()
            if start >= footer:
                return data[start - footer :][:length]
        data = self._fetch(start, length)
        RANGES.put((*self._version, start), data)
        return data

    def _held(self, start: int, length: int) -> bytes | memoryview | None:
        for first, data in self._loaded:
            if first <= start and start + length <= first + len(data):
                return data[start - first : start - first + length]
        footer = RANGES.get((*self._version, "footer"))
        if footer is not None and start >= self.entry.size - len(footer):
            begin = start - self.entry.size + len(footer)
            return footer[begin : begin + length]
        known = RANGES.get((*self._version, start))
        return known[:length] if known is not None and len(known) >= length else None

    def _footer(self) -> tuple[int, bytes]:
        """Where the footer starts, and the file from there on."""
        size = self.entry.size
        tail = self._fetch(max(0, size - _TAIL), min(size, _TAIL))
        if tail[-4:] != b"PAR1":
            raise InvalidRaster(f"{redact(self.entry.href)} is no collection: it is no Parquet file")
        footer = int.from_bytes(tail[-8:-4], "little") + 8
        if footer > size:
            raise InvalidRaster(f"{redact(self.entry.href)} is no collection: its footer is broken")
        if footer > len(tail):
            tail = self._fetch(size - footer, footer - len(tail)) + tail
        RANGES.put((*self._version, "footer"), tail)
        return size - len(tail), tail

    @property
    def _version(self) -> tuple[Any, ...]:
        return (self.entry.href, self.entry.size, self.entry.version)

    @property
    def _identity(self) -> Identity:
        return Identity(self.entry.etag, self.entry.size)

    def _deadline(self) -> float:
        return time.monotonic() + self._settings.timeout_s

    def _fetch(self, start: int, length: int) -> bytes:
        data: bytes = self._run(self._store.read_range(self.entry.href, start, length, expect=self._identity, deadline=self._deadline()))
        return data

    def _run(self, reading: Any) -> Any:
        try:
            return loop.run(reading, cancel=watch())
        except ReadError as error:
            if error.status == 404:
                raise CollectionNotFound(f"{redact(self.entry.href)}: this file of the collection is gone (HTTP 404)") from None
            raise


def _store(settings: Settings) -> Store:
    return Store(settings, Metrics(parent=engine(settings).metrics))
