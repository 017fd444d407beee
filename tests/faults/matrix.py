"""The matrix: what each operation makes of each fault. :func:`run` plays all cases, :func:`table` writes them down for docs/reliability.md."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import rasterio

import rasteret_sql
from tests.collection.tiffs import ORIGIN, PIXEL, write
from tests.servers.faulty import OK, Fault, FaultyServer, status

SECRET = "s3cr3t"
SIZE, TILE = 128, 64
DEADLINE_S = 8.0
SHORT_DEADLINE_S = 2.0
"""Of cases that only the deadline ends."""
UTM = "geometry_crs := 'EPSG:32633'"
SPOTS = ((3, 5), (100, 90))
"""Row and column of two pixels in tiles that are not neighbours: two requests."""
TILE_OPERATIONS = ("sample", "read", "pixels", "zonal", "merged range")
OPERATIONS = ("header", "build", *TILE_OPERATIONS)


def _no_range(code: int, body: bytes | None = None, **headers: str) -> Fault:
    return Fault(code, {"Content-Range": None, **{name.replace("_", "-"): value for name, value in headers.items()}}, body, whole=body is None)


@dataclass(frozen=True, slots=True)
class Case:
    """A fault: the first answers, and all that follow them."""

    first: tuple[Fault, ...] = ()
    then: Fault = OK
    operations: tuple[str, ...] = OPERATIONS
    most_attempts: int = 2
    """Of each range."""
    timeout_s: float = DEADLINE_S


def _passing(fault: Fault, name: str) -> dict[str, Case]:
    return {f"{name}, once": Case((fault,)), f"{name}, always": Case(then=fault, most_attempts=4)}


FAULTS: dict[str, Case] = {
    "503 with Retry-After: 0, once": Case((status(503, retry_after="0"),)),
    "429 with Retry-After: 1, once": Case((status(429, retry_after="1"),)),
    "429 with Retry-After: 3600": Case(then=status(429, retry_after="3600"), most_attempts=1),
    **_passing(status(503), "503"),
    **_passing(status(500), "500"),
    "403": Case(then=status(403), most_attempts=1),
    "404": Case(then=status(404), most_attempts=1),
    "416": Case(then=status(416), most_attempts=1),
    "range ignored (200, whole file)": Case(then=_no_range(200), most_attempts=1),
    "HTML page with 200": Case(then=_no_range(200, b"<html>log in</html>", Content_Type="text/html"), most_attempts=1),
    "wrong Content-Range": Case(then=Fault(headers={"Content-Range": "bytes 7-99/*"}), most_attempts=1),
    "206 without Content-Range": Case(then=Fault(headers={"Content-Range": None}), most_attempts=1),
    **_passing(Fault(body=b"short"), "short 206"),
    **_passing(Fault(answer=False, end="reset"), "reset before the answer"),
    **_passing(Fault(send=100, end="reset"), "reset in the body"),
    **_passing(Fault(send=100, end="close"), "cut off in the body"),
    "no answer": Case(then=Fault(answer=False, end="hang"), most_attempts=1, timeout_s=SHORT_DEADLINE_S),
    "stall in the body": Case(then=Fault(send=100, end="hang"), most_attempts=1, timeout_s=SHORT_DEADLINE_S),
    "slow drip that ends in time": Case(then=Fault(drip=(8000, 0.05)), most_attempts=1),
    "slow drip past the deadline": Case(then=Fault(drip=(50, 0.3)), most_attempts=1, timeout_s=SHORT_DEADLINE_S),
    "bit flips in the header": Case(then=Fault(flip=5), operations=("header", "build"), most_attempts=2),
    "bit flip in a deflate tile": Case((Fault(flip=1234), Fault(flip=1234)), Fault(flip=1234), TILE_OPERATIONS, 1),
    "file replaced after indexing (other ETag)": Case(then=Fault(headers={"ETag": '"v2"'}), operations=TILE_OPERATIONS, most_attempts=1),
    "file replaced between two ranges": Case(
        (OK,), Fault(headers={"ETag": '"v2"'}), operations=("sample", "read", "pixels", "zonal"), most_attempts=1
    ),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one operation under one fault."""

    error: str | None
    """The first line of the error; None: a result came."""
    right: bool
    """The result equals rasterio's."""
    attempts: int
    seconds: float

    @property
    def word(self) -> str:
        return "error" if self.error else "right" if self.right else "WRONG"


class World:
    """A connection, a faulty server, and the pixels as rasterio reads them."""

    def __init__(self, folder: Path, server: FaultyServer) -> None:
        self.server = server
        self.folder = folder
        with rasterio.open(folder / "a.tif") as source:
            self.pixels = source.read(1)
        self.con = rasteret_sql.connect()

    def play(self, number: int, operation: str, case: Case) -> Outcome:
        """One case on a connection and a path of its own."""
        path = f"/{number}.tif"
        href = self.server.script(path) + f"?sig={SECRET}"
        with self.con.cursor() as con:
            for name, value in (("workspace", f"'{self.folder}'"), ("timeout_s", case.timeout_s)):
                con.execute(f"SET VARIABLE rasteret_{name} = {value}").fetchall()
            if operation in TILE_OPERATIONS:
                self._build(con, number, href)
            before = self.server.attempts(path)
            self.server.script(path, *case.first, forever=case.then)
            began = time.monotonic()
            error, right = None, False
            try:
                right = self._do(con, operation, number, href)
            except duckdb.Error as failed:
                error = str(failed)
            seconds = time.monotonic() - began
        return Outcome(error, right, self.server.attempts(path) - before, seconds)

    def _build(self, con: duckdb.DuckDBPyConnection, number: int, href: str) -> int:
        con.execute(f"CREATE TEMP TABLE t{number} AS SELECT 'a' AS id, '{href}' AS href").fetchall()
        sql = f"SELECT records FROM rasteret.build_from_table('t{number}', name := 'c{number}', href_column := 'href', band_index_map := {{'b': 0}})"
        return int(con.execute(sql).fetchall()[0][0])

    def _do(self, con: duckdb.DuckDBPyConnection, operation: str, number: int, href: str) -> bool:
        """Is the result right?"""
        if operation == "header":
            return con.execute(f"SELECT dtype FROM rasteret.bands('{href}')").fetchall() == [("uint16",)]
        if operation == "build":
            return self._build(con, number, href) == 1
        spots = [(0, 0, SIZE)] if operation == "merged range" else [(row, col, 1) for row, col in SPOTS]
        con.register(f"__g{number}", pa.table({"no": np.arange(len(spots)), **_places(spots)}))
        con.execute(f"CREATE TEMP TABLE g{number} AS FROM __g{number}").fetchall()
        wanted = [self.pixels[row : row + side, col : col + side].ravel().tolist() for row, col, side in spots]
        return _READS[operation](con, f"c{number}, g{number}", wanted)


def _places(spots: list[tuple[int, int, int]]) -> dict[str, Any]:
    boxes = [(ORIGIN[0] + col * PIXEL, ORIGIN[1] - row * PIXEL, side * PIXEL) for row, col, side in spots]
    return {
        "geometry": [f"POLYGON(({x} {y},{x + s} {y},{x + s} {y - s},{x} {y - s},{x} {y}))" for x, y, s in boxes],
        "x": [x + s / 2 for x, _, s in boxes],
        "y": [y - s / 2 for _, y, s in boxes],
    }


Pixels = list[list[int]]


def _sample(con: duckdb.DuckDBPyConnection, tables: str, wanted: Pixels) -> bool:
    found = con.execute(f"SELECT b FROM rasteret.sample({tables}, x := 'x', y := 'y', {UTM}) ORDER BY no").fetchall()
    return [list(row) for row in found] == wanted


def _read(con: duckdb.DuckDBPyConnection, tables: str, wanted: Pixels) -> bool:
    return [row[0] for row in con.execute(f"SELECT b FROM rasteret.read({tables}, {UTM}) ORDER BY no").fetchall()] == wanted


def _pixels(con: duckdb.DuckDBPyConnection, tables: str, wanted: Pixels) -> bool:
    found = con.execute(f"SELECT no, b FROM rasteret.pixels({tables}, {UTM}) WHERE coverage > 0.5 ORDER BY no").fetchall()
    return [[value] for _, value in found] == wanted


def _zonal(con: duckdb.DuckDBPyConnection, tables: str, wanted: Pixels) -> bool:
    found = con.execute(f"SELECT max FROM rasteret.zonal({tables}, {UTM}, stats := ['max']) ORDER BY no").fetchall()
    return [list(row) for row in found] == wanted


_READS: dict[str, Callable[[duckdb.DuckDBPyConnection, str, Pixels], bool]] = {
    "sample": _sample,
    "read": _read,
    "pixels": _pixels,
    "zonal": _zonal,
    "merged range": _read,
}


@contextmanager
def world(folder: Path) -> Iterator[World]:
    data = write(folder / "a.tif", width=SIZE, height=SIZE, blockxsize=TILE, blockysize=TILE).read_bytes()
    with FaultyServer(data) as server:
        made = World(folder, server)
        with made.con:
            yield made


def run(folder: Path) -> dict[tuple[str, str], Outcome]:
    """All cases, many at once; (fault, operation) → outcome."""
    cases = [(fault, operation) for fault, case in FAULTS.items() for operation in case.operations]
    with world(folder) as made, ThreadPoolExecutor(16) as pool:
        playing = [pool.submit(made.play, number, operation, FAULTS[fault]) for number, (fault, operation) in enumerate(cases)]
        return dict(zip(cases, [future.result() for future in playing], strict=True))


_DIFFERING = {
    r" \(bytes \d+-\d+\).*": "",
    r"(?<=segment of )[\d,]+ bytes.*": "… bytes",
    r"[\d,]+ of [\d,]+ bytes": "… of … bytes",
    r"file has [\d,]+ bytes": "file has … bytes",
    r"in [\d.]+ s,": "in … s,",
}


def reason(error: str) -> str:
    """What an error says, without its place and without the numbers that differ between runs."""
    line = error.splitlines()[0]
    said = line.split(".tif: ", 1)[-1]
    for pattern, instead in _DIFFERING.items():
        said = re.sub(pattern, instead, said)
    return said


def table(outcomes: dict[tuple[str, str], Outcome]) -> str:
    """Markdown: a row per fault, a column per operation; what the error of the last operation says."""
    lines = [f"| fault | {' | '.join(OPERATIONS)} | the error says |", f"|---|{'---|' * len(OPERATIONS)}---|"]
    for fault in FAULTS:
        cells = [outcomes.get((fault, operation)) for operation in OPERATIONS]
        errors = [cell.error for cell in cells if cell is not None and cell.error]
        words = ["–" if cell is None else cell.word for cell in cells]
        lines.append(f"| {fault} | {' | '.join(words)} | {reason(errors[-1]) if errors else ''} |")
    return "\n".join(lines) + "\n"
