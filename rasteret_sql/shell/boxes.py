"""A result as a box of DuckDB's kind: names, types, values, counts; as wide as there is room."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rasteret_sql.shell.texts import SHOWN_ITEMS, Cell

NULL = "NULL"
LEAST, LEAST_LONG = 12, 22
"""A column is cut no further than this; then columns are left out. First those give way whose values are long by nature."""
_GAP = 4
"""What ``…`` in the place of columns takes."""
_LONGEST = 5000
_NUMBERS = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|UINTEGER|FLOAT|DOUBLE|DECIMAL\(.*\)|BIGNUM)$")
_NAMES = {
    "TINYINT": "int8", "SMALLINT": "int16", "INTEGER": "int32", "BIGINT": "int64", "HUGEINT": "int128",
    "UTINYINT": "uint8", "USMALLINT": "uint16", "UINTEGER": "uint32", "UBIGINT": "uint64", "UHUGEINT": "uint128",
}  # fmt: skip
_CONTROLS = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column as it is shown; None is NULL."""

    name: str
    type: str
    """DuckDB's."""
    cells: Sequence[Cell | None]

    @property
    def is_number(self) -> bool:
        return bool(_NUMBERS.match(self.type))

    @property
    def is_long(self) -> bool:
        return self.type.endswith("]") or self.type.startswith(("GEOMETRY", "BLOB", "STRUCT", "MAP", "UNION", "JSON"))


def box(columns: Sequence[Column], rows: int, width: int, gap: int | None = None) -> str:
    """Lines of text. ``rows`` is how many the result has; where not all are among the cells, those left out lie before cell ``gap``."""
    shown = len(columns[0].cells)
    texts = [[visible(column.name), type_name(column.type), *map(_whole, column.cells)] for column in columns]
    natural = [max(map(wide, column)) for column in texts]
    places = _chosen(columns, natural, width)
    widths = _fit(columns, natural, places, width)
    counts = _counts(rows, shown, len(columns), len(widths))
    widths[max(widths)] += max(0, max(map(wide, counts)) - sum(widths.values()) - 3 * (len(places) - 1) - (len(places) - len(widths)))
    parts = [_Part(columns[place], texts[place], widths[place]) if place >= 0 else _Part.left_out(shown) for place in places]
    lines = ["".join(["┌", "┬".join("─" * (part.width + 2) for part in parts), "┐"])]
    lines += [_line(part.heading(row) for part in parts) for row in range(2)]
    lines.append("".join(["├", "┼".join("─" * (part.width + 2) for part in parts), "┤"]))
    for row in range(shown):
        if row == gap:
            lines += [_line(part.dots() for part in parts)] * 3
        lines.append(_line(part.value(row) for part in parts))
    inner = sum(part.width + 3 for part in parts) - 1
    lines.append("".join(["├", "┴".join("─" * (part.width + 2) for part in parts), "┤"]))
    lines += _footer(counts, inner - 2)
    lines.append(f"└{'─' * inner}┘")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Part:
    """A column of the box, with its width."""

    column: Column
    texts: Sequence[str]
    width: int

    @classmethod
    def left_out(cls, shown: int) -> _Part:
        """In the place of columns that have no room."""
        return cls(Column("…", "", [Cell("…")] * shown), ["…", "", *["…"] * shown], 1)

    def heading(self, row: int) -> str:
        return _centred(cut(self.texts[row], self.width), self.width)

    def value(self, row: int) -> str:
        cell = self.column.cells[row]
        text = self.texts[2 + row]
        if cell is not None and wide(text) > self.width:
            text = cut_list(visible(cell.text), self.width, cell.items) if cell.items is not None else cut(text, self.width)
        padding = " " * (self.width - wide(text))
        return padding + text if self.column.is_number else text + padding

    def dots(self) -> str:
        return _centred("·", self.width)


def _line(cells: Iterable[str]) -> str:
    return f"│ {' │ '.join(cells)} │"


def _centred(text: str, width: int) -> str:
    room = width - wide(text)
    return " " * (room // 2) + text + " " * (room - room // 2)


def _counts(rows: int, rows_shown: int, columns: int, columns_shown: int) -> tuple[str, str]:
    return (
        f"{rows:,} row{'' if rows == 1 else 's'}" + ("" if rows_shown == rows else f" ({rows_shown} shown)"),
        f"{columns} column{'' if columns == 1 else 's'}" + ("" if columns_shown == columns else f" ({columns_shown} shown)"),
    )


def _footer(counts: tuple[str, str], room: int) -> list[str]:
    left, right = counts
    if wide(left) + wide(right) + 2 <= room:
        return [f"│ {left}{' ' * (room - wide(left) - wide(right))}{right} │"]
    return [f"│ {text}{' ' * (room - wide(text))} │" for text in counts]


def _chosen(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int]:
    """The columns that have room when all are as narrow as may be; -1 stands for those in the middle, which have none."""
    least = [_least(column, room) for column, room in zip(columns, natural, strict=True)]
    places = list(range(len(columns)))
    while len(places) > 1 and _total([least[place] for place in places]) + (0 if len(places) == len(columns) else _GAP) > width:
        del places[len(places) // 2]
    if len(places) < len(columns):
        places.insert((len(places) + 1) // 2, -1)
    return places


def _fit(columns: Sequence[Column], natural: Sequence[int], places: Sequence[int], width: int) -> dict[int, int]:
    """Column → width. Lists and geometries give way first, then whatever is widest."""
    shown = [place for place in places if place >= 0]
    room = width - (0 if len(shown) == len(places) else _GAP)
    widths = {place: natural[place] for place in shown}
    _shrink(widths, {place: _least(columns[place], natural[place]) for place in shown if columns[place].is_long}, room)
    _shrink(widths, {place: _least(columns[place], natural[place]) for place in shown}, room)
    if len(shown) == 1:
        widths[shown[0]] = max(1, min(widths[shown[0]], room - 4))
    return widths


def _least(column: Column, natural: int) -> int:
    return min(natural, LEAST_LONG if column.is_long else LEAST)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + 3 * len(widths) + 1


def _shrink(widths: dict[int, int], least: Mapping[int, int], room: int) -> None:
    """Cut the widest of the columns in ``least`` until all fit, none below its least."""
    while (excess := _total(list(widths.values())) - room) > 0:
        wider = {place: widths[place] for place in least if widths[place] > least[place]}
        if not wider:
            return
        widest = max(wider, key=lambda place: wider[place])
        second = max((width for place, width in wider.items() if width < wider[widest]), default=0)
        widths[widest] = max(least[widest], min(wider[widest] - 1, max(second, wider[widest] - excess)))


def _whole(cell: Cell | None) -> str:
    if cell is None:
        return NULL
    text = visible(cell.text)
    if cell.items is None or cell.items <= SHOWN_ITEMS:
        return text
    return f"{text.removesuffix(']')}, … ({cell.items:,})]"


def cut_list(text: str, width: int, items: int) -> str:
    """``[7966, 7326, … (212)]``: as many items as fit, and how many there are."""
    tail = f"… ({items:,})]"
    head = "["
    for item in _items(text.removeprefix("[").removesuffix("]")):
        if wide(head) + wide(item) + 2 + wide(tail) > width:
            break
        head += f"{item}, "
    return cut(head + tail, width)


def _items(inside: str) -> list[str]:
    """Of a list of numbers. Texts and nested values are parted wherever a comma is: nothing but where to cut hangs on it."""
    return inside.split(", ")


def cut(text: str, width: int) -> str:
    """At most so many columns of a terminal; ``…`` where something is missing."""
    if wide(text) <= width:
        return text
    kept, used = [], 0
    for character in text:
        used += wide(character)
        if used > width - 1:
            break
        kept.append(character)
    return "".join(kept) + "…"


def wide(text: str) -> int:
    """Columns of a terminal: none for what combines, two for wide characters."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) or unicodedata.category(c) == "Cf" else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def visible(text: str) -> str:
    """On one line, and harmless: what would steer a terminal is written out."""
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    if text.isprintable():
        return text
    return "".join(_CONTROLS.get(c, c if c.isprintable() or unicodedata.category(c) == "Zs" else f"\\u{ord(c):04x}") for c in text)


def type_name(kind: str) -> str:
    """``USMALLINT[]`` → ``uint16[]``, as DuckDB's own boxes say it."""
    base, brackets = re.fullmatch(r"(.*?)((?:\[\d*\])*)", kind, re.DOTALL).groups()  # type: ignore[union-attr]
    return visible(_NAMES.get(base, base.lower()) + brackets)
