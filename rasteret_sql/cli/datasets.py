"""``rasteret-sql datasets``: what there is to build from, and datasets of one's own."""

from __future__ import annotations

import dataclasses
import json
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rasteret_sql
from rasteret_sql.cli.arguments import Commands, add_common, command, pairs
from rasteret_sql.cli.build import example
from rasteret_sql.cli.output import write_facts, write_json, write_table
from rasteret_sql.errors import InvalidArgument, listing, near, redact

if TYPE_CHECKING:
    from rasteret_sql.collection.datasets import Dataset

_COLUMNS = ("id", "bands", "coverage", "dates", "auth", "licence")
_DESCRIPTOR = ("name", "path", "api", "collection", "band_map", "description", "licence", "coverage")
"""Members of a dataset's descriptor file: the arguments of ``register_local``."""
_PREFIX = "local/"


def add_to(commands: Commands[Any]) -> None:
    group = command(commands, "datasets", "the datasets that can be built from", ["datasets list", "datasets info pc/nasadem"]).commands()
    shown = command(group, "list", "list all datasets", ["datasets list", "datasets list --json"], run=_list)
    info = command(group, "info", "all about one dataset: bands, access, licence, how to build it", ["datasets info pc/nasadem"], run=_info)
    info.add_argument("id", metavar="ID")
    register = command(
        group,
        "register-local",
        "list a dataset of your own as local/NAME: a collection that is there, or a STAC catalogue to build from",
        [
            "datasets register-local mine --api https://stac.example.org/v1 --collection scenes --band-map B04=red,B08=nir",
            "datasets register-local archive --path /data/archive_records",
            "datasets register-local --file mine.json",
        ],
        run=_register,
    )
    register.add_argument("name", nargs="?", metavar="NAME")
    register.add_argument("--path", help="folder, file or URL of a built collection")
    register.add_argument("--api", help="root of a STAC API or static catalogue (URL or path)")
    register.add_argument("--collection", metavar="ID", help="collection of the catalogue")
    register.add_argument("--band-map", type=pairs, metavar="BAND=ASSET,…", help="asset of each band, as in B04=red,NIR=image[3]")
    for option in ("--description", "--licence", "--coverage"):
        register.add_argument(option, default="", metavar="TEXT")
    register.add_argument("--file", metavar="JSON", help="read all of that from a file that export-local wrote")
    unregister = command(
        group, "unregister-local", "take a dataset of your own off the list; its files stay", ["datasets unregister-local mine"], run=_unregister
    )
    unregister.add_argument("name", metavar="NAME")
    export = command(
        group,
        "export-local",
        "write a dataset of your own as a file for others, which register-local --file reads",
        ["datasets export-local mine mine.json", "datasets export-local mine"],
        run=_export,
    )
    export.add_argument("name", metavar="NAME")
    export.add_argument("file", nargs="?", metavar="FILE", help="default: stdout")
    for parser in (shown, info, register, unregister, export):
        add_common(parser)


def _list(arguments: Namespace) -> None:
    rows = [_row(dataset) for dataset in rasteret_sql.datasets(workspace=arguments.workspace).values()]
    if arguments.json:
        write_json(rows)
    else:
        write_table(_COLUMNS, [row | {"bands": _short(row["bands"])} for row in rows], none="no datasets")


def _info(arguments: Namespace) -> None:
    row = _row(_find(arguments.id, arguments.workspace))
    if arguments.json:
        write_json(row)
    else:
        write_facts(row)


def _find(name: str, workspace: str | None) -> Dataset:
    known = rasteret_sql.datasets(workspace=workspace)
    if name not in known:
        raise InvalidArgument(f"unknown dataset {name!r}{near(name, known)}; datasets: {listing(known)}")
    return known[name]


def _row(dataset: Dataset) -> dict[str, Any]:
    """What users want to know; URLs without their query strings, which may hold secrets."""
    said = dataclasses.asdict(dataset)
    kept = ("id", "name", "description", "api", "collection", "bands", "dates", "coverage", "auth", "licence", "requester_pays", "region")
    row = {name: said[name] for name in kept} | {"api": redact(dataset.api), "url": redact(dataset.collection_url)}
    needs = [name for name, needed in (("bbox", dataset.needs_bbox), ("dates", dataset.needs_dates)) if needed]
    return row | {"needs": needs, "example": example(dataset) if dataset.is_stac else None}


def _short(bands: Mapping[str, str]) -> str:
    return listing(bands, 4)


def _register(arguments: Namespace) -> None:
    given = {name: getattr(arguments, name) for name in _DESCRIPTOR if getattr(arguments, name)}
    if arguments.file is not None:
        given = _read(Path(arguments.file)) | given
    if "name" not in given:
        raise InvalidArgument("a name is missing: rasteret-sql datasets register-local NAME …")
    registered = rasteret_sql.register_local(**given, workspace=arguments.workspace)
    if arguments.json:
        write_json(_row(_find(registered, arguments.workspace)))
    else:
        sys.stdout.write(f"registered {registered}\n")


def _read(file: Path) -> dict[str, Any]:
    """A descriptor; :class:`InvalidArgument` where the file is none."""
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidArgument(f"{file} is no JSON: {error}") from None
    if not isinstance(said, dict):
        raise InvalidArgument(f"{file} is no descriptor of a dataset: an object with {listing(_DESCRIPTOR)} is")
    if unknown := [name for name in said if name not in _DESCRIPTOR]:
        raise InvalidArgument(f"{file}: {unknown[0]!r} is no member of a dataset{near(unknown[0], _DESCRIPTOR)}; members: {listing(_DESCRIPTOR)}")
    for name, value in said.items():
        if not isinstance(value, dict if name == "band_map" else str):
            raise InvalidArgument(f"{file}: {name} is {value!r}; {'an object of texts' if name == 'band_map' else 'a text'} is valid")
    return said


def _unregister(arguments: Namespace) -> None:
    rasteret_sql.unregister_local(arguments.name, workspace=arguments.workspace)
    name = f"{_PREFIX}{arguments.name.removeprefix(_PREFIX)}"
    if arguments.json:
        write_json({"unregistered": name})
    else:
        sys.stdout.write(f"unregistered {name}\n")


def _export(arguments: Namespace) -> None:
    dataset = _find(f"{_PREFIX}{arguments.name.removeprefix(_PREFIX)}", arguments.workspace)
    every = {
        "name": dataset.id.removeprefix(_PREFIX),
        "path": redact(dataset.collection_url),
        "api": redact(dataset.api),
        "collection": dataset.collection,
        "band_map": dict(dataset.bands),
        "description": dataset.description,
        "licence": dataset.licence,
        "coverage": dataset.coverage,
    }
    said = {name: value for name, value in every.items() if value}
    if arguments.file is None or arguments.json:
        write_json(said)
    if arguments.file is not None:
        Path(arguments.file).write_text(f"{json.dumps(said, indent=2, ensure_ascii=False)}\n", encoding="utf-8")
