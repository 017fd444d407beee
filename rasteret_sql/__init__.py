"""Cloud GeoTIFFs in SQL: index the headers once, then join tables with pixels in DuckDB.

>>> import rasteret_sql
>>> con = rasteret_sql.connect()
>>> con.sql("FROM rasteret_functions()")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rasteret_sql.sql.extension import connect, register

__all__ = ["connect", "register"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``connect`` and ``register`` load DuckDB and the reader when first asked for; ``import rasteret_sql`` alone stays cheap."""
    if name in __all__:
        from rasteret_sql.sql import extension  # noqa: PLC0415

        return getattr(extension, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
