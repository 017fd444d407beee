"""One band of one file: all that is needed to read its pixels, and nothing of where the knowledge came from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
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
    mask: Band | None = None
    """The band whose zeros tell this one's invalid pixels (:mod:`rasteret_sql.reader.validity`), on the same grid; None: nodata tells."""
    overviews: tuple[Band, ...] = ()
    """The band at its overviews, from fine to coarse, each on a grid of its own; empty where nothing coarser was asked for."""
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
        return np.isnan(values) if np.isnan(nodata) else np.asarray(values == values.dtype.type(finite_cast(nodata, values.dtype)))
    sentinel = integer_nodata(nodata, values.dtype)
    return np.zeros(values.shape, dtype=bool) if sentinel is None else np.asarray(values == sentinel)


@lru_cache
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
    alpha = None if header.alpha is None else (header.alpha, plane_of(base, header.alpha))
    bands = [
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
    return [masked_band(band, level_of_size(header.masks, base.width, base.height), alpha) for band in bands]


def masked_band(band: Band, internal: Level | None, alpha: tuple[int, Level] | None) -> Band:
    """The band with the mask that decides on its pixels; the band itself where nodata decides, or nothing does.

    The rule is GDAL's (``GTiffRasterBand::GetMaskBand``, then ``GDALRasterBand::GetMaskBand``), thus that of rasterio's ``read(masked=True)``: a mask
    inside the file decides alone; without one the nodata value; without that the alpha sample, of which 0 is invalid. The alpha sample has no mask
    itself. What lies beside a file (``.msk``, ``.aux.xml``) is not looked for.

    ``internal`` is the mask inside the file, ``alpha`` the alpha sample and its level, both of the band's size.
    """
    if internal is not None:
        sample, level = 0, internal
    elif alpha is not None and band.nodata is None and alpha[0] != band.sample:
        sample, level = alpha
    else:
        return band
    return replace(band, mask=replace(band, name="mask", sample=sample, level=level, nodata=None, mask=None))


def reduced_band(band: Band, level: Level) -> Band:
    """A band at one of its overviews, not yet masked: the level's pixels divide the same area, as GDAL has it."""
    a, b, c, d, e, f = band.grid.transform
    across, down = band.grid.width / level.width, band.grid.height / level.height
    grid = Grid((a * across, b * down, c, d * across, e * down, f), level.width, level.height)
    return replace(band, level=level, grid=grid, mask=None, overviews=())


def level_of_size(levels: Iterable[Level], width: int, height: int) -> Level | None:
    """The level that has exactly this size."""
    return next((level for level in levels if (level.width, level.height) == (width, height)), None)


def plane_of(level: Level, sample: int) -> Level:
    """The level with the segments of one sample: the level itself when chunky, a slice of it when planar-separate."""
    per_plane = level.tiles_per_plane
    if level.layout.planar == CHUNKY or len(level.offsets) == per_plane:
        return level
    part = slice(sample * per_plane, (sample + 1) * per_plane)
    return Level(level.width, level.height, level.layout, level.offsets[part], level.byte_counts[part])


def finite_cast(number: float, dtype: np.dtype[np.generic]) -> float:
    """A number as a type holds it."""
    with np.errstate(over="ignore"):
        return float(np.asarray(number).astype(dtype))
