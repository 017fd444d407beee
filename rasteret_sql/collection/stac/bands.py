"""Which asset, and which sample in it, each band is; and what items say of them. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from rasteret_sql.collection.assets import check_band_names
from rasteret_sql.collection.source import Declared
from rasteret_sql.collection.stac.search import members
from rasteret_sql.errors import InvalidArgument, listing, near

_INDEXED = re.compile(r"(.+)\[(\d{1,4})\]")
_TIFF_TYPES = ("image/tiff", "image/geotiff", "image/vnd.stac.geotiff", "image/x-geotiff", "application/geotiff")
_VAGUE_TYPES = ("application/octet-stream", "binary/octet-stream", "image/*", "*/*")
_TIFF_ENDINGS = {".tif", ".tiff", ".gtiff", ".cog"}
_OTHER_ENDINGS = {
    ".jp2",
    ".nc",
    ".nc4",
    ".h5",
    ".hdf",
    ".hdf5",
    ".he5",
    ".zarr",
    ".json",
    ".geojson",
    ".xml",
    ".png",
    ".jpg",
    ".jpeg",
    ".zip",
    ".gz",
    ".vrt",
}
_OTHER_ENDINGS |= {".grib", ".grb2", ".parquet", ".laz", ".copc", ".txt", ".csv", ".pdf", ".html", ".safe", ".img"}


@dataclass(frozen=True, slots=True)
class BandRef:
    """One band: an asset of every item, and a sample (0-based) in its file."""

    band: str
    key: str
    sample: int = 0

    @property
    def text(self) -> str:
        return f"{self.key}[{self.sample}]" if self.sample else self.key


def parse_band_map(bands: Mapping[str, str], indexes: Mapping[str, int] | None = None) -> tuple[BandRef, ...]:
    """``{'B04': 'red'}``, with a sample ``{'R': 'image[0]'}`` or in ``indexes``; :class:`InvalidArgument` for what cannot be a band."""
    refs = []
    for band, asset in bands.items():
        found = _INDEXED.fullmatch(asset)
        if not band or not asset:
            raise InvalidArgument(f"band_map: {band!r} → {asset!r} is not valid; {{'<band>': '<asset key>'}} is")
        refs.append(BandRef(band, found[1], int(found[2])) if found else BandRef(band, asset))
    names = [ref.band for ref in refs]
    for band, index in (indexes or {}).items():
        if band not in names:
            raise InvalidArgument(f"band_index_map names no band {band!r} of band_map{near(band, names)}; bands: {listing(names)}")
        if index < 0:
            raise InvalidArgument(f"band_index_map: {band!r} has index {index}; 0-based positions in the file are valid")
        refs = [BandRef(ref.band, ref.key, index) if ref.band == band else ref for ref in refs]
    check_band_names(names)
    return tuple(refs)


def choose_bands(refs: Iterable[BandRef], chosen: Iterable[str] | None) -> tuple[BandRef, ...]:
    """The bands asked for, in the order asked; all of them by default."""
    known = {ref.band: ref for ref in refs}
    for band in chosen or ():
        if band not in known:
            raise InvalidArgument(f"unknown band {band!r}{near(band, known)}; bands: {listing(known)}")
    return tuple(known[band] for band in dict.fromkeys(chosen)) if chosen else tuple(known.values())


def asset_of(item: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    """The item's asset of this key, where it names a file."""
    found = members(item, "assets").get(key)
    return found if isinstance(found, dict) and isinstance(found.get("href"), str) and found["href"] else None


def not_geotiff(asset: Mapping[str, Any]) -> str | None:
    """Why this asset is none: its media type, or its ending where the type is missing or vague; None where it is, or may be, a GeoTIFF."""
    kind = str(asset.get("type") or "").partition(";")[0].strip().lower()
    ending = PurePosixPath(re.split(r"[?#]", asset["href"], maxsplit=1)[0]).suffix.lower()
    if kind in _TIFF_TYPES or ending in _TIFF_ENDINGS:
        return None
    if kind and kind not in _VAGUE_TYPES:
        return kind
    return f"a {ending} file" if ending in _OTHER_ENDINGS else None


_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]*:[A-Za-z0-9._-]+")
_DEFINITION = re.compile(r"\s*(?:[A-Za-z_]+\s*\[|\{)")
"""WKT or PROJJSON. PROJ also understands texts that name local files, such as ``+init=``: what a catalogue says must not reach those."""


def declared_crs(item: Mapping[str, Any], asset: Mapping[str, Any] | None) -> str | None:
    """The projection extension's CRS, of the asset before the item: ``proj:code`` (2.0), ``proj:epsg`` (1.x), ``proj:wkt2``, ``proj:projjson``;
    the header's where that is none.
    """
    for fields in (asset or {}, members(item, "properties")):
        code, epsg = fields.get("proj:code"), fields.get("proj:epsg")
        if isinstance(code, str) and _CODE.fullmatch(code):
            return code
        if isinstance(epsg, int) and not isinstance(epsg, bool):
            return f"EPSG:{epsg}"
        for name in ("proj:wkt2", "proj:projjson"):
            found = fields.get(name)
            if isinstance(found, dict) and found:
                return json.dumps(found)
            if isinstance(found, str) and _DEFINITION.match(found):
                return found
    return None


def declared(item: Mapping[str, Any], asset: Mapping[str, Any], sample: int) -> Declared | None:
    """Nodata, scale and offset of one sample: ``bands`` (STAC 1.1) or ``raster:bands`` (1.0), then the asset's own fields.

    Earth Search subtracts the offset of Sentinel-2's newer baselines itself (``earthsearch:boa_offset_applied``) and leaves it in the metadata:
    it is 0 then.
    """
    layers: list[Mapping[str, Any]] = []
    for name in ("bands", "raster:bands"):
        bands = asset.get(name)
        if isinstance(bands, list) and sample < len(bands) and isinstance(bands[sample], dict):
            layers.append(bands[sample])
    layers.append(asset)
    nodata, scale, offset = (_first_number(layers, names) for names in (("nodata",), ("raster:scale", "scale"), ("raster:offset", "offset")))
    if members(item, "properties").get("earthsearch:boa_offset_applied") is True and offset is not None:
        offset = 0.0
    return None if nodata is None and scale is None and offset is None else Declared(nodata, scale, offset)


def _first_number(layers: Iterable[Mapping[str, Any]], names: Iterable[str]) -> float | None:
    """Numbers, and the texts "nan", "inf" and "-inf", which JSON has no numbers for (raster extension, "nodata")."""
    for fields in layers:
        for name in names:
            value = fields.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value)
            if isinstance(value, str) and value.strip().lower() in {"nan", "inf", "-inf"}:
                return float(value)
    return None
