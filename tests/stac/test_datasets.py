"""Every dataset of the catalogue, built through its own descriptor from a loopback API, read in SQL; the judge of values is rasterio."""

from __future__ import annotations

import json
import re

import pytest

from rasteret_sql.collection.datasets import APIS, DATASETS, Dataset
from rasteret_sql.collection.stac.bands import parse_band_map
from rasteret_sql.collection.stac.search import make_search
from tests.collection.asking import one, refused, rows
from tests.collection.tiffs import value_by_rasterio

HERE = "[14.9, 46.8, 15.7, 47.1]"
ALL_2024 = "date_range := ['2024-01-01', '2024-12-31']"
BUILDS = {
    "earthsearch/sentinel-2-l2a": (f"bbox := {HERE}, {ALL_2024}", 6, "sentinel-cogs/0/", {"B04": "red.tif", "B08": "nir.tif", "SCL": "scl.tif"}),
    "earthsearch/landsat-c2-l2": (
        f"bbox := {HERE}, date_range := ['1990', '2024']",
        2,
        "usgs-landsat/collection02/0/",
        {"B4": "red.TIF", "qa_pixel": "qa_pixel.TIF"},
    ),
    "earthsearch/naip": ("bbox := [-85, 46, -80, 48], date_range := '2021'", 1, "naip-analytic/", {"R": "m_1.tif", "NIR": "m_1.tif"}),
    "earthsearch/cop-dem-glo-30": ("bbox := [14.99, 46.9, 15.1, 47.1]", 1, "dem/30/", {"DEM": "here.tif"}),
    "earthsearch/cop-dem-glo-90": ("bbox := [14.99, 46.9, 15.1, 47.1]", 1, "dem/90/", {"DEM": "here.tif"}),
    "pc/sentinel-2-l2a": (f"bbox := {HERE}, {ALL_2024}", 1, "aiforearth/pc/s2/", {"B04": "B04.tif", "B8A": "B8A.tif"}),
    "pc/io-lulc-annual-v02": (f"bbox := {HERE}, date_range := '2022'", 1, "aiforearth/pc/", {"LULC": "io-lulc-annual-v02.tif"}),
    "pc/alos-dem": (f"bbox := {HERE}", 1, "aiforearth/pc/", {"DEM": "alos-dem.tif"}),
    "pc/nasadem": (f"bbox := {HERE}", 1, "aiforearth/pc/", {"DEM": "nasadem.tif"}),
    "pc/esa-worldcover": (f"bbox := {HERE}, date_range := ['2021-06-01', '2021-06-30']", 1, "aiforearth/pc/", {"MAP": "esa-worldcover.tif"}),
    "pc/usda-cdl": (f"bbox := {HERE}, date_range := '2021'", 1, "aiforearth/pc/", {"CDL": "cdl-cropland.tif"}),
}


def test_every_stac_dataset_is_built_here():
    assert set(BUILDS) | {"aef/v1-annual"} == set(DATASETS)


@pytest.mark.parametrize("dataset", BUILDS)
def test_a_dataset_is_built_and_read(mirrors, earth, dataset):
    arguments, count, folder, files = BUILDS[dataset]
    report = one(mirrors, f"FROM rasteret_build('{dataset}', name := 'c', {arguments})")
    assert (report["records"], report["added"], report["failed"]) == (count, count, 0)
    assert report["path"].endswith("/c_stac")
    assert report["bands"] == list(DATASETS[dataset].bands)
    assert one(mirrors, "FROM rasteret_collections()")["source"] == dataset
    for band, name in files.items():
        sample = parse_band_map(DATASETS[dataset].bands)[list(DATASETS[dataset].bands).index(band)].sample
        lon, lat, expected = value_by_rasterio(earth.root / folder / name, sample + 1, col=21, row=17)
        mirrors.execute(f"CREATE OR REPLACE TEMP TABLE place AS SELECT {lon} AS lon, {lat} AS lat").fetchall()
        found = rows(mirrors, f"FROM rasteret_sample('c', place, bands := ['{band}'], x := 'lon', y := 'lat')")
        assert [(row[band], row["status"]) for row in found] == [(expected, "ok")]
    again = one(mirrors, f"FROM rasteret_build('{dataset}', name := 'c', {arguments})")
    assert (again["records"], again["added"], again["unchanged"]) == (count, 0, count)


def test_properties_become_columns(mirrors):
    one(mirrors, f"FROM rasteret_build('earthsearch/sentinel-2-l2a', name := 's2', bands := ['B04'], bbox := {HERE}, {ALL_2024})")
    found = rows(mirrors, "SELECT * EXCLUDE (geometry, bbox, assets, B04_metadata) FROM rasteret_collection(s2) ORDER BY datetime")
    first = found[0]
    assert (first["id"], first["collection"], first["crs"], first["proj:epsg"]) == ("S2_0", "sentinel-2-l2a", "EPSG:32633", 32633)
    assert (first["eo:cloud_cover"], found[1]["eo:cloud_cover"]) == (0.5, 10.0)
    assert (first["platform"], first["earthsearch:boa_offset_applied"], json.loads(first["instruments"])) == ("sentinel-2b", True, ["msi"])
    assert str(first["updated"]) == "2024-02-01 00:00:00"
    assert str(first["datetime"]) == "2024-01-05 10:11:12.123456"


def test_scale_and_offset_of_the_items_count_when_asked_for(mirrors):
    """Values are as stored; ``scaled`` takes what STAC says, but for an offset that Earth Search has subtracted already."""
    one(mirrors, f"FROM rasteret_build('earthsearch/sentinel-2-l2a', name := 's2', bands := ['B04'], bbox := {HERE}, {ALL_2024})")
    found = rows(
        mirrors, "SELECT id, B04_metadata.scale AS s, B04_metadata.offset AS o, B04_metadata.nodata AS n FROM rasteret_collection(s2) ORDER BY id"
    )
    assert [(row["s"], row["o"], row["n"]) for row in found] == [(0.0001, 0.0, 0.0)] * 3 + [(0.0001, -0.1, 0.0)] * 3


def test_query_and_bands_narrow_a_build(mirrors):
    report = one(
        mirrors,
        f"FROM rasteret_build('earthsearch/sentinel-2-l2a', name := 's2', bands := ['B08', 'B04'], bbox := {HERE}, {ALL_2024}, query := {{'eo:cloud_cover': {{'lt': 20}}}})",
    )
    assert (report["records"], report["bands"]) == (2, ["B08", "B04"])
    assert (
        one(mirrors, f"FROM rasteret_build('earthsearch/sentinel-2-l2a', name := 'two', bbox := {HERE}, {ALL_2024}, max_items := 2)")["records"] == 2
    )


def test_other_parameters_are_never_answered_from_what_is_there(mirrors):
    call = f"FROM rasteret_build('earthsearch/sentinel-2-l2a', name := 's2', bands := ['B04'], bbox := {HERE}, date_range := ['2024-01-01', %s])"
    assert one(mirrors, call % "'2024-01-16'")["records"] == 3
    wider = one(mirrors, call % "'2024-01-21'")
    assert wider["records"] == 4
    assert one(mirrors, "SELECT count(*) AS n FROM rasteret_collection(s2)")["n"] == 4


def test_old_scenes_lack_some_bands(mirrors):
    """Landsat 5 has no coastal band: its records keep the others."""
    report = one(mirrors, f"FROM rasteret_build('earthsearch/landsat-c2-l2', name := 'old', bbox := {HERE}, date_range := '1990')")
    assert (report["records"], report["failed"]) == (1, 0)
    found = one(mirrors, "SELECT assets.B1 AS none, assets.B4.href AS red FROM rasteret_collection(old)")
    assert found == {"none": None, "red": "s3://usgs-landsat/collection02/1/red.TIF"}


def test_crops_are_not_masks(mirrors):
    """Planetary Computer has items of other kinds in the collection; they are no crop classes."""
    one(mirrors, f"FROM rasteret_build('pc/usda-cdl', name := 'cdl', bbox := {HERE}, date_range := '2021')")
    assert [row["id"] for row in rows(mirrors, "SELECT id FROM rasteret_collection(cdl)")] == ["cropland_1"]


def test_tokens_are_no_part_of_the_index(mirrors, tokens):
    """Planetary Computer's blobs are read with a token, which is asked for once and never written down."""
    one(mirrors, f"FROM rasteret_build('pc/sentinel-2-l2a', name := 's2', bbox := {HERE}, {ALL_2024})")
    hrefs = one(mirrors, "SELECT assets FROM rasteret_collection(s2)")["assets"]
    assert hrefs["B04"]["href"] == "https://aiforearth.blob.core.windows.net/pc/s2/B04.tif"
    assert [asked.path for asked in tokens.asked] == ["/token/aiforearth/pc"]


def test_periods_give_their_start_as_time(mirrors):
    one(mirrors, f"FROM rasteret_build('pc/io-lulc-annual-v02', name := 'lulc', bbox := {HERE}, date_range := '2022')")
    found = one(mirrors, "SELECT datetime, start_datetime, end_datetime FROM rasteret_collection(lulc)")
    assert [str(value) for value in found.values()] == ["2022-01-01 00:00:00", "2022-01-01 00:00:00", "2022-12-31 23:59:59"]


def test_both_sides_of_the_antimeridian(mirrors):
    report = one(mirrors, "FROM rasteret_build('earthsearch/cop-dem-glo-30', name := 'dem', bbox := [179.9, 46, -179.9, 48])")
    assert report["records"] == 2
    assert {row["id"] for row in rows(mirrors, "SELECT id FROM rasteret_collection(dem)")} == {"DEM_east", "DEM_west"}


# -- the catalogue -------------------------------------------------------------------------------------------------------------


def test_datasets_lists_them_all(con):
    found = {row["id"]: row for row in rows(con, "FROM rasteret_datasets()")}
    assert list(found) == list(DATASETS)
    assert len(found) == 12
    assert found["earthsearch/sentinel-2-l2a"]["bands"] == ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12", "SCL"]
    assert len(found["aef/v1-annual"]["bands"]) == 64
    for row in found.values():
        assert all(row[name] for name in ("name", "description", "bands", "coverage", "dates", "auth", "licence", "example", "source")), row["id"]
    assert found["earthsearch/naip"]["source"] == f"{APIS['earthsearch']}, collection naip"


def test_endpoints_show_in_the_list(con):
    con.execute("SET VARIABLE rasteret_stac_endpoints = 'earthsearch=http://mirror.test:8080/v1'").fetchall()
    found = one(con, "FROM rasteret_datasets() WHERE id = 'earthsearch/naip'")
    assert found["source"] == "http://mirror.test:8080/v1, collection naip"


@pytest.mark.parametrize(
    "value",
    [
        "'pc=http://a/v1 , earthsearch=https://b'",
        "{'pc': 'http://a/v1', 'earthsearch': 'https://b/'}",
        "MAP {'pc': 'http://a/v1', 'earthsearch': 'https://b'}",
    ],
)
def test_ways_to_give_endpoints(con, value):
    con.execute(f"SET VARIABLE rasteret_stac_endpoints = {value}").fetchall()
    found = {row["id"]: row["source"] for row in rows(con, "FROM rasteret_datasets()")}
    assert (found["pc/nasadem"], found["earthsearch/naip"]) == ("http://a/v1, collection nasadem", "https://b, collection naip")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("'pc'", ".*rasteret_stac_endpoints = 'pc' is not pairs of a name and an http.s. URL: mirrors of .*"),
        ("'pc=ftp://h'", ".*is not pairs of a name and an http.s. URL: .*"),
        ("'pc=https://user:hush@h/v1'", ".*is not pairs of a name and an http.s. URL: .*"),
        ("7", ".*is not pairs of a name and an http.s. URL: .*"),
        ("'planet=https://h/v1'", "rasteret_stac_endpoints names no API 'planet'; APIs: earthsearch, pc"),
    ],
)
def test_endpoints_that_cannot_be(con, value, said):
    con.execute(f"SET VARIABLE rasteret_stac_endpoints = {value}").fetchall()
    for statement in ("FROM rasteret_datasets()", "FROM rasteret_build('pc/nasadem', name := 'x', bbox := [1, 2, 3, 4])"):
        message = refused(con, statement)
        assert re.fullmatch(f"(rasteret_[a-z]+: )?{said}", message)
        assert "hush" not in message


@pytest.mark.parametrize("dataset", [dataset for dataset in DATASETS.values() if dataset.is_stac], ids=lambda dataset: dataset.id)
def test_examples_are_complete_calls(con, dataset: Dataset):
    """They bind: nothing is missing, nothing is wrong. (EXPLAIN runs no build.)"""
    con.execute(f"EXPLAIN {dataset.example}").fetchall()


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda dataset: dataset.id)
def test_descriptors_are_well_formed(dataset: Dataset):
    assert dataset.api in (*APIS, "")
    assert bool(dataset.api) != bool(dataset.collection_url)
    make_search({"bbox": list(dataset.example_bbox), "date_range": dataset.dates})
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}/(\d{4}-\d{2}-\d{2}|\.\.)", dataset.dates)


# -- refusals -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "'earthsearch/sentinel-2', name := 'x'",
            r"unknown dataset 'earthsearch/sentinel-2'; did you mean 'earthsearch/sentinel-2-l2a'\?; datasets: .*",
        ),
        ("'nothing', name := 'x'", r"unknown dataset 'nothing'; datasets: earthsearch/sentinel-2-l2a, .*"),
        ("7, name := 'x'", r"dataset := 7 is not valid; .*"),
        ("'pc/nasadem'", "name is missing"),
        (
            "'pc/nasadem', name := 'x'",
            r"pc/nasadem is global: say where with bbox := .*; for example FROM rasteret_build\('pc/nasadem', name := 'nasadem', bbox := .*",
        ),
        ("'pc/usda-cdl', name := 'x'", r"pc/usda-cdl is conus: say where .*"),
        (
            "'pc/sentinel-2-l2a', name := 'x', bbox := [1, 2, 3, 4]",
            r"pc/sentinel-2-l2a is a time series \(2015-06-23/\.\.\): say when with date_range := .*",
        ),
        (
            "'pc/nasadem', name := 'x', bbox := [77.7, 12.9, 77.5, 13.1]",
            r"bbox \[77.7, 12.9, 77.5, 13.1\] is reversed: west 77.7 lies east of east 77.5; .*",
        ),
        ("'pc/nasadem', name := 'x', bbox := [1, 9, 3, 4]", r"bbox .* is reversed: south 9 lies above north 4; .*"),
        ("'pc/nasadem', name := 'x', bbox := [1, 2, 3]", r"bbox := \[.*\] is not valid; \[west, south, east, north\] in degrees is"),
        ("'pc/nasadem', name := 'x', bbox := [500000, 2, 600000, 4]", r"bbox .* is outside of -180…180 and -90…90 degrees; .*"),
        ("'pc/nasadem', name := 'x', bbox := [1, 2, 3, 4], date_range := ['2024-02-30', '..']", r"'2024-02-30' is no date; .*"),
        ("'pc/nasadem', name := 'x', bbox := [1, 2, 3, 4], date_range := ['2024-02', '2023']", r"date_range ends before it starts: 2024-02 … 2023"),
        ("'pc/nasadem', name := 'x', bbox := [1, 2, 3, 4], bands := ['DM']", r"unknown band 'DM'; did you mean 'DEM'\?; bands: DEM"),
        ("'pc/nasadem', name := 'x', bbox := [1, 2, 3, 4], query := {'a': {'less': 1}}", r"query: 'less' is no operator.*; operators: eq, .*"),
        ("'pc/nasadem', name := 'x', bbox := [1, 2, 3, 4], max_items := 0", r"max_items := 0 is not valid; a whole number from 1 is"),
        ("'pc/nasadem', name := 'a/b', bbox := [1, 2, 3, 4]", r"'a/b' is no collection name; .*"),
        (
            "'aef/v1-annual', name := 'x', bbox := [1, 2, 3, 4], date_range := '2022', query := {'a': {'lt': 1}}",
            r"aef/v1-annual is a collection built already: query does not apply to it; bbox and date_range do, and WHERE afterwards",
        ),
    ],
)
def test_a_bad_call_is_refused_in_one_line(con, arguments, said):
    assert re.fullmatch(f"rasteret_build: {said}", refused(con, f"FROM rasteret_build({arguments})"))


def test_nothing_found_says_what_was_asked(mirrors, pgstac):
    said = refused(mirrors, "FROM rasteret_build('earthsearch/cop-dem-glo-30', name := 'x', bbox := [1, 2, 3, 4])")
    assert said == f"no items found at {pgstac} for collection cop-dem-glo-30, bbox [1.0, 2.0, 3.0, 4.0]"


def test_an_api_that_is_not_there(con):
    con.execute("SET VARIABLE rasteret_stac_endpoints = 'pc=http://127.0.0.1:9/v1'").fetchall()
    said = refused(con, "FROM rasteret_build('pc/nasadem', name := 'x', bbox := [1, 2, 3, 4])")
    assert re.fullmatch(r"http://127.0.0.1:9/v1: the server cannot be reached \(.*\); gave up after 4 attempts", said)
