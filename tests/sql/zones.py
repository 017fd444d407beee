"""The judge of zonal statistics: exactextract on the same files, and numbers by hand for the rules it does not have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import rasterio
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from rasterio.features import geometry_mask

OURS_TO_THEIRS = {
    "count": "count",
    "sum": "sum",
    "mean": "mean",
    "median": "median",
    "min": "min",
    "max": "max",
    "mode": "mode",
    "minority": "minority",
    "variety": "variety",
    "stddev_pop": "stdev",
    "var_pop": "variance",
    "quantile(0.9)": "quantile(q=0.9)",
    "quantile(0.25)": "quantile(q=0.25)",
}
"""Statistics that both know, by their names."""
LABELS = {"quantile(0.9)": "quantile_90", "quantile(0.25)": "quantile_25", "stddev_pop": "stdev", "var_pop": "variance"}
TOLERANCE = 2e-5
"""Relative: exactextract keeps coverage as 32-bit floats."""


def feature(polygon: shapely.Geometry) -> dict[str, Any]:
    return {"type": "Feature", "id": 1, "properties": {}, "geometry": json.loads(shapely.to_geojson(polygon))}


def exact(values: np.ndarray, bounds: Sequence[float], polygon: shapely.Geometry, ops: Sequence[str], nodata: float | None = None) -> dict[str, Any]:
    """exactextract's answers for one polygon on an array of floats (of integers it cuts off the fraction of medians), by its own names."""
    source = NumPyRasterSource(values, *bounds, nodata=nodata)
    return exact_extract(source, [feature(polygon)], list(ops))[0]["properties"]


def exact_of_file(path: str, band: int, polygon: shapely.Geometry, ops: Sequence[str]) -> dict[str, Any]:
    with rasterio.open(path) as source:
        return exact(source.read(band).astype(float), source.bounds, polygon, ops, source.nodata)


def pixels_of(values: np.ndarray, coverage: np.ndarray) -> tuple[np.ndarray, tuple[float, ...], shapely.MultiPolygon]:
    """A raster of one row and a polygon that covers its pixels so much: lets exactextract tell the statistics of any pixels with any coverage."""
    boxes = [shapely.box(i, 0.0, i + c, 1.0) for i, c in enumerate(np.asarray(coverage, float) * 0.999999)]
    return np.asarray(values)[None, :], (0.0, 0.0, float(len(values)), 1.0), shapely.MultiPolygon(boxes)


def masked_pixels(path: str, band: int, polygon: shapely.Geometry, *, all_touched: bool) -> np.ndarray:
    """Valid pixels under a polygon by rasterio's rules."""
    with rasterio.open(path) as source:
        inside = geometry_mask([polygon], source.shape, source.transform, all_touched=all_touched, invert=True)
        return source.read(band, masked=True)[inside].compressed()


def zones_table(con: Any, polygons: Sequence[shapely.Geometry | None], name: str = "zones") -> None:
    con.register(name, pa.table({"no": range(len(polygons)), "geom": pa.array(list(shapely.to_wkb(np.array(polygons, dtype=object))), pa.binary())}))


def close(ours: Any, theirs: Any, what: str, scale: float = 1.0) -> None:
    if theirs is None or (isinstance(theirs, float) and np.isnan(theirs)):
        assert ours is None, what
    else:
        assert ours is not None, what
        assert abs(ours - theirs) <= TOLERANCE * max(abs(theirs), scale), (what, ours, theirs)
