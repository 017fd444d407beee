"""Measure rasteret_sql and its peers on the benchmark archive.

    python -m benchmarks.archive                                        # once: 1.3 GB into benchmarks/data
    python -m benchmarks.run                                            # ours against tuned rasterio, W1 W2 W3 W5
    python -m benchmarks.run --contenders ours rasterio rasteret async-geotiff --peer-python .venv-peers/bin/python --runs 5
    python -m benchmarks.run --workloads W1 W2 --orders shuffled sorted --contenders ours --assert-budget
    python -m benchmarks.run --workloads W1 --points clustered --limit 1000 --name clustered
    python -m benchmarks.plot; python -m benchmarks.report              # picture and table from the results

Every measurement is a fresh process (:mod:`benchmarks.measure`) against a server with latency in a process of its own (:mod:`benchmarks.server`);
contenders take turns; medians are kept. A result whose pixels differ from :mod:`benchmarks.truth` is shown as WRONG and has no time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import promises
from benchmarks.serving import serving

HERE = Path(__file__).parent
PIXEL_CONTENDERS = ("ours", "ours-reader", "rasterio", "rasterio-pool", "rasterio-naive", "rasteret", "async-geotiff", "odc-stac")
ZONAL_CONTENDERS = (
    "ours",
    "ours-reader",
    "ours-cached",
    "exactextract",
    "sedonadb",
    "sedonadb-plain",
    "rasterstats",
    "rasterstats-paths",
    "rasterio-zonal",
)
CONTENDERS = tuple(dict.fromkeys((*PIXEL_CONTENDERS, *ZONAL_CONTENDERS)))
"""The keys of ``benchmarks.peers.CONTENDERS``. This process imports nothing large: a child's peak memory begins at its parent's size."""
WORKLOADS = ("W1", "W2", "W3", "W5")
ZONAL = ("W4", "W2z")
"""As in ``benchmarks.zonal``."""
ORDERED = ("W1", "W2", *ZONAL)
"""Workloads whose rows have an order."""
UNSUPPORTED = {
    ("ours-reader", "W5"),
    ("rasterio-pool", "W1"),
    ("rasterio-pool", "W3"),
    ("rasterio-pool", "W5"),
    ("odc-stac", "W1"),
    ("odc-stac", "W5"),
    ("ours-cached", "W2z"),
}
INDEXED = ("ours", "ours-reader", "ours-cached", "rasteret")
BYTES_SLACK = 1.03


@dataclass
class Case:
    """One contender on one workload in one variant, and what its runs said."""

    contender: str
    workload: str
    order: str
    source: str = "http"
    """``local``: the files themselves."""
    runs: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None

    @property
    def key(self) -> str:
        return f"{self.workload}/{self.order}"

    @property
    def name(self) -> str:
        return f"{self.key}{'' if self.source == 'http' else ' local'}"


class Bench:
    """Starts the processes of one invocation."""

    def __init__(self, args: argparse.Namespace, url: str, work: Path) -> None:
        self.args = args
        self.url = url
        self.work = work
        self.built: set[tuple[str, str]] = set()

    def python(self, contender: str) -> str:
        return str(self.args.python if contender.startswith("ours") else self.args.peer_python)

    def child(self, python: str, module: str, *words: str) -> dict[str, Any]:
        """The JSON that a child printed last; RuntimeError with the last line of its complaint."""
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
        command = [python, "-m", f"benchmarks.{module}", *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=self.args.timeout, check=False)
        except subprocess.TimeoutExpired:
            msg = f"not done after {self.args.timeout:g} s"
            raise RuntimeError(msg) from None
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise RuntimeError(lines[-1][:300])
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def variant(self, order: str) -> list[str]:
        limit = ["--limit", str(self.args.limit)] if self.args.limit else []
        return ["--points", self.args.points, "--order", order, *limit]

    def truth(self, workload: str, order: str) -> dict[str, Any]:
        return self.child(
            str(self.args.peer_python), "truth", str(self.args.archive), workload, *self.variant(order), *self.reference("--save", workload, order)
        )

    def reference(self, option: str, workload: str, order: str) -> list[str]:
        """Where the right statistics of a zonal workload are."""
        return [option, str(self.work / f"{workload}-{order}.npz")] if workload in ZONAL else []

    def measure(self, case: Case, *more: str) -> dict[str, Any]:
        words = [case.contender, case.workload, "--archive", str(self.args.archive), "--url", self.url, "--work", str(self.work / case.source)]
        more = (*self.reference("--reference", case.workload, case.order), *(["--local"] if case.source == "local" else []), *more)
        return self.child(self.python(case.contender), "measure", *words, *self.variant(case.order), "--slow", str(self.args.slow), *more)

    def build(self, contender: str, source: str) -> str | None:
        """Make the contender's index of the scenes; the complaint if that fails. Those of one family share theirs."""
        family = contender.partition("-")[0]
        if (family, source) in self.built:
            return None
        try:
            self.measure(Case(family, "W3", "shuffled", source), "--build")
            self.built.add((family, source))
        except RuntimeError as error:
            return f"index: {error}"
        return None


def run_all(args: argparse.Namespace) -> dict[str, Any]:
    cases = [
        Case(contender, workload, order, source)
        for workload in args.workloads
        for source in args.sources
        for order in (args.orders if workload in ORDERED else ["shuffled"])
        for contender in args.contenders
        if (contender, workload) not in UNSUPPORTED and contender in (ZONAL_CONTENDERS if workload in ZONAL else PIXEL_CONTENDERS)
    ]
    with (
        serving("server", args.archive, "--latency-ms", args.latency_ms, "--rate-mb", args.rate_mb) as url,
        tempfile.TemporaryDirectory(prefix="benchmark-") as work,
    ):
        bench = Bench(args, url, Path(work))
        truths = {case.key: bench.truth(case.workload, case.order) for case in {case.key: case for case in cases}.values()}
        for case in cases:
            if case.contender in INDEXED and case.workload != "W5":
                case.error = bench.build(case.contender, case.source)
        names = dict.fromkeys(case.name for case in cases)
        for number in range(args.runs):
            for name in names:
                turn = [case for case in cases if case.name == name and case.error is None and not slow(case, args.slow)]
                for case in turn[number % max(len(turn), 1) :] + turn[: number % max(len(turn), 1)]:
                    one_run(bench, case, truths[case.key])
                    print(f"run {number + 1}  {name:19} {case.contender:15} {brief(case)}", file=sys.stderr, flush=True)
    return {"meta": meta(args), "truth": truths, "results": [summary(case, truths[case.key]) for case in cases]}


def one_run(bench: Bench, case: Case, truth: dict[str, Any]) -> None:
    try:
        run = bench.measure(case)
    except RuntimeError as error:
        case.error = str(error)
        return
    wrong = next((call["digest"] for call in run["calls"] if call["digest"] != truth["digest"]), None)
    if wrong:
        case.error = f"WRONG: {wrong}" if case.workload in ZONAL else "WRONG: pixels differ from rasterio's"
    case.runs.append(run)


def brief(case: Case) -> str:
    if case.error:
        return case.error
    call = case.runs[-1]["calls"][0]
    read = f"{call['requests']} requests, {call['bytes'] / 1e6:.0f} MB read"
    return f"{call['wall_s']:.2f} s, {call['cpu_s']:.2f} CPU s, {call['rss_bytes'] / 1e6:.0f} MB, {read}"


def slow(case: Case, seconds: float) -> bool:
    """True once a run has shown that repeating this case would take too long."""
    return any(run["calls"][0]["wall_s"] > seconds for run in case.runs)


def median(case: Case, call: int, name: str) -> float | None:
    """None for a second call that no run made."""
    found = [run["calls"][call][name] for run in case.runs if call < len(run["calls"])]
    return statistics.median(found) if found else None


def summary(case: Case, truth: dict[str, Any]) -> dict[str, Any]:
    """Medians of a case, and whether it kept to the least that must be read."""
    about = {name: getattr(case, name) for name in ("contender", "workload", "order", "source", "error")}
    found: dict[str, Any] = {**about, "runs": len(case.runs)}
    if case.error:
        return found
    names = ("wall_s", "cpu_s", "rss_bytes", "requests", "bytes", "connections", "server_cpu_s")
    found["first"] = {name: median(case, 0, name) for name in names}
    found["second"] = {name: median(case, 1, name) for name in ("wall_s", "cpu_s", "requests", "bytes")}
    found["setup_s"] = statistics.median(run["setup_s"] for run in case.runs)
    found["process_s"] = statistics.median(run["process_s"] for run in case.runs)
    found["load"] = statistics.median(run["load"] for run in case.runs)
    found["walls"] = [round(run["calls"][0]["wall_s"], 4) for run in case.runs]
    found["versions"] = case.runs[-1]["versions"]
    found["rule"] = case.runs[-1]["rule"]
    found["off"] = case.runs[-1]["calls"][-1].get("off")
    most = truth["files"] if case.workload == "W5" else truth["tiles"]
    found["within_requests"] = found["first"]["requests"] <= most
    found["within_bytes"] = case.workload == "W5" or found["first"]["bytes"] <= BYTES_SLACK * truth["bytes"]
    return found


def meta(args: argparse.Namespace) -> dict[str, Any]:
    names = ("latency_ms", "rate_mb", "runs", "points", "limit")
    about = {"cores": os.cpu_count(), "machine": platform.machine(), "system": platform.system()}
    return {**about, **{name: getattr(args, name) for name in names}, "archive": json.loads((args.archive / "archive.json").read_text())}


def groups(found: dict[str, Any]) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """(name, key of its truth, results) of each workload, order and source, in the order they ran."""
    by: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in found["results"]:
        by.setdefault((f"{result['workload']}/{result['order']}", result.get("source", "http")), []).append(result)
    return [(key if source == "http" else f"{key} {source}", key, rows) for (key, source), rows in by.items()]


def table(found: dict[str, Any]) -> str:
    """The results as text, fastest first in each workload; ``x`` is the time relative to ours, or to the fastest where ours did not run."""
    head = f"{'workload':19} {'contender':15} {'wall s':>8} {'x':>6} {'CPU s':>7} {'RSS MB':>7} {'requests':>8} {'MB':>7} {'2nd s':>7}  notes"
    lines = [head, "-" * len(head)]
    for name, key, rows in groups(found):
        truth = found["truth"][key]
        good = sorted((r for r in rows if not r["error"]), key=lambda r: r["first"]["wall_s"])
        base = next((r for r in good if r["contender"] == "ours"), good[0] if good else None)
        for r in good:
            f, notes = r["first"], [] if r["within_requests"] and r["within_bytes"] else ["more than the tiles need"]
            sizes = f"{f['rss_bytes'] / 1e6:7.0f} {f['requests']:8.0f} {f['bytes'] / 1e6:7.0f} {seconds(r['second']['wall_s']):>7}"
            times = f"{f['wall_s']:8.2f} {f['wall_s'] / base['first']['wall_s']:6.1f} {f['cpu_s']:7.2f}"
            lines.append(f"{name:19} {r['contender']:15} {times} {sizes}  {', '.join(notes)}".rstrip())
        lines += [f"{name:19} {r['contender']:15} {r['error']}" for r in rows if r["error"]]
        least = f"{truth['files']} files, {truth['tiles']} tiles, {truth['bytes'] / 1e6:.0f} MB"
        lines += [f"{key:19} (the least: {least})", ""]
    return "\n".join(lines)


def seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def over_budget(found: dict[str, Any]) -> list[str]:
    ours = [r for r in found["results"] if r["contender"] == "ours"]
    return [f"{r['workload']}/{r['order']}" for r in ours if r["error"] or not (r["within_requests"] and r["within_bytes"])]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--archive", type=Path, default=HERE / "data", help="made by python -m benchmarks.archive (default benchmarks/data)")
    parser.add_argument("--workloads", nargs="+", choices=(*WORKLOADS, *ZONAL), default=list(WORKLOADS), help="see benchmarks/workloads.py")
    parser.add_argument("--sources", nargs="+", choices=("http", "local"), default=["http"], help="local: the contenders read the files themselves")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=["ours", "rasterio"])
    parser.add_argument("--orders", nargs="+", choices=("shuffled", "sorted"), default=["shuffled"], help="row order of points, fields and zones")
    parser.add_argument("--points", choices=("uniform", "clustered"), default="uniform", help="which points (W1)")
    parser.add_argument("--limit", type=int, help="only the first so many points, fields or headers")
    parser.add_argument("--runs", type=int, default=3, help="fresh processes per contender and workload; medians are kept (default 3)")
    parser.add_argument("--slow", type=float, default=30.0, help="a contender that takes more seconds than this is run once and called once")
    parser.add_argument("--latency-ms", type=float, default=20.0, help="to the first byte of each response (default 20)")
    parser.add_argument("--rate-mb", type=float, default=80.0, help="megabytes a second per connection, 0: no limit (default 80)")
    parser.add_argument("--python", default=sys.executable, help="interpreter with rasteret_sql (default: this one)")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter with rasterio, tifffile and the other peers (default: this one)")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one process")
    parser.add_argument("--name", default="standard", help="results go to benchmarks/results/<name>.json")
    parser.add_argument("--out", type=Path, help="results go to this file instead")
    parser.add_argument(
        "--assert-budget", action="store_true", help="fail unless ours made at most one request per tile and read at most 1.03 x the bytes"
    )
    args = parser.parse_args(argv)
    args.archive = args.archive.resolve()
    if not (args.archive / "archive.json").is_file():
        parser.error(f"{args.archive} holds no archive; make one: python -m benchmarks.archive --out {args.archive}")
    found = run_all(args)
    found["checks"] = promises.of_reads(found)
    out = args.out or HERE / "results" / f"{args.name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))
    for shown in found["checks"]:
        print(f"{'met    ' if shown['met'] else 'NOT MET'}  {shown['text']}")
    if args.assert_budget and (bad := over_budget(found)):
        sys.exit(f"ours read more than the tiles need, or failed: {', '.join(bad)}")


if __name__ == "__main__":
    main()
