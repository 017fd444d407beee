"""Items that somebody else has found, as the source of a build: a search by pystac-client, pystac items, plain dicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rasteret_sql.collection.source import BATCH_RECORDS, AssetTable
from rasteret_sql.collection.stac.bands import BandRef
from rasteret_sql.collection.stac.catalogue import is_url, links
from rasteret_sql.collection.stac.items import Batch
from rasteret_sql.collection.stac.search import Json, checked_items
from rasteret_sql.collection.stac.source import check_bands
from rasteret_sql.errors import InvalidArgument

_PLACE = "the items"


@dataclass(frozen=True, slots=True)
class GivenItems:
    """Records of given items (:class:`~rasteret_sql.collection.source.RecordSource`).

    Where an item's own ``self`` link is a local path, its files may be local too; all others count as remote.
    """

    items: Any
    bands: tuple[BandRef, ...]
    rewrites: Mapping[str, str] = field(default_factory=dict)
    label: str = "items"

    @property
    def kind(self) -> str:
        return "stac"

    @property
    def identity(self) -> dict[str, Any]:
        return {"items": self.label, "bands": {ref.band: ref.text for ref in self.bands}, "rewrites": dict(self.rewrites)}

    def batches(self) -> Iterator[AssetTable]:
        """The items as they come, at most :data:`BATCH_RECORDS` at a time, local and remote ones apart."""
        batches = {remote: Batch(self.bands, self.rewrites) for remote in (True, False)}
        first = True
        for item in _items(self.items):
            home = next((link["href"] for link in links(item) if link.get("rel") == "self"), "")
            remote = not home or is_url(home)
            batches[remote].add(item, home)
            if len(batches[remote].ids) >= BATCH_RECORDS:
                yield self._table(batches[remote], remote=remote, first=first)
                batches[remote], first = Batch(self.bands, self.rewrites), False
        for remote, batch in batches.items():
            if batch.ids:
                yield self._table(batch, remote=remote, first=first)
                first = False
        if first:
            raise InvalidArgument("there are no items to build from")

    def _table(self, batch: Batch, *, remote: bool, first: bool) -> AssetTable:
        if first:
            check_bands(batch, every=True)
        return batch.table(remote=remote)


def _items(given: Any) -> Iterator[Json]:
    """Items as dicts, one after the other; a search is asked page by page as they are taken."""
    if hasattr(given, "items_as_dicts"):
        given = given.items_as_dicts()
    elif isinstance(given, Mapping):
        given = given.get("features")
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        raise InvalidArgument("items are a pystac-client search, or a list of pystac items or of dicts")
    for item in given:
        plain = item.to_dict(transform_hrefs=False) if hasattr(item, "to_dict") else item
        yield from checked_items([plain], _PLACE)
