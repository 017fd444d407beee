"""A small HTTP server on the loopback interface that serves one folder in byte ranges, as an object store would.

``with SampleServer(data_dir()) as server: records(server.url)``: the demo and the documentation read the sample data over real HTTP, offline.
GET and HEAD, HTTP/1.1 with kept connections, one byte range per request (RFC 9110, section 14), strong ETags. No listings, no writing, no TLS.
"""

from __future__ import annotations

import contextlib
import email.utils
import os
import re
import socket
import stat
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self
from urllib.parse import unquote, urlsplit

from rasteret_sql.errors import InvalidArgument, RasteretError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_CHUNK = 1 << 18
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)
_TYPES = {".tif": "image/tiff; application=geotiff; profile=cloud-optimized", ".parquet": "application/vnd.apache.parquet"}


class SampleServer:
    """Serves the files below ``root`` on ``127.0.0.1``, on a free port, from :meth:`start` to :meth:`stop` or within ``with``."""

    def __init__(self, root: Path) -> None:
        self._root = Path(root).resolve()
        if not self._root.is_dir():
            raise InvalidArgument(f"{str(root)!r} is no folder; the sample server serves a folder, such as rasteret_sql.sample.data_dir()")
        self._lock = threading.Lock()
        self._requests = 0
        self._bytes_sent = 0
        self._httpd: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``, without a slash at the end."""
        if self._httpd is None:
            raise RasteretError("the sample server is not running; start it with `with SampleServer(root) as server:`")
        return f"http://127.0.0.1:{self._httpd.server_address[1]}"

    @property
    def requests(self) -> int:
        """GET and HEAD requests so far, refused ones included."""
        return self._requests

    @property
    def bytes_sent(self) -> int:
        """Bytes of bodies sent so far."""
        return self._bytes_sent

    def start(self) -> None:
        """Bind and serve from a thread of its own; nothing happens when it runs already."""
        if self._httpd is not None:
            return
        self._httpd = _Server(self._root, self._count)
        self._thread = threading.Thread(target=self._httpd.serve_forever, kwargs={"poll_interval": 0.05}, name="rasteret-sample-server", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close every connection and wait for the threads; nothing happens when it does not run."""
        httpd, thread = self._httpd, self._thread
        self._httpd = self._thread = None
        if httpd is None or thread is None:
            return
        httpd.shutdown()
        thread.join()
        httpd.server_close()
        httpd.hang_up()

    def _count(self, requests: int, size: int) -> None:
        with self._lock:
            self._requests += requests
            self._bytes_sent += size


class _Server(ThreadingHTTPServer):
    """One daemon thread per connection; unlike the standard library's, it can hang up on connections that are kept open."""

    request_queue_size = 128

    def __init__(self, root: Path, count: Callable[[int, int], None]) -> None:
        self.root = root
        self.count = count
        self._open: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), name="rasteret-sample-connection", daemon=True)
        with self._lock:
            self._open[request] = thread
        thread.start()

    def close_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error of ours; anything else is printed as the standard library does."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def hang_up(self) -> None:
        """End the connections that are open and wait for their threads."""
        with self._lock:
            connections = list(self._open.items())
        for connection, thread in connections:
            with contextlib.suppress(OSError):  # its thread may have closed it in the meantime
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "rasteret-sample"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = 1 << 16  # head and body of a small answer leave in one packet

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Quiet: the counters of the server tell what went on."""

    def _answer(self, *, body: bool) -> None:
        self.server.count(1, 0)
        path = served_path(self.server.root, self.path)
        try:
            file = None if path is None else path.open("rb")
        except OSError:  # gone since, or not ours to read
            file = None
        if path is None or file is None:
            self._head(HTTPStatus.NOT_FOUND, {"Content-Length": "0"})
            return
        with file:
            self._send_file(file, path.suffix, body=body)

    def _send_file(self, file: BinaryIO, suffix: str, *, body: bool) -> None:
        status = os.fstat(file.fileno())
        etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": etag,
            "Last-Modified": email.utils.formatdate(status.st_mtime, usegmt=True),
            "Content-Type": _TYPES.get(suffix, "application/octet-stream"),
        }
        size = status.st_size
        # Range is defined for GET only (14.2), and If-Range with another validator than ours asks for the whole file (13.1.5).
        asked = self.headers.get("Range") if body and self.headers.get("If-Range", etag) == etag else None
        span = parse_range(asked, size)
        if span is None:
            self._head(HTTPStatus.OK, {**headers, "Content-Length": str(size)})
            start, stop = 0, size
        elif span[0] >= span[1]:
            self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {"Content-Range": f"bytes */{size}", "Content-Length": "0"})
            return
        else:
            start, stop = span
            content_range = f"bytes {start}-{stop - 1}/{size}"
            self._head(HTTPStatus.PARTIAL_CONTENT, {**headers, "Content-Range": content_range, "Content-Length": str(stop - start)})
        if body:
            self._copy(file, start, stop)

    def _head(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _copy(self, file: BinaryIO, start: int, stop: int) -> None:
        file.seek(start)
        while start < stop:
            block = file.read(min(_CHUNK, stop - start))
            if not block:  # the file was cut short under us: the promised length cannot be kept
                self.close_connection = True
                return
            self.server.count(0, len(block))  # first, so that a client that has the bytes also finds them counted
            self.wfile.write(block)
            start += len(block)


def served_path(root: Path, target: str) -> Path | None:
    """The regular file that a request's target names, or None; never one outside ``root``, links followed."""
    try:
        relative = unquote(urlsplit(target).path).lstrip("/")
        path = (root / relative).resolve(strict=True)
        regular = stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError, RuntimeError):  # not there; a NUL in the name or no URL; a loop of links
        return None
    return path if regular and path.is_relative_to(root) else None


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and one past the last of a ``Range`` header on a file of ``size`` bytes.

    None when the whole file is to be sent: no header, several ranges, another unit, or no valid range (RFC 9110, 14.2 lets a server ignore them).
    An empty span when the range is valid but there is no such byte: the answer is 416.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size
