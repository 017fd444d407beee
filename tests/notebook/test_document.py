"""docs/notebooks.md as a reader works through it: cells of Python and of IPython, in one shell, in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENT = ROOT / "docs" / "notebooks.md"
CELL = re.compile(r"^```(python|ipython)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_cell_runs(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shell = InteractiveShell(config=Config(HistoryManager={"enabled": False}), ipython_dir=str(tmp_path))
    cells = CELL.findall(DOCUMENT.read_text(encoding="utf-8"))
    assert [kind for kind, _ in cells].count("ipython") >= 5
    shown = []
    try:
        for _, cell in cells:
            ran = shell.run_cell(cell)
            assert ran.success, (cell, ran.error_in_exec)
            shown.append(ran.result)
        chips = next(result for result in shown if "red" in getattr(result, "columns", []))
        assert [(label, round(red)) for label, _, red in chips.fetchall()] == [("crop", 7570), ("crop", 7570)]
    finally:
        shell.user_ns["con"].close()
    for name in ("rgb", "nir"):  # drawn by tools/make_notebook_pictures.py with the same calls
        with (
            Image.open(ROOT / "docs" / "images" / f"notebooks_{name}.png") as kept,
            Image.open({"rgb": "fields.png", "nir": "infrared.png"}[name]) as made,
        ):
            assert kept.size == made.size
            assert kept.getpixel((100, 120)) == made.getpixel((100, 120))
