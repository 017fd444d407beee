"""Pipelines between WGS 84 and UTM against PROJ's own, which it finds in its database."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest

from rasteret_sql.raster import crs
from rasteret_sql.raster.utm import pipeline

ZONES = [f"EPSG:32{hemisphere}{zone:02}" for hemisphere in (6, 7) for zone in range(1, 61)]
DEGREES = ["OGC:CRS84", "EPSG:4326"]
PAIRS = [
    *((degrees, zone) for degrees in DEGREES for zone in ZONES),
    *((zone, degrees) for degrees in DEGREES for zone in ZONES),
    *zip(ZONES, [*ZONES[1:], ZONES[0]], strict=True),
]


def test_every_pipeline_is_projs_own():
    for src, dst in PAIRS:
        ours = pyproj.Transformer.from_pipeline(pipeline(src, dst))
        assert ours.definition == pyproj.Transformer.from_crs(src, dst, always_xy=True).definition


@pytest.mark.parametrize(("src", "dst"), [("OGC:CRS84", "EPSG:32643"), ("EPSG:32743", "EPSG:4326"), ("EPSG:32601", "EPSG:32660")])
def test_points_are_projs_bit_for_bit_and_without_its_database(src, dst, monkeypatch):
    """Everywhere: in the zone, far from it, at the poles, and where there is no place."""
    x, y = np.meshgrid(np.linspace(-200, 200, 81), np.linspace(-95, 95, 39))
    if src not in DEGREES:
        x, y = 500_000 + x * 1e4, y * 1.2e5
    monkeypatch.setattr(crs, "_transformer", None)
    crs._way.cache_clear()
    found = crs.transform_points(x, y, src, dst)
    for ours, theirs in zip(found, pyproj.Transformer.from_crs(src, dst, always_xy=True).transform(x, y), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("src", "dst"),
    [
        ("OGC:CRS84", "EPSG:3857"),
        ("EPSG:32631", "EPSG:3035"),
        ("EPSG:32600", "OGC:CRS84"),
        ("EPSG:32661", "OGC:CRS84"),
        ("EPSG:32761", "OGC:CRS84"),
        ("EPSG:3264", "OGC:CRS84"),
        ("EPSG:326431", "OGC:CRS84"),
        ("32643", "OGC:CRS84"),
        ("OGC:CRS84", "EPSG:4326"),
        ("EPSG:32643", "EPSG:32643"),
    ],
)
def test_the_rest_is_left_to_proj(src, dst):
    assert pipeline(src, dst) is None
