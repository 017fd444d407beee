"""What items say beside their files: CRS, nodata, scale and offset where the header is silent; properties as columns. STAC 1.0 and 1.1."""

from __future__ import annotations

import json
import math

import duckdb
import pyproj
import pytest

from rasteret_sql.collection.stac.bands import not_geotiff, parse_band_map
from rasteret_sql.collection.stac.items import Batch
from tests.collection.asking import one, refused, rows
from tests.collection.tiffs import write

BOX = [15.0, 46.94, 15.1, 46.96]


@pytest.fixture
def catalogue(con, tmp_path):
    """``make(asset fields, properties, **kind of the file)`` builds a catalogue of one item and answers with its record."""

    def make(fields=None, properties=None, band_map="{'red': 'red'}", items=1, **tiff):
        write(tmp_path / "red.tif", **tiff)
        features = []
        for number in range(items):
            features.append(
                {
                    "type": "Feature",
                    "stac_version": "1.0.0",
                    "id": f"i{number}",
                    "bbox": BOX,
                    "geometry": None,
                    "properties": {"datetime": "2024-01-01T00:00:00Z"} | (properties or {}),
                    "assets": {"red": {"href": "red.tif", "type": "image/tiff"} | (fields or {})},
                    "links": [],
                }
            )
        (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        one(con, f"FROM rasteret_build_from_stac('{tmp_path}/items.json', NULL, name := 'c', band_map := {band_map}, force := true)")
        return rows(con, "FROM rasteret_collection('c')")[0]

    return make


WKT = pyproj.CRS("EPSG:32633").to_wkt("WKT2_2019")
PROJJSON = pyproj.CRS("EPSG:32633").to_json_dict()


@pytest.mark.parametrize("where", ["item", "asset"])
@pytest.mark.parametrize(
    "said",
    [{"proj:epsg": 32633}, {"proj:code": "EPSG:32633"}, {"proj:wkt2": WKT, "proj:epsg": None}, {"proj:projjson": PROJJSON, "proj:code": None}],
    ids=["epsg", "code", "wkt2", "projjson"],
)
def test_crs_for_files_that_name_none(con, catalogue, where, said):
    catalogue(*((None, said) if where == "item" else (said, None)), epsg=None)
    con.execute("CREATE TEMP TABLE p AS SELECT 500005.0 AS x, 5199995.0 AS y").fetchall()
    found = one(con, "FROM rasteret_sample('c', p, x := 'x', y := 'y', geometry_crs := 'EPSG:32633')")
    assert found["status"] == "ok"


def test_the_header_beats_the_item(catalogue):
    record = catalogue({"proj:epsg": 32631}, {"proj:epsg": 4326}, epsg=32633)
    assert (record["crs"], record["proj:epsg"]) == ("EPSG:32633", 32633)


def test_the_asset_beats_the_item(catalogue):
    assert catalogue({"proj:code": "EPSG:32633"}, {"proj:code": "EPSG:4326"}, epsg=None)["crs"] == "EPSG:32633"


@pytest.mark.parametrize("said", [{"proj:code": "+init={file}"}, {"proj:wkt2": "+init={file}"}, {"proj:code": "{file}:code"}])
def test_a_crs_that_would_open_a_file_is_none(tmp_path, catalogue, said):
    """PROJ reads definitions from files that a text names; a remote catalogue must not choose them."""
    (tmp_path / "codes").write_text("<code> +proj=utm +zone=33 +datum=WGS84\n")
    catalogue({name: text.format(file=f"{tmp_path}/codes") for name, text in said.items()}, epsg=32633)
    with pytest.raises(duckdb.Error, match="the file names no CRS"):
        catalogue({name: text.format(file=f"{tmp_path}/codes") for name, text in said.items()}, epsg=None)


def test_no_crs_anywhere(con, tmp_path, catalogue):
    with pytest.raises(duckdb.Error, match="the file names no CRS"):
        catalogue(epsg=None)


OLD = {"raster:bands": [{"nodata": 7, "scale": 0.5, "offset": -2}]}
NEW = {"bands": [{"nodata": 7, "raster:scale": 0.5, "raster:offset": -2}]}
SHARED = {"nodata": 7, "raster:scale": 0.5, "raster:offset": -2, "bands": [{"name": "x"}]}


@pytest.mark.parametrize("fields", [OLD, NEW, SHARED], ids=["1.0", "1.1", "1.1 shared"])
def test_nodata_scale_and_offset(catalogue, fields):
    """STAC's count where the header has none; the header's own beat them."""
    meta = catalogue(fields)["red_metadata"]
    assert (meta["nodata"], meta["scale"], meta["offset"]) == (7.0, 0.5, -2.0)
    meta = catalogue(fields, nodata=9)["red_metadata"]
    assert (meta["nodata"], meta["scale"], meta["offset"]) == (9.0, 0.5, -2.0)


def test_an_offset_that_was_subtracted_already(catalogue):
    """Earth Search leaves it in the metadata and says so in a property."""
    meta = catalogue(OLD, {"earthsearch:boa_offset_applied": True})["red_metadata"]
    assert (meta["scale"], meta["offset"]) == (0.5, 0.0)
    assert catalogue(OLD, {"earthsearch:boa_offset_applied": False})["red_metadata"]["offset"] == -2.0


def test_hrefs_are_rewritten_by_prefix():
    found = Batch(parse_band_map({"r": "r"}), {"https://landsatlook.usgs.gov/data/": "s3://usgs-landsat/"})
    for href in ("https://landsatlook.usgs.gov/data/a.tif", "./b.tif", "https://example.com/c.tif"):
        found.add({"id": href, "assets": {"r": {"href": href}}}, "https://landsatlook.usgs.gov/data/items/i.json")
    assert found.table(remote=True).hrefs == {"r": ["s3://usgs-landsat/a.tif", "s3://usgs-landsat/items/b.tif", "https://example.com/c.tif"]}


def test_the_header_s_scale_and_offset_go_together(catalogue, tmp_path, con):
    import rasterio

    catalogue(OLD)
    with rasterio.open(tmp_path / "red.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as out:
        out.scales, out.offsets = (2.0,), (0.0,)
    one(con, f"FROM rasteret_build_from_stac('{tmp_path}/items.json', NULL, name := 'c', band_map := {{'red': 'red'}}, force := true)")
    meta = one(con, "SELECT red_metadata AS m FROM rasteret_collection('c')")["m"]
    assert (meta["scale"], meta["offset"], meta["nodata"]) == (2.0, 0.0, 7.0)


def test_each_sample_has_its_own(catalogue):
    fields = {"raster:bands": [{"nodata": 1}, {"nodata": "nan", "scale": 3}]}
    record = catalogue(fields, band_map="{'a': 'red', 'b': 'red[1]', 'd': 'red[2]'}", bands=3, dtype="float32")
    assert (record["a_metadata"]["nodata"], record["a_metadata"]["scale"]) == (1.0, 1.0)
    assert math.isnan(record["b_metadata"]["nodata"])
    assert record["b_metadata"]["scale"] == 3.0
    assert record["d_metadata"]["nodata"] is None


def test_scaled_values_use_it(con, catalogue):
    catalogue(OLD)
    con.execute("CREATE TEMP TABLE p AS SELECT 500005.0 AS x, 5199995.0 AS y").fetchall()
    stored, scaled = (
        one(con, f"FROM rasteret_sample('c', p, x := 'x', y := 'y', geometry_crs := 'EPSG:32633', scaled := {flag})")["red"]
        for flag in ("false", "true")
    )
    assert scaled == stored * 0.5 - 2


def test_properties_keep_their_names_and_kinds(catalogue):
    properties = {
        "eo:cloud_cover": 20,
        "platform": "x",
        "flag": False,
        "instruments": ["a", "ü"],
        "nested": {"a": [1]},
        "created": "2024-01-02T03:04:05.678Z",
        "updated": "2024-01-02T05:04:05+02:00",
        "expires": "whenever",
        "id": "mine",
        "Year": 2021,
        "x_metadata": 1,
        "proj:shape": [1, 2],
        "datetime_of_delivery": "later",
        "none": None,
        "big": 10**400,
    }
    record = catalogue(None, properties)
    assert record["eo:cloud_cover"] == 20.0
    assert isinstance(record["eo:cloud_cover"], float)
    assert (record["platform"], record["flag"]) == ("x", False)
    assert (json.loads(record["instruments"]), json.loads(record["nested"])) == (["a", "ü"], {"a": [1]})
    assert [str(record[name]) for name in ("created", "updated", "expires")] == ["2024-01-02 03:04:05.678000", "2024-01-02 03:04:05", "None"]
    assert (record["id"], record["stac:id"], record["stac:Year"], record["x_metadata_"]) == ("i0", "mine", 2021.0, 1.0)
    assert (record["year"], record["month"]) == (2024, 1)
    assert record["datetime_of_delivery"] == "later"
    assert not {"none", "proj:shape"} & set(record)
    assert record["big"].startswith("1000")


def batch(*properties):
    found = Batch(parse_band_map({"r": "r"}))
    for number, values in enumerate(properties):
        found.add({"id": f"i{number}", "properties": values, "assets": {}}, "https://example.com/x.json")
    return found.table(remote=True)


def test_mixed_and_missing_properties():
    table = batch({"a": 1, "b": "x"}, {"a": 2.5, "B": "y"}, {"a": None, "c": True}, {"a": 1, "c": "no"}).extra
    assert table.to_pydict() == {"a": [1.0, 2.5, None, 1.0], "b": ["x", "y", None, None], "c": [None, None, "true", "no"]}


def test_items_without_any_properties():
    table = batch({}, {})
    assert (table.extra.num_rows, table.extra.num_columns, table.ids) == (2, 0, ["i0", "i1"])


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"datetime": "2024-01-01T12:00:00.123456789Z"}, "2024-01-01 12:00:00.123456"),
        ({"datetime": "2024-01-01T12:00:00+05:30"}, "2024-01-01 06:30:00"),
        ({"datetime": None, "start_datetime": "2023-01-01T00:00:00Z", "end_datetime": "2024-01-01T00:00:00Z"}, "2023-01-01 00:00:00"),
        ({"datetime": None, "end_datetime": "2024-01-01T00:00:00Z"}, "2024-01-01 00:00:00"),
        ({"datetime": "someday"}, "None"),
        ({}, "None"),
    ],
)
def test_the_time_of_a_record(properties, expected):
    assert str(batch(properties).datetimes[0].as_py()) == expected


@pytest.mark.parametrize(
    ("kind", "href", "said"),
    [
        ("image/tiff; application=geotiff; profile=cloud-optimized", "a", None),
        ("image/vnd.stac.geotiff; cloud-optimized=true", "a.bin", None),
        ("IMAGE/TIFF", "a", None),
        (None, "https://h/a.TIF?sig=1", None),
        (None, "https://h/a", None),
        ("application/octet-stream", "https://h/a.tif", None),
        ("application/octet-stream", "https://h/a.nc", "a .nc file"),
        ("application/json", "https://h/a.tiff", None),
        ("image/jp2", "https://h/a", "image/jp2"),
        ("image/png", "https://h/a.png", "image/png"),
        ("application/netcdf", "https://h/a", "application/netcdf"),
        (None, "https://h/a.jp2", "a .jp2 file"),
        (None, "https://h/a.zarr", "a .zarr file"),
    ],
)
def test_what_is_a_geotiff(kind, href, said):
    assert not_geotiff({"href": href} | ({"type": kind} if kind else {})) == said


def test_band_maps():
    refs = parse_band_map({"R": "image[0]", "N": "image[3]", "S": "scl", "odd": "a[b]"}, {"S": 2})
    assert [(ref.band, ref.key, ref.sample) for ref in refs] == [("R", "image", 0), ("N", "image", 3), ("S", "scl", 2), ("odd", "a[b]", 0)]


def test_one_broken_item_does_not_hide_the_others(con, tmp_path):
    write(tmp_path / "ok.tif")
    items = [
        {"type": "Feature", "id": "ok", "properties": {"datetime": "2024-01-01T00:00:00Z"}, "assets": {"red": {"href": "ok.tif"}}},
        {"type": "Feature", "id": "gone", "properties": {"datetime": "2024-01-01T00:00:00Z"}, "assets": {"red": {"href": "gone.tif"}}},
        {"type": "Feature", "id": "bare"},
        {"type": "Feature", "id": "odd", "properties": [], "assets": {"red": "x"}, "links": 3, "bbox": ["a"], "geometry": {"type": "Polygon"}},
    ]
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    report = one(
        con, f"FROM rasteret_build_from_stac('{tmp_path}/items.json', NULL, name := 'c', band_map := {{'red': 'red'}}, bbox := [-180, -90, 180, 90])"
    )
    assert (report["records"], report["failed"]) == (1, 1)
    (failure,) = rows(con, "FROM rasteret_failures('c')")
    assert failure["id"] == "gone"
    assert (
        "x" not in refused(con, f"FROM rasteret_build_from_stac('{tmp_path}/items.json', NULL, name := 'd', band_map := {{'n': 'nir'}})").split()[0]
    )
