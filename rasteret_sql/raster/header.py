"""What a GeoTIFF says about itself, as frozen values.

The parser (:mod:`rasteret_sql.raster.tiff`) makes them from bytes, the collection keeps them in Parquet, the reader plans with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Affine = tuple[float, float, float, float, float, float]
"""``(a, b, c, d, e, f)``: ``x = a*col + b*row + c``, ``y = d*col + e*row + f``; (col, row) = (0, 0) is the outer corner of the first pixel."""

CHUNKY = 1
"""TIFF PlanarConfiguration 1: the samples of a pixel lie together."""
PLANAR = 2
"""TIFF PlanarConfiguration 2: each sample has segments of its own."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the segments (tiles or strips) of one image directory are stored. Hashable: codecs are chosen and cached by it."""

    dtype: str
    """NumPy name of a sample in native byte order: ``"uint16"``, ``"float32"``…"""
    byte_order: str
    """``"<"`` or ``">"``: the byte order of the stored samples (the file's)."""
    compression: int
    """TIFF Compression tag as stored (1 none, 5 LZW, 8 and 32946 deflate, 32773 PackBits, 34887 LERC, 34925 LZMA, 50000 zstd…)."""
    predictor: int
    """TIFF Predictor tag: 1 none, 2 horizontal differencing, 3 floating point."""
    planar: int
    """:data:`CHUNKY` or :data:`PLANAR`."""
    samples_per_pixel: int
    tile_width: int
    tile_height: int
    """Segment size in pixels. Strips are segments as wide as the image and RowsPerStrip high (never higher than the image)."""
    tiled: bool
    """True for tiles (edge tiles are padded to full size), False for strips (the last one is cut)."""
    bits: int
    """BitsPerSample as stored; less than the dtype's width where samples are packed (GDAL's NBITS, 1-bit masks)."""
    lerc_compression: int = 0
    """Inner compression of LERC segments (LercParameters tag): 0 none, 1 deflate, 2 zstd."""
    jpeg_tables: bytes = b""
    """JPEGTables: the tables that the JPEG streams of the segments leave out; empty where they leave out none."""
    ycbcr: bool = False
    """True for JPEG streams of YCbCr (PhotometricInterpretation 6), which are read as RGB."""
    fill_order: int = 1
    """TIFF FillOrder: 1 as usual, 2 where the bits of every stored byte come in reverse."""

    @property
    def segment_samples(self) -> int:
        """Samples of a pixel inside one segment: all of them when chunky, one when planar-separate."""
        return self.samples_per_pixel if self.planar == CHUNKY else 1

    @property
    def segment_nbytes(self) -> int:
        """Decoded size in bytes of one full segment."""
        return self.tile_width * self.tile_height * self.segment_samples * np.dtype(self.dtype).itemsize


def alpha_sample(dtype: str, roles: Sequence[bool]) -> int | None:
    """The sample (from 0) that masks the others, by the rule of GDAL's ``GetMaskBand``: the last one of two or four 8- or 16-bit unsigned ones.

    ``roles`` has one element per sample: whether it is alpha (ExtraSamples 1 or 2, or said so in GDAL_METADATA).
    """
    return len(roles) - 1 if len(roles) in (2, 4) and roles[-1] and dtype in ("uint8", "uint16") else None


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """One image directory: the full resolution (level 0), an overview, or a mask."""

    width: int
    height: int
    layout: Layout
    offsets: npt.NDArray[np.int64]
    """Byte offset of each segment: row-major over the tile grid; planar-separate files have one such run per sample.

    0 with a byte count of 0 is a sparse segment: all nodata.
    """
    byte_counts: npt.NDArray[np.int64]

    @property
    def tiles_across(self) -> int:
        return -(-self.width // self.layout.tile_width)

    @property
    def tiles_down(self) -> int:
        return -(-self.height // self.layout.tile_height)

    @property
    def tiles_per_plane(self) -> int:
        return self.tiles_across * self.tiles_down


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """One GeoTIFF file."""

    byte_order: str
    bigtiff: bool
    levels: tuple[Level, ...]
    """Full resolution first, then the overviews from fine to coarse."""
    masks: tuple[Level, ...]
    """Transparency-mask directories, in the order of the levels they belong to."""
    photometric: int
    extra_samples: tuple[int, ...]
    nodata: float | None
    """GDAL_NODATA; NaN is a value, None is absence."""
    transform: Affine
    """Pixel corners (PixelIsPoint files are already shifted by half a pixel)."""
    epsg: int | None
    crs: str | None
    """``EPSG:32643``, or WKT2 where no EPSG code says it; None when the file names no CRS."""
    scales: tuple[float, ...]
    """One per sample: value = stored * scale + offset (GDAL_METADATA); 1.0 and 0.0 where unset."""
    offsets: tuple[float, ...]
    descriptions: tuple[str | None, ...]
    """Band descriptions, one per sample."""
    alpha: int | None = None
    """The sample (from 0) that says which pixels of the others are valid (:func:`alpha_sample`); None when there is none."""

    @property
    def width(self) -> int:
        return self.levels[0].width

    @property
    def height(self) -> int:
        return self.levels[0].height

    @property
    def dtype(self) -> str:
        return self.levels[0].layout.dtype

    @property
    def samples_per_pixel(self) -> int:
        return self.levels[0].layout.samples_per_pixel
