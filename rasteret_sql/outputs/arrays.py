"""Pixels of ``rasteret_read`` as NumPy arrays: from a row or from a whole result, in whatever way it left DuckDB.

A row has ``height``, ``width`` and a list of ``height * width`` pixels per band, row by row. Where the lists lie in memory as numbers (Arrow, polars,
pandas), an array of one band is a view of that memory and nothing is copied; it is read-only then. NULL pixels are masked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rasteret_sql.collection.incoming import table_of
from rasteret_sql.errors import BandNotFound, InvalidArgument, listing, near

Row: TypeAlias = Mapping[str, Any]
Masked: TypeAlias = "np.ma.MaskedArray[Any, Any]"
Pixels: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]
"""Values of one dimension, and where they are NULL; None where none is."""

_TEXT = (str, bytes, bytearray, memoryview)
_SHAPE = ("height", "width")


@dataclass(frozen=True, slots=True)
class Rows:
    """A result as rows by name; values are what the result holds, Arrow scalars among them."""

    rows: list[Row]
    single: bool = False
    """Is the result one row, and not a table of one?"""
    crs: Mapping[str, str] = field(default_factory=dict)
    """CRSs that the types of geometry columns name."""


def to_numpy(
    result: Any, bands: str | Sequence[str] | None = None, *, fill: float | None = None, height: int | None = None, width: int | None = None
) -> Any:
    """Pixels of ``rasteret_read`` as arrays: one array of a row, a list of arrays, in the order of the rows, of a table.

    >>> to_numpy({"height": 2, "width": 2, "B4": [1, 2, None, 4]}, "B4").tolist()
    [[1, 2], [None, 4]]

    Parameters
    ----------
    result
        A table: a DuckDB relation, Arrow (table, batch, reader, anything with the Arrow protocol), a polars or pandas frame, an ibis table, a list
        of rows.
        A row by name: a dictionary or other mapping (an Arrow struct, a row of polars with ``named=True``), a pandas Series, a named tuple, a row
        of SQLAlchemy.
        One list of pixels, with ``height`` and ``width``.
    bands
        A name gives ``(height, width)``; a list of names, or None for all bands, gives ``(bands, height, width)``. Bands are the lists between
        the columns ``width`` and ``status``, in their order; in a result without these, all lists of ``height * width`` numbers.
    fill
        Without it, arrays are masked where a pixel is NULL (what lies under the mask is arbitrary). With it they are plain, and NULL pixels have
        this value. A fill with a fraction, or NaN, makes floats of integers.
    height, width
        Of the one list of pixels.

    Returns
    -------
    Arrays of the bands' own type (int64 or float64 where pixels come as Python's numbers). None for a row without pixels: status ``outside`` or
    ``error``. An array of one band of Arrow, polars or pandas shares their memory.

    Raises :class:`BandNotFound` for a band that is no column, :class:`InvalidArgument` for what has no pixels and a fill that the type cannot hold.
    """
    if height is not None or width is not None:
        return _filled(_block(_flat(result, "result"), _asked_shape(height, width), "result"), fill)
    found = rows_of(result)
    names = [bands] if isinstance(bands, str) else list(bands) if bands is not None else band_names(found.rows)
    arrays = [_array(row, names, fill, flat=isinstance(bands, str)) for row in found.rows]
    return arrays[0] if found.single else arrays


def rows_of(result: Any) -> Rows:
    """The rows of anything that :func:`to_numpy` takes. :class:`InvalidArgument` for anything else, and for rows without height and width."""
    found = _rows(result)
    for row in found.rows:
        if missing := [name for name in _SHAPE if name not in row]:
            columns = listing(row)
            raise InvalidArgument(f"no column {missing[0]!r}; columns: {columns}; select height and width too, or give them to one list of pixels")
    return found


def band_names(rows: Sequence[Row]) -> list[str]:
    """The bands of the rows, in the order of their columns; :class:`InvalidArgument` where there is none."""
    names: dict[str, None] = {}
    for row in rows:
        shape = shape_of(row)
        if shape is not None:
            names |= dict.fromkeys(name for name in _between(list(row)) if _count(row[name]) == shape[0] * shape[1])
    if not names and any(shape_of(row) is not None for row in rows):
        raise InvalidArgument(f"no column holds height × width pixels; columns: {listing(rows[0])}")
    return list(names)


def band_of(row: Row, name: str) -> Masked | None:
    """One band of a row, ``(height, width)``, masked where NULL; None where the row has no pixels."""
    if name not in row:
        valid = _between(list(row))
        raise BandNotFound(f"no band {name!r}{near(name, valid)}; columns: {listing(valid)}")
    shape = shape_of(row)
    if shape is None:
        return None
    value = row[name]
    if is_null(value):  # a record that lacks the band, in a result that came as Python's numbers
        return np.ma.MaskedArray(np.zeros(shape, np.uint8), mask=True)
    return _block(_flat(value, name), shape, name)


def shape_of(row: Row) -> tuple[int, int] | None:
    """Height and width; None for a row without pixels."""
    height, width = (row[name] for name in _SHAPE)
    return None if is_null(height) or is_null(width) else (int(plain(height)), int(plain(width)))


def plain(value: Any) -> Any:
    """A value as Python has it."""
    return value.as_py() if isinstance(value, pa.Scalar) else value


def is_null(value: Any) -> bool:
    """NULL as Arrow, Python and pandas (NaN, NaT, NA) have it."""
    if isinstance(value, pa.Scalar):
        return not value.is_valid
    return value is None or (isinstance(value, float) and np.isnan(value)) or type(value).__name__ in {"NAType", "NaTType"}


# -- rows ---------------------------------------------------------------------------------------------------------------------


def _rows(result: Any) -> Rows:
    row = _one_row(result)
    if row is not None:
        return Rows([row], single=True)
    for method in ("to_arrow_table", "to_pyarrow"):  # DuckDB's relations, ibis
        if hasattr(result, method):
            result = getattr(result, method)()
    if hasattr(result, "iloc") and hasattr(result, "columns"):
        return _of_pandas(result)
    if isinstance(result, Sequence) and not isinstance(result, _TEXT) and not hasattr(result, "__arrow_c_stream__"):
        rows = [_one_row(item) for item in result]
        known = [item for item in rows if item is not None]
        if len(known) < len(rows):
            raise InvalidArgument(
                "rows need names: take the result as Arrow or as a frame (.to_arrow_table(), .pl(), .df()), not by fetchall(); "
                "one list of pixels needs height= and width="
            )
        return Rows(known)
    if isinstance(result, _TEXT) or not (hasattr(result, "__arrow_c_stream__") or hasattr(result, "__arrow_c_array__")):
        raise InvalidArgument(
            f"a {type(result).__name__} is no result of rasteret_read; a DuckDB relation, Arrow, a polars or pandas frame, "
            "a row of one by name, and a list of these are valid; one list of pixels needs height= and width="
        )
    table = table_of(result)
    rows_by_name: list[Row] = list(_of_table(table))
    return Rows(rows_by_name, crs=_crs_of_types(table.schema))


def _one_row(item: Any) -> Row | None:
    """A row by name; None when the item is none."""
    if isinstance(item, Mapping):
        return item
    if isinstance(getattr(item, "_mapping", None), Mapping):  # SQLAlchemy
        return item._mapping  # type: ignore[no-any-return]  # noqa: SLF001 - its public name, as that of a named tuple's _asdict
    if isinstance(item, tuple) and hasattr(item, "_asdict"):
        return item._asdict()  # type: ignore[no-any-return]
    if hasattr(item, "iloc") and hasattr(item, "items") and not hasattr(item, "columns"):  # a pandas Series
        return {str(name): value for name, value in item.items()}
    return None


def _of_pandas(frame: Any) -> Rows:
    names = [str(name) for name in frame.columns]
    columns = [_cells(frame.iloc[:, place]) for place in range(len(names))]
    active = getattr(frame, "geometry", None)  # of a GeoDataFrame
    crs = getattr(active, "crs", None)
    known = {} if active is None or crs is None else {str(active.name): str(crs.to_wkt())}
    return Rows([dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)], crs=known)


def _cells(column: Any) -> list[Any]:
    """Of a pandas Series; Arrow's own scalars where its memory is Arrow's, which pandas would make into Python lists."""
    return list(column.array.__arrow_array__() if hasattr(column.dtype, "pyarrow_dtype") else column)


def _of_table(table: pa.Table) -> Iterator[Row]:
    names = table.column_names
    for batch in table.to_batches():
        columns = list(zip(names, batch.columns, strict=True))
        for place in range(batch.num_rows):
            yield {name: column[place] for name, column in columns}


def _crs_of_types(schema: pa.Schema) -> dict[str, str]:
    """CRSs by column, out of the metadata of GeoArrow's types: PROJJSON or any text."""
    found = {}
    for column in schema:
        metadata = column.metadata or {}
        if not metadata.get(b"ARROW:extension:name", b"").startswith(b"geoarrow."):
            continue
        crs = json.loads(metadata.get(b"ARROW:extension:metadata") or b"{}").get("crs")
        if crs:
            found[column.name] = crs if isinstance(crs, str) else json.dumps(crs)
    return found


def _between(names: list[str]) -> list[str]:
    """The columns that may be bands: those between ``width`` and ``status`` where these are, as ``rasteret_read`` has them."""
    if "width" in names and "status" in names[names.index("width") :]:
        return names[names.index("width") + 1 : names.index("status", names.index("width"))]
    return [name for name in names if name not in (*_SHAPE, "transform", "status", "error")]


# -- pixels -------------------------------------------------------------------------------------------------------------------


def _array(row: Row, names: Sequence[str], fill: float | None, *, flat: bool) -> Any:
    blocks = [band_of(row, name) for name in names]
    present = [block for block in blocks if block is not None]
    if len(present) < len(blocks) or not blocks:
        return None
    if len(present) == 1:
        return _filled(present[0] if flat else present[0][np.newaxis], fill)
    return _filled(np.ma.stack(present), fill)


def _block(pixels: Pixels, shape: tuple[int, int], name: str) -> Masked:
    values, missing = pixels
    if values.size != shape[0] * shape[1]:
        raise InvalidArgument(f"{name} has {values.size:,} pixels; height × width = {shape[0]:,} × {shape[1]:,} needs {shape[0] * shape[1]:,}")
    return np.ma.MaskedArray(values.reshape(shape), mask=np.ma.nomask if missing is None else missing.reshape(shape))


def _asked_shape(height: int | None, width: int | None) -> tuple[int, int]:
    if height is None or width is None:
        raise InvalidArgument("a list of pixels needs both height= and width=")
    return height, width


def _filled(array: Masked, fill: float | None) -> Any:
    if fill is None:
        return array
    if array.dtype.kind in "iu":
        if isinstance(fill, float | np.floating):
            return np.ma.filled(array.astype(np.result_type(array.dtype, np.float32)), fill)
        if not np.iinfo(array.dtype).min <= fill <= np.iinfo(array.dtype).max:
            limits = np.iinfo(array.dtype)
            raise InvalidArgument(f"fill={fill} is no {array.dtype}; valid: {limits.min} to {limits.max}, or float('nan') for arrays of floats")
    return array.filled(fill)


def _flat(value: Any, name: str) -> Pixels:
    """A list of pixels: a view of the list's memory where that holds numbers."""
    if isinstance(value, pa.Scalar):
        value = value.values
    elif not isinstance(value, pa.Array | pa.ChunkedArray | np.ndarray) and hasattr(value, "to_arrow"):  # a polars Series
        value = value.to_arrow()
    if isinstance(value, pa.Array | pa.ChunkedArray):
        return _of_arrow(value.combine_chunks() if isinstance(value, pa.ChunkedArray) else value, name)
    if isinstance(value, np.ndarray) and value.dtype.kind in "iuf":
        return np.ma.getdata(value).reshape(-1), np.ma.getmaskarray(value).reshape(-1) if np.ma.is_masked(value) else None
    items = list(value) if isinstance(value, Sequence | np.ndarray) and not isinstance(value, _TEXT) else []
    missing = np.array([item is None for item in items], dtype=bool)
    numbers = np.array([0 if item is None else item for item in items])
    if not items or numbers.dtype.kind not in "iuf" or numbers.ndim != 1:
        raise InvalidArgument(f"{name} is no list of pixels: a {type(value).__name__}")
    return numbers, missing if missing.any() else None


def _of_arrow(array: pa.Array, name: str) -> Pixels:
    kind = array.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise InvalidArgument(f"{name} is a list of {kind}, no pixels")
    dtype = np.dtype(kind.to_pandas_dtype())
    buffer = array.buffers()[1]
    values: npt.NDArray[Any] = np.frombuffer(
        buffer if buffer is not None and len(array) else b"", dtype, len(array), array.offset * dtype.itemsize if len(array) else 0
    )
    return values, array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None


def _count(value: Any) -> int | None:
    """How many numbers a list of numbers holds; None for anything else."""
    if is_null(value):
        return None
    if isinstance(value, pa.Scalar):
        kind = value.type
        listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        return len(value.values) if listed and (pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)) else None
    if isinstance(value, np.ndarray):
        return int(value.size) if value.dtype.kind in "iufO" else None
    if isinstance(value, Sequence) and not isinstance(value, _TEXT):
        first = next((item for item in value if item is not None), 0)
        return len(value) if isinstance(first, int | float) and not isinstance(first, bool) else None
    return len(value) if hasattr(value, "to_arrow") else None
