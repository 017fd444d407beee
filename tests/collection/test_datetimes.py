"""Times of records: whatever form they are given in, the collection holds UTC without a zone."""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.collection.asking import one, rows
from tests.collection.tiffs import write

NOON = datetime(2024, 2, 29, 12, 30)

FORMS = {
    "TIMESTAMP '2024-02-29 12:30:00'": NOON,
    "TIMESTAMPTZ '2024-02-29 14:30:00+02'": NOON,
    "TIMESTAMP_S '2024-02-29 12:30:00'": NOON,
    "TIMESTAMP_MS '2024-02-29 12:30:00'": NOON,
    "TIMESTAMP_NS '2024-02-29 12:30:00'": NOON,
    "DATE '2024-02-29'": datetime(2024, 2, 29),
    "'2024-02-29T12:30:00Z'": NOON,
    "'2024-02-29T14:30:00+02:00'": NOON,
    "'2024-02-29T12:30:00'": NOON,
    "'2024-02-29 14:30:00+02'": NOON,
    "'2024-02-29 14:30+0200'": NOON,
    "'2024-02-29 12:30:00.250'": NOON.replace(microsecond=250_000),
    "'2024-02-29'": datetime(2024, 2, 29),
    "2024": datetime(2024, 1, 1),
    "2024::SMALLINT": datetime(2024, 1, 1),
    "NULL": None,
    "NULL::TIMESTAMP": None,
}


@pytest.fixture(scope="module")
def tiff(tmp_path_factory):
    return write(tmp_path_factory.mktemp("files") / "a.tif")


@pytest.mark.parametrize("form", FORMS)
def test_times_are_utc(con, tiff, form):
    con.execute("SET TimeZone = 'America/New_York'").fetchall()
    con.execute(f"CREATE TABLE given AS SELECT 'a' AS id, '{tiff}' AS href, {form} AS datetime").fetchall()
    report = one(con, "FROM rasteret_build_from_table(given, name := 'c', href_column := 'href')")
    found = one(con, "SELECT datetime, year, month FROM rasteret_collection(c)")
    at = FORMS[form]
    assert found == {"datetime": at, "year": at and at.year, "month": at and at.month}
    assert (report["first"], report["last"]) == (at, at)


def test_some_texts_with_a_zone_and_some_without(con, tiff):
    """Those without one are UTC."""
    con.execute(
        f"""CREATE TABLE given AS SELECT id, '{tiff}' AS href, datetime FROM (VALUES ('a', '2024-02-29T14:30:00+02:00'), ('b', '2024-02-29T12:30:00'),
        ('c', '2024-02-29T12:30:00Z'), ('d', NULL), ('e', '2024-02-29')) AS t(id, datetime)"""
    ).fetchall()
    con.execute("FROM rasteret_build_from_table(given, name := 'c', href_column := 'href')").fetchall()
    found = {row["id"]: row["datetime"] for row in rows(con, "FROM rasteret_collection(c)")}
    assert found == {"a": NOON, "b": NOON, "c": NOON, "d": None, "e": datetime(2024, 2, 29)}


def test_records_without_times_lie_beside_those_with(con, tiff):
    con.execute(
        f"CREATE TABLE given AS SELECT id, '{tiff}' AS href, datetime FROM (VALUES ('a', NULL), ('b', TIMESTAMP '2024-02-29 12:30:00')) AS t(id, datetime)"
    ).fetchall()
    con.execute("FROM rasteret_build_from_table(given, name := 'c', href_column := 'href')").fetchall()
    assert rows(con, "SELECT id, year FROM rasteret_collection(c) ORDER BY id") == [{"id": "a", "year": None}, {"id": "b", "year": 2024}]
