"""One TIFF directory: its entries, and their values as far as the bytes are known."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from rasteret_sql.errors import InvalidRaster
from rasteret_sql.raster.tags import NUMBER_TYPES, TEXT_TYPES, TYPE_CODES, TYPE_SIZES, UNSIGNED_TYPES, Tag

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable
    from collections.abc import Set as AbstractSet

    from rasteret_sql.raster.spans import Span, SparseBytes

MAX_ENTRIES = 4096
"""Entries of one directory; libtiff has the same limit for BigTIFF."""

MAX_SHARED_BYTES = 2 << 10
"""Larger directories are parsed for each file."""
MAX_FOLLOWED = 8

T = TypeVar("T")
Entry = tuple[int, int, bytes]
"""``(field type, count, value field)``: the field holds the values themselves if they fit, else their offset."""

_ONE = {(order, kind): struct.Struct(f"{order}{TYPE_CODES[kind]}") for order in "<>" for kind in UNSIGNED_TYPES}
"""How a single unsigned number is stored, by byte order and field type."""


@dataclass(frozen=True, slots=True)
class FileForm:
    """What the first bytes of the file say: byte order, TIFF or BigTIFF, where the first directory is."""

    byte_order: str
    bigtiff: bool
    first: int

    @property
    def inline_bytes(self) -> int:
        return 8 if self.bigtiff else 4


class _Place(NamedTuple):
    """What an error calls a value; most values have none, so it is put into words only then."""

    tag: Tag
    directory: int

    def __str__(self) -> str:
        return f"tag {self.tag.name} ({self.tag.value}) of the directory at byte {self.directory}"


class Entries:
    """What the bytes of a directory say by themselves.

    The files of one producer have directories of equal bytes: they share one object (:func:`parse_entries`), and what follows from the entries alone
    is worked out once for all of them (:meth:`Directory.once`).
    """

    __slots__ = ("by_tag", "followed", "outside")

    def __init__(self, by_tag: dict[int, Entry], room: int) -> None:
        self.by_tag = by_tag
        self.outside = frozenset(tag for tag, (kind, count, _) in by_tag.items() if count * TYPE_SIZES.get(kind, room + 1) > room)
        """Tags whose values do not fit into the directory; those of an unknown type, which are errors once they are asked for, with them."""
        self.followed: dict[Hashable, Any] = {}


class Directory:
    """The entries of one image file directory. Values outside of the directory come from ``known`` when they are asked for."""

    __slots__ = ("_entries", "_form", "_known", "_outside", "_shared", "next", "offset")

    def __init__(self, known: SparseBytes, form: FileForm, offset: int, entries: Entries, next_offset: int) -> None:
        self._known = known
        self._form = form
        self._shared = entries
        self._entries = entries.by_tag
        self._outside = entries.outside
        self.offset = offset
        self.next = next_offset

    @property
    def byte_order(self) -> str:
        return self._form.byte_order

    def __contains__(self, tag: Tag) -> bool:
        return tag in self._entries

    def once(self, key: Hashable, follow: Callable[[], T]) -> T:
        """What ``follow`` says, asked once for all directories of these bytes: it must depend on the entries and on ``key`` alone."""
        followed = self._shared.followed
        if key in followed:
            found: T = followed[key]
            return found
        found = follow()
        if len(followed) < MAX_FOLLOWED:
            followed[key] = found
        return found

    def outside(self, tags: Iterable[Tag], most: int) -> tuple[bytes, ...]:
        """The bytes of the first ``most`` values of those of the tags whose values lie outside of the directory."""
        spans = [(tag, span) for tag in tags if (span := self.span(tag, most)) is not None]
        return tuple(bytes(self._known.get(*span, self._label(tag)) or b"") for tag, span in spans)

    def count(self, tag: Tag) -> int:
        """Number of values the entry announces, 0 without the entry."""
        entry = self._entries.get(tag)
        return 0 if entry is None else entry[1]

    def span(self, tag: Tag, most: int) -> Span | None:
        """Where the first ``most`` values lie in the file; None if there are none or they are inside the directory."""
        if tag not in self._outside:
            return None
        kind, count, field = self._entries[tag]
        size = self._value_size(tag, kind)
        return int.from_bytes(field, "little" if self._form.byte_order == "<" else "big"), min(count, most) * size

    def is_known(self, tag: Tag, span: Span) -> bool:
        """Whether the bytes of a value's span are there; :class:`InvalidRaster` if the file is too short to have them."""
        return self._known.get(*span, self._label(tag)) is not None

    def unsigned(self, tag: Tag, default: int | None) -> int:
        """A single unsigned number, which lies inside the directory; without a default the tag is required."""
        entry = self._entries.get(tag)
        if entry is not None and entry[1] and tag not in self._outside and (form := _ONE.get((self._form.byte_order, entry[0]))):
            value: int = form.unpack_from(entry[2])[0]
            return value
        if self.span(tag, 1) is not None:
            raise InvalidRaster(f"damaged TIFF: {self._label(tag)} has {self.count(tag)} values; it should have one")
        found = self.unsigned_list(tag, 1)
        if found:
            return found[0]
        if default is None:
            raise InvalidRaster(f"damaged TIFF: {self._label(tag)} is missing")
        return default

    def unsigned_list(self, tag: Tag, most: int) -> tuple[int, ...]:
        """The first ``most`` values; empty without the entry."""
        if tag not in self._entries:
            return ()
        kind, count, raw = self._raw(tag, most, UNSIGNED_TYPES)
        return struct.unpack(f"{self._form.byte_order}{count}{TYPE_CODES[kind]}", raw)

    def numbers(self, tag: Tag, most: int) -> tuple[float, ...]:
        """The first ``most`` values as floats; empty without the entry."""
        if tag not in self._entries:
            return ()
        kind, count, raw = self._raw(tag, most, NUMBER_TYPES)
        return tuple(map(float, struct.unpack(f"{self._form.byte_order}{count}{TYPE_CODES[kind]}", raw)))

    def text(self, tag: Tag, most: int, encoding: str = "utf-8") -> str | None:
        """The text up to its NUL, cut at ``most`` bytes; None without the entry."""
        if tag not in self._entries:
            return None
        raw = bytes(self._raw(tag, most, TEXT_TYPES)[2])
        return raw.partition(b"\0")[0].decode(encoding, "replace")

    def octets(self, tag: Tag, most: int) -> bytes:
        """The first ``most`` bytes of an opaque value; empty without the entry."""
        return bytes(self._raw(tag, most, TEXT_TYPES)[2]) if tag in self._entries else b""

    def int64_array(self, tag: Tag, most: int) -> npt.NDArray[np.int64]:
        """The first ``most`` values of an offset or byte count array, copied; :class:`InvalidRaster` if one is beyond int64."""
        kind, _, raw = self._raw(tag, most, UNSIGNED_TYPES)
        stored = np.frombuffer(raw, dtype=f"{self._form.byte_order}u{TYPE_SIZES[kind]}")
        if TYPE_SIZES[kind] < 8:
            return stored.astype(np.int64)
        values = stored.astype(np.uint64).view(np.int64)
        if values.size and int(values.min()) < 0:
            raise InvalidRaster(f"damaged TIFF: {self._label(tag)} has the impossible value {int(stored.max())}")
        return values

    def _raw(self, tag: Tag, most: int, types: AbstractSet[int]) -> tuple[int, int, bytes | memoryview]:
        kind, count, field = self._entries[tag]
        if kind not in types:
            raise InvalidRaster(f"damaged TIFF: {self._label(tag)} has field type {kind}")
        span = self.span(tag, most)
        if span is None:
            count = min(count, most)
            return kind, count, field[: count * TYPE_SIZES[kind]]
        found = self._known.get(*span, self._label(tag))
        if found is None:
            raise InvalidRaster(f"truncated TIFF: {self._label(tag)} at bytes {span[0]}-{sum(span) - 1} was not read")
        return kind, min(count, most), found

    def _value_size(self, tag: Tag, kind: int) -> int:
        try:
            return TYPE_SIZES[kind]
        except KeyError:
            raise InvalidRaster(f"damaged TIFF: {self._label(tag)} has the unknown field type {kind}") from None

    def _label(self, tag: Tag) -> _Place:
        return _Place(tag, self.offset)


def parse_directory(known: SparseBytes, form: FileForm, offset: int) -> Directory | Span:
    """The directory at ``offset``, or the span of it that has to be known first. Duplicate tags: the first counts, as in libtiff."""
    order = form.byte_order
    count_size, entry_form, next_form = (8, f"{order}HHQ8s", f"{order}Q") if form.bigtiff else (2, f"{order}HHI4s", f"{order}I")
    what = f"the directory at byte {offset}"
    head = known.get(offset, count_size, what)
    if head is None:
        return offset, count_size
    (count,) = struct.unpack(f"{order}{'Q' if form.bigtiff else 'H'}", head)
    if not 0 < count <= MAX_ENTRIES:
        raise InvalidRaster(f"damaged TIFF: {what} claims {count} entries; the limit is {MAX_ENTRIES}")
    entry_size, next_size = struct.calcsize(entry_form), struct.calcsize(next_form)
    body_size = count * entry_size
    body = known.get(offset + count_size, body_size + next_size, what)
    if body is None:
        return offset, count_size + body_size + next_size
    stored = bytes(body[:body_size])
    entries = (parse_entries if body_size <= MAX_SHARED_BYTES else parse_entries.__wrapped__)(entry_form, form.inline_bytes, stored)
    (next_offset,) = struct.unpack(next_form, body[body_size:])
    return Directory(known, form, offset, entries, next_offset)


@lru_cache(maxsize=256)
def parse_entries(entry_form: str, room: int, stored: bytes) -> Entries:
    """The entries of a directory from their bytes: one object for equal bytes. ``room``: bytes of a value field."""
    by_tag: dict[int, Entry] = {}
    for tag, kind, number, field in struct.iter_unpack(entry_form, stored):
        by_tag.setdefault(tag, (kind, number, field))
    return Entries(by_tag, room)
