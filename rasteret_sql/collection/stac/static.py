"""Searching a static catalogue: every item is read, and the conditions are applied here."""

from __future__ import annotations

from collections.abc import Iterator

from rasteret_sql.collection.stac.catalogue import Reader, Root, is_url, links, resolve
from rasteret_sql.collection.stac.search import Json, Search, checked_items
from rasteret_sql.errors import InvalidArgument
from rasteret_sql.storage.documents import Document

STEP = 100
"""Items of one page."""


def search_static(root: Root, search: Search, reader: Reader) -> Iterator[list[tuple[Json, str]]]:
    """Pages of (item, the place it was read from). CQL2 and sorting are a server's work and refused here."""
    for name, asked in (("filter", search.filter), ("sort_by", search.sort_by)):
        if asked:
            raise InvalidArgument(
                f"{root.place} is a static catalogue, which has no {name}; bbox, date_range, intersects, ids and query are applied here"
            )
    left = search.max_items
    seen: set[str] = set()
    for page in _walk(root, search, reader):
        found = []
        for item, place in page:
            key = f"{item.get('collection')}/{item.get('id')}"
            if key not in seen and search.broken_by(item) is None and search.meets_area(item) and search.meets_query(item):
                seen.add(key)
                found.append((item, place))
        if left is not None:
            found, left = found[:left], left - len(found)
        if found:
            yield found
        if left is not None and left <= 0:
            return


def _walk(root: Root, search: Search, reader: Reader) -> Iterator[list[tuple[Json, str]]]:
    """All items below the root, level by level; other collections than the one asked for are not entered."""
    visited = {root.document.url}
    level = [root.document]
    while level:
        children: list[str] = []
        for document in level:
            if document.data.get("type") == "FeatureCollection":
                yield [(item, document.url) for item in checked_items(document.data.get("features") or [], document.url)]
            elif document.data.get("type") != "Collection" or search.collection in (None, document.data.get("id")):
                yield from _items(_targets(document, "item", root, visited), reader)
            children += _targets(document, "child", root, visited)
        level = [document for document in reader.read_all(children) if _is_entered(document, search)]


def _is_entered(document: Document, search: Search) -> bool:
    """Catalogues always; of collections the one asked for, and those that hold others."""
    data = document.data
    if not isinstance(data, dict):
        return False
    return data.get("type") != "Collection" or search.collection in (None, data.get("id")) or any(link.get("rel") == "child" for link in links(data))


def _items(places: list[str], reader: Reader) -> Iterator[list[tuple[Json, str]]]:
    for start in range(0, len(places), STEP):
        documents = reader.read_all(places[start : start + STEP])
        yield [(item, document.url) for document in documents for item in checked_items([document.data], document.url)]


def _targets(document: Document, relation: str, root: Root, visited: set[str]) -> list[str]:
    """Where the links of one kind lead, each place once. A catalogue on a server leads to no file of this machine."""
    found = []
    for link in links(document.data):
        place = resolve(link["href"], document.url)
        if link.get("rel") != relation or place in visited:
            continue
        if not root.local and not is_url(place):
            continue
        visited.add(place)
        found.append(place)
    return found
