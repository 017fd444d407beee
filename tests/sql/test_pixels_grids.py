"""``rasteret_pixels`` on other grids: the pixels of ``rasteret_read`` and of GDAL's warper, one by one, and exactextract's coverage of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.enums import Resampling

from rasteret_sql.raster.crs import transform_geometries
from tests.reader.oracle import SKY, blocks, fetch, rows, write_tif
from tests.sql.zones import close, exact

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

UTM = "geometry_crs := 'EPSG:32633'"
HEIGHT, WIDTH = 300, 320
PLOTS = [
    shapely.Polygon([SKY @ (20.2, 30.1), SKY @ (250.3, 40.2), SKY @ (200.4, 270.7)]),
    shapely.Polygon([SKY @ (-40.3, 130.2), SKY @ (52.2, 120.4), SKY @ (52.3, 190.6)]),
    shapely.box(*(SKY @ (100.3, 120.2)), *(SKY @ (103.6, 110.1))),
    shapely.box(*(SKY @ (900, 120)), *(SKY @ (930, 110))),
]
GRIDS = {
    "resolution := 25, resampling := 'nearest'": "EPSG:32633",
    "resolution := 25, resampling := 'average'": "EPSG:32633",
    "resolution := 7, align_to := [3, 5], resampling := 'cubic'": "EPSG:32633",
    "resolution := 40, target_crs := 'EPSG:32633'": "EPSG:32633",
    "resolution := 21, target_crs := 'EPSG:3857', align_to := [3, 5], resampling := 'bilinear'": "EPSG:3857",
    "resolution := 0.0003, target_crs := 'OGC:CRS84'": "OGC:CRS84",
}


def noise(dtype: str = "int16", seed: int = 0, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(1, 3000, shape).astype(dtype)
    pixels[rng.random(shape) < 0.1] = 0
    return pixels


@pytest.fixture
def two(con, tmp_path: Path) -> None:
    """A record of a 10 m band and a 20 m band with overviews, and one that lacks the second."""
    for name, factor in (("A", 1), ("B", 2), ("C", 1)):
        path = write_tif(
            tmp_path / f"{name}.tif", noise(seed=factor, shape=(HEIGHT // factor, WIDTH // factor)), nodata=0, transform=SKY @ Affine.scale(factor)
        )
        with rasterio.open(path, "r+") as target:
            target.build_overviews([2, 4], Resampling.average)
    con.register("__r", pa.table({"id": ["a", "b"], "A": [str(tmp_path / "A.tif"), str(tmp_path / "C.tif")], "B": [str(tmp_path / "B.tif"), None]}))
    con.execute("FROM rasteret_build_from_table('__r', name := 'two', band_columns := {'A': 'A', 'B': 'B'})").fetchall()
    con.register("plots", pa.table({"no": range(len(PLOTS)), "geom": pa.array([plot.wkb for plot in PLOTS], pa.binary())}))


def of_read(con: Any, call: str, bands: tuple[str, ...]) -> dict[tuple[int, str, float, float], tuple[Any, ...]]:
    """Pixels of ``rasteret_read`` by plot, record and centre, those with a value in some band."""
    table = fetch(con, f"FROM rasteret_read({call})")
    arrays = [blocks(table, band) for band in bands]
    found = {}
    for row in range(table.num_rows):
        if table["height"][row].as_py() is None:
            continue
        place = Affine(*table["transform"][row].as_py())
        cells = [array[row] for array in arrays]
        shape = (table["height"][row].as_py(), table["width"][row].as_py())
        for line, col in np.ndindex(shape):
            values = tuple(None if cell is None or np.ma.getmaskarray(cell)[line, col] else cell.data[line, col].item() for cell in cells)
            if any(value is not None for value in values):
                x, y = place @ (col + 0.5, line + 0.5)
                found[table["no"][row].as_py(), table["record_id"][row].as_py(), round(x, 6), round(y, 6)] = values
    return found


@pytest.mark.parametrize("rule", ["center", "all_touched", "window"])
@pytest.mark.parametrize("grid", GRIDS)
def test_pixels_are_those_of_rasteret_read(con, two: None, grid: str, rule: str) -> None:
    call = f"'two', 'plots', bands := ['B', 'A'], {grid}, pixels := '{rule}', {UTM}"
    expected = of_read(con, call, ("B", "A"))
    found = rows(con, f"FROM rasteret_pixels({call})")
    ours = {(row["no"], row["record_id"], round(row["x"], 6), round(row["y"], 6)): (row["B"], row["A"]) for row in found}
    assert len(ours) == len(found), "each pixel once"
    assert ours == expected
    assert {key[:2] for key in ours} == {(no, record) for no in (0, 1, 2) for record in ("a", "b")}
    assert {row["coverage"] for row in found} == {1.0}


@pytest.mark.parametrize("grid", GRIDS)
def test_row_and_column_count_on_the_grid(con, two: None, grid: str) -> None:
    """On a grid for all records from its origin; else from the corner of the record's grid."""
    found = rows(con, f"FROM rasteret_pixels('two', 'plots', bands := ['A'], {grid}, {UTM})")
    size = float(grid.split("resolution := ")[1].split(",", maxsplit=1)[0])
    if "target_crs" in grid:
        origin = (3.0, 5.0) if "align_to" in grid else (0.0, 0.0)
    else:
        origin = (500000 - 4, 5200000 + 5) if "align_to" in grid else (500000.0, 5200000.0)
        origin = (3 + math.floor((500000 - 3) / size) * size, 5 + math.ceil((5200000 - 5) / size) * size) if "align_to" in grid else origin
    for row in found:
        assert row["x"] == pytest.approx(origin[0] + size * (row["col"] + 0.5), abs=1e-6 * size)
        assert row["y"] == pytest.approx(origin[1] - size * (row["row"] + 0.5), abs=1e-6 * size)


@pytest.mark.parametrize("grid", GRIDS)
def test_shares_are_exactextracts(con, two: None, grid: str) -> None:
    """Coverage comes from the grid that was asked for, and plain SQL over the pixels gives the numbers of ``rasteret_zonal``."""
    found = rows(con, f"FROM rasteret_pixels('two', 'plots', bands := ['A', 'B'], {grid}, {UTM}) WHERE record_id = 'a'")
    projected = transform_geometries(np.array(PLOTS, dtype=object), "EPSG:32633", GRIDS[grid])
    size = float(grid.split("resolution := ")[1].split(",", maxsplit=1)[0])
    for no in (0, 1, 2):
        mine = [row for row in found if row["no"] == no]
        top, left = min(row["row"] for row in mine), min(row["col"] for row in mine)
        shape = (max(row["row"] for row in mine) - top + 1, max(row["col"] for row in mine) - left + 1)
        corner = next((row["x"] - (row["col"] - left + 0.5) * size, row["y"] + (row["row"] - top + 0.5) * size) for row in mine)
        numbered = np.arange(shape[0] * shape[1], dtype=float).reshape(shape)
        bounds = (corner[0], corner[1] - shape[0] * size, corner[0] + shape[1] * size, corner[1])
        theirs = exact(numbered, bounds, projected[no], ["values", "coverage"])
        shares = dict(zip(np.asarray(theirs["values"]).astype(int).tolist(), theirs["coverage"], strict=True))
        for row in mine:
            assert row["coverage"] == pytest.approx(shares[(row["row"] - top) * shape[1] + row["col"] - left], abs=2e-6)
    sums = rows(
        con,
        f"""SELECT no, record_id, sum(coverage) AS count, sum(coverage * A) / sum(coverage) AS mean FROM rasteret_pixels('two', 'plots', bands := ['A', 'B'], {grid}, {UTM})
        WHERE A IS NOT NULL GROUP BY ALL ORDER BY ALL""",
    )
    zonal = rows(
        con,
        f"""FROM rasteret_zonal('two', 'plots', bands := ['A', 'B'], {grid}, stats := ['count', 'mean'], {UTM})
        WHERE band = 'A' AND record_id IS NOT NULL AND count > 0 ORDER BY no, record_id""",
    )
    assert [(row["no"], row["record_id"]) for row in sums] == [(row["no"], row["record_id"]) for row in zonal] != []
    for ours, theirs in zip(sums, zonal, strict=True):
        close(ours["count"], theirs["count"], "count")
        close(ours["mean"], theirs["mean"], "mean")


@pytest.mark.parametrize("grid", ["resolution := 6, resampling := 'cubic'", "resolution := 6, target_crs := 'EPSG:3857', resampling := 'average'"])
def test_parts_of_a_geometry_hold_the_pixels_of_the_whole(con, two: None, grid: str) -> None:
    """With little memory a geometry is read part by part."""
    call = f"FROM rasteret_pixels('two', 'plots', bands := ['A', 'B'], {grid}, {UTM}) ORDER BY no, record_id, row, col"
    whole = fetch(con, call)
    con.execute("SET VARIABLE rasteret_memory_bytes = 1048576").fetchall()
    parts = fetch(con, call)
    assert parts.num_rows == whole.num_rows > 90_000
    for name in ("no", "record_id", "row", "col", "x", "y"):
        assert parts[name].equals(whole[name]), name
    np.testing.assert_allclose(parts["coverage"].to_numpy(), whole["coverage"].to_numpy(), atol=1e-9)
    for band in ("A", "B"):
        ours, theirs = (np.ma.masked_invalid(table[band].to_numpy().astype(float)) for table in (parts, whole))
        assert (np.ma.getmaskarray(ours) == np.ma.getmaskarray(theirs)).all()
        assert np.abs(ours - theirs).max() <= 1, "a half may be rounded up or down"
        assert (ours != theirs).mean() < 1e-3


def test_pixels_that_cannot_be_read_have_no_row(con, tmp_path: Path) -> None:
    con.register("plots", pa.table({"no": [0, 1], "geom": pa.array([PLOTS[0].wkb, PLOTS[2].wkb], pa.binary())}))
    path = Path(write_tif(tmp_path / "a.tif", noise("int64"), nodata=0))
    call = f"rasteret_pixels('{path}', 'plots', resolution := 25, resampling := 'average', {UTM}"
    with pytest.raises(Exception, match="resampled by 'nearest' only"):
        con.execute(f"FROM {call})").fetchall()
    assert rows(con, f"FROM {call}, on_error := 'null')") == []
    assert rows(con, f"SELECT count(*) > 1000 AS many FROM {call.replace('average', 'nearest')})") == [{"many": True}]
