"""Progress of long work: one line on a terminal (stderr), which goes when the work ends; silence anywhere else.

All that a process reads or builds shares the line. Who works feeds numbers that it has anyway (:class:`Work`); a thread looks at them four times a
second, from a second after a statement began on, and only where somebody can see it: stderr is a terminal that can erase, in the foreground, and
neither ``CI`` nor the setting ``progress`` says no. What is done and what is known may be tiles, files, or pairs of a geometry and a record; the time
left is what is known and not done, over the rate of the last seconds. Where more may turn up than is known, it is a lower bound and says so; where
nothing is known it is not said.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from rasteret_sql.progress_text import Shown, line

APPEARS_S = 1.0
"""A statement that takes no longer shows nothing."""
EVERY_S = 0.25
GRACE_S = 2.0
"""A statement that reads in several parts is one statement when the next part begins within this time."""
WINDOW_S = 8.0
"""The rate is that of the last seconds."""
_ERASE = "\r\033[J"
"""The cursor rests at the line's beginning, so that this takes all of it, also where a narrower window has wrapped it."""
Counters = Callable[[], tuple[int, int, int]]
"""Requests, bytes and tiles finished so far. Asked four times a second, by the drawing thread."""


@dataclass(slots=True, eq=False)
class Work:
    """One read or build. What it is told costs an addition; nothing is drawn here."""

    key: Hashable
    """Whose it is: works of one key that follow each other are one statement."""
    label: str
    counters: Counters
    wanted: bool = True
    whole: bool = False
    """No other read of the statement follows, and what is known is all there is."""
    tiles: int = 0
    """Known so far: read, to be read, and taken from the cache."""
    failed: int = 0
    """Tiles that could not be read."""
    files: tuple[int, int] | None = None
    """Of builds: finished, and in all (0: not known yet)."""
    pairs: int = 0
    """Of what was foreseen, this is the part that the work does; and its weight."""
    weight: float = 0.0

    def expect(self, tiles: int) -> None:
        """So many more tiles are going to be read."""
        self.tiles += tiles

    def count(self, done: int, total: int) -> None:
        """Of files, so many are finished; ``total`` 0 while it is not known."""
        self.files = (done, total)

    def take(self, pairs: int, weight: float) -> None:
        """The work is this part of what :func:`foresee` told."""
        self.pairs, self.weight = pairs, weight

    def __enter__(self) -> None:
        if self.wanted and can_show():
            _BOARD.begin(self)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        _BOARD.end(self, failed=kind is not None)


def foresee(key: Hashable, label: str, pairs: int, weight: float, *, wanted: bool = True) -> None:
    """The statement is going to read so many pairs in parts; each part says which share it is (:meth:`Work.take`)."""
    if wanted and pairs and can_show():
        _BOARD.foresee(key, label, pairs, weight)


def begins(key: Hashable) -> None:
    """A new statement of this key begins: what an earlier one had foreseen and not done is no part of it."""
    _BOARD.forget(key)


def interrupted(origin: str) -> None:
    """Statements of this connection were stopped: the line goes now, before anything is said of it. Safe in a signal's handler."""
    _BOARD.drop(origin)


@contextmanager
def hidden() -> Iterator[None]:
    """No line while this lasts: for who writes to the terminal while others read."""
    _BOARD.hide(1)
    try:
        yield
    finally:
        _BOARD.hide(-1)


def can_show() -> bool:
    """Is stderr a terminal on which a line can be drawn and erased, and does nobody else read it?"""
    if os.environ.get("CI", "").lower() not in {"", "0", "false"} or os.environ.get("TERM") == "dumb":
        return False
    if sys.platform == "win32" and "WT_SESSION" not in os.environ and "TERM" not in os.environ:
        return False  # the old console shows escape sequences as they are
    return _terminal() is not None


def _terminal() -> int | None:
    """File number of stderr where it is a terminal. A notebook's stderr is none, nor is a captured one."""
    stream = sys.stderr
    try:
        number: int = stream.fileno()
        return number if stream.isatty() and os.isatty(number) else None
    except (AttributeError, OSError, ValueError):  # None, closed, or no file
        return None


def _in_foreground(terminal: int) -> bool:
    """A job in the background leaves the terminal to the shell. A terminal that does not control the process has no foreground."""
    if sys.platform == "win32":
        return True
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return True


@dataclass(slots=True)
class _Statement:
    """Works of one key: what those that ended have done, and those that run."""

    label: str
    started: float
    works: list[Work] = field(default_factory=list)
    ended: float | None = None
    """When its last work ended; None while one runs."""
    requests: int = 0
    nbytes: int = 0
    tiles: int = 0
    tiles_known: int = 0
    pairs: int = 0
    weight: float = 0.0
    pairs_begun: int = 0
    pairs_known: int = 0
    weight_known: float = 0.0
    in_pairs: bool = False
    samples: deque[tuple[float, float, int]] = field(default_factory=deque)
    """Moment, share of what is known or count that was done, bytes: of the last seconds."""

    def settle(self, work: Work) -> None:
        """The work ended."""
        requests, nbytes, tiles = work.counters()
        self.works.remove(work)
        self.requests += requests
        self.nbytes += nbytes
        self.tiles += tiles + work.failed
        self.tiles_known += work.tiles
        self.pairs += work.pairs
        self.weight += work.weight

    def shown(self, now: float) -> Shown:
        """What the line says of it, after a look at the counters."""
        requests, nbytes, tiles, known = self.requests, self.nbytes, self.tiles, self.tiles_known
        weight = self.weight
        for work in self.works:
            mine, received, finished = work.counters()
            finished += work.failed
            requests, nbytes, tiles, known = requests + mine, nbytes + received, tiles + finished, known + work.tiles
            weight += work.weight * min(1.0, finished / work.tiles) if work.tiles else 0.0
        if self.pairs_known > self.pairs_begun and not self.in_pairs:
            self.in_pairs = True
            self.samples.clear()  # they counted tiles
        files = next((work.files for work in self.works if work.files), None)
        if files is not None:
            shown = Shown("files", files[0], files[1], at_least=False)
        elif self.in_pairs:
            shown = Shown("pairs", self.pairs, self.pairs_known, at_least=False)
        else:
            whole = bool(self.pairs_known) or (len(self.works) == 1 and self.works[0].whole)
            shown = Shown("tiles", min(tiles, known), known, at_least=not whole)
        done, target = (weight, self.weight_known) if self.in_pairs and files is None else (float(shown.done), float(shown.known))
        self._measure(now, done, nbytes)
        shown.labels, shown.requests, shown.nbytes = [self.label], requests, nbytes
        shown.share = done / target if target else None
        shown.rate, shown.left_s = self._rates(target - done if target else None)
        return shown

    def _measure(self, now: float, done: float, nbytes: int) -> None:
        self.samples.append((now, done, nbytes))
        while self.samples[-1][0] - self.samples[0][0] > WINDOW_S:
            self.samples.popleft()

    def _rates(self, missing: float | None) -> tuple[float | None, float | None]:
        """Bytes per second, and seconds left; None while too little was seen to tell."""
        (then, before, earlier), (now, done, nbytes) = self.samples[0], self.samples[-1]
        span = now - then
        if span < 2 * EVERY_S:
            return None, None
        left = None if missing is None or done <= before else missing * span / (done - before)
        return (nbytes - earlier) / span, left


class _Board:
    """All statements of the process, the thread that draws them, and whether their line is on the terminal now."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        """Reentrant: Ctrl-C may end a work in the middle of another call here, in the same thread."""
        self._changed = threading.Condition(self._lock)
        self._statements: dict[Hashable, _Statement] = {}
        self._thread: threading.Thread | None = None
        self._asleep = False
        """The thread waits for work; while there is some, it looks at the clock by itself."""
        self._drawn = False
        self._hidden = 0

    def begin(self, work: Work) -> None:
        with self._lock:
            statement = self._statement(work.key, work.label)
            if not statement.works:
                statement.samples.clear()  # nothing was read meanwhile: that is no rate
            statement.works.append(work)
            statement.ended = None
            statement.pairs_begun += work.pairs
            self._wake()

    def end(self, work: Work, *, failed: bool) -> None:
        """The line goes with the last work, before anything else may be written to the terminal."""
        with self._lock:
            statement = self._statements.get(work.key)
            if statement is None or work not in statement.works:
                return
            statement.settle(work)
            if not statement.works:
                statement.ended = time.monotonic()
                if failed or work.whole or work.files:
                    del self._statements[work.key]
            if not self._running():
                self._erase()

    def foresee(self, key: Hashable, label: str, pairs: int, weight: float) -> None:
        with self._lock:
            statement = self._statement(key, label)
            statement.pairs_known += pairs
            statement.weight_known += weight
            if not statement.works:
                statement.ended = time.monotonic()

    def forget(self, key: Hashable) -> None:
        with self._lock:
            statement = self._statements.get(key)
            if statement is not None and not statement.works:
                del self._statements[key]

    def drop(self, origin: str) -> None:
        with self._lock:
            for key in [key for key in self._statements if isinstance(key, tuple) and key[0] == origin]:
                del self._statements[key]
            if not self._running():
                self._erase()

    def hide(self, change: int) -> None:
        with self._lock:
            self._hidden += change
            self._erase()

    def _statement(self, key: Hashable, label: str) -> _Statement:
        now = time.monotonic()
        for old in [old for old, held in self._statements.items() if held.ended is not None and now - held.ended > GRACE_S]:
            del self._statements[old]
        return self._statements.setdefault(key, _Statement(label, now))

    def _running(self) -> list[_Statement]:
        return [statement for statement in self._statements.values() if statement.works]

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="rasteret-progress", daemon=True)
            self._thread.start()
        elif self._asleep:
            self._changed.notify()

    def _run(self) -> None:
        """Draws while anything runs; sleeps while nothing does."""
        with self._lock:
            while True:
                now = time.monotonic()
                running = self._running()
                if not running:
                    self._asleep = True
                    self._changed.wait()
                    self._asleep = False
                    continue
                ripe = [statement for statement in running if now - statement.started >= APPEARS_S - EVERY_S]
                shown = [statement.shown(now) for statement in ripe]
                if any(now - statement.started >= APPEARS_S for statement in ripe):
                    self._draw(shown)
                self._changed.wait(EVERY_S)

    def _draw(self, shown: list[Shown]) -> None:
        terminal = _terminal()
        if terminal is None or self._hidden or not _in_foreground(terminal):
            return
        encoding = getattr(sys.stderr, "encoding", None) or "ascii"
        with suppress(OSError):
            width = os.get_terminal_size(terminal).columns or 80
            text = line(Shown.together(shown), width - 1, plain=not _can_encode(encoding))
            os.write(terminal, f"{_ERASE}{text}\r".encode(encoding, "replace"))
            self._drawn = True

    def _erase(self) -> None:
        if not self._drawn:
            return
        self._drawn = False
        terminal = _terminal()
        if terminal is not None:
            with suppress(OSError):
                os.write(terminal, _ERASE.encode())

    def close(self) -> None:
        """At the end of the process."""
        with self._lock:
            self._statements.clear()
            self._erase()


def _can_encode(encoding: str) -> bool:
    try:
        "━╸─≥".encode(encoding)
    except (UnicodeError, LookupError):
        return False
    return True


_BOARD = _Board()


@atexit.register
def _close() -> None:
    _BOARD.close()


def _after_fork_in_child() -> None:
    """The line is the parent's; the child begins with none, and with a lock that nobody holds."""
    global _BOARD  # noqa: PLW0603 - the one place where the process's board lives
    _BOARD = _Board()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
