"""Footers: parsed once per version of a file, whatever it is called."""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rasteret_sql.collection import footers
from rasteret_sql.collection.footers import Version, footer


@pytest.fixture
def parsed(monkeypatch) -> list[str]:
    """Files whose footers were parsed."""
    seen: list[str] = []
    original = pq.read_metadata
    monkeypatch.setattr(footers.pq, "read_metadata", lambda file: seen.append(str(file)) or original(file))
    footer.cache_clear()
    return seen


def test_hard_links_share_a_footer(tmp_path, parsed) -> None:
    one, twin = tmp_path / "one.parquet", tmp_path / "twin.parquet"
    pq.write_table(pa.table({"a": [1, 2, 3]}), one)
    os.link(one, twin)
    assert footer(Version.of(str(one))).num_rows == footer(Version.of(str(twin))).num_rows == 3
    assert len(parsed) == 1


def test_another_file_of_that_name_has_its_own(tmp_path, parsed) -> None:
    file, new = tmp_path / "a.parquet", tmp_path / "new.parquet"
    pq.write_table(pa.table({"a": [1, 2, 3]}), file)
    assert footer(Version.of(str(file))).num_rows == 3
    pq.write_table(pa.table({"a": [4, 5]}), new)
    new.replace(file)
    assert footer(Version.of(str(file))).num_rows == 2
    assert len(parsed) == 2


def test_a_file_that_is_not_there(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        Version.of(str(tmp_path / "none.parquet"))
