"""``rasteret_zonal`` over several records: periods, mosaics, several CRSs, masks and expressions; judged by exactextract on the pixels put together."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely
from affine import Affine

from tests.reader.oracle import SKY, rows, write_tif
from tests.sql.zones import LABELS, OURS_TO_THEIRS, close, exact, pixels_of, zones_table

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

UTM = "geometry_crs := 'EPSG:32633'"
SIZE = 48
STATS = list(OURS_TO_THEIRS)


def at(*pixels: tuple[float, float]) -> list[tuple[float, float]]:
    return [SKY @ pixel for pixel in pixels]


TRIANGLE = shapely.Polygon(at((5.2, 5.1), (44.3, 8.2), (40.4, 42.7)))
BLOT = shapely.Point(at((24.0, 24.0))[0]).buffer(123)
TINY = shapely.Polygon(at((30.2, 30.3), (30.8, 30.31), (30.8, 30.42)))


def build(con: Any, hrefs: Sequence[str], days: Sequence[dt.datetime | None], name: str = "made", bands: Sequence[str] = ("b1",)) -> None:
    """A collection of one record per file."""
    table = pa.table({"id": [f"r{i}" for i in range(len(hrefs))], "href": list(hrefs), "datetime": pa.array(list(days), pa.timestamp("us"))})
    con.register("records_to_build", table)
    index = "{" + ", ".join(f"'{band}': {i}" for i, band in enumerate(bands)) + "}"
    con.execute(f"FROM rasteret_build_from_table('records_to_build', name := '{name}', href_column := 'href', band_index_map := {index})").fetchall()


def stack(tmp_path: Path, count: int, *, kind: str = "int16") -> list[str]:
    """Files on one grid, with values that repeat, and nodata."""
    files = []
    for number in range(count):
        rng = np.random.default_rng(number)
        plane = rng.integers(1, 25, (SIZE, SIZE)).astype(kind) if kind != "float32" else rng.normal(number, 3, (SIZE, SIZE)).astype(kind)
        plane[rng.random(plane.shape) < 0.2] = -9
        files.append(write_tif(tmp_path / f"{number}.tif", plane, nodata=-9))
    return files


def expected_over(paths: Sequence[str], polygon: shapely.Geometry) -> dict[str, Any]:
    """exactextract's statistics of all the pixels of several files under a polygon."""
    values, coverage = [], []
    for path in paths:
        with rasterio.open(path) as source:
            found = exact(source.read(1).astype(float), source.bounds, polygon, ["values", "coverage"], source.nodata)
        values.append(found["values"])
        coverage.append(found["coverage"])
    if not sum(map(len, values)):
        return dict.fromkeys([*OURS_TO_THEIRS.values(), *LABELS.values()]) | {"count": 0}
    array, bounds, boxes = pixels_of(np.concatenate(values).astype(float), np.concatenate(coverage))
    return exact(array, bounds, boxes, list(OURS_TO_THEIRS.values()))


def check(row: dict[str, Any], theirs: dict[str, Any], what: str, *, repeat: bool = True) -> None:
    """Where values do not ``repeat``, mode and minority hang on the last digits of a coverage."""
    for ours, name in OURS_TO_THEIRS.items():
        if not repeat and ours in ("mode", "minority"):
            continue
        quantile = ours.startswith("quantile")
        label = LABELS[ours] if quantile else ours
        close(row[label], theirs[label] if quantile else theirs[name], f"{what}: {ours}", 1e-2)


DAYS = [
    dt.datetime(2023, 12, 31, 23, 59),
    dt.datetime(2024, 1, 1, 0, 0),
    dt.datetime(2024, 1, 1, 10, 30),
    dt.datetime(2024, 1, 20),
    dt.datetime(2024, 2, 3),
    None,
]
PERIODS = {
    "day": {"2023-12-31": [0], "2024-01-01": [1, 2], "2024-01-20": [3], "2024-02-03": [4], None: [5]},
    "month": {"2023-12": [0], "2024-01": [1, 2, 3], "2024-02": [4], None: [5]},
    "year": {"2023": [0], "2024": [1, 2, 3, 4], None: [5]},
    "all": {"all": [0, 1, 2, 3, 4, 5]},
}


@pytest.mark.parametrize("kind", ["int16", "float32"])
@pytest.mark.parametrize("per", PERIODS)
def test_periods_merge_exactly(con, tmp_path: Path, per: str, kind: str) -> None:
    """Every statistic over the records of a period is that of all their pixels together, medians and quantiles included."""
    files = stack(tmp_path, len(DAYS), kind=kind)
    build(con, files, DAYS)
    zones = [TRIANGLE, BLOT, TINY]
    zones_table(con, zones)
    found = rows(con, f"FROM rasteret_zonal('made', 'zones', bands := ['b1'], stats := {STATS}, per := '{per}', {UTM})")
    assert len(found) == len(zones) * len(PERIODS[per])
    for row in found:
        members = [files[i] for i in PERIODS[per][row["period"]]]
        check(row, expected_over(members, zones[row["no"]]), f"{per} {row['period']} zone {row['no']}", repeat=kind == "int16")


def test_a_period_begins_at_its_start(con, tmp_path: Path) -> None:
    build(con, stack(tmp_path, len(DAYS)), DAYS)
    zones_table(con, [BLOT])
    for per, starts in {
        "month": [dt.datetime(2023, 12, 1), dt.datetime(2024, 1, 1), dt.datetime(2024, 2, 1), None],
        "all": [dt.datetime(2023, 12, 31, 23, 59)],
    }.items():
        found = con.execute(f"SELECT datetime FROM rasteret_zonal('made', 'zones', per := '{per}', {UTM}) ORDER BY datetime NULLS LAST").fetchall()
        assert [row[0] for row in found] == starts


def test_solar_days(con, tmp_path: Path) -> None:
    """At 175 degrees east the sun is almost half a day ahead of UTC."""
    east = Affine(10, 0, 500000, 0, -10, 5200000)
    files = [write_tif(tmp_path / f"e{i}.tif", np.full((8, 8), i + 1, "int16"), crs="EPSG:32660", transform=east) for i in range(2)]  # 177 E
    build(con, files, [dt.datetime(2024, 5, 1, 23, 0), dt.datetime(2024, 5, 2, 1, 0)])
    zones_table(con, [shapely.box(500010, 5199930, 500070, 5199990)])
    call = "rasteret_zonal('made', 'zones', stats := ['mean'], per := 'day', geometry_crs := 'EPSG:32660'"
    assert con.execute(f"SELECT period, mean FROM {call}) ORDER BY period").fetchall() == [("2024-05-01", 1.0), ("2024-05-02", 2.0)]
    assert con.execute(f"SELECT period, mean FROM {call}, solar_day := true)").fetchall() == [("2024-05-02", 1.5)]


def test_a_mosaic_of_neighbours(con, tmp_path: Path) -> None:
    """Four scenes side by side, ``per := 'all'``: as if they were one raster."""
    rng = np.random.default_rng(5)
    whole = rng.integers(0, 50, (2 * SIZE, 2 * SIZE)).astype("int16")
    files = []
    for number, (line, col) in enumerate([(0, 0), (0, SIZE), (SIZE, 0), (SIZE, SIZE)]):
        transform = SKY @ Affine.translation(col, line)
        files.append(write_tif(tmp_path / f"{number}.tif", whole[line : line + SIZE, col : col + SIZE], transform=transform, nodata=0))
    build(con, files, [dt.datetime(2024, 1, i + 1) for i in range(4)])
    zones = [
        shapely.Point(at((48.0, 48.0))[0]).buffer(333),
        shapely.Polygon(at((2.2, 3.3), (90.1, 10.2), (80.3, 91.1), (7.7, 60.2))),
        shapely.Polygon(at((60.2, 3.3), (70.1, 3.2), (66.6, 14.4))),
    ]
    zones_table(con, zones)
    bounds = (SKY.c, SKY.f - 20 * SIZE, SKY.c + 20 * SIZE, SKY.f)
    for row in rows(con, f"FROM rasteret_zonal('made', 'zones', stats := {STATS}, per := 'all', {UTM})"):
        check(row, exact(whole.astype(float), bounds, zones[row["no"]], list(OURS_TO_THEIRS.values()), nodata=0), f"zone {row['no']}")


def test_records_in_two_zones_of_utm(con, tmp_path: Path) -> None:
    """A period mixes records of several CRSs."""
    from pyproj import Transformer

    to34 = Transformer.from_crs(32633, 32634, always_xy=True)
    plane = np.random.default_rng(1).integers(1, 90, (SIZE, SIZE)).astype("int16")
    x, y = to34.transform(*at((24, 24))[0])
    first = write_tif(tmp_path / "33.tif", plane)
    second = write_tif(tmp_path / "34.tif", plane, crs="EPSG:32634", transform=Affine(10, 0, x - 240, 0, -10, y + 240))
    build(con, [first, second], [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 2)])
    zones_table(con, [BLOT])
    each = rows(con, f"FROM rasteret_zonal('made', 'zones', stats := ['count', 'sum', 'mean'], {UTM})")
    both = rows(con, f"FROM rasteret_zonal('made', 'zones', stats := ['count', 'sum', 'mean'], per := 'all', {UTM})")[0]
    assert len(each) == 2
    assert both["count"] == pytest.approx(sum(row["count"] for row in each), rel=1e-12)
    assert both["mean"] == pytest.approx(sum(row["sum"] for row in each) / both["count"], rel=1e-12)


@pytest.fixture
def scenes(con, tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Three records of three bands: two uint16 with nodata 0, and classes."""
    rng = np.random.default_rng(3)
    hrefs, stacks = [], []
    for number in range(3):
        planes = rng.integers(1, 3000, (3, SIZE, SIZE)).astype("uint16")
        planes[2] = rng.integers(1, 8, (SIZE, SIZE))
        planes[0][rng.random((SIZE, SIZE)) < 0.1] = 0
        planes[1][rng.random((SIZE, SIZE)) < 0.1] = 0
        hrefs.append(write_tif(tmp_path / f"s{number}.tif", planes, nodata=0))
        stacks.append(planes)
    build(con, hrefs, [dt.datetime(2024, 1, i + 1) for i in range(3)], "s2", ("B04", "B08", "SCL"))
    return np.array(stacks), np.array([SKY.c, SKY.f - 10 * SIZE, SKY.c + 10 * SIZE, SKY.f])


def ndvi_of(planes: np.ndarray, keep: np.ndarray | bool = True) -> np.ndarray:
    red, nir = planes[0].astype(float), planes[1].astype(float)
    return np.where((planes[0] > 0) & (planes[1] > 0) & keep, (nir - red) / np.maximum(nir + red, 1), np.nan)


def test_expressions_and_masks(con, scenes: tuple[np.ndarray, np.ndarray]) -> None:
    stacks, bounds = scenes
    zones = [TRIANGLE, BLOT, TINY]
    zones_table(con, zones)
    call = (
        f"rasteret_zonal('s2', 'zones', bands := ['B04'], stats := {STATS}, "
        f"expressions := {{'ndvi': '(B08 - B04) / (B08 + B04)'}}, mask := 'scl IN (4, 5, 6)', {UTM})"
    )
    found = rows(con, f"FROM {call}")
    assert len(found) == 3 * 3 * 2
    for row in found:
        planes = stacks[int(row["record_id"][1])]
        keep = np.isin(planes[2], [4, 5, 6])
        values = ndvi_of(planes, keep) if row["band"] == "ndvi" else np.where(keep & (planes[0] > 0), planes[0].astype(float), np.nan)
        theirs = exact(values, bounds, zones[row["no"]], list(OURS_TO_THEIRS.values()))
        if theirs["count"] == 0:
            assert (row["count"], row["mean"], row["status"]) == (0, None, row["status"])
            assert row["status"] in ("masked", "nodata")
        else:
            check(row, theirs, f"{row['record_id']} {row['band']} zone {row['no']}", repeat=False)


def test_expressions_alone_and_merged(con, scenes: tuple[np.ndarray, np.ndarray]) -> None:
    stacks, bounds = scenes
    zones_table(con, [BLOT])
    found = rows(
        con, f"FROM rasteret_zonal('s2', 'zones', expressions := {{'ndvi': '(B08 - B04) / (B08 + B04)'}}, stats := {STATS}, per := 'month', {UTM})"
    )
    values, coverage = [], []
    for planes in stacks:
        got = exact(ndvi_of(planes), bounds, BLOT, ["values", "coverage"])
        values.append(got["values"])
        coverage.append(got["coverage"])
    array, box, boxes = pixels_of(np.concatenate(values), np.concatenate(coverage))
    assert [(row["band"], row["period"]) for row in found] == [("ndvi", "2024-01")]
    check(found[0], exact(array, box, boxes, list(OURS_TO_THEIRS.values())), "ndvi", repeat=False)


def test_bits_of_quality_bands(con, scenes: tuple[np.ndarray, np.ndarray]) -> None:
    stacks, bounds = scenes
    zones_table(con, [BLOT])
    for row in rows(con, f"FROM rasteret_zonal('s2', 'zones', bands := ['B08'], stats := ['count', 'sum'], mask := 'SCL & 6 = 4', {UTM})"):
        planes = stacks[int(row["record_id"][1])]
        values = np.where(((planes[2] & 6) == 4) & (planes[1] > 0), planes[1].astype(float), np.nan)
        theirs = exact(values, bounds, BLOT, ["count", "sum"])
        close(row["count"], theirs["count"], "count")
        close(row["sum"], theirs["sum"], "sum")


def test_masked_and_nodata_are_told_apart(con, scenes: tuple[np.ndarray, np.ndarray]) -> None:
    zones_table(con, [BLOT, shapely.box(0, 0, 10, 10)])
    call = f"rasteret_zonal('s2', 'zones', bands := ['B04'], stats := ['count', 'mean', 'valid_fraction'], mask := 'SCL > 100', {UTM})"
    found = rows(con, f"SELECT no, band, count, mean, valid_fraction, status, error FROM {call} ORDER BY no")
    assert [tuple(row.values()) for row in found[:3]] == [(0, "B04", 0.0, None, 0.0, "masked", None)] * 3
    assert tuple(found[3].values()) == (1, "B04", 0.0, None, None, "outside", None)
    assert len(found) == 4


def test_a_record_without_a_band_of_the_mask(con, tmp_path: Path) -> None:
    """It is NULL there: nothing is kept, unless the mask says what NULL means; ``error`` names the band."""
    red, quality = (write_tif(tmp_path / f"{name}.tif", np.full((SIZE, SIZE), value, "int16")) for name, value in (("red", 7), ("quality", 1)))
    con.register("recs", pa.table({"id": ["a", "b"], "datetime": [dt.datetime(2024, 1, 1)] * 2, "red": [red, red], "quality": [quality, None]}))
    con.execute("FROM rasteret_build_from_table('recs', name := 'some', band_columns := {'red': 'red', 'quality': 'quality'})").fetchall()
    zones_table(con, [BLOT])
    call = f"SELECT record_id, mean, status, error FROM rasteret_zonal('some', 'zones', bands := ['red'], stats := ['mean'], {UTM}, mask := "
    assert con.execute(f"{call} 'quality = 1') ORDER BY record_id").fetchall() == [
        ("a", 7.0, "ok", None),
        ("b", None, "masked", "the record has no asset for quality"),
    ]
    assert con.execute(f"{call} 'quality = 1 OR quality IS NULL') ORDER BY record_id").fetchall() == [("a", 7.0, "ok", None), ("b", 7.0, "ok", None)]
    expression = f"rasteret_zonal('some', 'zones', expressions := {{'q': 'quality + red'}}, stats := ['mean'], {UTM})"
    assert con.execute(f"SELECT record_id, mean, status, error FROM {expression} ORDER BY record_id").fetchall() == [
        ("a", 8.0, "ok", None),
        ("b", None, "nodata", "the record has no asset for quality"),
    ]
