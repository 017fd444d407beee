"""DuckDB: does it open and know the functions, does a query on the shipped sample give what rasterio reads, which extensions are there."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import rasterio

from rasteret_sql.doctor.findings import Finding, broken, note, ok
from rasteret_sql.errors import RasteretError, one_line
from rasteret_sql.sample import EPSG, data_dir
from rasteret_sql.sql.extension import connect
from rasteret_sql.sql.quote import text

EXTENSIONS = {
    "spatial": "ST_ functions on your geometries",
    "httpfs": "your own statements over https:// and s3:// (ours need it not)",
    "quack": "rasteret-sql serve and other DuckDB clients",
}
_SAMPLE, _BAND, _ROW, _COL = "landsat/LC08_L1TP_224078_20200518_20200518_01_RT_B4.tif", "b1", 200, 150


def check_duckdb() -> Iterator[Finding]:
    try:
        con = connect()
    except (duckdb.Error, RasteretError) as error:
        yield broken("duckdb", f"DuckDB {duckdb.__version__} does not open with the functions: {_first(error)}", "pip install --upgrade duckdb")
        return
    with con:
        (count,) = con.execute("SELECT count(*) FROM rasteret_functions()").fetchall()[0]
        yield ok("duckdb", f"DuckDB {duckdb.__version__} opens and knows {count} functions")
        yield _sample(con)
        yield from _extensions(con)


def _sample(con: duckdb.DuckDBPyConnection) -> Finding:
    """One pixel of the shipped sample, by SQL and by rasterio."""
    file = data_dir() / _SAMPLE
    again = "pip install --force-reinstall rasteret-sql"
    try:
        with rasterio.open(file) as source:
            x, y = (float(value) for value in source.xy(_ROW, _COL))
            expected = source.read(1)[_ROW, _COL].item()
        point = f"SELECT {x!r}::DOUBLE AS x, {y!r}::DOUBLE AS y"
        crs = f"EPSG:{EPSG['landsat']}"
        statement = f"""WITH doctor_point AS ({point})
            SELECT {_BAND} FROM rasteret_sample({text(str(file))}, doctor_point, bands := ['{_BAND}'], x := 'x', y := 'y', geometry_crs := '{crs}')"""
        found = [value for (value,) in con.execute(statement).fetchall()]
    except (duckdb.Error, RasteretError, rasterio.errors.RasterioError) as error:
        return broken("sample", f"a query on the shipped sample fails: {_first(error)}", again)
    if found != [expected]:
        return broken("sample", f"a query on the shipped sample gives {found}, rasterio reads {expected}", f"{again}; and please report it")
    return ok("sample", f"a query on the shipped sample gives what rasterio reads ({expected})")


def _extensions(con: duckdb.DuckDBPyConnection) -> Iterator[Finding]:
    rows = con.execute("SELECT extension_name, installed, loaded FROM duckdb_extensions()").fetchall()
    known = {name: (installed, loaded) for name, installed, loaded in rows}
    for name, purpose in EXTENSIONS.items():
        installed, loaded = known.get(name, (False, False))
        if loaded or installed:
            yield ok("extension", f"{name} is {'loaded' if loaded else 'installed'}: {purpose}")
        else:
            yield note("extension", f"{name} is not installed: {purpose}", f"in DuckDB: INSTALL {name}; (reading rasters works without it)")


def _first(error: Exception) -> str:
    return one_line(str(error).splitlines()[0] if str(error) else type(error).__name__)
