"""``rasteret-sql collections``: listed, described, built from everything, taken in, given away, removed."""

from __future__ import annotations

import json
import shutil

import pytest

import rasteret_sql
from tests.cli.conftest import BOX
from tests.cli.running import refused, run, said, told
from tests.collection.asking import one, rows

UPSTREAM = "tests/collection/data/upstream/landsat_records"


@pytest.fixture
def where(built):
    return {"RASTERET_WORKSPACE": built}


def listed(where):
    return [row["name"] for row in told("collections", "list", **where)]


def test_the_list_and_one_of_it(where, built):
    (row,) = told("collections", "list", runner=run, **where)
    assert (row["name"], row["records"], row["bands"]) == ("s2", 3, ["B04", "B08"])
    assert (row["first"], row["last"], row["path"]) == ("2024-01-01", "2024-01-21", str(built / "s2_stac"))
    assert told("collections", "info", "s2", **where) == row
    assert told("collections", "info", row["path"], **where) == row | {"name": "s2_stac"}
    header, _, line = said("collections", "list", **where).splitlines()
    assert header.split() == ["name", "records", "bands", "first", "last", "size", "source"]
    assert line.split()[:4] == ["s2", "3", "B04,", "B08"]
    assert "2024-01-01" in said("collections", "info", "s2", **where)
    assert sorted(path.name for path in built.iterdir() if not path.name.startswith(".")) == ["s2_stac"], "looking left something"


def test_an_empty_workspace(workspace):
    assert told("collections", "list", "--workspace", workspace) == []
    assert "`rasteret-sql build --help`" in said("collections", "list", "--workspace", workspace)


@pytest.mark.parametrize("command", [["info"], ["delete", "--yes"], ["export"]])
def test_one_that_is_not_there(where, command, tmp_path):
    place = [tmp_path / "out"] if command == ["export"] else []
    line = refused("collections", *command, "s22", *place, **where)
    assert line.startswith("rasteret-sql: no collection 's22'; did you mean 's2'?; built: s2")
    assert not (tmp_path / "out").exists()


def test_built_from_everything(scenes, workspace, tmp_path, earth):
    made = told(
        "collections", "build", scenes / "items.json", "sentinel-2-l2a", "--name", "a", "--band-map", "B04=red", "--dates", "2024-01-11/..", **earth
    )
    assert (made["records"], made["bands"], made["path"]) == (2, ["B04"], str(workspace / "a_stac"))
    (tmp_path / "files.csv").write_text(f"fid,path,year\n7,{scenes}/0-red.tif,2021\n8,{scenes}/1-red.tif,2022\n")
    options = ["--href-column", "path", "--band-index-map", "R=0", "--column-map", "fid=id,year=datetime"]
    made = told("collections", "build", tmp_path / "files.csv", "--name", "b", *options, **earth)
    assert (made["records"], made["bands"], made["first"]) == (2, ["R"], "2021-01-01 00:00:00")
    made = told("collections", "build", "earthsearch/sentinel-2-l2a", "--name", "c", "--bbox", BOX, "--dates", "2024", "--bands", "B08", **earth)
    assert (made["records"], made["bands"]) == (3, ["B08"])
    assert [row["name"] for row in told("collections", "list", **earth)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["earthsearch/sentinel2", "--name", "x"], "unknown dataset 'earthsearch/sentinel2'; did you mean 'earthsearch/sentinel-2-l2a'?"),
        (["{scenes}/items.json", "--name", "x"], "--band-map is missing; give the asset of each band, as in --band-map B04=red,NIR=image[3]"),
        (["{scenes}/items.json", "c", "--name", "x", "--href-column", "h"], "is a STAC catalogue, which --href-column does not go with"),
        (["{scenes}/items.json", "--name", "x", "--band-map", "B04=rad"], "no item has an asset 'rad' (band 'B04'); did you mean 'red'?"),
        (["pc/nasadem", "--name", "x", "--band-map", "B04=rad"], "pc/nasadem is a dataset, which --band-map does not go with"),
        (["none.csv", "--name", "x", "--href-column", "h"], "no such file: none.csv"),
        (["none.csv", "--name", "x", "--bbox", BOX], "none.csv is a table, which --bbox does not go with"),
        (["none.csv", "--name", "x", "--band-index-map", "R=one"], "positions are whole numbers from 0, as in R=0,G=1"),
        (["https://127.0.0.1:9/v1", "c", "--name", "x", "--band-map", "B04=red"], "may hold millions of items: narrow the search with bbox, "),
    ],
)
def test_builds_that_cannot_be(scenes, workspace, arguments, line):
    assert line in refused("collections", "build", *(word.format(scenes=scenes) for word in arguments), "--workspace", workspace)


def test_a_collection_goes_round(where, built, tmp_path, con):
    """Exported, imported from there, read, deleted; the files that were exported and the rasters stay."""
    exported = told("collections", "export", "s2", tmp_path / "out", runner=run, **where)
    assert (exported["records"], exported["path"]) == (3, str(tmp_path / "out"))
    assert "out" in refused("collections", "export", "s2", tmp_path / "out", **where)
    assert told("collections", "export", "s2", tmp_path / "out", "--force", **where)["records"] == 3
    taken = told("collections", "import", tmp_path / "out", "--name", "copy", runner=run, **where)
    assert (taken["records"], taken["bands"], taken["first"]) == (3, ["B04", "B08"], "2024-01-01")
    line = refused("collections", "import", tmp_path / "out", "--name", "copy", **where)
    assert line.startswith("rasteret-sql: a collection 'copy' is there already, at ")
    assert told("collections", "import", tmp_path / "out", "--name", "copy", "--force", **where)["records"] == 3
    before, after = (
        rows(con, f"SELECT id, datetime, bbox, crs, assets, B04_metadata, B08_metadata FROM rasteret_collection('{name}') ORDER BY id")
        for name in ("s2", "copy")
    )
    assert before == after
    assert said("collections", "delete", "copy", "--yes", runner=run, **where) == f"removed copy ({built / 'copy_records'})\n"
    assert listed(where) == ["s2"]
    assert [path for path in built.iterdir() if "copy" in path.name] == []
    assert (tmp_path / "out").is_dir()


def test_a_collection_of_the_other_package_is_taken_in(where, con, pytestconfig):
    folder = pytestconfig.rootpath / UPSTREAM
    taken = told("collections", "import", folder, "--name", "theirs", **where)
    known = one(con, f"SELECT count(*) AS n FROM rasteret_collection('{folder}')")["n"]
    assert (taken["records"], taken["bands"]) == (known, ["B2", "B4"])
    for band in ("B2", "B4"):
        mine, theirs = (
            rows(con, f"SELECT id, {band}_metadata.tile_offsets AS o, {band}_metadata.dtype AS d FROM rasteret_collection('{name}') ORDER BY id")
            for name in ("theirs", folder)
        )
        assert mine == theirs


def test_what_is_no_collection_is_not_taken_in(where, built, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.parquet").write_text("hello")
    assert refused("collections", "import", tmp_path / "none", "--name", "x", **where).startswith("rasteret-sql: no such file or folder: ")
    assert "holds no Parquet file" in refused("collections", "import", tmp_path / "empty", "--name", "x", **where)
    assert "is no collection" in refused("collections", "import", tmp_path / "text.parquet", "--name", "x", **where)
    assert listed(where) == ["s2"]
    assert [path.name for path in built.iterdir() if path.name.startswith(("x", ".x"))] == []


def test_delete_asks_where_nobody_answers(where):
    assert refused("collections", "delete", "s2", **where) == (
        "rasteret-sql: delete asks first, and there is no terminal to answer on; --yes does not ask"
    )
    assert listed(where) == ["s2"]


def test_delete_removes_nothing_else(where, built, tmp_path, scenes):
    rasters = sorted(scenes.iterdir())
    outside = tmp_path / "elsewhere"
    shutil.copytree(built / "s2_stac", outside)
    (built / "linked_records").symlink_to(outside, target_is_directory=True)
    assert told("collections", "delete", "linked", "--yes", **where) == {"removed": "linked", "path": str(built / "linked_records")}
    assert sum(1 for _ in outside.rglob("*.parquet")) == 1, "what the link led to is gone"
    shutil.copytree(outside, built / "mixed_records")
    (built / "mixed_records" / "notes.txt").write_text("mine")
    line = refused("collections", "delete", "mixed", "--yes", **where)
    assert line == f"rasteret-sql: {built}/mixed_records is not removed: it holds notes.txt, which no build wrote; take it away first"
    (built / "mixed_records" / "notes.txt").unlink()
    (built / "mixed_records" / "away").symlink_to(tmp_path, target_is_directory=True)
    assert "it holds away, which no build wrote" in refused("collections", "delete", "mixed", "--yes", **where)
    (built / "own_records").mkdir()
    (built / "own_records" / "thesis.parquet").write_text("five years")
    assert "own_records is not removed: " in refused("collections", "delete", "own", "--yes", **where)
    assert (built / "own_records" / "thesis.parquet").read_text() == "five years"
    said("collections", "delete", "s2", "--yes", **where)
    assert sorted(scenes.iterdir()) == rasters
    assert sorted(path.name for path in built.iterdir()) == ["mixed_records", "own_records"]


@pytest.mark.parametrize("name", ["..", "../s2", ".", "", "s2_stac", "/"])
def test_delete_takes_names_alone(where, built, name):
    assert "no collection" in refused("collections", "delete", "--yes", "--", name, **where)
    assert listed(where) == ["s2"]


def test_a_link_is_forgotten_alone(where, built, tmp_path):
    shutil.copytree(built / "s2_stac", tmp_path / "archive")
    rasteret_sql.load(tmp_path / "archive", "far", workspace=built)
    assert listed(where) == ["s2", "far"]
    assert told("collections", "info", "far", **where)["records"] == 3
    said("collections", "delete", "far", "--yes", **where)
    assert listed(where) == ["s2"]
    assert (tmp_path / "archive").is_dir()


def test_results_can_be_cut_off(where):
    """``… | head -1`` leaves no traceback."""
    import subprocess

    from tests.cli.running import MODULE, environment

    command = f"{' '.join(MODULE)} datasets list --json | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, env=environment(**where), check=False)
    assert (done.stdout, done.stderr) == ("[\n", "")


def test_json_of_every_listing_is_one_document(where):
    for command in (["collections", "list"], ["collections", "info", "s2"], ["datasets", "list"]):
        assert json.loads(run(*command, "--json", **where).stdout)
