"""A server that fails by script: raw sockets, one :class:`Fault` per request, everything counted.

with FaultyServer(data) as server:
    server.script("/a.tif", status(503, retry_after="1"), Fault(end="reset", send=100))   # then honest answers
    ...
    assert server.attempts("/a.tif") == 3
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ssl import SSLContext
from types import TracebackType
from typing import Literal, Self

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_CHUNK = 1 << 16

End = Literal["keep", "close", "reset", "hang"]


@dataclass(frozen=True, slots=True)
class Fault:
    """How one request is answered; the defaults are an honest answer."""

    status: int = 206
    headers: Mapping[str, str | None] = field(default_factory=dict)
    """Added to the honest headers, or instead of them; None leaves one out."""
    body: bytes | None = None
    """Instead of the range's bytes."""
    whole: bool = False
    """The whole file, as servers do that ignore ranges."""
    answer: bool = True
    """False: not even a status line, just ``end``."""
    send: int | None = None
    """Only so many body bytes, then ``end``."""
    end: End = "keep"
    """keep the connection alive, close it in order, reset it, or leave it open and silent."""
    flip: int | None = None
    """Position of a byte of the body to invert."""
    drip: tuple[int, float] | None = None
    """Send so many bytes at a time, with so many seconds between."""
    slow_from: tuple[int, int, float] | None = None
    """From this byte of the body on, send so many bytes at a time, with so many seconds between."""
    chunked: bool = False
    """Transfer-Encoding: chunked instead of a Content-Length."""


OK = Fault()


def status(code: int, *, retry_after: str | None = None, body: bytes = b"", **headers: str) -> Fault:
    """An error status; ``content_type="text/html"`` becomes ``Content-Type``."""
    named: dict[str, str | None] = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(code, {"Content-Range": None, "Retry-After": retry_after, **named}, body)


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    headers: Mapping[str, str]
    """Names in lower case."""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


class FaultyServer:
    """Serves ``data`` under every path; runs in a thread of its own."""

    def __init__(self, data: bytes, *, etag: str = '"v1"', tls: SSLContext | None = None) -> None:
        self.data = data
        self.etag = etag
        self.requests: list[Request] = []
        self.open_connections = 0
        self.accepted = 0
        self._tls = tls
        self._scripts: dict[str, list[Fault]] = {}
        self._forever: dict[str, Fault] = {}
        self._sent: dict[str, int] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._handlers: set[asyncio.Task[None]] = set()
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls), self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def url(self, path: str) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}{path}"

    def script(self, path: str, *faults: Fault, forever: Fault | None = None) -> str:
        """Answer requests for ``path`` by ``faults``, one each, then ``forever`` (honestly by default). Returns the URL."""
        self._scripts[path] = list(faults)
        self._forever[path] = forever or OK
        return self.url(path)

    def attempts(self, path: str) -> int:
        return sum(request.path == path for request in self.requests)

    def sent(self, path: str) -> int:
        """Body bytes handed to the socket for ``path``."""
        return self._sent.get(path, 0)

    def connections_after(self, count: int, seconds: float = 5.0) -> int:
        """Open connections once they are no more than ``count``, or when the time is up."""
        end = time.monotonic() + seconds
        while self.open_connections > count and time.monotonic() < end:
            time.sleep(0.01)
        return self.open_connections

    async def _close(self) -> None:
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        self.open_connections += 1
        self.accepted += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open_connections -= 1
            self._handlers.discard(handler)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        method, target, _ = first.split(" ", 2)
        request = Request(method, target, {n.strip().lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)})
        self.requests.append(request)
        script = self._scripts.get(request.path, [])
        fault = script.pop(0) if script else self._forever.get(request.path, OK)
        if fault.answer:
            await self._send(writer, request, fault)
        if fault.end == "keep":
            return True
        if fault.end == "hang":
            await reader.read()
        elif fault.end == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        return False

    async def _send(self, writer: asyncio.StreamWriter, request: Request, fault: Fault) -> None:
        found = _RANGE.fullmatch(request.headers.get("range", ""))
        start, stop = (int(found[1]), min(int(found[2]) + 1, len(self.data))) if found and not fault.whole else (0, len(self.data))
        body = bytearray(self.data[start:stop] if fault.body is None else fault.body)
        if fault.flip is not None:
            body[fault.flip] ^= 0xFF
        honest: dict[str, str | None] = {"Content-Type": "application/octet-stream", "ETag": self.etag}
        honest["Content-Range"] = f"bytes {start}-{stop - 1}/{len(self.data)}"
        honest["Content-Length"] = None if fault.chunked else str(len(body))
        honest["Transfer-Encoding"] = "chunked" if fault.chunked else None
        headers = {**honest, **fault.headers}
        lines = [f"HTTP/1.1 {fault.status} Scripted", *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        await writer.drain()
        out = memoryview(body)[: fault.send]
        start, step, pause = fault.slow_from or (0, *(fault.drip or (_CHUNK, 0.0)))
        writer.write(out[:start])
        for position in range(start, len(out), step):
            piece = out[position : position + step]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if fault.chunked else piece)
            await writer.drain()
            self._sent[request.path] = self._sent.get(request.path, 0) + len(piece)
            if pause:
                await asyncio.sleep(pause)
        if fault.chunked and fault.send is None:
            writer.write(b"0\r\n\r\n")
            await writer.drain()
