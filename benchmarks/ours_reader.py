"""rasteret_sql's reader called directly, without DuckDB: what the SQL around it costs is the difference to ``ours``."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from benchmarks.contender import Contender
from benchmarks.ours import Ours
from benchmarks.workloads import Chip
from benchmarks.zonal import STATISTICS, ZONAL


class OursReader(Contender):
    """Records come from the collection that ``ours`` built; the clock covers projecting, windows, masks, reading."""

    workloads: ClassVar[frozenset[str]] = frozenset({"W1", "W2", "W3", *ZONAL})
    indexed: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = Ours.packages
    how: ClassVar[str] = "the reader's Python classes (PointReader, read_blocks, ZoneReader) on bands from the collection; defaults"

    def build(self) -> None:
        Ours(self.inputs, self.work).build()

    def setup(self) -> None:
        import shapely

        from rasteret_sql.collection.rows import bands_of_payload

        bands = self.inputs.bands
        table = ds.dataset(self.work / "ours" / "bench_records", format="parquet").to_table(
            columns=["id", "crs", "assets", *(f"{b}_metadata" for b in bands)]
        )
        ids = {scene.id: number for number, scene in enumerate(self.inputs.scenes)}
        assets = table["assets"].combine_chunks()
        parts = [pa.StructArray.from_arrays([assets.field(b), table[f"{b}_metadata"].combine_chunks()], ["asset", "meta"]) for b in bands]
        payload = pa.StructArray.from_arrays([table["crs"].combine_chunks(), *parts], ["crs", *(f"b{i}" for i in range(len(bands)))])
        self.records = [(ids[name], row) for name, row in zip(table["id"].to_pylist(), bands_of_payload(payload, bands), strict=True) if name in ids]
        self.shapes = None if self.inputs.workload == "W1" else np.array(self.inputs.fields, dtype=object)
        shapely.prepare(self.shapes)

    def run(self, call: int) -> Any:
        from rasteret_sql.reader.engine import Query

        with Query(f"call {call}") as query:
            if self.inputs.workload in ZONAL:
                return self.zones(query)
            return self.points(query) if self.inputs.workload == "W1" else self.blocks(query)

    def points(self, query: Any) -> Any:
        from rasteret_sql.reader.points import PointReader
        from rasteret_sql.reader.visits import Points, Visit

        every = np.arange(len(self.inputs.lon), dtype=np.int32)
        return PointReader(Points(self.inputs.lon, self.inputs.lat, "OGC:CRS84"), query).all([Visit(bands, every) for _, bands in self.records])

    def blocks(self, query: Any) -> Any:
        from rasteret_sql.raster.coverage import geometry_masks
        from rasteret_sql.raster.grid import Window
        from rasteret_sql.reader.areas import read_blocks, read_grid
        from rasteret_sql.reader.blocks import BlockRequest
        from rasteret_sql.reader.shapes import Shapes

        rule = "window" if self.inputs.workload == "W3" else "center"
        given = Shapes(self.shapes, "OGC:CRS84")
        drawn: dict[Any, Any] = {}
        requests, places = [], []
        for scene, bands in self.records:
            where = read_grid(bands)
            if where not in drawn:
                shapes, windows = given.on(where[1], where[0])
                drawn[where] = (windows, geometry_masks(shapes, where[0], windows, rule))
            windows, masks = drawn[where]
            for number in np.flatnonzero(windows[:, 2] * windows[:, 3]).tolist():
                requests.append(BlockRequest(bands, where[0], Window(*windows[number].tolist()), masks[number]))
                places.append((scene, number))
        return list(zip(places, requests, read_blocks(requests, query), strict=True))

    def zones(self, query: Any) -> Any:
        from rasteret_sql.raster.statistics import needs_of, parse_statistics
        from rasteret_sql.reader.shapes import Shapes
        from rasteret_sql.reader.zones import ZoneReader, ZoneRequest, ZoneVisit

        bands, statistics = self.inputs.bands, parse_statistics(STATISTICS)
        uses, kinds = {band: frozenset([band]) for band in bands}, dict.fromkeys(bands, "USMALLINT")
        request = ZoneRequest(bands, bands, {}, uses, kinds, statistics, needs_of(statistics))
        every = np.arange(len(self.inputs.ids))
        visits = [ZoneVisit(found, every, number, number) for number, (_, found) in enumerate(self.records)]
        return ZoneReader(Shapes(self.shapes, "OGC:CRS84"), request, query, lambda *_: {}).read(visits)

    def numbers(self, rows: Any) -> np.ndarray:
        inputs = self.inputs
        out = np.full((len(inputs.ids), len(inputs.scenes), len(inputs.bands), len(STATISTICS)), np.nan)
        scenes = np.array([scene for scene, _ in self.records])[rows.groups]
        for b, band in enumerate(inputs.bands):
            for places, results in rows.results[band]:
                for s, found in enumerate(results):
                    out[rows.zones[places], scenes[places], b, s] = np.where(found.valid, found.values, np.nan)
        return out

    def result(self, raw: Any) -> Any:
        inputs = self.inputs
        if inputs.workload in ZONAL:
            return self.numbers(raw)
        if inputs.workload == "W1":
            out = np.zeros((len(inputs.ids), len(inputs.scenes), len(inputs.bands)), np.uint16)
            for (scene, _), found in zip(self.records, raw, strict=True):
                for b, (values, valid) in enumerate(zip(found.values, found.valid, strict=True)):
                    out[found.points, scene, b] = np.where(valid, values, 0)
            return out
        return [
            Chip(
                int(inputs.ids[number]),
                scene,
                b,
                request.window.row,
                request.window.col,
                np.where(block.valid[b], block.values[b], 0).astype(np.uint16),
            )
            for (scene, number), request, block in raw
            for b in range(len(inputs.bands))
        ]
