"""What all tests share: where real rasters lie, a connection with a workspace of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

REAL = Path(os.environ.get("RASTERET_TEST_DATA", Path(__file__).resolve().parent.parent.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real rasters; tests that need it are skipped where it is not."""
    if not REAL.is_dir():
        pytest.skip("no folder of real rasters (RASTERET_TEST_DATA)")
    return REAL


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def con(workspace: Path) -> Iterator["duckdb.DuckDBPyConnection"]:  # noqa: F821, UP037
    """A connection whose collections live in a folder of the test."""
    import rasteret_sql

    with rasteret_sql.connect() as connection:
        connection.execute(f"SET VARIABLE rasteret_workspace = '{workspace}'").fetchall()
        yield connection
