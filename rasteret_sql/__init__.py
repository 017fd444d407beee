"""Cloud GeoTIFFs in SQL: index the headers once, then join tables with pixels in DuckDB.

>>> import rasteret_sql
>>> con = rasteret_sql.connect()
>>> con.sql("FROM rasteret_functions()")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rasteret_sql.api import (
        Collection,
        as_collection,
        build,
        build_from_items,
        build_from_stac,
        build_from_table,
        collections,
        datasets,
        delete_collection,
        export,
        import_collection,
        load,
    )
    from rasteret_sql.collection.build import BuildReport
    from rasteret_sql.collection.registry import register_local, unregister_local
    from rasteret_sql.outputs.arrays import to_numpy
    from rasteret_sql.outputs.picture import show
    from rasteret_sql.sql.extension import connect, register
    from rasteret_sql.storage.credentials import azure_sas, forget_credentials, http_headers, s3_credentials

__all__ = [
    "BuildReport",
    "Collection",
    "as_collection",
    "azure_sas",
    "build",
    "build_from_items",
    "build_from_stac",
    "build_from_table",
    "collections",
    "connect",
    "datasets",
    "delete_collection",
    "export",
    "forget_credentials",
    "http_headers",
    "import_collection",
    "load",
    "register",
    "register_local",
    "s3_credentials",
    "show",
    "to_numpy",
    "unregister_local",
]
__version__ = "0.1.0"


_HOMES = {
    "BuildReport": "rasteret_sql.collection.build",
    "Collection": "rasteret_sql.api",
    "as_collection": "rasteret_sql.api",
    "build": "rasteret_sql.api",
    "build_from_items": "rasteret_sql.api",
    "build_from_stac": "rasteret_sql.api",
    "build_from_table": "rasteret_sql.api",
    "collections": "rasteret_sql.api",
    "datasets": "rasteret_sql.api",
    "delete_collection": "rasteret_sql.api",
    "export": "rasteret_sql.api",
    "import_collection": "rasteret_sql.api",
    "load": "rasteret_sql.api",
    "connect": "rasteret_sql.sql.extension",
    "register": "rasteret_sql.sql.extension",
    "register_local": "rasteret_sql.collection.registry",
    "unregister_local": "rasteret_sql.collection.registry",
    "azure_sas": "rasteret_sql.storage.credentials",
    "forget_credentials": "rasteret_sql.storage.credentials",
    "http_headers": "rasteret_sql.storage.credentials",
    "s3_credentials": "rasteret_sql.storage.credentials",
    "show": "rasteret_sql.outputs.picture",
    "to_numpy": "rasteret_sql.outputs.arrays",
    "load_ipython_extension": "rasteret_sql.notebook",
    "unload_ipython_extension": "rasteret_sql.notebook",
}


def __getattr__(name: str) -> Any:
    """DuckDB and the reader are loaded when something of them is first asked for; ``import rasteret_sql`` alone stays cheap."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
