"""The sample data: small, readable by others, equal to its sources where those are at hand, and accounted for."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sqlite3
import struct
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
import tifffile
from rasterio.warp import transform_geom
from rasterio.windows import from_bounds

from rasteret_sql import sample
from rasteret_sql.errors import InvalidArgument
from rasteret_sql.sample.server import SampleServer

if TYPE_CHECKING:
    import types

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = sample.data_dir()
FILES = sorted(path for path in DATA.rglob("*") if path.is_file())
RASTERS = [path for path in FILES if path.suffix == ".tif"]
SOURCES = Path(os.environ.get("RASTERET_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
LABELLED = SOURCES / "landsat8" / "LC08_L1TP_224078_20200518_20200518_01_RT"
needs_sources = pytest.mark.skipif(not (SOURCES / "landsat8").is_dir(), reason="the source rasters are not here")


def source_of(cut: Path) -> Path:
    return SOURCES / "landsat8" / f"{cut.stem}.TIF" if cut.parent.name == "landsat" else SOURCES / "rgbn" / cut.name


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def labels(name: str) -> list[tuple[str, shapely.Geometry]]:
    table = pq.ParquetFile(DATA / name).read()
    assert table.schema.names == ["id", "label", "geom"]
    assert len(set(table["id"].to_pylist())) == len(table) > 0
    return list(zip(table["label"].to_pylist(), shapely.from_wkb(table["geom"].to_pylist()), strict=True))


def outline(raster: Path) -> tuple[shapely.Polygon, str]:
    with rasterio.open(raster) as src:
        return shapely.box(*src.bounds), src.crs.to_string()


def in_crs(geometry: shapely.Geometry, crs: str) -> shapely.Geometry:
    return shapely.geometry.shape(transform_geom("OGC:CRS84", crs, shapely.geometry.mapping(geometry)))


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("make_sample_data", REPOSITORY / "tools" / "make_sample_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


# -- the files ----------------------------------------------------------------------------------------------------------------


def test_budget() -> None:
    assert len(RASTERS) == 10
    assert sum(path.stat().st_size for path in FILES) < 3_000_000


def test_provenance_names_each_file_and_no_other() -> None:
    text = (DATA.parent / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`data/([^`]+)`", text))
    assert named == {path.relative_to(DATA).as_posix() for path in FILES}


def test_licence_of_the_project_is_whole() -> None:
    text = (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert [int(n) for n in re.findall(r"^   (\d)\. [A-Z]", text, re.MULTILINE)] == list(range(1, 10))
    assert "END OF TERMS AND CONDITIONS" in text
    assert text.endswith("limitations under the License.\n")


@pytest.mark.parametrize("path", RASTERS, ids=names(RASTERS))
def test_raster_is_tiled_with_overviews(path: Path) -> None:
    with rasterio.open(path) as src:
        block = src.block_shapes[0]
        assert block in ((128, 128), (64, 64))
        assert src.height > 2 * block[0]
        assert src.width > 2 * block[1]
        assert (src.compression.name, src.tags(ns="IMAGE_STRUCTURE")["LAYOUT"]) == ("deflate", "COG")
        assert all(src.overviews(band)[:2] == [2, 4] for band in src.indexes)
        assert src.crs.to_epsg() == sample.EPSG[path.parent.name]
    with tifffile.TiffFile(path) as tif:
        first = tif.pages[0]
        assert (first.compression, first.predictor) == (tifffile.COMPRESSION.ADOBE_DEFLATE, tifffile.PREDICTOR.HORIZONTAL)
        # COG: all directories stand before all pixels
        assert max(page.offset for page in tif.pages) < min(min(o for o in page.dataoffsets if o) for page in tif.pages)


@needs_sources
@pytest.mark.parametrize("path", RASTERS, ids=names(RASTERS))
def test_raster_is_an_exact_cut(path: Path) -> None:
    with rasterio.open(path) as cut, rasterio.open(source_of(path)) as source:
        window = from_bounds(*cut.bounds, transform=source.transform)
        assert [window.col_off, window.row_off, window.width, window.height] == [round(n) for n in window.flatten()]
        assert (window.width, window.height) == (cut.width, cut.height)
        assert (cut.transform.a, cut.transform.e) == (source.transform.a, source.transform.e)
        assert (cut.crs, cut.dtypes, cut.nodata, cut.colorinterp) == (source.crs, source.dtypes, source.nodata, source.colorinterp)
        assert cut.tags()["AREA_OR_POINT"] == source.tags()["AREA_OR_POINT"]
        np.testing.assert_array_equal(cut.read(), source.read(window=window))


@needs_sources
def test_the_tool_makes_these_files_again(maker: types.ModuleType, tmp_path: Path) -> None:
    made = [path.relative_to(tmp_path / "one") for path in maker.make(SOURCES, tmp_path / "one")]
    assert made == [path.relative_to(DATA) for path in FILES]
    maker.make(SOURCES, tmp_path / "two")
    for name in made:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        if name.suffix == ".parquet":
            again, kept = (pq.ParquetFile(folder / name).read() for folder in (tmp_path / "one", DATA))
            assert again.equals(kept, check_metadata=False)


# -- labels and records -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [sample.POINTS, sample.PLOTS])
def test_landsat_labels_lie_in_the_scenes(name: str) -> None:
    outlines = [outline(Path(row["B2"]["href"])) for row in sample.records(str(DATA), "landsat")["assets"].to_pylist()]
    inside = [[box.contains(in_crs(geometry, crs)) for box, crs in outlines] for _, geometry in labels(name)]
    assert all(any(row) for row in inside)
    assert sum(all(row) for row in inside) >= 3
    assert {label for label, _ in labels(name)} == {"water", "crop", "tree", "developed"}


def test_rgbn_plots_lie_in_the_image() -> None:
    box, crs = outline(DATA / "rgbn" / "rgbn_20160101.tif")
    plots = labels(sample.RGBN_PLOTS)
    assert all(box.contains(in_crs(geometry, crs)) for _, geometry in plots)
    assert all(shapely.equals(geometry, shapely.envelope(geometry)) for _, geometry in plots)


@needs_sources
@pytest.mark.parametrize(("name", "kind"), [(sample.POINTS, "points"), (sample.PLOTS, "polygons")])
def test_labels_are_the_sources(name: str, kind: str) -> None:
    """Back through GDAL's reprojection, against the end of a point's blob and the envelope in a polygon's header."""
    connection = sqlite3.connect(f"file:{LABELLED}_{kind}.gpkg?mode=ro&immutable=1", uri=True)
    rows = connection.execute("SELECT fid, name, geometry FROM land_cover ORDER BY fid").fetchall()
    connection.close()
    table = pq.ParquetFile(DATA / name).read()
    kept = {row["id"]: row for row in table.to_pylist()}
    assert len(rows) - len(kept) == (1 if kind == "points" else 0)
    for fid, label, blob in rows:
        if fid not in kept:
            continue
        assert kept[fid]["label"] == label
        geometry = in_crs(shapely.from_wkb(kept[fid]["geom"]), "EPSG:32621")
        if kind == "points":
            expected = struct.unpack("<2d", blob[-16:])
            assert geometry.coords[0] == pytest.approx(expected, abs=0.01)
        else:
            minx, maxx, miny, maxy = struct.unpack("<4d", blob[8:40])
            assert geometry.bounds == pytest.approx((minx, miny, maxx, maxy), abs=0.01)


@pytest.mark.parametrize("name", [path.name for path in FILES if path.suffix == ".parquet"])
def test_tables_are_geoparquet(name: str) -> None:
    file = pq.ParquetFile(DATA / name)
    geo = json.loads(file.schema_arrow.metadata[b"geo"])
    column = geo["columns"][geo["primary_column"]]
    geometries = shapely.from_wkb(file.read()[geo["primary_column"]].to_pylist())
    assert (geo["version"], column["encoding"], column["crs"]["id"]) == ("1.1.0", "WKB", {"authority": "OGC", "code": "CRS84"})
    assert column["geometry_types"] == sorted({geometry.geom_type for geometry in geometries})
    assert column["bbox"] == list(shapely.total_bounds(geometries))


@pytest.mark.parametrize("dataset", ["landsat", "rgbn"])
def test_records(dataset: sample.Dataset) -> None:
    with SampleServer(DATA) as server:
        for base in (server.url, f"{server.url}/", str(DATA)):
            table = sample.records(base, dataset)
            assert table.schema.names == ["id", "datetime", "geometry", "assets", "proj:epsg"]
            for row in table.to_pylist():
                assert tuple(row["assets"]) == sample.BANDS[dataset]
                assert row["proj:epsg"] == sample.EPSG[dataset]
                footprint = shapely.from_wkb(row["geometry"])
                for asset in row["assets"].values():
                    assert asset["href"].startswith(f"{base.rstrip('/')}/{dataset}/")
                    path = Path(asset["href"].replace(base.rstrip("/"), str(DATA)))
                    with rasterio.open(path) as src:
                        assert 0 <= asset["band_index"] < src.count
                    box, crs = outline(path)
                    assert shapely.hausdorff_distance(in_crs(footprint, crs), box) < 1.0
                    assert row["id"] in path.stem
                indices = [asset["band_index"] for asset in row["assets"].values()]
                assert indices == ([0, 0, 0] if dataset == "landsat" else [0, 1, 2, 3])


def test_landsat_hrefs_are_of_their_band() -> None:
    for row in sample.records("x", "landsat").to_pylist():
        assert all(asset["href"] == f"x/landsat/{row['id']}_{band}.tif" for band, asset in row["assets"].items())


def test_dates_are_those_of_the_names() -> None:
    landsat = sample.records("x", "landsat").to_pylist()
    assert [row["datetime"].date() for row in landsat] == [date(2020, 5, 18)] * 2
    assert landsat[0]["datetime"] != landsat[1]["datetime"]
    for row in sample.records("x", "rgbn").to_pylist():
        assert row["id"] == f"rgbn_{row['datetime']:%Y%m%d}"


def test_rgbn_dates_hold_one_image_as_the_readme_says() -> None:
    stacks = [rasterio.open(path) for path in RASTERS if path.parent.name == "rgbn"]
    pixels = [src.read() for src in stacks]
    for src in stacks:
        src.close()
    assert all(np.array_equal(pixels[0], other) for other in pixels[1:])
    assert "byte for byte the same image" in (DATA.parent / "README.md").read_text(encoding="utf-8")


def test_unknown_dataset_is_named() -> None:
    with pytest.raises(InvalidArgument, match=r"'landsatt'; did you mean 'landsat'\?; data sets: landsat, rgbn"):
        sample.records("x", "landsatt")  # type: ignore[arg-type]
