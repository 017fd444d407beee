"""Where records come from: the one seam between a build and what it is built from (a table, a STAC API, a static catalogue)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

BATCH_RECORDS = 1000
"""Records of one batch: enough to keep every connection busy, few enough to lose little when a build is killed."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What a catalogue says of one band of one record; it counts where the file's own header says nothing (``schema.metadata_row``)."""

    nodata: float | None = None
    scale: float | None = None
    offset: float | None = None


@dataclass(frozen=True, slots=True)
class AssetTable:
    """A batch of records to index; all lists have one element per record.

    ``hrefs[band]`` and ``samples[band]`` (0-based) name each band's file; an href of None: the record has no such asset.
    """

    ids: list[str]
    datetimes: pa.Array
    """``timestamp[us]``, UTC, no zone."""
    hrefs: dict[str, list[str | None]]
    samples: dict[str, list[int]]
    crs: list[str | None]
    """CRS of the record for files that name none; a file's own header beats it."""
    extra: pa.Table
    """Properties and user columns. Schemas may differ between batches: columns are united by name, types promoted, what lacks is NULL; types
    that cannot be promoted (a number here, a text there) become text, nested ones as JSON."""
    every_sample: bool = False
    """``hrefs`` has the one key ``""``: every sample of that file is a band, named b1…bn."""
    versions: list[str | None] | None = None
    """Change stamp of the record, such as a STAC item's ``updated``: another one than last time makes a build read its headers again."""
    collections: list[str | None] | None = None
    """STAC collection; None for all: the collection has no such column."""
    declared: dict[str, list[Declared | None]] | None = None
    """Per band what the catalogue says of nodata, scale and offset; None: it says nothing."""
    remote: bool = False
    """The hrefs come from a remote catalogue: local paths among them are refused, each a failure of that asset."""


class RecordSource(Protocol):
    """What :func:`~rasteret_sql.collection.build.build_collection` builds from."""

    @property
    def kind(self) -> str:
        """``"stac"`` (folder ``{name}_stac``) or ``"records"`` (folder ``{name}_records``)."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What makes this source this one: where from, and all parameters (api, collection, bbox, dates, query, band map…). JSON, no secrets."""

    @property
    def label(self) -> str:
        """``data_source`` of the collection's metadata."""

    def batches(self) -> Iterator[AssetTable]:
        """All records, at most about :data:`BATCH_RECORDS` each, made when asked for. Called once per build."""
