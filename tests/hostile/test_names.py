"""Things that are really called so: tables, schemas, columns, bands, ids, folders, files. The same numbers as with plain names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import pytest

from tests.hostile.texts import doubled, named, texts
from tests.hostile.world import World, make_world
from tests.servers.ranged import RangeServer

COUNT = 3
"""Names of one kind; each goes through several functions."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with make_world(tmp_path_factory.mktemp("names")) as made, chdir(made.root / "cwd"):
        yield made


@pytest.fixture(autouse=True)
def unharmed(world: World) -> Iterator[None]:
    yield
    world.check()
    world.tidy()


def names(seed: str, count: int = COUNT, *, most: int = 200, but: str = "") -> list[str]:
    """Names that are not empty, no longer than ``most`` bytes, and without these characters."""
    found = (name for name in texts(count * 4, seed) if name and len(name.encode()) <= most and not set(name) & set(but))
    return [name for name, _ in zip(found, range(count), strict=False)]


def answers(world: World, collection: str, points: str = "points", plots: str = "plots", bands: str = "['red', 'nir']", **more: str) -> list[Any]:
    """What every read says, without the names of columns; ``more`` are arguments of those that take points."""
    where = ", ".join(f"{name} := {text}" for name, text in ({"x": "'lon'", "y": "'lat'"} | more).items())
    of_plots = ", geometry := 'geom'"
    plain = f"SELECT COLUMNS(* EXCLUDE (error)) FROM rasteret_sample({collection}, {points}, bands := {bands}, {where})"
    queries = [
        plain,
        plain.replace(f", {where})", f", {where}, match := 'latest', neighbourhood := 1)"),
        f"SELECT COLUMNS(* EXCLUDE (error)) FROM rasteret_read({collection}, {plots}, bands := {bands}{of_plots})",
        f"FROM rasteret_pixels({collection}, {plots}, bands := {bands}{of_plots}) ORDER BY row, col",
        f"SELECT * EXCLUDE (band, error) FROM rasteret_zonal({collection}, {plots}, bands := {bands}{of_plots}) ORDER BY mean",
        f"SELECT record_id, tiles > 0, bytes_cached FROM rasteret_plan({collection}, {plots}, bands := {bands}{of_plots})",
    ]
    return [[tuple(map(str, row)) for row in world.rows(query)] for query in queries]


@pytest.mark.parametrize("kind", ["table", "view", "cte", "schema"])
def test_relations(world: World, kind: str) -> None:
    """As the collection, as the points, as the plots, as the records of a build."""
    expected = answers(world, "c")
    for name in names(kind):
        if name.strip('" ').lower() in {"c", "points", "plots", "files", "canary", "with_assets"}:
            continue
        outer, inner, said = "", named(name), named(name)
        if kind == "schema":
            world.rows(f"CREATE SCHEMA {named(name)}")
            inner = said = f"{named(name)}.{named(name)}"
        for query, check in (
            ("FROM rasteret_collection(c)", lambda said=said: answers(world, doubled(said))),
            ("FROM points", lambda said=said: answers(world, "c", points=doubled(said))),
            ("FROM plots", lambda said=said: answers(world, "c", plots=doubled(said))),
        ):
            if kind == "cte":
                sampled = "SELECT COLUMNS(* EXCLUDE (error)) FROM rasteret_sample(c, {}, bands := ['red', 'nir'], x := 'lon', y := 'lat')"
                if query == "FROM points":
                    found = world.rows(f"WITH {named(name)} AS ({query}) {sampled.format(doubled(said))}")
                    assert [tuple(map(str, row)) for row in found] == expected[0], name
                continue
            world.rows(f"CREATE {'VIEW' if kind == 'view' else 'TABLE'} {inner} AS {query}")
            assert check() == expected, (name, query)
            world.rows(f"DROP {'VIEW' if kind == 'view' else 'TABLE'} {inner}")
        del outer
        if kind == "schema":
            world.rows(f"DROP SCHEMA {named(name)}")


def test_columns_that_pass(world: World) -> None:
    """Of points and plots, of records that are built, exported and read again: name, value and place stay; ours beside them."""
    for at, name in enumerate(names("columns", 10)):
        if name.lower() in {"lon", "lat", "seen", "red_there", "nir_there", "geom", "plot"}:
            continue
        world.rows(f"CREATE TABLE carrier AS SELECT {at} AS {named(name)}, * FROM points")
        for call in (
            "rasteret_sample(c, carrier, x := 'lon', y := 'lat', bands := 'red')",
            "rasteret_read(c, carrier, x := 'lon', y := 'lat', bands := 'red')",
        ):
            cursor = world.con.execute(f"FROM {call}")
            columns = [column[0] for column in cursor.description]
            (row,) = cursor.fetchall()
            assert (columns[0], row[0]) == (name, at)
            assert len({column.lower() for column in columns}) == len(columns)
        world.rows("DROP TABLE carrier")


@pytest.mark.parametrize(
    "name",
    [
        "geometry",
        "bbox",
        "crs",
        "assets_",
        "year",
        "filename",
        "x_metadata",
    ],
)
def test_columns_of_records_with_names_of_ours(world: World, name: str) -> None:
    """Kept, or given way to where the contract has the name; the numbers stay."""
    expected = answers(world, "c")
    world.rows(f"CREATE TABLE records AS SELECT *, 'mine' AS {named(name)} FROM files")
    try:
        world.rows("FROM rasteret_build_from_table(records, name := 'built', href_column := 'href', band_index_map := {'red': 0, 'nir': 1})")
        assert answers(world, "built") == expected
        world.rows("CREATE TABLE relation AS FROM rasteret_collection(c)")
        if name not in {column[0] for column in world.con.execute("FROM relation LIMIT 0").description}:
            world.rows(f"ALTER TABLE relation ADD COLUMN {named(name)} VARCHAR")
        assert answers(world, "relation") == expected
    finally:
        world.rows("DROP TABLE IF EXISTS relation")
        world.rows("DROP TABLE records")


def test_geometry_and_time_columns(world: World) -> None:
    expected = answers(world, "c")
    timed = world.rows(
        "SELECT red FROM rasteret_sample(c, points, bands := 'red', x := 'lon', y := 'lat', match := 'nearest', time_column := 'seen')"
    )
    for name in names("geometry columns"):
        world.rows(f"CREATE TABLE carrier AS SELECT lon, lat, geom AS {named(name)}, seen FROM points")
        given = f"rasteret_sample(c, carrier, bands := ['red', 'nir'], geometry := {doubled(name)})"
        assert world.rows(f"SELECT red::VARCHAR, nir::VARCHAR FROM {given}") == [expected[0][0][8:10]], name
        world.rows(f"CREATE OR REPLACE TABLE carrier AS SELECT lon, lat, seen AS {named(name)} FROM points")
        given = f"rasteret_sample(c, carrier, bands := 'red', x := 'lon', y := 'lat', match := 'nearest', time_column := {doubled(name)})"
        assert world.rows(f"SELECT red FROM {given}") == timed, name
        world.rows("DROP TABLE carrier")


def test_bands(world: World) -> None:
    """Two bands of such names, in both ways of reading an index (looked up, and as a relation); exported, and in expressions."""
    expected = answers(world, "c")
    for name in names("bands"):
        other = f"{name}."
        both = f"[{doubled(name)}, {doubled(other)}]"
        mapped = f"MAP {{{doubled(name)}: 0, {doubled(other)}: 1}}"
        world.rows(f"FROM rasteret_build_from_table(files, name := 'built', href_column := 'href', band_index_map := {mapped})")
        assert answers(world, "built", bands=both) == expected, name
        world.rows("CREATE OR REPLACE TABLE scanned AS FROM rasteret_collection(built)")
        assert answers(world, "scanned", bands=both) == expected, name
        world.rows("DROP TABLE scanned")
        summed = f"expressions := {{'sum': {doubled(f'{named(name)} + {named(other)}')}}}"
        found = world.rows(f"SELECT \"sum\" = red_there + nir_there FROM rasteret_sample(built, points, {summed}, x := 'lon', y := 'lat')")
        assert found == [(True,)], name
        world.rows("FROM rasteret_export(built, '../exports/e', overwrite := true)")
        assert answers(world, "'../exports/e'", bands=both) == expected, name


def test_values_in_the_data(world: World) -> None:
    """Ids, and text of users' columns, partition folders included."""
    for name in names("ids", 6, most=80):
        world.rows(f"CREATE TABLE records AS SELECT * REPLACE ({doubled(name)} AS id), {doubled(name)} AS said FROM files")
        world.rows("FROM rasteret_build_from_table(records, name := 'built', href_column := 'href')")
        assert world.rows("SELECT id, said FROM rasteret_collection(built)") == [(name, name)]
        assert world.rows("SELECT record_id, b1 = red_there FROM rasteret_sample(built, points, bands := 'b1', x := 'lon', y := 'lat')") == [
            (name, True)
        ]
        world.rows("FROM rasteret_export(built, '../exports/by', partition_by := ['said'], overwrite := true)")
        found = world.rows("SELECT id, said::VARCHAR FROM rasteret_collection('../exports/by')")
        assert found == [(name, name)], name
        world.rows("DROP TABLE records")


def test_places(world: World) -> None:
    """Folders and files of such names: GeoTIFFs, collections, tables of points, a workspace, a static catalogue."""
    expected = answers(world, "c")
    tiff = world.root / "a.tif"
    for name in names("places", but="/", most=120):
        if name in {".", ".."}:
            continue
        place = world.exports / name
        place.mkdir()
        shutil.copy(tiff, place / "a.tif")
        (place / "catalog.json").write_bytes((world.root / "catalogue" / "catalog.json").read_bytes())
        (place / "i0.json").write_bytes((world.root / "catalogue" / "i0.json").read_bytes())
        unspeakable = "\\" in name and set(name) & set("*?[")
        world.rows(f"COPY points TO {doubled(str(world.exports / 'points.parquet'))}")
        (world.exports / "points.parquet").rename(place / "points.parquet")
        sampled = "SELECT b1 = red_there FROM rasteret_sample({}, {}, bands := 'b1', x := 'lon', y := 'lat')"
        assert world.rows(sampled.format(doubled(str(place / "a.tif")), "points")) == [(True,)], name
        if not unspeakable:
            assert world.rows(sampled.format(doubled(str(tiff)), doubled(str(place / "points.parquet")))) == [(True,)], name
        world.rows(f"FROM rasteret_export(c, {doubled(str(place / 'out'))})")
        if not unspeakable:
            assert answers(world, doubled(str(place / "out"))) == expected, name
        built = f"FROM rasteret_build_from_stac({doubled(str(place))}, 'scenes', name := 'built', band_map := {{'red': 'red'}}, force := true)"
        assert world.rows(built)[0][2] == 1, name
        shutil.rmtree(place)


def test_workspaces(world: World) -> None:
    before = str(world.workspace)
    for name in names("workspaces", 4, but="/", most=120):
        if name in {".", ".."} or not name.strip() or ("\\" in name and set(name) & set("*?[")):
            continue
        place = world.exports / f"w{name}"
        try:
            world.rows(f"SET VARIABLE rasteret_workspace = {doubled(str(place))}")
            world.rows("FROM rasteret_build_from_table(files, name := 'here', href_column := 'href')")
            assert world.rows("SELECT name, records FROM rasteret_collections()") == [("here", 1)]
            assert world.rows("SELECT b1 = red_there FROM rasteret_sample(here, points, bands := 'b1', x := 'lon', y := 'lat')") == [(True,)], name
            assert Path(place, "here_records").is_dir()
        finally:
            world.rows(f"SET VARIABLE rasteret_workspace = {doubled(before)}")


def test_patterns_that_are_files(world: World) -> None:
    """``[a].parquet`` is that file, not ``a.parquet``."""
    for name, other in (("[a]", "a"), ("a*", "ab"), ("a?", "ac")):
        for place, value in ((name, 1), (other, 2)):
            world.rows(f"COPY (SELECT * , {value} AS which FROM points) TO '../exports/x.parquet'")
            (world.exports / "x.parquet").rename(world.exports / f"{place}.parquet")
        assert world.rows(f"SELECT which FROM rasteret_sample(c, '../exports/{name}.parquet', bands := 'red', x := 'lon', y := 'lat')") == [(1,)]


def test_folders_that_look_like_partitions(world: World) -> None:
    """``year=1999`` above a collection is no year of its records; DuckDB would say so of a partitioned one, which is refused."""
    place = world.exports / "year=1999" / "id=other" / "region=x"
    read = f"FROM rasteret_collection({doubled(str(place))})"
    world.rows(f"FROM rasteret_export(c, {doubled(str(place))}, partition_by := [], overwrite := true)")
    assert world.rows(f"SELECT id, year {read}") == [("a", 2024)]
    world.rows(f"FROM rasteret_export(c, {doubled(str(place))}, partition_by := ['year'], overwrite := true)")
    with pytest.raises(duckdb.Error, match="'year=1999', whose name DuckDB takes for a partition"):
        world.rows(read)


def test_urls(world: World) -> None:
    """Files on a server, by names percent-encoded as URLs have them."""
    with RangeServer(world.exports) as server:
        for name in names("urls", 5, but="/\\", most=100):
            if name in {".", ".."}:
                continue
            shutil.copy(world.root / "a.tif", world.exports / f"{name}.tif")
            url = server.url(quote(f"{name}.tif", safe=""))
            found = world.rows(f"SELECT b1 = red_there FROM rasteret_sample({doubled(url)}, points, bands := 'b1', x := 'lon', y := 'lat')")
            assert found == [(True,)], name
