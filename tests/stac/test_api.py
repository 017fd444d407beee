"""``rasteret_build_from_stac`` on real APIs: the same items as pystac-client finds, and nothing where the server cannot do what is asked."""

from __future__ import annotations

import json
import re
import warnings

import pystac_client
import pytest
import shapely

import rasteret_sql
from tests.collection.asking import one, refused, rows

BANDS = "band_map := {'B04': 'red'}"
PLACE = "[14.9, 46.8, 15.45, 47.1]"


def build(con, api, arguments, collection="sentinel-2-l2a", band_map=BANDS, name="c"):
    return one(con, f"FROM rasteret_build_from_stac('{api}', '{collection}', name := '{name}', {band_map}, {arguments})")


def ids(con, api, arguments, **more):
    build(con, api, arguments, **more)
    return [row["id"] for row in rows(con, "SELECT id FROM rasteret_collection('c') ORDER BY id")]


def refusal(con, api, arguments, **more):
    return refused(
        con,
        f"FROM rasteret_build_from_stac('{api}', '{more.get('collection', 'sentinel-2-l2a')}', name := 'c', {more.get('band_map', BANDS)}, {arguments})",
    )


CQL = {"op": "<", "args": [{"property": "eo:cloud_cover"}, 25]}
SEARCHES = [
    (f"bbox := {PLACE}", {"bbox": [14.9, 46.8, 15.45, 47.1]}),
    ("bbox := [14.9, 46.8, -100, 15.45, 47.1, 9000]", {"bbox": [14.9, 46.8, 15.45, 47.1]}),
    ("date_range := ['2024-01-10', '2024-01-20']", {"datetime": "2024-01-10/2024-01-20"}),
    ("date_range := [DATE '2024-01-10', DATE '2024-01-20']", {"datetime": "2024-01-10/2024-01-20"}),
    ("date_range := '2024-01-10'", {"datetime": "2024-01-10"}),
    ("date_range := ['2024-01-20', '..']", {"datetime": "2024-01-20/.."}),
    ("date_range := [NULL, '2024-01-10T10:11:13Z']", {"datetime": "../2024-01-10T10:11:13Z"}),
    ("date_range := TIMESTAMP '2024-01-10 10:11:12.123456'", {"datetime": "2024-01-10T10:11:12.123456Z"}),
    ("ids := ['S2_1', 'S2_4']", {"ids": ["S2_1", "S2_4"]}),
    ("ids := 'S2_2'", {"ids": ["S2_2"]}),
    ("query := {'eo:cloud_cover': {'lt': 25, 'gte': 10.0}}", {"query": {"eo:cloud_cover": {"lt": 25, "gte": 10}}}),
    ("query := MAP {'platform': 'sentinel-2a'}", {"query": {"platform": {"eq": "sentinel-2a"}}}),
    (
        "filter := 'eo:cloud_cover < 25 AND platform = ''sentinel-2a'''",
        {"filter": "eo:cloud_cover < 25 AND platform = 'sentinel-2a'", "method": "GET"},
    ),
    (f"filter := '{json.dumps(CQL)}'", {"filter": CQL}),
    ("intersects := 'POINT(15.002 46.95)'", {"intersects": shapely.Point(15.002, 46.95)}),
    (
        "intersects := ST_GeomFromText('LINESTRING (15.0 46.9499, 15.14 46.9499)')",
        {"intersects": shapely.LineString([(15, 46.9499), (15.14, 46.9499)])},
    ),
    (
        """intersects := '{"type": "Feature", "geometry": {"type": "Point", "coordinates": [15.002, 46.95, 7]}}'""",
        {"intersects": shapely.Point(15.002, 46.95)},
    ),
    (
        f"bbox := {PLACE}, max_items := 2, sort_by := ['-eo:cloud_cover']",
        {"bbox": [14.9, 46.8, 15.45, 47.1], "max_items": 2, "sortby": "-eo:cloud_cover"},
    ),
    (
        "max_items := 2, sort_by := 'datetime', filter := 'eo:cloud_cover > 5'",
        {"max_items": 2, "sortby": "+datetime", "filter": "eo:cloud_cover > 5", "method": "GET"},
    ),
]


@pytest.mark.parametrize(("arguments", "oracle"), SEARCHES, ids=[arguments for arguments, _ in SEARCHES])
def test_the_same_items_as_pystac_client(con, pgstac, arguments, oracle):
    if "ST_Geom" in arguments:
        con.execute("CREATE MACRO IF NOT EXISTS ST_GeomFromText(t) AS t").fetchall()
    client = pystac_client.Client.open(pgstac)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pystac_client.warnings.DoesNotConformTo)  # it knows no classes of v1.1
        expected = sorted(item["id"] for item in client.search(collections=["sentinel-2-l2a"], **oracle).items_as_dicts())
    assert expected
    assert ids(con, pgstac, arguments) == expected


def test_an_end_day_is_searched_to_its_last_moment(con, pgstac):
    """S2_5 was taken half a second before midnight; clients that end the day at 23:59:59 miss it."""
    assert ids(con, pgstac, "date_range := ['2024-01-30', '2024-01-30']") == ["S2_5"]
    assert ids(con, pgstac, "date_range := '2024-01'") == [f"S2_{i}" for i in range(6)]
    assert ids(con, pgstac, "date_range := [2024, 2024]") == [f"S2_{i}" for i in range(6)]


def test_both_sides_of_the_antimeridian(con, pgstac, rustac):
    found = ids(con, pgstac, "bbox := [179.5, 46, -179.5, 48]", collection="cop-dem-glo-90", band_map="band_map := {'D': 'data'}")
    assert found == ["DEM_east", "DEM_west"]


def test_records_and_their_properties(con, pgstac, earth):
    report = build(con, pgstac, f"bbox := {PLACE}", band_map="band_map := {'red': 'red', 'nir': 'nir'}")
    assert (report["bands"], report["epsg"], report["failed"]) == (["red", "nir"], [32633], 0)
    (source,) = [row["source"] for row in rows(con, "FROM rasteret_collections()")]
    assert source == pgstac


@pytest.mark.parametrize("api", ["pgstac", "rustac"])
def test_samples_of_one_asset_are_bands(mirrors, request, api, earth):
    """``key[1]`` and ``band_index_map`` mean the same."""
    con = mirrors
    root = request.getfixturevalue(api)
    collection, key = ("naip", "image") if api == "pgstac" else ("esa-worldcover", "map")
    rewrite = f", url_rewrite := {{'s3://naip-analytic/': '{earth.url}/naip-analytic/'}}" if api == "pgstac" else ""
    for name, mapping in (("one", f"band_map := {{'A': '{key}[0]'}}"), ("two", f"band_map := {{'A': '{key}'}}, band_index_map := {{'A': 0}}")):
        build(con, root, "max_items := 1", collection=collection, band_map=mapping + rewrite, name=name)
    first, second = (one(con, f"SELECT assets, A_metadata.dtype FROM rasteret_collection('{name}')") for name in ("one", "two"))
    assert first == second


# -- what a server cannot do is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "name", "fragment"),
    [
        ("query := {'a': {'lt': 1}}", "query", "query"),
        ("filter := 'a < 1'", "filter", "filter"),
        ("sort_by := 'a', max_items := 1", "sort_by", "sort"),
    ],
)
def test_a_server_that_would_ignore_it_is_refused(con, rustac, arguments, name, fragment):
    """rustac answers a query and a filter with nothing at all; its conformsTo says that it has neither."""
    said = refusal(con, rustac, arguments)
    assert said == f"{rustac} does not offer {name} (its conformsTo lacks item-search#{fragment}) and would ignore it; it offers: none"


def test_rustac_does_what_it_says(mirrors, rustac):
    con = mirrors
    assert ids(con, rustac, "bbox := [14, 46, 16, 48], date_range := '2024'", band_map="band_map := {'x': 'B04'}") == ["PC_S2"]
    assert build(con, rustac, "bbox := [14, 46, 16, 48]", collection="nasadem", band_map="band_map := {'D': 'elevation'}")["records"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("filter := 'eo:cloud_cover <'", r"http://.*/search: the server answered HTTP 400: Invalid filter: .*expected.*"),
        ('filter := \'{"op": "<"}\'', r"""rasteret_build_from_stac: filter is no CQL2 JSON: it lacks "op" or "args", .*"""),
        ("filter := '{\"op\": '", r"rasteret_build_from_stac: filter is no valid JSON: .*"),
        ("filter := ' '", r"rasteret_build_from_stac: filter is empty; .*"),
        ("bbox := [1, 2, 3, 4]", r"no items found at http://.* for collection sentinel-2-l2a, bbox \[1.0, 2.0, 3.0, 4.0\]"),
        ("date_range := 'soon'", r"rasteret_build_from_stac: 'soon' is no date; .*"),
        ("date_range := ['..', '..']", r"rasteret_build_from_stac: date_range is open at both ends; .*"),
        ("date_range := ['2024', '2024', '2024']", r"rasteret_build_from_stac: date_range has 3 ends; .*"),
        ("intersects := 'POINT(1 2'", r"rasteret_build_from_stac: intersects is no geometry \(.*\); GeoJSON, WKT or a GEOMETRY is valid"),
        ("intersects := 'POINT(500000 2)'", r"rasteret_build_from_stac: intersects reaches from 500000, 2 to 500000, 2: .*"),
        ("intersects := 'POINT(1 2)', bbox := [1, 2, 3, 4]", r"rasteret_build_from_stac: bbox and intersects are both given; .*"),
        ("query := 'eo:cloud_cover < 3'", r"rasteret_build_from_stac: query is no valid JSON: .*"),
        ("sort_by := '-datetime'", r"rasteret_build_from_stac: http://.* may hold millions of items: narrow the search with .*"),
        ("ids := [1]", r"rasteret_build_from_stac: ids := \[1\] is not valid; a list of texts is"),
        ("force := 3, max_items := 1", r"rasteret_build_from_stac: force := 3 is not valid; valid: true, false"),
    ],
)
def test_a_bad_search_is_refused_in_one_line(con, pgstac, arguments, said):
    assert re.fullmatch(said, refusal(con, pgstac, arguments))


def test_a_collection_that_is_not_there(con, pgstac):
    said = refusal(con, pgstac, "max_items := 1", collection="sentinel-2-l2")
    assert said.startswith(
        f"no items found at {pgstac} for collection sentinel-2-l2, max_items 1; {pgstac} has no collection 'sentinel-2-l2'; did you mean 'sentinel-2-l2a'?;"
    )
    assert "cop-dem-glo-30" in said


@pytest.mark.parametrize(
    ("band_map", "said"),
    [
        ("band_map := {'B04': 'rde'}", r"no item has an asset 'rde' \(band 'B04'\); did you mean 'red'\?; asset keys found: .*red-jp2, .*"),
        ("band_map := {'a': 'red', 'b': 'xxxxxx'}", r"no item has an asset 'xxxxxx' \(band 'b'\); asset keys found: .*"),
        (
            "band_map := {'B04': 'red-jp2', 't': 'thumbnail'}",
            r"only GeoTIFFs can be indexed; refused: 'B04' \(asset 'red-jp2' is image/jp2\), 't' \(asset 'thumbnail' is image/jpeg\)",
        ),
        ("band_map := NULL", r"rasteret_build_from_stac: band_map is missing; give the asset of each band, .*"),
        ("band_map := {'B04': 4}", r"rasteret_build_from_stac: band_map := .* is not valid; .*"),
        (
            "band_map := {'B04': 'red'}, band_index_map := {'B4': 0}",
            r"rasteret_build_from_stac: band_index_map names no band 'B4' of band_map; did you mean 'B04'\?; bands: B04",
        ),
        ("band_map := MAP {'B04': 'red', 'b04': 'nir'}", r".*differ in case only, which SQL does not see; rename one"),
    ],
)
def test_a_band_map_that_does_not_fit(con, pgstac, band_map, said):
    assert re.fullmatch(said, refusal(con, pgstac, "max_items := 1", band_map=band_map))


def test_a_sample_that_the_file_has_not(con, pgstac):
    said = refusal(con, pgstac, "max_items := 1", band_map="band_map := {'B04': 'red[3]'}")
    assert re.fullmatch(
        r"none of the 1 records has a readable file; the first: http://.*/red.tif: band index 3 is not in the file, which has 1 bands", said
    )


def test_a_collection_in_the_place_of_the_root(con, pgstac):
    said = refusal(con, f"{pgstac}/collections/naip", "max_items := 1")
    assert said == f"{pgstac}/collections/naip is one collection of an API; give the API's root, {pgstac}/, and the collection's id 'naip'"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/api.html", "an HTML page came back instead of a JSON document"),
        ("/nothing", "the server answered HTTP 404: Not Found"),
        ("/queryables", " is neither a STAC API nor a catalogue: its document has no stac_version; give the root (…/v1) or a catalog.json"),
    ],
)
def test_what_is_no_api(con, pgstac, path, said):
    assert refusal(con, pgstac + path, "max_items := 1").startswith(f"{pgstac}{path}{'' if said.startswith(' ') else ': '}{said}")


@pytest.mark.parametrize(
    ("api", "said"),
    [("", "api := '' is not valid; .*"), ("s3://bucket/catalog.json", r"s3://bucket/catalog.json: s3:// catalogues are not read; .*")],
)
def test_a_place_that_cannot_be(con, api, said):
    assert re.fullmatch(f"(rasteret_build_from_stac: )?{said}", refusal(con, api, "max_items := 1"))


def test_a_search_by_pystac_client_is_built_from(pgstac, workspace):
    """Page by page, as the search is taken."""
    search = pystac_client.Client.open(pgstac).search(collections=["sentinel-2-l2a"], limit=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = rasteret_sql.build_from_items(search, name="given", band_map={"B04": "red"}, workspace=workspace, settings={"progress": False})
    assert report.records == len(list(search.items_as_dicts())) > 2
