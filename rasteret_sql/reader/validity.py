"""Which pixels are valid: what a read asks for beside its bands to tell, and how it tells.

Which mask decides on a band is :func:`rasteret_sql.reader.band.masked_band`'s rule.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from rasteret_sql.reader.band import Band, nodata_mask
from rasteret_sql.reader.cache import Pixels

Bools = npt.NDArray[np.bool_]
Places = TypeVar("Places")


def band_key(band: Band) -> Hashable:
    """Tells bands and masks apart by what is read; bands of one file have masks of their own that are the same."""
    return band.href, band.etag, band.sample, band.layout, band.grid


def with_masks(requests: Sequence[tuple[Band, Places]]) -> tuple[list[tuple[Band, Places]], list[int | None]]:
    """The requests, behind them those for the masks of their bands at the same places, each once; and, per request, where its mask's is."""
    wide = list(requests)
    where: list[int | None] = []
    known: dict[Hashable, int] = {}
    for band, places in requests:
        if band.mask is None:
            where.append(None)
            continue
        key = (id(places), band_key(band.mask))
        if key not in known:
            known[key] = len(wide)
            wide.append((band.mask, places))
        where.append(known[key])
    return wide, where


def valid_pixels(band: Band, values: Pixels, mask: Pixels | None) -> Bools | None:
    """Which of a band's values are valid, given what its mask holds there; None: all of them."""
    if mask is not None:
        return np.asarray(mask != 0)
    return None if band.nodata is None else ~nodata_mask(values, band.nodata)
