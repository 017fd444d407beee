"""First inputs: the small files that other tests write, cuts of the sample imagery, their tiles and their GeoKeys.

python -m tests.fuzz.seeds FOLDER        # writes FOLDER/headers, FOLDER/tiles, FOLDER/geokeys
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import rasterio
import tifffile
from rasterio.enums import Resampling
from rasterio.windows import Window

from rasteret_sql.errors import UnsupportedRaster
from rasteret_sql.raster.tiff import read_header_bytes
from rasteret_sql.sample import data_dir
from tests.fuzz import fuzz_geokeys, fuzz_tiles
from tests.fuzz.campaign import key
from tests.raster import matrix
from tests.raster.odd import BY_TIFFFILE, ODD, TRANSFORM, Odd

MOST_BYTES = 24_000
CRSS = (
    "EPSG:4326",
    "EPSG:3857",
    "EPSG:2056",
    "EPSG:3995",
    "EPSG:2272",
    "EPSG:5514",
    "ESRI:54009",
    "ESRI:102008",
    "+proj=laea +lat_0=45 +lon_0=-100 +R=6370997 +units=us-ft",
    "+proj=omerc +lat_0=4 +lonc=102 +alpha=53 +k=0.99984 +gamma=53 +ellps=evrstSS",
    "+proj=lcc +lat_1=33 +lat_2=45 +lat_0=39 +lon_0=-96 +x_0=1000 +a=6378000 +b=6356000 +towgs84=1,2,3",
    "+proj=stere +lat_0=-90 +lat_ts=-71 +lon_0=0 +datum=WGS84",
    "+proj=longlat +a=6378000 +rf=299 +pm=paris",
    "+proj=aea +lat_1=29.5 +lat_2=45.5 +lat_0=23 +lon_0=-96 +datum=NAD83 +units=m",
    *(
        f"+proj={name} +lon_0=10 +datum=WGS84"
        for name in ("merc", "eqc", "cea", "sinu", "robin", "mill", "vandg", "poly", "gnom", "cass", "aeqd", "nzmg", "tmerc")
    ),
)


def files(folder: Path) -> Iterator[bytes]:
    """Whole files, none larger than :data:`MOST_BYTES`."""
    path = folder / "a.tif"
    odd = [*ODD, *BY_TIFFFILE, *(Odd(f"crs {number}", options={"crs": crs}) for number, crs in enumerate(CRSS))]
    for one in odd:
        small = one if one.width != 83 else replace(one, height=min(one.height, 33), width=33)
        small.write(path)
        yield path.read_bytes()
        path.unlink()
    for spec in matrix.specs():
        matrix.write(spec, path)
        yield path.read_bytes()
        path.unlink()
    yield from _sample_cuts(path)


def _sample_cuts(path: Path) -> Iterator[bytes]:
    """64 by 64 pixels of each sample scene, with overviews, stored as the scene is."""
    for number, scene in enumerate(sorted(data_dir().glob("*/*.tif"))):
        with rasterio.open(scene) as source:
            profile = source.profile | {"width": 64, "height": 64, "blockxsize": 32, "blockysize": 32, "tiled": True}
            pixels = source.read(window=Window(20 * number, 30, 64, 64))
        with rasterio.open(path, "w", **profile) as out:
            out.write(pixels)
        with rasterio.open(path, "r+") as out:
            out.build_overviews([2, 4], Resampling.average)
        yield path.read_bytes()
        path.unlink()


def tiles(data: bytes) -> Iterator[bytes]:
    """Segments of a file as the decoder gets them: the first of each level, whole, its upper half, and its last sample."""
    try:
        header = read_header_bytes(data)
    except UnsupportedRaster:
        return
    for level in (*header.levels, *header.masks):
        start, count = int(level.offsets[0]), int(level.byte_counts[0])
        if count:
            layout = level.layout
            whole = fuzz_tiles.Tile(layout, layout.tile_height, None, data[start : start + count])
            yield fuzz_tiles.pack(whole)
            yield fuzz_tiles.pack(replace(whole, rows=-(-layout.tile_height // 2)))
            yield fuzz_tiles.pack(replace(whole, sample=layout.segment_samples - 1))


def geokeys(data: bytes, folder: Path) -> bytes:
    """The GeoKeys of a file, as tifffile reads them."""
    path = folder / "keys.tif"
    path.write_bytes(data)
    with tifffile.TiffFile(path) as tiff:
        tags = tiff.pages.first.tags
        directory, doubles, text = (tags.valueof(number, default) for number, default in ((34735, ()), (34736, ()), (34737, "")))
    return fuzz_geokeys.pack(fuzz_geokeys.Keys(tuple(directory)[:600], tuple(doubles)[:200] or tuple(TRANSFORM)[:6], text))


def main() -> None:
    out = Path(sys.argv[1])
    found: dict[str, set[bytes]] = {"headers": set(), "tiles": set(), "geokeys": set()}
    with tempfile.TemporaryDirectory() as folder:
        for data in files(Path(folder)):
            if len(data) <= MOST_BYTES:
                found["headers"].add(data)
                found["geokeys"].add(geokeys(data, Path(folder)))
            found["tiles"].update(tile for tile in tiles(data) if len(tile) <= MOST_BYTES)
    for name, inputs in found.items():
        (out / name).mkdir(parents=True, exist_ok=True)
        for data in inputs:
            (out / name / key(data)).write_bytes(data)
        print(f"{name}: {len(inputs)} inputs, {sum(map(len, inputs)):,} bytes")


if __name__ == "__main__":
    main()
