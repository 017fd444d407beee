"""Odd files through SQL against rasterio, and against tifffile where GDAL has no decoder: pixels, validity, place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely
import tifffile

from tests.raster.odd import BY_TIFFFILE, ODD, TRANSFORM, Odd
from tests.reader.oracle import blocks, fetch, same, scalars

pytestmark = [
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The dataset's nodata attribute is shadowing"),
]
SMOOTHED = tuple(map(int, rasterio.__version__.split(".")[:2])) < (1, 5)
"""Wheels of rasterio before 1.5 have the IJG's JPEG library, which makes subsampled colours whole in another way than libjpeg-turbo."""


def whole(odd: Odd) -> shapely.Geometry:
    return shapely.box(TRANSFORM.c, TRANSFORM.f - 10 * odd.height, TRANSFORM.c + 10 * odd.width, TRANSFORM.f)


def read(con, path: Path, odd: Odd) -> tuple[list[np.ma.MaskedArray], pa.Table]:
    con.register("shapes", pa.table({"geom": shapely.to_wkb([whole(odd)])}))
    names = [f"b{band + 1}" for band in range(odd.bands)]
    table = fetch(con, f"FROM rasteret_read('{path}', 'shapes', bands := {names}, geometry_crs := 'EPSG:32633', pixels := 'window')")
    return [blocks(table, name)[0] for name in names], table


def alike(found: np.ma.MaskedArray, expected: np.ma.MaskedArray, odd: Odd) -> None:
    """Equal; lossy colours in lower resolution within the few levels that JPEG libraries differ by."""
    if not (SMOOTHED and ("ycbcr" in odd.name or odd.name in ("jpeg mask", "cog jpeg mask"))):
        same(found, expected, odd.name)
        return
    np.testing.assert_array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(expected))
    apart = np.abs(found.filled(0).astype(int) - expected.filled(0).astype(int))
    assert apart.max() <= 24, odd.name
    assert apart.mean() < 1.5, odd.name


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name)
def test_as_rasterio_reads_it(con, tmp_path, odd) -> None:
    path = tmp_path / "odd.tif"
    odd.write(path)
    found, table = read(con, path, odd)
    with rasterio.open(path) as ds:
        expected = ds.read(masked=True)
        assert ds.dtypes[0] == found[0].dtype.name
        assert tuple(ds.transform)[:6] == tuple(table["transform"][0].as_py())
    for mine, theirs in zip(found, expected, strict=True):
        alike(mine, theirs, odd)


@pytest.mark.parametrize("odd", [odd for odd in ODD if "jpeg" in odd.name and "cog" not in odd.name and "planar" not in odd.name] + BY_TIFFFILE, ids=lambda odd: odd.name)
def test_as_tifffile_reads_it(con, tmp_path, odd) -> None:
    path = tmp_path / "odd.tif"
    odd.write(path)
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        pixels = page.asarray()
        planes = pixels[None] if odd.bands == 1 else pixels if page.planarconfig == 2 else np.moveaxis(pixels, -1, 0)
    found, _ = read(con, path, odd)
    for mine, theirs in zip(found, planes, strict=True):
        np.testing.assert_array_equal(np.asarray(mine.data)[~np.ma.getmaskarray(mine)], theirs[~np.ma.getmaskarray(mine)])
        assert odd.mask or odd.alpha or not np.ma.getmaskarray(mine).any()


MASKED = [odd for odd in ODD if odd.mask or odd.alpha]


@pytest.mark.parametrize("odd", MASKED, ids=lambda odd: odd.name)
def test_every_way_of_reading_honours_masks(con, tmp_path, odd) -> None:
    """Points, neighbourhoods, pixel rows and statistics see the same pixels as blocks do."""
    path = tmp_path / "odd.tif"
    odd.write(path)
    blocks_, _ = read(con, path, odd)
    expected = np.ma.stack(blocks_)
    names = [f"b{band + 1}" for band in range(odd.bands)]
    rng = np.random.default_rng(3)
    rows, cols = rng.integers(0, odd.height, 60), rng.integers(0, odd.width, 60)
    xs, ys = TRANSFORM.c + 10 * (cols + 0.5), TRANSFORM.f - 10 * (rows + 0.5)
    con.register("points", pa.table({"no": np.arange(60), "x": xs, "y": ys}))
    where = f"'{path}', 'points', bands := {names}, x := 'x', y := 'y', geometry_crs := 'EPSG:32633'"
    table = fetch(con, f"FROM rasteret_sample({where}) ORDER BY no")
    for name, plane in zip(names, expected, strict=True):
        same(scalars(table[name]), plane[rows, cols], name)
    table = fetch(con, f"FROM rasteret_pixels('{path}', 'shapes', bands := {names}, geometry_crs := 'EPSG:32633') ORDER BY \"row\", col")
    flat = expected.reshape(odd.bands, -1)
    kept = flat[:, ~np.ma.getmaskarray(flat).all(axis=0)]
    for name, plane in zip(names, kept, strict=True):
        same(scalars(table[name]), plane, name)
    table = fetch(con, f"FROM rasteret_zonal('{path}', 'shapes', bands := {names}, stats := ['count', 'sum'], geometry_crs := 'EPSG:32633')")
    for name, plane in zip(names, expected, strict=True):
        counts = [c for c in table.column_names if c.endswith("count") and name in c] or ["count"]
        mine = table if len(counts) == 1 and counts[0] != "count" else table.filter(pa.compute.equal(table["band"], name))
        assert mine[counts[0]][0].as_py() == plane.count(), name
