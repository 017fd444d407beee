"""The history of the prompt: a file of the user's alone, in which nothing secret is kept."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

_SECRET = re.compile(
    r"\bSECRETS?\b|PASSWORD|PASSWD|\bPWD\b|TOKEN|API_?KEY|ACCESS_?KEY|ACCOUNT_?KEY|KEY_?ID|CREDENTIAL|BEARER\s|AUTHORIZATION|CONNECTION_STRING"
    r"|[?&](sig|signature|se|sv|x-amz-[a-z-]+|x-goog-[a-z-]+|key)=|://[^\s/'\"@]+:[^\s/'\"@]+@|\bAKIA[0-9A-Z]{12,}|\bmotherduck_",
    re.IGNORECASE,
)


def holds_secret(text: str) -> bool:
    """Might it? Rather once too often: what is not kept can be typed again."""
    return bool(_SECRET.search(text))


class CarefulHistory(FileHistory):
    """On disk, but for entries that may hold a secret: those are known until the program ends."""

    def store_string(self, string: str) -> None:
        if not holds_secret(string):
            super().store_string(string)


def history_file() -> Path:
    """``$XDG_STATE_HOME/rasteret-sql/history``; on Windows in the local application data."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    else:
        base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base).expanduser() / "rasteret-sql" / "history"


def open_history() -> History:
    """From the file, which only its owner may read; in memory where it cannot be had."""
    place = history_file()
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.touch(mode=0o600)
        with place.open("r+b"):
            pass
    except OSError:
        return InMemoryHistory()
    return CarefulHistory(str(place))
