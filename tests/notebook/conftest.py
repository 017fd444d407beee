"""The sample imagery as collections, and its tables, for every tool."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import rasteret_sql
from rasteret_sql.sample import PLOTS, POINTS, RGBN_PLOTS, data_dir, records


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the environment, so that cursors and other processes find it too: variables are a connection's own."""
    monkeypatch.setenv("RASTERET_WORKSPACE", str(tmp_path / "workspace"))
    return tmp_path / "workspace"


@pytest.fixture
def con(workspace: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """``rasteret_sql.connect()`` with the collections ``landsat`` and ``rgbn`` and the tables ``points``, ``plots`` and ``rgbn_plots``."""
    with rasteret_sql.connect() as connection:
        prepare(connection)
        yield connection


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    for dataset in ("landsat", "rgbn"):
        connection.register("incoming", records(str(data_dir()), dataset))
        connection.execute(f"FROM rasteret_build_from_table(incoming, name := '{dataset}')").fetchall()
        connection.unregister("incoming")
    for name, file in (("points", POINTS), ("plots", PLOTS), ("rgbn_plots", RGBN_PLOTS)):
        connection.execute(f"CREATE TABLE {name} AS FROM read_parquet('{data_dir() / file}')").fetchall()
