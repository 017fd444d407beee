"""The upstream project ``rasteret`` (PyPI), through its public API: build_from_table, sample_points, get_gdf, read_window."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from affine import Affine

from benchmarks.contender import Contender, Projected, window_of
from benchmarks.workloads import Chip, FileFacts

CLIENT_OPTIONS = {"connect_timeout": "5s", "pool_idle_timeout": "90s", "pool_max_idle_per_host": "50", "timeout": "30s"}
"""What rasteret gives obstore by itself."""


class Rasteret(Contender):
    """Its own index is built before the clock; reads go through ``Collection`` with its default concurrency."""

    workloads: ClassVar[frozenset[str]] = frozenset({"W1", "W2", "W3", "W5"})
    indexed: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("rasteret", "obstore", "imagecodecs")
    how: ClassVar[str] = "Collection.sample_points(bbox=…), get_gdf, read_window, build_from_table(enrich_cog=True)"

    def records(self) -> pa.Table:
        """The index with the ``assets`` struct that rasteret wants, hrefs absolute."""
        table = pq.read_table(self.inputs.index).slice(0, len(self.inputs.scenes))
        bands = [name for name in table.column_names if name.startswith("B")]
        assets = [{band: {"href": scene.hrefs[band]} for band in bands} for scene in self.inputs.scenes]
        return table.drop_columns(bands).append_column("assets", pa.array(assets))

    def backend(self) -> Any:
        """Its own obstore backend; only plain http has to be allowed for the loopback server."""
        from obstore.store import HTTPStore
        from rasteret.cloud import ObstoreBackend

        store = HTTPStore.from_url(self.inputs.base, client_options={"allow_http": True, **CLIENT_OPTIONS})
        return ObstoreBackend(store, url_prefix=f"{self.inputs.base}/")

    def build(self) -> None:
        import rasteret

        where = self.work / "rasteret"
        rasteret.build_from_table(self.records(), name="bench", workspace_dir=where, enrich_cog=True, force=True, backend=self.backend())

    def setup(self) -> None:
        import rasteret

        self.rasteret, self.store = rasteret, self.backend()
        if self.inputs.workload == "W5":
            self.table = self.records()
            return
        self.collection = rasteret.load(self.work / "rasteret" / "bench_records")
        self.bands = list(self.inputs.bands)
        self.grids: dict[int, tuple[Affine, int, int]] = {}
        for row in self.collection.to_table(columns=["proj:epsg", f"{self.bands[0]}_metadata"]).to_pylist():
            m = row[f"{self.bands[0]}_metadata"]
            a, c, e, f = m["transform"]
            self.grids[row["proj:epsg"]] = (Affine(a, 0.0, c, 0.0, e, f), m["image_width"], m["image_height"])

    def run(self, call: int) -> Any:
        inputs = self.inputs
        if inputs.workload == "W5":
            where = self.work / f"rasteret-headers-{call}"
            return self.rasteret.build_from_table(self.table, name="headers", workspace_dir=where, enrich_cog=True, force=True, backend=self.store)
        if inputs.workload == "W1":
            points = pa.table({"lon": inputs.lon, "lat": inputs.lat})
            box = (inputs.lon.min(), inputs.lat.min(), inputs.lon.max(), inputs.lat.max())
            return self.collection.sample_points(points, self.bands, x_column="lon", y_column="lat", geometry_crs=4326, bbox=box, backend=self.store)
        if inputs.workload == "W3":
            return self.windows()
        wkb = pa.array([shapely.to_wkb(f) for f in inputs.fields], pa.binary())
        return self.collection.get_gdf(wkb, self.bands, geometry_crs=4326, backend=self.store)

    def result(self, raw: Any) -> Any:
        inputs = self.inputs
        if inputs.workload == "W5":
            return self.file_facts(raw.to_table().to_pylist())
        scenes = {scene.id: s for s, scene in enumerate(inputs.scenes)}
        if inputs.workload == "W1":
            values = np.zeros((len(inputs.ids), len(inputs.scenes), len(inputs.bands)), np.uint16)
            scene = np.array([scenes[i] for i in raw["record_id"].to_pylist()])
            band = np.array([inputs.bands.index(b) for b in raw["band"].to_pylist()])
            values[raw["point_index"].to_numpy(), scene, band] = raw["value"].to_numpy().astype(np.uint16)
            return values
        if inputs.workload == "W2":
            return self.chips(raw, scenes)
        found = []
        for (row, col), numbers, pixels in raw:
            places = [(n, s, b) for n, s in enumerate(numbers) for b in range(len(inputs.bands))]
            found += [Chip(int(inputs.ids[0]), s, b, row, col, pixels[n, b]) for n, s, b in places]
        return found

    def chips(self, frame: Any, scenes: dict[str, int]) -> list[Chip]:
        chips = []
        for row in frame.to_dict("records"):
            scene, field = scenes[row["record_id"]], int(self.inputs.ids[row["geometry_id"] - 1])
            band, (c, r) = (
                self.inputs.bands.index(row["band"]),
                ~self.grids[self.inputs.scenes[scene].epsg][0] * (row["transform"].c, row["transform"].f),
            )
            chips.append(Chip(field, scene, band, round(r), round(c), row["data"]))
        return chips

    def windows(self) -> list[tuple[tuple[int, int], list[int], np.ndarray]]:
        """W3, one call a zone: ((row, col) of the first pixel, scene numbers, array of scenes, bands, rows, columns)."""
        found, places = [], Projected(self.inputs)
        for epsg, (transform, width, height) in self.grids.items():
            window = window_of(places.fields(epsg)[0].bounds, ~transform, width, height)
            if window is None:
                continue
            row, col, rows, cols = window
            (left, top), (right, bottom) = transform * (col, row), transform * (col + cols, row + rows)
            scenes = [s for s, scene in enumerate(self.inputs.scenes) if scene.epsg == epsg]
            pixels = self.collection.read_window(
                record_ids=[self.inputs.scenes[s].id for s in scenes],
                bounds=(left, bottom, right, top),
                res=(transform.a, -transform.e),
                bands=self.bands,
                target_crs=epsg,
                backend=self.store,
                group_by="id",
            )
            found.append(((row, col), scenes, pixels))
        return found

    def file_facts(self, rows: list[dict[str, Any]]) -> list[FileFacts]:
        facts = []
        for row in rows:
            m = row["B04_metadata"]
            a, c, e, f = m["transform"]
            transform = (a, 0.0, c, 0.0, e, f)
            sizes = (m["image_width"], m["image_height"], m["tile_width"], m["tile_height"])
            facts.append(FileFacts(row["id"], *sizes, m["dtype"], m["nodata"], row["proj:epsg"], transform))
        return facts
