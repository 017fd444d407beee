"""Builds and collections from Python: the same results and refusals as SQL, from the same engine."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rasteret_sql
from rasteret_sql.errors import CollectionNotFound, InvalidArgument, InvalidRaster, RasteretError
from tests.collection.asking import one, refused, rows
from tests.collection.tiffs import value_by_rasterio, write

QUIET = {"progress": False}


@pytest.fixture
def files(tmp_path):
    return [write(tmp_path / f"{name}.tif", bands=2, seed=seed) for seed, name in enumerate("abc")]


@pytest.fixture
def catalogue(files, tmp_path):
    items = [
        {
            "type": "Feature",
            "id": file.stem,
            "collection": "c",
            "bbox": [15.0, 46.9, 15.1, 47.0],
            "properties": {"datetime": f"2024-0{number}-01T00:00:00Z"},
            "assets": {"image": {"href": file.name, "type": "image/tiff"}},
        }
        for number, file in enumerate(files, 1)
    ]
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return path


@pytest.fixture
def made(catalogue, workspace):
    """A collection ``c`` of three records, by the Python function."""
    return rasteret_sql.build_from_stac(catalogue, "c", name="c", band_map={"R": "image", "G": "image[1]"}, workspace=workspace, settings=QUIET)


def records_of(files):
    return [{"id": file.stem, "href": str(file), "datetime": dt.datetime(2024, 1, number)} for number, file in enumerate(files, 1)]


def test_a_report_says_what_was_done(made, workspace):
    assert (made.collection, made.path, made.records, made.added, made.bands) == ("c", str(workspace / "c_stac"), 3, 3, ["R", "G"])
    assert re.fullmatch(
        r"<built 'c': 3 records, 3 added, 0 unchanged, 0 assets failed, bands R, G, 2024-01-01 … 2024-03-01, \d+ requests, [\d,]+ bytes, [\d.]+ s>",
        repr(made),
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.records = 4


def test_sql_and_python_know_each_other(con, made, catalogue, workspace, files):
    """What one built the other brings up to date: the identity is the same."""
    again = one(con, f"FROM rasteret_build_from_stac('{catalogue}', 'c', name := 'c', band_map := {{'R': 'image', 'G': 'image[1]'}})")
    assert (again["added"], again["unchanged"]) == (0, 3)
    lon, lat, expected = value_by_rasterio(files[0], 2, col=5, row=7)
    con.execute(f"CREATE TABLE place AS SELECT {lon} AS lon, {lat} AS lat").fetchall()
    found = rows(con, "SELECT G FROM rasteret_sample(c, place, bands := ['G'], x := 'lon', y := 'lat') WHERE record_id = 'a'")
    assert found == [{"G": expected}]


@pytest.mark.parametrize("kind", ["rows", "table", "batch", "reader", "relation", "csv", "parquet"])
def test_tables_of_every_kind(con, files, workspace, tmp_path, kind):
    table = pa.Table.from_pylist(records_of(files))
    if kind == "csv":
        (tmp_path / "t.csv").write_text("\n".join(["id,href,datetime", *(f"{r['id']},{r['href']},{r['datetime']}" for r in records_of(files))]))
    pq.write_table(table, tmp_path / "t.parquet")
    source = {
        "rows": lambda: records_of(files),
        "table": lambda: table,
        "batch": lambda: table.to_batches()[0],
        "reader": table.to_reader,
        "relation": lambda: con.sql(f"FROM '{tmp_path}/t.parquet'"),
        "csv": lambda: str(tmp_path / "t.csv"),
        "parquet": lambda: tmp_path / "t.parquet",
    }[kind]()
    report = rasteret_sql.build_from_table(source, name="t", href_column="href", band_index_map={"R": 0, "G": 1}, workspace=workspace, settings=QUIET)
    assert (report.records, report.bands, str(report.first), str(report.last)) == (3, ["R", "G"], "2024-01-01 00:00:00", "2024-01-03 00:00:00")


def test_frames_of_other_packages(files, workspace):
    polars = pytest.importorskip("polars")
    report = rasteret_sql.build_from_table(polars.DataFrame(records_of(files)), name="t", href_column="href", workspace=workspace, settings=QUIET)
    assert report.bands == ["b1", "b2"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dataset": "pc/nasadm"}, "unknown dataset 'pc/nasadm'; did you mean 'pc/nasadem'?"),
        ({"dataset": "pc/nasadem"}, "pc/nasadem is global: say where with bbox := "),
        ({"dataset": "pc/nasadem", "bbox": (2, 1, 1, 2)}, "bbox [2.0, 1.0, 1.0, 2.0] is reversed: west 2 lies east of east 1"),
        ({"dataset": "pc/nasadem", "bbox": (1, 1, 2)}, "bbox := [1, 1, 2] is not valid"),
        ({"dataset": "pc/usda-cdl", "bbox": (1, 1, 2, 2)}, "pc/usda-cdl is a time series (2008-01-01/2024-12-31): say when"),
        ({"dataset": "pc/nasadem", "bbox": (1, 1, 2, 2), "bands": ["dem"]}, "dem"),
        ({"dataset": "pc/nasadem", "bbox": (1, 1, 2, 2), "name": "a/b"}, "'a/b' is no collection name"),
        ({"dataset": "pc/nasadem", "bbox": (1, 1, 2, 2), "max_items": 0}, "max_items := 0 is not valid"),
        ({"dataset": "pc/nasadem", "bbox": (1, 1, 2, 2), "settings": {"timeout": 3}}, "unknown setting 'timeout'; did you mean 'timeout_s'?"),
    ],
)
def test_a_build_that_cannot_be(con, workspace, arguments, said):
    with pytest.raises(InvalidArgument, match=f"^{re.escape(said)}" if said != "dem" else said) as caught:
        rasteret_sql.build(**{"name": "x", "workspace": workspace} | arguments)
    assert "\n" not in str(caught.value)
    if "settings" not in arguments:
        words = ", ".join(
            f"{name} := {list(v) if isinstance(v, tuple) else v!r}" for name, v in {"name": "x", **arguments}.items() if name != "dataset"
        )
        assert refused(con, f"FROM rasteret_build('{arguments['dataset']}', {words})") == f"rasteret_build: {caught.value}", "SQL says it otherwise"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (3, "a int is no table; Arrow, a DuckDB relation, "),
        ("none.parquet", "no such file: none.parquet; "),
        ([], "the table of records is empty; nothing to build"),
        ([{"name": "a"}], "the table has no column 'id'"),
    ],
)
def test_a_table_that_is_none(workspace, source, said):
    with pytest.raises(InvalidArgument, match=re.escape(said)):
        rasteret_sql.build_from_table(source, name="t", href_column="href", workspace=workspace, settings=QUIET)


def test_nothing_found_is_an_error(catalogue, workspace):
    with pytest.raises(RasteretError, match="^no items found at "):
        rasteret_sql.build_from_stac(catalogue, "c", name="x", band_map={"R": "image"}, date_range="1999", workspace=workspace)


def test_a_collection_that_is_built_already(con, made, workspace, tmp_path):
    """A dataset of that kind becomes a name for the part that was asked for."""
    (workspace / "c_stac").rename(tmp_path / "archive")
    rasteret_sql.register_local("archive", tmp_path / "archive", workspace=str(workspace))
    report = rasteret_sql.build("local/archive", name="part", date_range=["2024-01", "2024-02"], workspace=workspace, settings=QUIET)
    assert (report.collection, report.records, report.bands, report.requests) == ("part", 2, ["R", "G"], 0)
    assert [row["id"] for row in rows(con, "SELECT id FROM rasteret_collection(part) ORDER BY id")] == ["a", "b"]
    part = rasteret_sql.load("part", workspace=workspace)
    assert part.records is None
    assert sorted(part.to_arrow(["id"])["id"].to_pylist()) == ["a", "b"]
    assert sorted(part.to_arrow()["id"].to_pylist()) == ["a", "b"]
    with pytest.raises(RasteretError, match="^no records found at .*archive for date_range 1999"):
        rasteret_sql.build("local/archive", name="none", date_range="1999", workspace=workspace, settings=QUIET)


# -- collections --------------------------------------------------------------------------------------------------------------------


def test_what_is_there(made, workspace):
    (found,) = rasteret_sql.collections(workspace=workspace)
    assert (found.name, found.path, found.records, found.bands, found.first, found.last) == (
        "c",
        made.path,
        3,
        ("R", "G"),
        "2024-01-01",
        "2024-03-01",
    )
    assert repr(found) == f"<collection 'c': 3 records, bands R, G, {made.path}>"
    assert found == rasteret_sql.load("c", workspace=workspace)
    assert rasteret_sql.collections(workspace=workspace / "none") == []
    assert sorted(rasteret_sql.datasets(workspace=workspace)) == sorted(rasteret_sql.datasets())


def test_records_as_arrow(con, made, workspace):
    found = rasteret_sql.load("c", workspace=workspace)
    assert sorted(found.to_arrow()["id"].to_pylist()) == ["a", "b", "c"]
    assert found.to_arrow(["id", "crs"]).column_names == ["id", "crs"]
    with pytest.raises(InvalidArgument, match="^no column 'idd'; did you mean 'id'"):
        found.to_arrow(["idd"])


def test_load_opens_and_names(con, made, workspace, tmp_path):
    elsewhere = tmp_path / "moved"
    (workspace / "c_stac").rename(elsewhere)
    found = rasteret_sql.load(elsewhere, workspace=workspace)
    assert (found.records, len(found.to_arrow())) == (3, 3)
    assert rasteret_sql.collections(workspace=workspace) == [], "opening left something"
    assert rasteret_sql.load(elsewhere, "m", workspace=workspace).name == "m"
    assert one(con, "SELECT count(*) AS n FROM rasteret_collection(m)")["n"] == 3
    (tmp_path / "empty").mkdir()
    for place, said in ((tmp_path / "none", "no collection "), (tmp_path / "empty", f"{tmp_path}/empty is no collection: ")):
        with pytest.raises(CollectionNotFound, match=f"^{said}"):
            rasteret_sql.load(place, workspace=workspace)
    with pytest.raises(CollectionNotFound, match="^no collection 'mm'; did you mean 'm'"):
        rasteret_sql.load("mm", workspace=workspace)


def test_records_become_a_collection(con, made, workspace, tmp_path):
    """A part of a collection, as relation and as file; the values read through it are the same, and of the same type."""
    part = con.sql("SELECT *, 'x' AS label FROM rasteret_collection(c) WHERE id <> 'b'")
    found = rasteret_sql.as_collection(part, "part", workspace=workspace)
    assert (found.records, found.bands, found.path) == (2, ("R", "G"), str(workspace / "part_records"))
    assert (found.first, found.last) == ("2024-01-01", "2024-03-01")
    pq.write_table(rasteret_sql.load("c", workspace=workspace).to_arrow(), tmp_path / "all.parquet")
    rasteret_sql.as_collection(tmp_path / "all.parquet", "again", workspace=workspace)
    con.execute("CREATE TABLE area AS SELECT 'POLYGON((15.0 46.9, 15.01 46.9, 15.01 46.96, 15.0 46.96, 15.0 46.9))' AS geom").fetchall()
    read = "SELECT record_id, datetime, crs, transform, R, G, typeof(R) AS t FROM rasteret_read({}, area, bands := ['R', 'G']) ORDER BY record_id"
    before = rows(con, read.format("c"))
    assert len(before) == 3
    assert before[0]["t"] == "USMALLINT[]"
    assert rows(con, read.format("again")) == before
    assert rows(con, read.format("part")) == [before[0], before[2]]
    assert one(con, "SELECT count(*) AS n FROM rasteret_collection(part) WHERE label = 'x' AND year = 2024")["n"] == 2
    with pytest.raises(InvalidArgument, match="^a collection 'part' is there already, at .*; choose another name, or replace it with force$"):
        rasteret_sql.as_collection(part, "part", workspace=workspace)
    assert rasteret_sql.as_collection(con.sql("FROM rasteret_collection(c)"), "part", force=True, workspace=workspace).records == 3
    assert rasteret_sql.delete_collection("part", workspace=workspace) == found.path
    assert [c.name for c in rasteret_sql.collections(workspace=workspace)] == ["again", "c"]


def test_a_build_over_adopted_records(con, made, workspace, files):
    """They are no build's: the headers are read."""
    rasteret_sql.as_collection(con.sql("FROM rasteret_collection(c)"), "x", workspace=workspace)
    report = rasteret_sql.build_from_table(records_of(files), name="x", href_column="href", workspace=workspace, settings=QUIET)
    assert (report.added, report.bands) == (3, ["b1", "b2"])


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT * EXCLUDE (crs) FROM rasteret_collection(c)", "the records lack crs; "),
        (
            "SELECT * EXCLUDE (R_metadata, G_metadata) FROM rasteret_collection(c)",
            "the records have no <band>_metadata column; bands of assets: R, G",
        ),
        ("SELECT * REPLACE ({'R': assets.R} AS assets) FROM rasteret_collection(c)", "assets has no band 'G', of which there is metadata"),
        ("SELECT * REPLACE (3 AS R_metadata) FROM rasteret_collection(c)", "R_metadata is no band's metadata: "),
        ("SELECT * REPLACE ({'dtype': 'uint8'} AS R_metadata) FROM rasteret_collection(c)", "R_metadata is no band's metadata: "),
        ("SELECT * REPLACE (datetime::VARCHAR AS datetime) FROM rasteret_collection(c)", "column datetime is string; a TIMESTAMP is valid"),
        (
            "SELECT * REPLACE (NULL::STRUCT(xmin DOUBLE, ymin DOUBLE, xmax DOUBLE, ymax DOUBLE) AS bbox) FROM rasteret_collection(c)",
            "bbox of record 'a' is NULL",
        ),
        ("SELECT * REPLACE ({'x': 1} AS bbox) FROM rasteret_collection(c)", "bbox has no xmin; "),
        ("SELECT * REPLACE (NULL::VARCHAR AS id) FROM rasteret_collection(c)", "column 'id' is NULL in row 1"),
        ("FROM rasteret_collection(c) WHERE id = 'none'", "there are no records; a collection has at least one"),
        ("SELECT 1 AS one", "the records lack id, datetime, assets, bbox, crs; "),
    ],
)
def test_records_that_are_no_collection(con, made, workspace, statement, said):
    table = con.execute(statement).fetch_arrow_table() if duckdb.__version__ < "1.5" else con.sql(statement).to_arrow_table()
    with pytest.raises(InvalidArgument, match=f"^{re.escape(said)}") as caught:
        rasteret_sql.as_collection(table, "bad", workspace=workspace)
    assert "\n" not in str(caught.value)
    assert [path.name for path in workspace.iterdir() if path.name.lstrip(".").startswith("bad")] == []


def test_what_cannot_be_imported(workspace, tmp_path):
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(InvalidRaster):
        rasteret_sql.import_collection(tmp_path / "x.parquet", "x", workspace=workspace)
    with pytest.raises(CollectionNotFound, match="^no collection 'x'; built: none$"):
        rasteret_sql.delete_collection("x", workspace=workspace)


def test_export_is_the_one_of_sql(con, made, workspace, tmp_path):
    said = rasteret_sql.export("c", tmp_path / "out", partition_by=["year"], workspace=workspace)
    assert (said["records"], said["path"]) == (3, str(tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").glob("year=*")] == ["year=2024"]
    with pytest.raises(RasteretError, match="out"):
        rasteret_sql.export("c", tmp_path / "out", workspace=workspace)
    assert rasteret_sql.export("c", tmp_path / "out", overwrite=True, workspace=workspace)["records"] == 3


def test_every_name_is_there():
    for name in rasteret_sql.__all__:
        assert getattr(rasteret_sql, name).__doc__, f"{name} says nothing of itself"
