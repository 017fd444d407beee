"""Odd files, each for one trap, written by rasterio (GDAL) and tifffile: what creation options and old writers leave in archives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import rasterio
import tifffile
from rasterio.shutil import copy

HEIGHT, WIDTH = 70, 83
TRANSFORM = rasterio.Affine(10.0, 0.0, 500000.0, 0.0, -10.0, 5200000.0)
EPSG = 32633
TILED = {"tiled": True, "blockxsize": 32, "blockysize": 32}
Maker = Callable[[Path], None]


@dataclass(frozen=True)
class Odd:
    """One file: how rasterio writes it, or who else does."""

    name: str
    dtype: str = "uint8"
    bands: int = 1
    top: float = 255.0
    """Largest value."""
    options: dict[str, Any] = field(default_factory=dict)
    mask: bool = False
    alpha: bool = False
    nodata: float | None = None
    height: int = HEIGHT
    width: int = WIDTH
    make: Callable[[Odd, Path], None] | None = None

    def write(self, path: Path) -> None:
        (self.make or by_gdal)(self, path)


def pixels(odd: Odd) -> np.ndarray:
    """(bands, height, width): smooth, a little noise, with zeros and nodata in places."""
    rng = np.random.default_rng(len(odd.name))
    rows, cols = np.mgrid[: odd.height, : odd.width]
    planes = np.stack([np.sin(cols / 9 + band) + np.cos(rows / 7 - band) + rng.normal(scale=0.05, size=rows.shape) for band in range(odd.bands)])
    planes = (np.clip((planes + 2.2) / 4.4, 0, 1) * odd.top).astype(odd.dtype)
    planes[:, 5:9, 5:20] = 0
    if odd.nodata is not None and (np.dtype(odd.dtype).kind == "f" or 0 <= odd.nodata <= odd.top):
        planes[:, 12:30, 40:60] = odd.nodata
    if odd.alpha:
        planes[-1] = np.where((rows + cols) % 7 < 2, 0, np.where((rows + cols) % 7 == 3, 1, odd.top))
    return planes


def by_gdal(odd: Odd, path: Path, driver: str = "GTiff") -> None:
    profile = {"driver": driver, "count": odd.bands, "height": odd.height, "width": odd.width, "dtype": odd.dtype, "nodata": odd.nodata}
    profile |= {"crs": f"EPSG:{EPSG}", "transform": TRANSFORM}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **(profile | odd.options)) as out:
        out.write(pixels(odd))
        if odd.mask:
            rows, cols = np.mgrid[: odd.height, : odd.width]
            out.write_mask((rows * 3 + cols * 5) % 11 > 3)


def as_cog(odd: Odd, path: Path) -> None:
    """By the COG driver, from an ordinary file."""
    plain = path.with_suffix(".plain.tif")
    by_gdal(Odd(odd.name, odd.dtype, odd.bands, odd.top, {"photometric": "RGB"} if odd.bands > 2 else {}, odd.mask, odd.alpha, odd.nodata), plain)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        copy(str(plain), str(path), driver="COG", **odd.options)


def by_tifffile(odd: Odd, path: Path) -> None:
    """``options`` go to tifffile's ``write``; samples are chunky."""
    write_tifffile(path, pixels(odd), **odd.options)


def write_tifffile(path: Path, planes: np.ndarray, *, tags: tuple[tuple[Any, ...], ...] = (), byteorder: str = "<", **options: Any) -> None:
    keys = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, EPSG)
    geo = [(33550, "d", 3, (10.0, 10.0, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 500000.0, 5200000.0, 0.0), True)]
    geo += [(34735, "H", len(keys), keys, True), *tags]
    data = planes[0] if len(planes) == 1 else np.ascontiguousarray(np.moveaxis(planes, 0, -1))
    with tifffile.TiffWriter(path, byteorder=byteorder) as tif:
        tif.write(data, extratags=geo, metadata=None, **({"planarconfig": "contig"} if len(planes) > 1 else {}), **options)


def reversed_bits(odd: Odd, path: Path) -> None:
    """FillOrder 2: written as usual, the tag added, then every byte of every strip turned round."""
    write_tifffile(path, pixels(odd), tags=((269, "H", 1, 2, True),), **odd.options)  # tifffile writes no tag 266, but one in its place
    data = bytearray(path.read_bytes())
    at = data.index(bytes([13, 1, 3, 0, 1, 0, 0, 0, 2, 0]))
    data[at] = 10
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        for start, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            data[start : start + count] = imagecodecs.bitorder_decode(bytes(data[start : start + count]))
    path.write_bytes(data)


def two_pages(odd: Odd, path: Path) -> None:
    """A second full image behind the first, and its thumbnail."""
    write_tifffile(path, pixels(odd))
    with tifffile.TiffWriter(path, append=True) as tif:
        tif.write(np.full((odd.height, odd.width), 7, odd.dtype), metadata=None)
        tif.write(np.full((odd.height // 2, odd.width // 2), 9, odd.dtype), subfiletype=1, metadata=None)


def with_page(kind: int, *, eight_bits: bool = True, smaller: int = 0, pages_before: int = 0) -> Callable[[Odd, Path], None]:
    """A mask in a directory whose NewSubfileType is ``kind``; perhaps not of the image's size, perhaps behind another image."""

    def make(odd: Odd, path: Path) -> None:
        rows, cols = np.mgrid[: odd.height - smaller, : odd.width]
        mask = (rows * 3 + cols * 5) % 11 > 3
        write_tifffile(path, pixels(odd), **odd.options)
        with tifffile.TiffWriter(path, append=True) as tif:
            for _ in range(pages_before):
                tif.write(np.full((odd.height, odd.width), 9, "uint8"), subfiletype=2, metadata=None)
            tif.write(mask.astype("uint8") * 255 if eight_bits else mask, subfiletype=1, metadata=None)
        with tifffile.TiffFile(path, mode="r+") as tif:
            tif.pages[-1].tags[254].overwrite(kind)

    return make


def as_old_int8(odd: Odd, path: Path) -> None:
    """Signed bytes as GDAL before 3.7 told them: in its metadata, besides SampleFormat."""
    xml = '<GDALMetadata>\n  <Item name="PIXELTYPE" sample="0" domain="IMAGE_STRUCTURE">SIGNEDBYTE</Item>\n</GDALMetadata>\n'
    write_tifffile(path, pixels(odd) - (odd.dtype == "int8"), tags=((42112, "s", len(xml) + 1, xml, True),))


def with_metadata(xml: str) -> Callable[[Odd, Path], None]:
    """GDAL_METADATA as given."""

    def make(odd: Odd, path: Path) -> None:
        write_tifffile(path, pixels(odd), tags=((42112, "s", len(xml) + 1, xml, True),), **odd.options)

    return make


_RGB = {"photometric": "RGB"}
_YCBCR = {"compress": "JPEG", "photometric": "YCBCR"}
_ALPHA_IS_LAST = '<GDALMetadata><Item name="COLORINTERP" sample="3" role="colorinterp">Alpha</Item></GDALMetadata>'
_ALPHA_IS_NOT = '<GDALMetadata><Item name="COLORINTERP" sample="3" role="colorinterp">Undefined</Item></GDALMetadata>'

ODD = [
    Odd("jpeg grey", options={"compress": "JPEG", **TILED}),
    Odd("jpeg grey strips", options={"compress": "JPEG", "blockysize": 16}),
    Odd("jpeg rgb", bands=3, options={"compress": "JPEG", **TILED, **_RGB}),
    Odd("jpeg rgb planar", bands=3, options={"compress": "JPEG", "interleave": "band", **TILED, **_RGB}),
    Odd("jpeg rgba", bands=4, alpha=True, options={"compress": "JPEG", **TILED, **_RGB}),
    Odd("jpeg of two", bands=2, options={"compress": "JPEG", **TILED}),
    Odd("jpeg of five planar", bands=5, options={"compress": "JPEG", "interleave": "band", **TILED}),
    Odd("jpeg mask", bands=3, mask=True, options={**_YCBCR, **TILED}),
    Odd("jpeg ycbcr", bands=3, options={**_YCBCR, **TILED}),
    Odd("jpeg ycbcr strips", bands=3, options={**_YCBCR, "blockysize": 16}),
    Odd("jpeg ycbcr big-endian", bands=3, options={**_YCBCR, **TILED, "ENDIANNESS": "BIG"}),
    Odd("jpeg ycbcr low quality", bands=3, options={**_YCBCR, **TILED, "JPEG_QUALITY": 20, "JPEGTABLESMODE": 0}),
    Odd(
        "jpeg ycbcr 4:4:4", bands=3, make=by_tifffile, options={"tile": (32, 32), "photometric": "rgb", "compression": "jpeg", "subsampling": (1, 1)}
    ),
    Odd(
        "jpeg ycbcr 4:2:2", bands=3, make=by_tifffile, options={"tile": (32, 32), "photometric": "rgb", "compression": "jpeg", "subsampling": (2, 1)}
    ),
    Odd(
        "jpeg ycbcr 4:2:0", bands=3, make=by_tifffile, options={"tile": (32, 32), "photometric": "rgb", "compression": "jpeg", "subsampling": (2, 2)}
    ),
    Odd("webp rgb", bands=3, options={"compress": "WEBP", **TILED}),
    Odd("webp rgb strips", bands=3, options={"compress": "WEBP", "blockysize": 16}),
    Odd("webp rgba", bands=4, alpha=True, options={"compress": "WEBP", **TILED, **_RGB, "ALPHA": "YES"}),
    Odd("webp lossless", bands=3, options={"compress": "WEBP", "WEBP_LOSSLESS": "YES", **TILED}),
    *(
        Odd(f"nbits {bits}", "uint8" if bits < 8 else "uint16", top=2**bits - 1, options={"NBITS": bits})
        for bits in (1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 14, 15)
    ),
    Odd("nbits 1 tiled deflate", top=1, options={"NBITS": 1, "compress": "DEFLATE", **TILED}),
    Odd("nbits 4 of three", bands=3, top=15, options={"NBITS": 4, "compress": "LZW", **TILED}),
    Odd("nbits 12 of three planar", "uint16", 3, 4095, {"NBITS": 12, "interleave": "band", "compress": "ZSTD"}),
    Odd("nbits 12 big-endian", "uint16", top=4095, options={"NBITS": 12, "ENDIANNESS": "BIG", **TILED}),
    Odd("nbits 11 nodata", "uint16", top=2047, nodata=2047, options={"NBITS": 11, "compress": "PACKBITS"}),
    Odd("fill order none", make=reversed_bits),
    Odd("fill order 16 bits", "uint16", top=60000, make=reversed_bits, options={"rowsperstrip": 9}),
    Odd("fill order lzw", make=reversed_bits, options={"compression": "lzw", "tile": (32, 32)}),
    Odd("fill order deflate", "uint16", top=60000, make=reversed_bits, options={"compression": "deflate", "predictor": 2}),
    Odd("fill order packbits", make=reversed_bits, options={"compression": "packbits"}),
    Odd("int8", "int8", top=127, options=TILED),
    Odd("int8 of old", "int8", top=127, make=as_old_int8),
    Odd("uint8 called signed", make=as_old_int8),
    Odd("palette", top=16, options={"photometric": "PALETTE"}),
    Odd("white is zero", options={"photometric": "MINISWHITE"}),
    Odd("white is zero nbits 1", top=1, options={"photometric": "MINISWHITE", "NBITS": 1}),
    Odd("alpha of two", bands=2, alpha=True, options={"ALPHA": "YES", **TILED}),
    Odd("alpha of three", bands=3, alpha=True, options={"ALPHA": "YES", "photometric": "MINISBLACK"}),
    Odd("alpha of four", bands=4, alpha=True, options={**_RGB, "ALPHA": "YES", **TILED}),
    Odd("alpha of five", bands=5, alpha=True, options={"ALPHA": "YES", "photometric": "MINISBLACK"}),
    Odd("alpha planar", bands=4, alpha=True, options={**_RGB, "ALPHA": "YES", "interleave": "band", **TILED}),
    Odd("alpha premultiplied", bands=4, alpha=True, options={**_RGB, "ALPHA": "PREMULTIPLIED"}),
    Odd("alpha uint16", "uint16", 4, 60000, {**_RGB, "ALPHA": "YES"}, alpha=True),
    Odd("alpha int16", "int16", 4, 30000, {**_RGB, "ALPHA": "YES"}, alpha=True),
    Odd("alpha float", "float32", 2, 1.0, {"ALPHA": "YES"}, alpha=True),
    Odd("alpha and nodata", bands=4, alpha=True, nodata=7, options={**_RGB, "ALPHA": "YES"}),
    Odd("alpha and mask", bands=4, alpha=True, mask=True, options={**_RGB, "ALPHA": "YES"}),
    Odd("alpha by metadata", bands=4, alpha=True, make=with_metadata(_ALPHA_IS_LAST), options={"photometric": "rgb", "extrasamples": [0]}),
    Odd("alpha not by metadata", bands=4, alpha=True, make=with_metadata(_ALPHA_IS_NOT), options={"photometric": "rgb", "extrasamples": [2]}),
    Odd("mask", mask=True, options=TILED),
    Odd("mask strips", "uint16", 3, 60000, {"interleave": "band", "blockysize": 3}, mask=True),
    Odd("mask and nodata", mask=True, nodata=7, options={"compress": "LZW", **TILED}),
    Odd("mask big-endian", "float32", mask=True, options={"ENDIANNESS": "BIG", "BIGTIFF": "YES"}),
    Odd("mask of 8 bits", mask=True, make=with_page(4)),
    Odd("mask of 1 bit", mask=True, make=with_page(4, eight_bits=False)),
    Odd("mask of another size", make=with_page(4, smaller=1)),
    Odd("mask called reduced", make=with_page(5)),
    Odd("mask behind a page", mask=True, make=with_page(4, pages_before=1)),
    Odd("alpha last of three extras", bands=4, alpha=True, make=by_tifffile, options={"photometric": "minisblack", "extrasamples": [0, 0, 2]}),
    Odd("alpha first of three extras", bands=4, alpha=True, make=by_tifffile, options={"photometric": "minisblack", "extrasamples": [2, 0, 0]}),
    Odd("alpha of a palette", bands=2, top=15, alpha=True, options={"photometric": "PALETTE", "ALPHA": "YES"}),
    Odd("alpha of nbits 2", bands=2, top=3, alpha=True, options={"NBITS": 2, "ALPHA": "YES"}),
    Odd("alpha of nbits 12", "uint16", 4, 4095, {"NBITS": 12, "ALPHA": "YES", **_RGB}, alpha=True),
    Odd("jpeg nodata", nodata=0, options={"compress": "JPEG"}),
    Odd("turned round", make=lambda odd, path: write_tifffile(path, pixels(odd), tags=((274, "H", 1, 3, True),))),
    Odd("cog", make=as_cog, options={"BLOCKSIZE": 128}),
    Odd("cog jpeg mask", bands=3, mask=True, make=as_cog, options={"BLOCKSIZE": 128, "COMPRESS": "JPEG"}),
    Odd("cog webp alpha", bands=4, alpha=True, make=as_cog, options={"BLOCKSIZE": 128, "COMPRESS": "WEBP"}),
    Odd("cog lerc", "float32", make=as_cog, nodata=-1.0, options={"BLOCKSIZE": 128, "COMPRESS": "LERC_ZSTD"}),
    Odd("cog planar", "uint16", 5, 60000, make=as_cog, options={"BLOCKSIZE": 128, "COMPRESS": "ZSTD", "PREDICTOR": "YES"}),
    Odd("strips of one row", options={"blockysize": 1, "compress": "DEFLATE"}),
    Odd("one strip", "float64", options={"blockysize": HEIGHT}),
    Odd("tiles larger than the image", options={"tiled": True, "blockxsize": 512, "blockysize": 256, "compress": "LZW"}),
    Odd("16384 wide", "uint16", top=60000, height=9, width=16384, options={"compress": "DEFLATE", "predictor": 2}),
    Odd("one pixel", height=10, width=1),
    Odd("bigtiff big-endian", "int32", 3, 1e9, {"ENDIANNESS": "BIG", "BIGTIFF": "YES", "interleave": "band", "compress": "LZW", "predictor": 2}),
    Odd("nodata outside of type", nodata=None, make=lambda odd, path: write_tifffile(path, pixels(odd), tags=((42113, "s", 6, "-9999", True),))),
    Odd("nodata nan in integers", make=lambda odd, path: write_tifffile(path, pixels(odd), tags=((42113, "s", 4, "nan", True),))),
    Odd("nodata nan", "float32", nodata=float("nan"), options=TILED),
    Odd("nodata in decimal", "float32", top=1.0, make=lambda odd, path: write_tifffile(path, pixels(odd), tags=((42113, "s", 4, "0.0 ", True),))),
    Odd("several images", make=two_pages),
]

BY_TIFFFILE = [
    Odd("jpeg xl grey", make=by_tifffile, options={"tile": (32, 32), "compression": "jpegxl"}),
    Odd("jpeg xl grey strips", "uint16", top=60000, make=by_tifffile, options={"rowsperstrip": 16, "compression": "jpegxl"}),
    Odd("jpeg xl float", "float32", make=by_tifffile, options={"tile": (32, 32), "compression": "jpegxl"}),
    Odd("jpeg xl rgb", "uint16", 3, 60000, make=by_tifffile, options={"tile": (32, 32), "compression": "jpegxl", "photometric": "rgb"}),
    Odd("jpeg xl of five", bands=5, make=by_tifffile, options={"tile": (32, 32), "compression": "jpegxl", "extrasamples": [0] * 4}),
    Odd("jpeg 2000 grey", make=by_tifffile, options={"tile": (32, 32), "compression": "jpeg2000"}),
    Odd("jpeg 2000 signed", "int16", top=30000, make=by_tifffile, options={"tile": (32, 32), "compression": "jpeg2000"}),
    Odd("jpeg 2000 strips", "uint16", top=60000, make=by_tifffile, options={"rowsperstrip": 16, "compression": "jpeg2000"}),
    Odd("jpeg 2000 rgb", bands=3, make=by_tifffile, options={"tile": (32, 32), "compression": "jpeg2000", "photometric": "rgb"}),
    Odd(
        "jpeg 2000 lossy",
        bands=3,
        make=by_tifffile,
        options={"tile": (32, 32), "compression": "jpeg2000", "compressionargs": {"level": 40, "reversible": False}, "photometric": "rgb"},
    ),
    Odd(
        "jpeg xl lossy",
        bands=3,
        make=by_tifffile,
        options={"tile": (32, 32), "compression": "jpegxl", "compressionargs": {"distance": 2.0, "lossless": False}},
    ),
]
"""Kinds of files that GDAL reads in few of its builds, or in none: judged by tifffile."""
