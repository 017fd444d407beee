"""Byte-stream codecs: compressed bytes in, decompressed bytes out, as libtiff reads them.

Each decoder fills ``out`` from the start, never writes past it, and returns the number of bytes it wrote.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from rasteret_sql.errors import InvalidRaster, UnsupportedRaster

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Stored = bytes | memoryview

MAX_SCRATCH = 64 << 20
"""Largest buffer in bytes a thread keeps for its next segment; larger segments get one of their own."""

_ic: Any = imagecodecs
"""imagecodecs takes any buffer, as data and as ``out``; its annotations know only bytes. The errors of its codecs are RuntimeErrors."""


class _Buffers(threading.local):
    """Each thread's scratch: decompressing into memory that is mapped already is faster, and scales better, than into fresh pages."""

    def __init__(self) -> None:
        self.buffer: Bytes = np.empty(0, np.uint8)


_BUFFERS = _Buffers()


def scratch(nbytes: int) -> Bytes:
    """``nbytes`` of uninitialised memory, valid until this thread asks again."""
    if nbytes > MAX_SCRATCH:
        return np.empty(nbytes, np.uint8)
    if _BUFFERS.buffer.size < nbytes:
        _BUFFERS.buffer = np.empty(nbytes, np.uint8)
    return _BUFFERS.buffer[:nbytes]


def fill_by_inflating(part: Bytes, data: Stored) -> bool:
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
    left = 4096 + len(data) // 16
    start = 9  # bit where the first code after a clear code begins; the decoder refuses streams that do not begin with one
    while start + 9 <= len(data) * 8:
        if _bits(data, start, 9) > 257:
            return (start + 7) // 8
        left -= 1
        if left < 0:  # writers clear when the table is full, or where a row ends; looking at more would take seconds
            raise InvalidRaster(f"corrupt LZW segment of {len(data)} bytes: a clear code every few bytes")
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
class Codec:
    """A byte-stream codec of imagecodecs."""

    module: str
    """Attribute of imagecodecs that says whether this build has the codec."""
    decode: Callable[[Stored, Bytes], int]
    stops_early: bool = False
    """True when ``decode`` stops at the end of a short buffer, False when a stream that holds more is an error."""


DEFLATE = frozenset({8, 32946})
CODECS: Mapping[int, Codec] = {
    5: Codec("LZW", _lzw, stops_early=True),
    8: Codec("DEFLATE", _inflate),
    32946: Codec("DEFLATE", _inflate),
    32773: Codec("PACKBITS", _packbits),
    34925: Codec("LZMA", _lzma, stops_early=True),
    50000: Codec("ZSTD", _zstd),
}
