"""Times in words."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return seconds in the two units that matter, such as ``2 h 5 min``."""
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            rest = int(seconds % size // part)
            return f"{int(seconds // size)} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{seconds:.0f} s"
