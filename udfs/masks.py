"""Masks of a statement, as the reader takes them: SQL over the values of bands, evaluated for all points of a round at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rasteret_sql.udfs.arrow import arrow_type
from rasteret_sql.udfs.options import Options

from rasteret_sql.errors import InvalidArgument
from rasteret_sql.reader.band import physical
from rasteret_sql.reader.points import Looked, Mask
from rasteret_sql.reader.zones import Column, Evaluate

_NAME = "mask"


def mask_of(options: Options, types: Sequence[str], evaluate: Evaluate) -> Mask | None:
    """The mask of a call whose bands have these SQL types (single values); None without one."""
    if not options.mask:
        return None
    positions = tuple(options.bands.index(band) for band in options.mask_bands)
    kinds = {band: types[position] for band, position in zip(options.mask_bands, positions, strict=True)}

    def keep(looked: Sequence[Looked]) -> npt.NDArray[np.bool_]:
        columns = {band: _column(looked, i, kinds[band], scaled=options.scaled) for i, band in enumerate(options.mask_bands)}
        values, valid = evaluate([(_NAME, options.mask)], columns, kinds)[_NAME]
        if values.dtype != np.bool_:
            raise InvalidArgument("mask gives a number; a condition (BOOLEAN) is valid")
        return values if valid is None else values & valid

    return Mask(positions, keep)


def _column(looked: Sequence[Looked], position: int, kind: str, *, scaled: bool) -> Column:
    """One band at all points, as its SQL type; not valid where a record lacks the band."""
    dtype = arrow_type(kind).to_pandas_dtype()
    values: list[npt.NDArray[Any]] = []
    valid: list[npt.NDArray[np.bool_]] = []
    for look in looked:
        band, found = look.bands[position], look.found[position]
        if band is None or found is None:
            values.append(np.zeros(look.count, dtype))
            valid.append(np.zeros(look.count, bool))
        else:
            values.append(physical(found.values, band, scaled=scaled).astype(dtype, copy=False))
            valid.append(found.valid)
    return np.concatenate(values), np.concatenate(valid)
