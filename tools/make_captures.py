"""The sessions that docs/shell.md shows, typed into the real shell under a pseudo-terminal: ``python tools/make_captures.py`` writes them anew."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import pexpect
import pyte

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "shell.md"
COLUMNS, ROWS = 110, 60
PROMPT = "rasteret>"
SESSIONS = {
    "first": (
        "CREATE TABLE plots AS FROM 'plots.parquet';",
        "SELECT id, label, height, width, B4\rFROM rasteret_read(landsat, plots, bands := ['B4'])\rORDER BY id LIMIT 3;",
        ".io",
        "FROM rasteret_sample(landsat, 'points.parquet', bands := ['B44']);",
        "SELECT * FORM plots;",
        ".bands landsat",
    ),
}
"""Name of a capture in the document → what is typed, entry by entry."""


def captured(entries: tuple[str, ...]) -> str:
    """The lines of a session, from the first prompt to the last."""
    import rasteret_sql  # noqa: PLC0415 - not needed to look at the sessions
    from rasteret_sql.sample import data_dir, records  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        rasteret_sql.build_from_table(records(str(data_dir())), name="landsat", workspace=folder, settings={"progress": False})
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RASTERET_", "AWS_", "CI", "COLUMNS", "LINES"))}
        more = {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", "RASTERET_WORKSPACE": folder, "XDG_STATE_HOME": folder}
        shell = pexpect.spawn(
            sys.executable, ["-m", "rasteret_sql.cli"], env=kept | more, cwd=str(data_dir()), dimensions=(ROWS, COLUMNS), timeout=60, encoding=None
        )
        screen = pyte.HistoryScreen(COLUMNS, ROWS, history=1000)
        stream = pyte.ByteStream(screen)
        try:
            _wait(shell, stream, screen, 1)
            for number, entry in enumerate(entries, start=2):
                shell.send(f"{entry}\r")
                _wait(shell, stream, screen, number)
        finally:
            shell.close(force=True)
        return "\n".join(_lines(screen)[:-1])


def _wait(shell: pexpect.spawn, stream: pyte.ByteStream, screen: pyte.HistoryScreen, prompts: int) -> None:
    """Until so many prompts are there, and the last is empty."""
    for _ in range(600):
        lines = _lines(screen)
        if sum(line.startswith(PROMPT) for line in lines) == prompts and lines[-1] == PROMPT:
            return
        try:
            stream.feed(shell.read_nonblocking(65536, timeout=0.1))
        except pexpect.TIMEOUT:
            continue
    raise RuntimeError("the shell did not come back:\n" + "\n".join(_lines(screen)))


def _lines(screen: pyte.HistoryScreen) -> list[str]:
    above = ["".join(line[column].data for column in range(COLUMNS)).rstrip() for line in screen.history.top]
    lines = [*above, *(line.rstrip() for line in screen.display)]
    while lines and not lines[-1]:
        del lines[-1]
    return lines


def place_of(name: str, document: str) -> tuple[int, int]:
    """Where the capture stands in the document."""
    found = re.search(rf"<!-- capture: {name} -->\n\n```console\n(.*?)```", document, re.DOTALL)
    if found is None:
        raise RuntimeError(f"{DOCUMENT} has no place for the capture {name!r}")
    return found.span(1)


def main() -> None:
    """Write all captures into the document."""
    for name, entries in SESSIONS.items():
        said = captured(entries)
        document = DOCUMENT.read_text(encoding="utf-8")
        start, end = place_of(name, document)
        DOCUMENT.write_text(document[:start] + said + "\n" + document[end:], encoding="utf-8")


if __name__ == "__main__":
    main()
