"""A workspace with the sample collections, built once; a place for the history of each test."""

from __future__ import annotations

import pytest

import rasteret_sql
from rasteret_sql.sample import data_dir, records

from .terminal import Terminal


@pytest.fixture(scope="session")
def collections(tmp_path_factory):
    """A workspace with ``landsat`` (B2, B3, B4), read from local files."""
    folder = tmp_path_factory.mktemp("collections")
    rasteret_sql.build_from_table(records(str(data_dir())), name="landsat", workspace=folder, settings={"progress": False})
    return folder


@pytest.fixture
def state(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


@pytest.fixture
def shell(collections, state):
    """The shell on a terminal, with the tables ``points`` and ``plots``."""
    opened = []

    def start(*arguments, tables=True, **more):
        terminal = Terminal(*arguments, **{"RASTERET_WORKSPACE": collections, "XDG_STATE_HOME": state, **more})
        opened.append(terminal)
        terminal.__enter__()
        if tables:
            for name in ("points", "plots"):
                terminal.run(f"CREATE TEMP TABLE {name} AS FROM '{data_dir()}/{name}.parquet';")
        return terminal

    yield start
    for terminal in opened:
        terminal.__exit__()
