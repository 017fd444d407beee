"""Collections to put somewhere: a real one of four scenes, and a large one made of copies of its first record all over the world."""

from __future__ import annotations

import shutil

import rasteret_sql
from rasteret_sql.sample import data_dir, records

COUNT = 50_000
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

    Each copy has a tile table of its own, as real records have: the index is long for a reason.
    """
    west, south = "-180 + (i * 7919 % 35900) / 100.0", "-85 + (i * 10007 % 16900) / 100.0"
    box = f"{{'xmin': {west}, 'ymin': {south}, 'xmax': {west} + 0.5, 'ymax': {south} + 0.5}}"
    tiles = "list_transform({0}_metadata.{1}, lambda tile, place: (hash(i, place, '{0}{1}') % 1000000000000)::BIGINT)"
    fields = ("tile_offsets", "tile_byte_counts")
    other = {band: ", ".join(f"{name} := {tiles.format(band, name)}" for name in fields) for band in ("R", "NIR")}
    metadata = ", ".join(f"struct_update({band}_metadata, {changed}) AS {band}_metadata" for band, changed in other.items())
    con.execute(
        f"""CREATE TABLE many AS
        SELECT * EXCLUDE (i, year, month)
          REPLACE ('copy ' || i AS id, TIMESTAMP '2020-01-01' + INTERVAL (i % 365) DAY AS datetime, {box} AS bbox, {metadata})
        FROM (SELECT * FROM rasteret_collection('{name}') LIMIT 1), range({count}) AS t(i)
        UNION ALL BY NAME SELECT * EXCLUDE (year, month) FROM rasteret_collection('{name}')"""
    ).fetchall()
