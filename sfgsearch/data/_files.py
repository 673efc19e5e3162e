"""Files that a table names, memory for what they hold, and errors that list bad rows."""

from __future__ import annotations

import os
import stat
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import NamedTuple

from sfgsearch._memory import available_memory, format_bytes
from sfgsearch.errors import DataError

LISTED = 20
"""The number of things that an error lists before it counts the rest."""


class LocatedFile(NamedTuple):
    """A regular file: its path without links, and an identity that is the same for every spelling and link."""

    path: Path
    identity: Hashable


def locate(folder: Path, name: str) -> LocatedFile:
    """Return a file that lies in a resolved folder.

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
    """Raise a DataError if ``size`` bytes of something, so named in the error, do not fit into memory."""
    available = available_memory()
    if size > available:
        raise DataError(
            f"{content} takes {format_bytes(size)} of memory, but {format_bytes(available)} are available; {remedy}"
        )


def bad_rows(problems: Sequence[str], remedy: str) -> DataError:
    """Return an error that lists bad rows, each named with its problem, and says what to do."""
    listed = enumerate_some(problems, "; ")
    return DataError(f"{len(problems)} bad {'row' if len(problems) == 1 else 'rows'}: {listed}; {remedy}")


def enumerate_some(items: Sequence[object], separator: str = ", ") -> str:
    """Return the first items as text, and how many more there are."""
    more = f"{separator}and {len(items) - LISTED} more" if len(items) > LISTED else ""
    return separator.join(map(str, items[:LISTED])) + more
