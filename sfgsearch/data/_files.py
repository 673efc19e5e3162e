"""Files that a table names, and whether memory can hold what is in them."""

from __future__ import annotations

import os
import stat
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

from sfgsearch._memory import available_memory, format_bytes
from sfgsearch.errors import DataError


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
    available = available_memory()
    if size > available:
        raise DataError(
            f"{content} takes {format_bytes(size)} of memory, but {format_bytes(available)} are available; {remedy}"
        )
