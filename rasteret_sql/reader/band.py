"""One band of one file: all that is needed to read its pixels, and nothing of where the knowledge came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from rasteret_sql.raster.grid import Grid
from rasteret_sql.raster.header import CHUNKY, Header, Layout, Level


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """A band is read by (href, sample, level); bands of one chunky file share their segments."""

    name: str
    href: str
    sample: int
    """0-based position in the file."""
    level: Level
    """Full resolution; ``offsets`` holds this band's own segments when planar-separate."""
    grid: Grid
    crs: str
    nodata: float | None
    scale: float = 1.0
    offset: float = 0.0
    etag: str | None = None
    size: int | None = None
    dtype: np.dtype[np.generic] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", np.dtype(self.level.layout.dtype))

    @property
    def layout(self) -> Layout:
        return self.level.layout

    @property
    def segment_sample(self) -> int | None:
        """Which sample of a decoded segment is this band; None where a segment holds one sample only."""
        return self.sample if self.layout.segment_samples > 1 else None

    def invalid(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
        """Mask of pixels that hold nodata. NaN is invalid in float bands that declare nodata as NaN, and never a number in any other."""
        return nodata_mask(values, self.nodata)


def physical(values: npt.NDArray[Any], band: Band, *, scaled: bool) -> npt.NDArray[Any]:
    """Stored values, or stored * scale + offset in double precision."""
    return values * band.scale + band.offset if scaled else values


def nodata_mask(values: npt.NDArray[np.generic], nodata: float | None) -> npt.NDArray[np.bool_]:
    """GDAL's rule: a value is nodata when it equals the declared number in the band's own type; NaN matches NaN.

    A declared number outside the type's range matches nothing. Floats compare after rounding to the type (-3.4e38 declared in decimal).
    """
    if nodata is None:
        return np.zeros(values.shape, dtype=bool)
    if values.dtype.kind == "f":
        return np.isnan(values) if np.isnan(nodata) else np.asarray(values == values.dtype.type(_finite_cast(nodata, values.dtype)))
    sentinel = integer_nodata(nodata, values.dtype)
    return np.zeros(values.shape, dtype=bool) if sentinel is None else np.asarray(values == sentinel)


def integer_nodata(nodata: float, dtype: np.dtype[np.generic]) -> int | None:
    """The sentinel as an integer of this type, or None when no pixel can hold it.

    An index keeps it as a double, which rounds the largest 64-bit integers up by one: that one is meant. In uint64 bands negative numbers count
    down from 2**64, because GDAL reads the tag with ``strtoull``.
    """
    if not np.isfinite(nodata) or nodata != int(nodata):
        return None
    info: np.iinfo[Any] = np.iinfo(dtype.name)
    number = int(nodata)
    if info.max >= 1 << 53 and number == info.max + 1:
        return int(info.max)
    if info.max == (1 << 64) - 1 and -(1 << 63) <= number < 0:
        return number + (1 << 64)
    return number if info.min <= number <= info.max else None


def fill_value(dtype: np.dtype[np.generic], nodata: float | None) -> float | int:
    """What a sparse segment is filled with: the sentinel where the type can hold it, else 0 (as GDAL does)."""
    if nodata is None:
        return 0
    return nodata if dtype.kind == "f" else integer_nodata(nodata, dtype) or 0


def bands_of(header: Header, href: str, *, etag: str | None = None, size: int | None = None, crs: str | None = None) -> list[Band]:
    """All bands of a file, named ``b1``…``bn``; ``crs`` serves files that name none."""
    base = header.levels[0]
    grid = Grid(header.transform, base.width, base.height)
    return [
        Band(
            name=f"b{sample + 1}",
            href=href,
            sample=sample,
            level=plane_of(base, sample),
            grid=grid,
            crs=header.crs or crs or "",
            nodata=header.nodata,
            scale=header.scales[sample],
            offset=header.offsets[sample],
            etag=etag,
            size=size,
        )
        for sample in range(header.samples_per_pixel)
    ]


def plane_of(level: Level, sample: int) -> Level:
    """The level with the segments of one sample: the level itself when chunky, a slice of it when planar-separate."""
    per_plane = level.tiles_per_plane
    if level.layout.planar == CHUNKY or len(level.offsets) == per_plane:
        return level
    part = slice(sample * per_plane, (sample + 1) * per_plane)
    return Level(level.width, level.height, level.layout, level.offsets[part], level.byte_counts[part])


def _finite_cast(number: float, dtype: np.dtype[np.generic]) -> float:
    with np.errstate(over="ignore"):
        return float(np.asarray(number).astype(dtype))
