"""What a run reads: nothing when nothing is new, a new scene's pixels under all plots, a changed plot's pixels in all scenes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import shapely
import shapely.affinity

import rasteret_sql
from tests.dbt.projects import Project
from tests.servers.ranged import RangeServer

ALL = "SELECT plot_id, plot_hash, scene_id, band, pixels, mean, median, status, scene_hash FROM plot_statistics ORDER BY ALL"


def planned(project: Project, plots: list[int], scenes: list[str]) -> int:
    """Bytes that these plots need of these scenes, as ``rasteret_plan`` foresees it; nothing is read."""
    with rasteret_sql.connect() as con:
        con.execute(f"SET VARIABLE rasteret_workspace = '{project.folder / 'workspace'}'").fetchall()
        con.execute(f"CREATE TABLE wanted AS FROM read_csv('{project.folder / 'seeds' / 'plots.csv'}') WHERE plot_id IN {(*plots, -1)}").fetchall()
        con.execute(f"CREATE TABLE these AS FROM rasteret_collection(imagery) WHERE id IN {(*scenes, '')}").fetchall()
        ((size,),) = con.execute(
            "SELECT bytes FROM rasteret_plan(these, wanted, bands := ['R', 'NIR'], geometry := 'wkt', pixels := 'all_touched') WHERE record_id = 'total'"
        ).fetchall()
    return size


def as_planned(size: int, plan: int) -> bool:
    """Small gaps between tiles are fetched along."""
    return plan <= size <= 1.02 * plan


def of(rows: list[list[Any]], *, plot: int | None = None, scene: str | None = None) -> list[list[Any]]:
    return [row for row in rows if plot in (None, row[0]) and scene in (None, row[2])]


def fetched(server: RangeServer) -> tuple[set[str], int]:
    """Files asked for since the last reset, and bytes sent."""
    stats = server.stats()
    return {Path(path).stem for path in stats.ranges}, stats.bytes


def test_only_what_is_new_is_read(project: Project, server: RangeServer) -> None:
    scenes = project.seed("scenes")
    names = [scene["scene_id"] for scene in scenes]
    project.write_seed("scenes", scenes[:3])
    project.update()
    first = project.rows(ALL)
    assert len(first) == 5 * 3 * 3

    server.reset()  # nothing new
    project.update()
    assert server.stats().requests == 0
    assert project.rows(ALL) == first
    assert project.rows("SELECT added, unchanged, requests FROM imagery") == [[0, 3, 0]]

    server.reset()  # a new scene
    project.write_seed("scenes", scenes)
    project.update()
    header = project.rows("SELECT bytes FROM imagery")[0][0]
    files, size = fetched(server)
    assert files == {names[3]}
    assert as_planned(size - header, planned(project, [1, 2, 3, 4, 5], names[3:]))
    second = project.rows(ALL)
    assert [row for row in second if row[2] != names[3]] == first
    assert len(of(second, scene=names[3])) == 15

    server.reset()  # a changed plot, and one with another label only
    plots = project.seed("plots")
    plots[1]["wkt"] = shapely.affinity.translate(shapely.from_wkt(plots[1]["wkt"]), 0.0002, 0).wkt
    plots[2]["label"] = "orchard"
    project.write_seed("plots", plots)
    project.update()
    files, size = fetched(server)
    assert files == set(names)
    assert as_planned(size, planned(project, [2], names))
    assert size < planned(project, [1, 2, 3, 4, 5], names) / 2
    third = project.rows(ALL)
    assert [row for row in third if row[0] != 2] == [row for row in second if row[0] != 2]
    assert len(of(third, plot=2)) == len(of(second, plot=2)) == 12
    assert not {row[1] for row in of(third, plot=2)} & {row[1] for row in of(second, plot=2)}
    assert project.rows("SELECT DISTINCT label FROM ndvi_by_plot_and_date WHERE plot_id = 3") == [["orchard"]]


def test_what_is_gone_goes(project: Project, server: RangeServer) -> None:
    plots, scenes = project.seed("plots"), project.seed("scenes")[:2]
    project.write_seed("scenes", scenes)
    project.update()
    before = project.rows(ALL)
    plots[0]["wkt"] = shapely.affinity.translate(shapely.from_wkt(plots[0]["wkt"]), 5, 5).wkt  # meets no scene any more
    project.write_seed("plots", plots[:4])
    server.reset()
    project.update()
    assert server.stats().requests == 0
    assert project.rows(ALL) == [row for row in before if row[0] in (2, 3, 4)]
    project.write_seed("scenes", scenes[1:])
    project.update()
    assert server.stats().requests == 0
    assert project.rows(ALL) == [row for row in before if row[0] in (2, 3, 4) and row[2] == scenes[1]["scene_id"]]


def test_a_file_that_was_exchanged_is_read_again_once_the_index_knows(project: Project, server: RangeServer) -> None:
    scenes = project.seed("scenes")[:2]
    project.write_seed("scenes", scenes)
    project.update()
    before = project.rows(ALL)
    file = server.root / scenes[0]["file"]
    shutil.copy(server.root / "rgbn/rgbn_20170203.tif", file)
    os.utime(file, (1_700_000_000, 1_700_000_000))
    server.reset()
    project.update("--full-refresh", "--select", "imagery")
    project.update("--exclude", "imagery")
    header = project.rows("SELECT bytes FROM imagery")[0][0]
    assert as_planned(fetched(server)[1] - header, planned(project, [1, 2, 3, 4, 5], [scenes[0]["scene_id"]]))
    after = project.rows(ALL)
    changed = scenes[0]["scene_id"]
    assert [row for row in after if row[2] != changed] == [row for row in before if row[2] != changed]
    assert [row[:8] for row in of(after, scene=changed)] == [row[:8] for row in of(before, scene=changed)], "the sample's four images are one"
    assert {row[8] for row in of(after, scene=changed)}.isdisjoint(row[8] for row in of(before, scene=changed))


def test_a_full_refresh_is_what_one_run_would_have_made(project: Project, server: RangeServer) -> None:
    scenes = project.seed("scenes")
    project.write_seed("scenes", scenes[:1])
    project.update()
    project.write_seed("scenes", scenes)
    project.update()
    in_steps = project.rows(ALL)
    project.update("--full-refresh")
    assert project.rows(ALL) == in_steps
