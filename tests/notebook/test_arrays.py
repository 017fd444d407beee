"""``to_numpy``: the file's pixels, from whatever a result became, and without copies where memory allows."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import rasterio
from rasterio.features import geometry_mask
from rasterio.warp import transform_geom

import rasteret_sql
from rasteret_sql.errors import BandNotFound, InvalidArgument
from rasteret_sql.sample import data_dir

READ = "FROM rasteret_read(landsat, plots, bands := ['B4', 'B3']) ORDER BY id, record_id"
BANDS = ("B4", "B3")


@pytest.fixture
def relation(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
    return con.sql(READ)


def truth(table: pa.Table, band: str) -> list[np.ma.MaskedArray]:
    """rasterio's pixels in the same windows, masked by its rule of centres."""
    found = []
    import shapely

    for row in table.select(["geom", "record_id", "transform", "height", "width"]).to_pylist():
        shape = transform_geom("OGC:CRS84", "EPSG:32621", shapely.geometry.mapping(shapely.from_wkb(row["geom"])))
        with rasterio.open(data_dir() / "landsat" / f"{row['record_id']}_{band}.tif") as file:
            left, top = row["transform"][2], row["transform"][5]
            first_row, first_col = file.index(left + 15, top - 15)
            pixels = file.read(1, window=((first_row, first_row + row["height"]), (first_col, first_col + row["width"])))
        outside = geometry_mask([shape], pixels.shape, rasterio.Affine(*row["transform"]))
        found.append(np.ma.MaskedArray(pixels, mask=outside))
    return found


def same(found: Any, expected: list[np.ma.MaskedArray], dtype: str = "uint16") -> None:
    assert len(found) == len(expected)
    for array, right in zip(found, expected, strict=True):
        assert isinstance(array, np.ma.MaskedArray)
        assert array.dtype == dtype
        np.testing.assert_array_equal(np.ma.getmaskarray(array), np.ma.getmaskarray(right))
        np.testing.assert_array_equal(array.compressed(), right.compressed())
        assert array.shape == right.shape


def test_every_form_of_a_result_gives_the_pixels_of_the_file(relation: duckdb.DuckDBPyRelation) -> None:
    table = relation.to_arrow_table()
    for band in BANDS:
        right = truth(table, band)
        assert sum(int(array.mask.sum()) for array in right) > 100
        forms = {
            "relation": relation,
            "table": table,
            "reader": table.to_reader(),
            "batch": table.combine_chunks().to_batches()[0],
            "chunks": pa.concat_tables([table.slice(0, 3), table.slice(3)]),
            "polars": relation.pl(),
            "pandas": relation.df(),
            "pandas on Arrow": table.to_pandas(types_mapper=pd.ArrowDtype),
            "named tuples": list(relation.df().itertuples()),
        }
        for name, form in forms.items():
            try:
                same(rasteret_sql.to_numpy(form, band), right)
            except AssertionError as error:
                raise AssertionError(name) from error
        same(rasteret_sql.to_numpy(table.to_pylist(), band), right, "int64")
        same(rasteret_sql.to_numpy(relation.pl().rows(named=True), band), right, "int64")


def test_a_row_gives_one_array(relation: duckdb.DuckDBPyRelation) -> None:
    table, right = relation.to_arrow_table(), truth(relation.to_arrow_table(), "B4")
    same([rasteret_sql.to_numpy(table.to_struct_array()[at], "B4") for at in range(len(table))], right)
    same([rasteret_sql.to_numpy(relation.df().iloc[at], "B4") for at in range(len(table))], right)
    same([rasteret_sql.to_numpy(row, "B4") for row in relation.df().itertuples()], right)
    same([rasteret_sql.to_numpy(row, "B4") for row in table.to_pylist()], right, "int64")


def test_a_list_of_pixels_takes_height_and_width(relation: duckdb.DuckDBPyRelation) -> None:
    table, right = relation.to_arrow_table(), truth(relation.to_arrow_table(), "B4")
    shape = {"height": right[0].shape[0], "width": right[0].shape[1]}
    same([rasteret_sql.to_numpy(table["B4"][0], **shape)], right[:1])
    same([rasteret_sql.to_numpy(relation.pl()["B4"][0], **shape)], right[:1])
    same([rasteret_sql.to_numpy(relation.df()["B4"][0], **shape)], right[:1])
    same([rasteret_sql.to_numpy(table["B4"][0].as_py(), **shape)], right[:1], "int64")


def test_bands_say_what_shape_comes(relation: duckdb.DuckDBPyRelation) -> None:
    table = relation.to_arrow_table()
    red, green = truth(table, "B4")[0], truth(table, "B3")[0]
    assert rasteret_sql.to_numpy(table, "B4")[0].shape == red.shape
    assert rasteret_sql.to_numpy(table, ["B4"])[0].shape == (1, *red.shape)
    same([rasteret_sql.to_numpy(table)[0]], [np.ma.stack([red, green])])
    same([rasteret_sql.to_numpy(table, ["B3", "B4"])[0]], [np.ma.stack([green, red])])


def test_bands_are_told_from_lists_of_the_users(con: duckdb.DuckDBPyConnection) -> None:
    """A list of numbers of their own, as long as the block and before it, is no band; nor is the transform of a block of six pixels."""
    con.execute(
        "CREATE TABLE marked AS SELECT [1, 2, 3, 4, 5, 6] AS ours, 'POLYGON((738885 -2811555, 738975 -2811555, 738975 -2811615, 738885 -2811615, 738885 -2811555))' AS geometry"
    ).fetchall()
    whole = con.sql("FROM rasteret_read(landsat, marked, bands := ['B4'], geometry_crs := 'EPSG:32621') WHERE record_id LIKE '%224078%'")
    assert [array.shape for array in rasteret_sql.to_numpy(whole)] == [(1, 2, 3)]
    chosen = con.sql(
        "SELECT B4, transform, height, width FROM rasteret_read(landsat, marked, bands := ['B4'], geometry_crs := 'EPSG:32621') WHERE record_id LIKE '%224078%'"
    )
    assert [array.shape for array in rasteret_sql.to_numpy(chosen)] == [(1, 2, 3)]


# -- memory -----------------------------------------------------------------------------------------------------------------------


def address(buffer: pa.Buffer) -> range:
    return range(buffer.address, buffer.address + buffer.size)


def test_arrow_arrays_are_views_of_arrows_memory(relation: duckdb.DuckDBPyRelation) -> None:
    table = relation.to_arrow_table().combine_chunks()
    memory = address(table["B4"].chunk(0).values.buffers()[1])
    arrays = rasteret_sql.to_numpy(table, "B4")
    for array in (
        *arrays,
        *rasteret_sql.to_numpy(table.slice(2), "B4"),
        *rasteret_sql.to_numpy(table, ["B4"]),
        rasteret_sql.to_numpy(table.to_struct_array().chunk(0)[1], "B4"),
    ):
        data = np.ma.getdata(array)
        assert data.ctypes.data in memory
        assert data.ctypes.data + data.nbytes - 1 in memory
        assert not data.flags.writeable
    starts = [np.ma.getdata(array).ctypes.data for array in arrays]
    assert starts == sorted(set(starts))


def test_views_keep_their_memory(relation: duckdb.DuckDBPyRelation) -> None:
    right = truth(relation.to_arrow_table(), "B4")
    arrays = rasteret_sql.to_numpy(relation, "B4")  # the Arrow table behind them has no other holder
    pa.default_memory_pool().release_unused()
    same(arrays, right)


def test_polars_and_pandas_share_their_memory(relation: duckdb.DuckDBPyRelation) -> None:
    polars, pandas = relation.pl().rechunk(), relation.df()
    memory = address(polars["B4"].to_arrow().values.buffers()[1])
    for at, array in enumerate(rasteret_sql.to_numpy(polars, "B4")):
        assert np.ma.getdata(array).ctypes.data in memory
        assert np.shares_memory(np.ma.getdata(rasteret_sql.to_numpy(pandas, "B4")[at]), np.ma.getdata(pandas["B4"][at]))
    on_arrow = relation.to_arrow_table().combine_chunks().to_pandas(types_mapper=pd.ArrowDtype)
    memory = address(on_arrow["B4"].array.__arrow_array__().chunk(0).values.buffers()[1])
    assert all(np.ma.getdata(array).ctypes.data in memory for array in rasteret_sql.to_numpy(on_arrow, "B4"))


# -- NULL and fill ----------------------------------------------------------------------------------------------------------------


def test_without_a_null_there_is_no_mask(con: duckdb.DuckDBPyConnection) -> None:
    arrays = rasteret_sql.to_numpy(con.sql("FROM rasteret_read(landsat, plots, bands := ['B4'], pixels := 'window')"), "B4")
    assert all(array.mask is np.ma.nomask for array in arrays)


def test_fill_takes_the_place_of_null(relation: duckdb.DuckDBPyRelation) -> None:
    right = truth(relation.to_arrow_table(), "B4")
    for array, expected in zip(rasteret_sql.to_numpy(relation, "B4", fill=0), right, strict=True):
        assert type(array) is np.ndarray
        assert array.dtype == "uint16"
        np.testing.assert_array_equal(array, expected.filled(0))
    for array, expected in zip(rasteret_sql.to_numpy(relation, "B4", fill=float("nan")), right, strict=True):
        assert array.dtype == "float32"
        np.testing.assert_array_equal(array, expected.astype("float32").filled(np.nan))
    with pytest.raises(InvalidArgument, match=r"fill=-1 is no uint16; valid: 0 to 65535, or float\('nan'\)"):
        rasteret_sql.to_numpy(relation, "B4", fill=-1)


@pytest.mark.parametrize("kind", ["uint8", "int8", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"])
def test_types_are_the_bands_own_and_exact(kind: str) -> None:
    dtype = np.dtype(kind)
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    table = pa.table({"height": [2], "width": [2], "b": pa.array([[limits.min, None, 1, limits.max]], pa.list_(pa.from_numpy_dtype(dtype)))})
    for form in (table, table.cast(pa.schema([("height", pa.int64()), ("width", pa.int64()), ("b", pa.large_list(pa.from_numpy_dtype(dtype)))]))):
        array = rasteret_sql.to_numpy(form, "b")[0]
        assert array.dtype == dtype
        assert array.tolist() == [[limits.min, None], [1, limits.max]]
    wide = rasteret_sql.to_numpy(table, "b", fill=float("nan"))[0]
    assert wide.dtype == ("float32" if dtype.itemsize <= 2 or kind == "float32" else "float64")
    assert np.isnan(wide[0, 1])


def test_nan_is_a_value() -> None:
    array = rasteret_sql.to_numpy({"height": 1, "width": 3, "b": np.array([np.nan, 1, 2])}, "b")
    assert array.mask is np.ma.nomask
    assert np.isnan(array[0, 0])


def test_rows_without_pixels_are_none(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TABLE far AS SELECT 'POINT(10 50)' AS geometry UNION ALL SELECT 'POINT(-54.6 -25.4)'").fetchall()
    relation = con.sql("FROM rasteret_read(landsat, far, bands := ['B4']) ORDER BY status")
    for form in (relation, relation.df(), relation.pl(), relation.to_arrow_table().to_pylist()):
        arrays = rasteret_sql.to_numpy(form, "B4")
        assert [array is None for array in arrays] == [False, False, True]
        assert arrays[0].tolist() == [[6248]]
        assert rasteret_sql.to_numpy(form)[2] is None


def test_a_band_that_a_record_lacks_is_masked(con: duckdb.DuckDBPyConnection) -> None:
    first = data_dir() / "landsat" / "LC08_L1TP_224077_20200518_20200518_01_RT_B2.tif"
    con.execute(f"CREATE TABLE odd AS SELECT 'a' AS id, '{first}' AS one, NULL AS two UNION ALL SELECT 'b', '{first}', '{first}'").fetchall()
    con.execute("FROM rasteret_build_from_table(odd, name := 'odd', band_columns := {'one': 'one', 'two': 'two'})").fetchall()
    relation = con.sql("FROM rasteret_read(odd, plots, bands := ['one', 'two'], pixels := 'window') WHERE id = 1 ORDER BY record_id")
    for form in (relation, relation.df(), relation.to_arrow_table().to_pylist()):
        lacking, whole = rasteret_sql.to_numpy(form)
        assert lacking.shape == whole.shape
        assert lacking[1].mask.all()
        assert not np.ma.getmaskarray(whole[1]).any()
        np.testing.assert_array_equal(np.ma.getdata(lacking[0]), np.ma.getdata(whole[1]))


# -- what is refused --------------------------------------------------------------------------------------------------------------


def test_mistakes_are_named(relation: duckdb.DuckDBPyRelation) -> None:
    table = relation.to_arrow_table()
    with pytest.raises(BandNotFound, match="no band 'B5'; columns: B4, B3$"):
        rasteret_sql.to_numpy(table, "B5")
    with pytest.raises(InvalidArgument, match="no column 'height'; columns: B4; select height and width too"):
        rasteret_sql.to_numpy(table.select(["B4"]), "B4")
    with pytest.raises(InvalidArgument, match=r"rows need names: take the result as Arrow or as a frame .* not by fetchall"):
        rasteret_sql.to_numpy(relation.fetchall())
    with pytest.raises(InvalidArgument, match="a int is no result of rasteret_read; a DuckDB relation, Arrow"):
        rasteret_sql.to_numpy(42)
    with pytest.raises(InvalidArgument, match=r"B4 has 270 pixels; height × width = 15 × 19 needs 285"):
        rasteret_sql.to_numpy({**table.to_pylist()[0], "width": 19}, "B4")
    with pytest.raises(InvalidArgument, match="no column holds height × width pixels; columns: height, width, label"):
        rasteret_sql.to_numpy(table.select(["height", "width", "label"]))
    with pytest.raises(InvalidArgument, match="needs both height= and width="):
        rasteret_sql.to_numpy([1, 2], height=1)
    with pytest.raises(InvalidArgument, match="label is no list of pixels: a str"):
        rasteret_sql.to_numpy(table.to_pylist()[0], "label")


def test_an_empty_result_gives_no_array(con: duckdb.DuckDBPyConnection) -> None:
    assert rasteret_sql.to_numpy(con.sql("FROM rasteret_read(landsat, plots, bands := ['B4']) WHERE id = 99")) == []
