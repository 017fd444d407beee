"""Byte ranges of local files: ``pread`` in a few threads, lengths checked."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor

from rasteret_sql.storage import loop
from rasteret_sql.storage.answers import Asked, check_identity
from rasteret_sql.storage.metrics import LOCAL_HOST, Metrics

_THREADS = max(2, min(8, os.cpu_count() or 2))
"""More threads than cores only wait for each other: 1.2 MB reads from the page cache cost 0.2 CPU s/GB with two on two cores, 0.35 with eight."""
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # a FIFO must be refused, not waited for


class FileThreads:
    """The threads that read files; one per event loop (:func:`rasteret_sql.storage.loop.resource`)."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="rasteret-file")

    async def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)


async def read(path: str, asked: Asked, metrics: Metrics) -> tuple[bytes, int]:
    """The bytes asked for and the size of the file; a :class:`~rasteret_sql.errors.ReadError` names what is wrong with it."""
    started = time.monotonic()
    pool = loop.resource(FileThreads).pool
    data, size = await asyncio.get_running_loop().run_in_executor(pool, _read_file, path, asked)
    metrics.count_io(LOCAL_HOST, requests=1, nbytes=len(data), seconds=time.monotonic() - started)
    return data, size


def _read_file(path: str, asked: Asked) -> tuple[bytes, int]:
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError:
        raise asked.error("no such file") from None
    except PermissionError:
        raise asked.error("permission denied") from None
    except OSError as error:
        raise asked.error(f"cannot be opened: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise asked.error("this path is not a file")
        check_identity(asked, status.st_size, None)
        return _read_span(descriptor, asked, status.st_size), status.st_size
    except OSError as error:
        raise asked.error(f"cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)


def _read_span(descriptor: int, asked: Asked, size: int) -> bytes:
    """``pread`` may return less than asked for (signals, the 2 GiB limit of Linux), so it is called until done."""
    start, stop = asked.span.start, asked.span.stop
    if asked.head:
        if size == 0:
            raise asked.error("the file is empty")
        stop = min(stop, size)
    elif stop > size:
        raise asked.error(f"truncated file: it ends at byte {size:,}, before the range does")
    parts: list[bytes] = []
    while start < stop:
        data = os.pread(descriptor, stop - start, start)
        if not data:
            raise asked.error(f"truncated file: it ended at byte {start:,} while it was read")
        parts.append(data)
        start += len(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)
