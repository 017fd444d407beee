"""JPEG, WebP, JPEG XL and JPEG 2000 segments: truncated, damaged, of other sizes than the file says, hostile; and packed samples."""

from __future__ import annotations

import dataclasses
import random
import resource

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rasteret_sql.errors import InvalidRaster, RasteretError
from rasteret_sql.raster.codec import decode_segment, supports
from rasteret_sql.raster.header import Layout

SIDE = 48


def _picture() -> np.ndarray:
    rows, cols = np.mgrid[:SIDE, :SIDE]
    noise = np.random.default_rng(0).normal(size=(SIDE, SIDE, 3)) * 5
    return (np.sin(cols / 9)[..., None] * 60 + np.cos(rows / 7)[..., None] * 50 + 120 + noise + np.arange(3) * 4).astype(np.uint8)


PICTURE = _picture()
ENCODED = {
    "jpeg": (7, imagecodecs.jpeg8_encode(PICTURE, level=90, colorspace="RGB", outcolorspace="YCBCR"), True),
    "jpeg rgb": (7, imagecodecs.jpeg8_encode(PICTURE, level=90, colorspace="RGB", outcolorspace="RGB"), False),
    "webp": (50001, imagecodecs.webp_encode(PICTURE, lossless=True), False),
    "webp lossy": (50001, imagecodecs.webp_encode(PICTURE, level=80), False),
    "jpeg xl": (50002, imagecodecs.jpegxl_encode(PICTURE, lossless=True), False),
    "jpeg xl lossy": (50002, imagecodecs.jpegxl_encode(PICTURE, distance=1.5), False),
    "jpeg 2000": (34712, imagecodecs.jpeg2k_encode(PICTURE, level=0), False),
    "jpeg 2000 bare": (33005, imagecodecs.jpeg2k_encode(PICTURE, codecformat="j2k"), False),
}
LOSSLESS = ("webp", "jpeg xl", "jpeg 2000", "jpeg 2000 bare")


def encoded(name: str) -> tuple[bytes, Layout]:
    compression, data, ycbcr = ENCODED[name]
    return data, Layout("uint8", "<", compression, 1, 1, 3, SIDE, SIDE, True, 8, ycbcr=ycbcr)


@pytest.mark.parametrize("name", ENCODED)
def test_pixels_whole_in_part_and_one_sample(name) -> None:
    data, layout = encoded(name)
    pixels = decode_segment(data, layout, SIDE)
    assert pixels.shape == (SIDE, SIDE, 3)
    assert pixels.flags.c_contiguous
    if name in LOSSLESS:
        np.testing.assert_array_equal(pixels, PICTURE)
    else:
        assert np.abs(pixels.astype(int) - PICTURE).mean() < 6
    np.testing.assert_array_equal(decode_segment(data, layout, SIDE, sample=1), pixels[..., 1])
    np.testing.assert_array_equal(decode_segment(memoryview(data), layout, SIDE), pixels)


@pytest.mark.parametrize("name", ENCODED)
def test_truncated_data_are_never_pixels(name) -> None:
    data, layout = encoded(name)
    whole = decode_segment(data, layout, SIDE)
    refused = 0
    for length in {*range(0, len(data), max(1, len(data) // 60)), *range(len(data) - 8, len(data))}:
        try:
            found = decode_segment(data[:length], layout, SIDE)
        except InvalidRaster as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            np.testing.assert_array_equal(found, whole)
    assert refused > 55


@pytest.mark.parametrize("name", ENCODED)
def test_damaged_data_are_pixels_of_the_right_shape_or_an_error(name) -> None:
    data, layout = encoded(name)
    chance = random.Random(name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(chance.choice((1, 2, 8))):
            damaged[chance.randrange(min(len(damaged), chance.choice((40, 200, len(damaged)))))] = chance.randrange(256)
        try:
            assert decode_segment(bytes(damaged), layout, SIDE).shape == (SIDE, SIDE, 3)
        except RasteretError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@pytest.mark.parametrize("name", ENCODED)
@pytest.mark.parametrize("change", [{"tile_width": SIDE - 16}, {"tile_height": SIDE - 16}, {"tile_height": SIDE + 16}, {"samples_per_pixel": 4}])
def test_images_of_another_size_are_refused(name, change) -> None:
    data, layout = encoded(name)
    layout = dataclasses.replace(layout, **change, ycbcr=False)
    if "webp" in name and "samples_per_pixel" in change:  # encoders leave out an alpha that is opaque everywhere
        assert (decode_segment(data, layout, SIDE)[..., 3] == 255).all()
        return
    with pytest.raises(InvalidRaster):
        decode_segment(data, layout, layout.tile_height)


@pytest.mark.parametrize("name", ENCODED)
def test_the_last_strip_may_be_lower(name) -> None:
    data, layout = encoded(name)
    whole = decode_segment(data, layout, SIDE)
    strips = dataclasses.replace(layout, tiled=False, tile_height=SIDE + 30)
    np.testing.assert_array_equal(decode_segment(data, strips, SIDE), whole)
    high = dataclasses.replace(layout, tiled=False)
    np.testing.assert_array_equal(decode_segment(data, high, SIDE - 7), whole[: SIDE - 7])


def test_a_jpeg_that_claims_a_gigabyte_is_refused_before_it_is_made() -> None:
    data, layout = encoded("jpeg")
    frame = data.index(b"\xff\xc0")
    huge = data[: frame + 5] + b"\xff\xff\xff\xff" + data[frame + 9 :]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidRaster, match="65535 x 65535 pixels; the file says 48 x 48"):
        decode_segment(huge, layout, SIDE)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_jpeg_2000_that_claims_a_terabyte_is_refused_before_it_is_made() -> None:
    data, layout = encoded("jpeg 2000 bare")
    size = data.index(b"\xff\x51") + 6
    huge = data[:size] + b"\x00\x10\x00\x00" * 2 + data[size + 8 :]
    with pytest.raises(InvalidRaster, match="1048576 x 1048576 pixels"):
        decode_segment(huge, layout, SIDE)


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "no frame header"), (b"\xff\xd8" + b"\x00" * 20, "no marker at byte 2"), (b"\xff\xd8\xff\xda\x00\x02" + b"\x00" * 9, "no frame header")],
)
def test_what_is_no_jpeg(data, message) -> None:
    with pytest.raises(InvalidRaster, match=message):
        decode_segment(data, encoded("jpeg")[1], SIDE)


def test_jpeg_samples_must_be_the_files() -> None:
    data, layout = encoded("jpeg rgb")
    with pytest.raises(InvalidRaster, match="holds 3 samples of 8 bits; the file says 1 of 8"):
        decode_segment(data, dataclasses.replace(layout, samples_per_pixel=1), SIDE)


def test_jpeg_of_twelve_bits() -> None:
    pixels = (PICTURE[..., 0].astype(np.uint16) * 16)[:, :, None][:, :, 0].copy()
    data = imagecodecs.jpeg8_encode(pixels, level=100, bitspersample=12)
    found = decode_segment(data, Layout("uint16", "<", 7, 1, 1, 1, SIDE, SIDE, True, 12), SIDE)
    assert found.dtype == np.uint16
    assert np.abs(found.astype(int) - pixels).max() < 40


@pytest.mark.parametrize("module", ["JPEG8", "WEBP", "JPEGXL", "JPEG2K"])
def test_a_build_without_the_codec_is_named(monkeypatch, module) -> None:
    class Lacking:
        available = False

    supports.cache_clear()
    monkeypatch.setattr(imagecodecs, module, Lacking)
    code = {"JPEG8": 7, "WEBP": 50001, "JPEGXL": 50002, "JPEG2K": 34712}[module]
    reason = supports(Layout("uint8", "<", code, 1, 1, 3, SIDE, SIDE, True, 8))
    supports.cache_clear()
    assert reason is not None
    assert f"needs {module} of imagecodecs" in reason


@settings(max_examples=60, deadline=None)
@given(
    bits=st.sampled_from([1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15]),
    width=st.integers(1, 40),
    samples=st.integers(1, 4),
    rows=st.integers(1, 6),
    reverse=st.booleans(),
    big=st.booleans(),
    seed=st.integers(0, 99),
)
def test_packed_samples(bits, width, samples, rows, reverse, big, seed) -> None:
    """Against numbers written out as text, bit by bit."""
    values = np.random.default_rng(seed).integers(0, 2**bits, (rows, width, samples))
    text = ["".join(f"{value:0{bits}b}" for value in row.ravel()) for row in values]
    stored = b"".join(int(line.ljust(-(-len(line) // 8) * 8, "0"), 2).to_bytes(-(-len(line) // 8), "big") for line in text)
    if reverse:
        stored = bytes(int(f"{byte:08b}"[::-1], 2) for byte in stored)
    dtype = "uint8" if bits < 8 else "uint16"
    layout = Layout(dtype, ">" if big else "<", 1, 1, 1, samples, width, rows, False, bits, fill_order=2 if reverse else 1)
    found = decode_segment(stored, layout, rows)
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found.reshape(values.shape), values)
    np.testing.assert_array_equal(decode_segment(stored, layout, rows, sample=samples - 1), values[..., -1])
