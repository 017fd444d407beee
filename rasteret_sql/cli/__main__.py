"""``python -m rasteret_sql.cli``."""

from __future__ import annotations

from rasteret_sql.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
