"""What :mod:`benchmarks.soak` reads and what must come of it: scenes, points, boxes and polygons, with the truth by rasterio and exactextract."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import rasterio
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource

from benchmarks.failing import TILES

EPSG, LEFT, TOP, PIXEL = 32633, 500_000.0, 5_200_000.0, 10.0
SIZE, TILE, NODATA = 1024, 128, 0
SHIFT = 384
"""Pixels by which the scenes with odd numbers lie further east: some places are in half of the scenes."""
SCENES = 8
BANDS = ("red", "nir")
MARGIN = 4
"""Pixels that points and shapes keep from the edges of scenes."""
POINTS, BOXES, POLYGONS = 1000, 100, 100
STATS = ("count", "sum", "min", "max", "mean")


@dataclass(frozen=True)
class Scene:
    """One record; ``pixels`` as rasterio reads them back from the files."""

    id: str
    left: int
    """Column of its first pixel, in pixels from :data:`LEFT`."""
    files: dict[str, str]
    """Band → path below the folder."""
    pixels: dict[str, np.ndarray]

    def has(self, first: float, last: float) -> bool:
        """Are the columns from ``first`` to ``last``, in pixels from :data:`LEFT`, in it?"""
        return self.left <= first and last <= self.left + SIZE


@dataclass(frozen=True)
class World:
    """All places are in pixels from :data:`LEFT`, :data:`TOP`: ``points`` (column, row), ``boxes`` (column, row, width, height)."""

    scenes: list[Scene]
    points: list[tuple[float, float]]
    boxes: list[tuple[int, int, int, int]]
    polygons: list[shapely.Polygon]
    """In pixels, y downwards."""
    statistics: dict[tuple[int, str, str], tuple[float | None, ...]]
    """(polygon, scene, band) → :data:`STATS` by exactextract."""


def make_world(folder: Path, seed: int) -> World:
    """Write the scenes below ``folder`` and work out the truth."""
    rng = random.Random(seed)
    scenes = [write_scene(folder, number, seed) for number in range(SCENES)]
    (folder / TILES).write_text(json.dumps({f"/{path}": tiles(folder / path) for scene in scenes for path in scene.files.values()}))
    points = [(column(rng, 1) + 0.1 + 0.8 * rng.random(), rng.randrange(MARGIN, SIZE - MARGIN) + 0.1 + 0.8 * rng.random()) for _ in range(POINTS)]
    boxes = []
    for _ in range(BOXES):
        width, height = rng.randrange(1, 90), rng.randrange(1, 60)
        boxes.append((column(rng, width), rng.randrange(MARGIN, SIZE - MARGIN - height), width, height))
    polygons = [polygon(rng) for _ in range(POLYGONS)]
    return World(scenes, points, boxes, polygons, statistics(scenes, polygons))


def column(rng: random.Random, width: int) -> int:
    """The first of ``width`` columns that no edge of a scene comes near."""
    parts = ((0, SHIFT), (SHIFT, SIZE), (SIZE, SIZE + SHIFT))
    low, high = rng.choice([(low, high) for low, high in parts if high - low > width + 2 * MARGIN])
    return rng.randrange(low + MARGIN, high - MARGIN - width + 1)


def polygon(rng: random.Random) -> shapely.Polygon:
    radius = rng.uniform(3, 45)
    x = column(rng, math.ceil(2 * radius) + 1) + radius
    y = rng.uniform(radius + MARGIN, SIZE - radius - MARGIN)
    turns = sorted(rng.uniform(0, 2 * math.pi) for _ in range(9))
    return shapely.Polygon([(x + radius * math.cos(turn), y + radius * math.sin(turn)) for turn in turns])


def write_scene(folder: Path, number: int, seed: int) -> Scene:
    """Deflate, whose checksum tells of flipped bits; a patch of nodata."""
    left = SHIFT * (number % 2)
    files, pixels = {}, {}
    for at, band in enumerate(BANDS):
        rng = np.random.default_rng((seed, number, at))
        rows, cols = np.mgrid[:SIZE, :SIZE]
        values = 2000 + 900 * np.sin(cols / 40 + number) + 700 * np.cos(rows / 30 - at) + rng.normal(0, 60, (SIZE, SIZE))
        values[200:280, 100:900] = NODATA
        path = f"scene{number}/{band}.tif"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        profile = {"driver": "GTiff", "width": SIZE, "height": SIZE, "count": 1, "dtype": "uint16", "nodata": NODATA, "crs": f"EPSG:{EPSG}"}
        profile |= {"tiled": True, "blockxsize": TILE, "blockysize": TILE, "compress": "deflate", "predictor": 2}
        with rasterio.open(folder / path, "w", transform=rasterio.Affine(PIXEL, 0, LEFT + left * PIXEL, 0, -PIXEL, TOP), **profile) as out:
            out.write(values.astype("uint16"), 1)
        with rasterio.open(folder / path) as source:
            files[band], pixels[band] = path, source.read(1)
    return Scene(f"scene{number}", left, files, pixels)


def tiles(path: Path) -> list[tuple[int, int]]:
    """Where the compressed bytes of each tile are: (start, stop)."""
    found = []
    with rasterio.open(path) as source:
        for row, col in product(range(SIZE // TILE), repeat=2):
            start, size = (int(source.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE"))
            found.append((start, start + size))
    return found


def statistics(scenes: list[Scene], polygons: list[shapely.Polygon]) -> dict[tuple[int, str, str], tuple[float | None, ...]]:
    features = [
        {"type": "Feature", "id": str(number), "geometry": shapely.transform(shape, lambda at: at * (1, -1)).__geo_interface__, "properties": {}}
        for number, shape in enumerate(polygons)
    ]
    found = {}
    for scene in scenes:
        inside = [number for number, shape in enumerate(polygons) if scene.has(shape.bounds[0], shape.bounds[2])]
        for band, pixels in scene.pixels.items():
            values = np.where(pixels == NODATA, np.nan, pixels.astype(float))
            source = NumPyRasterSource(values, scene.left, -SIZE, scene.left + SIZE, 0, nodata=np.nan)
            for number, answer in zip(inside, exact_extract(source, [features[number] for number in inside], list(STATS)), strict=True):
                found[number, scene.id, band] = tuple(
                    None if answer["properties"][name] is None else float(answer["properties"][name]) for name in STATS
                )
    return found
