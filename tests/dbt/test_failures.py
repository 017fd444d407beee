"""Runs that end badly: a file that is gone, Ctrl-C, a killed process. What was there stays, and the next run does what is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rasteret_sql.sample import data_dir
from tests.dbt.projects import TIMEOUT_S, Project
from tests.servers.ranged import RangeServer

ALL = "SELECT plot_id, plot_hash, scene_id, band, pixels, mean, median, status, scene_hash FROM plot_statistics ORDER BY ALL"


class HoldingServer(RangeServer):
    """Answers while it is free; else whoever asks waits."""

    def __init__(self, root_dir: Path) -> None:
        super().__init__(root_dir)
        self.free = threading.Event()
        self.free.set()

    def _reply(self, method, path, wanted):
        self.free.wait()
        return super()._reply(method, path, wanted)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HoldingServer]:
    (tmp_path / "imagery").mkdir()
    shutil.copytree(data_dir() / "rgbn", tmp_path / "imagery" / "rgbn")
    with HoldingServer(tmp_path / "imagery") as running:
        yield running
        running.free.set()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.02)


def end(process: subprocess.Popen[str]) -> str:
    """What it printed; if a test goes wrong it does not stay behind."""
    try:
        return process.communicate(timeout=TIMEOUT_S)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def stopped(project: Project, server: HoldingServer, how: signal.Signals) -> tuple[int, str]:
    """Exit code and output of a run that gets this signal while it waits for pixels."""
    server.reset()
    server.free.clear()
    process = project.start("run", "--select", "plot_statistics+")
    try:
        wait_until(lambda: server.stats().requests > 0, process)
        process.send_signal(how)
        printed = process.communicate(timeout=TIMEOUT_S)[0]  # no answer has come meanwhile
    finally:
        end(process)
        server.free.set()
    return process.returncode, printed


def test_runs_that_end_badly_change_nothing_and_the_next_one_does_what_is_left(project: Project, server: HoldingServer) -> None:
    scenes = project.seed("scenes")
    project.write_seed("scenes", scenes[:3])
    project.update()
    before = project.rows(ALL)
    project.write_seed("scenes", scenes)
    project.update("--exclude", "plot_statistics+")  # the fourth scene is indexed, its pixels are still to be read

    file = server.root / scenes[3]["file"]  # its file is gone
    kept = file.rename(file.with_suffix(".kept"))
    ran = project.dbt("run", "--select", "plot_statistics+")
    assert ran.code == 1
    assert [ran.results[name]["status"] for name in ("plot_statistics", "ndvi_by_plot_and_date", "ndvi_export")] == ["error", "skipped", "skipped"]
    assert ran.message("plot_statistics").splitlines()[0].startswith("rasteret_sql: http://127.0.0.1:")
    assert "rgbn_20170203.tif" in ran.message("plot_statistics")
    assert project.rows(ALL) == before
    kept.rename(file)

    code, printed = stopped(project, server, signal.SIGINT)
    assert code != 0, printed
    assert project.rows(ALL) == before

    code, _ = stopped(project, server, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert project.rows(ALL) == before

    server.reset()
    project.ran("run", "--select", "plot_statistics+")
    after = project.rows(ALL)
    assert {Path(path).name for path in server.stats().ranges} == {file.name}
    assert [row for row in after if row[2] != "rgbn_20170203"] == before
    assert len(after) == len(before) + 15
