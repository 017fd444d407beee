"""Draws the pictures of docs/tour.md, docs/cookbook.md and docs/how_it_works.md out of what our own functions answer on the sample data.

    python -m tools.make_tour_pictures [--out FOLDER] [--only NAME]

Needs matplotlib, as tools/make_pictures.py does: run by hand, after an example or a rule has changed. tests/docs holds that each picture is there
and is shown.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from matplotlib.patches import Rectangle
from PIL import Image

from tests.test_examples import results
from tools.make_pictures import EDGE, FILL, INK, LABELS, PLOT_COLOURS, SOFT, WAVELENGTHS
from tools.make_reference import SETUP, sample

ROOT = Path(__file__).resolve().parent.parent
UTM = pyproj.Transformer.from_crs("OGC:CRS84", "EPSG:32621", always_xy=True)
UTM18 = pyproj.Transformer.from_crs("OGC:CRS84", "EPSG:32618", always_xy=True)
Con = duckdb.DuckDBPyConnection
Array = npt.NDArray[Any]


def picture(con: Con, collection: str, record: str, bands: list[str]) -> tuple[Array, list[float]]:
    """A whole record as (rows, columns, bands), and the corners of its window: left, right, bottom, top."""
    area = "SELECT 'POLYGON((-80 -30, -50 -30, -50 25, -80 25, -80 -30))' AS geometry"
    row = con.execute(
        f"WITH area AS ({area}), one AS (SELECT * FROM rasteret_collection({collection}) WHERE id LIKE '%{record}%') "
        f"SELECT height, width, transform, {', '.join(bands)} FROM rasteret_read(one, area, bands := {bands!r}, pixels := 'window')"
    ).fetchall()[0]
    height, width, (a, _, left, _, e, top) = row[:3]
    pixels = np.array(row[3:], dtype="float64").reshape(len(bands), height, width)
    return np.moveaxis(pixels, 0, -1), [left, left + a * width, top + e * height, top]


def stretched(pixels: Array) -> Array:
    """Between the 1st and 99th percentile of each band."""
    low, high = np.percentile(pixels, (1, 99), axis=(0, 1))
    return np.clip((pixels - low) / (high - low), 0, 1)


def reproject(to: pyproj.Transformer, wkb: bytes) -> Any:
    """A geometry of OGC:CRS84 in the other CRS."""
    return shapely.transform(shapely.from_wkb(bytes(wkb)), lambda at: np.column_stack(to.transform(*at.T)))


def shapes(con: Con, table: str, to: pyproj.Transformer) -> list[tuple[str, Any]]:
    """(label, geometry in the other CRS) of each row."""
    rows = con.execute(f"SELECT label, ST_AsWKB(geom) FROM {table} ORDER BY id").fetchall()
    return [(label, reproject(to, wkb)) for label, wkb in rows]


def outline(axis: Any, shape: Any, **style: Any) -> None:
    axis.plot(*shape.exterior.xy, **style)


def bare(axis: Any, extent: list[float]) -> None:
    axis.set_xlim(extent[0], extent[1])
    axis.set_ylim(extent[2], extent[3])
    axis.set_aspect("equal")
    axis.axis("off")


def tour_map(con: Con, figure: Any) -> None:
    """Both scenes as they overlap, with the points and the plots."""
    axis = figure.subplots()
    extents = []
    for record in ("224077", "224078"):
        pixels, extent = picture(con, "landsat", record, ["B4", "B3", "B2"])
        axis.imshow(stretched(pixels), extent=extent, interpolation="nearest")
        extents.append(extent)
    frames = (("scene 224077", "#f6e05e", "top"), ("scene 224078", "#fbb6ce", "bottom"))
    for (left, right, bottom, top), (name, colour, at) in zip(extents, frames, strict=True):
        axis.add_patch(Rectangle((left, bottom), right - left, top - bottom, fill=False, edgecolor=colour, linewidth=2))
        y = top - 250 if at == "top" else bottom + 250
        dark = {"boxstyle": "round,pad=0.25", "facecolor": INK, "alpha": 0.65, "linewidth": 0}
        axis.text(right - 250, y, name, color=colour, va=at, ha="right", fontsize=8, fontweight="bold", bbox=dark)
    paper = {"boxstyle": "round,pad=0.25", "facecolor": "white", "alpha": 0.9, "linewidth": 0}
    for label, shape in shapes(con, "plots", UTM):
        outline(axis, shape, color="white", linewidth=3)
        outline(axis, shape, color=EDGE, linewidth=1.5)
        axis.annotate(
            f"plot: {label}", (shape.centroid.x, shape.centroid.y), (12, -16), textcoords="offset points", fontsize=7.5, color=EDGE, bbox=paper
        )
    for label, shape in shapes(con, "points", UTM):
        axis.plot(shape.x, shape.y, "o", markersize=6, markerfacecolor=LABELS[label], markeredgecolor="white")
        side, ha = ((-8, 6), "right") if shape.x > extents[0][1] - 2000 else ((8, 6), "left")
        axis.annotate(f"point: {label}", (shape.x, shape.y), side, textcoords="offset points", ha=ha, fontsize=7.5, color=INK, bbox=paper)
    least, most = np.min(extents, axis=0), np.max(extents, axis=0)
    bare(axis, [least[0] - 150, most[1] + 150, least[2] - 150, most[3] + 150])


def tour_points(con: Con, figure: Any) -> None:
    """The three bands at each point."""
    axis = figure.subplots()
    rows = con.execute(
        "SELECT id, label, B2, B3, B4 FROM rasteret_sample(landsat, points, bands := ['B2', 'B3', 'B4'], match := 'latest') ORDER BY id"
    ).fetchall()
    for number, label, *values in rows:
        axis.plot(list(WAVELENGTHS.values()), values, color=LABELS[label], marker="o", linewidth=1.6)
        axis.text(666, values[-1], f"{number} {label}", color=LABELS[label], va={"crop": "top", "developed": "bottom"}.get(label, "center"))
    axis.set_xticks(list(WAVELENGTHS.values()), [f"{band}\n{name}" for name, band in zip(WAVELENGTHS, ("B2", "B3", "B4"), strict=True)])
    axis.set_xlim(460, 715)
    axis.set_ylabel("stored value")
    axis.grid(axis="y", color="#e4e7eb", linewidth=0.8)
    axis.spines[["top", "right"]].set_visible(False)


def tour_arrays(con: Con, figure: Any) -> None:
    """The four plots as arrays: selected pixels in colour, the others grey."""
    axes = figure.subplots(1, 4)
    query = (
        "SELECT label, height, width, transform, B4, ST_AsWKB(geom) FROM rasteret_read(landsat, plots, bands := ['B4'], pixels := '{}') "
        "WHERE record_id LIKE '%224077%' ORDER BY id"
    )
    chosen, whole = (con.execute(query.format(rule)).fetchall() for rule in ("center", "window"))
    for axis, (label, height, width, transform, values, wkb), around in zip(axes, chosen, whole, strict=True):
        left, size, top = transform[2], transform[0], transform[5]
        extent = [left, left + size * width, top - size * height, top]
        everything = np.array(around[4], dtype=float).reshape(height, width)
        inside = np.array([np.nan if value is None else value for value in values], dtype=float).reshape(height, width)
        low, high = np.nanpercentile(inside, (2, 98))
        axis.imshow(everything, extent=extent, cmap="Greys_r", vmin=low, vmax=high, alpha=0.25, interpolation="nearest")
        axis.imshow(inside, extent=extent, cmap="viridis", vmin=low, vmax=high, interpolation="nearest")
        outline(axis, reproject(UTM, wkb), color=EDGE, linewidth=1.6)
        axis.set_title(f"{label}\n{height} × {width}, {np.isfinite(inside).sum()} pixels", fontsize=9, color=INK)
        axis.axis("off")


def tour_coverage(con: Con, figure: Any) -> None:
    """Shares of the pixels of one plot."""
    axis = figure.subplots()
    rows = con.execute(
        "SELECT x, y, coverage FROM rasteret_pixels(landsat, plots, bands := ['B4']) WHERE label = 'developed' AND record_id LIKE '%224077%'"
    ).fetchall()
    for x, y, share in rows:
        axis.add_patch(Rectangle((x - 15, y - 15), 30, 30, facecolor=FILL, alpha=0.6 * share, edgecolor="none"))
        axis.add_patch(Rectangle((x - 15, y - 15), 30, 30, fill=False, edgecolor=SOFT, linewidth=0.5))
        axis.text(x, y, "1" if share > 0.9999 else f"{share:.2f}"[1:], ha="center", va="center", fontsize=7, color=INK)
    ((_, shape),) = [entry for entry in shapes(con, "plots", UTM) if entry[0] == "developed"]
    outline(axis, shape, color=EDGE, linewidth=1.8)
    xs, ys = [row[0] for row in rows], [row[1] for row in rows]
    bare(axis, [min(xs) - 25, max(xs) + 25, min(ys) - 25, max(ys) + 25])


def tour_zonal(con: Con, figure: Any) -> None:
    """Greenness by plot: median and the middle 80 per cent."""
    axis = figure.subplots()
    rows = con.execute(
        "SELECT label, quantile_10, median, quantile_90 FROM rasteret_zonal(landsat, plots, expressions := {'greenness': '(B3 - B4) / (B3 + B4)'}, "
        "stats := ['quantile(0.1)', 'median', 'quantile(0.9)'], per := 'day') ORDER BY median"
    ).fetchall()
    for at, (label, low, median, high) in enumerate(rows):
        axis.plot([low, high], [at, at], color=LABELS[label], linewidth=7, alpha=0.35, solid_capstyle="round")
        axis.plot(median, at, "o", color=LABELS[label], markersize=9)
    axis.set_yticks(range(len(rows)), [row[0] for row in rows])
    axis.axvline(0, color=SOFT, linewidth=0.8)
    axis.set_xlabel("(B3 − B4) / (B3 + B4)")
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.spines[["top", "right", "left"]].set_visible(False)


def tour_tiles(con: Con, figure: Any) -> None:
    """Which tiles a read needs, on the map and in the file."""
    ((offsets, counts, tile, width, transform, size),) = con.execute(
        "SELECT B4_metadata.tile_offsets, B4_metadata.tile_byte_counts, B4_metadata.tile_width, B4_metadata.image_width, "
        "B4_metadata.transform, B4_metadata.file_size FROM rasteret_collection(landsat) WHERE id LIKE '%224077%'"
    ).fetchall()
    ((tiles, requests, fetched),) = con.execute(
        "SELECT tiles, requests, bytes FROM rasteret_plan(landsat, plots, bands := ['B4']) WHERE record_id LIKE '%224077%'"
    ).fetchall()
    cells = con.execute(
        f"SELECT DISTINCT row // {tile}, col // {tile} FROM rasteret_pixels(landsat, plots, bands := ['B4'], pixels := 'window') "
        "WHERE record_id LIKE '%224077%'"
    ).fetchall()
    across = -(-width // tile)
    needed = sorted(row * across + col for row, col in cells)
    if len(needed) != tiles:
        raise SystemExit(f"the picture shows {len(needed)} tiles, rasteret_plan says {tiles}")
    left, right = figure.subplots(1, 2, width_ratios=(1, 2.1))
    pixels, extent = picture(con, "landsat", "224077", ["B4"])
    left.imshow(stretched(pixels)[..., 0], extent=extent, cmap="Greys_r", alpha=0.75)
    step = tile * transform[0]
    for at in range(len(offsets)):
        x, y = extent[0] + (at % across) * step, extent[3] - (at // across) * step
        wide, high = min(step, extent[1] - x), min(step, y - extent[2])
        colour = {"facecolor": FILL, "alpha": 0.45} if at in needed else {"facecolor": "none"}
        left.add_patch(Rectangle((x, y - high), wide, high, linewidth=0, **colour))
        left.add_patch(Rectangle((x, y - high), wide, high, fill=False, edgecolor="white", linewidth=1))
        left.text(x + wide / 2, y - high / 2, str(at), ha="center", va="center", fontsize=7, color="white")
    for _, shape in shapes(con, "plots", UTM):
        outline(left, shape, color=EDGE, linewidth=1.8)
    bare(left, extent)
    left.set_title(f"{len(offsets)} tiles; the plots lie on {tiles}", fontsize=9, color=INK)
    right.add_patch(Rectangle((0, 0), size / 1000, 1, facecolor="#edf0f3", edgecolor=SOFT, linewidth=0.8))
    head = min(offsets) / 1000
    for at, (start, length) in enumerate(zip(offsets, counts, strict=True)):
        right.add_patch(Rectangle((start / 1000, 0), length / 1000, 1, facecolor=FILL if at in needed else "white", edgecolor=SOFT, linewidth=0.6))
        right.text((start + length / 2) / 1000, 0.5, str(at), ha="center", va="center", fontsize=6.5, color="white" if at in needed else INK)
    right.text(head / 2, 0.5, "header and overviews:\nno pixel that the plots need", ha="center", va="center", fontsize=7, color=INK)
    told = f"{tiles} tiles with {fetched / 1000:.0f} kB, in {requests} requests, out of a file of {size / 1000:.0f} kB"
    right.text(size / 1000, -0.2, told, ha="right", va="top", fontsize=9, color=FILL)
    right.set_xlim(-2, size / 1000 + 2)
    right.set_ylim(-1.4, 2)
    right.set_yticks([])
    right.set_xlabel("kB in the file")
    right.spines[["top", "right", "left", "bottom"]].set_visible(False)
    right.set_title("the file of band B4", fontsize=9, color=INK)


def cookbook_plots(con: Con, figure: Any) -> None:
    """The second sample: the image, its NDVI, and the mask of bright pixels."""
    axes = figure.subplots(1, 3)
    pixels, extent = picture(con, "rgbn", "rgbn_20160101", ["R", "G", "B", "NIR"])
    ndvi = (pixels[..., 3] - pixels[..., 0]) / (pixels[..., 3] + pixels[..., 0])
    bright = pixels[..., :3].max(axis=-1) >= 180
    axes[0].imshow(stretched(pixels[..., :3]), extent=extent)
    axes[1].imshow(ndvi, extent=extent, cmap="RdYlGn", vmin=-0.5, vmax=0.5)
    axes[2].imshow(np.where(bright, np.nan, ndvi), extent=extent, cmap="RdYlGn", vmin=-0.5, vmax=0.5)
    for axis, title in zip(axes, ("the image and the five plots", "NDVI", "NDVI where greatest(R, G, B) < 180"), strict=True):
        for label, shape in shapes(con, "rgbn_plots", UTM18):
            outline(axis, shape, color="white", linewidth=2.6)
            outline(axis, shape, color=PLOT_COLOURS[label], linewidth=1.4)
            if axis is axes[0]:
                paper = {"boxstyle": "round,pad=0.2", "facecolor": "white", "alpha": 0.85, "linewidth": 0}
                axis.text(shape.centroid.x, shape.centroid.y, label, ha="center", va="center", fontsize=7, color=PLOT_COLOURS[label], bbox=paper)
        axis.set_title(title, fontsize=9, color=INK, y=1.0)
        bare(axis, extent)


def cookbook_nearest(con: Con, figure: Any) -> None:
    """Records and visits on a line of time; each visit with the record that it gets."""
    axis = figure.subplots()
    records = dict(con.execute("SELECT id, datetime FROM rasteret_collection(rgbn)").fetchall())
    for day in records.values():
        axis.plot(day, 1, "s", color=FILL, markersize=11)
        axis.annotate(f"{day:%Y-%m-%d}", (day, 1), (0, 11), textcoords="offset points", ha="center", fontsize=8, color=FILL)
    visits = con.execute(
        "WITH visits AS (SELECT -72.2050 AS lon, 18.5200 AS lat, unnest([TIMESTAMP '2016-04-20 09:30:00', TIMESTAMP '2016-08-20 15:00:00']) AS seen) "
        "SELECT seen, record_id, status FROM rasteret_sample(rgbn, visits, bands := ['NIR'], x := 'lon', y := 'lat', "
        "match := 'nearest', time_column := 'seen', tolerance := INTERVAL 30 DAY) ORDER BY seen"
    ).fetchall()
    for seen, record, status in visits:
        reach = np.timedelta64(30, "D").item()
        axis.plot([seen - reach, seen + reach], [0, 0], color=EDGE, linewidth=8, alpha=0.2, solid_capstyle="butt")
        axis.plot(seen, 0, "o", color=EDGE, markersize=9)
        axis.annotate(f"{seen:%Y-%m-%d}: {status}", (seen, 0), (0, -18), textcoords="offset points", ha="center", fontsize=8, color=EDGE)
        if record is not None:
            axis.annotate("", (records[record], 0.86), (seen, 0.14), arrowprops={"arrowstyle": "->", "color": INK, "linewidth": 1.3})
    axis.set_yticks([0, 1], ["visits, ± 30 days", "records"])
    axis.set_ylim(-0.75, 1.55)
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)


Draw = Callable[[Con, Any], None]
PICTURES: dict[str, tuple[Draw, tuple[float, float], str]] = {
    "tour_map": (tour_map, (4.1, 8.0), "png"),
    "tour_points": (tour_points, (6.4, 3.2), "svg"),
    "tour_arrays": (tour_arrays, (9, 3.0), "png"),
    "tour_coverage": (tour_coverage, (4.6, 4.3), "svg"),
    "tour_zonal": (tour_zonal, (6.4, 2.6), "svg"),
    "tour_tiles": (tour_tiles, (9, 3.4), "png"),
    "cookbook_plots": (cookbook_plots, (9.6, 3.1), "png"),
    "cookbook_nearest": (cookbook_nearest, (8, 2.3), "svg"),
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--only", choices=PICTURES)
    args = parser.parse_args(argv)
    plt.switch_backend("Agg")
    mpl.rcParams.update({"svg.hashsalt": "rasteret", "font.size": 9, "font.family": "DejaVu Sans", "text.color": INK})
    out = args.out.resolve()
    for name, (draw, size, kind) in PICTURES.items():
        if args.only not in (None, name):
            continue
        figure = plt.figure(figsize=size, layout="constrained")
        with sample() as con:
            results(con, SETUP)
            draw(con, figure)
        path = out / f"{name}.{kind}"
        figure.savefig(path, dpi=110, metadata={"Date": None} if kind == "svg" else None)
        plt.close(figure)
        if kind == "png":
            with Image.open(path) as drawn:
                few = drawn.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE)
            few.save(path, optimize=True)
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
