"""Texts and values of every kind in every argument of every function: what was asked for or one clean line, and the canary lives.

Arguments come from the catalogue, so that a new one is tried as soon as it is there (or fails here, where it has no texts yet).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import chdir
from typing import Any

import duckdb
import pytest

from rasteret_sql.collection.workspace import is_there, local_path
from rasteret_sql.sql.quote import text
from tests.hostile.slots import HOLE, SCALAR_BASE, Slot, arguments_of, slots
from tests.hostile.texts import dollars, doubled, escaped, texts
from tests.hostile.world import World, checked_error, make_world

SLOTS = slots()
AT_LEAST = 10_000
NOTHING = ("NULL", "getvariable('hostile_nothing')", "NULL::STRUCT(a INTEGER)")
"""As if the argument was not there."""
NUL = ("chr(0)", "'a' || chr(0) || 'b'", "chr(0) || '''; DROP TABLE canary; --'")
VALUES = (
    "NULL", "true", "0", "1", "-1", "2", "0.5", "1e308", "'nan'::DOUBLE", "'-inf'::FLOAT", "1.5::DECIMAL(38, 10)", "170141183460469231731687303715884105727",
    "(-1)::TINYINT", "[]", "[NULL]", "[1, 2]", "[[1]]", "['a', NULL]", "[true]", "[1, 2]::INTEGER[2]", "[{'a': 1}]", "{'a': 1}", "{'a': NULL}",
    "{'a': {'b': [1]}}", "{'a': 'b', 'B': 'c'}", "MAP {}", "MAP {'a': 1}", "MAP {1: 'a'}", "MAP {'a': NULL}", "(1, 2)", "row('a', 1)", "row(NULL, NULL)",
    "''::BLOB", "'\\x00\\xFF'::BLOB", "'1'::BIT", "DATE '2024-01-01'", "'infinity'::DATE", "DATE '5877642-06-25 (BC)'", "TIMESTAMP '294247-01-01'",
    "'-infinity'::TIMESTAMP", "TIMESTAMPTZ '2024-01-01 00:00:00+00'", "TIMESTAMP_NS '2024-01-01 00:00:00.123456789'", "TIME '24:00:00'", "INTERVAL 1 MONTH",
    "INTERVAL (-10) DAY", "INTERVAL 9000000 DAY", "'00000000-0000-0000-0000-000000000000'::UUID", "'POINT(0 0)'::GEOMETRY", "'x'::ENUM('x', 'y')",
    "union_value(a := 1)", "getvariable('hostile_nothing')", "NULL::STRUCT(a INTEGER)", "CAST('[1]' AS JSON)", "repeat('[', 100000)", "repeat('a', 1000000)",
    *NUL,
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with make_world(tmp_path_factory.mktemp("arguments")) as made, chdir(made.root / "cwd"):
        yield made


def leads_out(slot: Slot, value: str) -> bool:
    """Would this place be one of this machine's own, or above the folder for exports?"""
    if slot.argument == "path":
        return ".." in value.split("/")
    plain = value.strip()
    return slot.form.path and plain.startswith(("/", "~")) and (any(c in plain for c in "*?[") or is_there(local_path(plain)))


def chosen(world: World, slot: Slot) -> list[str]:
    """The texts of a slot."""
    found: list[str] = []
    for value in texts(slot.form.count + 20, slot.form.seed or slot.name, world.fill):
        if not leads_out(slot, value) and len(found) < slot.form.count:
            found.append(value)
    return found


def ask(world: World, slot: Slot, value: str, way: int) -> list[tuple[Any, ...]]:
    """The call with the text in it: as a literal by our rule, by the test's own ones, as a parameter, as a variable."""
    if way < 4:
        return world.rows(slot.call.replace(HOLE, (text, doubled, dollars, escaped)[way](value)))
    if way == 4:
        return world.rows(slot.call.replace(HOLE, "$given"), {"given": value})
    world.rows(f"SET VARIABLE hostile_given = {doubled(value)}")
    return world.rows(slot.call.replace(HOLE, "getvariable('hostile_given')"))


@pytest.mark.parametrize("slot", SLOTS, ids=lambda slot: slot.name)
def test_texts(world: World, slot: Slot) -> None:
    base = world.rows(slot.base)
    tried = 0
    for way, value in enumerate(chosen(world, slot)):
        tried += 1
        wanted = slot.form.expected(value)
        try:
            found = ask(world, slot, value, way % 6)
        except duckdb.Error as error:
            said = checked_error(world, error, value)
            assert wanted is not None, f"{value!r} is refused: {said}"
            assert re.search(wanted, said) or (len(value) > 250 and said.endswith("…")), f"{value!r}: {said}"
        else:
            assert wanted is None, f"{value!r} answers {found!r:.300}"
            RIGHT[slot.argument](world, slot, value, found, base)
    world.check(asked=slot.form.path)
    world.tidy()
    assert tried == slot.form.count


@pytest.mark.parametrize("slot", [slot for slot in SLOTS if slot.form.sql == HOLE], ids=lambda slot: slot.name)
def test_values(world: World, slot: Slot) -> None:
    """Of every other type, and texts with NUL: an answer or one clean line; what answers is in ``ANSWERS``. Every slot takes its quarter of them."""
    for value in VALUES[SLOTS.index(slot) % 4 :: 4]:
        try:
            found = world.rows(slot.call.replace(HOLE, value))
        except duckdb.Error as error:
            said = checked_error(world, error)
            assert not said.startswith("Parser"), said
        else:
            known = f"{slot.function}.{slot.argument}"
            assert value in NOTHING or value in ANSWERS.get(known, ANSWERS.get(slot.argument, ())), f"{known} := {value} answers {found!r:.300}"
    world.check(asked=slot.form.path)
    world.tidy()


def test_every_argument_of_every_function_is_tried(world: World) -> None:
    """As ``rasteret_functions()`` has them."""
    said = world.rows("SELECT name, kind, signature FROM rasteret_functions()")
    known = {(name if kind == "table" else f"{name}()", argument) for name, kind, signature in said for argument in arguments_of(signature)}
    assert {(slot.function, slot.argument) for slot in SLOTS} == known
    assert len(known) > 130
    assert {name for name, kind, _ in said if kind == "scalar"} == set(SCALAR_BASE)


def test_how_many() -> None:
    assert sum(slot.form.count for slot in SLOTS) >= AT_LEAST
    assert all(slot.form.count >= 10 for slot in SLOTS)


# -- what is right where a text is taken ---------------------------------------------------------------------------------------


def same(_world: World, _slot: Slot, _value: str, found: list[Any], base: list[Any]) -> None:
    assert found == base


def as_collection(world: World, slot: Slot, value: str, found: list[Any], _base: list[Any]) -> None:
    assert found[0][0] == value
    assert world.rows(f"SELECT name, records FROM rasteret_collections() WHERE name = {doubled(value)}") == [(value, 1)]
    place = world.workspace / f"{value}{'_records' if slot.function.endswith('table') else '_stac'}"
    assert place.is_dir()


def as_bands(world: World, _slot: Slot, value: str, _found: list[Any], _base: list[Any]) -> None:
    """Its name, its place in the file and its pixel."""
    assert world.rows("SELECT band FROM rasteret_bands('built')") == [(value,)]
    sampled = (
        f"SELECT band, value = red_there FROM rasteret_sample('built', points, bands := {doubled(value)}, x := 'lon', y := 'lat', layout := 'long')"
    )
    assert world.rows(sampled) == [(value, True)]


def as_expression(world: World, slot: Slot, value: str, found: list[Any], _base: list[Any]) -> None:
    """A column of that name (a band, of statistics) with the values of the band."""
    cursor = world.con.execute(slot.call.replace(HOLE, doubled(value)))
    names = [column[0] for column in cursor.description]
    (row, *others) = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    if slot.function == "rasteret_sample":
        assert row[value] == row["red"] == row["red_there"]
        return
    (other,) = others
    assert (row["band"], other["band"]) == ("red", value)
    assert (row["mean"], row["count"]) == (other["mean"], other["count"])


def as_column(world: World, _slot: Slot, value: str, _found: list[Any], _base: list[Any]) -> None:
    cursor = world.con.execute("FROM rasteret_collection('built')")
    names = [column[0] for column in cursor.description]
    (row,) = cursor.fetchall()
    assert dict(zip(names, row, strict=True))[value] == "kept"


def as_built(world: World, _slot: Slot, _value: str, found: list[Any], base: list[Any]) -> None:
    """As without it: no prefix was exchanged, no item left out."""
    assert [row[:3] for row in found] == [row[:3] for row in base]
    ((assets,),) = world.rows("SELECT assets FROM rasteret_collection('built')")
    assert {asset["href"] for asset in assets.values()} == {str(world.root / "a.tif")}


def as_export(world: World, _slot: Slot, value: str, _found: list[Any], _base: list[Any]) -> None:
    place = world.exports / value
    assert place.is_dir() or place.is_file()
    assert world.rows(f"SELECT id FROM rasteret_collection({doubled(str(place))})") == [("a",)]
    world.forget(place)  # DuckDB 2.0 cannot list a folder that has an entry with a backslash in its name


RIGHT = {
    "crs": same,
    "geometry_crs": same,
    "name": as_collection,
    "band_index_map": as_bands,
    "band_columns": as_bands,
    "band_map": as_bands,
    "expressions": as_expression,
    "column_map": as_column,
    "url_rewrite": as_built,
    "query": as_built,
    "path": as_export,
}
COUNTS = ("1", "2", "union_value(a := 1)")
NAMES = ("'00000000-0000-0000-0000-000000000000'::UUID", "'x'::ENUM('x', 'y')")
NO_MAP = ("[]", "MAP {}")
LENGTHS = (*COUNTS, "0.5", "1.5::DECIMAL(38, 10)")
ANSWERS: dict[str, tuple[str, ...]] = {
    "name": NAMES,
    "query": ("{'a': NULL}", "MAP {'a': NULL}", "row(NULL, NULL)"),
    "max_items": COUNTS,
    "last": COUNTS,
    "force": ("true",),
    "overwrite": ("true",),
    "scaled": ("true",),
    "solar_day": ("true",),
    "band_index_map": (*NO_MAP, "{'a': 1}", "MAP {'a': 1}"),
    "ids": NO_MAP,
    "sort_by": NO_MAP,
    "url_rewrite": (*NO_MAP, "{'a': 'b', 'B': 'c'}"),
    "column_map": NO_MAP,
    "partition_by": NO_MAP,
    "expressions": NO_MAP,
    "geometry": ("'POINT(0 0)'::GEOMETRY",),
    "point": ("'POINT(0 0)'::GEOMETRY",),
    "tolerance": ("INTERVAL 9000000 DAY",),
    "max_distance_pixels": ("0", *COUNTS),
    "neighbourhood": ("0", *COUNTS),
    "resolution": LENGTHS,
    "align_to": (*LENGTHS, "0", "-1", "(-1)::TINYINT", "[1, 2]", "[1, 2]::INTEGER[2]", "(1, 2)"),
}
"""Values of other types that an argument takes, all of which mean something there."""
