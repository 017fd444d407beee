"""odc-stac: ``odc.stac.load`` into the grid of each zone, so that nothing is resampled."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import shapely

from benchmarks.contender import Contender, Projected, window_of
from benchmarks.peers import GDAL, THREADS
from benchmarks.workloads import Chip


class OdcStac(Contender):
    """One load per field and zone, as its users write it; rasterio underneath, with the same GDAL options as the tuned rasterio."""

    workloads: ClassVar[frozenset[str]] = frozenset({"W2", "W3"})
    environ: ClassVar[dict[str, str]] = GDAL
    packages: ClassVar[tuple[str, ...]] = ("odc-stac", "odc-loader", "rasterio")
    how: ClassVar[str] = f"odc.stac.load per field and zone, pool={THREADS}, masks by rasterio"

    def setup(self) -> None:
        import odc.stac
        import pystac
        import rasterio.features
        from odc.geo.geobox import GeoBox

        self.load, self.geobox, self.mask = odc.stac.load, GeoBox, rasterio.features.geometry_mask
        self.items: dict[int, list[tuple[int, Any]]] = {}
        for s, scene in enumerate(self.inputs.scenes):
            footprint = shapely.from_wkb(scene.footprint)
            item = pystac.Item(scene.id, shapely.geometry.mapping(footprint), list(footprint.bounds), scene.datetime, {"proj:epsg": scene.epsg})
            for band in self.inputs.bands:
                item.add_asset(band, pystac.Asset(scene.hrefs[band], media_type=pystac.MediaType.COG, roles=["data"]))
            self.items.setdefault(scene.epsg, []).append((s, item))

    def result(self, raw: Any) -> Any:
        return raw

    def run(self, call: int) -> list[Chip]:
        del call
        import rasterio

        chips, places = [], Projected(self.inputs)
        for epsg, members in self.items.items():
            with rasterio.open(self.inputs.scenes[members[0][0]].hrefs[self.inputs.bands[0]]) as d:
                transform, width, height = d.transform, d.width, d.height
            for number, field in zip(self.inputs.ids, places.fields(epsg), strict=True):
                if window := window_of(field.bounds, ~transform, width, height):
                    chips += self.field_chips(int(number), epsg, field, transform, window)
        return chips

    def field_chips(self, number: int, epsg: int, field: Any, transform: Any, window: tuple[int, int, int, int]) -> list[Chip]:
        row, col, rows, cols = window
        shift = transform @ transform.translation(col, row)
        box = self.geobox((rows, cols), shift, f"EPSG:{epsg}")
        members = sorted(self.items[epsg], key=lambda m: m[1].datetime)
        read = self.load([i for _, i in members], bands=list(self.inputs.bands), geobox=box, groupby="id", pool=THREADS, dtype="uint16", nodata=0)
        mask = self.mask([field], (rows, cols), shift) if self.inputs.workload == "W2" else None
        chips = []
        for b, band in enumerate(self.inputs.bands):
            for (s, _), values in zip(members, np.asarray(read[band].values), strict=True):
                if mask is not None:
                    values[mask] = 0
                chips.append(Chip(number, s, b, row, col, values))
        return chips
