"""``rasteret-sql demo``: the main job on real imagery, with everything it does in view.

The sample scenes are served by a web server inside this process; all that follows is plain SQL.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import duckdb

from rasteret_sql.errors import RasteretError
from rasteret_sql.sample import PLOTS, POINTS, data_dir, records
from rasteret_sql.sample.server import SampleServer
from rasteret_sql.sql.extension import connect
from rasteret_sql.sql.quote import text


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of the demo and what it shows."""

    title: str
    statement: str


STEPS = (
    Step(
        "1. Index the headers of six Landsat-8 files, once. One request a file, no pixel is read.",
        """\
SELECT collection, records, bands, epsg, failed, requests, bytes
FROM rasteret_build_from_table(scenes, name := 'demo');""",
    ),
    Step(
        "2. What the index knows.",
        """\
SELECT band, dtype, resolution, epsg, tile_width, compression, overviews, records
FROM rasteret_bands(demo);""",
    ),
    Step(
        "3. Labelled points joined with every scene that holds them: one value per point, scene and band.",
        """\
SELECT id, label, record_id, B2, B3, B4, status
FROM rasteret_sample(demo, points, bands := ['B2', 'B3', 'B4'])
ORDER BY id, record_id;""",
    ),
    Step("4. What would reading the plots cost? Nothing is read.", "FROM rasteret_plan(demo, plots, bands := ['B3', 'B4']);"),
    Step(
        "5. Pixels under plots, aggregated in SQL: green and red numbers by land cover.",
        """\
SELECT label, count(DISTINCT id) AS plots, sum(len(list_filter(B4, lambda v: v IS NOT NULL))) AS pixels,
       round(avg(list_avg(B3))) AS green, round(avg(list_avg(B4))) AS red
FROM rasteret_read(demo, plots, bands := ['B3', 'B4'])
GROUP BY label ORDER BY red;""",
    ),
    Step(
        "6. What the reads did. Neighbouring queries share tiles: a cache hit is a tile not fetched again.",
        "SELECT function, requests, bytes, cache_hits, tiles_decoded FROM rasteret_io(last := 3);",
    ),
)


def run_demo(out: TextIO, keep: str | None = None) -> None:
    """Run every step, printing its SQL, its result, and in the end what it cost."""
    started = time.monotonic()
    with ExitStack() as stack:
        workspace = keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="rasteret-demo-"))
        server = stack.enter_context(SampleServer(data_dir()))
        con = stack.enter_context(connect())
        con.execute(f"SET VARIABLE rasteret_workspace = {text(str(Path(workspace).resolve()))}").fetchall()
        scenes = records(server.url)
        con.register("scenes", scenes)
        for name, file in (("points", POINTS), ("plots", PLOTS)):
            con.execute(f"CREATE TEMP TABLE {name} AS FROM read_parquet({text(str(data_dir() / file))})").fetchall()
        out.write(
            f"Six real Landsat-8 files (two overlapping scenes of 2020-05-18, three bands) are served at {server.url}\n"
            "by a web server in this process, as object storage would serve them. Everything below is SQL in DuckDB "
            f"{duckdb.__version__}.\n"
        )
        for step in STEPS:
            _run(con, out, step)
        counted = (server.requests, server.bytes_sent)
        if keep:  # the server ends with this process: what is kept reads the files themselves
            con.register("scenes", records(str(data_dir())))
            con.execute("FROM rasteret_build_from_table(scenes, name := 'demo')").fetchall()
        whole = sum(file.stat().st_size for file in (data_dir() / "landsat").iterdir())
        out.write(
            f"\nIn all {counted[0]} requests and {counted[1]:,} bytes in {time.monotonic() - started:.1f} s; the whole files are {whole:,} bytes.\n"
        )
        out.write(_next_steps(workspace if keep else None))


def _run(con: duckdb.DuckDBPyConnection, out: TextIO, step: Step) -> None:
    out.write(f"\n── {step.title}\n\n{step.statement}\n\n")
    try:
        relation = con.sql(step.statement.rstrip(";"))
        out.write(str(relation) + "\n")
    except duckdb.Error as error:
        raise RasteretError(str(error).splitlines()[0]) from None
    out.flush()


def _next_steps(workspace: str | None) -> str:
    lines = [
        "",
        "What to type next, with a GeoTIFF of yours (a path, a URL, a glob, s3://bucket/key):",
        "",
        "    python",
        "    >>> import rasteret_sql",
        "    >>> con = rasteret_sql.connect()",
        '    >>> con.sql("FROM rasteret_functions()")                              # every function, with a line of help',
        "    >>> con.sql(\"FROM rasteret_bands('scene.tif')\")                       # any GeoTIFF is a collection",
        "    >>> con.sql(\"SELECT rasteret_value('scene.tif', 'POINT(-54.6 -25.4)', 'b1')\")",
    ]
    if workspace:
        kept = text(str(Path(workspace).resolve()))
        lines += [f"    >>> con.sql({f'SET VARIABLE rasteret_workspace = {kept}'!r})", '    >>> con.sql("FROM rasteret_collection(demo)")']
    return "\n".join(lines) + "\n"
