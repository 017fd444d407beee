"""What a description of a SQL function consists of, and the words that several functions share.

The descriptions are data: ``rasteret_help()`` shows them in SQL, ``tools/make_reference.py`` writes docs/reference from them, and the tests hold
them against the functions themselves (arguments, choices, defaults, result columns and their types, examples).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a function."""

    type: str
    """SQL types that are taken, in words where a type does not say it: ``collection``, ``table``."""
    help: str
    default: str = ""
    """What holds where it is left out; empty for one that must be given, or that then plays no part."""
    choices: tuple[str, ...] = ()
    """All valid words, the default first."""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a result; ``<band>`` and the like stand for names that the call decides."""

    name: str
    type: str
    help: str
    unit: str = ""
    """Of numbers: ``bytes``, ``s``, ``pixels``, ``count``, ``CRS units``, ``value`` (the band's own) …"""


@dataclass(frozen=True, slots=True)
class Description:
    """All that the reference says of a function beside its signature and its line of help."""

    about: str
    """Markdown: one paragraph or a few."""
    example: str
    """Statements over the sample data and the collections ``landsat`` and ``rgbn``; the last one answers with rows."""
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    """After the user's own columns, in order."""
    before: str = ""
    """Python that the example needs first."""
    refused: tuple[str, ...] = ()
    """Statements that fail, for their messages."""
    probe: str = ""
    """A call whose result has exactly ``columns`` after the user's own: with the bands ``B4`` and, where there are any, the expression ``e``."""
    see: tuple[str, ...] = ()
    """Pages of docs/ with more, as links ``text|file#anchor``."""


COLLECTION = Argument(
    "collection",
    "what to read: the name of a collection in the workspace; a table, view or CTE with a collection's columns; the path or URL of a collection; "
    "or GeoTIFFs by path, URL, glob or list",
    required=True,
)
CRS = Argument("VARCHAR", "CRS of GeoTIFFs that name none; only where GeoTIFFs themselves are the collection")
GEOMETRIES = Argument(
    "table",
    "the geometries: a table, view, CTE, or a Parquet or CSV file by path. Its columns come first in the result",
    required=True,
)
NAME = Argument("VARCHAR", "the collection's name in the workspace: letters, digits, `_`, `-`, `.`", required=True)
FORCE = Argument("BOOLEAN", "read every header again, also of files that are known", "false")
BBOX = Argument("DOUBLE[]", "`[west, south, east, north]` in degrees of longitude and latitude; west > east goes across the antimeridian")
DATES = Argument(
    "VARCHAR, VARCHAR[], DATE or INTEGER", "the period, both ends inclusive, UTC: `['2024-01-01', '2024-01-31']`, `'2024-01'`, `['2024', '..']`"
)
QUERY = Argument(
    "STRUCT", "conditions on properties: `{'eo:cloud_cover': {'lt': 20}}`, by eq, neq, lt, lte, gt, gte, startsWith, endsWith, contains, in"
)
MAX_ITEMS = Argument("INTEGER", "no more items than this", "all of them")
REWRITE = Argument("STRUCT or MAP", "prefixes of hrefs to exchange: `{'https://host/': 's3://bucket/'}`")
EXPRESSIONS = Argument("STRUCT or MAP", "names and SQL over bands, computed at each pixel: `{'ndvi': '(B08 - B04) / (B08 + B04)'}`")

READ: Mapping[str, Argument] = {
    "bands": Argument("VARCHAR or VARCHAR[]", "the bands to read", "the only band, where there is one"),
    "geometry": Argument("VARCHAR", "the column that holds the geometry", "the column of type GEOMETRY, else `geometry`, `geom`, `wkb_geometry`"),
    "geometry_crs": Argument(
        "VARCHAR", "CRS of the geometries, `'EPSG:32621'`; wins over that of the type", "that of the column's type, else OGC:CRS84"
    ),
    "x": Argument("VARCHAR", "the column of x or longitude, with `y` in the place of a geometry"),
    "y": Argument("VARCHAR", "the column of y or latitude"),
    "scaled": Argument("BOOLEAN", "give `stored * scale + offset` as DOUBLE instead of the stored value", "false"),
    "on_error": Argument("VARCHAR", "data that cannot be read: end the statement, or give NULL with status `error`", "'raise'", ("raise", "null")),
    "crs": CRS,
}
"""Arguments of every read."""
TARGET: Mapping[str, Argument] = {
    "resolution": Argument("DOUBLE", "size of a pixel, in units of the record's CRS or of `target_crs`", "the record's own"),
    "target_crs": Argument("VARCHAR", "CRS of one grid for all records; needs `resolution`", "the record's own"),
    "align_to": Argument(
        "DOUBLE[]", "`[x, y]` that an edge of pixels lies on; needs `resolution`", "[0, 0] with target_crs, else the record's corner"
    ),
    "resampling": Argument(
        "VARCHAR",
        "how a pixel of another grid is made of those under it; nodata does not count",
        "'nearest'",
        ("nearest", "bilinear", "cubic", "average", "mode", "min", "max", "med", "q1", "q3", "rms"),
    ),
}
"""Arguments that choose the grid of arrays."""

RECORD_ID = Column("record_id", "VARCHAR", "`id` of the record; NULL where none is met")
DATETIME = Column("datetime", "TIMESTAMP", "time of the record, UTC; NULL for records without one")
STATUS = Column("status", "VARCHAR", "`ok`, or why there is no value: `nodata`, `masked`, `outside`, `error`")
ERROR = Column("error", "VARCHAR", "the reason in words, where there is one")
BUILT = (
    Column("collection", "VARCHAR", "its name"),
    Column("path", "VARCHAR", "folder of the collection"),
    Column("records", "BIGINT", "records in the collection", "count"),
    Column("added", "BIGINT", "records that are new, or of which a header was read", "count"),
    Column("unchanged", "BIGINT", "records whose headers were known", "count"),
    Column("failed", "BIGINT", "assets that could not be indexed; see `rasteret_failures`", "count"),
    Column("bands", "VARCHAR[]", "names of the bands"),
    Column("epsg", "INTEGER[]", "EPSG codes of the records' CRSs", "code"),
    Column("bounds", "DOUBLE[]", "xmin, ymin, xmax, ymax in OGC:CRS84", "degrees"),
    Column("first", "TIMESTAMP", "earliest time of a record, UTC"),
    Column("last", "TIMESTAMP", "latest time of a record, UTC"),
    Column("requests", "BIGINT", "requests that were made", "count"),
    Column("bytes", "BIGINT", "bytes that were fetched", "bytes"),
    Column("seconds", "DOUBLE", "how long it took", "s"),
)
"""What every build answers with: one row."""
