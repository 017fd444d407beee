"""Pixels by runs: values of several bands at runs of pixels of one grid, all runs of a call read as one plan.

A run is a stretch of one row. Nothing of a pixel is kept but its value and its validity: where it lies in a segment is worked out while the
segment is at hand, so that memory follows the results, and time the pixels asked for, not the rectangles around them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from rasteret_sql.raster.decoded import DecodedSegment
from rasteret_sql.raster.grid import Grid, Window
from rasteret_sql.reader.areas import nearest_pixels
from rasteret_sql.reader.band import Band, fill_value
from rasteret_sql.reader.cache import Pixels
from rasteret_sql.reader.engine import Query
from rasteret_sql.reader.gather import Bools, Gathered, Ints, segment_job
from rasteret_sql.reader.segments import SegmentJob, read_segments
from rasteret_sql.reader.validity import valid_pixels, with_masks


@dataclass(slots=True, eq=False)
class RunSet:
    """Runs ``[row, start:stop]`` of one grid, all inside it, none empty. Their cut by segments is worked out once per tiling, for all bands."""

    grid: Grid
    rows: Ints
    starts: Ints
    stops: Ints
    _by_tiling: dict[tuple[Grid, int, int], _Pieces] = field(default_factory=dict, init=False)

    @property
    def count(self) -> int:
        """Pixels in all runs."""
        return int((self.stops - self.starts).sum())

    def pieces(self, band: Band) -> _Pieces:
        """The runs cut where they pass from one segment of the band to the next."""
        key = (band.grid, band.layout.tile_height, band.layout.tile_width)
        if key not in self._by_tiling:
            self._by_tiling[key] = self._cut(band)
        return self._by_tiling[key]

    def _cut(self, band: Band) -> _Pieces:
        axes = _axes(self.grid, band.grid, band.layout.tile_height, band.layout.tile_width)
        first, last = (np.searchsorted(axes.borders, at, side="right") - 1 for at in (self.starts, self.stops - 1))
        counts = last - first + 1
        run = np.repeat(np.arange(len(counts)), counts)
        border = spread(first, counts)
        starts = np.maximum(self.starts[run], axes.borders[border])
        stops = np.minimum(self.stops[run], axes.borders[border + 1])
        places = (np.cumsum(self.stops - self.starts) - self.stops)[run] + starts
        tile_rows, tile_cols = axes.tile_rows[self.rows[run]], axes.tile_cols[starts]
        segments = np.where((tile_rows < 0) | (tile_cols < 0), -1, tile_rows * band.level.tiles_across + tile_cols)
        near = segments - segments.min(initial=0)  # 16 bits: a stable sort is a radix sort
        order = np.argsort(near.astype(np.uint16) if near.max(initial=0) < 1 << 16 else near, kind="stable")
        firsts = np.flatnonzero(np.diff(segments[order], prepend=-2))
        columns = None if band.grid == self.grid else axes.columns
        return _Pieces(
            segments[order][firsts],
            np.append(firsts, len(order)),
            axes.lines[self.rows[run]][order],
            starts[order],
            (stops - starts)[order],
            places[order],
            columns,
            band.layout.tile_width,
        )


class _Axes(NamedTuple):
    """Rows and columns of a grid among the segments of a band that may be coarser; -1 for tiles outside of its image."""

    tile_rows: Ints
    tile_cols: Ints
    lines: Ints
    """Where the band's row begins in its segment, in pixels."""
    columns: Ints
    """The band's column within its segment."""
    borders: Ints
    """First column of each stretch of columns in one tile, and the number of columns."""


@lru_cache(maxsize=16)
def _axes(grid: Grid, source: Grid, tile_height: int, tile_width: int) -> _Axes:
    lines, columns = source_pixels(grid, source)
    tile_rows = np.where(lines >= 0, lines // tile_height, -1)
    tile_cols = np.where(columns >= 0, columns // tile_width, -1)
    borders = np.concatenate([[0], np.flatnonzero(np.diff(tile_cols)) + 1, [len(tile_cols)]])
    return _Axes(tile_rows, tile_cols, lines % tile_height * tile_width, columns % tile_width, borders)


@dataclass(frozen=True, slots=True, eq=False)
class _Pieces:
    """Runs cut by segment: segment ``ids[i]`` (-1: outside of the band's image) has ``bounds[i]:bounds[i + 1]`` of the arrays that follow."""

    ids: Ints
    bounds: Ints
    lines: Ints
    """Where the piece's row begins in the segment, in pixels."""
    starts: Ints
    """First column in the grid of the runs."""
    lengths: Ints
    places: Ints
    """Where the piece's pixels go in the result."""
    columns: Ints | None
    """Column within the segment of every column of the grid; None where the band lies on the grid of the runs."""
    tile_width: int

    def __iter__(self) -> Iterator[tuple[int, slice]]:
        for number, segment in enumerate(self.ids.tolist()):
            yield segment, slice(self.bounds[number], self.bounds[number + 1])

    def targets(self, span: slice) -> slice | Ints:
        """Positions in the result of some pieces' pixels, in order; a slice where they follow each other."""
        places, lengths = self.places[span], self.lengths[span]
        if (places[1:] == places[:-1] + lengths[:-1]).all():
            return slice(int(places[0]), int(places[-1] + lengths[-1]))
        return spread(places, lengths)

    def sources(self, span: slice) -> Ints:
        """Flat (row-major) places of the same pixels in their segment."""
        starts, lengths, lines = self.starts[span], self.lengths[span], self.lines[span]
        if self.columns is None:
            return spread(lines + starts % self.tile_width, lengths)
        flat: Ints = np.repeat(lines, lengths) + self.columns[spread(starts, lengths)]
        return flat


def spread(starts: Ints, lengths: Ints) -> Ints:
    """``start, start + 1, …`` of every run, one after the other."""
    flat = np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
    flat += np.arange(len(flat))
    return flat


def source_pixels(grid: Grid, source: Grid) -> tuple[Ints, Ints]:
    """Row and column of ``source`` nearest to every row and column of ``grid``; -1 outside."""
    if grid == source:
        return np.arange(grid.height), np.arange(grid.width)
    return nearest_pixels(grid, Window(0, 0, grid.height, grid.width), source)


def gather_runs(requests: Sequence[tuple[Band, RunSet]], query: Query) -> list[Gathered]:
    """Read every (band, runs) pair: values in the order of the runs. Every segment, of masks too, is fetched and decoded once.

    What a segment that cannot be read would hold is not valid, and neither is what lies outside of a coarser band's image.
    """
    wide, masks = with_masks(requests)
    results = [Gathered(np.full(runs.count, fill_value(band.dtype, band.nodata), dtype=band.dtype), np.ones(runs.count, bool)) for band, runs in wide]
    jobs: list[SegmentJob] = []
    owners: list[tuple[int, slice]] = []
    outside: list[tuple[int, slice]] = []
    for index, (band, runs) in enumerate(wide):
        pieces = runs.pieces(band)
        for segment, span in pieces:
            if segment < 0:
                outside.append((index, span))
                continue
            job = segment_job(band, segment, _Copy(results[index].values, pieces, span, band.segment_sample))
            if job is not None:
                jobs.append(job)
                owners.append((index, span))
    failures = read_segments(jobs, query)
    for index, span in [*outside, *(owners[position] for position in failures)]:
        band, runs = wide[index]
        results[index].valid[runs.pieces(band).targets(span)] = False
    for (band, _), mask, result in zip(requests, masks, results, strict=False):  # the masks' own results lie behind
        found = None if mask is None else results[mask]
        valid = valid_pixels(band, result.values, None if found is None else found.values)
        if valid is not None:
            result.valid &= valid
        if found is not None:
            result.valid &= found.valid
    return results[: len(requests)]


@dataclass(frozen=True, slots=True, eq=False)
class _Copy:
    """Copy the wanted pixels of a decoded segment to where they belong in the result."""

    target: Pixels
    pieces: _Pieces
    span: slice
    sample: int | None

    def __call__(self, segment: DecodedSegment) -> None:
        pixels = segment.whole()
        flat = pixels.reshape(-1) if self.sample is None else pixels.reshape(-1, pixels.shape[2])[:, self.sample]
        self.target[self.pieces.targets(self.span)] = flat[self.pieces.sources(self.span)]


def valid_anywhere(results: Sequence[Gathered], count: int) -> Bools:
    """Which of ``count`` pixels have a value in some band."""
    found = np.zeros(count, bool)
    for result in results:
        found |= result.valid
    return found


def cut_windows(windows: Ints, tile_height: int, tile_width: int, most: int) -> tuple[Ints, Ints]:
    """Windows (n, 4) of more than ``most`` pixels cut along tiles: ``(owner, parts)``, each part's window and the window it came from.

    A part is as many whole tile rows as fit, else as many tiles of one tile row; only a tile that is too large itself is cut into
    rows (which follow each other, so that it need not be read again).
    """
    owners: list[Ints] = []
    parts: list[Ints] = []
    for owner, (row, col, height, width) in enumerate(windows.tolist()):
        tall, wide = max(1, most // (tile_height * width)) * tile_height, width
        if tile_height * width > most:
            columns = most // (tile_height * tile_width)
            wide = max(1, columns) * tile_width
            tall = tile_height if columns else max(1, most // tile_width)
        rows = _borders(row, height, tile_height, tall)
        cols = np.array([col, col + width]) if wide == width else _borders(col, width, tile_width, wide)
        grid = np.stack(np.meshgrid(rows[:-1], cols[:-1], indexing="ij"), axis=-1).reshape(-1, 2)
        sizes = np.stack(np.meshgrid(np.diff(rows), np.diff(cols), indexing="ij"), axis=-1).reshape(-1, 2)
        parts.append(np.concatenate([grid, sizes], axis=1))
        owners.append(np.full(len(grid), owner))
    if not parts:
        return np.empty(0, np.int64), windows
    return np.concatenate(owners), np.concatenate(parts).astype(np.int64)


def _borders(first: int, count: int, tile: int, step: int) -> Ints:
    """Where a stretch is cut: every ``step``, counted from tile borders; where ``step`` is less than a tile, at those too."""
    inside = np.arange(first - first % tile, first + count, tile)
    cuts = inside[:, None] + np.arange(0, tile, step)[None, :] if step < tile else inside[:: step // tile]
    cuts = cuts.ravel()
    return np.concatenate([[first], cuts[(cuts > first) & (cuts < first + count)], [first + count]])
