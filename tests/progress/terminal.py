"""A program on a real pseudo-terminal, and the screen that a person would have seen at each moment."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from dataclasses import dataclass, field
from pathlib import Path

import pyte

_LEAD = "import fcntl, sys, termios; fcntl.ioctl(2, termios.TIOCSCTTY, 0); del fcntl, termios\n"
"""The terminal controls the process, as a login shell's does: Ctrl-C is a signal, and there is a foreground."""


@dataclass
class Seen:
    """What came out, with the moments, and the screens after each write."""

    status: int = 0
    out: str = ""
    """Of stdout, where that was no terminal."""
    writes: list[tuple[float, bytes]] = field(default_factory=list)
    """Seconds since the start."""
    screens: list[list[str]] = field(default_factory=list)
    last: list[str] = field(default_factory=list)

    @property
    def raw(self) -> bytes:
        return b"".join(part for _, part in self.writes)

    @property
    def lines(self) -> list[str]:
        """Every state of the line of progress, in order."""
        return list(dict.fromkeys(line for screen in self.screens for line in screen if " requests" in line or " of " in line))


class Terminal:
    """A script of Python whose stderr (and stdin; stdout too with ``all_of_it``) is a pseudo-terminal of this size."""

    def __init__(self, script: str, *, columns: int = 120, rows: int = 24, all_of_it: bool = False, **environment: object) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self.screen)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.leader, follower = pty.openpty()
        self.resize(columns, rows, tell=False)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RASTERET_") and name != "CI"}
        env = kept | {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"} | {name: str(value) for name, value in environment.items()}
        self.seen = Seen()
        self.started = time.monotonic()
        stdout = follower if all_of_it else subprocess.PIPE
        self._file = Path(tempfile.mkstemp(suffix=".py")[1])
        self._file.write_text(_LEAD + script, encoding="utf-8")  # a file: DuckDB draws its own bar for what is typed or given by -c
        command = [sys.executable, "-W", "error", str(self._file)]
        self.process = subprocess.Popen(command, stdin=follower, stdout=stdout, stderr=follower, env=env, start_new_session=True)
        os.close(follower)

    def resize(self, columns: int, rows: int, *, tell: bool = True) -> None:
        """The window gets another size; the program's kernel knows at once."""
        fcntl.ioctl(self.leader, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if tell:
            self.screen.resize(rows, columns)

    def type(self, keys: bytes) -> None:
        os.write(self.leader, keys)

    def watch(self, until=lambda screen: False, limit: float = 60.0) -> bool:
        """Follow the screen until it looks as wanted (True), or the program ended."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if not select.select([self.leader], [], [], 0.05)[0]:
                if self.process.poll() is not None:
                    return False
                continue
            try:
                part = os.read(self.leader, 65536)
            except OSError:  # Linux: the other side is closed
                return False
            if not part:
                return False
            self.seen.writes.append((time.monotonic() - self.started, part))
            self._stream.feed(self._decode(part))
            self.seen.screens.append(self.display)
            if until(self.display):
                return True
        raise AssertionError(f"not seen within {limit} s; the screen: {self.display}")

    @property
    def display(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    def finish(self) -> Seen:
        """To the end; what was seen."""
        try:
            self.watch()
            out, _ = self.process.communicate(timeout=30)
        finally:
            self.process.kill()
            self._file.unlink()
            os.close(self.leader)
        self.seen.status, self.seen.out = self.process.returncode, (out or b"").decode()
        self.seen.last = self.display
        return self.seen
