"""Parts of a decoded segment are the parts of the whole, whatever has been asked for before."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rasteret_sql.raster.decoded import DecodedSegment, SegmentPixels

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64"]


def differenced(pixels: np.ndarray) -> np.ndarray:
    """Predictor 2 as TIFF 6.0 section 14 has it: each sample minus its left neighbour, on the bits."""
    bits = pixels.view(f"u{pixels.dtype.itemsize}")
    stored = bits.copy()
    stored[:, 1:] -= bits[:, :-1]
    return stored.view(pixels.dtype)


def random_pixels(dtype: str, rows: int, width: int, seed: int) -> np.ndarray:
    octets = np.random.default_rng(seed).integers(0, 256, rows * width * np.dtype(dtype).itemsize, dtype=np.uint8)
    return octets.view(dtype).reshape(rows, width)


def same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.view(f"u{found.dtype.itemsize}"), expected.view(f"u{expected.dtype.itemsize}"))


@st.composite
def places_of(draw: st.DrawFn, rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    flat = np.array(draw(st.lists(st.integers(0, rows * width - 1), min_size=1, max_size=60)))
    return np.divmod(flat, width)


@st.composite
def windows(draw: st.DrawFn, rows: int, width: int) -> tuple[slice, slice]:
    top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, width - 1))
    return slice(top, draw(st.integers(top + 1, rows))), slice(left, draw(st.integers(left + 1, width)))


@settings(max_examples=300)
@given(st.data(), st.sampled_from(DTYPES), st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_parts_equal_the_whole_in_any_order(data: st.DataObject, dtype: str, rows: int, width: int, seed: int) -> None:
    pixels = random_pixels(dtype, rows, width, seed)
    segment = DecodedSegment(differenced(pixels), differences=True)
    segment._spent = -1e9 if data.draw(st.booleans()) else 0.0  # a small segment is undone at once: some are told to go on in parts
    for kind in data.draw(st.lists(st.sampled_from(["at", "window", "whole"]), min_size=1, max_size=4)):
        if kind == "at":
            place = data.draw(places_of(rows, width))
            same(segment.at(SegmentPixels(*place)), pixels[place])
        elif kind == "window":
            window = data.draw(windows(rows, width))
            expected = pixels[window]
            block = np.zeros((expected.shape[0] + 2, expected.shape[1] + 3), dtype)  # filled in the middle of a larger block
            segment.copy_window(*window, None, block[1:-1, 2:-1])
            same(np.ascontiguousarray(block[1:-1, 2:-1]), np.ascontiguousarray(expected))
            block[1:-1, 2:-1] = 0
            assert not block.any()
        else:
            same(segment.whole(), pixels)


def test_places_serve_several_segments() -> None:
    flat = np.random.default_rng(1).integers(0, 256 * 256, 300)
    places = SegmentPixels(*np.divmod(flat, 256))
    for seed in range(3):
        pixels = random_pixels("uint16", 256, 256, seed)
        segment = DecodedSegment(differenced(pixels), differences=True)
        same(segment.at(places), pixels.reshape(-1)[flat])
        assert segment._differences  # summed up, not undone


def test_the_whole_is_undone_once_parts_have_cost_as_much() -> None:
    pixels = random_pixels("uint16", 256, 256, 7)
    segment = DecodedSegment(differenced(pixels), differences=True)
    out = np.empty((64, 64), np.uint16)
    asked = 0
    while segment._differences:
        segment.copy_window(slice(100, 164), slice(30, 94), None, out)
        same(out, np.ascontiguousarray(pixels[100:164, 30:94]))
        asked += 1
    assert 1 < asked < 10
    same(segment.whole(), pixels)


def test_samples_of_a_pixel() -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (8, 9, 3), dtype=np.uint8)
    segment = DecodedSegment(pixels.copy())
    rows, cols = np.array([0, 2, 2]), np.array([8, 1, 1])
    same(segment.at(SegmentPixels(rows, cols), 1), pixels[rows, cols, 1])
    out = np.empty((3, 4), np.uint8)
    segment.copy_window(slice(2, 5), slice(1, 5), 2, out)
    same(out, np.ascontiguousarray(pixels[2:5, 1:5, 2]))


@pytest.mark.parametrize("differences", [False, True])
def test_nobody_can_write_to_what_is_shared(differences: bool) -> None:
    segment = DecodedSegment(np.zeros((4, 4), np.uint16), differences=differences)
    with pytest.raises(ValueError, match="read-only"):
        segment.whole()[0, 0] = 1


def test_threads_share_a_segment() -> None:
    pixels = random_pixels("uint16", 256, 256, 5)
    flat = np.random.default_rng(2).integers(0, 256 * 256, 300)
    wrong: list[str] = []

    def use(segment: DecodedSegment, kind: int) -> None:
        if kind % 3 == 0:
            right = (segment.whole() == pixels).all()
        elif kind % 3 == 1:
            right = (segment.at(SegmentPixels(*np.divmod(flat, 256))) == pixels.reshape(-1)[flat]).all()
        else:
            out = np.empty((50, 60), np.uint16)
            segment.copy_window(slice(20, 70), slice(130, 190), None, out)
            right = (out == pixels[20:70, 130:190]).all()
        if not right:
            wrong.append(f"use {kind}")

    for _ in range(30):
        segment = DecodedSegment(differenced(pixels), differences=True)
        threads = [threading.Thread(target=use, args=(segment, kind)) for kind in range(1, 7)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
