"""One measurement in a process of its own; prints one line of JSON. :mod:`benchmarks.run` starts these; by hand it is for profiling.

    python -m benchmarks.measure rasterio W1 --archive benchmarks/data --url http://127.0.0.1:8000

The clock covers the call only. Imports and opening an index are ``setup_s``; the conversion to the common form and the digest are not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any
from urllib.request import urlopen

STARTED = time.perf_counter()


def usage() -> tuple[float, float]:
    """(user + system CPU seconds, peak resident bytes) of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def installed() -> set[str]:
    return {d.name.lower().replace("_", "-") for d in distributions()}


def counters(url: str) -> dict[str, Any]:
    """The server's counters since the last look."""
    with urlopen(f"{url}/__reset__", timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def timed_call(contender: Any, call: int, url: str) -> tuple[Any, dict[str, Any]]:
    counters(url)
    cpu, _ = usage()
    began = time.perf_counter()
    raw = contender.run(call)
    wall = time.perf_counter() - began
    cpu_after, rss = usage()
    seen = counters(url)
    facts = {"wall_s": wall, "cpu_s": cpu_after - cpu, "rss_bytes": rss, "requests": seen["requests"], "bytes": seen["bytes"]}
    return raw, {**facts, "connections": seen["connections"], "server_cpu_s": seen["cpu_s"]}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.measure", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("contender")
    parser.add_argument("workload")
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--url", required=True, help="the benchmark server that serves the archive")
    parser.add_argument("--work", type=Path, help="folder of indexes built with --build")
    parser.add_argument("--build", action="store_true", help="build the contender's index into --work and stop")
    parser.add_argument("--local", action="store_true", help="read the archive's files themselves; the server is only asked for its counters")
    parser.add_argument("--reference", type=Path, help="the right statistics, saved by benchmarks.truth (zonal workloads)")
    parser.add_argument("--points", default="uniform")
    parser.add_argument("--order", default="shuffled")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--calls", type=int, default=2)
    parser.add_argument("--slow", type=float, default=30.0, help="no second call where the first took more seconds than this")
    args = parser.parse_args(argv)

    from benchmarks.peers import contender_class
    from benchmarks.workloads import load_inputs

    kind = contender_class(args.contender)
    for name, value in kind.environ.items():
        os.environ.setdefault(name, value)
    base = str(args.archive) if args.local else args.url
    inputs = load_inputs(args.archive, base, args.workload, points=args.points, order=args.order, limit=args.limit)
    with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as fresh:
        # W5 times the making of an index, so it must not find one.
        work = args.work if args.work and args.workload != "W5" else Path(fresh)
        print(json.dumps(report_of(kind(inputs, work), args)), flush=True)


def report_of(contender: Any, args: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.workloads import digest
    from benchmarks.zonal import judge

    load, began = os.getloadavg()[0], time.perf_counter()
    if args.build:
        contender.build()
        return {"build_s": time.perf_counter() - began}
    contender.setup()
    report: dict[str, Any] = {
        "rule": contender.rule,
        "setup_s": time.perf_counter() - began,
        "rss_before_bytes": usage()[1],
        "load": load,
        "calls": [],
    }
    report["versions"] = {"python": platform.python_version(), **{name: version(name) for name in contender.packages if name in installed()}}
    for call in range(args.calls):
        raw, facts = timed_call(contender, call, args.url)
        result = contender.result(raw)
        if args.reference:
            facts["digest"], facts["off"] = judge(result, contender.inputs.ids, args.reference, contender.rule)
        else:
            facts["digest"] = digest(contender.inputs, result)
        del raw
        report["calls"].append(facts)
        if facts["wall_s"] > args.slow:
            break
    contender.close()
    report["process_s"] = time.perf_counter() - STARTED
    return report


if __name__ == "__main__":
    main()
