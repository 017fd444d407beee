"""Draws the two diagrams of docs/how_it_works.md as SVG: boxes and arrows, text as text.

    python -m tools.make_diagrams [--out FOLDER]

tests/docs holds that the files are what this script writes.
"""

from __future__ import annotations

import argparse
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INK, SOFT, EDGE, FILL = "#1f2933", "#9aa5b1", "#c2410c", "#2b6cb0"
PAPER = {"yours": "#fff7ed", "duckdb": "#fffbea", "ours": "#e6f0fa", "files": "#f1f3f5"}
LINE = {"yours": EDGE, "duckdb": "#b7791f", "ours": FILL, "files": SOFT}


def box(x: float, y: float, width: float, height: float, kind: str, title: str, lines: tuple[str, ...] = ()) -> str:
    """A rounded box with a bold title and lines below it."""
    parts = [
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{PAPER[kind]}" stroke="{LINE[kind]}" stroke-width="1.5"/>',
        f'<text x="{x + width / 2}" y="{y + 22}" text-anchor="middle" font-weight="bold">{escape(title)}</text>',
    ]
    for at, line in enumerate(lines):
        parts.append(f'<text x="{x + width / 2}" y="{y + 42 + 17 * at}" text-anchor="middle" font-size="12">{escape(line)}</text>')
    return "".join(parts)


def arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{INK}" stroke-width="1.4" marker-end="url(#tip)"/>'


def drawing(width: int, height: int, *parts: str) -> str:
    shape = f'<path d="M0 0 8 4 0 8z" fill="{INK}"/>'
    tip = f'<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">{shape}</marker>'
    style = f'font-family="system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif" font-size="14" fill="{INK}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" {style}>'
    return f'{head}<defs>{tip}</defs><rect width="{width}" height="{height}" fill="white"/>' + "\n".join(parts) + "</svg>\n"


def once() -> str:
    """Headers once, pixels by need."""
    return drawing(
        820,
        300,
        '<text x="20" y="30" font-weight="bold" fill="#52606d">once</text>',
        box(20, 45, 220, 82, "files", "GeoTIFFs", ("where they are: buckets,", "web servers, disks")),
        box(310, 45, 220, 82, "ours", "rasteret_build…", ("reads headers, a request a file;", "no pixel")),
        box(600, 45, 200, 82, "duckdb", "collection", ("Parquet: a row per scene,", "offsets of every tile")),
        arrow(240, 86, 308, 86),
        arrow(530, 86, 598, 86),
        '<text x="20" y="175" font-weight="bold" fill="#52606d">for each query</text>',
        box(20, 190, 220, 90, "yours", "your tables", ("points, plots, dates;", "filters, joins, groups: SQL")),
        box(310, 190, 220, 90, "ours", "rasteret_zonal, …", ("which tiles, once each;", "byte ranges, many at once")),
        box(600, 190, 200, 90, "yours", "rows", ("your columns, then values,", "status, reason")),
        arrow(240, 235, 308, 235),
        arrow(530, 235, 598, 235),
        f'<path d="M700 127 V152 H440 V188" fill="none" stroke="{INK}" stroke-width="1.4" marker-end="url(#tip)"/>',
        f'<path d="M130 127 V152 H400 V188" fill="none" stroke="{FILL}" stroke-width="1.4" stroke-dasharray="5 4" marker-end="url(#tip)"/>',
        f'<text x="262" y="146" text-anchor="middle" font-size="12" fill="{FILL}">only the tiles that are needed</text>',
    )


def query() -> str:
    """One statement, step by step."""
    steps = (
        ("duckdb", "1 bind", ("the macro asks the planner,", "which answers with SQL text")),
        ("duckdb", "2 pair", ("scenes and plots meet on", "grid cells: an equality join")),
        ("ours", "3 announce", ("exact windows; bytes counted,", "over the budget: refused")),
        ("ours", "4 fetch", ("each tile once; neighbours", "share a request")),
        ("ours", "5 decode", ("threads; pixels straight into", "statistics or lists")),
        ("duckdb", "6 rows", ("streamed on, joined with", "your own columns")),
    )
    parts = []
    for at, (kind, title, lines) in enumerate(steps):
        x, y = 20 + (at % 3) * 268, 40 + (at // 3) * 130
        parts.append(box(x, y, 228, 84, kind, title, lines))
        if at % 3:
            parts.append(arrow(x - 40, y + 42, x - 3, y + 42))
    parts.append(f'<path d="M670 124 V147 H134 V167" fill="none" stroke="{INK}" stroke-width="1.4" marker-end="url(#tip)"/>')
    legend = f'<tspan fill="{LINE["duckdb"]}">■ DuckDB: rows</tspan>  <tspan fill="{FILL}" dx="18">■ rasteret_sql: bytes and pixels</tspan>'
    parts.append(f'<text x="20" y="26" font-size="12">{legend}</text>')
    return drawing(804, 274, *parts)


DIAGRAMS = {"how_once.svg": once, "how_query.svg": query}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    out = parser.parse_args(argv).out.resolve()
    for name, draw in DIAGRAMS.items():
        (out / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
