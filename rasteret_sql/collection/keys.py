"""What a build remembers of every record in memory: 100 bytes or so, as NumPy columns; and the table they are kept in between builds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

OWN, OLD, JOURNAL = -1, 0, 1
"""Where the header columns of a record lie: in its own row, in the collection's old files, in an earlier row of the journal."""
NO_TIME = np.iinfo(np.int64).min
_HILBERT_ORDER = 16
"""Bits per axis: cells of 0.0055° × 0.0027°."""


@dataclass(slots=True)
class Keys:
    """One element per record."""

    high: npt.NDArray[np.uint64]
    low: npt.NDArray[np.uint64]
    """The fingerprint's two halves."""
    id: npt.NDArray[np.uint64]
    stamp: npt.NDArray[np.uint64]
    """Hashes of id and version."""
    whole: npt.NDArray[np.bool_]
    """All assets that the record names are there."""
    kind: npt.NDArray[np.int32]
    """Index into the collection's kinds."""
    xmin: npt.NDArray[np.float64]
    ymin: npt.NDArray[np.float64]
    xmax: npt.NDArray[np.float64]
    ymax: npt.NDArray[np.float64]
    time: npt.NDArray[np.int64]
    """Microseconds since 1970; :data:`NO_TIME` for NULL."""
    store: npt.NDArray[np.int8]
    row: npt.NDArray[np.int64]
    """Where the header columns lie: :data:`OWN`, :data:`OLD` or :data:`JOURNAL`, and the row there."""

    def __len__(self) -> int:
        return len(self.high)

    def take(self, rows: npt.NDArray[Any]) -> Self:
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @classmethod
    def empty(cls) -> Self:
        dtypes = {"whole": np.bool_, "kind": np.int32, "store": np.int8, "time": np.int64, "row": np.int64}
        dtypes |= dict.fromkeys(("xmin", "ymin", "xmax", "ymax"), np.float64)
        return cls(**{f.name: np.empty(0, dtypes.get(f.name, np.uint64)) for f in fields(cls)})

    @classmethod
    def blank(cls, count: int) -> Self:
        """Records of which nothing is known."""
        columns = {f.name: np.zeros(count, getattr(cls.empty(), f.name).dtype) for f in fields(cls)}
        return cls(**columns | {"store": np.full(count, OWN, np.int8)})

    def put(self, rows: npt.NDArray[Any], other: Keys, store: int) -> None:
        """Set these rows to another's, their header columns lying in ``store``."""
        for f in fields(self):
            getattr(self, f.name)[rows] = getattr(other, f.name)
        self.store[rows] = store

    @classmethod
    def joined(cls, parts: Sequence[Keys]) -> Self:
        parts = [*parts, Keys.empty()]
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    def to_table(self) -> pa.Table:
        return pa.table({f.name: pa.array(getattr(self, f.name)) for f in fields(self)})

    @classmethod
    def from_table(cls, table: pa.Table) -> Self:
        """KeyError where a column lacks."""
        return cls(**{f.name: table[f.name].to_numpy() for f in fields(cls)})

    @property
    def boxes(self) -> npt.NDArray[np.float64]:
        """``[n, 4]``: xmin, ymin, xmax, ymax."""
        return np.stack([self.xmin, self.ymin, self.xmax, self.ymax], axis=1)

    @property
    def months(self) -> npt.NDArray[np.int64]:
        """Months since 1970, and the least integer for records without a time."""
        months = self.time.view("datetime64[us]").astype("datetime64[M]").astype(np.int64)
        return np.where(self.time == NO_TIME, NO_TIME, months)

    def places(self) -> npt.NDArray[np.uint32]:
        """Each box's centre on a Hilbert curve over the world: neighbours on it are neighbours on the ground."""
        east = np.where(self.xmin > self.xmax, self.xmax + 360.0, self.xmax)
        lon, lat = (self.xmin + east) / 2, (self.ymin + self.ymax) / 2
        side = 1 << _HILBERT_ORDER
        with np.errstate(invalid="ignore"):
            col = np.nan_to_num(((lon + 180.0) % 360.0) / 360.0 * side)
            row = np.nan_to_num((lat + 90.0) / 180.0 * side)
        return hilbert(np.clip(col, 0, side - 1).astype(np.uint32), np.clip(row, 0, side - 1).astype(np.uint32), _HILBERT_ORDER)


def hilbert(x: npt.NDArray[np.uint32], y: npt.NDArray[np.uint32], order: int) -> npt.NDArray[np.uint32]:
    """Distance along the Hilbert curve of ``order`` bits per axis (Wikipedia, "Hilbert curve", xy2d; whole arrays at a time)."""
    x, y = x.astype(np.int64), y.astype(np.int64)
    distance = np.zeros(x.shape, np.int64)
    side = 1 << (order - 1)
    while side:
        right, up = (x & side) > 0, (y & side) > 0
        distance += side * side * ((3 * right) ^ up)
        flip = ~up & right
        x, y = np.where(flip, side - 1 - (x & (side - 1)), x & (side - 1)), np.where(flip, side - 1 - (y & (side - 1)), y & (side - 1))
        x, y = np.where(up, x, y), np.where(up, y, x)
        side >>= 1
    return distance.astype(np.uint32)


class Lookup:
    """Finds records among keys: by fingerprint, or by id."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self._by_print = np.argsort(keys.high, kind="stable")
        self._prints = keys.high[self._by_print]
        self._by_id = np.argsort(keys.id, kind="stable")
        self._ids = keys.id[self._by_id]

    def same(self, prints: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Row of a record with this fingerprint ``[n, 2]``; -1 where there is none."""
        found = np.full(len(prints), -1, np.int64)
        if not len(self._prints):
            return found
        at = np.searchsorted(self._prints, prints[:, 0])
        rows = self._by_print[np.minimum(at, len(self._prints) - 1)]
        hit = (self.keys.high[rows] == prints[:, 0]) & (self.keys.low[rows] == prints[:, 1])
        found[hit] = rows[hit]
        return found

    def of_id(self, hashed: int) -> npt.NDArray[np.int64]:
        """Rows of the records with this id's hash."""
        first, last = (int(np.searchsorted(self._ids, np.uint64(hashed), side)) for side in ("left", "right"))
        return self._by_id[first:last]
