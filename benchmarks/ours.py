"""rasteret_sql itself, through its SQL; results leave DuckDB as Arrow.

Statements are executed, as shells and dbt do; ``con.sql`` would bind each of them twice.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.contender import Contender
from benchmarks.workloads import RESOLUTION, Chip, FileFacts
from benchmarks.zonal import STATISTICS, ZONAL


class Ours(Contender):
    """The collection is built before the clock (W5 times the build); the tables to read at are in DuckDB when the clock starts."""

    workloads: ClassVar[frozenset[str]] = frozenset({"W1", "W2", "W3", "W5", *ZONAL})
    indexed: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("rasteret-sql", "duckdb", "aiohttp", "imagecodecs")
    how: ClassVar[str] = "SQL: rasteret_sample, rasteret_read, rasteret_zonal, rasteret_build_from_table; defaults"

    def connect(self) -> None:
        import rasteret_sql

        self.con = rasteret_sql.connect()
        self.con.execute("SET VARIABLE rasteret_workspace = ?", [str(self.work / "ours")])

    def create(self, name: str, table: pa.Table) -> None:
        """A DuckDB table, so that nothing of Arrow is left to be read inside the clock."""
        self.con.register("given", table)
        self.con.execute(f"CREATE OR REPLACE TABLE {name} AS FROM given")
        self.con.unregister("given")

    def create_records(self) -> None:
        records = pq.read_table(self.inputs.index).slice(0, len(self.inputs.scenes))
        bands = [name for name in records.column_names if name.startswith("B")]
        assets = pa.array([{band: {"href": scene.hrefs[band]} for band in bands} for scene in self.inputs.scenes])
        self.create("records", records.drop_columns(bands).append_column("assets", assets))

    def build(self) -> None:
        self.connect()
        self.create_records()
        self.con.execute("FROM rasteret_build_from_table(records, name := 'bench')").fetchall()

    def setup(self) -> None:
        self.connect()
        if self.inputs.workload == "W5":
            self.create_records()
        else:
            self.create("places", pq.read_table(self.inputs.table).slice(0, len(self.inputs.ids)))
            self.open_index()

    def open_index(self) -> None:
        """Look up its rows, as the reader does in its setup, and nothing else; a statement would do so itself, in 20 ms of a core."""
        from rasteret_sql.collection.rows import LookAhead, Wanted

        for file in sorted((self.work / "ours" / "bench_records").rglob("*.parquet")):
            LookAhead(str(file), Wanted(tuple(self.inputs.bands), overviews=False)).run()

    def close(self) -> None:
        self.con.close()

    def statement(self, call: int) -> str:
        bands = ", ".join(self.inputs.bands)
        listed = ", ".join(f"'{band}'" for band in self.inputs.bands)
        if self.inputs.workload in ZONAL:
            return self.zonal_statement(listed)
        return {
            "W1": f"SELECT point_id, record_id, {bands} FROM rasteret_sample('bench', places, bands := [{listed}])",
            "W2": f"SELECT field_id AS id, record_id, transform, height, width, {bands} FROM rasteret_read('bench', places, bands := [{listed}])",
            "W3": f"SELECT chip_id AS id, record_id, transform, height, width, {bands} "
            f"FROM rasteret_read('bench', places, bands := [{listed}], pixels := 'window')",
            "W5": f"FROM rasteret_build_from_table(records, name := 'headers{call}')",
        }[self.inputs.workload]

    def zonal_statement(self, bands: str) -> str:
        """W4 is about one record of the collection."""
        one = f" WHERE record_id = '{self.inputs.scenes[0].id}'" if self.inputs.workload == "W4" else ""
        stats = ", ".join(f"'{name}'" for name in STATISTICS)
        zonal = f"rasteret_zonal('bench', places, bands := [{bands}], stats := [{stats}], pixels := 'fractional')"
        return f"SELECT field_id, record_id, band, {', '.join(STATISTICS)} FROM {zonal}{one}"

    def run(self, call: int) -> Any:
        self.call = call
        return self.con.execute(self.statement(call)).to_arrow_table()

    def result(self, raw: pa.Table) -> Any:
        if self.inputs.workload == "W5":
            return self.file_facts()
        scenes = {scene.id: s for s, scene in enumerate(self.inputs.scenes)}
        if self.inputs.workload == "W1":
            return self.values(raw, scenes)
        if self.inputs.workload in ZONAL:
            return self.numbers(raw, scenes)
        return self.chips(raw, scenes)

    def values(self, raw: pa.Table, scenes: dict[str, int]) -> np.ndarray:
        inputs = self.inputs
        out = np.zeros((len(inputs.ids), len(inputs.scenes), len(inputs.bands)), np.uint16)
        met = raw.filter(raw["record_id"].is_valid())
        row = np.argsort(inputs.ids)[np.searchsorted(np.sort(inputs.ids), met["point_id"].to_numpy())]
        scene = np.array([scenes[i] for i in met["record_id"].to_pylist()], np.int64)
        for b, band in enumerate(inputs.bands):
            out[row, scene, b] = met[band].fill_null(0).to_numpy().astype(np.uint16)
        return out

    def numbers(self, raw: pa.Table, scenes: dict[str, int]) -> np.ndarray:
        inputs = self.inputs
        out = np.full((len(inputs.ids), len(inputs.scenes), len(inputs.bands), len(STATISTICS)), np.nan)
        met = raw.filter(raw["record_id"].is_valid())
        row = np.argsort(inputs.ids)[np.searchsorted(np.sort(inputs.ids), met["field_id"].to_numpy())]
        scene = np.array([scenes[name] for name in met["record_id"].to_pylist()], np.int64)
        band = np.array([inputs.bands.index(name) for name in met["band"].to_pylist()], np.int64)
        for s, name in enumerate(STATISTICS):
            out[row, scene, band, s] = met[name].to_numpy(zero_copy_only=False)
        return out

    def chips(self, raw: pa.Table, scenes: dict[str, int]) -> list[Chip]:
        """From flat row-major lists, NULL where invalid, and the transform of each window."""
        grids = {grid["epsg"]: grid for grid in json.loads((self.inputs.archive / "archive.json").read_text())["grids"]}
        chips = []
        met = raw.filter(raw["record_id"].is_valid())
        heads = met.select(["id", "record_id", "transform", "height", "width"]).to_pylist()
        for b, band in enumerate(self.inputs.bands):
            lists = met[band].combine_chunks()
            flat = lists.flatten().fill_null(0).to_numpy().astype(np.uint16)
            stops = np.cumsum(lists.value_lengths().fill_null(0).to_numpy())
            for head, stop in zip(heads, stops, strict=True):
                scene, (height, width) = scenes[head["record_id"]], (head["height"], head["width"])
                grid = grids[self.inputs.scenes[scene].epsg]
                row = round((grid["top"] - head["transform"][5]) / RESOLUTION)
                col = round((head["transform"][2] - grid["left"]) / RESOLUTION)
                chips.append(Chip(head["id"], scene, b, row, col, flat[stop - height * width : stop].reshape(height, width)))
        return chips

    def file_facts(self) -> list[FileFacts]:
        rows = self.con.sql(f"SELECT id, \"proj:epsg\" AS epsg, B04_metadata AS m FROM rasteret_collection('headers{self.call}')")
        facts = []
        for row in rows.to_arrow_table().to_pylist():
            m = row["m"]
            a, c, e, f = m["transform"]
            sizes = (m["image_width"], m["image_height"], m["tile_width"], m["tile_height"])
            facts.append(FileFacts(row["id"], *sizes, m["dtype"], m["nodata"], row["epsg"], (a, 0.0, c, 0.0, e, f)))
        return facts


class OursCached(Ours):
    """Ours with room for all tiles of a scene: its second call answers from memory."""

    workloads: ClassVar[frozenset[str]] = frozenset({"W4"})
    how: ClassVar[str] = "ours with rasteret_cache_bytes = 512 MB"

    def connect(self) -> None:
        super().connect()
        self.con.execute("SET VARIABLE rasteret_cache_bytes = 512000000")
