"""Where an export goes: a local folder or file, or an ``s3://`` prefix or object; whole or not at all, as far as the place allows it.

Locally the files are written beside and renamed into place. On object storage every export's files have names of their own, and a reader goes by the
list of them, ``_collection.json``, which is exchanged in one request after the last file is there; the files of the export before it go then.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections import deque
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rasteret_sql.collection.remote import FORMAT, MANIFEST, MOUNTS, PARQUET
from rasteret_sql.collection.workspace import FAILURES_FILE, local_path
from rasteret_sql.collection.write import swap_in
from rasteret_sql.errors import InvalidArgument, RasteretError, one_line, redact
from rasteret_sql.reader.engine import Query
from rasteret_sql.storage import loop
from rasteret_sql.storage.hrefs import resolve_href

T = TypeVar("T")

_OURS = (MANIFEST, FAILURES_FILE, "_metadata", "_common_metadata")
_LONGEST_PART = 200
"""Bytes of one name in a path: file systems have room for 255, and what is written beside has a longer name."""
_AT_ONCE = 4
"""Files on their way to the server; each is whole in memory meanwhile."""


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One Parquet file of an export."""

    path: str
    """Below the collection, with its partitions."""
    records: int
    bytes: int
    etag: str | None = None


class Destination(Protocol):
    """Takes Parquet files one after the other; nobody sees them before :meth:`finish`."""

    shown: str

    def check(self) -> None:
        """Refuse now what must not be overwritten."""

    def add(self, file: Path, path: str, records: int) -> None:
        """Take a finished file, which may be moved away."""

    def finish(self) -> list[ExportedFile]:
        """Make the export the collection at this place."""

    def abandon(self) -> None:
        """Leave everything as it was."""


def destination(place: str, query: Query, *, overwrite: bool) -> Destination:
    """The destination of this path or URL; :class:`InvalidArgument` for one that cannot be written to."""
    if place.startswith("s3://"):
        if redact(place) != place or not place.removeprefix("s3://").strip("/"):
            raise InvalidArgument(f"{redact(place)} is no place to write to; s3://bucket/prefix/ is")
        return _Bucket(place, query, overwrite)
    if place.lower().startswith("file://"):
        place = resolve_href(place).path or ""
    if "://" in place:
        raise InvalidArgument(f"{redact(place)} cannot be written to: local paths and s3:// can")
    path = local_path(place)
    if "\0" in place or any(len(part.encode()) > _LONGEST_PART for part in path.parts):
        raise InvalidArgument(f"{one_line(place, 120)!r} is no path to write to: a name in it holds a NUL or has more than {_LONGEST_PART} bytes")
    return _Local(path, overwrite)


def is_one_file(place: str) -> bool:
    """Does the place name a Parquet file rather than a folder?"""
    return place.lower().endswith(PARQUET)


def _manifest(files: Sequence[ExportedFile], generation: str) -> bytes:
    listed = [{"path": file.path, "records": file.records, "bytes": file.bytes, "etag": file.etag} for file in files]
    return f"{json.dumps({'format': FORMAT, 'generation': generation, 'files': listed}, indent=1)}\n".encode()


class _Local:
    """A folder, or one file."""

    def __init__(self, place: Path, overwrite: bool) -> None:
        self.place = place.absolute()
        self.shown = str(self.place)
        self._overwrite = overwrite
        self._generation = uuid.uuid4().hex[:8]
        self._aside = self.place.with_name(f".{self.place.name}.export-{self._generation}")
        self._files: list[ExportedFile] = []

    def check(self) -> None:
        there = self.place.exists()
        if there and is_one_file(self.shown) != self.place.is_file():
            raise InvalidArgument(f"{self.shown} is a {'file' if self.place.is_file() else 'folder'}; choose another path")
        if there and self.place.is_dir() and not any(self.place.iterdir()):
            return
        if there and not self._overwrite:
            raise InvalidArgument(f"{self.shown} exists already; overwrite := true replaces it")
        if there and self.place.is_dir():
            foreign = next((f for f in self.place.rglob("*") if f.is_file() and not (f.name.endswith(PARQUET) or f.name in _OURS)), None)
            if foreign is not None:
                raise InvalidArgument(f"{self.shown} is not overwritten: it holds {foreign.name}, which is no part of a collection")

    def add(self, file: Path, path: str, records: int) -> None:
        target = self._aside if is_one_file(self.shown) else self._aside / path
        target.parent.mkdir(parents=True, exist_ok=True)
        size = file.stat().st_size
        shutil.move(file, target)
        self._files.append(ExportedFile(path, records, size))

    def finish(self) -> list[ExportedFile]:
        self.check()
        if self._aside.is_file():
            self._aside.replace(self.place)
        else:
            (self._aside / MANIFEST).write_bytes(_manifest(self._files, self._generation))
            swap_in(self._aside, self.place)
        return self._files

    def abandon(self) -> None:
        if self._aside.is_file():
            self._aside.unlink()
        else:
            shutil.rmtree(self._aside, ignore_errors=True)


@dataclass
class _Bucket:
    """A prefix, or one object."""

    place: str
    query: Query
    overwrite: bool
    shown: str = field(init=False)
    _generation: str = field(init=False, default_factory=lambda: uuid.uuid4().hex[:8])
    _running: deque[tuple[str, int, int, Future[str | None]]] = field(init=False, default_factory=deque)
    _files: list[ExportedFile] = field(init=False, default_factory=list)
    _before: set[str] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self.shown = self.place if is_one_file(self.place) else f"{self.place.rstrip('/')}/"

    def check(self) -> None:
        store, deadline = self.query.store, self._deadline()
        if is_one_file(self.place):
            there = self._run(store.stat(self.place, deadline=deadline)) is not None
        else:
            found = self._run(store.list(self.shown, deadline=deadline))
            self._before = {entry.href for entry in found if entry.href.lower().endswith(PARQUET)}
            there = bool(found)
        if there and not self.overwrite:
            raise InvalidArgument(f"{self.shown} exists already; overwrite := true replaces it")

    def add(self, file: Path, path: str, records: int) -> None:
        if not is_one_file(self.place):
            folder, slash, name = path.rpartition("/")
            path = f"{folder}{slash}{name.removesuffix('.parquet')}-{self._generation}.parquet"
        data = file.read_bytes()
        file.unlink()
        self._running.append((path, records, len(data), loop.spawn(self.query.store.write(self._href(path), data, deadline=self._deadline()))))
        if len(self._running) >= _AT_ONCE:
            self._await_one()

    def finish(self) -> list[ExportedFile]:
        while self._running:
            self._await_one()
        if not is_one_file(self.place):
            manifest = _manifest(self._files, self._generation)
            self._run(self.query.store.write(f"{self.shown}{MANIFEST}", manifest, deadline=self._deadline()))
            self._delete(self._before - {self._href(file.path) for file in self._files})
        MOUNTS.forget()
        return self._files

    def abandon(self) -> None:
        for path, _, _, writing in self._running:
            if not writing.cancel():
                self._files.append(ExportedFile(path, 0, 0))
        if not is_one_file(self.place):
            self._delete({self._href(file.path) for file in self._files})

    def _href(self, path: str) -> str:
        return self.place if is_one_file(self.place) else f"{self.shown}{path}"

    def _await_one(self) -> None:
        path, records, size, writing = self._running.popleft()
        self._files.append(ExportedFile(path, records, size, loop.wait(writing, cancel=self.query.cancelled)))

    def _delete(self, hrefs: set[str]) -> None:
        """What is left behind harms nobody who reads the list of files: a failure here is none of the export."""
        for href in sorted(hrefs):
            with suppress(RasteretError):
                self._run(self.query.store.delete(href, deadline=self._deadline()))

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return loop.run(coroutine, cancel=self.query.cancelled)

    def _deadline(self) -> float:
        return time.monotonic() + self.query.settings.timeout_s
