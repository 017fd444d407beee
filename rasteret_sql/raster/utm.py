"""WGS 84 and its UTM zones, which most satellites' scenes are in: the way between them is known without a search.

PROJ takes 5 ms to find it in its database, for each zone anew.
"""

from __future__ import annotations

import re
from typing import Final

_DEGREES: Final = frozenset({"OGC:CRS84", "EPSG:4326"})
_ZONE: Final = re.compile(r"EPSG:32([67])(0[1-9]|[1-5][0-9]|60)")


def pipeline(src: str, dst: str) -> str | None:
    """The PROJ pipeline that ``Transformer.from_crs(src, dst, always_xy=True)`` comes to; None for other CRSs, and for names written otherwise."""
    there, back = _to_radians(src), _from_radians(dst)
    if there is None or back is None or src == dst or {src, dst} == _DEGREES:
        return None
    return f"+proj=pipeline +step {there} +step {back}"


def _to_radians(crs: str) -> str | None:
    projection = _projection(crs)
    return "+proj=unitconvert +xy_in=deg +xy_out=rad" if crs in _DEGREES else None if projection is None else f"+inv {projection}"


def _from_radians(crs: str) -> str | None:
    return "+proj=unitconvert +xy_in=rad +xy_out=deg" if crs in _DEGREES else _projection(crs)


def _projection(crs: str) -> str | None:
    found = _ZONE.fullmatch(crs)
    return f"+proj=utm +zone={int(found[2])}{' +south' if found[1] == '7' else ''} +ellps=WGS84" if found else None
