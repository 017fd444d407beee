"""async-geotiff over obstore: ``GeoTIFF.open``, ``fetch_tile`` for points, ``read(window=…)`` for fields and chips, 32 at once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any, ClassVar

import numpy as np

from benchmarks.contender import Contender, Projected, window_of
from benchmarks.workloads import Chip, FileFacts

IN_FLIGHT = 32


class AsyncGeotiff(Contender):
    """It has no sampling and no masking of its own: points are grouped by tile, fields are masked with rasterio, both by hand."""

    workloads: ClassVar[frozenset[str]] = frozenset({"W1", "W2", "W3", "W5"})
    packages: ClassVar[tuple[str, ...]] = ("async-geotiff", "async-tiff", "obstore")
    how: ClassVar[str] = f"{IN_FLIGHT} at once; points by fetch_tile, each tile once; fields by read(window), masks by rasterio"

    def setup(self) -> None:
        from async_geotiff import GeoTIFF, Window
        from obstore.store import HTTPStore

        self.open, self.window = GeoTIFF.open, Window
        self.store = HTTPStore.from_url(self.inputs.base, client_options={"allow_http": True})
        self.loop = asyncio.new_event_loop()
        self.opened: dict[str, Any] = {}

    def close(self) -> None:
        self.loop.close()

    def run(self, call: int) -> Any:
        del call
        work = {"W1": self.values, "W2": self.chips, "W3": self.chips, "W5": self.headers}[self.inputs.workload]
        return self.loop.run_until_complete(work())

    def result(self, raw: Any) -> Any:
        if self.inputs.workload != "W5":
            return raw
        return [self.facts(scene.id, tif) for scene, tif in zip(self.inputs.scenes, raw, strict=True)]

    async def tif(self, url: str) -> Any:
        if url not in self.opened:
            self.opened[url] = await self.open(url.removeprefix(f"{self.inputs.base}/"), store=self.store)
        return self.opened[url]

    async def bounded(self, jobs: list[Any], work: Any) -> list[Any]:
        """``work(*job)`` for all jobs, :data:`IN_FLIGHT` at once, in order."""
        gate = asyncio.Semaphore(IN_FLIGHT)

        async def one(job: Any) -> Any:
            async with gate:
                return await work(*job)

        return await asyncio.gather(*(one(job) for job in jobs))

    async def open_all(self) -> dict[tuple[int, int], Any]:
        jobs = [(s, b) for s in range(len(self.inputs.scenes)) for b in range(len(self.inputs.bands))]
        urls = [(self.inputs.scenes[s].hrefs[self.inputs.bands[b]],) for s, b in jobs]
        return dict(zip(jobs, await self.bounded(urls, self.tif), strict=True))

    async def values(self) -> np.ndarray:
        inputs, places = self.inputs, Projected(self.inputs)
        out = np.zeros((len(inputs.ids), len(inputs.scenes), len(inputs.bands)), np.uint16)
        tifs = await self.open_all()
        by_grid: dict[int, list[tuple]] = {}
        for s, scene in enumerate(inputs.scenes):
            if scene.epsg not in by_grid:
                by_grid[scene.epsg] = points_by_tile(*places.points(scene.epsg), tifs[s, 0])

        async def task(number: int, s: int, b: int) -> None:
            (across, down), at, rows, cols = by_grid[inputs.scenes[s].epsg][number]
            tile = await tifs[s, b].fetch_tile(across, down)
            out[at, s, b] = tile.array.data[0][rows, cols]

        jobs = [(number, s, b) for s, b in tifs for number in range(len(by_grid[inputs.scenes[s].epsg]))]
        await self.bounded(sorted(jobs), task)
        return out

    async def chips(self) -> list[Chip]:
        from rasterio.features import geometry_mask

        inputs, places = self.inputs, Projected(self.inputs)
        tifs = await self.open_all()
        by_grid: dict[int, list[tuple]] = {}
        for s, scene in enumerate(inputs.scenes):
            if scene.epsg in by_grid:
                continue
            tif, found = tifs[s, 0], []
            for number, field in zip(inputs.ids, places.fields(scene.epsg), strict=True):
                if window := window_of(field.bounds, ~tif.transform, tif.width, tif.height):
                    row, col, rows, cols = window
                    shift = tif.transform @ tif.transform.translation(col, row)
                    found.append((int(number), window, geometry_mask([field], (rows, cols), shift) if inputs.workload == "W2" else None))
            by_grid[scene.epsg] = found

        async def task(s: int, b: int, number: int, window: tuple[int, int, int, int], mask: np.ndarray | None) -> Chip:
            row, col, rows, cols = window
            read = await tifs[s, b].read(window=self.window(col_off=col, row_off=row, width=cols, height=rows))
            values = read.data[0]
            if mask is not None:
                values[mask] = 0
            return Chip(number, s, b, row, col, values)

        return await self.bounded([(s, b, *member) for s, b in tifs for member in by_grid[inputs.scenes[s].epsg]], task)

    async def headers(self) -> list[Any]:
        self.opened.clear()
        return await self.bounded([(scene.hrefs["B04"],) for scene in self.inputs.scenes], self.tif)

    def facts(self, record: str, tif: Any) -> FileFacts:
        sizes = (tif.width, tif.height, tif.tile_width, tif.tile_height)
        return FileFacts(record, *sizes, str(tif.dtype), tif.nodata, tif.crs.to_epsg(), tuple(tif.transform)[:6])


def points_by_tile(x: np.ndarray, y: np.ndarray, tif: Any) -> list[tuple]:
    """((tile x, tile y), indices of points, rows, cols within the tile) for each tile that holds a point."""
    cols, rows = (np.floor(v).astype(np.int64) for v in ~tif.transform * (x, y))
    inside = np.flatnonzero((cols >= 0) & (rows >= 0) & (cols < tif.width) & (rows < tif.height))
    cols, rows = cols[inside], rows[inside]
    members: dict[tuple[int, int], np.ndarray] = defaultdict(lambda: np.empty(0, np.int64))
    tile = rows // tif.tile_height * tif.tile_count[0] + cols // tif.tile_width
    order = np.argsort(tile, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(tile[order])) + 1) if len(order) else []:
        members[int(cols[part[0]] // tif.tile_width), int(rows[part[0]] // tif.tile_height)] = part
    return [(key, inside[part], rows[part] % tif.tile_height, cols[part] % tif.tile_width) for key, part in members.items()]
