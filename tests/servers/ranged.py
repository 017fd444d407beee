"""A fast, well-behaved file server that counts: GET and HEAD, one byte range, ETag, keep-alive, ``sendfile``.

In a test: ``with RangeServer(folder) as server: … server.url("a.tif") … server.stats()``. On its own, so that its CPU time is not the
client's: ``python -m tests.servers.ranged FOLDER --port 8000 --latency 0.02``; ``/__stats__`` answers the counts as JSON, ``/__reset__`` zeroes them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_SLICE = 1 << 18


@dataclass
class Stats:
    """Counts since the start or the last reset. ``bytes`` are body bytes sent."""

    requests: int = 0
    bytes: int = 0
    connections: int = 0
    max_in_flight: int = 0
    ranges: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Path to the half-open byte ranges asked for, in order; a request without a range is ``(0, size)``."""


@dataclass(frozen=True)
class _Reply:
    status: str
    headers: dict[str, str]
    body: bytes = b""
    file: Path | None = None
    start: int = 0
    length: int = 0


class RangeServer:
    """Serves the files below ``root_dir``: one thread per connection.

    ``latency_s`` passes before each answer, ``rate_bytes_s`` limits each connection.
    """

    def __init__(self, root_dir: str | os.PathLike[str], latency_s: float = 0.0, rate_bytes_s: float | None = None, port: int = 0) -> None:
        self.root = Path(root_dir).resolve()
        self.latency_s = latency_s
        self.rate_bytes_s = rate_bytes_s
        self._listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._stats = Stats()
        self._in_flight = 0
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path.lstrip('/')}"

    def stats(self) -> Stats:
        """A copy of the counts."""
        with self._lock:
            copy = Stats(**asdict(self._stats))
        copy.ranges = {path: [tuple(pair) for pair in pairs] for path, pairs in copy.ranges.items()}
        return copy

    def reset(self) -> None:
        with self._lock:
            self._stats = Stats()

    def _start(self, target, *args) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.add(connection)
                self._stats.connections += 1
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        pending = b""
        try:
            while True:
                while b"\r\n\r\n" not in pending:
                    received = connection.recv(65536)
                    if not received:
                        return
                    pending += received
                head, _, pending = pending.partition(b"\r\n\r\n")
                if not self._answer(connection, head.decode("latin-1")):
                    return
        except OSError:
            return
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _answer(self, connection: socket.socket, head: str) -> bool:
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        path = unquote(target.partition("?")[0])
        if path in {"/__stats__", "/__reset__"}:
            if path == "/__reset__":
                self.reset()
            body = json.dumps(asdict(self.stats())).encode()
            self._send(connection, method, _Reply("200 OK", {"Content-Type": "application/json"}, body=body, length=len(body)))
            return True
        with self._lock:
            self._stats.requests += 1
            self._in_flight += 1
            self._stats.max_in_flight = max(self._stats.max_in_flight, self._in_flight)
        try:
            if self.latency_s:
                self._closing.wait(self.latency_s)
            self._send(connection, method, self._reply(method, path, headers.get("range")))
        finally:
            with self._lock:
                self._in_flight -= 1
        return headers.get("connection", "").lower() != "close"

    def _reply(self, method: str, path: str, wanted: str | None) -> _Reply:
        if method not in {"GET", "HEAD"}:
            return _Reply("405 Method Not Allowed", {})
        file = (self.root / path.lstrip("/")).resolve()
        if not file.is_relative_to(self.root) or not file.is_file():
            return _Reply("404 Not Found", {})
        stat = file.stat()
        headers = {"ETag": f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"', "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        start, stop = 0, stat.st_size
        if wanted is not None:
            found = _RANGE.fullmatch(wanted)
            if found is None or wanted == "bytes=-":
                return _Reply("400 Bad Request", {})
            first, last = found.groups()
            start = int(first) if first else max(0, stat.st_size - int(last))
            stop = min(int(last) + 1, stat.st_size) if first and last else stat.st_size
        with self._lock:
            self._stats.ranges.setdefault(path, []).append((start, stop))
        if wanted is None:
            return _Reply("200 OK", headers, file=file, length=stop)
        if start >= stop:
            return _Reply("416 Range Not Satisfiable", {**headers, "Content-Range": f"bytes */{stat.st_size}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{stat.st_size}"
        return _Reply("206 Partial Content", headers, file=file, start=start, length=stop - start)

    def _send(self, connection: socket.socket, method: str, reply: _Reply) -> None:
        lines = [f"HTTP/1.1 {reply.status}", f"Content-Length: {reply.length}", *(f"{name}: {value}" for name, value in reply.headers.items())]
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (reply.body if method == "GET" else b""))
        if method != "GET" or reply.file is None:
            return
        with reply.file.open("rb") as source:
            self._send_file(connection, source.fileno(), reply.start, reply.length)

    def _send_file(self, connection: socket.socket, source: int, start: int, length: int) -> None:
        """Bytes are counted before they are sent, so that who has received them finds them counted; unsent ones are taken back."""
        began, sent = time.monotonic(), 0
        self._count_bytes(length)
        try:
            while sent < length:
                step = length - sent if self.rate_bytes_s is None else min(_SLICE, length - sent)
                moved = os.sendfile(connection.fileno(), source, start + sent, step)
                if moved == 0:
                    break
                sent += moved
                if self.rate_bytes_s is not None and (ahead := sent / self.rate_bytes_s - (time.monotonic() - began)) > 0:
                    self._closing.wait(ahead)
        finally:
            self._count_bytes(sent - length)

    def _count_bytes(self, amount: int) -> None:
        with self._lock:
            self._stats.bytes += amount


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--rate", type=float, default=None, help="bytes per second and connection")
    options = parser.parse_args()
    with RangeServer(options.root, options.latency, options.rate, options.port) as server:
        print(server.port, flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
