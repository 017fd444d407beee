"""``rasteret-sql datasets``: listed, described, registered, taken off, given away."""

from __future__ import annotations

import json

import pytest

from rasteret_sql.collection.datasets import DATASETS
from tests.cli.running import refused, run, said, told


def test_the_list_is_a_table_or_json(workspace):
    rows = told("datasets", "list", "--workspace", workspace)
    assert [row["id"] for row in rows] == list(DATASETS)
    assert rows[0]["bands"]["B04"] == "red"
    lines = said("datasets", "list", "--workspace", workspace).splitlines()
    assert lines[0].split() == ["id", "bands", "coverage", "dates", "auth", "licence"]
    assert len(lines) == len(DATASETS) + 2
    starts = {line.index(row["coverage"]) for line, row in zip(lines[2:], rows, strict=True)}
    assert starts == {lines[0].index("coverage")}, "columns are not aligned"


def test_one_dataset(workspace):
    row = told("datasets", "info", "pc/nasadem", "--workspace", workspace)
    assert (row["bands"], row["needs"]) == ({"DEM": "elevation"}, ["bbox"])
    assert row["example"] == "rasteret-sql build pc/nasadem --name nasadem --bbox 77.5,12.9,77.7,13.1"
    text = said("datasets", "info", "pc/nasadem", "--workspace", workspace)
    assert row["example"] in text
    assert row["licence"] in text


def test_an_unknown_one_has_its_neighbour_named(workspace):
    line = refused("datasets", "info", "pc/nasadm", "--workspace", workspace)
    assert line.startswith("rasteret-sql: unknown dataset 'pc/nasadm'; did you mean 'pc/nasadem'?; datasets: earthsearch/sentinel-2-l2a, ")


def test_a_dataset_of_ones_own_goes_round(workspace, tmp_path, scenes):
    """Registered, listed, built, exported, taken off, registered from the file."""
    where = {"RASTERET_WORKSPACE": workspace}
    catalogue = scenes / "items.json"
    options = ["--api", catalogue, "--collection", "sentinel-2-l2a", "--band-map", "B04=red,B08=nir", "--licence", "CC0"]
    assert said("datasets", "register-local", "mine", *options, runner=run, **where) == "registered local/mine\n"
    assert told("datasets", "info", "local/mine", **where)["bands"] == {"B04": "red", "B08": "nir"}
    assert told("build", "local/mine", "--name", "mine", **where)["records"] == 3
    file = tmp_path / "mine.json"
    assert said("datasets", "export-local", "mine", file, **where) == ""
    written = json.loads(file.read_text())
    expected = {"name": "mine", "api": str(catalogue), "collection": "sentinel-2-l2a", "band_map": {"B04": "red", "B08": "nir"}, "licence": "CC0"}
    assert written == expected
    assert json.loads(said("datasets", "export-local", "local/mine", **where)) == written
    assert said("datasets", "unregister-local", "mine", **where) == "unregistered local/mine\n"
    assert refused("datasets", "unregister-local", "mine", **where) == "rasteret-sql: no local dataset 'local/mine'; registered: none"
    again = told("datasets", "register-local", "other", "--file", file, **where)
    assert (again["id"], again["licence"]) == ("local/other", "CC0")
    assert said("datasets", "unregister-local", "local/other", **where) == "unregistered local/other\n"


def test_secrets_of_a_url_are_not_shown(workspace):
    where = {"RASTERET_WORKSPACE": workspace}
    said("datasets", "register-local", "mine", "--path", "https://host/c.parquet?sig=hush", **where)
    for arguments in (["list"], ["list", "--json"], ["info", "local/mine"], ["info", "local/mine", "--json"], ["export-local", "mine"]):
        assert "hush" not in said("datasets", *arguments, **where)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{", "is no JSON: "),
        ("[]", "is no descriptor of a dataset: an object with name, path, api, "),
        ('{"nam": "x"}', "'nam' is no member of a dataset; did you mean 'name'?; members: name, "),
        ('{"name": 3}', "name is 3; a text is valid"),
        ('{"name": "x", "band_map": "B04"}', "band_map is 'B04'; an object of texts is valid"),
        ('{"name": "x"}', "a local dataset is either path := a collection, or api := a STAC catalogue with band_map"),
        ('{"path": "/x"}', "a name is missing: rasteret-sql datasets register-local NAME …"),
    ],
)
def test_what_is_no_descriptor(workspace, tmp_path, text, line):
    (tmp_path / "d.json").write_text(text)
    assert line in refused("datasets", "register-local", "--file", tmp_path / "d.json", "--workspace", workspace)


def test_a_file_that_is_not_there(workspace, tmp_path):
    assert refused("datasets", "register-local", "--file", tmp_path / "none", "--workspace", workspace) == (
        f"rasteret-sql: No such file or directory: {tmp_path}/none"
    )
    assert refused("datasets", "export-local", "none", "--workspace", workspace).startswith("rasteret-sql: unknown dataset 'local/none'; ")
