"""``rasteret_read``: pixel arrays per geometry and record, in three steps.

*announce* (per record, with all its candidate geometries) finds the windows and an order in which neighbours share segments;
*pace* (per sorted batch) spaces the rows out so that each batch *fetch* is given holds no more pixels than the memory setting;
*fetch* reads one batch as one plan.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from rasteret_sql.udfs.arrow import PIXEL_SLOTS, Column, list_parts, lists, numbers, one_chunk, slot_fields
from rasteret_sql.udfs.options import Options, options_of
from rasteret_sql.udfs.tickets import BOOK

from rasteret_sql.collection.rows import bands_of_payload
from rasteret_sql.raster.grid import Grid, Window, window_transform
from rasteret_sql.reader.areas import (
    Block,
    BlockRequest,
    Windows,
    block_nbytes,
    masks_of,
    project,
    read_blocks,
    read_grid,
    tile_order,
    windows_of,
)
from rasteret_sql.reader.band import Band, physical
from rasteret_sql.reader.cost import check_budget, cost_under

BATCH = 2048
"""DuckDB's vector size: the most rows a function is called with."""
TICKET = "STRUCT(no INTEGER, seq BIGINT, record BIGINT, win_row INTEGER, win_col INTEGER, win_height INTEGER, win_width INTEGER, nbytes BIGINT)"
BLOCK = (
    "STRUCT(crs VARCHAR, transform DOUBLE[], height INTEGER, width INTEGER, status UTINYINT, error VARCHAR, "
    + ", ".join(f"{slot} {name}[][]" for name, slot in PIXEL_SLOTS.items())
    + ")"
)
OK, NODATA, ERROR = 0, 1, 3

Objects = npt.NDArray[np.object_]


class _Sequence:
    """Numbers that grow over all announcements of the process, so that batches sort in the order they were announced."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0

    def take(self, count: int) -> int:
        with self._lock:
            first = self._next
            self._next += count
            return first


_SEQUENCE = _Sequence()


@dataclass(frozen=True, slots=True, eq=False)
class Met:
    """The geometries that meet one record, and their windows on the grid it is read on."""

    bands: tuple[Band | None, ...]
    leading: Band
    """A band of the grid that is read on."""
    nos: npt.NDArray[np.int64]
    windows: Windows


def announce(options: pa.Array, payload: pa.Array, nos: pa.Array, wkbs: pa.Array, crs: pa.Array) -> pa.Array:
    """Tickets of the geometries that meet each record, in the order they should be read; refuses what is over the byte budget."""

    def whole(met: Met, *_: object) -> tuple[Met, npt.NDArray[np.int64]]:
        return met, block_nbytes(met.bands, met.windows)

    return announced(options, payload, nos, wkbs, crs, whole)


def announced(
    options: pa.Array,
    payload: pa.Array,
    nos: pa.Array,
    wkbs: pa.Array,
    crs: pa.Array,
    cut: Callable[[Met, Geometries, Options], tuple[Met, npt.NDArray[np.int64]]],
) -> pa.Array:
    """Tickets per record; ``cut`` may divide what is met into smaller windows, and says how many bytes each window's result takes."""
    chosen = options_of(options)
    if chosen is None:
        return pa.array([], pa.list_(_TICKET_TYPE))
    geometries = Geometries(*list_parts(nos), list_parts(wkbs)[1], one_chunk(crs)[0].as_py())
    rows: list[dict[str, npt.NDArray[Any]]] = []
    needed = 0
    counted: dict[str, npt.NDArray[np.int64]] = {}
    query = chosen.query()
    for row, bands in enumerate(bands_of_payload(one_chunk(payload), chosen.bands)):
        where = read_grid(bands)
        if where is None:
            rows.append({name: np.empty(0, np.int64) for name in _TICKET_FIELDS})
            continue
        leading = next(band for band in bands if band is not None and band.grid == where[0])
        met, nbytes = cut(Met(bands, leading, *geometries.windows(row, *where)), geometries, chosen)
        order = np.lexsort((met.windows[:, 1], tile_order(leading, met.windows)))
        windows = met.windows[order]
        costs = [cost_under(band, on_band(band, where[0], windows), query, counted) for band in bands if band is not None]
        needed += sum(cost.bytes - cost.bytes_cached for cost in costs)
        rows.append(_tickets(bands, met.nos[order], windows, nbytes[order]))
    check_budget(needed, query)
    counts = [len(row["no"]) for row in rows]
    columns = {name: np.concatenate([row[name] for row in rows]) for name in _TICKET_FIELDS}
    columns["seq"] = _SEQUENCE.take(sum(counts)) + np.arange(sum(counts))
    arrays = [pa.array(columns[name], _TICKET_TYPE.field(name).type) for name in _TICKET_FIELDS]
    return lists(counts, pa.StructArray.from_arrays(arrays, list(_TICKET_FIELDS)))


_TICKET_FIELDS = ("no", "seq", "record", "win_row", "win_col", "win_height", "win_width", "nbytes")
_TICKET_TYPE = pa.struct([(name, pa.int64() if name in ("seq", "record", "nbytes") else pa.int32()) for name in _TICKET_FIELDS])


def _tickets(
    bands: tuple[Band | None, ...], nos: npt.NDArray[np.int64], windows: Windows, nbytes: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[Any]]:
    return {
        "no": nos,
        "seq": nos,
        "record": np.full(len(nos), BOOK.announce(bands) if len(nos) else 0, dtype=np.int64),
        "win_row": windows[:, 0],
        "win_col": windows[:, 1],
        "win_height": windows[:, 2],
        "win_width": windows[:, 3],
        "nbytes": nbytes,
    }


def on_band(band: Band, grid: Grid, windows: Windows) -> Windows:
    """The windows in the band's own pixels, where its grid is coarser than the one read on (outer bounds: for counting only)."""
    if band.grid == grid:
        return windows
    (a, _, c, _, e, f), (sa, _, sc, _, se, sf) = grid.transform, band.grid.transform
    top, left = (f + e * windows[:, 0] - sf) / se, (c + a * windows[:, 1] - sc) / sa
    bottom, right = (f + e * (windows[:, 0] + windows[:, 2]) - sf) / se, (c + a * (windows[:, 1] + windows[:, 3]) - sc) / sa
    top, left = np.clip(np.floor(top), 0, band.grid.height), np.clip(np.floor(left), 0, band.grid.width)
    bottom, right = np.clip(np.ceil(bottom), 0, band.grid.height), np.clip(np.ceil(right), 0, band.grid.width)
    return np.stack([top, left, np.maximum(bottom - top, 0), np.maximum(right - left, 0)], axis=1).astype(np.int64)


class Geometries:
    """The geometries of a call, each parsed once, projected once per CRS, windowed once per grid, however many records it meets."""

    def __init__(self, bounds: npt.NDArray[np.int64], nos: pa.Array, wkbs: pa.Array, crs: str) -> None:
        self._bounds = bounds
        self._nos = nos.to_numpy().astype(np.int64)
        self._unique, firsts = np.unique(self._nos, return_index=True)
        self._shapes: Objects = np.asarray(shapely.from_wkb(np.asarray(wkbs.take(pa.array(firsts)).to_pylist(), dtype=object)))
        self._crs = crs
        self._projected: dict[str, Objects] = {}
        self._windows: dict[tuple[str, Grid], Windows] = {}

    def windows(self, row: int, grid: Grid, crs: str) -> tuple[npt.NDArray[np.int64], Windows]:
        """Numbers and windows of the row's geometries that meet the grid."""
        if (crs, grid) not in self._windows:
            self._windows[crs, grid] = windows_of(self.projected(crs), grid)
        nos = self._nos[self._bounds[row] : self._bounds[row + 1]]
        windows = self._windows[crs, grid][np.searchsorted(self._unique, nos)]
        meets = (windows[:, 2] > 0) & (windows[:, 3] > 0)
        return nos[meets], windows[meets]

    def projected(self, crs: str) -> Objects:
        if crs not in self._projected:
            self._projected[crs] = project(self._shapes, self._crs, crs)
        return self._projected[crs]

    def shapes_of(self, nos: npt.NDArray[np.int64], crs: str) -> Objects:
        """Projected geometries by number."""
        return np.asarray(self.projected(crs)[np.searchsorted(self._unique, nos)])


def pace(options: pa.Array, nbytes: pa.Array) -> pa.Array:
    """A list per row: one live entry, and after the last row of each byte-bounded batch as many NULLs as fill DuckDB's vector."""
    chosen = options_of(options)
    if chosen is None:
        return pa.array([], pa.list_(pa.uint8()))
    sizes = np.nan_to_num(numbers(nbytes).astype(float))
    lengths = np.ones(len(sizes), dtype=np.int64)
    held = start = 0
    for row, size in enumerate(sizes):
        if row > start and held + size > chosen.settings.memory_bytes:
            lengths[row - 1] += BATCH - (row - start)
            held, start = 0, row
        held += int(size)
    if start:
        lengths[-1] += BATCH - (len(sizes) - start)
    dead = np.ones(lengths.sum(), dtype=bool)
    dead[np.cumsum(lengths) - lengths] = False
    return lists(lengths, pa.array(np.ones(len(dead), np.uint8), mask=dead))


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one call of a fetching function is given."""

    options: Options
    alive: npt.NDArray[np.bool_]
    """Which of the call's rows are live."""
    used: npt.NDArray[np.int64]
    """Which of the live rows have a ticket."""
    columns: dict[str, npt.NDArray[Any]]
    """Fields of these tickets."""
    geometries: Geometries


def batch_of(options: pa.Array, live: pa.Array, ticket: pa.Array, wkb: pa.Array, crs: pa.Array) -> Batch | None:
    """The batch in the arguments of a fetching function; None without a live row."""
    chosen = options_of(options)
    alive = one_chunk(live).is_valid().to_numpy(zero_copy_only=False)
    if chosen is None or not alive.any():
        return None
    kept = pa.array(np.flatnonzero(alive))
    tickets, shapes = one_chunk(ticket).take(kept), one_chunk(wkb).take(kept)
    used = np.flatnonzero(tickets.is_valid().to_numpy(zero_copy_only=False))
    columns = {name: tickets.field(name).take(pa.array(used)).to_numpy() for name in _TICKET_FIELDS}
    geometries = Geometries(np.array([0, len(used)]), pa.array(columns["no"]), shapes.take(pa.array(used)), one_chunk(crs)[0].as_py())
    return Batch(chosen, alive, used, columns, geometries)


def fetch(options: pa.Array, types: pa.Array, live: pa.Array, ticket: pa.Array, wkb: pa.Array, crs: pa.Array) -> pa.Array:
    """One batch of blocks; a live row without ticket (its geometry meets no record) answers with an empty block, a dead row with none."""
    batch = batch_of(options, live, ticket, wkb, crs)
    if batch is None:
        return pa.array([[]] * len(live), pa.list_(_block_type()))
    chosen = batch.options
    requests, places = block_requests(batch.columns, batch.geometries, chosen.pixels)
    with chosen.query() as query:
        blocks = read_blocks(requests, query)
    table: list[tuple[BlockRequest, str, Block] | None] = [None] * int(batch.alive.sum())
    for position, request, place, block in zip(batch.used.tolist(), requests, places, blocks, strict=True):
        table[position] = (request, place, block)
    return lists(batch.alive.astype(np.int64), _blocks(table, one_chunk(types)[0].as_py(), chosen.bands, scaled=chosen.scaled))


def windows_of_tickets(columns: dict[str, npt.NDArray[Any]]) -> Windows:
    return np.stack([columns[name] for name in ("win_row", "win_col", "win_height", "win_width")], axis=1).astype(np.int64)


def block_requests(columns: dict[str, npt.NDArray[Any]], geometries: Geometries, pixels: str) -> tuple[list[BlockRequest], list[str]]:
    """Requests of a batch and their CRSs; the masks of all geometries on one grid are drawn together."""
    windows = windows_of_tickets(columns)
    by_grid: dict[tuple[Grid, str], list[int]] = {}
    bands_of: list[tuple[Band | None, ...]] = []
    for position, record in enumerate(columns["record"].tolist()):
        bands = BOOK.bands(record)
        where = read_grid(bands)
        bands_of.append(bands)
        if where is not None:
            by_grid.setdefault(where, []).append(position)
    requests: list[BlockRequest | None] = [None] * len(bands_of)
    places = [""] * len(bands_of)
    for (grid, crs), members in by_grid.items():
        masks = _shared_masks(geometries.shapes_of(columns["no"][members], crs), columns["no"][members], grid, windows[members], pixels)
        for position, mask in zip(members, masks, strict=True):
            row, col, height, width = windows[position].tolist()
            requests[position] = BlockRequest(bands_of[position], grid, Window(row, col, height, width), mask)
            places[position] = crs
    return [request for request in requests if request is not None], places


def _shared_masks(shapes: Objects, nos: npt.NDArray[Any], grid: Grid, windows: Windows, pixels: str) -> list[npt.NDArray[np.bool_]]:
    """One mask per distinct geometry: records on one grid share it."""
    _, firsts, back = np.unique(nos, return_index=True, return_inverse=True)
    drawn = masks_of(shapes[firsts], grid, windows[firsts], pixels)
    return [drawn[i] for i in back.tolist()]


def _blocks(table: Sequence[tuple[BlockRequest, str, Block] | None], types: Sequence[str], names: Sequence[str], *, scaled: bool) -> pa.StructArray:
    """The batch as structs; rows without a block are all NULL."""
    cells: list[list[Column]] = []
    fixed: dict[str, list[Any]] = {name: [] for name in ("crs", "transform", "height", "width", "status", "error")}
    for entry in table:
        if entry is None:
            cells.append([None] * len(names))
            for column in fixed.values():
                column.append(None)
            continue
        request, crs, block = entry
        cells.append(
            [
                (np.zeros(request.mask.size), np.zeros(request.mask.size, bool))
                if values is None or band is None
                else (physical(values, band, scaled=scaled), valid)
                for values, valid, band in zip(block.values, block.valid, request.bands, strict=True)
            ]
        )
        lacking = [name for name, band in zip(names, request.bands, strict=True) if band is None]
        messages = block.errors + ([f"the record has no asset for {', '.join(lacking)}"] if lacking else [])
        if not request.mask.any():
            messages.append("the geometry holds no pixel's centre; pixels := 'all_touched' takes the pixels it touches")
        fixed["crs"].append(crs)
        fixed["transform"].append(window_transform(request.grid, request.window))
        fixed["height"].append(request.window.height)
        fixed["width"].append(request.window.width)
        fixed["status"].append(ERROR if block.errors else NODATA if block.nodata or lacking else OK)
        fixed["error"].append("; ".join(messages) or None)
    block_type = _block_type()
    arrays = [pa.array(column, block_type.field(name).type) for name, column in fixed.items()]
    slots = slot_fields(cells, types, PIXEL_SLOTS)
    return pa.StructArray.from_arrays([*arrays, *slots.values()], [*fixed, *slots])


def _block_type() -> pa.DataType:
    fixed = [("crs", pa.string()), ("transform", pa.list_(pa.float64())), ("height", pa.int32()), ("width", pa.int32())]
    slots = [(slot, pa.list_(pa.list_(_arrow(name)))) for name, slot in PIXEL_SLOTS.items()]
    return pa.struct([*fixed, ("status", pa.uint8()), ("error", pa.string()), *slots])


def _arrow(sql_type: str) -> pa.DataType:
    kinds = {"FLOAT": pa.float32(), "DOUBLE": pa.float64()}
    return kinds[sql_type] if sql_type in kinds else pa.from_numpy_dtype(np.dtype(PIXEL_SLOTS[sql_type]))


def pixels(options: pa.Array, payload: pa.Array, geometry: pa.Array, crs: pa.Array, kind: str) -> pa.Array:
    """Scalar form: the pixels of one band per (record, geometry) row, row-major; NULL where they do not meet."""
    chosen = options_of(options)
    item = _arrow(kind)
    if chosen is None:
        return pa.array([], pa.list_(item))
    wkbs = one_chunk(geometry)
    here = np.flatnonzero(wkbs.is_valid().to_numpy(zero_copy_only=False))
    bands = bands_of_payload(one_chunk(payload), chosen.bands)
    geometries = Geometries(np.arange(len(here) + 1), pa.array(here), wkbs.take(pa.array(here)), one_chunk(crs)[0].as_py())
    rows: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in _TICKET_FIELDS}
    needed, query = 0, chosen.query()
    counted: dict[str, npt.NDArray[np.int64]] = {}
    for index, row in enumerate(here.tolist()):
        band = bands[row][0]
        if band is not None:
            nos, windows = geometries.windows(index, band.grid, band.crs)
            cost = cost_under(band, windows, query, counted)
            needed += cost.bytes - cost.bytes_cached
            for name, values in _tickets(bands[row], nos, windows, block_nbytes(bands[row], windows)).items():
                rows[name].append(values)
    check_budget(needed, query)
    columns = {name: np.concatenate(parts) if parts else np.empty(0, np.int64) for name, parts in rows.items()}
    requests, _ = block_requests(columns, geometries, chosen.pixels)
    with query:
        blocks = read_blocks(requests, query)
    cells: list[Column] = [None] * len(wkbs)
    for row, request, block in zip(columns["no"].tolist(), requests, blocks, strict=True):
        band, found = request.bands[0], block.values[0]
        if band is not None and found is not None:
            cells[row] = (physical(found, band, scaled=chosen.scaled), block.valid[0])
    return slot_fields([[cell] for cell in cells], [kind], PIXEL_SLOTS)[PIXEL_SLOTS[kind]].values
