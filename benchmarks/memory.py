"""The most memory that this process has held."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_mb() -> float:
    """In MB of 2**20 bytes. Of Linux's own account where there is one: ``ru_maxrss`` begins at the size of the process that started this one."""
    if _STATUS.exists():
        told = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
        if "VmHWM" in told:
            return int(told["VmHWM"].removesuffix("kB")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1024)
