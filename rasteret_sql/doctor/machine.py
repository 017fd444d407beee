"""The machine against the settings: memory and its limits, processors, open files."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from rasteret_sql.doctor.findings import Finding, note, ok, size
from rasteret_sql.settings import GIB, MIB, Settings

_CGROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60
_FILES_BESIDE = 64
"""Files that Python and DuckDB have open anyway."""


def check_machine(settings: Settings) -> Iterator[Finding]:
    yield from _memory(settings)
    yield _processors()
    yield from _files(settings)


def memory_limit() -> tuple[int | None, str]:
    """Bytes that the process may use, and what says so; None where that is not known."""
    try:
        physical: int | None = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        physical = None
    limits = [limit for limit in map(_number, _group_files("memory.max", "memory/memory.limit_in_bytes")) if limit and limit < _UNLIMITED]
    group = min(limits, default=None)
    if group is not None and (physical is None or group < physical):
        return group, "the container's limit (cgroup)"
    return physical, "of memory"


def processors() -> tuple[float, str]:
    """Processors that the process may use, and what says so."""
    count = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    for file in _group_files("cpu.max", ""):
        quota, _, period = _content(file).partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(quota) < count * int(period):
            return int(quota) / int(period), "the container's limit (cgroup)"
    return count, ""


def _memory(settings: Settings) -> Iterator[Finding]:
    limit, said = memory_limit()
    ours = settings.cache_bytes + settings.memory_bytes
    plain = f"cache {size(settings.cache_bytes)}, a query {size(settings.memory_bytes)}"
    if limit is None:
        yield ok("memory", f"{plain}; how much the machine has is not known")
    elif ours > limit / 2:
        less = max(16 * MIB, limit // 8 // MIB * MIB)
        fix = f"RASTERET_CACHE_BYTES={less} and RASTERET_MEMORY_BYTES={less}, or give the process more memory"
        yield note("memory", f"{plain}: more than half of {size(limit)} {said}", fix)
    elif limit < GIB:
        yield note(
            "memory", f"{size(limit)} {said}: little beside what DuckDB likes to have", f"in DuckDB: SET memory_limit = '{limit // 2 // MIB}MiB'"
        )
    else:
        yield ok("memory", f"{plain}; {size(limit)} {said}")


def _processors() -> Finding:
    usable, said = processors()
    threads = os.cpu_count() or 1
    if usable < threads:
        why = said or "its processors are restricted (taskset, a batch system)"
        return note("processors", f"{usable:g} of {threads} may be used: {why}", f"in DuckDB: SET threads = {max(1, int(usable))}")
    return ok("processors", f"{threads}")


def _files(settings: Settings) -> Iterator[Finding]:
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - Unix alone has it

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * settings.max_concurrency + _FILES_BESIDE
    if soft != resource.RLIM_INFINITY and soft < needed:
        text = f"{soft} open files are allowed; {settings.max_concurrency} requests at once may need {needed}"
        yield note("open files", text, f"ulimit -n {max(1024, needed)}, or RASTERET_MAX_CONCURRENCY={max(1, (soft - _FILES_BESIDE) // 2)}")
    else:
        yield ok("open files", f"{'no limit' if soft == resource.RLIM_INFINITY else f'{soft:,} allowed'}, {needed} needed at most")


def _group_files(unified: str, older: str) -> Iterator[Path]:
    """Files of the process's control group and the groups above it, as far as they can be seen."""
    for line in _content(Path("/proc/self/cgroup")).splitlines():
        if found := re.fullmatch(r"0::(/.*)", line):
            folder = _CGROUPS / found[1].lstrip("/")
            while folder != _CGROUPS and _CGROUPS in folder.parents:
                yield folder / unified
                folder = folder.parent
    yield _CGROUPS / unified
    if older:
        yield _CGROUPS / older


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _number(file: Path) -> int | None:
    text = _content(file)
    return int(text) if text.isdecimal() else None
