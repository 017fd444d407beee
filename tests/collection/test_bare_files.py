"""GeoTIFFs without a build, wherever a collection is taken: by path, URL, glob and list. The judge of values is rasterio."""

from __future__ import annotations

import os

import pytest
import rasterio

from tests.collection.asking import one, refused, rows
from tests.collection.tiffs import value_by_rasterio, write
from tests.servers.faulty import Fault, FaultyServer, status
from tests.servers.ranged import RangeServer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("bare files")  # the blank is meant
    write(root / "one.tif", bands=1, seed=1)
    write(root / "three.TIFF", bands=3, seed=2)
    write(root / "it's [odd] #1 100%.tif", seed=3)
    (root / "deep" / "deeper").mkdir(parents=True)
    write(root / "deep" / "deeper" / "two.tif", bands=2, seed=4)
    write(root / "unplaced.gtiff", epsg=None, seed=5)
    (root / "page.tif").write_bytes(b"<html>not found</html>" * 50)
    return root


def sql(value):
    return f"[{', '.join(map(sql, value))}]" if isinstance(value, list) else "'" + str(value).replace("'", "''") + "'"


def check_value(con, source, href, band=1, **more):
    """Through rasteret_value, at one pixel's centre."""
    lon, lat, expected = value_by_rasterio(href, band, 11, 29)
    assert one(con, f"SELECT rasteret_value({sql(source)}, 'POINT({lon} {lat})', 'b{band}') AS v") == {"v": expected}


def records(con, source, more=""):
    return rows(con, f"FROM rasteret_collection({sql(source)}{more})")


# -- every way to name them ---------------------------------------------------------------------------------------------------


def test_by_path(con, folder):
    check_value(con, folder / "one.tif", folder / "one.tif")
    check_value(con, folder / "three.TIFF", folder / "three.TIFF", band=3)


def test_by_relative_path(con, folder, monkeypatch):
    monkeypatch.chdir(folder)
    for source in ("one.tif", "./one.tif", "deep/../one.tif", ["one.tif"]):
        check_value(con, source, folder / "one.tif")


def test_by_home(con, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    check_value(con, "~/one.tif", folder / "one.tif")


def test_odd_names_are_names_before_they_are_patterns(con, folder):
    odd = folder / "it's [odd] #1 100%.tif"
    check_value(con, odd, odd)
    check_value(con, [str(odd)], odd)


def test_by_file_url(con, folder):
    """Percent-encoded, as URLs are."""
    for name in ("one.tif", "it's [odd] #1 100%.tif"):
        check_value(con, (folder / name).as_uri(), folder / name)
        check_value(con, [(folder / name).as_uri()], folder / name)


def test_by_url(con, folder):
    with RangeServer(folder) as server:
        check_value(con, server.url("three.TIFF"), folder / "three.TIFF", band=2)
        check_value(con, server.url("one.tif?X-Amz-Signature=abc&a=b"), folder / "one.tif")
        check_value(con, [server.url("one.tif")], folder / "one.tif")
        assert [row["id"] for row in records(con, server.url("three.TIFF"))] == ["three"]


def test_remote_headers_are_read_once_a_process(con, folder):
    with RangeServer(folder) as server:
        url = server.url("one.tif")
        for _ in range(3):
            records(con, url)
        assert server.stats().requests == 1


def test_by_glob(con, folder):
    assert [row["id"] for row in records(con, f"{folder}/o*.tif")] == ["one"]
    assert {row["id"] for row in records(con, f"{folder}/deep/**/*.tif")} == {"two"}
    assert {row["id"] for row in records(con, f"{folder}/[ot]*.[tT][iI][fF]*")} == {"one", "three"}
    assert [row["id"] for row in records(con, f"{folder}/deep/deepe?/*.tif")] == ["two"]


def test_by_list_of_all_kinds(con, folder):
    with RangeServer(folder) as server:
        sources = [str(folder / "one.tif"), server.url("three.TIFF"), f"{folder}/deep/*/*.tif"]
        found = records(con, sources)
        assert {row["id"]: [band for band in ("b1", "b2", "b3") if row["assets"][band]] for row in found} == {
            "one": ["b1"],
            "three": ["b1", "b2", "b3"],
            "two": ["b1", "b2"],
        }
        assert {row["band"]: row["records"] for row in rows(con, f"FROM rasteret_bands({sql(sources)})")} == {"b1": 3, "b2": 2, "b3": 1}


def test_by_variable(con, folder):
    con.execute(f"SET VARIABLE files = {sql([str(folder / 'one.tif')])}").fetchall()
    assert rows(con, "SELECT id FROM rasteret_collection(getvariable('files'))") == [{"id": "one"}]


# -- as a collection in every function ----------------------------------------------------------------------------------------


def test_in_every_function(con, folder):
    source = sql(folder / "three.TIFF")
    with rasterio.open(folder / "three.TIFF") as dataset:
        expected = dataset.read(2)
    con.execute("CREATE TABLE plots AS SELECT 1 AS id, 'POLYGON((14.9 46, 15.2 46, 15.2 47, 14.9 47, 14.9 46))' AS geom").fetchall()
    read = one(con, f"FROM rasteret_read({source}, plots, bands := ['b2'])")
    assert (read["record_id"], read["datetime"], read["height"], read["width"]) == ("three", None, 40, 40)
    assert read["b2"] == expected.ravel().tolist()
    total = rows(con, f"FROM rasteret_plan({source}, plots, bands := ['b2'])")[-1]
    assert (total["record_id"], total["tiles"]) == ("total", 9)
    lon, lat, value = value_by_rasterio(folder / "three.TIFF", 2, 3, 4)
    con.execute(f"CREATE TABLE points AS SELECT 'POINT({lon} {lat})' AS geom").fetchall()
    assert one(con, f"SELECT b2, status FROM rasteret_sample({source}, points, bands := ['b2'])") == {"b2": value, "status": "ok"}
    assert one(con, f"SELECT b2, status FROM rasteret_sample({source}, points, bands := ['b2'], match := 'latest')") == {"b2": value, "status": "ok"}
    assert one(con, f"SELECT rasteret_sample(r, points.geom, 'b2') AS v FROM points, rasteret_collection({source}) AS r") == {"v": value}
    assert one(con, f"SELECT len(rasteret_read(r, plots.geom, 'b2')) AS n FROM plots, rasteret_collection({source}) AS r") == {"n": 1600}
    assert rows(con, f"FROM rasteret_failures({source})") == []


def test_one_band_needs_no_name(con, folder):
    con.execute("CREATE TABLE points AS SELECT 15.001 AS x, 46.952 AS y").fetchall()
    assert one(con, f"SELECT status FROM rasteret_sample({sql(folder / 'one.tif')}, points, x := 'x', y := 'y')") == {"status": "ok"}
    assert (
        refused(con, f"FROM rasteret_sample({sql(folder / 'three.TIFF')}, points, x := 'x', y := 'y')")
        == "rasteret_sample: bands is missing; choose from: b1, b2, b3"
    )


def test_a_record_names_its_file(con, folder):
    (row,) = records(con, folder / "one.tif")
    assert (row["id"], row["href"], row["assets"]["b1"]) == ("one", str(folder / "one.tif"), {"href": str(folder / "one.tif"), "band_index": 0})


def test_records_of_one_name_stay_apart(con, tmp_path):
    """Ids are file names; files of one name in two folders are two records."""
    for i in range(2):
        (tmp_path / str(i)).mkdir()
        write(tmp_path / str(i) / "same.tif", seed=i)
    lon, lat, first = value_by_rasterio(tmp_path / "0" / "same.tif", 1, 5, 5)
    _, _, second = value_by_rasterio(tmp_path / "1" / "same.tif", 1, 5, 5)
    con.execute(f"CREATE TABLE points AS SELECT {lon} AS x, {lat} AS y").fetchall()
    found = rows(con, f"SELECT record_id, b1 FROM rasteret_sample('{tmp_path}/*/same.tif', points, x := 'x', y := 'y')")
    assert sorted(row["b1"] for row in found) == sorted([first, second])


# -- files change -------------------------------------------------------------------------------------------------------------


def test_a_changed_file_is_indexed_again(con, tmp_path):
    file = write(tmp_path / "a.tif", seed=1)
    check_value(con, file, file)
    write(file, seed=2, bands=2, width=50, height=60)
    check_value(con, file, file, band=2)
    assert one(con, f"SELECT b1_metadata.image_height AS h FROM rasteret_collection('{file}')") == {"h": 60}


def test_a_file_changed_in_place_is_indexed_again(con, tmp_path):
    """Same size, another time of change."""
    file = write(tmp_path / "a.tif", seed=1, compress=None)
    check_value(con, file, file)
    size = file.stat().st_size
    write(file, seed=2, compress=None)
    assert file.stat().st_size == size
    os.utime(file, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns + 2_000_000_000))
    check_value(con, file, file)


def test_a_glob_sees_new_files(con, tmp_path):
    write(tmp_path / "a.tif")
    assert len(records(con, f"{tmp_path}/*.tif")) == 1
    write(tmp_path / "b.tif")
    assert len(records(con, f"{tmp_path}/*.tif")) == 2


# -- crs ----------------------------------------------------------------------------------------------------------------------


def test_crs_places_files_that_name_none(con, folder):
    file = folder / "unplaced.gtiff"
    expected = f"rasteret_bands: {file}: the file names no CRS; give it with crs := 'EPSG:…', or the records of a table a column crs"
    assert refused(con, f"FROM rasteret_bands({sql(file)})") == expected
    assert rows(con, f"SELECT epsg FROM rasteret_bands({sql(file)}, crs := 'EPSG:32633')") == [{"epsg": [32633]}]
    with rasterio.open(file) as source:
        expected = source.read(1)[7, 5].item()
        x, y = source.xy(7, 5)
    con.execute(f"CREATE TABLE points AS SELECT {x} AS x, {y} AS y").fetchall()
    call = f"rasteret_sample({sql(file)}, points, x := 'x', y := 'y', geometry_crs := 'EPSG:32633', crs := 'EPSG:32633')"
    assert one(con, f"SELECT b1, status FROM {call}") == {"b1": expected, "status": "ok"}


def test_crs_does_not_move_files_that_name_one(con, folder):
    assert rows(con, f"SELECT epsg FROM rasteret_bands({sql(folder / 'one.tif')}, crs := 'EPSG:3857')") == [{"epsg": [32633]}]


# -- what is none -------------------------------------------------------------------------------------------------------------


def test_files_that_are_none(con, folder):
    assert refused(con, f"FROM rasteret_bands('{folder}/none.tif')").startswith(
        f"rasteret_bands: '{folder}/none.tif': no such file; did you mean '{folder}/one.tif'?"
    )
    message = refused(con, f"FROM rasteret_bands('{folder}/page.tif')")
    assert message.startswith(f"rasteret_bands: {folder}/page.tif: ")
    assert "not a TIFF" in message
    assert refused(con, f"FROM rasteret_bands('{folder}/none*.tif')").startswith(f"rasteret_bands: no file matches '{folder}/none*.tif'")
    assert refused(con, "FROM rasteret_bands([])") == "rasteret_bands: the list of GeoTIFFs is empty"
    assert refused(con, "FROM rasteret_bands([1, 2])") == "rasteret_bands: 1 in the list of GeoTIFFs is not valid; paths and URLs are"
    assert refused(con, "FROM rasteret_bands([NULL])") == "rasteret_bands: NULL in the list of GeoTIFFs is not valid; paths and URLs are"
    one_bad = refused(con, f"FROM rasteret_bands({sql([str(folder / 'one.tif'), str(folder / 'page.tif')])})")
    assert "page.tif: " in one_bad, "a list is read whole or not at all"


def test_urls_that_are_none(con, folder):
    with FaultyServer((folder / "one.tif").read_bytes()) as server:
        server.script("/gone.tif", forever=status(404))
        server.script("/login.tif", forever=Fault(200, {"Content-Type": "text/html", "Content-Range": None}, b"<html>"))
        server.script("/whole.tif", forever=Fault(200, {"Content-Range": None}, whole=True))
        for path, reason in (
            ("/gone.tif", "no such file (HTTP 404)"),
            ("/login.tif", "an HTML page came back instead of the file: a login or error page, or not the file's own URL"),
            ("/whole.tif", "the server ignores range requests (HTTP 200 where 206 was due), so single tiles cannot be read from it"),
        ):
            url = server.url(path)
            message = refused(con, f"FROM rasteret_bands('{url}?X-Amz-Signature=s3cr3t')")
            assert message == f"rasteret_bands: {url}: {reason} (bytes 0-32767)"


@pytest.mark.parametrize(
    "url", ["http://[.tif", "https://a b/c.tif", "http://host:99999/x.tif", "ftp://host/x.tif", "https:///x.tif", "file://host/x.tif"]
)
def test_urls_that_cannot_be(con, url):
    message = refused(con, f"FROM rasteret_bands('{url}')")
    assert message.startswith("rasteret_bands: ")
    assert "Error" not in message
