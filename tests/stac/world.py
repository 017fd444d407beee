"""Small GeoTIFFs, and STAC items shaped like those of Earth Search and Planetary Computer that name them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import Affine
from rasterio.warp import transform_bounds

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
UTM = "EPSG:32633"
WEST, NORTH = 500000.0, 5200000.0
"""Upper left corner of the first scene: 15° E, 46.95° N."""
ACCOUNT = "aiforearth"
"""The storage account of Planetary Computer's files."""
STEP = 10000.0
"""Metres between neighbouring scenes; each is 400 m wide."""


@dataclass
class World:
    """Files below ``root``, served at ``url``; collections and their items."""

    root: Path
    url: str
    collections: dict[str, dict[str, Any]] = field(default_factory=dict)
    items: list[dict[str, Any]] = field(default_factory=list)

    def of(self, collection: str) -> list[dict[str, Any]]:
        return [item for item in self.items if item["collection"] == collection]

    def file(self, name: str, *, bands: int = 1, dtype: str = "uint16", crs: str | None = UTM, x: float = WEST, y: float = NORTH, **more: Any) -> str:
        """Write a GeoTIFF of random values; returns its href."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixel = more.pop("pixel", 10.0)
        scale, offset = more.pop("scale", None), more.pop("offset", None)
        profile = {"driver": "GTiff", "width": 40, "height": 40, "count": bands, "dtype": dtype, "tiled": True, "blockxsize": 16, "blockysize": 16}
        profile |= {"transform": Affine(pixel, 0, x, 0, -pixel, y), "compress": "deflate"} | ({"crs": crs} if crs else {}) | more
        values = np.random.default_rng(abs(hash(name)) % 2**32).integers(1, 120, (bands, 40, 40)).astype(dtype)
        with rasterio.open(path, "w", **profile) as out:
            out.write(values)
            if scale is not None:
                out.scales, out.offsets = (scale,) * bands, (offset,) * bands
        return f"{self.url}/{name}"

    def blob(self, name: str, **more: Any) -> str:
        """The same as a blob of Azure; ``name`` begins with the container."""
        self.file(f"{ACCOUNT}/{name}", **more)
        return f"https://{ACCOUNT}.blob.core.windows.net/{name}"

    def box(self, name: str, crs: str = UTM) -> list[float]:
        with rasterio.open(self.root / name) as source:
            return list(transform_bounds(source.crs or crs, "OGC:CRS84", *source.bounds))

    def add(self, collection: str, name: str, when: Any, assets: dict[str, Any], box: list[float], **properties: Any) -> dict[str, Any]:
        """An item; ``when`` is a time, or start and end."""
        west, south, east, north = box
        times = {"datetime": when} if isinstance(when, str) else {"datetime": None, "start_datetime": when[0], "end_datetime": when[1]}
        found = {
            "type": "Feature",
            "stac_version": "1.1.0" if "proj:code" in properties else "1.0.0",
            "stac_extensions": [],
            "id": name,
            "collection": collection,
            "geometry": {"type": "Polygon", "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]]},
            "bbox": box,
            "properties": times | properties,
            "links": [],
            "assets": assets,
        }
        self.items.append(found)
        self.collections.setdefault(
            collection,
            {
                "type": "Collection",
                "id": collection,
                "stac_version": "1.0.0",
                "description": collection,
                "license": "other",
                "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [["1980-01-01T00:00:00Z", None]]}},
                "links": [],
            },
        )
        return found


def asset(href: str, **more: Any) -> dict[str, Any]:
    return {"href": href, "type": COG, "roles": ["data"]} | more


ES_S2 = ["coastal", "blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08", "nir09", "swir16", "swir22", "scl"]
PC_S2 = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12", "SCL"]
LANDSAT = ["coastal", "blue", "green", "red", "nir08", "swir16", "swir22", "qa_aerosol", "qa_pixel", "qa_radsat"]


def earth_search(world: World) -> None:
    """Sentinel-2, Landsat, NAIP and the DEMs, as Earth Search v1 has them (STAC 1.0, ``proj:epsg``, ``raster:bands``)."""
    for number in range(6):
        x, day = WEST + STEP * number, f"2024-01-{5 + 5 * number:02d}"
        files = {key: world.file(f"sentinel-cogs/{number}/{key}.tif", x=x, nodata=0) for key in ES_S2}
        raster = {"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}
        assets = {key: asset(href, **{"raster:bands": [raster], "proj:shape": [9, 9]}) for key, href in files.items()}
        assets["red-jp2"] = {"href": "s3://sentinel-s2-l2a/tiles/B04.jp2", "type": "image/jp2"}
        assets["thumbnail"] = {"href": f"{world.url}/t.jpg", "type": "image/jpeg", "roles": ["thumbnail"]}
        properties = {
            "eo:cloud_cover": 10 * number if number else 0.5,
            "proj:epsg": 32633,
            "platform": "sentinel-2a" if number % 2 else "sentinel-2b",
            "earthsearch:boa_offset_applied": number < 3,
            "instruments": ["msi"],
            "updated": "2024-02-01T00:00:00.000Z",
        }
        world.add(
            "sentinel-2-l2a",
            f"S2_{number}",
            f"{day}T23:59:59.500Z" if number == 5 else f"{day}T10:11:12.123456Z",
            assets,
            world.box(f"sentinel-cogs/{number}/red.tif"),
            **properties,
        )
    for number, old in enumerate((False, True)):
        keys = [key for key in LANDSAT if not (old and key in ("coastal", "qa_aerosol"))]
        files = {key: world.file(f"usgs-landsat/collection02/{number}/{key}.TIF", x=WEST + STEP * number, nodata=0) for key in keys}
        for_key = {key: href.replace(f"{world.url}/usgs-landsat/", "https://landsatlook.usgs.gov/data/") for key, href in files.items()}
        assets = {key: asset(href, type="image/vnd.stac.geotiff; cloud-optimized=true") for key, href in for_key.items()}
        when = "1990-05-05T10:00:00Z" if old else "2024-01-07T10:00:00Z"
        box = world.box(f"usgs-landsat/collection02/{number}/red.TIF")
        world.add("landsat-c2-l2", f"LC_{number}", when, assets, box, **{"eo:cloud_cover": 3.5, "proj:epsg": 32633})
    world.file("naip-analytic/m_1.tif", bands=4, dtype="uint8", crs="EPSG:26917")
    naip = {"image": asset("s3://naip-analytic/m_1.tif", **{"eo:bands": [{"name": name} for name in ("Red", "Green", "Blue", "NIR")]})}
    world.add(
        "naip", "m_1", "2021-06-01T16:00:00Z", naip, world.box("naip-analytic/m_1.tif"), **{"proj:epsg": 26917, "naip:year": "2021", "gsd": 0.6}
    )
    for metres in (30, 90):
        for name, x in (("here", 15.0), ("east", 179.99), ("west", -180.0)):
            href = world.file(f"dem/{metres}/{name}.tif", dtype="float32", crs="EPSG:4326", x=x, y=47.0, pixel=0.00025)
            dem = {"data": asset(href)}
            world.add(
                f"cop-dem-glo-{metres}", f"DEM_{name}", "2021-04-22T00:00:00Z", dem, [x, 46.99, x + 0.01, 47.0], gsd=metres, **{"proj:epsg": 4326}
            )


def planetary_computer(world: World) -> None:
    """Sentinel-2, land cover, DEMs and crops, as Planetary Computer has them (times as periods, ``proj:code``)."""
    files = {key: world.blob(f"pc/s2/{key}.tif") for key in PC_S2}
    world.add(
        "sentinel-2-l2a",
        "PC_S2",
        "2024-01-09T10:00:00.024000Z",
        {k: asset(v) for k, v in files.items()},
        world.box(f"{ACCOUNT}/pc/s2/B04.tif"),
        **{"proj:code": UTM, "eo:cloud_cover": 7},
    )
    years = {
        "io-lulc-annual-v02": ("data", "2022-01-01T00:00:00Z", "2022-12-31T23:59:59Z"),
        "esa-worldcover": ("map", "2021-01-01T00:00:00Z", "2021-12-31T23:59:59Z"),
    }
    for collection, (key, start, end) in years.items():
        href = world.blob(f"pc/{collection}.tif", dtype="uint8", nodata=0)
        world.add(
            collection, f"{collection}-1", (start, end), {key: asset(href)}, world.box(f"{ACCOUNT}/pc/{collection}.tif"), **{"proj:epsg": 32633}
        )
    for collection, key in (("alos-dem", "data"), ("nasadem", "elevation")):
        href = world.blob(f"pc/{collection}.tif", dtype="int16", crs="EPSG:4326", x=15.0, y=47.0, pixel=0.00025)
        when = "2016-12-07T00:00:00Z" if key == "data" else "2000-02-20T00:00:00Z"
        world.add(collection, f"{collection}-1", when, {key: asset(href)}, [15.0, 46.99, 15.01, 47.0], **{"proj:epsg": 4326})
    for kind in ("cropland", "cultivated"):
        href = world.blob(f"pc/cdl-{kind}.tif", dtype="uint8", nodata=0)
        keys = {kind: asset(href)} | ({"confidence": asset(href)} if kind == "cropland" else {})
        when = ("2021-01-01T00:00:00Z", "2021-12-31T23:59:59Z")
        world.add("usda-cdl", f"{kind}_1", when, keys, world.box(f"{ACCOUNT}/pc/cdl-{kind}.tif"), **{"usda_cdl:type": kind, "proj:epsg": 32633})
