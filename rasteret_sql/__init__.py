"""Cloud GeoTIFFs in SQL: index the headers once, then join tables with pixels in DuckDB.

>>> import rasteret_sql
>>> con = rasteret_sql.connect()
>>> con.sql("FROM rasteret_functions()")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rasteret_sql.collection.registry import register_local, unregister_local
    from rasteret_sql.sql.extension import connect, register
    from rasteret_sql.storage.credentials import azure_sas, forget_credentials, http_headers, s3_credentials

__all__ = ["azure_sas", "connect", "forget_credentials", "http_headers", "register", "register_local", "s3_credentials", "unregister_local"]
__version__ = "0.1.0"


_HOMES = {
    "connect": "rasteret_sql.sql.extension",
    "register": "rasteret_sql.sql.extension",
    "register_local": "rasteret_sql.collection.registry",
    "unregister_local": "rasteret_sql.collection.registry",
    "azure_sas": "rasteret_sql.storage.credentials",
    "forget_credentials": "rasteret_sql.storage.credentials",
    "http_headers": "rasteret_sql.storage.credentials",
    "s3_credentials": "rasteret_sql.storage.credentials",
}


def __getattr__(name: str) -> Any:
    """DuckDB and the reader are loaded when something of them is first asked for; ``import rasteret_sql`` alone stays cheap."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
