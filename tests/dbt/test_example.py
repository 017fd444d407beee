"""The example project by the commands of its README, judged by the same SQL without dbt, by exactextract, and by a DuckDB that knows nothing of us."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import shapely

import rasteret_sql
from rasteret_sql.sample import data_dir
from tests.dbt.projects import EXAMPLE, Project, Ran
from tests.servers.ranged import RangeServer
from tests.sql.zones import close, exact

COMMANDS = (("seed",), ("run",), ("test",), ("docs", "generate"))
TO_UTM = pyproj.Transformer.from_crs("OGC:CRS84", "EPSG:32618", always_xy=True).transform


@dataclass(frozen=True)
class Built:
    project: Project
    ran: dict[str, Ran]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """The project after seed, run, test and docs generate."""
    with RangeServer(data_dir()) as server:
        project = Project.example(tmp_path_factory.mktemp("example") / "project", server.url(""))
        yield Built(project, {command[0]: project.ran(*command) for command in COMMANDS})


def test_all_of_it_succeeds(built: Built) -> None:
    assert set(built.ran["run"].results) == {path.stem for path in (EXAMPLE / "models").glob("*.sql")}
    assert {entry["status"] for entry in built.ran["run"].results.values()} == {"success"}
    tests = built.ran["test"].results
    assert {entry["status"] for entry in tests.values()} == {"pass"}
    kinds = {kind for kind in ("not_null", "unique", "relationships", "accepted_values", "assert") if any(name.startswith(kind) for name in tests)}
    assert kinds == {"not_null", "unique", "relationships", "accepted_values", "assert"}
    assert not [line for line in "\n".join(ran.text for ran in built.ran.values()).splitlines() if "WARN" in line.upper() and "WARN=0" not in line]


def test_every_model_is_described_in_the_docs(built: Built) -> None:
    catalog, manifest = (json.loads((built.project.folder / "target" / name).read_text()) for name in ("catalog.json", "manifest.json"))
    assert not catalog["errors"]
    for name, node in manifest["nodes"].items():
        if node["resource_type"] in ("model", "seed"):
            assert node["description"], name
            columns = {column.lower() for column in catalog["nodes"][name]["columns"]}
            assert {column.lower() for column in node["columns"]} <= columns, name
    assert {"mean", "median", "scene_hash"} <= set(catalog["nodes"]["model.plots.plot_statistics"]["columns"])


def test_there_is_a_row_per_plot_scene_and_band(built: Built) -> None:
    plots, scenes = built.project.seed("plots"), built.project.seed("scenes")
    found = {tuple(row) for row in built.project.rows("SELECT plot_id, scene_id, band FROM plot_statistics")}
    assert found == {(int(plot["plot_id"]), scene["scene_id"], band) for plot in plots for scene in scenes for band in ("R", "NIR", "ndvi")}
    assert built.project.rows("SELECT count(*), count(DISTINCT taken), sum(scenes) FROM ndvi_by_plot_and_date") == [[20, 4, 20]]


def test_the_build_reads_headers_only_and_reports_them(built: Built) -> None:
    (row,) = built.project.rows("SELECT collection, records, added, unchanged, failed, requests FROM imagery")
    assert row == ["imagery", 4, 4, 0, 0, 4]


def test_the_numbers_are_those_of_the_same_sql_without_dbt(built: Built, con: Any) -> None:
    con.execute(f"SET VARIABLE rasteret_workspace = '{built.project.folder / 'workspace'}'").fetchall()
    con.execute(f"CREATE TABLE plots AS FROM read_csv('{built.project.folder / 'seeds' / 'plots.csv'}')").fetchall()
    plain = con.execute(
        "SELECT plot_id, record_id, band, count, mean, median FROM rasteret_zonal(imagery, plots, bands := ['R', 'NIR'], geometry := 'wkt', "
        "expressions := {'ndvi': '(NIR - R) / (NIR + R)'}, stats := ['count', 'mean', 'median']) ORDER BY ALL"
    ).fetchall()
    with_dbt = built.project.rows("SELECT plot_id, scene_id, band, pixels, mean, median FROM plot_statistics ORDER BY ALL")
    assert len(plain) == 60
    assert [tuple(row) for row in with_dbt] == plain


def test_the_numbers_are_those_of_exactextract(built: Built) -> None:
    found = {
        (plot, scene, band): values
        for plot, scene, band, *values in built.project.rows("SELECT plot_id, scene_id, band, pixels, mean, median FROM plot_statistics")
    }
    for scene in built.project.seed("scenes"):
        with rasterio.open(data_dir() / scene["file"]) as source:
            red, infrared = source.read(1).astype(float), source.read(4).astype(float)
            bounds = source.bounds
        with np.errstate(invalid="ignore"):
            index = (infrared - red) / (infrared + red)
        for plot in built.project.seed("plots"):
            outline = shapely.transform(shapely.segmentize(shapely.from_wkt(plot["wkt"]), 1e-4), TO_UTM, interleaved=False)
            for band, values in {"R": red, "NIR": infrared, "ndvi": index}.items():
                theirs = exact(values, bounds, outline, ["count", "mean", "median"])
                for ours, name in zip(found[int(plot["plot_id"]), scene["scene_id"], band], ("count", "mean", "median"), strict=True):
                    close(ours, theirs[name], f"{plot['label']} {scene['scene_id']} {band} {name}")


def test_the_file_holds_the_same_rows_as_the_table(built: Built, con: Any) -> None:
    exported = con.execute(
        f"SELECT plot_id, label, taken::VARCHAR, ndvi, pixels, scenes::INTEGER FROM '{built.project.folder / 'ndvi_by_plot_and_date.parquet'}' ORDER BY ALL"
    ).fetchall()
    assert len(exported) == 20
    assert exported == [
        tuple(row)
        for row in built.project.rows("SELECT plot_id, label, taken::VARCHAR, ndvi, pixels, scenes::INTEGER FROM ndvi_by_plot_and_date ORDER BY ALL")
    ]


def test_nothing_of_ours_is_left_in_the_database(built: Built) -> None:
    functions, catalogs, tables, views, numbers, through_view = built.project.ask(
        "SELECT function_name FROM duckdb_functions() WHERE function_name ILIKE '%rasteret%'",
        "SELECT database_name FROM duckdb_databases() WHERE NOT internal",
        "SELECT table_name FROM duckdb_tables() ORDER BY ALL",
        "SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY ALL",
        "SELECT count(*) FROM plot_statistics WHERE mean IS NOT NULL",
        "SELECT count(*) FROM imagery_scenes",
    )
    assert functions == []
    assert catalogs == [["plots"]]
    assert tables == [[name] for name in ("imagery", "ndvi_by_plot_and_date", "plot_statistics", "plots", "scenes", "stg_plots", "stg_scenes")]
    assert views == [["imagery_scenes"], ["ndvi_export"]]
    assert numbers == [[60]]
    assert through_view.startswith("Catalog Error: Table Function with name rasteret_collection does not exist")
    assert built.project.ask("SELECT count(*) FROM imagery_scenes", registered=True) == [[[4]]]


def test_the_readme_of_the_example_gives_these_commands() -> None:
    readme = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    for command in ("dbt build", "dbt docs generate"):
        assert command in readme
    documented = (Path(rasteret_sql.__file__).parent.parent / "docs" / "dbt.md").read_text(encoding="utf-8")
    for model in (EXAMPLE / "models").glob("*.sql"):
        assert model.stem in readme + documented, model.stem
