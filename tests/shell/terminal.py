"""The real program under a pseudo-terminal, and what its screen shows."""

from __future__ import annotations

import sys
import time

import pexpect
import pyte

from tests.cli.running import environment

ENTER, TAB, CTRL_C, CTRL_D, UP, ESCAPE = "\r", "\t", "\x03", "\x04", "\x1b[A", "\x1b"


class Terminal:
    """``rasteret-sql`` with somebody at the keyboard."""

    def __init__(self, *arguments, columns=120, rows=50, cwd=None, **more):
        env = environment(**more) | {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"}
        env = {name: value for name, value in env.items() if name not in {"CI", "COLUMNS", "LINES"}}
        self._screen = pyte.HistoryScreen(columns, rows, history=2000, ratio=0.9)
        self._stream = pyte.ByteStream(self._screen)
        self.process = pexpect.spawn(
            sys.executable, ["-W", "error", "-m", "rasteret_sql.cli", *map(str, arguments)], env=env, cwd=cwd, dimensions=(rows, columns), timeout=60
        )
        self.process.delaybeforesend = None
        self.raw = b""

    def __enter__(self):
        self.wait_line("rasteret>")
        return self

    def __exit__(self, *_):
        self.process.close(force=True)

    def pump(self, seconds=0.1):
        """Take in what the program writes."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                part = self.process.read_nonblocking(65536, timeout=left)
            except (pexpect.TIMEOUT, pexpect.EOF):
                return
            self.raw += part
            self._stream.feed(part)

    @property
    def lines(self):
        above = ["".join(line[column].data for column in range(self._screen.columns)).rstrip() for line in self._screen.history.top]
        return [line for line in [*above, *(line.rstrip() for line in self._screen.display)] if line]

    @property
    def text(self):
        return "\n".join(self.lines)

    def wait_for(self, text, seconds=40.0):
        """Until the screen has it; returns how long that took."""
        began = time.monotonic()
        while text not in self.text:
            assert time.monotonic() - began < seconds, f"no {text!r} in:\n{self.text}"
            assert self.process.isalive() or text in self.text, f"ended without {text!r}:\n{self.text}"
            self.pump(0.05)
        return time.monotonic() - began

    def wait_line(self, line, seconds=40.0):
        """Until the last line is this."""
        began = time.monotonic()
        while not self.lines or self.lines[-1] != line:
            assert time.monotonic() - began < seconds, f"the last line is not {line!r}:\n{self.text}"
            self.pump(0.05)

    def type(self, *keys):
        for key in keys:
            self.process.send(key)

    def run(self, text, seconds=40.0):
        """Type a statement or command, and return the lines that follow until the next prompt."""
        self.wait_line("rasteret>")
        before = len(self.lines)
        self.type(text, ENTER)
        self.pump(0.05)
        began = time.monotonic()
        while self.lines[-1] != "rasteret>" or len(self.lines) <= before:
            assert time.monotonic() - began < seconds, f"{text!r} goes on:\n{self.text}"
            self.pump(0.05)
        typed = text.count("\r") + 1 + (len(text) + 10) // self._screen.columns
        return self.lines[before - 1 + typed : -1]

    def complete(self, typed, expected):
        """Type, press Tab, and wait for the line to become what is expected; then clear it."""
        self.wait_line("rasteret>")
        self.type(typed)
        self.wait_for(f"rasteret> {typed}".rstrip())
        self.type(TAB)
        self.wait_for(expected)
        self.type(CTRL_C)
        self.wait_line("rasteret>")

    def end(self):
        """Wait for the program's end; its exit status."""
        self.pump(0.2)
        self.process.expect(pexpect.EOF, timeout=20)
        self.process.wait()
        return self.process.exitstatus
