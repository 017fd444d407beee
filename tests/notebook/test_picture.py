"""Pictures by their pixels: colours at known places, transparency, outlines where the geometry runs, legends and refusals."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
import shapely
from PIL import Image

import rasteret_sql
from rasteret_sql.errors import BandNotFound, InvalidArgument, RasteretError
from rasteret_sql.outputs.canvas import _MARGIN, EDGE, PAD
from rasteret_sql.outputs.colours import limits_of, ramp, rgba

LEFT, TOP, PIXEL = 500000.0, 4000000.0, 10.0
CAPTION = 16
"""Height of a line of text."""


def row(values: dict[str, Any], height: int, width: int, **more: Any) -> dict[str, Any]:
    transform = [PIXEL, 0.0, LEFT, 0.0, -PIXEL, TOP]
    return {"crs": "EPSG:32633", "transform": transform, "height": height, "width": width, **values, "status": "ok", "error": None, **more}


def pixels(picture: Any) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture._repr_png_())))


def at(picture: Any, scale: float, col: float, line: float, captions: int = 0) -> list[int]:
    """The colour at a place of the first panel in pixels of its block."""
    left, top = _MARGIN + PAD, _MARGIN + PAD + captions * CAPTION
    return pixels(picture)[int(top + line * scale), int(left + col * scale)].tolist()


RED = row({"R": [0, 100, 0, None], "G": [0, 0, 100, 50], "B": [0, 0, 0, 50]}, 2, 2)


def test_three_bands_are_red_green_and_blue_and_null_is_transparent() -> None:
    picture = rasteret_sql.show(RED, limits=(0, 100), size=40)
    assert at(picture, 20, 0.5, 0.5) == [0, 0, 0, 255]
    assert at(picture, 20, 1.5, 0.5) == [255, 0, 0, 255]
    assert at(picture, 20, 0.5, 1.5) == [0, 255, 0, 255]
    assert at(picture, 20, 1.5, 1.5) == [0, 0, 0, 0]
    other = rasteret_sql.show(RED, ["B", "R", "G"], limits=(0, 100), size=40)
    assert at(other, 20, 1.5, 0.5) == [0, 255, 0, 255]


def test_one_band_goes_by_the_ramp() -> None:
    picture = rasteret_sql.show(RED, "G", limits=(0, 100), size=40)
    colours = ramp().tolist()
    assert at(picture, 20, 0.5, 0.5) == [*colours[0], 255]
    assert at(picture, 20, 0.5, 1.5) == [*colours[255], 255]
    assert at(picture, 20, 1.5, 1.5) == [*colours[128], 255]


def test_the_ramp_grows_lighter_from_end_to_end() -> None:
    grey = ramp().astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(grey) > -0.75).all()  # a step of one level in one colour is rounding
    assert (np.diff(grey[::8]) > 0).all()
    assert len(np.unique(ramp(), axis=0)) > 200


def test_limits_are_the_2nd_and_98th_percentile_of_valid_pixels() -> None:
    values = np.ma.MaskedArray(np.arange(1001.0), mask=False)
    values[900:] = np.ma.masked
    values[0] = np.nan
    right = np.percentile(np.arange(1.0, 900.0), [2, 98])
    assert limits_of([values]) == pytest.approx(tuple(right))
    assert limits_of([values[:500], values[500:]]) == pytest.approx(tuple(right))
    colours = rgba([values.reshape(7, 143)], [limits_of([values])])
    assert colours[0, 0].tolist() == [0, 0, 0, 0]  # NaN
    assert colours[0, 1].tolist() == [*ramp()[0].tolist(), 255]
    assert colours[-1, -1].tolist() == [0, 0, 0, 0]


def test_a_constant_band_is_in_the_middle_and_no_valid_pixel_is_no_error() -> None:
    assert at(rasteret_sql.show(row({"b": [7] * 4}, 2, 2), size=40), 20, 0.5, 0.5) == [*ramp()[128].tolist(), 255]
    empty = rasteret_sql.show(row({"b": np.ma.masked_all(4, "uint8")}, 2, 2), size=40)
    assert at(empty, 20, 0.5, 0.5) == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("names", "right"),
    [
        (["B2", "B3", "B4"], "B4, B3, B2"),
        (["B02", "B03", "B04", "B08"], "B04, B03, B02"),
        (["NIR", "B", "G", "R"], "R, G, B"),
        (["blue", "green", "red"], "red, green, blue"),
        (["b3", "b1", "b9"], "b3, b1, b9"),
        (["x", "y"], "x"),
        (["x", "y", "z", "w"], "x"),
    ],
)
def test_bands_are_chosen_by_their_names(names: list[str], right: str) -> None:
    assert f": {right} of 1 row" in repr(rasteret_sql.show(row({name: [0] * 4 for name in names}, 2, 2)))


# -- geometries -------------------------------------------------------------------------------------------------------------------

SQUARE = shapely.box(LEFT + 2 * PIXEL, TOP - 7 * PIXEL, LEFT + 8 * PIXEL, TOP - 3 * PIXEL)
BLANK = row({"b": [0] * 100}, 10, 10)
SCALE = 20


def edges(picture: Any, captions: int = 0) -> np.ndarray:
    """Where the pure colour of outlines is, in pixels of the block."""
    found = (pixels(picture)[..., :3] == EDGE[:3]).all(axis=-1)
    lines, columns = np.nonzero(found)
    return np.stack([(columns - _MARGIN - PAD) / SCALE, (lines - _MARGIN - PAD - captions * CAPTION) / SCALE], axis=1)


def outlined(picture: Any, shape: Any, captions: int = 0) -> None:
    """All of the outline lies along the shape's edge, and all of the edge is outlined."""
    found = edges(picture, captions)
    assert len(found) > 4 * SCALE
    distances = shapely.distance(shapely.points(found + 0.5 / SCALE), shape.boundary)
    assert distances.max() < 2 / SCALE
    along = shapely.line_interpolate_point(shape.boundary, np.linspace(0, shape.length, 60))
    drawn = shapely.multipoints(found)
    assert shapely.distance(along, drawn).max() < 3 / SCALE


@pytest.mark.parametrize(
    "form",
    [
        SQUARE,
        SQUARE.wkt,
        SQUARE.wkb,
        bytearray(SQUARE.wkb),
        SQUARE.wkb_hex,
        shapely.geometry.mapping(SQUARE),
        {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(SQUARE)},
        {"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(SQUARE)}]},
        [SQUARE],
    ],
    ids=["shapely", "WKT", "WKB", "bytearray", "hex", "GeoJSON", "Feature", "FeatureCollection", "list"],
)
def test_a_geometry_is_drawn_where_it_runs(form: Any) -> None:
    outlined(rasteret_sql.show(BLANK, geometry=form, geometry_crs="EPSG:32633", size=200), shapely.box(2, 3, 8, 7))


def test_a_geometry_goes_to_the_crs_of_the_pixels() -> None:
    from pyproj import Transformer

    lonlat = shapely.transform(SQUARE, Transformer.from_crs("EPSG:32633", "OGC:CRS84", always_xy=True).transform, interleaved=False)
    outlined(rasteret_sql.show(BLANK, geometry=lonlat, size=200), shapely.box(2, 3, 8, 7))
    outlined(rasteret_sql.show({**BLANK, "geom": lonlat.wkb}, size=200), shapely.box(2, 3, 8, 7))
    outlined(rasteret_sql.show({**BLANK, "plot": lonlat.wkt}, geometry="plot", size=200), shapely.box(2, 3, 8, 7))
    assert len(edges(rasteret_sql.show({**BLANK, "geom": lonlat.wkb}, geometry=False, size=200))) == 0


def test_rotated_and_south_up_grids_have_their_outlines_too() -> None:
    turned = {**BLANK, "transform": [0.0, PIXEL, LEFT, PIXEL, 0.0, TOP]}  # columns run north, rows east
    shape = shapely.box(LEFT + 2 * PIXEL, TOP + 3 * PIXEL, LEFT + 5 * PIXEL, TOP + 9 * PIXEL)
    outlined(rasteret_sql.show(turned, geometry=shape, geometry_crs="EPSG:32633", size=200), shapely.box(3, 2, 9, 5))


def test_holes_parts_lines_and_points_are_drawn() -> None:
    shapes = [
        shapely.Polygon(shapely.box(1, 1, 9, 5).exterior, [shapely.box(3, 2, 5, 4).exterior]),
        shapely.MultiPolygon([shapely.box(1, 6, 3, 8), shapely.box(5, 6, 7, 8)]),
        shapely.LineString([(1, 9.5), (9, 9.5)]),
        shapely.Point(9, 7),
    ]
    placed = [shapely.transform(shape, lambda xy: np.stack([LEFT + xy[:, 0] * PIXEL, TOP - xy[:, 1] * PIXEL], axis=1)) for shape in shapes]
    found = shapely.multipoints(edges(rasteret_sql.show(BLANK, geometry=placed, geometry_crs="EPSG:32633", size=200)))
    for x, y in [(1, 3), (9, 3), (5, 1), (3, 3), (4, 2), (5, 3), (1, 7), (6, 6), (7, 7), (5, 9.5), (9, 7)]:
        assert shapely.distance(found, shapely.Point(x, y)) < 3 / SCALE, (x, y)
    for x, y in [(4, 3), (2, 7), (4, 7), (6, 7), (8, 3)]:
        assert shapely.distance(found, shapely.Point(x, y)) > 0.5, (x, y)


def test_what_lies_far_outside_costs_and_draws_nothing() -> None:
    far = shapely.box(LEFT - 1e6, TOP - 1e6, LEFT + 1e6, TOP + 1e6)
    assert len(edges(rasteret_sql.show(BLANK, geometry=far, geometry_crs="EPSG:32633", size=200))) == 0


# -- results ----------------------------------------------------------------------------------------------------------------------


def test_a_result_of_rasteret_read_is_a_panel_per_row(con: duckdb.DuckDBPyConnection) -> None:
    relation = con.sql("FROM rasteret_read(landsat, plots, bands := ['B4', 'B3', 'B2']) ORDER BY id, record_id")
    table = relation.to_arrow_table()
    forms = {"relation": relation, "table": table, "polars": relation.pl(), "pandas": relation.df(), "rows": table.to_pylist()}
    pictures = {name: pixels(rasteret_sql.show(form)) for name, form in forms.items()}
    for name, picture in pictures.items():
        np.testing.assert_array_equal(picture, pictures["table"], err_msg=name)
    scale = 240 // max(max(chip.shape) for chip in rasteret_sql.to_numpy(table, "B4"))
    first = rasteret_sql.to_numpy(table)[0]
    limits = [limits_of(rasteret_sql.to_numpy(table, band)) for band in ("B4", "B3", "B2")]
    line, col = 7, 9
    expected = [
        round(255 * float(np.clip((value - low) / (high - low), 0, 1))) for value, (low, high) in zip(first[:, line, col], limits, strict=True)
    ]
    found = pictures["table"][_MARGIN + PAD + 2 * CAPTION + line * scale + scale // 2, _MARGIN + PAD + col * scale + scale // 2]
    assert found.tolist() == [*expected, 255]


def test_the_crs_of_a_typed_column_is_taken(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "CREATE TABLE utm AS SELECT 'x' AS name, ST_SetCRS('POLYGON((738900 -2811500, 739200 -2811500, 739200 -2811800, 738900 -2811800, 738900 -2811500))'::GEOMETRY, 'EPSG:32621') AS outline"
    ).fetchall()
    relation = con.sql("FROM rasteret_read(landsat, utm, bands := ['B4'], pixels := 'window') WHERE record_id LIKE '%224078%'")
    height, width = rasteret_sql.to_numpy(relation, "B4")[0].shape
    picture = rasteret_sql.show(relation.to_arrow_table(), size=SCALE * max(height, width))
    a, _, left, _, e, top = relation.to_arrow_table()["transform"][0].as_py()
    outlined(picture, shapely.box((738900 - left) / a, (-2811500 - top) / e, (739200 - left) / a, (-2811800 - top) / e), captions=2)


def test_panels_stand_side_by_side_below_their_captions() -> None:
    rows = [row({"b": [0] * 6}, 2, 3, name=name) for name in ("one", "two")]
    one, two = (rasteret_sql.show(found, label="name", size=200, geometry=False) for found in (rows[:1], rows))
    assert two.size[0] > one.size[0]
    assert two.size[1] == one.size[1]
    tall = rasteret_sql.show(rows * 20, label="name", size=200, most=40)
    assert tall.size[0] <= 1000 + 2 * _MARGIN
    assert tall.size[1] > 3 * one.size[1] - 100
    few = pixels(rasteret_sql.show(rows * 20, label="name", size=200))
    assert few.shape[0] < tall.size[1]


def test_captions_and_legend_are_written() -> None:
    plain = row({"b": [0] * 3600}, 60, 60)
    bare = pixels(rasteret_sql.show(plain, size=60))
    dated = pixels(rasteret_sql.show({**plain, "datetime": pd.Timestamp("2020-05-18"), "record_id": "scene"}, size=60))
    assert dated.shape[0] == bare.shape[0] + 2 * CAPTION
    assert dated[_MARGIN : _MARGIN + 2 * CAPTION, :, 3].any()
    missing = pixels(rasteret_sql.show({**plain, "datetime": pd.NaT, "record_id": None}, size=60))
    np.testing.assert_array_equal(missing, bare)
    legend = bare[_MARGIN + 60 + 2 * PAD :]
    assert {tuple(ramp()[0].tolist()), tuple(ramp()[255].tolist())} <= {tuple(colour) for colour in legend[..., :3].reshape(-1, 3).tolist()}


def test_rows_without_pixels_keep_their_place(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TABLE spots AS SELECT 'POINT(10 50)' AS geometry UNION ALL SELECT 'POINT(-54.6 -25.4)'").fetchall()
    relation = con.sql("FROM rasteret_read(landsat, spots, bands := ['B4']) ORDER BY status")
    assert "3 rows" in repr(rasteret_sql.show(relation))
    with pytest.raises(InvalidArgument, match="no row has pixels to show; status: outside"):
        rasteret_sql.show(relation.filter("status = 'outside'"))
    with pytest.raises(InvalidArgument, match="no row has pixels to show; the result is empty"):
        rasteret_sql.show(relation.filter("status = 'nothing'"))


def test_large_blocks_shrink_and_small_ones_grow_by_whole_pixels() -> None:
    large = row({"b": np.tile(np.arange(2000.0), 1000)}, 1000, 2000)
    assert 500 <= rasteret_sql.show(large, geometry=False).size[0] <= 480 + 2 * (PAD + _MARGIN)
    found = pixels(rasteret_sql.show(RED, limits=(0, 100), size=45))
    left, top = _MARGIN + PAD, _MARGIN + PAD
    assert (found[top : top + 22, left + 22 : left + 44] == [255, 0, 0, 255]).all()


def test_a_picture_is_saved_as_png(tmp_path: Path) -> None:
    picture = rasteret_sql.show(RED)
    path = picture.save(tmp_path / "look.png")
    np.testing.assert_array_equal(np.asarray(Image.open(path)), pixels(picture))
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InvalidArgument, match=r"'look\.jpg' should end with \.png"):
        picture.save(tmp_path / "look.jpg")


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"bands": "X"}, BandNotFound, "no band 'X'"),
        ({"bands": ["R", "G"]}, InvalidArgument, "a picture has one band, or three as red, green, blue"),
        ({"label": "nam"}, InvalidArgument, "label='nam' is no column; columns: crs, transform"),
        ({"geometry": "POLYGON((0 0"}, InvalidArgument, "no valid WKT.*; WKT, WKB, GeoJSON, shapely, or the name of a column is valid"),
        ({"geometry": 3}, InvalidArgument, "a int is no geometry; WKT, WKB"),
        ({"geometry": {"type": "Blob"}}, InvalidArgument, "no GeoJSON geometry: type 'Blob'"),
        ({"geometry": "POINT(0 0)", "geometry_crs": "EPSG:0"}, InvalidArgument, "unknown CRS 'EPSG:0'"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        rasteret_sql.show(RED, **arguments)


def test_a_geometry_needs_to_know_where_the_pixels_lie() -> None:
    bare = {name: value for name, value in RED.items() if name != "transform"}
    assert rasteret_sql.show({**bare, "geometry": "POINT(0 0)"}).size
    with pytest.raises(InvalidArgument, match="the columns crs and transform; transform is missing"):
        rasteret_sql.show(bare, geometry="POINT(0 0)")


def test_without_pillow_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "rasteret_sql.outputs.canvas", raising=False)
    with pytest.raises(RasteretError, match=r"pip install 'rasteret-sql\[notebook\]'"):
        rasteret_sql.show(RED)
