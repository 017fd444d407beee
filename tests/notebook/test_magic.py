"""``%load_ext rasteret_sql`` in IPython's own shell: statements, results, variables as tables and parameters, mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import rasteret_sql
from rasteret_sql.sample import data_dir, records

VALUES = "SELECT id, B4 FROM rasteret_sample(landsat, points, bands := ['B4'], match := 'latest') ORDER BY id"
RIGHT = [(1, 6254), (2, 8080), (3, 6106), (4, 8111), (5, 7341)]


class Notebook:
    """A shell that is asked cell by cell."""

    def __init__(self, folder: Path) -> None:
        self.shell = InteractiveShell(config=Config(HistoryManager={"enabled": False}), ipython_dir=str(folder))
        self.shell.showtraceback = lambda *_, **__: None  # type: ignore[method-assign] # errors are the results'

    def cell(self, text: str) -> Any:
        ran = self.shell.run_cell(text)
        for error in (ran.error_before_exec, ran.error_in_exec):
            if error is not None:
                raise error
        return ran.result

    @property
    def variables(self) -> dict[str, Any]:
        return self.shell.user_ns


@pytest.fixture
def notebook(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> Iterator[Notebook]:
    made = Notebook(tmp_path)
    made.variables["con"] = con
    made.cell("%load_ext rasteret_sql")
    yield made
    made.cell("session = %rasteret")
    for value in (made.variables["session"], *made.variables.values()):
        if isinstance(value, duckdb.DuckDBPyConnection):
            value.close()


def test_a_new_session_has_a_connection(notebook: Notebook) -> None:
    assert notebook.cell("%rasteret SELECT 6 * 7 AS x").fetchall() == [(42,)]
    assert notebook.cell("%rasteret SELECT rasteret_value('landsat', 'POINT(-54.6 -25.4)', 'B4')").fetchall() == [(6248,)]
    session = notebook.cell("%rasteret")
    assert isinstance(session, duckdb.DuckDBPyConnection)
    assert session is notebook.cell("%rasteret")
    assert session is not notebook.variables["con"]


def test_the_connection_can_be_chosen(notebook: Notebook) -> None:
    with pytest.raises(UsageError, match="points"):
        notebook.cell(f"%rasteret {VALUES}")
    assert notebook.cell(f"%rasteret --con con {VALUES}").fetchall() == RIGHT
    assert notebook.cell(f"%%rasteret --con con\n{VALUES}").fetchall() == RIGHT
    with pytest.raises(UsageError, match="points"):
        notebook.cell(f"%rasteret {VALUES}")
    assert notebook.cell("%rasteret --con con") is None
    assert notebook.cell("%rasteret") is notebook.variables["con"]
    assert notebook.cell(f"%rasteret {VALUES}").fetchall() == RIGHT


def test_a_plain_connection_gets_the_functions(notebook: Notebook) -> None:
    notebook.variables["plain"] = duckdb.connect()
    assert notebook.cell("%rasteret --con plain SELECT rasteret_value('landsat', 'POINT(-54.6 -25.4)', 'B4')").fetchall() == [(6248,)]


def test_a_cell_holds_several_statements_and_shows_the_last(notebook: Notebook) -> None:
    result = notebook.cell(f"%%rasteret --con con\nCREATE TABLE mine AS\n{VALUES};\n-- the brightest\nSELECT max(B4) AS red FROM mine;")
    assert result.fetchall() == [(8111,)]
    assert "red" in repr(result)
    for silent in ("CREATE TABLE empty (i INTEGER)", "INSERT INTO empty VALUES (1)", "SET VARIABLE rasteret_progress = false"):
        assert notebook.cell(f"%rasteret --con con {silent}") is None
    assert notebook.cell("%rasteret --con con INSERT INTO empty VALUES (2) RETURNING i").fetchall() == [(2,)]
    assert [row[0] for row in notebook.cell("%rasteret --con con DESCRIBE empty").fetchall()] == ["i"]


def test_results_are_variables_and_variables_are_tables(notebook: Notebook) -> None:
    assert notebook.cell(f"%%rasteret --con con values_now\n{VALUES}") is None
    notebook.cell("%rasteret --con con")
    assert notebook.variables["values_now"].df()["B4"].tolist() == [value for _, value in RIGHT]
    notebook.variables["names"] = pd.DataFrame({"id": [4], "name": ["square"]})
    assert notebook.cell("%rasteret SELECT name, B4 FROM values_now JOIN names USING (id)").fetchall() == [("square", 8111)]
    notebook.cell("answer = %rasteret SELECT count(*) FROM values_now")
    assert notebook.variables["answer"].fetchall() == [(5,)]


def test_a_statement_runs_once_however_often_its_result_is_looked_at(notebook: Notebook) -> None:
    notebook.cell("%rasteret --con con")
    (last,) = notebook.cell("%rasteret SELECT max(started) FROM rasteret_io(last := 1000)").fetchall()[0]
    later = "TRUE" if last is None else f"started > TIMESTAMP '{last}'"
    notebook.cell("%%rasteret chips\nFROM rasteret_read(landsat, plots, bands := ['B4'])")
    chips = notebook.variables["chips"]
    assert len(chips.df()) == len(chips.fetchall()) == len(rasteret_sql.to_numpy(chips, "B4")) == 7
    assert notebook.cell(f"%rasteret SELECT count(*) FROM rasteret_io(last := 1000) WHERE {later}").fetchall() == [(1,)]
    notebook.variables["again"] = records(str(data_dir()))
    notebook.cell("%%rasteret built\nFROM rasteret_build_from_table(again, name := 'again')")
    assert notebook.cell("%rasteret SELECT records FROM built").fetchall() == [(2,)]


def test_parameters_are_variables(notebook: Notebook) -> None:
    variables = notebook.variables
    variables |= {"wanted": "crop", "bands": ["B4"]}
    sql = "SELECT label, B4 FROM rasteret_sample(landsat, points, bands := $bands, match := 'latest') WHERE label = $wanted"
    assert notebook.cell(f"%%rasteret --con con\n{sql}").fetchall() == [("crop", 8080)]
    assert notebook.cell(f"%rasteret --con con {sql}").fetchall() == [("crop", 8080)]
    with pytest.raises(UsageError, match=r"\$wantd: no variable of this name; did you mean 'wanted'\?"):
        notebook.cell("%rasteret SELECT $wantd")
    with pytest.raises(UsageError, match="variables by name"):
        notebook.cell("%rasteret SELECT ?")


def test_braces_and_dollars_stay_as_they_are(notebook: Notebook) -> None:
    """IPython would put variables into lines; SQL has structs and dollar-quoted text."""
    notebook.variables["a"] = 1
    assert notebook.cell("%rasteret SELECT {'a': a} FROM (SELECT 7 AS a)").fetchall() == [({"a": 7},)]
    assert notebook.cell("%rasteret SELECT $$it's {a}$$").fetchall() == [("it's {a}",)]


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("%rasteret --con con FROM rasteret_read(landsat, plots, bands := ['B9'])", "unknown band 'B9'; bands: B2, B3, B4"),
        ("%rasteret SELECT rasteret_value('landsat', 'POINT(0 0', 'B4')", r"the geometry is no valid WKT: 'POINT\(0 0'$"),
        ("%rasteret SELEC 1", "syntax error"),
        ("%rasteret --con cno SELECT 1", "no variable 'cno'; did you mean 'con'.; DuckDB connections: con"),
        ("%rasteret --con In SELECT 1", "In is a list, no DuckDB connection"),
        ("%rasteret --con", "--con needs the name of a variable"),
        ("%%rasteret SELECT 1\nSELECT 2", "'SELECT 1' is no name for a result; the SQL begins on the next line"),
    ],
)
def test_mistakes_come_without_a_stack(notebook: Notebook, cell: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        notebook.cell(cell)
    assert "File " not in str(caught.value)
    assert notebook.cell("%rasteret SELECT 1").fetchall() == [(1,)]


def test_an_open_transaction_is_said(notebook: Notebook) -> None:
    notebook.variables["busy"] = duckdb.connect()
    notebook.variables["busy"].execute("BEGIN").fetchall()
    with pytest.raises(UsageError, match="open transaction"):
        notebook.cell("%rasteret --con busy SELECT 1")


def test_unloading_takes_the_magics_away(notebook: Notebook) -> None:
    notebook.cell("%unload_ext rasteret_sql")
    with pytest.raises(UsageError, match="not found"):
        notebook.cell("%rasteret SELECT 1")
    notebook.cell("%load_ext rasteret_sql")
    assert notebook.cell("%rasteret SELECT 1").fetchall() == [(1,)]
