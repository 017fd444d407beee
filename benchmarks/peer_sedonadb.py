"""SedonaDB: ``RS_ZonalStatsAll`` over a cross join of files and zones, in its SQL."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from benchmarks.contender import Contender
from benchmarks.peers import GDAL
from benchmarks.zonal import STATISTICS, ZONAL

PARTITIONS = int(os.environ.get("BENCHMARK_SEDONA_PARTITIONS", "8"))


class SedonaDB(Contender):
    """Rasters are opened, loaded and reduced in the call; zones are a table in memory. Its rule is that of pixel centres.

    A branch of ``UNION ALL`` per file lets files be read at once: from one table of paths it reads them one after the other. ``RS_EnsureLoaded`` in a
    subquery loads a file once for all its zones; it reads whole bands, so that the tiles that no zone needs are fetched too.
    """

    workloads: ClassVar[frozenset[str]] = frozenset(ZONAL)
    environ: ClassVar[dict[str, str]] = GDAL
    packages: ClassVar[tuple[str, ...]] = ("sedonadb", "pyogrio")
    how: ClassVar[str] = f"RS_ZonalStatsAll(RS_EnsureLoaded(RS_FromPath(…))), a UNION ALL branch per file, {PARTITIONS} partitions; pixel centres"
    rule: ClassVar[str] = "center"

    def setup(self) -> None:
        import pyogrio  # noqa: F401 - SedonaDB uses the GDAL that comes with it
        import sedonadb
        import shapely

        self.db = sedonadb.connect()
        self.db.sql(f"SET datafusion.execution.target_partitions = {PARTITIONS}").to_arrow_table()
        wkb = pa.array(shapely.to_wkb(np.array(self.inputs.fields, dtype=object)), pa.binary())
        self.db.create_data_frame(pa.table({"id": np.arange(len(self.inputs.ids)), "wkb": wkb})).to_view("given")
        self.db.sql("SELECT id, ST_SetCRS(ST_GeomFromWKB(wkb), 'OGC:CRS84') AS zone FROM given").to_memtable().to_view("zones")
        prefix = "/vsicurl/" if self.inputs.base.startswith("http") else ""
        files = [f"{prefix}{scene.hrefs[band]}" for scene in self.inputs.scenes for band in self.inputs.bands]
        self.paths = " UNION ALL ".join(f"SELECT {number} AS file, '{path}' AS path" for number, path in enumerate(files))

    def run(self, call: int) -> Any:
        del call
        rasters = f"SELECT file, RS_EnsureLoaded(RS_FromPath(path)) AS raster FROM ({self.paths})"
        return self.db.sql(f"SELECT id, file, RS_ZonalStatsAll(raster, zone, 1) AS s FROM ({rasters}) CROSS JOIN zones").to_arrow_table()

    def result(self, raw: pa.Table) -> np.ndarray:
        inputs = self.inputs
        out = np.full((len(inputs.ids), len(inputs.scenes) * len(inputs.bands), len(STATISTICS)), np.nan)
        rows = raw["s"].to_pylist()
        for number, file, row in zip(raw["id"].to_pylist(), raw["file"].to_pylist(), rows, strict=True):
            if row is not None:
                out[number, file] = [np.nan if row[name] is None else row[name] for name in STATISTICS]
        return out.reshape(len(inputs.ids), len(inputs.scenes), len(inputs.bands), len(STATISTICS))


class SedonaDBPlain(SedonaDB):
    """Such joins as its documentation writes them: files from one table, rasters opened where they are used, nothing loaded beforehand."""

    how: ClassVar[str] = "RS_ZonalStatsAll(RS_FromPath(path), zone, 1) over a table of paths and a table of zones; defaults; pixel centres"

    def run(self, call: int) -> Any:
        del call
        return self.db.sql(
            f"SELECT id, file, RS_ZonalStatsAll(RS_FromPath(path), zone, 1) AS s FROM ({self.paths}) AS files CROSS JOIN zones"
        ).to_arrow_table()
