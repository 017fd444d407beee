"""Builds and collections from Python: the functions of the same names in SQL, with the same engine and the same checks, without DuckDB between.

>>> import rasteret_sql
>>> rasteret_sql.build("earthsearch/sentinel-2-l2a", name="s2", bbox=(77.5, 12.9, 77.7, 13.1), date_range="2024-01")  # doctest: +SKIP
<built 's2': 12 records, 12 added, 0 unchanged, 0 assets failed, bands B01, B02, B03, …>

Every function takes ``workspace``, the folder of the collections (by default the setting's), and ``settings``, a mapping of settings' names as
``SET VARIABLE rasteret_…`` has them. Errors are classes of :mod:`rasteret_sql.errors`, one line each.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rasteret_sql.collection import links, registry
from rasteret_sql.collection.adopt import adopt_files, adopt_table
from rasteret_sql.collection.build import BuildReport
from rasteret_sql.collection.datasets import Dataset
from rasteret_sql.collection.incoming import table_of
from rasteret_sql.collection.remote import opened
from rasteret_sql.collection.remove import remove_collection
from rasteret_sql.collection.workspace import Part, describe, open_collection
from rasteret_sql.errors import CollectionNotFound, InvalidArgument, listing, near
from rasteret_sql.settings import Settings, resolve_settings
from rasteret_sql.sql import plan_build
from rasteret_sql.sql.arguments import Arguments
from rasteret_sql.sql.sources import collection_on_disk
from rasteret_sql.udfs import build as table_builds
from rasteret_sql.udfs import build_stac as stac_builds
from rasteret_sql.udfs import info

Where = str | os.PathLike[str]
Box = Sequence[float]
"""West, south, east, north in degrees; west > east across the antimeridian."""
Dates = str | date | Sequence[str | date | None]
"""``"2024"``, ``"2024-01"``, ``"2024-01-05/.."``, ``["2024-01-01", "2024-01-31"]``; ends are inclusive."""


@dataclass(frozen=True, slots=True, repr=False)
class Collection:
    """A collection by its description: what a row of ``rasteret_collections()`` says. In SQL it is known by its ``name``."""

    name: str
    path: str
    """Its folder or URL."""
    source: str | None = None
    records: int | None = None
    """None, like all that follows, where the collection was not opened: of a link, and of a folder that cannot be read."""
    bands: tuple[str, ...] = ()
    first: str | None = None
    """First and last day, ISO."""
    last: str | None = None
    bounds: tuple[float, float, float, float] | None = None
    """West, south, east, north of all footprints."""
    bytes: int | None = None
    """Of the index."""
    built: str | None = None
    _place: str = ""
    """What opens it: a name of the workspace, a path, a URL with all its parts."""
    _workspace: str = ""

    def __repr__(self) -> str:
        known = "" if self.records is None else f"{self.records:,} records, "
        return f"<collection {self.name!r}: {known}bands {listing(self.bands, 8)}, {self.path}>"

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The records, one row each: all columns, or those named."""
        found = collection_on_disk(self._place, _settings(self._workspace, None))
        if unknown := [name for name in columns or () if name not in found.columns]:
            raise InvalidArgument(f"no column {unknown[0]!r}{near(unknown[0], found.columns)}; columns: {listing(found.columns)}")
        if found.remote or found.part not in (None, Part()):
            from rasteret_sql.sql.statements import records  # noqa: PLC0415 - DuckDB is loaded for links and URLs alone

            return records(self._place, columns, asdict(_settings(self._workspace, None)))
        return pa.concat_tables([pq.ParquetFile(opened(file)).read(columns=columns) for file in found.files])


def build(
    dataset: str,
    *,
    name: str,
    bbox: Box | None = None,
    date_range: Dates | None = None,
    query: Mapping[str, Any] | str | None = None,
    max_items: int | None = None,
    bands: Sequence[str] | None = None,
    force: bool = False,
    workspace: Where | None = None,
    settings: Mapping[str, Any] | None = None,
) -> BuildReport:
    """Build (or bring up to date) the collection ``name`` of a dataset for a place and a period: ``rasteret_build``.

    >>> build("pc/nasadem", name="heights", bbox=(77.5, 12.9, 77.7, 13.1))  # doctest: +SKIP

    ``query`` is a mapping or JSON such as ``{"eo:cloud_cover": {"lt": 20}}``. :func:`datasets` lists what there is; ``local/…`` are those of
    :func:`~rasteret_sql.collection.registry.register_local`. Raises :class:`InvalidArgument` for an argument that is missing or wrong,
    :class:`ReadError` where the API cannot be reached, :class:`RasteretError` where nothing is found.
    """
    arguments = _arguments(
        "rasteret_build",
        workspace,
        settings,
        dataset=dataset,
        name=name,
        bbox=bbox,
        date_range=date_range,
        query=query,
        max_items=max_items,
        bands=bands,
        force=force,
    )
    found = plan_build.asked_dataset(arguments)
    if found.is_stac:
        return stac_builds.carry_out(plan_build.dataset_request(arguments, found))
    return BuildReport(**_by_sql("rasteret_build", arguments.values, arguments.settings))


def build_from_stac(
    api: Where,
    collection: str | None = None,
    *,
    name: str,
    band_map: Mapping[str, str],
    band_index_map: Mapping[str, int] | None = None,
    bbox: Box | None = None,
    date_range: Dates | None = None,
    query: Mapping[str, Any] | str | None = None,
    filter: str | Mapping[str, Any] | None = None,  # noqa: A002 - STAC's own name
    intersects: Mapping[str, Any] | str | bytes | None = None,
    ids: Sequence[str] | None = None,
    sort_by: str | Sequence[str] | None = None,
    max_items: int | None = None,
    url_rewrite: Mapping[str, str] | None = None,
    force: bool = False,
    workspace: Where | None = None,
    settings: Mapping[str, Any] | None = None,
) -> BuildReport:
    """Build the collection ``name`` from any STAC API or static catalogue (URL or path): ``rasteret_build_from_stac``.

    >>> build_from_stac("catalog.json", "scenes", name="mine", band_map={"B04": "red", "NIR": "image[3]"})  # doctest: +SKIP

    ``filter`` is CQL2 (text or JSON), ``intersects`` GeoJSON, WKT, WKB or anything with ``__geo_interface__``. Errors as of :func:`build`.
    """
    area = getattr(intersects, "__geo_interface__", intersects)
    arguments = _arguments(
        "rasteret_build_from_stac",
        workspace,
        settings,
        api=os.fspath(api),
        collection=collection,
        name=name,
        band_map=band_map,
        band_index_map=band_index_map,
        bbox=bbox,
        date_range=date_range,
        query=query,
        filter=filter,
        intersects=area,
        ids=ids,
        sort_by=sort_by,
        max_items=max_items,
        url_rewrite=url_rewrite,
        force=force,
    )
    return stac_builds.carry_out(plan_build.stac_request(arguments))


def build_from_items(
    items: Any,
    *,
    name: str,
    band_map: Mapping[str, str],
    band_index_map: Mapping[str, int] | None = None,
    url_rewrite: Mapping[str, str] | None = None,
    force: bool = False,
    workspace: Where | None = None,
    settings: Mapping[str, Any] | None = None,
) -> BuildReport:
    """Build the collection ``name`` from STAC items that are found already.

    ``items`` is a search of pystac-client (asked page by page), or any iterable of pystac items or of dicts; a FeatureCollection's dict will do.

    >>> search = pystac_client.Client.open(url).search(collections=["sentinel-2-l2a"], bbox=box)  # doctest: +SKIP
    >>> build_from_items(search, name="s2", band_map={"B04": "red", "B08": "nir"})  # doctest: +SKIP

    Items are remote: their files are read from http(s), s3, gs and az; local files only where an item's own ``self`` link is a local path.
    """
    arguments = _arguments(
        "build_from_items", workspace, settings, name=name, band_map=band_map, band_index_map=band_index_map, url_rewrite=url_rewrite, force=force
    )
    return stac_builds.carry_out_given(items, plan_build.items_request(arguments))


def build_from_table(
    records: Any,
    *,
    name: str,
    href_column: str | None = None,
    band_index_map: Mapping[str, int] | None = None,
    band_columns: Mapping[str, str] | None = None,
    band_codes: Sequence[str] | None = None,
    column_map: Mapping[str, str] | None = None,
    url_rewrite: Mapping[str, str] | None = None,
    force: bool = False,
    workspace: Where | None = None,
    settings: Mapping[str, Any] | None = None,
) -> BuildReport:
    """Index the GeoTIFFs that a table names into the collection ``name``: ``rasteret_build_from_table``.

    >>> build_from_table([{"id": "a", "href": "a.tif"}], name="mine", href_column="href")  # doctest: +SKIP

    ``records`` is a path (Parquet, CSV), an Arrow table, a DuckDB relation, a data frame, or a list of dictionaries. Errors as of :func:`build`.
    """
    arguments = _arguments(
        "rasteret_build_from_table",
        workspace,
        settings,
        records=os.fspath(records) if isinstance(records, str | os.PathLike) else "table",
        name=name,
        href_column=href_column,
        band_index_map=band_index_map,
        band_columns=band_columns,
        band_codes=band_codes,
        column_map=column_map,
        url_rewrite=url_rewrite,
        force=force,
    )
    return table_builds.carry_out(plan_build.table_request(arguments), table_of(records))


def as_collection(
    records: Any,
    name: str,
    *,
    force: bool = False,
    workspace: Where | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Collection:
    """Keep records that are indexed already as the collection ``name``: any table with the contract columns, or the path of a Parquet file of them.

    >>> part = con.sql("SELECT * FROM rasteret_collection(s2) WHERE id LIKE '%_43PGQ_%'")  # doctest: +SKIP
    >>> as_collection(part, "tile")  # doctest: +SKIP

    No header is read. Columns needed: ``id, datetime, assets, bbox, crs`` and ``<band>_metadata``. Raises :class:`InvalidArgument` where one lacks,
    and for a name that is taken unless ``force`` replaces it.
    """
    chosen = _settings(workspace, settings)
    adopt_table(table_of(records), name, chosen, force=force)
    return _named(name, chosen)


def load(place: Where, name: str | None = None, *, workspace: Where | None = None, settings: Mapping[str, Any] | None = None) -> Collection:
    """Open a collection by its name, or by the path or URL where it lies.

    With ``name``, a path or URL gets this name in the workspace, by which SQL then knows it; nothing is copied. Without, nothing is written.
    Raises :class:`CollectionNotFound`, or :class:`InvalidRaster` for a folder that is no collection.
    """
    chosen = _settings(workspace, settings)
    where = os.fspath(place)
    if where in links.known_names(chosen.workspace) and name is None:
        return _named(where, chosen)
    if not links.is_url(where):
        path = Path(where).expanduser()
        if not path.exists():
            names = links.known_names(chosen.workspace)
            raise CollectionNotFound(f"no collection {where!r}{near(where, names)}; built: {listing(names)}; no file or folder of that name either")
        where = str(path.resolve())
    return _named(where if name is None else links.load(where, name, settings=chosen), chosen)


def import_collection(
    path: Where, name: str, *, force: bool = False, workspace: Where | None = None, settings: Mapping[str, Any] | None = None
) -> Collection:
    """Copy the index of a collection's folder (or file) into the workspace as ``name``; the rasters stay where they are.

    Raises as :func:`as_collection` and :func:`load`.
    """
    chosen = _settings(workspace, settings)
    adopt_files(open_collection(Path(path).expanduser()), name, chosen, force=force)
    return _named(name, chosen)


def export(
    collection: str,
    place: Where,
    *,
    partition_by: Sequence[str] | None = None,
    overwrite: bool = False,
    workspace: Where | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a collection (a name, path or URL) as GeoParquet to a folder, a ``.parquet`` file or ``s3://``: ``rasteret_export``.

    Returns its row: path, records, files, bytes, seconds. Partitions are year and month unless ``partition_by`` names other columns.
    """
    chosen = _settings(workspace, settings)
    collection_on_disk(collection, chosen)
    arguments: dict[str, Any] = {"collection": collection, "path": os.fspath(place), "overwrite": overwrite}
    if partition_by is not None:
        arguments["partition_by"] = list(partition_by)
    return _by_sql("rasteret_export", arguments, chosen)


def delete_collection(name: str, *, workspace: Where | None = None, settings: Mapping[str, Any] | None = None) -> str:
    """Remove a collection of the workspace; returns where it was. Rasters, and what a link stands for, stay.

    Raises :class:`CollectionNotFound`, and :class:`InvalidArgument` for a folder that holds anything but a collection.
    """
    return str(remove_collection(name, _settings(workspace, settings)))


def collections(*, workspace: Where | None = None, settings: Mapping[str, Any] | None = None) -> list[Collection]:
    """The collections of the workspace: ``rasteret_collections()``. One that cannot be read has name and path only."""
    chosen = _settings(workspace, settings)
    return [_described(row, row["name"], chosen) for row in info.collections({"settings": asdict(chosen)})]


def datasets(*, workspace: Where | None = None, settings: Mapping[str, Any] | None = None) -> dict[str, Dataset]:
    """What :func:`build` knows, by id: the public datasets and those registered in the workspace.

    >>> datasets()["pc/nasadem"].bands
    {'DEM': 'elevation'}
    """
    return registry.datasets(_settings(workspace, settings).workspace)


def _named(place: str, settings: Settings) -> Collection:
    """Opened, so that all of it is known; how many records the part of a link holds, only a query could say."""
    found = collection_on_disk(place, settings)
    return _described(describe(found) | ({} if found.part in (None, Part()) else {"records": None}), place, settings)


_FIELDS = frozenset(spec.name for spec in fields(Collection))


def _described(row: Mapping[str, Any], place: str, settings: Settings) -> Collection:
    known: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in row.items() if key in _FIELDS and value is not None
    }
    return Collection(**known, _place=place, _workspace=settings.workspace)


def _by_sql(function: str, arguments: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """What scans the records of a collection is DuckDB's: exports, and the part of a collection that is built already."""
    from rasteret_sql.sql.statements import one_row  # noqa: PLC0415 - DuckDB is loaded for these alone

    return one_row(function, arguments, asdict(settings))


def _settings(workspace: Where | None, settings: Mapping[str, Any] | None) -> Settings:
    return resolve_settings(_variables(workspace, settings))


def _variables(workspace: Where | None, settings: Mapping[str, Any] | None) -> dict[str, Any]:
    return {**(settings or {}), **({"workspace": os.fspath(workspace)} if workspace else {})}


def _arguments(function: str, workspace: Where | None, settings: Mapping[str, Any] | None, **values: Any) -> Arguments:
    """As a SQL call has them: lists for sequences, plain dictionaries for mappings."""
    row = {name: _as_sql(value) for name, value in values.items()}
    return Arguments.of(function, {**row, "settings": _variables(workspace, settings)})


def _as_sql(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value
