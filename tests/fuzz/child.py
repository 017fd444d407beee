"""The process in which inputs run; :mod:`tests.fuzz.campaign` starts it: ``child TARGET ENGINE RUNS SEED KEEP``, ``child TARGET replay RUNS SEED KEEP``,
``child TARGET minimise FOLDER ...``.
"""

from __future__ import annotations

import atexit
import faulthandler
import importlib
import json
import pkgutil
import random
import re
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.fuzz.bounds import MIB, TooSlow, limit_memory
from tests.fuzz.campaign import Target, key, read_folder
from tests.fuzz.mutation import mutate

MEMORY = {"atheris": 4096 * MIB}
LEAST_MEMORY = 1536 * MIB
"""Address space, by engine, besides what the process has once all is imported."""
PACKAGE = "/rasteret_sql/"


class Runner:
    """Runs inputs, counts their outcomes, keeps one input of each kind of finding."""

    def __init__(self, target: Target, keep: Path) -> None:
        self.target = target
        self.keep = keep
        self.inputs = 0
        self.edges = 0
        self.outcomes: Counter[str] = Counter()
        self.findings: dict[str, str] = {}

    def run(self, data: bytes) -> str | None:
        """The outcome; None for a finding."""
        self.inputs += 1
        try:
            outcome = self._outcome(data)
        except (Exception, RecursionError) as error:
            if (place := where(error)) not in self.findings:
                self.findings[place] = self._keep(data)
                self.write()
            return None
        finally:
            if self.inputs % 500 == 0:
                self.write()
        self.outcomes[outcome] += 1
        return outcome

    def _outcome(self, data: bytes) -> str:
        try:
            return self.target.check(data)
        except TooSlow:  # on a busy machine, with what it read for the first time: it must be so again
            return self.target.check(data)

    def _keep(self, data: bytes) -> str:
        path = self.keep / "findings" / key(data)
        path.write_bytes(data)
        return str(path)

    def write(self) -> None:
        """What is known so far, for the parent, also if this process dies."""
        told = {"inputs": self.inputs, "outcomes": self.outcomes, "findings": self.findings, "edges": self.edges}
        part = self.keep / "status.part"
        part.write_text(json.dumps(told), encoding="utf-8")
        part.replace(self.keep / "status.json")


def where(error: BaseException) -> str:
    """The kind of a finding: what it says without numbers, and the last line of the package that it came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if PACKAGE in frame.filename]
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "the harness"
    return f"{type(error).__name__} at {place}: {re.sub(r'[0-9.,# ()-]+', ' ', str(error))[:50]}"


def by_atheris(runner: Runner, runs: int, seed: int) -> None:
    import atheris

    rng = random.Random(seed)
    pool = [*read_folder(runner.target.corpus), *read_folder(runner.keep / "found")]
    most = runner.target.most_bytes

    def change(data: bytes, size: int, _: int) -> bytes:
        return bytes(atheris.Mutate(data, size)) if rng.random() < 0.4 else mutate(rng, data, pool, min(size, most))

    def test(data: bytes) -> None:
        runner.run(data)

    options = {"runs": runs, "seed": seed, "max_len": most, "timeout": runner.target.hang_seconds, "rss_limit_mb": 0, "len_control": 0}
    words = [f"-{name}={value}" for name, value in options.items()]
    folders = [str(runner.keep / "found"), *([str(runner.target.corpus)] if pool else [])]
    atheris.Setup([sys.argv[0], *words, f"-artifact_prefix={runner.keep}/findings/crash-", *folders], test, custom_mutator=change)
    atexit.register(runner.write)
    atheris.Fuzz()


def by_tracing(runner: Runner, runs: int, seed: int, *, guided: bool) -> None:
    """The corpus, then changes of it; with ``guided`` what takes a new step joins the pool."""
    from tests.fuzz.tracing import Edge, traced

    rng = random.Random(seed)
    pool = [b"", *read_folder(runner.target.corpus), *read_folder(runner.keep / "found")]
    edges: set[Edge] = set()
    for number in range(runs):
        data = pool[number] if number < len(pool) else mutate(rng, rng.choice(pool), pool, runner.target.most_bytes)
        (runner.keep / "current").write_bytes(data)
        faulthandler.dump_traceback_later(runner.target.hang_seconds, exit=True)
        if not guided:
            runner.run(data)
            continue
        taken: set[Edge] = set()
        with traced(taken):
            runner.run(data)
        if not taken <= edges:
            edges |= taken
            runner.edges = len(edges)
            if number >= len(pool):
                pool.append(data)
                (runner.keep / "found" / key(data)).write_bytes(data)
    faulthandler.cancel_dump_traceback_later()
    runner.write()


def minimise(target: Target, folders: Sequence[Path]) -> None:
    """Keep the smallest inputs that add a step or an outcome; what the corpus has under a name with a dash stays (regressions, chosen by hand)."""
    from tests.fuzz.tracing import Edge, traced

    inputs = {data for folder in (target.corpus, *folders) for data in read_folder(folder)}
    target.corpus.mkdir(parents=True, exist_ok=True)
    chosen = {path.read_bytes() for path in target.corpus.iterdir() if "-" in path.name}
    edges: set[Edge] = set()
    outcomes: set[str] = set()
    kept: list[bytes] = []
    for data in [*sorted(chosen), *sorted(inputs - chosen, key=lambda data: (len(data), data))]:
        taken: set[Edge] = set()
        with traced(taken):
            outcome = target.check(data)
        if not taken <= edges or outcome not in outcomes:
            edges |= taken
            outcomes.add(outcome)
            kept.append(data)
    for path in target.corpus.iterdir():
        if "-" not in path.name:
            path.unlink()
    for data in kept:
        if data not in chosen:
            (target.corpus / key(data)).write_bytes(data)
    told = {"inputs": len(inputs), "kept": len(kept), "bytes": sum(map(len, kept)), "edges": len(edges), "outcomes": sorted(outcomes)}
    print(json.dumps(told))


def main(argv: Sequence[str]) -> None:
    name, engine, *words = argv
    target = _target(name, instrument=engine == "atheris")
    if engine == "minimise":
        minimise(target, [Path(word) for word in words])
        return
    runs, seed, keep = int(words[0]), int(words[1]), Path(words[2])
    runner = Runner(target, keep)
    runner.target.check(b"")  # what is loaded at first use counts for nobody
    for data in read_folder(target.corpus)[:20]:
        _warm(target, data)
    limit_memory(MEMORY.get(engine, LEAST_MEMORY))
    if engine == "atheris":
        by_atheris(runner, runs, seed)
    else:
        by_tracing(runner, runs, seed, guided=engine == "trace")


def _warm(target: Target, data: bytes) -> None:
    with suppress(AssertionError):  # it will come again, and be counted then
        target.check(data)


def _target(name: str, *, instrument: bool) -> Target:
    module = f"tests.fuzz.fuzz_{name}"
    if instrument:
        import atheris

        with atheris.instrument_imports(include=["rasteret_sql"]):
            raster = importlib.import_module("rasteret_sql.raster")
            for each in pkgutil.iter_modules(raster.__path__):  # also those that are imported at first use
                importlib.import_module(f"rasteret_sql.raster.{each.name}")
            found: Any = importlib.import_module(module)
    else:
        found = importlib.import_module(module)
    target: Target = found.TARGET
    return target


if __name__ == "__main__":
    main(sys.argv[1:])
