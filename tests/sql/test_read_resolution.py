"""``rasteret_read(resolution := …)``: the overview that rasterio would read, its bytes alone, and pixels that rasterio's warper agrees with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely
import tifffile
from affine import Affine
from rasterio.enums import Resampling

from rasteret_sql.reader.engine import engine
from tests.reader.oracle import SKY, blocks, fetch, rows, same, write_tif
from tests.servers.ranged import RangeServer
from tests.sql.grids import under, warped

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

UTM = "geometry_crs := 'EPSG:32633'"
METHODS = ("nearest", "bilinear", "cubic", "average", "mode", "min", "max", "med", "q1", "q3", "rms")
PLOT = shapely.Polygon([SKY @ (20.2, 30.1), SKY @ (250.3, 40.2), SKY @ (200.4, 270.7)])
HEIGHT, WIDTH = 300, 320


def with_overviews(path: str, factors: Sequence[int] = (2, 4, 8), how: Resampling = Resampling.average) -> str:
    with rasterio.open(path, "r+") as target:
        target.build_overviews(list(factors), how)
    return path


def noise(dtype: str, seed: int = 0, *, planes: int = 1, invalid: float | None = None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(1, 120, (planes, HEIGHT, WIDTH)).astype(dtype)
    if invalid is not None:
        pixels[rng.random(pixels.shape) < 0.15] = invalid
    return pixels


def read(con: Any, source: str, geometry: shapely.Geometry, arguments: str) -> tuple[np.ma.MaskedArray, list[float]]:
    con.register("plot", pa.table({"geom": pa.array([geometry.wkb], pa.binary())}))
    table = fetch(con, f"FROM rasteret_read('{source}', 'plot', {arguments})")
    assert table.num_rows == 1
    band = next(name for name in ("b1", "B") if name in table.column_names)
    found = blocks(table, band)[0]
    assert found is not None
    return found, table["transform"][0].as_py()


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Every level says which one it is: 1 at full resolution, then the overviews' factors."""
    path = with_overviews(write_tif(tmp_path_factory.mktemp("marked") / "m.tif", np.ones((1024, 1024), "uint8")))
    for level, factor in enumerate((2, 4, 8)):
        with rasterio.open(path, "r+", OVERVIEW_LEVEL=level) as target:
            target.write(np.full((1, target.height, target.width), factor, "uint8"))
    return path


@pytest.mark.parametrize("how", ["nearest", "bilinear", "average", "mode"])
def test_the_level_is_the_one_that_rasterio_reads(con, marked: str, how: str) -> None:
    """Sizes around every change of level. Only ``nearest`` takes an overview that is clearly coarser than asked for."""
    levels = set()
    for size in (1024, 700, 660, 640, 630, 560, 545, 530, 512, 335, 320, 312, 300, 270, 265, 256, 170, 155, 150, 140, 131, 128, 64, 17):
        with rasterio.open(marked) as source:
            expected = int(np.median(source.read(1, out_shape=(size, size), resampling=Resampling[how])))
        found, _ = read(
            con, marked, shapely.box(*SKY @ (100, 200), *SKY @ (220, 80)), f"resolution := {10240 / size!r}, resampling := '{how}', {UTM}"
        )
        assert np.unique(found.compressed()).tolist() == [expected], size
        levels.add(expected)
    assert levels == {1, 2, 4, 8}


@pytest.mark.parametrize(("resolution", "overview"), [(7.5, None), (10, None), (15, None), (20, 0), (25, 0), (47.5, 1), (100, 2)])
def test_every_pixel_is_the_warpers(con, tmp_path: Path, resolution: float, overview: int | None) -> None:
    path = with_overviews(write_tif(tmp_path / "a.tif", noise("int16", invalid=-1), nodata=-1))
    factor = 1 if overview is None else 2 ** (overview + 1)
    scales = (resolution / (10 * WIDTH / math.ceil(WIDTH / factor)), resolution / (10 * HEIGHT / math.ceil(HEIGHT / factor)))
    for how in METHODS:
        found, transform = read(con, path, PLOT, f"resolution := {resolution}, resampling := '{how}', {UTM}")
        assert (transform[0], transform[4]) == (resolution, -resolution)
        assert [(transform[2] - SKY.c) % resolution, (SKY.f - transform[5]) % resolution] == [0, 0], "the grid starts at the raster's corner"
        expected = warped(path, "EPSG:32633", transform, found.shape, resampling=how, scales=scales, overview=overview)
        same(found, under(expected, PLOT, transform), how)


@pytest.mark.parametrize("rule", ["all_touched", "window"])
def test_rules_of_pixels_hold_on_the_new_grid(con, tmp_path: Path, rule: str) -> None:
    path = write_tif(tmp_path / "a.tif", noise("uint16", invalid=0), nodata=0)
    for how in ("nearest", "bilinear", "average", "max"):
        found, transform = read(con, path, PLOT, f"resolution := 35, resampling := '{how}', pixels := '{rule}', {UTM}")
        expected = warped(path, "EPSG:32633", transform, found.shape, resampling=how, scales=(3.5, 3.5))
        same(found, expected if rule == "window" else under(expected, PLOT, transform, all_touched=True), rule)


KINDS: dict[str, tuple[str, float | None]] = {
    "uint8": ("uint8", 0),
    "float32 NaN": ("float32", math.nan),
    "float64": ("float64", -3.4e38),
    "int32": ("int32", -99),
    "no nodata": ("uint16", None),
    "nodata that no pixel can hold": ("uint8", -99.5),
}


@pytest.mark.parametrize("kind", KINDS)
def test_types_and_nodata(con, tmp_path: Path, kind: str) -> None:
    dtype, nodata = KINDS[kind]
    held = nodata if kind not in ("no nodata", "nodata that no pixel can hold") else None
    path = write_tif(tmp_path / "a.tif", noise(dtype, invalid=held), nodata=200 if nodata == -99.5 else nodata)
    if kind.startswith("nodata that"):  # nothing writes such a thing on purpose
        with tifffile.TiffFile(path) as tiff:
            place = tiff.pages[0].tags["GDAL_NODATA"].valueoffset
        data = bytearray(Path(path).read_bytes())
        assert data[place : place + 4] == b"200\0"
        data[place : place + 4] = b"-99\0"
        Path(path).write_bytes(data)
    for how in ("nearest", "bilinear", "cubic", "average", "med"):
        found, transform = read(con, path, PLOT, f"resolution := 24, resampling := '{how}', {UTM}")
        expected = under(warped(path, "EPSG:32633", transform, found.shape, resampling=how, scales=(2.4, 2.4)), PLOT, transform)
        if dtype != "float64":
            same(found, expected, how)
            continue
        np.testing.assert_array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(expected))
        np.testing.assert_allclose(found.compressed(), expected.compressed(), rtol=1e-12)  # the last digits depend on where the window starts


@pytest.mark.parametrize("how", ["nearest", "bilinear", "average"])
@pytest.mark.parametrize("overviews", [False, True])
def test_masks_inside_files(con, tmp_path: Path, how: str, *, overviews: bool) -> None:
    """Pixels that a mask hides weigh nothing, in overviews too."""
    rng = np.random.default_rng(4)
    hidden = rng.random((HEIGHT, WIDTH)) < 0.3
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = write_tif(tmp_path / "a.tif", noise("uint8"))
        with rasterio.open(path, "r+") as target:
            target.write_mask(~hidden)
        if overviews:
            with_overviews(path, (2, 4))
    found, transform = read(con, path, PLOT, f"resolution := 40, resampling := '{how}', {UTM}")
    level = {"overview": 1, "scales": (1.0, 1.0)} if overviews else {"scales": (4.0, 4.0)}
    same(found, under(warped(path, "EPSG:32633", transform, found.shape, resampling=how, **level), PLOT, transform), how)


def test_alpha(con, tmp_path: Path) -> None:
    planes = np.stack([*noise("uint8", planes=3), np.where(np.random.default_rng(5).random((HEIGHT, WIDTH)) < 0.3, 0, 255).astype("uint8")])
    path = write_tif(tmp_path / "a.tif", planes, photometric="rgb", alpha="yes", interleave="band")
    found, transform = read(con, path, PLOT, f"bands := ['b1'], resolution := 40, resampling := 'average', {UTM}")
    hidden = planes[3] == 0
    cells = [(planes[0][r : r + 4, c : c + 4], hidden[r : r + 4, c : c + 4]) for r, c in _corners(found.shape, transform)]
    expected = [None if h.all() else float(p[~h].mean()) for p, h in cells]
    inside = ~np.ma.getmaskarray(under(np.ma.zeros(found.shape), PLOT, transform)).ravel()
    flat = found.ravel()
    for index in np.flatnonzero(inside).tolist():
        mean = expected[index]
        assert np.ma.getmaskarray(flat)[index] == (mean is None)
        assert mean is None or abs(int(flat.data[index]) - mean) <= 0.5


def _corners(shape: tuple[int, int], transform: list[float]) -> list[tuple[int, int]]:
    col, row = round((transform[2] - SKY.c) / 10), round((SKY.f - transform[5]) / 10)
    return [(row + 4 * i, col + 4 * j) for i in range(shape[0]) for j in range(shape[1])]


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_wide_integers_are_exact_or_refused(con, tmp_path: Path, dtype: str) -> None:
    plane = noise(dtype) + np.array(2**60 + 1, dtype)
    path = write_tif(tmp_path / "a.tif", plane)
    found, transform = read(con, path, PLOT, f"resolution := 31, {UTM}")
    rows_, cols = np.indices(found.shape) + 0.5
    col, row = (transform[2] + cols * 31 - SKY.c) / 10, (SKY.f - (transform[5] - rows_ * 31)) / 10
    expected = np.ma.array(plane[0][row.astype(int), col.astype(int)], mask=False)
    same(found, under(expected, PLOT, transform), dtype)
    turned, grid = read(con, path, PLOT, f"resolution := 31, target_crs := 'EPSG:3035', {UTM}")
    assert turned.count() > 1000
    assert np.isin(turned.compressed(), plane).all()
    assert len(grid) == 6
    with pytest.raises(duckdb.Error, match="resampled by 'nearest' only"):
        read(con, path, PLOT, f"resolution := 31, resampling := 'bilinear', {UTM}")
    kept = rows(con, f"FROM rasteret_read('{path}', 'plot', resolution := 31, resampling := 'bilinear', on_error := 'null', {UTM})")[0]
    assert (kept["status"], set(kept["b1"])) == ("error", {None})
    assert "'nearest' only" in kept["error"]


@pytest.mark.parametrize("how", ["nearest", "bilinear", "average"])
@pytest.mark.parametrize(
    "transform",
    [Affine(10, 0, 500000, 0, 10, 5197000), SKY @ Affine.rotation(25), SKY @ Affine(1, 0.3, 0, -0.2, 1.5, 0)],
    ids=["south-up", "rotated", "sheared"],
)
def test_other_orientations_are_kept(con, tmp_path: Path, transform: Affine, how: str) -> None:
    path = with_overviews(write_tif(tmp_path / "a.tif", noise("int16", invalid=-1), nodata=-1, transform=transform), (2, 4))
    plot = shapely.Polygon([transform @ (20.2, 30.1), transform @ (250.3, 40.2), transform @ (200.4, 270.7)])
    found, grid = read(con, path, plot, f"resolution := 45, resampling := '{how}', {UTM}")
    a, b, _, d, e, _ = grid
    assert (math.hypot(a, d), math.hypot(b, e)) == pytest.approx((45, 45))
    assert math.atan2(d, a) == pytest.approx(math.atan2(transform.d, transform.a))
    lengths = [math.hypot(transform.a, transform.d), math.hypot(transform.b, transform.e)]
    scales = [45 / length for length in lengths]
    overview = 1 if min(scales) * (1.2 if how == "nearest" else 1.0) + 0.1 > 4 else 0
    scales = [scale / (4 if overview else 2) for scale in scales]
    expected = warped(path, "EPSG:32633", grid, found.shape, resampling=how, scales=(scales[0], scales[1]), overview=overview)
    same(found, under(expected, plot, grid), how)


def test_metres_in_geographic_crs(con, tmp_path: Path) -> None:
    """A pixel is 60 m high by the length of a degree at the equator, and as much wider as a degree of longitude is shorter in the raster's middle."""
    place = Affine(0.0002, 0, 11.0, 0, -0.0001, 60.0)
    path = with_overviews(write_tif(tmp_path / "a.tif", noise("int16", invalid=-1), nodata=-1, crs="EPSG:4326", transform=place), (2, 4))
    plot = shapely.box(11.005, 59.975, 11.05, 59.995)
    found, grid = read(con, path, plot, "resolution := 60")
    latitude = 60.0 - 0.0001 * HEIGHT / 2
    high = 60 / (math.pi / 180 * 6378137)
    assert grid[0] == pytest.approx(high / math.cos(math.radians(latitude)), rel=1e-12)
    assert grid[4] == pytest.approx(-high, rel=1e-12)
    same(found, under(warped(path, "EPSG:4326", grid, found.shape, overview=1), plot, grid), "degrees")


def test_align_to_moves_the_corner(con, tmp_path: Path) -> None:
    path = write_tif(tmp_path / "a.tif", noise("int16", invalid=-1), nodata=-1)
    for place, x, y in (("[7, 4]", 7, 4), ("(7.0, 4)", 7, 4), ("0", 0, 0), ("[0.5, -12.5]", 0.5, -12.5)):
        found, grid = read(con, path, PLOT, f"resolution := 30, align_to := {place}, resampling := 'average', {UTM}")
        assert [(grid[2] - x) % 30, (grid[5] - y) % 30] == [0, 0]
        same(found, under(warped(path, "EPSG:32633", grid, found.shape, resampling="average", scales=(3.0, 3.0)), PLOT, grid), place)
    whole, grid = read(con, path, shapely.box(0, 0, 1e7, 1e7), f"resolution := 30, align_to := [7, 4], pixels := 'window', {UTM}")
    assert (grid[2], grid[5]) == (SKY.c - 13, SKY.f + 24), "the first pixel reaches beyond the raster rather than leave a strip out"
    assert whole.shape == (101, 108)
    turned = write_tif(tmp_path / "r.tif", noise("int16"), transform=SKY @ Affine.rotation(25))
    with pytest.raises(duckdb.Error, match="align_to cannot be met on a rotated raster"):
        read(con, turned, PLOT, f"resolution := 30, align_to := [7, 4], {UTM}")


@pytest.fixture
def mixed(con, tmp_path: Path) -> dict[str, str]:
    """One record of a 10 m band and a 20 m band, each with overviews."""
    rng = np.random.default_rng(8)
    fine = with_overviews(write_tif(tmp_path / "fine.tif", noise("uint16", 1, invalid=0), nodata=0), (2, 4))
    coarse_pixels = rng.integers(1, 500, (HEIGHT // 2, WIDTH // 2)).astype("uint16")
    coarse = with_overviews(write_tif(tmp_path / "coarse.tif", coarse_pixels, nodata=0, transform=SKY @ Affine.scale(2)), (2, 4))
    con.register("__r", pa.table({"id": ["a"], "F": [fine], "C": [coarse]}))
    con.execute("FROM rasteret_build_from_table('__r', name := 'mixed', band_columns := {'F': 'F', 'C': 'C'})").fetchall()
    return {"F": fine, "C": coarse}


@pytest.mark.parametrize("source", ["mixed", "filtered"])
def test_each_band_comes_from_its_own_best_level(con, mixed: dict[str, str], source: str) -> None:
    """From a collection on disk and from a table of records alike."""
    con.execute("CREATE TEMP TABLE filtered AS FROM rasteret_collection('mixed')").fetchall()
    con.register("plot", pa.table({"geom": pa.array([PLOT.wkb], pa.binary())}))
    for resolution, fine, coarse in ((20, 0, None), (40, 1, 0)):
        table = fetch(con, f"FROM rasteret_read('{source}', 'plot', bands := ['C', 'F'], resolution := {resolution}, {UTM})")
        grid = table["transform"][0].as_py()
        for band, overview in (("F", fine), ("C", coarse)):
            found = blocks(table, band)[0]
            same(found, under(warped(mixed[band], "EPSG:32633", grid, found.shape, overview=overview), PLOT, grid), band)


def test_resampling_alone_serves_the_coarser_bands(con, mixed: dict[str, str]) -> None:
    con.register("plot", pa.table({"geom": pa.array([PLOT.wkb], pa.binary())}))
    table = fetch(con, f"FROM rasteret_read('mixed', 'plot', bands := ['F', 'C'], resampling := 'bilinear', {UTM})")
    fine, coarse = blocks(table, "F")[0], blocks(table, "C")[0]
    grid = table["transform"][0].as_py()
    assert grid[0] == 10
    same(fine, under(warped(mixed["F"], "EPSG:32633", grid, fine.shape), PLOT, grid), "fine")
    same(coarse, under(warped(mixed["C"], "EPSG:32633", grid, fine.shape, resampling="bilinear", scales=(0.5, 0.5)), PLOT, grid), "coarse")


def test_values_do_not_depend_on_the_geometry(con, tmp_path: Path) -> None:
    """Many small windows and a large one agree on every pixel that they share."""
    path = write_tif(tmp_path / "a.tif", noise("float32", invalid=-1), nodata=-1)
    whole, grid = read(con, path, shapely.box(0, 0, 1e7, 1e7), f"resolution := 33, resampling := 'cubic', pixels := 'window', {UTM}")
    rng = np.random.default_rng(2)
    boxes = [
        shapely.box(x, y, x + w, y + w)
        for x, y, w in zip(rng.uniform(5e5, 503000, 60), rng.uniform(5197100, 5199900, 60), rng.uniform(50, 700, 60), strict=True)
    ]
    con.register("plots", pa.table({"no": range(60), "geom": pa.array(list(shapely.to_wkb(boxes)), pa.binary())}))
    table = fetch(con, f"FROM rasteret_read('{path}', 'plots', resolution := 33, resampling := 'cubic', pixels := 'window', {UTM})")
    assert table.num_rows == 60
    for part, placed in zip(blocks(table, "b1"), table["transform"].to_pylist(), strict=True):
        col, row = round((placed[2] - grid[2]) / 33), round((grid[5] - placed[5]) / 33)
        same(part, whole[row : row + part.shape[0], col : col + part.shape[1]], str(placed))


def level_tiles(path: Path, level: int) -> tuple[int, int]:
    """Tiles and bytes of one level of a file."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0] if level == 0 else next(p for p in tiff.pages if p.imagewidth == -(-tiff.pages[0].imagewidth // 2**level))
        return len(page.databytecounts), sum(page.databytecounts)


@pytest.mark.parametrize(("resolution", "level"), [(10, 0), (20, 1), (40, 2), (90, 3)])
def test_only_the_bytes_of_the_level_are_fetched(con, tmp_path: Path, resolution: int, level: int) -> None:
    """``rasteret_plan`` says so beforehand, and the server counts so afterwards."""
    rng = np.random.default_rng(3)
    path = with_overviews(write_tif(tmp_path / "a.tif", rng.integers(0, 65535, (1024, 1024), dtype="uint16"), blockxsize=128, blockysize=128))
    con.register("plot", pa.table({"geom": pa.array([shapely.box(0, 0, 1e7, 1e7).wkb], pa.binary())}))
    with RangeServer(tmp_path) as server:
        con.register("__r", pa.table({"id": ["a"], "path": [server.url("a.tif")]}))
        con.execute("FROM rasteret_build_from_table('__r', name := 'remote', href_column := 'path')").fetchall()
        for how in ("nearest", "average"):
            engine().cache.clear()
            server.reset()
            call = f"'remote', 'plot', bands := ['b1'], resolution := {resolution}, resampling := '{how}', {UTM}"
            planned = rows(con, f"FROM rasteret_plan({call})")[0]
            tiles, size = level_tiles(Path(path), level)
            assert (planned["tiles"], planned["bytes"], server.stats().requests) == (tiles, size, 0)
            found = fetch(con, f"FROM rasteret_read({call}, pixels := 'window')")
            assert len(found["b1"][0]) == math.ceil(10240 / resolution) ** 2
            assert server.stats().requests <= planned["requests"]
            assert size <= server.stats().bytes <= 1.03 * size


def test_a_resolution_in_the_wrong_unit_is_refused_in_time(con, tmp_path: Path) -> None:
    path = write_tif(tmp_path / "a.tif", noise("int16"))
    for grid in ("resolution := 0.01", "resolution := 0.00001, target_crs := 'EPSG:3857'", "resolution := 0.01, target_crs := 'EPSG:3857'"):
        with pytest.raises(duckdb.Error, match="is the unit right"):
            read(con, path, PLOT, f"{grid}, {UTM}")
