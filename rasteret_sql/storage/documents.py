"""JSON documents over HTTP: catalogues and searches. One checked answer per request, repeated by the rules of :mod:`rasteret_sql.storage.retry`."""

from __future__ import annotations

import asyncio
import json
import re
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import ClientResponse, ClientTimeout
from yarl import URL

from rasteret_sql.errors import ReadError, one_line, redact
from rasteret_sql.storage import loop
from rasteret_sql.storage.credentials import header_hint, headers_for
from rasteret_sql.storage.hrefs import encoded, redirect_target, valid_host
from rasteret_sql.storage.http import MAX_REDIRECTS, final_reason, transient_reason
from rasteret_sql.storage.metrics import Metrics
from rasteret_sql.storage.network import Network
from rasteret_sql.storage.retry import RETRIED_STATUS, RetryPolicy, TransientError, parse_retry_after

MAX_BYTES = 64 << 20
"""Of one document, unpacked."""
_STALL_S = 30.0
"""A search may think that long before its first byte."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SAME_METHOD = frozenset({307, 308})
_MESSAGE_KEYS = ("description", "detail", "message", "title", "error", "code")
_HEADERS = "; headers for a host are given with rasteret_sql.http_headers or RASTERET_HTTP_HEADERS"
_URL_QUERY = re.compile(r"(https?://[^\s\"'?<>]+)\?[^\s\"'<>]*")


@dataclass(frozen=True, slots=True)
class DocumentRequest:
    """What to ask for. ``headers`` go to the URL's own host only; those that the user gave for a host (``storage/credentials.py``) are added."""

    url: str
    body: Mapping[str, Any] | None = None
    """Sent as JSON by POST; None: GET."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def place(self) -> str:
        return redact(self.url)


@dataclass(frozen=True, slots=True)
class Document:
    """An answer, and the URL that gave it in the end: relative links in it start there."""

    url: str
    data: Any


class RefusedError(ReadError):
    """The server answered with a final HTTP error: ``status``, and in the message what the server says."""

    def __init__(self, message: str, href: str, status: int) -> None:
        super().__init__(message, href)
        self.status = status


async def fetch_document(
    request: DocumentRequest, metrics: Metrics, *, deadline: float | None = None, policy: RetryPolicy | None = None, stall_s: float = _STALL_S
) -> Document:
    """The JSON document, or a :class:`ReadError`; :class:`RefusedError` where the server said no."""
    url = encoded(request.url.partition("#")[0])
    host = valid_host(url)
    if host is None:
        raise ReadError("not a valid URL: http:// or https:// and a host are", request.url)
    policy, attempt = policy or RetryPolicy(), 0
    try:
        async with asyncio.timeout_at(deadline):
            while True:
                attempt += 1
                try:
                    return await _follow(replace(request, url=url), host, metrics, stall_s)
                except TransientError as failure:
                    pause = policy.pause(attempt, failure.retry_after_s)
                    if attempt >= policy.attempts or pause >= policy.longest_wait_s:
                        raise ReadError(f"{failure}; gave up after {attempt} attempt{'s' if attempt > 1 else ''}", request.place) from None
                await asyncio.sleep(pause)
                metrics.count_io(host, retries=1)
    except ReadError:
        metrics.count_io(host, failures=1)
        raise
    except TimeoutError:
        metrics.count_io(host, failures=1)
        raise ReadError("no answer before the deadline (setting timeout_s)", request.place) from None


async def fetch_documents(requests: Sequence[DocumentRequest], metrics: Metrics, *, deadline: float | None = None) -> list[Document]:
    """All of them at once, in order; the first error cancels the rest. The caller bounds how many these are."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(fetch_document(request, metrics, deadline=deadline)) for request in requests]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def _follow(request: DocumentRequest, host: str, metrics: Metrics, stall_s: float) -> Document:
    """One attempt, redirects followed. What was meant for the first host is not shown to another."""
    network = loop.resource(Network)
    first = urlsplit(request.url)
    for _ in range(MAX_REDIRECTS + 1):
        started = time.monotonic()
        received = [0]
        try:
            answer = await _request(network, request, received, stall_s)
        except (aiohttp.ClientError, TimeoutError) as error:
            final = final_reason(error)
            if final is None:
                raise TransientError(transient_reason(error, stall_s)) from None
            raise ReadError(final, request.place) from None
        finally:
            metrics.count_io(host, requests=1, nbytes=received[0], seconds=time.monotonic() - started)
        if isinstance(answer, Document):
            return answer
        target = urlsplit(answer)
        same = (target.scheme, target.netloc) == (first.scheme, first.netloc)
        request = DocumentRequest(answer, request.body, request.headers if same else {})
    raise ReadError(f"more than {MAX_REDIRECTS} redirects", request.place)


async def _request(network: Network, request: DocumentRequest, received: list[int], stall_s: float) -> Document | str:
    """The document, or the URL that a redirect leads to."""
    headers = {"Accept": "application/geo+json, application/json", "Accept-Encoding": "gzip", **request.headers, **headers_for(request.url)}
    body = None if request.body is None else json.dumps(request.body).encode()
    if body is not None:
        headers["Content-Type"] = "application/json"
    async with network.session.request(
        "GET" if body is None else "POST",
        URL(request.url, encoded=True),
        data=body,
        headers=headers,
        allow_redirects=False,
        proxy=network.proxy(request.url),
        timeout=ClientTimeout(total=None, sock_connect=stall_s, sock_read=stall_s),
    ) as response:
        status = response.status
        if status in _REDIRECTS:
            target = redirect_target(request.url, response.headers.get("Location"), None)
            if target is None or (body is not None and status not in _SAME_METHOD):
                raise RefusedError(f"a redirect (HTTP {status}) that cannot be followed", request.place, status)
            return target
        data = await _body(response, request, received)
        if status in RETRIED_STATUS:
            raise TransientError(_saying(status, data), parse_retry_after(response.headers.get("Retry-After")))
        if not 200 <= status < 300:
            hint = "" if status not in {401, 403} or headers_for(request.url) else header_hint(request.url) or _HEADERS
            raise RefusedError(f"{_saying(status, data)}{hint}", request.place, status)
        return Document(request.url, _parsed(data, request))


async def _body(response: ClientResponse, request: DocumentRequest, received: list[int]) -> bytes:
    """The whole body, unpacked; bounded before and after."""
    unpack = zlib.decompressobj(wbits=47) if response.headers.get("Content-Encoding", "").lower() in {"gzip", "x-gzip", "deflate"} else None
    chunks: list[bytes] = []
    total = 0
    try:
        while chunk := await response.content.readany():
            received[0] += len(chunk)
            plain = chunk if unpack is None else unpack.decompress(chunk, MAX_BYTES - total + 1)
            total += len(plain)
            if total > MAX_BYTES:
                raise ReadError(f"the document is larger than {MAX_BYTES >> 20} MiB", request.place)
            chunks.append(plain)
    except zlib.error:
        raise TransientError("the answer's compression is broken") from None
    if unpack is not None and not unpack.eof:
        raise TransientError("the answer is cut short")
    return b"".join(chunks)


def _parsed(data: bytes, request: DocumentRequest) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        what = "an HTML page" if data.lstrip()[:1] == b"<" else "no JSON"
        raise ReadError(f"{what} came back instead of a JSON document", request.place) from None


def _saying(status: int, data: bytes) -> str:
    """The status and the server's own message, as one line without URL queries; nothing of an HTML page."""
    text = data[:20_000].decode("utf-8", "replace").strip()
    try:
        text = _message(json.loads(text))
    except (ValueError, RecursionError):
        text = "" if text.startswith("<") else text
    said = one_line(_URL_QUERY.sub(r"\1", text), 240)
    return f"the server answered HTTP {status}" + (f": {said}" if said else "")


def _message(value: Any) -> str:
    """The message inside an error document: STAC APIs, FastAPI's validation, AWS gateways each have their own."""
    if isinstance(value, dict):
        if "msg" in value:  # FastAPI: {"loc": ["body", "datetime"], "msg": "…"}
            return f"{'.'.join(map(str, value.get('loc', [])))}: {value['msg']}"
        found = next((value[key] for key in _MESSAGE_KEYS if value.get(key)), "")
        return _message(found) if isinstance(found, dict | list) else str(found)
    return "; ".join(map(_message, value[:3])) if isinstance(value, list) else str(value)
