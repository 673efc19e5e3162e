"""How much memory there is."""

from __future__ import annotations

import os
import resource
from pathlib import Path

_AVAILABLE = Path("/proc/meminfo")
_CONTROL_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def memory_limit() -> int:
    """Return the bytes that this process may have at most: the machine's, its container's or its own limit."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        limits.append(soft)
    for file in map(Path, _CONTROL_GROUPS):
        text = file.read_text().strip() if file.exists() else ""
        if text.isdecimal():  # else it says "max"
            limits.append(int(text))
    return min(limits)


def available_memory() -> int:
    """Return the bytes that this process can still get, as far as the system tells: never more than its limit."""
    try:
        values = dict(line.split(":") for line in _AVAILABLE.read_text().splitlines())
        return min(int(values["MemAvailable"].split()[0]) * 1024, memory_limit())
    except (OSError, ValueError, KeyError):
        return memory_limit()


def format_bytes(size: int) -> str:
    """Return a number of bytes with three digits and a unit."""
    factor, unit = next(((factor, unit) for factor, unit in _UNITS if size >= factor), (1, "bytes"))
    return f"{size / factor:.3g} {unit}"
