"""Descriptions of the functions that build collections and look around; see :mod:`rasteret_sql.sql.described`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rasteret_sql.sql.described import (
    BBOX,
    BUILT,
    COLLECTION,
    CRS,
    DATES,
    DATETIME,
    FORCE,
    MAX_ITEMS,
    NAME,
    QUERY,
    REWRITE,
    Argument,
    Column,
    Description,
)

_LOCAL_DATASET = """\
import rasteret_sql

con.sql("FROM rasteret_export(rgbn, 'exports/rgbn')").fetchall()
rasteret_sql.register_local("aerial", "exports/rgbn", description="four aerial images")"""
_CATALOGUE = """\
from pathlib import Path

import pystac
import shapely

catalog = pystac.Catalog("sample", "the sample GeoTIFFs")
everywhere, always = pystac.SpatialExtent([[-180, -90, 180, 90]]), pystac.TemporalExtent([[None, None]])
aerial = pystac.Collection("aerial", "all bands in one file", pystac.Extent(everywhere, always))
for name, day, outline in con.execute("SELECT id, datetime, geometry FROM rgbn_scenes").fetchall():
    footprint = shapely.from_wkb(bytes(outline))
    item = pystac.Item(name, shapely.geometry.mapping(footprint), list(footprint.bounds), day, {})
    path = str(Path(f"rgbn/{name}.tif").resolve())
    item.add_asset("image", pystac.Asset(path, media_type=pystac.MediaType.COG))
    aerial.add_item(item)
catalog.add_child(aerial)
catalog.normalize_and_save("stac", pystac.CatalogType.SELF_CONTAINED)"""

BUILDS: Mapping[str, Description] = {
    "rasteret_build": Description(
        about=(
            "Builds a collection of a dataset that is known by name: what lies in `bbox`, in the period `date_range`. No pixel is "
            "read. The same call again "
            "reads the headers of new and changed files only. Of a dataset that is a collection already, `name` becomes a name for "
            "that part of it, and "
            "nothing is copied."
        ),
        arguments={
            "dataset": Argument("VARCHAR", "an id of `rasteret_datasets()`", required=True),
            "name": NAME,
            "bbox": replace(BBOX, default="everywhere; public datasets need it"),
            "date_range": replace(DATES, default="any time; time series need it"),
            "query": QUERY,
            "max_items": MAX_ITEMS,
            "bands": Argument("VARCHAR or VARCHAR[]", "index these bands alone", "the dataset's own"),
            "force": FORCE,
        },
        columns=BUILT,
        probe="rasteret_build('local/aerial', name := 'probe')",
        before=_LOCAL_DATASET,
        example=(
            "SELECT collection, records, bands, epsg, first, last\n"
            "FROM rasteret_build('local/aerial', name := 'spring', date_range := ['2016-03', '2016-05']);"
        ),
        refused=(
            "FROM rasteret_build('earthsearch/sentinel-2-l2', name := 's2');",
            "FROM rasteret_build('earthsearch/sentinel-2-l2a', name := 's2', bbox := [77.5, 12.9, 77.7, 13.1]);",
        ),
        see=("Building collections|building.md#from-a-place-and-a-period", "Private buckets and tokens|access.md"),
    ),
    "rasteret_build_from_stac": Description(
        about=(
            "The same of any STAC API, by its root, and of any static catalogue, by URL or path. `band_map` says which asset each "
            "band is. What a server does "
            "not say it can do is refused, because such servers ignore it. All conditions hold together."
        ),
        arguments={
            "api": Argument(
                "VARCHAR",
                "root of a STAC API; or a static catalogue: a catalog.json, a folder with one, a collection.json, a file of items",
                required=True,
            ),
            "collection": Argument("VARCHAR", "id of the STAC collection; NULL for all of a static catalogue"),
            "name": NAME,
            "band_map": Argument("STRUCT or MAP", "band → key of the asset: `{'B04': 'red', 'NIR': 'image[3]'}`", required=True),
            "band_index_map": Argument(
                "STRUCT or MAP", "0-based positions in files of several bands, where `band_map` does not say them: `{'NIR': 3}`"
            ),
            "bbox": BBOX,
            "date_range": DATES,
            "query": QUERY,
            "filter": Argument("VARCHAR or STRUCT", "CQL2, as text (`'eo:cloud_cover < 20'`) or JSON; a server's work"),
            "intersects": Argument(
                "VARCHAR, STRUCT, BLOB or GEOMETRY", "a geometry in longitude and latitude in the place of `bbox`: GeoJSON, WKT, WKB"
            ),
            "ids": Argument("VARCHAR[]", "these items"),
            "sort_by": Argument("VARCHAR[]", "properties, `-` for descending: with `max_items`, which ones are taken"),
            "max_items": MAX_ITEMS,
            "url_rewrite": REWRITE,
            "force": FORCE,
        },
        columns=BUILT,
        probe="rasteret_build_from_stac('stac', 'aerial', name := 'probe', band_map := {'R': 'image[0]'})",
        before=_CATALOGUE,
        example=(
            "SELECT collection, records, bands, first, last\n"
            "FROM rasteret_build_from_stac('stac', 'aerial', name := 'reds',\n"
            "                              band_map := {'R': 'image[0]', 'NIR': 'image[3]'},\n"
            "                              date_range := '2016');"
        ),
        refused=("FROM rasteret_build_from_stac('stac', 'aerial', name := 'reds', band_map := {'R': 'imagee'});",),
        see=("Any STAC catalogue|building.md#from-any-stac-catalogue", "What is checked, and refused|building.md#what-is-checked-and-refused"),
    ),
    "rasteret_build_from_table": Description(
        about=(
            "Reads the header of every file that a table names, and writes a collection. The table needs a column `id`. `datetime` "
            "may be a timestamp, a date, "
            "an ISO text or a year; without it, records have no time. `crs` serves files that name none; `updated` is the record's "
            "version. All other columns "
            "are kept. A file that cannot be read costs that file, not the build."
        ),
        arguments={
            "records": Argument("table", "a table, view, CTE, or a Parquet or CSV file by path: a row per record", required=True),
            "name": NAME,
            "href_column": Argument("VARCHAR", "the column with a path or URL per record; alone, its bands are `b1` to `bn`", "a column `assets`"),
            "band_index_map": Argument("STRUCT or MAP", "bands of the file in `href_column`, by 0-based position: `{'R': 0, 'NIR': 3}`"),
            "band_columns": Argument("STRUCT or MAP", "a column of paths or URLs per band: `{'green': 'green_path', 'red': 'red_path'}`"),
            "band_codes": Argument("VARCHAR or VARCHAR[]", "which bands of the column `assets` to take", "all of them"),
            "column_map": Argument("STRUCT or MAP", "columns of another name: `{'scene': 'id', 'day': 'datetime'}`"),
            "url_rewrite": REWRITE,
            "force": FORCE,
        },
        columns=BUILT,
        probe="rasteret_build_from_table(scenes, name := 'probe')",
        example=(
            "CREATE TABLE images AS SELECT * FROM (VALUES\n"
            "  ('winter', DATE '2016-01-01', 'rgbn/rgbn_20160101.tif'),\n"
            "  ('spring', DATE '2016-04-01', 'rgbn/rgbn_20160401.tif')) AS t(id, datetime, path);\n\n"
            "SELECT collection, records, added, failed, bands, epsg\n"
            "FROM rasteret_build_from_table(images, name := 'seasons', href_column := 'path',\n"
            "                               band_index_map := {'R': 0, 'G': 1, 'B': 2, 'NIR': 3});"
        ),
        refused=("FROM rasteret_build_from_table(scenes, name := 'a/b');",),
        see=("Building again|building.md#building-again", "Failures|building.md#failures"),
    ),
    "rasteret_export": Description(
        about=(
            "Writes the records of a collection, or of any relation with its columns, as a collection of its own. The rasters stay "
            "where they are. Whoever can "
            "reach both reads it by its path or URL."
        ),
        arguments={
            "collection": COLLECTION,
            "path": Argument("VARCHAR", "a folder, a file that ends in `.parquet`, or `s3://bucket/prefix/`", required=True),
            "partition_by": Argument(
                "VARCHAR or VARCHAR[]",
                "`year` and `month` of the time, or columns of the relation; `[]` for none",
                "['year', 'month']; a file has none",
            ),
            "overwrite": Argument("BOOLEAN", "replace the collection that is there", "false"),
        },
        columns=(
            Column("path", "VARCHAR", "where it was written"),
            Column("records", "BIGINT", "records written", "count"),
            Column("files", "BIGINT", "Parquet files", "count"),
            Column("bytes", "BIGINT", "their size", "bytes"),
            Column("seconds", "DOUBLE", "how long it took", "s"),
        ),
        probe="rasteret_export(rgbn, 'exports/probe')",
        example=(
            "CREATE VIEW year_2016 AS SELECT * FROM rasteret_collection(rgbn) WHERE datetime < DATE '2017-01-01';\n"
            "SELECT records, files FROM rasteret_export(year_2016, 'exports/rgbn_2016');"
        ),
        refused=("FROM rasteret_export(rgbn, '');",),
        see=("Exporting|collections.md#exporting", "Sharing a collection|cookbook.md#sharing-a-collection"),
    ),
}
"""Of the functions that make collections."""

LOOKS: Mapping[str, Description] = {
    "rasteret_collections": Description(
        about="A row per collection in the workspace, the folder that the setting `rasteret_workspace` names.",
        columns=(
            Column("name", "VARCHAR", "its name"),
            Column("source", "VARCHAR", "the table or catalogue that it was built from"),
            Column("records", "BIGINT", "records in it", "count"),
            Column("bands", "VARCHAR[]", "names of the bands"),
            Column("first", "VARCHAR", "earliest day"),
            Column("last", "VARCHAR", "latest day"),
            Column("bounds", "DOUBLE[]", "xmin, ymin, xmax, ymax in OGC:CRS84", "degrees"),
            Column("bytes", "BIGINT", "size of its Parquet files", "bytes"),
            Column("path", "VARCHAR", "its folder"),
            Column("built", "VARCHAR", "when it was built"),
        ),
        probe="rasteret_collections()",
        example="SELECT name, source, records, bands, first, last FROM rasteret_collections() ORDER BY name;",
        see=("Collections on disk|collections.md",),
    ),
    "rasteret_collection": Description(
        about=(
            "The records of a collection as a table. What SQL leaves of it is a collection again: `WITH clear AS (SELECT * FROM "
            "rasteret_collection(s2) WHERE …)`. "
            "Filters and columns go down into Parquet, also where the collection lies on object storage."
        ),
        arguments={"collection": COLLECTION, "crs": CRS},
        columns=(
            Column("id", "VARCHAR", "the record's name"),
            DATETIME,
            Column("geometry", "GEOMETRY('OGC:CRS84')", "footprint, from the raster's own corners"),
            Column("assets", "STRUCT", "href and 0-based position of each band; NULL for a band that the record lacks"),
            Column("bbox", "STRUCT", "xmin, ymin, xmax, ymax of the footprint; xmin > xmax across the antimeridian", "degrees"),
            Column("proj:epsg", "INTEGER", "EPSG code of the record's CRS, where it has one", "code"),
            Column("crs", "VARCHAR", "`EPSG:…`, or WKT2 where no code says it"),
            Column("<band>_metadata", "STRUCT", "what the file's header says of the band"),
            Column("month", "INTEGER", "of `datetime`, where the collection is partitioned so", "1 to 12"),
            Column("year", "INTEGER", "of `datetime`", "year"),
        ),
        probe="rasteret_collection(landsat)",
        example=(
            'SELECT id[11:16] AS scene, datetime, "proj:epsg", round(bbox.ymin, 3) AS south,\n'
            "       B4_metadata.dtype AS dtype\n"
            "FROM rasteret_collection(landsat) ORDER BY scene;"
        ),
        refused=("FROM rasteret_collection('landsatt');",),
        see=("The columns|collections.md#the-columns",),
    ),
    "rasteret_bands": Description(
        about="A row per band, over all records of a collection.",
        arguments={"collection": COLLECTION, "crs": CRS},
        columns=(
            Column("band", "VARCHAR", "its name"),
            Column("dtype", "VARCHAR", "the type that holds the pixels of all records"),
            Column("nodata", "DOUBLE", "declared nodata value of the first record that has the band; NULL for none", "value"),
            Column("resolution", "DOUBLE", "finest size of a pixel", "CRS units"),
            Column("epsg", "INTEGER[]", "EPSG codes of the records' CRSs", "code"),
            Column("tile_width", "INTEGER", "of a tile or strip", "pixels"),
            Column("tile_height", "INTEGER", "of a tile or strip", "pixels"),
            Column("compression", "VARCHAR", "how tiles are packed"),
            Column("overviews", "INTEGER", "reduced images in the file", "count"),
            Column("scale", "DOUBLE", "value = stored · scale + offset, with `scaled := true`", "–"),
            Column("offset", "DOUBLE", "see `scale`", "value"),
            Column("records", "BIGINT", "records that have the band", "count"),
        ),
        probe="rasteret_bands(landsat)",
        example="SELECT band, dtype, nodata, resolution, epsg, tile_width, compression, overviews, records\nFROM rasteret_bands(rgbn);",
    ),
    "rasteret_failures": Description(
        about="Files of a collection that could not be indexed, and why. The next build tries them again.",
        arguments={"collection": COLLECTION},
        columns=(
            Column("id", "VARCHAR", "the record"),
            Column("band", "VARCHAR", "the band"),
            Column("href", "VARCHAR", "the file"),
            Column("error", "VARCHAR", "the reason"),
            Column("failed_at", "TIMESTAMP", "when, UTC"),
        ),
        probe="rasteret_failures(landsat)",
        example=(
            "CREATE TABLE some_lost AS SELECT * FROM (VALUES\n"
            "  ('here', 'rgbn/rgbn_20160101.tif'), ('gone', 'rgbn/gone.tif')) AS t(id, path);\n"
            "FROM rasteret_build_from_table(some_lost, name := 'partly', href_column := 'path',\n"
            "                               band_index_map := {'R': 0});\n\n"
            "SELECT id, band, error FROM rasteret_failures(partly);"
        ),
    ),
    "rasteret_datasets": Description(
        about="The public datasets that `rasteret_build` knows by name, and those that you registered yourself (`local/…`).",
        columns=(
            Column("id", "VARCHAR", "what `rasteret_build` takes"),
            Column("name", "VARCHAR", "a short title"),
            Column("description", "VARCHAR", "what it is"),
            Column("bands", "VARCHAR[]", "names of the bands"),
            Column("coverage", "VARCHAR", "where"),
            Column("dates", "VARCHAR", "when: from/to, `..` for still going on"),
            Column("auth", "VARCHAR", "what access needs"),
            Column("licence", "VARCHAR", "terms of use"),
            Column("example", "VARCHAR", "a complete statement that builds a small part"),
            Column("source", "VARCHAR", "the API or collection behind it"),
        ),
        probe="rasteret_datasets()",
        example="SELECT id, bands[:4] AS first_bands, coverage, dates\nFROM rasteret_datasets() WHERE id LIKE '%sentinel%' ORDER BY id;",
        see=("From a place and a period|building.md#from-a-place-and-a-period",),
    ),
    "rasteret_functions": Description(
        about="Every function with its signature and a line of help. `rasteret_help` has the rest.",
        columns=(
            Column("name", "VARCHAR", "the function"),
            Column("kind", "VARCHAR", "`table`: stands after FROM; `scalar`: stands in an expression"),
            Column("signature", "VARCHAR", "arguments with their defaults; NULL means left out"),
            Column("help", "VARCHAR", "what it does, in a line"),
        ),
        probe="rasteret_functions()",
        example="SELECT name, help FROM rasteret_functions() WHERE kind = 'scalar' ORDER BY name;",
    ),
    "rasteret_help": Description(
        about="What these pages say, in SQL: a row per argument and result column, and the example, of one function or of all.",
        arguments={"function": Argument("VARCHAR", "its name; an unknown one is an error with the near ones", "all functions")},
        columns=(
            Column("function", "VARCHAR", "its name"),
            Column("kind", "VARCHAR", "table or scalar"),
            Column("part", "VARCHAR", "`about`, `argument`, `column` or `example`"),
            Column("name", "VARCHAR", "the argument or column"),
            Column("type", "VARCHAR", "its SQL types"),
            Column("default", "VARCHAR", "of arguments: what holds where it is left out"),
            Column("help", "VARCHAR", "what it means; the units of numbers stand in brackets"),
        ),
        probe="rasteret_help()",
        example="SELECT part, name, type, \"default\", help FROM rasteret_help('rasteret_plan') WHERE part = 'column';",
        refused=("FROM rasteret_help('rasteret_zone');",),
    ),
    "rasteret_settings": Description(
        about=(
            "The settings in force. A setting is a SQL variable (`SET VARIABLE rasteret_max_bytes = 1_000_000`), else an "
            "environment variable, else its default."
        ),
        columns=(
            Column("name", "VARCHAR", "the variable"),
            Column("value", "VARCHAR", "what is in force"),
            Column("default", "VARCHAR", "what holds without it"),
            Column("help", "VARCHAR", "what it bounds or names"),
        ),
        probe="rasteret_settings()",
        example=(
            "SET VARIABLE rasteret_max_bytes = 1_000_000_000;\nSELECT name, value, \"default\" FROM rasteret_settings() WHERE name LIKE '%bytes';"
        ),
        see=("All settings|reference/settings.md",),
    ),
    "rasteret_io": Description(
        about="What the last reads of this process did, newest first. A statement may be several reads: arrays come in batches that fit into memory.",
        arguments={"last": Argument("INTEGER", "how many reads to list, from 1", "10")},
        columns=(
            Column("function", "VARCHAR", "who read"),
            Column("started", "TIMESTAMP", "when, UTC"),
            Column("seconds", "DOUBLE", "how long", "s"),
            Column("requests", "BIGINT", "requests that were made", "count"),
            Column("bytes", "BIGINT", "bytes that were fetched", "bytes"),
            Column("cache_hits", "BIGINT", "tiles that were in memory", "count"),
            Column("tiles_decoded", "BIGINT", "tiles that were not", "count"),
            Column("retries", "BIGINT", "requests that were made again", "count"),
            Column("failures", "BIGINT", "reads that were given up", "count"),
            Column("slowest_host", "VARCHAR", "the host whose requests took the longest, added up; `file` for local files"),
        ),
        probe="rasteret_io()",
        example=(
            "SELECT id, B4 FROM rasteret_sample(landsat, points, bands := ['B4'], match := 'latest');\n"
            "SELECT function, requests, bytes, cache_hits, tiles_decoded FROM rasteret_io(last := 1);"
        ),
        refused=("FROM rasteret_io(last := 0);",),
    ),
}
"""Of the functions that look around."""
