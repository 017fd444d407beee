"""The soak of benchmarks/soak.py for a quarter of a minute, and that it notices what it is there to notice."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rasteret_sql
from benchmarks.soak import PIECES, Soak, Watch, complaints
from benchmarks.soak_queries import Counts, Questions
from benchmarks.soak_world import World, make_world

ROOT = Path(__file__).resolve().parents[2]


def test_a_short_soak_is_good(tmp_path: Path) -> None:
    """Without stalls, which take 15 s each; with four times as many faults instead."""
    out = tmp_path / "soak.json"
    words = ["--minutes", "0.2", "--rate", "0.2", "--seed", "4", "--without", "stall", "--out", str(out)]
    done = subprocess.run([sys.executable, "-m", "benchmarks.soak", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert out.exists(), done.stderr[-2000:]
    found = json.loads(out.read_text())
    assert complaints(found, growth=False) == []
    assert sum(found["queries"].values()) >= 5
    assert found["values_compared"] >= 500
    assert found["server"]["failed"] >= 5
    assert found["server"]["failed"] > 0.08 * found["server"]["requests"]
    assert len(found["server"]["by_kind"]) >= 3
    assert found["growth"]["threads"]["most"] < 80
    assert found["growth"]["sockets"]["most"] < 150


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, World]:
    folder = tmp_path_factory.mktemp("soak")
    return folder, make_world(folder, 1)


def asked(folder: Path, built_from: World, judged_by: World, kinds: tuple[str, ...]) -> dict[str, Counts]:
    """Some queries of each kind on the files themselves."""
    found = {}
    with rasteret_sql.connect() as con:
        soak = Soak(folder, str(folder), built_from, 1, 0.0)
        soak.prepare(con)
        soak.build_all(con, "soak")
        for kind in kinds:
            found[kind] = Counts()
            questions = Questions(con, judged_by, "soak", 3, found[kind])
            for _ in range(4):
                questions.kinds[kind](", on_error := 'raise'")
    return found


def test_without_faults_all_is_right(world: tuple[Path, World]) -> None:
    folder, right = world
    for kind, counts in asked(folder, right, right, ("sample", "latest", "read", "pixels", "zonal", "plan")).items():
        assert (counts.wrong, counts.nulls, counts.unclean) == ([], [], []), kind
        assert counts.values >= 4, kind


def test_other_pixels_are_noticed(world: tuple[Path, World]) -> None:
    """The truth is changed here: one digital number more in every second column, a thousandth more in the statistics."""
    folder, right = world
    scenes = []
    for scene in right.scenes:
        pixels = {band: values.copy() for band, values in scene.pixels.items()}
        for values in pixels.values():
            values[:, ::2] = np.where(values[:, ::2] > 0, values[:, ::2] + 1, 0)
        scenes.append(dataclasses.replace(scene, pixels=pixels))
    statistics = {key: (values[0], *(one and one * 1.001 for one in values[1:])) for key, values in right.statistics.items()}
    changed = dataclasses.replace(right, scenes=scenes, statistics=statistics)
    for kind, counts in asked(folder, right, changed, ("sample", "latest", "read", "pixels", "zonal")).items():
        assert counts.wrong, kind
        assert all(said.startswith(f"{kind}: ") for said in counts.wrong), kind


def test_rows_are_judged() -> None:
    counts = Counts()
    counts.expect("x", (1,), "ok", None, [(5, 5), (7, 7)])
    counts.expect("x", (2,), "nodata", None, [(None, None)])
    counts.expect("x", (3,), "error", "http://host/a.tif: no answer", [(None, 5), (7, 7)])
    assert (counts.wrong, counts.nulls, counts.unclean, counts.values, counts.rows_with_error) == ([], [], [], 3, 1)
    counts.expect("x", (4,), "ok", None, [(None, 5)])
    counts.expect("x", (5,), "ok", None, [(6, 5)])
    counts.expect("x", (6,), "nodata", None, [(5, 5)])
    counts.expect("x", (7,), "error", None, [(None, 5)])
    counts.expect("x", (8,), "error", "http://host/a.tif: no answer", [(6, 5)])
    counts.expect_keys("x", [1, 2], [1, 3])
    assert [len(counts.nulls), len(counts.wrong), len(counts.unclean)] == [1, 4, 1]


def test_growth_is_noticed() -> None:
    seconds = [float(second) for second in range(600)]
    flat = [100.0 + second % 3 for second in range(600)]
    watch = Watch(seconds, flat, [20] * 600, [9] * 600, [5] * 600)
    found = {name: [] for name in ("wrong", "unexplained_nulls", "unclean_errors", "hangs", "broken_workers")}
    assert complaints(found | {"growth": {name: watch.growth(name) for name in PIECES}}) == []
    rising = Watch(seconds, [100 + second * 0.01 for second in seconds], [20 + int(second) // 100 for second in seconds], [9] * 600, [5] * 600)
    said = complaints(found | {"growth": {name: rising.growth(name) for name in PIECES}})
    assert [line.split()[0] for line in said] == ["rss_mb", "threads"]
    noise = np.random.default_rng(1).normal(0, 20, 600)
    for gain, wanted in ((0.0, []), (0.2, ["tasks"])):
        restless = Watch(seconds, flat, [20] * 600, [9] * 600, [int(40 + gain * second + noise[int(second)]) for second in seconds])
        said = complaints(found | {"growth": {name: restless.growth(name) for name in PIECES}})
        assert [line.split()[0] for line in said] == wanted, said
