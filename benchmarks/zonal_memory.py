"""Peak memory of ``rasteret_zonal``: 10,000 polygons × 30 records, and one polygon as large as a scene × 30 records; one band, local files.

    python -m benchmarks.zonal_memory                            # benchmarks/data; fails where a case is over 1 GB
    python -m benchmarks.zonal_memory --archive FOLDER --polygons 1000 --records 12 --out memory.json

Records are the archive's scenes, again under other ids and dates where there are more. Every case is a process of its own; its peak is that of the
whole process, interpreter and imports included (about 200 MB).
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
STATS = {"sums": ["mean", "count"], "quantiles": ["median", "quantile(0.9)"]}
BAND = "B04"


def write_inputs(archive: Path, out: Path, polygons: int, records: int) -> None:
    """``records.parquet``, ``many.parquet`` (fields all over the first scene) and ``scene.parquet`` (its outline)."""
    from benchmarks.archive import Grid
    from benchmarks.places import write_zones

    facts = json.loads((archive / "archive.json").read_text())
    given = pq.read_table(archive / "index.parquet")
    rows = np.arange(records) % len(given)
    scenes = given.take(rows)
    ids = [f"{name}_{number}" for number, name in enumerate(scenes["id"].to_pylist())]
    dates = [date + dt.timedelta(days=365 * (number // len(given))) for number, date in enumerate(scenes["datetime"].to_pylist())]
    assets = pa.array([{BAND: {"href": str(archive / path)}} for path in scenes[BAND].to_pylist()])
    kept = scenes.select(["geometry", "bbox", "proj:epsg"])
    columns = {"id": pa.array(ids), "datetime": pa.array(dates, pa.timestamp("us"))} | {name: kept[name] for name in kept.column_names}
    pq.write_table(pa.table({**columns, "assets": assets}), out / "records.parquet")
    write_zones(out, Grid(**facts["grids"][0]), polygons, facts["seed"])
    (out / "zones_shuffled.parquet").rename(out / "many.parquet")
    pq.write_table(pa.table({"field_id": [0], "geometry": given["geometry"].slice(0, 1)}), out / "scene.parquet")


def one_case(work: Path, zones: str, stats: str, per: str) -> dict[str, object]:
    import rasteret_sql

    con = rasteret_sql.connect()
    con.execute("SET VARIABLE rasteret_workspace = ?", [str(work / "collections")])
    if not (work / "collections").exists():
        con.execute("CREATE TABLE records AS FROM read_parquet(?)", [str(work / "records.parquet")])
        con.execute("FROM rasteret_build_from_table(records, name := 'memory')").fetchall()
    con.execute("CREATE TABLE zones AS SELECT field_id, geometry FROM read_parquet(?)", [str(work / f"{zones}.parquet")])
    listed = ", ".join(f"'{name}'" for name in STATS[stats])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    zonal = f"rasteret_zonal('memory', zones, bands := ['{BAND}'], stats := [{listed}], pixels := 'fractional', per := '{per}')"
    rows, known = con.execute(f'SELECT count(*), count("{STATS[stats][0]}") FROM {zonal}').fetchall()[0]
    wall = time.perf_counter() - began
    con.close()
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"rows": rows, "known": known, "wall_s": wall, "before_bytes": before * unit, "peak_bytes": peak * unit}


def child(python: str, words: list[str]) -> dict[str, object]:
    """This module again in a process of its own, from a small one: on Linux a child's peak begins at its parent's."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
    code = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:], check=False).returncode)"
    command = [python, "-c", code, python, "-m", "benchmarks.zonal_memory", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:300]}
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.zonal_memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--archive", type=Path, default=HERE / "data")
    parser.add_argument("--polygons", type=int, default=10_000)
    parser.add_argument("--records", type=int, default=30)
    parser.add_argument("--limit-mb", type=float, default=1000.0, help="fail where a case's peak is over this (default 1000)")
    parser.add_argument("--python", default=sys.executable, help="interpreter with rasteret_sql (default: this one)")
    parser.add_argument("--out", type=Path, help="write the measurements into this JSON file")
    parser.add_argument("--case", nargs=4, metavar=("WORK", "ZONES", "STATS", "PER"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.case:
        print(json.dumps(one_case(Path(args.case[0]), *args.case[1:])))
        return
    results, over = [], []
    with tempfile.TemporaryDirectory(prefix="zonal-memory-") as folder:
        write_inputs(args.archive.resolve(), Path(folder), args.polygons, args.records)
        child(args.python, ["--case", folder, "scene", "sums", "record"])  # builds the collection
        for zones, stats, per in product(("many", "scene"), STATS, ("record", "all")):
            found = child(args.python, ["--case", folder, zones, stats, per])
            results.append({"zones": zones, "stats": stats, "per": per, **found})
            peak = float(str(found.get("peak_bytes", "inf"))) / 1e6
            said = found.get("error") or f"{found['rows']} rows, {found['wall_s']:.1f} s, {peak:.0f} MB"
            print(f"{zones:6} {stats:10} {per:7} {said}", flush=True)
            if peak > args.limit_mb:
                over.append(f"{zones}/{stats}/{per}")
    if args.out:
        facts = {"polygons": args.polygons, "records": args.records, "limit_mb": args.limit_mb, "results": results}
        args.out.write_text(json.dumps(facts, indent=1) + "\n")
    if over:
        sys.exit(f"over {args.limit_mb:g} MB, or failed: {', '.join(over)}")


if __name__ == "__main__":
    main()
