"""The dataset catalogue: what must be known of a public collection to build from it, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rasteret_sql.errors import InvalidArgument

APIS: Mapping[str, str] = {
    "earthsearch": "https://earth-search.aws.element84.com/v1",
    "pc": "https://planetarycomputer.microsoft.com/api/stac/v1",
}
"""Roots of the STAC APIs by name; the setting ``stac_endpoints`` puts mirrors in their places."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """One dataset: where its records come from, what its bands are, and what a user must know of it."""

    id: str
    name: str
    description: str = ""
    api: str = ""
    """A name of :data:`APIS`, a root's URL or a path; empty for a read-ready collection."""
    collection: str = ""
    bands: Mapping[str, str] = field(default_factory=dict)
    """Band → asset key, with a sample as ``key[1]``."""
    dates: str = ""
    """First and last day, ``..`` while it goes on; empty where it has none."""
    needs_dates: bool = True
    """Time series must say which part of them."""
    coverage: str = "global"
    auth: str = "none"
    licence: str = ""
    url_rewrite: Mapping[str, str] = field(default_factory=dict)
    requester_pays: bool = False
    region: str = ""
    collection_url: str = ""
    """A read-ready collection: Parquet with the contract columns."""
    index_url: str = ""
    """Of it: records without the bands' metadata, for a first search."""
    example_bbox: tuple[float, float, float, float] | None = None
    example_dates: tuple[str, str] | None = None

    @property
    def is_stac(self) -> bool:
        return bool(self.api)

    @property
    def needs_bbox(self) -> bool:
        """A public dataset is not taken whole."""
        return not self.id.startswith("local/")

    @property
    def example(self) -> str:
        """A statement that builds a small part of it."""
        short = self.id.rpartition("/")[2].replace("-", "_")
        arguments = [f"'{self.id}'", f"name := '{short}'"]
        if self.example_bbox:
            arguments.append(f"bbox := [{', '.join(f'{number:g}' for number in self.example_bbox)}]")
        if self.example_dates:
            arguments.append(f"date_range := [{', '.join(repr(text) for text in self.example_dates)}]")
        return f"FROM rasteret_build({', '.join(arguments)})"


_EARTH_SEARCH_S2 = {
    "B01": "coastal",
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B05": "rededge1",
    "B06": "rededge2",
    "B07": "rededge3",
    "B08": "nir",
    "B8A": "nir08",
    "B09": "nir09",
    "B11": "swir16",
    "B12": "swir22",
    "SCL": "scl",
}
_LANDSAT = {"B1": "coastal", "B2": "blue", "B3": "green", "B4": "red", "B5": "nir08", "B6": "swir16", "B7": "swir22"}
_LANDSAT |= {name: name for name in ("qa_aerosol", "qa_pixel", "qa_radsat")}
_SENTINEL_NOTICE = "Sentinel legal notice (free, full and open)"
_COPERNICUS = "Copernicus DEM licence (free, with attribution)"
_SAS = "SAS token, anonymous, fetched at read time"
_PAYS = "AWS keys, requester pays"
_BENGALURU, _JANUARY = (77.5, 12.9, 77.7, 13.1), ("2024-01-01", "2024-01-31")
_IOWA = (-93.7, 41.9, -93.5, 42.1)

_ALL = (
    Dataset(
        id="earthsearch/sentinel-2-l2a",
        name="Sentinel-2 Level-2A (Earth Search)",
        description="Surface reflectance, 10 to 60 m, every 5 days. The offset of newer baselines is often applied already: values are as stored.",
        api="earthsearch",
        collection="sentinel-2-l2a",
        bands=_EARTH_SEARCH_S2,
        dates="2015-06-23/..",
        licence=_SENTINEL_NOTICE,
        region="us-west-2",
        example_bbox=_BENGALURU,
        example_dates=_JANUARY,
    ),
    Dataset(
        id="earthsearch/landsat-c2-l2",
        name="Landsat Collection 2 Level-2 (Earth Search)",
        description="Surface reflectance of Landsat 4 to 9, 30 m, every 8 to 16 days. Older missions lack B1 and qa_aerosol.",
        api="earthsearch",
        collection="landsat-c2-l2",
        bands=_LANDSAT,
        dates="1982-07-16/..",
        auth=_PAYS,
        licence="USGS, public domain",
        url_rewrite={"https://landsatlook.usgs.gov/data/": "s3://usgs-landsat/"},
        requester_pays=True,
        region="us-west-2",
        example_bbox=_BENGALURU,
        example_dates=_JANUARY,
    ),
    Dataset(
        id="earthsearch/naip",
        name="NAIP aerial imagery (Earth Search)",
        description="Aerial photographs of the USA, 0.6 to 1 m, four bands in one file.",
        api="earthsearch",
        collection="naip",
        bands={"R": "image[0]", "G": "image[1]", "B": "image[2]", "NIR": "image[3]"},
        dates="2010-01-01/2023-12-31",
        coverage="north-america",
        auth=_PAYS,
        licence="USDA FSA, public domain",
        requester_pays=True,
        region="us-west-2",
        example_bbox=_IOWA,
        example_dates=("2021-01-01", "2021-12-31"),
    ),
    *(
        Dataset(
            id=f"earthsearch/cop-dem-glo-{metres}",
            name=f"Copernicus DEM GLO-{metres} (Earth Search)",
            description=f"Surface heights above the EGM2008 geoid in metres, {metres} m.",
            api="earthsearch",
            collection=f"cop-dem-glo-{metres}",
            bands={"DEM": "data"},
            dates="2021-04-22/2021-04-22",
            needs_dates=False,
            licence=_COPERNICUS,
            region="eu-central-1",
            example_bbox=_BENGALURU,
        )
        for metres in (30, 90)
    ),
    Dataset(
        id="pc/sentinel-2-l2a",
        name="Sentinel-2 Level-2A (Planetary Computer)",
        description="Surface reflectance, 10 to 60 m, every 5 days. Baselines from 04.00 on have an offset of -1000: values are as stored.",
        api="pc",
        collection="sentinel-2-l2a",
        bands={band: band for band in _EARTH_SEARCH_S2},
        dates="2015-06-23/..",
        auth=_SAS,
        licence=_SENTINEL_NOTICE,
        example_bbox=_BENGALURU,
        example_dates=_JANUARY,
    ),
    Dataset(
        id="pc/io-lulc-annual-v02",
        name="Land cover, annual, Impact Observatory (Planetary Computer)",
        description="Nine classes of land cover a year from Sentinel-2, 10 m.",
        api="pc",
        collection="io-lulc-annual-v02",
        bands={"LULC": "data"},
        dates="2017-01-01/..",
        auth=_SAS,
        licence="CC-BY-4.0",
        example_bbox=_BENGALURU,
        example_dates=("2022-01-01", "2022-12-31"),
    ),
    Dataset(
        id="pc/alos-dem",
        name="ALOS World 3D DEM (Planetary Computer)",
        description="Surface heights in metres, 30 m.",
        api="pc",
        collection="alos-dem",
        bands={"DEM": "data"},
        dates="2021-01-01/2021-12-31",
        needs_dates=False,
        auth=_SAS,
        licence="JAXA AW3D30 terms (free, with attribution)",
        example_bbox=_BENGALURU,
    ),
    Dataset(
        id="pc/nasadem",
        name="NASADEM (Planetary Computer)",
        description="Surface heights in metres from the shuttle mission of February 2000, 30 m.",
        api="pc",
        collection="nasadem",
        bands={"DEM": "elevation"},
        dates="2000-02-20/2000-02-20",
        needs_dates=False,
        auth=_SAS,
        licence="LP DAAC, public domain",
        example_bbox=_BENGALURU,
    ),
    Dataset(
        id="pc/esa-worldcover",
        name="ESA WorldCover (Planetary Computer)",
        description="Eleven classes of land cover, 2020 and 2021, 10 m.",
        api="pc",
        collection="esa-worldcover",
        bands={"MAP": "map"},
        dates="2020-01-01/2021-12-31",
        auth=_SAS,
        licence="CC-BY-4.0",
        example_bbox=_BENGALURU,
        example_dates=("2021-01-01", "2021-12-31"),
    ),
    Dataset(
        id="pc/usda-cdl",
        name="USDA Cropland Data Layer (Planetary Computer)",
        description="Crop classes a year of the conterminous USA, 30 m (the asset 'cropland'; items of other kinds are left out).",
        api="pc",
        collection="usda-cdl",
        bands={"CDL": "cropland"},
        dates="2008-01-01/2024-12-31",
        coverage="conus",
        auth=_SAS,
        licence="USDA NASS, public domain",
        example_bbox=_IOWA,
        example_dates=("2021-01-01", "2021-12-31"),
    ),
    Dataset(
        id="aef/v1-annual",
        name="AlphaEarth Foundations annual embeddings",
        description="64 numbers a year for every 10 m pixel, int8 with nodata -128, as a collection that is built already.",
        bands={f"A{index:02d}": f"[{index}]" for index in range(64)},
        dates="2018-01-01/..",
        licence="CC-BY-4.0",
        url_rewrite={"https://data.source.coop/": "s3://us-west-2.opendata.source.coop/"},
        region="us-west-2",
        collection_url="s3://us-west-2.opendata.source.coop/terrafloww/aef-v1-annual-rasteret/data",
        index_url="s3://us-west-2.opendata.source.coop/terrafloww/aef-v1-annual-rasteret/index.parquet",
        example_bbox=_BENGALURU,
        example_dates=("2022-01-01", "2022-12-31"),
    ),
)
DATASETS: Mapping[str, Dataset] = {dataset.id: dataset for dataset in _ALL}


def api_root(dataset: Dataset, endpoints: str) -> str:
    """The root of the dataset's API: the mirror that the setting ``stac_endpoints`` names for it, else the public one."""
    return parse_endpoints(endpoints).get(dataset.api) or APIS.get(dataset.api, dataset.api)


def parse_endpoints(text: str) -> dict[str, str]:
    """``earthsearch=http://127.0.0.1:8080,pc=https://mirror/v1`` (a checked setting) as a mapping."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, url = (piece.strip() for piece in part.partition("="))
        if name not in APIS:
            raise InvalidArgument(f"rasteret_stac_endpoints names no API {name!r}; APIs: {', '.join(APIS)}")
        found[name] = url
    return found
