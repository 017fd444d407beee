"""Real rasters through SQL against rasterio: overlapping scenes, several CRSs in one statement, bands of several resolutions."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import rasterio
import rasterio.mask
import shapely
from affine import Affine
from pyproj import Transformer

from tests.reader.oracle import blocks, fetch, read_under, rows, same, sampled, scalars, write_tif

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

SCENES = ("LC08_L1TP_224077_20200518_20200518_01_RT", "LC08_L1TP_224078_20200518_20200518_01_RT")
BANDS = ("B2", "B3", "B4")
UTM, CRS84 = "EPSG:32621", "OGC:CRS84"


def labelled(folder: Path, kind: str) -> tuple[list[str], list[shapely.Geometry]]:
    """Labels and geometries (EPSG:32621) of a GeoPackage; its blobs are a header, an optional box, and WKB."""
    path = folder / "landsat8" / f"{SCENES[1]}_{kind}.gpkg"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        found = database.execute("SELECT * FROM land_cover").fetchall()
    database.close()
    box_bytes = (0, 32, 48, 48, 64)
    return [row[2] for row in found], [shapely.from_wkb(row[1][8 + box_bytes[row[1][3] >> 1 & 7] :]) for row in found]


def moved(geometry: shapely.Geometry, source: str, target: str, step: float | None = None) -> shapely.Geometry:
    """The geometry in another CRS; ``step`` densifies its edges first."""
    change = Transformer.from_crs(source, target, always_xy=True).transform
    dense = geometry if step is None else shapely.segmentize(geometry, step)
    return shapely.transform(dense, lambda xy: np.column_stack(change(xy[:, 0], xy[:, 1])))


@pytest.fixture
def landsat(con, real_data: Path) -> Path:
    """The collection ``scenes`` of two overlapping Landsat scenes, built; answers with the folder of its files."""
    folder = real_data / "landsat8"
    paths = {band: [str(folder / f"{scene}_{band}.TIF") for scene in SCENES] for band in BANDS}
    con.register("records", pa.table({"id": list(SCENES), "datetime": ["2020-05-18T13:30:00Z", "2020-05-18T13:30:24Z"], **paths}))
    columns = "{" + ", ".join(f"'{band}': '{band}'" for band in BANDS) + "}"
    report = rows(con, f"FROM rasteret_build_from_table('records', name := 'scenes', band_columns := {columns})")[0]
    assert (report["records"], report["failed"], report["bands"], report["epsg"]) == (2, 0, list(BANDS), [32621])
    return folder


@pytest.mark.parametrize("crs", [UTM, CRS84])
def test_landsat_samples(con, landsat: Path, real_data: Path, crs: str) -> None:
    labels, points = labelled(real_data, "points")
    rng = np.random.default_rng(8)
    points += list(shapely.points(rng.uniform(693000, 779000, 400), rng.uniform(-2834000, -2766000, 400)))
    labels += ["anywhere"] * 400
    there = points if crs == UTM else [moved(point, UTM, CRS84) for point in points]
    con.register("labelled", pa.table({"label": labels, "no": range(len(points)), "geom": shapely.to_wkb(there)}))
    table = fetch(con, f"FROM rasteret_sample('scenes', 'labelled', bands := {list(BANDS)}, geometry_crs := '{crs}') ORDER BY record_id, no")
    assert table.column_names[:4] == ["label", "no", "geom", "record_id"]
    xs, ys = shapely.get_x(points), shapely.get_y(points)
    seen: set[int] = set()
    for scene in SCENES:
        expected = {band: sampled(landsat / f"{scene}_{band}.TIF", xs, ys)[0] for band in BANDS}
        here = ~np.ma.getmaskarray(expected["B2"])  # no nodata in these files: hidden is outside
        mine = table.filter(pa.compute.equal(table["record_id"], scene))
        assert mine["no"].to_pylist() == np.flatnonzero(here).tolist()
        for band in BANDS:
            same(scalars(mine[band]), expected[band][here], f"{scene} {band}")
        seen |= set(mine["no"].to_pylist())
    counts = pa.compute.value_counts(table.filter(pa.compute.is_valid(table["record_id"]))["no"])
    assert 2 in counts.field("counts").to_pylist()
    lost = table.filter(pa.compute.is_null(table["record_id"]))
    assert sorted(lost["no"].to_pylist()) == sorted(set(range(len(points))) - seen)


@pytest.mark.parametrize("rule", ["center", "all_touched", "window"])
@pytest.mark.parametrize("crs", [UTM, CRS84])
def test_landsat_polygons(con, landsat: Path, real_data: Path, crs: str, rule: str) -> None:
    labels, plots = labelled(real_data, "polygons")
    plots += [shapely.Point(735123.4, -2795432.1).buffer(7000, quad_segs=64), shapely.box(752000.5, -2813001.5, 757003.2, -2809002.2)]
    labels += ["both scenes", "corner"]
    there = plots if crs == UTM else [moved(plot, UTM, CRS84) for plot in plots]
    judged = plots if crs == UTM else [moved(plot, CRS84, UTM, 0.0005) for plot in there]
    con.register("plots", pa.table({"label": labels, "no": range(len(plots)), "geom": shapely.to_wkb(there)}))
    table = fetch(
        con, f"FROM rasteret_read('scenes', 'plots', bands := {list(BANDS)}, geometry_crs := '{crs}', pixels := '{rule}') ORDER BY no, record_id"
    )
    arrays = {band: blocks(table, band) for band in BANDS}
    row = 0
    for number, plot in enumerate(judged):
        for scene in SCENES:
            expected = {band: read_under(landsat / f"{scene}_{band}.TIF", plot, rule) for band in BANDS}
            if expected["B2"] is None:
                continue
            assert (table["no"][row].as_py(), table["record_id"][row].as_py(), table["crs"][row].as_py()) == (number, scene, UTM)
            for band in BANDS:
                assert tuple(table["transform"][row].as_py()) == tuple(expected[band][1])[:6]
                same(arrays[band][row], expected[band][0][0], f"{labels[number]} {scene} {band}")
            row += 1
    assert row == len(table) > len(plots)


def test_the_finest_grid_of_the_bands(con, real_data: Path) -> None:
    """B8 has 15 m pixels, the others 30 m, half a pixel off: every array lies on the grid of B8, filled with the pixel under each centre."""
    folder, scene = real_data / "landsat_bands", "LC08_L1TP_195025_20130707_20170503_01_T1"
    con.register("records", pa.table({"id": [scene], **{band: [str(folder / f"{scene}_{band}.TIF")] for band in ("B1", "B8", "B5", "BQA")}}))
    columns = "{'B1': 'B1', 'B8': 'B8', 'B5': 'B5', 'BQA': 'BQA'}"
    con.execute(f"FROM rasteret_build_from_table('records', name := 'mixed', band_columns := {columns})").fetchall()
    plot = shapely.Polygon([(483200, 5628600), (484100.4, 5628310.3), (483900.2, 5627400.7), (483301.3, 5627250.2)])
    con.register("plots", pa.table({"geom": [plot.wkt]}))
    table = fetch(con, "FROM rasteret_read('mixed', 'plots', bands := ['B1', 'B8', 'B5', 'BQA'], geometry_crs := 'EPSG:32632')")
    expected, transform = read_under(folder / f"{scene}_B8.TIF", plot, "center")
    assert tuple(table["transform"][0].as_py()) == tuple(transform)[:6]
    same(blocks(table, "B8")[0], expected[0], "B8")
    height, width = expected.shape[1:]
    x, y = transform.c + 15 * (np.arange(width) + 0.5), transform.f - 15 * (np.arange(height) + 0.5)
    for band in ("B1", "B5", "BQA"):
        with rasterio.open(folder / f"{scene}_{band}.TIF") as ds:
            cols, lines = np.floor((x - ds.transform.c) / 30).astype(int), np.floor((ds.transform.f - y) / 30).astype(int)
            off = ~(((lines >= 0) & (lines < ds.height))[:, None] & ((cols >= 0) & (cols < ds.width))[None, :])
            coarse = ds.read(1, masked=True)[np.clip(lines, 0, ds.height - 1)][:, np.clip(cols, 0, ds.width - 1)]
        assert off.any()
        same(blocks(table, band)[0], np.ma.array(coarse.data, mask=np.ma.getmaskarray(coarse) | off | np.ma.getmaskarray(expected[0])), band)
    points = shapely.points(np.linspace(483270.1, 484530.2, 80), np.linspace(5628530.3, 5627270.4, 80))
    con.register("places", pa.table({"no": range(80), "geom": shapely.to_wkb(points)}))
    values = fetch(con, "FROM rasteret_sample('mixed', 'places', bands := ['B1', 'B8'], geometry_crs := 'EPSG:32632') ORDER BY no")
    for band in ("B1", "B8"):
        mine = sampled(folder / f"{scene}_{band}.TIF", shapely.get_x(points), shapely.get_y(points))[0]
        kept = values["record_id"].is_valid().to_numpy()
        same(scalars(values[band])[kept], mine[kept], band)


def test_rgbn_by_index(con, real_data: Path) -> None:
    """Bands of one file by their place in it, in any order; four records on one grid."""
    paths = sorted((real_data / "rgbn").glob("*.tif"))
    con.register("records", pa.table({"id": [p.stem for p in paths], "path": list(map(str, paths)), "datetime": [p.stem[5:] for p in paths]}))
    con.execute("CREATE TEMP TABLE dated AS SELECT * REPLACE (strptime(datetime, '%Y%m%d') AS datetime) FROM records").fetchall()
    con.execute(
        "FROM rasteret_build_from_table('dated', name := 'rgbn', href_column := 'path', band_index_map := {'R': 0, 'G': 1, 'B': 2, 'NIR': 3})"
    ).fetchall()
    plot = shapely.Point(794200.3, 2049400.8).buffer(333.3)
    con.register("plots", pa.table({"geom": shapely.to_wkb([plot])}))
    table = fetch(
        con, "FROM rasteret_read('rgbn', 'plots', bands := ['NIR', 'R'], geometry_crs := 'EPSG:32618', pixels := 'all_touched') ORDER BY record_id"
    )
    assert table["datetime"].to_pylist() == sorted(table["datetime"].to_pylist())
    for row, path in enumerate(paths):
        expected, transform = read_under(path, plot, "all_touched")
        assert tuple(table["transform"][row].as_py()) == tuple(transform)[:6]
        same(blocks(table, "NIR")[row], expected[3], "NIR")
        same(blocks(table, "R")[row], expected[0], "R")


def test_cogs_in_four_crss_at_once(con, real_data: Path) -> None:
    """One statement over every COG: each point meets its own file in that file's CRS."""
    paths = sorted((real_data / "cogs").glob("*.tif"))
    places: list[tuple[int, str, float, float, float, float]] = []
    rng = np.random.default_rng(3)
    for path in paths:
        with rasterio.open(path) as ds:
            x, y = rng.uniform(ds.bounds.left, ds.bounds.right, 60), rng.uniform(ds.bounds.bottom, ds.bounds.top, 60)
            lon, lat = Transformer.from_crs(ds.crs, CRS84, always_xy=True).transform(x, y)
            places += [(len(places) + i, path.stem, *numbers) for i, numbers in enumerate(zip(x, y, lon, lat, strict=True))]
    order = rng.permutation(len(places))
    con.register("places", pa.table({"no": order, "lon": [places[i][4] for i in order], "lat": [places[i][5] for i in order]}))
    folder = real_data / "cogs"
    table = fetch(con, f"FROM rasteret_sample('{folder}/*.tif', 'places', bands := ['b1', 'b7'], x := 'lon', y := 'lat') ORDER BY no")
    assert table["record_id"].to_pylist() == [place[1] for place in places]
    values, sevenths = scalars(table["b1"]), scalars(table["b7"])
    for path in paths:
        mine = np.array([place[1] == path.stem for place in places])
        expected = sampled(path, [p[2] for p in places if p[1] == path.stem], [p[3] for p in places if p[1] == path.stem])
        same(values[mine], expected[0], path.stem)
        same(sevenths[mine], expected[6] if len(expected) > 6 else np.ma.masked_all(60), path.stem)
    assert np.ma.getmaskarray(values).any()


@pytest.mark.parametrize("rule", ["center", "all_touched"])
def test_cog_polygons(con, real_data: Path, rule: str) -> None:
    paths = sorted((real_data / "cogs").glob("*.tif"))
    for path in paths:
        with rasterio.open(path) as ds:
            left, bottom, right, top = ds.bounds
            crs, count = ds.crs.to_string(), ds.count
        width, height = right - left, top - bottom
        plots = [
            shapely.Point(left + 0.37 * width, bottom + 0.61 * height).buffer(0.071 * width),
            shapely.Polygon([(left + a * width, bottom + b * height) for a, b in ((-0.1, 0.4), (0.21, 0.45), (0.13, 0.7))]),
        ]
        con.register("plots", pa.table({"no": [0, 1], "geom": shapely.to_wkb(plots)}))
        bands = [f"b{i + 1}" for i in range(count)]
        table = fetch(con, f"FROM rasteret_read('{path}', 'plots', bands := {bands}, geometry_crs := '{crs}', pixels := '{rule}') ORDER BY no")
        for row, plot in enumerate(plots):
            expected, transform = read_under(path, plot, rule)
            assert tuple(table["transform"][row].as_py()) == tuple(transform)[:6]
            for i, band in enumerate(bands):
                same(blocks(table, band)[row], expected[i], f"{path.stem} {band}")


def test_records_of_several_crss_over_one_place(con, tmp_path: Path) -> None:
    """Two UTM zones, Web Mercator, a geographic and a rotated grid around 6° E: each is read in its own CRS, equal to rasterio on the moved plot."""
    rng = np.random.default_rng(5)
    spots = {"zone31": ("EPSG:32631", 20, 0), "zone32": ("EPSG:32632", 20, 0), "mercator": ("EPSG:3857", 30, 0), "degrees": ("EPSG:4326", 0.0003, 0)}
    grids: dict[str, tuple[str, Affine]] = {}
    for name, (crs, size, turn) in (spots | {"rotated": ("EPSG:32631", 20, 3)}).items():
        x, y = Transformer.from_crs(CRS84, crs, always_xy=True).transform(6.0, 48.0)
        grids[name] = (crs, Affine(size, turn, x - 230.3 * size, turn, -size, y + 190.6 * size))
    for name, (crs, transform) in grids.items():
        write_tif(tmp_path / f"{name}.tif", rng.integers(0, 9000, (400, 450), dtype="uint16"), crs=crs, transform=transform, nodata=17)
    plots = [shapely.Point(6.0, 48.0).buffer(0.013), shapely.Polygon([(5.93, 47.99), (6.04, 48.01), (6.01, 47.96)])]
    plots = [shapely.segmentize(plot, 0.0002) for plot in plots]  # as fine as no reader has to
    con.register("plots", pa.table({"no": [0, 1], "geom": [plot.wkt for plot in plots]}))
    table = fetch(con, f"FROM rasteret_read('{tmp_path}/*.tif', 'plots') ORDER BY no, record_id")
    assert table["record_id"].to_pylist() == sorted(grids) * 2
    for row, (number, name) in enumerate(zip(table["no"].to_pylist(), table["record_id"].to_pylist(), strict=True)):
        crs = grids[name][0]
        judged = plots[number] if crs == "EPSG:4326" else moved(plots[number], CRS84, crs)
        found = blocks(table, "b1")[row]
        assert table["crs"][row].as_py() == crs
        with rasterio.open(tmp_path / f"{name}.tif") as ds:  # the whole raster: on rotated grids the windows of rasterio's releases differ
            whole, _ = rasterio.mask.mask(ds, [judged], crop=False, filled=False, indexes=1)
            base = Affine(*table["transform"][row].as_py())
            col, line = map(round, ~ds.transform * (base.c, base.f))
        expected = whole[line : line + found.shape[0], col : col + found.shape[1]]
        assert np.ma.count(expected) == np.ma.count(whole) > 1000
        same(found, expected, f"{name} {number}")
    xs, ys = rng.uniform(5.94, 6.06, 200), rng.uniform(47.95, 48.04, 200)
    con.register("places", pa.table({"no": range(200), "lon": xs, "lat": ys}))
    values = fetch(con, f"FROM rasteret_sample('{tmp_path}/*.tif', 'places', x := 'lon', y := 'lat') ORDER BY record_id, no")
    for name, (crs, _) in grids.items():
        x, y = Transformer.from_crs(CRS84, crs, always_xy=True).transform(xs, ys)
        mine = values.filter(pa.compute.equal(values["record_id"], name))
        assert len(mine) > 20
        same(scalars(mine["b1"]), sampled(tmp_path / f"{name}.tif", x, y)[0][mine["no"].to_numpy()], name)
