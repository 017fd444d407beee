"""Typical mistakes: what DuckDB says of them, with our line, tells what is valid and what to type. Texts are judged by their parts, not word by word."""

from __future__ import annotations

import duckdb
import pytest

import rasteret_sql
from tests.collection.asking import one, refused
from tests.collection.tiffs import records, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("mistakes")
    for name in ("ws", "other", "images"):
        (root / name).mkdir()
    for name in ("scene_a", "scene_b"):
        write(root / "images" / f"{name}.tif", bands=2)
    return root


@pytest.fixture(scope="module")
def con(folder):
    """``demo`` with red and nir; ``elsewhere`` is a collection of another workspace."""
    file = folder / "images" / "scene_a.tif"
    rasteret_sql.build_from_table(records({"a": file}), name="elsewhere", href_column="href", workspace=folder / "other")
    with rasteret_sql.connect() as connection:
        connection.execute(f"SET VARIABLE rasteret_workspace = '{folder}/ws'").fetchall()
        connection.register("files", records({"a": file}, datetime=["2024-01-05"]))
        connection.execute(
            "FROM rasteret_build_from_table(files, name := 'demo', href_column := 'href', band_index_map := {'red': 0, 'nir': 1})"
        ).fetchall()
        for name, row in {
            "points": "'POINT(15.001 46.9525)' AS geom",
            "plots": "'POLYGON((15 46.95, 15.002 46.95, 15.002 46.953, 15 46.95))' AS geom",
            "lonlat": "1 AS id, 15.0 AS lon, 46.9 AS lat",
            "nothing": "1 AS id, 'x' AS label",
            "dated": "'POINT(15.001 46.9525)' AS geom, DATE '2024-01-05' AS day",
        }.items():
            connection.execute(f"CREATE TABLE {name} AS SELECT {row}").fetchall()
        yield connection


S2 = "rasteret_build('earthsearch/sentinel-2-l2a', name := 's2', bbox := [15, 46, 16, 47], date_range := {})"
BOX = "rasteret_build('earthsearch/sentinel-2-l2a', name := 's2', bbox := {}, date_range := '2024-01')"
MISTAKES = {
    # what is asked of
    "rasteret_sample(demmo, points, bands := 'red')": None,
    "rasteret_bands(demmo)": ["no collection 'demmo'", "did you mean 'demo'?", "built: demo"],
    "rasteret_bands(elsewhere)": ["no collection 'elsewhere'", "built: demo (in ", "/ws; rasteret_workspace names another folder)"],
    "rasteret_bands('images')": ["'images' is a folder of 2 GeoTIFFs", "write 'images/*.tif'"],
    "rasteret_bands('./images')": ["is a folder of 2 GeoTIFFs", "write 'images/*.tif'"],
    "rasteret_bands('images/scene_c.tif')": ["'images/scene_c.tif': no such file", "did you mean 'images/scene_"],
    "rasteret_bands('imagse/scene_a.tif')": ["there is no folder 'imagse'", "did you mean 'images'?"],
    "rasteret_bands('images/*.tiff')": ["no file matches 'images/*.tiff'", "there: scene_a.tif, scene_b.tif"],
    "rasteret_bands(['images/scene_a.tif', 'images/b.tif'])": ["'images/b.tif': no such file", "did you mean 'images/scene_b.tif'?"],
    "rasteret_collection('imag.parquet')": ["no collection 'imag.parquet'", "built: demo"],
    "rasteret_bands('/vsis3/bucket/a.tif')": ["GDAL's /vsis3/ paths are not read here", "give s3://"],
    "rasteret_bands('ftp://host/a.tif')": ["ftp:// is not read", "https://"],
    "rasteret_bands('s3://bucket')": ["s3://bucket"],
    # bands, words, numbers
    "rasteret_sample(demo, points, bands := 'rad')": ["unknown band 'rad'", "did you mean 'red'?", "bands: red, nir"],
    "rasteret_sample(demo, points)": ["bands is missing", "choose from: red, nir"],
    "rasteret_sample(demo, points, bands = ['red'])": None,
    "rasteret_sample(demo, points, bands := 'red', match := 'newest')": ["match := 'newest' is not valid", "valid: all, latest, nearest"],
    "rasteret_read(demo, plots, bands := 'red', pixels := 'centre')": ["did you mean 'center'?", "valid: center, all_touched, window"],
    "rasteret_read(demo, plots, bands := 'red', on_error := 'nul')": ["did you mean 'null'?", "valid: raise, null"],
    "rasteret_read(demo, plots, bands := 'red', resolution := '60')": ["resolution := '60' is not valid", "a number greater than 0 is"],
    "rasteret_read(demo, plots, bands := 'red', resolution := 60, resampling := 'bilinaer')": ["did you mean 'bilinear'?", "valid: nearest"],
    "rasteret_sample(demo, points, bands := 'red', scaled := 'yes')": ["scaled := 'yes' is not valid", "valid: true, false"],
    "rasteret_zonal(demo, plots, bands := 'red', stats := ['maen'])": ["unknown statistic 'maen'", "did you mean 'mean'?", "valid: count, sum"],
    "rasteret_zonal(demo, plots, bands := 'red', stats := ['avg'])": ["did you mean 'mean'?"],
    "rasteret_zonal(demo, plots, bands := 'red', stats := ['p90'])": ["did you mean 'quantile(0.9)'?"],
    "rasteret_zonal(demo, plots, bands := 'red', stats := ['quantile(90)'])": ["from 0 to 1", "write quantile(0.9)"],
    "rasteret_zonal(demo, plots, bands := 'red', per := 'week')": ["per := 'week' is not valid", "valid: record, day, month, year, all"],
    "rasteret_zonal(demo, plots, bands := 'red', stats := ['weighted_mean'])": ["weighted_mean needs weights := '<band or expression>'"],
    # expressions
    "rasteret_sample(demo, points, expressions := {'ndvi': 'nir - rad'})": ["no band 'rad'", "did you mean 'red'?"],
    "rasteret_sample(demo, points, expressions := '(nir - red) / (nir + red)')": ["expressions := ", "{'ndvi': '(B08 - B04) / (B08 + B04)'} is"],
    "rasteret_sample(demo, points, expressions := {'ndvi': '(nir - red / (nir'})": ["expressions.ndvi", "does not parse"],
    "rasteret_sample(demo, points, bands := 'red', mask := 'SCL = 4')": ["mask: no band 'SCL'", "bands: red, nir"],
    # geometries
    "rasteret_sample(demo, lonlat, bands := 'red')": ["no geometry column", "x := 'lon', y := 'lat'", "columns: id, lon, lat"],
    "rasteret_sample(demo, nothing, bands := 'red')": ["no geometry column", "geometry := '<column>'", "columns: id, label"],
    "rasteret_sample(demo, points, bands := 'red', geometry := 'gem')": ["no column 'gem'", "did you mean 'geom'?"],
    "rasteret_sample(demo, lonlat, bands := 'red', x := 'lon')": ["x and y go together"],
    "rasteret_zonal(demo, points, bands := 'red')": ["a Point has no area", "ST_Buffer"],
    "rasteret_sample(demo, plots, bands := 'red')": ["a Polygon is no point", "use rasteret_read for areas"],
    "rasteret_sample(demo, points, bands := 'red', geometry_crs := 32633)": ["geometry_crs := 32633 is not valid", "'EPSG:32633' is"],
    "rasteret_sample(demo, points, bands := 'red', geometry_crs := 'UTM 33N')": ["unknown CRS 'UTM 33N'", "EPSG:32643"],
    # times
    "rasteret_sample(demo, dated, bands := 'red', match := 'nearest')": ["needs time_column := '<column of the points>'"],
    "rasteret_sample(demo, dated, bands := 'red', match := 'nearest', time_column := 'dya')": ["no column 'dya'", "did you mean 'day'?"],
    "rasteret_sample(demo, dated, bands := 'red', match := 'nearest', time_column := 'day', tolerance := '5 dys')": ["'10 days'"],
    "rasteret_sample(demo, dated, bands := 'red', time_column := 'day')": ["time_column goes with match := 'nearest'"],
    # builds
    S2.format("'01/02/2024'"): ["'01/02/2024' is no date", "['2024-01-01', '2024-01-31']"],
    S2.format("'2024-13'"): ["'2024-13' is no date", "'YYYY-MM-DD'"],
    S2.format("'January 2024'"): ["'January 2024' is no date", "'YYYY-MM'"],
    S2.format("['2024-02-01', '2024-01-01']"): ["date_range ends before it starts"],
    BOX.format("'15,46,16,47'"): ["bbox := '15,46,16,47' is not valid", "[15, 46, 16, 47], without quotes, is"],
    BOX.format("[46, 115, 47, 116]"): ["longitude comes first: [115, 46, 116, 47]?"],
    BOX.format("[16, 46, 15, 47]"): ["west 16 lies east of east 15"],
    "rasteret_build('sentinel-2-l2a', name := 's2', bbox := [15, 46, 16, 47], date_range := '2024')": [
        "unknown dataset 'sentinel-2-l2a'",
        "did you mean '",
    ],
    "rasteret_build('pc/nasadem', name := 'd')": [
        "say where with bbox := [west, south, east, north]",
        "for example FROM rasteret_build('pc/nasadem'",
    ],
    "rasteret_build('pc/nasadem', bbox := [15, 46, 16, 47])": ["name is missing"],
    "rasteret_build_from_table(files, name := 'x')": ["give href_column := '<column>'", "columns: id, href"],
    "rasteret_build_from_table(files, name := 'x', href_column := 'hrefs')": ["no column 'hrefs'", "did you mean 'href'?"],
    "rasteret_build_from_table(points, name := 'x', href_column := 'geom')": ["no column 'id'", "column_map := {'<column>': 'id'}"],
    "rasteret_build_from_table(files, name := 'a b', href_column := 'href')": ["'a b' is no collection name", "letters, digits"],
    "rasteret_build_from_stac('https://x/v1', 'c', name := 'x', band_map := 'red')": ["{'B04': 'red', 'B08': 'nir'} is"],
    "rasteret_export(demo, 'https://host/x')": ["https://host/x cannot be written to", "s3:// can"],
}


@pytest.mark.parametrize("call", [call for call, parts in MISTAKES.items() if parts])
def test_our_line_says_what_is_valid(con, folder, call, monkeypatch):
    monkeypatch.chdir(folder)
    message = refused(con, f"FROM {call}")
    for part in MISTAKES[call]:
        assert part in message
    assert len(message) < 700


SAID_BY_DUCKDB = {
    "FROM rasteret_sampel(demo, points, bands := 'red')": 'Did you mean "rasteret_sample"?',
    "FROM rasteret_zonals(demo, plots, bands := 'red')": 'Did you mean "rasteret_zonal',
    "SELECT rasteret_valu('demo', 'POINT(15 46)', 'red')": 'Did you mean "rasteret_value"?',
    "FROM rasteret_sample(demo, pionts, bands := 'red')": 'Did you mean "points"?',
    "FROM rasteret_sample(demo, points, band := 'red')": "rasteret_sample(collection, points, bands := NULL, geometry := NULL",
    "FROM rasteret_zonal(demo, plots, statistics := ['mean'])": "stats := NULL",
    "FROM rasteret_sample(demo)": "rasteret_sample(collection, points",
    "SELECT rasteret_sample(demo, points, bands := 'red')": "rasteret_sample(record, point, band)",
    "FROM rasteret_sample(demo, lonlat, bands := 'red', x := 'long', y := 'lat')": '"lon"',
    "FROM rasteret_sample(demo, 'no such.parquet', bands := 'red')": "no such.parquet",
}


@pytest.mark.parametrize("statement", SAID_BY_DUCKDB)
def test_duckdb_says_it_for_us(con, statement):
    """What never reaches us: DuckDB lists near names and, of macros, every argument with its default."""
    with pytest.raises(duckdb.Error) as caught:
        con.execute(statement).fetchall()
    assert SAID_BY_DUCKDB[statement] in str(caught.value)


def test_an_equals_sign_where_an_assignment_was_meant(con):
    assert "bands := false is not valid; a list of band names is, such as ['B04', 'B08']" in refused(
        con, "FROM rasteret_sample(demo, points, bands = 'red')"
    )


OUTSIDE = {
    "rasteret_sample(demo, here, bands := 'red')": "POINT(46.9525 15.001)",
    "rasteret_sample(demo, here, bands := 'red', match := 'latest')": "POINT(46.9525 15.001)",
    "rasteret_read(demo, here, bands := 'red')": "POLYGON((46.95 15, 46.95 15.002, 46.953 15.002, 46.95 15))",
    "rasteret_zonal(demo, here, bands := 'red')": "POLYGON((46.95 15, 46.95 15.002, 46.953 15.002, 46.95 15))",
}


@pytest.mark.parametrize("call", OUTSIDE)
def test_exchanged_coordinates_are_suspected(con, call):
    """Latitude first: outside, but within the collection's bounds the other way round. Elsewhere nothing is suspected."""
    con.execute(f"CREATE OR REPLACE TABLE here AS SELECT '{OUTSIDE[call]}' AS geom").fetchall()
    row = one(con, f"FROM {call}")
    assert row["status"] == "outside"
    assert row["error"] == "with x and y exchanged it would lie within the collection; coordinates are x, y (longitude, latitude)"
    con.execute(f"CREATE OR REPLACE TABLE here AS SELECT '{OUTSIDE[call].replace('15', '16')}' AS geom").fetchall()
    row = one(con, f"FROM {call}")
    assert (row["status"], row["error"]) == ("outside", None)


def test_metres_taken_for_degrees(con):
    con.execute("CREATE OR REPLACE TABLE here AS SELECT 500100 AS x, 5199900 AS y").fetchall()
    row = one(con, "FROM rasteret_sample(demo, here, bands := 'red', x := 'x', y := 'y')")
    assert row["status"] == "outside"
    assert "give their CRS, such as geometry_crs := 'EPSG:" in row["error"]
    right = one(con, "FROM rasteret_sample(demo, here, bands := 'red', x := 'x', y := 'y', geometry_crs := 'EPSG:32633')")
    assert (right["status"], right["error"]) == ("ok", None)


def test_two_numbers_for_a_point(con):
    assert "a point is written 'POINT(15.001 46.9525)'" in refused(con, "SELECT rasteret_value('demo', '15.001, 46.9525', 'red')")
