"""``rasteret_read``: pixel arrays per geometry and record, in three steps.

*announce* (per record, with all its candidate geometries) finds the windows and an order in which neighbours share segments;
*pace* (:mod:`rasteret_sql.udfs.pacing`) spaces the sorted rows out so that each batch *fetch* is given holds no more pixels than the memory setting;
*fetch* reads one batch as one plan.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rasteret_sql.udfs.arrow import arrow_type, list_parts, lists, rows_at
from rasteret_sql.udfs.blocks import BLOCK_TYPE, Found, block_rows
from rasteret_sql.udfs.candidates import Geometries, Objects
from rasteret_sql.udfs.options import Options, options_of, statement_of
from rasteret_sql.udfs.pacing import batch_bytes
from rasteret_sql.udfs.slots import Column, slot_lists
from rasteret_sql.udfs.tickets import BOOK

from rasteret_sql.collection.nested import one_chunk
from rasteret_sql.collection.rows import bands_of_payload
from rasteret_sql.progress import foresee
from rasteret_sql.raster.coverage import geometry_masks
from rasteret_sql.raster.grid import Grid, Window
from rasteret_sql.raster.targets import check_sizes
from rasteret_sql.reader.areas import Windows, tile_order
from rasteret_sql.reader.band import Band, physical
from rasteret_sql.reader.blocks import Block, Bools
from rasteret_sql.reader.cost import Stored, announce_read, check_budget, stored_under
from rasteret_sql.reader.engine import Query
from rasteret_sql.reader.levels import View, source_windows, view_of
from rasteret_sql.reader.readahead import Announced
from rasteret_sql.reader.statements import Statement
from rasteret_sql.reader.warp import ViewRequest, read_views, view_nbytes

TICKET = (
    "STRUCT(no INTEGER, seq BIGINT, record BIGINT, win_row INTEGER, win_col INTEGER, win_height INTEGER, win_width INTEGER, "
    "nbytes BIGINT, statement UBIGINT)"
)


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

    view: View
    nos: npt.NDArray[np.int64]
    windows: Windows

    @property
    def bands(self) -> tuple[Band | None, ...]:
        return self.view.bands

    @property
    def leading(self) -> Band:
        """A band of the grid that is read on."""
        return self.view.leading


def announce(options: pa.Array, payload: pa.Array, nos: pa.Array, wkbs: pa.Array, crs: pa.Array, statement: pa.Array) -> pa.Array:
    """Tickets of the geometries that meet each record, in the order they should be read. All are made before the first is fetched."""

    def whole(met: Met, *_: object) -> tuple[Met, npt.NDArray[np.int64]]:
        if not met.view.own:
            check_sizes(met.windows)
        return met, view_nbytes(met.view, met.windows)

    return announced(options, payload, nos, wkbs, crs, statement, whole, ahead=True)


def announced(
    options: pa.Array,
    payload: pa.Array,
    nos: pa.Array,
    wkbs: pa.Array,
    crs: pa.Array,
    statement: pa.Array,
    cut: Callable[[Met, Geometries, Options], tuple[Met, npt.NDArray[np.int64]]],
    *,
    ahead: bool = False,
) -> pa.Array:
    """Tickets per record; ``cut`` may divide what is met into smaller windows, and says how many bytes each window's result takes. Blocks of whole
    windows may be read ``ahead``.
    """
    chosen = options_of(options)
    if chosen is None:
        return pa.array([], pa.list_(_TICKET_TYPE))
    geometries = Geometries(*list_parts(nos), list_parts(wkbs)[1], one_chunk(crs)[0].as_py())
    rows: list[dict[str, npt.NDArray[Any]]] = []
    stored: list[Stored] = []
    number = statement_of(statement)
    query = chosen.query(number)
    for row, bands in enumerate(bands_of_payload(one_chunk(payload), chosen.bands, overviews=not chosen.target.own)):
        view = view_of(bands, chosen.target)
        if view is None:
            rows.append({name: np.empty(0, np.int64) for name in _WINDOW_FIELDS})
            continue
        met, nbytes = cut(Met(view, *geometries.met(row, view)), geometries, chosen)
        view = met.view
        sources = source_windows(view, met.leading, met.windows)
        order = np.lexsort((sources[:, 1], tile_order(met.leading, sources)))
        windows = met.windows[order]
        stored += stored_under((band, source_windows(view, band, windows)) for band in view.bands if band is not None)
        rows.append(_tickets(view, met.nos[order], windows, nbytes[order]))
    announce_read(stored, query)
    counts = [len(row["no"]) for row in rows]
    weight = sum(float(row["nbytes"].sum()) for row in rows)
    foresee(query.work.key, query.function, sum(counts), weight, wanted=query.settings.progress)
    columns = {name: np.concatenate([row[name] for row in rows]) for name in _WINDOW_FIELDS}
    first = _SEQUENCE.take(sum(counts))
    columns["seq"] = first + np.arange(sum(counts))
    if ahead:
        _announce_ahead(first, columns, chosen, query.statement)
    columns["statement"] = np.full(sum(counts), number or 0, dtype=np.uint64)
    arrays = [pa.array(columns[name], _TICKET_TYPE.field(name).type) for name in _TICKET_FIELDS]
    return lists(counts, pa.StructArray.from_arrays(arrays, list(_TICKET_FIELDS)))


def _announce_ahead(first: int, columns: Mapping[str, npt.NDArray[Any]], options: Options, statement: Statement) -> None:
    """Blocks may be read ahead, in whole windows: what their geometries select is worked out when they are asked for."""

    def read(query: Query, start: int, stop: int) -> list[Block]:
        check_budget(query)
        tickets = {name: column[start:stop] for name, column in columns.items()}
        query.work.take(stop - start, float(tickets["nbytes"].sum()))
        return read_views(view_requests(tickets), query)

    statement.ahead.announce(Announced(first, columns["nbytes"], batch_bytes(options), partial(options.query_of, statement), read))


_WINDOW_FIELDS = ("no", "record", "win_row", "win_col", "win_height", "win_width", "nbytes")
_TICKET_TYPES = {"seq": pa.int64(), "record": pa.int64(), "nbytes": pa.int64(), "statement": pa.uint64()}
_TICKET_FIELDS = ("no", "seq", "record", "win_row", "win_col", "win_height", "win_width", "nbytes", "statement")
_TICKET_TYPE = pa.struct([(name, _TICKET_TYPES.get(name, pa.int32())) for name in _TICKET_FIELDS])


def _tickets(view: View, nos: npt.NDArray[np.int64], windows: Windows, nbytes: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    return {
        "no": nos,
        "record": np.full(len(nos), BOOK.announce(view) if len(nos) else 0, dtype=np.int64),
        "win_row": windows[:, 0],
        "win_col": windows[:, 1],
        "win_height": windows[:, 2],
        "win_width": windows[:, 3],
        "nbytes": nbytes,
    }


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

    def query(self) -> Query:
        """The read of the batch: its share of what was announced. Refused where all that was is over the byte budget."""
        query = self.options.query(int(self.columns["statement"][0]) if len(self.used) else None)
        check_budget(query)
        query.work.take(len(self.used), float(self.columns["nbytes"].sum()))
        return query


def batch_of(options: pa.Array, live: pa.Array, ticket: pa.Array, wkb: pa.Array, crs: pa.Array) -> Batch | None:
    """The batch in the arguments of a fetching function; None without a live row."""
    chosen = options_of(options)
    alive = one_chunk(live).is_valid().to_numpy(zero_copy_only=False)
    if chosen is None or not alive.any():
        return None
    here = np.flatnonzero(alive)
    tickets, shapes = rows_at(ticket, here), rows_at(wkb, here)
    used = np.flatnonzero(tickets.is_valid().to_numpy(zero_copy_only=False))
    columns = {name: tickets.field(name).take(pa.array(used)).to_numpy() for name in _TICKET_FIELDS}
    geometries = Geometries(np.array([0, len(used)]), pa.array(columns["no"]), shapes.take(pa.array(used)), one_chunk(crs)[0].as_py())
    return Batch(chosen, alive, used, columns, geometries)


def fetch(options: pa.Array, types: pa.Array, live: pa.Array, ticket: pa.Array, wkb: pa.Array, crs: pa.Array) -> pa.Array:
    """One batch of blocks; a live row without ticket (its geometry meets no record) answers with an empty block, a dead row with none."""
    batch = batch_of(options, live, ticket, wkb, crs)
    if batch is None:
        return pa.array([[]] * len(live), pa.list_(BLOCK_TYPE))
    chosen, tickets = batch.options, batch.columns
    requests = view_requests(tickets)
    query = batch.query()

    def read(positions: npt.NDArray[np.int64]) -> list[Block]:
        query.work.take(len(positions), float(tickets["nbytes"][positions].sum()))
        return read_views([requests[position] for position in positions.tolist()], query)

    masks, blocks = list[Bools](), list[Block]()
    if requests:
        with query.statement.ahead.ask(tickets["seq"], query, read) as asking:
            masks = block_masks(tickets, requests, batch.geometries, chosen.pixels)
            blocks = asking.results()
    table: list[Found] = [None] * int(batch.alive.sum())
    for position, request, mask, block in zip(batch.used.tolist(), requests, masks, blocks, strict=True):
        block.select(mask)
        table[position] = (request, mask, block)
    rows = block_rows(table, one_chunk(types)[0].as_py(), chosen.bands, scaled=chosen.scaled)
    return lists(batch.alive.astype(np.int64), rows)


def windows_of_tickets(columns: Mapping[str, npt.NDArray[Any]]) -> Windows:
    return np.stack([columns[name] for name in ("win_row", "win_col", "win_height", "win_width")], axis=1).astype(np.int64)


def view_requests(tickets: Mapping[str, npt.NDArray[Any]]) -> list[ViewRequest]:
    """Requests of tickets."""
    records, windows = tickets["record"], windows_of_tickets(tickets)
    views = {record: BOOK.view(record) for record in np.unique(records).tolist()}
    return [ViewRequest(views[record], Window(*window)) for record, window in zip(records.tolist(), windows.tolist(), strict=True)]


def block_masks(tickets: Mapping[str, npt.NDArray[Any]], requests: Sequence[ViewRequest], geometries: Geometries, pixels: str) -> list[Bools]:
    """Which pixels of its window each geometry selects; the masks of all geometries on one grid are drawn together."""
    windows = windows_of_tickets(tickets)
    by_grid: dict[tuple[Grid, str], list[int]] = {}
    for position, request in enumerate(requests):
        by_grid.setdefault((request.grid, request.view.crs), []).append(position)
    masks: list[Bools | None] = [None] * len(requests)
    for (grid, crs), members in by_grid.items():
        mine = tickets["no"][members]
        shapes = geometries.shapes(mine) if pixels == "window" else geometries.shapes_of(mine, crs, grid)  # then all that counts is that there is one
        for position, mask in zip(members, _shared_masks(shapes, mine, grid, windows[members], pixels), strict=True):
            masks[position] = mask
    return [mask for mask in masks if mask is not None]


def _shared_masks(shapes: Objects, nos: npt.NDArray[Any], grid: Grid, windows: Windows, pixels: str) -> list[npt.NDArray[np.bool_]]:
    """One mask per distinct geometry: records on one grid share it."""
    _, firsts, back = np.unique(nos, return_index=True, return_inverse=True)
    drawn = geometry_masks(shapes[firsts], grid, windows[firsts], pixels)
    return [drawn[i] for i in back.tolist()]


def pixels(options: pa.Array, payload: pa.Array, geometry: pa.Array, crs: pa.Array, statement: pa.Array, kind: str) -> pa.Array:
    """Scalar form: the pixels of one band per (record, geometry) row, row-major; NULL where they do not meet."""
    chosen = options_of(options)
    if chosen is None:
        return pa.array([], pa.list_(arrow_type(kind)))
    wkbs = one_chunk(geometry)
    here = np.flatnonzero(wkbs.is_valid().to_numpy(zero_copy_only=False))
    bands = bands_of_payload(one_chunk(payload), chosen.bands)
    geometries = Geometries(np.arange(len(here) + 1), pa.array(here), wkbs.take(pa.array(here)), one_chunk(crs)[0].as_py())
    rows: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in _WINDOW_FIELDS}
    query = chosen.query(statement_of(statement))
    stored: list[Stored] = []
    for index, row in enumerate(here.tolist()):
        band = bands[row][0]
        if band is not None:
            nos, windows = geometries.windows(index, band.grid, band.crs)
            stored += stored_under([(band, windows)])
            view = View(bands[row], band.grid, band.crs, band.grid, band.crs)
            for name, values in _tickets(view, nos, windows, view_nbytes(view, windows)).items():
                rows[name].append(values)
    announce_read(stored, query)
    check_budget(query)
    columns = {name: np.concatenate(parts) if parts else np.empty(0, np.int64) for name, parts in rows.items()}
    requests = view_requests(columns)
    masks = block_masks(columns, requests, geometries, chosen.pixels)
    with query:
        blocks = read_views(requests, query)
    cells: list[Column] = [None] * len(wkbs)
    for row, request, mask, block in zip(columns["no"].tolist(), requests, masks, blocks, strict=True):
        block.select(mask)
        band, found = request.bands[0], block.values[0]
        if band is not None and found is not None:
            cells[row] = (physical(found, band, scaled=chosen.scaled), block.valid[0])
    return slot_lists([[cell] for cell in cells], [kind], kind).values
