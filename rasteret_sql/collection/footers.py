"""Footers of Parquet files: parsed once while a file stays as it is. That of a collection names some sixty columns a band, and takes 2 ms."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Self

import pyarrow.parquet as pq

from rasteret_sql.collection.remote import is_remote_file, opened


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a file. Hard links of a file have the same; files at a URL have a name for each version."""

    identity: tuple[object, ...]
    file: str = field(compare=False)

    @classmethod
    def of(cls, file: str) -> Self:
        """That of now. Raises OSError where there is no such file."""
        if is_remote_file(file):
            return cls((file,), file)
        status = Path(file).stat()
        return cls((status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size), file)


@lru_cache(maxsize=64)
def footer(version: Version) -> pq.FileMetaData:
    """Its footer. Raises as :func:`pyarrow.parquet.read_metadata`."""
    return pq.read_metadata(opened(version.file))
