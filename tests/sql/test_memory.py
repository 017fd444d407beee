"""Large reads in little memory, and many points: measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.reader.oracle import SKY, fetch, same, scalars, write_tif

MIB = 1 << 20
SIZE, RECORDS = 3000, 12

PROGRAM = """
import json, re, sys
import pyarrow as pa, shapely
import rasteret_sql

folder, step, select, memory = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
con = rasteret_sql.connect()
con.execute(f"SET VARIABLE rasteret_memory_bytes = {memory}").fetchall()
con.execute("SET VARIABLE rasteret_cache_bytes = 4000000").fetchall()

def read(step, size):
    places = [(500001 + col * 10, 5199999 - row * 10) for row in range(0, 3000, step) for col in range(0, 3000, step)]
    boxes = [shapely.box(x, y - size * 10 + 2, x + size * 10 - 2, y) for x, y in places]
    con.register("plots", pa.table({"geom": shapely.to_wkb(boxes)}))
    return con.execute(
        f"SELECT {select} FROM rasteret_read('{folder}/*.tif', 'plots', geometry_crs := 'EPSG:32633', pixels := 'window')"
    ).fetchall()

def peak():  # in KiB; not ru_maxrss, which a process inherits from the one that started it
    with open("/proc/self/status") as status:
        return int(re.search(r"VmHWM:\\s+(\\d+)", status.read()).group(1))

read(1000, 50)
before = peak()
answer = read(step, step)
print(json.dumps({"answer": [int(value) for value in answer[0]], "growth": (peak() - before) * 1024}))
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve records of 3000 x 3000 pixels that compress well: 216 MB decoded."""
    folder = tmp_path_factory.mktemp("large")
    pattern = np.add.outer(np.arange(SIZE), np.arange(SIZE) * 3) % 5000
    for record in range(RECORDS):
        write_tif(folder / f"{record:02}.tif", (pattern + record).astype("uint16"), blockxsize=256, blockysize=256, compress="zstd")
    return folder


def in_a_process(folder: Path, step: int, select: str, memory: int) -> dict:
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(folder), str(step), select, str(memory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # DuckDB may have drawn a progress bar


@pytest.mark.parametrize("step", [500, 100])
def test_a_read_streams(archive: Path, step: int) -> None:
    """216 MB of pixels through 4 MB: the process grows by a part of that only."""
    found = in_a_process(archive, step, "count(*), sum(len(b1)), sum(b1[1]), max(b1[len(b1)])", 4 * MIB)
    firsts = (np.add.outer(np.arange(0, SIZE, step), np.arange(0, SIZE, step) * 3) % 5000).astype(int)
    lasts = np.add.outer(np.arange(step - 1, SIZE, step), np.arange(step - 1, SIZE, step) * 3) % 5000
    blocks = firsts.size * RECORDS
    expected = [blocks, SIZE * SIZE * RECORDS, int(firsts.sum()) * RECORDS + firsts.size * sum(range(RECORDS)), int(lasts.max()) + RECORDS - 1]
    assert found["answer"] == expected
    assert found["growth"] < 110 * MIB, f"{found['growth'] / MIB:.0f} MiB"


def test_more_memory_is_used_where_it_is_given(archive: Path) -> None:
    """The judge of the test above: with a limit over the whole result the growth shows it."""
    wide, narrow = (in_a_process(archive, 500, "count(*), sum(len(b1))", limit * MIB) for limit in (512, 4))
    assert wide["answer"] == narrow["answer"] == [36 * RECORDS, SIZE * SIZE * RECORDS]
    assert wide["growth"] > 1.5 * narrow["growth"], f"{wide['growth'] / MIB:.0f} and {narrow['growth'] / MIB:.0f} MiB"


@pytest.mark.parametrize("count", [10_000, 1_000_000])
def test_many_points(con, tmp_path: Path, count: int) -> None:
    """Any number of points over two small records: each has its two values."""
    rng = np.random.default_rng(1)
    planes = [rng.integers(0, 60000, (300, 320), dtype="uint16") for _ in range(2)]
    paths = [write_tif(tmp_path / f"{name}.tif", plane, blockxsize=64, blockysize=64) for name, plane in zip("ab", planes, strict=True)]
    row, col = rng.integers(0, 300, count), rng.integers(0, 320, count)
    x, y = SKY.c + SKY.a * (col + rng.random(count)), SKY.f + SKY.e * (row + rng.random(count))
    con.register("points", pa.table({"no": np.arange(count), "x": x, "y": y}))
    started = time.monotonic()
    table = fetch(
        con,
        f"SELECT no, record_id, b1 FROM rasteret_sample({paths}, 'points', x := 'x', y := 'y', geometry_crs := 'EPSG:32633') WHERE status = 'ok'",
    )
    seconds = time.monotonic() - started
    assert len(table) == 2 * count
    for name, plane in zip("ab", planes, strict=True):
        mine = table.filter(pa.compute.equal(table["record_id"], name))
        no = mine["no"].to_numpy()
        assert np.array_equal(np.sort(no), np.arange(count))
        same(scalars(mine["b1"]), np.ma.array(plane[row[no], col[no]]), name)
    assert seconds < 20
