"""What a contender is: a class that sets up, runs a workload once, and turns its own result into the common form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import shapely
from pyproj import Transformer

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.workloads import Inputs


class Contender(ABC):
    """One per process. ``work`` is a folder that lives as long as the server, so an index built there has the right URLs."""

    workloads: ClassVar[frozenset[str]] = frozenset()
    indexed: ClassVar[bool] = False
    """True where :meth:`build` makes an index in a process of its own, before the clock: then W1 to W3 know the headers."""
    environ: ClassVar[dict[str, str]] = {}
    """Set before the contender's libraries are imported."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Distributions whose versions belong beside the numbers."""
    how: ClassVar[str] = ""
    """One line for the table: how it was used."""
    rule: ClassVar[str] = "fractional"
    """Which pixels count in zonal statistics: ``fractional`` or ``center``."""

    def __init__(self, inputs: Inputs, work: Path) -> None:
        self.inputs = inputs
        self.work = work

    def build(self) -> None:
        """Make the index (``indexed`` contenders)."""
        raise NotImplementedError

    @abstractmethod
    def setup(self) -> None:
        """Imports and opening of the index; timed apart, no network."""

    @abstractmethod
    def run(self, call: int) -> Any:
        """The timed call: 0 is cold, 1 is the second in the same process. Results stay in memory in the contender's own form."""

    @abstractmethod
    def result(self, raw: Any) -> Any:
        """The common form of what :meth:`run` gave, not timed: uint16 (points, scenes, bands), ``list[Chip]``, ``list[FileFacts]``, or the array of
        :mod:`benchmarks.zonal`.
        """

    def close(self) -> None:  # noqa: B027 - most have nothing to release
        """Release what :meth:`setup` took."""


class Projected:
    """The places of a workload on the grids of the archive, each computed once per CRS: for contenders that leave this to their user."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self._points: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._fields: dict[int, list[shapely.Polygon]] = {}

    def points(self, epsg: int) -> tuple[np.ndarray, np.ndarray]:
        if epsg not in self._points:
            self._points[epsg] = Transformer.from_crs("OGC:CRS84", epsg, always_xy=True).transform(self.inputs.lon, self.inputs.lat)
        return self._points[epsg]

    def fields(self, epsg: int) -> list[shapely.Polygon]:
        if epsg not in self._fields:
            to_crs = Transformer.from_crs("OGC:CRS84", epsg, always_xy=True)
            self._fields[epsg] = [shapely.transform(f, to_crs.transform, interleaved=False) for f in self.inputs.fields]
        return self._fields[epsg]


def window_of(bounds: tuple[float, float, float, float], inverse: Any, width: int, height: int) -> tuple[int, int, int, int] | None:
    """(row, col, height, width) of the pixels that a box touches, cut to the image; None outside.

    ``inverse`` is the inverse affine of a north-up image.
    """
    left, bottom, right, top = bounds
    (c0, r0), (c1, r1) = inverse * (left, top), inverse * (right, bottom)
    c0, r0 = max(int(np.floor(c0)), 0), max(int(np.floor(r0)), 0)
    c1, r1 = min(int(np.ceil(c1)), width), min(int(np.ceil(r1)), height)
    return (r0, c0, r1 - r0, c1 - c0) if c0 < c1 and r0 < r1 else None
