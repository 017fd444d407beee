"""Any bytes as a file: ``python -m tests.fuzz.fuzz_headers --runs 50000``; needs ``pip install atheris`` to be guided by coverage of the whole.

A header, or a RasteretError in one line; the same whether the file comes at once or piece by piece; nothing in it may contradict itself, the file's
size, or what tifffile reads from the same bytes. The first and the last segment of each level are then decoded as a query would.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterator

import numpy as np
import tifffile

from rasteret_sql.errors import InvalidRaster, RasteretError, UnsupportedRaster
from rasteret_sql.raster.codec import decode_segment, supports
from rasteret_sql.raster.header import Header, Level
from rasteret_sql.raster.spans import SparseBytes
from rasteret_sql.raster.tiff import NeedBytes, parse_header, read_header_bytes
from tests.fuzz.bounds import MIB, Finding, bounded
from tests.fuzz.campaign import Target, main

ROUNDS = 300
"""Questions that a header may take: each directory of a chain may lie somewhere else."""
LARGEST_SEGMENT = 1 * MIB
PIECES = (16, 200, 32 << 10)

logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def check(data: bytes) -> str:
    """``header``, or the name of the error; raises :class:`Finding`."""
    with bounded(8 * len(data)):
        whole = _outcome(lambda: read_header_bytes(data))
    piece = PIECES[len(data) % len(PIECES)]
    for size_known in (True, False):
        with bounded(8 * len(data)):
            other = _outcome(lambda known=size_known: _piece_by_piece(data, piece, size_known=known))
        if size_known and described(other) != described(whole):
            raise Finding(f"at once: {described(whole)}; in pieces of {piece}: {described(other)}")
        if isinstance(whole, Header) and described(other) != described(whole):
            raise Finding(f"a header only where the size is known: {described(other)}")
    if not isinstance(whole, Header):
        return type(whole).__name__
    _check_header(whole, len(data))
    _compare_with_tifffile(data, whole)
    _decode_some(data, whole)
    return "header"


def _outcome(action) -> Header | RasteretError:
    try:
        found = action()
    except RasteretError as error:
        if "\n" in str(error) or not str(error):
            raise Finding(f"an error of several lines: {str(error)!r}") from error
        return error
    return found


def _piece_by_piece(data: bytes, first: int, *, size_known: bool) -> Header:
    """As :mod:`rasteret_sql.reader.headers` asks for it."""
    known = SparseBytes(len(data) if size_known else None)
    known.add(0, data[:first])
    for _ in range(ROUNDS):
        answer = parse_header(known)
        if not isinstance(answer, NeedBytes):
            return answer
        _check_question(answer, len(data) if size_known else None)
        for offset, length in answer.ranges:
            if offset + length > len(data):
                known.size = len(data)
            known.add(offset, data[offset : offset + length])
    raise Finding(f"{ROUNDS} questions and no header")


def _check_question(question: NeedBytes, size: int | None) -> None:
    if not question.ranges:
        raise Finding("a question for nothing")
    end = -1
    for offset, length in question.ranges:
        if offset <= end or length <= 0 or (size is not None and offset + length > size):
            raise Finding(f"the question {question.ranges} in a file of {size} bytes")
        end = offset + length
    if sum(length for _, length in question.ranges) > 64 * MIB:
        raise Finding(f"a question for more than 64 MiB: {question.ranges}")


def described(found: Header | RasteretError) -> str:
    """What two ways to the same file must agree in: all of the header, or that there is none."""
    if isinstance(found, RasteretError):
        return "no header"
    levels = [
        (level.width, level.height, level.layout, level.offsets.tolist(), level.byte_counts.tolist()) for level in (*found.levels, *found.masks)
    ]
    rest = [getattr(found, name) for name in ("byte_order", "bigtiff", "photometric", "extra_samples", "nodata", "transform", "epsg", "crs")]
    return repr((levels, rest, found.scales, found.offsets, found.descriptions, found.alpha))


def _check_header(header: Header, size: int) -> None:
    a, b, _, d, e, _ = header.transform
    samples = header.samples_per_pixel
    wrong = {
        "transform": not all(map(math.isfinite, header.transform)) or a * e - b * d == 0,
        "crs": (header.epsg is None) == (header.crs is not None and header.crs.startswith("EPSG:")),
        "per sample": not len(header.scales) == len(header.offsets) == len(header.descriptions) == samples,
        "alpha": header.alpha is not None and not 0 <= header.alpha < samples,
        "extra samples": len(header.extra_samples) > samples,
        "overviews": any(a.width * a.height < b.width * b.height for a, b in zip(header.levels, header.levels[1:], strict=False)),
        "masks": len(header.masks) > len(header.levels),
        "levels": any(level.layout.samples_per_pixel != samples or level.layout.dtype != header.dtype for level in header.levels),
    }
    for level in (*header.levels, *header.masks):
        planes = level.layout.samples_per_pixel // level.layout.segment_samples
        stored = level.byte_counts > 0
        wrong |= {
            "segments": not len(level.offsets) == len(level.byte_counts) == level.tiles_per_plane * planes,
            "places": bool(
                (level.offsets[stored] <= 0).any() or (level.offsets + level.byte_counts > size)[stored].any() or level.offsets[~stored].any()
            ),
            "sizes": min(level.width, level.height, level.layout.tile_width, level.layout.tile_height) <= 0,
            "writable": level.offsets.flags.writeable or level.byte_counts.flags.writeable,
        }
    if any(wrong.values()):
        raise Finding(f"contradicts itself in {[name for name, is_wrong in wrong.items() if is_wrong]}: {described(header)[:2000]}")


def _compare_with_tifffile(data: bytes, header: Header) -> None:
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            page = tiff.pages.first
            theirs = page.imagewidth, page.imagelength, page.samplesperpixel, int(page.compression), tiff.byteorder
    except Exception:
        return
    layout = header.levels[0].layout
    ours = header.width, header.height, header.samples_per_pixel, layout.compression, header.byte_order
    if ours != theirs and not any(isinstance(value, (bytes, tuple)) for value in theirs):  # a tag of text or several values is not judged
        raise Finding(f"(width, height, samples, compression, byte order) is {ours}; tifffile reads {theirs}")


def _segments(level: Level) -> Iterator[int]:
    yield from dict.fromkeys((0, len(level.offsets) - 1))


def _decode_some(data: bytes, header: Header) -> None:
    for level in (*header.levels, *header.masks):
        layout = level.layout
        if layout.segment_nbytes > LARGEST_SEGMENT or supports(layout) is not None:
            continue
        for number in _segments(level):
            start, count = int(level.offsets[number]), int(level.byte_counts[number])
            row = number % level.tiles_per_plane // level.tiles_across
            rows = layout.tile_height if layout.tiled else min(layout.tile_height, level.height - row * layout.tile_height)
            if count:
                with bounded(layout.segment_nbytes * 8 + 8 * count):
                    _decode(data[start : start + count], level, rows)


def _decode(stored: bytes, level: Level, rows: int) -> None:
    try:
        pixels = decode_segment(stored, level.layout, rows)
    except (InvalidRaster, UnsupportedRaster):  # the latter of old-style LZW, which only the stream tells
        return
    if pixels.shape[:2] != (rows, level.layout.tile_width) or pixels.dtype != np.dtype(level.layout.dtype):
        raise Finding(f"{pixels.shape} of {pixels.dtype} from {level.layout}")


TARGET = Target("headers", check, most_bytes=64 << 10)

if __name__ == "__main__":
    main(TARGET)
