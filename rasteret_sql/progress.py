"""A progress bar on a terminal; silence anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_WIDTH = 30
_EVERY_S = 0.1


@contextmanager
def progress_bar(label: str, wanted: bool = True) -> Iterator[Callable[[int, int], None] | None]:
    """Yields ``tell(done, total)``, or None where nobody would see it; a total of 0 is not known yet. The bar is cleared at the end."""
    if not wanted or not sys.stderr.isatty():
        yield None
        return
    started = last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _EVERY_S and (done < total or not total):
            return
        last = now
        rate = done / max(now - started, 1e-9)
        if not total:
            sys.stderr.write(f"\r{label} {done:,}  {rate:,.0f}/s ")
            sys.stderr.flush()
            return
        filled = _WIDTH * done // total
        left = (total - done) / rate if rate else 0.0
        sys.stderr.write(f"\r{label} [{'█' * filled}{'·' * (_WIDTH - filled)}] {done:,}/{total:,}  {rate:,.0f}/s  {left:,.0f} s left ")
        sys.stderr.flush()

    try:
        yield tell
    finally:
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()
