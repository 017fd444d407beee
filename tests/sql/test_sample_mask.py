"""``rasteret_sample(expressions := …, mask := …)``, against plain SQL over the same bands without them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from affine import Affine

from tests.reader.oracle import SKY, rows, write_tif
from tests.sql.test_budgets import Archive, archive, assert_within_budget, folder, run, some_points  # noqa: F401 - fixtures
from tests.sql.test_sample import XY, broken, build, register_grid, register_points

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

HEIGHT, WIDTH = 18, 22


@pytest.fixture
def stack(con, tmp_path: Path) -> list[tuple[str, np.ndarray]]:
    """Five records, newest first, of red, nir and classes with holes (all 0), the collection ``stack`` and the table ``rel`` of it."""
    rng = np.random.default_rng(1)
    made, records = [], []
    for day in (9, 7, 5, 3, 1):
        planes = rng.integers(1, 4000, (3, HEIGHT, WIDTH), dtype="uint16")
        planes[2] = rng.integers(1, 12, (HEIGHT, WIDTH))
        planes[:, rng.random((HEIGHT, WIDTH)) < 0.2] = 0
        planes[2, rng.random((HEIGHT, WIDTH)) < 0.1] = 0
        made.append((f"r{day}", planes))
        records.append({"id": f"r{day}", "datetime": dt.datetime(2024, 1, day), "path": write_tif(tmp_path / f"{day}.tif", planes, nodata=0)})
    build(con, "stack", records, {"B04": 0, "B08": 1, "SCL": 2})
    con.execute("CREATE TEMP TABLE rel AS FROM rasteret_collection('stack') ORDER BY hash(id)").fetchall()
    register_grid(con, HEIGHT, WIDTH)
    return made


NDVI = "(B08 - B04) / (B08 + B04)"
EXPRESSIONS = {
    "ndvi": NDVI,
    "sum": "B04 + B08 * 100",
    "whole": "B08 // 7",
    "bits": "SCL & 6",
    "choice": "CASE WHEN SCL IN (4, 5) THEN B08 ELSE -B04 END",
    "cast": "round(sqrt(B08::DOUBLE), 2)",
}


@pytest.mark.parametrize("source", ["stack", "rel"])
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expressions_are_duckdbs(con, stack, source: str, name: str) -> None:
    """Values and types as the same text gives over the columns."""
    text = EXPRESSIONS[name]
    call = f"rasteret_sample('{source}', 'points', bands := ['SCL', 'B08', 'B04'], {XY}"
    found = con.execute(f"SELECT no, record_id, e, typeof(e) FROM {call}, expressions := {{'e': '{text}'}}) ORDER BY ALL").fetchall()
    judged = con.execute(f"SELECT no, record_id, {text} AS e, typeof(e) FROM {call}) ORDER BY ALL").fetchall()
    assert found == judged
    assert len(found) == 5 * HEIGHT * WIDTH


@pytest.mark.parametrize("source", ["stack", "rel"])
def test_bands_may_be_left_out(con, stack, source: str) -> None:
    call = f"rasteret_sample('{source}', 'points', {XY}, expressions := {{'ndvi': '{NDVI}', 'Twice': 'B04 * 2'}}"
    described = [name for name, *_ in con.execute(f"DESCRIBE FROM {call})").fetchall()]
    assert described == ["no", "x", "y", "record_id", "datetime", "ndvi", "Twice", "status", "error", "distance_pixels"]
    assert [name for name, *_ in con.execute(f"DESCRIBE FROM {call}, bands := ['SCL'], mask := 'SCL > 3')").fetchall()][5:8] == [
        "SCL",
        "ndvi",
        "Twice",
    ]
    long = con.execute(f"SELECT no, record_id, band, value, status FROM {call}, layout := 'long') ORDER BY ALL").fetchall()
    wide = con.execute(
        f"SELECT no, record_id, unnest(['ndvi', 'Twice']) AS band, unnest([ndvi, Twice::DOUBLE]) AS value, status FROM {call}) ORDER BY ALL"
    ).fetchall()
    assert long == wide


@pytest.mark.parametrize("mask", ["SCL IN (4, 5, 6)", "SCL & 3 = 0 AND B04 > 1000", "NOT (SCL BETWEEN 3 AND 9)", "B08 > B04"])
@pytest.mark.parametrize("source", ["stack", "rel"])
def test_masked_values_are_null(con, stack, source: str, mask: str) -> None:
    call = f"rasteret_sample('{source}', 'points', bands := {{}}, {XY}"
    found = con.execute(f"SELECT no, record_id, B04, B08, status FROM {call.format(['B04', 'B08'])}, mask := '{mask}') ORDER BY ALL").fetchall()
    judged = con.execute(
        f"""SELECT no, record_id, if(m, B04, NULL), if(m, B08, NULL),
        CASE WHEN B04 IS NULL AND B08 IS NULL THEN 'nodata' WHEN m THEN 'ok' ELSE 'masked' END
        FROM (SELECT *, coalesce({mask}, false) AS m FROM {call.format(["B04", "B08", "SCL"])})) ORDER BY ALL"""
    ).fetchall()
    assert found == judged
    assert {row[-1] for row in found} == {"ok", "nodata", "masked"}


@pytest.mark.parametrize("source", ["stack", "rel"])
def test_latest_goes_on_past_what_is_masked(con, stack, source: str) -> None:
    call = f"rasteret_sample('{source}', 'points', bands := ['B04'], match := 'latest', mask := 'SCL IN (4, 5, 6)', expressions := {{'ndvi': '{NDVI}'}}, {XY})"
    found = con.execute(f"SELECT record_id, B04, ndvi, status FROM {call} ORDER BY no").fetchall()
    expected = []
    for row, col in np.indices((HEIGHT, WIDTH)).reshape(2, -1).T:
        for name, planes in stack:
            red, nir, scl = planes[:, row, col].tolist()
            if red and scl in (4, 5, 6):
                expected.append((name, red, (nir - red) / (nir + red), "ok"))
                break
        else:
            name, planes = stack[0]
            expected.append((name, None, None, "masked" if planes[0, row, col] else "nodata"))
    assert found == expected
    assert {status for *_, status in found} == {"ok", "nodata", "masked"}


def test_a_band_in_expression_and_mask_and_result(con, stack) -> None:
    """One band in all three places is read once and comes back once."""
    call = f"rasteret_sample('stack', 'points', bands := ['B04'], expressions := {{'half': 'B04 / 2'}}, mask := 'B04 > 2000', {XY})"
    found = con.execute(f"SELECT count(*), count(B04), min(B04), min(half), count(half) FROM {call}").fetchall()
    reds = np.concatenate([planes[0].ravel() for _, planes in stack])
    kept = reds[reds > 2000]
    assert found == [(reds.size, kept.size, int(kept.min()), kept.min() / 2, kept.size)]


def test_scaled_expressions_and_masks(con, tmp_path: Path) -> None:
    """With ``scaled`` all see scaled values, in DOUBLE."""
    planes = np.array([[[1000, 2000], [3000, 0]], [[1, 2], [3, 4]]], dtype="int16")
    path = write_tif(tmp_path / "s.tif", planes, nodata=0, scales=(0.0001, 1.0), offsets=(-0.05, 0.0))
    register_grid(con, 2, 2)
    call = f"rasteret_sample('{path}', 'points', bands := ['b1'], scaled := true, expressions := {{'e': 'b1 * b2'}}, mask := 'b2 > 1 AND b1 < 0.2', {XY})"
    found = con.execute(f"SELECT b1, e, typeof(e), status FROM {call} ORDER BY no").fetchall()
    assert found == [
        (None, None, "DOUBLE", "masked"),
        (pytest.approx(0.15), pytest.approx(0.3), "DOUBLE", "ok"),
        (None, None, "DOUBLE", "masked"),
        (None, None, "DOUBLE", "masked"),
    ]


def test_with_interpolation_the_mask_looks_at_the_own_pixel(con, stack) -> None:
    call = f"rasteret_sample('stack', 'points', {XY}"
    found = con.execute(
        f"SELECT no, record_id, B04, e FROM {call}, bands := ['B04'], interpolation := 'bilinear', mask := 'SCL IN (4, 5)', expressions := {{'e': 'B04 + B08'}}) ORDER BY ALL"
    )
    judged = f"""SELECT a.no, a.record_id, if(b.SCL IN (4, 5), a.B04, NULL), if(b.SCL IN (4, 5), a.B04 + a.B08, NULL)
        FROM (FROM {call}, bands := ['B04', 'B08'], interpolation := 'bilinear')) a JOIN (FROM {call}, bands := ['SCL'])) b USING (no, record_id) ORDER BY ALL"""
    found = found.fetchall()
    assert found == con.execute(judged).fetchall()
    assert sum(value is not None for _, _, value, _ in found) > 100


def test_a_mask_of_other_resolution(con, tmp_path: Path) -> None:
    """Each band on its own grid: the class of the coarse pixel under the point."""
    rng = np.random.default_rng(3)
    fine, classes = rng.integers(1, 99, (40, 40), dtype="uint8"), rng.integers(0, 2, (20, 20), dtype="uint8")
    paths = [write_tif(tmp_path / "f.tif", fine), write_tif(tmp_path / "c.tif", classes, transform=SKY @ Affine.scale(2))]
    con.register("__r", pa.table({"id": ["a"], "f": paths[:1], "c": paths[1:]}))
    con.execute("FROM rasteret_build_from_table('__r', name := 'two', band_columns := {'F': 'f', 'C': 'c'})").fetchall()
    register_grid(con, 40, 40)
    found = con.execute(f"SELECT F, status FROM rasteret_sample('two', 'points', bands := ['F'], mask := 'C = 1', {XY}) ORDER BY no").fetchall()
    kept = np.repeat(np.repeat(classes, 2, axis=0), 2, axis=1).ravel()
    assert found == [(int(value), "ok") if keep else (None, "masked") for value, keep in zip(fine.ravel(), kept, strict=True)]


def test_records_that_lack_the_mask(con, tmp_path: Path) -> None:
    """Without its mask no pixel is true; the row says which asset is not there."""
    red, scl = (write_tif(tmp_path / f"{name}.tif", np.full((20, 20), 4, "uint8")) for name in ("red", "scl"))
    con.register("__r", pa.table({"id": ["both", "red", "scl"], "r": [red, red, None], "s": [scl, None, scl]}))
    con.execute("FROM rasteret_build_from_table('__r', name := 'some', band_columns := {'R': 'r', 'SCL': 's'})").fetchall()
    register_points(con, np.array([4]), np.array([5]))
    found = rows(con, f"FROM rasteret_sample('some', 'points', bands := ['R'], mask := 'SCL = 4', {XY}) ORDER BY record_id")
    assert [(row["record_id"], row["R"], row["status"], row["error"]) for row in found] == [
        ("both", 4, "ok", None),
        ("red", None, "masked", "the record has no asset for SCL"),
        ("scl", None, "nodata", "the record has no asset for R"),
    ]


def test_a_corrupt_mask_is_an_error(con, tmp_path: Path) -> None:
    """Where the mask cannot be read nobody knows whether the pixel counts."""
    path, _ = broken(tmp_path)
    good = write_tif(tmp_path / "good.tif", np.full((32, 48), 5, "uint8"), nodata=0)
    con.register("__r", pa.table({"id": ["a"], "r": [good], "s": [path]}))
    con.execute("FROM rasteret_build_from_table('__r', name := 'some', band_columns := {'R': 'r', 'SCL': 's'})").fetchall()
    register_points(con, np.array([4, 4]), np.array([5, 20]))
    for match in ("all", "latest"):
        call = f"rasteret_sample('some', 'points', bands := ['R'], mask := 'SCL >= 0', match := '{match}', {XY}"
        found = rows(con, f"FROM {call}, on_error := 'null') ORDER BY no")
        assert [(row["R"], row["status"]) for row in found] == [(5, "ok"), (None, "error")]
        assert "broken.tif" in found[1]["error"]
        with pytest.raises(duckdb.Error, match=r"broken\.tif"):
            con.execute(f"FROM {call})").fetchall()


def test_an_expression_without_a_value_says_so(con, stack) -> None:
    call = f"rasteret_sample('stack', 'points', bands := ['B04'], expressions := {{'e': 'nullif(B04, B04)', 'f': 'B04 + 1'}}, {XY})"
    found = con.execute(f"SELECT DISTINCT status, error, B04 IS NULL, e IS NULL, f IS NULL FROM {call} ORDER BY ALL").fetchall()
    assert found == [("nodata", "the expression e is NULL here", False, True, False), ("nodata", None, True, True, True)]


def test_expressions_of_neighbours(con, tmp_path: Path) -> None:
    """Of one place: the nearest pixel at which all bands that the expression names are valid."""
    planes = np.zeros((2, 9, 9), "uint8")
    planes[0, 4, 5], planes[0, 4, 7], planes[1, 4, 7], planes[1, 3, 4] = 10, 11, 21, 22
    path = write_tif(tmp_path / "two.tif", planes, nodata=0)
    register_points(con, np.array([4]), np.array([4]))
    call = f"rasteret_sample('{path}', 'points', expressions := {{'e': 'b1 + b2'}}, {XY}"
    assert con.execute(f"SELECT e, status, distance_pixels FROM {call}, max_distance_pixels := 4)").fetchall() == [(32, "fallback", 3.0)]
    found = con.execute(f"SELECT b2, b2_window, e FROM {call}, bands := ['b2'], neighbourhood := 1)").fetchall()
    assert found == [(None, [None, 22, *[None] * 7], None)]


def test_names_that_mean_other_things(con, tmp_path: Path) -> None:
    """Bands called like columns of the plan, expressions with any name."""
    planes = np.stack([np.full((9, 9), value, "uint8") for value in (1, 2, 3, 4)])
    path = write_tif(tmp_path / "a.tif", planes)
    build(con, "odd", [{"id": "a", "datetime": dt.datetime(2024, 1, 1), "path": path}], {"status": 0, "no": 1, "v0": 2, "a b": 3})
    register_points(con, np.array([4]), np.array([5]))
    call = f"""rasteret_sample('odd', 'points', bands := ['no', 'v0'], {XY}, mask := 'status = 1 AND v0 = 3',
        expressions := {{'s': 'status + v0 + no', 'it''s "x"': '"a b" * 2', 'record_id': 'v0 * v0'}})"""
    found = rows(con, f"FROM {call}")[0]
    assert (found["no_1"], found["v0"], found["s"], found['it\'s "x"'], found["record_id_1"], found["status"]) == (2, 3, 6, 8, 9, "ok")


def test_mask_and_expressions_with_no_points(con, stack) -> None:
    con.execute("CREATE TEMP TABLE nothing AS FROM points LIMIT 0").fetchall()
    con.execute("CREATE TEMP TABLE away AS SELECT no, x + 1e5 AS x, y FROM points LIMIT 3").fetchall()
    for match in ("all", "latest"):
        more = f"bands := ['B04'], mask := 'SCL = 4', expressions := {{'e': 'B08'}}, match := '{match}', {XY}"
        assert con.execute(f"FROM rasteret_sample('stack', 'nothing', {more})").fetchall() == []
        assert (
            con.execute(f"SELECT B04, e, status, error FROM rasteret_sample('stack', 'away', {more})").fetchall()
            == [(None, None, "outside", None)] * 3
        )


def test_tiles_of_masked_points(con, archive: Archive) -> None:  # noqa: F811
    """Values and mask make one plan; and the limit of bytes holds for all rounds together."""
    windows = [(row, col, 1, 1) for row, col in some_points(con)]
    tiles = {key: size for i in range(4) for band in "RN" for key, size in archive.tiles(f"{i}{band}.tif", windows).items()}
    archive.reset()
    found = run(con, f"SELECT count(*), count(R) FROM rasteret_sample('stack', 'points', bands := ['R'], mask := 'N >= 32768', {XY})")
    assert found[0][0] == 240
    assert 0 < found[0][1] < 240
    assert_within_budget(archive, tiles)
    archive.reset()
    run(con, f"SELECT * FROM rasteret_sample('stack', 'points', bands := ['R'], mask := 'N >= 0', match := 'latest', {XY})")
    assert_within_budget(archive, {key: size for key, size in tiles.items() if key[0].startswith("3")})
    needed = sum(size for key, size in tiles.items())
    archive.reset()
    run(con, f"SET VARIABLE rasteret_max_bytes = {needed - 1}")
    with pytest.raises(duckdb.Error, match=f"would fetch {needed:,} bytes"):
        run(con, f"SELECT * FROM rasteret_sample('stack', 'points', bands := ['R'], mask := 'N < 0', match := 'latest', {XY})")
    assert archive.server.stats().bytes <= needed - 1


REFUSED = {
    "mask := 'SCL'": "mask := 'SCL' gives INTEGER; a condition (BOOLEAN) is valid",
    "mask := 'SLC = 4'": "mask: no band 'SLC'; did you mean 'SCL'?",
    "mask := '1 = 1'": "mask: names no band",
    "mask := 'SCL ='": "mask",
    "mask := 4": "mask := 4 is not valid; a SQL condition in quotes",
    "mask := '(SELECT true)'": "mask",
    "mask := 'SCL = 4', neighbourhood := 1": "rasteret_sample: neighbourhood does not go with mask",
    "mask := 'SCL = 4', max_distance_pixels := 1": "rasteret_sample: max_distance_pixels does not go with mask",
    "expressions := {'e': 'B09 + 1'}": "expressions.e: no band 'B09'; did you mean 'B08'?",
    "expressions := {'e': 'B04 > 1'}": "expressions.e gives BOOLEAN; a number is valid",
    "expressions := {'e': '1 + 1'}": "expressions.e: names no band",
    "expressions := {'e': '(SELECT 1)'}": "expressions.e",
    "expressions := {'e': 'random() + B04'}": "expressions.e",
    "expressions := {'b04': 'B04 + 1'}": "the band 'B04' has this name already",
    "expressions := {'e': 1}": "expressions := {'e': 1} is not valid",
    "expressions := 'B04 + 1'": "expressions := 'B04 + 1' is not valid",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_refused_in_one_line(con, stack, arguments: str) -> None:
    with pytest.raises(duckdb.Error) as caught:
        con.execute(f"FROM rasteret_sample('stack', 'points', bands := ['B04'], {arguments}, {XY})").fetchall()
    first = str(caught.value).splitlines()[0]
    assert REFUSED[arguments] in first
    assert "rasteret_sample: " in first


@pytest.mark.parametrize("arguments", ["mask := 'SCL + 1'", "mask := 'sqrt(SCL)'"])
def test_a_relations_mask_is_refused_when_it_runs(con, stack, arguments: str) -> None:
    with pytest.raises(duckdb.Error, match="mask gives a number; a condition"):
        con.execute(f"FROM rasteret_sample('rel', 'points', bands := ['B04'], {arguments}, {XY})").fetchall()
