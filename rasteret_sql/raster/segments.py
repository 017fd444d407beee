"""The image of one TIFF directory: its grid of segments, how they are stored and where they lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rasteret_sql.errors import InvalidRaster, UnsupportedRaster
from rasteret_sql.raster import tags
from rasteret_sql.raster.codec import packed_dtype
from rasteret_sql.raster.header import CHUNKY, PLANAR, Layout, Level
from rasteret_sql.raster.tags import Tag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rasteret_sql.raster.directory import Directory

MAX_SEGMENT_NBYTES = (1 << 31) - 1
"""Decoded size of one segment; codecs count in 32 bits."""

_DTYPES: Mapping[tuple[int, int], str] = {
    **{(1, bits): f"uint{bits}" for bits in (8, 16, 32, 64)},
    **{(2, bits): f"int{bits}" for bits in (8, 16, 32, 64)},
    **{(3, bits): f"float{bits}" for bits in (16, 32, 64)},
    **{(4, bits): f"uint{bits}" for bits in (8, 16, 32, 64)},
}
"""NumPy name by (SampleFormat, BitsPerSample); format 4 is "undefined", which GDAL reads as unsigned."""
_SAMPLE_FORMATS: Mapping[int, str] = {
    1: "unsigned integer",
    2: "signed integer",
    3: "float",
    4: "undefined",
    5: "complex integer",
    6: "complex float",
}
_CONVERTED: Mapping[int, str] = {5: "CMYK", tags.YCBCR: "YCbCr", 8: "CIE L*a*b*", 9: "ICC L*a*b*", 10: "ITU L*a*b*", 32844: "LogL", 32845: "LogLuv"}
"""Colours that GDAL reads as RGB, which is not done here, but for YCbCr in JPEG."""
MAX_SHARED_SAMPLES = 64
"""Layouts of pixels with more samples are worked out for each file."""
_PER_SAMPLE = (Tag.BITS_PER_SAMPLE, Tag.SAMPLE_FORMAT, Tag.LERC_PARAMETERS)
"""What a layout needs and may lie outside of the directory."""
MAX_JPEG_TABLES = 1 << 16
"""Bytes of JPEGTables: four quantisation and eight Huffman tables take less than 4 KB."""
_REWRITE = "rewrite the file, for example with gdal_translate -of COG -co COMPRESS=DEFLATE"


@dataclass(frozen=True, slots=True)
class SegmentGrid:
    """Size of an image and of its segments, and how many there are: known from the directory alone, before any array is read."""

    width: int
    height: int
    tile_width: int
    tile_height: int
    tiled: bool
    samples: int
    planar: int
    segments: int
    """Tiles or strips of all planes."""

    @property
    def offsets_tag(self) -> Tag:
        return Tag.TILE_OFFSETS if self.tiled else Tag.STRIP_OFFSETS

    @property
    def byte_counts_tag(self) -> Tag:
        return Tag.TILE_BYTE_COUNTS if self.tiled else Tag.STRIP_BYTE_COUNTS


def parse_grid(directory: Directory) -> SegmentGrid:
    """The segment grid of an image directory; :class:`InvalidRaster` for sizes that cannot be."""
    return directory.once("grid", lambda: _grid(directory))


def _grid(directory: Directory) -> SegmentGrid:
    width, height = directory.unsigned(Tag.IMAGE_WIDTH, None), directory.unsigned(Tag.IMAGE_LENGTH, None)
    samples = directory.unsigned(Tag.SAMPLES_PER_PIXEL, 1)
    planar = directory.unsigned(Tag.PLANAR_CONFIGURATION, CHUNKY)
    tiled = Tag.TILE_WIDTH in directory and Tag.TILE_LENGTH in directory
    if tiled:
        tile_width, tile_height = directory.unsigned(Tag.TILE_WIDTH, None), directory.unsigned(Tag.TILE_LENGTH, None)
    else:
        tile_width, tile_height = width, min(directory.unsigned(Tag.ROWS_PER_STRIP, height), height)
    sizes = {"image": (width, height), "tile" if tiled else "strip": (tile_width, tile_height)}
    for name, (across, down) in sizes.items():
        if not (0 < across < 1 << 31 and 0 < down < 1 << 31):
            raise InvalidRaster(f"damaged TIFF: {name} of {across} x {down} pixels")
    if not 0 < samples < 1 << 16:
        raise InvalidRaster(f"damaged TIFF: {samples} samples per pixel")
    if planar not in (CHUNKY, PLANAR):
        raise InvalidRaster(f"damaged TIFF: planar configuration {planar}; 1 (chunky) and 2 (separate) are valid")
    segments = -(-width // tile_width) * -(-height // tile_height) * (samples if planar == PLANAR else 1)
    return SegmentGrid(width, height, tile_width, tile_height, tiled, samples, planar, segments)


def parse_layout(directory: Directory, grid: SegmentGrid, *, mask: bool) -> Layout:
    """How the segments are stored; :class:`UnsupportedRaster` naming what this version does not read."""
    if Tag.JPEG_TABLES in directory or grid.samples > MAX_SHARED_SAMPLES:
        return _layout(directory, grid, mask=mask)
    return directory.once(("layout", mask, directory.outside(_PER_SAMPLE, max(grid.samples, 2))), lambda: _layout(directory, grid, mask=mask))


def _layout(directory: Directory, grid: SegmentGrid, *, mask: bool) -> Layout:
    compression = directory.unsigned(Tag.COMPRESSION, tags.UNCOMPRESSED)
    if compression not in tags.READABLE_COMPRESSIONS:
        raise UnsupportedRaster(f"compression {tags.compression_name(compression)} ({compression}) is not read yet; {_REWRITE}")
    photometric = directory.unsigned(Tag.PHOTOMETRIC, 1)
    if photometric in _CONVERTED and not (photometric == tags.YCBCR and compression == tags.JPEG):
        inside = f"compression {tags.compression_name(compression)}"
        raise UnsupportedRaster(f"photometric interpretation {_CONVERTED[photometric]} ({photometric}) with {inside} is not read; {_REWRITE}")
    dtype, bits = _dtype(directory, grid)
    if mask and dtype != "uint8":
        raise UnsupportedRaster(f"a transparency mask of {dtype} is not read; {_REWRITE}")
    layout = Layout(
        dtype=dtype,
        byte_order=directory.byte_order,
        compression=compression,
        predictor=_predictor(directory, compression, dtype, bits),
        planar=grid.planar,
        samples_per_pixel=grid.samples,
        tile_width=grid.tile_width,
        tile_height=grid.tile_height,
        tiled=grid.tiled,
        bits=bits,
        lerc_compression=_lerc_compression(directory) if compression == tags.LERC else 0,
        jpeg_tables=_jpeg_tables(directory) if compression == tags.JPEG else b"",
        ycbcr=compression == tags.JPEG and photometric == tags.YCBCR,
        fill_order=2 if directory.unsigned(Tag.FILL_ORDER, 1) == 2 else 1,  # as in libtiff, values that mean nothing are passed over
    )
    if layout.segment_nbytes > MAX_SEGMENT_NBYTES:
        form = f"{grid.tile_width} x {grid.tile_height} pixels"
        raise UnsupportedRaster(f"one segment of {form} has {layout.segment_nbytes} bytes; at most {MAX_SEGMENT_NBYTES} are read; {_REWRITE}")
    return layout


def _dtype(directory: Directory, grid: SegmentGrid) -> tuple[str, int]:
    """The type that samples are read as, and their bits as stored."""
    sample_format, bits = _sample_kind(directory, grid)
    dtype = _DTYPES.get((sample_format, bits)) or (packed_dtype(bits) if sample_format in (1, 4) else None)
    if dtype is None:
        kind = _SAMPLE_FORMATS.get(sample_format, f"sample format {sample_format}")
        raise UnsupportedRaster(
            f"samples of {bits} bits ({kind}) are not read; unsigned integers of 1 to 16, 32, 64 bits, signed ones of 8, 16, 32, 64, "
            f"floats of 16, 32, 64 are; {_REWRITE}"
        )
    return dtype, bits


def _jpeg_tables(directory: Directory) -> bytes:
    if directory.count(Tag.JPEG_TABLES) > MAX_JPEG_TABLES:
        raise InvalidRaster(f"damaged TIFF: JPEG tables of {directory.count(Tag.JPEG_TABLES)} bytes; at most {MAX_JPEG_TABLES} are possible")
    return directory.octets(Tag.JPEG_TABLES, MAX_JPEG_TABLES)


def _sample_kind(directory: Directory, grid: SegmentGrid) -> tuple[int, int]:
    """(SampleFormat, BitsPerSample), the same for all samples. One value stands for all, as in libtiff."""
    bits = set(directory.unsigned_list(Tag.BITS_PER_SAMPLE, grid.samples)) or {1}
    formats = set(directory.unsigned_list(Tag.SAMPLE_FORMAT, grid.samples)) or {1}
    if len(bits) > 1 or len(formats) > 1:
        raise UnsupportedRaster(
            f"samples of different kinds in one pixel (bits {sorted(bits)[:8]}, formats {sorted(formats)[:8]}) are not read; {_REWRITE}"
        )
    return formats.pop(), bits.pop()


def _predictor(directory: Directory, compression: int, dtype: str, bits: int) -> int:
    """The predictor that applies. As in libtiff: 2 for 8 to 64 bits of any format, 3 for floats; codecs without predictor ignore the tag."""
    if compression not in tags.PREDICTED_COMPRESSIONS:
        return 1
    predictor = directory.unsigned(Tag.PREDICTOR, 1)
    if predictor not in (1, 2, 3) or (predictor == 2 and bits < 8) or (predictor == 3 and not dtype.startswith("float")):
        raise UnsupportedRaster(f"predictor {predictor} with samples of {bits} bits ({dtype}) is not read; {_REWRITE}")
    return predictor


def _lerc_compression(directory: Directory) -> int:
    """Second LercParameters value: 0 none, 1 deflate, 2 zstd (libtiff's tif_lerc)."""
    parameters = directory.unsigned_list(Tag.LERC_PARAMETERS, 2)
    inner = parameters[1] if len(parameters) > 1 else 0
    if inner > 2:
        raise UnsupportedRaster(f"inner compression {inner} of LERC is not read; 0 (none), 1 (deflate), 2 (zstd) are")
    return inner


def parse_level(directory: Directory, grid: SegmentGrid, layout: Layout, file_size: int | None) -> Level:
    """The image with its segments' places. :class:`InvalidRaster` if the arrays are too short or point out of the file.

    Longer arrays are cut, as in libtiff. A segment with byte count 0 is sparse, as in GDAL; its offset is set to 0.
    """
    offsets = _segment_values(directory, grid, grid.offsets_tag)
    if grid.byte_counts_tag in directory:
        byte_counts = _segment_values(directory, grid, grid.byte_counts_tag)
        if layout.compression == tags.UNCOMPRESSED:
            byte_counts = np.minimum(byte_counts, _uncompressed_byte_counts(grid, layout))
    elif layout.compression == tags.UNCOMPRESSED:
        byte_counts = np.where(offsets > 0, _uncompressed_byte_counts(grid, layout), 0)
    else:
        raise InvalidRaster(f"damaged TIFF: tag {grid.byte_counts_tag.name} of the directory at byte {directory.offset} is missing")
    _check_places(directory, layout, offsets, byte_counts, file_size)
    offsets[byte_counts == 0] = 0
    offsets.flags.writeable = byte_counts.flags.writeable = False
    return Level(grid.width, grid.height, layout, offsets, byte_counts)


def _segment_values(directory: Directory, grid: SegmentGrid, tag: Tag) -> npt.NDArray[np.int64]:
    if (count := directory.count(tag)) < grid.segments:
        shape = f"{grid.width} x {grid.height} pixels in segments of {grid.tile_width} x {grid.tile_height}"
        raise InvalidRaster(f"damaged TIFF: tag {tag.name} has {count} values; {shape} need {grid.segments}")
    return directory.int64_array(tag, grid.segments)


def _uncompressed_byte_counts(grid: SegmentGrid, layout: Layout) -> npt.NDArray[np.int64]:
    """Stored sizes of uncompressed segments; rows are padded to whole bytes, the last strip of a plane is cut at the image."""
    row_nbytes = -(-layout.tile_width * layout.segment_samples * layout.bits // 8)
    counts = np.full(grid.segments, row_nbytes * grid.tile_height, np.int64)
    if not grid.tiled:
        per_plane = -(-grid.height // grid.tile_height)
        counts[per_plane - 1 :: per_plane] = row_nbytes * (grid.height - (per_plane - 1) * grid.tile_height)
    return counts


def _check_places(
    directory: Directory, layout: Layout, offsets: npt.NDArray[np.int64], byte_counts: npt.NDArray[np.int64], file_size: int | None
) -> None:
    stored = byte_counts > 0
    if np.count_nonzero(stored & (offsets == 0)):
        raise InvalidRaster(f"damaged TIFF: the directory at byte {directory.offset} has a segment at byte 0")
    if layout.compression == tags.UNCOMPRESSED and np.count_nonzero(~stored & (offsets > 0)):
        raise InvalidRaster(f"damaged TIFF: the directory at byte {directory.offset} has an uncompressed segment of 0 bytes")
    if file_size is None:
        return
    beyond = (offsets > file_size - byte_counts) & stored
    if np.count_nonzero(beyond):
        first = int(np.argmax(beyond))
        place = f"segment {first} at byte {int(offsets[first])} with {int(byte_counts[first])} bytes"
        raise InvalidRaster(f"truncated or damaged TIFF: {place} lies beyond the file's {file_size} bytes")
