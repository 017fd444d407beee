"""Write the results of :mod:`benchmarks.run` into docs/benchmarks.md, between its two markers.

python -m benchmarks.report                        # benchmarks/results/*.json -> docs/benchmarks.md
python -m benchmarks.report --check                # fail if the page does not hold what the results say
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.run import ORDERED, groups

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- results: begin (python -m benchmarks.report) -->", "<!-- results: end -->"
HEADS = ("workload", "reader", "wall s", "× ours", "CPU s", "peak RSS MB", "requests", "MB read", "second call s")


def row(result: dict[str, Any], base: dict[str, Any] | None) -> list[str]:
    name = f"{result['workload']} {result['order']}" if result["workload"] in ORDERED else result["workload"]
    if result.get("source") == "local":
        name += ", local files"
    reader = "**rasteret_sql**" if result["contender"] == "ours" else result["contender"]
    if result.get("rule") == "center":
        reader += " (pixel centres)"
    if result["error"]:
        return [name, reader, result["error"].replace("|", "/"), *[""] * (len(HEADS) - 3)]
    first, second = result["first"], result["second"]["wall_s"]
    ratio = f"{first['wall_s'] / base['first']['wall_s']:.1f}" if base else ""
    sizes = [f"{first['rss_bytes'] / 1e6:.0f}", f"{first['requests']:,.0f}", f"{first['bytes'] / 1e6:,.0f}"]
    return [name, reader, f"{first['wall_s']:.2f}", ratio, f"{first['cpu_s']:.2f}", *sizes, "" if second is None else f"{second:.2f}"]


def section(name: str, found: dict[str, Any]) -> list[str]:
    """A heading, the conditions, the table, the least that must be read, and the versions."""
    about, archive = found["meta"], found["meta"]["archive"]
    ran = [r for r in found["results"] if not r["error"]]
    loads = f", load average at the start {min(r['load'] for r in ran):.1f} to {max(r['load'] for r in ran):.1f}" if ran else ""
    runs = f"median of {about['runs']} fresh processes{loads}"
    server = f"{about['latency_ms']:g} ms to the first byte, {about['rate_mb']:g} MB/s per connection"
    files = f"{archive['scenes']} scenes × {len(archive['bands'])} bands of {archive['size']}² pixels, {archive['scene_bytes'] / 1e6:,.0f} MB"
    lines = [
        f"### {name}",
        "",
        f"{about['cores']} cores ({about['machine']}, {about['system']}); {server}; {runs}.",
        f"Archive: {files}, seed {archive['seed']}; {about['points']} points.",
        "",
        "| " + " | ".join(HEADS) + " |",
        "|---|---|" + "---:|" * (len(HEADS) - 2),
    ]
    for _, key, rows in groups(found):
        truth = found["truth"][key]
        base = next((r for r in rows if r["contender"] == "ours" and not r["error"]), None)
        rows.sort(key=lambda r: (bool(r["error"]), r["contender"] != "ours", 0 if r["error"] else r["first"]["wall_s"]))
        lines += ["| " + " | ".join(row(r, base)) + " |" for r in rows]
        if rows[0].get("source", "http") == "http":
            lines.append(f"| | *least to read* | | | | | {truth['tiles'] or truth['files']:,} | {truth['bytes'] / 1e6:,.0f} | |")
    versions = {r["contender"]: ", ".join(f"{k} {v}" for k, v in r["versions"].items()) for r in ran}
    checks = [f"- {'met' if check['met'] else '**not met**'}: {check['text']}" for check in found.get("checks", [])]
    return [*lines, "", *(f"- {contender}: {text}" for contender, text in versions.items()), "", *checks, *([""] if checks else [])]


def rewritten(page: str, folder: Path) -> str:
    """The page with everything between the markers made anew."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{PAGE.name} lacks its markers {BEGIN} and {END}")
    series = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    lines = [line for name, found in series.items() if "truth" in found for line in section(name, found)]  # a soak has its own page
    return f"{head}{BEGIN}\n\n" + "\n".join(lines) + f"\n{END}{tail}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of JSON files")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if the page is out of date")
    args = parser.parse_args(argv)
    page = args.page.read_text()
    new = rewritten(page, args.results)
    if args.check:
        sys.exit("docs/benchmarks.md is out of date: python -m benchmarks.report" if new != page else 0)
    args.page.write_text(new)


if __name__ == "__main__":
    main()
