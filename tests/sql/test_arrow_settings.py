"""DuckDB's settings for Arrow decide in which types it hands columns to functions: the answers stay the same."""

from __future__ import annotations

from typing import Any

import pytest

from rasteret_sql.sample import data_dir, records

READS = {
    "sample": "FROM rasteret_sample(landsat, points, bands := ['B3', 'B4'], mask := 'B4 > 6000')",
    "nearest": "FROM rasteret_sample(landsat, dated, bands := ['B4'], match := 'nearest', time_column := 'at')",
    "expression": "FROM rasteret_zonal(landsat, plots, expressions := {'nd': '(B4 - B3) / (B4 + B3)'}, stats := ['mean', 'values', 'frac'], per := 'all')",
    "read": "FROM rasteret_read(landsat, plots, bands := ['B4'])",
    "pixels": "FROM rasteret_pixels(landsat, plots, bands := ['B4'])",
    "plan": "FROM rasteret_plan(landsat, plots, bands := ['B4'])",
    "bands": "FROM rasteret_bands(landsat)",
    "relation": "WITH half AS (FROM rasteret_collection(landsat) WHERE id LIKE '%077%') FROM rasteret_read(half, plots, bands := ['B4'])",
    "scalars": """SELECT p.id, s.id, rasteret_sample(s, 'POINT (-54.6 -25.4)', 'B4'), rasteret_read(s, p.geom, 'B4'), rasteret_zonal(s, p.geom, 'B4', w.stat)
        FROM plots AS p, rasteret_collection(landsat) AS s, (VALUES ('max'), ('count')) AS w(stat)""",
    "value": "SELECT rasteret_value(landsat, 'POINT (-54.6 -25.4)', 'B4')",
    "build": "SELECT records, failed FROM rasteret_build_from_table(scenes, name := 'again', force := true)",
}
SETTINGS = {
    "version": {"arrow_output_version": "1.5"},
    "views": {"arrow_output_version": "1.5", "produce_arrow_string_view": True, "arrow_output_list_view": True},
    "large": {"arrow_large_buffer_size": True},
    "lossless": {"arrow_lossless_conversion": True},
}


@pytest.fixture
def world(con) -> Any:
    folder = data_dir()
    con.register("given", records(str(folder)))
    con.execute("CREATE TABLE scenes AS FROM given").fetchall()
    con.execute("FROM rasteret_build_from_table(scenes, name := 'landsat')").fetchall()
    for name in ("points", "plots"):
        con.execute(f"CREATE TABLE {name} AS FROM '{folder}/{name}.parquet'").fetchall()
    con.execute("CREATE TABLE dated AS SELECT *, TIMESTAMP '2020-05-18' AS at FROM points").fetchall()
    return con


def answers(con: Any) -> dict[str, list[str]]:
    return {name: sorted(map(repr, con.execute(sql).fetchall())) for name, sql in READS.items()}


@pytest.mark.parametrize("name", SETTINGS)
def test_answers_do_not_depend_on_it(world, name: str) -> None:
    expected = answers(world)
    assert all(expected.values())
    for setting, value in SETTINGS[name].items():
        world.execute(f"SET {setting} = '{value}'").fetchall()
    assert answers(world) == expected
