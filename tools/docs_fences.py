"""A hook of mkdocs: the word after a fence's language is for the tests; ``sql error`` gets a title, and ``no-run`` loses its word."""

from __future__ import annotations

import re
from typing import Any

_TITLES = {"error": ' title="refused"', "no-run": ""}
_FENCE = re.compile(r"^( *```)(sql|python) +(error|no-run)$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for each page."""
    return _FENCE.sub(lambda found: f"{found[1]}{found[2]}{_TITLES[found[3]]}", markdown)
