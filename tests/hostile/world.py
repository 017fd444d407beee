"""A connection with something to lose: a canary in every place that a statement could reach, and what was there before."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

import rasteret_sql
from tests.collection.tiffs import value_by_rasterio, write
from tests.hostile.texts import doubled
from tests.servers.answering import AnsweringServer, Reply

SECRET = "TOP-SECRET-8f2c1d"
"""Of the file that nobody may read."""
_CLASSES = "RasteretError|InvalidArgument|CollectionNotFound|BandNotFound|UnsupportedRaster|InvalidRaster|ReadError|WriteError|BudgetExceeded"
_OURS = re.compile(rf"Invalid Input Error: (rasteret_\w+: |Python exception occurred while executing the UDF: ({_CLASSES}): )\S")
_DUCKDB = re.compile(r"(Binder|Catalog|Conversion|IO|HTTP) Error: \S|Invalid Input Error: cast_to_type cannot be used to cast to NULL$")
_AFTER = re.compile(r"\n\n(LINE \d+: |At:\n|Did you mean|Candidate|Extension |Note that)|\nDid you mean|\nLINE \d+: |\n\nPlease|\n\tCandidate ")
_STATE = {
    "tables": "SELECT database_name, schema_name, table_name, estimated_size FROM duckdb_tables()",
    "views": "SELECT database_name, schema_name, view_name FROM duckdb_views() WHERE NOT internal",
    "macros": "SELECT database_name, schema_name, function_name, function_type FROM duckdb_functions() WHERE function_type LIKE '%macro%' AND NOT internal",
    "databases": "SELECT database_name, path FROM duckdb_databases()",
    "schemas": "SELECT database_name, schema_name FROM duckdb_schemas()",
    "types": "SELECT database_name, type_name FROM duckdb_types() WHERE NOT internal",
    "sequences": "SELECT sequence_name FROM duckdb_sequences()",
    "extensions": "SELECT extension_name FROM duckdb_extensions() WHERE loaded AND extension_name <> 'icu'",
    "settings": "SELECT name, value FROM duckdb_settings()",
    "secrets": "SELECT name FROM duckdb_secrets()",
}


@dataclass
class World:
    """The connection, its places, and how it was."""

    root: Path
    con: duckdb.DuckDBPyConnection
    server: AnsweringServer
    before: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Any] = field(default_factory=dict)

    @property
    def workspace(self) -> Path:
        return self.root / "workspace"

    @property
    def exports(self) -> Path:
        return self.root / "exports"

    def fill(self, text: str) -> str:
        """The places of this world in a text."""
        places = {"{secret}": self.root / "secret.txt", "{outside}": self.root / "outside.csv", "{url}": self.server.url}
        for name, place in places.items():
            text = text.replace(name, str(place))
        return text

    def rows(self, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        return self.con.execute(statement, parameters).fetchall()

    def check(self, *, asked: bool = False) -> None:
        """Nothing happened but what was asked for: no row, table, macro, setting, file or request more or less."""
        assert self.rows("SELECT alive FROM canary ORDER BY alive") == [(41,), (42,)], "the canary is dead"
        for name, state in self.state().items():
            assert state == self.before[name], f"{name} changed"
        assert self.tree() == self.files
        if not asked:
            assert self.server.asked == []

    def state(self) -> dict[str, Any]:
        found = {name: set(self.rows(query)) for name, query in _STATE.items()}
        variables = self.rows("SELECT name, value::VARCHAR FROM duckdb_variables() WHERE name NOT LIKE 'hostile%'")
        return found | {"variables": set(variables)}

    def tree(self) -> dict[str, Any]:
        """All files outside of the places where functions write, with what they hold."""
        found: dict[str, Any] = {}
        for folder, inside, names in os.walk(self.root):
            if Path(folder) == self.root:
                inside[:] = [name for name in inside if name not in ("workspace", "exports")]
            found |= {str(Path(folder, name)): Path(folder, name).stat().st_size for name in names}
            found |= {str(Path(folder, name)): None for name in inside}
        return found

    def tidy(self) -> None:
        """Away with what calls built and exported."""
        for place in (*self.workspace.iterdir(), *self.exports.iterdir()):
            if place.name != "local_datasets.json" and re.fullmatch(r"\.?c_records(\..*)?", place.name) is None:
                self.forget(place)
        self.server.asked.clear()

    def forget(self, place: Path) -> None:
        shutil.rmtree(place) if place.is_dir() else place.unlink()


def checked_error(world: World, error: BaseException, value: str = "") -> str:
    """The first line of an error, which must be ours or a clean one of DuckDB, and one line but for what ``value`` itself holds."""
    whole = str(error)
    assert isinstance(error, duckdb.Error), repr(error)
    assert SECRET not in whole
    said = _AFTER.split(whole, maxsplit=1)[0].strip()
    ours = _OURS.match(said) is not None
    assert ours or _DUCKDB.match(said), f"neither ours nor a clean one of DuckDB: {whole[:600]}"
    assert "query()" not in said, f"text of another statement: {said[:600]}"
    lines = len(said.splitlines())
    most = 1 if ours else max(1, len(f"{value}.".splitlines()))  # DuckDB says names as they are
    assert lines <= most, f"{lines} lines: {said[:600]!r}"
    if ours:
        assert said.isprintable(), f"characters that do not print: {said[:300]!r}"
    return said


def polygon(lon: float, lat: float, size: float = 0.0005) -> str:
    west, south, east, north = lon - size, lat - size, lon + size, lat + size
    return f"POLYGON(({west} {south}, {east} {south}, {east} {north}, {west} {north}, {west} {south}))"


@contextmanager
def make_world(root: Path) -> Iterator[World]:
    """A file of two bands, a collection ``c`` of it, tables of points and plots with the values known, a catalogue, local datasets."""
    for name in ("workspace", "exports", "cwd", "catalogue"):
        (root / name).mkdir()
    tiff = write(root / "a.tif", bands=2, seed=1)
    (root / "secret.txt").write_text(SECRET)
    (root / "canary.txt").write_text("alive")
    lon, lat, red = value_by_rasterio(tiff, 1, 7, 9)
    nir = value_by_rasterio(tiff, 2, 7, 9)[2]
    _catalogue(root / "catalogue", tiff)
    with rasteret_sql.connect(config={"autoinstall_known_extensions": "false"}) as con, AnsweringServer(lambda _: Reply(b"", 404)) as server:
        world = World(root, con, server)
        for statement in (
            f"SET VARIABLE rasteret_workspace = {doubled(str(world.workspace))}",
            "SET VARIABLE rasteret_timeout_s = 20",
            "SET VARIABLE rasteret_progress = false",
            "CREATE TABLE canary AS SELECT unnest([41, 42]) AS alive",
            f"CREATE TABLE files AS SELECT 'a' AS id, {doubled(str(tiff))} AS href, TIMESTAMP '2024-03-01' AS datetime, 'kept' AS extra",
            "CREATE TABLE with_assets AS SELECT id, datetime, {'red': {'href': href, 'band_index': 0}, 'nir': {'href': href, 'band_index': 1}} AS assets"
            " FROM files",
            f"CREATE TABLE points AS SELECT {lon!r}::DOUBLE AS lon, {lat!r}::DOUBLE AS lat, TIMESTAMP '2024-03-02' AS seen, {red} AS red_there,"
            f" {nir} AS nir_there, 'POINT({lon!r} {lat!r})' AS geom",
            f"CREATE TABLE plots AS SELECT 7 AS plot, '{polygon(lon, lat)}' AS geom",
            "FROM rasteret_build_from_table(files, name := 'c', href_column := 'href', band_index_map := {'red': 0, 'nir': 1})",
        ):
            world.rows(statement)
        rasteret_sql.register_local("ready", world.workspace / "c_records", workspace=str(world.workspace))
        rasteret_sql.register_local(
            "static", api=str(root / "catalogue"), collection="scenes", band_map={"red": "red"}, workspace=str(world.workspace)
        )
        world.before, world.files = world.state(), world.tree()
        yield world


def _catalogue(folder: Path, tiff: Path) -> None:
    box = [14.9, 46.9, 15.1, 47.0]
    ring = [[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]], [box[0], box[1]]]
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "i0",
        "collection": "scenes",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": box,
        "properties": {"datetime": "2024-03-01T00:00:00Z", "eo:cloud_cover": 5},
        "assets": {"red": {"href": str(tiff), "type": "image/tiff"}},
        "links": [],
    }
    links = [{"rel": "item", "href": "./i0.json"}]
    (folder / "i0.json").write_text(json.dumps(item))
    (folder / "catalog.json").write_text(json.dumps({"type": "Catalog", "stac_version": "1.0.0", "id": "root", "description": "", "links": links}))
