"""Searching a STAC API (item search, https://github.com/radiantearth/stac-api-spec), page by page.

Nothing is left to a server's goodwill: an extension is used only where ``conformsTo`` names it (pystac-client warns, and some servers then
answer with nothing), boxes across the antimeridian are asked for in two halves, and items that the search excludes are an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from rasteret_sql.collection.stac.catalogue import Reader, Root, links
from rasteret_sql.collection.stac.place import halves
from rasteret_sql.collection.stac.search import Json, Search, checked_items
from rasteret_sql.errors import InvalidArgument, RasteretError, ReadError, listing, near, redact
from rasteret_sql.storage.documents import DocumentRequest, RefusedError

PAGE_ITEMS = 100
"""Earth Search's pages must stay below the 6 MB of its gateway: 100 Sentinel-2 items are 3 MB."""
_CLASSES = {"query": "query", "filter": "filter", "sort_by": "sort"}
"""Our argument and the fragment of the conformance class (``…/item-search#query``)."""


def search_api(root: Root, search: Search, reader: Reader) -> Iterator[list[Json]]:
    """Pages of items, none twice; a :class:`RasteretError` where the server lacks what is asked for or answers something else."""
    check_conformance(root, search)
    left = search.max_items
    seen: set[str] = set()
    for request in _requests(root, search):
        for page in _pages(request, reader):
            fresh = [item for item in page if _key(item) not in seen]
            seen.update(map(_key, fresh))
            _check_items(root, search, fresh)
            if left is not None:
                fresh, left = fresh[:left], left - len(fresh)
            if fresh:
                yield fresh
            if left is not None and left <= 0:
                return


def check_conformance(root: Root, search: Search) -> None:
    """Refuse by name what the server does not say it can do."""
    if not root.has_item_search:
        raise InvalidArgument(f"{root.place} has no item search (its conformsTo lacks …/item-search): nothing can be searched there")
    asked = {"query": search.query, "filter": search.filter, "sort_by": search.sort_by}
    for name, fragment in _CLASSES.items():
        pattern = re.compile(rf"https://api\.stacspec\.org/v[^/]+/item-search#{fragment}(:.*)?")
        if asked[name] and not any(pattern.fullmatch(known) for known in root.conforms_to):
            others = [other for other in _CLASSES if any(f"item-search#{_CLASSES[other]}" in known for known in root.conforms_to)]
            raise InvalidArgument(
                f"{root.place} does not offer {name} (its conformsTo lacks item-search#{fragment}) and would ignore it; it offers: {listing(others)}"
            )
    if search.filter is not None:
        _check_language(root, "cql2-text" if isinstance(search.filter, str) else "cql2-json")


def _check_language(root: Root, language: str) -> None:
    known = {end for end in ("cql2-text", "cql2-json") for name in root.conforms_to if name.endswith(end)}
    if known and language not in known:
        raise InvalidArgument(f"{root.place} takes a filter as {listing(sorted(known))}, not as {language}")


def _requests(root: Root, search: Search) -> Iterator[DocumentRequest]:
    """The first page's request; two for a box across the antimeridian."""
    url, methods = _search_place(root)
    for box in halves(search.bbox) if search.bbox is not None else (None,):
        body: Json = {
            "collections": None if search.collection is None else [search.collection],
            "bbox": None if box is None else list(box),
            "datetime": None if search.interval is None else search.interval.text,
            "intersects": search.intersects,
            "ids": list(search.ids),
            "query": search.query,
            "filter": search.filter,
            "filter-lang": None if search.filter is None else "cql2-text" if isinstance(search.filter, str) else "cql2-json",
            "sortby": [{"field": name.lstrip("+-"), "direction": "desc" if name.startswith("-") else "asc"} for name in search.sort_by],
            "limit": min(PAGE_ITEMS, search.max_items or PAGE_ITEMS),
        }
        body = {name: value for name, value in body.items() if value not in (None, [], {})}
        # text is a matter of GET: pgstac refuses it in a body (the filter extension leaves POST to JSON)
        if isinstance(search.filter, str) or "POST" not in methods:
            yield DocumentRequest(f"{url}{'&' if '?' in url else '?'}{urlencode(_as_parameters(body, search))}")
        else:
            yield DocumentRequest(url, body)


def _as_parameters(body: Mapping[str, Any], search: Search) -> dict[str, str]:
    """The body of a search as parameters of GET."""
    parameters: dict[str, str] = {}
    for name, value in body.items():
        if name in ("collections", "ids", "bbox"):
            parameters[name] = ",".join(map(str, value))
        elif name == "sortby":
            parameters[name] = ",".join(field if field[0] in "+-" else f"+{field}" for field in search.sort_by)
        else:
            parameters[name] = value if isinstance(value, str) else json.dumps(value)
    return parameters


def _search_place(root: Root) -> tuple[str, set[str]]:
    """The URL of the search and the methods it takes."""
    found = [link for link in links(root.document.data) if link.get("rel") == "search"]
    if not found:
        return f"{root.document.url.partition('?')[0].rstrip('/')}/search", {"GET"}
    return urljoin(root.document.url, found[0]["href"]), {str(link.get("method", "GET")).upper() for link in found}


def _pages(request: DocumentRequest, reader: Reader) -> Iterator[list[Json]]:
    """Follow the ``next`` links. An empty page may have one too."""
    asked: set[str] = set()
    following: DocumentRequest | None = request
    while following is not None:
        key = f"{following.url} {json.dumps(following.body)}"
        if key in asked:
            raise ReadError("the pages of the search go round in a circle", following.place)
        asked.add(key)
        document = reader.read(following)
        features = document.data.get("features") if isinstance(document.data, dict) else None
        if not isinstance(features, list):
            raise ReadError("the search answered without a list of items (features)", following.place)
        yield checked_items(features, following.place)
        link = next((link for link in links(document.data) if link.get("rel") == "next"), None)
        following = None if link is None else _following(link, document.url, request)


def _following(link: Mapping[str, Any], base: str, first: DocumentRequest) -> DocumentRequest:
    """The request that a ``next`` link stands for (STAC API spec, item search, "Paging")."""
    url = urljoin(base, link["href"])
    headers = {str(name): str(value) for name, value in (link.get("headers") or {}).items()} if isinstance(link.get("headers"), dict) else {}
    if urlsplit(url).netloc != urlsplit(first.url).netloc:
        headers = {}
    if str(link.get("method", "GET")).upper() != "POST":
        return DocumentRequest(url, None, headers)
    body = dict(link.get("body") or {})
    return DocumentRequest(url, {**(first.body or {}), **body} if link.get("merge") else body, headers)


def _key(item: Mapping[str, Any]) -> str:
    return f"{item.get('collection')}/{item['id']}"


def _check_items(root: Root, search: Search, items: list[Json]) -> None:
    for item in items:
        if (broken := search.broken_by(item)) is not None:
            raise RasteretError(
                f"{root.place} answers with items that the search excludes: {str(item['id'])!r} does not meet {broken}; "
                "the server does not honour it, so nothing was built from it"
            )


def collection_hint(root: Root, name: str, reader: Reader) -> str:
    """``"; there is no collection 'x' …"`` where the API says so; empty where it has it or does not tell."""
    base = root.document.url.partition("?")[0].rstrip("/")
    try:
        reader.read(DocumentRequest(f"{base}/collections/{name}"))
    except RefusedError as refused:
        if refused.status != 404:
            return ""
    except RasteretError:
        return ""
    else:
        return ""
    try:
        listed = reader.read(DocumentRequest(f"{base}/collections")).data.get("collections", [])
        names = [str(entry["id"]) for entry in listed]
    except (RasteretError, AttributeError, KeyError, TypeError):
        names = []
    return f"; {redact(base)} has no collection {name!r}{near(name, names)}; collections: {listing(names)}"
