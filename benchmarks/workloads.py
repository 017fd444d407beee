"""The workloads: what every contender is given, what it must give back, and the digest by which results are compared.

========  =======================================================================================================
W1        100,000 points × every scene × 2 bands: one value per point, scene and band
W2        200 fields × every scene × 2 bands: the pixels whose centres lie in the field
W2z       the fields of W2 × every scene × 2 bands: statistics of each
W3        one chip of 256 × 256 pixels × every scene × 4 bands: the pixels of the bounding window
W4        1,000 polygons × one scene × 2 bands: statistics of each
W5        headers of 500 files: size, blocks, type, nodata, CRS, transform
========  =======================================================================================================

Results are brought into one form after the clock has stopped: nodata and "outside" are 0 in all of them, so that digests need no mask.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import shapely

if TYPE_CHECKING:
    from pathlib import Path

WORKLOADS = {
    "W1": "points x scenes x 2 bands, values",
    "W2": "fields x scenes x 2 bands, pixels inside",
    "W2z": "fields x scenes x 2 bands, statistics",
    "W3": "one 256 px chip x scenes x 4 bands",
    "W4": "zones x one scene x 2 bands, statistics",
    "W5": "headers",
}
NODATA = 0
RESOLUTION = 10.0


@dataclass(frozen=True)
class Scene:
    """A record of the index, hrefs made absolute."""

    id: str
    datetime: Any
    epsg: int
    footprint: bytes
    hrefs: dict[str, str]


@dataclass(frozen=True)
class Inputs:
    """What a workload reads. ``base`` is the URL (or folder) that hrefs start with."""

    workload: str
    archive: Path
    base: str
    scenes: list[Scene]
    bands: tuple[str, ...]
    ids: np.ndarray
    """Ids of the points or fields, in the order given to the contender."""
    lon: np.ndarray
    lat: np.ndarray
    fields: list[shapely.Polygon]
    """Fields (W2, W2z), zones (W4) or the chip (W3) in CRS84."""
    table: Path
    """Parquet of the points, fields or chip."""
    index: Path
    """Parquet of the records, hrefs relative."""


class Chip(NamedTuple):
    """Pixels of one field in one band of one scene; 0 outside the field. ``row`` and ``col`` are those of the first pixel in the whole image."""

    field: int
    scene: int
    band: int
    row: int
    col: int
    values: np.ndarray


class FileFacts(NamedTuple):
    """What W5 asks of a header."""

    id: str
    width: int
    height: int
    block_width: int
    block_height: int
    dtype: str
    nodata: float
    epsg: int
    transform: tuple[float, float, float, float, float, float]


def load_inputs(archive: Path, base: str, workload: str, *, points: str = "uniform", order: str = "shuffled", limit: int | None = None) -> Inputs:
    """``limit`` takes the first so many points, fields or headers; ``order`` is ``shuffled`` or ``sorted``."""
    index = archive / ("headers.parquet" if workload == "W5" else "index.parquet")
    records = pq.read_table(index)
    names = [name for name in records.column_names if name.startswith("B")]
    bands = {"W3": tuple(names[:4]), "W5": ("B04",)}.get(workload, tuple(names[-2:]))
    rows = records.to_pylist()[: {"W5": limit, "W4": 1}.get(workload)]
    scenes = [Scene(r["id"], r["datetime"], r["proj:epsg"], r["geometry"], {b: f"{base}/{r[b]}" for b in names}) for r in rows]
    table = archive / {"W1": f"points_{points}_{order}.parquet", "W3": "chip.parquet", "W4": f"zones_{order}.parquet"}.get(
        workload, f"fields_{order}.parquet"
    )
    given = pq.read_table(table).slice(0, limit)
    lon = lat = ids = np.empty(0)
    fields: list[shapely.Polygon] = []
    if workload == "W1":
        ids, lon, lat = (given[name].to_numpy() for name in ("point_id", "lon", "lat"))
    else:
        ids = given[0].to_numpy()
        fields = list(shapely.from_wkb(given["geometry"].to_pylist()))
    return Inputs(workload, archive, base, scenes, bands, ids, lon, lat, fields, table, index)


def digest(inputs: Inputs, result: Any) -> str:
    """A checksum that does not depend on the order of rows, but on every value and its place."""
    if inputs.workload == "W1":
        return digest_values(inputs, result)
    if inputs.workload == "W5":
        lines = sorted(repr(FileFacts(*f)) for f in result)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    return digest_chips(result)


def digest_values(inputs: Inputs, values: np.ndarray) -> str:
    """``values``: uint16 (points, scenes, bands), points in the order of ``inputs.ids``."""
    expected = (len(inputs.ids), len(inputs.scenes), len(inputs.bands))
    if values.shape != expected or values.dtype != np.uint16:
        msg = f"W1 gave {values.dtype} {values.shape}, expected uint16 {expected}"
        raise ValueError(msg)
    return hashlib.sha256(values[np.argsort(inputs.ids)].tobytes()).hexdigest()[:16]


def digest_chips(chips: list[Chip]) -> str:
    """Over the valid pixels with their absolute places, so that a larger window with the same pixels is the same result."""
    lines = []
    for chip in chips:
        row, col = np.nonzero(chip.values)
        value = chip.values[row, col].astype(np.int64)
        place = ((row + chip.row) * 8191 + (col + chip.col) * 131) % 65521
        lines.append((chip.field, chip.scene, chip.band, len(value), int(value.sum()), int((value * place).sum())))
    return hashlib.sha256(repr(sorted(line for line in lines if line[3])).encode()).hexdigest()[:16]
