"""What builds and removals that were stopped leave in a workspace: hidden folders, which the next build of the name uses or takes away.

``.NAME_records.building`` holds the batches of a build that did not end; the same build goes on with them. ``.NAME_stac.removed-…`` is half of a
removal. No collection is among them: where a build died while it exchanged folders, the old one waits under a name of its own
(:func:`rasteret_sql.collection.write.recover`), which is never touched here.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from rasteret_sql.collection.lock import is_held
from rasteret_sql.collection.workspace import SUFFIXES, lock_file

BUILDING = ".building"
_REMOVED = ".removed-"


def building_folder(folder: Path) -> Path:
    """Where the batches of a collection's running build are kept."""
    return folder.with_name(f".{folder.name}{BUILDING}")


def remains_of(workspace: Path) -> dict[str, tuple[int, bool]]:
    """Name → (bytes, is it being built right now) of builds that have not ended."""
    found: dict[str, tuple[int, bool]] = {}
    for suffix in SUFFIXES:
        for folder in workspace.glob(f".*{suffix}{BUILDING}"):
            name = folder.name.removeprefix(".").removesuffix(f"{suffix}{BUILDING}")
            nbytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            found[name] = (found.get(name, (0, False))[0] + nbytes, is_held(lock_file(workspace, name)))
    return found


def remove_remains(workspace: Path, name: str, *, but: Path | None = None) -> list[Path]:
    """Remove what stopped builds and removals of ``name`` left, under its lock; not the batches of the collection ``but``. Returns what went."""
    gone = [folder for folder in _remains(workspace, name) if but is None or folder != building_folder(but)]
    for folder in gone:
        shutil.rmtree(folder, ignore_errors=True)
    return gone


def _remains(workspace: Path, name: str) -> Iterator[Path]:
    for folder in (workspace / f"{name}{suffix}" for suffix in SUFFIXES):
        for kept in (building_folder(folder), *workspace.glob(f".{folder.name}{_REMOVED}*")):
            if kept.is_dir() and not kept.is_symlink():
                yield kept
