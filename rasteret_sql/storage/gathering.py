"""Large answers wake the process seldom: the system gathers their bytes (SO_RCVLOWAT, socket(7)), where it can and they come fast.

Each wake-up costs Python tens of microseconds, and an answer of megabytes brings dozens of them: a twentieth of a large read.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from aiohttp import ClientResponse

MOST = 256 << 10
"""Bytes waited for at most: what asyncio takes from a socket at once, when it makes the memory."""
FAST = 32 << 10
"""Bytes that came together: on a slower connection waiting for more could look like a stall."""
MARGIN = 64 << 10
"""Towards the end of an answer every byte counts: TLS may hold back parts of its records (16 KiB each) that have left the socket already."""


class Gather:
    """How many bytes the system is to gather on one socket before it wakes the process."""

    def __init__(self, connection: socket.socket | None, most: int = MOST) -> None:
        self._connection = connection
        self._most = most
        self.waiting_for = 1

    def arrived(self, nbytes: int, left: int) -> None:
        """So many bytes came together, and so many are still to come."""
        self._wait_for(max(1, min(self._most, left - MARGIN)) if nbytes >= FAST else 1)

    def end(self) -> None:
        """Whatever comes next on the connection is told at once."""
        self._wait_for(1)

    def _wait_for(self, nbytes: int) -> None:
        if self._connection is None or nbytes == self.waiting_for:
            return
        with suppress(OSError):  # the connection is closed, or the system has no such option
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, nbytes)
        self.waiting_for = nbytes


@contextmanager
def gathering(response: ClientResponse, most: int = MOST) -> Iterator[Gather]:
    """While the body of a response is read, by so many bytes at once."""
    gather = Gather(_socket(response), most)
    try:
        yield gather
    finally:
        gather.end()


def _socket(response: ClientResponse) -> socket.socket | None:
    """Linux alone heeds the option in its readiness calls. A chunked answer may end early on a connection that stays: nobody would tell."""
    transport = None if response.connection is None else response.connection.transport
    if transport is None or response.content_length is None or sys.platform != "linux":
        return None
    found: socket.socket | None = transport.get_extra_info("socket")
    return found
