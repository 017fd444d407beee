"""Kinds of models, four at once: what they see of us, what they answer, what they leave, and how they fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rasteret_sql.sample import data_dir
from tests.dbt.projects import Project
from tests.servers.ranged import RangeServer

PROJECT = "{name: kinds, version: '1.0', config-version: 2, profile: kinds, models: {kinds: {+materialized: table}}}\n"
PROFILE = """
kinds:
  target: dev
  outputs:
    dev:
      type: duckdb
      path: kinds.duckdb
      threads: 4
      settings: {preserve_insertion_order: true}
      plugins:
        - module: rasteret_sql.dbt
          config: {workspace: workspace, max_concurrency: 7, timeout_s: 99.5}
"""
ZONES = "select id, record_id, band, mean from rasteret_zonal({{ ref('scenes') }}, {{ ref('plots') }}, bands := ['NIR'], stats := ['mean'])"
MODELS = {
    "plots": "select id, label, geom from '{data}/rgbn_plots.parquet'",
    "records": "select '{url}/rgbn/rgbn_20160101.tif' as href, 'one' as id union all select '{url}/rgbn/rgbn_20160401.tif', 'two'",
    "built": "with records as (select * from {{ ref('records') }}) select * from rasteret_build_from_table(records, name := 'kinds', "
    "href_column := 'href', band_index_map := {'R': 0, 'NIR': 3})",
    "scenes": "-- depends_on: {{ ref('built') }}\n{{ config(materialized='view') }} select * from rasteret_collection('kinds')",
    **{f"at_once_{i}": ZONES for i in range(8)},
    "a_view": "{{ config(materialized='view') }} " + ZONES,
    "an_ephemeral": "{{ config(materialized='ephemeral') }} select * from {{ ref('scenes') }} where id = 'two'",
    "over_ephemeral": "with scenes as (select * from {{ ref('an_ephemeral') }}), plots as (select * from {{ ref('plots') }}) "
    "select id, record_id, mean from rasteret_zonal(scenes, plots, bands := ['NIR'], stats := ['mean'])",
    "a_file": "{{ config(materialized='external', location='zones.parquet') }} " + ZONES,
    "points": "{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key=['id', 'record_id']) }} "
    "with here as (select id, st_x, st_y from (values (1, -72.2034, 18.5213)) as t(id, st_x, st_y)) "
    "select id, record_id, NIR from rasteret_sample({{ ref('scenes') }}, here, bands := ['NIR'], x := 'st_x', y := 'st_y')",
    "one_value": "select rasteret_value('kinds', 'POINT(-72.2034 18.5213)', 'NIR') as value from {{ ref('scenes') }} limit 1",
    "in_force": "select replace(name, 'rasteret_', '') as name, value::varchar as value from rasteret_settings()",
    "wrong_statistic": "select * from rasteret_zonal({{ ref('scenes') }}, {{ ref('plots') }}, bands := ['NIR'], stats := ['maen'])",
    "wrong_band": "-- {{ ref('scenes') }}\nselect * from rasteret_zonal(kinds, {{ ref('plots') }}, bands := ['NRI'])",
    "lost_file": "with lost as (select * replace (struct_update(assets, NIR := {'href': '{url}/rgbn/gone.tif?signature=secret', 'band_index': 3}) as assets) "
    "from {{ ref('scenes') }}) select * from rasteret_read(lost, {{ ref('plots') }}, bands := ['NIR'])",
    "not_ours": "select 'text'::integer as number from {{ ref('scenes') }}",
}
WRONG = ("wrong_statistic", "wrong_band", "lost_file", "not_ours")
PYTHON_MODEL = """
def model(dbt, session):
    dbt.config(materialized="table")
    dbt.ref("scenes")
    return session.sql("SELECT count(*) AS records FROM rasteret_collection('kinds')")
"""


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Any]]:
    """A project with a model of each kind, run once; the incremental one twice."""
    folder = tmp_path_factory.mktemp("kinds") / "project"
    project = Project(folder)
    with RangeServer(data_dir()) as server:
        project.write("dbt_project.yml", PROJECT)
        project.write("profiles.yml", PROFILE)
        project.write("models/in_python.py", PYTHON_MODEL)
        for name, text in MODELS.items():
            project.write(f"models/{name}.sql", text.replace("{data}", str(data_dir())).replace("{url}", server.url("").rstrip("/")))
        ran = project.dbt("run")
        project.ran("run", "--select", "points")
        yield project, ran


def test_all_but_the_wrong_ones_succeed(kinds: tuple[Project, Any]) -> None:
    _, ran = kinds
    assert {name for name, entry in ran.results.items() if entry["status"] != "success"} == set(WRONG), ran.text
    assert len({entry["thread_id"] for entry in ran.results.values()}) == 4


def test_every_kind_answers_alike(kinds: tuple[Project, Any], con: Any) -> None:
    project, _ = kinds
    con.execute(f"SET VARIABLE rasteret_workspace = '{project.folder / 'workspace'}'").fetchall()
    con.execute(f"CREATE TABLE plots AS FROM '{data_dir()}/rgbn_plots.parquet'").fetchall()
    plain = con.execute("SELECT id, record_id, band, mean FROM rasteret_zonal(kinds, plots, bands := ['NIR'], stats := ['mean']) ORDER BY ALL")
    expected = [list(row) for row in plain.fetchall()]
    assert len(expected) == 10
    names = [*(f"at_once_{i}" for i in range(8)), "a_view", "a_file"]
    answers = project.ask(*(f"FROM {name} ORDER BY ALL" for name in names), database="kinds.duckdb", registered=True)
    assert dict(zip(names, answers, strict=True)) == dict.fromkeys(names, expected)
    over = project.rows("FROM over_ephemeral ORDER BY ALL", "kinds.duckdb")
    assert over == [[plot, record, mean] for plot, record, _, mean in expected if record == "two"]


def test_points_python_and_scalars(kinds: tuple[Project, Any], con: Any) -> None:
    project, _ = kinds
    con.execute(f"SET VARIABLE rasteret_workspace = '{project.folder / 'workspace'}'").fetchall()
    ((value,),) = con.execute("SELECT rasteret_value('kinds', 'POINT(-72.2034 18.5213)', 'NIR')").fetchall()
    points, one, counted = project.ask("FROM points ORDER BY ALL", "FROM one_value", "FROM in_python", database="kinds.duckdb")
    assert points == [[1, "one", value], [1, "two", value]]
    assert one == [[value]]
    assert counted == [[2]]


def test_the_settings_of_the_profile_are_in_force_in_every_model(kinds: tuple[Project, Any]) -> None:
    found = dict(kinds[0].rows("FROM in_force", "kinds.duckdb"))
    assert (found["workspace"], found["max_concurrency"], float(found["timeout_s"]), found["progress"].lower()) == ("workspace", "7", 99.5, "false")


def test_a_view_opens_where_the_functions_are_and_only_there(kinds: tuple[Project, Any]) -> None:
    project, _ = kinds
    (bare,) = project.ask("FROM a_view", database="kinds.duckdb")
    assert bare.startswith("Catalog Error: Table Function with name rasteret_zonal does not exist")
    tables, functions = project.ask(
        "SELECT count(*) FROM a_file", "SELECT function_name FROM duckdb_functions() WHERE function_name ILIKE '%rasteret%'", database="kinds.duckdb"
    )
    assert (tables, functions) == ([[10]], [])


def test_errors_of_ours_are_one_line(kinds: tuple[Project, Any]) -> None:
    _, ran = kinds
    messages = {name: ran.message(name).split("\n\n")[0].split("\n") for name in WRONG[:3]}
    assert all(len([line for line in lines if "compiled code" not in line]) == 1 for lines in messages.values()), messages
    assert messages["wrong_statistic"][0].startswith("rasteret_zonal: unknown statistic 'maen'; did you mean 'mean'?")
    assert messages["wrong_band"][0].startswith("rasteret_zonal: ")
    assert "did you mean 'NIR'?" in messages["wrong_band"][0]
    assert messages["lost_file"][0].startswith("rasteret_sql: http://127.0.0.1:")
    assert "gone.tif" in messages["lost_file"][0]
    assert "404" in messages["lost_file"][0]
    for name in WRONG[:3]:
        assert "At:" not in ran.results[name]["message"]
        assert "LINE" not in ran.results[name]["message"]
    assert "secret" not in messages["lost_file"][0]


def test_errors_of_others_are_left_alone(kinds: tuple[Project, Any]) -> None:
    assert "Conversion Error: Could not convert string 'text' to INT32" in kinds[1].message("not_ours")


def test_the_project_says_nothing_of_ours_in_its_manifest(kinds: tuple[Project, Any]) -> None:
    """dbt lists the relations of the user's database; the catalog that holds our macros is none of them."""
    project, _ = kinds
    project.ran("docs", "generate")
    catalog = json.loads((Path(project.folder) / "target" / "catalog.json").read_text())
    assert not catalog["errors"]
    assert {node["metadata"]["database"] for node in catalog["nodes"].values()} == {"kinds"}
