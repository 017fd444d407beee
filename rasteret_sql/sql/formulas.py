"""``bands``, ``expressions`` and ``mask`` of one call: what comes back, and what must be read for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rasteret_sql.sql.arguments import Arguments
from rasteret_sql.sql.expressions import Expression, check_boolean, check_names, check_numeric, parse_expressions, parse_mask
from rasteret_sql.sql.quote import ident


@dataclass(frozen=True, slots=True)
class Formulas:
    """Checked expressions and mask."""

    expressions: tuple[Expression, ...] = ()
    mask: Expression | None = None

    @classmethod
    def of(cls, arguments: Arguments, known: Sequence[str] | None) -> Formulas:
        """``known`` are the collection's bands, None where only the statement will know them."""
        written = arguments.mapping("expressions", str)
        mask = arguments.name("mask", "a SQL condition in quotes such as 'SCL IN (4, 5, 6)'")
        return cls(() if written is None else parse_expressions(written, known), None if mask is None else parse_mask(mask, known))

    def bands_read(self, shown: Sequence[str]) -> tuple[list[str], int]:
        """Bands to read: those that come back, those of expressions, those that the mask alone needs; and how many these last are."""
        check_names([expression.name for expression in self.expressions], shown)
        used = dict.fromkeys([*shown, *(band for expression in self.expressions for band in expression.bands)])
        more = [band for band in (self.mask.bands if self.mask else ()) if band not in used]
        return [*used, *more], len(more)

    def check_types(self, values: Mapping[str, str], stored: Mapping[str, str]) -> None:
        """Expressions over values must be numbers, a mask over what is stored a condition."""
        for expression in self.expressions:
            check_numeric(expression, values)
        if self.mask:
            check_boolean(self.mask, stored)

    def over(self, relation: str, columns: Sequence[str], bands: Sequence[str]) -> str:
        """The relation with a column ``e0``, ``e1``… per expression; its columns ``v0``… hold the bands.

        Within, no column has a name that an expression could mean by accident.
        """
        inner = {column: f"__rasteret_{column}" for column in columns}
        inner |= {f"v{i}": ident(band) for i, band in enumerate(bands)}
        renamed = ", ".join(f"{column} AS {name}" for column, name in inner.items())
        back = ", ".join(f"{name} AS {column}" for column, name in inner.items())
        computed = ", ".join(f"{expression.sql} AS e{i}" for i, expression in enumerate(self.expressions))
        return f"SELECT {back}, {computed} FROM (SELECT {renamed} FROM {relation})"
