"""Georeferencing as GDAL reads it: files with hand-made GeoTIFF tags, opened by rasterio and by the parser."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pyproj
import pytest
import rasterio
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from rasteret_sql.errors import InvalidRaster, UnsupportedRaster
from rasteret_sql.raster.gdal_tags import parse_band_items, parse_number
from rasteret_sql.raster.tiff import read_header_bytes

SCALE = (2.0, 3.0, 0.0)
TIEPOINT = (4.0, 5.0, 0.0, 1000.0, 2000.0, 0.0)
MATRIX = (1.0, 0.5, 0.0, 7.0, 0.25, -1.0, 0.0, 8.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
AREA, POINT = 1, 2
UTM = {1024: 1, 3072: 32632}


def write(path, *, scale=SCALE, tiepoint=TIEPOINT, matrix=(), keys=UTM, raster_type=AREA, ascii_params="", extra=()):
    directory = {**keys, 1025: raster_type} if raster_type else dict(keys)
    shorts = [1, 1, 0, len(directory)]
    for key, value in sorted(directory.items()):
        shorts += [key, *(value if isinstance(value, tuple) else (0, 1, value))]
    tags = [(33550, 12, len(scale), scale, True), (33922, 12, len(tiepoint), tiepoint, True), (34264, 12, len(matrix), matrix, True)]
    tags += [(34735, 3, len(shorts), tuple(shorts), True), (34737, 2, len(ascii_params) + 1, ascii_params, True), *extra]
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), extratags=[tag for tag in tags if tag[2] and tag[3]], metadata=None)
    return path


def gdal(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as dataset:
            return tuple(dataset.transform)[:6], dataset.crs


def parse(path):
    return read_header_bytes(path.read_bytes())


TRANSFORMS = {
    "scale and tie point": {},
    "scale of two values": {"scale": (2.0, 3.0)},
    "matrix": {"scale": (), "tiepoint": (), "matrix": MATRIX},
    "scale beats matrix": {"matrix": MATRIX},
    "zero scale, so matrix": {"scale": (0.0, 3.0, 0.0), "matrix": MATRIX},
    "negative y scale": {"scale": (2.0, -3.0, 0.0)},
    "negative x scale": {"scale": (-2.0, 3.0, 0.0)},
    "many tie points": {"tiepoint": TIEPOINT + (16.0, 5.0, 0.0, 1024.0, 2000.0, 0.0) * 3},
}


@pytest.mark.parametrize("raster_type", [AREA, POINT, None])
@pytest.mark.parametrize("tags", TRANSFORMS.values(), ids=TRANSFORMS)
def test_transform_is_gdals(tmp_path, tags, raster_type):
    path = write(tmp_path / "a.tif", raster_type=raster_type, **tags)
    assert parse(path).transform == gdal(path)[0]


def test_point_moves_by_half_a_pixel(tmp_path):
    area, point = (parse(write(tmp_path / f"{kind}.tif", raster_type=kind)).transform for kind in (AREA, POINT))
    assert (point[2] - area[2], point[5] - area[5]) == (-1.0, 1.5)


NUMBERS = st.floats(-1e7, 1e7, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-7)
STEPS = st.floats(1e-6, 1e5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(STEPS, NUMBERS, NUMBERS, NUMBERS, STEPS, NUMBERS), st.booleans(), st.sampled_from(["Area", "Point"]))
def test_any_affine_written_by_gdal(tmp_path, numbers, south_up, kind):
    """North-up, south-up, rotated and sheared: what GDAL writes is read to the last bit as GDAL reads it."""
    a, b, c, d, e, f = numbers
    if abs(a * e) <= abs(b * d) * 1.01:
        b = d = 0.0
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "width": 3, "height": 2, "count": 1, "dtype": "uint8", "crs": "EPSG:32632"}
    with rasterio.open(path, "w", transform=Affine(a, b, c, d, e if south_up else -e, f), **profile) as dataset:
        dataset.update_tags(AREA_OR_POINT=kind)
    expected = gdal(path)[0]
    if expected == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0):
        return  # GDAL writes no georeferencing for the identity
    assert parse(path).transform == expected


@pytest.mark.parametrize(
    ("tags", "error", "message"),
    [
        ({"scale": (), "tiepoint": ()}, UnsupportedRaster, "has no georeferencing"),
        ({"tiepoint": ()}, UnsupportedRaster, "has no georeferencing"),
        ({"scale": ()}, UnsupportedRaster, "has no georeferencing"),
        ({"scale": (), "tiepoint": TIEPOINT * 4}, UnsupportedRaster, "only by 4 ground control points \\(GCPs\\)"),
        ({"scale": (), "tiepoint": (), "matrix": MATRIX[:4] * 4}, InvalidRaster, "not invertible"),
        ({"scale": (math.nan, 1.0, 0.0)}, InvalidRaster, "not invertible"),
        ({"tiepoint": (0.0, 0.0, 0.0, math.inf, 0.0, 0.0)}, InvalidRaster, "not invertible"),
    ],
)
def test_no_usable_transform(tmp_path, tags, error, message):
    with pytest.raises(error, match=message):
        parse(write(tmp_path / "a.tif", **tags))


EPSG = {
    "utm": UTM,
    "utm with metres": {**UTM, 3076: 9001},
    "web mercator": {1024: 1, 3072: 3857, 3076: 9001},
    "geographic": {1024: 2, 2048: 4326},
    "geographic with angular unit": {1024: 2, 2048: 4326, 2054: 9105},
    "geographic 3D": {1024: 2, 2048: 4979},
    "projected and its base": {1024: 1, 2048: 4326, 3072: 32632},
    "no model type": {3072: 32632},
    "vertical besides": {1024: 1, 3072: 32632, 4096: 5773},
    "compound": {1024: 1, 3072: 7415},
    "feet": {1024: 1, 3072: 2225, 3076: 9003},
    "metres by default": {1024: 1, 3072: 5070},
    "UTM by its projection": {1024: 1, 2048: 4326, 3072: 32767, 3074: 16032, 3076: 9001},
}


@pytest.mark.parametrize("keys", EPSG.values(), ids=EPSG)
def test_epsg_is_gdals(tmp_path, keys):
    path = write(tmp_path / "a.tif", keys=keys)
    header, crs = parse(path), gdal(path)[1]
    assert header.epsg == crs.to_epsg()
    assert header.crs == f"EPSG:{header.epsg}"


NAMELESS = {
    "no keys": {},
    "unit of another system": {1024: 1, 3072: 32632, 3076: 9003},
    "metres for a CRS in feet": {1024: 1, 3072: 2225, 3076: 9001},
    "unknown code": {1024: 1, 3072: 1999},
    "vertical CRS as projected": {1024: 1, 3072: 5773},
    "geographic without code": {1024: 2, 3072: 32632},
    "user-defined": {1024: 1, 3072: 32767, 2048: 4326},
    "user-defined geographic": {1024: 2, 2048: 32767},
    "geocentric": {1024: 3, 2048: 4978},
    "transformation as projection": {1024: 1, 2048: 4326, 3074: 15934},
}


@pytest.mark.parametrize("keys", NAMELESS.values(), ids=NAMELESS)
def test_no_exact_crs_is_none(tmp_path, keys):
    header = parse(write(tmp_path / "a.tif", keys=keys))
    assert (header.epsg, header.crs) == (None, None)


def test_every_utm_zone_has_no_shortcut_error():
    """The codes that are taken without opening the PROJ database are what they are taken for: known, horizontal, in metres or degrees."""
    for epsg in [*range(32601, 32661), *range(32701, 32761), 3857, 4326]:
        crs = pyproj.CRS.from_epsg(epsg)
        assert crs.is_geographic or {axis.unit_name for axis in crs.axis_info} == {"metre"}


def test_esri_wkt_in_the_citation(tmp_path):
    """GDAL's GEOTIFF_KEYS_FLAVOR=ESRI_PE: the CRS as WKT, here one without an EPSG code."""
    path = tmp_path / "a.tif"
    sinusoidal = pyproj.CRS("+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs")
    profile = {"driver": "GTiff", "width": 3, "height": 2, "count": 1, "dtype": "uint8", "transform": Affine(10, 0, 0, 0, -10, 0)}
    with rasterio.open(path, "w", crs=sinusoidal.to_wkt(), GEOTIFF_KEYS_FLAVOR="ESRI_PE", **profile):
        pass
    header = parse(path)
    assert header.epsg is None
    ours = pyproj.Transformer.from_crs(header.crs, sinusoidal, always_xy=True).transform(1e6, 2e6)
    np.testing.assert_allclose(ours, (1e6, 2e6), rtol=0, atol=1e-6)
    assert pyproj.CRS(header.crs).is_projected


def test_esri_wkt_with_a_code_and_broken_wkt(tmp_path):
    wkt = pyproj.CRS.from_epsg(5070).to_wkt("WKT1_ESRI")
    for number, (text, epsg) in enumerate([(f"ESRI PE String = {wkt}|", 5070), ("ESRI PE String = PROJCS[oops|", None), ("Albers, probably|", None)]):
        path = write(tmp_path / f"{number}.tif", keys={1024: 1, 3072: 32767, 3073: (34737, len(text), 0)}, ascii_params=text)
        assert parse(path).epsg == epsg


def test_keys_out_of_their_parameters_are_left_out(tmp_path):
    path = write(tmp_path / "a.tif", keys={**UTM, 1026: (34737, 500, 400), 3073: (34737, 9, 65535), 2057: (34736, 1, 9)}, ascii_params="abc|")
    assert parse(path).epsg == 32632


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7", 7.0), (" 7 ", 7.0), ("-9999 ", -9999.0), ("1e3", 1000.0), ("-3.40282346638529e+38", -3.40282346638529e38), (".5", 0.5), ("1,5", 1.5),
     ("-inf", -math.inf), ("inf", math.inf), ("-1.#INF", -math.inf), ("", None), ("abc", None), ("0x10", None), ("1_000", None), ("3abc", None)],
)  # fmt: skip
def test_parse_number(text, expected):
    assert parse_number(text) == expected


@pytest.mark.parametrize("text", ["nan", "NaN", "-nan", "1.#QNAN"])
def test_parse_number_nan(text):
    assert math.isnan(parse_number(text))


@pytest.mark.parametrize("text", ["nan", "-9999", "0", "1e-5", "-3.4028234663852886e+38", "  12.5 "])
def test_nodata_is_gdals(tmp_path, text):
    """For float64 samples rasterio passes GDAL's value on."""
    path = tmp_path / "a.tif"
    extra = [(42113, 2, len(text) + 1, text, True), (33550, 12, 3, SCALE, True), (33922, 12, 6, TIEPOINT, True)]
    tifffile.imwrite(path, np.zeros((16, 16), np.float64), extratags=extra, metadata=None)
    with rasterio.open(path) as dataset:
        np.testing.assert_equal(parse(path).nodata, dataset.nodata)


def item(role, sample, text):
    return f'<Item name="X" sample="{sample}" role="{role}">{text}</Item>'


def test_band_items():
    inner = (
        item("scale", 0, "0.5") + item("offset", 1, "oops") + item("scale", 7, "3") + item("scale", "x", "3") + item("description", 1, "a<b>c</b>")
    )
    items = parse_band_items(f"<GDALMetadata>{inner}</GDALMetadata>", 2)
    assert (items.scales, items.offsets) == ((0.5, 1.0), (0.0, 0.0))


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "role= but no XML",
        f"<GDALMetadata>{item('scale', 0, '2')}",
        f"<!DOCTYPE x [<!ENTITY a 'aaaa'>]><GDALMetadata>{item('scale', 0, '2')}</GDALMetadata>",
        f"<GDALMetadata>\x01{item('scale', 0, '2')}</GDALMetadata>",
    ],
)
def test_unusable_metadata_is_ignored(text):
    items = parse_band_items(text, 2)
    assert (items.scales, items.offsets, items.descriptions) == ((1.0, 1.0), (0.0, 0.0), (None, None))


def test_metadata_beyond_its_limit_is_ignored(tmp_path):
    inner = item("scale", 0, "0.5")
    for padding, expected in ((10, 0.5), (1 << 20, 1.0)):
        text = f"<GDALMetadata>{inner}{' ' * padding}</GDALMetadata>"
        path = write(tmp_path / "a.tif", extra=[(42112, 2, len(text) + 1, text, True)])
        assert parse(path).scales == (expected,)
