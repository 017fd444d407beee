"""The catalogue is what exists: every macro is listed, every listed one exists, every argument reaches its planner."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping

import pytest
from rasteret_sql.udfs.slots import PIXEL_SLOTS, VALUE_SLOTS

import rasteret_sql
from rasteret_sql.settings import FIELDS, Settings
from rasteret_sql.sql import planner
from rasteret_sql.sql.arguments import Arguments
from rasteret_sql.sql.catalogue import TABLE_FUNCTIONS, scalar_functions
from tests.collection.asking import rows
from tests.collection.tiffs import write

SCALARS = scalar_functions(VALUE_SLOTS, PIXEL_SLOTS)


@pytest.fixture(scope="module")
def con():
    with rasteret_sql.connect() as connection:
        yield connection


def macros(con, database):
    return con.execute(
        f"SELECT DISTINCT function_name, function_type FROM duckdb_functions() WHERE database_name = '{database}' AND NOT internal AND function_type LIKE '%macro' AND NOT starts_with(function_name, '__')"
    ).fetchall()


def test_functions_lists_every_macro_and_nothing_else(con):
    kinds = {"table": "table_macro", "scalar": "macro"}
    listed = {(row["name"], kinds[row["kind"]]) for row in rows(con, "FROM rasteret_functions()")}
    assert listed == set(macros(con, "temp"))
    assert listed == {(name, kind) for name, kind in macros(con, "rasteret") if name.startswith("rasteret_")}
    assert {(name.removeprefix("rasteret_"), kind) for name, kind in listed} == {
        (name, kind) for name, kind in macros(con, "rasteret") if not name.startswith("rasteret_")
    }


def test_each_is_listed_once_with_a_line_of_help(con):
    found = rows(con, "FROM rasteret_functions()")
    assert len({(row["name"], row["kind"]) for row in found}) == len(found) == len(TABLE_FUNCTIONS) + len(SCALARS)
    for row in found:
        assert row["signature"].startswith(f"{row['name']}(")
        assert 10 < len(row["help"]) < 120
        assert "\n" not in row["help"]
    assert [row["name"] for row in found] == sorted(row["name"] for row in found)


def test_signatures_are_those_of_the_macros(con):
    """Argument by argument, as DuckDB has them."""
    for row in rows(con, "FROM rasteret_functions()"):
        kind = {"table": "table_macro", "scalar": "macro"}[row["kind"]]
        ((parameters,),) = con.execute(
            f"SELECT parameters FROM duckdb_functions() WHERE database_name = 'temp' AND function_name = '{row['name']}' AND function_type = '{kind}'"
        ).fetchall()
        words = re.fullmatch(r"\w+\((.*)\)", row["signature"])[1]
        listed = [word.partition(" := ")[0] for word in words.split(", ")] if words else []
        if row["name"] == "rasteret_value":  # its last parameter takes one band
            parameters = [{"bands": "band"}.get(name, name) for name in parameters]
        assert listed == list(parameters), row["name"]


def test_every_table_function_has_a_planner():
    assert {function.name for function in TABLE_FUNCTIONS} | {"rasteret_value"} == set(planner.PLANNERS)


class Watched(Mapping):
    """Argument values that note which were asked for."""

    def __init__(self, values):
        self.values_, self.asked = values, set()

    def __getitem__(self, name):
        self.asked.add(name)
        return self.values_[name]

    def __contains__(self, name):
        self.asked.add(name)
        return name in self.values_

    def get(self, name, default=None):
        self.asked.add(name)
        return self.values_.get(name, default)

    def __iter__(self):
        return iter(self.values_)

    def __len__(self):
        return len(self.values_)


@pytest.mark.parametrize("function", TABLE_FUNCTIONS, ids=lambda function: function.name)
def test_every_argument_is_handled(function, tmp_path):
    """Each named argument is looked at by the planner of its function."""
    tiff = write(tmp_path / "a.tif")
    given = {"collection": str(tiff), "points": "p", "geometries": "p", "records": "r", "name": "c", "path": str(tmp_path / "out")}
    given |= {"dataset": "pc/nasadem", "api": "https://example.com/v1", "bbox": [1.0, 2.0, 3.0, 4.0], "band_map": {"R": "red"}}
    watched = Watched({name: given[name] for name in (*function.positional, *function.named) if name in given})
    text = planner.PLANNERS[function.name](Arguments(function.name, watched, Settings(workspace=str(tmp_path))))
    assert text
    assert not set(function.positional) - watched.asked
    assert set(function.named) - watched.asked == set()


def test_no_argument_name_is_refused_by_duckdb(con):
    """``by``, ``limit``, ``window``, ``column``, ``table`` cannot be argument names."""
    used = {name for function in TABLE_FUNCTIONS for name in (*function.positional, *function.named)}
    assert not used & {"by", "limit", "window", "column", "table"}


def test_one_name_for_one_idea():
    """Functions that share an argument share its default."""
    defaults = {}
    for function in TABLE_FUNCTIONS:
        for name, default in function.named.items():
            if name not in ("name", "last", "pixels"):  # arrays hold whole pixels, rows of pixels their shares
                assert defaults.setdefault(name, default) == default, name


def test_settings_are_those_of_the_catalogue(con, monkeypatch):
    for name in FIELDS:
        monkeypatch.delenv(f"RASTERET_{name.upper()}", raising=False)
    found = {row["name"]: row for row in rows(con, "FROM rasteret_settings()")}
    assert {name: row["value"] for name, row in found.items()} == {f"rasteret_{name}": str(getattr(Settings(), name)) for name in FIELDS}
    assert all(row["value"] == row["default"] and row["help"] for row in found.values())


def test_functions_take_arrow(con):
    """Internal functions start with two underscores, so that nobody takes them for the surface."""
    ours = con.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_name LIKE '%rasteret%' AND function_type = 'scalar'"
    ).fetchall()
    assert ours
    assert all(name.startswith("__rasteret_") for (name,) in ours)


def test_planners_are_pure():
    """They take arguments and answer with text: no connection among their parameters."""
    for make in planner.PLANNERS.values():
        assert list(inspect.signature(make).parameters) == ["arguments"]
