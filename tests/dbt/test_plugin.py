"""The plugin by itself: what its configuration may hold, what it makes of the profile's own settings, and what is said without dbt."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rasteret_sql.settings import FIELDS
from tests.dbt.projects import Project, python

CONFIGS: dict[str, dict[str, Any]] = {
    "none": {},
    "all of it": {
        "workspace": "here",
        "max_bytes": 10_000_000,
        "max_concurrency": "12",
        "cache_bytes": 0,
        "memory_bytes": 2_000_000,
        "timeout_s": 5,
        "progress": "true",
        "s3_unsigned": ["bucket-a", "bucket-b"],
        "stac_endpoints": {"earthsearch": "https://mirror.example/v1"},
    },
    "empty value": {"max_concurrency": None},
    "near": {"max_concurency": 8},
    "memory": {"memory": "1GB"},
    "prefixed": {"rasteret_workspace": "here"},
    "unlike anything": {"colour": "red"},
    "no number": {"max_concurrency": "lots"},
    "too small": {"max_concurrency": 0},
    "no url": {"s3_endpoint": "ftp://x"},
    "secret in url": {"s3_endpoint": "https://user:hidden@host"},
    "not ours": {"origin": "x"},
}
WRONG = {
    "near": "unknown setting 'max_concurency'; did you mean 'max_concurrency'?; settings: workspace, ",
    "memory": "unknown setting 'memory'; did you mean 'memory_bytes'?",
    "prefixed": "unknown setting 'rasteret_workspace'; did you mean 'workspace'?",
    "unlike anything": "unknown setting 'colour'; settings: workspace, ",
    "no number": "rasteret_max_concurrency = 'lots' is not a whole number",
    "too small": "rasteret_max_concurrency = 0 is too small; the least is 1",
    "no url": "rasteret_s3_endpoint = 'ftp://x' is not an http(s) URL",
    "secret in url": "rasteret_s3_endpoint = 'https://host' is not an http(s) URL",
    "not ours": "unknown setting 'origin'",
}
TRY = """
import json, os, sys
import duckdb
from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.adapters.duckdb.environments import Environment
from dbt_common.exceptions import DbtRuntimeError
settings, environ, configs = json.loads(sys.stdin.read())
os.environ.update(environ)
answers = {}
for name, config in configs.items():
    creds = DuckDBCredentials.from_dict({
        "type": "duckdb", "schema": "main", "database": "memory", "settings": settings,
        "plugins": [{"module": "rasteret_sql.dbt", **({"config": config} if config else {})}],
    })
    try:
        plugins = Environment.initialize_plugins(creds)
        with duckdb.connect() as con:
            for plugin in plugins.values():
                plugin.configure_connection(con)
            with con.cursor() as cursor:
                for plugin in plugins.values():
                    plugin.configure_cursor(cursor)
                answers[name] = dict(cursor.execute("SELECT replace(name, 'rasteret_', ''), value::VARCHAR FROM rasteret_settings()").fetchall())
    except DbtRuntimeError as error:
        answers[name] = str(error.msg)
print(json.dumps(answers))
"""


def tried(configs: dict[str, dict[str, Any]], settings: dict[str, Any] | None = None, environ: dict[str, str] | None = None) -> dict[str, Any]:
    """Per configuration the settings in force on a cursor, or the error."""
    return dict(json.loads(python(TRY, json.dumps([settings or {}, environ or {}, configs]))))


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    return tried(CONFIGS)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_in_one_line(name: str, answers: dict[str, Any]) -> None:
    assert answers[name].startswith(f"plugin rasteret_sql.dbt: {WRONG[name]}")
    assert "\n" not in answers[name]
    assert "hidden" not in answers[name]


def test_settings_reach_cursors(answers: dict[str, Any]) -> None:
    found = answers["all of it"]
    assert {name: found[name] for name in CONFIGS["all of it"]} == {
        "workspace": "here",
        "max_bytes": "10000000",
        "max_concurrency": "12",
        "cache_bytes": "0",
        "memory_bytes": "2000000",
        "timeout_s": "5.0",
        "progress": "True",
        "s3_unsigned": "bucket-a,bucket-b",
        "stac_endpoints": "earthsearch=https://mirror.example/v1",
    }


def test_progress_is_off_unless_asked_for(answers: dict[str, Any]) -> None:
    assert answers["none"]["progress"] == "False"
    assert tried({"none": {}}, environ={"RASTERET_PROGRESS": "true"})["none"]["progress"] == "True"
    assert tried({"off": {"progress": False}}, environ={"RASTERET_PROGRESS": "true"})["off"]["progress"] == "False"


def test_other_settings_are_the_defaults(answers: dict[str, Any]) -> None:
    assert set(answers["none"]) == set(FIELDS)
    for name in ("max_concurrency", "memory_bytes"):
        assert answers["none"][name] == answers["empty value"][name] == str(FIELDS[name].default)


def test_the_environment_counts_where_the_profile_says_nothing() -> None:
    found = tried({"none": {}, "said": {"max_concurrency": 3}}, environ={"RASTERET_MAX_CONCURRENCY": "5"})
    assert (found["none"]["max_concurrency"], found["said"]["max_concurrency"]) == ("5", "3")
    wrong = tried({"none": {}}, environ={"RASTERET_MAX_CONCURRENCY": "five"})
    assert wrong["none"].startswith("plugin rasteret_sql.dbt: RASTERET_MAX_CONCURRENCY = 'five' is not a whole number")


def test_settings_of_duckdb_are_not_taken_for_ours() -> None:
    """dbt-duckdb mixes the profile's ``settings`` into the plugin's configuration."""
    found = tried({"none": {}, "own": {"s3_region": "eu-central-1"}}, settings={"memory_limit": "1GB", "s3_region": "us-west-2"})
    assert (found["none"]["s3_region"], found["own"]["s3_region"]) == ("", "eu-central-1")


def test_a_database_file_called_like_our_catalog_is_left_alone(tmp_path: Path) -> None:
    code = TRY.replace('"database": "memory"', '"database": "rasteret", "path": "rasteret.duckdb"').replace(
        "duckdb.connect()", "duckdb.connect('rasteret.duckdb')"
    )
    assert code.count("rasteret.duckdb") == 2
    found = json.loads(python(code, json.dumps([{}, {}, {"said": {"max_concurrency": 3}}]), cwd=tmp_path))
    assert found["said"]["max_concurrency"] == "3"
    left = "import duckdb; print(duckdb.connect('rasteret.duckdb').execute(\"SELECT count(*) FROM duckdb_functions() WHERE function_name ILIKE '%rasteret%'\").fetchall())"
    assert python(left, cwd=tmp_path).strip() == "[(0,)]"


def test_dbt_shows_a_wrong_setting_without_a_stack(project: Project) -> None:
    profile = (project.folder / "profiles.yml").read_text(encoding="utf-8")
    project.write("profiles.yml", profile.replace("max_concurrency: 16", "max_concurency: 16"))
    ran = project.dbt("run")
    assert ran.code == 2
    (line,) = [line.strip() for line in ran.text.splitlines() if "max_concurency" in line]
    assert line.startswith("plugin rasteret_sql.dbt: unknown setting 'max_concurency'; did you mean 'max_concurrency'?")
    assert "Traceback" not in ran.text


def test_without_dbt_the_line_to_type_is_said() -> None:
    code = "import sys; sys.modules['dbt'] = None; import rasteret_sql.dbt"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.splitlines()[-1].startswith("ImportError: rasteret_sql.dbt is a plugin of dbt-duckdb")
    assert done.stderr.rstrip().endswith("pip install 'rasteret-sql[dbt]'")
