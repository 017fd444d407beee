"""Header → row → Parquet → band: what is read back is what the header said, whatever the layout."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio

from rasteret_sql.collection.rows import bands_of_payload
from rasteret_sql.collection.schema import ASSET, BAND_METADATA, metadata_row
from rasteret_sql.errors import InvalidArgument, InvalidRaster
from rasteret_sql.raster.tiff import read_header_bytes
from rasteret_sql.reader.band import bands_of
from tests.raster.matrix import Spec, write

SPECS = [
    Spec("uint16", "deflate", 2),
    Spec("uint16", "deflate", bands=3, interleave="pixel"),
    Spec("uint16", "deflate", bands=3, interleave="band"),
    Spec("uint16", "deflate", bands=3, interleave="band", special="sparse", nodata=7),
    Spec("uint16", "lzw", bands=3, interleave="band", byte_order=">", tiled=False, big=True),
    Spec("int16", "none", byte_order=">", nodata=-9999),
    Spec("uint8", "packbits", tiled=False),
    Spec("float32", "lerc"),
    Spec("float32", "lerc_deflate", bands=3),
    Spec("float32", "lerc_zstd", bands=3, interleave="band", nodata=float("nan")),
    Spec("float32", "zstd", 3, bands=3, byte_order=">"),
    Spec("float64", "deflate", 3, nodata=float(np.finfo(np.float32).min)),
    Spec("float16", "deflate", 3, writer="tifffile"),
    Spec("float16", "none", byte_order=">", tiled=False, writer="tifffile"),
    Spec("uint8", "deflate", special="mask"),
    Spec("uint8", "deflate", bands=4, special="alpha"),
    Spec("int8", "lzma", bands=3, interleave="band", nodata=-128),
]


def through_parquet(header, path, href, etag, size):
    """Payloads of all samples of one file, as one row with a band per sample."""
    count = header.samples_per_pixel
    columns = {f"b{i}": pa.array([metadata_row(header, i, etag=etag, size=size)], BAND_METADATA) for i in range(count)}
    pq.write_table(pa.table(columns), path)
    table = pq.read_table(path)
    return payload([(i, table[f"b{i}"].combine_chunks(), href, i) for i in range(count)], ["EPSG:1"])


def payload(parts, crs):
    fields = {"crs": pa.array(crs, pa.string())}
    for i, meta, href, sample in parts:
        asset = pa.array([{"href": href, "band_index": sample}], ASSET)
        fields[f"b{i}"] = pa.StructArray.from_arrays([asset, meta], ["asset", "meta"])
    return pa.StructArray.from_arrays(list(fields.values()), list(fields))


def plain(band):
    """Every field of a band, arrays as lists, NaN as a word."""
    found = {field.name: getattr(band, field.name) for field in dataclasses.fields(band)}
    level, mask = found.pop("level"), found.pop("mask")
    found["mask"] = None if mask is None else plain(mask)
    found |= {
        "width": level.width,
        "height": level.height,
        "layout": level.layout,
        "offsets": level.offsets.tolist(),
        "counts": level.byte_counts.tolist(),
    }
    return {name: "nan" if isinstance(value, float) and np.isnan(value) else value for name, value in found.items()}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.id)
def test_bands_come_back_equal(tmp_path, spec):
    file = tmp_path / "a.tif"
    write(spec, file)
    header = read_header_bytes(file.read_bytes())
    expected = bands_of(header, str(file), etag='"x"', size=file.stat().st_size)
    names = [band.name for band in expected]
    (found,) = bands_of_payload(through_parquet(header, tmp_path / "a.parquet", str(file), '"x"', file.stat().st_size), names)
    assert len(found) == spec.bands
    for mine, theirs in zip(found, expected, strict=True):
        assert plain(mine) == plain(theirs)
    with rasterio.open(file) as source:
        assert [(band.level.width, band.level.height) for band in found] == [(source.width, source.height)] * spec.bands
        if spec.dtype != "float16":
            assert [band.dtype.name for band in found] == list(source.dtypes)
        assert found[0].grid.transform == tuple(source.transform)[:6]


def test_scale_and_offset_come_back(tmp_path):
    file = tmp_path / "a.tif"
    write(Spec("int16", "deflate", bands=3, interleave="band"), file)
    with rasterio.open(file, "r+") as out:
        out.scales, out.offsets = (0.1, 1.0, 2.0), (0.0, -5.0, 7.5)
    header = read_header_bytes(file.read_bytes())
    (found,) = bands_of_payload(through_parquet(header, tmp_path / "a.parquet", "a.tif", None, None), ["x", "y", "z"])
    assert [(band.name, band.scale, band.offset) for band in found] == [("x", 0.1, 0.0), ("y", 1.0, -5.0), ("z", 2.0, 7.5)]
    assert (found[0].etag, found[0].size) == (None, None)


def test_rotated_files_keep_six_numbers(tmp_path):
    file = tmp_path / "a.tif"
    with rasterio.open(
        file,
        "w",
        driver="GTiff",
        width=20,
        height=10,
        count=1,
        dtype="uint8",
        crs="EPSG:32633",
        transform=rasterio.Affine(8.0, 3.0, 500000.0, 2.0, -9.0, 5200000.0),
    ) as out:
        out.write(np.ones((1, 10, 20), "uint8"))
    header = read_header_bytes(file.read_bytes())
    row = metadata_row(header, 0, etag=None, size=None)
    assert row["transform"] == [8.0, 3.0, 500000.0, 2.0, -9.0, 5200000.0]
    (found,) = bands_of_payload(through_parquet(header, tmp_path / "a.parquet", "a.tif", None, None), ["b"])
    assert found[0].grid.transform == (8.0, 3.0, 500000.0, 2.0, -9.0, 5200000.0)


# -- rows that are none ------------------------------------------------------------------------------------------------------


def row_of(tmp_path, **changes):
    file = tmp_path / "a.tif"
    write(Spec("uint16", "deflate"), file)
    return metadata_row(read_header_bytes(file.read_bytes()), 0, etag=None, size=None) | changes


def read_row(row, crs="EPSG:32633", kind=BAND_METADATA):
    ((found,),) = bands_of_payload(payload([(0, pa.array([row], kind), "a.tif", 0)], [crs]), ["red"])
    return found


def test_no_asset_is_no_band(tmp_path):
    assert read_row(None) is None
    meta = pa.array([row_of(tmp_path)], BAND_METADATA)
    parts = payload([(0, meta, None, None)], ["EPSG:32633"])
    assert bands_of_payload(parts, ["red"]) == [(None,)]


def test_the_files_crs_comes_before_the_records(tmp_path):
    assert read_row(row_of(tmp_path)).crs == "EPSG:32633"
    assert read_row(row_of(tmp_path, crs="EPSG:3857")).crs == "EPSG:3857"
    assert read_row(row_of(tmp_path, crs=None), crs="EPSG:4326").crs == "EPSG:4326"
    with pytest.raises(InvalidArgument, match="a.tif names no CRS and the record's crs is empty"):
        read_row(row_of(tmp_path, crs=None), crs=None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tile_offsets": [1, 2]}, "the index lists 2 tiles for band 'red', its size asks for 9"),
        ({"tile_byte_counts": []}, "the index lists 9 tiles|asks for 9"),
        ({"tile_offsets": None}, "the index lists 0 tiles"),
        ({"transform": [1.0, 2.0]}, "red_metadata.transform has 2 numbers; 4 or 6 are valid"),
        ({"transform": None}, "red_metadata.transform has 0 numbers"),
        ({"tile_width": 0}, "red_metadata.tile_width is 0; a whole number from 1 is valid"),
        ({"tile_height": None}, "red_metadata.tile_height is None"),
        ({"image_height": -3}, "red_metadata.image_height is -3"),
        ({"compression": None}, "red_metadata.compression is None"),
        ({"dtype": "complex128"}, "red_metadata.dtype is 'complex128'; a NumPy name of an integer or float type is valid"),
        ({"dtype": "nonsense"}, "red_metadata.dtype is 'nonsense'"),
        ({"dtype": None}, "red_metadata.dtype is None"),
    ],
)
def test_rows_that_contradict_themselves(tmp_path, changes, message):
    with pytest.raises(InvalidRaster, match=message):
        read_row(row_of(tmp_path, **changes))


def test_a_struct_that_is_no_metadata():
    with pytest.raises(InvalidRaster, match="red_metadata is no band metadata: it lacks image_height"):
        read_row({"image_width": 3}, kind=pa.struct([("image_width", pa.int32())]))
