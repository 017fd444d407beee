"""A small real data set that comes with the package, for the demo, the documentation and tests; see README.md beside this file.

``landsat``: two overlapping Landsat-8 scenes of one day, one file per band, with labelled points and plots.
``rgbn``: four records of 4-band aerial-like imagery, one file per record. **The four source files are identical**: only their dates differ, so
they show how records are chosen by date, and nothing about change over time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from rasteret_sql.errors import InvalidArgument, listing, near

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

Dataset = Literal["landsat", "rgbn"]

SCENES: Final[Mapping[str, str]] = {"landsat": "landsat_scenes.parquet", "rgbn": "rgbn_scenes.parquet"}
"""Data set → its records table, a file in :func:`data_dir`; hrefs in it are relative to that folder."""
BANDS: Final[Mapping[str, tuple[str, ...]]] = {"landsat": ("B2", "B3", "B4"), "rgbn": ("R", "G", "B", "NIR")}
EPSG: Final[Mapping[str, int]] = {"landsat": 32621, "rgbn": 32618}
POINTS: Final = "points.parquet"
"""Labelled points on the landsat scenes: id, label, geom (WKB, OGC:CRS84)."""
PLOTS: Final = "plots.parquet"
"""Labelled polygons on the landsat scenes: id, label, geom (WKB, OGC:CRS84)."""
RGBN_PLOTS: Final = "rgbn_plots.parquet"
"""Rectangles drawn by hand on the rgbn imagery: id, label, geom (WKB, OGC:CRS84)."""


def data_dir() -> Path:
    """The folder of the sample files: what a :class:`~rasteret_sql.sample.server.SampleServer` serves."""
    return Path(__file__).resolve().parent / "data"


def records(base_url: str, dataset: Dataset = "landsat") -> pa.Table:
    """The records of one data set with hrefs below ``base_url``, a server's URL or a folder.

    Columns: id, datetime (UTC, no zone), geometry (footprint, WKB, OGC:CRS84), assets (band → href, band_index), proj:epsg.
    Raises :class:`InvalidArgument` for a data set that is not there.
    """
    import pyarrow as pa  # noqa: PLC0415 - half a second that the constants above do not need
    import pyarrow.compute as pc  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    if dataset not in SCENES:
        raise InvalidArgument(f"no sample data set {dataset!r}{near(dataset, SCENES)}; data sets: {listing(SCENES)}")
    # ParquetFile, unlike read_table, does not take a key=value folder on the way to the package for a partition column.
    table = pq.ParquetFile(data_dir() / SCENES[dataset]).read()
    assets = table["assets"].combine_chunks()
    base = pa.scalar(base_url.rstrip("/"))
    joined = [
        pa.StructArray.from_arrays([pc.binary_join_element_wise(base, asset.field("href"), "/"), asset.field("band_index")], fields=list(asset.type))
        for asset in map(assets.field, BANDS[dataset])
    ]
    position = table.schema.get_field_index("assets")
    return table.set_column(position, table.schema.field(position), pa.StructArray.from_arrays(joined, fields=list(assets.type)))
