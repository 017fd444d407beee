"""Static catalogues, written by pystac, on disk and on a server: searched item by item."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pystac
import pytest

import rasteret_sql
from rasteret_sql.errors import RasteretError
from tests.collection.asking import one, refused, rows
from tests.collection.tiffs import value_by_rasterio, write
from tests.servers.answering import AnsweringServer, Reply
from tests.servers.ranged import RangeServer


def geometry(west, south, east, north):
    return {"type": "Polygon", "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A catalogue of two collections, one of them below a catalogue of its own; assets lie beside their items, by relative hrefs."""
    root = tmp_path_factory.mktemp("static")
    catalog = pystac.Catalog("root", "all")
    below = pystac.Catalog("below", "more")
    catalog.add_child(below)
    extent = pystac.Extent(pystac.SpatialExtent([[-180, -90, 180, 90]]), pystac.TemporalExtent([[datetime(2020, 1, 1, tzinfo=UTC), None]]))
    for parent, name, count in ((catalog, "scenes", 5), (below, "others", 2)):
        collection = pystac.Collection(name, name, extent)
        parent.add_child(collection)
        for number in range(count):
            west = 10.0 + number
            when = datetime(2024, 1, 1 + 10 * number if number < 3 else number, 12, tzinfo=UTC)
            item = pystac.Item(
                f"{name}-{number}",
                geometry(west, 47, west + 0.1, 47.1),
                [west, 47, west + 0.1, 47.1],
                when,
                {"eo:cloud_cover": 10.0 * number, "sensor": "ab"[number % 2]},
            )
            item.add_asset("red", pystac.Asset(f"./{name}-{number}.tif", media_type=pystac.MediaType.COG, roles=["data"]))
            collection.add_item(item)
    catalog.normalize_hrefs(str(root))
    catalog.make_all_asset_hrefs_relative()
    catalog.save(pystac.CatalogType.SELF_CONTAINED)
    for path in root.rglob("*-*.json"):
        write(path.with_suffix(".tif"), seed=int(path.stem[-1]), origin=(500000.0 + 1000 * int(path.stem[-1]), 5200000.0))
    return root


@pytest.fixture(scope="module")
def served(folder):
    with RangeServer(folder) as server:
        yield server


@pytest.fixture(params=["folder", "file", "url", "server"])
def place(request, folder, served):
    return {"folder": str(folder), "file": f"{folder}/catalog.json", "url": f"file://{folder}/catalog.json", "server": served.url("catalog.json")}[
        request.param
    ]


def build(con, place, arguments="max_items := NULL", collection="'scenes'"):
    return one(con, f"FROM rasteret_build_from_stac('{place}', {collection}, name := 'c', band_map := {{'red': 'red'}}, {arguments})")


def ids(con, place, arguments="max_items := NULL", collection="'scenes'"):
    build(con, place, arguments, collection)
    return [row["id"] for row in rows(con, "SELECT id FROM rasteret_collection('c') ORDER BY id")]


def refusal(con, place, arguments="max_items := NULL", collection="'scenes'"):
    return refused(con, f"FROM rasteret_build_from_stac('{place}', {collection}, name := 'c', band_map := {{'red': 'red'}}, {arguments})")


def test_every_way_to_the_root(con, place, folder):
    report = build(con, place)
    assert (report["records"], report["failed"]) == (5, 0)
    path = next(folder.rglob("scenes-2.tif"))
    lon, lat, expected = value_by_rasterio(path, 1, col=21, row=17)
    con.execute(f"CREATE TEMP TABLE place AS SELECT {lon} AS lon, {lat} AS lat").fetchall()
    found = rows(con, "FROM rasteret_sample('c', place, x := 'lon', y := 'lat')")
    assert [(row["record_id"], row["red"]) for row in found] == [("scenes-2", expected)]
    again = build(con, place)
    assert (again["added"], again["unchanged"]) == (0, 5)


SEARCHES = [
    ("bbox := [10.95, 46, 12.05, 48]", [1, 2]),
    ("bbox := [10.95, 46, -5, 12.05, 48, 5]", [1, 2]),
    ("date_range := ['2024-01-02', '2024-01-11']", [1, 3, 4]),
    ("date_range := '2024-01-21'", [2]),
    ("date_range := ['2024-01-11', '..'], bbox := [11, 47, 11.05, 47.05]", [1]),
    ("ids := ['scenes-3', 'scenes-0', 'nothing']", [0, 3]),
    ("intersects := 'POINT(13.05 47.05)'", [3]),
    ("intersects := 'POLYGON((9.9 46.9, 14.2 46.9, 14.2 47.2, 14.15 47.2, 14.15 46.95, 9.9 46.95, 9.9 46.9))'", None),
    ("intersects := 'LINESTRING(10 47.2, 10.05 47.05, 12.05 47.2, 12.05 47.05)'", [0, 2]),
    ("query := {'eo:cloud_cover': {'gt': 5, 'lte': 30}}", [1, 2, 3]),
    ("query := {'eo:cloud_cover': 40, 'sensor': {'in': ['a', 'c']}}", [4]),
    ("query := {'sensor': {'startsWith': 'b'}}", [1, 3]),
    ("query := {'sensor': {'neq': 'b', 'contains': 'a'}}", [0, 2, 4]),
]


@pytest.mark.parametrize(("arguments", "expected"), SEARCHES, ids=[arguments for arguments, _ in SEARCHES])
def test_conditions_are_applied_here(con, folder, arguments, expected):
    if expected is None:  # its box meets all of them, itself none
        assert refusal(con, folder, arguments).startswith(f"no items found at {folder}/catalog.json for collection scenes, intersects ")
        return
    assert ids(con, folder, arguments) == [f"scenes-{number}" for number in expected]


def test_all_collections_or_one(con, folder, served):
    assert len(ids(con, folder, collection="NULL")) == 7
    assert ids(con, folder, collection="'others'") == ["others-0", "others-1"]
    assert ids(con, served.url("below/others/collection.json"), collection="NULL") == ["others-0", "others-1"]


def test_only_the_collection_asked_for_is_read(con, folder, served):
    served.reset()
    build(con, served.url("catalog.json"), collection="'others'")
    asked = served.stats().ranges
    assert not [path for path in asked if "scenes-" in path]
    assert len([path for path in asked if path.endswith(".json")]) == 6


def test_max_items_ends_the_walk(con, folder):
    assert len(ids(con, folder, "max_items := 2")) == 2


def test_an_item_collection_file(con, folder, tmp_path):
    items = [json.loads(path.read_text()) for path in sorted(folder.rglob("scenes-*.json"))]
    for item, path in zip(items, sorted(folder.rglob("scenes-*.json")), strict=True):
        item["assets"]["red"]["href"] = str(path.with_suffix(".tif"))
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    assert len(ids(con, tmp_path / "items.json")) == 5


@pytest.mark.parametrize("arguments", ["filter := 'a < 1'", "sort_by := 'datetime'"])
def test_what_only_servers_do(con, folder, arguments):
    name = arguments.partition(" ")[0]
    assert (
        refusal(con, folder, arguments)
        == f"{folder}/catalog.json is a static catalogue, which has no {name}; bbox, date_range, intersects, ids and query are applied here"
    )


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("none.json", None, "PLACE: the catalogue cannot be read: No such file or directory"),
        ("torn.json", '{"type": "Catalog", ', "PLACE: no valid JSON: .*"),
        ("other.json", '{"name": "package"}', r"PLACE is neither a STAC API nor a catalogue: .*"),
        ("list.json", "[1]", r"PLACE is neither a STAC API nor a catalogue: .*"),
        ("empty.json", '{"type": "Catalog", "stac_version": "1.0.0", "id": "x", "links": []}', "no items found at PLACE for collection scenes"),
    ],
)
def test_what_is_no_catalogue(con, tmp_path, name, text, said):
    if text is not None:
        (tmp_path / name).write_text(text)
    assert re.fullmatch(said.replace("PLACE", re.escape(str(tmp_path / name))), refusal(con, tmp_path / name))


def test_a_catalogue_on_a_server_names_no_files_of_this_machine(con, folder, tmp_path):
    """Neither as assets nor as documents."""
    target = next(folder.rglob("scenes-0.tif"))
    box = [10, 47, 10.1, 47.1]

    def item(number, href):
        assets = {"red": {"href": href, "type": "image/tiff"}}
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": f"i{number}",
            "geometry": geometry(*box),
            "bbox": box,
            "properties": {"datetime": "2024-01-01T00:00:00Z"},
            "assets": assets,
            "links": [],
        }

    def answer(asked):
        if asked.path == "/catalog.json":
            links = [{"rel": "item", "href": f"{number}.json"} for number in range(3)]
            return Reply({"type": "Catalog", "stac_version": "1.0.0", "id": "x", "links": links})
        hrefs = [f"file://{target}", f"/vsicurl/{target}", str(target)]
        return Reply(item(asked.path[1], hrefs[int(asked.path[1])]))

    with AnsweringServer(answer) as server:
        said = refusal(con, f"{server.url}/catalog.json", collection="NULL")
        assert said.startswith("none of the 3 records has a readable file; the first: ")
        assert sorted(asked.path for asked in server.asked if asked.path.endswith(".json")) == [
            "/0.json",
            "/1.json",
            "/2.json",
            "/catalog.json",
        ]  # and one statement builds once
    with AnsweringServer(
        lambda asked: Reply(
            {"type": "Catalog", "stac_version": "1.0.0", "id": "x", "links": [{"rel": "item", "href": f"file://{target.with_suffix('.json')}"}]}
        )
    ) as server:
        assert "not a valid URL" in refusal(con, f"{server.url}/catalog.json", collection="NULL")


def test_an_item_that_is_gone(con, tmp_path):
    (tmp_path / "catalog.json").write_text(
        json.dumps({"type": "Catalog", "stac_version": "1.0.0", "id": "x", "links": [{"rel": "item", "href": "./gone.json"}]})
    )
    assert refusal(con, tmp_path, collection="NULL") == f"{tmp_path}/gone.json: the catalogue cannot be read: No such file or directory"


def test_catalogues_in_a_circle(con, tmp_path):
    links = [{"rel": "child", "href": "./catalog.json"}, {"rel": "child", "href": "./b.json"}]
    for name in ("catalog", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"type": "Catalog", "stac_version": "1.0.0", "id": name, "links": links}))
    assert refusal(con, tmp_path, collection="NULL").startswith("no items found at ")


@pytest.mark.parametrize("form", ["items", "dicts", "feature collection", "generator"])
def test_items_that_are_found_already(con, workspace, folder, form):
    """pystac items and their dicts, read from a local catalogue, whose files may be local."""
    found = list(pystac.Catalog.from_file(str(folder / "catalog.json")).get_items(recursive=True))
    dicts = [item.to_dict(transform_hrefs=False) for item in found]
    items = {"items": found, "dicts": dicts, "feature collection": {"type": "FeatureCollection", "features": dicts}, "generator": iter(found)}[form]
    report = rasteret_sql.build_from_items(items, name="given", band_map={"red": "red"}, workspace=workspace, settings={"progress": False})
    assert (report.records, report.failed, report.bands) == (7, 0, ["red"])
    ((href,),) = con.execute("SELECT assets.red.href FROM rasteret_collection('given') WHERE id = 'scenes-3'").fetchall()
    lon, lat, value = value_by_rasterio(href, 1, 5, 9)
    con.execute(f"CREATE TEMP TABLE place AS SELECT {lon} AS x, {lat} AS y").fetchall()
    sampled = "SELECT red FROM rasteret_sample('given', 'place', x := 'x', y := 'y') WHERE record_id = 'scenes-3'"
    assert con.execute(sampled).fetchall() == [(value,)]


@pytest.mark.parametrize(
    ("items", "said"), [([], "no items"), (5, "items are a pystac-client search"), ("x", "items are"), ([{"a": 1}], "has no id")]
)
def test_what_are_no_items(workspace, items, said):
    with pytest.raises(RasteretError, match=said):
        rasteret_sql.build_from_items(items, name="given", band_map={"red": "red"}, workspace=workspace, settings={"progress": False})


def test_items_from_elsewhere_name_no_local_files(workspace, folder):
    item = {
        "type": "Feature",
        "id": "a",
        "bbox": [10, 47, 10.1, 47.1],
        "properties": {"datetime": "2024-01-01T00:00:00Z"},
        "links": [{"rel": "self", "href": "https://example.invalid/a.json"}],
        "assets": {"red": {"href": next(folder.rglob("*.tif")).as_uri(), "type": "image/tiff"}},
    }
    with pytest.raises(RasteretError, match="remote"):
        rasteret_sql.build_from_items([item], name="given", band_map={"red": "red"}, workspace=workspace, settings={"progress": False})
