"""Numbers of the TIFF 6.0, BigTIFF, GeoTIFF 1.1 and GDAL tags this package reads, and the names messages use."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Tag(IntEnum):
    """TIFF tags by number."""

    NEW_SUBFILE_TYPE = 254
    IMAGE_WIDTH = 256
    IMAGE_LENGTH = 257
    BITS_PER_SAMPLE = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    STRIP_OFFSETS = 273
    SAMPLES_PER_PIXEL = 277
    ROWS_PER_STRIP = 278
    STRIP_BYTE_COUNTS = 279
    PLANAR_CONFIGURATION = 284
    PREDICTOR = 317
    TILE_WIDTH = 322
    TILE_LENGTH = 323
    TILE_OFFSETS = 324
    TILE_BYTE_COUNTS = 325
    SUB_IFDS = 330
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    JPEG_TABLES = 347
    MODEL_PIXEL_SCALE = 33550
    MODEL_TIEPOINT = 33922
    MODEL_TRANSFORMATION = 34264
    GEO_KEY_DIRECTORY = 34735
    GEO_DOUBLE_PARAMS = 34736
    GEO_ASCII_PARAMS = 34737
    GDAL_METADATA = 42112
    GDAL_NODATA = 42113
    LERC_PARAMETERS = 50674
    RPC_COEFFICIENTS = 50844


TYPE_CODES: Mapping[int, str] = {
    1: "B",
    2: "B",
    3: "H",
    4: "I",
    6: "b",
    7: "B",
    8: "h",
    9: "i",
    11: "f",
    12: "d",
    13: "I",
    16: "Q",
    17: "q",
    18: "Q",
}
"""``struct`` code of one value of each TIFF field type but the rationals, which no tag read here has; 13 and 18 are IFD and IFD8."""

TYPE_SIZES: Mapping[int, int] = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value of each TIFF field type."""

UNSIGNED_TYPES = frozenset({1, 3, 4, 13, 16, 18})
"""Field types that may hold counts, offsets and enumerations."""
NUMBER_TYPES = frozenset({1, 3, 4, 6, 8, 9, 11, 12, 16, 17})
"""Field types that may hold coordinates."""
TEXT_TYPES = frozenset({1, 2, 7})
"""Field types that may hold text: ASCII, and BYTE or UNDEFINED as some writers have it."""

REDUCED_IMAGE = 1
"""NewSubfileType bit 0: a reduced-resolution version of another image in this file."""
TRANSPARENCY_MASK = 4
"""NewSubfileType bit 2: a transparency mask for another image in this file."""

UNCOMPRESSED = 1
JPEG = 7
LERC = 34887
WEBP = 50001
JPEG_2000 = frozenset({33004, 33005, 34712})
"""33003 is missing: Aperio's YCbCr, which no two programs turn into the same RGB."""
JPEG_XL = frozenset({50002, 52546})
READABLE_COMPRESSIONS = frozenset({UNCOMPRESSED, 5, JPEG, 8, 32946, 32773, LERC, 34925, 50000, WEBP, *JPEG_2000, *JPEG_XL})
PREDICTED_COMPRESSIONS = frozenset({5, 8, 32946, 34925, 50000})
"""Codecs libtiff combines with a predictor; for the others the Predictor tag has no meaning and is ignored."""

YCBCR = 6
"""Value of PhotometricInterpretation."""
ALPHA_KINDS = frozenset({1, 2})
"""Values of ExtraSamples that are alpha: associated (premultiplied) and not."""

COMPRESSION_NAMES: Mapping[int, str] = {
    1: "none",
    2: "CCITT RLE",
    3: "CCITT Group 3",
    4: "CCITT Group 4",
    5: "LZW",
    6: "JPEG (old style)",
    7: "JPEG",
    8: "deflate",
    9: "JBIG",
    10: "JBIG",
    32766: "NeXT",
    32771: "CCITT RLE/W",
    32773: "PackBits",
    32809: "ThunderScan",
    32908: "PixarFilm",
    32909: "PixarLog",
    32946: "deflate",
    32947: "DCS",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34661: "JBIG",
    34676: "SGILog",
    34677: "SGILog24",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "JPEG (lossy DNG)",
    34925: "LZMA",
    34926: "zstd (old number)",
    34927: "WebP (old number)",
    34933: "PNG",
    34934: "JPEG XR",
    50000: "zstd",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}


def compression_name(compression: int) -> str:
    """``deflate`` for 8, ``unknown`` for numbers nobody registered."""
    return COMPRESSION_NAMES.get(compression, "unknown")
