"""polars, pandas, ibis, SQLAlchemy, geopandas and marimo over ``rasteret_sql.connect()``, most of them by cursors of their own."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import geopandas
import ibis
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sqlalchemy
from duckdb_engine import ConnectionWrapper
from PIL import Image

import rasteret_sql

SQL = "SELECT id, B4 FROM rasteret.sample(landsat, points, bands := ['B4'], match := 'latest') ORDER BY id"
RIGHT = [(1, 6254), (2, 8080), (3, 6106), (4, 8111), (5, 7341)]
READ = "SELECT * EXCLUDE (geom) FROM rasteret.read(landsat, plots, bands := ['B4'])"
HERE = Path(__file__).resolve().parent


def pixels(con: duckdb.DuckDBPyConnection) -> list[np.ma.MaskedArray]:
    return rasteret_sql.to_numpy(con.sql(f"{READ} ORDER BY id, record_id"), "B4")


def same(found: list[np.ma.MaskedArray], right: list[np.ma.MaskedArray]) -> None:
    assert len(found) == len(right) == 7
    assert all(np.ma.allequal(one, other, fill_value=False) or one.tolist() == other.tolist() for one, other in zip(found, right, strict=True))


def test_polars_read_database(con: duckdb.DuckDBPyConnection) -> None:
    for connection in (con, con.cursor()):
        assert pl.read_database(SQL, connection).rows() == RIGHT
    frame = pl.read_database(f"{READ} ORDER BY id, record_id", con)
    assert frame.schema["B4"] == pl.List(pl.UInt16)
    same(rasteret_sql.to_numpy(frame, "B4"), pixels(con))


@pytest.mark.filterwarnings("ignore:pandas only supports SQLAlchemy")
def test_pandas_read_sql(con: duckdb.DuckDBPyConnection) -> None:
    for connection in (con, con.cursor()):
        assert list(pd.read_sql(SQL, connection).itertuples(index=False, name=None)) == RIGHT
    assert list(pd.read_sql(SQL.replace("ORDER BY", "WHERE label = $label ORDER BY"), con, params={"label": "crop"})["B4"]) == [8080]


@pytest.fixture
def engine(con: duckdb.DuckDBPyConnection) -> Iterator[sqlalchemy.Engine]:
    """SQLAlchemy on our database: each of its connections is a cursor."""
    made = sqlalchemy.create_engine("duckdb://", creator=lambda: ConnectionWrapper(con.cursor()))
    yield made
    made.dispose()


def test_sqlalchemy(engine: sqlalchemy.Engine, con: duckdb.DuckDBPyConnection) -> None:
    with engine.connect() as connection:
        assert [tuple(row) for row in connection.execute(sqlalchemy.text(SQL))] == RIGHT
        one = connection.execute(sqlalchemy.text(SQL.replace("ORDER BY", "WHERE label = :label ORDER BY")), {"label": "tree"})
        assert [tuple(row) for row in one] == [(3, 6106)]
        rows = connection.execute(sqlalchemy.text(f"{READ} ORDER BY id, record_id")).fetchall()
    same(rasteret_sql.to_numpy(rows, "B4"), pixels(con))
    same([rasteret_sql.to_numpy(row, "B4") for row in rows], pixels(con))


def test_pandas_on_sqlalchemy(engine: sqlalchemy.Engine) -> None:
    frame = pd.read_sql(sqlalchemy.text(SQL), engine)
    assert list(frame.itertuples(index=False, name=None)) == RIGHT


@pytest.mark.filterwarnings("ignore:fetch_arrow_table")
@pytest.mark.skipif(
    not hasattr(duckdb.DuckDBPyConnection, "fetch_arrow_table"), reason="ibis asks for fetch_arrow_table, which DuckDB 2.0 no longer has"
)
def test_ibis_expressions(con: duckdb.DuckDBPyConnection) -> None:
    backend = ibis.duckdb.from_connection(con)
    table = backend.sql(SQL.replace("id, B4", "id, label, B4"))
    means = table.group_by("label").agg(mean=table.B4.mean()).order_by("label").to_pyarrow()
    assert means.to_pydict() == {"label": ["crop", "developed", "tree", "water"], "mean": [8080.0, 8111.0, 6106.0, (6254 + 7341) / 2]}
    chips = backend.sql(READ)
    same(rasteret_sql.to_numpy(chips.order_by("id", "record_id"), "B4"), pixels(con))


def test_ibis_raw_sql(con: duckdb.DuckDBPyConnection) -> None:
    assert ibis.duckdb.from_connection(con).raw_sql(SQL).fetchall() == RIGHT


def test_geopandas(con: duckdb.DuckDBPyConnection) -> None:
    """Zonal statistics beside their geometries, with the CRS of the column."""
    zonal = con.sql("FROM rasteret_zonal(landsat, plots, bands := ['B4'], stats := ['count', 'mean'], per := 'day') ORDER BY id")
    frame = geopandas.GeoDataFrame.from_arrow(zonal.to_arrow_table())
    assert frame.crs.equals("OGC:CRS84", ignore_axis_order=True)
    assert frame.geometry.name == "geom"
    assert list(frame["mean"]) == [row[0] for row in zonal.select("mean").fetchall()]
    scenes = frame["count"] / (frame.to_crs(32621).area / 900)
    assert ((scenes - scenes.round()).abs() < 0.01).all()  # pixels are 30 m by 30 m, in one scene or in two of that day


def test_pictures_of_geodataframes_know_their_crs(con: duckdb.DuckDBPyConnection) -> None:
    table = con.sql("FROM rasteret_read(landsat, plots, bands := ['B4'], pixels := 'window') ORDER BY id, record_id").to_arrow_table()
    frame = geopandas.GeoDataFrame.from_arrow(table).to_crs(3857)
    np.testing.assert_array_equal(np.asarray(rasteret_sql.show(frame).image), np.asarray(rasteret_sql.show(table).image))


@pytest.fixture
def marimo_home(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path


def run(arguments: list[str], folder: Path) -> str:
    ran = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout + ran.stderr


def test_marimo_as_a_script(marimo_home: Path) -> None:
    said = run([str(HERE / "marimo_sample.py")], marimo_home)
    assert f"values {RIGHT}" in said
    assert "shapes [(23, 22), (23, 22)]" in said


def test_marimo_as_a_page_shows_the_picture(marimo_home: Path) -> None:
    page = marimo_home / "page.html"
    run(["-m", "marimo", "export", "html", str(HERE / "marimo_sample.py"), "-o", str(page), "--no-include-code"], marimo_home)
    (found,) = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page.read_text(encoding="utf-8"))
    place = marimo_home / "found.png"
    place.write_bytes(base64.b64decode(found))
    with Image.open(place) as image:
        assert image.mode == "RGBA"
        assert image.size[0] > 240
