"""One segment at a time against rasterio and tifffile: every codec, predictor, dtype, layout; corrupt and hostile data; partial rows; threads."""

from __future__ import annotations

import dataclasses
import os
import resource
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from rasteret_sql.errors import InvalidArgument, InvalidRaster, UnsupportedRaster
from rasteret_sql.raster import streams
from rasteret_sql.raster.codec import decode_segment, stops_early, supports
from rasteret_sql.raster.header import Layout
from tests.raster import matrix
from tests.raster.matrix import Spec

SPECS = matrix.specs()
CODECS = ("none", "deflate", "lzw", "zstd", "lzma", "packbits", "lerc", "lerc_deflate", "lerc_zstd")


def stored_image(path, page_index=0):
    """(layout, segments as bytes, None where sparse, page) of one directory, by tifffile."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[page_index]
        tags = page.tags
        one_bit = page.bitspersample == 1
        dtype = np.dtype("uint8") if one_bit else page.dtype
        lerc = tags.valueof(50674)
        layout = Layout(
            dtype=dtype.name,
            byte_order=tiff.byteorder,
            compression=int(page.compression),
            predictor=int(page.predictor),
            planar=int(page.planarconfig),
            samples_per_pixel=page.samplesperpixel,
            tile_width=page.tilewidth if page.is_tiled else page.imagewidth,
            tile_height=page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength),
            tiled=page.is_tiled,
            bits=page.bitspersample,
            lerc_compression=0 if lerc is None else lerc[1],
        )
        segments = []
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            tiff.filehandle.seek(offset)
            segments.append(tiff.filehandle.read(count) if count else None)
        return layout, segments, (page.imagelength, page.imagewidth)


def places(layout, height, width):
    """(band or all, first row, first column, rows in the segment) of each segment in file order."""
    tops, lefts = range(0, height, layout.tile_height), range(0, width, layout.tile_width)
    bands = range(layout.samples_per_pixel) if layout.segment_samples < layout.samples_per_pixel else (slice(None),)
    for band in bands:
        for top in tops:
            for left in lefts:
                yield band, top, left, layout.tile_height if layout.tiled else min(layout.tile_height, height - top)


def decoded_image(path, fill=0, page_index=0):
    """The whole image, (bands, height, width), from our decoder."""
    layout, segments, (height, width) = stored_image(path, page_index)
    image = np.full((layout.samples_per_pixel, height, width), fill, layout.dtype)
    for segment, (band, top, left, rows) in zip(segments, places(layout, height, width), strict=True):
        if segment is None:
            continue
        pixels = decode_segment(segment, layout, rows)
        assert pixels.dtype == np.dtype(layout.dtype)
        assert pixels.dtype.isnative
        assert pixels.flags.c_contiguous
        assert pixels.flags.writeable
        target = image[band, top : top + rows, left : left + layout.tile_width]
        pixels = pixels[: target.shape[-2], : target.shape[-1]]
        target[...] = np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels
    return image


def same(ours, theirs):
    """Equal to the bit, but for the payload of NaN."""
    assert ours.shape == theirs.shape
    np.testing.assert_array_equal(ours, theirs.astype(ours.dtype))
    if ours.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(ours), np.signbit(theirs))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A writer that makes each file of the matrix once: (path, pixels)."""
    folder = tmp_path_factory.mktemp("matrix")
    written = {}

    def make(spec):
        if spec not in written:
            path = folder / f"{len(written)}.tif"
            written[spec] = path, matrix.write(spec, path)
        return written[spec]

    return make


def typical(name, **changes):
    return dataclasses.replace(Spec("int16" if name.startswith("lerc") else "uint16", name), **changes)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.id)
def test_every_file_of_the_matrix_equals_rasterio_and_what_was_written(files, spec):
    path, written = files(spec)
    ours = decoded_image(path, fill=0 if spec.nodata is None or np.isnan(spec.nodata) else _held(spec))
    with rasterio.open(path) as src:
        same(ours, src.read())
    same(ours, written)


def _held(spec):
    return spec.nodata if spec.special == "sparse" else 0


def test_the_matrix_has_every_kind_of_file():
    assert {spec.codec for spec in SPECS} == set(CODECS)
    for wanted in ("dtype", "predictor", "interleave", "byte_order", "tiled", "big"):
        for name in matrix.PREDICTED:
            found = {getattr(spec, wanted) for spec in SPECS if spec.codec == name}
            assert len(found) >= {"dtype": 11, "predictor": 3}.get(wanted, 2), (name, wanted)
    assert len({spec.id for spec in SPECS}) == len(SPECS)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.bands > 1 and spec.interleave == "pixel"][::3], ids=lambda spec: spec.id)
def test_one_sample_is_that_plane_of_all(files, spec):
    layout, segments, _ = stored_image(files(spec)[0])
    segment = next(data for data in segments if data)
    rows = layout.tile_height
    whole = decode_segment(segment, layout, rows)
    assert whole.shape == (rows, layout.tile_width, spec.bands)
    for sample in range(spec.bands):
        one = decode_segment(segment, layout, rows, sample=sample)
        assert one.flags.c_contiguous
        same(one, whole[:, :, sample])


@pytest.mark.parametrize("spec", SPECS[::3], ids=lambda spec: spec.id)
def test_leading_rows_are_the_top_of_the_segment(files, spec):
    layout, segments, _ = stored_image(files(spec)[0])
    segment = next(data for data in segments if data)
    whole = decode_segment(segment, layout, layout.tile_height)
    for rows in {1, 2, layout.tile_height // 2, layout.tile_height - 1}:
        part = decode_segment(segment, layout, rows)
        assert part.nbytes * layout.tile_height == whole.nbytes * rows
        owner = part if part.base is None else part.base
        assert owner.nbytes == part.nbytes, "a cut must not keep the whole segment alive"
        same(part, whole[:rows])


@pytest.mark.parametrize("name", ["none", "deflate", "lzw", "lzma"])
def test_codecs_that_stop_early_need_only_the_bytes_of_the_rows(files, name):
    predictor = 1 if name == "none" else 2
    layout, segments, _ = stored_image(files(typical(name, predictor=predictor))[0])
    whole = decode_segment(segments[0], layout, 32)
    assert stops_early(layout, 8)
    shortest = next(size for size in range(1, len(segments[0]) + 1) if _decodes(segments[0][:size], layout, 8))
    assert shortest < 0.75 * len(segments[0])
    for size in range(shortest, len(segments[0]), 97):
        same(decode_segment(segments[0][:size], layout, 8), whole[:8])


def _decodes(data, layout, rows):
    try:
        decode_segment(data, layout, rows)
    except InvalidRaster:
        return False
    return True


def test_which_codecs_stop_early():
    layout = Layout("uint16", "<", 8, 1, 1, 1, 32, 32, True, 16)
    assert stops_early(layout, 24)
    assert not stops_early(layout, 25)
    for compression, early in {1: True, 5: True, 34925: True, 50000: False, 32773: False, 34887: False, 7: False}.items():
        assert stops_early(dataclasses.replace(layout, compression=compression), 32) is early


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.special == "mask"], ids=lambda spec: spec.id)
def test_one_bit_masks(files, spec):
    path, _ = files(spec)
    ours = decoded_image(path, page_index=1)
    assert ours.max() == 1
    with rasterio.open(path) as src:
        same(ours[0] * np.uint8(255), src.read_masks(1))
    same(ours[0].astype(bool), matrix.mask(spec))


@pytest.mark.parametrize("compression", [None, "zlib", "packbits", "lzw"])
@pytest.mark.parametrize("width", [8, 13, 85])
def test_one_bit_rows_end_on_whole_bytes(tmp_path, compression, width):
    bits = np.random.default_rng(width).random((20, width)) > 0.4
    tifffile.imwrite(tmp_path / "bits.tif", bits, compression=compression, rowsperstrip=7, photometric="minisblack")
    same(decoded_image(tmp_path / "bits.tif")[0].astype(bool), bits)


def test_one_bit_samples_interleaved():
    layout = Layout("uint8", "<", 1, 1, 1, 3, 5, 2, False, 1)
    bits = np.random.default_rng(0).integers(0, 2, (2, 15), np.uint8)
    data = np.packbits(bits, axis=1).tobytes()
    same(decode_segment(data, layout, 2), bits.reshape(2, 5, 3))
    same(decode_segment(data, layout, 2, sample=1), np.ascontiguousarray(bits.reshape(2, 5, 3)[:, :, 1]))


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("codec_name", ["LERC", "LERC_ZSTD"])
def test_big_endian_lerc_of_gdal_is_read_as_gdal_reads_it_even_where_it_lost_values(tmp_path, dtype, bands, codec_name):
    spec = Spec(dtype, codec_name.lower(), bands=bands, byte_order=">", special="nan")
    path = tmp_path / "lerc.tif"
    written = matrix.write(spec, path)
    written[:, :32, :32] = np.finfo(np.float32).min  # its swapped bytes are a NaN in float32
    with rasterio.open(path, "r+") as dst:
        dst.write(written)
    with rasterio.open(path) as src:
        theirs = src.read()
    ours = decoded_image(path)
    np.testing.assert_array_equal(ours.view(f"u{ours.itemsize}"), theirs.view(f"u{ours.itemsize}"))


@pytest.mark.parametrize("version", [2, 3, 4, 5, 6])
def test_lerc_versions(version):
    layout = Layout("float32", "<", 34887, 1, 1, 1, 20, 12, True, 32)
    pixels = np.random.default_rng(0).normal(size=(12, 20)).astype("f4")
    data = imagecodecs.lerc_encode(pixels, version=version)
    same(decode_segment(data, layout, 12), pixels)


def test_lerc_mask_of_integers_is_zero():
    layout = Layout("int16", "<", 34887, 1, 1, 1, 20, 12, True, 16)
    pixels = np.arange(240, dtype="i2").reshape(12, 20) + 1
    valid = np.arange(240).reshape(12, 20) % 3 > 0
    same(decode_segment(imagecodecs.lerc_encode(pixels, masks=valid), layout, 12), np.where(valid, pixels, 0))


@pytest.mark.parametrize(
    ("shape", "dtype"), [((12, 20), "float64"), ((12, 21), "float32"), ((13, 20), "float32"), ((11, 20), "float32"), ((12, 20, 2), "float32")]
)
def test_a_lerc_blob_that_is_not_this_segment_is_refused(shape, dtype):
    layout = Layout("float32", "<", 34887, 1, 1, 1, 20, 12, True, 32)
    with pytest.raises(InvalidRaster, match="LERC segment holds"):
        decode_segment(imagecodecs.lerc_encode(np.ones(shape, dtype)), layout, 12)


@pytest.mark.parametrize("predictor", [2, 3])
@pytest.mark.parametrize("compression", ["none", "packbits", "lerc"])
def test_codecs_without_predictor_ignore_the_tag_as_libtiff_does(files, compression, predictor):
    layout, segments, _ = stored_image(files(typical(compression))[0])
    tagged = dataclasses.replace(layout, predictor=predictor)
    assert supports(tagged) is None
    same(decode_segment(segments[0], tagged, 32), decode_segment(segments[0], layout, 32))


@pytest.mark.parametrize("tail", [b"\0", b"\0" * 7, b"\xff" * 5, b"\x80", b"\x28\xb5\x2f\xfd", bytes(range(100, 140))])
@pytest.mark.parametrize("name", CODECS)
def test_bytes_after_the_stream_are_ignored(files, name, tail):
    layout, segments, _ = stored_image(files(typical(name))[0])
    same(decode_segment(segments[0] + tail, layout, 32), decode_segment(segments[0], layout, 32))


@pytest.mark.parametrize("nbytes", [1, 200, 3000, 100_000, 500_000])
@pytest.mark.parametrize("noise", [True, False])
def test_the_end_of_a_zstd_frame(nbytes, noise):
    data = np.random.default_rng(0).integers(0, 256, nbytes, np.uint8).tobytes() if noise else bytes(nbytes)
    frame = imagecodecs.zstd_encode(data)
    tail = b"\x17tail"
    assert streams._zstd_frame_end(frame + tail) == len(frame)
    assert streams._zstd_frame_end(frame) == len(frame)
    with_checksum = frame[:4] + bytes([frame[4] | 4]) + frame[5:] + b"abcd"
    assert streams._zstd_frame_end(with_checksum + tail) == len(with_checksum)
    for size in range(0, len(frame), max(1, len(frame) // 50)):
        assert streams._zstd_frame_end(frame[:size]) is None


@pytest.mark.parametrize("name", CODECS)
def test_any_buffer_will_do(files, name):
    layout, segments, _ = stored_image(files(typical(name))[0])
    expected = decode_segment(segments[0], layout, 32)
    for buffer in (bytearray(segments[0]), memoryview(b"xx" + segments[0])[2:], memoryview(bytearray(segments[0]))):
        before = bytes(buffer)
        pixels = decode_segment(buffer, layout, 32)
        same(pixels, expected)
        pixels[:] = 0
        assert bytes(buffer) == before, "the result must not be a view of the data"


def test_results_are_not_views_of_scratch(files):
    layout, segments, _ = stored_image(files(typical("deflate"))[0])
    first = decode_segment(segments[0], layout, 32)
    kept = first.copy()
    decode_segment(segments[1], layout, 32)
    same(first, kept)


def test_segments_larger_than_the_scratch_that_is_kept(files, monkeypatch):
    layout, segments, _ = stored_image(files(typical("deflate", predictor=2))[0])
    expected = decode_segment(segments[0], layout, 32)
    monkeypatch.setattr(streams, "MAX_SCRATCH", 100)
    same(decode_segment(segments[0], layout, 32), expected)


@pytest.mark.parametrize("name", ["deflate", "zstd", "lzw", "lzma", "packbits", "none"])
def test_a_last_strip_stored_at_full_height_is_read(files, name):
    layout, segments, _ = stored_image(files(typical(name, tiled=False))[0])
    same(decode_segment(segments[0], layout, 3), decode_segment(segments[0], layout, 7)[:3])


# Corrupt data


@pytest.mark.parametrize("name", CODECS)
def test_data_shorter_than_declared_are_refused_by_codec_name(files, name):
    layout, segments, _ = stored_image(files(typical(name))[0])
    spelled = {"none": "none", "deflate": "deflate", "lzw": "LZW", "packbits": "PackBits", "lzma": "LZMA", "zstd": "zstd"}.get(name, "LERC")
    for size in (0, 1, 5, len(segments[0]) // 2, len(segments[0]) - 30):
        with pytest.raises(InvalidRaster, match=spelled) as caught:
            decode_segment(segments[0][:size], layout, 32)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["deflate", "lzw", "lzma", "none", "packbits", "zstd"])
def test_a_stream_that_ends_rows_too_early_is_refused(files, name):
    layout, segments, _ = stored_image(files(typical(name))[0])
    taller = dataclasses.replace(layout, tile_height=33)
    with pytest.raises(InvalidRaster, match="hold 2048 of the 2112 bytes of 33 rows"):
        decode_segment(segments[0], taller, 33)
    same(decode_segment(segments[0], taller, 32), decode_segment(segments[0], layout, 32))


FUZZED = [typical(name, predictor=p) for name in matrix.PREDICTED for p in (1, 2)] + [typical("none"), typical("packbits")]
FUZZED += [Spec("float32", name, predictor, bands=3) for name in ("deflate", "zstd") for predictor in (2, 3)]
FUZZED += [Spec(dtype, name, bands=bands) for name in matrix.LERCS for dtype, bands in (("uint8", 3), ("float32", 1), ("int32", 1))]


@pytest.mark.parametrize("spec", FUZZED, ids=lambda spec: spec.id)
def test_damaged_data_are_refused_or_decode_to_the_right_shape(files, spec):
    layout, segments, _ = stored_image(files(spec)[0])
    shape = (layout.tile_width,) if layout.segment_samples == 1 else (layout.tile_width, layout.segment_samples)

    @settings(max_examples=60, deadline=None, database=None, derandomize=True)
    @given(st.data())
    def check(draw):
        data = bytearray(draw.draw(st.sampled_from(segments)))
        for _ in range(draw.draw(st.integers(1, 4))):
            place = draw.draw(st.one_of(st.integers(0, min(80, len(data) - 1)), st.integers(0, len(data) - 1)))
            data[place] = draw.draw(st.integers(0, 255))
        cut = draw.draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))
        rows = draw.draw(st.sampled_from((1, 20, 32)))
        try:
            pixels = decode_segment(bytes(data[:cut]), layout, rows)
        except (InvalidRaster, UnsupportedRaster):
            return
        assert pixels.shape == (rows, *shape)

    check()


@pytest.mark.parametrize("name", ["deflate", "lzma", "lerc"])
def test_checksums_find_a_flipped_bit(files, name):
    layout, segments, _ = stored_image(files(typical(name))[0])
    refused = 0
    for place in range(20, len(segments[0]), 41):
        data = bytearray(segments[0])
        data[place] ^= 16
        refused += not _decodes(bytes(data), layout, 32)
    assert refused == len(range(20, len(segments[0]), 41))


def lzw_codes(data):
    """(first bit, width, code) of each code of an LZW stream, one after the other."""
    at, width, entries, first = 0, 9, 258, True
    while at + width <= len(data) * 8:
        code = streams._bits(data, at, width)
        yield at, width, code
        at += width
        entries = 258 if code == 256 else entries if first else entries + 1
        first = code == 256
        width = 9 + (entries >= 511) + (entries >= 1023) + (entries >= 2047)
        if code == 257:
            return


@pytest.mark.parametrize("trusting", [True, False])
@pytest.mark.parametrize("noise", [2, 256])
def test_lzw_without_a_literal_after_a_clear_code_is_refused_and_never_reaches_a_trusting_decoder(monkeypatch, noise, trusting):
    if not trusting and streams._LZW_TRUSTS_FIRST_CODES:
        pytest.skip("this imagecodecs would crash")
    monkeypatch.setattr(streams, "_LZW_TRUSTS_FIRST_CODES", trusting)
    pixels = np.random.default_rng(0).integers(0, noise, (200, 300), np.uint8)
    layout = Layout("uint8", "<", 5, 1, 1, 1, 300, 200, True, 8)
    data = imagecodecs.lzw_encode(pixels.tobytes())
    codes = list(lzw_codes(data))
    assert codes[-1][2] == 257
    assert streams._lzw_safe_nbytes(data) == len(data)
    same(decode_segment(data, layout, 200), pixels)
    clears = [at + width for at, width, code in codes if code == 256]
    assert len(clears) > (15 if noise == 256 else 1)
    for start in clears:
        damaged = int.from_bytes(data, "big") | 0b101 << (len(data) * 8 - start - 3)  # the literal becomes 320 or more
        damaged = damaged.to_bytes(len(data), "big")
        assert streams._lzw_safe_nbytes(damaged) == (start + 7) // 8
        with pytest.raises(InvalidRaster, match="LZW"):
            decode_segment(damaged, layout, 200)


def test_lzw_garbage_after_the_stream_does_not_matter_to_a_trusting_decoder(monkeypatch):
    monkeypatch.setattr(streams, "_LZW_TRUSTS_FIRST_CODES", True)
    layout = Layout("uint8", "<", 5, 1, 1, 1, 8, 1, True, 8)
    literals = [256, *range(8), 257, 256, 400, 400]
    for codes in (literals, [code for code in literals if code != 257]):
        bits = "".join(f"{code:09b}" for code in codes)
        data = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
        assert streams._lzw_safe_nbytes(data) < len(data)
        same(decode_segment(data, layout, 1)[0], np.arange(8, dtype=np.uint8))


def deflate_bomb(nbytes):
    """A zlib stream of ``nbytes`` zeros (a multiple of a MiB), made without ever holding them."""
    maker = zlib.compressobj(9)
    first = maker.compress(bytes(1 << 20)) + maker.flush(zlib.Z_FULL_FLUSH)
    again = maker.compress(bytes(1 << 20)) + maker.flush(zlib.Z_FULL_FLUSH)
    return first + again * (nbytes // (1 << 20) - 1)


def bombs():
    lerc = imagecodecs.lerc_encode(np.ones((4000, 4000), "f4"))
    many = imagecodecs.lerc_encode(np.ones((32, 32), "f4"))
    yield "deflate", 8, 0, deflate_bomb(1 << 30)
    yield "zstd", 50000, 0, imagecodecs.zstd_encode(bytes(1 << 28))
    yield "packbits", 32773, 0, b"\x81\0" * (1 << 20)
    yield "lzma", 34925, 0, imagecodecs.lzma_encode(bytes(1 << 26))
    yield "lzw", 5, 0, imagecodecs.lzw_encode(bytes(1 << 24))
    yield "lerc", 34887, 0, lerc
    yield "lerc deflate", 34887, 1, deflate_bomb(1 << 30)
    yield "lerc zstd", 34887, 2, imagecodecs.zstd_encode(bytes(1 << 28))
    yield "lerc bands", 34887, 0, many * 5000


@pytest.mark.parametrize(("compression", "inner", "data"), [bomb[1:] for bomb in bombs()], ids=[bomb[0] for bomb in bombs()])
def test_bombs_are_bounded(compression, inner, data):
    layout = Layout("float32", "<", compression, 1, 1, 1, 32, 32, True, 32, inner)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if compression in (5, 34925, 32773):  # decoders that stop when the segment is full, as libtiff's do
        same(decode_segment(data, layout, 32), np.zeros((32, 32), "f4"))
    else:
        with pytest.raises(InvalidRaster, match=r"deflate|zstd|LERC"):
            decode_segment(data, layout, 32)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10


def test_a_huge_lzma_dictionary_costs_no_memory():
    pixels = np.arange(1024, dtype="f4").reshape(32, 32)
    data = bytearray(imagecodecs.lzma_encode(pixels.tobytes()))
    header = data[12 : 12 + (data[12] + 1) * 4]
    header[header.index(0x21) + 2] = 40  # 4 GiB
    header[-4:] = struct.pack("<I", zlib.crc32(header[:-4]))
    data[12 : 12 + len(header)] = header
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    same(decode_segment(bytes(data), Layout("float32", "<", 34925, 1, 1, 1, 32, 32, True, 32), 32), pixels)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10


# What is refused


def test_old_style_lzw_is_refused_by_name():
    layout = Layout("uint8", "<", 5, 1, 1, 1, 32, 32, True, 8)
    with pytest.raises(UnsupportedRaster, match="old-style LZW"):
        decode_segment(b"\x00\x01\x02\x03", layout, 32)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"compression": 6}, r"compression JPEG \(old style\) \(6\) is not read; none, deflate"),
        ({"compression": 50001}, "WebP segments of 1 samples of uint16"),
        ({"compression": 50002, "dtype": "int16"}, "JPEG XL segments of 1 samples of int16"),
        ({"compression": 34712, "dtype": "float32", "bits": 32}, "JPEG 2000 segments of 1 samples of float32"),
        ({"compression": 7, "dtype": "uint8", "bits": 8, "samples_per_pixel": 4, "ycbcr": True}, "YCbCr in 4 samples"),
        ({"compression": 50000, "fill_order": 2}, r"FillOrder 2 \(reversed bits\) with compression zstd"),
        ({"compression": 60000}, r"compression unknown \(60000\) is not read"),
        ({"compression": 34887, "lerc_compression": 9}, "LERC .* with inner compression 9"),
        ({"compression": 34887, "dtype": "int64", "bits": 64}, "LERC has no samples of 64 bits"),
        ({"compression": 34887, "dtype": "float16"}, "LERC has no samples of 16 bits"),
        ({"predictor": 3}, r"predictor 3 with samples of 16 bits \(uint16\)"),
        ({"predictor": 34892}, "predictor 34892"),
        ({"predictor": 2, "bits": 1, "dtype": "uint8"}, "predictor 2 with samples of 1 bits"),
        ({"bits": 20, "dtype": "uint32"}, "samples of 20 bits in uint32"),
        ({"bits": 12, "dtype": "int16"}, "samples of 12 bits in int16"),
        ({"bits": 12, "compression": 50002}, "samples of 12 bits in uint16"),
        ({"bits": 12, "predictor": 2}, "predictor 2 with samples of 12 bits"),
        ({"dtype": "complex64", "bits": 64}, "dtype 'complex64'"),
        ({"dtype": "cint16", "bits": 32}, "dtype 'cint16'"),
        ({"dtype": "float128", "bits": 128}, "dtype 'float128'"),
    ],
)
def test_what_is_not_read_is_refused_with_its_reason(changes, reason):
    layout = dataclasses.replace(Layout("uint16", "<", 8, 1, 1, 1, 32, 32, True, 16), **changes)
    with pytest.raises(UnsupportedRaster, match=reason):
        decode_segment(b"", layout, 32)
    assert "\n" not in str(supports(layout))


def test_a_codec_this_build_of_imagecodecs_lacks_is_named(monkeypatch):
    class Lacking:
        available = False

    monkeypatch.setattr(imagecodecs, "ZSTD", Lacking)
    reason = supports(Layout("uint16", "<", 50000, 1, 1, 1, 33, 33, True, 16))
    supports.cache_clear()
    assert reason is not None
    assert "zstd needs ZSTD of imagecodecs" in reason


def test_without_zlib_ng_deflate_is_inflated_whole(files, monkeypatch):
    class Lacking:
        available = False

    layout, segments, _ = stored_image(files(typical("deflate"))[0])
    expected = decode_segment(segments[0], layout, 8)
    monkeypatch.setattr(imagecodecs, "ZLIBNG", Lacking)
    assert not stops_early(layout, 8)
    same(decode_segment(segments[0], layout, 8), expected)


@pytest.mark.parametrize(("rows", "sample"), [(0, None), (33, None), (-1, None), (32, 1), (32, -1)])
def test_rows_and_samples_that_are_not_there(rows, sample):
    with pytest.raises(InvalidArgument):
        decode_segment(bytes(2048), Layout("uint16", "<", 1, 1, 1, 1, 32, 32, True, 16), rows, sample=sample)


# Threads


def test_many_threads_at_once(files):
    jobs = []
    for spec in SPECS[::4]:
        layout, segments, (height, width) = stored_image(files(spec)[0])
        jobs += [(data, layout, place[3]) for data, place in zip(segments, places(layout, height, width), strict=True) if data]
    expected = [decode_segment(*job) for job in jobs]
    start = threading.Barrier(8)

    def work(seed):
        start.wait()
        for index in np.random.default_rng(seed).permutation(len(jobs)):
            np.testing.assert_array_equal(decode_segment(*jobs[index]), expected[index])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


# Real files


def _real_files():
    folder = Path(os.environ.get("RASTERET_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".tif") if folder.is_dir() else []


@pytest.mark.skipif(not _real_files(), reason="no real rasters (RASTERET_TEST_DATA)")
def test_real_files_equal_rasterio():
    for path in _real_files():
        if path.stat().st_size < 9 << 20:
            with rasterio.open(path) as src:
                same(decoded_image(path, fill=src.nodata or 0), src.read())
