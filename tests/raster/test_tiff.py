"""Headers as rasterio and tifffile see them, over a matrix of files GDAL and tifffile write, and over real ones where present."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from rasterio.enums import ColorInterp, Resampling
from rasterio.shutil import copy as rio_copy
from rasterio.transform import Affine
from rasterio.windows import Window

from rasteret_sql.errors import InvalidRaster, UnsupportedRaster
from rasteret_sql.raster.header import PLANAR, Header
from rasteret_sql.raster.spans import FIRST_READ
from rasteret_sql.raster.tiff import NeedBytes, SparseBytes, parse_header, read_header_bytes

NORTH_UP = Affine(10.0, 0.0, 399960.0, 0.0, -10.0, 5300040.0)
DATA = Path(os.environ.get("RASTERET_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
REAL = sorted(DATA.rglob("*.[tT][iI][fF]")) if DATA.is_dir() else []


def write(path: Path, *, width=300, height=200, count=1, dtype="uint16", crs="EPSG:32632", transform=NORTH_UP, nodata=None, empty=False, **options):
    profile = {"driver": "GTiff", "width": width, "height": height, "count": count, "dtype": dtype, "crs": crs, "transform": transform, **options}
    with rasterio.open(path, "w", nodata=nodata, **profile) as dataset:
        if not empty:
            dataset.write(np.random.default_rng(7).integers(0, 100, (count, height, width)).astype(dtype))
    return path


def drive(path: Path, *, size_known: bool = True) -> tuple[Header, int]:
    """The header, read as the driver reads: 32 KiB, then what is asked for. With the number of rounds."""
    data = path.read_bytes()
    known = SparseBytes(len(data) if size_known else None)
    known.add(0, data[:FIRST_READ])
    for rounds in range(1, 11):
        answer = parse_header(known)
        if isinstance(answer, Header):
            return answer, rounds
        assert answer.ranges == tuple(sorted(answer.ranges))
        for offset, length in answer.ranges:
            assert length > 0
            assert offset + length <= len(data) or not size_known
            known.add(offset, data[offset : offset + length])
    raise AssertionError("more than 10 rounds")


def check_rasterio(path: Path, header: Header) -> None:
    with rasterio.open(path) as dataset:
        assert header.transform == tuple(dataset.transform)[:6]
        assert header.epsg == dataset.crs.to_epsg()
        assert header.crs == f"EPSG:{header.epsg}"
        assert (header.width, header.height, header.samples_per_pixel) == (dataset.width, dataset.height, dataset.count)
        assert {header.dtype} == set(dataset.dtypes)
        assert header.nodata == dataset.nodata or (np.isnan(header.nodata) and np.isnan(dataset.nodata))
        assert (header.scales, header.offsets, header.descriptions) == (dataset.scales, dataset.offsets, dataset.descriptions)
        layout = header.levels[0].layout
        if layout.tiled:  # GDAL cuts long uncompressed strips into blocks of its own
            assert {(layout.tile_height, layout.tile_width)} == set(dataset.block_shapes)
        overviews = len(dataset.overviews(1))
    assert len(header.levels) == 1 + overviews
    sizes = []
    for number in range(overviews):
        with rasterio.open(path, overview_level=number) as dataset:
            sizes.append((dataset.width, dataset.height))
    assert [(level.width, level.height) for level in header.levels[1:]] == sorted(sizes, reverse=True)


def check_tifffile(path: Path, header: Header) -> None:
    """Each level and mask is one of tifffile's pages, to the last offset and byte count."""
    with tifffile.TiffFile(path) as tif:
        assert (tif.byteorder, tif.is_bigtiff) == (header.byte_order, header.bigtiff)
        pages = {(page.imagewidth, page.imagelength, bool(page.subfiletype & 4)): page for page in reversed(list(tif.pages))}
        for level, is_mask in [(level, False) for level in header.levels] + [(mask, True) for mask in header.masks]:
            page, layout = pages[level.width, level.height, is_mask], level.layout
            assert level.offsets.tolist() == list(page.dataoffsets)
            assert level.byte_counts.tolist() == list(page.databytecounts)
            assert len(level.offsets) == level.tiles_per_plane * (layout.samples_per_pixel if layout.planar == PLANAR else 1)
            assert (level.offsets.dtype, level.byte_counts.dtype) == (np.int64, np.int64)
            assert layout.compression == page.compression
            assert layout.planar == page.planarconfig
            assert (layout.tiled, layout.bits) == (page.is_tiled, page.bitspersample)
            assert layout.predictor == (page.predictor if layout.compression not in (1, 32773, 34887) else 1)
            stored = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, min(page.rowsperstrip, page.imagelength))
            assert (layout.tile_width, layout.tile_height) == stored


def check(path: Path, *, most_rounds: int = 1, size_known: bool = True) -> Header:
    header, rounds = drive(path, size_known=size_known)
    assert rounds <= most_rounds
    check_rasterio(path, header)
    check_tifffile(path, header)
    return header


TILED = {"tiled": True, "blockxsize": 64, "blockysize": 32}
LAYOUTS = {
    "strips": {},
    "one strip": {"blockysize": 200},
    "huge strip": {"blockysize": 100000},
    "last strip cut": {"blockysize": 7},
    "tiles": TILED,
    "bigtiff": {**TILED, "BIGTIFF": "YES"},
    "big-endian": {**TILED, "ENDIANNESS": "BIG"},
    "big-endian bigtiff": {**TILED, "ENDIANNESS": "BIG", "BIGTIFF": "YES", "compress": "deflate"},
    "chunky": {**TILED, "count": 5, "interleave": "pixel"},
    "planar": {**TILED, "count": 5, "interleave": "band"},
    "planar strips": {"count": 3, "interleave": "band", "blockysize": 9, "ENDIANNESS": "BIG"},
    "sparse": {**TILED, "empty": True, "SPARSE_OK": "TRUE", "compress": "lzw"},
    "big tile": {"tiled": True, "blockxsize": 512, "blockysize": 512},
    "rgba": {**TILED, "count": 4, "dtype": "uint8", "photometric": "rgb", "alpha": "yes", "interleave": "pixel"},
}


@pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(tmp_path, options):
    check(write(tmp_path / "a.tif", **options))


CODECS = [(codec, 1) for codec in ("none", "lzw", "deflate", "packbits", "zstd", "lzma", "lerc", "lerc_deflate", "lerc_zstd")]
CODECS += [(codec, predictor) for codec in ("lzw", "deflate", "zstd") for predictor in (2, 3)]


@pytest.mark.parametrize(("compress", "predictor"), CODECS)
def test_codecs(tmp_path, compress, predictor):
    options = {"predictor": predictor} if predictor > 1 else {}
    header = check(write(tmp_path / "a.tif", dtype="float32", compress=compress, **TILED, **options))
    assert header.levels[0].layout.predictor == predictor
    assert header.levels[0].layout.lerc_compression == {"lerc_deflate": 1, "lerc_zstd": 2}.get(compress, 0)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"])
def test_dtypes(tmp_path, dtype):
    assert check(write(tmp_path / "a.tif", dtype=dtype, nodata=1)).dtype == dtype


def test_float16(tmp_path):
    path = write(tmp_path / "a.tif", dtype="float32", NBITS=16)
    assert read_header_bytes(path.read_bytes()).dtype == "float16"


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [
        ("float32", np.nan),
        ("float32", -np.inf),
        ("float32", -3.4028234663852886e38),
        ("float64", 1e-300),
        ("int16", -9999),
        ("uint8", 0),
        ("uint8", None),
    ],
)
def test_nodata(tmp_path, dtype, nodata):
    check(write(tmp_path / "a.tif", dtype=dtype, nodata=nodata))


def test_scales_offsets_descriptions(tmp_path):
    path = write(tmp_path / "a.tif", count=3)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.0001, 1.0, 2.5), (-0.1, 0.0, 1e-7)
        dataset.set_band_description(1, "a<b & \"c\" é > 'd' &lt;")
        dataset.set_band_description(3, "NIR")
        dataset.update_tags(2, scale="77", offset="x")  # items of these names without a role
    header = check(path, most_rounds=2)  # GDAL moved the directory to the end of the file
    assert header.scales == (0.0001, 1.0, 2.5)
    assert header.descriptions[1:] == (None, "NIR")


@pytest.mark.parametrize("compress", ["deflate", "none"])
@pytest.mark.parametrize("sizes", [(2, 4, 8), (8, 2, 4)])
def test_overviews_are_sorted(tmp_path, compress, sizes):
    path = write(tmp_path / "a.tif", width=1000, height=777, compress=compress, **TILED)
    with rasterio.open(path, "r+") as dataset:
        for size in sizes:
            dataset.build_overviews([size], Resampling.nearest)
    header = check(path, most_rounds=4)
    assert [level.width for level in header.levels] == [1000, 500, 250, 125]


def test_internal_masks(tmp_path):
    path = write(tmp_path / "a.tif", width=513, height=400, count=3, dtype="uint8", compress="deflate", **TILED)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.arange(400 * 513).reshape(400, 513) % 3 > 0)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4], Resampling.nearest)
    header = check(path, most_rounds=3)
    assert [(mask.width, mask.height) for mask in header.masks] == [(level.width, level.height) for level in header.levels]
    assert {(mask.layout.bits, mask.layout.dtype, mask.layout.samples_per_pixel) for mask in header.masks} == {(1, "uint8", 1)}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("bigtiff", ["NO", "YES"])
def test_cog_needs_one_read(tmp_path, masked, bigtiff):
    source = write(tmp_path / "a.tif", width=3000, height=3000, dtype="uint8", compress="zstd", nodata=None if masked else 0, **TILED)
    if masked:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(source, "r+") as dataset:
            dataset.write_mask(np.full((3000, 3000), 255, np.uint8))
    path = tmp_path / "cog.tif"
    rio_copy(source, path, driver="COG", compress="deflate", predictor=2, blocksize=256, BIGTIFF=bigtiff)
    header = check(path, most_rounds=1)
    assert [level.width for level in header.levels] == [3000, 1500, 750, 375, 187]
    assert len(header.masks) == (5 if masked else 0)


def test_arrays_far_from_their_directory(tmp_path):
    """20,000 strips: the arrays are longer than the first read. One further round, with or without the file size."""
    path = write(tmp_path / "a.tif", width=16, height=20000, blockysize=1, dtype="uint8")
    check(path, most_rounds=2)
    check(path, most_rounds=2, size_known=False)


def test_first_directory_at_the_end(tmp_path):
    path = tmp_path / "a.tif"
    geo = [(33550, 12, 3, (10.0, 10.0, 0.0), True), (33922, 12, 6, (0.0, 0.0, 0.0, 5.0, 6.0, 0.0), True)]
    tifffile.imwrite(path, np.zeros((300, 300), np.uint16), extratags=geo, metadata=None)
    data = bytearray(path.read_bytes())
    first = int.from_bytes(data[4:8], "little")
    entries = 2 + 12 * int.from_bytes(data[first : first + 2], "little") + 4
    data[4:8] = len(data).to_bytes(4, "little")
    path.write_bytes(bytes(data) + bytes(data[first : first + entries]))
    header, rounds = drive(path)
    assert (header.width, rounds) == (300, 2)


def test_sub_ifds_are_overviews(tmp_path):
    path = tmp_path / "a.tif"
    geo = [(33550, 12, 3, (10.0, 10.0, 0.0), True), (33922, 12, 6, (0.0, 0.0, 0.0, 5.0, 6.0, 0.0), True)]
    with tifffile.TiffWriter(path) as tif:
        tif.write(np.zeros((128, 128), np.uint16), tile=(16, 16), subifds=2, extratags=geo, metadata=None)
        tif.write(np.zeros((64, 64), np.uint16), tile=(16, 16), subfiletype=1, metadata=None)
        tif.write(np.zeros((32, 32), np.uint16), tile=(16, 16), subfiletype=1, metadata=None)
    header, _ = drive(path)
    assert [level.width for level in header.levels] == [128, 64, 32]
    with tifffile.TiffFile(path) as tif:
        assert [level.offsets.tolist() for level in header.levels[1:]] == [list(page.dataoffsets) for page in tif.pages[0].pages]


def test_only_the_first_page_counts(tmp_path):
    """A second full-resolution page is not read, and neither are its overviews."""
    path = tmp_path / "a.tif"
    geo = [(33550, 12, 3, (10.0, 10.0, 0.0), True), (33922, 12, 6, (0.0, 0.0, 0.0, 5.0, 6.0, 0.0), True)]
    with tifffile.TiffWriter(path) as tif:
        for size, kind in ((128, 0), (64, 1), (128, 0), (32, 1)):
            tif.write(np.zeros((size, size), np.uint16), tile=(16, 16), subfiletype=kind, extratags=geo, metadata=None)
    assert [level.width for level in drive(path)[0].levels] == [128, 64]


def test_unreadable_overview_is_dropped(tmp_path):
    path = tmp_path / "a.tif"
    geo = [(33550, 12, 3, (10.0, 10.0, 0.0), True), (33922, 12, 6, (0.0, 0.0, 0.0, 5.0, 6.0, 0.0), True)]
    with tifffile.TiffWriter(path) as tif:
        tif.write(np.zeros((128, 128), np.uint8), tile=(16, 16), extratags=geo, metadata=None)
        tif.write(np.zeros((64, 64), np.uint8), tile=(16, 16), subfiletype=1, compression="jpegxr", metadata=None)
        tif.write(np.zeros((32, 32), np.uint16), tile=(16, 16), subfiletype=1, metadata=None)
        tif.write(np.zeros((16, 16), np.uint8), tile=(16, 16), subfiletype=1, metadata=None)
    assert [level.width for level in drive(path)[0].levels] == [128, 16]


def test_missing_byte_counts_of_uncompressed_strips_are_computed(tmp_path):
    path = write(tmp_path / "a.tif", count=3, interleave="band", blockysize=7)
    data = bytearray(path.read_bytes())
    expected = read_header_bytes(bytes(data)).levels[0].byte_counts.tolist()
    first = int.from_bytes(data[4:8], "little")
    for at in range(first + 2, first + 2 + 12 * int.from_bytes(data[first : first + 2], "little"), 12):
        if int.from_bytes(data[at : at + 2], "little") == 279:
            data[at : at + 2] = (65000).to_bytes(2, "little")
    assert read_header_bytes(bytes(data)).levels[0].byte_counts.tolist() == expected
    assert len(set(expected)) == 2


@pytest.fixture(scope="module")
def large_cog(tmp_path_factory) -> bytes:
    """A COG of 6,400 tiles, overviews and masks: 130 KB of header, then data (zeros in their place)."""
    folder = tmp_path_factory.mktemp("cog")
    profile = {
        "driver": "GTiff",
        "width": 10240,
        "height": 10240,
        "count": 1,
        "dtype": "uint8",
        "crs": "EPSG:32633",
        "transform": NORTH_UP,
    }
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        with rasterio.open(folder / "a.tif", "w", SPARSE_OK=True, tiled=True, **profile) as out:
            out.write(np.ones((1, 64, 64), "uint8"), window=Window(0, 0, 64, 64))
            out.write_mask(np.ones((64, 64), bool), window=Window(0, 0, 64, 64))
        rio_copy(str(folder / "a.tif"), str(folder / "b.tif"), driver="COG", BLOCKSIZE=128, SPARSE_OK=True, OVERVIEWS="AUTO")
    return (folder / "b.tif").read_bytes() + bytes(3 << 20)


def test_a_header_of_any_size_is_two_reads_where_directories_lie_in_front(tmp_path, large_cog):
    """GDAL's ghost area could save none of them: it does not say how long the header is."""
    path = tmp_path / "a.tif"
    path.write_bytes(large_cog)
    assert large_cog[16:].startswith(b"GDAL_STRUCTURAL_METADATA_SIZE") or large_cog[8:].startswith(b"GDAL_STRUCTURAL_METADATA_SIZE")
    header, rounds = drive(path)
    assert (header.levels[0].tiles_per_plane, len(header.masks)) == (6400, len(header.levels))
    assert rounds == 2


@pytest.mark.parametrize("lie", [b"LAYOUT=IFDS_BEFORE_DATX", b"KNOWN_INCOMPATIBLE_EDITION=YES\n", b"BLOCK_LEADER=SIZE_AS_UINT9", None])
def test_a_ghost_area_that_lies_changes_nothing(tmp_path, large_cog, lie):
    path = tmp_path / "a.tif"
    data = bytearray(large_cog)
    if lie is None:
        start = data.index(b"GDAL_STRUCTURAL")
        data[start : start + 180] = b"\xff" * 180
    else:
        start = data.index(lie.partition(b"=")[0])
        data[start : start + len(lie)] = lie
    path.write_bytes(large_cog)
    expected = drive(path)[0].levels[0]
    path.write_bytes(data)
    found = drive(path)[0].levels[0]
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    np.testing.assert_array_equal(found.byte_counts, expected.byte_counts)


def patched(path: Path, tag: int, value: int) -> bytes:
    """The file with another inline SHORT in one tag of its first directory."""
    data = bytearray(path.read_bytes())
    first = int.from_bytes(data[4:8], "little")
    for at in range(first + 2, first + 2 + 12 * int.from_bytes(data[first : first + 2], "little"), 12):
        if int.from_bytes(data[at : at + 2], "little") == tag:
            data[at + 8 : at + 10] = value.to_bytes(2, "little")
            return bytes(data)
    raise AssertionError(f"no tag {tag}")


@pytest.mark.parametrize(
    ("compression", "name"),
    [(2, "CCITT"), (3, "CCITT"), (4, "CCITT"), (6, "JPEG"), (32909, "PixarLog"), (33003, "JPEG 2000"), (34676, "SGILog"), (34934, "JPEG XR"),
     (4711, "unknown")],
)  # fmt: skip
def test_other_compressions_are_refused_by_name(tmp_path, compression, name):
    data = patched(write(tmp_path / "a.tif", compress="deflate"), 259, compression)
    with pytest.raises(UnsupportedRaster, match=rf"compression {name}.* \({compression}\) is not read yet; rewrite"):
        read_header_bytes(data)


def test_jpeg_tables_and_colours_are_kept(tmp_path):
    path = write(tmp_path / "a.tif", dtype="uint8", count=3, compress="jpeg", photometric="ycbcr", interleave="pixel")
    layout = read_header_bytes(path.read_bytes()).levels[0].layout
    with tifffile.TiffFile(path) as tif:
        assert layout.jpeg_tables == tif.pages[0].jpegtables
    assert layout.ycbcr


def test_jpeg_tables_of_impossible_length_are_refused(tmp_path):
    data = bytearray(write(tmp_path / "a.tif", dtype="uint8", compress="jpeg").read_bytes())
    at = data.index((347).to_bytes(2, "little") + (7).to_bytes(2, "little"))
    data[at + 4 : at + 8] = (1 << 30).to_bytes(4, "little")
    data += bytes(1 << 17)
    with pytest.raises(InvalidRaster, match="JPEG tables of 1073741824 bytes"):
        read_header_bytes(bytes(data))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "uint32", "NBITS": 20}, "samples of 20 bits \\(unsigned integer\\)"),
        ({"dtype": "complex64"}, "samples of 64 bits \\(complex float\\)"),
        ({"dtype": "complex_int16"}, "samples of 32 bits \\(complex integer\\)"),
    ],
)
def test_other_samples_are_refused_by_name(tmp_path, options, message):
    path = write(tmp_path / "a.tif", empty=True, **options)
    with pytest.raises(UnsupportedRaster, match=message):
        read_header_bytes(path.read_bytes())


@pytest.mark.parametrize(
    ("tag", "value", "message"),
    [(262, 6, "YCbCr"), (262, 5, "CMYK"), (262, 8, "CIE"), (317, 3, "predictor 3"), (317, 9, "predictor 9"), (258, 24, "24 bits")],
)
def test_other_layouts_are_refused_by_name(tmp_path, tag, value, message):
    path = write(tmp_path / "a.tif", compress="deflate", predictor=2)
    with pytest.raises(UnsupportedRaster, match=message):
        read_header_bytes(patched(path, tag, value))


def test_reversed_bits_are_told(tmp_path):
    """FillOrder has no creation option: tag 277 (SamplesPerPixel, 1 by default) becomes tag 266."""
    data = bytearray(patched(write(tmp_path / "a.tif"), 277, 2))
    first = int.from_bytes(data[4:8], "little")
    at = data.index((277).to_bytes(2, "little") + (3).to_bytes(2, "little"), first)
    data[at : at + 2] = (266).to_bytes(2, "little")
    assert read_header_bytes(bytes(data)).levels[0].layout.fill_order == 2


def test_predictor_without_meaning_is_ignored(tmp_path):
    """libtiff ignores the Predictor tag of codecs that have none: GDAL reads the same pixels with and without it."""
    path = write(tmp_path / "a.tif", dtype="uint8", compress="packbits")
    with rasterio.open(path) as dataset:
        expected = dataset.read(1)
    data = bytearray(patched(path, 284, 2))  # PlanarConfiguration means nothing for one sample; its entry becomes the Predictor
    at = data.index((284).to_bytes(2, "little") + (3).to_bytes(2, "little"), int.from_bytes(data[4:8], "little"))
    data[at : at + 2] = (317).to_bytes(2, "little")
    path.write_bytes(data)
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1), expected)
    with tifffile.TiffFile(path) as tif:
        assert tif.pages[0].tags[317].value == 2
    assert read_header_bytes(bytes(data)).levels[0].layout.predictor == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not a TIFF: it is empty"),
        (b"<!DOCTYPE html><html>\n<head>" + b" " * 100, "is not a TIFF: it starts with '<!DOCTYPE html><html> <head>', a document"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is not a TIFF: it starts with '<\\?xml version"),
        (b'\n {"message": "no such item"}', 'is not a TIFF: it starts with \'{"message": '),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "is not a TIFF: it starts with the bytes 89 48 44 46 0d 0a 1a 0a"),
        (b"II*", "is not a TIFF: it starts with the bytes 49 49 2a"),
        (b"II\x2b\0\x04\0\0\0" + b"\0" * 99, "is not a TIFF: it starts with the bytes 49 49 2b"),
        (b"II*\0\0\0\0\0" + b"\0" * 99, "no image directory"),
        (b"MM\0*\0\0\x10\0" + b"\0" * 99, "directory at byte 4096 at bytes 4096-4097, but the file has 107 bytes"),
    ],
)
def test_not_a_tiff(data, message):
    with pytest.raises(InvalidRaster, match=message):
        read_header_bytes(data)


def test_truncated_data(tmp_path):
    data = write(tmp_path / "a.tif", **TILED).read_bytes()
    with pytest.raises(InvalidRaster, match=f"segment .* lies beyond the file's {len(data) - 1} bytes"):
        read_header_bytes(data[:-1])


def test_first_call_asks_for_the_first_read():
    assert parse_header(SparseBytes(None)) == NeedBytes(((0, FIRST_READ),))
    assert parse_header(SparseBytes(100)) == NeedBytes(((0, 100),))


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_bytes_may_come_in_any_pieces(tmp_path, step):
    """The answer does not depend on how the spans are cut, and a span is never asked for twice."""
    path = write(tmp_path / "a.tif", count=3, interleave="band", **TILED)
    data = path.read_bytes()
    known = SparseBytes(len(data))
    for offset in range(0, 9000, step):
        known.add(offset, data[offset : min(offset + step + 3, 9000)])
    asked: list[range] = []
    while isinstance(answer := parse_header(known), NeedBytes):
        for offset, length in answer.ranges:
            assert not any(offset in span for span in asked)
            asked.append(range(offset, offset + length))
            known.add(offset, data[offset : offset + length])
    check_tifffile(path, answer)


def test_extra_samples_and_photometric(tmp_path):
    path = write(tmp_path / "a.tif", count=4, dtype="uint8", photometric="rgb", alpha="unspecified")
    with rasterio.open(path) as dataset:
        assert dataset.colorinterp[3] in (ColorInterp.alpha, ColorInterp.undefined)
    header = check(path)
    with tifffile.TiffFile(path) as tif:
        assert header.extra_samples == tuple(tif.pages[0].extrasamples)
        assert header.photometric == tif.pages[0].photometric == 2


@pytest.mark.skipif(not REAL, reason="real rasters are not present")
@pytest.mark.parametrize("path", REAL, ids=[path.name for path in REAL])
def test_real_files(path):
    check(path, most_rounds=1)
