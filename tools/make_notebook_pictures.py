"""Draws the pictures of docs/notebooks.md by the calls that stand there, into docs/images or the folder given as ``--out``."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import rasteret_sql
from rasteret_sql.sample import RGBN_PLOTS, data_dir, records

ROOT = Path(__file__).resolve().parent.parent
READ = "FROM rasteret_read(rgbn, rgbn_plots, bands := ['R', 'G', 'B', 'NIR'], pixels := 'window') WHERE record_id = 'rgbn_20160101' ORDER BY id"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    out = parser.parse_args(argv).out
    with tempfile.TemporaryDirectory() as folder, rasteret_sql.connect() as con:
        os.environ["RASTERET_WORKSPACE"] = folder
        con.register("scenes", records(str(data_dir()), "rgbn"))
        con.execute("FROM rasteret_build_from_table(scenes, name := 'rgbn')").fetchall()
        con.execute(f"CREATE TABLE rgbn_plots AS FROM read_parquet('{data_dir() / RGBN_PLOTS}')").fetchall()
        fields = con.sql(READ)
        for name, bands in (("notebooks_rgb", None), ("notebooks_nir", "NIR")):
            print(rasteret_sql.show(fields, bands, label="label").save(out / f"{name}.png"))


if __name__ == "__main__":
    main()
