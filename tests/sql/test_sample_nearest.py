"""``rasteret_sample(match := 'nearest')``: the record closest in time with a value, against a search in Python over the same pixels."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from tests.reader.oracle import SKY, rows, write_tif
from tests.sql.test_budgets import Archive, archive, assert_within_budget, folder, run, some_points  # noqa: F401 - fixtures
from tests.sql.test_sample import XY, build, centres

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

HEIGHT, WIDTH = 20, 24
Record = tuple[str, dt.datetime | None, np.ndarray]


@pytest.fixture
def stack(con, tmp_path: Path) -> list[Record]:
    """Eight records full of holes on one grid, the band ``q`` of classes beside: two of one time, one without; the collection ``stack``."""
    rng = np.random.default_rng(1)
    made, records = [], []
    for name, day in {"c": 3, "a": 9, "e": 9, "b": 1, "f": 14, "g": 22, "h": 6, "d": None}.items():
        planes = rng.integers(1, 250, (2, HEIGHT, WIDTH), dtype="uint8")
        planes[1] = rng.integers(1, 8, (HEIGHT, WIDTH))
        planes[0, rng.random((HEIGHT, WIDTH)) < 0.5] = 0
        planes[0, :3, :3] = 0
        when = None if day is None else dt.datetime(2024, 1, day, 10)
        made.append((name, when, planes))
        records.append({"id": name, "datetime": when, "path": write_tif(tmp_path / f"{name}.tif", planes, nodata=0)})
    build(con, "stack", records, {"r": 0, "q": 1})
    return made


@pytest.fixture
def moments(con) -> list[dt.datetime | None]:
    """One point in every pixel, row by row, at times from before the first record to after the last: halfway between two, on one, or none."""
    rng = np.random.default_rng(2)
    row, col = np.indices((HEIGHT, WIDTH)).reshape(2, -1)
    x, y = centres(row, col)
    hours = rng.choice([0, 10, 22, 23], row.size)
    times = [
        dt.datetime(2023, 12, 20) + dt.timedelta(days=int(day), hours=int(hour))
        for day, hour in zip(rng.integers(0, 45, row.size), hours, strict=True)
    ]
    seen = [None if lost else time for time, lost in zip(times, rng.random(row.size) < 0.05, strict=True)]
    con.register("points", pa.table({"no": range(row.size), "x": x, "y": y, "seen": pa.array(seen, pa.timestamp("us"))}))
    return seen


def closest(stack: list[Record], seen: dt.datetime | None, row: int, col: int, tolerance: dt.timedelta | None, classes: set[int] | None) -> tuple:
    """(record, value, status) by the rule as written down."""
    near = [
        (abs(when - seen), when, name, planes)
        for name, when, planes in stack
        if when is not None and seen is not None and (tolerance is None or abs(when - seen) <= tolerance)
    ]
    if not near:
        return None, None, "outside"
    near.sort(key=lambda record: record[:3])
    for _, _, name, planes in near:
        if planes[0, row, col] and (classes is None or int(planes[1, row, col]) in classes):
            return name, int(planes[0, row, col]), "ok"
    _, _, name, planes = near[0]
    return name, None, "masked" if planes[0, row, col] else "nodata"


DAY = dt.timedelta(days=1)
TOLERANCES = {
    "": None,
    "tolerance := INTERVAL 10 DAY": 10 * DAY,
    "tolerance := '36 hours'": 1.5 * DAY,
    "tolerance := INTERVAL '4 days 12 hours'": 4.5 * DAY,
    "tolerance := '1 week, 2 days'": 9 * DAY,
    "tolerance := INTERVAL 0 DAY": 0 * DAY,
}


@pytest.mark.parametrize("tolerance", TOLERANCES)
@pytest.mark.parametrize("mask", [None, "q IN (1, 2, 3)"])
@pytest.mark.parametrize("source", ["stack", "shuffled"])
def test_the_closest_record_with_a_value(con, stack, moments, tolerance: str, mask: str | None, source: str) -> None:
    con.execute("CREATE TEMP TABLE shuffled AS FROM rasteret_collection('stack') ORDER BY hash(id)").fetchall()
    more = "".join(f", {argument}" for argument in (tolerance, mask and f"mask := '{mask}'") if argument)
    call = f"rasteret_sample('{source}', 'points', bands := ['r'], match := 'nearest', time_column := 'seen'{more}, {XY})"
    found = con.execute(f"SELECT record_id, r, status FROM {call} ORDER BY no").fetchall()
    classes = {1, 2, 3} if mask else None
    places = np.indices((HEIGHT, WIDTH)).reshape(2, -1).T
    assert found == [closest(stack, seen, row, col, TOLERANCES[tolerance], classes) for seen, (row, col) in zip(moments, places, strict=True)]
    assert {status for _, _, status in found} >= {"ok", "nodata", "outside"}
    if mask:
        assert "masked" in {status for _, _, status in found}
    assert "d" not in {name for name, _, _ in found}, "a record without a time matches nothing"


def test_every_row_says_why(con, stack, moments) -> None:
    call = f"rasteret_sample('stack', 'points', bands := ['r'], match := 'nearest', time_column := 'seen', tolerance := INTERVAL 1 DAY, {XY})"
    found = rows(con, f"FROM {call} ORDER BY no")
    assert len(found) == HEIGHT * WIDTH
    assert list(found[0])[4:] == ["record_id", "datetime", "r", "status", "error", "distance_pixels"]
    times = {name: when for name, when, _ in stack}
    for row in found:
        if row["seen"] is None:
            assert (row["status"], row["error"]) == ("outside", "the time of the point is NULL or no time")
        elif row["status"] == "outside":
            assert row["error"] == "no record here is within tolerance of the time of the point"
        else:
            assert row["error"] is None
            assert row["datetime"] == times[row["record_id"]]
            assert abs(row["datetime"] - row["seen"]) <= DAY


def test_sql_says_the_same(con, stack, moments) -> None:
    """Of all records by ``match := 'all'``, the best row of each point by plain SQL."""
    call = "rasteret_sample('stack', 'points', bands := ['r', 'q'], {}, " + XY + ")"
    found = con.execute(
        f"SELECT no, record_id, r, q, status FROM {call.format('''match := 'nearest', time_column := 'seen' ''')} WHERE seen IS NOT NULL ORDER BY no"
    ).fetchall()
    judged = con.execute(
        f"""SELECT no, record_id, r, q, status FROM {call.format("match := 'all'")} WHERE seen IS NOT NULL AND datetime IS NOT NULL
        QUALIFY row_number() OVER (PARTITION BY no ORDER BY status <> 'ok', abs(epoch_us(seen) - epoch_us(datetime)), datetime, record_id) = 1 ORDER BY no"""
    ).fetchall()
    assert found == judged


TIME_FORMS = {
    "timestamp": "seen",
    "date": "seen::DATE",
    "text": "strftime(seen, '%Y-%m-%d %H:%M:%S')",
    "text with a zone": "strftime(seen + INTERVAL 5 HOUR, '%Y-%m-%dT%H:%M:%S') || '+05:00'",
    "text with a letter": "strftime(seen, '%Y-%m-%dT%H:%M:%SZ')",
    "with a zone": "seen::TIMESTAMPTZ",
    "nanoseconds": "seen::TIMESTAMP_NS",
    "seconds": "seen::TIMESTAMP_S",
}


@pytest.mark.parametrize("form", TIME_FORMS)
def test_forms_of_time(con, stack, moments, form: str) -> None:
    """A TIMESTAMPTZ is a moment, whatever zone the session shows it in; all else is UTC."""
    con.execute("SET TimeZone = 'UTC'").fetchall()
    con.execute(f'CREATE TEMP TABLE places AS SELECT no, x, y, {TIME_FORMS[form]} AS "when is it" FROM points').fetchall()
    if form == "date":
        moments = [None if seen is None else dt.datetime.combine(seen.date(), dt.time()) for seen in moments]
    con.execute("SET TimeZone = 'Asia/Tokyo'").fetchall()
    call = f"rasteret_sample('stack', 'places', bands := ['r'], match := 'nearest', \"time\" := 'WHEN is it', tolerance := INTERVAL 3 DAY, {XY})"
    found = con.execute(f"SELECT record_id, r, status FROM {call} ORDER BY no").fetchall()
    places = np.indices((HEIGHT, WIDTH)).reshape(2, -1).T
    assert found == [closest(stack, seen, row, col, 3 * DAY, None) for seen, (row, col) in zip(moments, places, strict=True)]


def test_of_two_as_close_the_earlier(con, tmp_path: Path) -> None:
    """And of two of one time the first by id; a scene with no pixel there does not count."""
    records = []
    for name, day, value in (("late", 11, 3), ("early", 9, 1), ("also", 9, 2)):
        plane = np.full((10, 10), value, "uint8")
        plane[0, 0] = 0 if name == "also" else value
        plane[0, 1] = 0 if day == 9 else value
        records.append({"id": name, "datetime": dt.datetime(2024, 1, day), "path": write_tif(tmp_path / f"{name}.tif", plane, nodata=0)})
    build(con, "tie", records)
    x, y = centres(np.array([5, 0, 0]), np.array([5, 0, 1]))
    con.register("points", pa.table({"no": range(3), "x": x, "y": y, "seen": [dt.datetime(2024, 1, 10)] * 3}))
    found = con.execute(f"SELECT record_id, B FROM rasteret_sample('tie', 'points', match := 'nearest', time_column := 'seen', {XY}) ORDER BY no")
    assert found.fetchall() == [("also", 2), ("early", 1), ("late", 3)]


def test_points_on_no_record_and_records_without_time(con, tmp_path: Path) -> None:
    """``outside`` has no other reason where there is no record at all; where there is one without a time, it says so."""
    path = write_tif(tmp_path / "dem.tif", np.ones((10, 10), "uint8"))
    build(con, "dem", [{"id": "dem", "datetime": None, "path": path}])
    x, y = centres(np.array([5, 50]), np.array([5, 50]))
    con.register("points", pa.table({"no": range(2), "x": x, "y": y, "seen": [dt.datetime(2024, 1, 10)] * 2}))
    call = f"rasteret_sample('dem', 'points', match := 'nearest', time_column := 'seen', {XY})"
    assert con.execute(f"SELECT record_id, B, status, error FROM {call} ORDER BY no").fetchall() == [
        (None, None, "outside", "no record here has a time"),
        (None, None, "outside", None),
    ]
    long = con.execute(f"SELECT no, band, value, status FROM {call[:-1]}, layout := 'long') ORDER BY no").fetchall()
    assert long == [(0, "B", None, "outside"), (1, "B", None, "outside")]
    con.execute("CREATE TEMP TABLE nothing AS FROM points LIMIT 0").fetchall()
    assert con.execute(f"FROM {call.replace('points', 'nothing')}").fetchall() == []


def test_text_that_is_no_time(con, stack) -> None:
    x, y = centres(np.array([5, 6]), np.array([5, 6]))
    con.register("points", pa.table({"no": range(2), "x": x, "y": y, "seen": ["soon", "2024-01-09"]}))
    call = f"rasteret_sample('stack', 'points', bands := ['r'], match := 'nearest', time_column := 'seen', {XY}"
    with pytest.raises(duckdb.Error, match="soon"):
        con.execute(f"FROM {call})").fetchall()
    found = rows(con, f"FROM {call}, on_error := 'null') ORDER BY no")
    assert (found[0]["status"], found[0]["error"]) == ("outside", "the time of the point is NULL or no time")
    assert found[1]["record_id"] is not None


def test_endless_times(con, stack) -> None:
    x, y = centres(np.array([5, 6]), np.array([5, 6]))
    con.register("__p", pa.table({"x": x, "y": y}))
    con.execute("CREATE TEMP TABLE points AS SELECT *, 'infinity'::TIMESTAMP AS seen FROM __p").fetchall()
    found = con.execute(
        f"SELECT status, error FROM rasteret_sample('stack', 'points', bands := ['r'], match := 'nearest', time_column := 'seen', {XY})"
    )
    assert found.fetchall() == [("outside", "the time of the point is NULL or no time")] * 2


NEAREST = "match := 'nearest'"
REFUSED = {
    NEAREST: "rasteret_sample: match := 'nearest' needs time_column := '<column of the points>' (or \"time\" := …)",
    "time_column := 'seen'": "rasteret_sample: time_column goes with match := 'nearest'; match is 'all'",
    "\"time\" := 'seen', match := 'latest'": "rasteret_sample: time goes with match := 'nearest'; match is 'latest'",
    "tolerance := INTERVAL 10 DAY": "rasteret_sample: tolerance goes with match := 'nearest'; match is 'all'",
    f"{NEAREST}, tolerance := INTERVAL 10 DAY": "needs time_column",
    f"{NEAREST}, \"time\" := 'seen', time_column := 'seen'": "rasteret_sample: time and time_column are one argument with two spellings; give one of them",
    f"{NEAREST}, time_column := 5": "rasteret_sample: time_column := 5 is not valid; a column name in quotes is",
    f"{NEAREST}, time_column := 'sene'": "no column 'sene'; did you mean 'seen'? for time; columns: no, x, y, seen",
    f"{NEAREST}, time_column := 'no'": "time := 'no' is BIGINT; TIMESTAMP, DATE and text are valid",
    f"{NEAREST}, time_column := 'seen', tolerance := 10": "rasteret_sample: tolerance := 10 is not valid; INTERVAL 10 DAY or '10 days' is",
    f"{NEAREST}, time_column := 'seen', tolerance := 'ten days'": "rasteret_sample: tolerance := 'ten days' is not valid; INTERVAL 10 DAY or '10 days' is",
    f"{NEAREST}, time_column := 'seen', tolerance := ''": "rasteret_sample: tolerance := '' is not valid",
    f"{NEAREST}, time_column := 'seen', tolerance := '10 days or so'": "is not valid; INTERVAL 10 DAY",
    f"{NEAREST}, time_column := 'seen', tolerance := INTERVAL 1 MONTH": "rasteret_sample: tolerance: months and years have no fixed length; give days",
    f"{NEAREST}, time_column := 'seen', tolerance := '2 years'": "rasteret_sample: tolerance: months and years have no fixed length; give days",
    f"{NEAREST}, time_column := 'seen', tolerance := INTERVAL (-1) DAY": "rasteret_sample: tolerance is not valid; a duration of 0 or more",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_refused_in_one_line(con, stack, arguments: str) -> None:
    x, y = centres(np.array([5]), np.array([5]))
    con.register("points", pa.table({"no": [1], "x": x, "y": y, "seen": [dt.datetime(2024, 1, 10)]}))
    with pytest.raises(duckdb.Error) as caught:
        con.execute(f"FROM rasteret_sample('stack', 'points', bands := ['r'], {arguments}, {XY})").fetchall()
    assert REFUSED[arguments] in str(caught.value).splitlines()[0]


def test_names_of_columns_that_are_no_names(con, stack) -> None:
    x, y = centres(np.array([5]), np.array([5]))
    con.register("__p", pa.table({"x": x, "y": y}))
    con.execute("""CREATE TEMP TABLE points AS SELECT *, TIMESTAMP '2024-01-14' AS "it's {0} ""then\"\"" FROM __p""").fetchall()
    name = "it''s {0} \"then\""
    found = con.execute(f"SELECT status FROM rasteret_sample('stack', 'points', bands := ['q'], match := 'nearest', time_column := '{name}', {XY})")
    assert found.fetchall() == [("ok",)]


def test_the_help_names_both_spellings(con) -> None:
    ((signature, text),) = con.execute(
        "SELECT signature, help FROM rasteret_functions() WHERE name = 'rasteret_sample' AND kind = 'table'"
    ).fetchall()
    assert "time := NULL, time_column := NULL, tolerance := NULL" in signature
    assert "time_column" in text


def test_the_nearest_of_interpolated_values(con, stack, moments) -> None:
    """Interpolated values are there where the point's own pixel is: the record is the same."""
    call = f"rasteret_sample('stack', 'points', bands := ['r'], match := 'nearest', time_column := 'seen', {XY}"
    plain = con.execute(f"SELECT record_id, status FROM {call}) ORDER BY no").fetchall()
    assert con.execute(f"SELECT record_id, status FROM {call}, interpolation := 'bilinear') ORDER BY no").fetchall() == plain


def test_further_records_are_read_only_where_they_must(con, archive: Archive) -> None:  # noqa: F811
    """Every point reads the tiles of its own record, and the limit of bytes is exact."""
    places = some_points(con)
    con.execute("CREATE TEMP TABLE timed AS SELECT *, TIMESTAMP '2024-01-01 02:00:00' + INTERVAL (no % 2) DAY AS seen FROM points").fetchall()
    tiles = {}
    for i in (0, 1):
        tiles |= archive.tiles(f"{i}R.tif", [(row, col, 1, 1) for row, col in places[i::2]])
    sql = f"SELECT record_id, no FROM rasteret_sample('stack', 'timed', bands := ['R'], match := 'nearest', time_column := 'seen', {XY})"
    archive.reset()
    needed = sum(tiles.values())
    run(con, f"SET VARIABLE rasteret_max_bytes = {needed - 1}")
    with pytest.raises(duckdb.Error, match=f"would fetch {needed:,} bytes"):
        run(con, sql)
    assert archive.requests() == 0
    run(con, f"SET VARIABLE rasteret_max_bytes = {needed}")
    assert sorted(run(con, sql)) == sorted((f"r{no % 2}", no) for no in range(60))
    assert_within_budget(archive, tiles)
    archive.reset()
    none = run(con, sql.replace("'seen'", "'seen', tolerance := INTERVAL 1 HOUR"))
    assert {name for name, _ in none} == {None}
    assert archive.requests() == 0, "what is too far away in time is not read"


def test_the_limit_of_bytes_holds_over_rounds(con, archive: Archive, tmp_path: Path) -> None:  # noqa: F811
    """The nearest record holds nothing at the point: the next one counts too."""
    holes = np.full((640, 640), 7, "uint16")
    holes[::2, ::3] = 9
    for name, plane in (("near", holes), ("far", np.full((640, 640), 5, "uint16"))):
        plane[0, 0] = 1
        write_tif(archive.folder / f"{name}.tif", plane, nodata=7, blockxsize=128, blockysize=128)
    when = [dt.datetime(2024, 2, 1), dt.datetime(2024, 1, 1)]
    urls = [archive.server.url(f"{name}.tif") for name in ("near", "far")]
    con.register("__r", pa.table({"id": ["near", "far"], "datetime": when, "path": urls}))
    run(con, "FROM rasteret_build_from_table('__r', name := 'two', href_column := 'path', band_index_map := {'B': 0})")
    x, y = SKY @ (5.5, 5.5)
    con.register("points", pa.table({"x": [x], "y": [y], "seen": [dt.datetime(2024, 1, 30)]}))
    near, far = (sum(archive.tiles(f"{name}.tif", [(5, 5, 1, 1)]).values()) for name in ("near", "far"))
    sql = f"SELECT record_id, B FROM rasteret_sample('two', 'points', match := 'nearest', time_column := 'seen', {XY})"
    archive.reset()
    run(con, f"SET VARIABLE rasteret_max_bytes = {near + far - 1}")
    with pytest.raises(duckdb.Error, match=f"would fetch {near + far:,} bytes"):
        run(con, sql)
    assert archive.requests() == 1
    archive.reset()
    run(con, f"SET VARIABLE rasteret_max_bytes = {near + far}")
    assert run(con, sql) == [("far", 5)]
