"""Zonal statistics by other Python libraries: exactextract, rasterstats, and rasterio by hand."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np

from benchmarks.contender import Contender, Projected
from benchmarks.peers import GDAL, RasterioThreads
from benchmarks.zonal import STATISTICS, ZONAL, in_order

THREADS = int(os.environ.get("BENCHMARK_ZONAL_THREADS", "8"))
CELLS = int(os.environ.get("BENCHMARK_ZONAL_CELLS", "4000000"))
"""Pixels that exactextract holds at once: two tiles, so that its blocks are not smaller than the file's."""


class ZonalByFile(Contender):
    """One task per file in a pool of threads; zones are projected in the call, once per CRS."""

    workloads: ClassVar[frozenset[str]] = frozenset(ZONAL)
    environ: ClassVar[dict[str, str]] = GDAL

    def setup(self) -> None:
        self.load()
        self.pool = ThreadPoolExecutor(THREADS)

    def load(self) -> None:
        """Imports."""
        raise NotImplementedError

    def zones(self, epsg: int, fields: list[Any]) -> Any:
        """The zones of one CRS in the library's own form."""
        raise NotImplementedError

    def statistics(self, path: str, zones: Any) -> Any:
        """The timed work on one file."""
        raise NotImplementedError

    def numbers(self, raw: Any) -> np.ndarray:
        """(zones, statistics) of one file, not timed."""
        raise NotImplementedError

    def close(self) -> None:
        self.pool.shutdown()

    def run(self, call: int) -> list[Any]:
        del call
        inputs, places = self.inputs, Projected(self.inputs)
        by_crs = {scene.epsg: self.zones(scene.epsg, places.fields(scene.epsg)) for scene in inputs.scenes}
        jobs = [(scene.hrefs[band], by_crs[scene.epsg]) for scene in inputs.scenes for band in inputs.bands]
        return list(self.pool.map(lambda job: self.statistics(*job), jobs))

    def result(self, raw: list[Any]) -> np.ndarray:
        inputs = self.inputs
        tables = np.stack([self.numbers(one) for one in raw], axis=1)
        return tables.reshape(len(inputs.ids), len(inputs.scenes), len(inputs.bands), len(STATISTICS))


class ExactExtract(ZonalByFile):
    """``exact_extract`` per file; raster-sequential, which decodes each tile once."""

    packages: ClassVar[tuple[str, ...]] = ("exactextract", "rasterio", "geopandas")
    how: ClassVar[str] = f"exact_extract per file, strategy raster-sequential, {THREADS} threads, GDAL options for COGs over HTTP"
    strategy: ClassVar[str] = os.environ.get("BENCHMARK_ZONAL_STRATEGY", "raster-sequential")

    def load(self) -> None:
        import geopandas
        import rasterio
        from exactextract import exact_extract
        from exactextract.raster import RasterioRasterSource

        self.extract, self.source, self.open, self.frame = exact_extract, RasterioRasterSource, rasterio.open, geopandas.GeoDataFrame

    def zones(self, epsg: int, fields: list[Any]) -> Any:
        return self.frame({"id": np.arange(len(fields))}, geometry=fields, crs=epsg)

    def statistics(self, path: str, zones: Any) -> Any:
        options: dict[str, Any] = {"max_cells_in_memory": CELLS} if self.strategy == "raster-sequential" else {}
        with self.open(path) as dataset:
            return self.extract(
                self.source(dataset), zones, list(STATISTICS), include_cols=["id"], output="pandas", strategy=self.strategy, **options
            )

    def numbers(self, raw: Any) -> np.ndarray:
        return in_order(raw)


class RasterStats(ZonalByFile):
    """``rasterstats.zonal_stats`` per file, on the whole band as an array: given a path it reads each zone through a VRT, far slower here."""

    packages: ClassVar[tuple[str, ...]] = ("rasterstats", "rasterio")
    how: ClassVar[str] = f"zonal_stats on whole bands as arrays, {THREADS} threads, GDAL options for COGs over HTTP; pixel centres"
    rule: ClassVar[str] = "center"

    def load(self) -> None:
        import rasterio
        import rasterstats

        self.zonal_stats, self.open = rasterstats.zonal_stats, rasterio.open

    def zones(self, epsg: int, fields: list[Any]) -> Any:
        del epsg
        return fields

    def statistics(self, path: str, zones: Any) -> Any:
        with self.open(path) as dataset:
            pixels, transform, nodata = dataset.read(1), dataset.transform, dataset.nodata
        return self.zonal_stats(zones, pixels, affine=transform, nodata=nodata, stats=list(STATISTICS))

    def numbers(self, raw: Any) -> np.ndarray:
        return np.array([[np.nan if row[name] is None else float(row[name]) for name in STATISTICS] for row in raw])


class RasterStatsPaths(RasterStats):
    """``rasterstats.zonal_stats(zones, path)``, as its documentation shows it; it reads the window of each zone by itself."""

    how: ClassVar[str] = f"zonal_stats(zones, path) per file, {THREADS} threads, GDAL options for COGs over HTTP; pixel centres"

    def statistics(self, path: str, zones: Any) -> Any:
        return self.zonal_stats(zones, path, stats=list(STATISTICS))


class RasterioZonal(RasterioThreads):
    """rasterio by hand, as in W2, each window reduced with NumPy where it is read; masks once per grid. Pixel centres."""

    workloads: ClassVar[frozenset[str]] = frozenset(ZONAL)
    how: ClassVar[str] = "the rasterio of W2 with NumPy sums of each window's pixels; pixel centres"
    rule: ClassVar[str] = "center"

    def run(self, call: int) -> np.ndarray:
        del call
        inputs, places = self.inputs, Projected(self.inputs)
        by_grid = {epsg: self.chips_in_order(places.fields(epsg), layout) for epsg, layout in self.layouts().items()}
        at = {int(number): place for place, number in enumerate(inputs.ids)}
        out = np.full((len(inputs.ids), len(inputs.scenes), len(inputs.bands), len(STATISTICS)), np.nan)
        out[..., 0] = 0

        def task(scene: int, band: int) -> None:
            with self.datasets.lend(inputs.scenes[scene].hrefs[inputs.bands[band]]) as dataset:
                for number, (row, col, height, width), mask in by_grid[inputs.scenes[scene].epsg]:
                    pixels = dataset.read(1, window=self.window(col, row, width, height))[~mask]
                    pixels = pixels[pixels != dataset.nodata]
                    if len(pixels):
                        total = int(pixels.sum(dtype=np.int64))
                        out[at[number], scene, band] = len(pixels), total / len(pixels), pixels.min(), pixels.max(), total

        list(self.pool.map(lambda job: task(*job), [(s, b) for s in range(len(inputs.scenes)) for b in range(len(inputs.bands))]))
        return out
