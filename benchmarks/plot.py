"""Draw the results of :mod:`benchmarks.run`: one panel per workload, a bar per contender, with ratios.

python -m benchmarks.plot                          # benchmarks/results/standard.json -> docs/images/benchmarks.svg
python -m benchmarks.plot other.json --out x.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TITLES = {
    "W1": "W1  {points:,} points × {scenes} scenes × 2 bands",
    "W2": "W2  {fields} fields × {scenes} scenes × 2 bands",
    "W3": "W3  one 256 px chip × {scenes} scenes × {bands} bands",
    "W2z": "W2z  statistics of {fields} fields × {scenes} scenes × 2 bands",
    "W4": "W4  statistics of {zones} polygons × 1 scene × 2 bands",
    "W5": "W5  headers of {headers} files",
}
NOT_DRAWN = ("rasterio-naive", "rasterstats-paths", "ours-cached")
OURS, PEER = "#1b6e53", "#a9b4c0"


def panels(found: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The right results per workload, rows shuffled, slowest first (bars are drawn from below); not those that would set the scale,
    and not ours-cached, which is about its second call.
    """
    by: dict[str, list[dict[str, Any]]] = {}
    for result in found["results"]:
        if not result["error"] and result["order"] == "shuffled" and result["contender"] not in NOT_DRAWN:
            by.setdefault(f"{result['workload']}{' local' if result.get('source') == 'local' else ''}", []).append(result)
    return {key: sorted(rows, key=lambda r: -r["first"]["wall_s"]) for key, rows in sorted(by.items())}


def title(workload: str, found: dict[str, Any]) -> str:
    archive, limit = found["meta"]["archive"], found["meta"]["limit"]
    facts = {name: min(archive[name], limit or archive[name]) for name in ("points", "fields", "zones", "headers") if name in archive}
    kind, _, local = workload.partition(" ")
    return (TITLES[kind] + (", local files" if local else "")).format(scenes=archive["scenes"], bands=min(len(archive["bands"]), 4), **facts)


def label(result: dict[str, Any], base: dict[str, Any]) -> str:
    first = result["first"]
    ratio = "" if result is base else f"{first['wall_s'] / base['first']['wall_s']:.1f}×, "
    return f" {first['wall_s']:.2f} s  ({ratio}{first['cpu_s']:.1f} CPU s, {first['rss_bytes'] / 1e6:.0f} MB, {first['requests']:,.0f} requests)"


def draw(found: dict[str, Any], out: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    mpl.rcParams.update({"svg.hashsalt": "benchmarks", "font.size": 9, "font.family": "DejaVu Sans"})
    shown = panels(found)
    heights = [len(rows) + 1.1 for rows in shown.values()]
    figure, axes = plt.subplots(len(shown), 1, figsize=(9, 0.36 * sum(heights) + 0.8), height_ratios=heights, squeeze=False)
    for axis, (workload, rows) in zip(axes[:, 0], shown.items(), strict=True):
        base = next((r for r in rows if r["contender"] == "ours"), rows[-1])
        walls = [r["first"]["wall_s"] for r in rows]
        names = [("rasteret_sql" if r["contender"] == "ours" else r["contender"]) + (" (centres)" if r.get("rule") == "center" else "") for r in rows]
        axis.barh(names, walls, color=[OURS if r["contender"] == "ours" else PEER for r in rows], height=0.7)
        for at, row in enumerate(rows):
            inside = row["first"]["wall_s"] > 0.45 * max(walls)
            axis.text(
                row["first"]["wall_s"],
                at,
                label(row, base),
                va="center",
                ha="right" if inside else "left",
                fontsize=8,
                color="white" if inside and row["contender"] == "ours" else "black",
            )
        axis.set_title(title(workload, found), loc="left", fontsize=10, fontweight="bold")
        axis.set_xlim(0, max(walls) * 1.02)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
        axis.margins(y=0.02)
    about = found["meta"]
    axes[-1, 0].set_xlabel(
        f"seconds, first call of a fresh process, median of {about['runs']}; {about['cores']} cores, "
        f"{about['latency_ms']:g} ms to the first byte, {about['rate_mb']:g} MB/s per connection. Shorter is better."
    )
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150, metadata={"Date": None} if out.suffix == ".svg" else None)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.plot", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("results", type=Path, nargs="?", default=HERE / "results" / "standard.json")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "images" / "benchmarks.svg", help=".svg or .png")
    args = parser.parse_args(argv)
    draw(json.loads(args.results.read_text()), args.out)
    print(args.out)


if __name__ == "__main__":
    main()
