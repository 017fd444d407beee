"""The thread of PROJ and the processes that are forked beside it."""

from __future__ import annotations

import os
import signal
import time

import pytest

from rasteret_sql.raster import proj
from rasteret_sql.raster.crs import transform_points


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_child_is_not_forked_while_something_is_begun() -> None:
    """It would find PROJ's locks as they were."""
    done: list[float] = []
    proj.begin_in_proj_thread(lambda: (time.sleep(0.3), done.append(time.monotonic())))
    assert not done
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        x, _ = transform_points([15.0], [47.0], "OGC:CRS84", "EPSG:32633")
        os._exit(0 if done and abs(x[0] - 500000) < 1 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_what_is_begun_and_fails_is_lost(capfd) -> None:
    proj.begin_in_proj_thread(lambda: 1 // 0)
    x, _ = transform_points([15.0], [47.0], "OGC:CRS84", "EPSG:32633")
    assert x[0] == pytest.approx(500000)
    assert capfd.readouterr().err == ""


def test_without_threads_nothing_is_begun(monkeypatch) -> None:
    """An interpreter that ends has none."""

    def refuse(*_: object) -> None:
        raise RuntimeError("cannot schedule new futures after shutdown")

    monkeypatch.setattr(proj._thread()._executor, "submit", refuse)
    proj.begin_in_proj_thread(print)
