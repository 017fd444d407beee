"""Interpolated values against GDAL's warper: whole grids moved by a part of a pixel, and single pixels centred on points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.warp import Resampling, reproject

from rasteret_sql.raster.grid import Grid
from rasteret_sql.reader.band import nodata_mask
from rasteret_sql.reader.gather import Gathered
from rasteret_sql.reader.interpolate import Kernel
from tests.reader.oracle import SKY, write_tif

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

NOTHING = -1e30
METHODS = ["bilinear", "cubic"]
TURNED = Affine(8.0, 3.0, 500000.0, 2.0, -9.0, 5200000.0)


def warped(path: str, band: int, col: float, row: float, shape: tuple[int, int], method: str) -> np.ma.MaskedArray:
    """GDAL's values at pixel coordinates (col, row) and every whole step right of and below it."""
    with rasterio.open(path) as source:
        out = np.full(shape, NOTHING)
        reproject(
            rasterio.band(source, band),
            out,
            dst_transform=source.transform @ Affine.translation(col - 0.5, row - 0.5),
            dst_crs=source.crs,
            resampling=Resampling[method],
            dst_nodata=NOTHING,
            tolerance=0,
        )
    return np.ma.masked_equal(out, NOTHING)


def ours(plane: np.ndarray, nodata: float | None, col: np.ndarray, row: np.ndarray, method: str) -> np.ma.MaskedArray:
    """At pixel coordinates inside the plane."""
    kernel = Kernel.of(Grid(tuple(SKY)[:6], plane.shape[1], plane.shape[0]), col, row, method)
    stored = plane[kernel.pixels.rows, kernel.pixels.cols]
    values, valid = kernel.apply(Gathered(stored, ~nodata_mask(stored, nodata)))
    return np.ma.array(values, mask=~valid)


def like(found: np.ma.MaskedArray, expected: np.ma.MaskedArray) -> None:
    hidden = np.ma.getmaskarray(expected)
    np.testing.assert_array_equal(np.ma.getmaskarray(found), hidden)
    np.testing.assert_allclose(found.data[~hidden], expected.data[~hidden], rtol=1e-6, atol=1e-6)


CASES = {
    "bytes": ("uint8", 0, SKY),
    "no nodata": ("uint16", None, SKY),
    "negative": ("int16", -5, SKY),
    "float": ("float32", 0, SKY),
    "NaN": ("float32", np.nan, SKY),
    "double, turned": ("float64", 0, TURNED),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("part", [(0.3, -0.2), (-0.45, 0.4), (0.1, 0.1), (0.0, 0.0), (0.0, 0.3), (-0.25, 0.0)])
def test_a_grid_moved_by_a_part_of_a_pixel(tmp_path: Path, case: str, method: str, part: tuple[float, float]) -> None:
    """Edges, corners, holes and lone pixels are all in it: 24 x 20 pixels, a third of them nodata."""
    dtype, nodata, transform = CASES[case]
    rng = np.random.default_rng(len(case))
    plane = rng.integers(1, 250, (20, 24)).astype(dtype)
    if nodata is not None:
        plane[rng.random(plane.shape) < 0.3] = nodata
        plane[8:14, 9:17] = rng.integers(1, 250, (6, 8))
    path = write_tif(tmp_path / "a.tif", plane, nodata=nodata, transform=transform)
    row, col = np.indices(plane.shape).reshape(2, -1) + 0.5
    col, row = col + part[0], row + part[1]
    inside = (col >= 0) & (col < 24) & (row >= 0) & (row < 20)
    expected = warped(path, 1, 0.5 + part[0], 0.5 + part[1], plane.shape, method).ravel()
    like(ours(plane, nodata, col[inside], row[inside], method), expected[inside])
    assert expected[inside].count() > 200


@pytest.mark.parametrize("method", METHODS)
def test_single_pixels_centred_on_points(tmp_path: Path, method: str) -> None:
    rng = np.random.default_rng(4)
    plane = rng.uniform(-1, 1, (9, 11)).astype("float32")
    plane[rng.random(plane.shape) < 0.1] = -9
    path = write_tif(tmp_path / "a.tif", plane, nodata=-9)
    col, row = rng.uniform(0, 11, 200), rng.uniform(0, 9, 200)
    expected = np.ma.concatenate([warped(path, 1, c, r, (1, 1), method).ravel() for c, r in zip(col, row, strict=True)])
    like(ours(plane, -9, col, row, method), expected)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 1 << 30), st.sampled_from(METHODS))
@settings(max_examples=60, deadline=None)
def test_small_rasters(height: int, width: int, seed: int, method: str) -> None:
    """Down to one pixel: a constant stays one wherever it is valid, and bilinear keeps between the least and the greatest."""
    rng = np.random.default_rng(seed)
    plane = np.full((height, width), 7.0)
    plane[rng.random(plane.shape) < 0.3] = 0
    col, row = rng.uniform(0, width, 40), rng.uniform(0, height, 40)
    found = ours(plane, 0, col, row, method)
    under = plane[np.floor(row).astype(int), np.floor(col).astype(int)]
    np.testing.assert_array_equal(np.ma.getmaskarray(found), under == 0)
    np.testing.assert_allclose(found.compressed(), 7.0, rtol=1e-12)
    plane = rng.uniform(1, 2, (height, width))
    found = ours(plane, 0, col, row, "bilinear")
    assert found.min() >= plane.min() - 1e-12
    assert found.max() <= plane.max() + 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_pixel_centres_are_as_stored(method: str) -> None:
    """To the last bit, and whatever lies beside: it weighs nothing."""
    rng = np.random.default_rng(3)
    plane = rng.uniform(-1e6, 1e6, (7, 8))
    plane[3, 3], plane[5, 1] = np.nan, np.inf
    row, col = np.indices(plane.shape).reshape(2, -1) + 0.5
    found = ours(plane, None, col, row, method)
    np.testing.assert_array_equal(found.data, plane.ravel())
    assert not np.ma.getmaskarray(found).any()


def test_a_plane_and_a_parabola() -> None:
    """Bilinear is exact for planes, cubic for polynomials of second degree: what the kernels were made for."""
    rows, cols = np.indices((12, 12)) + 0.5
    rng = np.random.default_rng(5)
    col, row = rng.uniform(2, 10, (2, 100))
    np.testing.assert_allclose(ours(3 * cols - 2 * rows + 4, None, col, row, "bilinear"), 3 * col - 2 * row + 4, rtol=1e-12)
    np.testing.assert_allclose(ours(cols**2 - 3 * rows * cols + rows**2, None, col, row, "cubic"), col**2 - 3 * row * col + row**2, atol=1e-9)
