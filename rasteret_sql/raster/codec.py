"""Decoding one segment (tile or strip): bytes as stored in the file in, pixels out.

Everything here is bounded by the layout: no decoder may write more than one full segment, however much a corrupt or hostile stream claims to
hold. imagecodecs and NumPy release the GIL for the heavy parts, so threads scale.
"""

from __future__ import annotations

import struct
import sys
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from rasteret_sql.errors import InvalidArgument, InvalidRaster, UnsupportedRaster, one_line
from rasteret_sql.raster import predictor, tags

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from rasteret_sql.raster.header import Layout

    Bytes = npt.NDArray[np.uint8]
    Stored = bytes | memoryview

PARTIAL_ROWS = 0.75
"""Up to this part of a deflate segment's rows, inflating only those with zlib-ng beats inflating all with libdeflate, which is faster per byte."""
MAX_SCRATCH = 64 << 20
"""Largest buffer in bytes a thread keeps for its next segment; larger segments get one of their own."""

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
    if (reason := supports(layout)) is not None:
        raise UnsupportedRaster(reason)
    if not 0 < rows <= layout.tile_height:
        raise InvalidArgument(f"{rows} rows asked of a segment; it has 1 to {layout.tile_height}")
    if sample is not None and not 0 <= sample < layout.segment_samples:
        raise InvalidArgument(f"sample {sample} asked of a segment; it has samples 0 to {layout.segment_samples - 1}")
    name = tags.COMPRESSION_NAMES[layout.compression]
    try:
        if layout.compression == tags.LERC:
            return _decode_lerc(_lerc_blobs(data, layout), layout, rows, sample)
        if rows == layout.tile_height and _decompresses_in_place(layout, sample):
            return _decompress_in_place(data, layout, empty)
        stored = _decompress(data, layout, rows)
    except (RuntimeError, ValueError, struct.error) as err:
        raise InvalidRaster(one_line(f"corrupt {name} segment of {len(data)} bytes: {err}")) from err
    need = rows * _row_nbytes(layout)
    _check_filled(stored.size, need, data, layout, rows)
    if layout.bits == 1:
        return _unpack_bits(stored[:need], layout, rows, sample)
    return predictor.unpredict(stored[:need], layout, _applied_predictor(layout), rows, sample, empty)


def stops_early(layout: Layout, rows: int) -> bool:
    """True when decoding the leading ``rows`` needs only the bytes that hold them, so that a fetch may be cut there."""
    if layout.compression in _DEFLATE:
        return _inflates_partially(layout, rows)
    return layout.compression == tags.UNCOMPRESSED or (layout.compression in _CODECS and _CODECS[layout.compression].stops_early)


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
    if layout.bits != dtype.itemsize * 8 and not (layout.bits == 1 and layout.dtype == "uint8"):
        return f"samples of {layout.bits} bits in {layout.dtype} are not read; samples of whole width and 1-bit masks are"
    if layout.compression == tags.LERC and (layout.bits == 1 or layout.dtype not in _LERC_DTYPES.values()):
        return f"LERC has no samples of {layout.bits} bits in {layout.dtype}"
    return None


def _codec_reason(layout: Layout) -> str | None:
    name = tags.COMPRESSION_NAMES.get(layout.compression, "unknown")
    needed: tuple[str, ...]
    if layout.compression == tags.UNCOMPRESSED:
        needed = ()
    elif layout.compression == tags.LERC and layout.lerc_compression in _LERC_COATS:
        needed = ("LERC", *(_CODECS[code].module for code in _LERC_COATS[layout.lerc_compression]))
    elif layout.compression in _CODECS:
        needed = (_CODECS[layout.compression].module,)
    else:
        inner = f" with inner compression {layout.lerc_compression}" if layout.compression == tags.LERC else ""
        return f"compression {name} ({layout.compression}){inner} is not read; none, deflate, LZW, zstd, LZMA, PackBits and LERC are"
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
    if layout.bits > 1 and (applied == predictor.HORIZONTAL or (applied == predictor.FLOATING_POINT and floats)):
        return None
    return f"predictor {applied} with samples of {layout.bits} bits ({layout.dtype}) is not read"


def _applied_predictor(layout: Layout) -> int:
    """The predictor tag, where the codec has one; libtiff ignores the tag beside other codecs."""
    return layout.predictor if layout.compression in tags.PREDICTED_COMPRESSIONS else predictor.NONE


def _row_nbytes(layout: Layout) -> int:
    """Bytes of one decompressed row; rows of 1-bit samples are padded to whole bytes."""
    return -(-layout.tile_width * layout.segment_samples * layout.bits // 8)


def _decompress(data: Stored, layout: Layout, rows: int) -> Bytes:
    """Decompressed bytes, at least the leading ``rows`` where the data hold them: in this thread's scratch, or ``data`` itself."""
    if layout.compression == tags.UNCOMPRESSED:
        return np.frombuffer(data, np.uint8)
    row_nbytes = _row_nbytes(layout)
    if layout.compression in _DEFLATE and _inflates_partially(layout, rows):
        part = _scratch(rows * row_nbytes)
        if _fill_by_inflating(part, data):
            return part
    codec = _CODECS[layout.compression]
    buffer = _scratch((rows if codec.stops_early else layout.tile_height) * row_nbytes)
    return buffer[: codec.decode(data, buffer)]


def _check_filled(held: int, need: int, data: Stored, layout: Layout, rows: int) -> None:
    if held < need:
        name = tags.COMPRESSION_NAMES[layout.compression]
        raise InvalidRaster(f"short {name} segment: {len(data)} bytes hold {held} of the {need} bytes of {rows} rows")


def _decompresses_in_place(layout: Layout, sample: int | None) -> bool:
    return layout.compression in _CODECS and layout.bits > 1 and predictor.in_place(layout, _applied_predictor(layout), sample)


def _decompress_in_place(data: Stored, layout: Layout, empty: predictor.Allocate) -> npt.NDArray[Any]:
    """A whole segment, decompressed where its pixels belong: saves a copy, a tenth of the time of deflate with predictor 2."""
    shape = (layout.tile_height, layout.tile_width, layout.segment_samples)
    pixels = empty(shape if layout.segment_samples > 1 else shape[:2], np.dtype(layout.dtype))
    octets = pixels.reshape(-1).view(np.uint8)
    filled = _CODECS[layout.compression].decode(data, octets)
    _check_filled(filled, octets.size, data, layout, layout.tile_height)
    if _applied_predictor(layout) == predictor.HORIZONTAL:
        predictor.undo_differences(pixels)
    return pixels


def _unpack_bits(stored: Bytes, layout: Layout, rows: int, sample: int | None) -> Bytes:
    """0 and 1 from 1-bit samples, most significant bit first (FillOrder 1)."""
    bits = np.unpackbits(stored.reshape(rows, -1), axis=1, count=layout.tile_width * layout.segment_samples)
    if layout.segment_samples == 1:
        return bits
    cube = bits.reshape(rows, layout.tile_width, layout.segment_samples)
    return cube if sample is None else np.ascontiguousarray(cube[:, :, sample])


class _Buffers(threading.local):
    """Each thread's scratch: decompressing into memory that is mapped already is faster, and scales better, than into fresh pages."""

    def __init__(self) -> None:
        self.buffer: Bytes = np.empty(0, np.uint8)


_BUFFERS = _Buffers()


def _scratch(nbytes: int) -> Bytes:
    """``nbytes`` of uninitialised memory, valid until this thread asks again."""
    if nbytes > MAX_SCRATCH:
        return np.empty(nbytes, np.uint8)
    if _BUFFERS.buffer.size < nbytes:
        _BUFFERS.buffer = np.empty(nbytes, np.uint8)
    return _BUFFERS.buffer[:nbytes]


# Byte streams: each decoder fills ``out`` from the start, never writes past it, and returns the number of bytes it wrote.


def _inflates_partially(layout: Layout, rows: int) -> bool:
    return rows <= PARTIAL_ROWS * layout.tile_height and bool(_ic.ZLIBNG.available)


def _fill_by_inflating(part: Bytes, data: Stored) -> bool:
    """Inflate until ``part`` is full; False when the data did not fill it.

    As with zlib's ``uncompress2``, Z_BUF_ERROR means that the whole buffer was written and the stream has more; lack of data is Z_DATA_ERROR.
    """
    try:
        return len(_ic.zlibng_decode(data, out=part)) == part.size
    except RuntimeError as err:
        return "Z_BUF_ERROR" in str(err)


def _inflate(data: Stored, out: Bytes) -> int:
    return len(_ic.deflate_decode(data, out=out))


def _lzw(data: Stored, out: Bytes) -> int:
    """The test for old-style streams is libtiff's: a stream of today begins with the clear code, 256 in nine bits from the top."""
    if len(data) > 1 and data[0] == 0 and data[1] & 1:
        raise UnsupportedRaster("old-style LZW (reversed bits, from before TIFF 6.0) is not read; rewrite the file, for example with gdal_translate")
    safe = _lzw_safe_nbytes(data) if _LZW_TRUSTS_FIRST_CODES else len(data)
    return len(_ic.lzw_decode(memoryview(data)[:safe], out=out))


def _lzw_safe_nbytes(data: Stored) -> int:
    """Length of the stream up to the first clear code after which no literal comes; the whole length of a sound stream.

    imagecodecs before 2026.10.10 looks such a code up in memory it has not set, and crashes. Between two clear codes the place and width of
    each code are known beforehand (TIFF 6.0 section 13), so that only the places where the bits read 100000000 need a look.
    """
    octets = np.frombuffer(data, np.uint8)
    lowest_one = octets & np.negative(octets)
    at = np.flatnonzero(octets[1:] < lowest_one[:-1])  # as many zeros from the top of the next byte as make eight after this byte's last one
    ends = at * 8 + 16 - _TRAILING_ZEROS[octets[at]]
    start = 9  # bit where the first code after a clear code begins; the decoder refuses streams that do not begin with one
    while start + 9 <= len(data) * 8:
        if _bits(data, start, 9) > 257:
            return (start + 7) // 8
        near = ends[np.searchsorted(ends, start, "right") : np.searchsorted(ends, start + _LZW_WIDTHS.size)]
        widths = _LZW_WIDTHS[near - start]
        clears = (
            int(end) for end, width in zip(near[widths > 0], widths[widths > 0], strict=True) if _bits(data, int(end - width), int(width)) == 256
        )
        start = next(clears, len(data) * 8)
    return len(data)


def _bits(data: Stored, start: int, width: int) -> int:
    """``width`` bits (at most 25) from bit ``start``, the most significant first."""
    word = int.from_bytes(bytes(data[start // 8 : start // 8 + 4]).ljust(4, b"\0"), "big")
    return word >> (32 - width - start % 8) & ((1 << width) - 1)


def _lzw_widths() -> npt.NDArray[np.int64]:
    """By bits after a clear code: the width of the code that ends there, 0 where none does. Each code but the first adds an entry to the table."""
    entries = np.concatenate(([258], np.arange(258, 4097)))
    widths = 9 + (entries >= 511) + (entries >= 1023) + (entries >= 2047)
    by_end = np.zeros(int(widths.sum()) + 1, np.int64)
    by_end[np.cumsum(widths)] = widths
    return by_end


_LZW_TRUSTS_FIRST_CODES = tuple(map(int, _ic.__version__.split(".")[:2])) < (2026, 10)
_LZW_WIDTHS = _lzw_widths()
_TRAILING_ZEROS = np.array([8, *((byte & -byte).bit_length() - 1 for byte in range(1, 256))])


def _lzma(data: Stored, out: Bytes) -> int:
    """As in libtiff, the first stream counts; what follows its footer, which ends in YZ (xz file format 1.1, section 2.1.2.4), is ignored."""
    try:
        return len(_ic.lzma_decode(data, out=out))
    except RuntimeError:
        end = bytes(data).rfind(b"YZ") + 2
        if end in (1, len(data)):
            raise
        return len(_ic.lzma_decode(memoryview(data)[:end], out=out))


def _packbits(data: Stored, out: Bytes) -> int:
    """As in libtiff, the stream ends where the segment is full; what follows is ignored."""
    try:
        return len(_ic.packbits_decode(data, out=out))
    except RuntimeError:
        if (end := _packbits_end(data, out.size)) is None:
            raise
        return len(_ic.packbits_decode(memoryview(data)[:end], out=out))


def _packbits_end(data: Stored, nbytes: int) -> int | None:
    """Length of the runs that make exactly ``nbytes`` (TIFF 6.0 section 9; 128 is no run), None when none do."""
    at = made = 0
    while made < nbytes and at < len(data):
        count = data[at]
        if count < 128:
            made, at = made + count + 1, at + count + 2
        elif count > 128:
            made, at = made + 257 - count, at + 2
        else:
            at += 1
    return at if made == nbytes and at <= len(data) else None


def _zstd(data: Stored, out: Bytes) -> int:
    """As in libtiff, the first frame counts; what follows is ignored."""
    try:
        return len(_ic.zstd_decode(data, out=out))
    except RuntimeError:
        end = _zstd_frame_end(data)
        if end is None or end == len(data):
            raise
        return len(_ic.zstd_decode(memoryview(data)[:end], out=out))


def _zstd_frame_end(data: Stored) -> int | None:
    """Length of the leading zstd frame by its block headers (RFC 8878 section 3.1.1), None when the data do not hold one whole."""
    if len(data) < 5 or bytes(data[:4]) != b"\x28\xb5\x2f\xfd":
        return None
    descriptor = data[4]
    single_segment = descriptor >> 5 & 1
    at = 5 + (1 - single_segment) + (0, 1, 2, 4)[descriptor & 3] + (single_segment, 2, 4, 8)[descriptor >> 6]
    last = False
    while not last:
        if at + 3 > len(data):
            return None
        block = int.from_bytes(data[at : at + 3], "little")
        last = bool(block & 1)
        repeats_one_byte = block >> 1 & 3 == 1
        at += 3 + (1 if repeats_one_byte else block >> 3)
    at += 4 * (descriptor >> 2 & 1)
    return at if at <= len(data) else None


@dataclass(frozen=True, slots=True)
class _Codec:
    """A byte-stream codec of imagecodecs."""

    module: str
    """Attribute of imagecodecs that says whether this build has the codec."""
    decode: Callable[[Stored, Bytes], int]
    stops_early: bool = False
    """True when ``decode`` stops at the end of a short buffer, False when a stream that holds more is an error."""


_DEFLATE = frozenset({8, 32946})
_CODECS: Mapping[int, _Codec] = {
    5: _Codec("LZW", _lzw, stops_early=True),
    8: _Codec("DEFLATE", _inflate),
    32946: _Codec("DEFLATE", _inflate),
    32773: _Codec("PACKBITS", _packbits),
    34925: _Codec("LZMA", _lzma, stops_early=True),
    50000: _Codec("ZSTD", _zstd),
}


# LERC: not a byte stream but an image of its own. The blob's header is checked before liblerc sees it, so that it cannot make more pixels than
# the segment has. Header fields: Esri's LERC specification, Lerc2 versions 1 to 6.

_LERC_COATS: Mapping[int, tuple[int, ...]] = {0: (), 1: (8,), 2: (50000,)}
"""LercParameters' second value to the TIFF codes of the coats around the blob."""
_LERC_MAGIC = b"Lerc2 "
_LERC_DTYPES: Mapping[int, str] = dict(enumerate(("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")))


@dataclass(frozen=True, slots=True)
class _LercBlob:
    """What one blob says it holds."""

    height: int
    width: int
    depth: int
    """Values per pixel."""
    dtype: str


def _decode_lerc(data: Stored, layout: Layout, rows: int, sample: int | None) -> npt.NDArray[Any]:
    """Pixels of the leading ``rows`` of the blobs in ``data``, by the rules of libtiff's tif_lerc.

    Floats outside the blob's mask are NaN, integers 0. Where the mask holds an 8-bit alpha sample (0 or 255), the blob has one value less per
    pixel. Floats whose samples have different masks come as one blob per sample. In big-endian files GDAL's blobs hold swapped numbers.
    """
    blobs = _parse_lerc(data)
    blob, bands = blobs[0], len(blobs)
    _check_lerc(blob, bands, layout, rows)
    shape = (bands,) * (bands > 1) + (blob.height, blob.width) + (blob.depth,) * (blob.depth > 1)
    decoded: npt.NDArray[Any] = np.empty(shape, layout.dtype)
    _, mask = _ic.lerc_decode(data, masks=True, out=decoded)
    if blob.depth < layout.segment_samples and bands == 1:
        opacity = np.full(shape[:2], 255, np.uint8) if mask is None else mask.view(np.uint8) * np.uint8(255)
        decoded = np.dstack((decoded, opacity))
    elif mask is not None:
        outside = ~np.broadcast_to(mask, shape[: 2 + (bands > 1)])
        decoded[outside] = np.nan if decoded.dtype.kind == "f" else 0
    if bands > 1:
        decoded = np.moveaxis(decoded, 0, -1)
    chosen = decoded[:rows] if sample is None or decoded.ndim == 2 else decoded[:rows, :, sample]
    pixels = np.array(chosen, order="C")
    return pixels if layout.byte_order == ("<" if sys.byteorder == "little" else ">") else pixels.byteswap(inplace=True)


def _lerc_blobs(data: Stored, layout: Layout) -> Stored:
    """The blobs without their deflate or zstd coat; like libtiff, with a third more room than their pixels need."""
    coats = _LERC_COATS[layout.lerc_compression]
    if not coats:
        return data
    buffer = _scratch(layout.segment_nbytes * 4 // 3 + 256)
    return buffer[: _CODECS[coats[0]].decode(data, buffer)].data


def _check_lerc(blob: _LercBlob, bands: int, layout: Layout, rows: int) -> None:
    """Refuse blobs that are not this segment. The last strip of an image may be lower than the others."""
    samples = layout.segment_samples
    as_depth = bands == 1 and blob.depth == samples
    as_bands = bands == samples and blob.depth == 1 and layout.dtype.startswith("float")
    as_alpha = bands == 1 and blob.depth == samples - 1 and layout.dtype == "uint8"
    if blob.dtype != layout.dtype or not (as_depth or as_bands or as_alpha):
        raise InvalidRaster(f"LERC segment holds {bands} x {blob.depth} samples of {blob.dtype}; the file says {samples} of {layout.dtype}")
    if blob.width != layout.tile_width or not rows <= blob.height <= layout.tile_height:
        asked = f"{layout.tile_width} x {rows} of {layout.tile_width} x {layout.tile_height}"
        raise InvalidRaster(f"LERC segment holds {blob.width} x {blob.height} pixels; the file says {asked}")


def _parse_lerc(data: Stored) -> list[_LercBlob]:
    """The blobs that follow one another in ``data``; they are all alike."""
    view = memoryview(data)
    blob, at = _parse_lerc_blob(view)
    blobs = [blob]
    while bytes(view[at : at + len(_LERC_MAGIC)]) == _LERC_MAGIC:
        blob, nbytes = _parse_lerc_blob(view[at:])
        if blob != blobs[0]:
            raise InvalidRaster(f"LERC segment with unlike blobs: {blobs[0]} and {blob}")
        blobs.append(blob)
        at += nbytes
    return blobs


def _parse_lerc_blob(view: memoryview) -> tuple[_LercBlob, int]:
    """The leading blob and its length in bytes."""
    if bytes(view[: len(_LERC_MAGIC)]) != _LERC_MAGIC:
        raise InvalidRaster("LERC segment does not begin with a Lerc2 blob")
    (version,) = struct.unpack_from("<i", view, 6)
    at = 14 if version >= 3 else 10  # from version 3 on, a checksum follows
    depth = 1
    if version >= 4:
        height, width, depth, _valid, _micro_block, nbytes, kind = struct.unpack_from("<7i", view, at)
    else:
        height, width, _valid, _micro_block, nbytes, kind = struct.unpack_from("<6i", view, at)
    if not (height > 0 and width > 0 and depth > 0 and kind in _LERC_DTYPES and at < nbytes <= len(view)):
        raise InvalidRaster(f"corrupt LERC segment: {width} x {height} x {depth} values of type {kind} in {nbytes} of {len(view)} bytes")
    return _LercBlob(height, width, depth, _LERC_DTYPES[kind]), nbytes
