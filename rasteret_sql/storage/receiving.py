"""Bodies of large answers, from the socket straight into the memory where they are wanted.

What aiohttp hands on has been copied three times, into fresh memory each time: that is half of what fetching costs. asyncio can exchange the
protocol of a connection. So while the body is under way, of which aiohttp has told the length, the bytes go to :class:`Body`; with the last one
aiohttp has its connection back, and is told that the body has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar, cast

from aiohttp import ClientPayloadError, ClientResponse

from rasteret_sql.storage.gathering import gathering

T = TypeVar("T")
SMALLEST = 128 << 10
"""Bytes still to come, from which it pays to exchange protocols."""

GATHERED = 1 << 20
"""Bytes that the system gathers at most before it wakes the process: whatever has come is taken at once."""

_exchanges: bool | None = None


def exchanges() -> bool:
    """Does this version of aiohttp take it that a body came another way? It must begin each answer anew, whatever became of the last: tried once.

    On the event loop, and without waiting: many first answers come together, and none of them is to go on before this is known.
    """
    global _exchanges  # noqa: PLW0603 - a fact about the installed version
    if _exchanges is None:
        _exchanges = False
        with suppress(Exception):
            from aiohttp.client_proto import ResponseHandler  # noqa: PLC0415 - what aiohttp does not promise to keep

            handler = ResponseHandler(asyncio.get_running_loop())
            handler.set_response_params()
            handler.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
            _, body = _at_once(handler.read())
            body.feed_eof()
            ready = not handler.should_close
            handler.set_response_params()
            handler.data_received(b"HTTP/1.1 206 Partial Content\r\ncontent-length: 2\r\n\r\nok")
            message, body = _at_once(handler.read())
            _exchanges = ready and message.code == 206 and body.read_nowait() == b"ok" and not handler.should_close
    return _exchanges


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has nothing to wait for; RuntimeError where it would wait."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("it waits")


def is_plain(response: ClientResponse, length: int) -> bool:
    """Is the body ``length`` bytes that follow as they are, on a connection that is at hand and being read?"""
    transport = _transport(response)
    return response.content_length == length and "transfer-encoding" not in response.headers and transport is not None and transport.is_reading()


class Body(asyncio.BufferedProtocol):
    """The body of an answer that :func:`is_plain`, received into ``target``.

    Has the connection until the body is complete, the connection ends, nothing comes for ``stall_s`` seconds, or nobody waits any more.
    """

    def __init__(self, response: ClientResponse, target: memoryview, stall_s: float) -> None:
        self.filled = 0
        """Bytes that have come."""
        self._response = response
        self._target = target
        self._stall_s = stall_s
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._heard = self._loop.time()

    async def read(self) -> None:
        """Until the body is complete or the connection has ended in order: then ``filled`` is less than wanted.

        Raises TimeoutError when nothing came for so long, ClientPayloadError when the connection broke.
        """
        content = self._response.content
        while chunk := content.read_nowait():  # what came with the headers
            self._target[self.filled : self.filled + len(chunk)] = chunk
            self.filled += len(chunk)
        transport = _transport(self._response)
        if self.filled == len(self._target) or content.at_eof() or transport is None:
            return
        with gathering(self._response, GATHERED) as self._gather:
            self._take(transport)
            try:
                await self._ended
            finally:
                self._leave()
        if self.filled == len(self._target):
            content.feed_eof()

    def _take(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._owner = cast(asyncio.Protocol, transport.get_protocol())
        self._timer = self._loop.call_later(self._stall_s / 2, self._look)
        transport.set_protocol(self)

    def _leave(self) -> None:
        """Give the connection back to whom it belongs."""
        self._timer.cancel()
        if self._transport.get_protocol() is self:
            self._transport.set_protocol(self._owner)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's
        return self._target[self.filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self.filled += nbytes
        self._heard = self._loop.time()
        left = len(self._target) - self.filled
        self._gather.arrived(nbytes, left)
        if not left:
            self._end(None)

    def eof_received(self) -> bool | None:
        self._end(None)
        kept: bool | None = self._owner.eof_received()
        return kept

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(None if exc is None else ClientPayloadError("the connection broke"))
        self._owner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        self._owner.resume_writing()

    def _end(self, error: Exception | None) -> None:
        self._leave()
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)

    def _look(self) -> None:
        """Has something come lately? Half way to a stall what has come is told, however little: more may have been waited for."""
        left = self._heard + self._stall_s - self._loop.time()
        if left <= 0:
            self._end(TimeoutError())
            return
        half = self._stall_s / 2
        if left <= half:
            self._gather.end()
        self._timer = self._loop.call_later(left if left <= half else left - half, self._look)


def _transport(response: ClientResponse) -> asyncio.Transport | None:
    return None if response.connection is None else response.connection.transport
