"""Mixed queries, for minutes, against a server that fails 5 % of its requests at random.

    python -m benchmarks.soak --plot docs/images/soak.svg        # ten minutes; writes benchmarks/results/soak.json
    python -m benchmarks.soak --minutes 1 --rate 0.2 --out other.json

Workers sample points, read boxes, list pixels, reduce polygons and plan, on connections of their own and on cursors of a shared one; one builds
collections again and again from growing tables. Every value is held against what rasterio and exactextract say of the same files
(:mod:`benchmarks.soak_world`, :mod:`benchmarks.soak_queries`). Caches are small, so that most tiles are fetched again. Memory, threads, sockets and
tasks of this process are counted every second; the server is a process of its own (:mod:`benchmarks.failing`).

Ends with code 1 where a value is wrong, a NULL or an error has no reason, a query hangs, or something grows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import duckdb
import numpy as np

import rasteret_sql
from benchmarks.failing import KINDS
from benchmarks.serving import serving
from benchmarks.soak_queries import Counts, Questions
from benchmarks.soak_world import BANDS, World, make_world

HERE = Path(__file__).parent
WORKERS = 6
DEADLINE_S = 60.0
"""Of a statement's reading (``rasteret_timeout_s``)."""
HANG_S = DEADLINE_S + 30
SETTINGS = {"cache_bytes": 1 << 20, "timeout_s": DEADLINE_S}
WARM_UP = 0.4
"""Part of the time that is not looked at for growth: seven threads fill their allocators' arenas, and DuckDB its own, for four minutes."""
MOST_GROWTH = 0.05
"""Of each series in ten minutes, by a straight line through what comes after the warm-up, less two of its standard errors: a short run of a restless
series says little. Or so many pieces, where that is more:
"""
BLOCK_S = 20.0
PIECES = {"rss_mb": 0.0, "threads": 2.0, "sockets": 4.0, "tasks": 4.0}


@dataclass
class Watch:
    """What this process has, every second."""

    seconds: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    sockets: list[int] = field(default_factory=list)
    tasks: list[int] = field(default_factory=list)

    def look(self, began: float) -> None:
        self.seconds.append(round(time.monotonic() - began, 2))
        self.rss_mb.append(round(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6, 2))
        self.threads.append(sum(1 for _ in Path("/proc/self/task").iterdir()))
        self.sockets.append(sum(linked(place).startswith("socket:") for place in Path("/proc/self/fd").iterdir()))
        self.tasks.append(sum(len(asyncio.all_tasks(thread.loop)) for thread in threading.enumerate() if thread.name == "rasteret-io"))

    def growth(self, name: str) -> dict[str, float]:
        """A straight line through the means over :data:`BLOCK_S`, after the warm-up: its gain in ten minutes, and the standard error of that."""
        seconds, values = np.array(self.seconds), np.array(getattr(self, name), float)
        late = seconds >= WARM_UP * seconds[-1]
        mean = float(values[late].mean())
        slope, error = line(*blocks(seconds[late], values[late]))
        return {
            "mean": round(mean, 2),
            "most": float(values.max()),
            "gain_10_min": round(600 * slope, 3),
            "error_10_min": round(600 * error, 3),
            "growth": round(600 * slope / mean, 4) if mean else 0.0,
        }


def blocks(seconds: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over :data:`BLOCK_S`: what is counted at one second says much of the next one, and would count as a witness of its own."""
    block = (seconds // BLOCK_S).astype(int)
    counts = np.bincount(block - block.min())
    there = counts > counts.max() / 2  # the last second, when all stops, is no block
    means = [np.bincount(block - block.min(), part)[there] / counts[there] for part in (seconds, values)]
    return means[0], means[1]


def line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope of the straight line of least squares, and its standard error; 0 and infinity where there are too few places."""
    if len(x) < 4:
        return 0.0, math.inf
    apart = x - x.mean()
    slope = float(apart @ y / (apart @ apart))
    left = y - y.mean() - slope * apart
    return slope, math.sqrt(float(left @ left) / (len(x) - 2) / float(apart @ apart))


def linked(place: Path) -> str:
    try:
        return str(place.readlink())
    except OSError:  # closed meanwhile
        return ""


@dataclass
class Soak:
    """One run: what its threads share."""

    folder: Path
    url: str
    world: World
    seed: int
    minutes: float
    until: float = 0.0
    counts: list[Counts] = field(default_factory=list)
    builds: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    """What ended a worker: none should."""
    busy: dict[str, float] = field(default_factory=dict)
    """Worker → since when its statement runs."""
    hangs: list[str] = field(default_factory=list)

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        """Settings of a cursor. DuckDB's own cache of Parquet files keeps each version of an index that builds write, up to its memory limit: off."""
        con.execute("SET enable_external_file_cache = false").fetchall()
        for name, value in {"workspace": f"'{self.folder / 'workspace'}'", **SETTINGS}.items():
            con.execute(f"SET VARIABLE rasteret_{name} = {value}").fetchall()

    def build(self, con: duckdb.DuckDBPyConnection, name: str, scenes: int) -> tuple[int, int]:
        """Records and failed files of a build of the first so many scenes."""
        rows = ", ".join(
            f"('{scene.id}', TIMESTAMP '2024-01-{number + 1:02} 00:00:00', {', '.join(repr(f'{self.url}/{scene.files[band]}') for band in BANDS)})"
            for number, scene in enumerate(self.world.scenes[:scenes])
        )
        con.execute(f"CREATE OR REPLACE TEMP TABLE t_{name} AS SELECT * FROM (VALUES {rows}) AS t(id, datetime, {', '.join(BANDS)})").fetchall()
        assets = ", ".join(f"'{band}': {{'href': {band}}}" for band in BANDS)
        con.execute(f"CREATE OR REPLACE TEMP TABLE s_{name} AS SELECT id, datetime, {{{assets}}} AS assets FROM t_{name}").fetchall()
        sql = f"SELECT records, failed FROM rasteret.build_from_table('s_{name}', name := '{name}')"
        return con.execute(sql).fetchall()[0]

    def build_all(self, con: duckdb.DuckDBPyConnection, name: str) -> None:
        """Again until every file's header is in."""
        for _ in range(50):
            records, failed = self.build(con, name, len(self.world.scenes))
            if records == len(self.world.scenes) and not failed:
                return
        msg = f"after 50 builds {failed} files are still not in the collection"
        raise RuntimeError(msg)

    def work(self, number: int, con: duckdb.DuckDBPyConnection) -> None:
        counts = Counts()
        self.counts.append(counts)
        with con.cursor() as own:
            self.prepare(own)
            questions = Questions(own, self.world, "soak", self.seed * 100 + number, counts)
            while time.monotonic() < self.until:
                with self.timed(f"worker {number}", counts):
                    questions.ask()

    def keep_building(self, con: duckdb.DuckDBPyConnection) -> None:
        """A collection of its own, from one scene to all, then a new one; each must have what the table has, but for what it says has failed."""
        counts = Counts()
        self.counts.append(counts)
        with con.cursor() as own:
            self.prepare(own)
            turn = 0
            while time.monotonic() < self.until:
                name, scenes = f"grow{turn // len(self.world.scenes) % 3}", turn % len(self.world.scenes) + 1
                turn += 1
                with self.timed("builder", counts):
                    self.check_build(own, name, scenes, counts)

    def check_build(self, con: duckdb.DuckDBPyConnection, name: str, scenes: int, counts: Counts) -> None:
        counts.queries["build"] += 1
        _, failed = self.build(con, name, scenes)
        told = con.execute(f"SELECT id, band, error FROM rasteret.failures({name})").fetchall()
        self.builds["files that failed"] += failed
        if any(".tif: " not in error for _, _, error in told):
            counts.unclean.append(f"build: {told}")
        missing = {(record, band) for record, band, _ in told}
        columns = ", ".join(f"{band}_metadata.image_width" for band in BANDS)
        there = {row[0]: row[1:] for row in con.execute(f"SELECT id, {columns} FROM rasteret.collection({name})").fetchall()}
        for scene in self.world.scenes[:scenes]:
            for band, width in zip(BANDS, there.get(scene.id, (None,) * len(BANDS)), strict=True):
                counts.values += 1
                if width != (None if (scene.id, band) in missing else scene.pixels[band].shape[1]):
                    counts.wrong.append(f"build: {scene.id} {band} has width {width}; failures: {sorted(missing)}")

    @contextmanager
    def timed(self, who: str, counts: Counts) -> Iterator[None]:
        self.busy[who] = time.monotonic()
        try:
            yield
        finally:
            counts.slowest = max(counts.slowest, time.monotonic() - self.busy.pop(who))

    def guarded(self, action: Callable[..., None], *args: Any) -> None:
        try:
            action(*args)
        except BaseException as error:
            self.broken.append(f"{type(error).__name__}: {error}"[:1000])
            raise

    def run(self) -> Watch:
        """Until the time is up and all statements have ended, or hang."""
        shared = rasteret_sql.connect()
        apart = [rasteret_sql.connect() for _ in range(WORKERS // 2)]
        with shared.cursor() as con:
            self.prepare(con)
            self.build_all(con, "soak")
        cons = [apart[number // 2] if number % 2 else shared for number in range(WORKERS)]
        threads = [threading.Thread(target=self.guarded, args=(self.work, number, con), daemon=True) for number, con in enumerate(cons)]
        threads.append(threading.Thread(target=self.guarded, args=(self.keep_building, shared), daemon=True))
        self.until = time.monotonic() + 60 * self.minutes
        for thread in threads:
            thread.start()
        watch, began = Watch(), time.monotonic()
        while any(thread.is_alive() for thread in threads):
            time.sleep(1.0)
            watch.look(began)
            now = time.monotonic()
            self.hangs += [f"{who}: {now - since:.0f} s" for who, since in list(self.busy.items()) if now - since > HANG_S]
            if self.hangs:
                return watch
        for con in (shared, *apart):
            con.close()
        return watch


def soak(minutes: float, rate: float, seed: int, without: list[str]) -> dict[str, Any]:
    """One run; the summary, with the series."""
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        world = make_world(folder, seed)
        with serving("failing", folder, "--rate", rate, "--seed", seed, "--without", *without) as url:
            run = Soak(folder, url, world, seed, minutes)
            watch = run.run()
            with urlopen(f"{url}/__stats__", timeout=10) as answer:
                served = json.load(answer)
    return summary(run, watch, served, minutes, rate)


def summary(run: Soak, watch: Watch, served: dict[str, Any], minutes: float, rate: float) -> dict[str, Any]:
    every = run.counts
    return {
        "meta": {
            "minutes": minutes,
            "rate": rate,
            "seed": run.seed,
            "workers": WORKERS + 1,
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "duckdb": duckdb.__version__,
        },
        "server": {"requests": served["requests"], "failed": sum(served["failed"].values()), "by_kind": served["failed"]},
        "queries": dict(sorted(sum((counts.queries for counts in every), Counter[str]()).items())),
        "values_compared": sum(counts.values for counts in every),
        "wrong": [one for counts in every for one in counts.wrong][:20],
        "unexplained_nulls": [one for counts in every for one in counts.nulls][:20],
        "unclean_errors": [one for counts in every for one in counts.unclean][:20],
        "hangs": run.hangs[:20],
        "broken_workers": run.broken,
        "rows_with_error": sum(counts.rows_with_error for counts in every),
        "pixels_left_out": sum(counts.pixels_left_out for counts in every),
        "statements_with_error": dict(sorted(sum((counts.statements_with_error for counts in every), Counter[str]()).items())),
        "builds": dict(run.builds),
        "slowest_s": round(max(counts.slowest for counts in every), 2),
        "growth": {name: watch.growth(name) for name in PIECES},
        "series": {name: getattr(watch, name) for name in ("seconds", *PIECES)},
    }


BAD = ("wrong", "unexplained_nulls", "unclean_errors", "hangs", "broken_workers")


def complaints(found: dict[str, Any], *, growth: bool = True) -> list[str]:
    """Why this run was not good; empty where it was. Growth says something of runs of minutes only."""
    said = [f"{name.replace('_', ' ')}: {found[name][0]}" for name in BAD if found[name]]
    for name, pieces in PIECES.items():
        gain, error, mean = (found["growth"][name][key] for key in ("gain_10_min", "error_10_min", "mean"))
        if growth and gain - 2 * error > max(MOST_GROWTH * mean, pieces):
            said.append(f"{name} grows by {gain} (standard error {error}) in ten minutes, from {mean} on average")
    return said


def shown(found: dict[str, Any]) -> str:
    """The summary as text."""
    server, growth = found["server"], found["growth"]
    asked = f"{sum(found['queries'].values()):,} statements {found['queries']}"
    lines = [
        f"{found['meta']['minutes']:g} minutes: {asked}, {found['values_compared']:,} values compared",
        f"server: {server['requests']:,} requests, {server['failed']:,} failed {server['by_kind']}",
        ", ".join(f"{name.replace('_', ' ')} {len(found[name])}" for name in BAD),
        f"errors that were told: {found['rows_with_error']:,} rows, statements {found['statements_with_error']}; {found['builds']}",
        f"pixels left out: {found['pixels_left_out']:,}",
        f"slowest statement {found['slowest_s']} s",
        *(f"{name}: mean {each['mean']}, most {each['most']}, {each['gain_10_min']:+} in ten minutes" for name, each in growth.items()),
    ]
    return "\n".join(lines)


def draw(found: dict[str, Any], out: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    mpl.rcParams.update({"svg.hashsalt": "benchmarks", "font.size": 9, "font.family": "DejaVu Sans"})
    series = found["series"]
    figure, axes = plt.subplots(2, 1, figsize=(8, 3.6), sharex=True, height_ratios=(3, 2))
    minutes = np.array(series["seconds"]) / 60
    axes[0].plot(minutes, series["rss_mb"], color="#1b6e53", linewidth=1)
    axes[0].set_ylim(0, 1.15 * max(series["rss_mb"]))
    axes[0].set_ylabel("memory, MB")
    for name, colour in (("threads", "#1b6e53"), ("sockets", "#c9772b"), ("tasks", "#a9b4c0")):
        axes[1].plot(minutes, series[name], color=colour, linewidth=1, label=name)
    axes[1].set_ylim(bottom=0)
    axes[1].set_xlabel("minutes")
    axes[1].legend(loc="upper right", frameon=False, fontsize=8, ncols=3)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0)
    about = (
        f"{sum(found['queries'].values()):,} statements, {found['values_compared']:,} values compared, {found['server']['failed']:,} failed requests"
    )
    axes[0].set_title(about, loc="left", fontsize=10, fontweight="bold")
    figure.tight_layout()
    figure.savefig(out, dpi=150, metadata={"Date": None} if out.suffix == ".svg" else None)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=0.05, help="part of the requests that fail (default 0.05)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without", nargs="*", choices=KINDS, default=[], help="ways the server does not fail in")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "soak.json")
    parser.add_argument("--plot", type=Path, help="picture of memory, threads, sockets and tasks: .svg or .png; needs matplotlib")
    args = parser.parse_args(argv)
    found = soak(args.minutes, args.rate, args.seed, args.without)
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    if args.plot:
        draw(found, args.plot)
    print(shown(found))
    said = complaints(found)
    print("\n".join(said) or "good")
    sys.exit(bool(said))


if __name__ == "__main__":
    main()
