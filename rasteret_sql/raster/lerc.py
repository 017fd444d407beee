"""LERC segments: not a byte stream but images of their own, by the rules of libtiff's tif_lerc.

A blob's header is checked before liblerc sees it, so that it cannot make more pixels than the segment has. Header fields: Esri's LERC specification,
Lerc2 versions 1 to 6.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from rasteret_sql.errors import InvalidRaster
from rasteret_sql.raster.streams import CODECS, scratch

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from rasteret_sql.raster.header import Layout
    from rasteret_sql.raster.streams import Stored

_ic: Any = imagecodecs

LERC_COATS: Mapping[int, tuple[int, ...]] = {0: (), 1: (8,), 2: (50000,)}
"""LercParameters' second value to the TIFF codes of the coats around the blob."""
_MAGIC = b"Lerc2 "
LERC_DTYPES: Mapping[int, str] = dict(enumerate(("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")))


@dataclass(frozen=True, slots=True)
class _LercBlob:
    """What one blob says it holds."""

    height: int
    width: int
    depth: int
    """Values per pixel."""
    dtype: str


def decode_lerc(data: Stored, layout: Layout, rows: int, sample: int | None) -> npt.NDArray[Any]:
    """Pixels of the leading ``rows`` of the blobs in ``data``, by the rules of libtiff's tif_lerc.

    Floats outside the blob's mask are NaN, integers 0. Where the mask holds an 8-bit alpha sample (0 or 255), the blob has one value less per
    pixel. Floats whose samples have different masks come as one blob per sample. In big-endian files GDAL's blobs hold swapped numbers.
    """
    data = _lerc_blobs(data, layout)
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
    coats = LERC_COATS[layout.lerc_compression]
    if not coats:
        return data
    buffer = scratch(layout.segment_nbytes * 4 // 3 + 256)
    return buffer[: CODECS[coats[0]].decode(data, buffer)].data


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
    while bytes(view[at : at + len(_MAGIC)]) == _MAGIC:
        blob, nbytes = _parse_lerc_blob(view[at:])
        if blob != blobs[0]:
            raise InvalidRaster(f"LERC segment with unlike blobs: {blobs[0]} and {blob}")
        blobs.append(blob)
        at += nbytes
    return blobs


def _parse_lerc_blob(view: memoryview) -> tuple[_LercBlob, int]:
    """The leading blob and its length in bytes."""
    if bytes(view[: len(_MAGIC)]) != _MAGIC:
        raise InvalidRaster("LERC segment does not begin with a Lerc2 blob")
    (version,) = struct.unpack_from("<i", view, 6)
    at = 14 if version >= 3 else 10  # from version 3 on, a checksum follows
    depth = 1
    if version >= 4:
        height, width, depth, _valid, _micro_block, nbytes, kind = struct.unpack_from("<7i", view, at)
    else:
        height, width, _valid, _micro_block, nbytes, kind = struct.unpack_from("<6i", view, at)
    if not (height > 0 and width > 0 and depth > 0 and kind in LERC_DTYPES and at < nbytes <= len(view)):
        raise InvalidRaster(f"corrupt LERC segment: {width} x {height} x {depth} values of type {kind} in {nbytes} of {len(view)} bytes")
    return _LercBlob(height, width, depth, LERC_DTYPES[kind]), nbytes
