"""The judge of end-to-end reads: what rasterio says a file holds, and the answers of SQL brought into a shape to compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import rasterio
import rasterio.mask
from affine import Affine
from rasterio.features import geometry_window

OLD_EDGES = tuple(map(int, rasterio.__version__.split(".")[:2])) < (1, 5)
"""rasterio 1.5 solves for pixel coordinates in another way: what lies exactly on an edge may fall to the other side."""
SKY = Affine(10.0, 0.0, 500000.0, 0.0, -10.0, 5200000.0)
"""An ordinary grid in EPSG:32633."""


def write_tif(
    path: Path, planes: np.ndarray, *, crs: str = "EPSG:32633", transform: Affine = SKY, nodata: float | None = None, **options: Any
) -> str:
    """A GeoTIFF of (bands, height, width) or (height, width) pixels; tiles of 16 unless told otherwise. Answers with its path."""
    planes = planes if planes.ndim == 3 else planes[None]
    profile = {"driver": "GTiff", "count": len(planes), "height": planes.shape[1], "width": planes.shape[2], "dtype": planes.dtype.name}
    tiling = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}
    scales, offsets = options.pop("scales", None), options.pop("offsets", None)
    with rasterio.open(path, "w", **profile, crs=crs, transform=transform, nodata=nodata, **(tiling | options)) as target:
        target.write(planes)
        if scales:
            target.scales = scales
        if offsets:
            target.offsets = offsets
    return str(path)


def fetch(con: Any, sql: str) -> pa.Table:
    """A statement's rows as one Arrow table, whichever DuckDB it is."""
    return con.sql(sql).to_arrow_table().combine_chunks()


def rows(con: Any, sql: str) -> list[dict[str, Any]]:
    """A statement's rows as dicts."""
    cursor = con.execute(sql)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def scalars(column: pa.Array | pa.ChunkedArray) -> np.ma.MaskedArray:
    """A column of numbers, masked where NULL; integers stay exact."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    missing = array.is_null().to_numpy(zero_copy_only=False)
    return np.ma.array(array.fill_null(0).to_numpy(zero_copy_only=False), mask=missing)


def blocks(table: pa.Table, band: str) -> list[np.ma.MaskedArray | None]:
    """The arrays of a ``rasteret_read`` column; None where the row has no array."""
    column = table[band].combine_chunks()
    flat, offsets = scalars(column.values), column.offsets.to_numpy()
    shapes = zip(table["height"].to_pylist(), table["width"].to_pylist(), strict=True)
    return [
        None if height is None or not valid else flat[start:stop].reshape(height, width)
        for start, stop, (height, width), valid in zip(offsets[:-1], offsets[1:], shapes, column.is_valid().to_pylist(), strict=True)
    ]


def same(found: np.ma.MaskedArray, expected: np.ma.MaskedArray, where: str) -> None:
    """Equal masks, and equal values wherever there is one (NaN equals NaN)."""
    hidden = np.ma.getmaskarray(expected)
    np.testing.assert_array_equal(np.ma.getmaskarray(found), hidden, err_msg=f"mask of {where}")
    np.testing.assert_array_equal(found.data[~hidden], expected.data[~hidden], err_msg=f"values of {where}")


def sampled(path: str | Path, xs: Sequence[float], ys: Sequence[float]) -> np.ma.MaskedArray:
    """(bands, points) of ``ds.sample``; masked where nodata or outside."""
    with rasterio.open(path) as ds:
        return np.ma.stack(list(ds.sample(zip(xs, ys, strict=True), masked=True))).T


def read_under(path: str | Path, geometry: Any, rule: str) -> tuple[np.ma.MaskedArray, Affine] | None:
    """(bands, height, width) and transform of the pixels a geometry selects, by ``rasterio.mask.mask`` or, for ``window``, a plain read."""
    shapes = list(geometry.geoms) if geometry.geom_type == "GeometryCollection" else [geometry]
    with rasterio.open(path) as ds:
        try:
            if rule != "window":
                return rasterio.mask.mask(ds, shapes, crop=True, filled=False, all_touched=rule == "all_touched")
            window = geometry_window(ds, shapes)
        except (ValueError, rasterio.errors.WindowError):
            return None
        return ds.read(window=window, masked=True), ds.window_transform(window)
