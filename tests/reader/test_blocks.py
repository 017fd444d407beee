"""Blocks called directly: what rasterio reads, and where in memory it lies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasteret_sql.udfs.arrow import joined
from rasterio.windows import Window as RasterioWindow

from rasteret_sql.raster.grid import Window
from rasteret_sql.raster.tiff import read_header_bytes
from rasteret_sql.reader.areas import read_blocks
from rasteret_sql.reader.band import Band, bands_of
from rasteret_sql.reader.blocks import BlockRequest, blank_blocks
from rasteret_sql.reader.cost import stored_under
from rasteret_sql.reader.engine import Query
from tests.reader.oracle import SKY, write_tif

WINDOWS = [Window(0, 0, 40, 50), Window(13, 7, 1, 1), Window(30, 10, 20, 33)]


def bands(path: str) -> list[Band]:
    return bands_of(read_header_bytes(Path(path).read_bytes()), path)


def request(found: list[Band | None], window: Window, mask: np.ndarray | None = None) -> BlockRequest:
    grid = next(band for band in found if band is not None).grid
    return BlockRequest(tuple(found), grid, window, np.ones((window.height, window.width), bool) if mask is None else mask)


@pytest.mark.parametrize("nodata", [None, 0, 7])
def test_pixels_and_validity_are_rasterios(tmp_path, nodata) -> None:
    rng = np.random.default_rng(3)
    path = write_tif(tmp_path / "a.tif", rng.integers(0, 9, (2, 64, 64), "uint16"), nodata=nodata)
    masks = [rng.random((window.height, window.width)) < 0.7 for window in WINDOWS]
    with Query("test") as query:
        blocks = read_blocks([request(bands(path), window, mask) for window, mask in zip(WINDOWS, masks, strict=True)], query)
    with rasterio.open(path) as source:
        for window, mask, block in zip(WINDOWS, masks, blocks, strict=True):
            expected = source.read(window=RasterioWindow(window.col, window.row, window.width, window.height), masked=True)
            for values, valid, theirs in zip(block.values, block.valid, expected, strict=True):
                np.testing.assert_array_equal(values, theirs.data)
                np.testing.assert_array_equal(valid, mask & ~np.ma.getmaskarray(theirs))


def test_what_cannot_be_read_is_not_valid_and_the_rest_is(tmp_path) -> None:
    path = write_tif(tmp_path / "a.tif", np.ones((2, 64, 64), "uint8"), interleave="band")
    first, second = bands(path)
    offsets = np.full_like(second.level.offsets, 1 << 40)  # behind the file's end
    second = replace(second, level=replace(second.level, offsets=offsets))
    with Query("test", raise_errors=False) as query:
        (block,) = read_blocks([request([first, second], WINDOWS[0])], query)
    assert block.valid[0].all()
    assert not block.valid[1].any()
    assert list(block.failed) == [1]


def test_the_pixels_of_a_band_follow_each_other(tmp_path) -> None:
    """So that they become one Arrow array without a copy."""
    floats = bands(write_tif(tmp_path / "a.tif", np.zeros((2, 64, 64), "float32"), nodata=-9))
    bytes_ = bands(write_tif(tmp_path / "b.tif", np.zeros((2, 64, 64), "uint8")))
    requests = [request(floats, WINDOWS[0]), request([None, floats[1]], WINDOWS[1]), request([bytes_[0], floats[1]], WINDOWS[2])]
    blocks = blank_blocks(requests)
    assert [[None if values is None else values.dtype.name for values in block.values] for block in blocks] == [
        ["float32", "float32"],
        [None, "float32"],
        ["uint8", "float32"],
    ]
    assert all((values == (-9 if values.dtype == "float32" else 0)).all() for block in blocks for values in block.values if values is not None)
    assert not any(valid.any() for block in blocks for valid in block.valid)
    flat = [block.values[1].ravel() for block in blocks]
    whole = joined(flat, np.float32)
    assert all(np.shares_memory(whole, part) for part in flat)
    np.testing.assert_array_equal(whole, np.concatenate(flat))


def test_segments_of_bands_together_are_those_of_each(tmp_path) -> None:
    """Bands tiled alike share the search, under the same windows only."""
    alike = bands(write_tif(tmp_path / "a.tif", np.ones((2, 64, 64), "uint8"), interleave="band"))
    other = bands(write_tif(tmp_path / "b.tif", np.ones((64, 64), "uint8"), blockxsize=32, blockysize=32))
    coarse = bands(write_tif(tmp_path / "c.tif", np.ones((64, 64), "uint8"), transform=SKY))
    near, far = np.array([[0, 0, 40, 50]]), np.array([[40, 40, 3, 3], [0, 0, 1, 1]])
    reads = [(alike[0], near), (other[0], near), (alike[1], near), (coarse[0], far), (alike[0], far), (coarse[0], near)]
    together = stored_under(reads)
    for found, read in zip(together, reads, strict=True):
        (alone,) = stored_under([read])
        assert found.band is read[0]
        np.testing.assert_array_equal(found.starts, alone.starts)
        np.testing.assert_array_equal(found.lengths, alone.lengths)
    assert [len(found.starts) for found in together] == [12, 4, 12, 2, 2, 12]
