"""Panels, captions and legends drawn with Pillow; no display is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely
from PIL import Image, ImageDraw, ImageFont

from rasteret_sql.outputs.colours import ramp

if TYPE_CHECKING:
    from rasteret_sql.outputs.picture import Legend, Panel

EDGE: Final = (255, 90, 31, 255)
"""Colour of geometries, and the halo that sets them off from pixels of like colour."""
HALO: Final = (255, 255, 255, 170)
FRAME: Final = (128, 134, 142, 120)
TEXT: Final = (118, 124, 132, 255)
"""Read on white and on black: the ground is transparent."""
PAD: Final = 4
"""Around the pixels of a panel, so that edges along them are seen whole."""
_GAP, _MARGIN, _LINE = 12, 8, 16
_LEAST = 96
"""Room of a panel each way, however few pixels it has."""
_ACROSS = 1000
"""Pixels that panels side by side may take."""
_FINER = 4
"""Lines are drawn so many times finer and then averaged."""
_BAR = (160, 10)
_LINE_WIDTH, _HALO_WIDTH, _DOT = 2.0, 4.0, 3.5


def draw(panels: Sequence[Panel], legends: Sequence[Legend], notes: Sequence[str], size: int) -> Image.Image:
    """One picture, RGBA: panels in rows, all at one scale, the longest side of the largest ``size`` pixels; legends and notes below."""
    shapes = [panel.colours.shape[:2] for panel in panels if panel.colours is not None]
    scale = _scale(max(max(shape) for shape in shapes), size)
    drawn = [_drawn(panel, scale) for panel in panels]
    rooms = [(_LEAST, _LEAST) if image is None else (max(_LEAST, image.width), max(_LEAST, image.height)) for image in drawn]
    captions = max(len(panel.caption) for panel in panels) * _LINE
    below = _below(legends, notes)
    lines = _lines([width for width, _ in rooms])
    heights = [max(rooms[place][1] for place in line) for line in lines]
    widths = [sum(rooms[place][0] + _GAP for place in line) - _GAP for line in lines]
    width = max(*widths, below.width) + 2 * _MARGIN
    sheet = Image.new("RGBA", (width, sum(heights) + len(lines) * (captions + _GAP) + below.height + 2 * _MARGIN), (0, 0, 0, 0))
    top = _MARGIN
    for line, height in zip(lines, heights, strict=True):
        left = _MARGIN
        for place in line:
            _place(sheet, panels[place], drawn[place], (left, top, *rooms[place]), captions)
            left += rooms[place][0] + _GAP
        top += captions + height + _GAP
    sheet.paste(below, (_MARGIN, top))
    return sheet


def _lines(widths: Sequence[int]) -> list[list[int]]:
    """Places of the panels, line by line: as many side by side as there is room for."""
    lines: list[list[int]] = [[]]
    taken = 0
    for place, width in enumerate(widths):
        if lines[-1] and taken + width > _ACROSS:
            lines.append([])
            taken = 0
        lines[-1].append(place)
        taken += width + _GAP
    return lines


def _place(sheet: Image.Image, panel: Panel, image: Image.Image | None, room: tuple[int, int, int, int], captions: int) -> None:
    """One panel below its caption; ``room`` is left, top, width and height without the caption."""
    left, top, width, height = room
    pen = ImageDraw.Draw(sheet)
    for line, text in enumerate(panel.caption):
        pen.text((left + PAD, top + line * _LINE), _fitted(text, width - PAD), TEXT, _font())
    top += captions
    if image is not None:
        sheet.paste(image, (left, top))
        return
    pen.rectangle((left + PAD - 1, top + PAD - 1, left + width - PAD, top + height - PAD), outline=FRAME)
    pen.text((left + width / 2, top + height / 2), panel.note, TEXT, _font(), anchor="mm")


def _scale(longest: int, size: int) -> float:
    """Picture's pixels per pixel: whole numbers when it grows, so that all pixels are of one size."""
    return float(size // longest) if longest <= size else size / longest


def _drawn(panel: Panel, scale: float) -> Image.Image | None:
    if panel.colours is None:
        return None
    height, width = panel.colours.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    pixels = Image.fromarray(np.ascontiguousarray(panel.colours))
    pixels = pixels.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX)
    image = Image.new("RGBA", (size[0] + 2 * PAD, size[1] + 2 * PAD), (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle((PAD - 1, PAD - 1, PAD + size[0], PAD + size[1]), outline=FRAME)
    image.paste(pixels, (PAD, PAD))
    if panel.lines:
        image.alpha_composite(_edges(panel.lines, scale, image.size))
    return image


def _edges(lines: Sequence[Any], scale: float, size: tuple[int, int]) -> Image.Image:
    """Lines and points over a white halo, smooth."""
    overlay = Image.new("RGBA", (size[0] * _FINER, size[1] * _FINER), (*EDGE[:3], 0))
    pen = ImageDraw.Draw(overlay)
    for colour, line_width, dot in ((HALO, _HALO_WIDTH, _DOT + 1.0), (EDGE, _LINE_WIDTH, _DOT)):
        for line in lines:
            places = [tuple(place) for place in (shapely.get_coordinates(line) * scale + PAD) * _FINER]
            if isinstance(line, shapely.Point):
                (x, y), radius = places[0], dot * _FINER
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
            else:
                pen.line(places, fill=colour, width=round(line_width * _FINER), joint="curve")
    return overlay.resize(size, Image.Resampling.BOX)


def _below(legends: Sequence[Legend], notes: Sequence[str]) -> Image.Image:
    """The legend of one band is its ramp; of three, a line each; then the notes."""
    single = len(legends) == 1
    lines = [*(() if single else (f"{legend.channel} {legend.band}  {_span(legend)}" for legend in legends)), *notes]
    texts = [legends[0].band, _number(legends[0].limits[0]), _number(legends[0].limits[1])] if single else []
    wide = max([_wide(line) for line in lines] + ([PAD + _BAR[0] + 3 * PAD + _wide(texts[0])] if single else []))
    image = Image.new("RGBA", (wide + PAD + 1, (2 * _LINE if single else 0) + _LINE * len(lines)), (0, 0, 0, 0))
    pen, top = ImageDraw.Draw(image), 0
    if single:
        colours = ramp()[np.linspace(0, 255, _BAR[0]).round().astype(int)]
        bar = Image.fromarray(np.repeat(colours[np.newaxis], _BAR[1], axis=0))
        image.paste(bar, (PAD, 3))
        pen.text((PAD + _BAR[0] + 2 * PAD, 1), texts[0], TEXT, _font())
        pen.text((PAD, _LINE), texts[1], TEXT, _font())
        pen.text((PAD + _BAR[0], _LINE), texts[2], TEXT, _font(), anchor="ra")
        top = 2 * _LINE
    for line in lines:
        pen.text((PAD, top), line, TEXT, _font())
        top += _LINE
    return image


def _span(legend: Legend) -> str:
    return f"{_number(legend.limits[0])} to {_number(legend.limits[1])}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _font() -> Any:
    return ImageFont.load_default(12)


def _wide(text: str) -> int:
    return int(_font().getlength(text)) + 1


def _fitted(text: str, width: int) -> str:
    """The text, or as much of its beginning and end as the width has room for."""
    if _wide(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        short = f"{text[: -(-kept // 2)]}…{text[-(kept // 2) :]}"
        if _wide(short) <= width:
            return short
    return "…"
