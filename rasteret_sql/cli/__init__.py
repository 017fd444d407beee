"""The ``rasteret-sql`` command: :mod:`~rasteret_sql.cli.main` reads its arguments, each other module is one group of commands."""

from __future__ import annotations

from rasteret_sql.cli.main import main

__all__ = ["main"]
