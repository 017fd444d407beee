"""Odd files through SQL against rasterio, and against tifffile where GDAL has no decoder: pixels, validity, place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyproj
import pytest
import rasterio
import shapely
import tifffile

from tests.raster.odd import BY_TIFFFILE, ODD, TRANSFORM, Odd, with_metadata, write_tifffile
from tests.reader.oracle import blocks, fetch, same, scalars, write_tif

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


@pytest.mark.parametrize(
    "odd", [odd for odd in ODD if "jpeg" in odd.name and "cog" not in odd.name and "planar" not in odd.name] + BY_TIFFFILE, ids=lambda odd: odd.name
)
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
        assert odd.mask or odd.alpha or odd.nodata is not None or not np.ma.getmaskarray(mine).any()


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


# -- what is refused, and how -----------------------------------------------------------------------------------------------------


def complex_numbers(path: Path) -> None:
    write_tif(path, np.ones((8, 8), "complex64"), tiled=False)


def ground_control_points(path: Path) -> None:
    points = [rasterio.control.GroundControlPoint(row, col, 10.0 + col, 50.0 - row) for row in (0, 8) for col in (0, 8)]
    with rasterio.open(path, "w", driver="GTiff", width=8, height=8, count=1, dtype="uint8", gcps=points, crs="EPSG:4326") as out:
        out.write(np.ones((1, 8, 8), "uint8"))


def rational_polynomials(path: Path) -> None:
    tifffile.imwrite(path, np.ones((8, 8), "uint8"), extratags=[(50844, "d", 92, (0.0,) * 92, True)], metadata=None)


def nowhere(path: Path) -> None:
    tifffile.imwrite(path, np.ones((8, 8), "uint8"), metadata=None)


def tifffile_as(planes: np.ndarray, **options: Any) -> Callable[[Path], None]:
    return lambda path: write_tifffile(path, planes, **options)


def with_tag(tag: int, value: int) -> Callable[[Path], None]:
    """A plain file whose inline tag has another value."""

    def make(path: Path) -> None:
        write_tifffile(path, np.ones((1, 8, 8), "uint8"), tags=((tag, "H", 1, value, True),) if tag == 339 else ())
        with tifffile.TiffFile(path, mode="r+") as tif:
            tif.pages[0].tags[tag].overwrite(value)

    return make


def nbits(bits: int, dtype: str, **more: object) -> Callable[[Path], None]:
    return Odd("nbits", dtype, top=2**bits - 1, options={"NBITS": bits, **more}).write


REFUSED = {
    "complex": (complex_numbers, r"samples of 64 bits \(complex float\) are not read"),
    "ground control points": (ground_control_points, r"georeferenced only by 4 ground control points \(GCPs\)"),
    "rational polynomials": (rational_polynomials, r"georeferenced only by rational polynomial coefficients \(RPCs\)"),
    "no place": (nowhere, "has no georeferencing"),
    "20 bits": (nbits(20, "uint32"), r"samples of 20 bits \(unsigned integer\) are not read"),
    "cmyk": (
        tifffile_as(np.ones((4, 8, 8), "uint8"), photometric="separated"),
        r"photometric interpretation CMYK \(5\) with compression none is not read",
    ),
    "cie": (tifffile_as(np.ones((3, 8, 8), "uint8"), photometric="cielab"), r"photometric interpretation CIE L\*a\*b\* \(8\)"),
    "ycbcr": (with_tag(262, 6), r"photometric interpretation YCbCr \(6\) with compression none is not read"),
    "17 bits": (nbits(16, "uint32"), r"samples of 17 bits"),
    "nodata of all bands": (
        lambda path: with_metadata('<GDALMetadata><Item name="NODATA_VALUES">0 0 0</Item></GDALMetadata>')(Odd("", bands=3), path),
        "GDAL_METADATA item NODATA_VALUES",
    ),
    "jpeg xr": (tifffile_as(np.ones((1, 32, 32), "uint8"), compression="jpegxr"), r"compression JPEG XR \(34934\) is not read"),
    "png": (tifffile_as(np.ones((1, 32, 32), "uint8"), compression="png"), r"compression PNG \(34933\) is not read"),
    "fax": (with_tag(259, 4), r"compression CCITT Group 4 \(4\) is not read"),
    "old jpeg": (with_tag(259, 6), r"compression JPEG \(old style\) \(6\) is not read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name_when_it_is_indexed(con, tmp_path, name) -> None:
    make, message = REFUSED[name]
    path = tmp_path / "a.tif"
    make(path)
    with pytest.raises(duckdb.Error, match=message) as raised:
        con.execute(f"FROM rasteret_bands('{path}')").fetchall()
    assert str(path) in str(raised.value).splitlines()[0]


# -- places -----------------------------------------------------------------------------------------------------------------------

SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m"
PLACED = {
    "sinusoidal": (SINUSOIDAL, (500.0, 0, 1_000_000.0, 0, -500.0, 5_500_000.0)),
    "polar": ("+proj=stere +lat_0=90 +lat_ts=70 +lon_0=-45 +x_0=0 +y_0=0 +a=6378273 +b=6356889.449 +units=m", (625.0, 0, 9e5, 0, -625.0, -8e5)),
    "geostationary": ("+proj=geos +h=35786023 +lon_0=0 +sweep=x +ellps=GRS80 +units=m", (3000.0, 0, 1e6, 0, -3000.0, 4e6)),
    "sphere": ("+proj=longlat +R=6371007.181", (0.01, 0, 10.0, 0, -0.01, 50.0)),
    "rotated": ("EPSG:32633", (8.0, 3.0, 500000.0, 2.0, -9.0, 5200000.0)),
    "sheared, south-up": (SINUSOIDAL, (500.0, 120.0, 1e6, -40.0, 480.0, 5e6)),
    "shifted datum": (
        "+proj=tmerc +lat_0=49 +lon_0=-2 +k=0.9996 +x_0=400000 +y_0=-100000 +ellps=airy +towgs84=446,-125,542 +units=m",
        (25.0, 0, 4e5, 0, -25.0, 3e5),
    ),
}


@pytest.mark.parametrize("name", PLACED)
def test_points_and_polygons_in_crss_without_a_code(con, tmp_path, name) -> None:
    """Longitudes and latitudes meet the pixels that rasterio's CRS and transform place there."""
    crs, numbers = PLACED[name]
    path = tmp_path / "a.tif"
    plane = np.arange(60 * 50, dtype="uint16").reshape(60, 50)
    write_tif(path, plane, crs=crs, transform=rasterio.Affine(*numbers))
    a, b, c, d, e, f = numbers
    with rasterio.open(path) as ds:
        to_lonlat = pyproj.Transformer.from_crs(pyproj.CRS.from_wkt(ds.crs.to_wkt()), "OGC:CRS84", always_xy=True)
    rng = np.random.default_rng(5)
    row, col = rng.integers(0, 60, 80), rng.integers(0, 50, 80)
    along, down = col + rng.uniform(0.1, 0.9, 80), row + rng.uniform(0.1, 0.9, 80)
    lon, lat = to_lonlat.transform(a * along + b * down + c, d * along + e * down + f)
    con.register("points", pa.table({"no": range(80), "x": lon, "y": lat}))
    table = fetch(con, f"FROM rasteret_sample('{path}', 'points', bands := ['b1'], x := 'x', y := 'y', geometry_crs := 'OGC:CRS84') ORDER BY no")
    assert table["b1"].to_pylist() == plane[row, col].tolist()
    ring = [(10.5, 10.5), (30.5, 10.5), (30.5, 30.5), (10.5, 30.5)]
    shape = shapely.Polygon([to_lonlat.transform(a * x + b * y + c, d * x + e * y + f) for x, y in ring])
    con.register("shapes", pa.table({"geom": shapely.to_wkb([shape])}))
    table = fetch(con, f"FROM rasteret_zonal('{path}', 'shapes', bands := ['b1'], stats := ['mean', 'count'], geometry_crs := 'OGC:CRS84')")
    found = table.to_pylist()[0]
    mean, count = (next(value for key, value in found.items() if key.endswith(part)) for part in ("mean", "count"))
    assert count == pytest.approx(400.0, abs=0.5)
    assert mean == pytest.approx(plane[10:31, 10:31].mean(), abs=3)


def test_files_without_crs_need_one_and_take_it(con, tmp_path) -> None:
    path = tmp_path / "a.tif"
    plane = np.arange(400, dtype="uint16").reshape(20, 20)
    tags = [(33550, "d", 3, (10.0, 10.0, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 500000.0, 5200000.0, 0.0), True)]
    tifffile.imwrite(path, plane, extratags=tags, metadata=None)
    con.register("points", pa.table({"x": [500055.0], "y": [5199925.0]}))
    call = f"FROM rasteret_sample('{path}', 'points', bands := ['b1'], x := 'x', y := 'y', geometry_crs := 'EPSG:32633'"
    with pytest.raises(duckdb.Error, match="CRS"):
        con.execute(call + ")").fetchall()
    for crs in ("EPSG:32633", pyproj.CRS.from_epsg(32633).to_wkt(), pyproj.CRS.from_epsg(32633).to_json()):
        table = fetch(con, call + ", crs := '" + crs.replace("'", "''") + "')")
        assert table["b1"].to_pylist() == [plane[7, 5]]
