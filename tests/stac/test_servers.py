"""APIs that behave oddly, as ones in the wild do: paging, methods, answers to another search, errors."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager

import pytest

from rasteret_sql.collection.stac import api as stac_api
from rasteret_sql.collection.stac.bands import parse_band_map
from rasteret_sql.collection.stac.search import make_search
from rasteret_sql.collection.stac.source import StacSource
from rasteret_sql.errors import RasteretError
from rasteret_sql.reader.engine import Query
from tests.servers.answering import AnsweringServer, Reply
from tests.stac.world import asset

CORE = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]


def item(number, box=(10.0, 47.0, 10.1, 47.1), when="2024-01-01T00:00:00Z", collection="c", **assets):
    west, south, east, north = box
    geometry = {"type": "Polygon", "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]]}
    properties = {"datetime": when}
    assets = assets or {"red": asset(f"https://example.com/{number}.tif")}
    return {
        "type": "Feature",
        "id": f"i{number}",
        "collection": collection,
        "bbox": list(box),
        "geometry": geometry,
        "properties": properties,
        "assets": assets,
    }


def page(items, *links):
    return Reply({"type": "FeatureCollection", "features": items, "links": list(links)})


@contextmanager
def api(search, conforms=CORE, methods=("GET", "POST"), **more):
    """An API whose searches one function answers."""

    def answer(asked):
        if asked.path == "/v1":
            found = [{"rel": "search", "href": "/v1/search"} | ({"method": method} if method else {}) for method in methods]
            return Reply({"type": "Catalog", "stac_version": "1.0.0", "id": "x", "conformsTo": conforms, "links": found, **more})
        return search(asked) if asked.path == "/v1/search" else Reply({"description": "no"}, 404)

    with AnsweringServer(answer) as server:
        yield server


def batches(server, bands=None, **search):
    source = StacSource(f"{server.url}/v1", make_search({"collection": "c"} | search), parse_band_map(bands or {"R": "red"}), Query("test"))
    return list(source.batches())


def found(server, **search):
    return [record for batch in batches(server, **search) for record in batch.ids]


def refusal(server, **search):
    with pytest.raises(RasteretError) as caught:
        batches(server, **search)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(server.url, "HOST")


def test_post_pages_with_a_merged_body():
    def search(asked):
        token = asked.body.get("token", 0)
        assert asked.body["collections"] == ["c"]
        return page(
            [item(token)],
            *([{"rel": "next", "href": "./search", "method": "POST", "body": {"token": token + 1}, "merge": True}] if token < 3 else []),
        )

    with api(search) as server:
        assert found(server) == ["i0", "i1", "i2", "i3"]


def test_get_where_there_is_no_post():
    def search(asked):
        assert asked.method == "GET"
        start = int(asked.query.get("token", 0))
        link = {"rel": "next", "href": f"/v1/search?token={start + 1}"}
        return page([item(start)], *([link] if start < 2 else []))

    with api(
        search,
        methods=("GET",),
        conforms=[*CORE, "https://api.stacspec.org/v1.1.0/item-search#query", "https://api.stacspec.org/v1.1.0/item-search#sort"],
    ) as server:
        asked = {"bbox": [1, 2, 11, 50], "date_range": "2024", "ids": ["i0", "i1", "i2"], "query": {"a": {"lt": 1}}, "sort_by": ["-a", "b"]}
        assert found(server, **asked) == ["i0", "i1", "i2"]
        sent = server.asked[1].query
        assert sent == {
            "collections": "c",
            "bbox": "1.0,2.0,11.0,50.0",
            "datetime": "2024-01-01T00:00:00Z/2024-12-31T23:59:59.999999Z",
            "ids": "i0,i1,i2",
            "query": '{"a": {"lt": 1}}',
            "sortby": "-a,+b",
            "limit": "100",
        }


def test_an_old_root():
    """Planetary Computer's in its first years: no type, a search link without a method, classes of a beta."""
    beta = ["https://api.stacspec.org/v1.0.0-beta.1/core", "https://api.stacspec.org/v1.0.0-beta.1/item-search"]
    with api(lambda asked: page([item(1)]), conforms=beta, methods=(None,), type=None, stac_version="1.0.0-beta.2") as server:
        assert found(server) == ["i1"]
        assert server.asked[1].method == "GET"


def test_a_root_without_links_to_its_search():
    """Its classes say that it has one; where, the specification says."""
    with api(lambda asked: page([item(1)]), methods=()) as server:
        assert found(server) == ["i1"]
        assert [(asked.method, asked.path) for asked in server.asked] == [("GET", "/v1"), ("GET", "/v1/search")]


def test_an_empty_page_may_have_a_next_one():
    with api(
        lambda asked: page(
            [item(1)] if asked.body.get("n") else [],
            *([] if asked.body.get("n") else [{"rel": "next", "href": "/v1/search", "method": "POST", "body": {"n": 1}}]),
        )
    ) as server:
        assert found(server) == ["i1"]


def test_pages_are_asked_for_as_they_are_needed():
    def search(asked):
        n = asked.body.get("n", 0)
        return page([item(2 * n), item(2 * n + 1)], {"rel": "next", "href": "/v1/search", "method": "POST", "body": {"n": n + 1}})

    with api(search) as server:
        assert found(server, max_items=3) == ["i0", "i1", "i2"]
        assert len(server.asked) == 3
        assert server.asked[1].body["limit"] == 3


def test_batches_come_before_the_search_has_ended(monkeypatch):
    monkeypatch.setattr("rasteret_sql.collection.stac.source.BATCH_RECORDS", 3)

    def search(asked):
        n = asked.body.get("n", 0)
        return page(
            [item(2 * n), item(2 * n + 1)], *([{"rel": "next", "href": "/v1/search", "method": "POST", "body": {"n": n + 1}}] if n < 4 else [])
        )

    with api(search) as server:
        source = StacSource(f"{server.url}/v1", make_search({"collection": "c"}), parse_band_map({"R": "red"}), Query("test")).batches()
        assert next(source).ids == ["i0", "i1", "i2", "i3"]
        assert len(server.asked) == 3
        assert [batch.ids for batch in source] == [["i4", "i5", "i6", "i7"], ["i8", "i9"]]


def test_an_item_on_two_pages_is_one_record():
    def search(asked):
        n = asked.body.get("n", 0)
        return page([item(n), item(n + 1)], *([{"rel": "next", "href": "/v1/search", "method": "POST", "body": {"n": n + 1}}] if n < 2 else []))

    with api(search) as server:
        assert found(server) == ["i0", "i1", "i2", "i3"]


def test_pages_in_a_circle():
    with api(lambda asked: page([item(1)], {"rel": "next", "href": "/v1/search", "method": "POST", "body": {"n": 1}})) as server:
        assert refusal(server) == "HOST/v1/search: the pages of the search go round in a circle"


def test_headers_of_a_next_link_stay_with_the_host():
    with AnsweringServer(lambda asked: page([item(2)])) as other:
        link = {"rel": "next", "href": f"{other.url}/next", "method": "POST", "body": {"n": 1}, "headers": {"X-Page": "2"}}
        with api(lambda asked: page([item(1)], link)) as server:
            assert found(server) == ["i1", "i2"]
            assert "x-page" not in other.asked[0].headers


@pytest.mark.parametrize(
    ("odd", "search", "broken"),
    [
        (item(1, box=(50, 1, 51, 2)), {"bbox": [10, 47, 11, 48]}, "bbox"),
        (item(1, box=(50, 1, 51, 2)), {"bbox": [170, -1, -170, 5]}, "bbox"),
        (item(1, box=(50, 1, 51, 2)), {"intersects": "POINT(10 47)"}, "intersects"),
        (item(1, when="2023-12-31T23:59:59Z"), {"date_range": "2024"}, "date_range"),
        (item(1, collection="d"), {}, "collection"),
        (item(1), {"ids": ["i2"]}, "ids"),
    ],
)
def test_items_of_another_search_are_an_error(odd, search, broken):
    """Leaving them out in silence would hide that the server did not do what it was asked."""
    with api(lambda asked: page([odd])) as server:
        said = f"HOST/v1 answers with items that the search excludes: 'i1' does not meet {broken}; the server does not honour it, so nothing was built from it"
        assert refusal(server, **search) == said


@pytest.mark.parametrize(
    "kept",
    [
        item(1, box=(179.5, 47, -179.5, 48)) | {"geometry": None},
        item(1, box=(-180, 47, 180, 48)),
        item(1) | {"bbox": None, "geometry": None},
        item(1, box=(179.5, 47, 179.9, 48)) | {"bbox": [179.5, 47, 0, 179.9, 48, 10]},
        item(1, box=(179.5, 47, 179.9, 48))
        | {"properties": {"datetime": None, "start_datetime": "2023-12-01T00:00:00Z", "end_datetime": "2024-01-01T00:00:00Z"}},
        item(1, box=(179.5, 47, 179.9, 48)) | {"properties": {}},
    ],
)
def test_careless_items_are_taken(kept):
    """An item is held against the search only where it says clearly that it lies elsewhere."""
    with api(lambda asked: page([kept])) as server:
        assert found(server, bbox=[179, 46, -179, 49], date_range=["2024", ".."]) == ["i1"]


def test_a_box_across_the_antimeridian_is_two_searches():
    sent = []

    def search(asked):
        sent.append(asked.body["bbox"])
        return page([item(1, box=(179.5, 47, -179.5, 48))])

    with api(search) as server:
        assert found(server, bbox=[179, 46, -179, 49]) == ["i1"]
        assert sent == [[179.0, 46.0, 180.0, 49.0], [-180.0, 46.0, -179.0, 49.0]]


@pytest.mark.parametrize(
    ("conforms", "search", "said"),
    [
        (CORE[:1], {}, "HOST/v1 has no item search (its conformsTo lacks …/item-search): nothing can be searched there"),
        (
            [*CORE, "https://api.stacspec.org/v1.0.0/collections#query"],
            {"query": {"a": {"lt": 1}}},
            "HOST/v1 does not offer query (its conformsTo lacks item-search#query) and would ignore it; it offers: none",
        ),
        (
            [*CORE, "https://api.stacspec.org/v1.0.0/item-search#query"],
            {"filter": "a < 1"},
            "HOST/v1 does not offer filter (its conformsTo lacks item-search#filter) and would ignore it; it offers: query",
        ),
        (
            [*CORE, "https://api.stacspec.org/v1.0.0/item-search#filter", "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json"],
            {"filter": "a < 1"},
            "HOST/v1 takes a filter as cql2-json, not as cql2-text",
        ),
    ],
)
def test_conformance(conforms, search, said):
    with api(lambda asked: page([item(1)]), conforms=conforms) as server:
        assert refusal(server, **search) == said
        assert [asked.path for asked in server.asked] == ["/v1"]


@pytest.mark.parametrize(
    "named", ["https://api.stacspec.org/v1.0.0-rc.1/item-search#filter:filter", "https://api.stacspec.org/v1.1.0/item-search#filter"]
)
def test_filters_of_older_and_newer_servers(named):
    with api(lambda asked: page([item(1)]), conforms=[*CORE, named]) as server:
        assert found(server, filter="a < 1") == ["i1"]
        assert (server.asked[1].method, server.asked[1].query["filter"], server.asked[1].query["filter-lang"]) == ("GET", "a < 1", "cql2-text")
        assert found(server, filter={"op": "<", "args": [{"property": "a"}, 1]}) == ["i1"]
        assert (server.asked[3].method, server.asked[3].body["filter-lang"]) == ("POST", "cql2-json")


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply({"description": "the search is too big"}, 413), "HOST/v1/search: the server answered HTTP 413: the search is too big"),
        (Reply([1, 2]), "HOST/v1/search: the search answered without a list of items (features)"),
        (Reply({"features": None}), "HOST/v1/search: the search answered without a list of items (features)"),
        (page([{"type": "Feature"}]), "HOST/v1/search: an item has no id"),
        (page([3]), "HOST/v1/search: an item has no id"),
    ],
)
def test_answers_that_are_none(reply, said):
    with api(lambda asked: reply) as server:
        assert refusal(server).startswith(said)


def test_relative_assets_lie_beside_the_item():
    def search(asked):
        home = {"rel": "self", "href": "https://example.com/items/2024/i1.json"}
        return page([item(1, red=asset("../red.tif")) | {"links": [home]}, item(2, red=asset("b.tif"))])

    with api(search) as server:
        (batch,) = batches(server)
        assert batch.hrefs == {"R": ["https://example.com/items/red.tif", f"{server.url}/v1/b.tif"[: len(server.url)] + "/b.tif"]}
        assert batch.remote


def test_secrets_in_the_root_stay_out_of_the_identity():
    source = StacSource("https://key:hush@example.com/v1?token=hush", make_search({}), parse_band_map({"R": "red"}), Query("test"))
    assert "hush" not in json.dumps(source.identity)
    assert re.search(r"'stac': 'https://example.com/v1'", str(source.identity))


def test_page_size_fits_gateways():
    assert stac_api.PAGE_ITEMS <= 100
