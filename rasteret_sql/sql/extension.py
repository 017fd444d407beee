"""Registering the functions on a DuckDB connection.

Functions belong to the database instance and are made once. Macros live twice: as temporary macros (plain names on this connection, nothing in the
user's file) and in an attached in-memory catalog ``rasteret``, which every cursor of the instance sees.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import duckdb
import pyarrow as pa

from rasteret_sql.collection.views import without_views
from rasteret_sql.errors import RasteretError
from rasteret_sql.raster import crs
from rasteret_sql.settings import resolve_settings
from rasteret_sql.sql import interrupts
from rasteret_sql.sql.catalogue import TABLE_FUNCTIONS, scalar_functions
from rasteret_sql.sql.evaluator import Evaluator
from rasteret_sql.sql.filesystem import register_files
from rasteret_sql.sql.planner import plan
from rasteret_sql.sql.polling import counted
from rasteret_sql.sql.scalars import scalar_options, typed_field, zonal_options
from rasteret_sql.udfs import blocks, build, build_stac, export, geometry, info, link, pacing, pixels, read, sample, times, zonal
from rasteret_sql.udfs import plan as cost
from rasteret_sql.udfs.slots import PIXEL_SLOTS, VALUE_SLOTS

CATALOGS = ("rasteret", "rasteret_sql")
"""Name of the attached catalog; the second one where the user's own database file has the first (``rasteret.db``)."""
_TEMPORARY = "CREATE OR REPLACE TEMP MACRO"
_LOCK = threading.Lock()

Function = Callable[..., pa.Array]


def connect(database: str = ":memory:", *, read_only: bool = False, config: dict[str, Any] | None = None) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with all ``rasteret_`` functions: ``duckdb.connect`` and :func:`register` in one."""
    return register(duckdb.connect(database, read_only=read_only, config=config or {}))


def register(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Make all functions known to a connection; again is harmless. Leaves nothing in the user's database file.

    Raises :class:`RasteretError` on a connection with an open transaction (a rollback would take half of it back), and where the environment
    holds a setting that is not valid.
    """
    resolve_settings()
    crs.get_ready()
    with _LOCK:
        _check_no_transaction(con)
        catalog = _catalog(con)
        for name, (function, result, effects) in _functions().items():
            _create(con, name, function, None, result, type="arrow", side_effects=effects)
        for name, said in _NAMES.items():
            _create(con, name, said, ["VARCHAR", "VARCHAR"], "VARCHAR", type="native")
        register_files(con)
        con.execute(f"ATTACH IF NOT EXISTS ':memory:' AS {catalog} (READ_WRITE)").fetchall()
        instance = _instance(con, catalog)
        for statement in _macros(catalog, instance):
            con.execute(statement).fetchall()
        interrupts.follow(con, instance)
    return con


def register_cursor(cursor: duckdb.DuckDBPyConnection) -> None:
    """Plain names on a cursor of a registered connection: functions are there already, temporary macros belong to each cursor."""
    with _LOCK:
        catalog = _catalog(cursor)
        for statement in _macros(catalog, _instance(cursor, catalog)):
            if statement.startswith(_TEMPORARY):
                cursor.execute(statement).fetchall()


def _check_no_transaction(con: duckdb.DuckDBPyConnection) -> None:
    """Two statements have one transaction only where one is open (asking with BEGIN would end it)."""
    try:
        first, second = (con.execute("SELECT txid_current()").fetchall() for _ in range(2))
    except duckdb.TransactionException:  # it is open, and an error in it waits for its ROLLBACK
        first = second = []
    if first == second:
        raise RasteretError("the connection has an open transaction; COMMIT or ROLLBACK it, then register")


def _catalog(con: duckdb.DuckDBPyConnection) -> str:
    """The first name that is free or an in-memory catalog: never one of the user's files."""
    files = {name for (name,) in con.execute("SELECT lower(database_name) FROM duckdb_databases() WHERE path IS NOT NULL").fetchall()}
    return next(name for name in CATALOGS if name not in files)


def _instance(con: duckdb.DuckDBPyConnection, catalog: str) -> str:
    """A token of the database instance, the same for all its connections."""
    name = f"{catalog}.main.__rasteret_instance"
    con.execute(f"CREATE MACRO IF NOT EXISTS {name}() AS '{uuid.uuid4().hex}'").fetchall()
    token: str = con.execute(f"SELECT {name}()").fetchall()[0][0]
    return token


_NAMES: dict[str, Callable[..., str]] = {
    "__rasteret_geometry_column": geometry.geometry_column,
    "__rasteret_geometry_crs": geometry.geometry_crs,
    "__rasteret_time_column": times.time_column,
    "__rasteret_typed_field": typed_field,
}
"""Functions of two texts, called with constants while a statement is bound: without Arrow, which would cost half a millisecond a call."""


@lru_cache(maxsize=1)
def _functions() -> dict[str, tuple[Function, str, bool]]:
    """Name → (function, result type, does it have effects). Made once and kept: a database may outlive the connection that registered them."""
    evaluate = Evaluator()
    functions: dict[str, tuple[Function, str, bool]] = {
        "__rasteret_plan": (plan, "VARCHAR", False),
        "__rasteret_scalar_options": (scalar_options, "VARCHAR", False),
        "__rasteret_geometries": (geometry.geometries, geometry.GEOMETRY, False),
        "__rasteret_polygons": (geometry.polygons, geometry.GEOMETRY, False),
        "__rasteret_hold": (sample.hold, sample.HELD, False),
        "__rasteret_cells": (sample.divide, sample.CELLS, False),
        "__rasteret_sample_announce": (_with(sample.announce, evaluate), "UTINYINT", False),
        "__rasteret_sample": (_with(sample.sample, evaluate), sample.RESULT, False),
        "__rasteret_first_match": (_with(sample.first_match, evaluate), sample.RESULT, False),
        "__rasteret_announce": (read.announce, f"{read.TICKET}[]", False),
        "__rasteret_pace": (pacing.pace, "UTINYINT[]", False),
        "__rasteret_fetch": (read.fetch, f"{blocks.BLOCK}[]", False),
        "__rasteret_pixel_tickets": (pixels.announce, f"{read.TICKET}[]", False),
        "__rasteret_pixel_rows": (pixels.fetch, f"{pixels.RESULT}[]", False),
        "__rasteret_hold_zones": (zonal.hold, "BIGINT", False),
        "__rasteret_weigh": (zonal.weigh, "BIGINT", False),
        "__rasteret_zonal_announce": (zonal.announce, "UTINYINT", False),
        "__rasteret_zonal": (_with(zonal.zonal, evaluate), zonal.RESULT, False),
        "__rasteret_zonal_options": (zonal_options, "VARCHAR", False),
        "__rasteret_zonal_value": (zonal.value, "DOUBLE", False),
        "__rasteret_zonal_merged": (_with(zonal.merged, evaluate), zonal.RESULT, False),
        "__rasteret_cost": (cost.plan, cost.RESULT, False),
        "__rasteret_build": (build.build, build.RESULT, True),
        "__rasteret_build_stac": (build_stac.build, build.RESULT, True),
        "__rasteret_export_begin": (export.begin, "BIGINT", True),
        "__rasteret_export_take": (export.take, "BIGINT", True),
        "__rasteret_export_end": (export.end, export.RESULT, True),
        "__rasteret_link": (link.link, build.RESULT, True),
        "__rasteret_datasets": (info.answering(build_stac.datasets), build_stac.DATASETS, True),
        "__rasteret_collections": (info.answering(info.collections), info.COLLECTIONS, True),
        "__rasteret_bands": (info.answering(info.bands), info.BANDS, True),
        "__rasteret_failures": (info.answering(info.failures), info.FAILURES, True),
        "__rasteret_settings": (info.answering(info.settings), info.SETTINGS, True),
        "__rasteret_io": (info.answering(info.io), info.IO, True),
    }
    for name, slot in VALUE_SLOTS.items():
        functions[f"__rasteret_value_{slot}"] = (_with(sample.value, name), name, False)
    for name, slot in PIXEL_SLOTS.items():
        functions[f"__rasteret_pixels_{slot}"] = (_with(read.pixels, name), f"{name}[]", False)
    return {name: (counted(_plainly(function)), result, effects) for name, (function, result, effects) in functions.items()}


def _plainly(function: Function) -> Function:
    """The function for columns of any version of Arrow's format that DuckDB is set to send."""
    return lambda *columns: function(*(without_views(column) for column in columns))


def _with(function: Function, last: Any) -> Function:
    """The function with its last argument given; without a signature of its own, which DuckDB would read argument types from."""
    return lambda *columns: function(*columns, last)


def _create(con: duckdb.DuckDBPyConnection, name: str, *function: Any, **how: Any) -> None:
    """Functions belong to the instance: that one is there already is no error."""
    try:
        con.create_function(name, *function, null_handling="special", **how)
    except (duckdb.CatalogException, duckdb.NotImplementedException) as error:
        if "already" not in str(error):
            raise


def _macros(catalog: str, instance: str) -> list[str]:
    statements = []
    for function in TABLE_FUNCTIONS:
        short = function.name.removeprefix("rasteret_")
        statements.append(f"{_TEMPORARY} {function.macro(function.name, instance)}")
        statements += [f"CREATE OR REPLACE MACRO {function.macro(f'{catalog}.main.{name}', instance)}" for name in (short, function.name)]
    for scalar in scalar_functions(VALUE_SLOTS, PIXEL_SLOTS, instance):
        short = scalar.name.removeprefix("rasteret_")
        statements.append(f"{_TEMPORARY} {scalar.name}{scalar.body}")
        statements += [f"CREATE OR REPLACE MACRO {catalog}.main.{name}{scalar.body}" for name in (short, scalar.name)]
    return statements
