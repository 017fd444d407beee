"""What a plan tells the functions it calls: one JSON text, the same for all rows of a statement."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pyarrow as pa
from rasteret_sql.udfs.arrow import one_chunk

from rasteret_sql.reader.engine import Query
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
    settings: Settings = field(default_factory=Settings)

    @property
    def raise_errors(self) -> bool:
        return self.on_error == "raise"

    def query(self) -> Query:
        return Query(self.function, self.settings, self.raise_errors)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


@lru_cache(maxsize=256)
def parse_options(text: str) -> Options:
    """The options of a plan's JSON."""
    values: dict[str, Any] = json.loads(text)
    values["bands"] = tuple(values["bands"])
    values["settings"] = Settings(**values["settings"])
    return Options(**values)


def options_of(column: pa.Array | pa.ChunkedArray) -> Options | None:
    """The options in a constant column; None for a batch without rows."""
    texts = one_chunk(column)
    return parse_options(texts[0].as_py()) if len(texts) else None
