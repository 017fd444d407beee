"""Runs one target on many inputs: replay of the corpus, a guided campaign, the corpus made small.

    python -m tests.fuzz.fuzz_headers --runs 50000               # a campaign; guided by atheris where it is installed (pip install atheris)
    python -m tests.fuzz.fuzz_headers --runs 5000 --engine trace # guided by Python's own tracing: slower, the rest as above
    python -m tests.fuzz.fuzz_headers --runs 5000 --engine none  # the seeds and the corpus changed at random
    python -m tests.fuzz.fuzz_headers --minimise FOLDER ...      # keep of these inputs and the corpus what adds coverage

Inputs run in a child process, whose memory is limited; its death is a finding like any other, and the next child goes on. The last line printed is
JSON: inputs, seconds, edges, outcomes, findings.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
MOST_CHILDREN = 100
MOST_OF_ONE_CHILD = 25_000
"""Inputs: libFuzzer's own memory grows with their number."""


@dataclass(frozen=True)
class Target:
    """What is fuzzed: ``check`` answers with the outcome in a few words, and raises for what should not be."""

    name: str
    check: Callable[[bytes], str]
    most_bytes: int
    hang_seconds: int = 60
    """An input that takes so long, on a machine however busy, ends its process."""

    @property
    def corpus(self) -> Path:
        return CORPUS / self.name


@dataclass
class Tally:
    """What came of the inputs."""

    inputs: int = 0
    seconds: float = 0.0
    edges: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: dict[str, str] = field(default_factory=dict)
    """Where it went wrong → the file with the first such input."""

    def add(self, other: dict[str, Any]) -> None:
        self.inputs += other["inputs"]
        self.seconds += other["seconds"]
        self.edges = max(self.edges, other["edges"])
        self.outcomes.update(other["outcomes"])
        self.findings |= other["findings"]

    def as_json(self) -> str:
        shown = {"inputs": self.inputs, "seconds": round(self.seconds, 1), "edges": self.edges}
        return json.dumps({**shown, "outcomes": dict(sorted(self.outcomes.items())), "findings": self.findings})


def key(data: bytes) -> str:
    """The name of an input's file."""
    return hashlib.sha256(data).hexdigest()[:16]


def read_folder(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()] if folder.is_dir() else []


def main(target: Target, argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog=f"python -m tests.fuzz.fuzz_{target.name}", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--runs", type=int, default=10_000, help="inputs (default 10,000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("atheris", "trace", "none"), help="what guides; atheris where it is installed, else trace")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that reached something new, and for findings; else they are thrown away")
    parser.add_argument("--minimise", type=Path, nargs="*", metavar="FOLDER", help="no campaign: make the corpus anew of itself and these folders")
    args = parser.parse_args(argv)
    engine = args.engine or ("trace" if importlib.util.find_spec("atheris") is None else "atheris")
    if args.minimise is not None:
        print(run_child(target.name, ["minimise", *map(str, args.minimise)])[1])
        return
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        tally = campaign(target, args.runs, args.seed, engine, args.keep or Path(folder))
    print(tally.as_json())
    sys.exit(bool(tally.findings))


def campaign(target: Target, runs: int, seed: int, engine: str, keep: Path) -> Tally:
    """Children one after the other until all inputs have run."""
    (keep / "found").mkdir(parents=True, exist_ok=True)
    (keep / "findings").mkdir(exist_ok=True)
    tally = Tally()
    for number in range(MOST_CHILDREN):
        left = runs - tally.inputs
        if left <= 0:
            break
        status = keep / "status.json"
        status.unlink(missing_ok=True)
        began = time.monotonic()
        code, said = run_child(target.name, [engine, str(min(left, MOST_OF_ONE_CHILD)), str(seed + number), str(keep)])
        told: dict[str, Any] = {"inputs": 0, "outcomes": {}, "findings": {}, "edges": 0}
        if status.exists():
            told |= json.loads(status.read_text(encoding="utf-8"))
        covered = re.findall(r"\bcov: (\d+)", said)
        tally.add(told | {"seconds": time.monotonic() - began, "edges": int(covered[-1]) if covered else told["edges"]})
        if code != 0:
            tally.inputs += told["inputs"] == 0  # else a child that always dies would be started for ever
            tally.findings |= _death(code, said, keep)
    return tally


def _death(code: int, said: str, keep: Path) -> dict[str, str]:
    """The finding of a child that died: the input is in the file of libFuzzer's, or is the last one that the child wrote down."""
    artifacts = sorted(keep.glob("findings/*-*"), key=lambda path: path.stat().st_mtime)
    last = keep / "current"
    culprit = artifacts[-1] if artifacts else last
    stored = keep / "findings" / key(culprit.read_bytes()) if culprit.exists() else None
    if stored is not None:
        culprit.rename(stored)
        for path in (keep / "found").iterdir():  # else the next child would begin with it
            if path.read_bytes() == stored.read_bytes():
                path.unlink()
    lines = [line for line in said.splitlines() if "ERROR" in line or "Error" in line] or said.splitlines()[-1:]
    return {f"the process ended with code {code}: {' '.join(lines[:2])[:300]}": str(stored)}


def run_child(name: str, words: Sequence[str]) -> tuple[int, str]:
    """Exit code and all that was said, of ``tests.fuzz.child``."""
    command = [sys.executable, "-m", "tests.fuzz.child", name, *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=HERE.parents[1], check=False)
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()
