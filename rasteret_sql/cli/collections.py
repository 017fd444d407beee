"""``rasteret-sql collections``: the collections of the workspace, made, looked at, taken in, given away, removed."""

from __future__ import annotations

import dataclasses
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rasteret_sql
from rasteret_sql.cli.arguments import Commands, Parser, add_common, command, names, pairs
from rasteret_sql.cli.build import add_build, add_search, run_dataset, tell
from rasteret_sql.cli.output import size, write_facts, write_json, write_table
from rasteret_sql.errors import InvalidArgument, RasteretError

if TYPE_CHECKING:
    from rasteret_sql.api import Collection

_COLUMNS = ("name", "records", "bands", "first", "last", "size", "source")
_TABLES = (".parquet", ".geoparquet", ".parq", ".csv", ".tsv")


def add_to(commands: Commands[Any]) -> None:
    group = command(commands, "collections", "the collections of the workspace", ["collections list", "collections info s2"]).commands()
    shown = command(group, "list", "list all collections", ["collections list", "collections list --json"], run=_list)
    info = command(group, "info", "all about one collection", ["collections info s2", "collections info out/s2"], run=_info)
    info.add_argument("name", metavar="NAME", help="a collection's name, or the path or URL where one lies")
    _add_build(group)
    taken = command(
        group,
        "import",
        "take in a collection: the index of a folder is copied, a URL gets a name; the rasters stay where they are",
        ["collections import /data/archive_records --name archive", "collections import s3://bucket/s2 --name s2"],
        run=_import,
    )
    taken.add_argument("path", metavar="PATH", help="folder or file of a collection, or its URL")
    taken.add_argument("--name", required=True, help="its name in SQL")
    taken.add_argument("--force", action="store_true", help="replace a collection of that name")
    given = command(
        group,
        "export",
        "write a collection to a folder or s3:// as partitioned GeoParquet",
        ["collections export s2 out/s2", "collections export s2 s3://bucket/s2 --partition-by year"],
        run=_export,
    )
    given.add_argument("name", metavar="NAME")
    given.add_argument("place", metavar="PLACE", help="a folder, or s3://bucket/prefix")
    given.add_argument("--partition-by", type=names, metavar="COLUMNS", help="columns of the folders (year,month)")
    given.add_argument("--force", action="store_true", help="replace what an export left there")
    removed = command(
        group,
        "delete",
        "remove a collection from the workspace; the rasters stay",
        ["collections delete s2", "collections delete s2 --yes"],
        run=_delete,
    )
    removed.add_argument("name", metavar="NAME")
    removed.add_argument("--yes", action="store_true", help="do not ask")
    for parser in (shown, info, taken, given, removed):
        add_common(parser)


def _add_build(group: Commands[Any]) -> None:
    build: Parser = command(
        group,
        "build",
        "build, or bring up to date, a collection of a dataset, a STAC catalogue, or a table that names files",
        [
            "collections build pc/nasadem --name heights --bbox 77.5,12.9,77.7,13.1",
            "collections build https://stac.example.org/v1 scenes --name mine --band-map B04=red,B08=nir --dates 2024",
            "collections build files.csv --name mine --href-column path --band-index-map R=0,G=1,B=2",
        ],
        run=_build,
    )
    build.add_argument("source", metavar="SOURCE", help="a dataset's id; a STAC catalogue's URL or path; a Parquet or CSV file")
    build.add_argument("collection", nargs="?", metavar="COLLECTION", help="of a STAC catalogue: the id of the collection")
    add_build(build)
    add_search(build)
    build.add_argument("--band-map", type=pairs, metavar="BAND=ASSET,…", help="of a STAC catalogue: asset of each band, as in B04=red,NIR=image[3]")
    build.add_argument("--filter", metavar="CQL2", help="of a STAC API: conditions as CQL2 text or JSON")
    build.add_argument("--href-column", metavar="COLUMN", help="of a table: the column that names the files")
    build.add_argument("--band-index-map", type=pairs, metavar="BAND=N,…", help="of a table: bands of each file, counted from 0")
    build.add_argument("--band-columns", type=pairs, metavar="BAND=COLUMN,…", help="of a table: a column of files per band")
    build.add_argument("--column-map", type=pairs, metavar="COLUMN=NAME,…", help="of a table: columns to rename, as in fid=id,year=datetime")
    add_common(build)


def _list(arguments: Namespace) -> None:
    found = rasteret_sql.collections(workspace=arguments.workspace)
    if arguments.json:
        write_json([_row(collection) for collection in found])
    else:
        rows = [_row(collection) | {"size": size(collection.bytes)} for collection in found]
        write_table(_COLUMNS, rows, none="no collections yet; `rasteret-sql build --help` shows how to make one")


def _info(arguments: Namespace) -> None:
    row = _row(_opened(arguments))
    if arguments.json:
        write_json(row)
    else:
        write_facts(row | {"bytes": size(row["bytes"])})


def _opened(arguments: Namespace) -> Collection:
    """A collection by name, path or URL; looking at it leaves nothing in the workspace."""
    return rasteret_sql.load(arguments.name, workspace=arguments.workspace)


def _row(collection: Collection) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(collection).items() if not name.startswith("_")}


def _build(arguments: Namespace) -> None:
    source: str = arguments.source
    if source in rasteret_sql.datasets(workspace=arguments.workspace):
        _refuse(arguments, "a dataset", "collection", "band_map", "filter", *_OF_TABLES)
        run_dataset(arguments, source)
    elif source.lower().endswith(_TABLES):
        _refuse(arguments, "a table", "collection", "bbox", "dates", "query", "max_items", "bands", "band_map", "filter")
        _build_table(arguments)
    elif "://" in source or Path(source).expanduser().exists():
        _refuse(arguments, "a STAC catalogue", "bands", *_OF_TABLES)
        _build_stac(arguments)
    else:
        run_dataset(arguments, source)


_OF_TABLES = ("href_column", "band_index_map", "band_columns", "column_map")


def _refuse(arguments: Namespace, what: str, *options: str) -> None:
    """An option that means nothing to this kind of source is an error, not ignored."""
    for name in options:
        if getattr(arguments, name) is not None:
            shown = "COLLECTION" if name == "collection" else f"--{name.replace('_', '-')}"
            raise InvalidArgument(f"{arguments.source} is {what}, which {shown} does not go with")


def _build_stac(arguments: Namespace) -> None:
    if arguments.band_map is None:
        raise InvalidArgument("--band-map is missing; give the asset of each band, as in --band-map B04=red,NIR=image[3]")
    report = rasteret_sql.build_from_stac(
        arguments.source,
        arguments.collection,
        name=arguments.name,
        band_map=arguments.band_map,
        bbox=arguments.bbox,
        date_range=arguments.dates,
        query=arguments.query,
        filter=arguments.filter,
        max_items=arguments.max_items,
        force=arguments.force,
        workspace=arguments.workspace,
    )
    tell(report, as_json=arguments.json)


def _build_table(arguments: Namespace) -> None:
    index_map = arguments.band_index_map
    if index_map is not None and not all(index.isdecimal() for index in index_map.values()):
        raise InvalidArgument(f"--band-index-map {index_map}: positions are whole numbers from 0, as in R=0,G=1")
    report = rasteret_sql.build_from_table(
        arguments.source,
        name=arguments.name,
        href_column=arguments.href_column,
        band_index_map=None if index_map is None else {band: int(index) for band, index in index_map.items()},
        band_columns=arguments.band_columns,
        column_map=arguments.column_map,
        force=arguments.force,
        workspace=arguments.workspace,
    )
    tell(report, as_json=arguments.json)


def _import(arguments: Namespace) -> None:
    if "://" in arguments.path and not arguments.path.startswith("file:"):
        found = rasteret_sql.load(arguments.path, arguments.name, workspace=arguments.workspace)
    else:
        found = rasteret_sql.import_collection(arguments.path, arguments.name, force=arguments.force, workspace=arguments.workspace)
    if arguments.json:
        write_json(_row(found))
    else:
        sys.stdout.write(f"{found!r}\n")


def _export(arguments: Namespace) -> None:
    said = rasteret_sql.export(
        arguments.name,
        arguments.place,
        partition_by=arguments.partition_by,
        overwrite=arguments.force,
        workspace=arguments.workspace,
    )
    if arguments.json:
        write_json(said)
    else:
        write_facts({name: size(value) if name == "bytes" else value for name, value in said.items()})


def _delete(arguments: Namespace) -> None:
    """Asks on a terminal; elsewhere nobody could answer, so ``--yes`` must say it."""
    path = next((found.path for found in rasteret_sql.collections(workspace=arguments.workspace) if found.name == arguments.name), None)
    if path is not None and not arguments.yes and not _agreed(f"remove {arguments.name!r} ({path})? [y/N] "):
        raise RasteretError("nothing was removed")
    removed = rasteret_sql.delete_collection(arguments.name, workspace=arguments.workspace)
    if arguments.json:
        write_json({"removed": arguments.name, "path": removed})
    else:
        sys.stdout.write(f"removed {arguments.name} ({removed})\n")


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise InvalidArgument("delete asks first, and there is no terminal to answer on; --yes does not ask")
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
