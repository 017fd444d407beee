"""Tiny GeoTIFFs by rasterio, and tables of records that name them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import rasterio
from rasterio.transform import Affine
from rasterio.warp import transform as warp

EPSG, ORIGIN, PIXEL = 32633, (500000.0, 5200000.0), 10.0
SIZE = 40


def write(
    path: Path, *, bands: int = 1, dtype: str = "uint16", epsg: int | None = EPSG, origin: tuple[float, float] = ORIGIN, seed: int = 0, **more: Any
) -> Path:
    """A file of random pixels, 40 by 40 unless ``width`` and ``height`` are given; tiled in 16 by 16 unless told."""
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": SIZE,
        "height": SIZE,
        "count": bands,
        "dtype": dtype,
        "tiled": True,
        "blockxsize": 16,
        "blockysize": 16,
    }
    profile |= {"transform": Affine(PIXEL, 0, origin[0], 0, -PIXEL, origin[1]), "compress": "deflate"}
    profile |= {} if epsg is None else {"crs": f"EPSG:{epsg}"}
    profile |= more
    pixels = np.random.default_rng(seed).integers(1, 250, (bands, profile["height"], profile["width"])).astype(dtype)
    with rasterio.open(path, "w", **profile) as out:
        out.write(pixels)
    return path


def records(hrefs: dict[str, Any], **columns: Any) -> pa.Table:
    """A records table: id, href (by id) and what else is given as lists."""
    return pa.table({"id": list(hrefs), "href": [str(href) for href in hrefs.values()], **columns})


def value_by_rasterio(href: str | Path, band: int, col: int, row: int) -> tuple[float, float, Any]:
    """Longitude and latitude of a pixel's centre and what the file holds there; ``band`` counts from 1."""
    with rasterio.open(href) as source:
        x, y = source.xy(row, col)
        (lon,), (lat,) = warp(source.crs, "OGC:CRS84", [x], [y])
        return lon, lat, source.read(band)[row, col].item()
