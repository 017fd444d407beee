"""``rasteret_read(target_crs := …)``: one grid for all records, and on it the pixels of GDAL's warper with exact coordinates."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

import rasteret_sql
from rasteret_sql.raster.crs import transform_geometries
from tests.reader.oracle import SKY, blocks, fetch, rows, same, write_tif
from tests.sql.grids import COMMON_GRIDS, kernel, under, warped

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

UTM = "geometry_crs := 'EPSG:32633'"
PLOT = shapely.Polygon([SKY @ (20.2, 30.1), SKY @ (250.3, 40.2), SKY @ (200.4, 270.7)])
METHODS = ("nearest", "bilinear", "cubic", "average", "mode", "min", "max", "med", "q1", "q3", "rms")
HEIGHT, WIDTH = 300, 320


def noise(dtype: str = "int16", seed: int = 0, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(1, 30000, shape).astype(dtype)
    pixels[rng.random(shape) < 0.1] = -1
    return pixels


def plots_table(con: Any, geometries: list[shapely.Geometry], name: str = "plots") -> None:
    con.register(name, pa.table({"no": range(len(geometries)), "geom": pa.array([g.wkb for g in geometries], pa.binary())}))


def projected(geometry: shapely.Geometry, src: str, dst: str) -> shapely.Geometry:
    return transform_geometries(np.array([geometry], dtype=object), src, dst)[0]


def expected_at(path: str, crs: str, grid: list[float], shape: tuple[int, int], how: str, overview: int | None = None) -> np.ma.MaskedArray:
    return warped(path, crs, grid, shape, resampling=how, scales=kernel(path, crs, grid[0], overview), overview=overview)


@pytest.mark.parametrize(("crs", "resolution", "overviews"), [*COMMON_GRIDS, ("ESRI:54009", 44, (1, 1))])
def test_every_pixel_is_the_warpers(con, tmp_path: Path, crs: str, resolution: float, overviews: tuple[int | None, int | None]) -> None:
    """Same level (by ``nearest`` and by all other methods), same grid, same method: the same pixels."""
    path = write_tif(tmp_path / "a.tif", noise(), nodata=-1)
    with rasterio.open(path, "r+") as target:
        target.build_overviews([2, 4], Resampling.average)
    plots_table(con, [PLOT])
    shape = projected(PLOT, "EPSG:32633", crs)
    west, south, east, north = shape.bounds
    for how in METHODS:
        sql = f"FROM rasteret_read('{path}', 'plots', target_crs := '{crs}', resolution := {resolution}, resampling := '{how}', {UTM})"
        table = fetch(con, sql)
        found, grid = blocks(table, "b1")[0], table["transform"][0].as_py()
        assert table["crs"].to_pylist() == [crs]
        assert (grid[0], grid[1], grid[3], grid[4]) == (resolution, 0, 0, -resolution)
        assert [edge / resolution for edge in (grid[2], grid[5])] == pytest.approx(
            [round(edge / resolution) for edge in (grid[2], grid[5])], abs=1e-6
        )
        assert found.shape == (math.ceil(grid[5] / resolution - south / resolution), math.ceil(east / resolution - grid[2] / resolution))
        assert 0 <= west - grid[2] < resolution
        assert 0 <= grid[5] - north < resolution
        same(found, under(expected_at(path, crs, grid, found.shape, how, overviews[how != "nearest"]), shape, grid), how)


@pytest.mark.parametrize("how", ["bilinear", "cubic"])
@pytest.mark.parametrize("resolution", [9.0, 21.0, 60.0])
def test_kernels_are_as_wide_as_gdal_makes_them(con, tmp_path: Path, how: str, resolution: float) -> None:
    """Left to itself, GDAL derives the width from each window; on a smooth raster that makes next to no difference to ours."""
    row, col = np.indices((HEIGHT, WIDTH))
    plane = (1000 * np.sin(row / 9) * np.cos(col / 11)).astype("float32")
    path = write_tif(tmp_path / "a.tif", plane)
    inner = shapely.Polygon([SKY @ (60, 60), SKY @ (250, 70), SKY @ (200, 240)])
    plots_table(con, [inner])
    table = fetch(con, f"FROM rasteret_read('{path}', 'plots', target_crs := 'EPSG:3857', resolution := {resolution}, resampling := '{how}', {UTM})")
    found, grid = blocks(table, "b1")[0], table["transform"][0].as_py()
    with rasterio.open(path) as source:
        bounds = transformed = projected(shapely.box(*source.bounds), "EPSG:32633", "EPSG:3857").bounds
        col0, row0 = math.ceil((grid[2] - bounds[0]) / resolution), math.ceil((bounds[3] - grid[5]) / resolution)
        whole = Affine(resolution, 0, grid[2] - col0 * resolution, 0, -resolution, grid[5] + row0 * resolution)
        size = {"width": math.ceil((transformed[2] - whole.c) / resolution), "height": math.ceil((whole.f - transformed[1]) / resolution)}
        with WarpedVRT(source, crs="EPSG:3857", transform=whole, resampling=Resampling[how], tolerance=1e-9, **size) as view:
            theirs = view.read(1)[row0 : row0 + found.shape[0], col0 : col0 + found.shape[1]]
    assert np.abs(found - theirs).max() < 4  # of 2000


@pytest.fixture
def zones(con, tmp_path: Path) -> dict[str, str]:
    """One place in two UTM zones, 32 and 33, and in degrees: three records of different CRS, orientation and resolution."""
    paths = {}
    for name, crs, size, south_up in (("z32", "EPSG:32632", 10.0, False), ("z33", "EPSG:32633", 20.0, True), ("degrees", "EPSG:4326", 0.0002, False)):
        x, y = Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(12.0, 47.0)
        place = Affine(size, 0, x - 150 * size, 0, size if south_up else -size, y + (-150 if south_up else 150) * size)
        paths[name] = write_tif(tmp_path / f"{name}.tif", noise(seed=len(name)), crs=crs, nodata=-1, transform=place)
    con.register("__r", pa.table({"id": list(paths), "path": list(paths.values())}))
    con.execute("FROM rasteret_build_from_table('__r', name := 'border', href_column := 'path')").fetchall()
    return paths


ACROSS = shapely.Polygon([(11.99, 46.995), (12.013, 46.991), (12.009, 47.006), (11.993, 47.004)])


@pytest.mark.parametrize("how", ["nearest", "bilinear", "average"])
def test_records_of_two_zones_stack(con, zones: dict[str, str], how: str) -> None:
    plots_table(con, [ACROSS, shapely.box(11.9, 46.99, 12.1, 47.001)])
    grid = f"target_crs := 'EPSG:3857', resolution := 30, align_to := [5, 7], resampling := '{how}'"
    table = fetch(con, f"FROM rasteret_read('border', 'plots', bands := ['b1'], {grid}) ORDER BY no, record_id")
    assert table["record_id"].to_pylist() == ["degrees", "z32", "z33"] * 2
    found = blocks(table, "b1")
    for no, geometry in enumerate((ACROSS, shapely.box(11.9, 46.99, 12.1, 47.001))):
        places = {tuple(place) for place in table["transform"].to_pylist()[3 * no : 3 * no + 3]}
        assert len(places) == len({block.shape for block in found[3 * no : 3 * no + 3]}) == 1
        place = list(next(iter(places)))
        assert [(place[2] - 5) % 30, (place[5] - 7) % 30] == [0, 0]
        for name, block in zip(("degrees", "z32", "z33"), found[3 * no : 3 * no + 3], strict=True):
            expected = expected_at(zones[name], "EPSG:3857", place, block.shape, how)
            same(block, under(expected, projected(geometry, "OGC:CRS84", "EPSG:3857"), place), f"{name} {no}")
    assert set(table["status"].to_pylist()) == {"ok"}


def test_stacked_arrays_compute_in_sql(con, zones: dict[str, str]) -> None:
    """The use of it: a mean over records, element by element."""
    plots_table(con, [ACROSS])
    call = "rasteret_read('border', 'plots', bands := ['b1'], target_crs := 'EPSG:3857', resolution := 30)"
    means = con.execute(
        f"""SELECT avg(v) FROM (SELECT unnest(b1) AS v, generate_subscripts(b1, 1) AS i FROM {call}) GROUP BY i ORDER BY i"""
    ).fetchall()
    table = fetch(con, f"FROM {call}")
    place, found = table["transform"][0].as_py(), blocks(table, "b1")
    expected = np.ma.stack([expected_at(path, "EPSG:3857", place, found[0].shape, "nearest") for path in zones.values()])
    expected = under(expected.mean(axis=0), projected(ACROSS, "OGC:CRS84", "EPSG:3857"), place)
    same(np.ma.masked_invalid([math.nan if mean is None else mean for (mean,) in means]), expected.ravel(), "means")


def test_arrays_reach_beyond_the_raster(con, tmp_path: Path) -> None:
    """A geometry half outside has the same array of every record; a record that it misses has none."""
    path = write_tif(tmp_path / "a.tif", noise(), nodata=-1)
    half = shapely.box(*SKY @ (-100.5, 100.5), *SKY @ (50.5, 20.5))
    far = shapely.box(*SKY @ (-100.5, 100.5), *SKY @ (-50.5, 20.5))
    plots_table(con, [half, far])
    table = fetch(con, f"FROM rasteret_read('{path}', 'plots', target_crs := 'EPSG:32633', resolution := 10, pixels := 'window', {UTM}) ORDER BY no")
    assert table["status"].to_pylist() == ["ok", "outside"]
    found, grid = blocks(table, "b1")[0], table["transform"][0].as_py()
    assert found.shape == (81, 152)
    assert np.ma.getmaskarray(found)[:, :101].all()
    same(found, warped(path, "EPSG:32633", grid, found.shape), "half")


def test_degrees_are_the_unit_of_a_geographic_target(con, tmp_path: Path) -> None:
    path = write_tif(tmp_path / "a.tif", noise(), nodata=-1)
    plots_table(con, [PLOT])
    for crs in ("EPSG:4326", "OGC:CRS84", "EPSG:4258"):
        table = fetch(con, f"FROM rasteret_read('{path}', 'plots', target_crs := '{crs}', resolution := 0.00025, {UTM})")
        found, grid = blocks(table, "b1")[0], table["transform"][0].as_py()
        assert 14 < grid[2] < 16 < 46 < grid[5] < 48, "x is the longitude"
        same(found, under(warped(path, "OGC:CRS84" if crs != "EPSG:4258" else crs, grid, found.shape), projected(PLOT, "EPSG:32633", crs), grid), crs)


def test_a_target_in_words(con, tmp_path: Path) -> None:
    """CRSs without a code: WKT, and a PROJ string."""
    path = write_tif(tmp_path / "a.tif", noise(), nodata=-1)
    plots_table(con, [PLOT])
    laea = "+proj=laea +lat_0=47 +lon_0=15 +datum=WGS84 +units=m"
    table = fetch(con, f"FROM rasteret_read('{path}', 'plots', target_crs := '{laea}', resolution := 13, {UTM})")
    found, grid = blocks(table, "b1")[0], table["transform"][0].as_py()
    same(found, under(warped(path, laea, grid, found.shape), projected(PLOT, "EPSG:32633", laea), grid), "laea")
    wkt = rasterio.crs.CRS.from_string(laea).to_wkt()
    again = fetch(con, f"FROM rasteret_read('{path}', 'plots', target_crs := '{wkt}', resolution := 13, {UTM})")
    same(blocks(again, "b1")[0], found, "wkt")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    x=st.floats(-20, WIDTH),
    y=st.floats(-20, HEIGHT),
    width=st.floats(2, 120),
    height=st.floats(2, 120),
    resolution=st.floats(4, 90),
    align=st.tuples(st.floats(-100, 100), st.floats(-100, 100)),
    how=st.sampled_from(["nearest", "bilinear", "cubic", "average", "mode"]),
    crs=st.sampled_from(["EPSG:3857", "EPSG:3035", "EPSG:32632"]),
)
def test_windows_of_any_place_and_size(con, tmp_path: Path, x, y, width, height, resolution, align, how, crs) -> None:
    path = str(tmp_path / "a.tif")
    if not Path(path).exists():
        write_tif(tmp_path / "a.tif", noise("float32"), nodata=-1)
    box = shapely.box(*SKY @ (x, y + height), *SKY @ (x + width, y))
    plots_table(con, [box])
    grid = f"target_crs := '{crs}', resolution := {resolution!r}, align_to := [{align[0]!r}, {align[1]!r}], resampling := '{how}'"
    table = fetch(con, f"FROM rasteret_read('{path}', 'plots', {grid}, {UTM}, pixels := 'window')")
    if table["status"].to_pylist() == ["outside"]:
        assert not box.buffer(-0.1).intersects(shapely.box(*SKY @ (0, HEIGHT), *SKY @ (WIDTH, 0)))
        return
    found, place = blocks(table, "b1")[0], table["transform"][0].as_py()
    expected = expected_at(path, crs, place, found.shape, how)
    np.testing.assert_array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(expected))
    np.testing.assert_allclose(found.compressed(), expected.compressed(), rtol=1e-5)


def test_many_threads(tmp_path: Path) -> None:
    """Eight connections in threads that come and go, each with a CRS of its own: GDAL's and PROJ's objects never meet."""
    path = write_tif(tmp_path / "a.tif", noise(), nodata=-1)
    targets = ["EPSG:3857", "EPSG:4326", "EPSG:3035", "EPSG:32632", "EPSG:32634", "ESRI:54009", "EPSG:3857", "EPSG:3034"]
    plots = [shapely.Point(SKY @ place).buffer(400) for place in ((60, 60), (150, 100), (250, 200))]
    answers: dict[int, Any] = {}

    def work(number: int) -> None:
        with rasteret_sql.connect() as own:
            own.execute(f"SET VARIABLE rasteret_workspace = '{tmp_path}'").fetchall()
            plots_table(own, plots)
            size = 0.0003 if targets[number] == "EPSG:4326" else 25
            sql = f"FROM rasteret_read('{path}', 'plots', target_crs := '{targets[number]}', resolution := {size}, resampling := 'bilinear', {UTM}) ORDER BY no"
            answers[number] = [fetch(own, sql) for _ in range(2)][-1]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(targets))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(len(targets)))
    for number, table in answers.items():
        for geometry, block, place in zip(plots, blocks(table, "b1"), table["transform"].to_pylist(), strict=True):
            expected = expected_at(path, targets[number], place, block.shape, "bilinear")
            same(block, under(expected, projected(geometry, "EPSG:32633", targets[number]), place), targets[number])


PROGRAM = """
import json, re, sys
import pyarrow as pa, shapely
import rasteret_sql

folder, memory = sys.argv[1], int(sys.argv[2])
con = rasteret_sql.connect()
con.execute(f"SET VARIABLE rasteret_memory_bytes = {memory}").fetchall()
con.execute("SET VARIABLE rasteret_cache_bytes = 4000000").fetchall()

def read(step):
    places = [(500001 + col * 10, 5199999 - row * 10) for row in range(0, 2000, step) for col in range(0, 2000, step)]
    con.register("plots", pa.table({"geom": shapely.to_wkb([shapely.box(x, y - 1990, x + 1990, y) for x, y in places])}))
    grid = "resolution := 7, resampling := 'bilinear', pixels := 'window'"
    return con.execute(f"SELECT count(*), sum(len(b1)) FROM rasteret_read('{folder}/*.tif', 'plots', geometry_crs := 'EPSG:32633', {grid})").fetchall()

def peak():
    with open("/proc/self/status") as status:  # getrusage would start from the size of the process that started this one
        return int(re.search(r"VmHWM:\\s+(\\d+)", status.read()).group(1))

read(1000)
before = peak()
answer = read(400)
print(json.dumps({"answer": [int(value) for value in answer[0]], "growth": (peak() - before) * 1024}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured by Linux's /proc")
def test_resampled_arrays_stream_too(tmp_path: Path) -> None:
    """75 arrays of about 80,000 pixels: with little memory in small batches."""
    plane = (np.add.outer(np.arange(2000), np.arange(2000) * 3) % 5000).astype("uint16")
    for name in "abc":
        write_tif(tmp_path / f"{name}.tif", plane, blockxsize=256, blockysize=256, compress="zstd")
    found = []
    for memory in (8 << 20, 1 << 30):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path), str(memory)], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1]))
    narrow, wide = found
    assert narrow["answer"] == wide["answer"]
    assert narrow["answer"][0] == 75
    assert narrow["answer"][1] > 75 * 75_000
    assert narrow["growth"] < 60 << 20, f"{narrow['growth'] / (1 << 20):.0f} MiB"
    assert wide["growth"] > 2 * narrow["growth"], f"{wide['growth'] / (1 << 20):.0f} and {narrow['growth'] / (1 << 20):.0f} MiB"


def test_what_cannot_be_read_costs_its_band(con, tmp_path: Path) -> None:
    """A file that is gone: NULL and a reason under on_error := 'null', in the arrays that others of the record are in."""
    paths = {name: write_tif(tmp_path / f"{name}.tif", noise(seed=1), nodata=-1) for name in ("good", "gone")}
    con.register("__r", pa.table({"id": ["a"], **{name: [path] for name, path in paths.items()}}))
    con.execute("FROM rasteret_build_from_table('__r', name := 'hurt', band_columns := {'good': 'good', 'gone': 'gone'})").fetchall()
    Path(paths["gone"]).unlink()
    plots_table(con, [PLOT])
    call = f"rasteret_read('hurt', 'plots', bands := ['gone', 'good'], target_crs := 'EPSG:3857', resolution := 40, resampling := 'average', {UTM}"
    found = rows(con, f"FROM {call}, on_error := 'null')")[0]
    assert (found["status"], set(found["gone"])) == ("error", {None})
    assert "gone.tif" in found["error"]
    assert any(value is not None for value in found["good"])
    with pytest.raises(duckdb.Error, match=r"gone\.tif"):
        con.execute(f"FROM {call})").fetchall()
