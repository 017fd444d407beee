"""The contenders by name, and rasterio: tuned by hand in threads, and as a beginner would write it."""

from __future__ import annotations

import importlib
import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from benchmarks.contender import Contender, Projected, window_of
from benchmarks.workloads import Chip, FileFacts

CONTENDERS = {
    "ours": "benchmarks.ours:Ours",
    "ours-reader": "benchmarks.ours_reader:OursReader",
    "rasterio": "benchmarks.peers:RasterioThreads",
    "rasterio-pool": "benchmarks.peers:RasterioPool",
    "rasterio-naive": "benchmarks.peers:RasterioNaive",
    "rasteret": "benchmarks.peer_rasteret:Rasteret",
    "async-geotiff": "benchmarks.peer_async_geotiff:AsyncGeotiff",
    "odc-stac": "benchmarks.peer_odc_stac:OdcStac",
    "ours-cached": "benchmarks.ours:OursCached",
    "exactextract": "benchmarks.peer_zonal:ExactExtract",
    "sedonadb": "benchmarks.peer_sedonadb:SedonaDB",
    "sedonadb-plain": "benchmarks.peer_sedonadb:SedonaDBPlain",
    "rasterstats": "benchmarks.peer_zonal:RasterStats",
    "rasterstats-paths": "benchmarks.peer_zonal:RasterStatsPaths",
    "rasterio-zonal": "benchmarks.peer_zonal:RasterioZonal",
}


def contender_class(name: str) -> type[Contender]:
    module, _, attribute = CONTENDERS[name].partition(":")
    found: type[Contender] = getattr(importlib.import_module(module), attribute)
    return found


THREADS = int(os.environ.get("BENCHMARK_THREADS", "32"))
GDAL = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif",
    "CPL_VSIL_CURL_USE_HEAD": "YES",
    "CPL_VSIL_CURL_CACHE_SIZE": "67108864",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_TCP_KEEPALIVE": "YES",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_CACHEMAX": "512",
    "VSI_CACHE": "NO",
    "GDAL_NUM_THREADS": "1",
}


class Datasets:
    """Open datasets per URL, lent to one thread at a time: a dataset is not thread-safe, and opening one costs a request and CPU."""

    def __init__(self) -> None:
        import rasterio

        self.open = rasterio.open
        self.idle: dict[str, list[Any]] = defaultdict(list)

    @contextmanager
    def lend(self, url: str):
        try:
            dataset = self.idle[url].pop()
        except IndexError:
            dataset = self.open(url)
        try:
            yield dataset
        finally:
            self.idle[url].append(dataset)


class RasterioThreads(Contender):
    """rasterio as an expert would use it: 32 threads, points in one task per file and tile, fields in tile order per file."""

    workloads: ClassVar[frozenset[str]] = frozenset({"W1", "W2", "W3", "W5"})
    environ: ClassVar[dict[str, str]] = GDAL
    packages: ClassVar[tuple[str, ...]] = ("rasterio", "numpy")
    how: ClassVar[str] = f"{THREADS} threads, datasets pooled, reads ordered by tile, GDAL options for COGs over HTTP"

    def setup(self) -> None:
        import rasterio
        import rasterio.features
        from rasterio.windows import Window

        self.rasterio, self.features, self.window = rasterio, rasterio.features, Window
        self.datasets = Datasets()
        self.pool = ThreadPoolExecutor(THREADS)

    def close(self) -> None:
        self.pool.shutdown()

    def run(self, call: int) -> Any:
        del call
        return {"W1": self.values, "W2": self.chips, "W3": self.chips, "W5": self.headers}[self.inputs.workload]()

    def result(self, raw: Any) -> Any:
        return raw

    def layouts(self) -> dict[int, Any]:
        """(inverse transform, transform, width, height, block) per CRS: the scenes of a zone share a grid, so one file of each is asked."""
        first = {scene.epsg: scene.hrefs[self.inputs.bands[0]] for scene in self.inputs.scenes}

        def look(url: str):
            with self.datasets.lend(url) as d:
                return ~d.transform, d.transform, d.width, d.height, d.block_shapes[0]

        return dict(zip(first, self.pool.map(look, first.values()), strict=True))

    def values(self) -> np.ndarray:
        inputs, places = self.inputs, Projected(self.inputs)
        out = np.zeros((len(inputs.ids), len(inputs.scenes), len(inputs.bands)), np.uint16)
        by_grid = {epsg: self.points_by_tile(*places.points(epsg), layout) for epsg, layout in self.layouts().items()}

        def task(scene: int, band: int, at: np.ndarray, rows: np.ndarray, cols: np.ndarray, block: tuple[int, int, int, int]) -> None:
            with self.datasets.lend(inputs.scenes[scene].hrefs[inputs.bands[band]]) as dataset:
                row, col, height, width = block
                out[at, scene, band] = dataset.read(1, window=self.window(col, row, width, height))[rows, cols]

        jobs = []
        for s, scene in enumerate(inputs.scenes):
            for number, group in enumerate(by_grid[scene.epsg]):
                jobs += [(number, s, b, *group) for b in range(len(inputs.bands))]
        jobs.sort(key=lambda job: job[:3])  # the same tile of every file, then the next: all files are open early and few twice
        list(self.pool.map(lambda job: task(*job[1:]), jobs))
        return out

    def points_by_tile(self, x: np.ndarray, y: np.ndarray, layout: Any) -> list[tuple]:
        """(indices of points, rows, cols within the block, block as row, col, height, width) for each tile that holds a point."""
        inverse, _, width, height, (tall, wide) = layout
        cols, rows = (np.floor(v).astype(np.int64) for v in inverse * (x, y))
        inside = np.flatnonzero((cols >= 0) & (rows >= 0) & (cols < width) & (rows < height))
        cols, rows = cols[inside], rows[inside]
        tile = rows // tall * -(-width // wide) + cols // wide
        order = np.argsort(tile, kind="stable")
        cuts = np.flatnonzero(np.diff(tile[order])) + 1
        groups = []
        for part in np.split(order, cuts) if len(order) else []:
            r0, c0 = int(rows[part[0]] // tall * tall), int(cols[part[0]] // wide * wide)
            block = (r0, c0, min(tall, height - r0), min(wide, width - c0))
            groups.append((inside[part], rows[part] - r0, cols[part] - c0, block))
        return groups

    def chips(self) -> list[Chip]:
        inputs, places = self.inputs, Projected(self.inputs)
        by_grid = {epsg: self.chips_in_order(places.fields(epsg), layout) for epsg, layout in self.layouts().items()}

        def task(scene: int, band: int, members: list[tuple]) -> list[Chip]:
            found = []
            with self.datasets.lend(inputs.scenes[scene].hrefs[inputs.bands[band]]) as dataset:
                for number, (row, col, height, width), mask in members:
                    values = dataset.read(1, window=self.window(col, row, width, height))
                    if mask is not None:
                        values[mask] = 0
                    found.append(Chip(number, scene, band, row, col, values))
            return found

        jobs = [(s, b, by_grid[scene.epsg]) for s, scene in enumerate(inputs.scenes) for b in range(len(inputs.bands))]
        return [chip for chips in self.pool.map(lambda job: task(*job), jobs) for chip in chips]

    def chips_in_order(self, fields: list, layout: Any) -> list[tuple]:
        """(id, window, mask of the pixels outside) of every field, by the tile that the window begins in, which suits GDAL's block cache."""
        inverse, transform, width, height, (tall, wide) = layout
        found = []
        for number, field in zip(self.inputs.ids, fields, strict=True):
            window = window_of(field.bounds, inverse, width, height)
            if window is None:
                continue
            row, col, rows, cols = window
            mask = None
            if self.inputs.workload != "W3":
                mask = self.features.geometry_mask([field], (rows, cols), transform @ self.rasterio.Affine.translation(col, row))
            found.append(((row // tall, col // wide), (int(number), window, mask)))
        return [member for _, member in sorted(found, key=lambda f: f[0])]

    def headers(self) -> list[FileFacts]:
        def look(scene) -> FileFacts:
            with self.rasterio.open(scene.hrefs["B04"]) as d:
                height, width = d.block_shapes[0]
                return FileFacts(scene.id, d.width, d.height, width, height, d.dtypes[0], d.nodata, d.crs.to_epsg(), tuple(d.transform)[:6])

        return list(self.pool.map(look, self.inputs.scenes))


class RasterioPool(RasterioThreads):
    """The usual thread pool: one task per field and file in the order of the table; the same options and pooled datasets, GDAL's own cache size."""

    workloads: ClassVar[frozenset[str]] = frozenset({"W2"})
    environ: ClassVar[dict[str, str]] = {name: value for name, value in GDAL.items() if name != "GDAL_CACHEMAX"}
    how: ClassVar[str] = f"{THREADS} threads, datasets pooled, one window read per field and file, GDAL options for COGs over HTTP"

    def chips(self) -> list[Chip]:
        inputs, places = self.inputs, Projected(self.inputs)
        order = {int(number): place for place, number in enumerate(inputs.ids)}
        by_grid = {}
        for epsg, layout in self.layouts().items():
            by_grid[epsg] = sorted(self.chips_in_order(places.fields(epsg), layout), key=lambda member: order[member[0]])

        def task(scene: int, band: int, member: tuple) -> Chip:
            number, (row, col, height, width), mask = member
            with self.datasets.lend(inputs.scenes[scene].hrefs[inputs.bands[band]]) as dataset:
                values = dataset.read(1, window=self.window(col, row, width, height))
            values[mask] = 0
            return Chip(number, scene, band, row, col, values)

        jobs = [(s, b, member) for s, scene in enumerate(inputs.scenes) for member in by_grid[scene.epsg] for b in range(len(inputs.bands))]
        return list(self.pool.map(lambda job: task(*job), jobs))


class RasterioNaive(Contender):
    """rasterio as in its documentation: one file after the other, ``dataset.sample`` for points, ``rasterio.mask.mask`` for fields."""

    workloads: ClassVar[frozenset[str]] = frozenset({"W1", "W2", "W3", "W5"})
    packages: ClassVar[tuple[str, ...]] = ("rasterio", "numpy")
    how: ClassVar[str] = "sequential, default GDAL options, dataset.sample() and rasterio.mask.mask()"

    def setup(self) -> None:
        import rasterio
        import rasterio.mask

        self.rasterio, self.mask = rasterio, rasterio.mask.mask

    def result(self, raw: Any) -> Any:
        return raw

    def run(self, call: int) -> Any:
        del call
        inputs, places = self.inputs, Projected(self.inputs)
        if inputs.workload == "W5":
            return [self.header(scene) for scene in inputs.scenes]
        chips: list[Chip] = []
        values = np.zeros((len(inputs.ids), len(inputs.scenes), len(inputs.bands)), np.uint16)
        for s, scene in enumerate(inputs.scenes):
            for b, band in enumerate(inputs.bands):
                with self.rasterio.open(scene.hrefs[band]) as dataset:
                    if inputs.workload == "W1":
                        values[:, s, b] = [v[0] for v in dataset.sample(np.column_stack(places.points(scene.epsg)))]
                    else:
                        chips += self.chips(dataset, s, b, places.fields(scene.epsg))
        return values if inputs.workload == "W1" else chips

    def chips(self, dataset, scene: int, band: int, fields: list) -> list[Chip]:
        found = []
        for number, field in zip(self.inputs.ids, fields, strict=True):
            shape = field if self.inputs.workload == "W2" else field.envelope
            values, transform = self.mask(dataset, [shape], crop=True, indexes=1, all_touched=self.inputs.workload == "W3")
            col, row = ~dataset.transform * (transform.c, transform.f)
            found.append(Chip(int(number), scene, band, round(row), round(col), values))
        return found

    def header(self, scene) -> FileFacts:
        with self.rasterio.open(scene.hrefs["B04"]) as d:
            height, width = d.block_shapes[0]
            return FileFacts(scene.id, d.width, d.height, width, height, d.dtypes[0], d.nodata, d.crs.to_epsg(), tuple(d.transform)[:6])
