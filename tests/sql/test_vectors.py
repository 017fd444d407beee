"""What DuckDB's vectors hold: it calls functions with 2,048 rows at a time, whatever these rows weigh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
from rasteret_sql.udfs import pixels as pixels_udf
from rasteret_sql.udfs import read as read_udf
from rasteret_sql.udfs.pacing import VECTOR_BYTES

from tests.reader.oracle import SKY, fetch, write_tif

SIZE, TILE = 2048, 256
PLOTS = (SIZE // TILE) ** 2
UTM = "geometry_crs := 'EPSG:32633'"
VERTICES = 20_000


@pytest.fixture
def image(tmp_path: Path) -> np.ndarray:
    data = np.random.default_rng(3).integers(1, 65536, (SIZE, SIZE), dtype="uint16")
    write_tif(tmp_path / "a.tif", data, blockxsize=TILE, blockysize=TILE, compress="none")
    return data


def make_plots(con: Any, shapes: list[shapely.Geometry]) -> None:
    con.register("__plots", pa.table({"no": range(len(shapes)), "geom": shapely.to_wkb(shapes)}))
    con.execute("CREATE TABLE plots AS FROM __plots").fetchall()


def squares() -> list[shapely.Geometry]:
    corners = [(row, col) for row in range(0, SIZE, TILE) for col in range(0, SIZE, TILE)]
    return [shapely.box(*(SKY @ (col + 0.1, row + TILE - 0.1)), *(SKY @ (col + TILE - 0.1, row + 0.1))) for row, col in corners]


@pytest.mark.parametrize("memory", [2**30, 2**22], ids=["one batch", "batches"])
@pytest.mark.parametrize("bands", [1, 6])
def test_pixels_are_handed_on_in_small_vectors(con, tmp_path: Path, image: np.ndarray, memory: int, bands: int) -> None:
    """Rows of 192 KiB a band: five or one of them at a time, in their order, none lost, none twice."""
    make_plots(con, squares())
    seen: list[int] = []

    def count(numbers: pa.ChunkedArray, lists: pa.ChunkedArray) -> pa.Array:
        seen.append(len(numbers))
        return pa.array([len(values) for values in lists.to_pylist()])

    con.create_function("handed_on", count, ["BIGINT", "USMALLINT[]"], "BIGINT", type="arrow", side_effects=True)
    con.execute(f"SET VARIABLE rasteret_memory_bytes = {memory}").fetchall()
    con.execute("SET threads = 1").fetchall()
    names = [f"c{i}" for i in range(bands)]
    assets = ", ".join(f"'{name}': {{'href': '{tmp_path}/a.tif'}}" for name in names)
    con.execute(f"CREATE TABLE scenes AS SELECT 'a' AS id, {{{assets}}} AS assets").fetchall()
    con.execute("FROM rasteret_build_from_table('scenes', name := 'many')").fetchall()
    listed = ", ".join(f"'{name}'" for name in names)
    found = fetch(con, f"SELECT *, handed_on(no, c0) AS n FROM rasteret_read('many', plots, bands := [{listed}], {UTM}, pixels := 'window')")
    most = max(1, VECTOR_BYTES // (TILE * TILE * 3 * bands))
    assert sum(seen) == PLOTS
    assert max(seen) == most
    assert found["n"].to_pylist() == [TILE * TILE] * PLOTS
    assert found["no"].to_pylist() == list(range(PLOTS))
    for name in names:
        for no, values in enumerate(found[name].combine_chunks()):
            row, col = divmod(no, SIZE // TILE)
            np.testing.assert_array_equal(values.values.to_numpy(), image[row * TILE :, col * TILE :][:TILE, :TILE].ravel())


def test_rows_without_pixels_are_handed_on_with_the_others(con, tmp_path: Path, image: np.ndarray) -> None:
    """Places outside of the image have nothing to weigh, and stay."""
    outside = [shapely.transform(shape, lambda xy: np.add(xy, (1e5, 0))) for shape in squares()[:3]]
    make_plots(con, [*outside, *squares(), None])
    sql = f"SELECT no, b1 IS NULL AS nothing, status FROM rasteret_read('{tmp_path}/a.tif', plots, {UTM}, on_error := 'null') ORDER BY no"
    found = fetch(con, sql)
    assert found["status"].to_pylist() == ["outside"] * 3 + ["ok"] * PLOTS + ["outside"]
    assert found["nothing"].to_pylist() == [True] * 3 + [False] * PLOTS + [True]


@pytest.mark.parametrize(("function", "module"), [("rasteret_read", read_udf), ("rasteret_pixels", pixels_udf)])
def test_vertices_are_handed_over_once(con, tmp_path: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch, function: str, module: Any) -> None:
    """A polygon of 320 KB in a batch of its own: the rows that fill its vector up do not carry it along."""
    angles = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    circle = np.c_[np.cos(angles), np.sin(angles)] * 9000
    middle = np.array(SKY @ (SIZE / 2, SIZE / 2))
    make_plots(con, [shapely.Polygon(circle + middle + shift) for shift in range(5)])
    handed: list[int] = []
    inner = module.batch_of

    def batch_of(options: pa.Array, live: pa.Array, ticket: pa.Array, wkb: pa.Array, crs: pa.Array) -> Any:
        handed.append(wkb.get_total_buffer_size())
        return inner(options, live, ticket, wkb, crs)

    monkeypatch.setattr(module, "batch_of", batch_of)
    con.execute("SET VARIABLE rasteret_memory_bytes = 4194304").fetchall()
    found = fetch(con, f"SELECT count(*) AS n FROM {function}('{tmp_path}/a.tif', plots, {UTM})")
    assert found["n"].to_pylist()[0] >= 5
    assert len(handed) >= 5, "batches of one polygon"
    assert max(handed) < 20 * VERTICES * 16, "one for each of its parts in the batch"
