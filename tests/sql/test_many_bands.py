"""Bands of many types in one call, more than have a field of their own in a result, against rasterio; from a collection and from a relation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely

from tests.reader.oracle import SKY, write_tif

DTYPES = ("uint8", "float32", "int16", "uint8", "uint32", "float64", "uint8", "float32")
"""Types come again on both sides of the fourth band."""
BANDS = [f"B{i}" for i in range(len(DTYPES))]
UTM = "geometry_crs := 'EPSG:32633'"
SIZE = 40
SOURCES = ("collection", "relation")


@pytest.fixture
def images(con, tmp_path: Path) -> list[np.ma.MaskedArray]:
    """Two records: one has all bands, the other lacks the second and the sixth. The pixels of the first; the collection ``many``, the table ``plots``."""
    rng = np.random.default_rng(4)
    paths = []
    for i, dtype in enumerate(DTYPES):
        pixels = rng.integers(0, 120, (SIZE, SIZE)).astype(dtype)
        paths.append(write_tif(tmp_path / f"{i}.tif", pixels, nodata=7, blockxsize=16, blockysize=16))
    lacking = [None if i in (1, 5) else path for i, path in enumerate(paths)]
    columns = {f"p{i}": [path, lacking[i]] for i, path in enumerate(paths)}
    con.register("__r", pa.table({"id": ["all", "some"], **columns}))
    named = ", ".join(f"'{band}': 'p{i}'" for i, band in enumerate(BANDS))
    con.execute(f"FROM rasteret_build_from_table('__r', name := 'many', band_columns := {{{named}}})").fetchall()
    con.execute("CREATE TEMP TABLE relation AS FROM rasteret_collection('many')").fetchall()
    left, top = SKY.c, SKY.f
    plot = shapely.Polygon([(left + SKY.a * c, top + SKY.e * r) for c, r in ((3.2, 2.1), (30.7, 5.5), (22.3, 33.9))])
    con.execute(f"CREATE TEMP TABLE plots AS SELECT 1 AS plot, '{plot.wkt}' AS geom").fetchall()
    found = []
    for path in paths:
        with rasterio.open(path) as image:
            found.append(image.read(1, masked=True))
    return found


def collection(source: str) -> str:
    return f"'{'many' if source == 'collection' else 'relation'}', 'plots', bands := {BANDS}, {UTM}"


@pytest.mark.parametrize("source", SOURCES)
def test_read(con, images: list[np.ma.MaskedArray], source: str) -> None:
    names = ", ".join(BANDS)
    sql = f"SELECT record_id, height, width, transform, {names} FROM rasteret_read({collection(source)}, pixels := 'window') ORDER BY record_id"
    answers = con.execute(sql).fetchall()
    assert [row[0] for row in answers] == ["all", "some"]
    for name, height, width, transform, *arrays in answers:
        row, col = round((SKY.f - transform[5]) / -SKY.e), round((transform[2] - SKY.c) / SKY.a)
        for i, (values, image) in enumerate(zip(arrays, images, strict=True)):
            if name == "some" and i in (1, 5):
                assert values is None or not any(value is not None for value in values)
                continue
            expected = image[row : row + height, col : col + width].ravel().tolist()  # None where masked
            assert values == expected, BANDS[i]


@pytest.mark.parametrize("source", SOURCES)
def test_sample_and_pixels_agree_with_rasterio(con, images: list[np.ma.MaskedArray], source: str) -> None:
    names = ", ".join(BANDS)
    pixels = con.execute(f"SELECT record_id, row, col, {names} FROM rasteret_pixels({collection(source)}, pixels := 'center')").fetchall()
    assert len(pixels) > 500
    for name, row, col, *values in pixels:
        expected = [None if name == "some" and i in (1, 5) else image[row, col] for i, image in enumerate(images)]
        assert values == [None if value is np.ma.masked else value for value in expected], (name, row, col)
    con.execute(f"CREATE TEMP TABLE points AS SELECT DISTINCT row, col, {{'x': {SKY.c} + {SKY.a} * (col + 0.4), 'y': {SKY.f} + {SKY.e} * (row + 0.6)}} AS at "
                f"FROM rasteret_pixels({collection(source)}, pixels := 'center')").fetchall()  # fmt: skip
    call = collection(source).replace("'plots'", "'points'")
    sampled = con.execute(f"SELECT record_id, row, col, {names} FROM rasteret_sample({call}, geometry := 'at')").fetchall()
    assert {row for row in sampled if any(value is not None for value in row[3:])} == set(pixels)


def test_types(con, images: list[np.ma.MaskedArray]) -> None:
    wanted = {"uint8": "UTINYINT", "float32": "FLOAT", "int16": "SMALLINT", "uint32": "UINTEGER", "float64": "DOUBLE"}
    for source in SOURCES:
        described = {name: kind for name, kind, *_ in con.execute(f"DESCRIBE FROM rasteret_read({collection(source)})").fetchall()}
        assert [described[band] for band in BANDS] == [f"{wanted[dtype]}[]" for dtype in DTYPES]
