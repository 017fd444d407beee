"""Small GeoTIFF files of every kind the reader should read: named specs, and a writer that answers with the pixels.

``specs()`` rotates the secondary properties (bands, interleave, byte order, tiles or strips, classic or Big, nodata) through every codec, predictor
and dtype; ``specs(full=True)`` is their whole product. Files GDAL can write are written by it (rasterio); float16, nodata outside the dtype's
range and half of the LZMA files by tifffile.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
import tifffile
from affine import Affine
from rasterio.windows import Window

HEIGHT, WIDTH = 70, 85
TILE, ROWS_PER_STRIP = 32, 7
EPSG, ORIGIN, PIXEL = 32633, (500000.0, 5200000.0), 10.0
TRANSFORM = Affine(PIXEL, 0.0, ORIGIN[0], 0.0, -PIXEL, ORIGIN[1])

INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
FLOATS = ("float32", "float64")
PREDICTED = ("deflate", "lzw", "zstd", "lzma")
LERCS = ("lerc", "lerc_deflate", "lerc_zstd")
_TIFFFILE_CODECS = {"none": None, "deflate": "zlib", "lzw": "lzw", "zstd": "zstd", "lzma": "lzma", "packbits": "packbits"}
_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class Spec:
    """One file. ``id`` names it by everything that is not ordinary."""

    dtype: str
    codec: str
    predictor: int = 1
    bands: int = 1
    interleave: str = "pixel"
    byte_order: str = "<"
    tiled: bool = True
    big: bool = False
    nodata: float | None = None
    """The GDAL_NODATA tag. Where the dtype can hold it, some pixels have it."""
    special: str = ""
    """``alpha``, ``mask`` (internal 1-bit mask), ``sparse`` (segments left out), ``nan`` (unlike NaN per band), ``constant``."""
    writer: str = "rasterio"

    @property
    def id(self) -> str:
        parts = [
            self.codec,
            f"p{self.predictor}" if self.predictor > 1 else "",
            self.dtype,
            f"{self.bands}{self.interleave}" if self.bands > 1 else "",
        ]
        parts += ["be" if self.byte_order == ">" else "", "" if self.tiled else "strips", "big" if self.big else ""]
        parts += ["" if self.nodata is None else f"nd{self.nodata:g}", self.special, "" if self.writer == "rasterio" else self.writer]
        return "-".join(part for part in parts if part)


def specs(full: bool = False) -> list[Spec]:
    """The files of the matrix: about 200, or their whole product."""
    primary = [
        (codec, predictor, dtype) for codec in PREDICTED for dtype in INTEGERS + FLOATS for predictor in ((1, 2) if dtype in INTEGERS else (1, 2, 3))
    ]
    primary += [(codec, 1, dtype) for codec in ("none", "packbits") for dtype in INTEGERS + FLOATS]
    primary += [(codec, 1, dtype) for codec in LERCS for dtype in (*INTEGERS[:6], *FLOATS)]
    planes = ((1, "pixel"), (3, "pixel"), (3, "band"))
    secondary = list(itertools.product(planes, "<>", (True, False), (False, True), range(4)))
    chosen: list[Spec] = []
    for place, (codec, predictor, dtype) in enumerate(primary):
        # 96 combinations, walked with a stride that is prime to them: neighbours differ in every property
        picks = secondary if full else [secondary[(place * 37) % len(secondary)]]
        for (bands, interleave), byte_order, tiled, big, kind in picks:
            spec = Spec(dtype, codec, predictor, bands, interleave, byte_order, tiled, big, _nodata(dtype, kind))
            if codec in LERCS:
                chosen.append(_as_gdal_keeps_it(spec))
            elif (codec == "lzma" and place % 2) or not (spec.nodata is None or _fits(spec.nodata, dtype)):
                chosen.append(replace(spec, writer="tifffile"))
            else:
                chosen.append(spec)
    return list(dict.fromkeys(chosen + _specials()))


def _specials() -> list[Spec]:
    """The odd ones, each for one trap."""
    halves = [(codec, predictor) for codec in ("deflate", "lzw", "zstd", "lzma") for predictor in (1, 2, 3)] + [("none", 1), ("packbits", 1)]
    ways = itertools.cycle(itertools.product((1, 3), "<>", (True, False)))
    odd = [
        Spec("float16", codec, predictor, bands, byte_order=order, tiled=tiled, writer="tifffile")
        for (codec, predictor), (bands, order, tiled) in zip(halves, ways, strict=False)
    ]
    odd += [Spec("uint8", codec, bands=bands, special="alpha") for codec in ("deflate", "lzw", *LERCS) for bands in (2, 4)]
    odd += [
        Spec(dtype, codec, bands=3, interleave=interleave, tiled=tiled, special="nan", nodata=float("nan"))
        for codec in LERCS
        for dtype, interleave, tiled in (("float32", "pixel", True), ("float64", "pixel", False), ("float32", "band", True))
    ]
    odd += [Spec(dtype, codec, special="constant") for codec in ("lerc", "deflate", "lzw", "packbits") for dtype in ("uint8", "float32")]
    odd += [Spec("uint8", codec, special="mask", tiled=tiled) for codec in ("deflate", "lzw", "zstd") for tiled in (True, False)]
    odd += [
        Spec("uint16", "deflate", bands=3, interleave=interleave, special="sparse", nodata=nodata, tiled=tiled)
        for interleave, nodata, tiled in (("pixel", 7, True), ("band", None, True), ("band", 65535, False))
    ]
    odd += [Spec("uint16", "deflate", 2, bands=bands, interleave=interleave) for bands in (2, 5, 12) for interleave in ("pixel", "band")]
    odd += [Spec("float32", "zstd", 3, bands=5, interleave="pixel", byte_order=order) for order in "<>"]
    return odd


def _nodata(dtype: str, kind: int) -> float | None:
    """None, inside the range, beside it (NaN for floats), at its very edge."""
    if kind == 0:
        return None
    if dtype in FLOATS:
        return (-9999.0, float("nan"), _LOWEST)[kind - 1]
    info = np.iinfo(dtype)
    edge = int(info.min) if dtype.startswith("i") else int(info.max)
    beside = -9999 if dtype in ("uint8", "int8") else -1 if dtype.startswith("u") else 1 << 33
    return (7, beside, edge if abs(edge) < 1 << 53 else 0)[kind - 1]


def _fits(nodata: float, dtype: str) -> bool:
    if np.dtype(dtype).kind == "f":
        return True
    info = np.iinfo(dtype)
    return int(info.min) <= nodata <= int(info.max)


def _as_gdal_keeps_it(spec: Spec) -> Spec:
    """GDAL's LERC loses floats in big-endian files whose swapped bytes are NaN; rasterio does not write a nodata the dtype cannot hold."""
    byte_order = "<" if spec.dtype in FLOATS else spec.byte_order
    nodata = spec.nodata if spec.nodata is None or _fits(spec.nodata, spec.dtype) else None
    return replace(spec, byte_order=byte_order, nodata=nodata)


def pixels(spec: Spec) -> np.ndarray:
    """What the file holds, (bands, height, width): smooth with noise, with its extremes, and with nodata where the dtype can hold it."""
    rng = np.random.default_rng(sum(map(ord, spec.id)))
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    dtype = np.dtype(spec.dtype)
    planes = np.empty((spec.bands, HEIGHT, WIDTH), dtype)
    for band in range(spec.bands):
        if dtype.kind == "f":
            planes[band] = (rows * 3.7 - cols * 1.3 + rng.normal(scale=5, size=rows.shape) + band * 100).astype(dtype)
        else:
            info = np.iinfo(dtype)
            planes[band] = np.clip(
                rows + 2 * cols // 3 + rng.integers(-9, 9, rows.shape) + band * 5, max(info.min, -100), min(info.max, 30000)
            ).astype(dtype)
            planes[band, 1, 1:3] = info.min, info.max
    if spec.special == "constant":
        planes[:] = 5
    if spec.special == "alpha":
        planes[-1] = np.where((rows - 30) ** 2 + (cols - 40) ** 2 < 900, 255, 0)
        planes[:, planes[-1] == 0] = 0  # LERC does not keep what lies under a transparent pixel
    if spec.special == "nan":
        for band in range(spec.bands):
            planes[band, 3 + 9 * band : 30, 5 * band : 20] = np.nan
        planes[:, 32:64, 32:64] = np.nan
    if spec.nodata is not None and spec.special != "nan" and _fits(spec.nodata, spec.dtype):
        planes[:, 20:40, 50:70] = spec.nodata
        planes[0, 60:, :9] = spec.nodata
    if spec.special == "sparse":
        planes[:, :32, :] = 0 if spec.nodata is None else spec.nodata
    return planes


def write(spec: Spec, path: Path) -> np.ndarray:
    """Write the file; its pixels, (bands, height, width)."""
    planes = pixels(spec)
    if spec.writer == "tifffile":
        _write_tifffile(spec, path, planes)
    else:
        _write_rasterio(spec, path, planes)
    return planes


def mask(spec: Spec) -> np.ndarray:
    """The internal mask of ``special="mask"`` files: (height, width), True where valid."""
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    return (rows * 3 + cols * 5) % 11 > 3


def _write_rasterio(spec: Spec, path: Path, planes: np.ndarray) -> None:
    options: dict[str, object] = {
        "tiled": spec.tiled,
        "ENDIANNESS": "BIG" if spec.byte_order == ">" else "LITTLE",
        "BIGTIFF": "YES" if spec.big else "NO",
    }
    options |= {"blockxsize": TILE, "blockysize": TILE} if spec.tiled else {"blockysize": ROWS_PER_STRIP}
    if spec.codec != "none":
        options["compress"] = spec.codec.upper()
    if spec.predictor > 1:
        options["predictor"] = spec.predictor
    if spec.special == "alpha":
        options["ALPHA"] = "NON-PREMULTIPLIED"
        options["photometric"] = "MINISBLACK" if spec.bands == 2 else "RGB"
    if spec.special == "sparse":
        options["SPARSE_OK"] = True
    profile = {"driver": "GTiff", "height": HEIGHT, "width": WIDTH, "count": spec.bands, "dtype": spec.dtype, "interleave": spec.interleave}
    profile |= {"crs": f"EPSG:{EPSG}", "transform": TRANSFORM, "nodata": spec.nodata}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile, **options) as dst:
        if spec.special == "sparse":
            dst.write(planes[:, 32:], window=Window(0, 32, WIDTH, HEIGHT - 32))
        else:
            dst.write(planes)
        if spec.special == "mask":
            dst.write_mask(mask(spec))


def _write_tifffile(spec: Spec, path: Path, planes: np.ndarray) -> None:
    separate = spec.interleave == "band" and spec.bands > 1
    data = planes[0] if spec.bands == 1 else planes if separate else np.moveaxis(planes, 0, -1)
    keys = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, EPSG)
    tags = [(33550, "d", 3, (PIXEL, PIXEL, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, *ORIGIN, 0.0), True), (34735, "H", len(keys), keys, True)]
    if spec.nodata is not None:
        text = f"{spec.nodata:.17g}"
        tags.append((42113, "s", len(text) + 1, text, True))
    differenced_floats = spec.predictor == 2 and data.dtype.kind == "f"  # as libtiff has them, on their bits; tifffile only writes integers so
    if differenced_floats:
        data = data.view(f"i{data.dtype.itemsize}")
    with tifffile.TiffWriter(path, byteorder=spec.byte_order, bigtiff=spec.big) as writer:
        writer.write(
            np.ascontiguousarray(data),
            photometric="minisblack",
            planarconfig=None if spec.bands == 1 else "separate" if separate else "contig",
            compression=_TIFFFILE_CODECS[spec.codec],
            predictor=spec.predictor if spec.predictor > 1 else None,
            tile=(TILE, TILE) if spec.tiled else None,
            rowsperstrip=None if spec.tiled else ROWS_PER_STRIP,
            extratags=tags,
            metadata=None,
            software=False,
        )
    if differenced_floats:
        with tifffile.TiffFile(path, mode="r+") as tiff:
            tiff.pages[0].tags["SampleFormat"].overwrite((3,) * spec.bands)
