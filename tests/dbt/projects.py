"""The real dbt on copies of projects.

dbt lies in an environment of its own, with this package: ``pip install -e . -r tests/dbt/requirements.txt``. Its Python is
``RASTERET_TEST_DBT_PYTHON``, else ``.venv-dbt/bin/python`` in the repository, else the interpreter that runs the tests. Database files are read
with that Python too, since their format is that of its DuckDB.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = ROOT / "sql_examples" / "dbt"
TIMEOUT_S = 600
_ASK = """
import json, sys
import duckdb
database, workspace, registered, *statements = json.loads(sys.stdin.read())
if registered:
    import rasteret_sql
    con = rasteret_sql.connect(database)
    con.execute("SET VARIABLE rasteret_workspace = $folder", {"folder": workspace}).fetchall()
else:
    con = duckdb.connect(database)
answers = []
for statement in statements:
    try:
        answers.append(con.execute(statement).fetchall())
    except duckdb.Error as error:
        answers.append(str(error).splitlines()[0])
print(json.dumps(answers, default=str))
"""


def dbt_python() -> str | None:
    """The interpreter that has dbt."""
    own = ROOT / ".venv-dbt/bin/python"
    named = os.environ.get("RASTERET_TEST_DBT_PYTHON") or (str(own) if own.exists() else None)
    return named or (sys.executable if importlib.util.find_spec("dbt") else None)


def missing() -> str | None:
    """What these tests lack on this machine."""
    return None if dbt_python() else "no environment with dbt (RASTERET_TEST_DBT_PYTHON)"


def _found_python() -> str:
    found = dbt_python()
    assert found is not None, missing()
    return found


def python(code: str, given: str = "", *, cwd: Path | None = None) -> str:
    """What a program prints that dbt's Python runs."""
    done = subprocess.run(
        [_found_python(), "-P", "-c", code],
        input=given,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        cwd=cwd,
        env=_environment({}),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Ours without what would reach dbt or our settings from outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DBT_", "RASTERET_", "PLOTS_", "PYTHONWARNINGS"))}
    return {**kept, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DO_NOT_TRACK": "1", **extra}


@dataclass(frozen=True)
class Ran:
    """One dbt command that has ended."""

    code: int
    text: str
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name of the model, seed or test → its entry in ``run_results.json``."""

    def message(self, name: str) -> str:
        """What dbt reports of a node that failed, without dbt's heading."""
        heading, _, rest = str(self.results[name]["message"]).partition("\n")
        assert "Error in model" in heading, heading
        return rest.strip()


@dataclass
class Project:
    """A dbt project in a temporary folder."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    @classmethod
    def example(cls, folder: Path, imagery: str) -> Project:
        """A copy of the example project that reads its imagery from a server."""
        kept = shutil.ignore_patterns("target", "logs", "workspace", "*.duckdb", "*.duckdb.wal", "*.parquet", ".user.yml")
        shutil.copytree(EXAMPLE, folder, ignore=kept)
        return cls(folder, {"IMAGERY": imagery.rstrip("/")})

    def command(self, *arguments: str) -> list[str]:
        return [str(Path(_found_python()).parent / "dbt"), "--no-use-colors", *arguments]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """dbt in a process group of its own, running."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=_environment(self.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def dbt(self, *arguments: str) -> Ran:
        """Run dbt to its end."""
        results = self.folder / "target" / "run_results.json"
        results.unlink(missing_ok=True)
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=_environment(self.environ),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        found = json.loads(results.read_text())["results"] if results.exists() else []
        return Ran(done.returncode, done.stdout + done.stderr, {entry["unique_id"].split(".")[2]: entry for entry in found})

    def ran(self, *arguments: str) -> Ran:
        """Run dbt, and all is well."""
        ran = self.dbt(*arguments)
        assert ran.code == 0, ran.text
        return ran

    def update(self, *arguments: str) -> Ran:
        """``dbt build`` without the project's tests."""
        return self.ran("build", "--resource-type", "seed", "--resource-type", "model", *arguments)

    def ask(self, *statements: str, database: str = "plots.duckdb", registered: bool = False) -> list[Any]:
        """What statements answer on the project's database file: rows, or the first line of an error. Without ``registered``, in a bare DuckDB."""
        given = json.dumps([str(self.folder / database), str(self.folder / "workspace"), registered, *statements])
        return list(json.loads(python(_ASK, given, cwd=self.folder)))

    def rows(self, statement: str, database: str = "plots.duckdb") -> list[list[Any]]:
        """The rows of one statement."""
        (answer,) = self.ask(statement, database=database)
        assert isinstance(answer, list), answer
        return answer

    def seed(self, name: str) -> list[dict[str, str]]:
        with (self.folder / "seeds" / f"{name}.csv").open(newline="", encoding="utf-8") as source:
            return list(csv.DictReader(source))

    def write_seed(self, name: str, rows: Sequence[Mapping[str, str]]) -> None:
        with (self.folder / "seeds" / f"{name}.csv").open("w", newline="", encoding="utf-8") as target:
            writer = csv.DictWriter(target, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
