"""A quick look at what ``rasteret_read`` gave: blocks as pictures, with the geometries that they were read by."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rasteret_sql.errors import InvalidArgument, RasteretError, listing
from rasteret_sql.outputs.arrays import Masked, Row, band_names, band_of, is_null, plain, rows_of, shape_of
from rasteret_sql.outputs.colours import limits_of, rgba
from rasteret_sql.outputs.outlines import outlines

RGB: Final = (("red", "green", "blue"), ("r", "g", "b"), ("b04", "b03", "b02"), ("b4", "b3", "b2"))
"""Names, in lower case, by which bands are known as red, green and blue: by colour, Sentinel-2's, Landsat-8's and -9's."""
CHANNELS: Final = ("red", "green", "blue")
_ONE, _SEVERAL = 480, 240
"""Pixels of a panel's longer side, when it is the only one and when there are several."""


@dataclass(frozen=True, slots=True, repr=False)
class Picture:
    """What :func:`show` makes: notebooks display it, :meth:`save` writes it."""

    image: Any
    """Pillow's ``Image``, RGBA."""
    what: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        width, height = self.image.size
        return int(width), int(height)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a PNG; returns its path. :class:`InvalidArgument` for another ending: only PNG keeps colours and transparency as they are."""
        place = Path(path)
        if place.suffix.lower() != ".png":
            raise InvalidArgument(f"a picture is saved as PNG: {place.name!r} should end with .png; for others take .image.convert('RGB').save(…)")
        place.write_bytes(self._repr_png_())
        return place

    def _repr_png_(self) -> bytes:
        """What Jupyter, marimo and IPython ask for."""
        buffer = io.BytesIO()
        self.image.save(buffer, "PNG")
        return buffer.getvalue()

    def __repr__(self) -> str:
        return f"<picture {self.size[0]} × {self.size[1]}: {self.what}>"


@dataclass(frozen=True, slots=True)
class Panel:
    """One row's part of a picture."""

    colours: Any
    """RGBA ``(height, width, 4)``; None for a row without pixels."""
    lines: list[Any]
    """Outlines in pixels of the block."""
    caption: list[str]
    note: str = ""
    """Said in the place of pixels."""


@dataclass(frozen=True, slots=True)
class Legend:
    """What the colours of one band mean."""

    band: str
    limits: tuple[float, float]
    channel: str = ""
    """Empty for the ramp."""


def show(
    result: Any,
    bands: str | Sequence[str] | None = None,
    *,
    geometry: Any = None,
    geometry_crs: str | None = None,
    limits: tuple[float, float] | None = None,
    label: str | None = None,
    size: int | None = None,
    most: int = 12,
) -> Picture:
    """A picture of the pixels of ``rasteret_read``: a row, or several side by side, with the geometries that they were read by.

    >>> show(con.sql("FROM rasteret_read(s2, plots, bands := ['B04', 'B03', 'B02'])"))  # doctest: +SKIP

    Parameters
    ----------
    result
        What :func:`~rasteret_sql.to_numpy` takes; the columns ``height`` and ``width``, and to draw geometries ``crs`` and ``transform``.
    bands
        One name: colours of a ramp. Three names: red, green, blue. By default the bands that are named so (``red``, ``R``, ``B04`` with ``B03`` and
        ``B02``, ``B4`` with ``B3`` and ``B2``), else the bands if they are three, else the first.
    geometry
        What is drawn on the pixels: by default the rows' own geometry; a column's name; a geometry (WKT, WKB, GeoJSON, shapely) or several for all
        rows; False for nothing.
    geometry_crs
        Of the geometry; by default the one its type names, else longitude and latitude.
    limits
        Values that are darkest and brightest. By default the 2nd and 98th percentile of each band, over the valid pixels of all rows shown, so
        that colours mean the same in each panel.
    label
        The column whose value is written above each panel; by default ``datetime`` and ``record_id``.
    size
        Pixels of the longer side of the largest panel; all panels have one scale.
    most
        So many rows are shown at most.

    Pixels that are NULL are transparent. Raises :class:`InvalidArgument` and :class:`BandNotFound` as :func:`~rasteret_sql.to_numpy` does, and
    :class:`RasteretError` where Pillow is not installed.
    """
    draw = _canvas()
    found = rows_of(result)
    shown = found.rows[:most]
    if not any(shape_of(row) is not None for row in shown):
        raise InvalidArgument(f"no row has pixels to show; {_statuses(found.rows)}")
    chosen = _bands(shown, bands)
    blocks = [[band_of(row, name) for name in chosen] for row in shown]
    spans = [limits or limits_of([block for block in column if block is not None]) for column in zip(*blocks, strict=True)]
    lines = outlines(type(found)(shown, found.single, found.crs), geometry, geometry_crs)
    panels = [_panel(row, block, spans, edges, label) for row, block, edges in zip(shown, blocks, lines, strict=True)]
    legends = [Legend(name, span, channel) for name, span, channel in zip(chosen, spans, CHANNELS if len(chosen) == 3 else [""], strict=True)]
    notes = [f"{len(shown)} of {len(found.rows):,} rows"] if len(shown) < len(found.rows) else []
    image = draw(panels, legends, notes, size or (_ONE if len(panels) == 1 else _SEVERAL))
    return Picture(image, f"{', '.join(chosen)} of {len(shown)} row{'s' if len(shown) > 1 else ''}")


def _canvas() -> Any:
    try:
        from rasteret_sql.outputs.canvas import draw  # noqa: PLC0415 - Pillow is an extra
    except ImportError:
        raise RasteretError("pictures need Pillow: pip install 'rasteret-sql[notebook]'") from None
    return draw


def _bands(rows: Sequence[Row], asked: str | Sequence[str] | None) -> list[str]:
    if asked is not None:
        names = [asked] if isinstance(asked, str) else list(asked)
        if len(names) not in (1, 3):
            raise InvalidArgument(f"bands={names!r}: a picture has one band, or three as red, green, blue")
        return names
    names = band_names(rows)
    folded = {name.lower(): name for name in names}
    for three in RGB:
        if set(three) <= set(folded):
            return [folded[name] for name in three]
    return names if len(names) == 3 else names[:1]


def _panel(row: Row, block: Sequence[Masked | None], spans: Sequence[tuple[float, float]], edges: list[Any], label: str | None) -> Panel:
    present = [band for band in block if band is not None]
    colours = rgba(present, spans) if present else None
    return Panel(colours, edges, _caption(row, label), "" if present else _text(row.get("status")) or "no pixels")


def _caption(row: Row, label: str | None) -> list[str]:
    if label is not None:
        if label not in row:
            raise InvalidArgument(f"label={label!r} is no column; columns: {listing(row)}")
        return [_text(row[label])]
    return [text for text in (_text(row.get("datetime"))[:10], _text(row.get("record_id"))) if text]


def _text(value: Any) -> str:
    return "" if is_null(value) else str(plain(value))


def _statuses(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "the result is empty"
    return f"status: {listing(dict.fromkeys(_text(row.get('status')) or 'unknown' for row in rows))}"
