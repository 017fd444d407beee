"""``rasteret-sql build``: a dataset's records through a loopback catalogue; every refusal one line."""

from __future__ import annotations

import json
import re
import socket

import pytest

import rasteret_sql
from tests.cli.conftest import BOX
from tests.cli.running import refused, run, said, told
from tests.collection.asking import rows

S2 = ("build", "earthsearch/sentinel-2-l2a", "--name", "s2")
JANUARY = ("--bbox", BOX, "--dates", "2024-01-01/2024-01-31")


def test_a_dataset_is_built_again_and_read(earth, workspace, con):
    report = told(*S2, *JANUARY, "--bands", "B04,B08", runner=run, **earth)
    assert (report["records"], report["added"], report["failed"], report["bands"]) == (3, 3, 0, ["B04", "B08"])
    assert report["first"] == "2024-01-01 10:00:00"
    again = told(*S2, *JANUARY, "--bands", "B04,B08", runner=run, **earth)
    assert (again["records"], again["added"], again["unchanged"]) == (3, 0, 3)
    forced = told(*S2, *JANUARY, "--bands", "B04,B08", "--force", **earth)
    assert forced["added"] == 3
    text = said(*S2, *JANUARY, "--bands", "B04,B08", **earth)
    assert re.search(r"^records +3$", text, re.MULTILINE)
    assert re.search(r"^dates +2024-01-01 … 2024-01-21$", text, re.MULTILINE)
    assert {row["id"] for row in rows(con, "SELECT id FROM rasteret_collection(s2)")} == {"S0", "S1", "S2"}


def test_conditions_narrow_it(earth):
    assert told(*S2, *JANUARY, "--query", '{"eo:cloud_cover": {"lt": 40}}', **earth)["records"] == 2
    assert told(*S2, *JANUARY, "--max-items", 1, **earth)["records"] == 1
    assert told(*S2, "--bbox", BOX, "--dates", "2024-01-01/2024-01-11", **earth)["records"] == 2


def test_the_same_engine_as_python(earth, workspace, monkeypatch, tmp_path):
    """Command and function leave the same collection and say the same of it."""
    by_command = told(*S2, *JANUARY, "--bands", "B04", **earth)
    monkeypatch.setenv("RASTERET_STAC_ENDPOINTS", earth["RASTERET_STAC_ENDPOINTS"])
    box = [float(number) for number in BOX.split(",")]
    report = rasteret_sql.build(
        "earthsearch/sentinel-2-l2a",
        name="s2",
        bbox=box,
        date_range=("2024-01-01", "2024-01-31"),
        bands=["B04"],
        workspace=tmp_path / "other",
        settings={"progress": False},
    )
    assert (report.records, report.bands, report.bounds) == (by_command["records"], by_command["bands"], by_command["bounds"])
    again = rasteret_sql.build(
        "earthsearch/sentinel-2-l2a",
        name="s2",
        bbox=box,
        date_range="2024-01-01/2024-01-31",
        bands=("B04",),
        workspace=workspace,
        settings={"progress": False},
    )
    assert (again.added, again.unchanged) == (0, 3), "the function does not know what the command built"


NEEDS = "rasteret-sql: earthsearch/sentinel-2-l2a is "


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["build", "earthsearch/sentinel2-l2a", "--name", "x"],
            "unknown dataset 'earthsearch/sentinel2-l2a'; did you mean 'earthsearch/sentinel-2-l2a'?; ",
        ),
        (
            [*S2, "--dates", "2024"],
            f"{NEEDS}global: say where with --bbox W,S,E,N; for example: rasteret-sql build earthsearch/sentinel-2-l2a --name sentinel_2_l2a "
            "--bbox 77.5,12.9,77.7,13.1 --dates 2024-01-01/2024-01-31",
        ),
        ([*S2, "--bbox", BOX], f"{NEEDS}a time series (2015-06-23/..): say when with --dates FROM/TO; for example: rasteret-sql build "),
        ([*S2, "--bbox", "15,47.1,15.7,46.8", "--dates", "2024"], "bbox [15.0, 47.1, 15.7, 46.8] is reversed: south 47.1 lies above north 46.8; "),
        ([*S2, "--bbox", "-10,40,-20,50", "--dates", "2024"], "bbox [-10.0, 40.0, -20.0, 50.0] is reversed: west -10 lies east of east -20; "),
        ([*S2, "--bbox", BOX, "--dates", "2024-02-01/2024-01-01"], "date_range ends before it starts: 2024-02-01 … 2024-01-01"),
        ([*S2, "--bbox", BOX, "--dates", "soon"], "'soon' is no date; 'YYYY-MM-DD', "),
        ([*S2, *JANUARY, "--query", "{"], "query is no valid JSON: "),
        ([*S2, *JANUARY, "--query", '{"eo:cloud_cover": {"below": 3}}'], "query: 'below' is no operator; operators: eq, "),
        ([*S2, *JANUARY, "--bands", "B4"], "B4"),
        (["build", "pc/nasadem", "--name", "a/b", "--bbox", BOX], "'a/b' is no collection name; letters, digits, "),
        ([*S2, "--bbox", BOX, "--dates", "1999"], "date_range 1999-01-01T00:00:00Z/1999-12-31T23:59:59.999999Z"),
    ],
)
def test_what_is_wrong_is_one_line(earth, arguments, line):
    assert line in refused(*arguments, **earth)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["build", "pc/nasadem"], "rasteret-sql build: the following arguments are required: --name (see: rasteret-sql build --help)"),
        ([*S2, "--bbox", "1,2,3"], "argument --bbox: '1,2,3' is no box; W,S,E,N in degrees is, such as 77.5,12.9,77.7,13.1"),
        ([*S2, "--bbox", "a,b,c,d"], "'a,b,c,d' is no box"),
        ([*S2, "--max-items", "0"], "'0' is no number of items; a whole number from 1 is"),
        ([*S2, "--bands", "B04,,B08"], "'B04,,B08' is no list of names; B04,B08 is"),
        ([*S2, "--bbx", BOX], "'--bbx' is not understood; did you mean '--bbox'?"),
        (["buidl"], "no command 'buidl'; did you mean 'build'?; commands: shell, query, demo, datasets, build, collections, serve, doctor"),
        (
            ["collections", "lst"],
            "rasteret-sql collections: no command 'lst'; did you mean 'list'?; commands: list, info, build, import, export, delete",
        ),
    ],
)
def test_what_is_misspelt_is_one_line(earth, arguments, line):
    assert line in refused(*arguments, status=2, **earth)


def test_a_box_west_of_greenwich(earth):
    """A value that begins with a minus is no option."""
    assert "no items found" in refused(*S2, "--bbox", "-93.7,41.9,-93.5,42.1", "--dates", "2024", **earth)


def test_an_api_that_is_not_there(workspace):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {"RASTERET_STAC_ENDPOINTS": f"earthsearch=http://127.0.0.1:{port}/v1", "RASTERET_WORKSPACE": workspace, "RASTERET_TIMEOUT_S": 3}
    line = refused(*S2, *JANUARY, **environ)
    assert line.startswith(f"rasteret-sql: http://127.0.0.1:{port}/v1")
    assert list(workspace.glob("s2*")) == []


def test_a_bad_setting(workspace):
    assert (
        refused(*S2, *JANUARY, RASTERET_TIMEOUT_S="soon")
        == "rasteret-sql: RASTERET_TIMEOUT_S = 'soon' is not a number: deadline of one query's reading in seconds"
    )


def test_json_has_no_thousands(earth):
    text = said(*S2, *JANUARY, "--json", **earth)
    assert isinstance(json.loads(text)["bytes"], int)
