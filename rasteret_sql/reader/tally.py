"""What is known so far of each pair of a zone and a group of records; a pair is turned into its row as soon as its last chunk has come."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rasteret_sql.errors import InvalidArgument
from rasteret_sql.raster.partials import Partial, ZonePixels, merge_partials, reduce_pixels
from rasteret_sql.raster.statistics import Result, aligned, finish
from rasteret_sql.reader.gather import Bools, Ints

if TYPE_CHECKING:
    from rasteret_sql.reader.zones import ZoneRequest, ZoneVisit

OK, NODATA, MASKED, ERROR = 0, 1, 4, 3
"""Status of a row."""
PENDING = 32
"""Parts of unfinished pairs that wait together: fewer merges, little memory."""
PENDING_BYTES = 24 << 20
"""Bytes of distributions and lists that wait together; where those of open pairs alone are more, twice as much as they are."""

BLOCK_BYTES = 6 << 20
"""About so many of them are merged at once."""

Found = Mapping[str, tuple[ZonePixels, Bools | None] | None]


@dataclass(slots=True, eq=False)
class ZoneRows:
    """The result: one row per pair and output, as columns."""

    zones: Ints
    groups: Ints
    met: Bools
    """False where a zone selects no pixel at all of its records."""
    status: dict[str, npt.NDArray[np.uint8]]
    """By output."""
    errors: dict[str, dict[int, str]]
    """By output: row → message."""
    results: dict[str, list[tuple[Ints, list[Result]]]] = field(default_factory=dict)
    """By output: (rows, one result per statistic), in the order they were finished; together they hold every row that has pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """A band that could not be read under some pairs of a chunk."""

    band: str
    pairs: Ints
    message: str


class Tally:
    """Collects chunks of all records; thread-safe. Chunks come in any order, and are added in the order of their numbers."""

    def __init__(self, zones: Ints, groups: Ints, request: ZoneRequest) -> None:
        self._request = request
        self._lock = threading.Lock()
        self._outputs = {name: _Output(len(zones), request) for name in request.outputs}
        self._expected = np.zeros(len(zones), dtype=np.int64)
        self._left = np.zeros(len(zones), dtype=np.int64)
        self._zones, self._groups = zones, groups
        self._refused: InvalidArgument | None = None

    def expect(self, pairs: Ints) -> None:
        """Announce one more chunk of these pairs."""
        self._expected[pairs] += 1
        self._left[pairs] += 1

    def add(self, number: int, pairs: Ints, found: Found, failures: Sequence[Failure]) -> None:
        """The pixels of one chunk, whose zones are these pairs."""
        parts = {name: None if entry is None else _part(entry, self._request) for name, entry in found.items()}
        alone = self._expected[pairs] == 1
        finished: list[tuple[_Output, Partial, Ints]] = []
        with self._lock:
            self._left[pairs] -= 1
            for name, part in parts.items():
                output = self._outputs[name]
                for failure in failures:
                    if failure.band in self._request.uses[name]:
                        output.errors.update(dict.fromkeys(failure.pairs.tolist(), failure.message))
                if part is None:
                    continue
                partial, seen = part
                output.seen[pairs] += seen
                finished.append((output, partial, pairs[alone]))
                if not alone.all():
                    output.wait(number, aligned(partial, pairs[~alone]))
                if output.crowded:
                    finished += [(output, *settled) for settled in output.settle(self._left)]
        for output, partial, complete in finished:
            output.finish(partial, complete)

    def refuse(self, error: InvalidArgument) -> None:
        """An expression cannot be computed over these pixels (an overflow, a cast): that is the statement's error, not one of the data."""
        self._refused = error

    def rows(self, visits: Sequence[ZoneVisit]) -> ZoneRows:
        """Everything, when all chunks have come."""
        if self._refused is not None:
            raise self._refused
        for output in self._outputs.values():
            for partial, complete in output.settle(self._left):
                output.finish(partial, complete)
        lacking = self._lacking(visits)
        rows = ZoneRows(self._zones, self._groups, self._expected > 0, {}, {})
        for name, output in self._outputs.items():
            status = np.where(output.counted, OK, np.where(output.seen > 0, MASKED, NODATA)).astype(np.uint8)
            status[np.fromiter(output.errors, dtype=np.int64)] = ERROR
            rows.status[name] = status
            rows.results[name] = output.results
            rows.errors[name] = lacking[name] | output.errors
        return rows

    def _lacking(self, visits: Sequence[ZoneVisit]) -> dict[str, dict[int, str]]:
        """Why rows without a value have none, where their only record lacks a band."""
        reasons: dict[str, dict[int, str]] = {name: {} for name in self._outputs}
        by_group: dict[int, list[ZoneVisit]] = {}
        for visit in visits:
            by_group.setdefault(visit.group, []).append(visit)
        for group, members in by_group.items():
            for name, output in self._outputs.items():
                uses = self._request.uses[name]
                missing = [
                    {band for band, found in zip(self._request.names, v.bands, strict=True) if found is None and band in uses} for v in members
                ]
                if all(missing):
                    reason = f"the record has no asset for {', '.join(sorted(set.union(*missing)))}"
                    empty = np.flatnonzero((self._groups == group) & ~output.counted)
                    reasons[name].update(dict.fromkeys(empty.tolist(), reason))
        return reasons


class _Output:
    """One band or expression of all pairs."""

    def __init__(self, pairs: int, request: ZoneRequest) -> None:
        self._request = request
        self._sums: list[tuple[int, Partial]] = []
        self._lists: list[Partial] = []
        self._room = PENDING
        self._waiting_bytes = 0
        self._bytes_room = PENDING_BYTES
        self.results: list[tuple[Ints, list[Result]]] = []
        self.errors: dict[int, str] = {}
        self.seen = np.zeros(pairs)
        """Coverage of the pixels that were valid before the mask."""
        self.counted = np.zeros(pairs, dtype=bool)

    @property
    def crowded(self) -> bool:
        """Is it time to settle?"""
        return len(self._sums) > self._room or self._waiting_bytes > self._bytes_room

    def wait(self, number: int, partial: Partial) -> None:
        """Keep a part of pairs that are not complete. Sums, where the order tells in the last digit, are kept apart until then; what is long, and
        exact in any order, is merged on the way.
        """
        self._sums.append((number, replace(partial, distribution=None, pixels=None)))
        if self._request.needs.distribution or self._request.needs.arrays:
            self._lists.append(partial)
            self._waiting_bytes += _list_bytes(partial)

    def settle(self, left: Ints) -> list[tuple[Partial, Ints]]:
        """Take out the pairs that are complete: partials and the pairs in each. Merging takes several times the memory of what is merged, so it goes
        by blocks of pairs.
        """
        sums = sorted(self._sums, key=lambda part: part[0])
        known = np.unique(np.concatenate([part.zones for _, part in sums])) if sums else np.empty(0, np.int64)
        complete, open_ = known[left[known] == 0], known[left[known] > 0]
        blocks = 1 + self._waiting_bytes // BLOCK_BYTES
        settled = [(self._merged([part for _, part in sums], pairs), pairs) for pairs in np.array_split(complete, blocks) if len(pairs)]
        self._lists = [self._merged_lists(pairs) for pairs in np.array_split(open_, blocks) if len(pairs)] if self._lists else []
        self._sums = [(number, rest) for number, part in sums if len((rest := _only(part, open_)).zones)]
        self._waiting_bytes = sum(map(_list_bytes, self._lists))
        self._room, self._bytes_room = max(PENDING, 2 * len(self._sums)), max(PENDING_BYTES, 2 * self._waiting_bytes)
        return settled

    def _merged(self, sums: Sequence[Partial], pairs: Ints) -> Partial:
        light = replace(self._request.needs, distribution=False, arrays=False)
        merged = merge_partials([_only(part, pairs) for part in sums], light)
        if not self._lists:
            return merged
        lists = aligned(self._merged_lists(pairs), merged.zones)
        return replace(merged, distribution=lists.distribution, pixels=lists.pixels)

    def _merged_lists(self, pairs: Ints) -> Partial:
        return merge_partials([rest for part in self._lists if len((rest := _only(part, pairs)).zones)], self._request.needs)

    def finish(self, partial: Partial, pairs: Ints) -> None:
        """Complete pairs to rows of results."""
        if not len(pairs):
            return
        self.counted[partial.zones[partial.count > 0]] = True
        self.results.append((pairs, finish(partial, pairs, self._request.statistics)))


def _list_bytes(partial: Partial) -> int:
    """Bytes of what is long in a partial."""
    found, pixels = partial.distribution, partial.pixels
    distribution = 0 if found is None else found.values.nbytes + found.coverage.nbytes
    return distribution + (0 if pixels is None else pixels.values.nbytes + pixels.coverage.nbytes + pixels.places.nbytes)


def _only(partial: Partial, pairs: Ints) -> Partial:
    """The part of a partial that concerns these pairs."""
    return aligned(partial, partial.zones[np.isin(partial.zones, pairs, assume_unique=True)])


def _part(entry: tuple[ZonePixels, Bools | None], request: ZoneRequest) -> tuple[Partial, npt.NDArray[np.float64]]:
    """The partial of one chunk and, per pair, the coverage that was valid before the mask."""
    pixels, before = entry
    partial = reduce_pixels(pixels, request.needs)
    if before is None:
        return partial, partial.count
    weights = before if pixels.coverage is None else before * pixels.coverage
    return partial, np.add.reduceat(weights, pixels.starts[:-1], dtype=np.float64)
