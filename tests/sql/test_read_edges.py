"""Where the map ends: the antimeridian, the poles. Geometries of every spelling meet the records there, under the pixels they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
from affine import Affine
from pyproj import Transformer

from tests.reader.oracle import blocks, fetch, read_under, rows, same, write_tif
from tests.sql.grids import under, warped
from tests.sql.test_read_target import expected_at, projected

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

SPELLINGS = {
    "split": shapely.MultiPolygon([shapely.box(179.9913, -17.0061, 180, -16.9932), shapely.box(-180, -17.0061, -179.9924, -16.9932)]),
    "beyond 180": shapely.box(179.9913, -17.0061, 180.0076, -16.9932),
    "before -180": shapely.box(-180.0087, -17.0061, -179.9924, -16.9932),
}
"""One place on both sides of the antimeridian."""
MERCATOR_END = 20037508.342789244


def raster(path: Path, crs: str, size: float, *, x: float, y: float, pixels: int = 200) -> str:
    """A square raster around a place of its CRS."""
    plane = np.random.default_rng(abs(hash(path.name)) % 1000).integers(1, 9999, (pixels, pixels)).astype("int16")
    return write_tif(path, plane, crs=crs, nodata=-1, transform=Affine(size, 0, x - pixels / 2 * size, 0, -size, y + pixels / 2 * size))


def at(crs: str, lon: float, lat: float) -> dict[str, float]:
    x, y = Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(lon, lat)
    return {"x": x, "y": y}


RASTERS: dict[str, tuple[str, float, dict[str, float]]] = {
    "zone 60": ("EPSG:32760", 20, at("EPSG:32760", 180, -17)),
    "zone 1": ("EPSG:32701", 20, at("EPSG:32701", -180, -17)),
    "degrees, east end": ("EPSG:4326", 0.001, {"x": 179.9, "y": -17}),
    "degrees, west end": ("EPSG:4326", 0.001, {"x": -179.9, "y": -17}),
    "degrees beyond 180": ("EPSG:4326", 0.001, {"x": 180, "y": -17}),
    "degrees from 0 to 360": ("EPSG:4326", 1.8, {"x": 180, "y": 0}),
    "Mercator, east end": ("EPSG:3857", 20, {"x": MERCATOR_END - 2000, "y": -1920825}),
    "Mercator, west end": ("EPSG:3857", 20, {"x": 2000 - MERCATOR_END, "y": -1920825}),
    "Mercator of the Pacific": ("EPSG:3832", 20, at("EPSG:3832", 180, -17)),
}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("edges")
    return {name: raster(folder / f"{number}.tif", crs, size, **place) for number, (name, (crs, size, place)) in enumerate(RASTERS.items())}


def where_it_lies(name: str) -> shapely.Geometry:
    """The place in a raster's coordinates, by hand: in degrees moved, elsewhere projected point by point."""
    crs = RASTERS[name][0]
    if crs == "EPSG:4326":
        return SPELLINGS["before -180"] if "west" in name else SPELLINGS["beyond 180"]
    near = shapely.segmentize(SPELLINGS["beyond 180"], 0.0001)
    if crs == "EPSG:3857":  # x is a multiple of the longitude; PROJ would bring it back within ±180
        scale, shift = MERCATOR_END / 180, -2 * MERCATOR_END if "west" in name else 0.0
        y = Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
        return shapely.transform(near, lambda xy: np.stack([xy[:, 0] * scale + shift, y.transform(0 * xy[:, 1], xy[:, 1])[1]], axis=1))
    to = Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
    return shapely.transform(near, lambda xy: np.stack(to.transform(np.where(xy[:, 0] > 180, xy[:, 0] - 360, xy[:, 0]), xy[:, 1]), axis=1))


def on_common_grid(block: np.ma.MaskedArray, transform: list[float], other: Affine, shape: tuple[int, int]) -> np.ma.MaskedArray:
    """A block's pixels inside another window of the same grid; the rest of the block must be empty (rasterio cuts some windows tighter)."""
    col, row = round((other.c - transform[2]) / other.a), round((other.f - transform[5]) / other.e)
    part = block[row : row + shape[0], col : col + shape[1]]
    assert part.shape == shape
    assert part.count() == block.count()
    return part


@pytest.mark.parametrize("rule", ["center", "all_touched"])
@pytest.mark.parametrize("name", RASTERS)
def test_the_antimeridian_in_every_spelling(con, paths: dict[str, str], name: str, rule: str) -> None:
    if rule == "all_touched" and "zone" in name:
        pytest.skip("edges are straight to 5 cm there: a pixel may be touched by less")
    con.register("spelt", pa.table({"how": list(SPELLINGS), "geom": pa.array([g.wkb for g in SPELLINGS.values()], pa.binary())}))
    table = fetch(con, f"FROM rasteret_read('{paths[name]}', 'spelt', pixels := '{rule}')")
    expected = read_under(paths[name], where_it_lies(name), rule)
    assert expected is not None
    assert table.num_rows == len(SPELLINGS)
    for how, block, transform in zip(table["how"].to_pylist(), blocks(table, "b1"), table["transform"].to_pylist(), strict=True):
        assert block is not None, how
        same(on_common_grid(block, transform, expected[1], expected[0].shape[1:]), expected[0][0], how)
    assert expected[0].count() or RASTERS[name][1] == 1.8


def test_records_on_both_sides_stack(con, paths: dict[str, str]) -> None:
    """UTM zones 60 and 1, degrees and Mercators on one grid that knows no end there."""
    con.register("spelt", pa.table({"how": list(SPELLINGS), "geom": pa.array([g.wkb for g in SPELLINGS.values()], pa.binary())}))
    chosen = {name: path for name, path in paths.items() if "360" not in name}
    con.register("__r", pa.table({"id": list(chosen), "path": list(chosen.values())}))
    con.execute("FROM rasteret_build_from_table('__r', name := 'pacific', href_column := 'path')").fetchall()
    for how in ("nearest", "bilinear"):
        sql = f"FROM rasteret_read('pacific', 'spelt', bands := ['b1'], target_crs := 'EPSG:3832', resolution := 30, resampling := '{how}')"
        table = fetch(con, sql)
        assert table.num_rows == len(SPELLINGS) * len(chosen)
        places = {tuple(place) for place in table["transform"].to_pylist()}
        assert len(places) == 1
        place = list(next(iter(places)))
        shape = projected(SPELLINGS["split"], "OGC:CRS84", "EPSG:3832")
        counted = 0
        for name, block in zip(table["record_id"].to_pylist(), blocks(table, "b1"), strict=True):
            expected = under(expected_at(chosen[name], "EPSG:3832", place, block.shape, how), shape, place)
            same(block, expected, name)
            counted += expected.count() > 0
        assert counted == table.num_rows


CAPS = {"EPSG:3413": (shapely.box(-180, 84.93, 180, 90), 84.93), "EPSG:3031": (shapely.box(-180, -90, 180, -85.31), -85.31)}


@pytest.fixture(scope="module")
def polar(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("polar")
    made = {crs: raster(folder / f"{crs[5:]}.tif", crs, 10007, x=0, y=0) for crs in CAPS}
    made["world"] = raster(folder / "world.tif", "EPSG:4326", 1.8, x=0, y=0)
    return made


def centres(table: pa.Table, row: int) -> tuple[np.ndarray, np.ndarray]:
    a, _, c, _, e, f = table["transform"][row].as_py()
    rows_, cols = np.indices((table["height"][row].as_py(), table["width"][row].as_py())) + 0.5
    return c + a * cols, f + e * rows_


@pytest.mark.parametrize("crs", CAPS)
def test_a_cap_around_a_pole(con, polar: dict[str, str], crs: str) -> None:
    """A parallel is a circle on a polar grid: each pixel's own latitude is the judge."""
    cap, latitude = CAPS[crs]
    other = next(box for name, (box, _) in CAPS.items() if name != crs)
    con.register("caps", pa.table({"no": [0, 1], "geom": pa.array([cap.wkb, other.wkb], pa.binary())}))
    table = fetch(con, f"FROM rasteret_read('{polar[crs]}', 'caps') ORDER BY no")
    assert table["status"].to_pylist() == ["ok", "outside"]
    lat = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(*centres(table, 0))[1]
    inside = lat >= latitude if latitude > 0 else lat <= latitude
    np.testing.assert_array_equal(~np.ma.getmaskarray(blocks(table, "b1")[0]), inside)
    assert inside.sum() > 5000


@pytest.mark.parametrize("crs", CAPS)
def test_shapes_around_a_pole_on_a_map_of_degrees(con, polar: dict[str, str], crs: str) -> None:
    """A disc around the pole, one that holds it off its middle, a ring around it, and one beside it."""
    disc = shapely.Point(0, 0).buffer(1.5e6)
    shapes = [
        disc,
        shapely.Point(4e5, 1e5).buffer(1.2e6),
        disc.difference(shapely.Point(1e4, 0).buffer(6.2e5)),
        shapely.Point(2.1e6, 3e5).buffer(1.4e6),
    ]
    con.register("shapes", pa.table({"no": range(len(shapes)), "geom": pa.array([s.wkb for s in shapes], pa.binary())}))
    table = fetch(con, f"FROM rasteret_read('{polar['world']}', 'shapes', geometry_crs := '{crs}') ORDER BY no")
    to = Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
    for number, shape in enumerate(shapes):
        inside = shapely.contains_xy(shape, *to.transform(*centres(table, number)))
        found = ~np.ma.getmaskarray(blocks(table, "b1")[number])
        np.testing.assert_array_equal(found, inside, err_msg=str(number))
        assert inside.sum() > 200


@pytest.mark.parametrize("how", ["nearest", "average"])
@pytest.mark.parametrize("crs", CAPS)
def test_degrees_on_a_polar_grid(con, polar: dict[str, str], crs: str, how: str) -> None:
    """A map of degrees, read around the pole on a polar grid: no seam at the antimeridian."""
    con.register("caps", pa.table({"geom": pa.array([CAPS[crs][0].wkb], pa.binary())}))
    table = fetch(con, f"FROM rasteret_read('{polar['world']}', 'caps', target_crs := '{crs}', resolution := 50000, resampling := '{how}')")
    found, grid = blocks(table, "b1")[0], table["transform"][0].as_py()
    lat = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(*centres(table, 0))[1]
    np.testing.assert_array_equal(~np.ma.getmaskarray(found), lat >= CAPS[crs][1] if CAPS[crs][1] > 0 else lat <= CAPS[crs][1])
    if how == "nearest":
        same(found, under(warped(polar["world"], crs, grid, found.shape), projected(CAPS[crs][0], "OGC:CRS84", crs), grid), crs)


def test_pairs_are_told_by_the_map_too(con, paths: dict[str, str], polar: dict[str, str]) -> None:
    """``rasteret_plan`` counts the tiles of records at the edges, and ``rasteret_zonal`` their pixels."""
    con.register("spelt", pa.table({"how": list(SPELLINGS), "geom": pa.array([g.wkb for g in SPELLINGS.values()], pa.binary())}))
    for name in ("zone 1", "degrees, west end", "degrees beyond 180", "Mercator, east end"):
        planned: Any = rows(con, f"FROM rasteret_plan('{paths[name]}', 'spelt')")
        assert planned[0]["tiles"] > 0
        counts = con.execute(f"SELECT count FROM rasteret_zonal('{paths[name]}', 'spelt', stats := ['count'])").fetchall()
        assert len({round(count, 3) for (count,) in counts}) == 1
        assert counts[0][0] > 0
