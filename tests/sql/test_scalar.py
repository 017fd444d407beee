"""Scalar forms in joins, ``rasteret_value``, relations as collections, and queries from many threads: equal to the table forms."""

from __future__ import annotations

import datetime as dt
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import shapely
from pyproj import Transformer
from rasteret_sql.udfs.options import Options

from rasteret_sql.collection.schema import MetadataReader
from rasteret_sql.reader.points import PointReader
from tests.reader.oracle import SKY, write_tif

LONLAT = Transformer.from_crs("EPSG:32633", "OGC:CRS84", always_xy=True)
BANDS = {
    "B4": "uint16",
    "B8": "uint16",
    "SCL": "uint8",
    "T": "float32",
    "I8": "int8",
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
    "I32": "int32",
}
VALUES = {"B4": "INTEGER", "SCL": "INTEGER", "T": "FLOAT", "I8": "INTEGER", "U64": "UBIGINT", "I64": "BIGINT", "F64": "DOUBLE", "I32": "BIGINT"}
PIXELS = {"B4": "USMALLINT", "SCL": "UTINYINT", "T": "FLOAT", "I8": "TINYINT", "U64": "UBIGINT", "I64": "BIGINT", "F64": "DOUBLE", "I32": "INTEGER"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """Three records, overlapping by half, of bands of every kind, with nodata."""
    folder, rng = tmp_path_factory.mktemp("scalar"), np.random.default_rng(4)
    table: dict[str, list] = {"id": [], "datetime": [], "cloud": [], **{band: [] for band in BANDS}}
    for record in range(3):
        transform = SKY @ SKY.translation(record * 40, 0)
        table["id"].append(f"r{record}")
        table["datetime"].append(dt.datetime(2024, 5, 3 - record))
        table["cloud"].append(record * 10)
        for band, dtype in BANDS.items():
            plane = rng.integers(1, 120, (80, 80)).astype(dtype)
            if dtype.endswith("int64"):
                plane += np.array(2**62, dtype)
            plane[rng.random((80, 80)) < 0.2] = 0
            table[band].append(write_tif(folder / f"{record}{band}.tif", plane, transform=transform, nodata=0))
    return pa.table(table)


@pytest.fixture
def s2(con, files: pa.Table) -> str:
    con.register("__r", files)
    columns = "{" + ", ".join(f"'{band}': '{band}'" for band in BANDS) + "}"
    con.execute(f"FROM rasteret_build_from_table('__r', name := 's2', band_columns := {columns})").fetchall()
    rng = np.random.default_rng(5)
    x, y = LONLAT.transform(SKY.c + rng.uniform(-50, 1700, 120), SKY.f - rng.uniform(-50, 850, 120))
    circles = [shapely.transform(c, lambda xy: np.column_stack(LONLAT.transform(*xy.T))) for c in
               [shapely.Point(SKY.c + a, SKY.f - b).buffer(r) for a, b, r in rng.uniform((0, 0, 8), (1600, 800, 60), (20, 3))]]  # fmt: skip
    con.register("__p", pa.table({"id": range(120), "wkb": shapely.to_wkb(shapely.points(x, y))}))
    con.register("__q", pa.table({"id": range(20), "wkb": shapely.to_wkb(circles)}))
    con.execute("CREATE TEMP TABLE p AS SELECT id, ST_GeomFromWKB(wkb) AS geom FROM __p").fetchall()
    con.execute("CREATE TEMP TABLE q AS SELECT id, ST_GeomFromWKB(wkb) AS geom FROM __q").fetchall()
    return "s2"


JOIN = "{0} AS p JOIN rasteret_collection('s2') AS s ON s.geometry && p.geom"


@pytest.mark.parametrize("band", VALUES)
def test_sample_in_a_join(con, s2: str, band: str) -> None:
    sql = f"SELECT p.id, s.id AS record, rasteret_sample(s, p.geom, '{band}') AS v FROM {JOIN.format('p')}"
    assert con.execute(f"DESCRIBE {sql}").fetchall()[2][1] == VALUES[band]
    found = {(point, record): value for point, record, value in con.execute(sql).fetchall()}
    table = con.execute(f"SELECT id, record_id, {band} FROM rasteret_sample('s2', 'p', bands := ['{band}']) WHERE status <> 'outside'").fetchall()
    assert len(table) > 100
    assert any(value is None for *_, value in table)
    expected = {(point, record): value for point, record, value in table}
    assert {key: found.get(key) for key in expected} == expected
    assert all(value is None for key, value in found.items() if key not in expected)


@pytest.mark.parametrize("band", PIXELS)
def test_read_in_a_join(con, s2: str, band: str) -> None:
    sql = f"SELECT p.id, s.id AS record, rasteret_read(s, p.geom, '{band}') AS v FROM {JOIN.format('q')}"
    assert con.execute(f"DESCRIBE {sql}").fetchall()[2][1] == f"{PIXELS[band]}[]"
    found = {(plot, record): value for plot, record, value in con.execute(sql).fetchall()}
    table = con.execute(f"SELECT id, record_id, {band} FROM rasteret_read('s2', 'q', bands := ['{band}']) WHERE status <> 'outside'").fetchall()
    assert len(table) > 20
    expected = {(plot, record): value for plot, record, value in table}
    assert {key: found.get(key) for key in expected} == expected
    assert all(value is None for key, value in found.items() if key not in expected)


def test_several_bands_in_one_expression(con, s2: str) -> None:
    """Values come in a type that arithmetic is safe in."""
    ratio = "(rasteret_sample(s, p.geom, 'B8') - rasteret_sample(s, p.geom, 'B4')) / (rasteret_sample(s, p.geom, 'B8') + rasteret_sample(s, p.geom, 'B4'))"
    found = con.execute(f"SELECT p.id, s.id, {ratio} FROM {JOIN.format('p')} ORDER BY ALL").fetchall()
    table = con.execute(
        "SELECT id, record_id, (B8 - B4) / (B8 + B4) FROM rasteret_sample('s2', 'p', bands := ['B4', 'B8']) WHERE status <> 'outside' ORDER BY ALL"
    ).fetchall()
    assert {row for row in found if row[2] is not None} == {row for row in table if row[2] is not None}
    assert any(row[2] is not None and row[2] < 0 for row in found)


def test_statistics_row_by_row(con, s2: str) -> None:
    """The statistic may be a column; each row gets its own."""
    names = ["mean", "max", "count", "quantile(0.9)"]
    con.register("wanted", pa.table({"stat": [*names, None]}))
    con.execute("CREATE TEMP TABLE asked AS SELECT * FROM q CROSS JOIN wanted ORDER BY hash(id, stat)").fetchall()
    found = con.execute(f"SELECT p.id, s.id, p.stat, rasteret_zonal(s, p.geom, 'B4', p.stat) FROM {JOIN.format('asked')}").fetchall()
    listed = ", ".join(f"'{name}'" for name in names)
    table = {
        (plot, record): values
        for plot, record, *values in con.execute(
            f"SELECT id, record_id, mean, max, count, quantile_90 FROM rasteret_zonal('s2', 'q', bands := ['B4'], stats := [{listed}])"
        ).fetchall()
    }
    assert len({value for *_, value in found if value is not None}) > 40
    for plot, record, stat, value in found:
        values = table.get((plot, record))
        assert value == (None if values is None or stat is None else values[names.index(stat)]), (plot, record, stat)
    assert {stat for _, _, stat, _ in found} == {*names, None}
    assert con.execute(f"SELECT count(rasteret_zonal(s, p.geom, 'B4', NULL)) FROM {JOIN.format('q')}").fetchall() == [(0,)]


def test_records_of_one_file_keep_their_own_metadata(con, s2: str) -> None:
    """Same file, same band, another nodata value: rows that take turns in a join each have the rule of their record."""
    con.execute(
        """CREATE TEMP TABLE twins AS FROM rasteret_collection('s2') UNION ALL
        SELECT * REPLACE (id || '+' AS id, struct_update(B4_metadata, nodata := 1.0) AS B4_metadata) FROM rasteret_collection('s2')"""
    ).fetchall()
    found = con.execute("SELECT p.id, b.id, rasteret_sample(b, p.geom, 'B4') FROM p, twins AS b ORDER BY hash(p.id, b.id)").fetchall()
    values = {(point, record): value for point, record, value in found}
    changed = 0
    for (point, record), value in values.items():
        if not record.endswith("+"):
            other = values[point, f"{record}+"]
            assert (value, other) in {(None, None), (None, 0), (1, None)} or (value == other and value not in {0, 1})
            changed += value != other
    assert changed > 20


def test_a_join_works_once_on_each_record(con, s2: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """15,000 rows of three records: what does not depend on the row is not done for each."""
    made: Counter[str] = Counter()
    for owner, name in ((MetadataReader, "band"), (Options, "to_json"), (PointReader, "_inside")):
        inner = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, inner=inner, name=name: made.update([name]) or inner(*args))
    con.execute("CREATE TEMP TABLE many AS SELECT geom, i FROM p, range(42) AS t(i) LIMIT 5000").fetchall()
    sql = "SELECT count(*), sum(rasteret_sample(s, p.geom, 'B4')) FROM many AS p, rasteret_collection('s2') AS s"
    rows, total = con.execute(sql).fetchall()[0]
    assert rows == 15000
    assert con.execute("SELECT sum(B4) FROM rasteret_sample('s2', 'many', bands := ['B4'])").fetchall() == [(total,)]
    assert set(made) == {"band", "to_json", "_inside"}
    assert max(made.values()) < 200


@pytest.mark.parametrize("point", ["'POINT EMPTY'", "NULL::VARCHAR", "'POINT (0 0)'"])
def test_points_without_a_value(con, s2: str, point: str) -> None:
    found = con.execute(
        f"SELECT DISTINCT rasteret_sample(s, {point}, 'B4'), rasteret_read(s, {point}, 'B4') FROM rasteret_collection('s2') AS s"
    ).fetchall()
    assert found == [(None, None)]


@pytest.mark.parametrize(("call", "message"), [
    ("rasteret_sample(s, 'POINT (1', 'B4')", "no valid WKT"),
    ("rasteret_sample(s, 'LINESTRING (1 1, 2 2)', 'B4')", "is no point"),
    ("rasteret_read(s, 'POLYGON ((1', 'B4')", "no valid WKT"),
    ("rasteret_sample(s, 'POINT (1 1)', 'B99')", "99_metadata"),
])  # fmt: skip
def test_bad_arguments_are_named(con, s2: str, call: str, message: str) -> None:
    with pytest.raises(duckdb.Error) as caught:
        con.execute(f"SELECT {call} FROM rasteret_collection('s2') AS s").fetchall()
    assert message in str(caught.value)


def test_value_is_the_newest_valid(con, s2: str) -> None:
    for band in ("B4", "U64", "T"):
        latest = con.execute(
            f"SELECT ST_AsText(geom), {band} FROM rasteret_sample('s2', 'p', bands := ['{band}'], match := 'latest') ORDER BY id LIMIT 25"
        ).fetchall()
        assert sum(value is not None for _, value in latest) > 10
        for point, value in latest:
            found = con.execute(f"SELECT rasteret_value('s2', '{point}', '{band}') AS v").fetchall()
            assert found == [(value,)]
    kind = con.execute("SELECT typeof(rasteret_value('s2', 'POINT (15 46.9)', 'U64'))").fetchall()
    assert kind == [("UBIGINT",)]


# -- relations as collections -----------------------------------------------------------------------------------------------------

SOURCES = {
    "cte": ("WITH mine AS (FROM rasteret_collection('s2') WHERE cloud < 15)", None),
    "nested cte": ("WITH a AS (FROM rasteret_collection('s2')), mine AS (SELECT * FROM a WHERE cloud < 15 ORDER BY id DESC)", None),
    "temp table": ("", "CREATE TEMP TABLE mine AS FROM rasteret_collection('s2') WHERE cloud < 15"),
    "table": ("", "CREATE TABLE mine AS FROM rasteret_collection('s2') WHERE cloud < 15"),
    "view": ("", "CREATE TEMP VIEW mine AS FROM rasteret_collection('s2') WHERE cloud < 15"),
    "joined": ("", "CREATE TEMP TABLE mine AS SELECT s.* FROM rasteret_collection('s2') AS s JOIN (VALUES ('r0'), ('r1')) AS keep(id) USING (id)"),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_relations_keep_native_types(con, s2: str, kind: str) -> None:
    before, statement = SOURCES[kind]
    if statement:
        con.execute(statement).fetchall()
    bands = list(VALUES)
    for function, geometries, types in (("rasteret_sample", "p", VALUES), ("rasteret_read", "q", {b: f"{t}[]" for b, t in PIXELS.items()})):
        sql = f"{before} SELECT id, record_id, {', '.join(bands)} FROM {function}('{{}}', '{geometries}', bands := {bands}) WHERE record_id < 'r2' ORDER BY ALL"
        described = {name: found for name, found, *_ in con.execute(f"DESCRIBE {sql.format('mine')}").fetchall()}
        assert {band: described[band] for band in bands} == types
        found = con.execute(sql.format("mine")).fetchall()
        assert found == con.execute(sql.format("s2")).fetchall()
        assert len(found) > 15


def test_neighbourhoods_of_relations_keep_native_types(con, s2: str) -> None:
    con.execute("CREATE TEMP TABLE mine AS FROM rasteret_collection('s2')").fetchall()
    bands = list(VALUES)
    sql = f"SELECT * EXCLUDE (geom) FROM rasteret_sample('{{}}', 'p', bands := {bands}, neighbourhood := 1) ORDER BY id, record_id"
    described = {name: found for name, found, *_ in con.execute(f"DESCRIBE {sql.format('mine')}").fetchall()}
    assert {band: described[f"{band}_window"] for band in bands} == {band: f"{kind}[]" for band, kind in PIXELS.items()}
    assert con.execute(sql.format("mine")).fetchall() == con.execute(sql.format("s2")).fetchall()


def test_relations_without_types_fall_back_to_double(con, s2: str) -> None:
    """The index as other programs write it, or as a table that was exported, has no typed NULLs."""
    bands = ["B4", "T", "I32"]
    plain = ", ".join(f"struct_pack({', '.join(packed(con, band))}) AS {band}_metadata" for band in bands)
    con.execute(f"CREATE TEMP TABLE plain AS SELECT * REPLACE ({plain}) FROM rasteret_collection('s2')").fetchall()
    for function, geometries, kind in (("rasteret_sample", "p", "DOUBLE"), ("rasteret_read", "q", "DOUBLE[]")):
        sql = f"SELECT id, record_id, {', '.join(bands)} FROM {function}('{{}}', '{geometries}', bands := {bands}) ORDER BY id, record_id"
        described = [found for _, found, *_ in con.execute(f"DESCRIBE {sql.format('plain')}").fetchall()]
        assert described[2:] == [kind] * 3
        assert con.execute(sql.format("plain")).fetchall() == con.execute(sql.format("s2")).fetchall()
    found = con.execute("SELECT typeof(rasteret_sample(s, 'POINT (15 46.9)', 'B4')) FROM plain AS s").fetchall()
    assert set(found) == {("DOUBLE",)}


def packed(con, band: str) -> list[str]:
    """The fields of a band's metadata without the typed NULLs, as arguments of ``struct_pack``."""
    names = con.execute(f"SELECT unnest(struct_keys({band}_metadata)) FROM (FROM rasteret_collection('s2') LIMIT 1)").fetchall()
    return [f'"{name}" := {band}_metadata."{name}"' for (name,) in names if name not in ("value", "pixel")]


def test_a_collection_wins_over_a_relation_of_its_name(con, s2: str) -> None:
    con.execute("CREATE TABLE s2 AS FROM rasteret_collection('s2') WHERE cloud = 10").fetchall()
    records = "SELECT DISTINCT record_id FROM rasteret_sample('{}', 'p', bands := ['B4']) WHERE record_id IS NOT NULL ORDER BY ALL"
    assert con.execute(records.format("s2")).fetchall() == [("r0",), ("r1",), ("r2",)]
    assert con.execute(records.format("main.s2")).fetchall() == [("r1",)]


# -- threads --------------------------------------------------------------------------------------------------------------------


def test_cursors_in_several_threads(con, s2: str) -> None:
    """Cursors see the macros of the catalog ``rasteret``; all of them read at once, each what it would read alone."""
    con.execute("CREATE TABLE points AS FROM p").fetchall()
    con.execute("CREATE TABLE plots AS FROM q").fetchall()
    bands = "['B4', 'SCL', 'U64']"
    statements = [
        f"FROM rasteret.sample('s2', 'points', bands := {bands}) ORDER BY id, record_id",
        f"SELECT id, record_id, B4, SCL, U64 FROM rasteret.read('s2', 'plots', bands := {bands}) ORDER BY id, record_id",
        "FROM rasteret.rasteret_sample('s2', 'points', bands := ['T'], match := 'latest') ORDER BY id",
        "SELECT s.id, rasteret.sample(s, points.geom, 'B4') AS v FROM points, rasteret.collection('s2') AS s ORDER BY ALL",
    ]
    workspace = con.execute("SELECT getvariable('rasteret_workspace')").fetchall()[0][0]
    alone = [con.execute(statement).fetchall() for statement in statements]
    together = threading.Barrier(8)

    def ask(number: int) -> list[tuple]:
        with con.cursor() as cursor:
            cursor.execute(f"SET VARIABLE rasteret_workspace = '{workspace}'").fetchall()
            together.wait()
            return [cursor.execute(statements[(number + turn) % 4]).fetchall() for turn in range(4)]

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(8)))
    for number, answer in enumerate(answers):
        assert answer == [alone[(number + turn) % 4] for turn in range(4)]


def test_a_read_in_a_transaction_and_in_a_file(files: pa.Table, tmp_path: Path) -> None:
    """A database on disk: reads in a transaction see its rows; the file keeps none of our functions."""
    import rasteret_sql

    path = tmp_path / "user.duckdb"
    scene = files["B4"][0].as_py()
    with rasteret_sql.connect(str(path)) as con:
        con.execute("BEGIN").fetchall()
        con.execute(f"CREATE TABLE spots AS SELECT {SKY.c + 15}::DOUBLE AS x, {SKY.f - 15}::DOUBLE AS y").fetchall()
        sql = f"SELECT b1, status FROM rasteret_sample('{scene}', 'spots', x := 'x', y := 'y', geometry_crs := 'EPSG:32633')"
        first = con.execute(sql).fetchall()
        con.execute("COMMIT").fetchall()
        assert con.execute(sql).fetchall() == first
        assert first[0][1] in ("ok", "nodata")
    with duckdb.connect(str(path)) as plain:
        found = plain.execute("SELECT function_name FROM duckdb_functions() WHERE function_name LIKE '%rasteret%'").fetchall()
        assert found == []
        assert plain.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [("spots",)]
