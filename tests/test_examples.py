"""Everything that the documentation shows is run here: README.md, docs/*.md and sql_examples/*.sql, block by block, in order.

A file gets a fresh connection with the sample tables (``scenes``, ``points``, ``plots``, ``rgbn_scenes``, ``rgbn_plots``), an empty workspace, and a
working folder that holds the sample GeoTIFFs as ``landsat/`` and ``rgbn/``. The word after a fence's language says what is expected of a block:

====================  =============================================================================================
``sql``               runs; where a ``text`` block follows at once, that is the last statement's result
``sql error``         fails; where a ``text`` block follows at once, the error's first line holds that text
``sql no-run``        is shown only (it needs the internet)
``python``            runs in the file's one namespace (``con`` is its connection); a ``text`` block is what it prints
``python no-run``     is shown only (it needs a package that the tests do not install)
====================  =============================================================================================

Results are compared as this module writes them, which DuckDB's version does not change. ``RASTERET_WRITE_EXAMPLES=1`` writes them into the files.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import os
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

import rasteret_sql
from rasteret_sql.demo import run_demo
from rasteret_sql.reader.engine import engine
from rasteret_sql.sample import PLOTS, POINTS, RGBN_PLOTS, data_dir, records
from rasteret_sql.sample.server import SampleServer

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if path.exists()]
EXAMPLES = sorted((ROOT / "sql_examples").glob("*.sql"))
WRITE = os.environ.get("RASTERET_WRITE_EXAMPLES") == "1"
MAX_NOT_RUN = 6
"""Blocks in all documents together that may be shown without being run."""

_BLOCK = re.compile(r"^( *)```(\w+)(?: +([\w-]+))?\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_EXPECTED = re.compile(r"\s*^ *```text\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, and where the ``text`` block right after it begins and ends."""

    language: str
    mode: str | None
    body: str
    line: int
    expected: str | None
    span: tuple[int, int]
    indent: str
    """Spaces before each line: tabs of the documentation site are indented."""


def blocks_of(text: str) -> list[Block]:
    found = []
    for match in _BLOCK.finditer(text):
        indent, language, mode, body = match.groups()
        if language not in ("sql", "python"):
            continue
        after = _EXPECTED.match(text, match.end())
        line = text.count("\n", 0, match.start()) + 1
        body, expected = (words and re.sub(f"^{indent}", "", words, flags=re.MULTILINE) for words in (body, after and after[1]))
        found.append(Block(language, mode, body, line, expected, after.span(1) if after else (0, 0), indent))
    return found


# -- results as text ------------------------------------------------------------------------------------------------------------


def shown(value: Any) -> str:
    """A value as the documents show it: NULL, true, 30.0, [1, NULL], {a: 1}, 2020-05-18 13:37:00."""
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value).lower()
        case list() | tuple():
            return f"[{', '.join(map(shown, value))}]"
        case dict():
            return f"{{{', '.join(f'{key}: {shown(item)}' for key, item in value.items())}}}"
        case bytes():
            return f"<{len(value)} bytes>"
        case dt.datetime():
            return value.isoformat(sep=" ")
    return str(value)


def table(names: list[str], rows: list[tuple[Any, ...]]) -> str:
    """Columns as wide as their widest value, numbers to the right."""
    cells = [[shown(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    right = [any(isinstance(row[i], int | float) for row in rows) for i in range(len(names))]
    lines = [[name.ljust(width) for name, width in zip(names, widths, strict=True)], ["-" * width for width in widths]]
    lines += [[text.rjust(w) if r else text.ljust(w) for text, w, r in zip(row, widths, right, strict=True)] for row in cells]
    return "".join("  ".join(line).rstrip() + "\n" for line in lines)


def results(con: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[str, str]]:
    """(first line, result) of every statement that answers with rows; all are run, one by one."""
    found = []
    for statement in con.extract_statements(sql):
        cursor = con.execute(statement)
        names = [column[0] for column in cursor.description or ()]
        rows = cursor.fetchall()
        if statement.type == duckdb.StatementType.SELECT:
            code = [line for line in statement.query.splitlines() if line.strip() and not line.lstrip().startswith("--")]
            found.append((code[0].strip().rstrip("; "), table(names, rows)))
    return found


# -- what the blocks find ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[SampleServer]:
    with SampleServer(data_dir()) as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the sample GeoTIFFs, an empty workspace that the environment names, and no tile in memory."""
    engine().cache.clear()
    for name in ("landsat", "rgbn"):
        (tmp_path / name).symlink_to(data_dir() / name, target_is_directory=True)
    monkeypatch.setenv("RASTERET_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def con(place: Path, server: SampleServer) -> Iterator[duckdb.DuckDBPyConnection]:
    with rasteret_sql.connect() as connection:
        for name, dataset in (("scenes", "landsat"), ("rgbn_scenes", "rgbn")):
            connection.register("incoming", records(server.url, dataset))
            connection.execute(f"CREATE TABLE {name} AS FROM incoming").fetchall()
            connection.unregister("incoming")
        for name, file in (("points", POINTS), ("plots", PLOTS), ("rgbn_plots", RGBN_PLOTS)):
            connection.execute(f"CREATE TABLE {name} AS FROM read_parquet('{data_dir() / file}')").fetchall()
        yield connection


def run_block(block: Block, namespace: dict[str, Any], where: str) -> str | None:
    """What the block answers: its last result, its error's first line, or what it prints."""
    if block.mode == "no-run":
        return None
    if block.language == "python":
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block.body, where, "exec"), namespace)
        return printed.getvalue()
    if block.mode == "error":
        with pytest.raises(duckdb.Error) as caught:
            results(namespace["con"], block.body)
        return str(caught.value).splitlines()[0]
    assert block.mode is None, f"{where}: ```sql {block.mode} means nothing"
    found = results(namespace["con"], block.body)
    return found[-1][1] if found else ""


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_document(path: Path, con: duckdb.DuckDBPyConnection) -> None:
    text = path.read_text(encoding="utf-8")
    namespace: dict[str, Any] = {"con": con, "__name__": "__main__"}
    answers: list[tuple[Block, str]] = []
    with contextlib.ExitStack() as made_here:
        for block in blocks_of(text):
            answer = run_block(block, namespace, f"{path.name}:{block.line}")
            for value in namespace.values():  # what a block opens is closed here, as a reader's session would at its end
                if value is not con and isinstance(value, duckdb.DuckDBPyConnection | SampleServer):
                    made_here.callback(value.close if isinstance(value, duckdb.DuckDBPyConnection) else value.stop)
            if block.expected is not None and answer is not None:
                answers.append((block, answer))
    if WRITE:
        for block, answer in reversed(answers):
            if block.mode != "error":
                text = text[: block.span[0]] + textwrap.indent(answer, block.indent) + text[block.span[1] :]
        path.write_text(text, encoding="utf-8")
        return
    for block, answer in answers:
        if block.mode == "error":
            assert (block.expected or "").strip() in answer, f"{path.name}:{block.line}"
        else:
            assert answer == block.expected, f"{path.name}:{block.line}"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_sql_example(path: Path, con: duckdb.DuckDBPyConnection) -> None:
    found = results(con, path.read_text(encoding="utf-8"))
    answer = "\n".join(f"-- {first}\n{result}" for first, result in found)
    expected = path.with_suffix(".out")
    if WRITE:
        expected.write_text(answer, encoding="utf-8")
    assert answer == expected.read_text(encoding="utf-8")


def test_nearly_all_blocks_are_run() -> None:
    blocks = [block for path in DOCUMENTS for block in blocks_of(path.read_text(encoding="utf-8"))]
    assert len([block for block in blocks if block.mode == "no-run"]) <= MAX_NOT_RUN
    assert len(blocks) > 40


def test_every_output_has_its_example() -> None:
    assert {path.stem for path in EXAMPLES} == {path.stem for path in (ROOT / "sql_examples").glob("*.out")}
    assert EXAMPLES


def test_links_lead_somewhere() -> None:
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_function_is_described(con: duckdb.DuckDBPyConnection) -> None:
    described = (ROOT / "docs" / "sql.md").read_text(encoding="utf-8")
    for (name,) in con.execute("SELECT DISTINCT name FROM rasteret_functions()").fetchall():
        assert f"{name}(" in described, f"docs/sql.md does not describe {name}"
    for (name,) in con.execute("SELECT name FROM rasteret_settings()").fetchall():
        assert f"{name}" in described, f"docs/sql.md does not describe {name}"


def test_the_first_command_of_the_readme_ends_well(place: Path) -> None:
    out = io.StringIO()
    run_demo(out)
    assert "What to type next" in out.getvalue()


def test_continuous_integration_installs_as_the_readme_says() -> None:
    readme, ci = (ROOT / "README.md").read_text(encoding="utf-8"), (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for words in ("pip install -e '.[test]'", "python -m pytest"):
        assert words in readme
        assert words in ci


def test_what_the_demo_keeps_can_be_read_afterwards(place: Path, con: duckdb.DuckDBPyConnection) -> None:
    run_demo(io.StringIO(), keep=str(place / "kept"))
    con.execute(f"SET VARIABLE rasteret_workspace = '{place / 'kept'}'").fetchall()
    assert con.execute("SELECT rasteret_value('demo', 'POINT(-54.6 -25.4)', 'B4')").fetchall() == [(6248,)]
