"""Decoding one segment (tile or strip): bytes as stored in the file in, pixels out.

Everything here is bounded by the layout: no decoder may write more than one full segment, however much a corrupt or hostile stream claims to
hold. imagecodecs and NumPy release the GIL for the heavy parts, so threads scale.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from rasteret_sql.errors import InvalidArgument, InvalidRaster, UnsupportedRaster, one_line
from rasteret_sql.raster import predictor, tags
from rasteret_sql.raster.decoded import DecodedSegment
from rasteret_sql.raster.images import IMAGES, decode_image, image_reason
from rasteret_sql.raster.lerc import LERC_COATS, LERC_DTYPES, decode_lerc
from rasteret_sql.raster.streams import CODECS, DEFLATE, fill_by_inflating, scratch

if TYPE_CHECKING:
    import numpy.typing as npt

    from rasteret_sql.raster.header import Layout
    from rasteret_sql.raster.streams import Bytes, Stored

_REVERSED = frozenset({tags.UNCOMPRESSED, 5, 32773, *DEFLATE})
"""Codecs that FillOrder 2 is read with; in JPEG streams it has no meaning (libtiff's TIFF_NOBITREV)."""
_READ = "none, deflate, LZW, zstd, LZMA, PackBits, LERC, JPEG, WebP, JPEG XL and JPEG 2000"
PARTIAL_ROWS = 0.75
"""Up to this part of a deflate segment's rows, inflating only those with zlib-ng beats inflating all with libdeflate, which is faster per byte."""

_ic: Any = imagecodecs
"""imagecodecs takes any buffer, as data and as ``out``; its annotations know only bytes. The errors of its codecs are RuntimeErrors."""


def decode_segment(data: Stored, layout: Layout, rows: int, *, sample: int | None = None, empty: predictor.Allocate = np.empty) -> npt.NDArray[Any]:
    """Pixels of the leading ``rows`` of one segment, in native byte order, as a fresh C-contiguous array.

    The shape is (rows, tile_width, samples) for chunky segments with several samples, (rows, tile_width) for segments with one, or when
    ``sample`` (from 0) picks one. Bytes after the stream are ignored. Where :func:`stops_early`, ``data`` may end after those rows,
    and a checksum at the end of the stream is not verified. ``empty(shape, dtype)`` makes the array, where its memory is to come from elsewhere.

    Raises
    ------
    InvalidRaster
        The data are corrupt, hold fewer than ``rows`` rows, or (deflate, zstd, LERC) inflate to more than the segment; the message names the codec.
    UnsupportedRaster
        :func:`supports` has the reason, or the stream is old-style LZW.
    InvalidArgument
        ``rows`` or ``sample`` is not one of this layout.
    """
    pixels, differences = _decode(data, layout, rows, sample, empty)
    if differences:
        predictor.undo_differences(pixels)
    return pixels


def decode_for_parts(data: Stored, layout: Layout, rows: int, *, empty: predictor.Allocate = np.empty) -> DecodedSegment:
    """The same pixels, all samples, for use in parts: what can be left to do for the part alone is left."""
    pixels, differences = _decode(data, layout, rows, None, empty)
    if differences and pixels.ndim > 2:
        predictor.undo_differences(pixels)
        differences = False
    return DecodedSegment(pixels, differences=differences)


def _decode(data: Stored, layout: Layout, rows: int, sample: int | None, empty: predictor.Allocate) -> tuple[npt.NDArray[Any], bool]:
    """The pixels, and whether they are still differences along the rows (predictor 2)."""
    if (reason := supports(layout)) is not None:
        raise UnsupportedRaster(reason)
    if not 0 < rows <= layout.tile_height:
        raise InvalidArgument(f"{rows} rows asked of a segment; it has 1 to {layout.tile_height}")
    if sample is not None and not 0 <= sample < layout.segment_samples:
        raise InvalidArgument(f"sample {sample} asked of a segment; it has samples 0 to {layout.segment_samples - 1}")
    name = tags.COMPRESSION_NAMES[layout.compression]
    try:
        if layout.compression == tags.LERC:
            return decode_lerc(data, layout, rows, sample), False
        if layout.compression in IMAGES:
            return decode_image(data, layout, rows, sample, empty), False
        if layout.fill_order != 1:
            data = _ic.bitorder_decode(bytes(data))
        if rows == layout.tile_height and _decompresses_in_place(layout, sample):
            return _decompress_in_place(data, layout, empty), _applied_predictor(layout) == predictor.HORIZONTAL
        stored = _decompress(data, layout, rows)
    except (RuntimeError, ValueError, struct.error) as err:
        raise InvalidRaster(one_line(f"corrupt {name} segment of {len(data)} bytes: {err}")) from err
    need = rows * _row_nbytes(layout)
    _check_filled(stored.size, need, data, layout, rows)
    if layout.bits % 8:
        return _unpack_bits(stored[:need], layout, rows, sample), False
    return predictor.unpredict(stored[:need], layout, _applied_predictor(layout), rows, sample, empty), False


def stops_early(layout: Layout, rows: int) -> bool:
    """True when decoding the leading ``rows`` needs only the bytes that hold them, so that a fetch may be cut there."""
    if layout.compression in DEFLATE:
        return _inflates_partially(layout, rows)
    return layout.compression == tags.UNCOMPRESSED or (layout.compression in CODECS and CODECS[layout.compression].stops_early)


@lru_cache(maxsize=1024)
def supports(layout: Layout) -> str | None:
    """None when segments of this layout can be decoded, else the reason in one line."""
    return _sample_reason(layout) or _codec_reason(layout) or _predictor_reason(layout)


def _sample_reason(layout: Layout) -> str | None:
    try:
        dtype = np.dtype(layout.dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        return f"dtype {layout.dtype!r} is not read; integers of 8 to 64 and floats of 16 to 64 bits are"
    packed = layout.dtype == packed_dtype(layout.bits) and layout.compression not in IMAGES - {tags.JPEG}
    if layout.bits != dtype.itemsize * 8 and not packed:
        return f"samples of {layout.bits} bits in {layout.dtype} are not read; samples of whole width and packed unsigned ones of 1 to 15 bits are"
    if layout.fill_order != 1 and not (layout.compression in _REVERSED or layout.compression == tags.JPEG):
        return f"FillOrder {layout.fill_order} (reversed bits) with compression {tags.compression_name(layout.compression)} is not read"
    if layout.compression == tags.LERC and (layout.bits % 8 or layout.dtype not in LERC_DTYPES.values()):
        return f"LERC has no samples of {layout.bits} bits in {layout.dtype}"
    return None


def _codec_reason(layout: Layout) -> str | None:
    name = tags.compression_name(layout.compression)
    if layout.compression in IMAGES:
        return image_reason(layout)
    needed: tuple[str, ...]
    if layout.compression == tags.UNCOMPRESSED:
        needed = ()
    elif layout.compression == tags.LERC and layout.lerc_compression in LERC_COATS:
        needed = ("LERC", *(CODECS[code].module for code in LERC_COATS[layout.lerc_compression]))
    elif layout.compression in CODECS:
        needed = (CODECS[layout.compression].module,)
    else:
        inner = f" with inner compression {layout.lerc_compression}" if layout.compression == tags.LERC else ""
        return f"compression {name} ({layout.compression}){inner} is not read; {_READ} are"
    missing = [module for module in needed if not getattr(getattr(_ic, module, None), "available", False)]
    if missing:
        return f"compression {name} needs {', '.join(missing)} of imagecodecs, which version {_ic.__version__} here lacks; install a PyPI wheel of it"
    return None


def _predictor_reason(layout: Layout) -> str | None:
    """The rules are libtiff's: 2 goes with 8 to 64 bits of any kind, 3 with floats."""
    applied = _applied_predictor(layout)
    if applied == predictor.NONE:
        return None
    floats = layout.dtype.startswith("float")
    if layout.bits % 8 == 0 and (applied == predictor.HORIZONTAL or (applied == predictor.FLOATING_POINT and floats)):
        return None
    return f"predictor {applied} with samples of {layout.bits} bits ({layout.dtype}) is not read"


def _applied_predictor(layout: Layout) -> int:
    """The predictor tag, where the codec has one; libtiff ignores the tag beside other codecs."""
    return layout.predictor if layout.compression in tags.PREDICTED_COMPRESSIONS else predictor.NONE


def _row_nbytes(layout: Layout) -> int:
    """Bytes of one decompressed row; rows of packed samples are padded to whole bytes."""
    return -(-layout.tile_width * layout.segment_samples * layout.bits // 8)


def _decompress(data: Stored, layout: Layout, rows: int) -> Bytes:
    """Decompressed bytes, at least the leading ``rows`` where the data hold them: in this thread's scratch, or ``data`` itself."""
    if layout.compression == tags.UNCOMPRESSED:
        return np.frombuffer(data, np.uint8)
    row_nbytes = _row_nbytes(layout)
    if layout.compression in DEFLATE and _inflates_partially(layout, rows):
        part = scratch(rows * row_nbytes)
        if fill_by_inflating(part, data):
            return part
    codec = CODECS[layout.compression]
    buffer = scratch((rows if codec.stops_early else layout.tile_height) * row_nbytes)
    return buffer[: codec.decode(data, buffer)]


def _check_filled(held: int, need: int, data: Stored, layout: Layout, rows: int) -> None:
    if held < need:
        name = tags.COMPRESSION_NAMES[layout.compression]
        raise InvalidRaster(f"short {name} segment: {len(data)} bytes hold {held} of the {need} bytes of {rows} rows")


def _decompresses_in_place(layout: Layout, sample: int | None) -> bool:
    return (
        layout.compression in CODECS
        and layout.bits % 8 == 0
        and layout.fill_order == 1
        and predictor.in_place(layout, _applied_predictor(layout), sample)
    )


def _decompress_in_place(data: Stored, layout: Layout, empty: predictor.Allocate) -> npt.NDArray[Any]:
    """A whole segment, decompressed where its pixels belong, differences as they are stored: saves a copy, a tenth of the time of deflate."""
    shape = (layout.tile_height, layout.tile_width, layout.segment_samples)
    pixels = empty(shape if layout.segment_samples > 1 else shape[:2], np.dtype(layout.dtype))
    octets = pixels.reshape(-1).view(np.uint8)
    filled = CODECS[layout.compression].decode(data, octets)
    _check_filled(filled, octets.size, data, layout, layout.tile_height)
    return pixels


def packed_dtype(bits: int) -> str | None:
    """The type that packed samples of so many bits are read as (GDAL's NBITS); None for what is not packed, or not read."""
    return "uint8" if 1 <= bits < 8 else "uint16" if 8 < bits < 16 else None


def _unpack_bits(stored: Bytes, layout: Layout, rows: int, sample: int | None) -> npt.NDArray[Any]:
    """Numbers from packed samples, most significant bit first, whatever the byte order; each row begins with a byte of its own."""
    across = layout.tile_width * layout.segment_samples
    if layout.bits == 1:
        numbers: npt.NDArray[Any] = np.unpackbits(stored.reshape(rows, -1), axis=1, count=across)
    else:
        numbers = _ic.packints_decode(stored.tobytes(), layout.dtype, layout.bits, runlen=across).reshape(rows, across)
    if layout.segment_samples == 1:
        return numbers
    cube = numbers.reshape(rows, layout.tile_width, layout.segment_samples)
    return cube if sample is None else np.ascontiguousarray(cube[:, :, sample])


def _inflates_partially(layout: Layout, rows: int) -> bool:
    return rows <= PARTIAL_ROWS * layout.tile_height and bool(_ic.ZLIBNG.available)
