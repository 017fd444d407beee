"""The whole corpus again, and fresh damage to it by a seed; docs/reliability.md tells of the long campaigns.

Inputs run in processes of their own: a crash is a failure here, not the end of the test run.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import rasterio

from rasteret_sql.raster.codec import decode_segment
from rasteret_sql.raster.tiff import read_header_bytes
from tests.fuzz import fuzz_geokeys, fuzz_headers, fuzz_planted, fuzz_tiles
from tests.fuzz.campaign import CORPUS, campaign, key, read_folder

TARGETS = {target.name: target for target in (fuzz_headers.TARGET, fuzz_tiles.TARGET, fuzz_geokeys.TARGET)}
FRESH = {"headers": 1000, "tiles": 2500, "geokeys": 400}
"""Changed inputs after the corpus: some seconds of each."""
LEAST_CORPUS = {"headers": 100, "tiles": 120, "geokeys": 30}
MOST_CORPUS_BYTES = 1_000_000
REACHED = {
    "headers": {"header": 100, "InvalidRaster": 200, "UnsupportedRaster": 10},
    "tiles": {"pixels": 300, "InvalidRaster": 300, "unsupported": 100},
    "geokeys": {"EPSG, ": 15, "WKT, ": 20, "none, ": 60, ", transform": 10},
}
"""Kinds of outcomes, and how often each comes at least: a harness that refuses everything would find nothing."""


@cache
def corpus(name: str) -> list[bytes]:
    return read_folder(TARGETS[name].corpus)


@pytest.mark.parametrize("name", TARGETS)
def test_corpus_and_fresh_damage_do_no_harm(tmp_path: Path, name: str) -> None:
    runs = 1 + len(corpus(name)) + FRESH[name]
    tally = campaign(TARGETS[name], runs, seed=20, engine="none", keep=tmp_path)
    assert tally.findings == {}
    assert tally.inputs == runs == tally.outcomes.total()
    for kind, least in REACHED[name].items():
        assert sum(count for outcome, count in tally.outcomes.items() if kind in outcome) >= least, (kind, tally.outcomes)


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_there_and_small(name: str) -> None:
    assert len(corpus(name)) >= LEAST_CORPUS[name]
    assert len(set(corpus(name))) == len(corpus(name))
    for path in TARGETS[name].corpus.iterdir():
        assert "-" in path.name or path.name == key(path.read_bytes()), path


def test_the_corpus_as_a_whole_is_small() -> None:
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < MOST_CORPUS_BYTES


REGRESSIONS = {
    "tiles/regression-bits-of-float64": "unsupported",
    "tiles/regression-jpeg-of-2000-scans": "JPEG InvalidRaster",
    "tiles/regression-jpeg-2000-false-size": "JPEG 2000 InvalidRaster",
    "tiles/regression-jpeg-2000-many-tiles": "JPEG 2000 InvalidRaster",
    "tiles/regression-lzw-clear-codes": "LZW InvalidRaster",
    "tiles/regression-lzw-code-after-clear": "LZW InvalidRaster",
    "headers/regression-fill-order-0": "header",
    "geokeys/regression-brace-in-a-name": "WKT, UnsupportedRaster",
    "geokeys/regression-shift-to-wgs84": "WKT, InvalidRaster",
}


@pytest.mark.parametrize("name", REGRESSIONS)
def test_what_was_found_once(name: str) -> None:
    target, _, file = name.partition("/")
    assert TARGETS[target].check((TARGETS[target].corpus / file).read_bytes()) == REGRESSIONS[name]


# -- the harness finds what it should -------------------------------------------------------------------------------------------


def test_the_campaign_sees_what_happens_in_its_children(tmp_path: Path) -> None:
    """One input for each thing that may happen; those after a dead child still run."""
    (tmp_path / "found").mkdir()
    for number, data in enumerate([b"\0", b"key", b"abort", b"busy", b"fat", b"greedy", b"hang", b"\1"]):
        (tmp_path / "found" / f"{number}").write_bytes(data)
    tally = campaign(fuzz_planted.TARGET, 40, seed=1, engine="none", keep=tmp_path)
    found = {said.partition(":")[0].partition(" at ")[0]: Path(file).read_bytes() for said, file in tally.findings.items()}
    kinds = {"KeyError": b"key", "MemoryError": b"greedy", "TooSlow": b"busy", "Finding": b"fat"}
    kinds |= {"the process ended with code -6": b"abort", "the process ended with code 1": b"hang"}
    assert found == kinds
    assert tally.inputs >= 40


def test_what_reaches_new_steps_is_kept(tmp_path: Path) -> None:
    """Guided by tracing; without a guide nothing is."""
    found = {}
    for engine in ("trace", "none"):
        keep = tmp_path / engine
        campaign(fuzz_geokeys.TARGET, len(corpus("geokeys")) + 200, seed=3, engine=engine, keep=keep)
        found[engine] = len(list((keep / "found").iterdir()))
    assert found["trace"] > 0 == found["none"]


def test_fill_orders_without_meaning_are_passed_over() -> None:
    """Found by fuzzing: 0 was read as 2, the bits of all pixels reversed. GDAL is the judge."""
    data = (CORPUS / "headers" / "regression-fill-order-0").read_bytes()
    with rasterio.MemoryFile(data) as memory, memory.open() as source:
        wanted = source.read(1)
    header = read_header_bytes(data)
    level = header.levels[0]
    start = int(level.offsets[0])
    pixels = decode_segment(data[start : start + int(level.byte_counts[0])], level.layout, header.height)
    assert np.array_equal(pixels, wanted)
    assert len(np.unique(pixels)) == 64
