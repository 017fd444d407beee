"""A file server with one thing wrong with it, over http or, with a certificate of its own making, https."""

from __future__ import annotations

import re
import ssl
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self


class OddServer:
    """Serves the files of a folder in ranges, but for what ``wrong`` says: whole, etag, html, clock, refused."""

    def __init__(self, root: Path, wrong: str = "", *, context: ssl.SSLContext | None = None) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def date_time_string(self, timestamp: float | None = None) -> str:
                return formatdate((timestamp or time.time()) + (3600 if wrong == "clock" else 0), usegmt=True)

            def answer(self, status: int, body: bytes, **headers: str) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                file = root / self.path.lstrip("/").partition("?")[0]
                if wrong == "refused":
                    self.answer(403, b"no")
                elif wrong == "html":
                    self.answer(200, b"<html>please log in</html>", Content_Type="text/html")
                elif not file.is_file():
                    self.answer(404, b"")
                else:
                    self.give(file.read_bytes())

            def give(self, data: bytes) -> None:
                etag = {} if wrong == "etag" else {"ETag": '"1"'}
                found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
                if wrong == "whole" or found is None:
                    self.answer(200, data, **etag)
                    return
                start, stop = int(found[1]), min(int(found[2]) + 1, len(data))
                self.answer(206, data[start:stop], Content_Range=f"bytes {start}-{stop - 1}/{len(data)}", **etag)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # a client that distrusts the certificate hangs up
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"http{'s' if context else ''}://localhost:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
