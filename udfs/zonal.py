"""``rasteret_zonal``: statistics of polygons, all records of a call in one plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from rasteret_sql.udfs.arrow import list_parts, lists, numbers, rows_at
from rasteret_sql.udfs.blocks import NO_CENTRE
from rasteret_sql.udfs.options import Options, options_of, parse_options, statement_of
from rasteret_sql.udfs.tickets import ZONES

from rasteret_sql.collection.alike import alike_rows
from rasteret_sql.collection.nested import one_chunk
from rasteret_sql.collection.rows import bands_of_payload, rows_by_bands
from rasteret_sql.errors import InvalidArgument
from rasteret_sql.raster.statistics import DEFINITIONS, Arrays, Counts, Numbers, Places, Result, Shares, needs_of, parse_statistics
from rasteret_sql.reader.band import Band
from rasteret_sql.reader.cost import Stored, announce_read, check_budget, stored_under
from rasteret_sql.reader.levels import source_windows, view_of
from rasteret_sql.reader.shapes import Shapes, ZonesMet, zones_met
from rasteret_sql.reader.tally import ERROR, ZoneRows
from rasteret_sql.reader.zones import MASK, WEIGHT, Evaluate, ZoneReader, ZoneRequest, ZoneVisit

_PLACE = pa.struct([("x", pa.float64()), ("y", pa.float64()), ("crs", pa.string())])
_ROW = pa.struct(
    [
        ("no", pa.int32()),
        ("grp", pa.int32()),
        ("output", pa.int32()),
        ("status", pa.uint8()),
        ("error", pa.string()),
        ("numbers", pa.list_(pa.float64())),
        ("shares", pa.map_(pa.float64(), pa.float64())),
        ("vals", pa.list_(pa.float64())),
        ("cover", pa.list_(pa.float64())),
        ("least", _PLACE),
        ("greatest", _PLACE),
    ]
)
RESULT = (
    'STRUCT("no" INTEGER, grp INTEGER, output INTEGER, status UTINYINT, error VARCHAR, numbers DOUBLE[], shares MAP(DOUBLE, DOUBLE), '
    "vals DOUBLE[], cover DOUBLE[], least STRUCT(x DOUBLE, y DOUBLE, crs VARCHAR), greatest STRUCT(x DOUBLE, y DOUBLE, crs VARCHAR))[]"
)
"""One row per zone and output; ``numbers`` are the statistics that are numbers, in the order asked."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def hold(zones: pa.Array, crs: pa.Array) -> pa.Array:
    """All zones of a statement, numbered but in no order; answers with a ticket for them."""
    tickets = [
        None if given.values is None else ZONES.hold(_dense(given.values, name))
        for given, name in zip(one_chunk(zones), one_chunk(crs).to_pylist(), strict=True)
    ]
    return pa.array(tickets, pa.int64())


def _dense(given: pa.StructArray, crs: str) -> Shapes:
    nos = given.field("no").to_numpy()
    shapes = np.empty(len(nos), dtype=object)
    shapes[nos] = shapely.from_wkb(np.asarray(given.field("wkb").to_pylist(), dtype=object))
    return Shapes(shapes, crs)


def weigh(options: pa.Array, payload: pa.Array, nos: pa.Array, ticket: pa.Array) -> pa.Array:
    """About how many bytes a record's result takes, where statistics give a list per zone."""
    chosen = options_of(options)
    if chosen is None:
        return pa.array([], pa.int64())
    pixels = [int((met.windows[:, 2] * met.windows[:, 3]).sum()) for met in _met(chosen, payload, nos, ticket)]
    return pa.array([count * 16 * len(chosen.outputs) for count in pixels], pa.int64())


def announce(options: pa.Array, payload: pa.Array, nos: pa.Array, ticket: pa.Array, statement: pa.Array) -> pa.Array:
    """One row per record with the numbers of its candidate zones: writes down the segments under their windows, as ``rasteret_plan`` counts them. SQL
    sorts by the answer, which is the same for all rows, so that it is known of all records before the first is read.
    """
    chosen = options_of(options)
    if chosen is None:
        return pa.array([], pa.uint8())
    stored: list[Stored] = []
    for met in _met(chosen, payload, nos, ticket):
        view = met.view
        if view is not None and len(met.zones):
            stored += stored_under((band, source_windows(view, band, met.windows)) for band in view.bands if band is not None)
    announce_read(stored, chosen.query(statement_of(statement)))
    return pa.array(np.zeros(len(payload), np.uint8))


def _met(options: Options, payload: pa.Array, nos: pa.Array, ticket: pa.Array) -> Iterator[ZonesMet]:
    """For each record, what it is read as, and which of its candidates its pixels lie under."""
    shapes = ZONES.get(one_chunk(ticket)[0].as_py())
    bounds, flat = list_parts(nos)
    zones = flat.to_numpy().astype(np.int64)
    for row, bands in enumerate(_bands(options, one_chunk(payload))):
        yield zones_met(shapes, view_of(bands, options.target), np.sort(zones[bounds[row] : bounds[row + 1]]))


def zonal(
    options: pa.Array, types: pa.Array, payload: pa.Array, nos: pa.Array, ticket: pa.Array, statement: pa.Array, evaluate: Evaluate
) -> pa.Array:
    """One row per record with the numbers of its candidate zones; answers with a row per zone met and output. NULL rows only pace the calls."""
    chosen = options_of(options)
    if chosen is None:
        return pa.array([], pa.list_(_ROW))
    alive = one_chunk(nos).is_valid().to_numpy(zero_copy_only=False)
    here = np.flatnonzero(alive)
    bounds, flat = list_parts(rows_at(nos, here))
    zones = flat.to_numpy().astype(np.int64)
    bands = _bands(chosen, rows_at(payload, here))
    visits = [ZoneVisit(mine, np.sort(zones[bounds[i] : bounds[i + 1]]), i, i, chosen.target) for i, mine in enumerate(bands)]
    groups, rows = _read(chosen, types, ticket, visits, evaluate, statement_of(statement))
    counts = np.zeros(len(alive), dtype=np.int64)
    counts[here] = np.bincount(groups, minlength=len(visits))
    return lists(counts, rows)


def merged(
    options: pa.Array, types: pa.Array, records: pa.Array, pairs: pa.Array, ticket: pa.Array, statement: pa.Array, evaluate: Evaluate
) -> pa.Array:
    """One row for all: records in the order of time, and for each its group and candidate zones; answers with a row per zone, group and output."""
    chosen = options_of(options)
    if chosen is None:
        return pa.array([], pa.list_(_ROW))
    parts = list_parts(pairs)[1]
    bounds, flat = list_parts(parts.field("nos"))
    zones = flat.to_numpy().astype(np.int64)
    groups = parts.field("grp").to_pylist()
    bands = _bands(chosen, list_parts(records)[1])
    visits = [ZoneVisit(mine, np.sort(zones[bounds[i] : bounds[i + 1]]), groups[i], i, chosen.target) for i, mine in enumerate(bands)]
    _, rows = _read(chosen, types, ticket, visits, evaluate, statement_of(statement), whole=True)
    return lists([len(rows)], rows)


def _bands(options: Options, payload: pa.Array) -> list[tuple[Band | None, ...]]:
    """The bands of each record, with their overviews where these may serve."""
    return bands_of_payload(payload, options.bands, overviews=not options.target.own)


def _read(
    options: Options, types: pa.Array, ticket: pa.Array, visits: Sequence[ZoneVisit], evaluate: Evaluate, number: int | None, *, whole: bool = False
) -> tuple[Ints, pa.StructArray]:
    """``number`` is the statement's. ``whole``: nothing else of it is read."""
    request = _request(options, one_chunk(types)[0].as_py())
    with options.query(number) as query:
        query.work.whole = whole
        check_budget(query)
        reader = ZoneReader(ZONES.get(one_chunk(ticket)[0].as_py()), request, query, evaluate)
        return _rows(reader.read(visits), request, visits)


def _request(options: Options, types: Sequence[str]) -> ZoneRequest:
    statistics = parse_statistics(options.statistics)
    uses = {name: frozenset(bands) for name, _, bands in options.expressions}
    common = frozenset(chain(uses.get(MASK, ()), uses.get(WEIGHT, ())))
    return ZoneRequest(
        names=options.bands,
        outputs=options.outputs,
        expressions={name: sql for name, sql, _ in options.expressions},
        uses={name: uses.get(name, frozenset([name])) | common for name in options.outputs} | {MASK: common, WEIGHT: common},
        kinds=dict(zip(options.bands, types, strict=True)),
        statistics=statistics,
        needs=needs_of(statistics),
        pixels=options.pixels,
        scaled=options.scaled,
    )


def _rows(found: ZoneRows, request: ZoneRequest, visits: Sequence[ZoneVisit]) -> tuple[Ints, pa.StructArray]:
    """The group of each row, and the rows: by group, zone and output. Under exact coverage a zone without any pixel does not meet its records."""
    kept = np.flatnonzero(found.met) if request.pixels == "fractional" else np.arange(len(found.zones))
    outputs = len(request.outputs)
    place = np.repeat(kept, outputs)
    columns = {
        "no": pa.array(found.zones[place], pa.int32()),
        "grp": pa.array(found.groups[place], pa.int32()),
        "output": pa.array(np.tile(np.arange(outputs), len(kept)), pa.int32()),
        "status": pa.array(np.stack([found.status[name][kept] for name in request.outputs], axis=1).ravel(), pa.uint8()),
        "error": _messages(found, request, kept),
    }
    sorted_out = [_Sorted(found, name, request) for name in request.outputs]
    columns["numbers"] = _numbers(sorted_out, kept, request)
    kinds: dict[str, tuple[str, pa.DataType]] = {
        "shares": ("frac", _ROW.field("shares").type),
        "vals": ("values", _ROW.field("vals").type),
        "cover": ("coverage", _ROW.field("cover").type),
        "least": ("min_point", _PLACE),
        "greatest": ("max_point", _PLACE),
    }
    names = [statistic.name for statistic in request.statistics]
    for field, (name, kind) in kinds.items():
        if name in names:
            made = [out.column(names.index(name), kind, lambda places: _points(places, visits)) for out in sorted_out]
            columns[field] = _interleaved(made, kept, kind)
        else:
            columns[field] = pa.nulls(len(place), kind)
    arrays = [columns[_ROW.field(i).name] for i in range(_ROW.num_fields)]
    return found.groups[place], pa.StructArray.from_arrays(arrays, fields=list(_ROW))


class _Sorted:
    """The results of one output, brought into the order of the rows."""

    def __init__(self, found: ZoneRows, output: str, request: ZoneRequest) -> None:
        self._pieces = found.results[output]
        self.rows = np.concatenate([rows for rows, _ in self._pieces]) if self._pieces else np.empty(0, np.int64)
        self.count = len(found.zones)
        self.unknown = found.status[output] == ERROR
        self._statistics = request.statistics

    def numbers(self, index: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Values and validity of one statistic by row; a row without pixels counts 0."""
        values, valid = np.zeros(self.count), np.full(self.count, self._statistics[index].name == "count")
        for rows, results in self._pieces:
            result = results[index]
            if isinstance(result, Numbers | Counts):
                values[rows], valid[rows] = result.values, result.valid
        valid &= ~self.unknown
        return values, valid

    def column(self, index: int, kind: pa.DataType, points: Callable[[Places], pa.Array]) -> pa.Array:
        """A statistic that is no number, by row; NULL where there is none."""
        parts = [_arrow(results[index], kind, points) for _, results in self._pieces]
        order = np.full(self.count, -1)
        order[self.rows] = np.arange(len(self.rows))
        order[self.unknown] = -1
        joined = pa.chunked_array(parts, type=kind).combine_chunks() if parts else pa.nulls(0, kind)
        joined = joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
        return joined.take(pa.array(np.maximum(order, 0), mask=order < 0))


def _arrow(result: Result, kind: pa.DataType, points: Callable[[Places], pa.Array]) -> pa.Array:
    if isinstance(result, Shares):
        offsets = pa.array(np.concatenate(([0], np.cumsum(result.lengths))).astype(np.int32))
        made = pa.MapArray.from_arrays(offsets, pa.array(result.keys.astype(np.float64)), pa.array(result.shares))
        return pc.if_else(pa.array(result.lengths == 0), pa.scalar(None, kind), made)
    if isinstance(result, Arrays):
        return lists(result.lengths, pa.array(result.values.astype(np.float64)), result.lengths == 0)
    if isinstance(result, Places):
        return points(result)
    raise TypeError(f"{type(result).__name__} is no column of {kind}")


def _points(places: Places, visits: Sequence[ZoneVisit]) -> pa.Array:
    """Centres of pixels, in the CRS of the grid that each was found on."""
    x, y = np.zeros(len(places.row)), np.zeros(len(places.row))
    names: list[str | None] = [None] * len(places.row)
    for source in np.unique(places.source[places.valid]).tolist():
        view = visits[source].view
        mine = np.flatnonzero(places.valid & (places.source == source))
        if view is not None:  # always so: a record without bands has no pixels
            x[mine], y[mine] = view.grid.to_xy(places.col[mine] + 0.5, places.row[mine] + 0.5)
            for position in mine.tolist():
                names[position] = view.crs
    return pa.StructArray.from_arrays([pa.array(x), pa.array(y), pa.array(names, pa.string())], fields=list(_PLACE), mask=pa.array(~places.valid))


def _numbers(outputs: Sequence[_Sorted], kept: Ints, request: ZoneRequest) -> pa.Array:
    """The statistics that are numbers: one list per row."""
    wanted = [i for i, statistic in enumerate(request.statistics) if DEFINITIONS[statistic.name].kind in (Numbers, Counts)]
    table = [[out.numbers(i) for i in wanted] for out in outputs]
    values = np.array([[v[kept] for v, _ in columns] for columns in table]).reshape(len(outputs), len(wanted), len(kept))
    valid = np.array([[m[kept] for _, m in columns] for columns in table], dtype=bool).reshape(len(outputs), len(wanted), len(kept))
    flat, known = values.transpose(2, 0, 1).ravel(), valid.transpose(2, 0, 1).ravel()
    return lists(np.full(len(kept) * len(outputs), len(wanted)), pa.array(flat, mask=~known))


def _interleaved(columns: Sequence[pa.Array], kept: Ints, kind: pa.DataType) -> pa.Array:
    """Rows of several outputs, one after the other for each zone."""
    if len(columns) == 1:
        return columns[0].take(pa.array(kept))
    count = len(columns[0])
    order = (kept[:, None] + np.arange(len(columns)) * count).ravel()
    return pa.chunked_array(columns, type=kind).combine_chunks().take(pa.array(order))


def _messages(found: ZoneRows, request: ZoneRequest, kept: Ints) -> pa.Array:
    missed = ~found.met[kept]
    if not any(found.errors.values()) and not missed.any():
        return pa.nulls(len(kept) * len(request.outputs), pa.string())
    without = NO_CENTRE if request.pixels == "center" else None
    rows: list[Any] = [
        found.errors[name].get(row, without if empty else None)
        for row, empty in zip(kept.tolist(), missed.tolist(), strict=True)
        for name in request.outputs
    ]
    return pa.array(rows, pa.string())


def value(options: pa.Array, payload: pa.Array, geometry: pa.Array, crs: pa.Array, statement: pa.Array) -> pa.Array:
    """Scalar form: one number per (record, polygon) row, NULL where there is none. A polygon that comes again with other records is one zone."""
    texts = one_chunk(options).dictionary_encode()
    if not len(texts.dictionary):
        return pa.nulls(len(texts), pa.float64())
    wkbs = one_chunk(geometry)
    alike = alike_rows([wkbs], [wkbs])
    shapes = Shapes(np.asarray(shapely.from_wkb(wkbs.take(pa.array(alike.firsts)).to_numpy(zero_copy_only=False))), one_chunk(crs)[0].as_py())
    number, places = statement_of(statement), numbers(texts.indices.fill_null(-1))
    out, known = np.zeros(len(texts)), np.zeros(len(texts), dtype=bool)
    for index, text in enumerate(texts.dictionary.to_pylist()):
        rows = np.flatnonzero(places == index)
        out[rows], known[rows] = _zone_values(parse_options(text), rows_at(payload, rows), alike.which[rows], shapes, number)
    return pa.array(out, pa.float64(), mask=~known)


def _zone_values(options: Options, payload: pa.StructArray, zones: Ints, shapes: Shapes, statement: int | None) -> tuple[Floats, Bools]:
    """One statistic of each row's zone in the record beside it, and whether there is one."""
    statistic = parse_statistics(options.statistics)[0]
    if DEFINITIONS[statistic.name].kind not in (Numbers, Counts):
        raise InvalidArgument(f"{statistic.name} is no number; FROM rasteret_zonal(…, stats := ['{statistic.name}']) gives it")
    visits: list[ZoneVisit] = []
    pairs = np.full(len(zones), -1)
    for mine, rows in rows_by_bands(bands_of_payload(payload, options.bands)):
        if mine[0] is not None:
            pairs[rows] = len(visits) * len(shapes.shapes) + zones[rows]
            visits.append(ZoneVisit(mine, np.unique(zones[rows]), len(visits), len(visits)))
    request = _request(options, ["DOUBLE"])
    with options.query(statement) as query:
        found = ZoneReader(shapes, request, query, _no_expressions).read(visits)
    values, valid = _Sorted(found, options.bands[0], request).numbers(0)
    read = found.groups * len(shapes.shapes) + found.zones
    order = np.argsort(read)
    place = np.searchsorted(read, pairs, sorter=order)
    here = np.isin(pairs, read)
    row = order[place[here]]
    out, known = np.zeros(len(zones)), np.zeros(len(zones), dtype=bool)
    out[here], known[here] = values[row], valid[row]
    return out, known


def _no_expressions(*_: object) -> dict[str, Any]:
    return {}
