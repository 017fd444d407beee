"""``rasteret_zonal`` on other grids: exactextract on rasters that GDAL's warper made of the same files."""

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
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.features import geometry_mask

from rasteret_sql.raster.crs import transform_geometries
from rasteret_sql.reader.engine import engine
from tests.reader.oracle import SKY, rows, write_tif
from tests.servers.ranged import RangeServer
from tests.sql.grids import COMMON_GRIDS, kernel, place_around, warped
from tests.sql.zones import LABELS, OURS_TO_THEIRS, close, exact, pixels_of, zones_table

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

UTM = "geometry_crs := 'EPSG:32633'"
HEIGHT, WIDTH = 300, 320
STATS = list(OURS_TO_THEIRS)
LISTED = ", ".join(f"'{name}'" for name in STATS)


def at(*pixels: tuple[float, float]) -> list[tuple[float, float]]:
    return [SKY @ pixel for pixel in pixels]


ZONES = [
    shapely.Polygon(at((20.2, 30.1), (250.3, 40.2), (200.4, 270.7)), [at((150.1, 100.2), (190.2, 110.2), (180.7, 130.3))]),
    shapely.Polygon(at((7.2, 7.3), (7.8, 7.31), (7.8, 7.32))),
    shapely.Polygon(at((-40.3, 130.2), (52.2, 120.4), (52.3, 190.6))),
    shapely.Polygon(at((-29.3, -29.2), (370.2, -19.4), (370.3, 370.6), (-39.9, 370.2))),
    shapely.MultiPolygon([shapely.Point(at((30.3, 30.3))[0]).buffer(83), shapely.Point(at((300.3, 280.3))[0]).buffer(133)]),
]


def noise(dtype: str = "int16", seed: int = 0, shape: tuple[int, int] = (HEIGHT, WIDTH), top: int = 120) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(1, top, shape).astype(dtype)
    pixels[rng.random(shape) < 0.1] = 0
    pixels[: shape[0] // 6, : shape[1] // 6] = 0
    return pixels


def with_overviews(path: str, factors: Sequence[int] = (2, 4)) -> str:
    with rasterio.open(path, "r+") as target:
        target.build_overviews(list(factors), Resampling.average)
    return path


@pytest.fixture
def scene(tmp_path: Path) -> str:
    return with_overviews(write_tif(tmp_path / "scene.tif", noise(), nodata=0))


def zonal(con: Any, source: str, zones: Sequence[shapely.Geometry], arguments: str, order: str = "no") -> list[dict[str, Any]]:
    zones_table(con, zones)
    return rows(con, f"FROM rasteret_zonal('{source}', 'zones', {arguments}) ORDER BY {order}")


def compare(found: dict[str, Any], theirs: dict[str, Any], what: str) -> None:
    assert found["count"] is not None
    if not found["count"]:
        assert theirs["count"] == 0, what
        assert all(found[name] is None for name in ("sum", "mean", "median", "max")), "of no pixels exactextract's sum is 0"
        return
    for name in STATS:
        ours = found["quantile_90" if name == "quantile(0.9)" else "quantile_25" if name == "quantile(0.25)" else name]
        close(ours, theirs[LABELS.get(name, name)], f"{what} {name}")


def floats(pixels: np.ma.MaskedArray) -> np.ndarray:
    return pixels.astype(float).filled(np.nan)


def judged(pixels: np.ma.MaskedArray, place: Sequence[float], zone: shapely.Geometry) -> dict[str, Any]:
    """exactextract on an array."""
    height, width = pixels.shape
    bounds = (place[2], place[5] + place[4] * height, place[2] + place[0] * width, place[5])
    return exact(floats(pixels), bounds, zone, [OURS_TO_THEIRS[name] for name in STATS])


@pytest.mark.parametrize(("resolution", "overview"), [(7.5, None), (15, None), (20, 0), (25, 0), (47.5, 1), (130, 1)])
@pytest.mark.parametrize("how", ["nearest", "bilinear", "cubic", "average", "mode", "q1"])
def test_statistics_are_exactextracts_on_the_warped_raster(con, scene: str, resolution: float, overview: int | None, how: str) -> None:
    factor = 1 if overview is None else 2 ** (overview + 1)
    place = [resolution, 0.0, SKY.c, 0.0, -resolution, SKY.f]
    shape = (math.ceil(10 * HEIGHT / resolution), math.ceil(10 * WIDTH / resolution))
    scales = (resolution / (10 * factor), resolution / (10 * factor))
    raster = warped(scene, "EPSG:32633", place, shape, resampling=how, scales=scales, overview=overview)
    found = zonal(con, scene, ZONES, f"resolution := {resolution}, resampling := '{how}', stats := [{LISTED}], {UTM}")
    assert [row["no"] for row in found] == list(range(len(ZONES)))
    for row, zone in zip(found, ZONES, strict=True):
        compare(row, judged(raster, place, zone), f"zone {row['no']}")
        assert row["status"] == ("ok" if row["count"] else "nodata")


@pytest.mark.parametrize("how", ["nearest", "average"])
@pytest.mark.parametrize("rule", ["center", "all_touched", "window"])
def test_rules_of_pixels_hold_on_the_grid(con, scene: str, rule: str, how: str) -> None:
    for grid, place, overview in (
        ("resolution := 25", [25.0, 0.0, SKY.c, 0.0, -25.0, SKY.f], 0),
        ("resolution := 25, align_to := [3, 4]", [25.0, 0.0, SKY.c - 22, 0.0, -25.0, SKY.f + 4], 0),
        ("resolution := 25, target_crs := 'EPSG:32633'", [25.0, 0.0, SKY.c - 100, 0.0, -25.0, SKY.f + 100], 0),
    ):
        shape = (130, 140)
        scales = (1.25, 1.25)
        raster = warped(scene, "EPSG:32633", place, shape, resampling=how, scales=scales, overview=overview)
        found = zonal(con, scene, ZONES[:3] + ZONES[4:], f"{grid}, resampling := '{how}', pixels := '{rule}', stats := [{LISTED}], {UTM}")
        for row, zone in zip(found, ZONES[:3] + ZONES[4:], strict=True):
            if rule == "window":
                left, bottom, right, top = zone.bounds
                inside = np.zeros(shape, bool)
                cols = max(0, math.floor((left - place[2]) / 25)), max(0, math.ceil((right - place[2]) / 25))
                lines = max(0, math.floor((place[5] - top) / 25)), max(0, math.ceil((place[5] - bottom) / 25))
                inside[lines[0] : lines[1], cols[0] : cols[1]] = True
            else:
                inside = geometry_mask([zone], shape, Affine(*place), all_touched=rule == "all_touched", invert=True)
            values = raster[inside].compressed().astype(float)
            if not len(values):
                assert (row["count"], row["mean"]) == (0, None), (grid, row["no"])
                continue
            source, bounds, boxes = pixels_of(values, np.ones(len(values)))
            compare(row, exact(source, bounds, boxes, [OURS_TO_THEIRS[name] for name in STATS]), f"{grid} zone {row['no']}")


@pytest.mark.parametrize(("crs", "resolution", "overviews"), COMMON_GRIDS)
def test_one_grid_for_all_records(con, scene: str, crs: str, resolution: float, overviews: tuple[int | None, int | None]) -> None:
    """Zones that reach beyond the raster too: what is not in it has no value."""
    place, shape = place_around(scene, crs, resolution)
    projected = transform_geometries(np.array(ZONES, dtype=object), "EPSG:32633", crs)
    for how in ("nearest", "cubic", "average"):
        overview = overviews[how != "nearest"]
        raster = warped(scene, crs, place, shape, resampling=how, scales=kernel(scene, crs, resolution, overview), overview=overview)
        found = zonal(con, scene, ZONES, f"target_crs := '{crs}', resolution := {resolution}, resampling := '{how}', stats := [{LISTED}], {UTM}")
        for row, zone in zip(found, projected, strict=True):
            compare(row, judged(raster, place, zone), f"{how} zone {row['no']}")


@pytest.fixture
def border(con, tmp_path: Path) -> dict[str, str]:
    """One place in two UTM zones, 32 and 33, and in degrees: three records of different CRS, orientation and resolution."""
    paths = {}
    for name, crs, size, south_up in (("z32", "EPSG:32632", 10.0, False), ("z33", "EPSG:32633", 20.0, True), ("degrees", "EPSG:4326", 0.0002, False)):
        x, y = Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(12.0, 47.0)
        place = Affine(size, 0, x - 150 * size, 0, size if south_up else -size, y + (-150 if south_up else 150) * size)
        paths[name] = write_tif(tmp_path / f"{name}.tif", noise(seed=len(name)), crs=crs, nodata=0, transform=place)
    con.register("__r", pa.table({"id": list(paths), "path": list(paths.values())}))
    con.execute("FROM rasteret_build_from_table('__r', name := 'border', href_column := 'path')").fetchall()
    return paths


@pytest.mark.parametrize("how", ["nearest", "bilinear", "average"])
@pytest.mark.parametrize("rule", ["fractional", "center"])
def test_records_of_two_zones_merge_over_one_grid(con, border: dict[str, str], rule: str, how: str) -> None:
    """``per := 'all'`` is a mosaic of all pixels of all records: exactextract on the rasters side by side."""
    zones = [shapely.Polygon([(11.99, 46.995), (12.013, 46.991), (12.009, 47.006), (11.993, 47.004)]), shapely.box(11.9, 46.99, 12.1, 47.001)]
    grid = f"target_crs := 'EPSG:3857', resolution := 30, align_to := [5, 7], resampling := '{how}', pixels := '{rule}', stats := [{LISTED}]"
    found = zonal(con, "border", zones, f"bands := ['b1'], per := 'all', {grid}")
    assert [(row["no"], row["period"], row["status"]) for row in found] == [(0, "all", "ok"), (1, "all", "ok")]
    projected = transform_geometries(np.array(zones, dtype=object), "OGC:CRS84", "EPSG:3857")
    for row, zone in zip(found, projected, strict=True):
        rasters, polygons, ends = [], [], 0
        height = 700
        for path in border.values():
            place, shape = place_around(path, "EPSG:3857", 30, (5.0, 7.0))
            raster = warped(path, "EPSG:3857", place, shape, resampling=how, scales=kernel(path, "EPSG:3857", 30, None))
            inside = raster
            if rule == "center":
                inside = np.ma.array(raster.data, mask=np.ma.getmaskarray(raster) | geometry_mask([zone], shape, Affine(*place)))
            strip = np.full((height, shape[1]), np.nan)
            strip[: shape[0]] = floats(inside)
            rasters.append(strip)
            moved = shapely.transform(
                zone, lambda xy, place=place, ends=ends: np.stack([(xy[:, 0] - place[2]) / 30 + ends, (xy[:, 1] - place[5]) / 30], axis=1)
            )
            whole = shapely.box(ends, -height, ends + shape[1], 0)
            polygons.append(whole if rule == "center" else moved.intersection(whole))
            ends += shape[1]
        mosaic, union = np.concatenate(rasters, axis=1), shapely.MultiPolygon([part for polygon in polygons for part in shapely.get_parts(polygon)])
        theirs = exact(mosaic, (0, -height, ends, 0), union, [OURS_TO_THEIRS[name] for name in STATS])
        compare(row, theirs, f"zone {row['no']}")


@pytest.fixture
def mixed(con, tmp_path: Path) -> dict[str, str]:
    """A record of bands of 10, 20 and 30 m, and one of codes at 20 m."""
    paths = {}
    for band, factor in (("F", 1), ("C", 2), ("T", 3), ("SCL", 2)):
        pixels = noise("uint8", factor, (HEIGHT // factor, 330 // factor), top=5 if band == "SCL" else 200)
        paths[band] = write_tif(tmp_path / f"{band}.tif", pixels, nodata=0, transform=SKY @ Affine.scale(factor))
    con.register("__r", pa.table({"id": ["a"], **{band: [path] for band, path in paths.items()}}))
    bands = ", ".join(f"'{band}': '{band}'" for band in paths)
    con.execute(f"FROM rasteret_build_from_table('__r', name := 'mixed', band_columns := {{{bands}}})").fetchall()
    return paths


def on_grid(path: str, resolution: float, how: str, size: int) -> tuple[np.ma.MaskedArray, list[float]]:
    place = [resolution, 0.0, SKY.c, 0.0, -resolution, SKY.f]
    shape = (math.ceil(10 * HEIGHT / resolution), math.ceil(3300 / resolution))
    return warped(path, "EPSG:32633", place, shape, resampling=how, scales=(resolution / size, resolution / size)), place


@pytest.mark.parametrize(
    ("arguments", "resolution", "how"),
    [
        ("", 10, "nearest"),
        ("resampling := 'bilinear',", 10, "bilinear"),
        ("resolution := 30,", 30, "nearest"),
        ("resolution := 60, resampling := 'average',", 60, "average"),
    ],
)
def test_bands_of_different_resolution(con, mixed: dict[str, str], arguments: str, resolution: float, how: str) -> None:
    """The finest grid of the bands and the nearest pixel, unless ``resolution`` and ``resampling`` say otherwise."""
    found = zonal(con, "mixed", [ZONES[0]], f"bands := ['T', 'C', 'F'], {arguments} stats := [{LISTED}], {UTM}", "band")
    assert [row["band"] for row in found] == ["C", "F", "T"]
    for row in found:
        pixels, place = on_grid(mixed[row["band"]], resolution, how, {"F": 10, "C": 20, "T": 30}[row["band"]])
        compare(row, judged(pixels, place, ZONES[0]), row["band"])


@pytest.mark.parametrize(("resolution", "how"), [(60, "average"), (60, "nearest"), (20, "bilinear"), (10, "cubic")])
def test_masks_expressions_and_weights_on_the_grid(con, mixed: dict[str, str], resolution: float, how: str) -> None:
    """A band that only the mask names keeps its codes: the nearest pixel, whatever ``resampling`` says."""
    sql = f"""bands := ['F'], expressions := {{'d': 'F - C'}}, mask := 'SCL IN (2, 3)', weights := 'T', resolution := {resolution},
        resampling := '{how}', stats := ['count', 'mean', 'weighted_mean', 'valid_fraction'], {UTM}"""
    plain, difference = zonal(con, "mixed", [ZONES[0]], sql, "band")
    bands = {band: on_grid(mixed[band], resolution, how, size)[0] for band, size in (("F", 10), ("C", 20), ("T", 30))}
    codes, place = on_grid(mixed["SCL"], resolution, "nearest", 20)
    height, width = codes.shape
    bounds = (place[2], place[5] - resolution * height, place[2] + resolution * width, place[5])
    ones = exact(np.arange(codes.size, dtype=float).reshape(codes.shape), bounds, ZONES[0], ["values", "coverage"])
    where, cover = np.asarray(ones["values"]).astype(int), np.asarray(ones["coverage"])
    kept = np.isin(codes.filled(0).ravel()[where], (2, 3))
    assert (plain["band"], difference["band"]) == ("F", "d")
    for row, values in ((plain, bands["F"].astype(float)), (difference, bands["F"].astype(float) - bands["C"].astype(float))):
        flat, weights = values.ravel()[where], bands["T"].astype(float).ravel()[where]
        some = kept & ~np.ma.getmaskarray(flat)
        close(row["count"], cover[some].sum(), f"{row['band']} count")
        close(row["mean"], (cover[some] * flat.data[some]).sum() / cover[some].sum(), f"{row['band']} mean", 10)
        if np.ma.getmaskarray(weights)[some].any():
            assert row["weighted_mean"] is None
        else:
            close(row["weighted_mean"], np.average(flat.data[some], weights=cover[some] * weights.data[some]), f"{row['band']} weighted", 10)
        close(row["valid_fraction"], cover[some].sum() / cover.sum(), "valid_fraction")


def test_a_band_of_mask_and_result_is_resampled(con, mixed: dict[str, str]) -> None:
    """Asked for by name, it is a band like any other."""
    found = zonal(
        con, "mixed", [ZONES[0]], f"bands := ['SCL'], mask := 'SCL > 1.5', resolution := 60, resampling := 'average', stats := ['count'], {UTM}"
    )
    pixels, place = on_grid(mixed["SCL"], 60, "average", 20)
    judge = np.ma.array(pixels, mask=np.ma.getmaskarray(pixels) | (pixels.data <= 1.5))
    close(found[0]["count"], judged(judge, place, ZONES[0])["count"], "count")


def test_only_the_bytes_of_the_level_are_fetched(con, tmp_path: Path) -> None:
    """``rasteret_plan`` says so beforehand, and the server counts so afterwards; the second time everything is in the cache."""
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 65535, (512, 512), dtype="uint16")
    with_overviews(write_tif(tmp_path / "a.tif", pixels, blockxsize=64, blockysize=64), (2, 4, 8))
    zones_table(con, [shapely.box(0, 0, 1e7, 1e7)])
    small = [shapely.box(*(SKY @ (x, y + 45)), *(SKY @ (x + 45, y))) for x, y in ((10, 15), (350, 20), (320, 450))]
    zones_table(con, small, "small")
    with RangeServer(tmp_path) as server:
        con.register("__r", pa.table({"id": ["a"], "path": [server.url("a.tif")]}))
        con.execute("FROM rasteret_build_from_table('__r', name := 'remote', href_column := 'path')").fetchall()
        sizes = []
        for grid in ("resolution := 12, target_crs := 'EPSG:3857'", "resolution := 20", "resolution := 40", "resolution := 90"):
            for how in ("nearest", "average", "cubic"):
                for table in ("small", "zones"):
                    call = f"'remote', '{table}', bands := ['b1'], {grid}, resampling := '{how}', {UTM}"
                    for function, what in (("rasteret_zonal", "max(mean)"), ("rasteret_pixels", "count(*)")):
                        engine().cache.clear()
                        server.reset()
                        planned = rows(con, f"FROM rasteret_plan({call}, pixels := 'fractional')")[0]
                        assert server.stats().requests == 0
                        con.execute(f"SELECT {what} FROM {function}({call})").fetchall()
                        fetched = server.stats()
                        assert planned["bytes"] <= fetched.bytes <= 1.03 * planned["bytes"], (function, call)
                        assert fetched.requests <= planned["requests"] + 2, (function, call)
                        con.execute(f"SELECT {what} FROM {function}({call})").fetchall()
                        assert server.stats().requests == fetched.requests
            sizes.append(planned["bytes"])
        assert sizes[0] > 3 * sizes[1] > 9 * sizes[2] > 18 * sizes[3], "the full resolution, and three overviews"


@pytest.mark.parametrize("function", ["rasteret_zonal", "rasteret_pixels"])
@pytest.mark.parametrize("grid", ["resolution := 25, resampling := 'average'", "resolution := 25", "resolution := 30, target_crs := 'EPSG:3857'"])
def test_the_byte_budget_counts_what_the_grid_needs(con, scene: str, tmp_path: Path, function: str, grid: str) -> None:
    zones_table(con, ZONES[2:4])
    with RangeServer(tmp_path) as server:
        con.register("__r", pa.table({"id": ["a"], "path": [server.url(Path(scene).name)]}))
        con.execute("FROM rasteret_build_from_table('__r', name := 'budget', href_column := 'path')").fetchall()
        call = f"'budget', 'zones', bands := ['b1'], {grid}, {UTM}"
        needed = rows(con, f"FROM rasteret_plan({call}, pixels := 'fractional')")[-1]["bytes"]
        con.execute(f"SET VARIABLE rasteret_max_bytes = {needed - 1}").fetchall()
        server.reset()
        with pytest.raises(duckdb.Error, match=f"would fetch {needed:,} bytes"):
            con.execute(f"FROM {function}({call})").fetchall()
        assert server.stats().requests == 0
        con.execute(f"SET VARIABLE rasteret_max_bytes = {needed}").fetchall()
        assert con.execute(f"SELECT count(*) FROM {function}({call})").fetchall()[0][0]


@pytest.mark.parametrize(
    "grid",
    [
        "resolution := 4, resampling := 'cubic'",
        "resolution := 33, resampling := 'average'",
        "resolution := 9, target_crs := 'EPSG:3035', resampling := 'bilinear'",
    ],
)
def test_a_large_polygon_in_little_memory(con, tmp_path: Path, grid: str) -> None:
    """Cut into more and smaller blocks: the same numbers, and the same pixels."""
    path = write_tif(tmp_path / "a.tif", noise("float32", shape=(900, 1000)), nodata=0)
    zone = [shapely.Polygon(at((3.2, 5.1), (990.3, 80.2), (800.4, 890.7)))]
    whole = zonal(con, path, zone, f"{grid}, stats := [{LISTED}, 'min_point'], {UTM}")
    sums = con.execute(
        f"SELECT count(*), sum(coverage), sum(coverage * b1), sum(x), sum(row), sum(col) FROM rasteret_pixels('{path}', 'zones', {grid}, {UTM})"
    ).fetchall()
    con.execute("SET VARIABLE rasteret_memory_bytes = 1048576").fetchall()
    parts = zonal(con, path, zone, f"{grid}, stats := [{LISTED}, 'min_point'], {UTM}")
    for name in whole[0]:
        if isinstance(whole[0][name], float):
            assert parts[0][name] == pytest.approx(whole[0][name], rel=1e-6), name
        elif name == "variety":  # the last digit of a pixel may depend on where its block starts
            assert parts[0][name] == pytest.approx(whole[0][name], rel=1e-5)
        elif name not in ("no", "geom"):
            assert parts[0][name] == whole[0][name], name
    again = con.execute(
        f"SELECT count(*), sum(coverage), sum(coverage * b1), sum(x), sum(row), sum(col) FROM rasteret_pixels('{path}', 'zones', {grid}, {UTM})"
    ).fetchall()
    assert again[0] == pytest.approx(sums[0], rel=1e-6)
    assert again[0][0] > 30_000
    close(parts[0]["count"], sum(again[0][1:2]), "count")
    close(parts[0]["sum"], again[0][2], "sum")


def test_places_are_centres_of_the_grid(con, scene: str) -> None:
    for grid, known, crs in (
        ("resolution := 47.5, resampling := 'cubic'", [47.5, 0.0, SKY.c, 0.0, -47.5, SKY.f], "EPSG:32633"),
        ("target_crs := 'EPSG:3857', resolution := 50, align_to := [3, 9]", None, "EPSG:3857"),
    ):
        place = known or place_around(scene, crs, 50, (3.0, 9.0))[0]
        for row in zonal(con, scene, ZONES[:1], f"{grid}, stats := ['max', 'max_point'], {UTM}"):
            point = row["max_point"]
            col, line = (point["x"] - place[2]) / place[0] - 0.5, (point["y"] - place[5]) / place[4] - 0.5
            assert (col, line) == pytest.approx((round(col), round(line)), abs=1e-6)
            assert point["crs"] == crs
            pixels = rows(con, f"SELECT x, y, b1 FROM rasteret_pixels('{scene}', 'zones', {grid}, {UTM}) ORDER BY b1 DESC")
            assert pixels[0]["b1"] == row["max"]
            assert (point["x"], point["y"]) in {(pixel["x"], pixel["y"]) for pixel in pixels if pixel["b1"] == row["max"]}


@pytest.mark.parametrize("turned", [Affine.rotation(25), Affine(1, 0.3, 0, -0.2, 1.5, 0), Affine(1, 0, 0, 0, -1, 0)])
def test_other_orientations(con, tmp_path: Path, turned: Affine) -> None:
    """Rotated, sheared and south-up rasters, on their own grid at another resolution: plain SQL over the pixels of ``rasteret_read``."""
    transform = SKY @ turned
    path = write_tif(tmp_path / "a.tif", noise(), nodata=0, transform=transform)
    zones_table(con, [shapely.Polygon([transform @ (20.2, 30.1), transform @ (250.3, 40.2), transform @ (200.4, 270.7)])])
    for how in ("nearest", "average"):
        call = f"'{path}', 'zones', resolution := 45, resampling := '{how}', pixels := 'center', {UTM}"
        found = rows(con, f"FROM rasteret_zonal({call}, stats := ['count', 'sum'])")[0]
        expected = con.execute(f"SELECT count(v), sum(v) FROM (SELECT unnest(b1) AS v FROM rasteret_read({call}))").fetchall()[0]
        assert found["count"] == expected[0]
        assert found["sum"] == pytest.approx(expected[1], rel=2e-5), "means that end in a half are rounded by the last digit"
        assert expected[0] > 500


@pytest.mark.parametrize("arguments", ["", "resampling := 'bilinear',", "resolution := 45,"])
def test_bands_of_different_resolution_on_a_rotated_grid(con, tmp_path: Path, arguments: str) -> None:
    """The numbers are those of SQL over the pixels of ``rasteret_read``; ``rasteret_pixels`` has them too."""
    turned = SKY @ Affine.rotation(25)
    fine, coarse = noise(seed=1), noise(seed=2, shape=(HEIGHT // 2, WIDTH // 2))
    paths = [write_tif(tmp_path / f"{n}.tif", p, nodata=0, transform=turned @ Affine.scale(n)) for n, p in ((1, fine), (2, coarse))]
    con.register("__r", pa.table({"id": ["a"], "F": paths[:1], "C": paths[1:]}))
    con.execute("FROM rasteret_build_from_table('__r', name := 'rotated', band_columns := {'F': 'F', 'C': 'C'})").fetchall()
    zones_table(con, [shapely.Polygon([turned @ (20.2, 30.1), turned @ (250.3, 40.2), turned @ (200.4, 270.7)])])
    call = f"'rotated', 'zones', bands := ['F', 'C'], {arguments} pixels := 'center', {UTM}"
    found = {row["band"]: row for row in rows(con, f"FROM rasteret_zonal({call}, stats := ['count', 'sum'])")}
    for band in ("F", "C"):
        read = con.execute(f"SELECT count(v), sum(v) FROM (SELECT unnest({band}) AS v FROM rasteret_read({call}))").fetchall()[0]
        single = con.execute(f"SELECT count({band}), sum({band}) FROM rasteret_pixels({call})").fetchall()[0]
        assert read[0] == single[0] == found[band]["count"] > 500
        assert [single[1], found[band]["sum"]] == pytest.approx([read[1]] * 2, rel=1e-4), band


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:3832"])
def test_a_record_across_the_antimeridian(con, tmp_path: Path, crs: str) -> None:
    """On a geographic grid its halves lie at both ends of the world; the numbers are those of ``rasteret_read``."""
    x, y = Transformer.from_crs("OGC:CRS84", "EPSG:32601", always_xy=True).transform(-179.99, -17.0)
    path = write_tif(tmp_path / "fiji.tif", noise(), nodata=0, crs="EPSG:32601", transform=Affine(20, 0, x - 3200, 0, -20, y + 3000))
    zones_table(con, [shapely.box(179.98, -17.02, 179.9995, -16.99), shapely.box(-179.9995, -17.02, -179.98, -16.985)])
    size = 0.0004 if crs == "EPSG:4326" else 45
    for how in ("nearest", "bilinear"):
        call = f"'{path}', 'zones', target_crs := '{crs}', resolution := {size}, resampling := '{how}', pixels := 'center'"
        found = rows(con, f"FROM rasteret_zonal({call}, stats := ['count', 'sum']) ORDER BY no")
        read = rows(
            con, f"SELECT no, count(v) AS n, sum(v) AS s FROM (SELECT no, unnest(b1) AS v FROM rasteret_read({call})) GROUP BY no ORDER BY no"
        )
        single = rows(con, f"SELECT no, count(b1) AS n, sum(b1) AS s FROM rasteret_pixels({call}) GROUP BY no ORDER BY no")
        assert [(row["no"], row["count"]) for row in found] == [(row["no"], row["n"]) for row in read] == [(row["no"], row["n"]) for row in single]
        assert [row["sum"] for row in found] == pytest.approx([row["s"] for row in read], rel=1e-4)
        assert min(row["n"] for row in read) > 100


def test_scaled_values_on_the_grid(con, tmp_path: Path) -> None:
    path = write_tif(tmp_path / "a.tif", noise(), nodata=0, scales=(0.5,), offsets=(-3.0,))
    plain = zonal(con, path, ZONES[:1], f"resolution := 25, resampling := 'average', stats := ['count', 'mean'], {UTM}")[0]
    scaled = zonal(con, path, ZONES[:1], f"resolution := 25, resampling := 'average', scaled := true, stats := ['count', 'mean'], {UTM}")[0]
    assert (scaled["count"], scaled["mean"]) == pytest.approx((plain["count"], plain["mean"] * 0.5 - 3))


def test_data_that_cannot_be_read_concern_their_zones_alone(con, tmp_path: Path) -> None:
    """A tile is broken: zones far from it keep their numbers, though they are read in one window where all is well."""
    path = write_tif(tmp_path / "a.tif", noise("float32"), nodata=0, compress="deflate", blockxsize=64, blockysize=64)
    near, far = shapely.box(*(SKY @ (70, 120)), *(SKY @ (120, 70))), shapely.box(*(SKY @ (200, 260)), *(SKY @ (250, 200)))
    arguments = f"resolution := 17, resampling := 'bilinear', stats := ['count', 'mean'], on_error := 'null', {UTM}"
    whole = zonal(con, path, [near, far], arguments)
    assert [row["status"] for row in whole] == ["ok", "ok"]

    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[1 * 5 + 1]
    broken = tmp_path / "broken.tif"
    data = bytearray(Path(path).read_bytes())
    data[offset : offset + 40] = b"\0" * 40
    broken.write_bytes(data)
    found = zonal(con, str(broken), [near, far], arguments)
    assert [(row["status"], row["count"] is None) for row in found] == [("error", True), ("ok", False)]
    assert found[1]["mean"] == whole[1]["mean"]
    assert found[0]["error"]
    with pytest.raises(duckdb.Error):
        zonal(con, str(broken), [near, far], arguments.replace("'null'", "'raise'"))


REFUSED = {
    "target_crs := 'EPSG:3857'": "target_crs := 'EPSG:3857' needs resolution",
    "resolution := 0": "resolution",
    "resolution := -3": "resolution",
    "align_to := [0, 0]": "align_to has no effect without resolution",
    "resampling := 'average'": "resampling has no effect on one band without resolution",
    "resolution := 30, resampling := 'avrage'": "average",
    "resolution := 30, target_crs := 'EPSG:99999999'": "EPSG:99999999",
    "resolution := 1e30": "numbers up to 1e\\+10 are",
    "resolution := 0.00001": "is the unit right",
    "resolution := 0.0000001, target_crs := 'EPSG:3857'": "is the unit right",
}


@pytest.mark.parametrize("function", ["rasteret_zonal", "rasteret_pixels"])
@pytest.mark.parametrize("arguments", REFUSED)
def test_bad_input_is_one_line_as_of_rasteret_read(con, scene: str, function: str, arguments: str) -> None:
    zones_table(con, ZONES[:1])
    lines = {}
    for called in (function, "rasteret_read"):
        with pytest.raises(duckdb.Error, match=REFUSED[arguments]) as caught:
            con.execute(f"FROM {called}('{scene}', 'zones', {arguments}, {UTM})").fetchall()
        lines[called] = str(caught.value).splitlines()[0]
    if "unit right" not in REFUSED[arguments]:
        assert lines[function].replace(function, "rasteret_read") == lines["rasteret_read"]
