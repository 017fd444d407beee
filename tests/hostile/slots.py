"""Every argument of every function, out of the catalogue: the call it is part of, and what becomes of a text or value in its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyproj

from rasteret_sql.sql.catalogue import TABLE_FUNCTIONS, scalar_functions

HOLE = "\N{WHITE SQUARE}"
"""Where the value goes in a call."""
Rows = list[tuple[Any, ...]]
Expected = Callable[[str], str | None]
"""By value: a pattern of the error's first line; None where the call gives what it gives without the value."""

_READ = {"bands": "['red']"}
_POINTS = {"collection": "c", "points": "points", "x": "'lon'", "y": "'lat'"} | _READ
_PLOTS = {"collection": "c", "geometries": "plots"} | _READ
BASE: dict[str, dict[str, str]] = {
    "rasteret_collections": {},
    "rasteret_datasets": {},
    "rasteret_functions": {},
    "rasteret_help": {},
    "rasteret_settings": {},
    "rasteret_io": {"last": "1"},
    "rasteret_collection": {"collection": "c"},
    "rasteret_bands": {"collection": "c"},
    "rasteret_failures": {"collection": "c"},
    "rasteret_build": {"dataset": "'local/static'", "name": "'built'"},
    "rasteret_build_from_stac": {"api": "'../catalogue'", "collection": "'scenes'", "name": "'built'", "band_map": "{'red': 'red'}"},
    "rasteret_build_from_table": {"records": "files", "name": "'built'", "href_column": "'href'"},
    "rasteret_export": {"collection": "c", "path": "'../exports/e'", "overwrite": "true"},
    "rasteret_sample": _POINTS,
    "rasteret_read": _PLOTS,
    "rasteret_pixels": _PLOTS,
    "rasteret_zonal": _PLOTS,
    "rasteret_plan": _PLOTS,
}
"""A call of every function that succeeds."""
WITH: dict[str, dict[str, str | None]] = {
    "geometry": {"x": None, "y": None},
    "time": {"match": "'nearest'"},
    "time_column": {"match": "'nearest'", "time_column": "'seen'"},
    "tolerance": {"match": "'nearest'", "time_column": "'seen'"},
    "align_to": {"resolution": "10"},
    "target_crs": {"resolution": "10"},
    "resampling": {"resolution": "10"},
    "solar_day": {"per": "'day'"},
    "band_columns": {"href_column": None, "band_columns": "{'red': 'href'}"},
    "band_codes": {"href_column": None, "records": "with_assets"},
}
"""What an argument needs beside it, or (None) cannot have beside it."""


@cache
def _crs(value: str) -> str | None:
    """By pyproj itself; what it takes is taken."""
    name = value.strip()
    try:
        pyproj.CRS.from_user_input(f"EPSG:{name}" if name.isdigit() else name)
    except (pyproj.exceptions.CRSError, pyproj.exceptions.ProjError):
        return "unknown CRS"
    return None


def refused(pattern: str) -> Expected:
    return lambda _: pattern


def _as_name(value: str) -> str | None:
    return None if re.fullmatch(r"\w[\w.-]*", value) and len(value.encode()) < 200 else "is no collection name"


def _as_place(value: str) -> str | None:
    """A folder below the one for exports (texts that lead out of it are not tried)."""
    return "is no path to write to" if any(len(part.encode()) > 200 for part in value.split("/")) else None


def _as_new_name(value: str) -> str | None:
    return "is no name for a column|has this name already" if not value.strip() or value.lower() in {"red", "nir"} else None


NO_RELATION = (
    r"does not exist|no collection|is no name of a table|is no collection|no file matches|is not valid|no file or folder|no such file|is no table"
    r"|impossible path|is not read yet|names a bucket|not a valid URL|paths are not read|empty or|too long|HTTP 404|\$Ambiguous|holds no Parquet"
    r"|not a TIFF|Is a directory|not found in FROM|are not read|cannot be read|no valid JSON|Table with name|neither a STAC API|millions of items|Circular reference"
)
COSTLY, CRS = 14, 24


@dataclass(frozen=True)
class Form:
    """One way a text stands in an argument."""

    sql: str
    expected: Expected
    count: int = 76
    path: bool = False
    """Is the text a place, so that files and servers may be asked for it?"""
    seed: str = ""
    """The same texts in all slots of one seed: where looking one up takes long, and is remembered."""


TABLE = [Form(HOLE, refused(NO_RELATION), 76, path=True)]
CHOICE = [Form(HOLE, refused("is not valid.*valid: "))]
FLAG = [Form(HOLE, refused("is not valid; valid: true, false"))]
COLUMN = [Form(HOLE, refused("no column|Could not find key|neither NULL nor empty|Key name for struct_extract must not be empty"))]
DATES = r"date_range|is no date|years? |is reversed|no end"
NUMBER = [Form(HOLE, refused("is not valid; .*number.* is|whole numbers from 0 to .* are")), Form(f"[{HOLE}]", refused("is not valid"), 30)]
A_CRS = [Form(HOLE, _crs, CRS, seed="crs")]
NO_MAP = Form(HOLE, refused(r"is not valid; \{'\w+': "), 30)
REWRITE = [
    NO_MAP,
    Form(f"MAP {{{HOLE}: '/nowhere/'}}", lambda value: None if value else "has a readable file", COSTLY),
]
FORMS: dict[str, list[Form]] = {
    "collection": TABLE,
    "points": TABLE,
    "geometries": TABLE,
    "records": TABLE,
    "bands": [
        Form(HOLE, refused("unknown band")),
        Form(f"['red', {HOLE}]", refused("unknown band")),
        Form(f"[[{HOLE}]]", refused("is not valid"), 30),
    ],
    "geometry": COLUMN,
    "x": COLUMN,
    "y": COLUMN,
    "geometry_crs": A_CRS,
    "crs": A_CRS,
    "target_crs": A_CRS,
    "scaled": FLAG,
    "force": FLAG,
    "overwrite": FLAG,
    "solar_day": FLAG,
    "on_error": CHOICE,
    "match": CHOICE,
    "interpolation": CHOICE,
    "layout": CHOICE,
    "pixels": CHOICE,
    "per": CHOICE,
    "resampling": CHOICE,
    "time": COLUMN,
    "time_column": COLUMN,
    "tolerance": [Form(HOLE, refused("tolerance"))],
    "expressions": [
        NO_MAP,
        Form(f"MAP {{'e': {HOLE}}}", refused(r"expressions\.e: ")),
        Form(f"MAP {{{HOLE}: 'red + 0'}}", _as_new_name, COSTLY),
    ],
    "mask": [Form(HOLE, refused("mask"))],
    "weights": [Form(HOLE, refused("weights"))],
    "max_distance_pixels": NUMBER,
    "neighbourhood": NUMBER,
    "resolution": NUMBER,
    "align_to": [Form(HOLE, refused("two coordinates")), Form(f"[{HOLE}, {HOLE}]", refused("two coordinates"))],
    "stats": [Form(HOLE, refused("statistic|is not valid")), Form(f"['mean', {HOLE}]", refused("statistic|is not valid"))],
    "function": [Form(HOLE, refused("function := .* is none"))],
    "last": NUMBER,
    "max_items": NUMBER,
    "name": [Form(HOLE, _as_name)],
    "path": [Form(f"'../exports/' || {HOLE}", _as_place, COSTLY, path=True)],
    "partition_by": [Form(HOLE, refused("names no column")), Form(f"['year', {HOLE}]", refused("names no column"))],
    "href_column": COLUMN,
    "band_index_map": [NO_MAP, Form(f"MAP {{{HOLE}: 0}}", lambda value: None if value else "$empty", COSTLY)],
    "band_columns": [
        NO_MAP,
        Form(f"MAP {{{HOLE}: 'href'}}", lambda value: None if value else "$empty", COSTLY),
        Form(f"MAP {{'b': {HOLE}}}", refused("no column"), 60),
    ],
    "band_codes": [Form(HOLE, refused("no band")), Form(f"['red', {HOLE}]", refused("no band"), 60)],
    "column_map": [NO_MAP, Form(f"MAP {{{HOLE}: 'id'}}", refused("no column")), Form(f"MAP {{'extra': {HOLE}}}", lambda _: None, COSTLY)],
    "url_rewrite": REWRITE,
    "dataset": [Form(HOLE, refused("unknown dataset"))],
    "bbox": [Form(HOLE, refused("bbox")), Form(f"[{HOLE}, {HOLE}, {HOLE}, {HOLE}]", refused("bbox"), 60)],
    "date_range": [Form(HOLE, refused(DATES)), Form(f"[{HOLE}, '..']", refused(DATES))],
    "query": [
        Form(HOLE, lambda value: None if value.strip() == "{}" else "query"),
        Form(f"MAP {{{HOLE}: {{'lt': 1}}}}", refused("no items found|query|millions"), 60),
        Form(f"MAP {{'eo:cloud_cover': MAP {{{HOLE}: 1}}}}", refused("is no operator"), 60),
        Form(f"{{'eo:cloud_cover': {{'eq': {HOLE}}}}}", refused("no items found"), 60),
    ],
    "filter": [Form(HOLE, refused("filter"))],
    "intersects": [Form(HOLE, refused("intersects"))],
    "ids": [Form(HOLE, refused("no items found|ids := ")), Form(f"['x', {HOLE}]", refused("no items found|ids := "))],
    "sort_by": [Form(HOLE, refused("sort_by")), Form(f"['x', {HOLE}]", refused("sort_by"))],
    "api": TABLE,
    "band_map": [
        NO_MAP,
        Form(f"MAP {{'b': {HOLE}}}", refused("band_map|has an asset"), 60),
        Form(f"MAP {{{HOLE}: 'red'}}", lambda value: None if value else "band_map", COSTLY),
    ],
}
"""By argument; or by ``function.argument`` where one is different."""
FORMS["rasteret_build_from_stac.collection"] = [Form(HOLE, refused("no items found|collection := "))]
FORMS["rasteret_build_from_stac.band_index_map"] = [NO_MAP, Form(f"MAP {{{HOLE}: 0}}", refused("names no band"))]
SCALAR_BASE = {
    "rasteret_sample": {"record": "c", "point": "geom", "band": "'red'"},
    "rasteret_read": {"record": "c", "geometry": "geom", "band": "'red'"},
    "rasteret_zonal": {"record": "c", "geometry": "geom", "band": "'red'", "stat": "'mean'"},
    "rasteret_value": {"collection": "'c'", "point": "'POINT(15 46.95)'", "band": "'red'"},
}
SCALAR_FORMS = {
    "record": [Form(HOLE, refused("Error: "))],
    "point": [Form(HOLE, refused("no valid WKT|is no point|point is missing"), 60)],
    "geometry": [Form(HOLE, refused("no valid WKT|has no area"), 60)],
    "band": [Form(HOLE, refused("Could not find key|unknown band"))],
    "stat": [Form(HOLE, refused("statistic"))],
    "collection": [Form(HOLE, refused(NO_RELATION), path=True)],
}


@dataclass(frozen=True)
class Slot:
    """One form of one argument of one function."""

    function: str
    argument: str
    form: Form
    call: str
    """A statement with :data:`HOLE`."""
    base: str
    """The same call without the argument, or with its valid value."""

    @property
    def name(self) -> str:
        return f"{self.function}.{self.argument}={self.form.sql.replace(HOLE, '_')}"


def table_arguments() -> Iterator[tuple[str, str]]:
    for function in TABLE_FUNCTIONS:
        yield from ((function.name, argument) for argument in (*function.positional, *function.named))


def scalar_arguments() -> Iterator[tuple[str, str]]:
    for function in scalar_functions({}, {}):
        yield from ((function.name, argument) for argument in arguments_of(function.signature))


def arguments_of(signature: str) -> list[str]:
    """``f(a, b := NULL)`` → a, b."""
    inside = signature.partition("(")[2].removesuffix(")")
    return [part.partition(":=")[0].strip() for part in inside.split(", ") if part]


def slots() -> list[Slot]:
    """All of them; KeyError for an argument that nobody thought of here."""
    found = []
    for function, argument in table_arguments():
        for form in FORMS.get(f"{function}.{argument}") or FORMS[argument]:
            found.append(Slot(function, argument, form, table_call(function, argument, form.sql), table_call(function, argument, None)))
    for function, argument in scalar_arguments():
        for form in SCALAR_FORMS[argument]:
            found.append(Slot(f"{function}()", argument, form, scalar_call(function, argument, form.sql), scalar_call(function, argument, None)))
    return found


def table_call(function: str, argument: str, value: str | None) -> str:
    """The function's valid call with this value in this argument; None: as it is without it."""
    (known,) = (table for table in TABLE_FUNCTIONS if table.name == function)
    given: dict[str, str | None] = {**BASE[function], **WITH.get(argument, {})}
    given = {name: text for name, text in given.items() if name in known.named or name in known.positional}
    if argument in ("x", "y"):
        given |= {known.positional[1]: "points", "x": "'lon'", "y": "'lat'"}
        given |= {"rasteret_pixels": {"pixels": "'center'"}, "rasteret_zonal": {"on_error": "'null'"}}.get(function, {})
    if argument == "time" and value is None:
        given["time"] = "'seen'"
    if value is not None:
        given[argument] = value
    words = [given[name] or "NULL" for name in known.positional]
    words += [f'"{name}" := {text}' for name, text in given.items() if name not in known.positional and text is not None]
    return f"FROM {function}({', '.join(words)})"


def scalar_call(function: str, argument: str, value: str | None) -> str:
    given = SCALAR_BASE[function] | ({} if value is None else {argument: value})
    words = [f"stat := {text}" if name == "stat" else text for name, text in given.items()]
    if function == "rasteret_value":
        return f"SELECT rasteret_value({', '.join(words)})"
    source = "points" if function == "rasteret_sample" else "plots"
    return f"SELECT {function}({', '.join(words)}) FROM {source}, rasteret_collection('c') AS c"


SLOTS_OF_TEXT = [slot for slot in slots() if slot.form.sql == HOLE]
"""Where an argument is the text itself."""
