"""What is there: collections, bands, and the rows of the index with filters pushed into Parquet."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
import rasterio

from tests.collection.asking import one, refused, rows
from tests.collection.tiffs import records, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("files")
    write(root / "a.tif", bands=2, nodata=3)
    write(root / "b.tif", bands=2, nodata=3, epsg=32634, origin=(300000.0, 5000000.0))
    write(
        root / "fine.tif", dtype="float32", compress="zstd", blockxsize=32, blockysize=32, transform=rasterio.Affine(2.5, 0, 500000, 0, -2.5, 5200000)
    )
    with rasterio.open(root / "fine.tif", "r+") as out:
        out.scales, out.offsets = (0.5,), (-10.0,)
        out.build_overviews([2, 4])
    return root


def build(con, table, name="c", more="href_column := 'href'"):
    con.register("given", table)
    return one(con, f"FROM rasteret_build_from_table(given, name := '{name}', {more})")


def test_no_collections(con, workspace):
    assert rows(con, "FROM rasteret_collections()") == []
    con.execute(f"SET VARIABLE rasteret_workspace = '{workspace}/not/there'").fetchall()
    assert rows(con, "FROM rasteret_collections()") == []


def test_collections(con, folder, workspace):
    first = build(con, records({"a": folder / "a.tif", "b": folder / "b.tif"}, datetime=[datetime(2024, 3, 1, 5), datetime(2023, 3, 1, 5)]), "zwei")
    build(con, records({"x": folder / "fine.tif"}), "ein.s-1_x")
    (workspace / "notes").mkdir()
    (workspace / "file_records").write_text("no folder")
    found = rows(con, "FROM rasteret_collections()")
    assert [row["name"] for row in found] == ["ein.s-1_x", "zwei"]
    two = found[1]
    assert (two["source"], two["records"], two["bands"]) == ("given", 2, ["b1", "b2"])
    assert (two["first"], two["last"]) == ("2023-03-01", "2024-03-01")
    assert two["bounds"] == first["bounds"]
    assert two["path"] == first["path"] == str(workspace / "zwei_records")
    assert two["bytes"] == sum(file.stat().st_size for file in Path(two["path"]).rglob("*.parquet"))
    assert abs(datetime.now().astimezone() - datetime.fromisoformat(two["built"])) < timedelta(minutes=2)
    assert (found[0]["first"], found[0]["last"]) == (None, None)


def test_a_broken_folder_does_not_hide_the_others(con, folder, workspace):
    """Left by another program, or damaged: it is listed with nothing but its name and path, and refused by name."""
    build(con, records({"a": folder / "a.tif"}), "good")
    (workspace / "bad_records").mkdir()
    (workspace / "worse_stac").mkdir()
    (workspace / "worse_stac" / "part-0.parquet").write_bytes(b"PAR1 not really")
    found = {row["name"]: row for row in rows(con, "FROM rasteret_collections()")}
    assert {name: row["records"] for name, row in found.items()} == {"bad": None, "good": 1, "worse": None}
    assert found["bad"]["path"] == str(workspace / "bad_records")
    assert refused(con, "FROM rasteret_bands(bad)") == f"rasteret_bands: {workspace}/bad_records is no collection: it holds no Parquet file"
    assert f"{workspace}/worse_stac/part-0.parquet is no collection: Parquet " in refused(con, "FROM rasteret_bands(worse)")


def test_only_broken_folders(con, workspace):
    (workspace / "bad_records").mkdir()
    assert rows(con, "SELECT name, records, bands FROM rasteret_collections()") == [{"name": "bad", "records": None, "bands": None}]


def test_bands(con, folder):
    table = pa.table({"id": ["a", "b"], "n": [str(folder / "a.tif"), str(folder / "b.tif")], "f": [str(folder / "fine.tif"), None]})
    build(con, table, more="band_columns := {'num': 'n', 'fine': 'f'}")
    assert rows(con, "FROM rasteret_bands(c)") == [
        {"band": "num", "dtype": "uint16", "nodata": 3.0, "resolution": 10.0, "epsg": [32633, 32634], "tile_width": 16, "tile_height": 16}
        | {"compression": "deflate", "overviews": 0, "scale": 1.0, "offset": 0.0, "records": 2},
        {"band": "fine", "dtype": "float32", "nodata": None, "resolution": 2.5, "epsg": [32633], "tile_width": 32, "tile_height": 32}
        | {"compression": "zstd", "overviews": 2, "scale": 0.5, "offset": -10.0, "records": 1},
    ]


def test_a_band_whose_assets_all_failed_is_still_a_band(con, folder):
    """Asked for by name it is NULL with its reason; it does not turn into an unknown band."""
    table = pa.table({"id": ["a"], "n": [str(folder / "a.tif")], "f": [str(folder / "none.tif")]})
    assert build(con, table, more="band_columns := {'num': 'n', 'gone': 'f'}")["bands"] == ["num", "gone"]
    found = {row["band"]: row["records"] for row in rows(con, "FROM rasteret_bands(c)")}
    assert found == {"num": 1, "gone": 0}
    con.execute("CREATE TABLE p AS SELECT 15.001 AS x, 46.9525 AS y").fetchall()
    row = one(con, "FROM rasteret_sample(c, p, bands := ['num', 'gone'], x := 'x', y := 'y')")
    assert (row["gone"], row["error"]) == (None, "the record has no asset for gone")


def test_collections_of_other_programs(con, folder, workspace, tmp_path):
    """A folder by path; a single Parquet file by path; a copy under another name."""
    path = Path(build(con, records({"a": folder / "a.tif"}))["path"])
    con.execute(f"COPY (FROM rasteret_collection(c)) TO '{tmp_path}/copy.parquet'").fetchall()
    for source in (f"'{path}'", f"'file://{path}'", f"'{tmp_path}/copy.parquet'", "c"):
        assert [row["band"] for row in rows(con, f"FROM rasteret_bands({source})")] == ["b1", "b2"], source
        assert one(con, f"SELECT id, assets.b1.href AS href FROM rasteret_collection({source})") == {"id": "a", "href": str(folder / "a.tif")}


# -- filters and columns go into Parquet -------------------------------------------------------------------------------------


@pytest.fixture
def many(con, folder):
    start = datetime(2023, 1, 1)
    table = pa.table(
        {
            "id": [f"{i:05}" for i in range(3000)],
            "href": [str(folder / "a.tif")] * 3000,
            "datetime": [start + timedelta(hours=5 * i) for i in range(3000)],
            "cloud": list(range(3000)),
        }
    )
    build(con, table, "many")


def explained(con, query):
    """The plan without its boxes: one line of words."""
    (plan,) = [row["explain_value"] for row in rows(con, f"EXPLAIN {query}") if row["explain_key"] == "physical_plan"]
    return " ".join("".join(char if char.isascii() else " " for char in plan).split())


def analyzed(con, query):
    return " ".join("".join(char if char.isascii() else " " for char in row["explain_value"]) for row in rows(con, f"EXPLAIN ANALYZE {query}"))


def test_filters_reach_the_scan(con, many):
    plan = explained(con, "SELECT id FROM rasteret_collection(many) WHERE cloud > 2990")
    assert "Filters:" in plan
    assert "cloud" in plan.split("Filters:")[1]
    assert not any(word in plan for word in ("FILTER ", "Filter ")), "none is left above the scan"
    assert one(con, "SELECT count(*) AS n FROM rasteret_collection(many) WHERE cloud > 2990") == {"n": 9}


def test_partitions_are_pruned(con, many):
    """A filter on year opens one year's files."""
    plan = " ".join(analyzed(con, "SELECT count(id) FROM rasteret_collection(many) WHERE year = 2023 AND month = 2").split())
    assert "Total Files Read: 1" in plan, plan


def test_only_asked_columns_are_scanned(con, many):
    """The tile tables of the bands are most of a collection; a query that needs none of them must not read them."""
    plan = explained(con, "SELECT id, cloud FROM rasteret_collection(many)")
    assert "cloud" in plan
    for column in ("b1_metadata", "assets", "geometry", "bbox"):
        assert column not in plan, plan
