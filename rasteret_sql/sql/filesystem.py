"""DuckDB's way to remote collections: ``rasteret://`` names, read through our own storage.

So our signing, retries, counters and error messages hold for the index as they do for pixels, no extension is needed, and ``s3://`` or
``https://`` in the user's own statements stay the affair of DuckDB's ``httpfs``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import duckdb
from fsspec import AbstractFileSystem

from rasteret_sql.collection.remote import MOUNTS, SCHEME, RemoteFile

PROTOCOL = SCHEME.removesuffix("://")
_ALWAYS = datetime(2000, 1, 1, tzinfo=UTC)
"""A name stands for one content, so it was never modified."""


class RasteretFiles(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Read-only: the files that planning named, and no others."""

    protocol = PROTOCOL
    cachable = False

    def glob(self, path: str, **_: Any) -> list[str]:
        """Names are literal: nothing is searched."""
        MOUNTS.find(path)
        return [path]

    def open(self, path: str, mode: str = "rb", **_: Any) -> RemoteFile:
        if mode != "rb":
            raise PermissionError(f"{SCHEME} names are read only")
        return RemoteFile(*MOUNTS.find(path))

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "size": MOUNTS.find(path)[1].size, "type": "file"}

    def size(self, path: str) -> int:
        return MOUNTS.find(path)[1].size

    def exists(self, path: str, **_: Any) -> bool:
        return bool(self.info(path))

    def isfile(self, path: str) -> bool:
        return self.exists(path)

    def isdir(self, path: str) -> bool:
        del path
        return False

    def modified(self, path: str) -> datetime:
        del path
        return _ALWAYS


def register_files(con: duckdb.DuckDBPyConnection) -> None:
    """Make the names known to the connection's database; again is harmless."""
    if not con.filesystem_is_registered(PROTOCOL):
        con.register_filesystem(RasteretFiles(skip_instance_cache=True))
