"""Beside DuckDB's spatial extension: geometries that ``ST_`` functions make are geometries for ours, their CRS included.

The extension comes as the wheel ``duckdb-extension-spatial`` of exactly DuckDB's version; where that is not installed, nothing is tested.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import rasteret_sql
from rasteret_sql.sample import PLOTS, POINTS, data_dir, records


def extension_file() -> Path | None:
    """The extension in the wheel: one folder per DuckDB version."""
    wheel = importlib.util.find_spec("duckdb_extension_spatial")
    if wheel is None or wheel.origin is None:
        return None
    file = Path(wheel.origin).parent / "extensions" / f"v{duckdb.__version__}" / "spatial.duckdb_extension"
    return file if file.exists() else None


pytestmark = pytest.mark.skipif(extension_file() is None, reason=f"no wheel of the spatial extension for DuckDB {duckdb.__version__}")


@pytest.fixture
def spatial(workspace: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the extension, the sample collection ``landsat``, and the sample points and plots."""
    with rasteret_sql.connect(config={"allow_unsigned_extensions": "true"}) as con:
        con.execute(f"LOAD '{extension_file()}'").fetchall()
        con.execute(f"SET VARIABLE rasteret_workspace = '{workspace}'").fetchall()
        con.register("scenes", records(str(data_dir())))
        con.execute("FROM rasteret_build_from_table(scenes, name := 'landsat')").fetchall()
        for name, file in (("points", POINTS), ("plots", PLOTS)):
            con.execute(f"CREATE TABLE {name} AS FROM read_parquet('{data_dir() / file}')").fetchall()
        yield con


def test_points_made_by_the_extension(spatial: duckdb.DuckDBPyConnection) -> None:
    plain = spatial.execute("SELECT id, record_id, B4 FROM rasteret_sample(landsat, points, bands := ['B4']) ORDER BY ALL").fetchall()
    spatial.execute("CREATE TABLE made AS SELECT id, ST_Point(ST_X(geom), ST_Y(geom)) AS geom FROM points").fetchall()
    made = spatial.execute("SELECT id, record_id, B4 FROM rasteret_sample(landsat, made, bands := ['B4']) ORDER BY ALL").fetchall()
    assert len(plain) == 9
    assert made == plain


def test_the_crs_of_the_column_is_obeyed(spatial: duckdb.DuckDBPyConnection) -> None:
    """Points moved to UTM by the extension, and marked so in their type, meet the pixels that they met as longitude and latitude."""
    spatial.execute(
        "CREATE TABLE moved AS SELECT id, ST_Transform(geom, 'OGC:CRS84', 'EPSG:32621')::GEOMETRY('EPSG:32621') AS geom FROM points"
    ).fetchall()
    (kind,) = spatial.execute("SELECT DISTINCT typeof(geom) FROM moved").fetchone() or ("",)
    assert "32621" in kind
    moved = spatial.execute("SELECT id, record_id, B4 FROM rasteret_sample(landsat, moved, bands := ['B4']) ORDER BY ALL").fetchall()
    assert moved == spatial.execute("SELECT id, record_id, B4 FROM rasteret_sample(landsat, points, bands := ['B4']) ORDER BY ALL").fetchall()


def test_centroids_of_plots_lie_in_what_is_read_under_the_plots(spatial: duckdb.DuckDBPyConnection) -> None:
    spatial.execute("CREATE TABLE centres AS SELECT id, ST_Centroid(geom) AS geom FROM plots").fetchall()
    rows = spatial.execute(
        "SELECT list_contains(r.B4, c.B4) FROM rasteret_sample(landsat, centres, bands := ['B4']) AS c "
        "JOIN rasteret_read(landsat, plots, bands := ['B4']) AS r USING (id, record_id)"
    ).fetchall()
    assert rows == [(True,)] * 7


def test_scalar_form_in_a_spatial_join(spatial: duckdb.DuckDBPyConnection) -> None:
    joined = spatial.execute(
        "SELECT p.id, s.id, rasteret_sample(s, p.geom, 'B4') FROM points p "
        "JOIN rasteret_collection(landsat) s ON ST_Intersects(s.geometry, p.geom) ORDER BY ALL"
    ).fetchall()
    assert joined == spatial.execute("SELECT id, record_id, B4 FROM rasteret_sample(landsat, points, bands := ['B4']) ORDER BY ALL").fetchall()


def test_buffers_around_points(spatial: duckdb.DuckDBPyConnection) -> None:
    """A circle of 100 m holds about 35 pixels of 30 m; its box holds at most 8 by 8."""
    spatial.execute("CREATE TABLE circles AS SELECT id, ST_Buffer(ST_Transform(geom, 'OGC:CRS84', 'EPSG:32621'), 100) AS geom FROM points").fetchall()
    rows = spatial.execute(
        "SELECT list_count(B4), height, width FROM rasteret_read(landsat, circles, bands := ['B4'], geometry_crs := 'EPSG:32621')"
    ).fetchall()
    assert len(rows) == 9
    assert all(28 <= pixels <= 42 and height <= 8 and width <= 8 for pixels, height, width in rows)
