"""What a file or a statement claims is refused by name, before memory is reserved or a byte is asked for."""

from __future__ import annotations

import resource
import struct
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest
import rasterio
import tifffile

from rasteret_sql.reader.engine import engine
from tests.collection.tiffs import write
from tests.faults.matrix import SIZE, TILE, UTM, Case, World, world

LONG = 4


def with_tags(path: Path, **values: int) -> Path:
    """The file with other values in some of its first directory's entries."""
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        places = {name: tiff.pages[0].tags[name].offset for name in values}
    for name, value in values.items():
        struct.pack_into("<HII", data, places[name] + 2, LONG, 1, value)
    path.write_bytes(data)
    return path


CLAIMS = {
    "a huge tile": ({"TileWidth": 100_000, "TileLength": 100_000}, "one segment of 100000 x 100000 pixels has 20000000000 bytes; at most"),
    "a huge image": ({"ImageWidth": 2_000_000_000, "ImageLength": 2_000_000_000}, "tiles or strips; at most"),
    "no tile": ({"TileWidth": 0}, "tile of 0 x 64 pixels"),
    "many samples": ({"SamplesPerPixel": 60_000}, "60,000 samples per pixel; at most 2,048 become bands"),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_claims_are_checked_before_memory_is_reserved(con: duckdb.DuckDBPyConnection, tmp_path: Path, claim: str) -> None:
    values, message = CLAIMS[claim]
    path = with_tags(write(tmp_path / "a.tif", width=SIZE, height=SIZE, blockxsize=TILE, blockysize=TILE), **values)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(duckdb.Error) as caught:
        con.execute(f"FROM rasteret_bands('{path}')").fetchall()
    line = str(caught.value).splitlines()[0]
    assert str(path) in line
    assert message in line
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """With the collection ``c1``."""
    with world(tmp_path_factory.mktemp("limits")) as found:
        found.play(1, "merged range", Case())
        yield found


@pytest.mark.parametrize("function", ["sample", "read", "pixels", "zonal"])
def test_the_byte_budget_is_kept_before_the_first_byte(made: World, function: str) -> None:
    engine().cache.clear()
    where = "x := 'x', y := 'y', " if function == "sample" else ""
    with made.con.cursor() as con:
        for setting in (f"rasteret_workspace = '{made.folder}'", "rasteret_max_bytes = 100"):
            con.execute(f"SET VARIABLE {setting}").fetchall()
        con.execute(
            "CREATE TEMP TABLE g AS SELECT 1 AS no, 'POLYGON((500000 5200000,500100 5200000,500100 5199900,500000 5200000))' AS geometry,"
            "500005.0 AS x, 5199995.0 AS y"
        ).fetchall()
        asked = len(made.server.requests)
        with pytest.raises(duckdb.Error, match=r"would fetch [\d,]+ bytes, more than rasteret_max_bytes = 100;"):
            con.execute(f"FROM rasteret.{function}(c1, g, {where}{UTM})").fetchall()
        assert len(made.server.requests) == asked


# -- bit flips ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["deflate", "lzw", "zstd", "packbits", "none"])
def test_a_flip_is_an_error_or_what_gdal_reads(con: duckdb.DuckDBPyConnection, tmp_path: Path, codec: str) -> None:
    """Deflate: always an error, by its checksum. Others protect little: where they decode to other pixels, GDAL reads the same ones."""
    whole = write(tmp_path / "whole.tif", width=TILE, height=TILE, blockxsize=TILE, blockysize=TILE, compress=codec)
    data = whole.read_bytes()
    with rasterio.open(whole) as source:
        pixels = source.read(1)
        box = source.bounds
    with tifffile.TiffFile(whole) as tiff:
        (start,), (length,) = tiff.pages[0].dataoffsets, tiff.pages[0].databytecounts
    con.execute(
        f"CREATE TABLE g AS SELECT 'POLYGON(({box.left} {box.top},{box.right} {box.top},{box.right} {box.bottom},{box.left} {box.bottom},"
        f"{box.left} {box.top}))' AS geometry"
    ).fetchall()
    changed = 0
    for position in np.linspace(0, length - 1, 25).astype(int).tolist():
        damaged = bytearray(data)
        damaged[start + position] ^= 0x10
        path = tmp_path / f"{position}.tif"
        path.write_bytes(damaged)
        ours = _ours(con, path)
        if ours is None:
            continue
        assert codec != "deflate" or ours == pixels.ravel().tolist(), position
        if ours != pixels.ravel().tolist():
            changed += 1
            with rasterio.open(path) as source:
                assert ours == source.read(1).ravel().tolist(), position
    assert codec != "none" or changed == 25


def _ours(con: duckdb.DuckDBPyConnection, path: Path) -> list[int] | None:
    try:
        return con.execute(f"SELECT b1 FROM rasteret_read('{path}', g, {UTM})").fetchall()[0][0]
    except duckdb.Error as error:
        assert f"{path.name}: " in str(error).splitlines()[0]
        return None
