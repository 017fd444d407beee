"""Make the archive that the benchmarks read: Sentinel-2-like COGs, an index of them, points, fields, and files for header reading.

    python -m benchmarks.archive --out benchmarks/data                      # the standard archive, about 1.5 GB
    python -m benchmarks.archive --out small --scenes 4 --size 2048 --points 5000 --headers 20
    python -m benchmarks.archive --out benchmarks/data --zones-only         # the zones of W4 for an archive that has none

Pixels, geometries and file contents follow from the arguments alone (``--seed`` included); only the compressed sizes depend on the GDAL in use.

Layout of the folder: ``scenes/<id>/<band>.tif``, ``index.parquet`` (id, datetime, footprint, one column of relative hrefs per band),
``headers/<id>.tif`` and ``headers.parquet``, the tables of :mod:`benchmarks.places`, and ``archive.json`` with the parameters.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import struct
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio
import rasterio.shutil
import shapely
from pyproj import Transformer
from rasterio.transform import from_origin

BANDS = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12")
GAIN = (0.55, 0.75, 0.85, 2.4, 1.1, 1.7, 2.0, 2.3, 1.9, 1.3)
"""Brightness of each band relative to the landscape: vegetation is dark in the visible and bright in the near infrared."""
RESOLUTION = 10.0
CENTRE = (78.0, 13.0)
"""Longitude and latitude of the middle of every scene: on the border of the UTM zones 43 and 44, so that both see the same ground."""
ZONES = (32643, 32644)
HEADER_SIZE = 10980
"""Pixels across a Sentinel-2 tile at 10 m."""
FIRST_DATE = dt.datetime(2024, 1, 3, 5, 21, 7)  # noqa: DTZ001 - the index holds UTC without a zone


@dataclass(frozen=True)
class Grid:
    """A north-up grid of square pixels."""

    epsg: int
    left: float
    top: float
    size: int

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        return (RESOLUTION, 0.0, self.left, 0.0, -RESOLUTION, self.top)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        return (self.left, self.top - self.size * RESOLUTION, self.left + self.size * RESOLUTION, self.top)


def grid_of(epsg: int, size: int) -> Grid:
    x, y = Transformer.from_crs("OGC:CRS84", epsg, always_xy=True).transform(*CENTRE)
    half = size * RESOLUTION / 2
    return Grid(epsg, round((x - half) / RESOLUTION) * RESOLUTION, round((y + half) / RESOLUTION) * RESOLUTION, size)


@dataclass(frozen=True)
class SceneSpec:
    """One scene: its number decides zone, date, swath edge and illumination."""

    number: int
    grid: Grid

    @property
    def id(self) -> str:
        return f"S2_{self.grid.epsg % 100}_{self.date:%Y%m%d}"

    @property
    def date(self) -> dt.datetime:
        return FIRST_DATE + dt.timedelta(days=5 * self.number)

    @property
    def footprint(self) -> shapely.Polygon:
        """The raster's outline, edges densified, in CRS84."""
        outline = shapely.segmentize(shapely.box(*self.grid.bounds), max_segment_length=5000.0)
        to_lonlat = Transformer.from_crs(self.grid.epsg, "OGC:CRS84", always_xy=True)
        return shapely.transform(outline, to_lonlat.transform, interleaved=False)


def scene_specs(count: int, size: int) -> list[SceneSpec]:
    grids = [grid_of(epsg, size) for epsg in ZONES]
    return [SceneSpec(number, grids[number % len(grids)]) for number in range(count)]


@cache
def landscape(epsg: int, size: int, seed: int) -> np.ndarray:
    """Fields of 8 to 40 pixels on rolling ground, float32 reflectance × 10,000, the same for every date of a zone."""
    rng = np.random.default_rng((seed, epsg))
    coarse = rng.normal(0.0, 220.0, (size // 256 + 2, size // 256 + 2)).astype(np.float32)
    ground = enlarge(coarse, size)
    for step, spread in ((40, 260.0), (8, 60.0)):
        cells = rng.normal(0.0, spread, (size // step + 1, size // step + 1)).astype(np.float32)
        ground += np.repeat(np.repeat(cells, step, axis=0)[:size], step, axis=1)[:, :size]
    return 1100.0 + ground


def enlarge(coarse: np.ndarray, size: int) -> np.ndarray:
    """Bilinear enlargement of a small square array to ``(size, size)``."""
    at = np.linspace(0.0, coarse.shape[0] - 1.001, size, dtype=np.float32)
    low = at.astype(np.int32)
    part = (at - low).astype(np.float32)
    rows = coarse[low] * (1 - part)[:, None] + coarse[low + 1] * part[:, None]
    return rows[:, low] * (1 - part) + rows[:, low + 1] * part


@cache
def noise(size: int, seed: int) -> np.ndarray:
    """Sensor noise that every band reuses, shifted; its spread sets how far a tile compresses (about 1.2 MB of 2.1 MB)."""
    return np.random.default_rng((seed, 7)).normal(0.0, 16.0, (size, size)).astype(np.float32)


def scene_pixels(spec: SceneSpec, band: int, seed: int) -> np.ndarray:
    """One band, uint16: 0 is nodata, outside a slanted swath edge that every fourth scene moves far into the picture."""
    size = spec.grid.size
    rng = np.random.default_rng((seed, spec.number, 11))
    season = 1.0 + 0.25 * np.sin(2 * np.pi * spec.number / 12)
    shift = np.random.default_rng((seed, spec.number, band, 13)).integers(0, size, 2)
    values = landscape(spec.grid.epsg, size, seed) * np.float32(GAIN[band] * season)
    values += np.roll(noise(size, seed), tuple(shift), axis=(0, 1))
    pixels = np.clip(values, 1, 16000).astype(np.uint16)
    inset = rng.uniform(0.22, 0.35) if spec.number % 4 == 3 else rng.uniform(0.005, 0.04)
    edge = size * (1 - inset + 0.08 * np.linspace(-1.0, 1.0, size))
    pixels[np.arange(size)[None, :] >= edge[:, None]] = 0
    pixels[: int(size * 0.004)] = 0
    return pixels


def write_cog(path: Path, pixels: np.ndarray, grid: Grid) -> None:
    """A COG as archives hold them: deflate, predictor 2, blocks of 1024, averaged overviews, nodata 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff",
        "dtype": "uint16",
        "count": 1,
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "nodata": 0,
        "crs": f"EPSG:{grid.epsg}",
        "transform": from_origin(grid.left, grid.top, RESOLUTION, RESOLUTION),
    }
    options = {"COMPRESS": "DEFLATE", "PREDICTOR": "YES", "BLOCKSIZE": 1024, "LEVEL": 6, "OVERVIEW_RESAMPLING": "AVERAGE", "NUM_THREADS": 1}
    partial_path = path.with_suffix(".part")
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.write(pixels, 1)
        with memory.open() as dataset:
            rasterio.shutil.copy(dataset, partial_path, driver="COG", **options)
    partial_path.rename(path)


def write_band(job: tuple[SceneSpec, int], out: Path, seed: int) -> int:
    spec, band = job
    path = out / href(spec, band)
    write_cog(path, scene_pixels(spec, band, seed), spec.grid)
    return path.stat().st_size


def href(spec: SceneSpec, band: int) -> str:
    return f"scenes/{spec.id}/{BANDS[band]}.tif"


def write_scenes(out: Path, specs: list[SceneSpec], bands: int, seed: int, workers: int) -> int:
    jobs = [(spec, band) for zone in ZONES for spec in specs if spec.grid.epsg == zone for band in range(bands)]
    with ProcessPoolExecutor(workers) as pool:
        nbytes = sum(pool.map(partial(write_band, out=out, seed=seed), jobs, chunksize=bands))
    footprints = [spec.footprint for spec in specs]
    columns = record_columns([s.id for s in specs], [s.date for s in specs], footprints, [s.grid.epsg for s in specs])
    for band in range(bands):
        columns[BANDS[band]] = pa.array([href(spec, band) for spec in specs])
    pq.write_table(pa.table(columns), out / "index.parquet")
    return nbytes


def record_columns(ids: list[str], dates: list[dt.datetime], footprints: list[shapely.Polygon], epsgs: list[int]) -> dict[str, pa.Array]:
    box = np.array([f.bounds for f in footprints])
    return {
        "id": pa.array(ids),
        "datetime": pa.array(dates, pa.timestamp("us")),
        "geometry": pa.array([shapely.to_wkb(f) for f in footprints], pa.binary()),
        "bbox": pa.StructArray.from_arrays([pa.array(box[:, i]) for i in range(4)], names=["xmin", "ymin", "xmax", "ymax"]),
        "proj:epsg": pa.array(epsgs, pa.int32()),
    }


DIRECTORIES = 64 << 10
"""Bytes of a header file that are written: GDAL puts a COG's directories first."""


def write_headers(out: Path, count: int) -> None:
    """``count`` files of full Sentinel-2 size whose tiles are flat: small files with true headers, each at a place of its own.

    GDAL writes the first; the others are its bytes with another tie point, so that no two headers are the same. Nobody reads their tiles: behind the
    directories there is a hole, so that ten thousand take little of the disk.
    """
    first = grid_of(ZONES[0], HEADER_SIZE)
    path = out / "headers" / "H0000.tif"
    block = np.arange(121, dtype=np.uint16).reshape(11, 11) * 37 + 100
    write_cog(path, np.repeat(np.repeat(block, 1024, axis=0), 1024, axis=1)[:HEADER_SIZE, :HEADER_SIZE], first)
    template = path.read_bytes()
    tie = struct.pack("<6d", 0.0, 0.0, 0.0, first.left, first.top, 0.0)
    if template.count(tie) != 1:
        msg = "the template header holds its tie point not exactly once"
        raise RuntimeError(msg)
    ids, footprints = [], []
    for number in range(count):
        grid = Grid(first.epsg, first.left + 100.0 * (number % 25), first.top - 100.0 * (number // 25), HEADER_SIZE)
        moved = struct.pack("<6d", 0.0, 0.0, 0.0, grid.left, grid.top, 0.0)
        with (out / "headers" / f"H{number:04d}.tif").open("wb") as file:
            file.write(template.replace(tie, moved)[:DIRECTORIES])
            file.truncate(len(template))
        ids.append(f"H{number:04d}")
        footprints.append(SceneSpec(number, grid).footprint)
    dates = [FIRST_DATE + dt.timedelta(hours=n) for n in range(count)]
    columns = record_columns(ids, dates, footprints, [first.epsg] * count)
    columns["B04"] = pa.array([f"headers/{i}.tif" for i in ids])
    pq.write_table(pa.table(columns), out / "headers.parquet")


def make_archive(
    out: Path, *, scenes: int, bands: int, size: int, points: int, fields: int, zones: int, headers: int, seed: int, workers: int
) -> dict[str, object]:
    from benchmarks.places import write_places, write_zones  # it imports Grid from here

    out.mkdir(parents=True, exist_ok=True)
    specs = scene_specs(scenes, size)
    started = time.perf_counter()
    nbytes = write_scenes(out, specs, bands, seed, workers)
    write_places(out, [grid_of(epsg, size) for epsg in ZONES], points, fields, seed)
    write_zones(out, specs[0].grid, zones, seed)
    write_headers(out, headers)
    facts: dict[str, object] = {
        "scenes": scenes,
        "bands": list(BANDS[:bands]),
        "size": size,
        "points": points,
        "fields": fields,
        "zones": zones,
        "headers": headers,
        "seed": seed,
        "scene_bytes": nbytes,
        "gdal": rasterio.__gdal_version__,
        "grids": [asdict(grid_of(epsg, size)) for epsg in ZONES],
    }
    (out / "archive.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(f"{out}: {scenes * bands} COGs, {nbytes / 1e6:.0f} MB, {headers} headers, {time.perf_counter() - started:.0f} s")
    return facts


def add_zones(out: Path, zones: int) -> None:
    """Write the zones of an archive made before there were any, as a new archive of its seed would have them."""
    from benchmarks.places import write_zones  # it imports Grid from here

    facts = json.loads((out / "archive.json").read_text())
    write_zones(out, Grid(**facts["grids"][0]), zones, facts["seed"])
    (out / "archive.json").write_text(json.dumps({**facts, "zones": zones}, indent=1) + "\n")
    print(f"{out}: {zones} zones")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.archive", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "data", help="folder to write (default benchmarks/data, which git ignores)"
    )
    parser.add_argument("--scenes", type=int, default=12, help="scenes, alternating between the two zones (default 12)")
    parser.add_argument("--bands", type=int, default=4, help=f"bands of each scene, from {', '.join(BANDS)} (default 4)")
    parser.add_argument("--size", type=int, default=4392, help="pixels across a scene (default 4392: 44 km)")
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--fields", type=int, default=200)
    parser.add_argument("--zones", type=int, default=1000, help="polygons all over the first scene (default 1000)")
    parser.add_argument("--zones-only", action="store_true", help="only write the zones of an archive that is there")
    parser.add_argument("--headers", type=int, default=500, help="small files with headers of 10980 x 10980 pixels (default 500)")
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = vars(parser.parse_args(argv))
    if not 1 <= args["bands"] <= len(BANDS):
        parser.error(f"--bands is {args['bands']}; there are 1 to {len(BANDS)}")
    if args.pop("zones_only"):
        add_zones(args["out"], args["zones"])
    else:
        make_archive(**args)


if __name__ == "__main__":
    main()
