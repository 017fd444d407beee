"""Cut the package's sample data out of a folder of source rasters: ``python tools/make_sample_data.py SOURCE [--out FOLDER]``.

``SOURCE`` holds ``landsat8/`` (two Landsat-8 scenes with labelled points and polygons) and ``rgbn/`` (four dated 4-band images); what they are
and where they come from is told in ``rasteret_sql/sample/README.md``. Every cut is a whole number of source pixels: values and grid are the
source's own, only the tiling, the compression and the overviews are new. The same source and the same libraries give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import struct
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from pyproj import CRS, Transformer
from rasterio.windows import Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_OUT = Path(__file__).resolve().parent.parent / "rasteret_sql" / "sample" / "data"
CRS84 = "OGC:CRS84"
DECIMALS = 8  # of a degree: a millimetre, and the same text with every PROJ release
COG_OPTIONS = {"COMPRESS": "DEFLATE", "LEVEL": "9", "PREDICTOR": "STANDARD", "OVERVIEW_RESAMPLING": "AVERAGE", "NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Scene:
    """One record: a source scene, the window cut out of it (col, row, width, height in its pixels), and its files by band."""

    id: str
    taken: datetime
    folder: str
    window: tuple[int, int, int, int]
    block: int
    assets: Mapping[str, tuple[str, int]]
    """band → (file name in the source folder, 0-based band index in it)"""

    def targets(self) -> list[str]:
        """Paths of the scene's cuts, each once."""
        return [self.target(name) for name in self.sources()]

    def sources(self) -> list[str]:
        """Source files of the scene, each once."""
        return list(dict.fromkeys(name for name, _ in self.assets.values()))

    def target(self, source_name: str) -> str:
        """Path of the cut below the data folder: the source's own name with the extension in small letters."""
        return f"{self.folder}/{Path(source_name).stem}.tif"


def _landsat(row: int, taken: datetime, window: tuple[int, int, int, int]) -> Scene:
    name = f"LC08_L1TP_224{row:03d}_20200518_20200518_01_RT"
    assets = {band: (f"landsat8/{name}_{band}.TIF", 0) for band in ("B2", "B3", "B4")}
    return Scene(name, taken, "landsat", window, 128, assets)


def _rgbn(date: str) -> Scene:
    source = f"rgbn/rgbn_{date}.tif"
    taken = datetime.strptime(date, "%Y%m%d")  # noqa: DTZ007 - the collection's datetimes are UTC without a zone
    assets = {band: (source, index) for index, band in enumerate(("R", "G", "B", "NIR"))}
    return Scene(f"rgbn_{date}", taken, "rgbn", (310, 0, 192, 160), 64, assets)


# The day is the product's. The time of day is an estimate, a minute or two off at most: the pass of 2020-01-27 on the same track is centred on row
# 78 at 13:36:10 UTC, and a WRS-2 row takes 24 s.
LANDSAT = (
    _landsat(77, datetime(2020, 5, 18, 13, 35, 36), (1396, 950, 342, 565)),  # noqa: DTZ001
    _landsat(78, datetime(2020, 5, 18, 13, 36), (618, 680, 342, 696)),  # noqa: DTZ001
)
RGBN = tuple(_rgbn(date) for date in ("20160101", "20160401", "20160517", "20170203"))
LABELS = "landsat8/LC08_L1TP_224078_20200518_20200518_01_RT"
# Chosen by eye in the cut: (label, first column, first row, end column, end row)
RGBN_PLOTS = (
    ("crop field", 130, 36, 160, 54),
    ("bare field", 115, 74, 127, 85),
    ("trees", 49, 117, 75, 143),
    ("houses", 84, 120, 106, 146),
    ("riverbed", 1, 75, 15, 90),
)


# -- rasters ------------------------------------------------------------------------------------------------------------------


def cut(source: Path, target: Path, window: tuple[int, int, int, int], block: int) -> None:
    """Write ``window`` of ``source`` as a COG with square tiles of ``block`` pixels: same values, grid, CRS, pixel interpretation."""
    part = Window(*window)
    col, row, _, _ = window
    with rasterio.open(source) as src:
        pixels = src.read(window=part)
        profile = {
            "driver": "GTiff",
            "count": src.count,
            "height": pixels.shape[1],
            "width": pixels.shape[2],
            "dtype": src.dtypes[0],
            "crs": src.crs,
            "transform": moved(src.transform, col, row),
            "nodata": src.nodata,
        }
        pixel_is = src.tags().get("AREA_OR_POINT", "Area")
        colours = src.colorinterp
    target.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as plain:
            plain.colorinterp = colours
            plain.update_tags(AREA_OR_POINT=pixel_is)
            plain.write(pixels)
        rasterio.shutil.copy(memory.name, target, driver="COG", BLOCKSIZE=str(block), **COG_OPTIONS)


def corner(grid: Affine, col: int, row: int) -> tuple[float, float]:
    """(x, y) of the upper left corner of a pixel."""
    return grid.a * col + grid.b * row + grid.c, grid.d * col + grid.e * row + grid.f


def moved(grid: Affine, col: int, row: int) -> Affine:
    """The same grid with its origin at pixel (col, row)."""
    x, y = corner(grid, col, row)
    return Affine(grid.a, grid.b, x, grid.d, grid.e, y)


def footprint(raster: Path) -> tuple[shapely.Polygon, int]:
    """The raster's outline in OGC:CRS84, its edges followed in twenty steps each, and its EPSG code."""
    with rasterio.open(raster) as src:
        bounds, crs = src.bounds, CRS.from_wkt(src.crs.to_wkt())
    outline = shapely.box(*bounds)
    step = max(bounds.right - bounds.left, bounds.top - bounds.bottom) / 20
    epsg = crs.to_epsg()
    if epsg is None:
        raise SystemExit(f"{raster}: the CRS has no EPSG code")
    return to_crs84(shapely.segmentize(outline, step), epsg), epsg


# -- vectors ------------------------------------------------------------------------------------------------------------------


def to_crs84(geometry: Any, epsg: int) -> Any:
    """``geometry`` from ``EPSG:epsg`` to OGC:CRS84 (longitude, latitude), rounded to ``DECIMALS``."""
    transformer = Transformer.from_crs(f"EPSG:{epsg}", CRS84, always_xy=True)

    def move(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.round(np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])), DECIMALS)

    return shapely.transform(geometry, move)


def geopackage_wkb(blob: bytes) -> bytes:
    """The WKB inside a GeoPackage geometry (GeoPackage 1.3, section 2.1.3: "GP", version, flags, SRS id, envelope, WKB)."""
    magic, _version, flags = struct.unpack_from("<2sBB", blob)
    envelope = (flags >> 1) & 0b111
    if magic != b"GP" or envelope > 4:
        raise SystemExit(f"not a GeoPackage geometry: it starts with {blob[:4]!r}")
    return blob[8 + (0, 32, 48, 48, 64)[envelope] :]


def read_labels(path: Path) -> list[tuple[int, str, Any]]:
    """(id, label, geometry in OGC:CRS84) of a GeoPackage's one feature table, by id."""
    connection = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1", uri=True)
    try:
        [(table, column, epsg)] = connection.execute("SELECT table_name, column_name, srs_id FROM gpkg_geometry_columns").fetchall()
        rows = connection.execute(f'SELECT fid, name, "{column}" FROM "{table}" ORDER BY fid').fetchall()
    finally:
        connection.close()
    return [(fid, name, to_crs84(shapely.from_wkb(geopackage_wkb(blob)), epsg)) for fid, name, blob in rows]


def hand_drawn_plots(raster: Path) -> list[tuple[int, str, Any]]:
    """``RGBN_PLOTS`` as boxes in OGC:CRS84."""
    with rasterio.open(raster) as src:
        grid, epsg = src.transform, src.crs.to_epsg()
    plots = []
    for number, (label, col, row, end_col, end_row) in enumerate(RGBN_PLOTS, start=1):
        (left, top), (right, bottom) = corner(grid, col, row), corner(grid, end_col, end_row)
        plots.append((number, label, shapely.box(*to_crs84(shapely.box(left, bottom, right, top), epsg).bounds)))
    return plots


# -- tables -------------------------------------------------------------------------------------------------------------------


def geo_metadata(column: str, geometries: Sequence[Any]) -> dict[bytes, bytes]:
    """The ``geo`` key of a GeoParquet 1.1.0 file with one WKB column in OGC:CRS84."""
    bounds = shapely.total_bounds(np.asarray(geometries, dtype=object)).tolist()
    types = sorted({geometry.geom_type for geometry in geometries})
    described = {"encoding": "WKB", "geometry_types": types, "crs": CRS.from_user_input(CRS84).to_json_dict(), "bbox": bounds}
    return {b"geo": json.dumps({"version": "1.1.0", "primary_column": column, "columns": {column: described}}).encode()}


def label_table(labels: Sequence[tuple[int, str, Any]]) -> pa.Table:
    """The labels as a table: id BIGINT, label VARCHAR, geom WKB."""
    ids, names, geometries = zip(*labels, strict=True)
    columns = {"id": pa.array(ids, pa.int64()), "label": pa.array(names, pa.string()), "geom": pa.array(shapely.to_wkb(geometries), pa.binary())}
    return pa.table(columns).replace_schema_metadata(geo_metadata("geom", geometries))


def scene_table(scenes: Sequence[Scene], out: Path) -> pa.Table:
    """The records table: id, datetime, geometry (footprint), assets (hrefs relative to the data folder), proj:epsg."""
    asset = pa.struct([("href", pa.string()), ("band_index", pa.int64())])
    assets = [{band: {"href": scene.target(name), "band_index": index} for band, (name, index) in scene.assets.items()} for scene in scenes]
    outlines = [footprint(out / scene.targets()[0]) for scene in scenes]
    geometries = [outline for outline, _ in outlines]
    columns = {
        "id": pa.array([scene.id for scene in scenes], pa.string()),
        "datetime": pa.array([scene.taken for scene in scenes], pa.timestamp("us")),
        "geometry": pa.array(shapely.to_wkb(geometries), pa.binary()),
        "assets": pa.array(assets, pa.struct([(band, asset) for band in scenes[0].assets])),
        "proj:epsg": pa.array([epsg for _, epsg in outlines], pa.int32()),
    }
    return pa.table(columns).replace_schema_metadata(geo_metadata("geometry", geometries))


def make(source: Path, out: Path) -> list[Path]:
    """Write all of it below ``out``, over what is there; returns the files written."""
    for scene in (*LANDSAT, *RGBN):
        for name in scene.sources():
            cut(source / name, out / scene.target(name), scene.window, scene.block)
    area = shapely.union_all([footprint(out / scene.targets()[0])[0] for scene in LANDSAT])
    inside = {kind: [row for row in read_labels(source / f"{LABELS}_{kind}.gpkg") if area.contains(row[2])] for kind in ("points", "polygons")}
    tables = {
        "points": label_table(inside["points"]),
        "plots": label_table(inside["polygons"]),
        "rgbn_plots": label_table(hand_drawn_plots(out / RGBN[0].targets()[0])),
        "landsat_scenes": scene_table(LANDSAT, out),
        "rgbn_scenes": scene_table(RGBN, out),
    }
    for name, table in tables.items():
        pq.write_table(table, out / f"{name}.parquet", compression="zstd")
    rasters = {out / href for scene in (*LANDSAT, *RGBN) for href in scene.targets()}
    return sorted([*rasters, *(out / f"{name}.parquet" for name in tables)])


def main() -> None:
    parser = argparse.ArgumentParser(description="Cut the sample data of rasteret_sql out of a folder of source rasters.")
    parser.add_argument("source", type=Path, help="folder with landsat8/ and rgbn/")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="data folder to write anew (default: the package's)")
    arguments = parser.parse_args()
    if not (arguments.source / "landsat8").is_dir() or not (arguments.source / "rgbn").is_dir():
        parser.error(f"{arguments.source} has no landsat8/ and rgbn/")
    files = make(arguments.source, arguments.out)
    for path in files:
        print(f"{path.stat().st_size:>9,}  {path.relative_to(arguments.out)}")
    print(f"{sum(path.stat().st_size for path in files):>9,}  in all")


if __name__ == "__main__":
    main()
