"""Segments that are images of their own: JPEG, WebP, JPEG XL, JPEG 2000.

The size in the image's header is compared with the segment's before a decoder makes room for it. JPEG follows libtiff's tif_jpeg: tables come from
the directory, YCbCr becomes RGB where the file says that it is YCbCr, and nothing else is converted, whatever markers say. The pixels are those of
libjpeg-turbo, with smooth upsampling of colours; a GDAL built with another JPEG library may differ by a few levels where colours are subsampled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from rasteret_sql.errors import InvalidRaster
from rasteret_sql.raster import tags

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from rasteret_sql.raster.header import Layout
    from rasteret_sql.raster.predictor import Allocate
    from rasteret_sql.raster.streams import Stored

    Pixels = npt.NDArray[Any]

_ic: Any = imagecodecs

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers that start a frame (ISO 10918-1 table B.1)."""
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
"""JPEG markers without a length."""
_START_OF_SCAN = 0xDA
_SCAN, _END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"
MAX_SCANS = 100
"""Of one JPEG stream, as in libtiff: each scan of a progressive stream goes over all pixels, though it may have a few bytes only."""
MAX_CODED_TILES = 1024
"""Tiles of one JPEG 2000 codestream: the decoder reserves some kilobytes for each before it reads any. In TIFF there is one."""
_CODESTREAM = b"\xff\x4f\xff\x51"


def decode_image(data: Stored, layout: Layout, rows: int, sample: int | None, empty: Allocate) -> Pixels:
    """Pixels of the leading ``rows``: (rows, width, samples), or (rows, width) of one sample. RuntimeError or ValueError where data are corrupt."""
    known = _height(data, layout, rows)
    if known is None and not layout.tiled and rows < layout.tile_height:
        try:
            pixels = _decoded(data, layout, rows, empty)
        except ValueError:  # the last strip of a file, stored as high as the others
            pixels = _decoded(data, layout, layout.tile_height, empty)
    else:
        pixels = _decoded(data, layout, known or layout.tile_height, empty)
    if sample is not None and layout.segment_samples > 1:
        return np.ascontiguousarray(pixels[:rows, :, sample])
    return pixels[:rows]


def _decoded(data: Stored, layout: Layout, height: int, empty: Allocate) -> Pixels:
    """The image, which must be so high; ValueError where it is not."""
    width, samples = layout.tile_width, layout.segment_samples
    pixels = empty((height, width, samples) if samples > 1 else (height, width), np.dtype(layout.dtype))
    _decoder(layout)(data, layout, pixels)
    return pixels


def image_reason(layout: Layout) -> str | None:
    """None when images of this layout can be decoded, else the reason in one line."""
    name = tags.COMPRESSION_NAMES[layout.compression]
    module, dtypes = _NEEDS[layout.compression]
    if not getattr(getattr(_ic, module, None), "available", False):
        return f"compression {name} needs {module} of imagecodecs, which version {_ic.__version__} here lacks; install a PyPI wheel of it"
    samples = layout.segment_samples
    if layout.dtype not in dtypes or (layout.compression == tags.WEBP and samples not in (3, 4)):
        return f"{name} segments of {samples} samples of {layout.dtype} are not read"
    if layout.ycbcr and samples != 3:
        return f"YCbCr in {samples} samples is not read; 3 are valid"
    return None


def _height(data: Stored, layout: Layout, rows: int) -> int | None:
    """Height of the image in ``data``, which must be the segment's: only the last strip of a file may be as low as the rows that are in it.

    None where the decoder compares the size itself before it makes pixels.
    """
    found: tuple[int, int] | None = None
    if layout.compression == tags.JPEG:
        found = _jpeg_size(data, layout)
    elif layout.compression in tags.JPEG_2000:
        found = _jpeg_2000_size(data, layout)
    if found is None:
        return None
    width, height = found
    if width != layout.tile_width or not rows <= height <= layout.tile_height or (layout.tiled and height != layout.tile_height):
        raise InvalidRaster(
            f"{tags.COMPRESSION_NAMES[layout.compression]} segment holds {width} x {height} pixels; the file says {layout.tile_width} x {rows}"
        )
    return height


def _jpeg_size(data: Stored, layout: Layout) -> tuple[int, int]:
    """Width and height by the frame header, whose samples must be the segment's."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise InvalidRaster(f"corrupt JPEG segment: no marker at byte {at}")
        marker = data[at + 1]
        if marker == 0xFF or marker in _BARE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in _FRAMES and at + 10 <= len(data):
            bits, height, width, samples = data[at + 4], _number(data, at + 5, 2), _number(data, at + 7, 2), data[at + 9]
            if bits != layout.bits or samples != layout.segment_samples:
                raise InvalidRaster(f"JPEG segment holds {samples} samples of {bits} bits; the file says {layout.segment_samples} of {layout.bits}")
            return width, height
        if marker == _START_OF_SCAN:
            break
        at += 2 + _number(data, at + 2, 2)
    raise InvalidRaster(f"corrupt JPEG segment of {len(data)} bytes: it has no frame header")


def _jpeg_2000_size(data: Stored, layout: Layout) -> tuple[int, int]:
    """Width and height by the SIZ marker (ISO 15444-1 A.5.1), which comes first in a codestream. Its samples must not be more than the segment's."""
    start = _codestream_start(data)
    if bytes(data[start : start + 4]) != _CODESTREAM or len(data) < start + 42:
        raise InvalidRaster(f"corrupt JPEG 2000 segment of {len(data)} bytes: it has no codestream header")
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = (_number(data, start + 8 + 4 * i, 4) for i in range(8))
    samples = _number(data, start + 40, 2)
    if samples > layout.segment_samples:
        raise InvalidRaster(f"JPEG 2000 segment holds {samples} samples; the file says {layout.segment_samples}")
    tiles = -(-(right - tile_left) // max(tile_width, 1)) * -(-(bottom - tile_top) // max(tile_height, 1))
    if tiles > MAX_CODED_TILES and right - left == layout.tile_width and bottom - top <= layout.tile_height:
        raise InvalidRaster(f"JPEG 2000 segment of {tiles} tiles; at most {MAX_CODED_TILES} are read")
    return right - left, bottom - top


def _codestream_start(data: Stored) -> int:
    """Where the codestream begins: at once, or in the first ``jp2c`` box (ISO 15444-1 I.4). The length of ``data`` where there is none."""
    if bytes(data[4:8]) != b"jP  ":
        return 0
    at = 0
    while at + 8 <= len(data):
        size, head = _number(data, at, 4), 8
        if size == 1:
            size, head = _number(data, at + 8, 8), 16
        if bytes(data[at + 4 : at + 8]) == b"jp2c":
            return at + head
        if size < head:
            break
        at += size
    return len(data)


def _number(data: Stored, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")


def _jpeg(data: Stored, layout: Layout, out: Pixels) -> None:
    if bytes(data).rfind(_END_OF_IMAGE) < 0:
        raise InvalidRaster(f"truncated JPEG segment of {len(data)} bytes: it has no end marker")  # libjpeg would fill up with grey
    if (scans := bytes(data).count(_SCAN)) > MAX_SCANS:  # in coded data 0xFF is followed by 0
        raise InvalidRaster(f"JPEG segment of {scans} scans; at most {MAX_SCANS} are read")
    stored, wanted = ("YCBCR", "RGB") if layout.ycbcr else ("UNKNOWN", "UNKNOWN")
    _ic.jpeg8_decode(data, tables=layout.jpeg_tables or None, colorspace=stored, outcolorspace=wanted, out=out)


def _webp(data: Stored, layout: Layout, out: Pixels) -> None:
    _ic.webp_decode(data, hasalpha=layout.segment_samples == 4, out=out)


def _jpeg_xl(data: Stored, _: Layout, out: Pixels) -> None:
    _ic.jpegxl_decode(data, out=out)


def _jpeg_2000(data: Stored, _: Layout, out: Pixels) -> None:
    _ic.jpeg2k_decode(data, out=out)


def _decoder(layout: Layout) -> Callable[[Stored, Layout, Pixels], None]:
    return {"JPEG8": _jpeg, "WEBP": _webp, "JPEGXL": _jpeg_xl, "JPEG2K": _jpeg_2000}[_NEEDS[layout.compression][0]]


_NEEDS: Mapping[int, tuple[str, frozenset[str]]] = {
    tags.JPEG: ("JPEG8", frozenset({"uint8", "uint16"})),
    tags.WEBP: ("WEBP", frozenset({"uint8"})),
    **{code: ("JPEGXL", frozenset({"uint8", "uint16", "float16", "float32"})) for code in tags.JPEG_XL},
    **{code: ("JPEG2K", frozenset({"uint8", "uint16", "int8", "int16"})) for code in tags.JPEG_2000},
}
"""Attribute of imagecodecs that says whether this build has the codec, and what samples it holds."""
IMAGES = frozenset(_NEEDS)
"""Compressions that this module decodes."""
