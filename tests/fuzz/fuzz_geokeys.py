"""Any GeoKeys and transform tags: ``python -m tests.fuzz.fuzz_geokeys --runs 50000``.

A CRS that PROJ takes, or none; a transform that can be inverted, or a RasteretError. An input is two counts (of numbers in the key directory, of
doubles), the directory, the doubles, and the text; the transform tags take their values from the doubles too.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from rasteret_sql.errors import RasteretError
from rasteret_sql.raster.crs import check_crs
from rasteret_sql.raster.geokeys import is_pixel_point, parse_geokeys, resolve_crs, resolve_transform
from tests.fuzz.bounds import MIB, Finding, bounded
from tests.fuzz.campaign import Target, main

COUNTS = struct.Struct("<HB")


@dataclass(frozen=True)
class Keys:
    """The values of the three GeoKey tags."""

    directory: tuple[int, ...]
    doubles: tuple[float, ...]
    text: str


def pack(keys: Keys) -> bytes:
    """The input that is these keys; the opposite of :func:`unpack`."""
    head = COUNTS.pack(len(keys.directory), len(keys.doubles))
    return head + struct.pack(f"<{len(keys.directory)}H{len(keys.doubles)}d", *keys.directory, *keys.doubles) + keys.text.encode("latin-1")


def unpack(data: bytes) -> Keys:
    """Any bytes as keys."""
    numbers, doubles = COUNTS.unpack(data[: COUNTS.size].ljust(COUNTS.size, b"\0"))
    rest = data[COUNTS.size :]
    numbers = min(numbers, len(rest) // 2)
    doubles = min(doubles, (len(rest) - 2 * numbers) // 8)
    values = struct.unpack_from(f"<{numbers}H", rest), struct.unpack_from(f"<{doubles}d", rest, 2 * numbers)
    return Keys(*values, rest[2 * numbers + 8 * doubles :].decode("latin-1"))


def check(data: bytes) -> str:
    """``EPSG``, ``WKT``, ``none``, with the transform's outcome; raises :class:`Finding`."""
    given = unpack(data)
    with bounded(32 * MIB):
        keys = parse_geokeys(given.directory, given.text, given.doubles)
        epsg, crs = resolve_crs(keys)
    if (crs == f"EPSG:{epsg}") != (epsg is not None) or (crs is not None and not crs):
        raise Finding(f"the CRS {crs!r} with the code {epsg!r}")
    if crs is not None:
        with bounded(32 * MIB):
            _check_known(crs)
    return f"{'none' if crs is None else 'WKT' if epsg is None else 'EPSG'}, {_transform(given.doubles, is_pixel_point(keys))}"


def _check_known(crs: str) -> None:
    try:
        check_crs(crs)
    except RasteretError as error:
        raise Finding(f"a CRS that PROJ does not know: {crs[:300]!r}: {error}") from error


def _transform(doubles: Sequence[float], is_point: bool) -> str:
    scale, tiepoint, matrix = doubles[:3], doubles[3:9], doubles[9:25]
    try:
        a, b, c, d, e, f = resolve_transform(scale, tiepoint, len(tiepoint), matrix, pixel_is_point=is_point, has_rpc=False)
    except RasteretError as error:
        if "\n" in str(error):
            raise Finding(f"an error of several lines: {error!r}") from error
        return type(error).__name__
    if not all(map(math.isfinite, (a, b, c, d, e, f))) or a * e - b * d == 0:
        raise Finding(f"the transform {(a, b, c, d, e, f)}")
    return "transform"


TARGET = Target("geokeys", check, most_bytes=4 << 10)

if __name__ == "__main__":
    main(TARGET)
