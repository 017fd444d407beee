"""Masks and alpha samples: what they cost, who is told of them, what happens where they cannot be read; indexes that know nothing of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely
import tifffile

from rasteret_sql.collection.schema import BAND_METADATA, MetadataReader, metadata_row, resolve_declared
from rasteret_sql.collection.source import Declared
from rasteret_sql.raster.tiff import read_header_bytes
from rasteret_sql.reader.engine import engine
from tests.raster.odd import ODD, Odd
from tests.reader.oracle import SKY, blocks, fetch, rows, same, scalars
from tests.servers.ranged import RangeServer

SIZE, TILE = 256, 64
TILED = {"tiled": True, "blockxsize": TILE, "blockysize": TILE, "compress": "DEFLATE"}
UTM = "geometry_crs := 'EPSG:32633'"
FILES = {
    "mask": Odd("mask", "uint16", 2, 60000, TILED, mask=True, height=SIZE, width=SIZE),
    "strips": Odd("strips", "uint16", 2, 60000, {"blockysize": 7, "interleave": "band", "compress": "DEFLATE"}, mask=True, height=SIZE, width=SIZE),
    "alpha": Odd("alpha", "uint8", 4, options={**TILED, "photometric": "RGB", "ALPHA": "YES"}, alpha=True, height=SIZE, width=SIZE),
    "planar": Odd(
        "planar", "uint8", 4, options={**TILED, "photometric": "RGB", "ALPHA": "YES", "interleave": "band"}, alpha=True, height=SIZE, width=SIZE
    ),
}
BOX = (70.6, 10.6, 120.2, 140.9)
"""Left, top, right, bottom in pixels."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = tmp_path_factory.mktemp("masked")
    for name, odd in FILES.items():
        odd.write(files / f"{name}.tif")
    return files


@pytest.fixture
def server(folder: Path) -> Iterator[RangeServer]:
    with RangeServer(folder) as running:
        engine().cache.clear()
        yield running


def polygon() -> shapely.Geometry:
    left, top, right, bottom = BOX
    return shapely.box(SKY.c + 10 * left, SKY.f - 10 * bottom, SKY.c + 10 * right, SKY.f - 10 * top)


def stored(path: Path, page: int, sample: int = 0) -> dict[int, int]:
    """Offset → bytes of the segments of one page under the box, by tifffile."""
    left, top, right, bottom = BOX
    with tifffile.TiffFile(path) as tif:
        image = tif.pages[page]
        height, width = (image.tilelength, image.tilewidth) if image.is_tiled else (image.rowsperstrip, image.imagewidth)
        across, down = -(-SIZE // width), -(-SIZE // height)
        plane = sample * across * down if image.planarconfig == 2 else 0
        numbers = [
            plane + row * across + col
            for row in range(int(top) // height, int(bottom) // height + 1)
            for col in range(int(left) // width, int(right) // width + 1)
        ]
        return {image.dataoffsets[n]: image.databytecounts[n] for n in numbers}


def expected_segments(path: Path, name: str, sample: int) -> dict[int, int]:
    """The segments that one band needs, its mask's included."""
    own = stored(path, 0, sample)
    if FILES[name].mask:
        return own | stored(path, 1)
    return own | stored(path, 0, 3)


@pytest.mark.parametrize("name", FILES)
def test_masks_are_planned_fetched_once_and_counted(con, server, folder, name) -> None:
    path = folder / f"{name}.tif"
    con.register("shapes", pa.table({"geom": shapely.to_wkb([polygon()])}))
    call = f"'{server.url(path.name)}', 'shapes', bands := ['b1', 'b2'], {UTM}"
    plan = [row for row in rows(con, f"FROM rasteret_plan({call})") if row["record_id"] == "total"]
    segments = expected_segments(path, name, 0) | expected_segments(path, name, 1)
    assert (sum(row["tiles"] for row in plan), sum(row["bytes"] for row in plan)) == (len(segments), sum(segments.values()))
    engine().cache.clear()
    decoded = engine().metrics.snapshot().tiles_decoded
    fetch(con, f"FROM rasteret_read({call})")
    assert engine().metrics.snapshot().tiles_decoded - decoded == len(segments)
    server.reset()
    table = fetch(con, f"FROM rasteret_read({call})")
    assert server.stats().bytes <= 32768  # at most the header again: masks are cached as other segments are
    with rasterio.open(path) as ds:
        window = rasterio.windows.Window(70, 10, 51, 131)
        for band in ("b1", "b2"):
            (found,) = blocks(table, band)
            theirs = ds.read(int(band[1]), window=window, masked=True)
            theirs.mask = np.ma.getmaskarray(theirs) | ~_inside()
            same(found, theirs, band)


def _inside() -> np.ndarray:
    """Pixels of the window whose centres lie in the box."""
    cols, rows_ = np.arange(70, 121) + 0.5, np.arange(10, 141) + 0.5
    return ((rows_ > BOX[1]) & (rows_ < BOX[3]))[:, None] & ((cols > BOX[0]) & (cols < BOX[2]))[None, :]


@pytest.mark.parametrize("function", ["read", "zonal", "sample", "pixels"])
@pytest.mark.parametrize("name", ["mask", "strips", "planar"])
def test_budgets_count_masks(con, server, folder, name, function) -> None:
    """What is one byte too much is refused before the first byte; the exact figure is enough."""
    path = folder / f"{name}.tif"
    con.register("shapes", pa.table({"geom": shapely.to_wkb([polygon()])}))
    rows_, cols = np.mgrid[11:141:3, 71:120:9]
    con.register("points", pa.table({"x": SKY.c + 10 * (cols.ravel() + 0.5), "y": SKY.f - 10 * (rows_.ravel() + 0.5)}))
    url = server.url(path.name)
    shapes, points = f"'{url}', 'shapes', bands := ['b1'], {UTM}", f"'{url}', 'points', bands := ['b1'], x := 'x', y := 'y', {UTM}"
    sql = {
        "read": f"FROM rasteret_read({shapes})",
        "pixels": f"FROM rasteret_pixels({shapes})",
        "zonal": f"FROM rasteret_zonal({shapes}, stats := ['mean'])",
        "sample": f"FROM rasteret_sample({points})",
    }[function]
    needed = sum(expected_segments(path, name, 0).values())
    fetch(con, f"FROM rasteret_bands('{url}')")
    header = server.stats().bytes
    server.reset()
    con.execute(f"SET VARIABLE rasteret_max_bytes = {needed - 1}").fetchall()
    with pytest.raises(Exception, match=rf"would fetch {needed:,} bytes, more than rasteret_max_bytes = {needed - 1:,}"):
        fetch(con, sql)
    assert server.stats().bytes <= header
    con.execute(f"SET VARIABLE rasteret_max_bytes = {needed}").fetchall()
    assert len(fetch(con, sql))


@pytest.mark.parametrize("function", ["read", "zonal", "sample"])
def test_pixels_whose_mask_cannot_be_read_have_no_value(con, folder, tmp_path, function) -> None:
    data = bytearray((folder / "mask.tif").read_bytes())
    with tifffile.TiffFile(folder / "mask.tif") as tif:
        for offset, count in zip(tif.pages[1].dataoffsets, tif.pages[1].databytecounts, strict=True):
            data[offset : offset + count] = bytes(count)
    path = tmp_path / "broken.tif"
    path.write_bytes(data)
    con.register("shapes", pa.table({"geom": shapely.to_wkb([polygon()])}))
    con.register("points", pa.table({"x": [SKY.c + 805.0], "y": [SKY.f - 305.0]}))
    source = f"'{path}', 'points', x := 'x', y := 'y'" if function == "sample" else f"'{path}', 'shapes'"
    call = f"FROM rasteret_{function}({source}, bands := ['b1'], {UTM}, on_error := 'null')"
    (row,) = rows(con, call)
    assert row["status"] == "error"
    assert "corrupt deflate segment" in row["error"]
    with pytest.raises(Exception, match="corrupt deflate segment"):
        fetch(con, call.replace("'null'", "'raise'"))


def test_neighbourhoods_and_fallbacks_skip_masked_pixels(con, folder) -> None:
    with rasterio.open(folder / "mask.tif") as ds:
        plane = ds.read(1, masked=True)
    hidden = np.argwhere(np.ma.getmaskarray(plane)[5:-5, 5:-5]) + 5
    (row, col), *_ = hidden[len(hidden) // 2 :]
    con.register("points", pa.table({"x": [SKY.c + 10 * (col + 0.5)], "y": [SKY.f - 10 * (row + 0.5)]}))
    call = f"'{folder / 'mask.tif'}', 'points', bands := ['b1'], x := 'x', y := 'y', {UTM}"
    (near,) = rows(con, f"FROM rasteret_sample({call}, max_distance_pixels := 3)")
    around = plane[row - 3 : row + 4, col - 3 : col + 4]
    distances = np.hypot(*(np.mgrid[-3:4, -3:4]))
    best = distances[~np.ma.getmaskarray(around)].min()
    assert near["distance_pixels"] == pytest.approx(best)
    assert near["b1"] in around[(distances == best) & ~np.ma.getmaskarray(around)].tolist()
    (window,) = rows(con, f"FROM rasteret_sample({call}, neighbourhood := 2)")
    assert next(value for key, value in window.items() if isinstance(value, list)) == plane[row - 2 : row + 3, col - 2 : col + 3].ravel().tolist()


def metadata(path: Path, sample: int, *, without: tuple[str, ...] = ()) -> pa.StructArray:
    row = metadata_row(read_header_bytes(path.read_bytes()), sample, etag=None, size=None)
    fields = [field for field in BAND_METADATA if field.name not in without]
    return pa.array([row], pa.struct(fields))


LATER = ("alpha", "alpha_levels", "fill_order", "jpeg_tables")
OURS = tuple(BAND_METADATA.field(i).name for i in range(17, BAND_METADATA.num_fields))


def mask_of(path: Path, sample: int, without: tuple[str, ...]) -> object:
    band = MetadataReader("b", metadata(path, sample, without=without)).band(0, str(path), sample, "EPSG:32633")
    assert band is not None
    return band.mask


def test_indexes_of_before_are_read(folder) -> None:
    """Without the fields that came later masks still count, and so does the alpha of chunky files, by ExtraSamples alone."""
    for without, masked in (((), True), (LATER, True), (OURS, False)):
        assert (mask_of(folder / "mask.tif", 0, without) is not None) == masked
        assert (mask_of(folder / "planar.tif", 0, without) is not None) == (without == ())
        found = mask_of(folder / "alpha.tif", 0, without)
        assert found is not None
        assert found.sample == 3
        assert mask_of(folder / "alpha.tif", 3, without) is None


def test_a_file_that_says_what_is_valid_beats_the_catalogue(tmp_path) -> None:
    declared = Declared(nodata=5.0)
    for name, expected in (("mask", None), ("alpha of four", None), ("alpha int16", 5.0), ("jpeg grey", 5.0), ("nbits 11 nodata", 2047.0)):
        path = tmp_path / f"{name}.tif"
        next(odd for odd in ODD if odd.name == name).write(path)
        assert resolve_declared(read_header_bytes(path.read_bytes()), 0, declared)[0] == expected, name


def test_scalars_of_masked_bands(con, folder) -> None:
    """The scalar forms see masks too."""
    with rasterio.open(folder / "alpha.tif") as ds:
        plane = ds.read(2, masked=True)
    rng = np.random.default_rng(0)
    row, col = rng.integers(0, SIZE, (2, 40))
    con.register("points", pa.table({"no": range(40), "x": SKY.c + 10 * (col + 0.5), "y": SKY.f - 10 * (row + 0.5)}))
    call = f"'{folder / 'alpha.tif'}', 'points', bands := ['b2'], x := 'x', y := 'y', {UTM}"
    same(scalars(fetch(con, f"FROM rasteret_sample({call}) ORDER BY no")["b2"]), plane[row, col], "alpha")
