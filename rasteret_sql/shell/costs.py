"""What a statement took: the line after it."""

from __future__ import annotations

from collections.abc import Sequence

from rasteret_sql.cli.output import size
from rasteret_sql.reader.engine import ReadReport
from rasteret_sql.shell.boxes import Column
from rasteret_sql.shell.texts import Cell


def line(seconds: float, reads: Sequence[ReadReport]) -> str:
    """``0.31 s · 6 requests · 194 kB · 5 tiles from memory``; only the time where no imagery was read."""
    said = [f"{seconds:.3f} s" if seconds < 10 else f"{seconds:,.1f} s"]
    if reads:
        counted = [report.metrics.snapshot() for report in reads]
        said.append(_counted(sum(each.requests for each in counted), "request"))
        said.append(size(sum(each.bytes for each in counted)))
        if hits := sum(each.cache_hits for each in counted):
            said.append(f"{_counted(hits, 'tile')} from memory")
        if retries := sum(each.retries for each in counted):
            said.append(_counted(retries, "retry", "retries"))
    return " · ".join(said)


def _counted(number: int, what: str, many: str | None = None) -> str:
    return f"{number:,} {what if number == 1 else many or what + 's'}"


def columns(reads: Sequence[ReadReport]) -> list[Column]:
    """Each read of a statement as a row, in the order they ended; the columns of ``rasteret_io``."""
    counted = [report.metrics.snapshot() for report in reads]
    numbers = ("requests", "bytes", "cache_hits", "tiles_decoded", "retries", "failures")
    return [
        Column("function", "VARCHAR", [Cell(report.function) for report in reads]),
        Column("seconds", "DOUBLE", [Cell(f"{report.seconds:.3f}") for report in reads]),
        *(Column(name, "BIGINT", [Cell(str(getattr(each, name))) for each in counted]) for name in numbers),
    ]
