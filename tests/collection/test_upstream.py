"""Collections of the ``rasteret`` package: theirs are read here, pixel for pixel, and ours has every column they have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import rasterio

from rasteret_sql.sample import data_dir, records
from tests.collection.asking import one, rows

UPSTREAM = Path(__file__).parent / "data" / "upstream"
LANDSAT, RGBN = UPSTREAM / "landsat_records", UPSTREAM / "rgbn_records"


@pytest.fixture(autouse=True)
def _among_the_files(monkeypatch):
    """The collections name their files relative to the sample data."""
    monkeypatch.chdir(data_dir())


def everything(con, collection, bands):
    """The whole of every record: window reads over a geometry that covers all."""
    statement = f"WITH world AS (SELECT 'POLYGON((-80 -30, -50 -30, -50 25, -80 25, -80 -30))' AS geom) FROM rasteret_read({collection}, world, bands := {bands}, pixels := 'window')"
    return rows(con, statement)


def check_pixels(found, band, href, index):
    with rasterio.open(href) as source:
        assert found["transform"] == list(source.transform)[:6]
        assert found["crs"] == f"EPSG:{source.crs.to_epsg()}"
        np.testing.assert_array_equal(np.array(found[band]).reshape(found["height"], found["width"]), source.read(index))


def test_a_file_per_band(con):
    found = everything(con, f"'{LANDSAT}'", ["B2", "B4"])
    assert sorted(row["record_id"] for row in found) == ["224077", "224078"]
    for row in found:
        assert row["status"] == "ok", row["error"]
        for band in ("B2", "B4"):
            check_pixels(row, band, f"landsat/LC08_L1TP_{row['record_id']}_20200518_20200518_01_RT_{band}.tif", 1)


def test_bands_of_one_file(con):
    found = everything(con, f"'{RGBN}'", ["NIR", "R"])
    assert sorted(row["record_id"] for row in found) == ["20160101", "20170203"]
    for row in found:
        assert row["status"] == "ok", row["error"]
        check_pixels(row, "R", f"rgbn/rgbn_{row['record_id']}.tif", 1)
        check_pixels(row, "NIR", f"rgbn/rgbn_{row['record_id']}.tif", 4)


def test_a_scan_of_theirs_is_a_collection(con):
    """Not even our functions are needed to filter it: any relation with the contract columns will do."""
    con.execute(f"CREATE VIEW theirs AS FROM read_parquet('{RGBN}/**/*.parquet', hive_partitioning = true) WHERE year = 2017").fetchall()
    (found,) = everything(con, "theirs", ["R"])
    assert found["record_id"] == "20170203"
    check_pixels(found, "R", "rgbn/rgbn_20170203.tif", 1)


def test_what_is_not_in_theirs(con):
    """Seventeen fields a band, no list of dtypes, no etag or size: all of it is found or defaulted."""
    found = {row["band"]: row for row in rows(con, f"FROM rasteret_bands('{RGBN}')")}
    assert list(found) == ["R", "NIR"]
    assert found["R"] | {"scale": None, "offset": None} == {
        "band": "R",
        "dtype": "uint8",
        "nodata": None,
        "resolution": 5.0,
        "epsg": [32618],
        "tile_width": 64,
        "tile_height": 64,
        "compression": "deflate",
        "overviews": 0,
        "scale": None,
        "offset": None,
        "records": 2,
    }


def test_ours_has_all_their_columns_and_fields(con, workspace):
    con.register("tiles", records(".", "rgbn"))
    report = one(con, "FROM rasteret_build_from_table(tiles, name := 'ours', band_codes := ['R', 'NIR'])")
    ours = ds.dataset(report["path"], partitioning="hive").schema
    theirs = ds.dataset(RGBN, partitioning="hive").schema
    for field in theirs:
        if field.name == "path":  # the table's own
            continue
        kind = ours.field(field.name).type
        if field.name.endswith("_metadata"):
            shared = [kind.field(i) for i in range(field.type.num_fields)]
            assert [(f.name, f.type) for f in shared] == [(f.name, f.type) for f in field.type], "the first 17 fields are theirs, in their order"
        else:
            assert kind == field.type, field.name
    assert set(theirs.metadata) <= set(ours.metadata) | {b"ARROW:schema"}


@pytest.mark.parametrize("band", ["R", "NIR"])
def test_the_same_file_gives_the_same_header(con, band):
    """Value by value, where they index a file that we index too."""
    con.register("tiles", records(".", "rgbn"))
    report = one(con, "FROM rasteret_build_from_table(tiles, name := 'ours', band_codes := ['R', 'NIR'])")
    ours = pq.read_table(next(Path(report["path"]).glob("year=2016/month=1/*.parquet")), partitioning=None)
    theirs = pq.read_table(next(RGBN.glob("year=2016/month=1/*.parquet")), partitioning=None)
    mine, other = ours[f"{band}_metadata"][0].as_py(), theirs[f"{band}_metadata"][0].as_py()
    assert {name: mine[name] for name in other} == other
    box, other_box = ours["bbox"][0].as_py(), theirs["bbox"][0].as_py()
    assert box == pytest.approx(other_box, abs=1e-6)
