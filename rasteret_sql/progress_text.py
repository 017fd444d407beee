"""The words of the progress line. Pure: numbers in, one line that fits out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

_BAR = 20


@dataclass(slots=True)
class Shown:
    """What a line says: of one statement, or of several together."""

    unit: str
    """Of ``done`` and ``known``: tiles, files, pairs."""
    done: int
    known: int
    """0: not known yet."""
    at_least: bool
    """More may turn up than is known."""
    labels: list[str] = field(default_factory=list)
    requests: int = 0
    nbytes: int = 0
    share: float | None = None
    """Of the work that is known; None while nothing is."""
    rate: float | None = None
    """Bytes per second."""
    left_s: float | None = None
    others: list[tuple[str, int, int]] = field(default_factory=list)
    """Unit, done and known of statements that count in other units."""

    @classmethod
    def together(cls, parts: Sequence[Shown]) -> Shown:
        """Several at once: counts of one unit add up, and all of it is done when the last one is."""
        if len(parts) == 1:
            return parts[0]
        units: dict[str, tuple[int, int]] = {}
        for part in parts:
            done, known = units.get(part.unit, (0, 0))
            units[part.unit] = (done + part.done, known + part.known)
        (unit, (done, known)), *others = units.items()
        shares = [part.share for part in parts]
        rates, left = [part.rate for part in parts], [part.left_s for part in parts]
        return cls(
            unit,
            done,
            known,
            at_least=any(part.at_least for part in parts),
            labels=list(dict.fromkeys(label for part in parts for label in part.labels)),
            requests=sum(part.requests for part in parts),
            nbytes=sum(part.nbytes for part in parts),
            share=None if None in shares else sum(share or 0.0 for share in shares) / len(parts),
            rate=None if None in rates else sum(rate or 0.0 for rate in rates),
            left_s=None if None in left else max(seconds or 0.0 for seconds in left),
            others=[(name, *counts) for name, counts in others],
        )


def line(shown: Shown, width: int, *, plain: bool) -> str:
    """As much as fits into ``width`` columns; ``plain`` is for terminals that know ASCII alone."""
    label = " + ".join(shown.labels) if len(shown.labels) < 3 else f"{len(shown.labels)} statements"
    more = "+" if shown.at_least else ""
    counts = [_count(shown.unit, shown.done, shown.known, more), *(_count(*other, more) for other in shown.others)]
    parts = [label, ", ".join(counts), "", f"{shown.requests:,} requests", _size(shown.nbytes), "", ""]
    if shown.share is not None:
        parts[2] = f"{_bar(shown.share, plain=plain)} {_percent(shown.share)}"
    if shown.rate is not None:
        parts[5] = f"{shown.rate / 1e6:,.1f} MB/s"
    if shown.left_s is not None:
        bound = (">=" if plain else "≥") + " " if shown.at_least else ""
        parts[6] = f"{bound}{duration(shown.left_s)} left"
    for dropped in (3, 4, 2, 0, 5, 6):
        text = "  ".join(filter(None, parts))
        if len(text) <= width:
            return text
        parts[dropped] = _percent(shown.share) if dropped == 2 and shown.share is not None else ""
    return "  ".join(filter(None, parts))[: max(width, 0)]


def _count(unit: str, done: int, known: int, more: str) -> str:
    if not known:
        return f"{done:,} {unit}" if done else "looking"
    return f"{done:,} of {known:,}{more} {unit}"


def _percent(share: float) -> str:
    """Never 100 before it is done."""
    return f"{min(99, int(share * 100)) if share < 1 else 100} %"


def _bar(share: float, *, plain: bool) -> str:
    filled = min(_BAR, int(share * _BAR))
    if plain:
        return f"[{'#' * filled}{'-' * (_BAR - filled)}]"
    return "━" * filled + ("╸" + "─" * (_BAR - filled - 1) if filled < _BAR else "")


def duration(seconds: float) -> str:
    """``8 s``, ``1 min 05 s``, ``2 h 10 min``; never 0, which nothing takes that is not done."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def _size(number: int) -> str:
    amount, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{number} B" if unit == "B" else f"{amount:.3g} {unit}"
