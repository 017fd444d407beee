"""Coverage without atheris: which steps from line to line an input takes in the package's own files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import rasteret_sql

_ROOT = rasteret_sql.__path__[0] + "/raster/"
Edge = tuple[CodeType, int, int]


@contextmanager
def traced(edges: set[Edge]) -> Iterator[None]:
    """Add the steps of the block, in this thread, to ``edges``."""

    def on_call(frame: FrameType, _event: str, _arg: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(_ROOT):
            return None
        last = 0

        def on_line(frame: FrameType, _event: str, _arg: Any) -> Any:
            nonlocal last
            edges.add((code, last, frame.f_lineno))
            last = frame.f_lineno
            return on_line

        return on_line(frame, _event, _arg)

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield
    finally:
        sys.settrace(before)
