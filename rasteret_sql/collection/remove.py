"""Removing a collection from the workspace: its folder, what builds keep beside it, and nothing else."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from rasteret_sql.collection.links import known_names, remove_link
from rasteret_sql.collection.lock import locked
from rasteret_sql.collection.remains import remains_of, remove_remains
from rasteret_sql.collection.remote import MANIFEST
from rasteret_sql.collection.workspace import SUFFIXES, collection_names, lock_file, open_collection, workspace_path
from rasteret_sql.collection.write import PRIVATE, recover
from rasteret_sql.errors import CollectionNotFound, InvalidArgument, RasteretError, listing, near
from rasteret_sql.settings import Settings

_OURS = (*PRIVATE, MANIFEST)


def remove_collection(name: str, settings: Settings) -> Path:
    """Remove the collection of this name; returns where it was. The rasters that it names stay, and so does what a link stands for.

    The folder first takes a hidden name, so that no reader finds half of it. What builds that did not end left goes too, and may be all there is of a
    name. Links are not followed: of a link to a folder elsewhere, the link alone is removed. Raises :class:`CollectionNotFound`, and
    :class:`InvalidArgument` for a folder that holds anything but a collection.
    """
    workspace = workspace_path(settings.workspace)
    known = known_names(settings.workspace)
    nothing = CollectionNotFound(f"no collection {name!r}{near(name, known)}; built: {listing(known)}")
    if name not in known and name not in remains_of(workspace):
        raise nothing
    with locked(lock_file(workspace, name), f"collection {name!r}", time.monotonic() + settings.timeout_s):
        for suffix in SUFFIXES:
            recover(workspace / f"{name}{suffix}")
        found = collection_names(settings.workspace).get(name)
        if found is None:
            left = remove_remains(workspace, name)
            if name not in known:
                if not left:
                    raise nothing
                return left[0]
            remove_link(name, settings.workspace)
            return known[name]
        folders = [found, *(folder for suffix in SUFFIXES if (folder := workspace / f"{name}{suffix}") != found and folder.is_dir())]
        for folder in folders:
            if not folder.is_symlink():
                check_is_collection(folder)
        for folder in folders:
            _remove(folder)
            for kept in _beside(folder):
                shutil.rmtree(kept, ignore_errors=True)
        remove_remains(workspace, name)
    return found


def check_is_collection(folder: Path) -> None:
    """Does the folder hold a collection, and nothing else? :class:`InvalidArgument` names what else there is."""
    try:
        open_collection(folder)
    except RasteretError as error:
        raise InvalidArgument(f"{folder} is not removed: {error}") from None
    check_nothing_else(folder, "removed")


def check_nothing_else(folder: Path, what: str) -> None:
    """:class:`InvalidArgument` for a folder that holds files which no build wrote; says what is not done with it."""
    for file in folder.rglob("*"):
        if file.is_symlink() or not (file.is_dir() or file.suffix == ".parquet" or file.name in _OURS):
            raise InvalidArgument(f"{folder} is not {what}: it holds {file.relative_to(folder)}, which no build wrote; take it away first")


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
        return
    hidden = folder.with_name(f".{folder.name.lstrip('.')}.removed-{uuid.uuid4().hex[:8]}")
    folder.rename(hidden)
    shutil.rmtree(hidden)


def _beside(folder: Path) -> Iterator[Path]:
    """The hidden folders of finished builds: generations, half an exchange."""
    for pattern in (".{}.kept-*", ".{}.links", ".{}.replaced"):
        yield from (kept for kept in folder.parent.glob(pattern.format(folder.name)) if not kept.is_symlink())
