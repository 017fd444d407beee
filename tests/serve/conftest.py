"""One server for many tests, on the sample data: collections ``landsat`` and ``rgbn``; tables ``plots`` and ``points``, which the CLI brought there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import rasteret_sql
from rasteret_sql.sample import PLOTS, POINTS, data_dir, records
from tests.serve.serving import Served, no_cli


@pytest.fixture(scope="session")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace; its records name local files."""
    folder = tmp_path_factory.mktemp("served-workspace")
    for name in ("landsat", "rgbn"):
        rasteret_sql.build_from_table(records(str(data_dir()), name), name=name, workspace=folder, settings={"progress": False})
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, collections: Path) -> Iterator[Served]:
    if why := no_cli():
        pytest.skip(why)
    with Served(tmp_path_factory.mktemp("served"), "--workspace", collections) as running:
        for name, file in (("plots", PLOTS), ("points", POINTS)):
            done = running.cli(f"CREATE TABLE {name} AS FROM '{data_dir() / file}'; CREATE TABLE rasteret_server.{name} AS FROM {name}")
            assert (done.returncode, done.stderr) == (0, "")
        yield running
