"""``rasteret_sample``: values of bands at points, all records of a call in one plan."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rasteret_sql.udfs.arrow import arrow_type, joined, list_parts, lists, numbers, ones, rows_at
from rasteret_sql.udfs.geometry import complain, point_coordinates
from rasteret_sql.udfs.masks import mask_of
from rasteret_sql.udfs.options import Options, options_of, statement_of
from rasteret_sql.udfs.slots import VALUE_SLOTS, Column, slot_fields, slot_lists, slots_sql
from rasteret_sql.udfs.tickets import POINTS

from rasteret_sql.collection.ahead import crs_met
from rasteret_sql.collection.nested import one_chunk
from rasteret_sql.collection.rows import bands_of_payload, rows_by_bands
from rasteret_sql.errors import RasteretError
from rasteret_sql.raster.crs import CRS84
from rasteret_sql.raster.proj import begin_in_proj_thread
from rasteret_sql.reader.band import Band, physical
from rasteret_sql.reader.cost import check_budget
from rasteret_sql.reader.engine import Query
from rasteret_sql.reader.gather import Ints
from rasteret_sql.reader.points import How, Places, PlacesKey, PointReader
from rasteret_sql.reader.visits import MASKED, NO_TIME, NODATA, Points, Visit, VisitResult
from rasteret_sql.reader.zones import Evaluate

_WINDOW_SLOTS = {"BIGINT": "wi", "UBIGINT": "wu", "DOUBLE": "wf"}

RESULT = (
    "STRUCT(record INTEGER[], no INTEGER[], status UTINYINT[], distance DOUBLE[], error VARCHAR[], "
    + slots_sql(VALUE_SLOTS)
    + ", "
    + ", ".join(f"{slot} {name}[][][]" for name, slot in _WINDOW_SLOTS.items())
    + ")[]"
)

HELD = "STRUCT(ticket BIGINT, no INTEGER[], lon DOUBLE[], lat DOUBLE[], error VARCHAR[])"
_HELD = pa.struct(
    [
        ("ticket", pa.int64()),
        ("no", pa.list_(pa.int32())),
        ("lon", pa.list_(pa.float64())),
        ("lat", pa.list_(pa.float64())),
        ("error", pa.list_(pa.string())),
    ]
)
CELLS = "STRUCT(cell BIGINT, points BIGINT)[]"
_CELL = pa.struct([("cell", pa.int64()), ("points", pa.int64())])

MOST_PROJECTED = 500_000
"""Points times CRSs that are projected before it is known which are needed: a tenth of a second."""


def hold(points: pa.Array, crs: pa.Array, on_error: pa.Array, files: pa.Array) -> pa.Array:
    """All points of a statement in one row, numbered but in no order; answers with a ticket for them, and where each lies in CRS84.

    A point without a place has NULLs there, and what is wrong with it, if anything is. ``files`` are those of the records that the points are
    going to meet: while DuckDB finds out which, the points are projected into their CRSs, where these are few.
    """
    given = one_chunk(points)
    if not len(given) or not given[0].is_valid:
        return pa.nulls(len(given), _HELD)
    parts, name = given[0].values, one_chunk(crs)[0].as_py()
    order = np.empty(len(parts), np.int64)
    order[numbers(parts.field("no"))] = np.arange(len(parts))
    x, y, found = point_coordinates(parts.field("place"))
    complain(found, one_chunk(on_error)[0].as_py())
    time = parts.field("time").fill_null(NO_TIME).to_numpy()[order] if parts.type.get_field_index("time") >= 0 else None
    held = Points(x[order], y[order], name, time)
    sides = [pa.array(side, mask=~np.isfinite(side)) for side in held.in_crs(CRS84)]
    ways = crs_met(one_chunk(files)[0].as_py())
    for way in ways if len(held.x) * len(ways) <= MOST_PROJECTED else ():
        begin_in_proj_thread(held.in_crs, way)
    columns = [lists([len(order)], column) for column in (pa.array(np.arange(len(order), dtype=np.int32)), *sides)]
    errors = lists([len(order)], pa.array(found, pa.string()).take(pa.array(order))) if any(found) else pa.nulls(1, pa.list_(pa.string()))
    return pa.StructArray.from_arrays([pa.array([POINTS.hold(held)]), *columns, errors], fields=list(_HELD))


def divide(ticket: pa.Array, size: pa.Array) -> pa.Array:
    """One row: the cells of so many degrees that hold points of a statement, and how many."""
    number, degrees = one_chunk(ticket), one_chunk(size)
    if not len(number) or not number[0].is_valid:
        return pa.nulls(len(number), pa.list_(_CELL))
    cells = POINTS.get(number[0].as_py()).divide(degrees[0].as_py())
    return lists([len(cells.numbers)], pa.StructArray.from_arrays([pa.array(cells.numbers), pa.array(cells.counts)], fields=list(_CELL)))


def announce(
    options: pa.Array, types: pa.Array, payload: pa.Array, cells: pa.Array, ticket: pa.Array, statement: pa.Array, evaluate: Evaluate
) -> pa.Array:
    """One row per record with its cells that hold points: writes down what reading them takes. SQL sorts by the answer, the same for all
    rows, so that it is known of all records before the first is read.
    """
    chosen = options_of(options)
    if chosen is None:
        return pa.array([], pa.uint8())
    number, kinds = one_chunk(ticket)[0].as_py(), one_chunk(types)[0].as_py()
    points = POINTS.get(number)
    visits = _visits(chosen, one_chunk(payload), one_chunk(cells), points)
    places = _reader(points, kinds, chosen, chosen.query(statement_of(statement)), evaluate).announce(visits)
    _ANNOUNCED.leave(number, places)
    return pa.array(np.zeros(len(visits), np.uint8))


def _visits(options: Options, payload: pa.Array, cells: pa.Array, points: Points) -> list[Visit]:
    return [Visit(*visit) for visit in zip(bands_of_payload(payload, options.bands), _candidates(cells, points), strict=True)]


def _candidates(cells: pa.Array, points: Points) -> list[Ints]:
    """The points in the cells of each row, in ascending order; rows of the same cells share theirs."""
    bounds, flat = list_parts(cells)
    in_rows = flat.to_numpy()
    known: dict[bytes, Ints] = {}
    found = []
    for start, stop in pairwise(bounds.tolist()):
        mine = np.sort(in_rows[start:stop])
        key = mine.tobytes()
        if key not in known:
            known[key] = points.in_cells(mine)
        found.append(known[key])
    return found


def sample(
    options: pa.Array, types: pa.Array, payload: pa.Array, cells: pa.Array, ticket: pa.Array, statement: pa.Array, evaluate: Evaluate
) -> pa.Array:
    """One row per record with its cells that hold points; answers with those points that lie in it. Rows without cells only pace the calls.

    ``types`` are the SQL types of all bands' single values; ``evaluate`` computes masks.
    """
    chosen = options_of(options)
    if chosen is None:
        return ones(_rows([], [], (), Options("rasteret_sample"), np.empty(0, np.int64)))
    alive = one_chunk(cells).is_valid().to_numpy(zero_copy_only=False)
    here = np.flatnonzero(alive)
    number, kinds = one_chunk(ticket)[0].as_py(), one_chunk(types)[0].as_py()
    points = POINTS.get(number)
    visits = _visits(chosen, rows_at(payload, here), rows_at(cells, here), points)
    with chosen.query(statement_of(statement)) as query:
        known = _ANNOUNCED.take(number)
        check_budget(query)
        results = _reader(points, kinds, chosen, query, evaluate, known).all(visits)
    return lists(alive.astype(np.int64), _rows(results, [visit.bands for visit in visits], kinds, chosen, np.arange(len(results))))


def first_match(
    options: pa.Array, types: pa.Array, records: pa.Array, pairs: pa.Array, ticket: pa.Array, statement: pa.Array, evaluate: Evaluate
) -> pa.Array:
    """One row for all: records (newest first) and the cells of each; answers with one value of each point: the newest, or the nearest
    in time.
    """
    chosen = options_of(options)
    if chosen is None:
        return ones(_rows([], [], (), Options("rasteret_sample"), np.empty(0, np.int64)))
    parts = list_parts(pairs)[1]
    points = POINTS.get(one_chunk(ticket)[0].as_py())
    at = parts.field("time").to_pylist() if chosen.match == "nearest" else [None] * len(parts)
    by_record = dict(zip(parts.field("record").to_pylist(), zip(_candidates(parts.field("cells"), points), at, strict=True), strict=True))
    bands = bands_of_payload(list_parts(records)[1], chosen.bands)
    visits = [Visit(mine, *by_record[number]) for number, mine in enumerate(bands)]
    kinds = one_chunk(types)[0].as_py()
    with chosen.query(statement_of(statement)) as query:
        reader = _reader(points, kinds, chosen, query, evaluate)
        results, origins = reader.nearest(visits, chosen.tolerance_us) if chosen.match == "nearest" else reader.latest(visits)
    mine = [bands[number] if number >= 0 else (None,) * len(chosen.bands) for number in origins]
    return lists([len(results)], _rows(results, mine, kinds, chosen, origins))


def _reader(
    points: Points, types: Sequence[str], options: Options, query: Query, evaluate: Evaluate, known: Mapping[PlacesKey, Places] | None = None
) -> PointReader:
    mask = mask_of(options, types, evaluate)
    how = How(options.max_distance_pixels, options.neighbourhood, options.interpolation, mask, options.mask_only)
    return PointReader(points, query, how, known)


class _Announced:
    """What announcing has worked out, by the ticket of the points, until the reading that follows takes it; the last few."""

    MOST = 4

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: OrderedDict[int, Mapping[PlacesKey, Places]] = OrderedDict()

    def leave(self, ticket: int, places: Mapping[PlacesKey, Places]) -> None:
        with self._lock:
            self._left[ticket] = places
            while len(self._left) > self.MOST:
                self._left.popitem(last=False)

    def take(self, ticket: int) -> Mapping[PlacesKey, Places] | None:
        with self._lock:
            return self._left.pop(ticket, None)


_ANNOUNCED = _Announced()


def _rows(
    results: Sequence[VisitResult], bands: Sequence[tuple[Band | None, ...]], types: Sequence[str], options: Options, records: npt.NDArray[np.int64]
) -> pa.StructArray:
    """One struct per visit, its columns as parallel lists. Bands that serve the mask alone are left out."""
    counts = np.fromiter((len(result.points) for result in results), dtype=np.int64, count=len(results))
    _explain_missing(results, bands, options)
    shown = len(options.bands) - options.mask_only
    kinds = ["DOUBLE"] * shown if options.interpolation != "nearest" else list(types[:shown])
    fields: dict[str, pa.Array] = {
        "record": lists(np.ones(len(records), np.int64), pa.array(records.astype(np.int32))),
        "no": lists(counts, pa.array(joined([result.points for result in results], np.int32))),
        "status": lists(counts, pa.array(joined([result.status for result in results], np.uint8))),
        "distance": _distances(results, counts) if options.max_distance_pixels else pa.nulls(len(results), pa.list_(pa.float64())),
        "error": _messages(results, counts),
    }
    table = [
        [
            None if values is None or band is None else (physical(values, band, scaled=options.scaled), valid)
            for values, valid, band in zip(result.values, result.valid, mine[:shown], strict=True)
        ]
        for result, mine in zip(results, bands, strict=True)
    ]
    fields |= slot_fields([_padded(row, result) for row, result in zip(table, results, strict=True)], kinds, VALUE_SLOTS)
    fields |= _window_fields(results, bands, kinds, options)
    return pa.StructArray.from_arrays(list(fields.values()), list(fields))


def _padded(row: Sequence[Column], result: VisitResult) -> list[Column]:
    """A band that the record lacks is NULL at every point."""
    count = len(result.points)
    return [(np.zeros(count), np.zeros(count, bool)) if cell is None else cell for cell in row]


def _explain_missing(results: Sequence[VisitResult], bands: Sequence[tuple[Band | None, ...]], options: Options) -> None:
    """Name the assets that a record lacks: those of values where there are none, those of the mask where it hides them."""
    shown = options.bands[: len(options.bands) - options.mask_only]
    for result, mine in zip(results, bands, strict=True):
        lacking = {name for name, band in zip(options.bands, mine, strict=True) if band is None}
        for status, names in ((NODATA, shown), (MASKED, options.mask_bands)):
            gone = [name for name in names if name in lacking]
            if gone:
                reason = f"the record has no asset for {', '.join(gone)}"
                result.errors = dict.fromkeys(np.flatnonzero(result.status == status).tolist(), reason) | result.errors


def _window_fields(
    results: Sequence[VisitResult], bands: Sequence[tuple[Band | None, ...]], types: Sequence[str], options: Options
) -> dict[str, pa.Array]:
    """Neighbourhoods as rows → bands → points → (2r+1)² values, widened to 64 bits (SQL casts them back)."""
    if not options.neighbourhood:
        return {slot: pa.nulls(len(results), pa.list_(pa.list_(pa.list_(arrow_type(name))))) for name, slot in _WINDOW_SLOTS.items()}
    side = (2 * options.neighbourhood + 1) ** 2
    widened = ["DOUBLE" if options.scaled or name in ("FLOAT", "DOUBLE") else "UBIGINT" if name == "UBIGINT" else "BIGINT" for name in types]
    table: list[list[Column]] = []
    for result, mine in zip(results, bands, strict=True):
        blank = (np.zeros((len(result.points), side)), np.zeros((len(result.points), side), bool))
        table.append(
            [
                blank if window is None or band is None else (physical(window[0], band, scaled=options.scaled), window[1])
                for window, band in zip(result.windows, mine, strict=True)
            ]
        )
    return {slot: _regroup(slot_lists(table, widened, name), side) for name, slot in _WINDOW_SLOTS.items()}


def _regroup(array: pa.Array, side: int) -> pa.Array:
    """Flat neighbourhoods of a band, cut into lists of ``side`` values."""
    bands = array.values
    values = bands.values
    points = lists(np.full(len(values) // side, side), values)
    per_band = pa.ListArray.from_arrays(pa.array((bands.offsets.to_numpy() // side).astype(np.int32)), points, mask=bands.is_null())
    return pa.ListArray.from_arrays(array.offsets, per_band, mask=array.is_null())


def _messages(results: Sequence[VisitResult], counts: npt.NDArray[np.int64]) -> pa.Array:
    """Error texts by entry; a visit without any has no list at all, which ``unnest`` reads as NULLs."""
    texts: list[list[str | None] | None] = []
    for result, count in zip(results, counts.tolist(), strict=True):
        texts.append([result.errors.get(entry) for entry in range(count)] if result.errors else None)
    return pa.array(texts, pa.list_(pa.string()))


def _distances(results: Sequence[VisitResult], counts: npt.NDArray[np.int64]) -> pa.Array:
    values = joined([result.distance for result in results if result.distance is not None], np.float64)
    return lists(counts, pa.array(values, pa.float64(), mask=np.isnan(values)))


def value(options: pa.Array, payload: pa.Array, geometry: pa.Array, crs: pa.Array, statement: pa.Array, kind: str) -> pa.Array:
    """Scalar form: one value per (record, point) row, NULL where there is none; rows of one record are read together."""
    chosen = options_of(options)
    if chosen is None:
        return pa.array([], arrow_type(kind))
    x, y, errors = point_coordinates(one_chunk(geometry))
    if problem := next((error for error in errors if error), None):
        raise RasteretError(problem)
    points = Points(x, y, one_chunk(crs)[0].as_py())
    bands = bands_of_payload(one_chunk(payload), chosen.bands)
    with chosen.query(statement_of(statement)) as query:
        visits = [Visit(mine, rows) for mine, rows in rows_by_bands(bands)]
        results = PointReader(points, query).all(visits)
    out, valid = np.zeros(len(bands), dtype=arrow_type(kind).to_pandas_dtype()), np.zeros(len(bands), bool)
    for visit, result in zip(visits, results, strict=True):
        band, found = visit.bands[0], result.values[0]
        if band is not None and found is not None:
            out[result.points], valid[result.points] = physical(found, band, scaled=chosen.scaled), result.valid[0]
    return pa.array(out, arrow_type(kind), mask=~valid)
