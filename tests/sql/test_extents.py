"""How large records are: written by every build, believed where it can be, asked of the records where nobody says it. Rows are the same always."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from affine import Affine

from rasteret_sql.collection.facts import extents_of
from tests.reader.oracle import SKY, rows, write_tif

KEY = b"rasteret_sql:extents"
UTM = "geometry_crs := 'EPSG:32633'"
STATEMENTS = {
    "points": f"SELECT id, record_id, b1 FROM rasteret_sample('{{}}', points, bands := ['b1'], {UTM})",
    "latest": f"SELECT id, record_id, b1 FROM rasteret_sample('{{}}', points, bands := ['b1'], match := 'latest', {UTM})",
    "areas": f"SELECT id, record_id, b1 FROM rasteret_read('{{}}', areas, bands := ['b1'], {UTM})",
    "pixels": f"SELECT id, record_id, row, col, b1 FROM rasteret_pixels('{{}}', areas, bands := ['b1'], {UTM})",
    "zonal": f"SELECT id, record_id, band, count, mean FROM rasteret_zonal('{{}}', areas, bands := ['b1'], {UTM})",
    "cost": f"FROM rasteret_plan('{{}}', areas, bands := ['b1'], {UTM})",
}


@pytest.fixture
def built(con, tmp_path, workspace) -> Path:
    """The one file of a collection: records from 160 m to 10 km, here and there; points and areas in ``con`` that meet none, one or several."""
    rng = np.random.default_rng(5)
    origins, sizes = [(0, 0), (0, 0), (1000, -500), (90000, 40000)], [10.0, 160.0, 80.0, 640.0]
    hrefs = {}
    for number, ((x, y), size) in enumerate(zip(origins, sizes, strict=True)):
        transform = Affine(size, 0, SKY.c + x, 0, -size, SKY.f + y)
        hrefs[f"r{number}"] = write_tif(tmp_path / f"{number}.tif", rng.integers(1, 99, (16, 16), "uint8"), transform=transform)
    con.register("given", pa.table({"id": list(hrefs), "href": list(hrefs.values())}))
    con.execute("FROM rasteret_build_from_table(given, name := 'c', href_column := 'href')").fetchall()
    at = np.concatenate([rng.uniform((-500, -3000), (4000, 500), (40, 2)), rng.uniform((0, -9000), (100000, 40000), (40, 2))])
    at += np.array([SKY.c, SKY.f])
    con.register("points", pa.table({"id": np.arange(80), "geom": shapely.to_wkb(shapely.points(at))}))
    areas = [shapely.Point(x, y).buffer(size) for (x, y), size in zip(at[::4], np.geomspace(3, 60000, 20), strict=True)]
    con.register("areas", pa.table({"id": np.arange(20), "geom": shapely.to_wkb(areas)}))
    (file,) = (workspace / "c_records").rglob("*.parquet")
    return file


def told(file: Path, extents: bytes | None, rows_said: int = 4) -> None:
    """Let the file say this of its records, or nothing."""
    table = pq.ParquetFile(file).read()
    metadata = {key: value for key, value in table.schema.metadata.items() if key != KEY}
    pq.write_table(
        table.replace_schema_metadata(metadata | {b"rasteret_sql:rows": str(rows_said).encode()} | ({} if extents is None else {KEY: extents})), file
    )


def test_builds_say_how_large_their_records_are(built) -> None:
    table = pq.ParquetFile(built).read()
    sides = [max(box["xmax"] - box["xmin"], box["ymax"] - box["ymin"]) for box in table["bbox"].to_pylist()]
    assert json.loads(table.schema.metadata[KEY]) == pytest.approx([np.median(sides), max(sides)])


def test_exports_say_it_of_what_they_hold(con, built, tmp_path) -> None:
    con.execute(f"CREATE TABLE one AS FROM rasteret_collection(c) WHERE id = 'r3'; FROM rasteret_export(one, '{tmp_path}/out')").fetchall()
    (file,) = (tmp_path / "out").rglob("*.parquet")
    median, greatest = json.loads(pq.read_schema(file).metadata[KEY])
    assert median == greatest == json.loads(pq.read_schema(built).metadata[KEY])[1]


@pytest.mark.parametrize("extents", [None, b"", b"[1]", b'["a", 1]', b"[-1, 1]", b"[2, 1]", b"[0, 1e99]", b"[NaN, NaN]", b"[360, 360]"])
def test_rows_do_not_depend_on_it(con, built, extents) -> None:
    same_rows(con, built, lambda: told(built, extents))


def test_what_a_file_of_other_rows_said_is_not_believed(con, built) -> None:
    """Files that were filtered or joined keep the metadata of one of them."""
    same_rows(con, built, lambda: told(built, b"[1e-6, 1e-5]", rows_said=3))


def same_rows(con, built: Path, change: Callable[[], None]) -> None:
    expected = {name: rows(con, f"{sql.format('c')} ORDER BY ALL") for name, sql in STATEMENTS.items()}
    assert len(expected["points"]) > 80, "some points meet several records"
    change()
    for name, sql in STATEMENTS.items():
        assert rows(con, f"{sql.format(built)} ORDER BY ALL") == expected[name], name


@pytest.mark.parametrize("extents", [b"[1e-6, 1e-5]", b"[0, 0]"])
@pytest.mark.parametrize("name", STATEMENTS)
def test_a_lie_is_an_error_not_a_million_cells(con, built, name, extents) -> None:
    told(built, extents)
    con.execute("CREATE TABLE small AS FROM areas LIMIT 3")  # large ones make large cells
    with pytest.raises(duckdb.Error, match="a record is larger than the files of its collection say.*rasteret_export"):
        con.execute(STATEMENTS[name].format(built).replace("areas", "small")).fetchall()


@pytest.mark.parametrize("name", STATEMENTS)
def test_records_are_asked_where_the_files_do_not_say(con, built, name) -> None:
    def plan(source: str) -> str:
        return str(con.execute(f"EXPLAIN {STATEMENTS[name].format(source)}").fetchall()).lower()

    assert "quantile" not in plan("c")
    told(built, None)
    assert "quantile" in plan(str(built))


def test_boxes_across_the_antimeridian_and_of_nothing() -> None:
    boxes = np.array([[179.0, 0, -179, 3], [0, 0, 1, 5], [0, 0, 1, 1], [np.nan] * 4])
    assert extents_of(boxes) == (5.0, 360.0)
    assert extents_of(boxes[3:]) is None
    assert extents_of(boxes[:0]) is None


def test_a_later_build_says_it_anew(con, built, tmp_path, workspace) -> None:
    """Larger records, in a month of their own: the files of the others must not go on saying what was so."""
    big = write_tif(tmp_path / "big.tif", np.ones((16, 16), "uint8"), transform=Affine(40000, 0, SKY.c - 2e5, 0, -40000, SKY.f + 2e5))
    con.register("more", pa.table({"id": ["big"], "href": [big], "datetime": [datetime(2020, 3, 1)]}))
    con.execute("FROM rasteret_build_from_table(more, name := 'c', href_column := 'href')").fetchall()
    said = {json.loads(pq.read_schema(file).metadata[KEY])[1] for file in (workspace / "c_records").rglob("*.parquet")}
    assert len(said) == 1
    assert said.pop() > 5
    found = rows(con, f"SELECT count(*) AS n FROM rasteret_sample('c', points, bands := ['b1'], {UTM}) WHERE record_id = 'big'")
    assert found == [{"n": 80}]
