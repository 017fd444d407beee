"""Draws the pictures of docs/images out of what our own functions answer: the numbers are those of the documents.

    python tools/make_pictures.py [--out FOLDER] [--format svg|png]

Needs matplotlib, which is no dependency of the project: the script is run by hand, after an example or a rule has changed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import rasterio
from affine import Affine

import rasteret_sql
from rasteret_sql.sample import PLOTS, POINTS, RGBN_PLOTS, data_dir, records
from rasteret_sql.sample.server import SampleServer

ROOT = Path(__file__).resolve().parent.parent
INK, SOFT, EDGE, FILL = "#1f2933", "#9aa5b1", "#c2410c", "#2b6cb0"
LABELS = {"crop": "#b7791f", "developed": "#6b46c1", "tree": "#2f855a", "water": "#2b6cb0"}
PLOT_COLOURS = {"trees": "#2f855a", "crop field": "#b7791f", "riverbed": "#2b6cb0", "houses": "#6b46c1", "bare field": "#9b2c2c"}
PAPER: dict[str, Any] = {"boxstyle": "round,pad=0.12", "facecolor": "white", "alpha": 0.75, "linewidth": 0}
"""Behind numbers that a line crosses."""
WAVELENGTHS = {"blue": 482, "green": 561, "red": 655}
"""Centres of Landsat-8's bands 2, 3 and 4 in nanometres."""
CORNERS = [(0.6, 3.55), (2.2, 4.7), (4.75, 4.15), (5.3, 2.1), (3.1, 0.55), (2.45, 1.75), (0.7, 1.6)]
"""The polygon of the picture of rules, in pixels from the lower left corner of a raster of 6 x 5."""

Row = tuple[Any, ...]


@contextlib.contextmanager
def sample() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection as the examples have it: sample tables, sample files in the working folder, an empty workspace."""
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, SampleServer(data_dir()) as server, rasteret_sql.connect() as con:
        os.chdir(folder)
        try:
            con.execute(f"SET VARIABLE rasteret_workspace = '{folder}/workspace'").fetchall()
            for name, dataset in (("scenes", "landsat"), ("rgbn_scenes", "rgbn")):
                con.register(name, records(server.url, dataset))
            for name, file in (("points", POINTS), ("plots", PLOTS), ("rgbn_plots", RGBN_PLOTS)):
                con.execute(f"CREATE TABLE {name} AS FROM read_parquet('{data_dir() / file}')").fetchall()
            yield con
        finally:
            os.chdir(home)


def answer(con: duckdb.DuckDBPyConnection, example: str, picture: str) -> list[Row]:
    """Runs an example up to the statement whose comment names the picture, and answers with its rows."""
    for statement in con.extract_statements((ROOT / "sql_examples" / example).read_text(encoding="utf-8")):
        rows: list[Row] = con.execute(statement).fetchall()
        if f"picture {picture}.svg" in statement.query:
            return rows
    raise SystemExit(f"{example}: no statement says: the picture {picture}.svg")


def grid(axis: Any, width: int, height: int) -> None:
    """Lines between pixels, and nothing else."""
    for x in range(width + 1):
        axis.plot([x, x], [0, height], color=SOFT, linewidth=0.6, zorder=2)
    for y in range(height + 1):
        axis.plot([0, width], [y, y], color=SOFT, linewidth=0.6, zorder=2)
    axis.set_xlim(-0.05, width + 0.05)
    axis.set_ylim(-0.05, height + 0.05)
    axis.set_aspect("equal")
    axis.axis("off")


def raster(path: str, pixels: list[list[int]], nodata: int | None = None) -> None:
    """A GeoTIFF of uint8 with pixels of 1 m, its lower left corner at (500000, 2000000)."""
    values = np.array(pixels, "uint8")
    height, width = values.shape
    profile = {"driver": "GTiff", "width": width, "height": height, "count": 1, "dtype": "uint8", "nodata": nodata, "crs": "EPSG:32618"}
    with rasterio.open(path, "w", transform=Affine(1, 0, 500000, 0, -1, 2000000 + height), **profile) as file:
        file.write(values, 1)


def polygon(corners: list[tuple[float, float]]) -> str:
    ring = ", ".join(f"{500000 + x} {2000000 + y}" for x, y in [*corners, corners[0]])
    return f"SELECT 'POLYGON(({ring}))' AS geometry"


def edge_rules(con: duckdb.DuckDBPyConnection, figure: Any) -> None:
    """One polygon under the three rules that select pixels."""
    raster("rules.tif", [[1] * 6] * 5)
    axes = figure.subplots(1, 3)
    for axis, rule in zip(axes, ("fractional", "center", "all_touched"), strict=True):
        grid(axis, 6, 5)
        call = f"rasteret_pixels('rules.tif', zone, pixels := '{rule}', geometry_crs := 'EPSG:32618')"
        for row, col, share in con.execute(f'WITH zone AS ({polygon(CORNERS)}) SELECT "row", col, coverage FROM {call}').fetchall():
            axis.fill_between([col, col + 1], 4 - row, 5 - row, color=FILL, alpha=0.55 * share, linewidth=0, zorder=1)
            if rule == "fractional":
                written = "1" if share == 1 else f"{share:.2f}"[1:]
                axis.text(col + 0.5, 4.5 - row, written, ha="center", va="center", fontsize=7, zorder=5, bbox=PAPER)
        if rule == "center":
            x, y = np.meshgrid(np.arange(6) + 0.5, np.arange(5) + 0.5)
            axis.plot(x.ravel(), y.ravel(), ".", color=INK, markersize=3.5, zorder=4)
        axis.fill(*zip(*CORNERS, strict=True), facecolor="none", edgecolor=EDGE, linewidth=1.6, zorder=3)
        axis.set_title(f"'{rule}'", fontsize=10, color=INK)


def zone_example(_: duckdb.DuckDBPyConnection, figure: Any) -> None:
    """The raster and the zone of the worked example."""
    axis = figure.subplots()
    grid(axis, 3, 2)
    axis.fill_between([0, 3], 0, 1.5, color=FILL, alpha=0.3, linewidth=0, zorder=1)
    axis.plot([0, 3, 3, 0, 0], [0, 0, 1.5, 1.5, 0], color=EDGE, linewidth=2, zorder=3)
    for row, values in enumerate([["1", "2", "2"], ["5", "–", "7"]]):
        for col, value in enumerate(values):
            axis.text(col + 0.08, 1.9 - row, value, ha="left", va="top", fontsize=14, color=INK, zorder=4)
            share = "nodata" if value == "–" else "half" if row == 0 else "whole"
            axis.text(col + 0.92, 1.1 - row, share, ha="right", va="bottom", fontsize=7.5, color=INK, zorder=4)


def zonal_by_label(con: duckdb.DuckDBPyConnection, figure: Any) -> None:
    """Reflectance by land cover: median, and the range of the middle 80 per cent."""
    axis = figure.subplots()
    rows = answer(con, "10_zonal_by_label.sql", "zonal_by_label")
    for at, (name, colour) in enumerate(LABELS.items()):
        mine = sorted((WAVELENGTHS[band], low, median, high) for label, band, _, _, low, median, high in rows if label == name)
        x, low, median, high = (np.array(column) for column in zip(*mine, strict=True))
        x = x + (at - 1.5) * 4
        axis.errorbar(x, median, [median - low, high - median], color=colour, marker="o", markersize=5, capsize=3, linewidth=1.6, elinewidth=1)
        axis.text(672, median[-1], name, color=colour, va={"water": "bottom", "tree": "top"}.get(name, "center"), bbox=PAPER | {"alpha": 1})
    axis.set_xticks(list(WAVELENGTHS.values()), [f"{band}\n{nanometres} nm" for band, nanometres in WAVELENGTHS.items()])
    axis.set_xlim(460, 705)
    axis.set_ylim(0, 0.095)
    axis.set_ylabel("reflectance, top of atmosphere")
    axis.set_title("Median of each plot's pixels, and where the middle 80 % lie", loc="left", fontsize=10, color=INK)
    axis.grid(axis="y", color="#e4e7eb", linewidth=0.8)
    axis.spines[["top", "right"]].set_visible(False)


def ndvi_series(con: duckdb.DuckDBPyConnection, figure: Any) -> None:
    """An index per plot and month: median, and the range of the middle 80 per cent."""
    axis = figure.subplots()
    rows = answer(con, "11_ndvi_series.sql", "ndvi_series")
    periods = sorted({row[1] for row in rows})
    for at, (name, colour) in enumerate(PLOT_COLOURS.items()):
        mine = [(low, median, high) for label, _, _, _, low, median, high in sorted(rows) if label == name]
        low, median, high = (np.array(column) for column in zip(*mine, strict=True))
        x = np.arange(len(periods)) + (at - 2) * 0.08
        axis.errorbar(x, median, [median - low, high - median], color=colour, marker="o", markersize=5, capsize=3, linewidth=1.6, elinewidth=1)
        axis.text(len(periods) - 0.72, median[-1], name, color=colour, va="center")
    axis.set_xticks(range(len(periods)), periods)
    axis.set_xlim(-0.4, len(periods) - 0.2)
    axis.axhline(0, color=SOFT, linewidth=0.8, zorder=0)
    axis.set_ylabel("NDVI")
    axis.set_title("Median per plot and month, and the middle 80 % (four dates of one image: a flat series)", loc="left", fontsize=10, color=INK)
    axis.grid(axis="y", color="#e4e7eb", linewidth=0.8)
    axis.spines[["top", "right"]].set_visible(False)


Draw = Callable[[duckdb.DuckDBPyConnection, Any], None]
PICTURES: dict[str, tuple[Draw, tuple[float, float]]] = {
    "edge_rules": (edge_rules, (9, 2.9)),
    "zone_example": (zone_example, (4.2, 2.8)),
    "zonal_by_label": (zonal_by_label, (7.5, 3.8)),
    "ndvi_series": (ndvi_series, (7.5, 3.8)),
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--format", choices=("svg", "png"), default="svg")
    args = parser.parse_args(argv)
    plt.switch_backend("Agg")
    mpl.rcParams.update({"svg.hashsalt": "rasteret", "font.size": 9, "font.family": "DejaVu Sans", "text.color": INK})
    out = args.out.resolve()
    for name, (draw, size) in PICTURES.items():
        figure = plt.figure(figsize=size, layout="constrained")
        with sample() as con:
            draw(con, figure)
        path = out / f"{name}.{args.format}"
        figure.savefig(path, dpi=150, metadata={"Date": None} if args.format == "svg" else None)
        plt.close(figure)
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
