"""The files of a collection: columns and types as the interchange contract has them, GeoParquet, partitions, compression, pruning."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from pyproj import Transformer
from rasterio.warp import transform_bounds

from tests.collection.asking import one, rows
from tests.collection.tiffs import records, write

INT, DOUBLE, TEXT = pa.int32(), pa.float64(), pa.string()
CONTRACT = [
    ("id", TEXT),
    ("datetime", pa.timestamp("us")),
    ("geometry", pa.binary()),
    ("assets", pa.struct([(band, pa.struct([("href", TEXT), ("band_index", pa.int64())])) for band in ("b1", "b2")])),
    ("bbox", pa.struct([(corner, DOUBLE) for corner in ("xmin", "ymin", "xmax", "ymax")])),
    ("proj:epsg", INT),
    ("crs", TEXT),
]
METADATA = [
    *((name, INT) for name in ("image_width", "image_height", "tile_width", "tile_height")),
    ("dtype", TEXT),
    ("transform", pa.list_(DOUBLE)),
    ("predictor", INT),
    ("compression", INT),
    ("tile_offsets", pa.list_(pa.int64())),
    ("tile_byte_counts", pa.list_(pa.int64())),
    ("pixel_scale", pa.list_(DOUBLE)),
    ("tiepoint", pa.list_(DOUBLE)),
    ("nodata", DOUBLE),
    *((name, INT) for name in ("samples_per_pixel", "planar_configuration", "photometric")),
    ("extra_samples", pa.list_(INT)),
]


@pytest.fixture(scope="module")
def tiff(tmp_path_factory):
    return write(tmp_path_factory.mktemp("files") / "a.tif", bands=2, nodata=7)


def build(con, table, more="", name="c"):
    con.register("given", table)
    return Path(one(con, f"FROM rasteret_build_from_table(given, name := '{name}', href_column := 'href'{more})")["path"])


def footer(folder):
    return pq.ParquetFile(next(folder.rglob("*.parquet")))


# -- schema ------------------------------------------------------------------------------------------------------------------


def test_columns_and_types(con, tiff):
    folder = build(con, records({"a": tiff}, datetime=[datetime(2024, 1, 5)], label=["x"]))
    schema = footer(folder).schema_arrow
    assert schema.names == [*(name for name, _ in CONTRACT), "href", "label", "b1_metadata", "b2_metadata"], "year and month come from the path"
    for name, kind in CONTRACT:
        assert schema.field(name).type.equals(kind), name
    metadata = schema.field("b1_metadata").type
    assert [(metadata.field(i).name, metadata.field(i).type) for i in range(17)] == METADATA
    assert schema.field("b2_metadata").type == metadata


def test_what_the_columns_hold(con, tiff):
    folder = build(con, records({"a": tiff}, datetime=[datetime(2024, 1, 5)]))
    (row,) = footer(folder).read().to_pylist()
    with rasterio.open(tiff) as source:
        a, _, c, _, e, f = source.transform[:6]
    assert (row["proj:epsg"], row["crs"]) == (32633, "EPSG:32633")
    assert row["assets"] == {"b1": {"href": str(tiff), "band_index": 0}, "b2": {"href": str(tiff), "band_index": 1}}
    band = row["b2_metadata"]
    assert band["transform"] == [a, c, e, f], "scale x, origin x, scale y, origin y"
    assert band["pixel_scale"] == [a, -e, 0.0]
    assert band["tiepoint"] == [0.0, 0.0, 0.0, c, f, 0.0]
    assert [band[k] for k in ("image_width", "image_height", "tile_width", "tile_height", "dtype", "nodata")] == [40, 40, 16, 16, "uint16", 7.0]
    assert len(band["tile_offsets"]) == len(band["tile_byte_counts"]) == 9
    assert (band["samples_per_pixel"], band["compression"], band["byte_order"], band["file_size"]) == (2, 8, "little", tiff.stat().st_size)


def test_hive_partitions(con, tiff):
    """Month unpadded; types int32 for any reader of hive paths; records without a time in the null partition."""
    times = [datetime(2024, 1, 5), datetime(2024, 12, 31, 23, 59), None, datetime(1969, 12, 31)]
    folder = build(con, records({str(i): tiff for i in range(4)}, datetime=pa.array(times, pa.timestamp("us"))))
    found = sorted(str(file.relative_to(folder)) for file in folder.rglob("*.parquet"))
    empty = "__HIVE_DEFAULT_PARTITION__"
    assert found == sorted(f"year={y}/month={m}/part-0.parquet" for y, m in ((2024, 1), (2024, 12), (1969, 12), (empty, empty)))
    schema = ds.dataset(folder, partitioning="hive").schema
    assert (schema.field("year").type, schema.field("month").type) == (INT, INT)
    at = {row["id"]: (row["year"], row["month"]) for row in rows(con, "FROM rasteret_collection(c)")}
    assert at == {"0": (2024, 1), "1": (2024, 12), "2": (None, None), "3": (1969, 12)}
    assert {row[0]: row[1] for row in con.execute("DESCRIBE FROM rasteret_collection(c)").fetchall()} | {"year": "INTEGER", "month": "INTEGER"} == {
        row[0]: row[1] for row in con.execute("DESCRIBE FROM rasteret_collection(c)").fetchall()
    }


# -- metadata ----------------------------------------------------------------------------------------------------------------


def test_schema_metadata(con, tiff):
    times = [datetime(2024, 1, 5, 10), datetime(2023, 6, 30, 23, 59)]
    con.execute("CREATE TABLE mine (id VARCHAR, href VARCHAR, datetime TIMESTAMP)").fetchall()
    con.executemany("INSERT INTO mine VALUES (?, ?, ?)", [("a", str(tiff), times[0]), ("b", str(tiff), times[1])]).fetchall()
    folder = Path(one(con, "FROM rasteret_build_from_table(mine, name := 'c', href_column := 'href')")["path"])
    found = {k.decode(): v.decode() for k, v in footer(folder).schema_arrow.metadata.items()}
    assert found["name"] == "c"
    assert found["data_source"] == "mine"
    assert found["date_range"] == "2023-06-30,2024-01-05"
    assert found["rasteret_collection_version"] == "1"
    assert found["description"] == ""
    age = datetime.now().astimezone() - datetime.fromisoformat(found["created"])
    assert timedelta(seconds=-2) < age < timedelta(minutes=2)


def test_geoparquet(con, tiff):
    """Version 1.1: primary column, WKB, CRS84 by default (no crs key), the covering names a bbox struct that is there and covers."""
    folder = build(con, records({"a": tiff, "b": write(tiff.parent / "b.tif", origin=(700000.0, 5000000.0))}))
    parquet = footer(folder)
    geo = json.loads(parquet.schema_arrow.metadata[b"geo"])
    column = geo["columns"]["geometry"]
    assert (geo["version"], geo["primary_column"], set(geo["columns"])) == ("1.1.0", "geometry", {"geometry"})
    assert (column["encoding"], column["geometry_types"]) == ("WKB", ["Polygon"])
    assert "crs" not in column, "the default is OGC:CRS84"
    assert column["covering"]["bbox"] == {corner: ["bbox", corner] for corner in ("xmin", "ymin", "xmax", "ymax")}
    table = parquet.read()
    shapes = shapely.from_wkb(table["geometry"].to_numpy())
    assert shapely.is_valid(shapes).all()
    assert set(shapely.get_type_id(shapes)) == {shapely.GeometryType.POLYGON}
    bounds = shapely.bounds(shapes)
    boxes = np.array([list(box.values()) for box in table["bbox"].to_pylist()])
    assert (boxes[:, :2] <= bounds[:, :2]).all() and (boxes[:, 2:] >= bounds[:, 2:]).all(), "the box covers its footprint"
    assert column["bbox"] == pytest.approx([*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)])


def test_duckdb_sees_a_geometry(con, tiff):
    build(con, records({"a": tiff}))
    kinds = {row[0]: row[1] for row in con.execute("DESCRIBE FROM rasteret_collection(c)").fetchall()}
    assert kinds["geometry"] == "GEOMETRY('OGC:CRS84')"


def compressions(file: pq.ParquetFile) -> set[str]:
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    return {group.column(i).compression for group in groups for i in range(group.num_columns)}


@pytest.mark.parametrize(("count", "compression"), [(256, "SNAPPY"), (257, "ZSTD")])
def test_small_files_are_packed_lightly(con, tiff, count, compression):
    table = pa.table({"id": [f"{i:05}" for i in range(count)], "href": [str(tiff)] * count, "datetime": [datetime(2024, 1, 1)] * count})
    assert compressions(footer(build(con, table))) == {compression}


def test_compression_and_row_groups(con, tiff):
    """zstd everywhere; groups small enough that statistics prune."""
    count = 5000
    start = datetime(2024, 1, 1)
    table = pa.table(
        {"id": [f"{i:05}" for i in range(count)], "href": [str(tiff)] * count, "datetime": [start + timedelta(minutes=i) for i in range(count)]}
    )
    folder = build(con, table)
    parquet = footer(folder)
    groups = [parquet.metadata.row_group(i) for i in range(parquet.metadata.num_row_groups)]
    assert compressions(parquet) == {"ZSTD"}
    assert [group.num_rows for group in groups] == [2048, 2048, 904]
    columns = {group.column(i).path_in_schema: i for group in groups for i in range(group.num_columns)}
    spans = [group.column(columns["datetime"]).statistics for group in groups]
    assert all(before.max < after.min for before, after in zip(spans, spans[1:], strict=False)), "sorted by time"
    assert groups[0].column(columns["bbox.xmin"]).statistics.has_min_max


# -- where records lie -------------------------------------------------------------------------------------------------------

PLACES = {
    "utm": {"epsg": 32633, "origin": (500000.0, 5200000.0)},
    "utm at its edge": {"epsg": 32633, "origin": (170000.0, 8900000.0)},
    "geographic": {"epsg": 4326, "origin": (10.0, 50.0), "pixel": 0.01},
    "mercator": {"epsg": 3857, "origin": (-13000000.0, 4000000.0)},
    "laea": {"epsg": 3035, "origin": (2500000.0, 5000000.0)},
    "polar": {"epsg": 3413, "origin": (500000.0, -1500000.0)},
}


@pytest.mark.parametrize("place", PLACES)
def test_footprint_and_box(con, tmp_path, place):
    """Against GDAL's transformed bounds and, corner by corner and along the edges, against PROJ."""
    spec = dict(PLACES[place])
    pixel = spec.pop("pixel", 1000.0)
    (left, top), size = spec["origin"], 40
    file = write(tmp_path / "a.tif", **spec, transform=rasterio.Affine(pixel, 0, left, 0, -pixel, top))
    (row,) = footer(build(con, records({"a": file}))).read().to_pylist()
    with rasterio.open(file) as source:
        expected = transform_bounds(source.crs, "OGC:CRS84", *source.bounds)
    box = tuple(row["bbox"].values())
    span = max(expected[2] - expected[0], expected[3] - expected[1])
    assert box == pytest.approx(expected, abs=span * 1e-3)
    assert all(mine <= theirs + 1e-9 for mine, theirs in zip(box[:2], expected[:2], strict=True)), "never smaller than GDAL's"
    assert all(mine >= theirs - 1e-9 for mine, theirs in zip(box[2:], expected[2:], strict=True))
    along = np.linspace(0, size * pixel, 97)
    still = np.zeros_like(along)
    xs = left + np.concatenate([along, along, still, still + size * pixel])
    ys = top - np.concatenate([still, still + size * pixel, along, along])
    lon, lat = Transformer.from_crs(spec["epsg"], "OGC:CRS84", always_xy=True).transform(xs, ys)
    footprint = shapely.from_wkb(row["geometry"])
    assert shapely.distance(footprint.exterior, shapely.points(lon, lat)).max() < span * 1e-3
    corners = shapely.MultiPoint([(lon[i], lat[i]) for i in (0, 96, 97, 193)])
    assert footprint.buffer(1e-9).covers(corners)


def test_across_the_antimeridian(con, tmp_path):
    """Its box has xmin > xmax, as GeoJSON and GeoParquet have it, and points on both sides find it."""
    file = write(tmp_path / "a.tif", epsg=32601, transform=rasterio.Affine(2000.0, 0, 310000.0, 0, -2000.0, 7000000.0))
    parquet = footer(build(con, records({"a": file})))
    footprint = shapely.from_wkb(parquet.read()["geometry"][0].as_py())
    assert json.loads(parquet.schema_arrow.metadata[b"geo"])["columns"]["geometry"]["geometry_types"] == [footprint.geom_type]
    assert footprint.bounds[2] - footprint.bounds[0] > 350, "cut in two, or it would span the globe"
    assert footprint.area < 5
    box = one(con, "SELECT bbox FROM rasteret_collection(c)")["bbox"]
    assert box["xmin"] > 170
    assert box["xmax"] < -170
    with rasterio.open(file) as source:
        inverse = Transformer.from_crs(source.crs, "OGC:CRS84", always_xy=True)
        pixels = [(20, 1), (20, 38)]
        lon, lat = inverse.transform(*zip(*(source.xy(*at) for at in pixels), strict=True))
        expected = [source.read(1)[at].item() for at in pixels]
    assert lon[0] > 0 > lon[1]
    con.register("p", pa.table({"no": [0, 1], "x": lon, "y": lat}))
    found = rows(con, "SELECT b1, status FROM rasteret_sample(c, p, x := 'x', y := 'y') ORDER BY no")
    assert found == [{"b1": value, "status": "ok"} for value in expected]


def test_bounds_of_records_on_both_sides_of_the_antimeridian(con, tmp_path):
    """All longitudes when some cross it; a box with xmin > xmax when all do."""
    across = write(tmp_path / "a.tif", epsg=32601, transform=rasterio.Affine(2000.0, 0, 310000.0, 0, -2000.0, 7000000.0))
    here = write(tmp_path / "b.tif")
    con.register("given", records({"a": across, "b": here}))
    both = one(con, "FROM rasteret_build_from_table(given, name := 'both', href_column := 'href')")["bounds"]
    assert (both[0], both[2]) == (-180.0, 180.0)
    con.register("given", records({"a": across}))
    alone = one(con, "FROM rasteret_build_from_table(given, name := 'one', href_column := 'href')")["bounds"]
    assert alone[0] > 170
    assert alone[2] < -170
    assert {row["name"]: row["bounds"] for row in rows(con, "FROM rasteret_collections()")} == {"both": both, "one": alone}
