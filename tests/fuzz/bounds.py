"""What one input may cost: processor time and memory, counted whether or not Python made the memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MIB = 1 << 20
MOST_SECONDS = 0.5
SLACK_NBYTES = 96 * MIB
"""Each thread keeps a scratch of up to 64 MiB."""
SLACK_ADDRESS_SPACE = 512 * MIB
"""Of memory that is reserved and never touched: allocators take it in large pieces, one per thread."""
_STATUS = Path("/proc/self/status")


class Finding(AssertionError):
    """An input that the code under test did not stand."""


class TooSlow(Finding):
    """It took too long, this time."""


@contextmanager
def bounded(nbytes: int, seconds: float = MOST_SECONDS) -> Iterator[None]:
    """Raise :class:`Finding` when the block takes more than its share: ``nbytes`` and slack of memory, ``seconds`` of this process's processor time."""
    _forget_peak()
    resident, reserved = _peaks()
    began = time.process_time()
    yield
    took = time.process_time() - began
    more_resident, more_reserved = (after - before for after, before in zip(_peaks(), (resident, reserved), strict=True))
    if more_resident > nbytes + SLACK_NBYTES or more_reserved > nbytes + SLACK_ADDRESS_SPACE:
        raise Finding(
            f"{more_resident / MIB:.0f} MiB of memory, {more_reserved / MIB:.0f} MiB reserved; {nbytes / MIB:.1f} MiB and slack are allowed"
        )
    if took > seconds:  # after memory, which tells more: to touch much of it takes long, too
        raise TooSlow(f"{took:.2f} s of processor time; at most {seconds} are allowed")


def _forget_peak() -> None:
    """Highest resident memory counts from here on: an earlier input, or whoever started this process, may have had more."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peaks() -> tuple[int, int]:
    """Highest resident memory and address space of this process so far, in bytes; the second is 0 where the system does not tell.

    Not ``ru_maxrss`` where there is better: it begins at the size of the process that started this one.
    """
    if not _STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10, 0
    text = _STATUS.read_bytes()
    starts = [text.index(name) + len(name) for name in (b"VmHWM:", b"VmPeak:")]
    resident, reserved = (int(text[at : text.index(b"kB", at)]) << 10 for at in starts)
    return resident, reserved


def limit_memory(nbytes: int) -> None:
    """Let this process have no more than ``nbytes`` besides the address space it has now: what wants more gets a MemoryError."""
    most = _peaks()[1] + nbytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
