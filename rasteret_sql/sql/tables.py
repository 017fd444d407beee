"""What a table argument means as a relation: the user's rows, and where on Earth each lies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rasteret_sql.collection.workspace import is_there
from rasteret_sql.errors import InvalidArgument
from rasteret_sql.raster.crs import check_crs
from rasteret_sql.sql.arguments import Arguments, shown
from rasteret_sql.sql.quote import listed, relation, text
from rasteret_sql.sql.sources import literal_path

ROW = "__rasteret_src"
"""Alias of the user's table: the row as a struct, unless a column has that name."""
_NUMBERED = f"{ROW} AS src, (row_number() OVER () - 1)::INTEGER AS no"
PARQUET_ENDINGS = (".parquet", ".geoparquet", ".parq")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
"""What starts like one names no relation (one of such a name goes in double quotes within the single ones)."""


@dataclass(frozen=True, slots=True)
class Geometries:
    """A table with geometries. Every plan starts from ``src`` (a row of it) and ``no`` (its number)."""

    rows: str
    place: str
    """The geometry, or both coordinates, out of a row."""
    crs: str
    """Out of ``place``."""
    is_pair: bool
    """Do two columns give the coordinates?"""

    @classmethod
    def of(cls, arguments: Arguments, name: str) -> Geometries:
        x, y = arguments.name("x"), arguments.name("y")
        if (x is None) != (y is None):
            raise InvalidArgument("x and y go together: x := '<column>', y := '<column>'")
        asked_crs = arguments.crs("geometry_crs")
        if asked_crs is not None:
            check_crs(asked_crs)
        asked = arguments.name("geometry")
        if x is not None and y is not None:
            kind = "'DOUBLE'"
            place = f"{{'x': struct_extract({ROW}, {text(x)})::DOUBLE, 'y': struct_extract({ROW}, {text(y)})::DOUBLE}}"
        else:
            kind = "typeof(place)"
            place = f"struct_extract({ROW}, __rasteret_geometry_column(typeof({ROW}), {'NULL' if asked is None else text(asked)}))"
        crs = f"__rasteret_geometry_crs({kind}, {'NULL' if asked_crs is None else text(asked_crs)})"
        return cls(table_scan(arguments.required(name)), place, crs, x is not None)

    def points(self, on_error: str, time: str | None = None, files: Sequence[str] = ()) -> str:
        """CTEs ``__rows`` (``src``, ``no``) and those of :func:`located_points`; ``time`` is an expression on ``src``."""
        more = "" if time is None else f", {time} AS time"
        placed = f"SELECT no, {self.place} AS place{more} FROM (SELECT src, src AS {ROW}, no FROM __rows)"
        given = f"(SELECT *, {self.crs} AS crs FROM ({placed}))"
        located = located_points(given, on_error, files, timed=time is not None)
        return f"__rows AS MATERIALIZED (SELECT {_NUMBERED} FROM {self.rows} AS {ROW}),\n{located}"

    def areas(self, on_error: str, *, polygons: bool = False) -> str:
        """CTE body of ``src``, ``no``, ``crs`` and ``g``: ``STRUCT(wkb, xmin, ymin, xmax, ymax, error)``; ``polygons`` refuses what has no area.

        Each step names what the next one uses: DuckDB folds a function of ours wherever it is written, a millisecond each time.
        """
        function = "__rasteret_polygons" if polygons else "__rasteret_geometries"
        shape = "'POINT (' || place.x || ' ' || place.y || ')'" if self.is_pair else "place"
        rows = f"SELECT {_NUMBERED}, {self.place} AS place FROM {self.rows} AS {ROW}"
        return f"SELECT src, no, crs, unnest([{function}({shape}, crs, {text(on_error)})]) AS g FROM (SELECT *, {self.crs} AS crs FROM ({rows}))"


def located_points(given: str, on_error: str, files: Sequence[str] = (), *, timed: bool = False) -> str:
    """CTEs of points; ``given`` has ``no``, ``place``, ``crs``, and ``time`` where they are ``timed``; ``files`` hold the records to come.

    ``__h``: one row with the reader's ticket for them all. ``__g``: one row each, ``no``, ``lon``, ``lat``, ``error`` and ``crs``. A function sees
    2,048 rows at a time, at a millisecond each time; so it is called once, with a list.
    """
    fields = listed(f"'{name}': {name}" for name in ("no", "place", *(["time"] if timed else [])))
    held = f"__rasteret_hold(list({{{fields}}}), any_value(crs), {text(on_error)}, [{listed(map(text, files))}]::VARCHAR[])"
    return f"""__h AS MATERIALIZED (SELECT {held} AS h, any_value(crs) AS crs FROM {given}),
__g AS (SELECT unnest(h.no) AS no, unnest(h.lon) AS lon, unnest(h.lat) AS lat, unnest(h.error) AS error, crs FROM __h)"""


def table_scan(source: Any) -> str:
    """``FROM`` item of a table argument: a relation's name, or a path of a Parquet or CSV file."""
    if not isinstance(source, str) or not source:
        raise InvalidArgument(f"{shown(source)} is no table; a table, view, CTE or the path of a file is valid")
    reader = "read_parquet" if source.endswith(PARQUET_ENDINGS) else "read_csv" if source.endswith((".csv", ".tsv")) else None
    if reader is not None:
        itself = "://" not in source and is_there(Path(source))
        return f"{reader}({text(literal_path(source) if itself else source)})"
    if _URL.match(source):
        raise InvalidArgument(f"{shown(source)} is no table; a table, view, CTE or the path or URL of a .parquet or .csv file is valid")
    return relation(source)
