"""What a plan tells the functions it calls: one JSON text, the same for all rows of a statement."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pyarrow as pa

from rasteret_sql.collection.nested import one_chunk
from rasteret_sql.raster.targets import Target
from rasteret_sql.reader.engine import Query
from rasteret_sql.reader.statements import Statement, statement_of_origin
from rasteret_sql.settings import Settings


@dataclass(frozen=True, slots=True)
class Options:
    """Arguments that a plan has checked already."""

    function: str
    bands: tuple[str, ...] = ()
    on_error: str = "raise"
    pixels: str = "center"
    scaled: bool = False
    max_distance_pixels: int = 0
    neighbourhood: int = 0
    outputs: tuple[str, ...] = ()
    """Bands and expressions of the result, where it is not simply the bands."""
    expressions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    """Name, SQL and bands of each expression, the mask's and the weights' among them."""
    statistics: tuple[str, ...] = ()
    match: str = "all"
    tolerance_us: int | None = None
    """Of ``match`` nearest: microseconds between a point's time and its record's; None is any distance."""
    interpolation: str = "nearest"
    mask: str = ""
    """SQL over bands, where pixels count; empty without one."""
    mask_bands: tuple[str, ...] = ()
    """The bands it names; all are in ``bands``."""
    mask_only: int = 0
    """So many bands, the last ones, serve the mask alone and are no part of the result."""
    target: Target = field(default_factory=Target)
    settings: Settings = field(default_factory=Settings)

    @property
    def raise_errors(self) -> bool:
        return self.on_error == "raise"

    def statement(self, number: int | None = None) -> Statement:
        """The statement of this connection to which DuckDB gave the number."""
        return statement_of_origin(self.settings.origin, number)

    def query(self, number: int | None = None) -> Query:
        """A read of theirs, part of the statement with that number."""
        return self.query_of(self.statement(number))

    def query_of(self, statement: Statement) -> Query:
        return Query(self.function, self.settings, self.raise_errors, statement)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


@lru_cache(maxsize=256)
def parse_options(text: str) -> Options:
    """The options of a plan's JSON."""
    values: dict[str, Any] = json.loads(text)
    for name in ("bands", "outputs", "statistics"):
        values[name] = tuple(values[name])
    values["expressions"] = tuple((name, sql, tuple(bands)) for name, sql, bands in values["expressions"])
    values["mask_bands"] = tuple(values["mask_bands"])
    values["settings"] = Settings(**values["settings"])
    values["target"] = _target(**values["target"])
    return Options(**values)


def _target(align_to: list[float] | None, kept: list[str], **others: Any) -> Target:
    return Target(align_to=None if align_to is None else (align_to[0], align_to[1]), kept=tuple(kept), **others)


def options_of(column: pa.Array | pa.ChunkedArray) -> Options | None:
    """The options in a constant column; None for a batch without rows."""
    texts = one_chunk(column)
    return parse_options(texts[0].as_py()) if len(texts) else None


def statement_of(column: pa.Array | pa.ChunkedArray) -> int | None:
    """The number of the statement, which all rows have that have one; None for a batch without."""
    numbers: list[int] = one_chunk(column).drop_null()[:1].to_pylist()
    return numbers[0] if numbers else None
