"""Collections to put somewhere: a real one of four scenes, and a large one made of copies of its first record all over the world."""

from __future__ import annotations

import shutil

import rasteret_sql
from rasteret_sql.sample import data_dir, records

COUNT = 40_000
HERE = (-72.3, 18.4, -72.1, 18.6)
"""Where the real scenes lie."""
POINTS = "SELECT 'p' AS name, 'POINT(-72.205 18.520)' AS geom"


def connection(workspace):
    con = rasteret_sql.connect()
    workspace.mkdir(exist_ok=True)
    con.execute(f"SET VARIABLE rasteret_workspace = '{workspace}'").fetchall()
    return con


def scenes(con, server, name="scenes"):
    """Four dates of aerial imagery, served by the server, indexed in the workspace."""
    folder = server.root / "rgbn"
    if not folder.exists():
        shutil.copytree(data_dir() / "rgbn", folder)
    con.register("tiles", records(server.url("").rstrip("/"), "rgbn"))
    return con.execute(f"FROM rasteret_build_from_table(tiles, name := '{name}', band_codes := ['R', 'NIR'])").fetchall()


def many(con, name="scenes", count=COUNT):
    """A table ``many``: the real records, and ``count`` copies of one over the world, half a degree wide, a year long.

    Each copy has a tile table and properties of its own, as real records have. None lies at the real ones' latitude.
    """
    west, south = "-180 + (i * 7919 % 35900) / 100.0", "if((i * 10007 % 16900) BETWEEN 10200 AND 10450, 0, -85 + (i * 10007 % 16900) / 100.0)"
    box = f"{{'xmin': {west}, 'ymin': {south}, 'xmax': {west} + 0.5, 'ymax': {south} + 0.5}}"
    offsets = "list_transform({0}_metadata.tile_offsets, lambda tile, place: (hash(i, place, '{0}') % 1000000000000)::BIGINT)"
    metadata = ", ".join(f"struct_update({band}_metadata, tile_offsets := {offsets.format(band)}) AS {band}_metadata" for band in ("R", "NIR"))
    properties = ", array_to_string(list_transform(range(8), lambda part: md5(part || '-' || i)), '') AS properties"
    con.execute(
        f"""CREATE TABLE many AS
        SELECT * EXCLUDE (i, year, month)
          REPLACE ('copy ' || i AS id, TIMESTAMP '2020-01-01' + INTERVAL (i % 365) DAY AS datetime, {box} AS bbox, {metadata}){properties}
        FROM (SELECT * FROM rasteret_collection('{name}') LIMIT 1), range({count}) AS t(i)
        UNION ALL BY NAME SELECT * EXCLUDE (year, month) FROM rasteret_collection('{name}')"""
    ).fetchall()
