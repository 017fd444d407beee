"""The contract columns of a collection, and the two ways through it: header → row, row → band.

The first 17 fields of a band's metadata are the interchange contract with collections written by the ``rasteret`` package;
the fields after them are ours, and a row without them is read with the defaults of the files that package indexes
(little-endian, tiled, no overviews kept).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rasteret_sql.collection.source import Declared
from rasteret_sql.errors import InvalidRaster, listing
from rasteret_sql.raster.grid import Grid
from rasteret_sql.raster.header import CHUNKY, Affine, Header, Layout, Level, alpha_sample
from rasteret_sql.raster.tags import ALPHA_KINDS, JPEG, YCBCR
from rasteret_sql.reader.band import Band, masked_band, plane_of, reduced_band

VERSION = "1"
METADATA_SUFFIX = "_metadata"
CONTRACT = ("id", "datetime", "geometry", "assets", "bbox", "proj:epsg", "crs", "year", "month")
"""Columns that a build writes itself; a user's column of the same name serves as input (id, datetime, assets, crs) or gives way."""


def is_taken(name: str) -> bool:
    """Whether a column of this name cannot be read back: statements over a collection have columns of their own of these names."""
    return name.lower() == "file_row_number" or name.lower().startswith("__rasteret_")


_LEVEL = pa.struct(
    [
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("tile_width", pa.int32()),
        ("tile_height", pa.int32()),
        ("compression", pa.int32()),
        ("predictor", pa.int32()),
        ("bits", pa.int32()),
        ("tiled", pa.bool_()),
        ("tile_offsets", pa.list_(pa.int64())),
        ("tile_byte_counts", pa.list_(pa.int64())),
        ("lerc_compression", pa.int32()),
        ("jpeg_tables", pa.binary()),
        ("ycbcr", pa.bool_()),
        ("fill_order", pa.int32()),
    ]
)

BAND_METADATA = pa.struct(
    [
        ("image_width", pa.int32()),
        ("image_height", pa.int32()),
        ("tile_width", pa.int32()),
        ("tile_height", pa.int32()),
        ("dtype", pa.string()),
        ("transform", pa.list_(pa.float64())),
        ("predictor", pa.int32()),
        ("compression", pa.int32()),
        ("tile_offsets", pa.list_(pa.int64())),
        ("tile_byte_counts", pa.list_(pa.int64())),
        ("pixel_scale", pa.list_(pa.float64())),
        ("tiepoint", pa.list_(pa.float64())),
        ("nodata", pa.float64()),
        ("samples_per_pixel", pa.int32()),
        ("planar_configuration", pa.int32()),
        ("photometric", pa.int32()),
        ("extra_samples", pa.list_(pa.int32())),
        # ours
        ("byte_order", pa.string()),
        ("tiled", pa.bool_()),
        ("bits", pa.int32()),
        ("lerc_compression", pa.int32()),
        ("scale", pa.float64()),
        ("offset", pa.float64()),
        ("crs", pa.string()),
        ("etag", pa.string()),
        ("file_size", pa.int64()),
        ("overviews", pa.list_(_LEVEL)),
        ("masks", pa.list_(_LEVEL)),
        ("fill_order", pa.int32()),
        ("jpeg_tables", pa.binary()),
        ("alpha", pa.int32()),
        ("alpha_levels", pa.list_(_LEVEL)),
    ]
)
BBOX = pa.struct([("xmin", pa.float64()), ("ymin", pa.float64()), ("xmax", pa.float64()), ("ymax", pa.float64())])
ASSET = pa.struct([("href", pa.string()), ("band_index", pa.int64())])


def metadata_column(band: str) -> str:
    """Name of the column that holds a band's metadata."""
    return f"{band}{METADATA_SUFFIX}"


def band_names(columns: Sequence[str]) -> list[str]:
    """The bands of a relation by its column names, in column order."""
    return [name.removesuffix(METADATA_SUFFIX) for name in columns if name.endswith(METADATA_SUFFIX) and name != METADATA_SUFFIX]


# -- header → row -------------------------------------------------------------------------------------------------------------


def metadata_row(header: Header, sample: int, *, etag: str | None, size: int | None, declared: Declared | None = None) -> dict[str, Any]:
    """One ``{band}_metadata`` value. Planar-separate files keep only the segments of this sample."""
    nodata, scale, offset = resolve_declared(header, sample, declared)
    base = plane_of(header.levels[0], sample)
    layout = base.layout
    a, b, c, d, e, f = header.transform
    return {
        "image_width": base.width,
        "image_height": base.height,
        "tile_width": layout.tile_width,
        "tile_height": layout.tile_height,
        "dtype": layout.dtype,
        "transform": [a, c, e, f] if b == d == 0 else [a, b, c, d, e, f],
        "predictor": layout.predictor,
        "compression": layout.compression,
        "tile_offsets": base.offsets,
        "tile_byte_counts": base.byte_counts,
        "pixel_scale": [a, -e, 0.0] if b == d == 0 else None,
        "tiepoint": [0.0, 0.0, 0.0, c, f, 0.0] if b == d == 0 else None,
        "nodata": nodata,
        "samples_per_pixel": header.samples_per_pixel,
        "planar_configuration": layout.planar,
        "photometric": header.photometric,
        "extra_samples": list(header.extra_samples),
        "byte_order": "little" if header.byte_order == "<" else "big",
        "tiled": layout.tiled,
        "bits": layout.bits,
        "lerc_compression": layout.lerc_compression,
        "scale": scale,
        "offset": offset,
        "crs": header.crs,
        "etag": etag,
        "file_size": size,
        "overviews": [_level_row(plane_of(level, sample)) for level in header.levels[1:]],
        "masks": [_level_row(level) for level in header.masks],
        "fill_order": layout.fill_order,
        "jpeg_tables": layout.jpeg_tables or None,
        "alpha": header.alpha,
        "alpha_levels": _alpha_rows(header),
    }


def resolve_declared(header: Header, sample: int, declared: Declared | None) -> tuple[float | None, float, float]:
    """Nodata, scale and offset: the header's own; a catalogue's only where the header has none. Scale and offset go together.

    A file that has a mask or an alpha sample says itself what is valid: a catalogue's nodata is then left out.
    """
    scale, offset = header.scales[sample], header.offsets[sample]
    if declared is None:
        return header.nodata, scale, offset
    silent = header.nodata is None and not header.masks and header.alpha is None
    nodata = declared.nodata if silent else header.nodata
    if (scale, offset) == (1.0, 0.0):
        scale = 1.0 if declared.scale is None else declared.scale
        offset = 0.0 if declared.offset is None else declared.offset
    return nodata, scale, offset


def _alpha_rows(header: Header) -> list[dict[str, Any]]:
    """The alpha sample's own levels, where it has segments of its own."""
    if header.alpha is None or header.levels[0].layout.planar == CHUNKY:
        return []
    return [_level_row(plane_of(level, header.alpha)) for level in header.levels]


def _level_row(level: Level) -> dict[str, Any]:
    return {
        "width": level.width,
        "height": level.height,
        "tile_width": level.layout.tile_width,
        "tile_height": level.layout.tile_height,
        "compression": level.layout.compression,
        "predictor": level.layout.predictor,
        "bits": level.layout.bits,
        "tiled": level.layout.tiled,
        "tile_offsets": level.offsets,
        "tile_byte_counts": level.byte_counts,
        "lerc_compression": level.layout.lerc_compression,
        "jpeg_tables": level.layout.jpeg_tables or None,
        "ycbcr": level.layout.ycbcr,
        "fill_order": level.layout.fill_order,
    }


# -- row → band ---------------------------------------------------------------------------------------------------------------


class MetadataReader:
    """Reads many values of one ``{band}_metadata`` column: its scalars as Python lists at once, its long arrays as NumPy views."""

    _SCALARS = ("image_width", "image_height", "tile_width", "tile_height", "dtype", "predictor", "compression", "nodata")
    _OPTIONAL = ("samples_per_pixel", "planar_configuration", "byte_order", "tiled", "bits", "lerc_compression", "scale", "offset")
    _EXTRA = ("crs", "etag", "file_size", "photometric", "fill_order", "jpeg_tables", "alpha")
    _TILES = ("transform", "tile_offsets", "tile_byte_counts")
    LEVELS = ("masks", "alpha_levels", "overviews")
    """Lists of levels, a dozen columns each; most files have no masks and no alpha levels."""

    @classmethod
    def reads(cls, fields: Collection[str], *, overviews: bool) -> list[str]:
        """Which of a column's fields are looked at; a field that is not there counts as NULL everywhere, all but ``alpha``."""
        wanted = {*cls._SCALARS, *cls._OPTIONAL, *cls._EXTRA, *cls._TILES, *cls.LEVELS}
        if not overviews:
            wanted.remove("overviews")
        if "alpha" not in fields:
            wanted.add("extra_samples")
        return [name for name in fields if name in wanted]

    def __init__(self, band: str, column: pa.StructArray, *, overviews: bool = False) -> None:
        """``overviews``: are the bands to have theirs?"""
        self._band = band
        self._valid = column.is_valid().to_pylist()
        fields = {column.type.field(i).name: i for i in range(column.type.num_fields)}
        if missing := [name for name in (*self._SCALARS, *self._TILES) if name not in fields]:
            raise InvalidRaster(f"{metadata_column(band)} is no band metadata: it lacks {listing(missing)}")
        self._lists = {name: column.field(fields[name]).to_pylist() for name in (*self._SCALARS, "transform")}
        self._says_alpha = "alpha" in fields
        for name in (*self._OPTIONAL, *self._EXTRA, *(() if self._says_alpha else ("extra_samples",))):
            self._lists[name] = column.field(fields[name]).to_pylist() if name in fields else [None] * len(column)
        self._offsets = _ListView(column.field(fields["tile_offsets"]))
        self._counts = _ListView(column.field(fields["tile_byte_counts"]))
        self._masks, self._alphas = (_Levels(column.field(fields[name])) if name in fields else None for name in ("masks", "alpha_levels"))
        self._overviews = _Levels(column.field(fields["overviews"])) if overviews and "overviews" in fields else None

    def band(self, row: int, href: str | None, sample: int | None, crs: str | None) -> Band | None:
        """The band of one row; None where the record has no such asset."""
        if href is None or not self._valid[row] or self._lists["image_width"][row] is None:
            return None
        values = {name: column[row] for name, column in self._lists.items()}
        sample = sample or 0
        layout = self._layout(values)
        level = Level(values["image_width"], values["image_height"], layout, self._offsets[row], self._counts[row])
        level = plane_of(level, sample)
        if len(level.offsets) != level.tiles_per_plane or len(level.byte_counts) != level.tiles_per_plane:
            raise InvalidRaster(f"the index lists {len(level.offsets)} tiles for band {self._band!r}, its size asks for {level.tiles_per_plane}")
        band = Band(
            name=self._band,
            href=href,
            sample=sample,
            level=level,
            grid=Grid(_transform(values["transform"], self._band), level.width, level.height),
            crs=values["crs"] or crs or "",
            nodata=_number(values["nodata"], None),  # a relation may have them as INTEGER or DECIMAL
            scale=_number(values["scale"], 1.0),
            offset=_number(values["offset"], 0.0),
            etag=values["etag"],
            size=values["file_size"],
        )
        coarser = [plane_of(found, sample) for found in self._overviews.all(row, layout)] if self._overviews else []
        overviews = tuple(self._masked(reduced_band(band, found), row, values) for found in coarser)
        band = self._masked(band, row, values)
        return replace(band, overviews=overviews) if overviews else band

    def _masked(self, band: Band, row: int, values: dict[str, Any]) -> Band:
        """The band, or an overview of it, with the mask of its size."""
        internal = self._masks.find(row, band.level, _mask_layout(band.layout)) if self._masks and self._masks.count(row) else None
        return masked_band(band, internal, self._alpha(row, values, band.level))

    def _alpha(self, row: int, values: dict[str, Any], level: Level) -> tuple[int, Level] | None:
        """The alpha sample and its level. Indexes that do not name it (of the ``rasteret`` package) tell by ExtraSamples."""
        layout = level.layout
        sample = values["alpha"]
        if not self._says_alpha and layout.planar == CHUNKY:
            extra = values["extra_samples"] or []
            kinds = [0] * max(layout.samples_per_pixel - len(extra), 0) + extra
            sample = alpha_sample(layout.dtype, [kind in ALPHA_KINDS for kind in kinds])
        if sample is None:
            return None
        own = level if layout.planar == CHUNKY else self._alphas.find(row, level, layout) if self._alphas else None
        return None if own is None else (sample, own)

    def _layout(self, values: dict[str, Any]) -> Layout:
        for name in ("image_width", "image_height", "tile_width", "tile_height", "compression"):
            if values[name] is None or values[name] <= 0:
                raise InvalidRaster(f"{metadata_column(self._band)}.{name} is {values[name]}; a whole number from 1 is valid")
        dtype = _dtype(values["dtype"], self._band)
        return Layout(
            dtype=dtype.name,
            byte_order=">" if values["byte_order"] == "big" else "<",
            compression=values["compression"],
            predictor=values["predictor"] or 1,
            planar=values["planar_configuration"] or 1,
            samples_per_pixel=values["samples_per_pixel"] or 1,
            tile_width=values["tile_width"],
            tile_height=values["tile_height"],
            tiled=values["tiled"] is not False,
            bits=values["bits"] or dtype.itemsize * 8,
            lerc_compression=values["lerc_compression"] or 0,
            jpeg_tables=values["jpeg_tables"] or b"",
            ycbcr=values["compression"] == JPEG and values["photometric"] == YCBCR,
            fill_order=values["fill_order"] or 1,
        )


class _Levels:
    """A ``list<level>`` column: the levels of a row by size; most rows have none, which costs nothing."""

    _REQUIRED = ("tile_width", "tile_height", "compression", "predictor", "bits", "tiled")
    _LATER: Mapping[str, Any] = {"lerc_compression": 0, "jpeg_tables": b"", "ycbcr": False, "fill_order": 1}

    def __init__(self, column: pa.ListArray) -> None:
        self._bounds: list[int] = column.offsets.to_pylist()
        self._column = column.values
        self._scalars: dict[str, list[Any] | None] = {}
        if len(self._column):
            self._fields = {self._column.type.field(i).name for i in range(self._column.type.num_fields)}
            self._offsets, self._counts = (_ListView(self._column.field(name)) for name in ("tile_offsets", "tile_byte_counts"))

    def count(self, row: int) -> int:
        """Levels of a row."""
        return self._bounds[row + 1] - self._bounds[row]

    def find(self, row: int, like: Level, layout: Layout) -> Level | None:
        """The level of a row that is as large as ``like``; ``layout`` has what a level's row does not say."""
        for position in range(self._bounds[row], self._bounds[row + 1]):
            if (self._value("width", position), self._value("height", position)) == (like.width, like.height):
                return self._level(position, layout, "a mask")
        return None

    def all(self, row: int, layout: Layout) -> list[Level]:
        """All levels of a row."""
        return [self._level(position, layout, "an overview") for position in range(self._bounds[row], self._bounds[row + 1])]

    def _level(self, position: int, layout: Layout, what: str) -> Level:
        offsets, counts = self._offsets[position], self._counts[position]
        own = {name: self._value(name, position) for name in self._REQUIRED}
        own |= {name: self._value(name, position) or default for name, default in self._LATER.items()}
        level = Level(self._value("width", position), self._value("height", position), replace(layout, **own), offsets, counts)
        if not len(offsets) == len(counts) == level.tiles_per_plane:
            raise InvalidRaster(f"the index lists {len(offsets)} tiles for {what}, its size asks for {level.tiles_per_plane}")
        return level

    def _value(self, name: str, position: int) -> Any:
        if name not in self._scalars:
            self._scalars[name] = self._column.field(name).to_pylist() if name in self._fields else None
        column = self._scalars[name]
        return None if column is None else column[position]


def _mask_layout(layout: Layout) -> Layout:
    """What masks inside a file have in common: one sample of 8 bits or less."""
    return replace(layout, dtype="uint8", planar=CHUNKY, samples_per_pixel=1)


class _ListView:
    """Rows of a ``list<int64>`` column as NumPy slices, without a copy."""

    def __init__(self, column: pa.ListArray) -> None:
        self._bounds = column.offsets.to_numpy()
        self._values: npt.NDArray[np.int64] = column.values.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)

    def __getitem__(self, row: int) -> npt.NDArray[np.int64]:
        return self._values[self._bounds[row] : self._bounds[row + 1]]


N = TypeVar("N", float, None)


def _number(value: Any, otherwise: N) -> float | N:
    """A float of any number; NULL is the default."""
    return otherwise if value is None else float(value)


def _dtype(name: Any, band: str) -> np.dtype[Any]:
    try:
        dtype = np.dtype(name or "")
    except TypeError:
        dtype = None
    if dtype is None or dtype.kind not in "uif":
        raise InvalidRaster(f"{metadata_column(band)}.dtype is {name!r}; a NumPy name of an integer or float type is valid")
    return dtype


def _transform(numbers: Sequence[float] | None, band: str) -> Affine:
    """Four stored numbers are scale x, origin x, scale y, origin y; six are a, b, c, d, e, f."""
    match numbers:
        case [sx, ox, sy, oy]:
            return (sx, 0.0, ox, 0.0, sy, oy)
        case [a, b, c, d, e, f]:
            return (a, b, c, d, e, f)
    raise InvalidRaster(f"{metadata_column(band)}.transform has {len(numbers or [])} numbers; 4 or 6 are valid")
