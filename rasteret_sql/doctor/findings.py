"""What a check found: well, worth knowing, or broken; in one line, with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Level = Literal["ok", "note", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    level: Level
    topic: str
    """One or two words: what was looked at."""
    text: str
    fix: str = ""
    """What to type or to do; empty where all is well."""
    place: str = ""
    """Of what the user named: the URL, file or collection."""

    def of(self, place: str) -> Finding:
        """The same about a place."""
        return replace(self, place=place)


def ok(topic: str, text: str) -> Finding:
    return Finding("ok", topic, text)


def note(topic: str, text: str, fix: str) -> Finding:
    """It works, but not as well as it might."""
    return Finding("note", topic, text, fix)


def broken(topic: str, text: str, fix: str) -> Finding:
    return Finding("broken", topic, text, fix)


def size(nbytes: float) -> str:
    """Bytes as people read them: ``1.5 GB``."""
    amount, unit = float(nbytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.3g} {unit}"
