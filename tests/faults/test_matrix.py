"""Whatever a server does, the answer is right or a clear error, in time, without a storm of retries; docs/reliability.md says which."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.faults.matrix import FAULTS, SECRET, Outcome, run, table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
WRITE = os.environ.get("RASTERET_WRITE_EXAMPLES") == "1"
RANGES = {"header": 1, "build": 1, "merged range": 1}
"""Ranges that an operation asks for; two where nothing is said."""
Outcomes = dict[tuple[str, str], Outcome]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return run(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("fault", FAULTS)
def test_the_answer_is_right_or_a_clear_error(outcomes: Outcomes, fault: str) -> None:
    passes = fault.endswith((", once", "in time"))
    case = FAULTS[fault]
    for operation in case.operations:
        outcome = outcomes[fault, operation]
        assert outcome.word == ("right" if passes else "error"), (operation, outcome)
        assert outcome.seconds < case.timeout_s + 1.5, operation
        assert 1 <= outcome.attempts <= case.most_attempts * RANGES.get(operation, 2), operation
        if outcome.error is not None:
            _check_error(outcome.error, ranged="header" not in fault)


def _check_error(text: str, *, ranged: bool) -> None:
    """One line that names the asset and the range, without what is secret; DuckDB adds the place in the user's own statement, as he wrote it."""
    ours = text.partition("\n\nLINE 1:")[0]
    first = ours.splitlines()[0]
    assert SECRET not in ours
    assert re.search(r"http://127\.0\.0\.1:\d+/\d+\.tif: ", first), first
    assert not ranged or re.search(r"\(bytes \d+-\d+\)", first), first


def test_the_page_tells_what_happens(outcomes: Outcomes) -> None:
    """``RASTERET_WRITE_EXAMPLES=1`` writes the table into docs/reliability.md."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition("<!-- faults: made by tests/faults -->\n")
    _, end, after = rest.partition("<!-- end of faults -->")
    assert end, "docs/reliability.md has no place for the table"
    wanted = f"{before}<!-- faults: made by tests/faults -->\n{table(outcomes)}{end}{after}"
    if WRITE:
        PAGE.write_text(wanted, encoding="utf-8")
    assert text == wanted or WRITE
