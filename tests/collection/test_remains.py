"""What stopped builds and removals leave behind is used or taken away by the next of the name; no collection is ever lost to it."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

import rasteret_sql
from rasteret_sql.collection import build as builds
from rasteret_sql.collection.lock import is_held, locked
from rasteret_sql.collection.remains import remains_of
from rasteret_sql.errors import CollectionNotFound, RasteretError
from tests.collection.asking import one, rows
from tests.collection.elsewhere import connection
from tests.collection.tiffs import records, write
from tests.servers.ranged import RangeServer


@pytest.fixture
def table(tmp_path):
    return records({str(n): write(tmp_path / f"{n}.tif", seed=n) for n in range(3)})


def build(table, workspace, name="c", **more):
    return rasteret_sql.build_from_table(table, name=name, href_column="href", workspace=workspace, **more)


def left(workspace):
    return sorted(path.name for path in workspace.iterdir() if ".kept-" not in path.name)


def test_a_build_that_fails_leaves_nothing(workspace, tmp_path):
    """No batch was finished: there is nothing to go on with."""
    (tmp_path / "catalog.json").write_text(json.dumps({"type": "FeatureCollection", "features": [{"type": "Feature"}]}))
    with pytest.raises(RasteretError):
        rasteret_sql.build_from_stac(tmp_path / "catalog.json", "x", name="c", band_map={"B": "a"}, workspace=workspace)
    assert left(workspace) == []


KILLED = """
import sys, pyarrow.parquet as pq, rasteret_sql
from rasteret_sql.collection import build as builds
builds._Build._write = lambda *_: (print("written", flush=True), __import__("time").sleep(60))
rasteret_sql.build_from_table(pq.read_table(sys.argv[2]), name="c", href_column="href", workspace=sys.argv[1])
"""


@pytest.fixture
def killed(workspace, table, tmp_path):
    """A workspace in which a build of ``c`` was killed with all its batches read."""
    pq.write_table(table, tmp_path / "t.parquet")
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(workspace), str(tmp_path / "t.parquet")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    assert remains_of(workspace)["c"][1] is True
    assert is_held(workspace / ".c.lock")
    process.kill()
    process.wait(20)
    process.stdout.close()
    nbytes, running = remains_of(workspace)["c"]
    assert nbytes > 0
    assert not running, "the lock ended with its process"
    return workspace


def test_the_same_build_goes_on(killed, table):
    report = build(table, killed)
    assert (report.records, report.requests) == (3, 0)
    assert left(killed) == ["c_records"]


def test_another_build_of_the_name_takes_it_away(killed, tmp_path):
    """Of the other kind, from a catalogue."""
    item = {
        "type": "Feature",
        "id": "s",
        "bbox": [15.0, 46.9, 15.1, 47.0],
        "properties": {"datetime": "2024-01-01T00:00:00Z"},
        "assets": {"a": {"href": str(tmp_path / "0.tif")}},
    }
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    rasteret_sql.build_from_stac(tmp_path / "items.json", name="c", band_map={"B": "a"}, workspace=killed)
    assert left(killed) == ["c_stac"]


def test_delete_takes_it_away(killed):
    gone = rasteret_sql.delete_collection("c", workspace=killed)
    assert gone.endswith(".c_records.building")
    assert left(killed) == []
    with pytest.raises(CollectionNotFound, match="no collection 'c'"):
        rasteret_sql.delete_collection("c", workspace=killed)


def test_delete_waits_for_a_build_that_runs(workspace, table):
    (workspace / ".c_records.building").mkdir()
    with locked(workspace / ".c.lock", "c", time.monotonic()), pytest.raises(RasteretError, match="is being built by process"):
        rasteret_sql.delete_collection("c", workspace=workspace, settings={"timeout_s": 0.2})
    assert left(workspace) == [".c_records.building"]


def test_a_whole_collection_stays(workspace, table, monkeypatch):
    """An update is stopped half-way: the old collection stays, is read, and is whole after deleting nothing of it."""
    build(table, workspace)
    monkeypatch.setattr(builds._Build, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        build(table.slice(0, 2), workspace)
    monkeypatch.undo()
    assert left(workspace) == [".c_records.building", "c_records"]
    with connection(workspace) as con:
        assert one(con, "SELECT count(*) AS n FROM rasteret_collection(c)")["n"] == 3
    assert build(table.slice(0, 2), workspace).records == 2
    assert left(workspace) == ["c_records"]


def test_half_a_removal_is_finished(workspace, table):
    (workspace / ".c_records.removed-0a1b2c3d").mkdir()
    build(table, workspace)
    assert left(workspace) == ["c_records"]


def test_other_names_are_left_alone(workspace, table):
    for name in (".cc_records.building", ".c_records2_stac.building", ".c.d_stac.building"):
        (workspace / name).mkdir()
    build(table, workspace)
    rasteret_sql.delete_collection("c", workspace=workspace)
    assert left(workspace) == [".c.d_stac.building", ".c_records2_stac.building", ".cc_records.building"]
    assert set(remains_of(workspace)) == {"cc", "c_records2", "c.d"}


# -- a stranger's index that names files of this machine --------------------------------------------------------------------


@pytest.fixture
def stranger(workspace, tmp_path):
    """The URL of an index of three records; the second one's href is a path of a real, readable file."""
    root = tmp_path / "served"
    root.mkdir()
    for n in range(3):
        write(root / f"{n}.tif", seed=n)
    with RangeServer(root) as server, connection(workspace) as con:
        build(records({str(n): server.url(f"{n}.tif") for n in range(3)}), workspace)
        con.execute(f"FROM rasteret_export(c, '{tmp_path}/mine.parquet')").fetchall()
        found = pq.read_table(tmp_path / "mine.parquet")
        assets = found["assets"].to_pylist()
        assets[1]["b1"]["href"] = str(root / "1.tif")
        position = found.schema.get_field_index("assets")
        pq.write_table(found.set_column(position, found.schema.field(position), [assets]), root / "index.parquet")
        yield con, server.url("index.parquet"), root


def test_it_costs_its_own_record_only(stranger):
    con, url, root = stranger
    con.execute(f"CREATE TABLE here AS {POINT}").fetchall()
    con.execute(f"CREATE TABLE plot AS {PLOT}").fetchall()
    for call in (
        f"rasteret_sample('{url}', here, bands := 'b1', on_error := 'null')",
        f"rasteret_read('{url}', plot, bands := 'b1', on_error := 'null')",
    ):
        found = {row["record_id"]: row for row in rows(con, f"FROM {call}")}
        assert [found[n]["status"] for n in "012"] == ["ok", "error", "ok"]
        assert "local paths are not taken from a remote catalogue" in found["1"]["error"]
        assert f"{root}/1.tif" in found["1"]["error"]
    zones = {row["record_id"]: row for row in rows(con, f"FROM rasteret_zonal('{url}', plot, bands := 'b1', on_error := 'null')")}
    assert [zones[n]["status"] for n in "012"] == ["ok", "error", "ok"]
    io = rows(con, "FROM rasteret_io(last := 3)")
    assert {row["slowest_host"] for row in io} <= {"127.0.0.1", None}, "nothing was read from this machine's files"


def test_it_is_an_error_otherwise(stranger):
    con, url, _ = stranger
    con.execute(f"CREATE TABLE here AS {POINT}").fetchall()
    with pytest.raises(Exception, match="local paths are not taken from a remote catalogue"):
        con.execute(f"FROM rasteret_sample('{url}', here, bands := 'b1')").fetchall()


POINT = "SELECT 'POINT(15.001 46.9525)' AS geometry"
PLOT = "SELECT 'POLYGON((15 46.95, 15.002 46.95, 15.002 46.953, 15 46.95))' AS geometry"
