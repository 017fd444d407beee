"""mypy over the package as it is installed: ``udfs/`` lies beside ``rasteret_sql/`` in the repository and inside it when installed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Link both folders into one package and check that."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "rasteret_sql"
        package.mkdir()
        for entry in (ROOT / "rasteret_sql").iterdir():
            if entry.name != "__pycache__":
                (package / entry.name).symlink_to(entry)
        (package / "udfs").symlink_to(ROOT / "udfs")
        command = [
            sys.executable,
            "-m",
            "mypy",
            "--config-file",
            str(ROOT / "pyproject.toml"),
            "--cache-dir",
            str(ROOT / ".mypy_cache"),
            "-p",
            "rasteret_sql",
        ]
        return subprocess.call(command, cwd=folder)


if __name__ == "__main__":
    raise SystemExit(main())
