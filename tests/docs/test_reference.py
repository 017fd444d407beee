"""The reference is what the functions say of themselves, and what they say is true: arguments, choices, defaults, result columns, types, examples."""

from __future__ import annotations

import re

import duckdb
import pytest

import rasteret_sql.sql.manual as manual
from rasteret_sql.raster.statistics import DEFINITIONS
from rasteret_sql.sql.catalogue import TABLE_FUNCTIONS, scalar_functions
from tests.test_examples import results
from tools import make_diagrams
from tools.make_reference import REFERENCE, ROOT, SETUP, pages, sample

TABLES = {f.name: f for f in TABLE_FUNCTIONS}
SCALARS = {f.name: f for f in scalar_functions({}, {})}
EVERY = sorted(manual.DESCRIPTIONS)
NUMBERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "USMALLINT[]", "DOUBLE[]", "INTEGER[]"}


@pytest.fixture(scope="module")
def con():
    with sample() as connection:
        results(connection, SETUP)
        yield connection


def test_the_committed_pages_are_what_the_generator_writes():
    made = pages()
    committed = {path.name: path.read_text(encoding="utf-8") for path in REFERENCE.glob("*.md")}
    assert sorted(committed) == sorted(made)
    for name, words in made.items():
        assert committed[name] == words, f"docs/reference/{name} is old: python -m tools.make_reference"


@pytest.mark.parametrize("name", make_diagrams.DIAGRAMS)
def test_the_committed_diagrams_are_what_the_script_draws(name):
    assert (ROOT / "docs" / "images" / name).read_text(encoding="utf-8") == make_diagrams.DIAGRAMS[name](), "python -m tools.make_diagrams"


def test_every_function_is_described_and_no_other():
    assert set(EVERY) == {(name, "table") for name in TABLES} | {(name, "scalar") for name in SCALARS}


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_every_argument_is_described_and_no_other(name, kind):
    said = manual.DESCRIPTIONS[name, kind]
    if kind == "table":
        known = [*TABLES[name].positional, *TABLES[name].named]
    else:
        inside = re.fullmatch(r"\w+\((.*)\)", SCALARS[name].signature)[1]
        known = [word.partition(" := ")[0] for word in inside.split(", ")]
    assert list(said.arguments) == known
    assert len(said.about) > 40
    for argument, words in said.arguments.items():
        assert len(words.help) > 8, argument
        assert words.type, argument
        assert words.help[0] not in " .", argument
        assert not words.help.endswith("."), argument


@pytest.mark.parametrize("name", sorted(TABLES))
def test_defaults_are_those_of_the_macro(name):
    """A default in the signature is the one described; one that is NULL there is described in words, or plays no part."""
    for argument, default in TABLES[name].named.items():
        if default != "NULL":
            assert manual.DESCRIPTIONS[name, "table"].arguments[argument].default == default, argument


def words_of(name, argument, value):
    """A call that goes wrong in this one argument, if at all."""
    given = {"collection": "landsat", "points": "points", "geometries": "plots"}
    positional = ", ".join(given[word] for word in TABLES[name].positional)
    return f"FROM {name}({positional}, bands := ['B4', 'B3'], {argument} := '{value}')"


CHOICES = [(name, argument) for name, found in sorted(manual.READS.items()) for argument, words in found.arguments.items() if words.choices]


@pytest.mark.parametrize(("name", "argument"), CHOICES)
def test_choices_are_the_ones_that_the_function_names(con, name, argument):
    choices = manual.READS[name].arguments[argument].choices
    with pytest.raises(duckdb.Error, match="valid: ") as caught:
        con.execute(words_of(name, argument, "nonsense")).fetchall()
    assert str(caught.value).splitlines()[0].partition("valid: ")[2] == ", ".join(choices)
    assert manual.READS[name].arguments[argument].default == repr(choices[0])


REQUIRED = [(name, a) for name, f in sorted(TABLES.items()) for a in f.named if manual.DESCRIPTIONS[name, "table"].arguments[a].required]


@pytest.mark.parametrize(("name", "argument"), REQUIRED)
def test_what_is_said_to_be_needed_is_missed(con, name, argument):
    first = {"dataset": "'pc/nasadem'", "api": "'stac'", "collection": "'x'", "records": "scenes"}
    others = {"name": "name := 'x'", "band_map": "band_map := {'R': 'red'}"}
    positional = [first[word] for word in TABLES[name].positional]
    given = [words for word, words in others.items() if word in TABLES[name].named and word != argument]
    with pytest.raises(duckdb.Error, match=f"{name}: {argument} is missing"):
        con.execute(f"FROM {name}({', '.join([*positional, *given])})").fetchall()


def test_required_arguments_were_found():
    assert ("rasteret_build", "name") in REQUIRED
    assert ("rasteret_build_from_stac", "band_map") in REQUIRED


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_result_columns_are_those_of_the_function(con, name, kind):
    """Names, order and types, as DuckDB describes the probe; the user's own columns come first and are not described."""
    said = manual.DESCRIPTIONS[name, kind]
    if said.before:
        exec(said.before, {"con": con})
    found = [(row[0], row[1]) for row in con.execute(f"DESCRIBE FROM {said.probe}").fetchall()]
    mine = len(found) - len(said.columns)
    if name == "rasteret_collection":  # a column of metadata per band, all of one type
        found = [entry for entry in found if entry[0] not in ("B2_metadata", "B3_metadata")]
        mine = 0
    assert [entry[0] for entry in found[:mine]] in ([], ["id", "label", "geom"])
    concrete = {"<band>": "B4", "<expression>": "e", "<band>_window": "B4_window", "<band>_metadata": "B4_metadata"}
    for column, (label, sql_type) in zip(said.columns, found[mine:], strict=True):
        if kind == "table":
            assert concrete.get(column.name, column.name) == label
        assert column.type == ("STRUCT" if sql_type.startswith("STRUCT(") else sql_type), column.name


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_numbers_have_units_and_columns_a_meaning(name, kind):
    for column in manual.DESCRIPTIONS[name, kind].columns:
        assert len(column.help) > 4
        assert not column.help.endswith(".")
        if column.type in NUMBERS:
            assert column.unit, f"{name}: {column.name} has no unit"
        elif column.type in ("VARCHAR", "TIMESTAMP", "VARCHAR[]"):
            assert not column.unit


def test_every_statistic_is_named():
    named = set(re.findall(r"`(\w+)(?:\(q\))?`", manual.READS["rasteret_zonal"].arguments["stats"].help))
    assert named == set(DEFINITIONS)


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_examples_are_of_the_function_and_fit_the_page(name, kind):
    said = manual.DESCRIPTIONS[name, kind]
    assert f"{name}(" in said.example
    assert all(f"{name}(" in sql for sql in said.refused)
    assert max(map(len, [*said.example.splitlines(), *said.before.splitlines()])) <= 110


def test_help_in_sql_is_the_same(con):
    found = con.execute('SELECT function, kind, part, name, type, "default", help FROM rasteret_help()').fetchall()
    for name, kind in EVERY:
        said = manual.DESCRIPTIONS[name, kind]
        mine = [row[2:] for row in found if row[:2] == (name, kind)]
        assert ("about", None, None, None, said.about) in mine
        assert ("example", None, None, None, said.example) in mine
        assert [row[1] for row in mine if row[0] == "argument"] == list(said.arguments)
        assert [row[1] or "" for row in mine if row[0] == "column"] == [column.name for column in said.columns]
    only = con.execute("SELECT DISTINCT function FROM rasteret_help('rasteret_io')").fetchall()
    assert only == [("rasteret_io",)]


def test_help_for_a_function_that_is_none_names_near_ones(con):
    with pytest.raises(duckdb.Error, match="did you mean 'rasteret_zonal'"):
        con.execute("FROM rasteret_help('rasteret_zona')").fetchall()
