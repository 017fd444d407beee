"""Which points meet which records, wherever they lie: on either side of the equator and the meridian, in records large and small, against rasterio."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from affine import Affine

from tests.reader.oracle import sampled, write_tif

PIXELS = 24
SCENES = [(-0.7, 0.5, 0.05), (-0.002, 0.001, 1e-4), (0.3, -0.2, 0.02), (-60.0, -30.0, 0.5), (-180.0, 90.0, 7.5), (178.8, -88.8, 0.05)]
"""West, north, and the size of a pixel, in degrees."""


@pytest.fixture
def built(con, tmp_path: Path) -> dict[str, str]:
    """The collection ``c``: a record per scene, the first the oldest; the file by id."""
    files = {}
    for number, (west, north, size) in enumerate(SCENES):
        planes = np.random.default_rng(number).integers(1, 60_000, (PIXELS, PIXELS)).astype("uint16")
        files[f"s{number}"] = write_tif(tmp_path / f"s{number}.tif", planes, crs="EPSG:4326", transform=Affine(size, 0, west, 0, -size, north))
    records = [{"id": name, "datetime": dt.datetime(2024, 1, 1 + i), "path": path} for i, (name, path) in enumerate(files.items())]
    con.register("records", pa.Table.from_pylist(records))
    con.execute("FROM rasteret_build_from_table('records', name := 'c', href_column := 'path', band_index_map := {'B': 0})").fetchall()
    return files


@pytest.fixture
def places(con) -> tuple[np.ndarray, np.ndarray]:
    """The table ``places``: points in and around every scene, and anywhere."""
    random = np.random.default_rng(3)
    lon = [random.uniform(-180, 180, 500), *(random.uniform(west - 3 * size, west + 27 * size, 400) for west, _, size in SCENES)]
    lat = [random.uniform(-90, 90, 500), *(random.uniform(north - 27 * size, north + 3 * size, 400) for _, north, size in SCENES)]
    x, y = np.clip(np.concatenate(lon), -179.999, 179.999), np.clip(np.concatenate(lat), -89.999, 89.999)
    con.register("places", pa.table({"no": np.arange(len(x)), "lon": x, "lat": y}))
    return x, y


def expected(path: str, x: np.ndarray, y: np.ndarray) -> dict[int, int]:
    """By number of the point."""
    found = sampled(path, x, y)[0]
    return {i: int(found[i]) for i in np.flatnonzero(~np.ma.getmaskarray(found)).tolist()}


@pytest.mark.parametrize("source", ["'c'", "part"])
def test_each_point_meets_the_records_that_it_lies_in(con, built, places, source) -> None:
    """By name the size of cells is what the files say, of a CTE it is asked of the records."""
    part = "WITH part AS MATERIALIZED (FROM rasteret_collection('c'))"
    reading = f"rasteret_sample({source}, places, bands := ['B'], x := 'lon', y := 'lat')"
    rows = con.execute(f"{part} SELECT no, record_id, B FROM {reading} WHERE status = 'ok'").fetchall()
    judged = {name: expected(path, *places) for name, path in built.items()}
    assert len({len(values) for values in judged.values()}) > 1
    assert all(judged.values())
    assert sorted(rows) == sorted((no, name, value) for name, values in judged.items() for no, value in values.items())


def test_the_newest_record_of_each_point(con, built, places) -> None:
    newest: dict[int, tuple[str, int]] = {}
    for name, path in built.items():
        newest |= {no: (name, value) for no, value in expected(path, *places).items()}
    rows = con.execute(
        "SELECT no, record_id, B FROM rasteret_sample('c', places, x := 'lon', y := 'lat', match := 'latest') WHERE status = 'ok'"
    ).fetchall()
    assert {no: (name, value) for no, name, value in rows} == newest
