"""Every kind of file the reader takes, through SQL, against rasterio: samples at points and arrays under polygons, to the pixel."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely
import tifffile
from rasterio.features import geometry_window
from rasterio.mask import raster_geometry_mask

from tests.raster import matrix
from tests.raster.matrix import Spec
from tests.reader.oracle import OLD_EDGES, blocks, fetch, same, scalars, write_tif

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

DTYPES = sorted({spec.dtype for spec in matrix.specs()})
VALUE_TYPES = {
    **dict.fromkeys(("uint8", "int8", "uint16", "int16"), "INTEGER"),
    **dict.fromkeys(("uint32", "int32"), "BIGINT"),
    "uint64": "UBIGINT",
    "int64": "BIGINT",
    "float16": "FLOAT",
    "float32": "FLOAT",
    "float64": "DOUBLE",
}
PIXEL_TYPES = {
    "uint8": "UTINYINT",
    "int8": "TINYINT",
    "uint16": "USMALLINT",
    "int16": "SMALLINT",
    "uint32": "UINTEGER",
    "int32": "INTEGER",
    "uint64": "UBIGINT",
    "int64": "BIGINT",
    "float16": "FLOAT",
    "float32": "FLOAT",
    "float64": "DOUBLE",
}
X0, Y0, PIXEL = *matrix.ORIGIN, matrix.PIXEL
X1, Y1 = X0 + matrix.WIDTH * PIXEL, Y0 - matrix.HEIGHT * PIXEL


def _polygon(*pixels: tuple[float, float]) -> shapely.Polygon:
    """A polygon from (col, row) pixel coordinates."""
    return shapely.Polygon([(X0 + col * PIXEL, Y0 - row * PIXEL) for col, row in pixels])


POLYGONS = [
    _polygon((3.3, 2.2), (44.7, 9.6), (20.1, 51.3)),
    _polygon((28.2, 15.1), (74.6, 15.9), (80.3, 47.7), (30.4, 50.2)).difference(_polygon((45.3, 22.2), (63.1, 24.4), (55.5, 38.8))),
    shapely.union_all([_polygon((1.2, 55.4), (9.9, 57.7), (4.4, 68.8)), _polygon((60.6, 60.2), (79.1, 61.3), (70.2, 66.6))]),
    _polygon((-20.4, 60.3), (12.8, 40.2), (33.3, 90.9)),
    _polygon((40.4, 30.4), (40.6, 30.4), (40.5, 30.45)),
    _polygon((31.5, 31.5), (36.5, 31.5), (36.5, 35.5), (31.5, 35.5)),
    _polygon((-5.5, -5.5), (100.5, -5.5), (100.5, 90.5), (-5.5, 90.5)),
]
"""A triangle, a ring, two parts, one over the edge, one smaller than a pixel, one with vertices on pixel centres, one around everything."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[Spec, Path]]]:
    folder = tmp_path_factory.mktemp("matrix")
    found: dict[str, list[tuple[Spec, Path]]] = defaultdict(list)
    for number, spec in enumerate(matrix.specs()):
        path = folder / f"{number:03d}.tif"
        matrix.write(spec, path)
        found[spec.dtype].append((spec, path))
    return found


def pixels_of(path: Path) -> np.ma.MaskedArray:
    """(bands, height, width) as rasterio reads them, masked by mask, nodata or alpha."""
    with rasterio.open(path) as ds:
        return ds.read(masked=True)


def points() -> tuple[np.ndarray, np.ndarray]:
    """Points anywhere, on edges and corners of pixels and of the raster, just off it and far away."""
    rng = np.random.default_rng(4)
    col, row = rng.uniform(-3, matrix.WIDTH + 3, 120), rng.uniform(-3, matrix.HEIGHT + 3, 120)
    edges = [(0, 0), (32, 10.3), (31.7, 32), (64, 64), (17, 42), (matrix.WIDTH, 5.5), (5.5, matrix.HEIGHT), (matrix.WIDTH, matrix.HEIGHT), (84, 69)]
    edges += [(0, 33.3), (12.2, 0), (-1, 4), (1e4, 3.3), (1.5, 1.5), (2.5, 1.5)]
    col, row = np.append(col, [c for c, _ in edges]), np.append(row, [r for _, r in edges])
    return X0 + col * PIXEL, Y0 - row * PIXEL


def sampled(array: np.ma.MaskedArray, path: Path, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ma.MaskedArray, np.ndarray]:
    """(bands, points inside), and which points are inside, the pixels found as rasterio's ``sample`` finds them."""
    with rasterio.open(path) as ds:
        rows, cols = rasterio.transform.rowcol(ds.transform, xs, ys) if OLD_EDGES else _rowcol(ds, xs, ys)
        rows, cols = np.asarray(rows), np.asarray(cols)
        inside = (rows >= 0) & (rows < ds.height) & (cols >= 0) & (cols < ds.width)
    return array[:, rows[inside], cols[inside]], inside


def _rowcol(ds: rasterio.DatasetReader, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inverse = ~ds.transform
    cols, rows = inverse.a * xs + inverse.b * ys + inverse.c, inverse.d * xs + inverse.e * ys + inverse.f
    return np.floor(rows).astype(int), np.floor(cols).astype(int)


def test_the_oracle_finds_what_sample_finds(files) -> None:
    """``ds.sample`` itself, on one file: the short way above is the same."""
    spec, path = files["uint16"][0]
    xs, ys = points()
    if not OLD_EDGES:
        xs, ys = xs[:120], ys[:120]
    expected, inside = sampled(pixels_of(path), path, xs, ys)
    with rasterio.open(path) as ds:
        found = np.ma.stack(list(ds.sample(zip(xs, ys, strict=True), masked=True))).T
    same(found[:, inside], expected, spec.id)
    assert 0 < (~inside).sum() < len(xs)
    assert np.ma.getmaskarray(found[:, ~inside]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_sample(con, files, dtype) -> None:
    members = files[dtype]
    count = max(spec.bands for spec, _ in members)
    xs, ys = points()
    con.register("points", pa.table({"no": np.arange(len(xs)), "x": xs, "y": ys}))
    bands = [f"b{i + 1}" for i in range(count)]
    sql = f"""FROM rasteret_sample({[str(path) for _, path in members]}, 'points', bands := {bands}, x := 'x', y := 'y', geometry_crs := 'EPSG:32633')
        ORDER BY record_id, no"""
    table = fetch(con, sql)
    types = {name: kind for name, kind, *_ in con.execute(f"DESCRIBE {sql}").fetchall()}
    assert {types[band] for band in bands} == {VALUE_TYPES[dtype]}
    for spec, path in members:
        expected, inside = sampled(pixels_of(path), path, xs, ys)
        mine = table.filter(pa.compute.equal(table["record_id"], path.stem))
        assert mine["no"].to_pylist() == np.flatnonzero(inside).tolist(), spec.id
        found = np.ma.stack([scalars(mine[band]) for band in bands])
        same(found[: spec.bands], expected, spec.id)
        assert np.ma.getmaskarray(found[spec.bands :]).all()
        complete = ~np.ma.getmaskarray(expected).any(axis=0) & (spec.bands == count)
        assert mine["status"].to_pylist() == np.where(complete, "ok", "nodata").tolist(), spec.id
    outside = table.filter(pa.compute.is_null(table["record_id"]))
    assert set(outside["status"].to_pylist()) == {"outside"}
    assert sorted(outside["no"].to_pylist()) == np.flatnonzero(~inside).tolist()


@pytest.mark.parametrize("rule", ["center", "all_touched", "window"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_read(con, files, dtype, rule) -> None:
    members = files[dtype]
    bands = [f"b{i + 1}" for i in range(max(spec.bands for spec, _ in members))]
    con.register("shapes", pa.table({"no": range(len(POLYGONS)), "geom": shapely.to_wkb(POLYGONS)}))
    sql = f"""FROM rasteret_read({[str(path) for _, path in members]}, 'shapes', bands := {bands}, geometry_crs := 'EPSG:32633', pixels := '{rule}')
        ORDER BY record_id, no"""
    table = fetch(con, sql)
    types = {name: kind for name, kind, *_ in con.execute(f"DESCRIBE {sql}").fetchall()}
    assert {types[band] for band in bands} == {f"{PIXEL_TYPES[dtype]}[]"}
    assert table["record_id"].to_pylist() == [path.stem for _, path in sorted(members, key=lambda m: m[1].stem) for _ in POLYGONS]
    selected = [_selected(members[0][1], polygon, rule) for polygon in POLYGONS]
    found = {band: blocks(table, band) for band in bands}
    places = zip(table["transform"].to_pylist(), table["crs"].to_pylist(), table["status"].to_pylist(), strict=True)
    for row, (transform, crs, status) in enumerate(places):
        spec, path = members[row // len(POLYGONS)]
        hidden, window, expected_transform = selected[row % len(POLYGONS)]
        expected = pixels_of(path)[(slice(None), *window.toslices())]
        expected.mask = np.ma.getmaskarray(expected) | hidden
        assert (tuple(transform), crs) == (tuple(expected_transform)[:6], "EPSG:32633")
        for i, band in enumerate(bands):
            if i < spec.bands:
                same(found[band][row], expected[i], f"{spec.id} band {band} polygon {row % len(POLYGONS)}")
            else:
                assert np.ma.getmaskarray(found[band][row]).all()
        lacking = spec.bands < len(bands)
        assert status == ("nodata" if lacking or np.ma.getmaskarray(expected).all() else "ok"), spec.id


def _selected(path: Path, polygon: shapely.Geometry, rule: str):
    """Hidden pixels, window, transform, as ``rasterio.mask.mask(crop=True)`` has them; all files lie on one grid."""
    with rasterio.open(path) as ds:
        if rule == "window":
            window = geometry_window(ds, [polygon])
            return np.zeros((int(window.height), int(window.width)), bool), window, ds.window_transform(window)
        hidden, transform, window = raster_geometry_mask(ds, [polygon], crop=True, all_touched=rule == "all_touched")
        return hidden, window, transform


@pytest.mark.parametrize("tiled", [True, False])
def test_internal_masks_hide_pixels(con, tmp_path, tiled) -> None:
    spec = Spec("uint8", "deflate", special="mask", tiled=tiled)
    matrix.write(spec, tmp_path / "m.tif")
    con.register("shapes", pa.table({"geom": shapely.to_wkb([POLYGONS[-1]])}))
    table = fetch(con, f"FROM rasteret_read('{tmp_path / 'm.tif'}', 'shapes', geometry_crs := 'EPSG:32633')")
    with rasterio.open(tmp_path / "m.tif") as ds:
        same(blocks(table, "b1")[0], ds.read(1, masked=True), "mask")


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("uint64", 2**64 - 1), ("int64", 2**63 - 1), ("int64", -(2**63)), ("uint64", 2**53), ("uint64", 0), ("int64", -1)],
)
def test_nodata_at_the_edges_of_64_bits(con, tmp_path, dtype, nodata) -> None:
    """The sentinel is hidden, its neighbours are not, extremes keep every digit."""
    info = np.iinfo(dtype)
    near = [n for n in (info.min, info.max, info.max - 1, nodata, 2**53 - 1, 0, 1, 123456789012345678) if info.min <= n <= info.max]
    planes = np.array([near * 4], dtype=dtype).reshape(4, -1)
    path = tmp_path / "n.tif"
    tags = [(33550, "d", 3, (PIXEL, PIXEL, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, X0, Y0, 0.0), True)]
    keys = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, matrix.EPSG)
    tags += [(34735, "H", len(keys), keys, True), (42113, "s", 0, str(nodata), True)]
    tifffile.imwrite(path, planes, extratags=tags, metadata=None)  # rasterio cannot write the largest
    rows, cols = np.indices(planes.shape).reshape(2, -1)
    con.register("points", pa.table({"no": np.arange(planes.size), "x": X0 + (cols + 0.5) * PIXEL, "y": Y0 - (rows + 0.5) * PIXEL}))
    table = fetch(con, f"FROM rasteret_sample('{path}', 'points', x := 'x', y := 'y', geometry_crs := 'EPSG:32633') ORDER BY no")
    same(scalars(table["b1"]), np.ma.masked_equal(planes.ravel(), planes.dtype.type(nodata)), "64 bits")
    with rasterio.open(path) as ds:
        same(scalars(table["b1"]), ds.read(1, masked=True).ravel(), "64 bits, by rasterio")


def test_files_of_several_dtypes_in_one_statement(con, tmp_path) -> None:
    """The band's type is one that holds all of them."""
    planes = {"uint8": np.arange(64, dtype="uint8"), "int16": np.arange(-30, 34, dtype="int16"), "float32": np.linspace(0, 1, 64, dtype="float32")}
    paths = [write_tif(tmp_path / f"{name}.tif", array.reshape(8, 8), nodata=3) for name, array in planes.items()]
    con.register(
        "points", pa.table({"no": range(64), "x": [500005.0 + 10 * (i % 8) for i in range(64)], "y": [5199995.0 - 10 * (i // 8) for i in range(64)]})
    )
    table = fetch(con, f"FROM rasteret_sample({paths}, 'points', x := 'x', y := 'y', geometry_crs := 'EPSG:32633') ORDER BY record_id, no")
    for name, array in planes.items():
        mine = table.filter(pa.compute.equal(table["record_id"], name))
        same(scalars(mine["b1"]), np.ma.masked_equal(array, 3), name)
