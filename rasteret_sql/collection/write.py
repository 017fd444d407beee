"""Putting a collection in its place, at once or not at all, under the eyes of those who read the one before.

A collection is a folder of hard links to the files of a *generation*, a hidden folder beside it that never changes. Our own queries read the
generation, so a query that has begun keeps its files while the folder is exchanged; generations that were replaced stay for an hour. Where the file
system has no hard links the folder itself is read, and such a query fails: files of two builds then never share a name, so it cannot mix them.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rasteret_sql.collection.schema import VERSION
from rasteret_sql.collection.workspace import EXTENTS, FAILURES_FILE, GENERATION, REPLACED, drop_footers, generation_folder

PRIVATE = ("_build.json", "_keys.arrow")
"""Files for the next build, which stay in the generation's folder."""
KEEP_S = 3600.0
"""How long a generation stays after it was replaced: longer than a query's deadline."""


def collection_metadata(
    name: str,
    source: str,
    *,
    dates: tuple[datetime | None, datetime | None],
    dtypes: Mapping[str, Sequence[str]],
    geometry_types: Iterable[str],
    bounds: Sequence[float] | None,
    extents: tuple[float, float] | None,
    generation: str = "",
) -> dict[str, str]:
    """Schema metadata: the collection's own description and GeoParquet 1.1 with a bbox covering."""
    days = [value.date().isoformat() if value else "" for value in dates]
    geometry: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": sorted(geometry_types),
        "covering": {"bbox": {corner: ["bbox", corner] for corner in ("xmin", "ymin", "xmax", "ymax")}},
    }
    if bounds is not None:
        geometry["bbox"] = list(bounds)
    written = {GENERATION: generation} if generation else {}
    if extents is not None:
        written[EXTENTS] = json.dumps(extents)
    return written | {
        "name": name,
        "description": "",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data_source": source,
        "date_range": ",".join(days) if any(days) else "",
        "rasteret_collection_version": VERSION,
        "rasteret_sql:dtypes": json.dumps({band: list(names) for band, names in dtypes.items()}),
        "geo": json.dumps({"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}),
    }


def has_links(folder: Path) -> bool:
    """Can files of the folder have a second name?"""
    first, second = (folder / f".link-{number}" for number in (1, 2))
    try:
        first.touch()
        second.hardlink_to(first)
    except OSError:
        return False
    finally:
        for file in (first, second):
            file.unlink(missing_ok=True)
    return True


def put_in_place(aside: Path, folder: Path, generation: str, *, linked: bool) -> None:
    """Make the finished files of ``aside`` the collection ``folder``; ``linked``: by second names, the first ones are the generation's."""
    if not linked:
        swap_in(aside, folder)
    else:
        kept = generation_folder(folder, generation)
        links = folder.parent / f".{folder.name}.links"
        shutil.rmtree(links, ignore_errors=True)
        aside.rename(kept)
        shutil.copytree(kept, links, copy_function=os.link, ignore=shutil.ignore_patterns(*PRIVATE))
        swap_in(links, folder)
    drop_footers()


def save_failures(folder: Path, failures: pa.Table) -> None:
    """Replace the list of what could not be indexed."""
    file = folder / FAILURES_FILE
    if len(failures):
        aside = file.with_name(f".{file.name}")
        pq.write_table(failures, aside, compression="zstd")
        aside.replace(file)
    else:
        file.unlink(missing_ok=True)


def clean_up(folder: Path, current: str | None, *, keep_s: float = KEEP_S) -> None:
    """Remove generations that were replaced more than ``keep_s`` ago; the time of replacement is noted when it is first seen."""
    mine = None if current is None else generation_folder(folder, current)
    for kept in folder.parent.glob(generation_folder(folder, "*").name):
        if kept == mine:
            continue
        note = kept / "_replaced"
        with suppress(OSError):
            if not note.exists():
                note.touch()
            elif time.time() - note.stat().st_mtime > keep_s:
                shutil.rmtree(kept)


def swap_in(aside: Path, folder: Path) -> None:
    """Exchange ``folder`` for ``aside``. Between the two renames the old one waits under a name that readers and :func:`recover` know."""
    replaced = _replaced_name(folder)
    recover(folder)
    if folder.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        folder.rename(replaced)
    aside.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)


def recover(folder: Path) -> None:
    """Undo half a swap (a process died between its two renames), or finish a whole one."""
    replaced = _replaced_name(folder)
    if not folder.exists() and replaced.exists():
        replaced.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)


def _replaced_name(folder: Path) -> Path:
    return folder.parent / f".{folder.name}{REPLACED}"
