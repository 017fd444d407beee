"""Zonal statistics on real rasters: labelled land cover, a series over dates, and five other programs' COGs; judged by exactextract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely

from tests.reader.oracle import rows
from tests.reader.test_real import BANDS, SCENES, UTM, labelled, landsat  # noqa: F401 - the fixture
from tests.sql.zones import LABELS, OURS_TO_THEIRS, close, exact, exact_of_file, pixels_of, zones_table

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

STATS = list(OURS_TO_THEIRS)
COGS = ("bahamas_rgb.tif", "co_elevation_roi.tif", "landsat.tif", "landsat7.tif", "srtm90.tif")


def assert_same(row: dict, theirs: dict, what: str, *, skip: tuple[str, ...] = ()) -> None:
    for ours, name in OURS_TO_THEIRS.items():
        quantile = ours.startswith("quantile")
        label = LABELS[ours] if quantile else ours
        expected = theirs[label] if quantile else theirs[name]
        if theirs["count"] and ours not in skip:
            close(row[label], expected, f"{what}: {ours}", 1e-2)


def test_reflectance_by_land_cover(con, landsat: Path, real_data: Path) -> None:  # noqa: F811
    """Two overlapping scenes, labelled polygons: each scene on its own, then both merged."""
    labels, plots = labelled(real_data, "polygons")
    con.register("plots", pa.table({"label": labels, "no": range(len(plots)), "geom": shapely.to_wkb(plots)}))
    call = f"rasteret_zonal('scenes', 'plots', bands := {list(BANDS)}, stats := {STATS}, geometry_crs := '{UTM}'"
    found = rows(con, f"FROM {call}) WHERE record_id IS NOT NULL ORDER BY no, record_id, band")
    assert len(found) > len(plots)
    pixels: dict[tuple[int, str], list[dict]] = {}
    for row in found:
        path = str(landsat / f"{row['record_id']}_{row['band']}.TIF")
        theirs = exact_of_file(path, 1, plots[row["no"]], list(OURS_TO_THEIRS.values()))
        assert_same(row, theirs, f"{row['label']} {row['no']} {row['record_id']} {row['band']}", skip=("minority", "mode"))
        pixels.setdefault((row["no"], row["band"]), []).append(exact_of_file(path, 1, plots[row["no"]], ["values", "coverage"]))
    for row in rows(con, f"FROM {call}, per := 'all') WHERE status = 'ok'"):
        parts = pixels[row["no"], row["band"]]
        array, bounds, boxes = pixels_of(np.concatenate([p["values"] for p in parts]).astype(float), np.concatenate([p["coverage"] for p in parts]))
        merged = exact(array, bounds, boxes, list(OURS_TO_THEIRS.values()))
        assert_same(row, merged, f"{row['label']} {row['no']} {row['band']} merged", skip=("minority", "mode"))


def test_pixels_grouped_in_sql_give_the_same_numbers(con, landsat: Path, real_data: Path) -> None:  # noqa: F811
    """Plain DuckDB over ``rasteret_pixels`` against ``rasteret_zonal``: mean, count, extremes, a masked index."""
    labels, plots = labelled(real_data, "polygons")
    con.register("plots", pa.table({"label": labels, "no": range(len(plots)), "geom": shapely.to_wkb(plots)}))
    common = f"geometry_crs := '{UTM}'"
    zonal = con.execute(f"""
        SELECT no, record_id, band, count, mean, min, max FROM rasteret_zonal('scenes', 'plots', bands := ['B4'],
          expressions := {{'index': '(B4 - B2) / (B4 + B2)'}}, mask := 'B3 > 8200', stats := ['count', 'mean', 'min', 'max'], {common})
        WHERE status = 'ok' ORDER BY no, record_id, band""").fetchall()
    plain = con.execute(f"""
        WITH p AS (SELECT *, (B4 - B2) / (B4 + B2) AS index FROM rasteret_pixels('scenes', 'plots', bands := ['B2', 'B3', 'B4'], {common}) WHERE B3 > 8200)
        SELECT no, record_id, 'B4' AS band, sum(coverage), sum(coverage * B4) / sum(coverage), min(B4), max(B4) FROM p GROUP BY no, record_id
        UNION ALL
        SELECT no, record_id, 'index', sum(coverage), sum(coverage * index) / sum(coverage), min(index), max(index) FROM p GROUP BY no, record_id
        ORDER BY 1, 2, 3""").fetchall()
    assert len(zonal) == len(plain) > 0
    for one, other in zip(zonal, plain, strict=True):
        assert one[:3] == other[:3]
        assert one[3:] == pytest.approx(other[3:], rel=1e-8)


def test_a_series_over_dates(con, real_data: Path) -> None:
    """NDVI per plot and month over four dates of four-band imagery."""
    files = sorted((real_data / "rgbn").glob("rgbn_*.tif"))
    con.register("dates", pa.table({"id": [f.stem for f in files], "href": [str(f) for f in files], "datetime": [f.stem[-8:] for f in files]}))
    con.execute("CREATE TEMP VIEW recs AS SELECT id, href, strptime(datetime, '%Y%m%d') AS datetime FROM dates").fetchall()
    con.execute(
        "FROM rasteret_build_from_table('recs', name := 'rgbn', href_column := 'href', band_index_map := {'R': 0, 'G': 1, 'B': 2, 'NIR': 3})"
    ).fetchall()
    with rasterio.open(files[0]) as source:
        left, bottom, right, top = source.bounds
        crs = source.crs.to_string()
    width, height = right - left, top - bottom
    plots = [
        shapely.box(left + a * width, bottom + a * height, left + (a + 0.08) * width, bottom + (a + 0.13) * height) for a in (0.1, 0.33, 0.5, 0.75)
    ]
    zones_table(con, plots)
    call = f"""rasteret_zonal('rgbn', 'zones', expressions := {{'ndvi': '(NIR - R) / (NIR + R)'}}, mask := 'NIR + R > 0', stats := ['mean', 'count',
        'median'], per := 'month', geometry_crs := '{crs}')"""
    found = rows(con, f"FROM {call} ORDER BY no, period")
    assert len(found) == len(plots) * len(files)
    assert [row["period"] for row in found[:4]] == ["2016-01", "2016-04", "2016-05", "2017-02"]
    for row in found:
        path = next(f for f in files if f.stem[-8:-2] == row["period"].replace("-", ""))
        with rasterio.open(path) as source:
            red, nir = source.read(1).astype(float), source.read(4).astype(float)
            ndvi = np.where(nir + red > 0, (nir - red) / np.maximum(nir + red, 1), np.nan)
            theirs = exact(ndvi, source.bounds, plots[row["no"]], ["mean", "count", "median"])
        for name in ("mean", "count", "median"):
            close(row[name], theirs[name], f"{row['no']} {row['period']} {name}", 1e-2)


@pytest.mark.parametrize("name", COGS)
def test_cogs_of_others(con, real_data: Path, name: str) -> None:
    """Chunky and planar, several types, nodata, geographic and projected: every statistic of every band."""
    path = str(real_data / "cogs" / name)
    with rasterio.open(path) as source:
        left, bottom, right, top = source.bounds
        crs, count = source.crs.to_string(), source.count
    rng = np.random.default_rng(2)
    x, y = rng.uniform(left, right, 6), rng.uniform(bottom, top, 6)
    size = min(right - left, top - bottom)
    zones = [
        shapely.Point(place).buffer(size * radius) for place, radius in zip(zip(x, y, strict=True), (0.001, 0.01, 0.05, 0.1, 0.2, 0.4), strict=True)
    ]
    zones_table(con, zones)
    bands = [f"b{i + 1}" for i in range(min(count, 3))]
    for row in rows(con, f"FROM rasteret_zonal('{path}', 'zones', bands := {bands}, stats := {STATS}, geometry_crs := '{crs}')"):
        theirs = exact_of_file(path, int(row["band"][1:]), zones[row["no"]], list(OURS_TO_THEIRS.values()))
        if not theirs["count"]:
            assert (row["count"], row["mean"]) == (0, None)
        assert_same(row, theirs, f"{name} {row['band']} zone {row['no']}", skip=("minority", "mode"))
