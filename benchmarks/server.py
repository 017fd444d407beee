"""A loopback HTTP range server with latency, for benchmarks: one process, one thread, epoll and sendfile.

    python -m benchmarks.server benchmarks/data --latency-ms 20 --rate-mb 80
    python -m benchmarks.server benchmarks/data --measure        # what it can deliver at most

Every response waits ``--latency-ms`` before its first byte; each connection then gets at most ``--rate-mb`` megabytes a second.
``GET /__stats__`` answers JSON: requests, heads, bytes (of bodies), connections, cpu_s (of the server), and ``paths`` {path: [requests, bytes]};
``GET /__reset__`` answers the same and sets the counters to zero. Neither is counted or delayed.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import re
import selectors
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

SLICE = 256 << 10
"""Bytes sent before the pace is looked at again."""
MAX_REQUEST = 64 << 10
RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z")


@dataclass
class Counters:
    requests: int = 0
    heads: int = 0
    nbytes: int = 0
    connections: int = 0
    errors: int = 0
    paths: dict[str, list[int]] = field(default_factory=dict)
    cpu_from: float = field(default_factory=time.process_time)

    def as_json(self) -> bytes:
        cpu = time.process_time() - self.cpu_from
        shown = {"requests": self.requests, "heads": self.heads, "bytes": self.nbytes, "connections": self.connections, "errors": self.errors}
        return json.dumps({**shown, "cpu_s": round(cpu, 4), "paths": self.paths}).encode()


@dataclass
class Response:
    """What is still to be sent on a connection: a head, then a span of a file."""

    head: bytes
    fd: int = -1
    offset: int = 0
    left: int = 0
    served: list[int] = field(default_factory=lambda: [0, 0])
    """The path's [requests, bytes]: bytes are counted as they are sent, so that a request that the client breaks off counts for what it took."""
    delayed: bool = True


@dataclass(eq=False)
class Connection:
    sock: socket.socket
    inbox: bytearray = field(default_factory=bytearray)
    response: Response | None = None
    writing: bool = False
    started: float = 0.0
    """When the body began: the pace is counted from here."""
    sent: int = 0


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """(first byte, length) of a single ``Range``; None without one. Raises ValueError where it cannot be satisfied or is not single."""
    if header is None:
        return None
    match = RANGE.match(header.strip())
    if match is None or match.groups() == ("", ""):
        msg = f"range {header!r}"
        raise ValueError(msg)
    first, last = match.groups()
    if not first:
        length = min(int(last), size)
        return size - length, length
    start, stop = int(first), min(int(last) if last else size - 1, size - 1)
    if start > stop:
        msg = f"range {header!r} of {size} bytes"
        raise ValueError(msg)
    return start, stop - start + 1


class Server:
    """Serves the files of a folder until told to stop."""

    def __init__(self, root: Path, *, latency: float, rate: float | None, port: int = 0) -> None:
        """``latency`` in seconds, ``rate`` in bytes a second per connection (None: unlimited)."""
        self.root = root.resolve()
        self.latency = latency
        self.rate = rate
        self.counters = Counters()
        self.files: dict[str, tuple[int, int]] = {}
        self.timers: list[tuple[float, int, Connection]] = []
        self.ticket = 0
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ, None)
        self.port: int = self.listener.getsockname()[1]

    def serve(self) -> None:
        while True:
            wait = max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else None
            for key, events in self.selector.select(wait):
                if key.data is None:
                    self.accept()
                elif events & selectors.EVENT_WRITE:
                    self.guarded(self.send, key.data)
                else:
                    self.guarded(self.receive, key.data)
            now = time.monotonic()
            while self.timers and self.timers[0][0] <= now:
                self.guarded(self.send, heapq.heappop(self.timers)[2])

    def accept(self) -> None:
        try:
            sock, _ = self.listener.accept()
        except BlockingIOError:
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.counters.connections += 1
        self.selector.register(sock, selectors.EVENT_READ, Connection(sock))

    def guarded(self, action, connection: Connection) -> None:
        if connection.sock.fileno() < 0:
            return
        try:
            action(connection)
        except (ConnectionError, TimeoutError):
            self.close(connection)

    def close(self, connection: Connection) -> None:
        self.selector.unregister(connection.sock)
        connection.sock.close()

    def receive(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(MAX_REQUEST)
        except BlockingIOError:
            return
        if not data or len(connection.inbox) > MAX_REQUEST:
            self.close(connection)
            return
        connection.inbox += data
        self.next_request(connection)

    def next_request(self, connection: Connection) -> None:
        """Start the answer to the next whole request, if there is one and nothing is being answered."""
        if connection.response is not None or (end := connection.inbox.find(b"\r\n\r\n")) < 0:
            return
        text = connection.inbox[:end].decode("latin-1")
        del connection.inbox[: end + 4]
        connection.response = self.answer(text)
        connection.sent = 0
        delay = self.latency if connection.response.delayed else 0.0
        self.at(time.monotonic() + delay, connection)

    def at(self, when: float, connection: Connection) -> None:
        self.ticket += 1
        heapq.heappush(self.timers, (when, self.ticket, connection))

    def answer(self, text: str) -> Response:
        request, *lines = text.split("\r\n")
        method, target, _ = (*request.split(" "), "", "")[:3]
        path = target.partition("?")[0]
        if path in ("/__stats__", "/__reset__"):
            body = self.counters.as_json()
            if path == "/__reset__":
                self.counters = Counters()
            return Response(head(HTTPStatus.OK, len(body), "Content-Type: application/json\r\n") + body, delayed=False)
        self.counters.requests += 1
        self.counters.heads += method == "HEAD"
        opened = self.open(path)
        if opened is None or method not in ("GET", "HEAD"):
            self.counters.errors += 1
            return Response(head(HTTPStatus.NOT_FOUND, 0))
        fd, size = opened
        wanted = next((line[6:] for line in lines if line[:6].lower() == "range:"), None)
        try:
            span = parse_range(wanted, size)
        except ValueError:
            self.counters.errors += 1
            return Response(head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, f"Content-Range: bytes */{size}\r\n"))
        offset, length = span or (0, size)
        more = f'Accept-Ranges: bytes\r\nETag: "{size:x}-{fd:x}"\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: image/tiff\r\n'
        if span:
            more += f"Content-Range: bytes {offset}-{offset + length - 1}/{size}\r\n"
        served = self.counters.paths.setdefault(path, [0, 0])
        served[0] += 1
        first = head(HTTPStatus.PARTIAL_CONTENT if span else HTTPStatus.OK, length, more)
        if method == "HEAD":
            return Response(first)
        return Response(first, fd, offset, length, served)

    def open(self, path: str) -> tuple[int, int] | None:
        """(descriptor, size) of a file below the root, kept open."""
        if path not in self.files:
            full = (self.root / path.lstrip("/")).resolve()
            if not full.is_relative_to(self.root) or not full.is_file():
                return None
            fd = os.open(full, os.O_RDONLY)
            self.files[path] = (fd, os.fstat(fd).st_size)
        return self.files[path]

    def send(self, connection: Connection) -> None:
        """Send what the pace and the socket allow; then wait for the one or the other, or take the next request."""
        response = connection.response
        if response is None:
            return
        if response.head:
            flags = socket.MSG_MORE if response.left else 0
            response.head = response.head[connection.sock.send(response.head, flags) :]
            connection.started = time.monotonic()
        while response.left:
            if self.rate is not None and connection.sent:
                due = connection.started + connection.sent / self.rate
                if due > time.monotonic():
                    self.writable(connection, wanted=False)
                    self.at(due, connection)
                    return
            try:
                count = os.sendfile(connection.sock.fileno(), response.fd, response.offset, min(SLICE, response.left))
            except BlockingIOError:
                self.writable(connection, wanted=True)
                return
            response.offset += count
            response.left -= count
            connection.sent += count
            response.served[1] += count
            self.counters.nbytes += count
        self.writable(connection, wanted=False)
        connection.response = None
        self.next_request(connection)

    def writable(self, connection: Connection, *, wanted: bool) -> None:
        if connection.writing != wanted:
            connection.writing = wanted
            self.selector.modify(connection.sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if wanted else 0), connection)


def head(status: HTTPStatus, length: int, more: str = "") -> bytes:
    return f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Length: {length}\r\n{more}Connection: keep-alive\r\n\r\n".encode()


def measure(root: Path, seconds: float = 2.0, connections: int = 8) -> None:
    """Print what a server without latency and limit delivers to this process: 1 MiB ranges, and tiny ones."""
    path = max((p for p in root.rglob("*.tif")), key=lambda p: p.stat().st_size)
    size = path.stat().st_size
    for length in (1 << 20, 512):
        server = Server(root, latency=0.0, rate=None)
        if (pid := os.fork()) == 0:
            server.serve()
        count, nbytes, until = [0] * connections, [0] * connections, time.perf_counter() + seconds

        def pull(number: int, length: int = length, count=count, nbytes=nbytes, until: float = until, port: int = server.port) -> None:
            buffer = bytearray(2 << 20)
            with socket.create_connection(("127.0.0.1", port)) as sock:
                while time.perf_counter() < until:
                    start = (number * 7919 + count[number] * length) % (size - length)
                    target = path.relative_to(root).as_posix()
                    sock.sendall(f"GET /{target} HTTP/1.1\r\nHost: x\r\nRange: bytes={start}-{start + length - 1}\r\n\r\n".encode())
                    got = sock.recv_into(buffer)
                    need = buffer.find(b"\r\n\r\n") + 4 + length
                    while got < need:
                        got += sock.recv_into(buffer)
                    count[number] += 1
                    nbytes[number] += length

        threads = [threading.Thread(target=pull, args=(n,)) for n in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(b"GET /__stats__ HTTP/1.1\r\n\r\n")
            stats = json.loads(sock.recv(1 << 16).partition(b"\r\n\r\n")[2])
        os.kill(pid, 15)
        os.waitpid(pid, 0)
        rate = f"{sum(count) / seconds:8.0f} requests/s  {sum(nbytes) / seconds / 1e9:6.2f} GB/s"
        print(f"{length:8d} bytes: {rate}  server CPU {stats['cpu_s'] / seconds:.0%}, {1e6 * stats['cpu_s'] / sum(count):.0f} us a request")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.server", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("root", type=Path, help="folder to serve")
    parser.add_argument("--port", type=int, default=0, help="default: a free one, printed as the first line")
    parser.add_argument("--latency-ms", type=float, default=20.0, help="wait before the first byte of each response (default 20)")
    parser.add_argument("--rate-mb", type=float, default=80.0, help="megabytes a second for each connection, 0 for no limit (default 80)")
    parser.add_argument("--measure", action="store_true", help="measure the server itself and stop")
    args = parser.parse_args(argv)
    if args.measure:
        measure(args.root.resolve())
        return
    server = Server(args.root, latency=args.latency_ms / 1e3, rate=args.rate_mb * 1e6 or None, port=args.port)
    print(f"http://127.0.0.1:{server.port}", flush=True)
    try:
        server.serve()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
