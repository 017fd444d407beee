"""Descriptions of the functions that read pixels; see :mod:`rasteret_sql.sql.described`."""

from __future__ import annotations

from collections.abc import Mapping

from rasteret_sql.sql.described import (
    COLLECTION,
    DATETIME,
    ERROR,
    EXPRESSIONS,
    GEOMETRIES,
    READ,
    RECORD_ID,
    STATUS,
    TARGET,
    Argument,
    Column,
    Description,
)

_RECORD = Argument("row", "a row of a collection: the alias of a relation with a collection's columns", required=True)
_BAND = Argument("VARCHAR", "the name of one band", required=True)
_POINT = Argument("GEOMETRY, WKB or WKT", "a point; its CRS is that of its type, else OGC:CRS84", required=True)
_AREA = Argument("GEOMETRY, WKB or WKT", "a polygon; its CRS is that of its type, else OGC:CRS84", required=True)

SAMPLE = Description(
    about=(
        "The value of each band at each point. With `match := 'all'` a point has a row for each record that holds it; with "
        "`'latest'` one row, of the "
        "newest record that has a value there; with `'nearest'` one row, of the record closest to the point's own time. A point that meets no record "
        "keeps one row, with status `outside`.\n\n"
        "Filters on `record_id` and `datetime`, and filters on the collection, are applied before anything is read. Filter your own table first."
    ),
    arguments={
        "collection": COLLECTION,
        "points": Argument(
            "table", "the points: a table, view, CTE, or a Parquet or CSV file by path. Its columns come first in the result", required=True
        ),
        **READ,
        "match": Argument("VARCHAR", "which records a point gets its value from", "'all'", ("all", "latest", "nearest")),
        "time": Argument("VARCHAR", 'another spelling of `time_column`; DuckDB 1.5 wants it in double quotes: `"time" := …`'),
        "time_column": Argument("VARCHAR", "with `match := 'nearest'`, where it is needed: the column of the points that says when"),
        "tolerance": Argument(
            "INTERVAL or VARCHAR", "with `match := 'nearest'`: how far apart in time, `INTERVAL 10 DAY` or `'10 days'`", "any distance"
        ),
        "expressions": EXPRESSIONS,
        "mask": Argument("VARCHAR", "a SQL condition over bands; where it is not true there is no value, and `latest` and `nearest` look on"),
        "max_distance_pixels": Argument("INTEGER", "a point on nodata takes the nearest value at most so many pixels away, 0 to 100", "0"),
        "neighbourhood": Argument("INTEGER", "r adds the (2r+1)² pixels around the point as a list per band, 0 to 50", "0"),
        "interpolation": Argument(
            "VARCHAR", "the pixel's own value, or one between the centres of pixels", "'nearest'", ("nearest", "bilinear", "cubic")
        ),
        "layout": Argument("VARCHAR", "a column per band, or a row per band", "'wide'", ("wide", "long")),
    },
    columns=(
        RECORD_ID,
        DATETIME,
        Column("<band>", "INTEGER", "value of the band; its type by the band: INTEGER, BIGINT, FLOAT or DOUBLE", "value"),
        Column("<expression>", "DOUBLE", "value of the expression, in the type that DuckDB gives it", "value"),
        Column("<band>_window", "USMALLINT[]", "with `neighbourhood`: pixels around the point, row by row, in the band's own type", "value"),
        Column("status", "VARCHAR", "`ok`, `fallback` (value of a neighbour), or why there is no value: `nodata`, `masked`, `outside`, `error`"),
        ERROR,
        Column("distance_pixels", "DOUBLE", "how far away the value was found; 0 at the point itself", "pixels"),
    ),
    probe="rasteret_sample(landsat, points, bands := ['B4'], expressions := {'e': 'B3 / B4'}, neighbourhood := 1)",
    example=(
        "SELECT id, label, record_id[11:16] AS scene, B4, round(greenness, 4) AS greenness, status\n"
        "FROM rasteret_sample(landsat, points, bands := ['B4'], match := 'latest',\n"
        "                     expressions := {'greenness': '(B3 - B4) / (B3 + B4)'}, mask := 'B2 < 8300')\n"
        "ORDER BY id;"
    ),
    refused=(
        "FROM rasteret_sample(landsat, points, bands := ['B44']);",
        "FROM rasteret_sample(landsat, points, bands := ['B4'], match := 'nearest');",
    ),
    see=("Which pixel, which value|reading.md#points", "Points with the scene nearest in time|cookbook.md#points-nearest-in-time"),
)

READ_ARRAYS = Description(
    about=(
        "The pixels under each geometry, as one list per band: `height` × `width` values, row by row, NULL where the geometry "
        "does not select the pixel or "
        "the file has no value. One row per geometry and record; a geometry that meets no record keeps one row, with status `outside`.\n\n"
        "Bands of different resolution come on the finest grid among them. Filters on `record_id`, `datetime` and your own "
        "columns are applied before "
        "reading."
    ),
    arguments={
        "collection": COLLECTION,
        "geometries": GEOMETRIES,
        **READ,
        "pixels": Argument("VARCHAR", "which pixels a geometry selects", "'center'", ("center", "all_touched", "window")),
        **TARGET,
    },
    columns=(
        RECORD_ID,
        DATETIME,
        Column("crs", "VARCHAR", "CRS of the pixels"),
        Column(
            "transform",
            "DOUBLE[]",
            "a, b, c, d, e, f: x = a·col + b·row + c, y = d·col + e·row + f, from the first pixel's outer corner",
            "CRS units",
        ),
        Column("height", "INTEGER", "rows of the window", "pixels"),
        Column("width", "INTEGER", "columns of the window", "pixels"),
        Column("<band>", "USMALLINT[]", "the pixels, row by row, in the band's own type; DOUBLE[] with `scaled`", "value"),
        STATUS,
        ERROR,
    ),
    probe="rasteret_read(landsat, plots, bands := ['B4'])",
    example=(
        "SELECT label, record_id[11:16] AS scene, height, width, typeof(B4) AS type,\n"
        "       list_count(B4) AS pixels, round(list_avg(B4), 1) AS mean\n"
        "FROM rasteret_read(landsat, plots, bands := ['B4'])\n"
        "WHERE record_id LIKE '%224077%' ORDER BY label;"
    ),
    refused=("FROM rasteret_read(landsat, plots, bands := ['B4'], pixels := 'centre');",),
    see=("Polygons, lines, areas|reading.md#polygons-lines-areas", "Arrays in Python|python.md#arrays"),
)

PIXELS = Description(
    about=(
        "A row per pixel under each geometry and record, with the share of it that the geometry covers: for SQL that no "
        "statistic says. Rows are pixels with "
        "a value in some band asked for; a geometry without any has no row. Lines and points have no area: give them another "
        "rule than `'fractional'`. The grid is that of `rasteret_read` with the same arguments."
    ),
    arguments={
        "collection": COLLECTION,
        "geometries": GEOMETRIES,
        **READ,
        "pixels": Argument("VARCHAR", "which pixels, and how much of them", "'fractional'", ("fractional", "center", "all_touched", "window")),
        **TARGET,
    },
    columns=(
        RECORD_ID,
        DATETIME,
        Column("x", "DOUBLE", "x of the pixel's centre, in the record's CRS or `target_crs`", "CRS units"),
        Column("y", "DOUBLE", "y of the pixel's centre", "CRS units"),
        Column("row", "INTEGER", "row in the record's raster, from 0; with `target_crs` from `align_to`, southwards", "pixels"),
        Column("col", "INTEGER", "column in the record's raster, from 0; with `target_crs` from `align_to`, eastwards", "pixels"),
        Column("coverage", "DOUBLE", "how much of the pixel is covered; 1 unless `pixels := 'fractional'`", "share, 0 to 1"),
        Column("<band>", "INTEGER", "value of the band; types as of `rasteret_sample`", "value"),
    ),
    probe="rasteret_pixels(landsat, plots, bands := ['B4'])",
    example=(
        "SELECT label, count(*) AS pixels, round(sum(coverage), 2) AS area_in_pixels,\n"
        "       round(sum(coverage * B4) / sum(coverage), 2) AS mean_red\n"
        "FROM rasteret_pixels(landsat, plots, bands := ['B3', 'B4'])\n"
        "WHERE B3 > B4 AND record_id LIKE '%224077%' GROUP BY label ORDER BY label;"
    ),
    refused=("FROM rasteret_pixels(landsat, plots, bands := ['B3', 'B3']);",),
    see=("The rules for pixels|reading.md#polygons-lines-areas",),
)

ZONAL = Description(
    about=(
        "Statistics of bands and expressions under polygons: one row per polygon, record (or period) and band. Each pixel counts "
        "by the share of it that the "
        "polygon covers. With `per`, the records of a day, month or year are merged as if they lay in one table: a median is that of all pixels.\n\n"
        "Bands of different resolution come on the finest grid among them, by the nearest pixel, unless `resolution` and `resampling` say otherwise. "
        "Bands that only the mask names are never resampled but by the nearest pixel.\n\n"
        "Every polygon keeps its rows: one that meets nothing has `count` 0 and status `outside`. With `per := 'record'`, filters on `record_id` and "
        "`datetime` are applied before reading; with a period filter the collection instead."
    ),
    arguments={
        "collection": COLLECTION,
        "geometries": GEOMETRIES,
        **READ,
        "stats": Argument(
            "VARCHAR or VARCHAR[]",
            "`count`, `sum`, `mean`, `median`, `min`, `max`, `mode`, `minority`, `variety`, `stddev_pop`, `stddev_samp`, `var_pop`, `var_samp`, "
            "`quantile(q)`, `frac`, `values`, `coverage`, `min_point`, `max_point`, `weighted_mean`, `weighted_sum`, `valid_fraction`",
            "count, mean, min, max, stddev_pop",
        ),
        "pixels": Argument("VARCHAR", "which pixels, and how much of them", "'fractional'", ("fractional", "center", "all_touched", "window")),
        "expressions": EXPRESSIONS,
        "mask": Argument("VARCHAR", "a SQL condition over bands, `'SCL IN (4, 5, 6)'`; pixels count where it is true"),
        "weights": Argument("VARCHAR", "a band or a SQL expression, for `weighted_mean` and `weighted_sum`"),
        "per": Argument("VARCHAR", "a row per record, or per period, merged over its records", "'record'", ("record", "day", "month", "year", "all")),
        "solar_day": Argument("BOOLEAN", "with `per := 'day'`: days by the sun over the middle of each record, not by UTC", "false"),
        **TARGET,
    },
    columns=(
        RECORD_ID,
        Column("datetime", "TIMESTAMP", "time of the record, or start of the period; of `per := 'all'` the earliest record's"),
        Column("band", "VARCHAR", "the band or expression"),
        Column("count", "DOUBLE", "valid pixels in the polygon; parts count as parts", "pixels"),
        Column("mean", "DOUBLE", "mean, weighted by coverage", "value"),
        Column("min", "DOUBLE", "least value", "value"),
        Column("max", "DOUBLE", "greatest value", "value"),
        Column("stddev_pop", "DOUBLE", "spread of the pixels; here stand the statistics asked for, one column each", "value"),
        STATUS,
        ERROR,
    ),
    probe="rasteret_zonal(landsat, plots, bands := ['B4'])",
    example=(
        "SELECT label, period, round(count, 1) AS count, round(median, 3) AS median,\n"
        "       round(quantile_90, 3) AS quantile_90\n"
        "FROM rasteret_zonal(rgbn, rgbn_plots, per := 'year', mask := 'greatest(R, G, B) < 180',\n"
        "                    expressions := {'ndvi': '(NIR - R) / (NIR + R)'},\n"
        "                    stats := ['count', 'median', 'quantile(0.9)'])\n"
        "ORDER BY label, period;"
    ),
    refused=(
        "FROM rasteret_zonal(landsat, plots, bands := ['B4'], stats := ['average']);",
        "FROM rasteret_zonal(landsat, plots, bands := ['B4'], mask := 'B3 - B4');",
    ),
    see=("Each statistic by formula|statistics.md", "Statistics over a country|cookbook.md#zonal-over-a-country"),
)

PLAN = Description(
    about=(
        "What `rasteret_read` with the same arguments would fetch. Nothing is read: the answer comes from the index. One row per "
        "record and band, and a last "
        "one named `total`. Give it the arguments of the read that you have in mind; `pixels := 'fractional'` stands for `rasteret_zonal` and "
        "`rasteret_pixels`."
    ),
    arguments={
        "collection": COLLECTION,
        "geometries": GEOMETRIES,
        **READ,
        "pixels": Argument("VARCHAR", "as in the read", "'center'", ("center", "all_touched", "window", "fractional")),
        **TARGET,
    },
    columns=(
        Column("record_id", "VARCHAR", "`id` of the record, or `total`"),
        Column("band", "VARCHAR", "the band; NULL in the total"),
        Column("tiles", "BIGINT", "distinct tiles", "count"),
        Column("requests", "BIGINT", "requests: neighbouring tiles share one", "count"),
        Column("bytes", "BIGINT", "bytes of these tiles", "bytes"),
        Column("bytes_cached", "BIGINT", "of these, in memory already", "bytes"),
    ),
    probe="rasteret_plan(landsat, plots, bands := ['B4'])",
    example=(
        "SELECT record_id[11:16] AS scene, band, tiles, requests, bytes, bytes_cached\nFROM rasteret_plan(landsat, plots, bands := ['B2', 'B4']);"
    ),
    refused=("FROM rasteret_plan(landsat, plots, bands := ['B4'], target_crs := 'EPSG:3857');",),
    see=("Cost before reading|cookbook.md#cost-before-reading",),
)

SCALARS: Mapping[str, Description] = {
    "rasteret_sample": Description(
        about=(
            "The value of one band of one record at a point, in a join that you write. NULL where there is none. The table form is "
            "the fast one: it sees all "
            "rows of a statement at once, a scalar function at most 2048."
        ),
        arguments={"record": _RECORD, "point": _POINT, "band": _BAND},
        columns=(Column("", "INTEGER", "the value, in the type of single values", "value"),),
        probe="(SELECT rasteret_sample(s, p.geom, 'B4') FROM points AS p JOIN rasteret_collection(landsat) AS s ON s.geometry && p.geom)",
        example=(
            "SELECT p.label, s.id[11:16] AS scene, rasteret_sample(s, p.geom, 'B4') AS red\n"
            "FROM points AS p JOIN rasteret_collection(landsat) AS s ON s.geometry && p.geom\n"
            "WHERE p.id IN (3, 5) ORDER BY ALL;"
        ),
    ),
    "rasteret_read": Description(
        about="The pixels of one band of one record under a geometry, row by row. NULL where they do not meet.",
        arguments={"record": _RECORD, "geometry": _AREA, "band": _BAND},
        columns=(Column("", "USMALLINT[]", "the pixels, in the band's own type", "value"),),
        probe="(SELECT rasteret_read(s, p.geom, 'B4') FROM plots AS p JOIN rasteret_collection(landsat) AS s ON s.geometry && p.geom)",
        example=(
            "SELECT p.label, s.id[11:16] AS scene, list_count(rasteret_read(s, p.geom, 'B4')) AS pixels\n"
            "FROM plots AS p JOIN rasteret_collection(landsat) AS s ON s.geometry && p.geom\n"
            "WHERE p.label = 'water' ORDER BY ALL;"
        ),
    ),
    "rasteret_zonal": Description(
        about="One statistic of one band of one record under a polygon, by fractional coverage. NULL where there is none.",
        arguments={
            "record": _RECORD,
            "geometry": _AREA,
            "band": _BAND,
            "stat": Argument("VARCHAR", "any statistic that is a number: `'median'`, `'quantile(0.9)'`", "'mean'"),
        },
        columns=(Column("", "DOUBLE", "the statistic", "value"),),
        probe="(SELECT rasteret_zonal(s, p.geom, 'B4') FROM plots AS p JOIN rasteret_collection(landsat) AS s ON s.geometry && p.geom)",
        example=(
            "SELECT p.label, s.id[11:16] AS scene, round(rasteret_zonal(s, p.geom, 'B4'), 1) AS mean,\n"
            "       round(rasteret_zonal(s, p.geom, 'B4', stat := 'quantile(0.9)'), 1) AS high\n"
            "FROM plots AS p JOIN rasteret_collection(landsat) AS s ON s.geometry && p.geom\n"
            "WHERE p.label = 'water' ORDER BY ALL;"
        ),
    ),
    "rasteret_value": Description(
        about="The newest value of a band at one place; NULL where there is none. For many points use `rasteret_sample`.",
        arguments={
            "collection": COLLECTION,
            "point": Argument("WKT or WKB", "one point, longitude first; a literal, not a column", required=True),
            "band": _BAND,
        },
        columns=(Column("", "INTEGER", "the value, in the type of single values", "value"),),
        probe="(SELECT rasteret_value('landsat', 'POINT(-54.6 -25.4)', 'B4'))",
        example=(
            "SELECT rasteret_value('rgbn', 'POINT(-72.205 18.52)', 'NIR') AS nir,\n       rasteret_value('rgbn', 'POINT(10 50)', 'NIR') AS elsewhere;"
        ),
        refused=("SELECT rasteret_value('landsatt', 'POINT(-54.6 -25.4)', 'B4');",),
    ),
}
"""Of the scalar forms."""

READS: Mapping[str, Description] = {
    "rasteret_sample": SAMPLE,
    "rasteret_read": READ_ARRAYS,
    "rasteret_pixels": PIXELS,
    "rasteret_zonal": ZONAL,
    "rasteret_plan": PLAN,
}
"""Of the table forms."""
