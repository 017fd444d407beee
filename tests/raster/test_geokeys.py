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
from rasteret_sql.raster.geokeys import resolve_crs
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
        ({"scale": (), "tiepoint": (), "extra": [(50844, 12, 92, (0.0,) * 92, True)]}, UnsupportedRaster, "only by rational polynomial coefficients"),
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


DOUBLES = (2.0, 6371007.181, 0.0, 52.0, 0.9998)
SPELT_OUT = {
    "UTM in feet": {1024: 1, 3072: 32632, 3076: 9003},
    "UTM in kilometres": {1024: 1, 3072: 32632, 3076: 9036},
    "UTM in a unit of its own": {1024: 1, 3072: 32632, 3076: 32767, 3077: (34736, 1, 0)},
    "metres for a CRS in feet": {1024: 1, 3072: 2225, 3076: 9001},
    "state plane zone in US feet": {1024: 1, 2048: 4269, 3074: 10405, 3076: 9003},
    "UTM zone in feet": {1024: 1, 2048: 4326, 3072: 32767, 3074: 16032, 3076: 9002},
    "datum": {1024: 2, 2048: 32767, 2050: 6326},
    "datum in grads": {1024: 2, 2048: 32767, 2050: 6275, 2054: 9105},
    "datum and meridian": {1024: 2, 2048: 32767, 2050: 6807, 2051: 8903},
    "ellipsoid": {1024: 2, 2048: 32767, 2056: 7004, 2054: 9102},
    "sphere": {1024: 2, 2048: 32767, 2057: (34736, 1, 1), 2059: (34736, 1, 2)},
    "sinusoidal on a sphere": {
        1024: 1,
        3072: 32767,
        3075: 24,
        3076: 9001,
        2048: 32767,
        2057: (34736, 1, 1),
        2059: (34736, 1, 2),
        3080: (34736, 1, 0),
    },
    "conic in grads": {1024: 1, 2048: 4807, 3072: 32767, 3075: 9, 3076: 9001, 3080: (34736, 1, 0), 3081: (34736, 1, 3), 3092: (34736, 1, 4)},
    "transverse Mercator by false origin": {1024: 1, 2048: 4326, 3072: 32767, 3075: 1, 3084: (34736, 1, 0), 3085: (34736, 1, 3), 3093: (34736, 1, 4)},
}


def same_places(mine: str, theirs: pyproj.CRS, x, y) -> None:
    """Both CRSs have the same longitudes and latitudes for these coordinates, on their own datums and on WGS 84."""
    ours = pyproj.CRS.from_user_input(mine)
    theirs = theirs.sub_crs_list[0] if theirs.is_compound else theirs
    for target in (None, "OGC:CRS84"):
        found, expected = (
            pyproj.Transformer.from_crs(crs, target or crs.geodetic_crs or crs, always_xy=True).transform(x, y) for crs in (ours, theirs)
        )
        assert np.isfinite(expected).all()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("keys", SPELT_OUT.values(), ids=SPELT_OUT)
def test_keys_without_code_are_what_gdal_takes_them_for(tmp_path, keys):
    path = write(tmp_path / "a.tif", keys=keys, extra=[(34736, 12, len(DOUBLES), DOUBLES, True)])
    header, crs = parse(path), gdal(path)[1]
    assert header.crs is not None
    theirs = pyproj.CRS.from_wkt(crs.to_wkt())
    x, y = (np.array([5.0, 11.0]), np.array([40.0, 55.0])) if theirs.is_geographic else (np.array([3000.0, 5000.0]), np.array([50000.0, 60000.0]))
    same_places(header.crs, theirs, x, y)


METHODS = {
    "transverse Mercator": "+proj=tmerc +lat_0=10 +lon_0=20 +k=0.9996 +x_0=500000 +y_0=1000 +datum=WGS84 +units=m",
    "transverse Mercator, Bessel": "+proj=tmerc +lat_0=10 +lon_0=20 +k=0.9996 +x_0=500000 +y_0=1000 +ellps=bessel +units=m",
    "transverse Mercator in feet": "+proj=tmerc +lat_0=10 +lon_0=-120 +k=0.9996 +x_0=152400.3048006096 +y_0=0 +datum=NAD83 +units=us-ft",
    "shift to WGS 84": "+proj=tmerc +lat_0=49 +lon_0=-2 +k=0.9996012717 +x_0=400000 +ellps=airy +towgs84=446.4,-125.2,542.06,0.15,0.247,0.842,-20.5 +units=m",
    "shift by three": "+proj=tmerc +lat_0=49 +lon_0=-2 +k=1 +x_0=400000 +ellps=airy +towgs84=375,-111,431 +units=m",
    "Lambert 1SP": "+proj=lcc +lat_1=46 +lat_0=46 +lon_0=2 +k_0=0.9998 +x_0=600000 +y_0=200000 +datum=WGS84 +units=m",
    "Lambert 2SP": "+proj=lcc +lat_1=33 +lat_2=45 +lat_0=23 +lon_0=-96 +x_0=100 +y_0=200 +datum=NAD83 +units=m",
    "Albers": "+proj=aea +lat_1=30 +lat_2=45.5 +lat_0=23 +lon_0=-96 +x_0=3 +y_0=4 +datum=NAD83 +units=m",
    "Lambert azimuthal": "+proj=laea +lat_0=52 +lon_0=10 +x_0=4321 +y_0=3210 +ellps=GRS80 +units=m",
    "Lambert azimuthal on a sphere": "+proj=laea +lat_0=45 +lon_0=-100 +x_0=0 +y_0=0 +R=6370997 +units=m",
    "polar stereographic A": "+proj=stere +lat_0=90 +lon_0=-45 +k=0.994 +x_0=2000000 +y_0=2000000 +datum=WGS84 +units=m",
    "polar stereographic B": "+proj=stere +lat_0=-90 +lat_ts=-71 +lon_0=12 +x_0=0 +y_0=0 +datum=WGS84 +units=m",
    "polar stereographic, Hughes": "+proj=stere +lat_0=90 +lat_ts=70 +lon_0=-45 +x_0=0 +y_0=0 +a=6378273 +b=6356889.449 +units=m",
    "Mercator A": "+proj=merc +lon_0=150 +k=0.997 +x_0=100 +y_0=50 +datum=WGS84 +units=m",
    "Mercator B": "+proj=merc +lon_0=100 +lat_ts=42 +x_0=0 +y_0=0 +datum=WGS84 +units=m",
    "oblique Mercator A": "+proj=omerc +lat_0=4 +lonc=102.25 +alpha=323.02 +k=0.99984 +x_0=804671 +y_0=0 +no_uoff +gamma=323.13 +ellps=GRS80 +units=m",
    "oblique Mercator B": "+proj=omerc +lat_0=4 +lonc=115 +alpha=53.315 +k=0.99984 +x_0=590476.87 +y_0=442857.65 +gamma=53.13 +ellps=evrstSS +units=m",
    "sinusoidal": "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m",
    "azimuthal equidistant": "+proj=aeqd +lat_0=40 +lon_0=-100 +x_0=10 +y_0=20 +datum=WGS84 +units=m",
    "equidistant cylindrical": "+proj=eqc +lat_ts=30 +lat_0=0 +lon_0=10 +x_0=0 +y_0=0 +datum=WGS84 +units=m",
    "equidistant conic": "+proj=eqdc +lat_0=39 +lon_0=-96 +lat_1=33 +lat_2=45 +x_0=0 +y_0=0 +datum=NAD83 +units=m",
    "cylindrical equal area": "+proj=cea +lat_ts=31 +lon_0=0 +x_0=0 +y_0=0 +datum=WGS84 +units=m",
    "oblique stereographic": "+proj=sterea +lat_0=52.15 +lon_0=5.38 +k=0.9999079 +x_0=155000 +y_0=463000 +ellps=bessel +units=m",
    "stereographic": "+proj=stere +lat_0=50 +lon_0=20 +k=0.999 +x_0=0 +y_0=0 +datum=WGS84 +units=m",
    "Cassini": "+proj=cass +lat_0=10 +lon_0=-61 +x_0=86501 +y_0=65379 +ellps=clrk66 +units=m",
    "Robinson": "+proj=robin +lon_0=10 +x_0=0 +y_0=0 +datum=WGS84 +units=m",
    "Miller": "+proj=mill +lon_0=10 +x_0=0 +y_0=0 +R=6371000 +units=m",
    "polyconic": "+proj=poly +lat_0=0 +lon_0=-54 +x_0=5000 +y_0=10000 +ellps=GRS80 +units=m",
    "orthographic": "+proj=ortho +lat_0=40 +lon_0=20 +x_0=0 +y_0=0 +R=6371000 +units=m",
    "gnomonic": "+proj=gnom +lat_0=40 +lon_0=20 +x_0=0 +y_0=0 +R=6371000 +units=m",
    "Van der Grinten": "+proj=vandg +lon_0=10 +x_0=0 +y_0=0 +R=6371000 +units=m",
    "geostationary": "+proj=geos +h=35786023 +lon_0=-75 +sweep=x +ellps=GRS80 +units=m",
    "Mollweide": "+proj=moll +lon_0=10 +x_0=0 +y_0=0 +datum=WGS84 +units=m",
    "New Zealand map grid": "+proj=nzmg +lat_0=-41 +lon_0=173 +x_0=2510000 +y_0=6023150 +ellps=intl +units=m",
    "sphere": "+proj=longlat +R=6371007.181",
    "ellipsoid": "+proj=longlat +ellps=bessel",
    "Paris": "+proj=longlat +ellps=clrk80ign +pm=paris",
    "Canada Albers": "ESRI:102001",
    "compound": "EPSG:5554",
    "New Zealand, old": "EPSG:27200",
    "South Africa": "EPSG:2048",
}


FLAVOURS = {"1.0": {}, "1.1": {"GEOTIFF_VERSION": "1.1"}, "esri": {"GEOTIFF_KEYS_FLAVOR": "ESRI_PE"}}
SEVERAL = ("transverse Mercator in feet", "Lambert 2SP", "Albers", "Mollweide", "Paris", "compound")


@pytest.mark.parametrize(("name", "flavour"), [*((name, "1.0") for name in METHODS), *((name, f) for name in SEVERAL for f in ("1.1", "esri"))])
def test_methods_are_what_gdal_takes_them_for(tmp_path, name, flavour):
    options = FLAVOURS[flavour]
    path = tmp_path / "a.tif"
    source = pyproj.CRS.from_user_input(METHODS[name])
    profile = {"driver": "GTiff", "width": 3, "height": 2, "count": 1, "dtype": "uint8", "transform": Affine(0.1, 0, 10, 0, -0.1, 50)}
    with rasterio.open(path, "w", crs=METHODS[name], **profile, **options):
        pass
    header = parse(path)
    theirs = pyproj.CRS.from_wkt(gdal(path)[1].to_wkt())
    lon, lat = (np.array([12.0, 14.0]), np.array([40.0, 42.0]))
    if source.is_projected:
        centre = {"+lon_0": 0.0, "+lonc": 0.0, "+lat_0": 0.0, "+lat_ts": 0.0} | dict(
            part.split("=") for part in METHODS[name].split() if part.startswith(("+lon", "+lat_0", "+lat_ts"))
        )
        middle = float(centre["+lonc"]) or float(centre["+lon_0"])
        south = -1 if float(centre["+lat_0"]) < 0 or name in ("New Zealand, old", "South Africa") else 1
        lon, lat = middle + np.array([1.0, 3.0]), np.array([44.0, 47.0]) * south
        if name in ("Canada Albers", "compound", "New Zealand, old", "South Africa"):
            west, low, east, high = source.area_of_use.bounds
            lon, lat = np.array([west * 0.6 + east * 0.4, west * 0.4 + east * 0.6]), np.array([low * 0.6 + high * 0.4, low * 0.4 + high * 0.6])
        lon, lat = pyproj.Transformer.from_crs("OGC:CRS84", theirs.sub_crs_list[0] if theirs.is_compound else theirs, always_xy=True).transform(
            lon, lat
        )
    assert header.crs is not None
    same_places(header.crs, theirs, lon, lat)


CODES = st.sampled_from([0, 1, 2, 9001, 9003, 9102, 9105, 4326, 4807, 4978, 5773, 6326, 6275, 7030, 8901, 8903, 16032, 15934, 32632, 32767, 65535])
FLOATS = st.sampled_from([0.0, 1.0, -1.0, 90.0, 6378137.0, 298.257, 1e308, math.inf, math.nan, 0.9996, 1e-300])
WORDS = st.sampled_from(['ESRI PE String = PROJCS["x"', "GCS Name = A|Datum = B|Ellipsoid = C|Primem = D", "\x00\x01", '"quote" \\ \n é', ""])
PARAMETERS = st.dictionaries(
    st.sampled_from([1026, 2048, *range(2049, 2063), *range(3072, 3097)]),
    st.one_of(CODES, st.integers(1, 30), st.lists(FLOATS, max_size=7).map(tuple), WORDS),
    max_size=20,
)


@settings(max_examples=150, deadline=None)
@given(PARAMETERS, st.sampled_from([0, 1, 2, 3, 32767]), st.sampled_from([None, *range(1, 29), 9815]))
def test_any_keys_are_a_crs_or_none(keys, model, method):
    """Whatever keys hold: a CRS that PROJ takes, or none, and no error."""
    spelt = {} if method is None else {2048: 4326, 3072: 32767, 3074: 32767, 3075: method}
    epsg, text = resolve_crs({**keys, **spelt, 1024: model})
    if text is not None:
        crs = pyproj.CRS.from_user_input(text)
        assert not (crs.is_vertical or crs.is_geocentric or crs.is_compound)
        assert epsg is None or text == f"EPSG:{epsg}"


def test_a_method_without_a_name_here_is_none(tmp_path):
    assert parse(write(tmp_path / "a.tif", keys={1024: 1, 2048: 4326, 3072: 32767, 3075: 4, 3076: 9001})).crs is None


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
