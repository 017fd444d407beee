"""Notebooks of Jupyter in their own kernel: executed as files, and interrupted."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from PIL import Image

from rasteret_sql.sample import data_dir
from rasteret_sql.sample.server import SampleServer

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLE = """\
from rasteret_sql.sample import data_dir, records
scenes = records({url!r})
"""
TABLES = """\
%%rasteret
FROM rasteret_build_from_table(scenes, name := 'landsat');
CREATE TABLE points AS FROM '{folder}/points.parquet';
CREATE TABLE plots AS FROM '{folder}/plots.parquet';
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Jupyter, IPython and jupysql keep is the test's, and they tell nobody."""
    for name in ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("RASTERET_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("PLOOMBER_STATS_ENABLED", "false")
    monkeypatch.setenv("RASTERET_CACHE_BYTES", "0")
    (tmp_path / "home").mkdir()


def executed(cells: list[str], folder: Path) -> list[Any]:
    """The outputs of each cell of a notebook file after ``jupyter execute``."""
    path = folder / "notebook.ipynb"
    path.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])), encoding="utf-8")
    command = [sys.executable, "-c", "from nbclient.cli import main; main()", str(path), "--inplace", "--kernel_name=python3", "--timeout=60"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    return [cell.outputs for cell in nbformat.read(path, as_version=4).cells]


def shown(outputs: Any, kind: str = "text/plain") -> str:
    return "".join(output.data[kind] for output in outputs if output.output_type == "execute_result")


def test_a_notebook_from_the_extension_to_a_picture(tmp_path: Path) -> None:
    with SampleServer(data_dir()) as server:
        outputs = executed(
            [
                "%load_ext rasteret_sql",
                SAMPLE.format(url=server.url),
                TABLES.format(folder=data_dir()),
                "%%rasteret\nSELECT id, B4 FROM rasteret_sample(landsat, points, bands := ['B4'], match := 'latest') ORDER BY id",
                "%%rasteret chips\nFROM rasteret_read(landsat, plots, bands := ['B4', 'B3', 'B2']) WHERE label = 'crop'",
                "import rasteret_sql\nrasteret_sql.show(chips)",
                "rasteret_sql.to_numpy(chips)[0].shape",
            ],
            tmp_path,
        )
        assert server.requests > 6
    table = shown(outputs[3])
    assert all(value in table for value in ("6254", "8080", "6106", "8111", "7341"))
    assert outputs[4] == []
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown(outputs[5], "image/png")))))
    assert picture.shape[2] == 4
    assert {0, 255} <= set(np.unique(picture[..., 3]).tolist())
    assert shown(outputs[6]) == "(3, 23, 22)"


def test_jupysql_on_our_connection(tmp_path: Path) -> None:
    """Both ways: the extension gives its connection to a %sql that is there, and jupysql takes a connection by itself."""
    sql = "SELECT id, B4 FROM rasteret.sample(landsat, points, bands := ['B4'], match := 'latest') ORDER BY id"
    with SampleServer(data_dir()) as server:
        outputs = executed(
            [
                "%load_ext sql\n%load_ext rasteret_sql",
                SAMPLE.format(url=server.url),
                TABLES.format(folder=data_dir()),
                f"%%sql values <<\n{sql}",
                "[tuple(row) for row in values]",
                "%sql --close rasteret",
                "import rasteret_sql\ncon = rasteret_sql.connect()\ncon.execute(f\"CREATE TABLE points AS FROM '{data_dir()}/points.parquet'\").fetchall()",
                "%sql con --alias rasteret",
                f"%%sql again <<\n{sql}",
                "again.DataFrame()['B4'].tolist()",
                "'__rasteret_connection' in globals()",
            ],
            tmp_path,
        )
    assert shown(outputs[4]) == "[(1, 6254), (2, 8080), (3, 6106), (4, 8111), (5, 7341)]"
    assert shown(outputs[9]) == "[6254, 8080, 6106, 8111, 7341]"
    assert shown(outputs[10]) == "False"


@pytest.mark.parametrize("function", ["read", "zonal"])
def test_interrupting_the_kernel_stops_the_statement_within_a_second(function: str, tmp_path: Path) -> None:
    """The client is a process of its own, too: its sockets are not the tests'."""
    command = [sys.executable, "-m", "tests.notebook.interrupting", str(tmp_path), function]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout)
    assert seen["ended"] == "KeyboardInterrupt"
    assert seen["seconds"] < 1.0
    assert "42" in seen["next"]
    assert "ok" in seen["again"]
