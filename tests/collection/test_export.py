"""``rasteret_export``: any relation with the contract columns as a collection of files, judged by pyarrow and by what is read from it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import rasteret_sql
from rasteret_sql.sample import data_dir, records
from tests.collection.asking import one, refused, rows

UPSTREAM = Path(__file__).parent / "data" / "upstream"
SAMPLE = "FROM rasteret_sample({}, (SELECT 'POINT(-72.205 18.520)' AS geom), bands := ['R', 'NIR']) ORDER BY datetime"


@pytest.fixture
def scenes(con):
    con.register("tiles", records(str(data_dir()), "rgbn"))
    one(con, "FROM rasteret_build_from_table(tiles, name := 'scenes', band_codes := ['R', 'NIR'])")
    con.execute("CREATE VIEW spots AS SELECT 'POINT(-72.205 18.520)' AS geom").fetchall()
    return "scenes"


def values(con, collection):
    return rows(con, f"SELECT record_id, datetime, R, NIR, status FROM rasteret_sample({collection}, spots, bands := ['R', 'NIR']) ORDER BY datetime")


def test_a_whole_collection(con, scenes, tmp_path):
    report = one(con, f"FROM rasteret_export(scenes, '{tmp_path}/out')")
    files = sorted(file.relative_to(tmp_path / "out").as_posix() for file in (tmp_path / "out").rglob("*.parquet"))
    assert files == [f"year={year}/month={month}/part-0.parquet" for year, month in ((2016, 1), (2016, 4), (2016, 5), (2017, 2))]
    assert (report["path"], report["records"], report["files"]) == (f"{tmp_path}/out", 4, 4)
    assert report["bytes"] == sum((tmp_path / "out" / file).stat().st_size for file in files)
    assert 0 < report["seconds"] < 60
    assert values(con, f"'{tmp_path}/out'") == values(con, "scenes")
    assert len(values(con, "scenes")) == 4
    assert [row["status"] for row in values(con, "scenes")] == ["ok"] * 4


def test_the_schema_is_the_built_ones(con, scenes, tmp_path):
    one(con, f"FROM rasteret_export(scenes, '{tmp_path}/out')")
    built = next(Path(one(con, "FROM rasteret_collections()")["path"]).rglob("*.parquet"))
    mine, theirs = (pq.read_schema(file) for file in (tmp_path / "out" / "year=2016" / "month=1" / "part-0.parquet", built))
    assert {field.name: field.type for field in mine} == {field.name: field.type for field in theirs}
    assert mine.names[:7] == theirs.names[:7]
    for key in (b"name", b"data_source", b"date_range", b"rasteret_sql:dtypes", b"rasteret_collection_version"):
        assert mine.metadata[key] == theirs.metadata[key], key
    geo, other = (json.loads(schema.metadata[b"geo"]) for schema in (mine, theirs))
    assert geo == other
    assert geo["version"] == "1.1.0"
    assert "covering" in geo["columns"]["geometry"]


def test_a_filtered_relation(con, scenes, tmp_path):
    said = one(con, f"WITH few AS (FROM rasteret_collection(scenes) WHERE year = 2016 AND month > 1) FROM rasteret_export(few, '{tmp_path}/out')")
    assert (said["records"], said["files"]) == (2, 2)
    assert [row["record_id"] for row in values(con, f"'{tmp_path}/out'")] == ["rgbn_20160401", "rgbn_20160517"]
    bands = {row["band"]: row["dtype"] for row in rows(con, f"FROM rasteret_bands('{tmp_path}/out')")}
    assert bands == {"R": "uint8", "NIR": "uint8"}
    schema = pq.read_schema(next((tmp_path / "out").rglob("*.parquet")))
    assert schema.metadata[b"date_range"] == b"2016-04-01,2016-05-17"
    assert not {"value", "pixel"} & {field.name for field in schema.field("R_metadata").type}, "typed NULLs of rasteret_collection are not kept"


def test_with_columns_of_ones_own(con, scenes, tmp_path):
    con.execute(
        "CREATE TABLE split AS SELECT *, if(year = 2017, 'test', 'tr ain') AS split, [1, 2] AS numbers FROM rasteret_collection(scenes)"
    ).fetchall()
    said = one(con, f"FROM rasteret_export(split, '{tmp_path}/out', partition_by := ['split', 'year'])")
    assert sorted(file.parent.relative_to(tmp_path / "out").as_posix() for file in (tmp_path / "out").rglob("*.parquet")) == [
        "split=test/year=2017",
        "split=tr ain/year=2016",
    ]
    assert said["files"] == 2
    found = rows(
        con, f"SELECT split, year, count(*) AS n, any_value(numbers) AS numbers FROM rasteret_collection('{tmp_path}/out') GROUP BY ALL ORDER BY 1"
    )
    assert found == [{"split": "test", "year": 2017, "n": 1, "numbers": [1, 2]}, {"split": "tr ain", "year": 2016, "n": 3, "numbers": [1, 2]}]


@pytest.mark.parametrize("place", ["one.parquet", "flat"])
def test_without_partitions(con, scenes, tmp_path, place):
    extra = "" if place.endswith(".parquet") else ", partition_by := []"
    assert one(con, f"FROM rasteret_export(scenes, '{tmp_path}/{place}'{extra})")["files"] == 1
    found = rows(con, f"SELECT id, year, month FROM rasteret_collection('{tmp_path}/{place}') ORDER BY datetime")
    assert [(row["year"], row["month"]) for row in found] == [(2016, 1), (2016, 4), (2016, 5), (2017, 2)]
    assert values(con, f"'{tmp_path}/{place}'") == values(con, "scenes")


def test_records_without_a_time(con, scenes, tmp_path):
    con.execute("CREATE TABLE timeless AS SELECT * REPLACE (NULL::TIMESTAMP AS datetime) FROM rasteret_collection(scenes)").fetchall()
    one(con, f"FROM rasteret_export(timeless, '{tmp_path}/out')")
    assert one(con, f"SELECT count(*) AS n, count(datetime) AS t, count(year) AS y FROM rasteret_collection('{tmp_path}/out')") == {
        "n": 4,
        "t": 0,
        "y": 0,
    }


def test_nothing_is_overwritten_unasked(con, scenes, tmp_path):
    one(con, f"FROM rasteret_export(scenes, '{tmp_path}/out')")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*.parquet")}
    assert refused(con, f"FROM rasteret_export(scenes, '{tmp_path}/out')") == f"{tmp_path}/out exists already; overwrite := true replaces it"
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*.parquet")} == before
    con.execute("CREATE TABLE less AS FROM rasteret_collection(scenes) WHERE year = 2017").fetchall()
    one(con, f"FROM rasteret_export(less, '{tmp_path}/out', overwrite := true)")
    assert [row["record_id"] for row in values(con, f"'{tmp_path}/out'")] == ["rgbn_20170203"], "nothing of the old one stays"
    one(con, f"FROM rasteret_export('{tmp_path}/out', '{tmp_path}/out', overwrite := true)")
    assert len(values(con, f"'{tmp_path}/out'")) == 1, "onto itself"


def test_a_folder_of_other_things_is_safe(con, scenes, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.doc").write_text("years of work")
    said = refused(con, f"FROM rasteret_export(scenes, '{tmp_path}/mine', overwrite := true)")
    assert said == f"{tmp_path}/mine is not overwritten: it holds thesis.doc, which is no part of a collection"
    assert (tmp_path / "mine" / "thesis.doc").read_text() == "years of work"


def test_a_failure_leaves_everything_as_it_was(con, scenes, tmp_path):
    one(con, f"FROM rasteret_export(scenes, '{tmp_path}/out')")
    con.execute("CREATE VIEW broken AS SELECT * REPLACE (if(year = 2017, error('stop'), id) AS id) FROM rasteret_collection(scenes)").fetchall()
    assert "stop" in refused(con, f"FROM rasteret_export(broken, '{tmp_path}/out', overwrite := true)")
    assert len(values(con, f"'{tmp_path}/out'")) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "workspace"]
    assert "lacks the columns" in refused(
        con, f"WITH x AS (SELECT id, assets, datetime FROM rasteret_collection(scenes)) FROM rasteret_export(x, '{tmp_path}/new')"
    )
    assert "nothing to export" in refused(
        con, f"WITH x AS (FROM rasteret_collection(scenes) WHERE year = 1) FROM rasteret_export(x, '{tmp_path}/new')"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "workspace"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("scenes, NULL", "path is missing"),
        ("scenes, 7", "path := 7 is not valid; a folder, a file that ends in .parquet, or s3://bucket/prefix/ is"),
        ("scenes, 'gs://bucket/x'", "gs://bucket/x cannot be written to: local paths and s3:// can"),
        ("scenes, 'https://user:pw@host/x?sig=hush'", "https://host/x cannot be written to: local paths and s3:// can"),
        (
            "scenes, '{tmp}/x', partition_by := ['yeer']",
            "partition_by names no column 'yeer'; did you mean 'year'?; valid: year, month, id, datetime, ",
        ),
        ("scenes, '{tmp}/x', partition_by := ['year', 'year']", "partition_by := ['year', 'year'] names a column twice"),
        ("scenes, '{tmp}/x.parquet', partition_by := ['year']", "{tmp}/x.parquet is one file, which has no partitions; name a folder"),
        ("scenes, '{tmp}/x', overwrite := 'yes'", "overwrite := 'yes' is not valid; valid: true, false"),
    ],
)
def test_bad_calls(con, scenes, tmp_path, call, said):
    message = refused(con, f"FROM rasteret_export({call.format(tmp=tmp_path)})")
    assert message.removeprefix("rasteret_export: ").startswith(said.format(tmp=tmp_path))
    assert "hush" not in message


def test_what_upstream_wrote_goes_through(con, tmp_path, monkeypatch):
    """Their files in, ours out: columns and types stay theirs, ours come beside them."""
    monkeypatch.chdir(data_dir())
    theirs = UPSTREAM / "rgbn_records"
    one(con, f"FROM rasteret_export('{theirs}', '{tmp_path}/out')")
    mine, other = (ds.dataset(folder, partitioning="hive", exclude_invalid_files=False) for folder in (tmp_path / "out", theirs))
    for field in other.schema:
        kind = mine.schema.field(field.name).type
        if field.name.endswith("_metadata"):
            shared = [kind.field(index) for index in range(field.type.num_fields)]
            assert [(part.name, part.type) for part in shared] == [(part.name, part.type) for part in field.type]
        else:
            assert kind == field.type, field.name
    columns = [name for name in other.schema.names if not name.endswith("_metadata")]
    assert mine.to_table(columns=columns).sort_by("id").to_pylist() == other.to_table(columns=columns).sort_by("id").to_pylist()
    for band in ("R", "NIR"):
        (first, *_), (second, *_) = (data.to_table().sort_by("id")[f"{band}_metadata"].to_pylist() for data in (mine, other))
        assert {name: first[name] for name in second} == second
    assert set(other.schema.metadata) <= set(mine.schema.metadata) | {b"ARROW:schema"}


def test_a_name_for_a_folder(con, scenes, tmp_path, workspace):
    one(con, f"FROM rasteret_export(scenes, '{tmp_path}/out')")
    rasteret_sql.load(f"{tmp_path}/out", name="again", workspace=str(workspace))
    assert values(con, "again") == values(con, "scenes")
    listed = {row["name"]: row for row in rows(con, "FROM rasteret_collections()")}
    assert set(listed) == {"scenes", "again"}
    assert listed["again"]["path"] == f"{tmp_path}/out"
    assert "no collection 'agian'; did you mean 'again'?" in refused(con, "FROM rasteret_bands('agian')")


def test_big_exports_are_sorted_by_place(con, scenes, tmp_path):
    """Row groups of one month are places on the map: a small box meets few of them."""
    con.execute(
        """CREATE TABLE many AS SELECT * EXCLUDE (i, year, month) REPLACE ('r' || i AS id,
          {'xmin': x, 'ymin': y, 'xmax': x + 0.1, 'ymax': y + 0.1} AS bbox)
        FROM (SELECT *, -170 + (i * 7919 % 34000) / 100.0 AS x, -80 + (i * 10007 % 16000) / 100.0 AS y
          FROM (FROM rasteret_collection(scenes) LIMIT 1), range(20000) AS t(i))"""
    ).fetchall()
    assert one(con, f"FROM rasteret_export(many, '{tmp_path}/big')")["records"] == 20_000
    metadata = pq.read_metadata(next((tmp_path / "big").rglob("*.parquet")))
    names = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
    met = 0
    for group in range(metadata.num_row_groups):
        told = {corner: metadata.row_group(group).column(names.index(f"bbox.{corner}")).statistics for corner in ("xmin", "ymin", "xmax", "ymax")}
        met += told["xmin"].min < 11 and told["xmax"].max > 10 and told["ymin"].min < 11 and told["ymax"].max > 10
    assert metadata.num_row_groups >= 10
    assert met <= metadata.num_row_groups / 3
