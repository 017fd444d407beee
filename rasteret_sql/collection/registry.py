"""Datasets of one's own, listed beside the public ones: one JSON file in the workspace, written whole or not at all."""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, fields, replace
from pathlib import Path

from rasteret_sql.collection.datasets import DATASETS, Dataset
from rasteret_sql.collection.lock import locked
from rasteret_sql.collection.stac.bands import parse_band_map
from rasteret_sql.collection.workspace import local_path, workspace_path
from rasteret_sql.errors import InvalidArgument, InvalidRaster, listing, near, one_line
from rasteret_sql.settings import resolve_settings

FILE = "local_datasets.json"
PREFIX = "local/"
_FORMAT = 1
_NAME = re.compile(r"[\w][\w.\-]*")
_WAIT_S = 10.0


def register_local(
    name: str,
    path: str | os.PathLike[str] | None = None,
    *,
    api: str | None = None,
    collection: str | None = None,
    band_map: Mapping[str, str] | None = None,
    description: str = "",
    licence: str = "",
    coverage: str = "",
    workspace: str | None = None,
) -> str:
    """List a dataset as ``local/<name>``; returns that id. A name that is there already is exchanged.

    Either ``path``, a built collection (a folder, file or URL), or ``api`` with ``band_map``: a STAC API or static catalogue that
    ``rasteret_build('local/<name>', …)`` then builds from. Raises :class:`InvalidArgument`.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgument(f"{name!r} is no name of a dataset; letters, digits, '_', '-' and '.' are valid")
    if (path is None) == (api is None):
        raise InvalidArgument("a local dataset is either path := a collection, or api := a STAC catalogue with band_map")
    dataset = Dataset(id=f"{PREFIX}{name}", name=name, description=description, licence=licence, coverage=coverage, needs_dates=False)
    if path is not None:
        dataset = replace(dataset, collection_url=_absolute(os.fspath(path)))
    elif api is not None:
        parse_band_map(band_map or {})
        if not band_map:
            raise InvalidArgument("a STAC dataset needs band_map, such as {'B04': 'red'}")
        dataset = replace(dataset, api=_absolute(api), collection=collection or "", bands=dict(band_map))
    file = _file(workspace)
    with _changing(file):
        _write(file, {**_read(file), dataset.id: dataset})
    return dataset.id


def unregister_local(name: str, *, workspace: str | None = None) -> None:
    """Take a dataset off the list; its files stay. The name with or without ``local/``."""
    file = _file(workspace)
    with _changing(file):
        known = _read(file)
        key = name if name.startswith(PREFIX) else f"{PREFIX}{name}"
        if key not in known:
            raise InvalidArgument(f"no local dataset {key!r}{near(key, known)}; registered: {listing(known)}")
        _write(file, {other: dataset for other, dataset in known.items() if other != key})


def datasets(workspace: str) -> dict[str, Dataset]:
    """All datasets by id: the public ones, then those registered in the workspace."""
    return {**DATASETS, **_read(_file(workspace))}


def find_dataset(name: str, workspace: str) -> Dataset:
    """The dataset of this id; :class:`InvalidArgument` names what comes near."""
    known = datasets(workspace)
    if name not in known:
        raise InvalidArgument(f"unknown dataset {name!r}{near(name, known)}; datasets: {listing(known)}")
    return known[name]


def read_ready_place(name: str, workspace: str) -> str | None:
    """Path or URL of the read-ready collection that a dataset's id stands for; None for every other name."""
    if name not in DATASETS and not name.startswith(PREFIX):
        return None
    found = datasets(workspace).get(name)
    return found.collection_url or None if found else None


def _absolute(place: str) -> str:
    return place if "://" in place else str(local_path(place).resolve())


def _file(workspace: str | None) -> Path:
    return workspace_path(workspace or resolve_settings().workspace) / FILE


def _changing(file: Path) -> AbstractContextManager[bool]:
    """Two processes that change the list at once do not lose each other's change."""
    return locked(file.with_name(f".{FILE}.lock"), "the list of local datasets", time.monotonic() + _WAIT_S)


def _read(file: Path) -> dict[str, Dataset]:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        if stored["format"] != _FORMAT:
            raise InvalidRaster(f"{file} was written by another version (format {stored['format']!r}); this one reads {_FORMAT}")
        known = {spec.name for spec in fields(Dataset)}
        return {entry["id"]: Dataset(**{key: value for key, value in entry.items() if key in known}) for entry in stored["datasets"]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidRaster(f"{file} is no list of datasets ({one_line(str(error), 80)}); remove it, or mend it") from None


def _write(file: Path, known: Mapping[str, Dataset]) -> None:
    text = json.dumps({"format": _FORMAT, "datasets": [asdict(dataset) for dataset in known.values()]}, indent=2, ensure_ascii=False)
    aside = file.with_name(f".{FILE}.{uuid.uuid4().hex[:8]}")
    try:
        aside.write_text(f"{text}\n", encoding="utf-8")
        aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)
