"""Opening the root of a catalogue: an API, a static catalogue on a server or on disk; and reading its documents."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from rasteret_sql.collection.workspace import local_path
from rasteret_sql.errors import InvalidArgument, ReadError, one_line, redact
from rasteret_sql.reader.engine import Query
from rasteret_sql.storage import loop
from rasteret_sql.storage.documents import Document, DocumentRequest, fetch_documents
from rasteret_sql.storage.hrefs import resolve_href

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_ITEM_SEARCH = re.compile(r"https://api\.stacspec\.org/v[^/]+/item-search(#.*)?")


@dataclass(frozen=True, slots=True)
class Root:
    """Where a catalogue begins. ``place`` is what messages call it."""

    document: Document
    local: bool

    @property
    def place(self) -> str:
        return redact(self.document.url)

    @property
    def conforms_to(self) -> list[str]:
        classes = self.document.data.get("conformsTo")
        return [name for name in classes if isinstance(name, str)] if isinstance(classes, list) else []

    @property
    def is_api(self) -> bool:
        return bool(self.conforms_to) or any(link.get("rel") == "search" for link in links(self.document.data))

    @property
    def has_item_search(self) -> bool:
        return any(_ITEM_SEARCH.fullmatch(name) for name in self.conforms_to)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads documents within one build: its limits, its counters."""

    query: Query

    def read(self, request: DocumentRequest) -> Document:
        """One document. Every request has the deadline of the settings; a build of many may take longer."""
        return self._fetch([request])[0]

    def read_all(self, places: Sequence[str]) -> list[Document]:
        """Documents by URL, a bounded number of requests at once, or by path; in order."""
        found: list[Document] = []
        step = min(self.query.settings.max_concurrency, 32)
        for start in range(0, len(places), step):
            part = places[start : start + step]
            fetched = iter(self._fetch([DocumentRequest(place) for place in part if is_url(place)]))
            found += [next(fetched) if is_url(place) else _read_file(place) for place in part]
        return found

    def _fetch(self, requests: Sequence[DocumentRequest]) -> list[Document]:
        deadline = time.monotonic() + self.query.settings.timeout_s
        return loop.run(fetch_documents(requests, self.query.metrics, deadline=deadline), cancel=self.query.cancelled)


def open_root(place: str, reader: Reader) -> Root:
    """Read the root of a catalogue; :class:`ReadError` where it is not reachable, :class:`InvalidArgument` where it is no catalogue."""
    if is_url(place):
        scheme = place.partition(":")[0].lower()
        if scheme == "file":
            return _checked(_read_file(resolve_href(place).path or ""), local=True)
        if scheme not in {"http", "https"}:
            raise InvalidArgument(f"{redact(place)}: {scheme}:// catalogues are not read; http://, https:// and local paths are")
        return _checked(reader.read(DocumentRequest(place)), local=False)
    return _checked(_read_file(place), local=True)


def _checked(document: Document, *, local: bool) -> Root:
    root = Root(document, local)
    data = document.data
    known = isinstance(data, dict) and (data.get("type") in {"Catalog", "Collection", "FeatureCollection"} or "stac_version" in data)
    if not known:
        raise InvalidArgument(
            f"{root.place} is neither a STAC API nor a catalogue: its document has no stac_version; give the root (…/v1) or a catalog.json"
        )
    relations = {link.get("rel"): link["href"] for link in links(data)}
    if data.get("type") == "Collection" and "items" in relations and not {"item", "child"} & relations.keys() and not root.is_api:
        above = redact(resolve(str(relations.get("root", "…")), document.url))
        raise InvalidArgument(f"{root.place} is one collection of an API; give the API's root, {above}, and the collection's id {data.get('id')!r}")
    return root


def _read_file(path: str) -> Document:
    file = local_path(path)
    try:
        if file.is_dir():
            file /= "catalog.json"
        return Document(str(file.resolve()), json.loads(file.read_bytes()))
    except OSError as error:
        raise ReadError(f"the catalogue cannot be read: {error.strerror or type(error).__name__}", str(file)) from None
    except (ValueError, RecursionError) as error:
        raise ReadError(f"no valid JSON: {one_line(str(error), 100)}", str(file)) from None


def links(document: Any) -> list[dict[str, Any]]:
    """The links that have a place to lead to."""
    found = document.get("links") if isinstance(document, dict) else None
    return [link for link in found if isinstance(link, dict) and isinstance(link.get("href"), str)] if isinstance(found, list) else []


def is_url(place: str) -> bool:
    return _SCHEME.match(place) is not None


def resolve(href: str, base: str) -> str:
    """``href`` as found in the document at ``base``, a URL or a path."""
    if is_url(base):
        if is_url(href) or href.startswith("/vsi"):
            return href
        try:
            return urljoin(base, href)
        except ValueError:  # no place that a URL can name: whoever reads it says so
            return href
    if is_url(href):
        return unquote(urlsplit(href).path) if href.lower().startswith("file://") else href
    return str((Path(base).parent / href).resolve())
