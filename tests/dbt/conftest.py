"""dbt, and imagery on a server that counts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rasteret_sql.sample import data_dir
from tests.dbt.projects import Project, missing
from tests.servers.ranged import RangeServer


@pytest.fixture(scope="session", autouse=True)
def _needs_dbt() -> None:
    """Skipped where dbt is not installed; never where CI says that it must be."""
    if reason := missing():
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RangeServer]:
    """The sample's imagery, in a folder of the test."""
    (tmp_path / "imagery").mkdir()
    shutil.copytree(data_dir() / "rgbn", tmp_path / "imagery" / "rgbn")
    with RangeServer(tmp_path / "imagery") as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, server: RangeServer) -> Project:
    """A copy of the example project, not run yet."""
    return Project.example(tmp_path / "project", server.url(""))
