"""From pixel values to colours: limits, the stretch between them, and one ramp for single bands."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

PERCENTILES: Final = (2.0, 98.0)
"""Of the valid pixels: what is darker than the first is darkest, what is brighter than the second brightest."""

_HUES: Final = (285.0, 105.0)
"""Of the ramp's ends in degrees of OKLCh: violet blue, by way of green, yellow."""
_LIGHTNESS: Final = (0.27, 0.93)
_CHROMA: Final = (0.078, 0.155)
"""Of the ramp's ends: as colourful as a screen allows at the hues between."""


def limits_of(blocks: Sequence[np.ma.MaskedArray[Any, Any]]) -> tuple[float, float]:
    """The 2nd and 98th percentile of the valid pixels of all blocks together; (0, 1) where there is none. NaN and infinity do not count."""
    valid = [np.ma.masked_invalid(block).compressed() for block in blocks]
    values = np.concatenate(valid) if valid else np.empty(0)
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, PERCENTILES)
    return float(low), float(high)


def stretched(block: np.ma.MaskedArray[Any, Any], limits: tuple[float, float]) -> np.ma.MaskedArray[Any, Any]:
    """uint8: 0 at the lower limit and below, 255 at the upper one and above, 128 throughout where they are equal; masked where not a number."""
    low, high = limits
    values = np.ma.masked_invalid(block.astype(np.float64))
    share = np.ma.clip((values - low) / (high - low), 0.0, 1.0) if high > low else values * 0.0 + 0.5
    return np.ma.MaskedArray(np.rint(np.ma.getdata(share.filled(0.0)) * 255.0).astype(np.uint8), mask=np.ma.getmaskarray(share))


def rgba(bands: Sequence[np.ma.MaskedArray[Any, Any]], limits: Sequence[tuple[float, float]]) -> npt.NDArray[np.uint8]:
    """``(height, width, 4)``: three bands as red, green and blue, one band by the ramp; transparent where any of them has no value."""
    levels = [stretched(band, limit) for band, limit in zip(bands, limits, strict=True)]
    colours = np.stack([np.ma.getdata(level) for level in levels], axis=-1) if len(levels) == 3 else ramp()[np.ma.getdata(levels[0])]
    hidden = np.any([np.ma.getmaskarray(level) for level in levels], axis=0)
    out = np.zeros((*hidden.shape, 4), np.uint8)
    out[..., :3] = np.where(hidden[..., np.newaxis], 0, colours)
    out[..., 3] = np.where(hidden, 0, 255)
    return out


@lru_cache(maxsize=1)
def ramp() -> npt.NDArray[np.uint8]:
    """256 colours, ``[256, 3]``, whose lightness grows evenly (in OKLab, B. Ottosson 2020): they also read in grey and for the colour-blind."""
    along = np.linspace(0.0, 1.0, 256)
    lightness = _LIGHTNESS[0] + along * (_LIGHTNESS[1] - _LIGHTNESS[0])
    chroma = _CHROMA[0] + along**2 * (_CHROMA[1] - _CHROMA[0])
    hue = np.radians(_HUES[0] + along * (_HUES[1] - _HUES[0]))
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    cones = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    ) @ (cones**3)
    linear = np.clip(linear, 0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    colours: npt.NDArray[np.uint8] = np.rint(encoded.T * 255.0).astype(np.uint8)
    return colours
