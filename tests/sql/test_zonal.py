"""``rasteret_zonal`` against exactextract and rasterio, one record at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely

from tests.reader.oracle import SKY, rows, write_tif
from tests.sql.zones import LABELS, OURS_TO_THEIRS, close, exact_of_file, masked_pixels, zones_table

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

UTM = "geometry_crs := 'EPSG:32633'"
SIZE = 60
STATS = list(OURS_TO_THEIRS)


def at(*pixels: tuple[float, float]) -> list[tuple[float, float]]:
    """Coordinates of (col, row) positions."""
    return [SKY @ pixel for pixel in pixels]


def box(left: float, top: float, right: float, bottom: float) -> shapely.Polygon:
    """A rectangle in pixels."""
    return shapely.Polygon(at((left, top), (right, top), (right, bottom), (left, bottom)))


@pytest.fixture(params=["int16", "float32", "uint8"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """60 x 60 pixels of two bands, tiles of 16, a tenth of them nodata, one corner wholly."""
    rng = np.random.default_rng(9)
    kind = request.param
    if kind == "float32":
        planes, nodata = rng.normal(50, 20, (2, SIZE, SIZE)).astype(kind), -9999.0
    else:
        planes, nodata = rng.integers(1, 40, (2, SIZE, SIZE)).astype(kind), 0.0
    planes[:, rng.random((SIZE, SIZE)) < 0.1] = nodata
    planes[:, 50:, 50:] = nodata
    return write_tif(tmp_path / "scene.tif", planes, nodata=nodata)


ring = shapely.Polygon(at((5.2, 5.1), (50.3, 8.2), (44.4, 52.7)), [at((30.1, 20.2), (40.2, 22.2), (38.7, 30.3))])
ZONES = {
    "a triangle with a hole": ring,
    "the other way round": shapely.reverse(ring),
    "several parts": shapely.MultiPolygon([box(1.3, 2.2, 4.4, 9.9), shapely.Point(at((30.3, 30.3))[0]).buffer(53)]),
    "a sliver inside one pixel": shapely.Polygon(at((7.2, 7.3), (7.8, 7.31), (7.8, 7.32))),
    "a sliver over many": shapely.Polygon(at((2.2, 40.30), (55.8, 41.7), (55.8, 41.71))),
    "whole pixels": box(10, 12, 20, 17),
    "one pixel": box(33, 33, 34, 34),
    "over the left edge": shapely.Polygon(at((-9.3, 30.2), (12.2, 20.4), (12.3, 40.6))),
    "larger than the scene": shapely.Polygon(at((-9.3, -9.2), (70.2, -9.4), (70.3, 70.6), (-9.9, 70.2))),
    "over four tiles": box(14.3, 14.4, 17.7, 18.8),
    "next to nodata": box(48.5, 48.5, 53.5, 53.5),
    "all nodata": box(52.5, 52.5, 57.5, 56.5),
}


def test_every_statistic_is_exactextracts(con, scene: str) -> None:
    """count, sum, mean, median, min, max, mode, minority, variety, deviations, quantiles, of both bands, under exact coverage."""
    zones_table(con, list(ZONES.values()))
    found = rows(con, f"FROM rasteret_zonal('{scene}', 'zones', bands := ['b1', 'b2'], stats := {STATS}, {UTM}) ORDER BY no, band")
    assert [(row["no"], row["band"]) for row in found] == [(no, band) for no in range(len(ZONES)) for band in ("b1", "b2")]
    for row in found:
        zone = list(ZONES)[row["no"]]
        theirs = exact_of_file(scene, int(row["band"][1]), ZONES[zone], list(OURS_TO_THEIRS.values()))
        for ours, name in zip(STATS, OURS_TO_THEIRS.values(), strict=True):
            label = LABELS.get(ours, ours)
            expected = theirs[label if ours.startswith("quantile") else name.partition("(")[0]]
            if theirs["count"] == 0 and ours != "count":
                expected = None
            mine = row[label if ours.startswith("quantile") else ours]
            close(mine, expected, f"{zone}: {ours} of {row['band']}", 1e-3)
        assert row["status"] == ("ok" if theirs["count"] else "nodata"), zone


def test_distributions_and_places(con, scene: str) -> None:
    """frac, values, coverage, min_point and max_point, valid_fraction."""
    zones_table(con, list(ZONES.values()))
    stats = ["count", "frac", "values", "coverage", "min_point", "max_point", "min", "max", "valid_fraction", "variety"]
    found = rows(con, f"FROM rasteret_zonal('{scene}', 'zones', bands := ['b2'], stats := {stats}, {UTM}) ORDER BY no")
    ops = ["count", "unique", "frac", "values", "coverage"]
    with rasterio.open(scene) as source:
        plane = source.read(2)
        transform = source.transform
    for row, (zone, polygon) in zip(found, ZONES.items(), strict=True):
        theirs = exact_of_file(scene, 2, polygon, ops)
        if theirs["count"] == 0:
            assert [row[name] for name in stats if name not in ("count", "valid_fraction")] == [None] * 8, zone
            assert row["valid_fraction"] == 0, zone
            continue
        assert row["values"] == pytest.approx(theirs["values"].tolist()), zone
        assert row["coverage"] == pytest.approx(theirs["coverage"].tolist(), rel=1e-3, abs=2e-6), zone
        shares = dict(zip(theirs["unique"].tolist(), theirs["frac"].tolist(), strict=True))
        assert row["frac"] == pytest.approx(dict(sorted(shares.items())), rel=1e-3, abs=1e-6), zone
        assert list(row["frac"]) == sorted(row["frac"]), zone
        assert row["variety"] == len(shares)
        whole = shapely.intersection(polygon, box(0, 0, SIZE, SIZE)).area / 100
        assert row["valid_fraction"] == pytest.approx(row["count"] / whole, rel=1e-7), zone
        for point, value in (("min_point", "min"), ("max_point", "max")):
            place = row[point]
            assert place["crs"] == "EPSG:32633"
            col, line = ~transform @ (place["x"], place["y"])
            assert (col % 1, line % 1) == pytest.approx((0.5, 0.5))
            assert plane[int(line), int(col)] == row[value], zone
            assert polygon.intersects(shapely.box(place["x"] - 5, place["y"] - 5, place["x"] + 5, place["y"] + 5)), zone


@pytest.mark.parametrize("rule", ["center", "all_touched"])
def test_rules_of_pixels_are_rasterios(con, scene: str, rule: str) -> None:
    zones_table(con, list(ZONES.values()))
    stats = ["count", "sum", "mean", "median", "min", "max", "var_samp", "stddev_samp"]
    found = rows(con, f"FROM rasteret_zonal('{scene}', 'zones', bands := ['b1'], stats := {stats}, pixels := '{rule}', {UTM}) ORDER BY no")
    for row, (zone, polygon) in zip(found, ZONES.items(), strict=True):
        pixels = masked_pixels(scene, 1, polygon, all_touched=rule == "all_touched").astype(float)
        assert row["count"] == len(pixels), zone
        if not len(pixels):
            assert row["mean"] is None, zone
            assert row["status"] == "nodata", zone
            assert (row["error"] is not None) == (rule == "center" and zone.startswith("a sliver")), (zone, row["error"])
            continue
        expected = [pixels.sum(), pixels.mean(), pixels.min(), pixels.max()]
        assert [row[name] for name in ("sum", "mean", "min", "max")] == pytest.approx(expected, rel=1e-12), zone
        if len(pixels) > 1:
            assert [row["var_samp"], row["stddev_samp"]] == pytest.approx([pixels.var(ddof=1), pixels.std(ddof=1)], rel=1e-9, abs=1e-9), zone
        else:
            assert row["var_samp"] is None


def test_window_takes_every_pixel_of_the_box(con, scene: str) -> None:
    zones_table(con, [ring])
    found = rows(con, f"FROM rasteret_zonal('{scene}', 'zones', bands := ['b1'], stats := ['count', 'sum'], pixels := 'window', {UTM})")[0]
    with rasterio.open(scene) as source:
        pixels = source.read(1, masked=True)[5:53, 5:51].compressed()
    assert (found["count"], found["sum"]) == (len(pixels), pytest.approx(pixels.astype(float).sum(), rel=1e-12))


def test_weights(con, scene: str) -> None:
    """weighted_mean and weighted_sum, the weights being a band."""
    zones_table(con, list(ZONES.values()))
    call = f"rasteret_zonal('{scene}', 'zones', bands := ['b1'], stats := ['weighted_mean', 'weighted_sum', 'sum'], weights := 'b1 * 0 + 2', {UTM})"
    for row in rows(con, f"FROM {call}"):
        if row["status"] == "ok":
            assert row["weighted_sum"] == pytest.approx(2 * row["sum"], rel=1e-12)
    by_band = f"FROM rasteret_zonal('{scene}', 'zones', bands := ['b1'], stats := ['values', 'coverage', 'weighted_mean'], weights := 'b2', {UTM}) ORDER BY no"
    other = f"FROM rasteret_zonal('{scene}', 'zones', bands := ['b2'], stats := ['values'], {UTM}) ORDER BY no"
    for row, weights in zip(rows(con, by_band), rows(con, other), strict=True):
        if row["status"] == "ok":
            expected = np.average(row["values"], weights=np.array(row["coverage"]) * weights["values"])
            assert row["weighted_mean"] == pytest.approx(expected, rel=1e-9)


def test_zones_in_another_crs(con, scene: str) -> None:
    """Longitude and latitude: edges are densified before they are projected."""
    from pyproj import Transformer

    back = Transformer.from_crs(32633, "OGC:CRS84", always_xy=True)
    polygon = shapely.transform(shapely.segmentize(ring, 5), back.transform, interleaved=False)
    zones_table(con, [polygon])
    found = rows(con, f"FROM rasteret_zonal('{scene}', 'zones', bands := ['b1'], stats := ['mean', 'count'])")[0]
    theirs = exact_of_file(scene, 1, ring, ["mean", "count"])
    assert found["mean"] == pytest.approx(theirs["mean"], rel=1e-4)
    assert found["count"] == pytest.approx(theirs["count"], rel=1e-4)
