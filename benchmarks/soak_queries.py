"""The queries of :mod:`benchmarks.soak`: each asks for a random part of the world and holds every value against the truth."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import duckdb
import numpy as np

from benchmarks.soak_world import BANDS, EPSG, LEFT, NODATA, PIXEL, SIZE, STATS, TILE, TOP, Scene, World

IN_UTM = f"geometry_crs := 'EPSG:{EPSG}'"
EVERY = f"bands := {list(BANDS)}"
RELATIVE, ABSOLUTE = 1e-4, 1e-6
"""By which a statistic may differ from exactextract's, whose coverages are 32-bit floats."""
Row = tuple[Any, ...]


@dataclass
class Counts:
    """What came of the queries of one worker."""

    queries: Counter[str] = field(default_factory=Counter)
    values: int = 0
    """Compared with the truth."""
    wrong: list[str] = field(default_factory=list)
    nulls: list[str] = field(default_factory=list)
    """NULL although the status is ok."""
    rows_with_error: int = 0
    """Under ``on_error := 'null'``: status error, NULL values, and a reason."""
    pixels_left_out: int = 0
    """By ``rasteret_pixels`` under ``on_error := 'null'``."""
    statements_with_error: Counter[str] = field(default_factory=Counter)
    """Under ``on_error := 'raise'``: what the error said, without places."""
    unclean: list[str] = field(default_factory=list)
    """Errors that do not name the file, or rows of status error without a reason."""
    slowest: float = 0.0

    def expect(self, what: str, row: Row, status: str, error: str | None, pairs: list[tuple[Any, Any]]) -> None:
        """One row: its status and reason, and (value, truth) of each column, None where the file has nodata."""
        if status == "error":  # of one band or of all; what is there must be right
            self.rows_with_error += 1
            if not error or ".tif: " not in error:
                self.unclean.append(f"{what}: {row}")
            if any(value is not None and not same(value, truth) for value, truth in pairs):
                self.wrong.append(f"{what}: {row}, truth {[truth for _, truth in pairs][:10]}")
            return
        missing = [value is None and truth is not None for value, truth in pairs]
        if any(missing):
            (self.nulls if status == "ok" else self.wrong).append(f"{what}: {row}")
            return
        self.values += len(pairs)
        if any(not same(value, truth) for value, truth in pairs) or (status == "nodata") != all(truth is None for _, truth in pairs):
            self.wrong.append(f"{what}: {row}, truth {[truth for _, truth in pairs][:10]}")

    def expect_keys(self, what: str, found: list[Any], wanted: list[Any]) -> None:
        """No row lost, none twice, none for a record that is elsewhere."""
        if sorted(found) != sorted(wanted):
            self.wrong.append(f"{what}: rows {sorted(found)[:20]}, wanted {sorted(wanted)[:20]}")


def same(value: Any, truth: Any) -> bool:
    if isinstance(truth, float) and value is not None:
        return math.isclose(value, truth, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return bool(value == truth)


def held(pixels: np.ndarray) -> list[int | None]:
    return [None if value == NODATA else int(value) for value in pixels.ravel()]


def wkt(ring: Iterator[tuple[float, float]]) -> str:
    """Of pixels from the corner of the world."""
    return f"POLYGON(({','.join(f'{LEFT + x * PIXEL!r} {TOP - y * PIXEL!r}' for x, y in ring)}))"


def box_ring(box: tuple[int, int, int, int]) -> Iterator[tuple[float, float]]:
    x, y, width, height = box
    yield from ((x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y))


class Questions:
    """Asks for random parts of the world on one connection. ``collection`` holds all scenes."""

    def __init__(self, con: duckdb.DuckDBPyConnection, world: World, collection: str, seed: int, counts: Counts) -> None:
        self.con = con
        self.world = world
        self.collection = collection
        self.rng = random.Random(seed)
        self.counts = counts
        self.kinds: dict[str, Callable[[str], None]] = {
            "sample": self.sample,
            "latest": self.latest,
            "read": self.read,
            "pixels": self.pixels,
            "zonal": self.zonal,
            "plan": self.plan,
        }

    def ask(self) -> None:
        """One random query; an error is one that the faults explain, or counted as unclean."""
        kind = self.rng.choice(list(self.kinds))
        on_error = self.rng.choice(("raise", "null"))
        self.counts.queries[kind] += 1
        try:
            self.kinds[kind](f", on_error := '{on_error}'")
        except duckdb.Error as error:
            self.note(kind, on_error, str(error))

    def note(self, kind: str, on_error: str, text: str) -> None:
        line = text.splitlines()[0]
        said = line.rpartition(".tif: ")[2].partition(" (bytes ")[0].partition(" (")[0].partition(":")[0]
        self.counts.statements_with_error[re.sub(r"\d+", "…", said)[:60]] += 1
        if ".tif: " not in line or (on_error == "null" and kind != "plan"):
            self.counts.unclean.append(f"{kind}, on_error := '{on_error}': {text[:500]}")

    def rows(self, sql: str) -> list[Row]:
        return self.con.execute(sql).fetchall()

    def places(self, columns: str, places: list[str]) -> None:
        self.rows(f"CREATE OR REPLACE TEMP TABLE places AS SELECT * FROM (VALUES {', '.join(places)}) AS t({columns})")

    def scenes_of(self, first: float, last: float) -> list[Scene]:
        return [scene for scene in self.world.scenes if scene.has(first, last)]

    def scene(self, name: str) -> Scene:
        return self.world.scenes[int(name.removeprefix("scene"))]

    def some(self, things: list[Any], most: int) -> list[tuple[int, Any]]:
        return self.rng.sample(list(enumerate(things)), self.rng.randint(1, most))

    # -- points

    def some_points(self) -> dict[int, tuple[int, int]]:
        """Number → column and row of its pixel; they become the table ``places``."""
        chosen = self.some(self.world.points, 8)
        self.places("no, x, y", [f"({no}, {LEFT + x * PIXEL!r}::DOUBLE, {TOP - y * PIXEL!r}::DOUBLE)" for no, (x, y) in chosen])
        return {no: (int(x), int(y)) for no, (x, y) in chosen}

    def value(self, scene: Scene, band: str, place: tuple[int, int]) -> int | None:
        return held(scene.pixels[band][place[1], place[0] - scene.left])[0]

    def sample(self, options: str) -> None:
        points = self.some_points()
        columns = f"no, record_id, {', '.join(BANDS)}, status, error"
        sql = f"SELECT {columns} FROM rasteret.sample({self.collection}, places, {EVERY}, x := 'x', y := 'y', {IN_UTM}{options})"
        found = self.rows(sql)
        wanted = [(no, scene.id) for no, (x, _) in points.items() for scene in self.scenes_of(x, x + 1)]
        self.counts.expect_keys("sample", [row[:2] for row in found], wanted)
        for no, record, red, nir, status, error in found:
            truth = [self.value(self.scene(record), band, points[no]) for band in BANDS]
            self.counts.expect("sample", (no, record, red, nir, status, error), status, error, list(zip((red, nir), truth, strict=True)))

    def latest(self, options: str) -> None:
        """The newest record that has a value there; where all have nodata, that is said."""
        points = self.some_points()
        asked = f"bands := ['red'], match := 'latest', x := 'x', y := 'y', {IN_UTM}{options}"
        found = self.rows(f"SELECT no, record_id, red, status, error FROM rasteret.sample({self.collection}, places, {asked})")
        self.counts.expect_keys("latest", [row[0] for row in found], list(points))
        for row in found:
            no, record, red, status, error = row
            truths = {scene.id: self.value(scene, "red", points[no]) for scene in self.scenes_of(points[no][0], points[no][0] + 1)}
            newest = max((name for name, truth in truths.items() if truth is not None), default=None)
            self.counts.expect("latest", row, status, error, [(red, truths.get(newest or ""))])
            if status == "ok" and record != newest:
                self.counts.wrong.append(f"latest: {row}, newest {newest}")

    # -- boxes of whole pixels

    def some_boxes(self, most: int) -> dict[int, tuple[int, int, int, int]]:
        chosen = self.some(self.world.boxes, most)
        self.places("no, geometry", [f"({no}, '{wkt(box_ring(box))}')" for no, box in chosen])
        return dict(chosen)

    def inside(self, scene: Scene, band: str, box: tuple[int, int, int, int]) -> np.ndarray:
        x, y, width, height = box
        return scene.pixels[band][y : y + height, x - scene.left : x - scene.left + width]

    def meetings(self, boxes: dict[int, tuple[int, int, int, int]]) -> list[tuple[int, str]]:
        return [(no, scene.id) for no, box in boxes.items() for scene in self.scenes_of(box[0], box[0] + box[2])]

    def read(self, options: str) -> None:
        boxes = self.some_boxes(2)
        found = self.rows(
            f"SELECT no, record_id, status, error, {', '.join(BANDS)} FROM rasteret.read({self.collection}, places, {EVERY}, {IN_UTM}{options})"
        )
        self.counts.expect_keys("read", [row[:2] for row in found], self.meetings(boxes))
        for no, record, status, error, *lists in found:
            pairs: list[tuple[Any, Any]] = []
            for band, values in zip(BANDS, lists, strict=True):
                truth = held(self.inside(self.scene(record), band, boxes[no]))
                if values is not None and len(values) != len(truth):
                    self.counts.wrong.append(f"read: {no}, {record}, {band}: {len(values)} pixels of {len(truth)}")
                    continue
                pairs += zip([None] * len(truth) if values is None else values, truth, strict=True)
            self.counts.expect("read", (no, record, status, error), status, error, pairs)

    def pixels(self, options: str) -> None:
        boxes = self.some_boxes(1)
        where = "no, record_id, row, col"
        found = self.rows(
            f"SELECT {where}, red FROM rasteret.pixels({self.collection}, places, bands := ['red'], {IN_UTM}{options}) WHERE coverage > 0.5"
        )
        wanted: dict[Row, int | None] = {}
        for no, record in self.meetings(boxes):
            scene, (x, y, width, height) = self.scene(record), boxes[no]
            truth = held(self.inside(scene, "red", boxes[no]))
            wanted |= zip(((no, record, row, x - scene.left + col) for row, col in product(range(y, y + height), range(width))), truth, strict=True)
        self.compare_pixels(found, wanted, may_lack="null" in options)

    def compare_pixels(self, found: list[Row], wanted: dict[Row, int | None], *, may_lack: bool) -> None:
        """Rows are pixels that hold a value; under ``on_error := 'null'`` those that could not be read have none, and nothing says so."""
        got = {row[:4]: row[4] for row in found}
        wrong = [key for key, value in got.items() if value is None or value != wanted.get(key)]
        lost = [key for key, value in wanted.items() if value is not None and key not in got]
        self.counts.values += len(got)
        if may_lack:
            self.counts.pixels_left_out += len(lost)
            lost = []
        if wrong or lost or len(got) != len(found):
            self.counts.wrong.append(f"pixels: {len(wrong)} wrong, {len(lost)} lost, {len(found) - len(got)} twice; {wrong[:3]} {lost[:3]}")

    # -- polygons

    def zonal(self, options: str) -> None:
        chosen = dict(self.some(self.world.polygons, 3))
        self.places("no, geometry", [f"({no}, '{wkt(iter(shape.exterior.coords))}')" for no, shape in chosen.items()])
        columns = f"no, record_id, band, {', '.join(STATS)}, status, error"
        asked = f"{EVERY}, stats := {list(STATS)}, {IN_UTM}{options}"
        found = self.rows(f"SELECT {columns} FROM rasteret.zonal({self.collection}, places, {asked})")
        wanted = [key for key in self.world.statistics if key[0] in chosen]
        self.counts.expect_keys("zonal", [row[:3] for row in found], wanted)
        for row in found:
            truth = self.world.statistics.get(row[:3], ())
            if row[-2] == "nodata" and truth and truth[0] == 0:  # count and sum are 0 then, which is a value
                continue
            self.counts.expect("zonal", row, row[-2], row[-1], list(zip(row[3:-2], truth, strict=False)))

    def plan(self, _: str) -> None:
        """Reads nothing; the tiles are known by arithmetic."""
        boxes = self.some_boxes(3)
        found = self.rows(f"SELECT record_id, band, tiles FROM rasteret.plan({self.collection}, places, {EVERY}, {IN_UTM})")
        tiles: dict[str, set[tuple[int, int]]] = {}
        for no, record in self.meetings(boxes):
            x, y, width, height = boxes[no]
            x -= self.scene(record).left
            across, down = range(x // TILE, (x + width - 1) // TILE + 1), range(y // TILE, (y + height - 1) // TILE + 1)
            tiles.setdefault(record, set()).update(product(down, across))
        wanted = [(record, band, len(places)) for record, places in tiles.items() for band in BANDS]
        self.counts.expect_keys("plan", [row for row in found if row[0] != "total"], wanted)
        self.counts.values += len(wanted)


assert SIZE % TILE == 0
