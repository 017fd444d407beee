"""What any source may do: give schemas that differ, name local files from afar, say nothing; and what becomes of a name's former collection."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from rasteret_sql.collection.build import build_collection
from rasteret_sql.collection.source import AssetTable
from rasteret_sql.collection.unite import conformed, united_schema
from rasteret_sql.errors import InvalidArgument
from rasteret_sql.reader.engine import Query
from rasteret_sql.settings import Settings
from tests.collection.asking import one, rows
from tests.collection.tiffs import write


@dataclass
class Given:
    """A source of these batches."""

    tables: list[AssetTable]
    kind: str = "stac"
    label: str = "given"
    identity: dict[str, Any] = field(default_factory=lambda: {"api": "x"})

    def batches(self):
        yield from self.tables


def batch(ids, href, *, extra=None, **more):
    count = len(ids)
    times = pa.array([datetime(2024, 1, 1)] * count, pa.timestamp("us"))
    return AssetTable(ids, times, {"red": [str(href)] * count}, {"red": [0] * count}, [None] * count, extra or pa.table({"n": range(count)}), **more)


@pytest.fixture
def build(workspace):
    def run(*tables, name="c", kind="stac", **options):
        with Query("test", Settings(workspace=str(workspace)), raise_errors=False) as query:
            return build_collection(Given(list(tables), kind), name, query, **options)

    return run


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write(tmp_path_factory.mktemp("files") / "a.tif", bands=2)


def test_columns_of_all_batches(con, build, file):
    first = pa.table({"n": [1], "mixed": [7], "when": [datetime(2024, 1, 2)], "deep": [{"a": 1}], "list": [[1, 2]]})
    second = pa.table({"n": [1.5], "mixed": ["seven"], "deep": [{"a": 2.5, "b": "x"}], "list": [[0.5]], "new": [True], "nothing": pa.nulls(1)})
    report = build(batch(["a"], file, extra=first, collections=["s2"]), batch(["b"], file, extra=second, collections=["s2"]))
    assert (report.records, report.path.endswith("c_stac")) == (2, True)
    assert rows(con, "SELECT id, collection, n, mixed, \"when\", deep, list, new FROM rasteret_collection(c) ORDER BY id") == [
        {"id": "a", "collection": "s2", "n": 1.0, "mixed": "7", "when": datetime(2024, 1, 2), "deep": {"a": 1.0, "b": None}, "list": [1.0, 2.0], "new": None},
        {"id": "b", "collection": "s2", "n": 1.5, "mixed": "seven", "when": None, "deep": {"a": 2.5, "b": "x"}, "list": [0.5], "new": True},
    ]  # fmt: skip


def test_what_cannot_be_promoted_becomes_text():
    tables = [pa.table({"c": values}) for values in ([1, None], ["x"], [{"a": [1]}], [[2.5]], [datetime(2024, 1, 1)], [True])]
    schema = united_schema(table.schema for table in tables)
    assert schema.field("c").type == pa.string()
    texts = pa.concat_tables([conformed(table, schema) for table in tables])["c"].to_pylist()
    assert texts[:5] == ["1", None, "x", '{"a": [1]}', "[2.5]"]
    assert [json.loads(texts[3]), texts[6]] == [{"a": [1]}, "true"]


def test_a_remote_catalogue_names_no_local_file(con, build, file):
    good, bad = batch(["a"], file), batch(["b"], file, remote=True)
    report = build(good, bad)
    assert (report.records, report.failed) == (1, 1)
    (failed,) = rows(con, "SELECT id, band, error FROM rasteret_failures(c)")
    assert (failed["id"], failed["band"]) == ("b", "red")
    assert "a.tif: local paths are not taken from a remote catalogue: valid there are" in failed["error"]
    with pytest.raises(InvalidArgument, match=r"none of the 1 records has a readable file; the first: file:///"):
        build(batch(["b"], f"file://{file}", remote=True), name="d")


def test_nothing_found_keeps_what_is_there(con, build, file, workspace):
    build(batch(["a"], file))
    with pytest.raises(InvalidArgument, match="the source names no files; nothing to build"):
        build()
    assert one(con, "SELECT count(*) AS n FROM rasteret_collection(c)") == {"n": 1}
    assert list(workspace.glob(".c_stac.building")) == []


def test_a_source_that_fails_half_way_is_gone_on_with(con, build, file, workspace):
    def broken():
        yield batch([f"r{i}" for i in range(5)], file)
        yield batch([f"s{i}" for i in range(5)], file)
        raise InvalidArgument("page 3 cannot be had")

    source = Given([])
    source.batches = broken
    with Query("test", Settings(workspace=str(workspace)), raise_errors=False) as query, pytest.raises(InvalidArgument, match="page 3"):
        build_collection(source, "c", query)
    assert rows(con, "FROM rasteret_collections()") == []
    report = build(batch([f"r{i}" for i in range(5)], file), batch([f"s{i}" for i in range(5)], file))
    assert (report.records, report.added, report.requests) == (10, 10, 0), "what was read before is kept"


def test_one_name_one_collection(con, build, file, workspace):
    """Built from a table and then from a catalogue, the name means the latter."""
    build(batch(["a"], file), kind="records")
    build(batch(["b"], file), kind="stac")
    assert rows(con, "SELECT id FROM rasteret_collection(c)") == [{"id": "b"}]
    assert [path.name for path in workspace.iterdir() if not path.name.startswith(".")] == ["c_stac"]


def test_a_collection_of_others_is_not_removed(build, file, workspace):
    theirs = workspace / "c_records"
    theirs.mkdir()
    (theirs / "part-0.parquet").write_bytes(b"PAR1 theirs")
    with pytest.raises(InvalidArgument, match=r"'c' names a folder that was not built here, .*c_records; choose another name, or remove it"):
        build(batch(["a"], file))
    assert (theirs / "part-0.parquet").read_bytes() == b"PAR1 theirs"


def test_told_of_every_file(build, file, tmp_path):
    other = write(tmp_path / "b.tif")
    told = []
    build(batch(["a"], file), batch(["b"], other), done=lambda *numbers: told.append(numbers))
    assert [done for done, _ in told] == [1, 2]
    assert told[-1][1] in (0, 2)


def test_pyarrow_reads_it(build, file):
    report = build(batch(["a", "b"], file, collections=["x", "y"]))
    dataset = ds.dataset(report.path, partitioning="hive")
    assert dataset.to_table(columns=["id", "collection", "year"]).to_pylist() == [
        {"id": "a", "collection": "x", "year": 2024},
        {"id": "b", "collection": "y", "year": 2024},
    ]
    metadata = pq.read_schema(dataset.files[0]).metadata
    assert json.loads(metadata[b"geo"])["version"] == "1.1.0"
    assert metadata[b"data_source"] == b"given"
