"""The page of the benchmarks: its tables are the stored results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import promises

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.report", "--check", "--results", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_the_page_holds_the_stored_results():
    done = check(RESULTS)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["standard", "orders"])
def test_what_was_promised_is_worked_out_from_the_results(name):
    found = json.loads((RESULTS / f"{name}.json").read_text())
    assert found["checks"] == promises.of_reads(found)
    assert len(found["checks"]) > 3


def measured(contender, workload, seconds):
    """A result of one contender, with all that is promised of it kept."""
    first = {"wall_s": seconds, "rss_bytes": 500e6, "requests": 500}
    about = {"contender": contender, "workload": workload, "source": "http", "order": "shuffled", "error": None}
    return about | {"first": first, "within_requests": True, "within_bytes": True}


@pytest.mark.parametrize(
    ("contender", "workload", "value", "number", "said"),
    [
        ("ours-reader", "W1", "wall_s", 2.01, "W1: 2.01 s by the reader, at most 0.50 × 4.00 s of rasterio (× 0.50)"),
        ("ours-reader", "W2", "wall_s", 2.10, "W2: 2.10 s by the reader, at most 0.33 × 6.00 s of rasterio-pool (× 0.35)"),
        ("ours", "W3", "wall_s", 2.51, "W3: 2.51 s through SQL, at most 1.25 × 2.00 s of the reader (× 1.25)"),
        ("ours", "W2", "rss_bytes", 601e6, "peak RSS at most 600 MB: W1 500 MB, W2 601 MB"),
        ("ours", "W5", "requests", 551, "W5: 551 requests for 500 files, at most 1.1 each"),
    ],
)
def test_a_broken_promise_is_said(contender, workload, value, number, said):
    times = {"ours": (2.5, 2.5, 2.5, 2.5), "ours-reader": (2, 2, 2), "rasterio": (4, 5, 3), "rasterio-pool": (None, 6)}
    results = [measured(who, f"W{(1, 2, 3, 5)[i]}", s) for who, seconds in times.items() for i, s in enumerate(seconds) if s]
    found = {"results": results, "truth": {"W5/shuffled": {"files": 500}}}
    assert all(check["met"] for check in promises.of_reads(found))
    (one,) = (result for result in results if (result["contender"], result["workload"]) == (contender, workload))
    one["first"][value] = number
    assert [check["text"] for check in promises.of_reads(found) if not check["met"]] == [said]


def test_another_number_is_noticed(tmp_path):
    for file in RESULTS.glob("*.json"):
        found = json.loads(file.read_text())
        if file.stem == "standard":
            found["results"][0]["first"]["wall_s"] += 1
        (tmp_path / file.name).write_text(json.dumps(found))
    done = check(tmp_path)
    assert done.returncode == 1
    assert "out of date" in done.stderr
