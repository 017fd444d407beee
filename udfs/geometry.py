"""Geometries of the user's tables: which column, which CRS, and where on earth each row lies."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from rasteret_sql.udfs.arrow import numbers

from rasteret_sql.collection.nested import one_chunk
from rasteret_sql.errors import InvalidArgument, listing, near
from rasteret_sql.raster.crs import CRS84, check_crs, transform_bounds, within_world

_PAIRS = (("lon", "lat"), ("longitude", "latitude"), ("lng", "lat"), ("long", "lat"), ("x", "y"), ("easting", "northing"))
"""Names by which columns of coordinates are known; only messages guess by them."""
NAMES = ("geometry", "geom", "wkb_geometry")
GEOMETRY = "STRUCT(wkb BLOB, xmin DOUBLE, ymin DOUBLE, xmax DOUBLE, ymax DOUBLE, error VARCHAR)"

_POINT_WKB = np.dtype([("order", "u1"), ("type", "<u4"), ("x", "<f8"), ("y", "<f8")])
_TWO_NUMBERS = re.compile(r"\s*\(?\s*(-?\d+(?:\.\d+)?)\s*[,;\s]\s*(-?\d+(?:\.\d+)?)\s*\)?\s*", re.ASCII)
_CRS_IN_TYPE = re.compile(r"GEOMETRY\('(.*)'\)$", re.DOTALL)


def geometry_column(row_type: str, asked: str | None) -> str:
    """Name of the geometry column of a row type ``STRUCT(a INTEGER, geom GEOMETRY, …)``: the one asked for, else by type, else by name."""
    fields = struct_fields(row_type)
    folded = {name.lower(): name for name in fields}
    if asked is not None:
        if asked.lower() not in folded:
            raise InvalidArgument(f"no column {asked!r}{near(asked, fields)}; columns: {listing(fields)}")
        return folded[asked.lower()]
    typed = [name for name, kind in fields.items() if kind.startswith("GEOMETRY")]
    if len(typed) == 1:
        return typed[0]
    for name in NAMES:
        if name in folded:
            return folded[name]
    if typed:
        raise InvalidArgument(f"several geometry columns ({listing(typed)}); choose with geometry := '<column>'")
    x, y = next(((folded[x], folded[y]) for x, y in _PAIRS if x in folded and y in folded), ("<column>", "<column>"))
    raise InvalidArgument(
        f"no geometry column; name it with geometry := '<column>', or points with x := '{x}', y := '{y}'; columns: {listing(fields)}"
    )


def struct_fields(text: str) -> dict[str, str]:
    """Field names and types of DuckDB's text for a struct type, nesting and quoted names included."""
    fields: dict[str, str] = {}
    position = text.index("(") + 1
    while position < len(text) - 1:
        name, position = _name_at(text, position)
        start = position + 1
        position = _end_of_type(text, start)
        fields[name] = text[start:position]
        position += 2
    return fields


def _name_at(text: str, position: int) -> tuple[str, int]:
    if text[position] != '"':
        end = text.index(" ", position)
        return text[position:end], end
    end = position + 1
    while text[end] != '"' or text[end + 1 : end + 2] == '"':
        end += 2 if text[end] == '"' else 1
    return text[position + 1 : end].replace('""', '"'), end + 1


def _end_of_type(text: str, position: int) -> int:
    depth, quote = 0, ""
    for index in range(position, len(text)):
        char = text[index]
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == "(":
            depth += 1
        elif char == ")":
            if depth == 0:
                return index
            depth -= 1
        elif char == "," and depth == 0:
            return index
    return len(text)


def geometry_crs(column_type: str, asked: str | None) -> str:
    """CRS of a geometry column: the argument, else the one in its type, else CRS84. Unknown ones are an error."""
    found = _CRS_IN_TYPE.search(column_type)
    text = asked or (found.group(1).replace("''", "'") if found else CRS84)
    check_crs(text)
    return text


def geometries(geometry: pa.Array, crs: pa.Array, on_error: pa.Array) -> pa.Array:
    """Geometries as 2-D WKB in their own CRS with their box in CRS84; NULL and empty ones have no box."""
    return _areas(geometry, crs, on_error, polygons=False)


def polygons(geometry: pa.Array, crs: pa.Array, on_error: pa.Array) -> pa.Array:
    """Like :func:`geometries`, for what needs an area: lines and points are errors."""
    return _areas(geometry, crs, on_error, polygons=True)


def _areas(geometry: pa.Array, crs: pa.Array, on_error: pa.Array, *, polygons: bool) -> pa.Array:
    column = one_chunk(geometry)
    fields = _struct(wkb=pa.binary(), xmin=pa.float64(), ymin=pa.float64(), xmax=pa.float64(), ymax=pa.float64(), error=pa.string())
    if not len(column):
        return pa.array([], fields)
    shapes, errors = parse_geometries(column)
    if polygons:
        _only_polygons(shapes, errors)
    complain(errors, one_chunk(on_error)[0].as_py())
    shapes = within_world(shapes, one_chunk(crs)[0].as_py())
    bounds = shapely.bounds(shapes)
    here = np.isfinite(bounds).all(axis=1)  # NULL and empty geometries have NaN
    boxes = np.full((len(shapes), 4), np.nan)
    if here.any():
        boxes[here] = transform_bounds(bounds[here], one_chunk(crs)[0].as_py(), CRS84)
    usable = np.isfinite(boxes).all(axis=1)
    wkb = shapely.to_wkb(shapely.force_2d(shapes), include_srid=False)
    sides = [pa.array(boxes[:, i], pa.float64(), mask=~usable) for i in range(4)]
    return pa.StructArray.from_arrays(
        [pa.array(list(wkb), pa.binary()), *sides, pa.array(errors, pa.string())], [fields.field(i).name for i in range(fields.num_fields)]
    )


def parse_geometries(column: pa.Array) -> tuple[npt.NDArray[np.object_], list[str | None]]:
    """GEOMETRY and BLOB as WKB, VARCHAR as WKT (or hexadecimal WKB); what cannot be parsed is None with its reason."""
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if not (text or pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type) or pa.types.is_null(column.type)):
        raise InvalidArgument(f"the geometry column is {column.type}; GEOMETRY, WKB (BLOB) and WKT (VARCHAR) are valid")
    values = np.asarray(column.to_pylist(), dtype=object)
    if not text:
        shapes = shapely.from_wkb(values, on_invalid="ignore")
    else:
        with np.errstate(all="ignore"):  # digits of hexadecimal WKB overflow as numbers
            shapes = shapely.from_wkt(values, on_invalid="ignore")
        hexadecimal = np.flatnonzero(shapely.is_missing(shapes) & np.array([value is not None for value in values]))
        if len(hexadecimal):
            shapes[hexadecimal] = shapely.from_wkb(values[hexadecimal], on_invalid="ignore")
    broken = shapely.is_missing(shapes) & np.array([value is not None for value in values])
    kind = "WKT" if text else "WKB"
    texts = [f"the geometry is no valid {kind}: {_excerpt(value)}{_meant(value)}" if bad else None for bad, value in zip(broken, values, strict=True)]
    return shapes, texts


def point_coordinates(column: pa.Array) -> tuple[npt.NDArray[Any], npt.NDArray[Any], list[str | None]]:
    """Coordinates of points, geometries or structs of ``x`` and ``y`` (NaN for NULL and empty ones), and what is wrong with those that are none."""
    if pa.types.is_struct(column.type) and [column.type.field(i).name for i in range(column.type.num_fields)] == ["x", "y"]:
        x, y = (numbers(part).astype(float) for part in column.flatten())
        return x, y, [None] * len(column)
    fast = _plain_points(column)
    if fast is not None:
        return *fast, [None] * len(column)
    shapes, errors = parse_geometries(column)
    _only_points(shapes, errors)
    return shapely.get_x(shapes), shapely.get_y(shapes), errors


def _plain_points(column: pa.Array) -> tuple[npt.NDArray[Any], npt.NDArray[Any]] | None:
    """Coordinates straight from the buffer when every value is a little-endian 2-D WKB point (21 bytes)."""
    if not pa.types.is_binary(column.type) or column.null_count:
        return None
    offsets = np.frombuffer(column.buffers()[1], dtype=np.int32)[column.offset : column.offset + len(column) + 1]
    if offsets[-1] - offsets[0] != 21 * len(column) or (np.diff(offsets) != 21).any():
        return None
    table = np.frombuffer(column.buffers()[2], dtype=_POINT_WKB, count=len(column), offset=int(offsets[0]))
    if (table["order"] != 1).any() or (table["type"] != 1).any():
        return None
    return table["x"].copy(), table["y"].copy()


def _only_points(shapes: npt.NDArray[np.object_], errors: list[str | None]) -> None:
    kinds = shapely.get_type_id(shapes)
    for row in np.flatnonzero((kinds > 0) & (kinds != -1)):
        errors[row] = f"a {shapes[row].geom_type} is no point; use rasteret_read for areas, or ST_Centroid of it"
        shapes[row] = None
    shapes[shapely.is_empty(shapes)] = None  # shapely raises when asked for the coordinates of an empty point


def _only_polygons(shapes: npt.NDArray[np.object_], errors: list[str | None]) -> None:
    polygonal = (shapely.GeometryType.MISSING, shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)
    for row in np.flatnonzero(~np.isin(shapely.get_type_id(shapes), polygonal) & ~shapely.is_empty(shapes)):
        kind = shapes[row].geom_type
        errors[row] = f"a {kind} has no area; (multi)polygons have (ST_Buffer); rasteret_pixels takes what it touches by pixels := 'all_touched'"
        shapes[row] = None


def complain(errors: list[str | None], on_error: str) -> None:
    """``raise`` and ``null`` are what ``on_error`` may be; calls that have no such argument ``refuse``."""
    first = next((error for error in errors if error), None)
    if first and on_error != "null":
        raise InvalidArgument(first if on_error == "refuse" else f"{first}; on_error := 'null' keeps such rows with their error")


def _meant(value: Any) -> str:
    """Two numbers are most often a point; which is which is not known."""
    found = _TWO_NUMBERS.fullmatch(value) if isinstance(value, str) else None
    return f"; a point is written 'POINT({found[1]} {found[2]})', x or longitude first" if found else ""


def _excerpt(value: Any) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return repr(text if len(text) <= 40 else text[:39] + "…")


def _struct(**fields: pa.DataType) -> pa.DataType:
    return pa.struct(list(fields.items()))
