"""The zonal workloads from start to end: measure, check, report, draw.

    python -m benchmarks.zonal_series --python <with rasteret_sql> --peer-python <with the peers>

Writes ``benchmarks/results/zonal.json`` (with what was to be shown, and whether it was), docs/benchmarks.md and docs/images/benchmarks-zonal.svg.
Start it with an interpreter that has matplotlib and rasterio. Three to eight minutes with three runs on two cores; ``--no-memory`` saves a minute.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import plot, report, run, zonal_memory
from benchmarks.promises import check, wall

HERE = Path(__file__).parent
USES = (("sedonadb-plain", "rasterstats-paths"), ("sedonadb", "rasterstats"))
"""Both peers as their documentation shows them, and as we tuned them."""
SLACK = 1.25
"""Two orders of rows take the same time if neither median is longer than the other's by more than this."""


def at_most(found: dict[str, Any], workload: str, source: str, factor: float, peers: tuple[str, ...]) -> dict[str, Any]:
    """Ours takes at most ``factor`` times what the fastest of these takes."""
    where = f"{workload}, {'over HTTP' if source == 'http' else 'local files'}"
    ours = wall(found, "ours", workload, source)
    theirs = [seconds for peer in peers if (seconds := wall(found, peer, workload, source)) is not None]
    if ours is None or len(theirs) < len(peers):
        return check(f"{where}: ours or one of {', '.join(peers)} has no time", False)
    least = min(theirs)
    return check(f"{where}: {ours:.2f} s, at most {factor:g} × {least:.2f} s of {' and '.join(peers)} (× {ours / least:.2f})", ours <= factor * least)


def checks(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What issue and page promise of the zonal workloads, by these results."""
    shown = []
    for sedonadb, rasterstats in USES:
        both = ("exactextract", sedonadb)
        shown += [at_most(found, workload, "local", 1.0, both) for workload in ("W4", "W2z")]
        shown.append(at_most(found, "W4", "http", 0.5, both))
        shown.append(at_most(found, "W2z", "http", 0.2, (sedonadb,)))
        shown += [at_most(found, workload, "http", 0.2, (rasterstats,)) for workload in ("W4", "W2z")]
    over = run.over_budget(found)
    shown.append(
        check(f"at most one request per distinct tile, at most {run.BYTES_SLACK} × their bytes{': not ' + ', '.join(over) if over else ''}", not over)
    )
    for result in found["results"]:
        if result["contender"] == "ours-cached" and result["source"] == "http" and result["order"] == "shuffled":
            again = None if result["error"] else result["second"]["requests"]
            shown.append(check(f"{result['workload']}, room for its tiles in the cache: the second call made {again or 0:.0f} requests", again == 0))
    return shown


def order_checks(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Both orders of zones, measured in turn."""
    shown = []
    for workload in ("W4", "W2z"):
        pair = [wall(found, "ours", workload, "http", order) for order in ("shuffled", "sorted")]
        if None not in pair:
            text = f"{workload}: {pair[0]:.2f} s with zones in any order, {pair[1]:.2f} s in the order of tiles"
            shown.append(check(text, max(pair) <= SLACK * min(pair)))
    return shown


def memory_checks(measured: dict[str, Any]) -> list[dict[str, Any]]:
    shown = []
    for case in measured["results"]:
        zones = f"{measured['polygons']:,} polygons" if case["zones"] == "many" else "one polygon of a scene's size"
        about = f"{zones} × {measured['records']} records, {', '.join(zonal_memory.STATS[case['stats']])}, per {case['per']}"
        peak = case.get("peak_bytes")
        text = case.get("error") or f"peak {peak / 1e6:.0f} MB, {case['wall_s']:.1f} s"
        shown.append(check(f"{about}: {text}", peak is not None and peak <= measured["limit_mb"] * 1e6))
    return shown


def measured_memory(args: argparse.Namespace) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "memory.json"
        try:
            zonal_memory.main(["--archive", str(args.archive), "--python", args.python, "--out", str(out)])
        except SystemExit as over:
            print(over, file=sys.stderr)
        return memory_checks(json.loads(out.read_text()))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.zonal_series", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--archive", type=Path, default=HERE / "data")
    parser.add_argument("--python", default=sys.executable, help="interpreter with rasteret_sql")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter with exactextract, sedonadb, rasterstats, rasterio, geopandas")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--no-memory", action="store_true", help="leave out the memory cases")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for zonal.json")
    parser.add_argument("--no-page", action="store_true", help="leave docs/ alone")
    args = parser.parse_args(argv)
    out = args.results / "zonal.json"
    common = ["--archive", str(args.archive), "--python", args.python, "--peer-python", args.peer_python, "--runs", str(args.runs), "--workloads"]
    run.main([*common, *run.ZONAL, "--sources", "http", "local", "--contenders", *run.ZONAL_CONTENDERS, "--out", str(out)])
    with tempfile.TemporaryDirectory() as folder:
        orders = Path(folder) / "orders.json"
        run.main([*common, *run.ZONAL, "--orders", "shuffled", "sorted", "--contenders", "ours", "--out", str(orders)])
        found, more = json.loads(out.read_text()), json.loads(orders.read_text())
    found["results"] += [result for result in more["results"] if result["order"] == "sorted"]
    found["truth"] |= more["truth"]
    found["checks"] = checks(found) + order_checks(more) + ([] if args.no_memory else measured_memory(args))
    out.write_text(json.dumps(found, indent=1) + "\n")
    for shown in found["checks"]:
        print(f"{'met    ' if shown['met'] else 'NOT MET'}  {shown['text']}")
    if not args.no_page:
        report.main(["--results", str(args.results)])
        plot.main([str(out), "--out", str(HERE.parent / "docs" / "images" / "benchmarks-zonal.svg")])


if __name__ == "__main__":
    main()
