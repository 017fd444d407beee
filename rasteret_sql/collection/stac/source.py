"""A STAC search as the source of a build."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rasteret_sql.collection.source import BATCH_RECORDS, AssetTable
from rasteret_sql.collection.stac.api import collection_hint, search_api
from rasteret_sql.collection.stac.bands import BandRef
from rasteret_sql.collection.stac.catalogue import Reader, Root, is_url, links, open_root
from rasteret_sql.collection.stac.items import Batch
from rasteret_sql.collection.stac.search import Json, Search
from rasteret_sql.collection.stac.static import search_static
from rasteret_sql.errors import InvalidArgument, RasteretError, listing, near, redact
from rasteret_sql.reader.engine import Query


@dataclass(frozen=True, slots=True)
class StacSource:
    """Records of the items that a search finds in an API or a static catalogue (:class:`~rasteret_sql.collection.source.RecordSource`)."""

    place: str
    """Root of the API or catalogue: a URL or a local path."""
    search: Search
    bands: tuple[BandRef, ...]
    query: Query
    rewrites: Mapping[str, str] = field(default_factory=dict)
    """Prefix of asset hrefs → what to put in its place."""
    label: str = "stac"
    every_band: bool = True
    """Each band must be found (a user's own map); else one of them is enough (a dataset's, of which older scenes lack some)."""

    @property
    def kind(self) -> str:
        return "stac"

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "stac": redact(self.place),
            "search": self.search.conditions,
            "bands": {ref.band: ref.text for ref in self.bands},
            "rewrites": dict(self.rewrites),
        }

    def batches(self) -> Iterator[AssetTable]:
        """The items found, as they come, at most :data:`BATCH_RECORDS` (and a page) at a time."""
        reader = Reader(self.query)
        root = open_root(self.place, reader)
        batch, found = self._batch(), 0
        for page in _pages(root, self.search, reader):
            for item, place in page:
                batch.add(item, place)
            if len(batch.ids) >= BATCH_RECORDS:
                yield self._table(batch, root, first=found == 0)
                found += len(batch.ids)
                batch = self._batch()
        if batch.ids:
            yield self._table(batch, root, first=found == 0)
        elif not found:
            hint = collection_hint(root, self.search.collection, reader) if root.is_api and self.search.collection else ""
            raise RasteretError(f"no items found at {root.place} for {self.search.told or 'the whole catalogue'}{hint}")

    def _batch(self) -> Batch:
        return Batch(self.bands, self.rewrites)

    def _table(self, batch: Batch, root: Root, *, first: bool) -> AssetTable:
        if first:
            check_bands(batch, every=self.every_band)
        return batch.table(remote=not root.local)


def _pages(root: Root, search: Search, reader: Reader) -> Iterator[list[tuple[Json, str]]]:
    """Pages of items, each with the place that relative hrefs in it start at."""
    if not root.is_api:
        yield from search_static(root, search, reader)
        return
    for page in search_api(root, search, reader):
        yield [(item, _home(item, root)) for item in page]


def _home(item: Json, root: Root) -> str:
    """Where an API's item is at home: its ``self`` link says it, for the answer it came in is a search's."""
    return next((link["href"] for link in links(item) if link.get("rel") == "self" and is_url(link["href"])), root.document.url)


def check_bands(batch: Batch, *, every: bool) -> None:
    """Does the band map fit the items? Judged by the first batch: a :class:`InvalidArgument` that lists what is there, or why it is refused."""
    missing = [ref for ref in batch.bands if ref.band not in batch.readable]
    if not missing or (len(missing) < len(batch.bands) and not every):
        return
    if refused := [ref for ref in missing if ref.band in batch.refused]:
        reasons = listing(f"{ref.band!r} (asset {ref.key!r} is {batch.refused[ref.band]})" for ref in refused)
        raise InvalidArgument(f"only GeoTIFFs can be indexed; refused: {reasons}")
    wanted = missing[0].key
    raise InvalidArgument(
        f"no item has an asset {wanted!r} (band {missing[0].band!r}){near(wanted, batch.keys)}; asset keys found: {listing(batch.keys)}"
    )
