"""The page of the benchmarks: its tables are the stored results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.report", "--check", "--results", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_the_page_holds_the_stored_results():
    done = check(RESULTS)
    assert done.returncode == 0, done.stderr


def test_another_number_is_noticed(tmp_path):
    for file in RESULTS.glob("*.json"):
        found = json.loads(file.read_text())
        if file.stem == "standard":
            found["results"][0]["first"]["wall_s"] += 1
        (tmp_path / file.name).write_text(json.dumps(found))
    done = check(tmp_path)
    assert done.returncode == 1
    assert "out of date" in done.stderr
