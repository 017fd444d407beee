"""``rasteret-sql doctor``: does everything work here, and if not, what to do."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import textwrap
from argparse import Namespace
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from rasteret_sql.cli.arguments import Commands, add_common, command
from rasteret_sql.cli.output import write_json
from rasteret_sql.errors import RasteretError
from rasteret_sql.settings import Settings, resolve_settings

if TYPE_CHECKING:
    from rasteret_sql.doctor.findings import Finding

_MARKS = {"ok": "✓", "note": "!", "broken": "✗"}
_PLAIN = {"ok": "ok", "note": "!", "broken": "X"}
_NARROW = 60


def add_to(commands: Commands[Any]) -> None:
    doctor = command(
        commands,
        "doctor",
        "check this installation, its settings and credentials, and the places you name; exit status 1 when something is broken",
        ["doctor", "doctor s2 https://data.example.org/scene.tif", "doctor --network --json"],
        run=_run,
    )
    doctor.add_argument("places", nargs="*", metavar="URL|COLLECTION", help="files, URLs and collections to look at")
    doctor.add_argument("--network", action="store_true", help="also ask the public services of the dataset catalogue")
    add_common(doctor)


def _run(arguments: Namespace) -> None:
    found: list[Finding] = []
    place = ""
    for finding in _findings(arguments):
        found.append(finding)
        if arguments.json:
            continue
        if finding.place != place:
            place = finding.place
            sys.stdout.write(f"\n{place}\n")
        _write(finding)
    worst = [finding for finding in found if finding.level == "broken"]
    if arguments.json:
        write_json({"well": not worst, "findings": [dataclasses.asdict(finding) for finding in found]})
    else:
        notes = sum(finding.level == "note" for finding in found)
        said = f"{len(worst)} broken" if worst else "all is well"
        sys.stdout.write(f"\n{said}{f', {notes} worth a look' if notes else ''}\n")
    if worst:
        raise SystemExit(1)


def _findings(arguments: Namespace) -> Iterator[Finding]:
    """Packages first: what comes after needs them."""
    from rasteret_sql.doctor.findings import broken  # noqa: PLC0415 - `--help` loads no more than it needs
    from rasteret_sql.doctor.packages import check_packages  # noqa: PLC0415

    missing = False
    for finding in check_packages():
        missing |= finding.level == "broken" and finding.topic == "packages"
        yield finding
    if missing:
        return
    try:
        settings = resolve_settings({"workspace": arguments.workspace} if arguments.workspace else None)
    except RasteretError as error:
        yield broken("settings", str(error), "correct it, or unset it")
        return
    yield from _with(settings, arguments)


def _with(settings: Settings, arguments: Namespace) -> Iterator[Finding]:
    """What needs DuckDB and the reader."""
    from rasteret_sql.doctor.access import check_access  # noqa: PLC0415
    from rasteret_sql.doctor.engine import check_duckdb  # noqa: PLC0415
    from rasteret_sql.doctor.machine import check_machine  # noqa: PLC0415
    from rasteret_sql.doctor.places import check_network, check_place  # noqa: PLC0415
    from rasteret_sql.doctor.workspace import check_variables, check_workspace  # noqa: PLC0415

    checks: list[Iterable[Finding]] = [
        check_variables(),
        check_duckdb(),
        check_workspace(settings),
        check_machine(settings),
        check_access(settings),
        *(check_place(place, settings) for place in arguments.places),
    ]
    if arguments.network:
        checks.append(check_network(settings))
    for check in checks:
        yield from check


def _write(finding: Finding) -> None:
    """A mark, what was looked at, what was found; the fix below it. As wide as the terminal; one line each where there is none."""
    marks = _MARKS if _can_encode() else _PLAIN
    mark = marks[finding.level].ljust(max(map(len, marks.values())))
    wide = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    topic = finding.topic.ljust(12)
    lines = [f"{mark} {topic}  {finding.text}"]
    if finding.fix:
        lines.append(f"{' ' * len(mark)} {' ' * 12}  {'→' if marks is _MARKS else '->'} {finding.fix}")
    if wide >= _NARROW:
        indent = " " * (len(mark) + 15)
        lines = [part for line in lines for part in textwrap.wrap(line, wide - 1, initial_indent="", subsequent_indent=indent)]
    text = "\n".join(lines)
    encoding = sys.stdout.encoding or "ascii"
    sys.stdout.write(f"{text.encode(encoding, 'replace').decode(encoding)}\n")
    sys.stdout.flush()


def _can_encode() -> bool:
    try:
        "✓✗→".encode(sys.stdout.encoding or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True
