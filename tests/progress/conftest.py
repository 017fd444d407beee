"""A collection of a few files at a server that takes its time, and tables of points and zones over them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

import rasteret_sql
from tests.collection.tiffs import EPSG, ORIGIN, PIXEL, write
from tests.servers.ranged import RangeServer

FILES, SIDE, BLOCK = 3, 512, 64


@dataclass
class Slow:
    """Where it all is."""

    workspace: Path
    server: RangeServer
    folder: Path

    def script(self, statement: str, **settings: object) -> str:
        """A program that connects, runs the statement and prints the number of its rows."""
        lines = [f"SET VARIABLE rasteret_{name} = {value!r}" for name, value in settings.items()]
        return f"""
import rasteret_sql
con = rasteret_sql.connect()
for line in {lines!r}:
    con.execute(line).fetchall()
for name in ("zones", "places"):
    con.execute(f"CREATE TABLE {{name}} AS FROM '{self.folder}/{{name}}.parquet'").fetchall()
print("rows", len(con.execute({statement!r}).fetchall()))
"""


@pytest.fixture(scope="session")
def slow(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slow")
    for number in range(FILES):
        write(folder / f"{number}.tif", width=SIDE, height=SIDE, blockxsize=BLOCK, blockysize=BLOCK, seed=number)
    with RangeServer(folder) as server, rasteret_sql.connect() as con:
        (folder / "files.csv").write_text("\n".join(["id,href", *(f"{n},{server.url(f'{n}.tif')}" for n in range(FILES))]))
        workspace = folder / "workspace"
        rasteret_sql.build_from_table(folder / "files.csv", name="c", href_column="href", workspace=workspace)
        step = SIDE * PIXEL / 8
        con.execute(f"""
            CREATE TABLE squares AS SELECT row_number() OVER () AS id, {ORIGIN[0]} + 2 * i * {step} + 5 AS x, {ORIGIN[1]} - j * {step} - 5 AS y
            FROM range(4) AS t(i), range(8) AS u(j)""").fetchall()
        zone = f"format('POLYGON(({{}} {{}}, {{}} {{}}, {{}} {{}}, {{}} {{}}))', x, y, x + {step} - 10, y, x + {step} - 10, y - {step} + 10, x, y)"
        con.execute(f"COPY (SELECT id, {zone} AS geometry FROM squares) TO '{folder}/zones.parquet'").fetchall()
        con.execute(
            f"COPY (SELECT id, format('POINT({{}} {{}})', x + 300, y - 300) AS geometry FROM squares) TO '{folder}/places.parquet'"
        ).fetchall()
        server.latency_s = 0.08  # every second tile is asked for, so that each takes a request of its own: 96 for all files
        yield Slow(workspace, server, folder)


CRS = f"geometry_crs := 'EPSG:{EPSG}'"
