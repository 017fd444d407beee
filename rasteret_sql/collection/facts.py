"""What is said of a collection as a whole: bands and their types, CRSs, bounds, dates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rasteret_sql.collection.index import Kind
from rasteret_sql.collection.keys import NO_TIME
from rasteret_sql.collection.schema import ASSET, BAND_METADATA, BBOX, metadata_column
from rasteret_sql.collection.workspace import GLOBE
from rasteret_sql.collection.write import collection_metadata


@dataclass(frozen=True, slots=True)
class Facts:
    """Summed up over all records."""

    bands: list[str]
    dtypes: dict[str, list[str]]
    epsg: list[int]
    geometry_types: list[str]
    bounds: list[float] | None
    extents: tuple[float, float] | None
    first: datetime | None
    last: datetime | None

    @classmethod
    def of(cls, kinds: Iterable[Kind], boxes: npt.NDArray[np.float64], times: npt.NDArray[np.int64], bands: Sequence[str]) -> Facts:
        """``boxes`` ``[n, 4]``, ``times`` in microseconds; ``bands`` come first, those of the kinds after them."""
        kinds = list(kinds)
        named = dict.fromkeys([*bands, *(band for kind in kinds for band, _ in kind.dtypes)])
        dtypes: dict[str, set[str]] = {band: set() for band in named}
        for kind in kinds:
            for band, dtype in kind.dtypes:
                dtypes[band].add(dtype)
        known = times[times != NO_TIME]
        return cls(
            bands=list(named),
            dtypes={band: sorted(found) for band, found in dtypes.items()},
            epsg=sorted({kind.epsg for kind in kinds if kind.epsg is not None}),
            geometry_types=sorted({kind.geometry for kind in kinds}),
            bounds=box_around(boxes) if len(boxes) else None,
            extents=extents_of(boxes),
            first=moment_of(known.min()) if len(known) else None,
            last=moment_of(known.max()) if len(known) else None,
        )

    def metadata(self, name: str, source: str, generation: str = "") -> dict[str, str]:
        """Of the Parquet files' schema."""
        return collection_metadata(
            name,
            source,
            dates=(self.first, self.last),
            dtypes=self.dtypes,
            geometry_types=self.geometry_types,
            bounds=self.bounds,
            extents=self.extents,
            generation=generation,
        )

    def schema(self, said: pa.Schema, metadata: dict[str, str]) -> pa.Schema:
        """The collection's columns; ``said`` are those that the source gave."""
        given = {field.name: field for field in said}
        return pa.schema(
            [
                given.pop("id"),
                given.pop("datetime"),
                ("geometry", pa.binary()),
                ("assets", pa.struct([(band, ASSET) for band in self.bands])),
                ("bbox", BBOX),
                ("proj:epsg", pa.int32()),
                ("crs", pa.string()),
                *given.values(),
                *((metadata_column(band), BAND_METADATA) for band in self.bands),
            ],
            metadata=metadata,
        )


def box_around(boxes: npt.NDArray[np.float64]) -> list[float]:
    """The box around all: xmin > xmax when every one crosses the antimeridian, all longitudes when only some do."""
    (west, south), (east, north) = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
    crossing = boxes[:, 0] > boxes[:, 2]
    return [-180.0, south, 180.0, north] if crossing.any() and not crossing.all() else [west, south, east, north]


def extents_of(boxes: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    """Median and greatest extent (the longer side, degrees) of boxes ``[n, 4]``; those across the antimeridian count as all around the globe."""
    width = np.where(boxes[:, 0] > boxes[:, 2], GLOBE, boxes[:, 2] - boxes[:, 0])
    extents = np.maximum(width, boxes[:, 3] - boxes[:, 1])
    extents = extents[np.isfinite(extents)]
    return (float(np.median(extents)), float(extents.max())) if len(extents) else None


def moment_of(microseconds: np.int64) -> datetime:
    moment: datetime = np.datetime64(int(microseconds), "us").item().replace(tzinfo=UTC)
    return moment.replace(tzinfo=None)
