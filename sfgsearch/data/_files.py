"""Files that a table names, and how much memory there is for what is in them."""

from __future__ import annotations

import os
import stat
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

from sfgsearch.errors import DataError

_MEMORY = Path("/proc/meminfo")
_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


@dataclass(frozen=True)
class LocatedFile:
    """A regular file.

    Args:
        path: Its path without links.
        identity: The same for every spelling of the path and for every link to the file.
    """

    path: Path
    identity: Hashable


def locate(folder: Path, name: str) -> LocatedFile:
    """Return a file that lies in a folder.

    Args:
        folder: The folder, as :meth:`pathlib.Path.resolve` returns it.
        name: The file's path relative to the folder.

    Raises:
        OSError: If there is no such file.
        ValueError: If it lies outside the folder, also through a link, or is no regular file: opening a pipe would
            wait for ever.
    """
    path = Path(os.path.realpath(folder / name, strict=True))
    if not path.is_relative_to(folder):
        raise ValueError("lies outside the folder")
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("is no regular file")
    return LocatedFile(path, (status.st_dev, status.st_ino) if status.st_ino else path)


def check_memory(size: int, content: str, remedy: str) -> None:
    """Check that something fits into memory before it is read.

    Args:
        size: Its bytes.
        content: What it is called in the error.
        remedy: What to do.

    Raises:
        DataError: If it does not fit.
    """
    available = _available_memory()
    if available is not None and size > available:
        raise DataError(
            f"{content} takes {format_bytes(size)} of memory, but {format_bytes(available)} are available; {remedy}"
        )


def format_bytes(size: int) -> str:
    """Return a number of bytes with three digits and a unit."""
    factor, unit = next(((factor, unit) for factor, unit in _UNITS if size >= factor), (1, "bytes"))
    return f"{size / factor:.3g} {unit}"


def _available_memory() -> int | None:
    """Return the bytes that programs can still get, where the system tells; else those of the machine, or None."""
    try:
        values = dict(line.split(":") for line in _MEMORY.read_text().splitlines())
        return int(values["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
