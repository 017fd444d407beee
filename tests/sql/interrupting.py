"""A process that is interrupted: ``python -m tests.sql.interrupting FOLDER sigint|interrupt THREADS`` tells what came of it, one JSON line per function."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

import rasteret_sql
from rasteret_sql.storage import loop
from tests.collection.tiffs import ORIGIN, PIXEL, records, write
from tests.servers.faulty import OK, Fault, FaultyServer

UTM = "geometry_crs := 'EPSG:32633'"
PLACES = pa.table(
    {
        "geometry": [f"POLYGON(({ORIGIN[0]} {ORIGIN[1]}, {ORIGIN[0] + 205} {ORIGIN[1]}, {ORIGIN[0]} {ORIGIN[1] - 205}, {ORIGIN[0]} {ORIGIN[1]}))"],
        "x": [ORIGIN[0] + 2.5 * PIXEL],
        "y": [ORIGIN[1] - 1.5 * PIXEL],
    }
)
"""A triangle, and the centre of the pixel in row 1, column 2."""
BUILD = "SELECT records FROM rasteret.build_from_table('scenes', name := '{}', href_column := 'href', band_index_map := {{'b': 0}}, force := true)"
STATEMENTS = {
    "sample": f"SELECT b FROM rasteret.sample(c, places, x := 'x', y := 'y', {UTM})",
    "read": f"SELECT b FROM rasteret.read(c, places, {UTM})",
    "zonal": f"SELECT mean FROM rasteret.zonal(c, places, {UTM}, stats := ['mean'])",
    "pixels": f"SELECT sum(b) FROM rasteret.pixels(c, places, {UTM})",
    "build": BUILD.format("again"),
}
Ask = Callable[[duckdb.DuckDBPyConnection, str], Any]
STALL = Fault(send=10, end="hang")


def prepared(url: str) -> duckdb.DuckDBPyConnection:
    """A connection with the collection ``c`` of one file at ``url``, in the environment's workspace (cursors have no variables of their parent)."""
    con = rasteret_sql.connect()
    con.register("__scenes", records({"a": url}))
    con.execute("CREATE TABLE scenes AS FROM __scenes").fetchall()
    con.register("__places", PLACES)
    con.execute("CREATE TABLE places AS FROM __places").fetchall()
    con.execute(BUILD.format("c")).fetchall()
    return con


def interrupted(con: duckdb.DuckDBPyConnection, server: FaultyServer, sql: str, kind: str, ask: Ask) -> dict[str, Any]:
    """Stop ``sql`` while the server stalls; what was seen, times in seconds after the interruption."""
    server.script("/a.tif", forever=STALL)
    asked, idle = len(server.requests), max(server.open_connections - 1, 0)
    at: list[float] = []

    def interrupt() -> None:
        end = time.monotonic() + 5
        while len(server.requests) == asked and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.2)
        at.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT) if kind == "sigint" else con.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    seen: dict[str, Any] = {"error": None}
    try:
        ask(con, sql).fetchall()
    except (duckdb.Error, RuntimeError, KeyboardInterrupt) as error:
        seen["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
    back = time.monotonic()
    thread.join()
    seen["back_s"] = back - at[0]
    seen["next"] = ask(con, "SELECT 42").fetchall()[0][0]
    seen["next_s"] = time.monotonic() - at[0]
    seen["connections"] = server.connections_after(idle, 2) - idle
    seen["tasks"] = loop.run(_tasks())
    server.script("/a.tif", forever=OK)
    other = con.cursor()
    seen["other"] = str(other.execute(sql).fetchall()[0][0])
    seen["same"] = str(ask(con, sql).fetchall()[0][0])
    seen["threads"] = sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("rasteret-") and "decode" not in thread.name)
    return seen


async def _tasks() -> int:
    """Of our loop, but this one."""
    return len(asyncio.all_tasks()) - 1


def main() -> None:
    os.environ |= {"RASTERET_WORKSPACE": sys.argv[1], "RASTERET_CACHE_BYTES": "0"}
    folder, kind, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    data = write(folder / "a.tif").read_bytes()
    with FaultyServer(data) as server:
        con = prepared(server.script("/a.tif"))
        con.execute(f"SET threads = {threads}").fetchall()
        for name, sql in STATEMENTS.items():
            for by in ("execute", "sql"):
                ask = getattr(duckdb.DuckDBPyConnection, by)
                print(json.dumps({"function": name, "by": by, **interrupted(con, server, sql, kind, ask)}), flush=True)
        con.close()


if __name__ == "__main__":
    main()
