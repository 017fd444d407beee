"""What GDAL adds to a TIFF: the nodata value, scales, offsets and band descriptions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET
from xml.sax.saxutils import unescape

if TYPE_CHECKING:
    from collections.abc import Mapping

_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)
_NAMES: Mapping[str, str] = {"-1.#ind": "nan", "1.#qnan": "nan", "-1.#qnan": "nan", "1.#inf": "inf", "-1.#inf": "-inf"}
"""Spellings of old Windows writers, as GDAL's CPLStrtod takes them."""
_ROLES = frozenset({"scale", "offset", "description", "colorinterp"})
_JOINT_NODATA = re.compile(r"<Item\s[^>]*name=[\"']NODATA_VALUES[\"']")
_QUOTES: Mapping[str, str] = {"&quot;": '"', "&apos;": "'"}


@dataclass(frozen=True, slots=True)
class BandItems:
    """Per sample: value = stored * scale + offset, description, colour."""

    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    descriptions: tuple[str | None, ...]
    colours: tuple[str | None, ...]
    """Colour interpretation (``"Alpha"``, ``"Red"``…) where it is not what the TIFF tags say."""


def parse_number(text: str) -> float | None:
    """A number as GDAL writes and reads it (decimal comma too), or None."""
    word = text.strip()
    word = _NAMES.get(word.lower(), word)
    return float(word.replace(",", ".")) if _NUMBER.fullmatch(word) else None


def has_joint_nodata(metadata: str | None) -> bool:
    """Is there a NODATA_VALUES item: one value per band, a pixel invalid where all bands have theirs (``GDALNoDataValuesMaskBand``)?"""
    return metadata is not None and _JOINT_NODATA.search(metadata) is not None


def parse_band_items(metadata: str | None, samples: int) -> BandItems:
    """Scales, offsets, descriptions and colours from the GDAL_METADATA XML; 1.0, 0.0 and None where unset.

    As in GDAL the ``role`` of an ``Item`` decides, not its name, and ``sample`` counts from 0. Text that is not well-formed XML or that declares
    a document type or entities is ignored.
    """
    scales, offsets = [1.0] * samples, [0.0] * samples
    texts: dict[str, list[str | None]] = {"description": [None] * samples, "colorinterp": [None] * samples}
    for role, sample, text in _role_items(metadata):
        if not 0 <= sample < samples:
            continue
        if role in texts:
            texts[role][sample] = text or None
        elif (number := parse_number(text)) is not None:
            (scales if role == "scale" else offsets)[sample] = number
    return BandItems(tuple(scales), tuple(offsets), tuple(texts["description"]), tuple(texts["colorinterp"]))


def _role_items(metadata: str | None) -> list[tuple[str, int, str]]:
    if metadata is None or "role=" not in metadata or "<!DOCTYPE" in metadata or "<!ENTITY" in metadata:
        return []
    items = _RoleItems()
    parser = ET.XMLParser(target=items)  # noqa: S314 - builds no tree; entity declarations were refused above
    try:
        parser.feed(metadata)
        parser.close()
    except (ET.ParseError, ValueError):
        return []
    return items.found


class _RoleItems:
    """Target of the XML parser: keeps ``(role, sample, text)`` of the items that have a role we read, and no tree."""

    def __init__(self) -> None:
        self.found: list[tuple[str, int, str]] = []
        self._item: tuple[str, int] | None = None
        self._text: list[str] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        sample, role = attributes.get("sample", ""), attributes.get("role", "")
        known = tag == "Item" and role in _ROLES and sample.isascii() and sample.isdigit() and len(sample) <= 5
        self._item = (role, int(sample)) if known else None
        self._text.clear()

    def data(self, text: str) -> None:
        if self._item is not None:
            self._text.append(text)

    def end(self, tag: str) -> None:
        if tag == "Item" and self._item is not None:
            self.found.append((*self._item, unescape("".join(self._text), dict(_QUOTES))))  # GDAL escapes twice
        self._item = None

    def close(self) -> None:
        """Nothing is pending at the end of the document."""
