"""The upstream project ``rasteret`` (PyPI), through its public API: build_from_table, sample_points, get_gdf, read_window."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from benchmarks.contender import Contender
from benchmarks.workloads import Chip, FileFacts

CLIENT_OPTIONS = {"connect_timeout": "5s", "pool_idle_timeout": "90s", "pool_max_idle_per_host": "50", "timeout": "30s"}
"""What rasteret gives obstore by itself."""


class Rasteret(Contender):
    """Its own index is built before the clock; reads go through ``Collection`` with its default concurrency."""

    workloads: ClassVar[frozenset[str]] = frozenset({"W1", "W2", "W3", "W5"})
    indexed: ClassVar[bool] = True
    how: ClassVar[str] = "Collection.sample_points(bbox=…), get_gdf, build_from_table(enrich_cog=True)"

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

    def run(self, call: int) -> Any:
        inputs = self.inputs
        if inputs.workload == "W5":
            where = self.work / f"rasteret-headers-{call}"
            return self.rasteret.build_from_table(self.table, name="headers", workspace_dir=where, enrich_cog=True, force=True, backend=self.store)
        if inputs.workload == "W1":
            points = pa.table({"lon": inputs.lon, "lat": inputs.lat})
            box = (inputs.lon.min(), inputs.lat.min(), inputs.lon.max(), inputs.lat.max())
            return self.collection.sample_points(points, self.bands, x_column="lon", y_column="lat", geometry_crs=4326, bbox=box, backend=self.store)
        wkb = pa.array([shapely.to_wkb(f) for f in inputs.fields], pa.binary())
        return self.collection.get_gdf(wkb, self.bands, geometry_crs=4326, all_touched=inputs.workload == "W3", backend=self.store)

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
        return self.chips(raw, scenes)

    def chips(self, frame: Any, scenes: dict[str, int]) -> list[Chip]:
        chips = []
        for row in frame.to_dict("records"):
            print({k: type(v) for k, v in row.items()}, row)
            raise SystemExit
        return chips

    def file_facts(self, rows: list[dict[str, Any]]) -> list[FileFacts]:
        facts = []
        for row in rows:
            m = row["B04_metadata"]
            a, c, e, f = m["transform"]
            transform = (a, 0.0, c, 0.0, e, f)
            sizes = (m["image_width"], m["image_height"], m["tile_width"], m["tile_height"])
            facts.append(FileFacts(row["id"], *sizes, m["dtype"], m["nodata"], row["proj:epsg"], transform))
        return facts
