"""Settings, and the folder of the collections: can it be written and locked, is there room, what did builds leave behind."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rasteret_sql.collection.links import known_names
from rasteret_sql.collection.lock import locked
from rasteret_sql.collection.remains import remains_of
from rasteret_sql.collection.workspace import workspace_path
from rasteret_sql.doctor.findings import Finding, broken, note, ok, size
from rasteret_sql.errors import RasteretError, near
from rasteret_sql.settings import FIELDS, GIB, MIB, Settings

_OTHERS = frozenset({"RASTERET_HTTP_HEADERS", "RASTERET_LEAVE_SIGNALS", "RASTERET_SERVE_TOKEN"})
"""Variables of ours that are no settings."""
_ELSEWHERE = "set RASTERET_WORKSPACE to a folder that you may write"
_LITTLE, _TOO_LITTLE = 2 * GIB, 100 * MIB


def check_variables() -> Iterator[Finding]:
    """Variables named like ours that mean nothing: misspelt, they would be passed over."""
    known = {*(f"RASTERET_{name.upper()}" for name in FIELDS), *_OTHERS}
    unknown = [name for name in os.environ if name.startswith("RASTERET_") and name not in known and not name.startswith("RASTERET_TEST")]
    for name in sorted(unknown):
        yield note("settings", f"{name} is set, but there is no such setting{near(name, known)}", f"unset {name}; FROM rasteret_settings() lists all")
    given = sorted(name for name in os.environ if name in known)
    yield ok("settings", f"from the environment: {', '.join(given)}" if given else "all as they are by default")


def check_workspace(settings: Settings) -> Iterator[Finding]:
    folder = workspace_path(settings.workspace)
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        yield broken("workspace", f"{folder} cannot be a folder: {there} is a file", _ELSEWHERE)
        return
    if reason := _unwritable(there):
        yield broken("workspace", f"{folder} cannot be written: {reason}", _ELSEWHERE)
        return
    if there != folder:
        yield ok("workspace", f"{folder} is made by the first build")
    else:
        yield ok("workspace", f"{folder}: {len(known_names(settings.workspace))} collections")
        yield from _lock(folder)
        yield from _left(folder)
    free = shutil.disk_usage(there).free
    if free < _TOO_LITTLE:
        yield broken("free space", f"{size(free)} free for {folder}", f"make room, or {_ELSEWHERE}")
    elif free < _LITTLE:
        yield note("free space", f"{size(free)} free for {folder}; an index takes about 1 kB per file", f"make room, or {_ELSEWHERE}")
    else:
        yield ok("free space", f"{size(free)}")


def _unwritable(folder: Path) -> str:
    """Why no file can be made in the folder; empty where one can."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".rasteret-doctor-"):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def _lock(folder: Path) -> Iterator[Finding]:
    """Locks keep two builds of one name apart; some network file systems have none."""
    try:
        with locked(folder / f".rasteret-doctor-{os.getpid()}.lock", "the doctor's lock", time.monotonic() + 2):
            return
    except (OSError, RasteretError) as error:
        yield note("workspace", f"its file system has no locks ({error})", f"never build one name from two processes at once, or {_ELSEWHERE}")


def _left(folder: Path) -> Iterator[Finding]:
    for name, (nbytes, running) in remains_of(folder).items():
        if running:
            yield ok("workspace", f"{name!r} is being built right now")
        else:
            fix = f"build {name!r} again, which goes on where it was; or: rasteret-sql collections delete {name}"
            yield note("workspace", f"a build of {name!r} did not end: {size(nbytes)} of it are kept", fix)
