"""docs/serve.md: its sessions are what the real programs say. ``RASTERET_WRITE_EXAMPLES=1`` writes that into the page.

A ``duckdb`` block is a piece of one session of the duckdb CLI: after ``D `` what is typed, its lines indented by two, then what is shown.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from rasteret_sql.sample import PLOTS, data_dir
from tests.cli.running import environment
from tests.serve.serving import Served, cli_command, no_cli

pytestmark = pytest.mark.skipif(no_cli() is not None, reason=no_cli() or "")

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "serve.md"
_SESSION = re.compile(r"^```duckdb( wrong token)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_START = re.compile(r"^\$ rasteret-sql serve --client client\.sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TYPED = re.compile(r"^D .*\n(?:  .*\n)*", re.MULTILINE)
_MARK = "----------8<----------"


def session(folder: Path, typed: list[str]) -> list[str]:
    """What the CLI shows for each."""
    process = subprocess.Popen(
        cli_command(),
        cwd=folder,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        bufsize=1,
    )
    shown = []
    try:
        for statement in typed:  # one after the other: errors come by another way than results
            process.stdin.write(f"{statement}\n.print {_MARK}\n")
            lines = []
            while (line := process.stdout.readline()) != f"{_MARK}\n":
                assert line, lines
                lines.append(f"{line.rstrip()}\n")
            shown.append(f"{''.join(lines).strip()}\n" if lines else "")
    finally:
        process.kill()
        process.communicate()
    return shown


def test_sessions(collections: Path, tmp_path: Path) -> None:
    (tmp_path / "plots.parquet").symlink_to(data_dir() / PLOTS)
    text = PAGE.read_text(encoding="utf-8")
    with Served(tmp_path, "--workspace", collections) as server:
        until = time.monotonic() + 20
        while "your files" not in server.out and time.monotonic() < until:
            time.sleep(0.05)
        start = f"{server.out}{server.err}".replace(str(tmp_path), "/home/you").replace(f":{server.port}", ":9494")
        again = _START.sub(lambda _: f"$ rasteret-sql serve --client client.sql\n{start}```", text, count=1)
        for wrong in ("", " wrong token"):
            if wrong:
                server.script.write_text(server.script.read_text().replace(server.token, "x" * 43))
            blocks = [match for match in _SESSION.finditer(again) if (match[1] or "") == wrong]
            typed = [_TYPED.findall(block[2]) for block in blocks]
            plain = [re.sub(r"^(D |  )", "", statement, flags=re.MULTILINE).rstrip() for part in typed for statement in part]
            answers = iter(session(tmp_path, plain))
            for block, part in zip(blocks, typed, strict=True):
                body = "".join(f"{statement}{answer}" for statement in part for answer in [next(answers)])
                again = again.replace(block[0], f"```duckdb{wrong}\n{body}```".replace(f":{server.port}", ":9494"))
    if os.environ.get("RASTERET_WRITE_EXAMPLES") == "1":
        PAGE.write_text(again, encoding="utf-8")
        return
    assert again == text
