"""A build of many records whose headers are read one by one: time, and the peak of resident memory.

    python -m benchmarks.big_build                       # 100,000 records of one band, of local files
    python -m benchmarks.big_build --records 20000 --keep FOLDER

The files are a few real GeoTIFFs under many names (``a/./b.tif``), so that every header is read and parsed. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import rasterio
from rasterio.transform import Affine

from benchmarks.memory import peak_mb
from rasteret_sql.collection.build import build_collection
from rasteret_sql.collection.source import BATCH_RECORDS, AssetTable
from rasteret_sql.reader.engine import Query
from rasteret_sql.settings import Settings

BANDS = ("red", "nir", "scl", "swir")
NAMES = 200
MONTHS = 36


def make_files(folder: Path) -> None:
    """Files of 4 MB images' headers (256 tiles and their overviews), sparse on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(NAMES):
        origin = (300_000 + 10_000 * (number % 20), 5_000_000 + 10_000 * (number // 20))
        transform = Affine(10, 0, origin[0], 0, -10, origin[1])
        profile = {"driver": "GTiff", "width": 4096, "height": 4096, "count": 1, "dtype": "uint16", "crs": "EPSG:32632", "transform": transform}
        with rasterio.open(folder / f"{number}.tif", "w", **profile, tiled=True, blockxsize=256, blockysize=256, sparse_ok=True):
            pass


class Synthetic:
    """Items of a catalogue: every record has its own hrefs; made a batch at a time."""

    kind = "records"
    label = "synthetic"

    def __init__(self, folder: Path, records: int, bands: int) -> None:
        self._folder, self._records, self._bands = folder, records, BANDS[:bands]
        self.identity = {"records": records, "bands": bands}

    def batches(self) -> Iterator[AssetTable]:
        for start in range(0, self._records, BATCH_RECORDS):
            yield self._batch(range(start, min(start + BATCH_RECORDS, self._records)))

    def _batch(self, numbers: range) -> AssetTable:
        count = len(numbers)
        months = np.array([(number * 7919) % (MONTHS * 30) for number in numbers])
        times = np.datetime64("2021-01-01", "us") + months.astype("timedelta64[D]")
        hrefs = {band: [self._href(number, turn) for number in numbers] for turn, band in enumerate(self._bands)}
        return AssetTable(
            ids=[f"S2_{number:08d}" for number in numbers],
            datetimes=pa.array(times),
            hrefs=hrefs,
            samples={band: [0] * count for band in self._bands},
            crs=[None] * count,
            extra=pa.table({"eo:cloud_cover": np.arange(count) % 100 / 1.0, "platform": ["sentinel-2a"] * count}),
            versions=["1"] * count,
        )

    def _href(self, number: int, turn: int) -> str:
        """One of the files under a name of its own."""
        other, file = divmod(number, NAMES)
        return f"{self._folder}/{f'../{self._folder.name}/' * turn}{'./' * (other % 30)}{'/' * (other // 30 % 30)}{file}.tif"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--bands", type=int, default=1, choices=range(1, len(BANDS) + 1))
    parser.add_argument("--again", action="store_true", help="build a second time: nothing is new")
    parser.add_argument("--keep", type=Path, help="folder of the workspace")
    options = parser.parse_args()
    workspace = options.keep or Path(tempfile.mkdtemp())
    try:
        make_files(workspace / "files")
        settings = Settings(workspace=str(workspace), progress=False)
        for _ in range(2 if options.again else 1):
            with Query("big_build", settings, raise_errors=False) as query:
                began, cpu = time.monotonic(), time.process_time()
                report = build_collection(Synthetic(workspace / "files", options.records, options.bands), "big", query)
            peak = peak_mb()
            size = sum(file.stat().st_size for file in (workspace / "big_records").rglob("*.parquet"))
            found = {"records": report.records, "added": report.added, "failed": report.failed, "headers": report.requests, "peak_mb": round(peak)}
            found |= {"seconds": round(time.monotonic() - began, 1), "cpu_s": round(time.process_time() - cpu, 1), "index_mb": round(size / 1e6, 1)}
            print(json.dumps(found), flush=True)
    finally:
        if options.keep is None:
            shutil.rmtree(workspace)


if __name__ == "__main__":
    main()
