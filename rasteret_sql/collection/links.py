"""Names in the workspace for collections that lie elsewhere: a small JSON file says where, which place and period of it is meant, and no more.

Nothing is copied: whoever opens the name opens the collection behind it, and place and period become filters on its Parquet files.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from rasteret_sql.collection.workspace import (
    BandInfo,
    Collection,
    Part,
    check_name,
    collection_names,
    local_path,
    open_collection,
    open_remote,
    workspace_path,
)
from rasteret_sql.errors import BandNotFound, InvalidArgument, InvalidRaster, listing, near, one_line, redact
from rasteret_sql.settings import Settings, resolve_settings

ENDING = ".link.json"
_FORMAT = 1
_PARTITION = re.compile(r"(?:^|/)(year|month)=([^/]*)(?=/)")


@dataclass(frozen=True, slots=True)
class Link:
    """What a name stands for."""

    name: str
    place: str
    """A URL, or an absolute path."""
    source: str = ""
    """What it is a part of: the id of a dataset."""
    part: Part = field(default_factory=Part)
    bands: tuple[str, ...] = ()
    """Those that are meant; none for all."""
    rewrites: Mapping[str, str] = field(default_factory=dict)
    """Prefixes of hrefs in the index that are to be exchanged."""


def is_url(place: str) -> bool:
    """Does it lie on a server? ``file://`` does not."""
    return "://" in place and not place.lower().startswith("file:")


def load(place: str, name: str | None = None, *, workspace: str | None = None, settings: Settings | None = None) -> str:
    """Give the collection at a path or URL a name in the workspace; returns the name. Nothing is copied.

    The name is by default the folder's or file's own. Raises :class:`CollectionNotFound` or :class:`InvalidRaster` where there is no collection,
    :class:`InvalidArgument` where the name is a built collection's.
    """
    chosen = settings or resolve_settings({"workspace": workspace})
    place = place if is_url(place) else str(local_path(place).resolve())
    found = open_remote(place, chosen) if is_url(place) else open_collection(Path(place))
    link = Link(check_name(name or re.sub(r"[^\w.\-]", "_", found.name)), place)
    save_link(link, chosen.workspace)
    return link.name


def open_link(link: Link, settings: Settings) -> Collection:
    """The collection behind a link, narrowed to the link's part of it. Files of other years or months are not opened."""

    def wanted(file: str) -> bool:
        return _may_hold(file, link.part)

    if is_url(link.place):
        found = open_remote(link.place, settings, name=link.name, rewrites=link.rewrites, wanted=wanted)
    else:
        found = open_collection(Path(link.place), link.name)
        found = replace(found, files=tuple(filter(wanted, found.files)) or found.files[:1])
    return replace(found, part=link.part, bands=_chosen(found, link.bands))


def _chosen(found: Collection, names: Sequence[str]) -> tuple[BandInfo, ...]:
    if not names:
        return found.bands
    known = {band.name: band for band in found.bands}
    if missing := [name for name in names if name not in known]:
        raise BandNotFound(f"{found.path} has no band {missing[0]!r}{near(missing[0], known)}; bands: {listing(known)}")
    return tuple(known[name] for name in names)


def _may_hold(file: str, part: Part) -> bool:
    """May a file hold records of the period, by its partition?"""
    folders = dict(_PARTITION.findall(file))
    if "year" not in folders or (part.start is None and part.end is None):
        return True
    if not all(value.isdecimal() for value in folders.values()):
        return False  # records without a time are in no period
    year, month = int(folders["year"]), int(folders.get("month", 0))
    first, last = (year, month or 1), (year, month or 12)
    return not (part.start is not None and last < (part.start.year, part.start.month)) and not (
        part.end is not None and first > (part.end.year, part.end.month)
    )


def links(workspace: str) -> dict[str, Path]:
    """Name → file of every link in the workspace."""
    return {file.name.removesuffix(ENDING): file for file in sorted(workspace_path(workspace).glob(f"*{ENDING}")) if not file.name.startswith(".")}


def known_names(workspace: str) -> dict[str, Path]:
    """All names in the workspace: of built collections and of links."""
    return {**links(workspace), **collection_names(workspace)}


def find_link(name: str, workspace: str) -> Link | None:
    """The link of this name; None where there is none. :class:`InvalidRaster` for a file that is no link."""
    file = links(workspace).get(name)
    return None if file is None else _read(name, file)


def save_link(link: Link, workspace: str) -> None:
    """Write it, whole or not at all; one of its name is exchanged."""
    if link.name in (built := collection_names(workspace)):
        raise InvalidArgument(f"{link.name!r} is the name of a collection built at {built[link.name]}; choose another name, or remove it")
    folder = workspace_path(workspace)
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{link.name}.{uuid.uuid4().hex[:8]}"
    text = json.dumps({"format": _FORMAT, **link_to_json(link)}, indent=2, ensure_ascii=False)
    try:
        aside.write_text(f"{text}\n", encoding="utf-8")
        aside.replace(folder / f"{link.name}{ENDING}")
    finally:
        aside.unlink(missing_ok=True)


def remove_link(name: str, workspace: str) -> bool:
    """Forget the name; what it stands for stays. Was there one?"""
    file = links(workspace).get(name)
    if file is not None:
        file.unlink(missing_ok=True)
    return file is not None


def link_row(name: str, file: Path) -> dict[str, Any]:
    """Its row of ``rasteret_collections()``: nothing behind it is opened, so records, bands and bytes are not known."""
    link = _read(name, file)
    first, last = (None if moment is None else moment.date().isoformat() for moment in (link.part.start, link.part.end))
    bounds = None if link.part.bbox is None else list(link.part.bbox)
    return {"name": name, "source": link.source or "link", "bands": list(link.bands) or None, "first": first, "last": last, "bounds": bounds} | {
        "path": redact(link.place)
    }


def _read(name: str, file: Path) -> Link:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        if said["format"] != _FORMAT:
            raise InvalidRaster(f"{file} was written by another version (format {said['format']!r}); this one reads {_FORMAT}")
        return replace(link_of_json(said), name=name)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRaster(f"{file} is no link to a collection ({one_line(str(error), 80)}); remove it") from None


def link_to_json(link: Link) -> dict[str, Any]:
    """As :func:`link_of_json` reads it."""
    box, start, end = link.part.bbox, link.part.start, link.part.end
    part = {"bbox": box and list(box), "start": start and start.isoformat(), "end": end and end.isoformat()}
    return {**asdict(link), "part": part, "bands": list(link.bands)}


def link_of_json(said: Mapping[str, Any]) -> Link:
    """KeyError, TypeError or ValueError for what :func:`link_to_json` did not write."""
    part = said["part"]
    start, end = (None if part[key] is None else datetime.fromisoformat(part[key]) for key in ("start", "end"))
    box = None
    if part["bbox"] is not None:
        west, south, east, north = map(float, part["bbox"])
        box = (west, south, east, north)
    bands = tuple(map(str, said["bands"]))
    return Link(str(said["name"]), str(said["place"]), str(said["source"]), Part(box, start, end), bands, dict(said["rewrites"]))
