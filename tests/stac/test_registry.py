"""Datasets of one's own beside the public ones."""

from __future__ import annotations

import json
import multiprocessing
import re
from pathlib import Path

import pytest

import rasteret_sql
from rasteret_sql.collection.registry import FILE, register_local, unregister_local
from rasteret_sql.errors import InvalidArgument, InvalidRaster
from tests.collection.asking import one, refused, rows
from tests.collection.tiffs import write


def listed(con):
    return [row["id"] for row in rows(con, "FROM rasteret_datasets()") if row["id"].startswith("local/")]


@pytest.fixture
def catalogue(tmp_path):
    write(tmp_path / "red.tif")
    item = {
        "type": "Feature",
        "id": "i",
        "collection": "c",
        "properties": {"datetime": "2024-01-01T00:00:00Z"},
        "assets": {"red": {"href": "red.tif"}},
    }
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    return tmp_path / "items.json"


def test_a_catalogue_is_listed_built_and_taken_off(con, workspace, catalogue):
    name = rasteret_sql.register_local(
        "mine",
        api=str(catalogue),
        collection="c",
        band_map={"B4": "red"},
        description="ours",
        licence="none",
        coverage="here",
        workspace=str(workspace),
    )
    assert name == "local/mine"
    row = one(con, "FROM rasteret_datasets() WHERE id = 'local/mine'")
    assert (row["bands"], row["description"], row["licence"], row["coverage"]) == (["B4"], "ours", "none", "here")
    assert row["source"] == f"{catalogue}, collection c"
    assert one(con, row["example"])["records"] == 1
    assert re.fullmatch(
        r"rasteret_build: unknown dataset 'local/mina'; did you mean 'local/mine'\?; .*",
        refused(con, "FROM rasteret_build('local/mina', name := 'x')"),
    )
    rasteret_sql.unregister_local("mine", workspace=str(workspace))
    assert listed(con) == []


def test_a_built_collection_is_read_by_its_new_name(con, workspace, tmp_path, catalogue):
    built = one(con, f"FROM rasteret_build_from_stac('{catalogue}', 'c', name := 'x', band_map := {{'B4': 'red'}})")["path"]
    Path(built).rename(tmp_path / "somewhere")
    register_local("built", tmp_path / "somewhere", workspace=str(workspace))
    assert one(con, "SELECT id FROM rasteret_collection('local/built')") == {"id": "i"}
    assert refused(con, "FROM rasteret_collection('local/bilt')").startswith("rasteret_collection: no collection 'local/bilt'")
    linked = one(con, "FROM rasteret_build('local/built', name := 'again')")
    assert (linked["path"], linked["records"]) == (str(tmp_path / "somewhere"), 1)
    register_local("cloud", "http://127.0.0.1:9/collection.parquet?token=hush", workspace=str(workspace))
    said = refused(con, "FROM rasteret_build('local/cloud', name := 'y')")
    assert said.startswith("rasteret_build: http://127.0.0.1:9/collection.parquet: the server cannot be reached")
    assert "hush" not in said
    assert "hush" not in str(rows(con, "FROM rasteret_datasets()"))


def test_again_exchanges_it(con, workspace):
    for description in ("one", "two"):
        register_local("mine", "/somewhere", description=description, workspace=str(workspace))
    assert one(con, "FROM rasteret_datasets() WHERE id = 'local/mine'")["description"] == "two"


def test_the_workspace_of_the_settings(monkeypatch, workspace):
    monkeypatch.setenv("RASTERET_WORKSPACE", str(workspace))
    register_local("mine", "/somewhere")
    assert (workspace / FILE).is_file()
    assert [path.name for path in workspace.iterdir()] == [FILE]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "a/b", "path": "/x"}, "'a/b' is no name of a dataset; .*"),
        ({"name": "a"}, "a local dataset is either path := a collection, or api := a STAC catalogue with band_map"),
        ({"name": "a", "path": "/x", "api": "https://h/v1"}, "a local dataset is either .*"),
        ({"name": "a", "api": "https://h/v1"}, r"a STAC dataset needs band_map, such as \{'B04': 'red'\}"),
        ({"name": "a", "api": "https://h/v1", "band_map": {"a": "x", "A": "y"}}, "bands 'a' and 'A' differ in case only, .*"),
    ],
)
def test_what_cannot_be_registered(workspace, arguments, said):
    with pytest.raises(InvalidArgument, match=f"^{said}$"):
        register_local(**arguments, workspace=str(workspace))


def test_what_is_not_there(workspace):
    register_local("mine", "/somewhere", workspace=str(workspace))
    with pytest.raises(InvalidArgument, match=r"^no local dataset 'local/mina'; did you mean 'local/mine'\?; registered: local/mine$"):
        unregister_local("mina", workspace=str(workspace))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"format": 1}',
        '{"format": 9, "datasets": []}',
        '{"format": 1, "datasets": [{"id": "local/x"}]}',
        '{"format": 1, "datasets": 3}',
    ],
)
def test_a_file_that_is_none(con, workspace, text):
    (workspace / FILE).write_text(text)
    with pytest.raises(InvalidRaster, match=r"local_datasets\.json "):
        register_local("mine", "/somewhere", workspace=str(workspace))
    assert str(workspace / FILE) in refused(con, "FROM rasteret_datasets()")


def _register(number, workspace):
    register_local(f"d{number}", "/somewhere", workspace=workspace)


def test_many_at_once_lose_nothing(con, workspace):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.starmap(_register, [(number, str(workspace)) for number in range(12)])
    assert sorted(listed(con)) == sorted(f"local/d{number}" for number in range(12))
