"""Writes docs/reference out of the functions' own descriptions, with the examples run and their answers set beneath them.

    python -m tools.make_reference [--out FOLDER]

The descriptions are those of ``rasteret_help()`` (rasteret_sql/sql/described_*.py); nobody edits the pages by hand. tests/docs holds that the pages
are what this script writes; tests/test_examples.py runs them once more, page by page.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb

import rasteret_sql
from rasteret_sql.reader.engine import engine
from rasteret_sql.sample import PLOTS, POINTS, RGBN_PLOTS, data_dir, records
from rasteret_sql.sample.server import SampleServer
from rasteret_sql.settings import FIELDS
from rasteret_sql.sql.catalogue import TABLE_FUNCTIONS, scalar_functions
from rasteret_sql.sql.described import Argument, Column, Description
from rasteret_sql.sql.manual import GROUPS
from tests.test_examples import results

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
MADE = "<!-- Written by tools/make_reference.py from rasteret_sql/sql/described_*.py: change those. -->\n"
SETUP = """\
FROM rasteret_build_from_table(scenes, name := 'landsat');
FROM rasteret_build_from_table(rgbn_scenes, name := 'rgbn');
"""
INDEX = """\
Every function, written from the descriptions that the functions carry themselves: `FROM rasteret_help('rasteret_zonal')` shows the same in SQL.
[The SQL guide](../sql.md) has the rules that hold for all of them: what a collection may be, where geometries come from, types, status.
"""
ERRORS = """\
## Errors

A wrong argument is found while DuckDB binds the statement: before anything is read, and before anything is built. The message is one line: what was
asked, what is valid, what you may have meant. Data that cannot be read end a statement too, with the file and the byte range, unless
`on_error := 'null'` keeps the row with status `error`. In Python each is a `duckdb.Error`, of the class that DuckDB gives it.

[Settings](settings.md) has the limits, and what they are for.
"""
SETTINGS = """\
A setting is a SQL variable of the connection, else an environment variable of its name in capitals (`RASTERET_MAX_BYTES`), else its default.
`RESET VARIABLE` goes back.
"""
SETTING = """\
SET VARIABLE rasteret_max_bytes = 1_000_000_000;
SELECT name, value FROM rasteret_settings() WHERE name = 'rasteret_max_bytes';
"""
_CLASS = re.compile(r"^([A-Z][A-Za-z ]+ Error: )+(Python exception occurred while executing the UDF: \w+: )?")


@contextlib.contextmanager
def sample() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection as the documents have it: sample tables, sample files in the working folder, an empty workspace, no tile in memory."""
    home, before = Path.cwd(), os.environ.get("RASTERET_WORKSPACE")
    with tempfile.TemporaryDirectory() as folder, SampleServer(data_dir()) as server, rasteret_sql.connect() as con:
        os.chdir(folder)
        os.environ["RASTERET_WORKSPACE"] = str(Path(folder) / "workspace")
        engine().cache.clear()
        try:
            for name in ("landsat", "rgbn"):
                Path(name).symlink_to(data_dir() / name, target_is_directory=True)
            for name, dataset in (("scenes", "landsat"), ("rgbn_scenes", "rgbn")):
                con.register("incoming", records(server.url, dataset))
                con.execute(f"CREATE TABLE {name} AS FROM incoming").fetchall()
                con.unregister("incoming")
            for name, file in (("points", POINTS), ("plots", PLOTS), ("rgbn_plots", RGBN_PLOTS)):
                con.execute(f"CREATE TABLE {name} AS FROM read_parquet('{data_dir() / file}')").fetchall()
            yield con
        finally:
            os.chdir(home)
            if before is None:
                del os.environ["RASTERET_WORKSPACE"]
            else:
                os.environ["RASTERET_WORKSPACE"] = before


def fence(language: str, body: str) -> str:
    return f"```{language}\n{body.rstrip()}\n```\n"


def refusal(con: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The first line of the error that a statement ends with, without DuckDB's name for it."""
    try:
        con.execute(sql).fetchall()
    except duckdb.Error as error:
        return _CLASS.sub("", str(error).splitlines()[0])
    raise SystemExit(f"this is no error: {sql}")


def cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")


def arguments_table(arguments: Mapping[str, Argument]) -> str:
    """Arguments with types, defaults and meaning."""
    lines = ["| argument | type | left out | means |", "|---|---|---|---|"]
    for name, said in arguments.items():
        word = re.fullmatch(r"'\w+'|false|true|\d+", said.default)
        default = "**needed**" if said.required else f"`{said.default}`" if word else cell(said.default) or "–"
        valid = f"; one of {', '.join(f'`{choice!r}`' for choice in said.choices)}" if said.choices else ""
        lines.append(f"| `{name}` | {cell(said.type)} | {default} | {cell(said.help)}{valid} |")
    return "\n".join(lines) + "\n"


def columns_table(columns: tuple[Column, ...], *, scalar: bool, after: bool) -> str:
    """Result columns with types and units; of a scalar form its one value. ``after``: they come after the user's own."""
    if scalar:
        (value,) = columns
        return f"One value, {value.type} for the band of the example: {value.help}.\n"
    lines = ["Your own columns come first, in their order and types. Then:\n"] if after else []
    lines += ["| column | type | unit | is |", "|---|---|---|---|"]
    lines += [f"| `{column.name}` | {cell(column.type)} | {column.unit} | {cell(column.help)} |" for column in columns]
    return "\n".join(lines) + "\n"


def links(see: tuple[str, ...]) -> str:
    parts = []
    for entry in see:
        words, _, target = entry.partition("|")
        parts.append(f"[{words}]({target.removeprefix('reference/') if target.startswith('reference/') else f'../{target}'})")
    return f"More: {', '.join(parts)}.\n" if parts else ""


def file_of(name: str, kind: str) -> str:
    """The scalar forms that share their name with a table form have pages of their own."""
    return f"{name}_scalar.md" if kind == "scalar" and any(f.name == name for f in TABLE_FUNCTIONS) else f"{name}.md"


def wrapped(signature: str) -> str:
    """A signature in lines of at most 88 characters, arguments below each other's start."""
    head, _, rest = signature.partition("(")
    lines, line = [], f"{head}("
    for part in re.split(r"(?<=, )", rest):
        if len(line) + len(part) > 88:
            lines.append(line.rstrip())
            line = " " * (len(head) + 1)
        line += part
    return "\n".join([*lines, line])


def page(name: str, kind: str, signature: str, said: Description) -> str:
    """One function's page; its examples are run here."""
    scalar = kind == "scalar"
    title = name if file_of(name, kind) == f"{name}.md" else f"{name} (scalar form)"
    parts = [f"# {title}\n", MADE, fence("text", wrapped(signature)), f"{said.about}\n"]
    if said.arguments:
        parts += ["## Arguments\n", arguments_table(said.arguments)]
    after = bool({"points", "geometries"} & said.arguments.keys()) and name != "rasteret_plan"
    parts += ["## Result\n", columns_table(said.columns, scalar=scalar, after=after)]
    needs = fence("sql", SETUP) + (f"\n{fence('python', said.before)}" if said.before else "")
    with sample() as con:
        results(con, SETUP)
        if said.before:
            exec(compile(said.before, name, "exec"), {"con": con, "__name__": "__main__"})
        answer = results(con, said.example)[-1][1]
        before = f'<details class="note" markdown>\n<summary>Run this first</summary>\n\n{needs}\n</details>\n'
        parts += ["## Example\n", before, fence("sql", said.example), fence("text", answer)]
        if said.refused:
            parts.append("## Errors\n")
            for sql in said.refused:
                parts += [fence("sql error", sql), fence("text", refusal(con, sql))]
    parts.append(links(said.see))
    return "\n".join(part for part in parts if part)


def index(known: Mapping[tuple[str, str], tuple[str, str]]) -> str:
    """The page with all functions, by group."""
    parts = ["# SQL reference\n", MADE, INDEX]
    for group, members in GROUPS.items():
        parts += [f"## {group}\n", "| function | does |\n|---|---|"]
        kind = "scalar" if group == "Scalar forms" else "table"
        parts.append("\n".join(f"| [`{name}`]({file_of(name, kind)}) | {cell(known[name, kind][1])} |" for name in members) + "\n")
    return "\n".join([*parts, ERRORS])


def settings_page() -> str:
    """All settings."""
    lines = ["# Settings\n", MADE, SETTINGS]
    with sample() as con:
        lines += [fence("sql", SETTING), fence("text", results(con, SETTING)[-1][1])]
        wrong = "SET VARIABLE rasteret_max_bytes = -1;\nFROM rasteret_settings();"
        (first, second) = con.extract_statements(wrong)
        con.execute(first).fetchall()
        lines += ["A value that is not valid is an error of the next statement that uses it:\n", fence("sql error", wrong)]
        lines += [fence("text", refusal(con, second.query)), "| variable | default | is |\n|---|---|---|"]
    for name, spec in FIELDS.items():
        default = f"`{spec.default}`" if spec.default != "" else "none"
        lines.append(f"| `rasteret_{name}` | {default} | {cell(spec.metadata['help'])} |")
    return "\n".join(lines) + "\n\nWhat each bounds in practice: [the SQL guide](../sql.md#settings); keys and tokens: [access](../access.md).\n"


def pages() -> dict[str, str]:
    """Every page by its file's name."""
    known = {(f.name, "table"): (f.signature, f.help) for f in TABLE_FUNCTIONS}
    known |= {(f.name, "scalar"): (f.signature, f.help) for f in scalar_functions({}, {})}
    made = {"index.md": index(known), "settings.md": settings_page()}
    for group, members in GROUPS.items():
        kind = "scalar" if group == "Scalar forms" else "table"
        made |= {file_of(name, kind): page(name, kind, known[name, kind][0], said) for name, said in members.items()}
    return made


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=REFERENCE)
    out = parser.parse_args(argv).out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    made = pages()
    for old in out.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, words in made.items():
        (out / name).write_text(words, encoding="utf-8")
    print(f"{len(made)} pages in {out}")


if __name__ == "__main__":
    main()
