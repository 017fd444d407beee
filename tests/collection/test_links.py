"""Names for parts of larger collections: AlphaEarth-like embeddings at a URL, narrowed to a place and a year, and never copied."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
import rasterio
import rasterio.warp
from affine import Affine

import rasteret_sql
from rasteret_sql.collection import registry
from rasteret_sql.collection.links import find_link
from rasteret_sql.collection.ranges import RANGES
from rasteret_sql.collection.remote import MOUNTS
from rasteret_sql.sample import data_dir, records
from tests.collection.asking import one, refused, rows
from tests.collection.elsewhere import connection
from tests.servers.ranged import RangeServer

BANDS = [f"A{index:02d}" for index in range(64)]
PUBLIC = "https://data.source.coop/"
TILES = {"nw": (500000.0, 1430000.0), "ne": (500640.0, 1430000.0), "far": (700000.0, 1600000.0)}
YEARS = (2021, 2022)


def embeddings(seed):
    values = np.random.default_rng(seed).integers(-127, 128, (64, 64, 64), dtype=np.int8)
    values[:, :5, :5] = -128
    return values


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """South-up, int8, planar-separate, 64 bands, a file per tile and year; indexed under public hrefs that only the descriptor knows how to reach."""
    root = tmp_path_factory.mktemp("archive")
    with RangeServer(root) as server, connection(tmp_path_factory.mktemp("made")) as con:
        files = []
        for number, (tile, (west, south)) in enumerate(TILES.items()):
            for year in YEARS:
                path = f"{tile}_{year}.tif"
                profile = {"driver": "GTiff", "width": 64, "height": 64, "count": 64, "dtype": "int8", "nodata": -128, "crs": "EPSG:32643"}
                profile |= {"transform": Affine(10, 0, west, 0, 10, south), "tiled": True, "blockxsize": 32, "blockysize": 32, "interleave": "band"}
                with rasterio.open(root / path, "w", compress="deflate", **profile) as file:
                    file.write(embeddings(number * 10_000 + year))
                files.append((f"{tile}_{year}", f"{year}-01-01", server.url(path)))
        con.execute(
            "CREATE TABLE files AS SELECT unnest(?, recursive := true)", [[{"id": a, "datetime": b, "href": c} for a, b, c in files]]
        ).fetchall()
        index = json.dumps({band: number for number, band in enumerate(BANDS)}).replace('"', "'")
        con.execute(f"FROM rasteret_build_from_table(files, name := 'aef', href_column := 'href', band_index_map := {index})").fetchall()
        public = ", ".join(
            f"{band} := {{'href': replace(assets.{band}.href, '{server.url('')}', '{PUBLIC}'), 'band_index': assets.{band}.band_index}}"
            for band in BANDS
        )
        con.execute(f"CREATE VIEW public AS SELECT * REPLACE (struct_pack({public}) AS assets) FROM rasteret_collection('aef')").fetchall()
        con.execute(f"FROM rasteret_export(public, '{root}/data', partition_by := ['year'])").fetchall()
        yield server


@pytest.fixture(autouse=True)
def descriptor(archive, monkeypatch):
    """The catalogue's own entry, at the server of the test."""
    known = registry.DATASETS["aef/v1-annual"]
    here = replace(known, collection_url=archive.url("data"), url_rewrite={PUBLIC: archive.url("")})
    monkeypatch.setattr(registry, "DATASETS", {**registry.DATASETS, "aef/v1-annual": here})
    RANGES.clear()
    MOUNTS.forget()
    archive.reset()


def place(tile, row, column):
    """Longitude and latitude of the centre of a pixel, rows from the file's first, which is the southernmost."""
    west, south = TILES[tile]
    (lon,), (lat,) = rasterio.warp.transform("EPSG:32643", "EPSG:4326", [west + 10 * (column + 0.5)], [south + 10 * (row + 0.5)])
    return lon, lat


def box():
    west, south = place("nw", 0, 0)
    east, north = place("ne", 63, 63)
    return [west, south, east, north]


BUILD = "FROM rasteret_build('aef/v1-annual', name := 'mine', bbox := {}, date_range := ['2022-01-01', '2022-12-31'])"


def test_a_place_and_a_year(con, archive, workspace):
    report = one(con, BUILD.format(box()))
    assert (report["collection"], report["path"], report["records"], report["added"]) == ("mine", archive.url("data"), 2, 2)
    assert (report["epsg"], report["first"], report["last"]) == ([32643], datetime(2022, 1, 1), datetime(2022, 1, 1))
    assert report["bands"] == BANDS
    assert [path.name for path in workspace.iterdir()] == ["mine.link.json"], "nothing is copied"
    touched = {path for path in archive.stats().ranges if path.endswith(".parquet")}
    assert touched == {"/data/year=2022/part-0.parquet"}, "other years are not even opened"
    assert sorted(row["id"] for row in rows(con, "SELECT id FROM rasteret_collection(mine)")) == ["ne_2022", "nw_2022"]
    assert one(con, BUILD.format(box()))["unchanged"] == 2


def test_the_pixels(con, archive):
    one(con, BUILD.format(box()))
    spots = [("nw", 10, 20), ("ne", 63, 0), ("nw", 2, 3), ("far", 10, 10)]
    con.execute(
        "CREATE TABLE spots AS SELECT unnest(?, recursive := true)",
        [[{"no": no, "x": place(*spot)[0], "y": place(*spot)[1]} for no, spot in enumerate(spots)]],
    ).fetchall()
    found = rows(con, f"FROM rasteret_sample(mine, spots, bands := {BANDS}, x := 'x', y := 'y') ORDER BY no")
    assert [row["status"] for row in found] == ["ok", "ok", "nodata", "outside"]
    for row, (tile, line, column) in zip(found[:2], spots, strict=False):
        expected = embeddings(list(TILES).index(tile) * 10_000 + 2022)[:, line, column]
        assert [row[band] for band in BANDS] == expected.tolist()
    assert all(found[2][band] is None for band in BANDS)
    west, south = place("nw", 8, 8)
    east, north = place("nw", 20, 30)
    wkt = f"POLYGON(({west} {south}, {east} {south}, {east} {north}, {west} {north}, {west} {south}))"
    (block,) = rows(con, f"WITH g AS (SELECT '{wkt}' AS geom) FROM rasteret_read(mine, g, bands := ['A07', 'A63'], pixels := 'window')")
    with rasterio.open(archive.root / "nw_2022.tif") as file:
        left, top = ~file.transform @ (block["transform"][2], block["transform"][5])
        window = rasterio.windows.Window(round(left), round(top), block["width"], block["height"])
        for band, index in (("A07", 8), ("A63", 64)):
            np.testing.assert_array_equal(np.array(block[band]).reshape(block["height"], -1), file.read(index, window=window))


def test_some_bands(con):
    report = one(con, BUILD.format(box()).replace(")", ", bands := ['A01', 'A02'])"))
    assert report["bands"] == ["A01", "A02"]
    assert [row["band"] for row in rows(con, "FROM rasteret_bands(mine)")] == ["A01", "A02"]


def test_the_whole_by_its_id(con):
    assert one(con, "SELECT count(*) AS n FROM rasteret_collection('aef/v1-annual')")["n"] == len(TILES) * len(YEARS)


def test_what_is_kept(con, archive, workspace):
    one(con, BUILD.format([-180, -85.5, 180, 85.5]))
    link = find_link("mine", str(workspace))
    assert link is not None
    assert link.part.bbox == (-180, -85.5, 180, 85.5)
    assert (link.part.start, link.part.end) == (datetime(2022, 1, 1), datetime(2022, 12, 31, 23, 59, 59, 999999))
    (listed,) = rows(con, "FROM rasteret_collections()")
    assert (listed["name"], listed["source"], listed["path"]) == ("mine", "aef/v1-annual", archive.url("data"))
    assert (listed["first"], listed["last"], listed["bounds"]) == ("2022-01-01", "2022-12-31", [-180, -85.5, 180, 85.5])
    assert datetime.now(UTC).year > 2000


def test_a_local_collection(con, workspace, tmp_path):
    con.register("tiles", records(str(data_dir()), "rgbn"))
    one(con, "FROM rasteret_build_from_table(tiles, name := 'scenes', band_codes := ['R'])")
    one(con, f"FROM rasteret_export(scenes, '{tmp_path}/out')")
    rasteret_sql.register_local("ours", tmp_path / "out", workspace=str(workspace))
    report = one(con, "FROM rasteret_build('local/ours', name := 'spring', date_range := '2016-04/2016-05')")
    assert (report["records"], report["path"]) == (2, f"{tmp_path}/out")
    assert sorted(row["id"] for row in rows(con, "SELECT id FROM rasteret_collection(spring)")) == ["rgbn_20160401", "rgbn_20160517"]
    assert len(rows(con, "WITH p AS (SELECT 'POINT(-72.205 18.520)' AS geom) FROM rasteret_sample(spring, p)")) == 2
    one(con, f"FROM rasteret_export(spring, '{tmp_path}/spring')")
    assert one(con, f"SELECT count(*) AS n FROM rasteret_collection('{tmp_path}/spring')")["n"] == 2
    assert "exists already" not in refused(con, "FROM rasteret_build('local/ours', name := 'scenes', date_range := '2016')")


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([-73, 18, -72, 19], {"rgbn"}),
        ([-10, -10, 10, 10], {"zero"}),
        ([170, -10, -170, 10], {"crossing", "east", "west"}),
        ([175, -1, 177, 1], {"crossing", "east"}),
        ([-176, -1, -175.5, 1], {"crossing"}),
        ([-180, -90, 180, 90], {"rgbn", "zero", "crossing", "east", "west"}),
    ],
)
def test_boxes_across_the_antimeridian(con, workspace, tmp_path, box, expected):
    con.register("tiles", records(str(data_dir()), "rgbn"))
    one(con, "FROM rasteret_build_from_table(tiles, name := 'scenes', band_codes := ['R'])")
    places = {"zero": (-1, -1, 1, 1), "crossing": (175, -2, -175, 2), "east": (171, -2, 176, 2), "west": (-179, -2, -178, 2)}
    made = " UNION ALL ".join(
        f"SELECT '{name}' AS id, {{'xmin': {w}::DOUBLE, 'ymin': {s}::DOUBLE, 'xmax': {e}::DOUBLE, 'ymax': {n}::DOUBLE}} AS bbox"
        for name, (w, s, e, n) in places.items()
    )
    con.execute("CREATE TABLE first AS SELECT * REPLACE ('rgbn' AS id) FROM rasteret_collection(scenes) LIMIT 1").fetchall()
    con.execute(
        f"CREATE TABLE world AS FROM first UNION ALL SELECT f.* REPLACE (m.id AS id, m.bbox AS bbox) FROM first AS f, ({made}) AS m"
    ).fetchall()
    one(con, f"FROM rasteret_export(world, '{tmp_path}/world')")
    rasteret_sql.register_local("world", tmp_path / "world", workspace=str(workspace))
    assert one(con, f"FROM rasteret_build('local/world', name := 'here', bbox := {box})")["records"] == len(expected)
    assert {row["id"] for row in rows(con, "SELECT id FROM rasteret_collection(here)")} == expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "name := 'mine', bbox := [1, 2, 3, 4], date_range := '2022'",
            "no records found at {} for bbox [1.0, 2.0, 3.0, 4.0], date_range 2022-01-01T00:00:00Z/2022-12-31",
        ),
        ("name := 'mine', bbox := [74, 12, 77, 15], date_range := '1999'", "no records found at {} for bbox"),
        ("name := 'mine', date_range := '2022'", "rasteret_build: aef/v1-annual is global: say where with bbox"),
        ("name := 'mine', bbox := [74, 12, 77, 15]", "rasteret_build: aef/v1-annual is a time series"),
        (
            "name := 'mine', bbox := [74, 12, 77, 15], date_range := '2022', max_items := 3",
            "rasteret_build: aef/v1-annual is a collection built already: max_items does not apply",
        ),
        ("name := 'mine', bbox := [74, 12, 77, 15], date_range := '2022', bands := ['A64']", "rasteret_build: {} has no band 'A64'; did you mean 'A"),
    ],
)
def test_bad_calls(con, archive, workspace, arguments, said):
    assert refused(con, f"FROM rasteret_build('aef/v1-annual', {arguments})").startswith(said.format(archive.url("data")))
    assert not any(workspace.iterdir())


def test_a_name_that_is_taken(con, workspace, tmp_path):
    con.register("tiles", records(str(data_dir()), "rgbn"))
    one(con, "FROM rasteret_build_from_table(tiles, name := 'mine', band_codes := ['R'])")
    assert "'mine' is the name of a collection built at" in refused(con, BUILD.format(box()))
    one(con, BUILD.format(box()).replace("'mine'", "'other'"))
    one(con, "FROM rasteret_build_from_table(tiles, name := 'other', band_codes := ['R'])")
    assert not list(workspace.glob("*.link.json")), "a build takes the name over"
    (workspace / "torn.link.json").write_text("{")
    assert "torn.link.json is no link to a collection" in refused(con, "FROM rasteret_collection(torn)")
    assert {row["name"] for row in rows(con, "FROM rasteret_collections()")} == {"mine", "other", "torn"}
