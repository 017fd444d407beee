"""Any bytes as a tile, of any layout that a header may tell: ``python -m tests.fuzz.fuzz_tiles --runs 50000``.

Pixels of the shape and type that were asked for, or a RasteretError; the same pixels for the same bytes, for each sample alone, and, where
:func:`stops_early` says so, for the leading rows from the whole stream.

An input is a layout in :data:`FIELDS`, the JPEG tables, and the tile's bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rasteret_sql.errors import InvalidRaster, RasteretError, UnsupportedRaster
from rasteret_sql.raster import tags
from rasteret_sql.raster.codec import decode_segment, stops_early, supports
from rasteret_sql.raster.header import CHUNKY, PLANAR, Layout
from tests.fuzz.bounds import Finding, bounded
from tests.fuzz.campaign import Target, main

FIELDS = struct.Struct("<11B4H")
"""Compression, type, predictor, flags, bits, inner codec of LERC, FillOrder, sample + 1 (0: all), and three unused; samples, width, rows of the tile,
length of the JPEG tables."""
COMPRESSIONS = sorted(tags.READABLE_COMPRESSIONS)
TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64")
BIG_ENDIAN, IS_PLANAR, IS_TILED, IS_YCBCR, HALF = 1, 2, 4, 8, 16
"""Flags; HALF asks for the upper half of the rows."""
MOST_SAMPLES, MOST_PIXELS, MOST_VALUES = 70, 512, 1 << 20


@dataclass(frozen=True)
class Tile:
    """One question to the decoder."""

    layout: Layout
    rows: int
    sample: int | None
    data: bytes


def pack(tile: Tile) -> bytes:
    """The input that is this tile; the opposite of :func:`unpack`."""
    layout = tile.layout
    flags = BIG_ENDIAN * (layout.byte_order == ">") | IS_PLANAR * (layout.planar == PLANAR) | IS_TILED * layout.tiled | IS_YCBCR * layout.ycbcr
    flags |= HALF * (tile.rows < layout.tile_height)
    small = (COMPRESSIONS.index(layout.compression), TYPES.index(layout.dtype), layout.predictor, flags, layout.bits, layout.lerc_compression)
    sample = 0 if tile.sample is None else tile.sample + 1
    sizes = (layout.samples_per_pixel, layout.tile_width, layout.tile_height, len(layout.jpeg_tables))
    return FIELDS.pack(*small, layout.fill_order, sample, 0, 0, 0, *sizes) + layout.jpeg_tables + tile.data


def unpack(data: bytes) -> Tile:
    """Any bytes as a tile of at most a million values."""
    head = data[: FIELDS.size].ljust(FIELDS.size, b"\0")
    compression, kind, predictor, flags, bits, inner, fill_order, sample, *_, samples, width, height, tables = FIELDS.unpack(head)
    samples, width, height = 1 + (samples - 1) % MOST_SAMPLES, 1 + (width - 1) % MOST_PIXELS, 1 + (height - 1) % MOST_PIXELS
    height = max(1, min(height, MOST_VALUES // (samples * width)))
    compression = COMPRESSIONS[compression % len(COMPRESSIONS)]
    rest = data[FIELDS.size :]
    is_jpeg = compression == tags.JPEG
    tables = tables % (len(rest) + 1) if is_jpeg else 0
    layout = Layout(
        dtype=TYPES[kind % len(TYPES)],
        byte_order=">" if flags & BIG_ENDIAN else "<",
        compression=compression,
        predictor=predictor,
        planar=PLANAR if flags & IS_PLANAR else CHUNKY,
        samples_per_pixel=samples,
        tile_width=width,
        tile_height=height,
        tiled=bool(flags & IS_TILED),
        bits=bits,
        lerc_compression=inner,
        jpeg_tables=rest[:tables],
        ycbcr=is_jpeg and bool(flags & IS_YCBCR),
        fill_order=fill_order,
    )
    rows = -(-height // 2) if flags & HALF else height
    return Tile(layout, rows, None if sample == 0 else (sample - 1) % layout.segment_samples, rest[tables:])


def check(data: bytes) -> str:
    """``<codec> <type> pixels``, or codec and error; raises :class:`Finding`."""
    tile = unpack(data)
    layout = tile.layout
    if (reason := supports(layout)) is not None:
        if not isinstance(_decoded(tile), UnsupportedRaster) or "\n" in reason:
            raise Finding(f"not supported ({reason!r}), and read nevertheless: {layout}")
        return "unsupported"
    found = _decoded(tile)
    name = tags.compression_name(layout.compression)
    if isinstance(found, RasteretError):
        if "\n" in str(found) or not isinstance(found, (InvalidRaster, UnsupportedRaster)):
            raise Finding(f"{type(found).__name__}: {found}")
        return f"{name} {type(found).__name__}"
    _check_pixels(found, tile)
    if not same(found, _decoded(tile)):
        raise Finding(f"other pixels the second time: {layout}")
    if tile.sample is not None and layout.segment_samples > 1:
        every = _decoded(Tile(layout, tile.rows, None, tile.data))
        if isinstance(every, RasteretError) or not same(found, every[..., tile.sample]):
            raise Finding(f"sample {tile.sample} alone is another than among all: {layout}")
    if tile.rows == layout.tile_height and tile.rows > 1 and stops_early(layout, 1):
        first = _decoded(Tile(layout, 1, tile.sample, tile.data))
        if isinstance(first, RasteretError) or not same(first, found[:1]):
            raise Finding(f"the first row alone is another than among all: {layout}")
    return f"{name} {layout.dtype} pixels"


def _decoded(tile: Tile) -> npt.NDArray[np.generic] | RasteretError:
    """Bounded by what the tile's pixels take: at most eight times as much, with 64 bytes for each that came."""
    with bounded(8 * tile.layout.segment_nbytes + 64 * len(tile.data)):
        try:
            return decode_segment(tile.data, tile.layout, tile.rows, sample=tile.sample)
        except RasteretError as error:
            return error


def _check_pixels(found: npt.NDArray[np.generic], tile: Tile) -> None:
    layout = tile.layout
    one = layout.segment_samples == 1 or tile.sample is not None
    shape = (tile.rows, layout.tile_width, *(() if one else (layout.segment_samples,)))
    if found.shape != shape or found.dtype != np.dtype(layout.dtype) or not found.flags.c_contiguous or not found.dtype.isnative:
        raise Finding(f"{found.shape} of {found.dtype} where {shape} of {layout.dtype} were asked: {layout}")


def same(first: npt.NDArray[np.generic], second: npt.NDArray[np.generic] | RasteretError) -> bool:
    """Equal to the last bit, NaN included."""
    return not isinstance(second, RasteretError) and first.tobytes() == np.ascontiguousarray(second).tobytes()


TARGET = Target("tiles", check, most_bytes=16 << 10)

if __name__ == "__main__":
    main(TARGET)
