"""One build of a name at a time: a lock of the operating system on a hidden file, which ends with the process that holds it, however it ends."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rasteret_sql.errors import Cancelled, ReadError

if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(handle: int) -> bool:
        """``flock``, not ``lockf``: it belongs to the open file, so that it also keeps threads of one process apart."""
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


_POLL_S = 0.05


@contextmanager
def locked(file: Path, what: str, deadline: float, cancelled: Callable[[], bool] = lambda: False) -> Iterator[bool]:
    """Hold the lock of ``file`` (created and removed again); yields whether another held it at first.

    Waits until ``deadline`` (``time.monotonic()``), then :class:`ReadError` says who has it. A lock of a dead process is free.
    """
    handle, waited = _acquire(file, what, deadline, cancelled)
    try:
        yield waited
    finally:
        with suppress(OSError):  # on Windows an open file cannot be removed; it stays, empty and free
            file.unlink()
        os.close(handle)


def is_held(file: Path) -> bool:
    """Does somebody hold the lock of ``file`` now? Whoever waits for it meanwhile only tries again."""
    try:
        handle = os.open(file, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _try_lock(handle)
    finally:
        os.close(handle)


def _acquire(file: Path, what: str, deadline: float, cancelled: Callable[[], bool]) -> tuple[int, bool]:
    file.parent.mkdir(parents=True, exist_ok=True)
    waited = False
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        if _try_lock(handle) and _is(handle, file):
            os.truncate(handle, 0)
            os.write(handle, b" %d" % os.getpid())  # the first byte stays free: Windows locks it against reading
            return handle, waited
        os.close(handle)
        waited = True
        if cancelled():
            raise Cancelled(f"{what} was interrupted while waiting for another build of it")
        if time.monotonic() > deadline:
            raise ReadError(f"{what} is being built by {_holder(file)}; wait for it, or raise rasteret_timeout_s", str(file))
        time.sleep(_POLL_S)


def _is(handle: int, file: Path) -> bool:
    """Is the locked file still the one of that name? Who held it before removed it."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(handle), file.stat())
    return False


def _holder(file: Path) -> str:
    try:
        return f"process {int(file.read_text(encoding='ascii'))}"
    except (OSError, ValueError):
        return "another process"
