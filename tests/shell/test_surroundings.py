"""What is around the shell: its document, its extra, its workspace."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from rasteret_sql.shell import commands, results
from rasteret_sql.sql.catalogue import TABLE_FUNCTIONS
from rasteret_sql.sql.manual import DESCRIPTIONS
from tests.cli.running import run_here

ROOT = Path(__file__).resolve().parents[2]


def captures():
    spec = importlib.util.spec_from_file_location("make_captures", ROOT / "tools" / "make_captures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settled(text):
    """Without what differs from run to run, and between versions of DuckDB."""
    text = re.sub(r"\^+", "^", text)
    return re.sub(r"\b\d+\.\d{3}\b", "0.000", re.sub(r"DuckDB [\d.]+", "DuckDB", text)).rstrip()


def test_the_document_shows_what_the_program_shows():
    module = captures()
    document = (ROOT / "docs" / "shell.md").read_text(encoding="utf-8")
    for name, entries in module.SESSIONS.items():
        start, end = module.place_of(name, document)
        assert settled(document[start:end]) == settled(module.captured(entries)), "python tools/make_captures.py writes it anew"


def test_the_document_has_every_command_and_mode():
    document = (ROOT / "docs" / "shell.md").read_text(encoding="utf-8")
    for name in commands.COMMANDS:
        assert f"`{name}" in document
    for mode in results.MODES:
        assert f"`{mode}`" in document


def test_help_knows_every_function():
    assert {function.name for function in TABLE_FUNCTIONS} <= {name for name, _ in DESCRIPTIONS}


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr("rasteret_sql.cli.shell.on_terminal", lambda: True)
    for name in [name for name in sys.modules if name.partition(".")[0] == "prompt_toolkit" or name == "rasteret_sql.shell.prompt"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prompt_toolkit", None)
    done = run_here("shell")
    assert done.returncode == 1
    assert done.stderr == "rasteret-sql: the interactive shell needs prompt_toolkit: pip install 'rasteret-sql[shell]'; scripts need nothing more\n"


@pytest.mark.parametrize("words", [["shell"], ["query"]])
def test_help_of_the_commands(words):
    assert "examples:" in run_here(*words, "--help").stdout
