"""The TIFF header parser: bytes known so far in, a :class:`~rasteret_sql.raster.header.Header` or the question for more bytes out.

Pure and bounded. Directories, entries, counts and offsets are checked before anything is allocated or asked for; a loop or an impossible count is
an :class:`~rasteret_sql.errors.InvalidRaster`. Formats: TIFF 6.0 and BigTIFF in both byte orders, GeoTIFF 1.1, GDAL's tags.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rasteret_sql.errors import InvalidRaster, UnsupportedRaster
from rasteret_sql.raster import tags
from rasteret_sql.raster.codec import supports
from rasteret_sql.raster.directory import Directory, FileForm, parse_directory
from rasteret_sql.raster.gdal_tags import has_joint_nodata, parse_band_items, parse_number
from rasteret_sql.raster.geokeys import is_pixel_point, parse_geokeys, resolve_crs, resolve_transform
from rasteret_sql.raster.header import Affine, Header, Layout, Level, alpha_sample
from rasteret_sql.raster.segments import MAX_JPEG_TABLES, SegmentGrid, parse_grid, parse_layout, parse_level
from rasteret_sql.raster.spans import FIRST_READ, NeedBytes, Span, SparseBytes
from rasteret_sql.raster.tags import Tag

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["NeedBytes", "SparseBytes", "parse_header", "read_header_bytes"]

MAX_DIRECTORIES = 256
MAX_SEGMENTS = 1 << 20
"""Segments of all directories of a file: 16 MiB of offsets and byte counts, and as much again while they are read."""
MAX_VALUE_BYTES = 24 << 20
"""Bytes of the values outside of the directories, all in all; 16 MiB of them may be offsets and byte counts."""
MAX_METADATA_BYTES = 1 << 20

_GEO_VALUES = {
    Tag.MODEL_PIXEL_SCALE: 3,
    Tag.MODEL_TIEPOINT: 6,
    Tag.MODEL_TRANSFORMATION: 16,
    Tag.GEO_KEY_DIRECTORY: 4 + 4 * 512,
    Tag.GEO_DOUBLE_PARAMS: 512,
    Tag.GEO_ASCII_PARAMS: 1 << 16,
    Tag.GDAL_NODATA: 256,
}
"""How many values of a tag of the first directory are read at most; what lies behind them has no meaning here."""


@dataclass(frozen=True, slots=True)
class _Image:
    """A directory that is an image of the file: the image itself, an overview or a mask."""

    directory: Directory
    grid: SegmentGrid
    mask: bool
    reduced: bool
    """NewSubfileType says: of lower resolution."""

    @property
    def size(self) -> tuple[int, int]:
        return self.grid.width, self.grid.height


def parse_header(known: SparseBytes) -> Header | NeedBytes:
    """The header, or the byte spans that are missing for it: add them to ``known`` and call again.

    A cloud-optimised file answers within the first span; each call that needs more asks for all that is known to be missing.

    Raises
    ------
    InvalidRaster
        Not a TIFF, truncated, or contradicting itself.
    UnsupportedRaster
        A TIFF whose full-resolution image (or mask) has a codec, layout or georeferencing that is not read.
    """
    form = _parse_form(known)
    if form is None:
        return known.need([(0, FIRST_READ if known.size is None else min(FIRST_READ, known.size))])
    wanted: list[Span] = []
    images = _images(_directories(known, form, wanted))
    wanted.extend(_unknown_values(images, known))
    if wanted:
        return known.need(wanted)
    return _header(form, images, known.size)


def read_header_bytes(data: bytes) -> Header:
    """The header of a file that is in memory as a whole."""
    known = SparseBytes(len(data))
    known.add(0, data)
    header = parse_header(known)
    if isinstance(header, NeedBytes):
        raise InvalidRaster(f"truncated TIFF: bytes {header.ranges} are missing")
    return header


def _parse_form(known: SparseBytes) -> FileForm | None:
    """Byte order and kind; None if the first bytes are not known yet."""
    length = 16 if known.size is None else min(16, known.size)
    head = known.get(0, length, "the file header")
    if head is None:
        return None
    start = bytes(head)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    if order is None or len(start) < 8:
        raise InvalidRaster(_not_a_tiff(known, start))
    (version,) = struct.unpack_from(f"{order}H", start, 2)
    if version == 42:
        return FileForm(order, False, struct.unpack_from(f"{order}I", start, 4)[0])
    if version == 43 and len(start) == 16 and struct.unpack_from(f"{order}HH", start, 4) == (8, 0):
        return FileForm(order, True, struct.unpack_from(f"{order}Q", start, 8)[0])
    raise InvalidRaster(_not_a_tiff(known, start))


def _not_a_tiff(known: SparseBytes, start: bytes) -> str:
    if not start:
        return "is not a TIFF: it is empty"
    length = 64 if known.size is None else min(64, known.size)
    text = bytes(known.get(0, length, "the file header") or start).decode("utf-8", "replace").lstrip("\ufeff").split()
    if text and text[0][0] in "<{[":
        return f"is not a TIFF: it starts with {' '.join(text)!r}, a document (an error page?) in the place of the file"
    return f"is not a TIFF: it starts with the bytes {start[:8].hex(' ')}"


def _directories(known: SparseBytes, form: FileForm, wanted: list[Span]) -> list[Directory]:
    """The chain of directories as far as it is known, the first one's SubIFDs included; what is missing goes to ``wanted``."""
    if form.first == 0:
        raise InvalidRaster("damaged TIFF: it has no image directory")
    found: list[Directory] = []
    seen: set[int] = set()
    offset, sub_offsets = form.first, list[int]()
    while offset or sub_offsets:
        is_sub = not offset
        place = sub_offsets.pop(0) if is_sub else offset
        if place in seen:
            raise InvalidRaster(f"damaged TIFF: the directory at byte {place} comes twice; its directories form a loop")
        if len(seen) == MAX_DIRECTORIES:
            raise UnsupportedRaster(f"has more than {MAX_DIRECTORIES} directories; extract the page you need into a file of its own")
        seen.add(place)
        directory = parse_directory(known, form, place)
        if isinstance(directory, Directory):
            if len(seen) == 1:
                sub_offsets = _sub_offsets(directory, wanted)
            found.append(directory)
            offset = 0 if is_sub else directory.next
        else:
            wanted.append(known.ahead(directory))
            offset = 0
    return found


def _sub_offsets(directory: Directory, wanted: list[Span]) -> list[int]:
    span = directory.span(Tag.SUB_IFDS, MAX_DIRECTORIES)
    if span is not None and not directory.is_known(Tag.SUB_IFDS, span):
        wanted.append(span)
        return []
    return [offset for offset in directory.unsigned_list(Tag.SUB_IFDS, MAX_DIRECTORIES) if offset]


def _images(directories: list[Directory]) -> list[_Image]:
    """The directories that count, the full resolution first.

    As in GDAL the first directory is the image whatever its NewSubfileType. Further full-resolution pages are ignored, and so are reduced images
    behind such a page, because they may be that page's.
    """
    images: list[_Image] = []
    other_page = False
    for directory in directories:
        subfile_type = directory.unsigned(Tag.NEW_SUBFILE_TYPE, 0)
        mask = bool(images) and bool(subfile_type & tags.TRANSPARENCY_MASK)
        if images and not mask:
            other_page = other_page or not subfile_type & tags.REDUCED_IMAGE
            if other_page:
                continue
        images.append(_Image(directory, parse_grid(directory), mask, bool(images) and bool(subfile_type & tags.REDUCED_IMAGE)))
    segments = sum(image.grid.segments for image in images)
    if segments > MAX_SEGMENTS:
        raise UnsupportedRaster(f"has {segments} tiles or strips; at most {MAX_SEGMENTS} are read; rewrite it with larger tiles or as several files")
    return images


def _unknown_values(images: list[_Image], known: SparseBytes) -> list[Span]:
    """The spans of values that are not known yet; all of them are bounded together before any is read."""
    unknown: list[Span] = []
    total = 0
    for number, image in enumerate(images):
        values = _values(image, is_first=number == 0)
        total += values.nbytes
        if total > MAX_VALUE_BYTES:
            raise UnsupportedRaster(f"its header has more than {MAX_VALUE_BYTES} bytes")
        if values.end > known.prefix:
            unknown += [span for tag, span in values.spans if not image.directory.is_known(tag, span)]
    return unknown


class _Values(NamedTuple):
    """Where the values outside of a directory lie."""

    spans: list[tuple[Tag, Span]]
    nbytes: int
    end: int


def _values(image: _Image, *, is_first: bool) -> _Values:
    return image.directory.once(("values", is_first), lambda: _found_values(image, is_first=is_first))


def _found_values(image: _Image, *, is_first: bool) -> _Values:
    limits = _value_limits(image, is_first=is_first)
    spans = [(tag, span) for tag, most in limits if (span := image.directory.span(tag, most)) is not None]
    return _Values(spans, sum(length for _, (_, length) in spans), max((offset + length for _, (offset, length) in spans), default=0))


def _value_limits(image: _Image, *, is_first: bool) -> Iterator[tuple[Tag, int]]:
    grid = image.grid
    yield grid.offsets_tag, grid.segments
    yield grid.byte_counts_tag, grid.segments
    for tag in (Tag.BITS_PER_SAMPLE, Tag.SAMPLE_FORMAT, Tag.EXTRA_SAMPLES):
        yield tag, grid.samples
    yield Tag.LERC_PARAMETERS, 2
    yield Tag.JPEG_TABLES, MAX_JPEG_TABLES
    if is_first:
        yield from _GEO_VALUES.items()
        if image.directory.count(Tag.GDAL_METADATA) <= MAX_METADATA_BYTES:
            yield Tag.GDAL_METADATA, MAX_METADATA_BYTES


def _header(form: FileForm, images: list[_Image], file_size: int | None) -> Header:
    first = images[0]
    base = _level(first, file_size)
    reduced = (_overview(image, first, base.layout, file_size) for image in images[1:] if not image.mask)
    overviews = sorted((level for level in reduced if level is not None), key=lambda level: -level.width * level.height)
    levels = [base, *overviews]
    directory, samples = first.directory, first.grid.samples
    transform, epsg, crs = _georeferencing(directory)
    nodata = directory.text(Tag.GDAL_NODATA, _GEO_VALUES[Tag.GDAL_NODATA])
    has_metadata = directory.count(Tag.GDAL_METADATA) <= MAX_METADATA_BYTES
    metadata = directory.text(Tag.GDAL_METADATA, MAX_METADATA_BYTES) if has_metadata else None
    if samples > 1 and has_joint_nodata(metadata):
        raise UnsupportedRaster(
            "GDAL_METADATA item NODATA_VALUES (pixels invalid where all bands have their nodata) is not read; give it a mask instead"
        )
    items = parse_band_items(metadata, samples)
    return Header(
        byte_order=form.byte_order,
        bigtiff=form.bigtiff,
        levels=tuple(levels),
        masks=tuple(_masks(images, levels, file_size)),
        photometric=directory.unsigned(Tag.PHOTOMETRIC, 1),
        extra_samples=directory.unsigned_list(Tag.EXTRA_SAMPLES, samples),
        nodata=None if nodata is None else parse_number(nodata),
        transform=transform,
        epsg=epsg,
        crs=crs,
        scales=items.scales,
        offsets=items.offsets,
        descriptions=items.descriptions,
        alpha=alpha_sample(base.layout.dtype, _alpha_roles(directory, samples, items.colours)),
    )


def _alpha_roles(directory: Directory, samples: int, colours: Sequence[str | None]) -> list[bool]:
    """Which samples are alpha, by ExtraSamples or by what GDAL_METADATA says in its place."""
    extra = directory.unsigned_list(Tag.EXTRA_SAMPLES, samples)
    roles = [False] * (samples - len(extra)) + [kind in tags.ALPHA_KINDS for kind in extra]
    return [role if colour is None else colour.lower() == "alpha" for role, colour in zip(roles, colours, strict=True)]


def _level(image: _Image, file_size: int | None) -> Level:
    layout = parse_layout(image.directory, image.grid, mask=image.mask)
    return parse_level(image.directory, image.grid, layout, file_size)


def _overview(image: _Image, first: _Image, base: Layout, file_size: int | None) -> Level | None:
    """A reduced image as an overview of the first one; None if it is none (a thumbnail, other samples) or is stored in a way we do not read."""
    is_smaller = image.size != first.size and image.grid.width <= first.grid.width and image.grid.height <= first.grid.height
    if not is_smaller or image.grid.samples != first.grid.samples:
        return None
    try:
        layout = parse_layout(image.directory, image.grid, mask=False)
    except UnsupportedRaster:
        return None
    return parse_level(image.directory, image.grid, layout, file_size) if layout.dtype == base.dtype else None


def _masks(images: list[_Image], levels: list[Level], file_size: int | None) -> Iterator[Level]:
    """The mask of each level that has one: of its size and, as in GDAL, called reduced where the level is.

    A mask we cannot read fails the file: without it, wrong pixels would look valid.
    """
    masks: dict[tuple[tuple[int, int], bool], _Image] = {}
    for image in images:
        if image.mask:
            masks.setdefault((image.size, image.reduced), image)
    for number, size in enumerate(dict.fromkeys((level.width, level.height) for level in levels)):
        mask = masks.get((size, number > 0))
        if mask is None:
            continue
        if mask.grid.samples != 1:
            raise UnsupportedRaster(f"a transparency mask with {mask.grid.samples} samples per pixel is not read")
        level = _level(mask, file_size)
        if reason := supports(level.layout):
            raise UnsupportedRaster(f"its transparency mask: {reason}")
        yield level


def _georeferencing(directory: Directory) -> tuple[Affine, int | None, str | None]:
    keys = parse_geokeys(
        directory.unsigned_list(Tag.GEO_KEY_DIRECTORY, _GEO_VALUES[Tag.GEO_KEY_DIRECTORY]),
        directory.text(Tag.GEO_ASCII_PARAMS, _GEO_VALUES[Tag.GEO_ASCII_PARAMS], "latin-1") or "",
        directory.numbers(Tag.GEO_DOUBLE_PARAMS, _GEO_VALUES[Tag.GEO_DOUBLE_PARAMS]),
    )
    transform = resolve_transform(
        directory.numbers(Tag.MODEL_PIXEL_SCALE, 3),
        directory.numbers(Tag.MODEL_TIEPOINT, 6),
        directory.count(Tag.MODEL_TIEPOINT),
        directory.numbers(Tag.MODEL_TRANSFORMATION, 16),
        pixel_is_point=is_pixel_point(keys),
        has_rpc=Tag.RPC_COEFFICIENTS in directory,
    )
    return transform, *resolve_crs(keys)
