"""Hostile bytes: whatever comes in, a header, a question or a RasteretError comes out, in bounded memory and time."""

from __future__ import annotations

import struct
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rasterio.transform import Affine

from rasteret_sql.errors import InvalidRaster, RasteretError, UnsupportedRaster
from rasteret_sql.raster.header import Header
from rasteret_sql.raster.spans import SparseBytes
from rasteret_sql.raster.tags import Tag
from rasteret_sql.raster.tiff import NeedBytes, parse_header, read_header_bytes
from tests.raster.odd import ODD

MIB = 1 << 20
MB = 1_000_000
RELAXED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
SHORT, LONG, DOUBLE, LONG8 = 3, 4, 12, 16


def tiff(directories, *, order="<", big=False, size=4096, next_of=None):
    """A file of hand-made directories: each a list of (tag, type, count, number or bytes of the value field)."""
    pointer = "Q" if big else "I"
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", 43 if big else 42) + (struct.pack(f"{order}HH", 8, 0) if big else b"")
    places, at = [], len(head) + struct.calcsize(pointer)
    for entries in directories:
        places.append(at)
        at += struct.calcsize(f"{order}{'Q' if big else 'H'}") + len(entries) * (20 if big else 12) + (8 if big else 4)
    data = head + struct.pack(order + pointer, places[0])
    for number, entries in enumerate(directories):
        data += struct.pack(f"{order}{'Q' if big else 'H'}", len(entries))
        for tag, kind, count, value in entries:
            code = {SHORT: "H", LONG: "I"}.get(kind, pointer) if count == 1 else pointer
            field = value if isinstance(value, bytes) else struct.pack(order + code, value)
            data += struct.pack(f"{order}HH{pointer}", tag, kind, count) + field.ljust(8 if big else 4, b"\0")
        following = places[number + 1] if number + 1 < len(places) else 0
        data += struct.pack(order + pointer, (next_of or {}).get(number, following))
    return data.ljust(size, b"\0")


def image(**changes):
    """Entries of a 64 x 64 uint8 image in one strip, without georeferencing; ``t257=5`` changes or adds a tag, None takes it away."""
    entries = {256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: 64, 279: 0, 284: 1, 339: 1}
    entries.update({int(name[1:]): value for name, value in changes.items()})
    return [(tag, *(value if isinstance(value, tuple) else (LONG, 1, value))) for tag, value in sorted(entries.items()) if value is not None]


def run(data, *, size_known=True, first=32 << 10, rounds=12):
    """The driver over ``data``; the outcome. Measures that no more than 80 MB were allocated."""
    known = SparseBytes(len(data) if size_known else None)
    known.add(0, data[:first])
    tracemalloc.start()
    started = time.perf_counter()
    try:
        for _ in range(rounds):
            answer = parse_header(known)
            if isinstance(answer, Header):
                break
            assert answer.ranges
            assert sum(length for _, length in answer.ranges) <= 64 * MIB
            for offset, length in answer.ranges:
                assert offset >= 0
                assert length > 0
                assert not size_known or offset + length <= len(data)
                known.add(offset, data[offset : offset + length])
    except RasteretError as error:
        answer = error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert not isinstance(answer, RasteretError) or "\n" not in str(answer)
    assert peak < 80 * MB
    assert time.perf_counter() - started < 5
    return answer


def written(path, **options):
    profile = {"driver": "GTiff", "width": 90, "height": 70, "count": 2, "dtype": "uint16", "crs": "EPSG:32632", "nodata": 0}
    with rasterio.open(path, "w", transform=Affine(10, 0, 3e5, 0, -10, 5e6), **profile, **options) as dataset:
        dataset.write(np.ones((2, 70, 90), np.uint16))
        dataset.scales = (0.1, 0.2)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4], Resampling.nearest)
    return path.read_bytes(), header_places(path)


def header_places(path):
    """The byte positions that make up the header: all but the pixels, of long values the first 64 bytes."""
    places = set(range(16))
    with tifffile.TiffFile(path) as tif:
        for page in tif.pages:
            places.update(range(page.offset, page.offset + (8 + 20 * len(page.tags) + 8 if tif.is_bigtiff else 2 + 12 * len(page.tags) + 4)))
            for tag in page.tags:
                places.update(range(tag.valueoffset, tag.valueoffset + min(tag.valuebytecount, 64)))
    return sorted(places)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16}
    kinds = [
        {},
        {"compress": "deflate", **tiles},
        {"BIGTIFF": "YES", "ENDIANNESS": "BIG", **tiles},
        {"compress": "lerc_zstd", "interleave": "band", **tiles},
    ]
    odd = [next(odd for odd in ODD if odd.name == name) for name in ("jpeg mask", "alpha planar", "alpha by metadata")]
    odd.append(replace(odd[0], name="sphere", options={"crs": "+proj=laea +lat_0=45 +lon_0=-100 +R=6370997 +units=us-ft", "photometric": "RGB"}))
    for number, member in enumerate(odd):
        member.write(folder / f"odd{number}.tif")
    crafted = [((folder / f"odd{number}.tif").read_bytes(), header_places(folder / f"odd{number}.tif")) for number in range(len(odd))]
    return [written(folder / f"{number}.tif", **kind) for number, kind in enumerate(kinds)] + crafted


def test_crafted_files_are_valid_without_the_craft():
    """The builder's own check: with georeferencing its file is a raster, also in the other forms."""
    geo = {"t34264": (DOUBLE, 16, 512)}
    for big, order in ((False, "<"), (True, "<"), (False, ">"), (True, ">")):
        data = bytearray(tiff([image(**geo)], order=order, big=big))
        data[512 : 512 + 128] = struct.pack(f"{order}16d", 1, 0, 0, 5, 0, -1, 0, 6, *[0] * 8)
        header = read_header_bytes(bytes(data))
        assert (header.width, header.transform, header.bigtiff, header.byte_order) == (64, (1, 0, 5, 0, -1, 6), big, order)


@settings(max_examples=300, **RELAXED)
@given(st.data())
def test_mutated_files(files, data):
    original, places = data.draw(st.sampled_from(files))
    content = bytearray(original)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.sampled_from(places))
        replacement = data.draw(
            st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff" * 4, b"\0" * 8, b"\xff" * 8, b"\x7f\xff\xff\xff"]))
        )
        content[at : at + len(replacement)] = replacement
    cut = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    first = data.draw(st.sampled_from([16, 100, 1000, 32 << 10]))
    run(bytes(content[:cut]), size_known=data.draw(st.booleans()), first=first)


@settings(max_examples=100, **RELAXED)
@given(st.sampled_from([b"", b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"]), st.binary(max_size=400))
def test_random_bytes(start, rest):
    answer = run(start + rest)
    assert isinstance(answer, (Header, RasteretError))


TAGS = st.sampled_from(list(Tag))
NUMBERS = st.one_of(st.integers(0, 20), st.sampled_from([64, 4096, 65535, (1 << 31) - 1, (1 << 31), (1 << 32) - 1]), st.integers(0, (1 << 32) - 1))
ENTRY = st.tuples(TAGS, st.integers(0, 20), NUMBERS, NUMBERS.map(lambda n: struct.pack("<I", n)))


@settings(max_examples=300, **RELAXED)
@given(st.lists(st.lists(ENTRY, max_size=4), min_size=1, max_size=3), st.integers(0, 1 << 32), st.booleans())
def test_crafted_entries(extras, loop_to, size_known):
    """Structurally valid directories with entries of any type, count and value."""
    directories = [[*extra, *(entry for entry in image(t254=number) if entry[0] not in {e[0] for e in extra})] for number, extra in enumerate(extras)]
    run(tiff(directories, next_of={len(directories) - 1: loop_to % (1 << 32)}), size_known=size_known)


@pytest.mark.parametrize("target", [8, 8 + 2 + 11 * 12 + 4])
def test_directory_loop(target):
    with pytest.raises(InvalidRaster, match=f"directory at byte {target} comes twice"):
        read_header_bytes(tiff([image(), image(t254=1)[:11]], next_of={1: target}))


def test_sub_ifd_loop():
    with pytest.raises(InvalidRaster, match="directory at byte 8 comes twice"):
        read_header_bytes(tiff([image(t330=8)]))


def test_too_many_directories():
    with pytest.raises(UnsupportedRaster, match="more than 256 directories"):
        read_header_bytes(tiff([image()] * 257, size=1 << 20))
    assert isinstance(run(tiff([image()] * 256, size=1 << 20)), UnsupportedRaster)


@pytest.mark.parametrize("count", [0, 4097, 65535])
def test_too_many_entries(count):
    with pytest.raises(InvalidRaster, match=f"directory at byte 8 claims {count} entries; the limit is 4096"):
        read_header_bytes((b"II*\0\x08\0\0\0" + struct.pack("<H", count)).ljust(1 << 20, b"\0"))


HUGE = 0xFFFFFFF0
CASES = {
    "tile grid of a huge image": ({"t256": 1 << 30, "t257": 1 << 30, "t322": 16, "t323": 16}, UnsupportedRaster, "tiles or strips; at most"),
    "rows of a huge image": ({"t257": (1 << 31) - 1, "t278": 1}, UnsupportedRaster, "2147483647 tiles or strips; at most"),
    "planes": ({"t277": 65535, "t284": 2, "t278": 1}, UnsupportedRaster, "4194240 tiles or strips"),
    "one huge strip": ({"t256": 1 << 20, "t257": 1 << 20, "t278": 1 << 20}, UnsupportedRaster, "one segment of 1048576 x 1048576 pixels"),
    "negative size": ({"t256": HUGE}, InvalidRaster, "image of 4294967280 x 64 pixels"),
    "no width": ({"t256": None}, InvalidRaster, "tag IMAGE_WIDTH \\(256\\) of the directory at byte 8 is missing"),
    "zero height": ({"t257": 0}, InvalidRaster, "image of 64 x 0 pixels"),
    "zero rows": ({"t278": 0}, InvalidRaster, "strip of 64 x 0 pixels"),
    "zero tile": ({"t322": 16, "t323": 0}, InvalidRaster, "tile of 16 x 0 pixels"),
    "no samples": ({"t277": 0}, InvalidRaster, "0 samples"),
    "many samples": ({"t277": 1 << 20}, InvalidRaster, "1048576 samples"),
    "planar": ({"t284": 3}, InvalidRaster, "planar configuration 3"),
    "no offsets": ({"t273": None}, InvalidRaster, "STRIP_OFFSETS has 0 values; 64 x 64 pixels in segments of 64 x 64 need 1"),
    "few offsets": ({"t278": 8}, InvalidRaster, "STRIP_OFFSETS has 1 values; 64 x 64 pixels in segments of 64 x 8 need 8"),
    "offsets beyond the file": (
        {"t278": 8, "t273": (LONG, 8, 4090), "t279": (LONG, 8, 100)},
        InvalidRaster,
        "STRIP_OFFSETS .* at bytes 4090-4121, but",
    ),
    "data beyond the file": ({"t273": 4000, "t279": 4096}, InvalidRaster, "segment 0 at byte 4000 with 4096 bytes lies beyond the file's 4096 bytes"),
    "data in the header": ({"t273": 0, "t279": 9}, InvalidRaster, "segment at byte 0"),
    "no bytes": ({"t273": 9, "t279": 0}, InvalidRaster, "uncompressed segment of 0 bytes"),
    "no byte counts": ({"t259": 8, "t279": None}, InvalidRaster, "STRIP_BYTE_COUNTS of the directory at byte 8 is missing"),
    "two values for one": ({"t256": (LONG, 2, 64)}, InvalidRaster, "IMAGE_WIDTH .* has 2 values; it should have one"),
    "text for a number": ({"t256": (2, 1, 64)}, InvalidRaster, "IMAGE_WIDTH .* has field type 2"),
    "unknown type": ({"t256": (99, 1, 64)}, InvalidRaster, "IMAGE_WIDTH .* has the unknown field type 99"),
    "unknown type of an array": ({"t273": (99, 8, 64)}, InvalidRaster, "STRIP_OFFSETS .* has the unknown field type 99"),
    "mixed bits": ({"t277": 2, "t258": (SHORT, 2, struct.pack("<HH", 8, 16))}, UnsupportedRaster, "samples of different kinds"),
    "LERC inside": ({"t259": 34887, "t50674": (SHORT, 2, struct.pack("<HH", 4, 9))}, UnsupportedRaster, "inner compression 9 of LERC"),
}


@pytest.mark.parametrize(("changes", "error", "message"), CASES.values(), ids=CASES)
def test_impossible_values(changes, error, message):
    data = tiff([image(**changes)])
    with pytest.raises(error, match=message):
        read_header_bytes(data)
    assert isinstance(run(data, size_known=False, rounds=2), (RasteretError, NeedBytes))


def test_negative_offsets_of_bigtiff():
    with pytest.raises(InvalidRaster, match="has the impossible value 18446744073709551615"):
        read_header_bytes(tiff([image(t273=(LONG8, 1, (1 << 64) - 1))], big=True))


def test_values_of_one_header_are_bounded_together():
    """One directory after the other, each with arrays just within the limit of one."""
    many = [image(t254=4, t257=1 << 17, t278=1, t273=(LONG, 1 << 17, 9000), t279=(LONG, 1 << 17, 9000)) for _ in range(20)]
    with pytest.raises(UnsupportedRaster, match="tiles or strips; at most"):
        read_header_bytes(tiff([image(), *many], size=1 << 20))
    samples = [image(t254=4, t277=65535, t258=(SHORT, 65535, 9000), t339=(SHORT, 65535, 9000)) for _ in range(200)]
    with pytest.raises(UnsupportedRaster, match="its header has more than"):
        read_header_bytes(tiff([image(), *samples], size=1 << 20))


def test_largest_header_fits_its_memory():
    """A BigTIFF with as many segments as are allowed, both arrays 64 bits wide and in the other byte order."""
    segments = 1 << 20
    at = 4096
    arrays = {"t273": (LONG8, segments, at), "t279": (LONG8, segments, at + 8 * segments), "t34264": (DOUBLE, 16, 2048)}
    data = bytearray(tiff([image(t256=1, t257=segments, t278=1, t259=8, **arrays)], order=">", big=True, size=at + 16 * segments))
    data[2048 : 2048 + 128] = struct.pack(">16d", 1, 0, 0, 5, 0, -1, 0, 6, *[0] * 8)
    content = np.frombuffer(data, np.uint8)
    content[at:].view(">u8")[:] = 7
    header = run(bytes(data))
    assert isinstance(header, Header)
    assert len(header.levels[0].offsets) == segments
    assert set(header.levels[0].byte_counts.tolist()) == {7}


def test_metadata_full_of_elements():
    text = b"<G>" + b'<Item role="scale" sample="0">1<a>' * 30000
    data = bytearray(tiff([image(t42112=(2, len(text), 1024), t34264=(DOUBLE, 16, 512))], size=1024 + len(text)))
    data[512 : 512 + 128] = struct.pack("<16d", 1, 0, 0, 5, 0, -1, 0, 6, *[0] * 8)
    data[1024:] = text
    header = run(bytes(data))
    assert isinstance(header, Header)
    assert header.scales == (1.0,)
