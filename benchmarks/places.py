"""Where the benchmarks read: points, fields with labels, and one chip, as Parquet tables (WKB and longitude/latitude, CRS84).

Fields are made so that no pixel can be disputed: no pixel centre lies within :data:`MARGIN` of an edge, in either zone. Whether a reader
densifies edges before it projects them, or in which order it adds, then changes no pixel; results can be compared exactly.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import Transformer

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.archive import Grid

PIXEL = 10.0
TILE = 1024
MARGIN = 0.004
"""Metres. An edge of 600 m that is straight in longitude/latitude bends by less than 2 mm in UTM here."""
CHIP = 256
CROPS = ("wheat", "rice", "maize", "fallow", "orchard")


class Ground:
    """The grids of the archive and the way between them and longitude/latitude."""

    def __init__(self, grids: list[Grid]) -> None:
        self.grids = grids
        self.forward = [Transformer.from_crs("OGC:CRS84", g.epsg, always_xy=True) for g in grids]
        self.backward = [Transformer.from_crs(g.epsg, "OGC:CRS84", always_xy=True) for g in grids]

    def lonlat(self, xy: np.ndarray) -> np.ndarray:
        """(n, 2) coordinates of the first zone to longitude/latitude."""
        return np.column_stack(self.backward[0].transform(xy[:, 0], xy[:, 1]))

    def pixels(self, lonlat: np.ndarray, grid: int) -> np.ndarray:
        """(n, 2) longitude/latitude to fractional (col, row) of a grid."""
        x, y = self.forward[grid].transform(lonlat[:, 0], lonlat[:, 1])
        return np.column_stack([(x - self.grids[grid].left) / PIXEL, (self.grids[grid].top - y) / PIXEL])

    def common_box(self, inset: float) -> tuple[float, float, float, float]:
        """A box of the first zone that lies inside every grid with ``inset`` metres to spare."""
        first = self.grids[0]
        outlines = []
        for grid, back in zip(self.grids, self.backward, strict=True):
            ring = shapely.segmentize(shapely.box(*grid.bounds), 2000.0)
            outlines.append(shapely.transform(ring, lambda x, y, b=back: self.forward[0].transform(*b.transform(x, y)), interleaved=False))
        inside = shapely.intersection_all(outlines)
        left, bottom, right, top = first.bounds
        while not inside.contains(shapely.box(left, bottom, right, top)):
            left, bottom, right, top = left + 20, bottom + 20, right - 20, top - 20
        return left + inset, bottom + inset, right - inset, top - inset


def nearest_centre(ring: np.ndarray) -> float:
    """Least distance, in pixels, from the edges of a closed ring of (col, row) to any pixel centre that a row or column of centres meets there."""
    least = np.inf
    for (c0, r0), (c1, r1) in itertools.pairwise(ring):
        length = np.hypot(c1 - c0, r1 - r0)
        for a0, b0, a1, b1 in ((c0, r0, c1, r1), (r0, c0, r1, c1)):
            low, high = sorted((b0, b1))
            lines = np.arange(np.ceil(low - 0.5), np.floor(high - 0.5) + 1) + 0.5
            if len(lines):
                across = a0 + (lines - b0) * (a1 - a0) / (b1 - b0) - 0.5
                least = min(least, float(np.abs(across - np.round(across)).min() * (high - low) / length))
    return least


def undisputed(ground: Ground, ring: np.ndarray) -> bool:
    """No pixel centre near an edge and no bound near a pixel's border, in every grid."""
    for grid in range(len(ground.grids)):
        at = ground.pixels(ring, grid)
        bounds = np.concatenate([at.min(axis=0), at.max(axis=0)])
        if np.abs(bounds - np.round(bounds)).min() * PIXEL < MARGIN or nearest_centre(at) * PIXEL < MARGIN:
            return False
    return True


def field_ring(rng: np.random.Generator, centre: np.ndarray) -> np.ndarray:
    """A closed ring in metres of the first zone: a skewed quadrilateral or an L, 10 to 60 pixels across, turned at random."""
    width, height = rng.uniform(10, 60, 2) * PIXEL / 2
    if rng.random() < 0.3:
        shape = np.array([(-1, -1), (1, -1), (1, 0.1), (0.1, 0.1), (0.1, 1), (-1, 1)], float)
    else:
        shape = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float) + rng.uniform(-0.2, 0.2, (4, 2))
    turn = rng.uniform(0, np.pi)
    rotation = np.array([(np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))])
    ring = shape * (width, height) @ rotation.T + centre
    return np.vstack([ring, ring[:1]])


def make_fields(ground: Ground, count: int, rng: np.random.Generator) -> list[shapely.Polygon]:
    """Every fourth field is put onto a tile edge of one of the grids; the others lie anywhere that all grids have."""
    left, bottom, right, top = ground.common_box(inset=450.0)
    edges = list(range(TILE, ground.grids[0].size, TILE))
    fields: list[shapely.Polygon] = []
    while len(fields) < count:
        centre = rng.uniform((left, bottom), (right, top))
        if len(fields) % 4 == 0 and edges:
            number = len(fields) // 4 % len(ground.grids)
            x, y = ground.forward[number].transform(*ground.lonlat(centre[None])[0])
            grid, edge = ground.grids[number], PIXEL * edges[rng.integers(len(edges))]
            x, y = (grid.left + edge, y) if len(fields) % 8 == 0 else (x, grid.top - edge)
            centre = np.array(ground.forward[0].transform(*ground.backward[number].transform(x, y)))
            if not (left < centre[0] < right and bottom < centre[1] < top):
                continue
        ring = ground.lonlat(field_ring(rng, centre))
        if undisputed(ground, ring):
            fields.append(shapely.Polygon(ring))
    return fields


def make_chip(ground: Ground) -> shapely.Polygon:
    """A square of 256 pixels of the first grid (a few more in the others, which are turned), inside one tile of every grid."""
    first = ground.grids[0]
    middle = max(ground.grids[0].size // TILE // 2, 0) * TILE
    for shift in range(120, TILE - CHIP - 120, 7):
        low, high = np.array([middle + 0.4 + shift] * 2), middle + shift + CHIP - 0.4
        square = np.array([(low[0], low[1]), (high, low[1]), (high, high), (low[0], high), (low[0], low[1])])
        ring = ground.lonlat(np.column_stack([first.left + square[:, 0] * PIXEL, first.top - square[:, 1] * PIXEL]))
        inside = []
        for grid in range(len(ground.grids)):
            at = ground.pixels(ring, grid)
            bounds = np.concatenate([at.min(axis=0), at.max(axis=0)])
            clear = np.abs(bounds - np.round(bounds)).min() > 0.1
            inside.append(clear and bool((at.min(axis=0) // TILE == at.max(axis=0) // TILE).all()))
        if all(inside):
            return shapely.Polygon(ring)
    msg = "no place for a chip inside one tile of every grid"
    raise RuntimeError(msg)


def make_points(ground: Ground, count: int, rng: np.random.Generator, *, clustered: bool) -> np.ndarray:
    """(n, 2) longitude/latitude: uniform, or in 40 clusters of 250 m."""
    left, bottom, right, top = ground.common_box(inset=1200.0 if clustered else 50.0)
    if not clustered:
        return ground.lonlat(rng.uniform((left, bottom), (right, top), (count, 2)))
    centres = rng.uniform((left, bottom), (right, top), (40, 2))
    spread = np.clip(rng.normal(0.0, 250.0, (count, 2)), -1000, 1000)
    return ground.lonlat(centres[rng.integers(40, size=count)] + spread)


def tile_order(ground: Ground, lonlat: np.ndarray) -> np.ndarray:
    """Indices that sort places by tile of the first grid, then by row and column."""
    col, row = ground.pixels(lonlat, 0).astype(np.int64).T
    return np.lexsort((col, row, col // TILE, row // TILE))


def point_table(ids: np.ndarray, lonlat: np.ndarray) -> pa.Table:
    wkb = shapely.to_wkb(shapely.points(lonlat))
    return pa.table({"point_id": ids, "lon": lonlat[:, 0], "lat": lonlat[:, 1], "geometry": pa.array(wkb, pa.binary())})


def field_table(ids: np.ndarray, fields: list[shapely.Polygon], labels: pa.Table) -> pa.Table:
    wkb = pa.array([shapely.to_wkb(fields[i]) for i in ids], pa.binary())
    return pa.table({"field_id": ids, "crop": labels["crop"].take(ids), "geometry": wkb})


def write_zones(out: Path, grid: Grid, count: int, seed: int) -> None:
    """``zones_{shuffled,sorted}.parquet``: polygons made like the fields, all over one grid."""
    ground, rng = Ground([grid]), np.random.default_rng((seed, 41))
    polygons = make_fields(ground, count, rng)
    inner = np.array([f.representative_point().coords[0] for f in polygons])
    labels = pa.table({"crop": pa.array([CROPS[i] for i in rng.integers(len(CROPS), size=count)])})
    pq.write_table(field_table(np.arange(count), polygons, labels), out / "zones_shuffled.parquet")
    pq.write_table(field_table(tile_order(ground, inner), polygons, labels), out / "zones_sorted.parquet")


def write_places(out: Path, grids: list[Grid], points: int, fields: int, seed: int) -> None:
    """``points_{uniform,clustered}_{shuffled,sorted}``, ``fields_{shuffled,sorted}``, ``labels`` and ``chip``, each ``.parquet``."""
    ground = Ground(grids)
    for number, kind in enumerate(("uniform", "clustered")):
        lonlat = make_points(ground, points, np.random.default_rng((seed, 21 + number)), clustered=kind == "clustered")
        order = tile_order(ground, lonlat)
        pq.write_table(point_table(np.arange(points), lonlat), out / f"points_{kind}_shuffled.parquet")
        pq.write_table(point_table(order, lonlat[order]), out / f"points_{kind}_sorted.parquet")
    rng = np.random.default_rng((seed, 31))
    polygons = make_fields(ground, fields, rng)
    inner = np.array([f.representative_point().coords[0] for f in polygons])
    labels = pa.table(
        {
            "field_id": np.arange(fields),
            "crop": pa.array([CROPS[i] for i in rng.integers(len(CROPS), size=fields)]),
            "split": pa.array([("train", "train", "train", "test")[i % 4] for i in range(fields)]),
            "lon": inner[:, 0],
            "lat": inner[:, 1],
            "geometry": pa.array(shapely.to_wkb(shapely.points(inner)), pa.binary()),
        }
    )
    pq.write_table(labels, out / "labels.parquet")
    pq.write_table(field_table(np.arange(fields), polygons, labels), out / "fields_shuffled.parquet")
    pq.write_table(field_table(tile_order(ground, inner), polygons, labels), out / "fields_sorted.parquet")
    chip = make_chip(ground)
    pq.write_table(pa.table({"chip_id": [0], "geometry": pa.array([shapely.to_wkb(chip)], pa.binary())}), out / "chip.parquet")
