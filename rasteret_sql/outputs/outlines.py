"""Geometries of a result in the pixels of its blocks, to be drawn on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import shapely
import shapely.geometry

from rasteret_sql.errors import InvalidArgument, listing
from rasteret_sql.outputs.arrays import Row, Rows, is_null, plain, shape_of
from rasteret_sql.raster.crs import CRS84, check_crs, transform_geometries, turned_onto
from rasteret_sql.raster.grid import Grid
from rasteret_sql.udfs.geometry import NAMES, parse_geometries

if TYPE_CHECKING:
    from rasteret_sql.raster.grid import Floats, Geometries

_PLACED = ("crs", "transform")


def outlines(result: Rows, geometry: Any, geometry_crs: str | None) -> list[list[Any]]:
    """Per row the lines and points (shapely) of its geometries, x and y in pixels from the upper left corner of its block, cut off beyond it.

    ``geometry`` is False for none, None for the rows' own column where there is one, the name of a column, or one geometry or several for all
    rows. Its CRS is ``geometry_crs``, else the one that its type names, else CRS84. :class:`InvalidArgument` for what is no geometry, and
    where the rows lack the columns that place their pixels.
    """
    if geometry is False:
        return [[] for _ in result.rows]
    column = _column(result, geometry)
    if column is None and geometry is None:
        return [[] for _ in result.rows]
    shared = None if column is not None else _shapes(geometry)
    crs = geometry_crs or (result.crs.get(column) if column is not None else _crs_of(geometry)) or CRS84
    check_crs(crs)
    found: list[list[Any]] = []
    for row in result.rows:
        if shape_of(row) is None:
            found.append([])
            continue
        if missing := [name for name in _PLACED if is_null(row.get(name))]:
            if geometry is None:
                found.append([])
                continue
            raise InvalidArgument(f"a geometry can be drawn where the row has the columns crs and transform; {missing[0]} is missing: {listing(row)}")
        found.append(_drawn(row, _shapes(plain(row[column])) if column is not None else shared or [], crs))
    return found


def _column(result: Rows, geometry: Any) -> str | None:
    """The column that holds the geometries: the one named, else by type, else by name, as in SQL."""
    names = {str(name): None for row in result.rows[:1] for name in row}
    if isinstance(geometry, str):
        return geometry if geometry in names else None
    if geometry is not None:
        return None
    folded = {name.lower(): name for name in names}
    return next(iter(result.crs), None) or next((folded[name] for name in NAMES if name in folded), None)


def _shapes(given: Any) -> list[Any]:
    """Geometries as shapely has them, missing ones left out."""
    if is_null(given):
        return []
    if isinstance(given, shapely.Geometry):
        return [given]
    if isinstance(given, bytearray | memoryview):
        given = bytes(given)
    if isinstance(given, str | bytes):
        (shape,), (error,) = parse_geometries(pa.array([given]))
        if error:
            raise InvalidArgument(f"{error}; WKT, WKB, GeoJSON, shapely, or the name of a column is valid")
        return [shape]
    mapping = given if isinstance(given, Mapping) else getattr(given, "__geo_interface__", None)
    if isinstance(mapping, Mapping):
        return _of_geojson(mapping)
    if isinstance(given, Iterable):
        return [shape for item in given for shape in _shapes(item)]
    raise InvalidArgument(f"a {type(given).__name__} is no geometry; WKT, WKB, GeoJSON, shapely, the name of a column, or a list of these is valid")


def _of_geojson(mapping: Mapping[str, Any]) -> list[Any]:
    kind = mapping.get("type")
    if kind == "FeatureCollection":
        return [shape for feature in mapping["features"] for shape in _of_geojson(feature)]
    if kind == "Feature":
        return _of_geojson(mapping["geometry"]) if mapping.get("geometry") else []
    try:
        return [shapely.geometry.shape(mapping)]
    except (ValueError, KeyError, TypeError, shapely.errors.ShapelyError):
        raise InvalidArgument(f"no GeoJSON geometry: type {kind!r}; a geometry, Feature or FeatureCollection is valid") from None


def _crs_of(geometry: Any) -> str | None:
    """Of a GeoSeries or GeoDataFrame."""
    crs: Any = getattr(geometry, "crs", None)
    return str(crs.to_wkt()) if hasattr(crs, "to_wkt") else None


def _drawn(row: Row, shapes: Sequence[Any], crs: str) -> list[Any]:
    height, width = shape_of(row) or (0, 0)
    a, b, c, d, e, f = (float(number) for number in plain(row["transform"]))
    grid = Grid((a, b, c, d, e, f), width, height)
    block_crs = str(plain(row["crs"]))
    moved: Geometries = turned_onto(transform_geometries(np.array(list(shapes), dtype=np.object_), crs, block_crs), block_crs, grid)

    def to_pixels(xy: Floats) -> Floats:
        return np.stack(grid.to_pixel(xy[:, 0], xy[:, 1]), axis=1)

    lines = []
    for shape in moved:
        if shape is not None and not shape.is_empty:
            lines += [_edges(part) for part in shapely.get_parts(shapely.transform(shapely.force_2d(shape), to_pixels))]
    cut = [shapely.clip_by_rect(line, -1.0, -1.0, width + 1.0, height + 1.0) for line in lines]
    return [part for line in cut for part in shapely.get_parts(line) if not part.is_empty]


def _edges(shape: Any) -> Any:
    """The rings of a polygon; a line or point as it is."""
    if isinstance(shape, shapely.Polygon):
        return shapely.multilinestrings([shape.exterior, *shape.interiors])
    return shape
