"""Decoding one segment (tile or strip): bytes as stored in the file in, pixels out.

Everything here is bounded by the layout: no decoder may write more than one full segment, however much a corrupt or hostile stream claims to
hold. imagecodecs and NumPy release the GIL for the heavy parts, so threads scale.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from rasteret_sql.errors import InvalidArgument, InvalidRaster, UnsupportedRaster, one_line
from rasteret_sql.raster import predictor, tags
from rasteret_sql.raster.header import CHUNKY, Layout

Bytes = npt.NDArray[np.uint8]
Stored = bytes | memoryview

PARTIAL_ROWS = 0.75
"""Up to this part of a deflate segment's rows, inflating only those rows (zlib-ng, 55 ns per 1,000 bytes more) beats inflating all with libdeflate."""
MAX_SCRATCH = 64 << 20
"""Largest buffer in bytes a thread keeps for the next segment; larger segments get one of their own."""


@dataclass(frozen=True, slots=True)
class _Codec:
    """A byte-stream codec of imagecodecs: fills a buffer and says how much of it."""

    module: str
    """Attribute of imagecodecs that says whether this build has the codec."""
    decode: Callable[[Stored, Bytes], int]
    """Fills the buffer from the stream; the number of bytes written. Raises RuntimeError or ValueError on bad data, never writes past the buffer."""
    stops_early: bool = False
    """True when ``decode`` stops at the end of the buffer, False when a stream that holds more is an error."""


def decode_segment(data: Stored, layout: Layout, rows: int, *, sample: int | None = None) -> npt.NDArray[Any]:
    """Pixels of the leading ``rows`` of one segment, in native byte order, as a fresh C-contiguous array.

    The shape is (rows, tile_width, samples) for chunky segments with several samples, (rows, tile_width) for segments with one, or when
    ``sample`` (from 0) picks one. Bytes after the stream are ignored. Where :func:`stops_early`, ``data`` may end after those rows,
    and the stream's checksum, which lies at its end, is not verified.

    Raises
    ------
    InvalidRaster
        The data are corrupt, hold fewer than ``rows`` rows, or inflate to more than the segment; the message names the codec.
    UnsupportedRaster
        :func:`supports` has the reason, or the stream is old-style LZW.
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
            return _decode_lerc(_lerc_blob(data, layout), layout, rows, sample)
        stored = _decompress(data, layout, rows)
    except (RuntimeError, ValueError, struct.error) as err:
        raise InvalidRaster(one_line(f"corrupt {name} segment of {len(data)} bytes: {err}")) from err
    need = rows * _row_nbytes(layout)
    if stored.size < need:
        raise InvalidRaster(f"short {name} segment: {len(data)} bytes hold {stored.size} of the {need} bytes of {rows} rows")
    if layout.bits == 1:
        return _unpack_bits(stored[:need], layout, rows, sample)
    applied = layout.predictor if layout.compression in tags.PREDICTED_COMPRESSIONS else predictor.NONE
    return predictor.unpredict(stored[:need], layout, applied, rows, sample)


def stops_early(layout: Layout, rows: int) -> bool:
    """True when decoding the leading ``rows`` needs only the bytes that hold them, so that a fetch may be cut there."""
    if layout.compression in _DEFLATE:
        return _inflates_partially(layout, rows)
    return layout.compression == tags.UNCOMPRESSED or (layout.compression in _CODECS and _CODECS[layout.compression].stops_early)


@lru_cache(maxsize=1024)
def supports(layout: Layout) -> str | None:
    """None when segments of this layout can be decoded, else the reason in one line."""
    name = tags.COMPRESSION_NAMES.get(layout.compression, "unknown")
    try:
        dtype = np.dtype(layout.dtype)
    except TypeError:
        return f"dtype {layout.dtype!r} is not read; integers of 8 to 64 and floats of 16 to 64 bits are"
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        return f"dtype {layout.dtype!r} is not read; integers of 8 to 64 and floats of 16 to 64 bits are"
    one_bit = layout.bits == 1 and layout.dtype == "uint8"
    if layout.bits != dtype.itemsize * 8 and not one_bit:
        return f"samples of {layout.bits} bits in {layout.dtype} are not read; whole-width samples and 1-bit masks are"
    modules = _needed_modules(layout)
    if modules is None:
        return f"compression {name} ({layout.compression}) is not read; none, deflate, LZW, zstd, LZMA, PackBits and LERC are"
    if missing := [module for module in modules if not getattr(getattr(imagecodecs, module, None), "available", False)]:
        return f"compression {name} needs {', '.join(missing)}, which this build of imagecodecs {imagecodecs.__version__} lacks; install its wheel from PyPI"
    if layout.compression == tags.LERC and (one_bit or layout.dtype in ("int64", "uint64", "float16")):
        return f"LERC has no samples of {layout.bits} bits in {layout.dtype}"
    if layout.compression in tags.PREDICTED_COMPRESSIONS:
        return _predictor_reason(layout, dtype)
    return None


def _needed_modules(layout: Layout) -> tuple[str, ...] | None:
    """Names of the imagecodecs parts this compression needs; None when it is not read at all."""
    if layout.compression == tags.UNCOMPRESSED:
        return ()
    if layout.compression == tags.LERC:
        inner = _LERC_INNER.get(layout.lerc_compression)
        return None if inner is None else ("LERC", *(_CODECS[code].module for code in inner))
    codec = _CODECS.get(layout.compression)
    return None if codec is None else (codec.module,)


def _predictor_reason(layout: Layout, dtype: np.dtype[Any]) -> str | None:
    """The rules are libtiff's: 2 goes with 8 to 64 bits of any kind, 3 with floats."""
    valid = layout.predictor in (predictor.NONE, predictor.HORIZONTAL, predictor.FLOATING_POINT)
    if not valid or (layout.predictor != predictor.NONE and layout.bits == 1) or (layout.predictor == predictor.FLOATING_POINT and dtype.kind != "f"):
        return f"predictor {layout.predictor} with samples of {layout.bits} bits ({layout.dtype}) is not read"
    return None


def _row_nbytes(layout: Layout) -> int:
    """Bytes of one decompressed row; rows of 1-bit samples are padded to whole bytes."""
    return -(-layout.tile_width * layout.segment_samples * layout.bits // 8)


def _decompress(data: Stored, layout: Layout, rows: int) -> Bytes:
    """Decompressed bytes, at least the leading ``rows`` where the data hold them: in this thread's scratch, or ``data`` itself."""
    if layout.compression == tags.UNCOMPRESSED:
        return np.frombuffer(data, np.uint8)
    codec = _CODECS[layout.compression]
    row_nbytes = _row_nbytes(layout)
    if layout.compression in _DEFLATE and _inflates_partially(layout, rows):
        part = _scratch(rows * row_nbytes)
        if _inflate_to_end_of(part, data):
            return part
    buffer = _scratch((rows if codec.stops_early else layout.tile_height) * row_nbytes)
    return buffer[: codec.decode(data, buffer)]


def _unpack_bits(stored: Bytes, layout: Layout, rows: int, sample: int | None) -> Bytes:
    """0 and 1 from 1-bit samples, most significant bit first (FillOrder 1)."""
    bits = np.unpackbits(stored.reshape(rows, -1), axis=1, count=layout.tile_width * layout.segment_samples)
    if layout.segment_samples == 1:
        return bits
    cube = bits.reshape(rows, layout.tile_width, layout.segment_samples)
    return cube if sample is None else np.ascontiguousarray(cube[:, :, sample])


def _lerc_blob(data: Stored, layout: Layout) -> Stored:
    """The LERC blob inside its optional deflate or zstd coat; a blob larger than its pixels by the third libtiff allows is refused."""
    inner = _LERC_INNER[layout.lerc_compression]
    if not inner:
        return data
    nbytes = layout.segment_nbytes
    buffer = _scratch(nbytes + nbytes // 3 + 256)
    return memoryview(buffer[: _CODECS[inner[0]].decode(data, buffer)])


class _Buffers(threading.local):
    """Each thread's scratch: decoding into memory that is already mapped halves the time of large tiles."""

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


def _inflates_partially(layout: Layout, rows: int) -> bool:
    return rows <= PARTIAL_ROWS * layout.tile_height and imagecodecs.ZLIBNG.available


def _inflate_to_end_of(part: Bytes, data: Stored) -> bool:
    """Inflate until ``part`` is full; False when the data did not fill it.

    Like zlib's ``uncompress2``, zlib-ng answers Z_BUF_ERROR if and only if the whole buffer was written and the stream has more.
    """
    try:
        return len(imagecodecs.zlibng_decode(data, out=memoryview(part))) == part.size
    except imagecodecs.ZlibngError as err:
        return "Z_BUF_ERROR" in str(err)


def _inflate(data: Stored, out: Bytes) -> int:
    return len(imagecodecs.deflate_decode(data, out=memoryview(out)))


def _lzw(data: Stored, out: Bytes) -> int:
    if len(data) > 1 and data[0] == 0 and data[1] & 1:
        raise UnsupportedRaster(
            "old-style LZW (bits reversed, written before TIFF 6.0) is not read; rewrite the file, for example with gdal_translate"
        )
    return len(imagecodecs.lzw_decode(data, out=memoryview(out)))


def _lzma(data: Stored, out: Bytes) -> int:
    return len(imagecodecs.lzma_decode(data, out=memoryview(out)))


def _packbits(data: Stored, out: Bytes) -> int:
    """As libtiff: the stream ends where the segment is full; what follows is ignored."""
    try:
        return len(imagecodecs.packbits_decode(data, out=memoryview(out)))
    except imagecodecs.ImcdError:
        if (end := _packbits_end(data, out.size)) is None:
            raise
        return len(imagecodecs.packbits_decode(memoryview(data)[:end], out=memoryview(out)))


def _packbits_end(data: Stored, nbytes: int) -> int | None:
    """Length of the runs that make exactly ``nbytes`` (TIFF 6.0 section 9: -128 is no run), None when none do."""
    at = made = 0
    while made < nbytes and at < len(data):
        count = data[at]
        literal = count < 128
        made += count + 1 if literal else (257 - count) % 129
        at += count + 2 if literal else 2 - (count == 128)
    return at if made == nbytes and at <= len(data) else None


def _zstd(data: Stored, out: Bytes) -> int:
    """As libtiff: the first frame counts; what follows is ignored."""
    try:
        return len(imagecodecs.zstd_decode(data, out=memoryview(out)))
    except imagecodecs.ZstdError:
        if (end := _zstd_frame_end(data)) is None or end == len(data):
            raise
        return len(imagecodecs.zstd_decode(memoryview(data)[:end], out=memoryview(out)))


def _zstd_frame_end(data: Stored) -> int | None:
    """Length of the leading zstd frame by its block headers (RFC 8878 section 3.1.1), None when the data do not hold one."""
    if len(data) < 5 or bytes(data[:4]) != b"\x28\xb5\x2f\xfd":
        return None
    descriptor = data[4]
    single_segment = descriptor >> 5 & 1
    size_field = (single_segment, 2, 4, 8)[descriptor >> 6]
    at = 5 + (1 - single_segment) + (0, 1, 2, 4)[descriptor & 3] + size_field
    last = False
    while not last:
        if at + 3 > len(data):
            return None
        block = int.from_bytes(data[at : at + 3], "little")
        last = bool(block & 1)
        run_length = block >> 1 & 3 == 1
        at += 3 + (1 if run_length else block >> 3)
    at += 4 * (descriptor >> 2 & 1)
    return at if at <= len(data) else None


@dataclass(frozen=True, slots=True)
class _LercBlob:
    """What one blob says it holds."""

    height: int
    width: int
    depth: int
    """Values per pixel."""
    dtype: str


def _decode_lerc(data: Stored, layout: Layout, rows: int, sample: int | None) -> npt.NDArray[Any]:
    """Pixels of the leading ``rows`` of the blobs in ``data``, as :func:`decode_segment` returns them.

    A mask inside makes floats NaN; with an 8-bit alpha sample it *is* the alpha (0 or 255), and the blob has one value less per pixel. Floats
    whose samples have different masks come as one blob per sample. GDAL hands big-endian files to liblerc with their bytes still swapped, and
    swaps back what liblerc returns: so do we, in that order.
    """
    blobs = _parse_lerc(data)
    blob, bands = blobs[0], len(blobs)
    _check_lerc(blob, bands, layout, rows)
    alpha = blob.depth == layout.segment_samples - 1
    shape = (blob.height, blob.width) if blob.depth == 1 else (blob.height, blob.width, blob.depth)
    pixels: npt.NDArray[Any] = np.empty(shape if bands == 1 else (bands, *shape), layout.dtype)
    mask: npt.NDArray[np.bool_] | None = None
    if alpha or pixels.dtype.kind == "f":
        _, mask = imagecodecs.lerc_decode(data, masks=True, out=pixels)
    else:
        imagecodecs.lerc_decode(data, out=pixels)
    if alpha:
        opaque = np.uint8(255) if mask is None else mask.view(np.uint8) * np.uint8(255)
        pixels = np.concatenate((pixels.reshape(*pixels.shape[:2], -1), np.broadcast_to(opaque, pixels.shape[:2])[..., None]), axis=2)
    elif mask is not None:
        pixels[~mask] = np.nan
    if bands > 1:
        pixels = np.moveaxis(pixels, 0, -1)
    chosen = pixels[:rows] if sample is None or pixels.ndim == 2 else pixels[:rows, :, sample]
    if layout.byte_order == ("<" if np.dtype(">i2").isnative else ">"):
        return np.ascontiguousarray(chosen.byteswap())
    return np.ascontiguousarray(chosen)


def _check_lerc(blob: _LercBlob, bands: int, layout: Layout, rows: int) -> None:
    """Refuse a blob that is not this segment. The last strip of an image may be lower than the others."""
    samples = layout.segment_samples
    as_depth = bands == 1 and blob.depth == samples
    as_bands = bands == samples and blob.depth == 1 and np.dtype(layout.dtype).kind == "f"
    as_alpha = bands == 1 and blob.depth == samples - 1 and layout.dtype == "uint8" and layout.planar == CHUNKY
    if blob.dtype != layout.dtype or not (as_depth or as_bands or as_alpha):
        raise InvalidRaster(f"LERC segment holds {bands} x {blob.depth} samples of {blob.dtype}; the file says {samples} of {layout.dtype}")
    if blob.width != layout.tile_width or not rows <= blob.height <= layout.tile_height:
        raise InvalidRaster(
            f"LERC segment of {blob.width} x {blob.height} pixels; {layout.tile_width} x {layout.tile_height} with {rows} rows were asked"
        )


def _parse_lerc(data: Stored) -> list[_LercBlob]:
    """The blobs that follow one another in ``data``; they are all of one kind."""
    blobs: list[_LercBlob] = []
    at = 0
    while not blobs or bytes(data[at : at + len(_LERC_MAGIC)]) == _LERC_MAGIC:
        blob, nbytes = _parse_lerc_blob(data[at:])
        if blobs and blob != blobs[0]:
            raise InvalidRaster(f"LERC segment with unlike bands: {blobs[0]} and {blob}")
        blobs.append(blob)
        at += nbytes
    return blobs


def _parse_lerc_blob(data: Stored) -> tuple[_LercBlob, int]:
    """The leading blob and its length in bytes."""
    if bytes(data[: len(_LERC_MAGIC)]) != _LERC_MAGIC:
        raise InvalidRaster("LERC segment does not begin with a Lerc2 blob")
    (version,) = struct.unpack_from("<i", data, 6)
    if version not in _LERC_VERSIONS:
        raise InvalidRaster(f"LERC segment of version {version}; 1 to {_LERC_VERSIONS[-1]} are known")
    at = 14 if version >= 3 else 10  # a checksum follows the version
    if version >= 4:
        height, width, depth, _valid, _micro_block, nbytes, dtype = struct.unpack_from("<7i", data, at)
    else:
        height, width, _valid, _micro_block, nbytes, dtype = struct.unpack_from("<6i", data, at)
        depth = 1
    if not (height > 0 and width > 0 and depth > 0 and dtype in _LERC_DTYPES and len(_LERC_MAGIC) < nbytes <= len(data)):
        raise InvalidRaster(f"corrupt LERC segment: {width} x {height} x {depth} pixels of type {dtype} in {nbytes} of {len(data)} bytes")
    return _LercBlob(height, width, depth, _LERC_DTYPES[dtype]), nbytes


_DEFLATE = frozenset({8, 32946})
_CODECS: Mapping[int, _Codec] = {
    5: _Codec("LZW", _lzw, stops_early=True),
    8: _Codec("DEFLATE", _inflate),
    32946: _Codec("DEFLATE", _inflate),
    32773: _Codec("PACKBITS", _packbits),
    34925: _Codec("LZMA", _lzma, stops_early=True),
    50000: _Codec("ZSTD", _zstd),
}
_LERC_INNER: Mapping[int, tuple[int, ...]] = {0: (), 1: (8,), 2: (50000,)}
"""LercParameters' second value to the TIFF code of the coat around the blob."""
_LERC_MAGIC = b"Lerc2 "
_LERC_DTYPES: Mapping[int, str] = dict(enumerate(("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")))
_LERC_VERSIONS = range(1, 7)
