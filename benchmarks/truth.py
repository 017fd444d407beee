"""What is right, and the least that must be read, computed plainly from the files: whole bands with rasterio, tile sizes with tifffile, zonal
statistics by exact coverage with exactextract.

    python -m benchmarks.truth benchmarks/data W1 --points uniform

Nothing here is shared with a contender but the inputs and the digest; of zonal statistics also exactextract, which its own rows cannot fail.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import rasterio.features
import shapely
import tifffile
from pyproj import Transformer

from benchmarks.workloads import RESOLUTION, WORKLOADS, Chip, FileFacts, Inputs, digest, load_inputs
from benchmarks.zonal import STATISTICS, ZONAL, digest_of, in_order

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Truth:
    """``tiles`` distinct tiles of ``bytes`` bytes hold everything asked for, in ``files`` files (W5: zero tiles)."""

    digest: str
    items: int
    """Values, chips or headers in the result."""
    files: int
    tiles: int
    bytes: int


def scene_files(inputs: Inputs) -> Iterator[tuple[int, int, str]]:
    for s, scene in enumerate(inputs.scenes):
        for b, band in enumerate(inputs.bands):
            yield s, b, scene.hrefs[band]


def transformer(epsg: int) -> Transformer:
    return Transformer.from_crs("OGC:CRS84", epsg, always_xy=True)


def tile_sizes(path: str) -> tuple[np.ndarray, int]:
    """Bytes of every full-resolution tile (down, across), and the tile size."""
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        down, across = -(-page.shape[0] // page.tile[0]), -(-page.shape[1] // page.tile[1])
        return np.array(page.databytecounts).reshape(down, across), page.tile[0]


def true_values(inputs: Inputs) -> tuple[np.ndarray, int, int]:
    values = np.zeros((len(inputs.ids), len(inputs.scenes), len(inputs.bands)), np.uint16)
    tiles = nbytes = 0
    for s, b, path in scene_files(inputs):
        with rasterio.open(path) as dataset:
            x, y = transformer(inputs.scenes[s].epsg).transform(inputs.lon, inputs.lat)
            col, row = (np.floor(v).astype(np.int64) for v in ~dataset.transform * (x, y))
            inside = (col >= 0) & (row >= 0) & (col < dataset.width) & (row < dataset.height)
            values[inside, s, b] = dataset.read(1)[row[inside], col[inside]]
        sizes, tile = tile_sizes(path)
        met = np.zeros(sizes.shape, bool)
        met[row[inside] // tile, col[inside] // tile] = True
        tiles, nbytes = tiles + int((met & (sizes > 0)).sum()), nbytes + int(sizes[met].sum())
    return values, tiles, nbytes


def true_chips(inputs: Inputs) -> tuple[list[Chip], int, int]:
    chips: list[Chip] = []
    tiles = nbytes = 0
    for s, b, path in scene_files(inputs):
        project = transformer(inputs.scenes[s].epsg)
        sizes, tile = tile_sizes(path)
        met = np.zeros(sizes.shape, bool)
        with rasterio.open(path) as dataset:
            pixels = dataset.read(1)
            for number, lonlat in zip(inputs.ids, inputs.fields, strict=True):
                field = shapely.transform(lonlat, lambda x, y, p=project: p.transform(x, y), interleaved=False)
                left, bottom, right, top = field.bounds
                (c0, r0), (c1, r1) = ~dataset.transform * (left, top), ~dataset.transform * (right, bottom)
                c0, r0 = max(int(np.floor(c0)), 0), max(int(np.floor(r0)), 0)
                c1, r1 = min(int(np.ceil(c1)), dataset.width), min(int(np.ceil(r1)), dataset.height)
                if c0 >= c1 or r0 >= r1:
                    continue
                values = pixels[r0:r1, c0:c1].copy()
                if inputs.workload == "W2":
                    shape, shift = values.shape, dataset.transform @ rasterio.Affine.translation(c0, r0)
                    values[rasterio.features.geometry_mask([field], shape, shift, all_touched=False)] = 0
                chips.append(Chip(int(number), s, b, r0, c0, values))
                met[r0 // tile : (r1 - 1) // tile + 1, c0 // tile : (c1 - 1) // tile + 1] = True
        tiles, nbytes = tiles + int((met & (sizes > 0)).sum()), nbytes + int(sizes[met].sum())
    return chips, tiles, nbytes


@dataclass(frozen=True)
class ZoneMasks:
    """Zones on one grid: polygons in its CRS, the pixels whose centres are inside, and the tiles that exact coverage needs."""

    polygons: list[shapely.Geometry]
    centres: list[tuple[slice, slice, np.ndarray] | None]
    tiles: np.ndarray


def zone_masks(inputs: Inputs, epsg: int, path: str) -> ZoneMasks:
    import geopandas
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource

    project = transformer(epsg)
    polygons = [shapely.transform(f, project.transform, interleaved=False) for f in inputs.fields]
    sizes, tile = tile_sizes(path)
    tiles = np.zeros(sizes.shape, bool)
    centres: list[tuple[slice, slice, np.ndarray] | None] = []
    with rasterio.open(path) as dataset:
        for polygon in polygons:
            left, bottom, right, top = polygon.bounds
            (c0, r0), (c1, r1) = ~dataset.transform * (left, top), ~dataset.transform * (right, bottom)
            c0, r0 = max(int(np.floor(c0)), 0), max(int(np.floor(r0)), 0)
            c1, r1 = min(int(np.ceil(c1)), dataset.width), min(int(np.ceil(r1)), dataset.height)
            if c0 >= c1 or r0 >= r1:
                centres.append(None)
                continue
            shift = dataset.transform @ rasterio.Affine.translation(c0, r0)
            outside = rasterio.features.geometry_mask([polygon], (r1 - r0, c1 - c0), shift, all_touched=False)
            centres.append((slice(r0, r1), slice(c0, c1), ~outside))
        everywhere = NumPyRasterSource(np.ones(dataset.shape, np.uint8), *dataset.bounds, srs_wkt=dataset.crs.to_wkt())
        width = dataset.width
    frame = geopandas.GeoDataFrame({"id": np.arange(len(polygons))}, geometry=polygons, crs=epsg)
    for cells in exact_extract(everywhere, frame, ["cell_id"], output="pandas")["cell_id"]:
        row, col = np.divmod(np.asarray(cells, np.int64), width)
        tiles[row // tile, col // tile] = True
    return ZoneMasks(polygons, centres, tiles)


def true_zones(inputs: Inputs) -> tuple[dict[str, np.ndarray], int, int]:
    """Statistics by both rules, as :mod:`benchmarks.zonal` has them but zones in the order of their ids; number and bytes of the tiles."""
    import geopandas
    from exactextract import exact_extract

    shape = (len(inputs.ids), len(inputs.scenes), len(inputs.bands), len(STATISTICS))
    found = {"fractional": np.full(shape, np.nan), "center": np.full(shape, np.nan)}
    masks: dict[int, ZoneMasks] = {}
    tiles = nbytes = 0
    for s, b, path in scene_files(inputs):
        epsg = inputs.scenes[s].epsg
        masks[epsg] = masks.get(epsg) or zone_masks(inputs, epsg, path)
        frame = geopandas.GeoDataFrame({"id": np.arange(len(inputs.ids))}, geometry=masks[epsg].polygons, crs=epsg)
        table = exact_extract(path, frame, list(STATISTICS), include_cols=["id"], output="pandas", strategy="raster-sequential")
        found["fractional"][:, s, b] = in_order(table)
        with rasterio.open(path) as dataset:
            band, nodata = dataset.read(1), dataset.nodata
        for zone, place in enumerate(masks[epsg].centres):
            pixels = np.empty(0) if place is None else band[place[0], place[1]][place[2]].astype(float)
            pixels = pixels[pixels != nodata]
            empty = (0.0, *[np.nan] * 4)
            found["center"][zone, s, b] = (len(pixels), pixels.mean(), pixels.min(), pixels.max(), pixels.sum()) if len(pixels) else empty
        sizes, _ = tile_sizes(path)
        tiles, nbytes = tiles + int((masks[epsg].tiles & (sizes > 0)).sum()), nbytes + int(sizes[masks[epsg].tiles].sum())
        outline = np.array([polygon.length for polygon in masks[epsg].polygons]) / RESOLUTION
        if (np.abs(found["fractional"][:, s, b, 0] - found["center"][:, s, b, 0]) > outline).any():
            msg = f"{path}: exactextract counts more pixels than could differ from those whose centres are inside"
            raise RuntimeError(msg)
    order = np.argsort(inputs.ids)
    return {rule: numbers[order] for rule, numbers in found.items()}, tiles, nbytes


def true_headers(inputs: Inputs) -> list[FileFacts]:
    facts = []
    for scene in inputs.scenes:
        with rasterio.open(scene.hrefs["B04"]) as d:
            height, width = d.block_shapes[0]
            facts.append(FileFacts(scene.id, d.width, d.height, width, height, d.dtypes[0], float(d.nodata), d.crs.to_epsg(), tuple(d.transform)[:6]))
    return facts


def truth(inputs: Inputs, save: Path | None = None) -> Truth:
    """``inputs.base`` must be the archive's folder, not a URL. ``save`` is where right statistics go (zonal workloads)."""
    tiles = nbytes = 0
    files = len(inputs.scenes) * len(inputs.bands)
    if inputs.workload in ZONAL:
        zonal, tiles, nbytes = true_zones(inputs)
        if save:
            np.savez(save, **zonal)
        return Truth(digest_of(**zonal), zonal["center"].size, files, tiles, nbytes)
    result: Any
    if inputs.workload == "W1":
        result, tiles, nbytes = true_values(inputs)
        items = result.size
    elif inputs.workload == "W5":
        result = true_headers(inputs)
        items = len(result)
    else:
        result, tiles, nbytes = true_chips(inputs)
        items = len(result)
    return Truth(digest(inputs, result), items, files, tiles, nbytes)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.truth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("archive", type=Path)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--points", choices=("uniform", "clustered"), default="uniform")
    parser.add_argument("--order", choices=("shuffled", "sorted"), default="shuffled")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--save", type=Path, help="write the right statistics into this .npz (zonal workloads)")
    args = parser.parse_args(argv)
    inputs = load_inputs(args.archive, str(args.archive), args.workload, points=args.points, order=args.order, limit=args.limit)
    print(json.dumps(asdict(truth(inputs, args.save))))


if __name__ == "__main__":
    main()
