"""Locks on files that end with their holder: the kernel drops them, whatever becomes of the process."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from sfgsearch.errors import StudyError


def take(path: Path, *, shared: bool = False, timeout: float = 0.0) -> int | None:
    """Lock a file, waiting for up to a timeout in seconds.

    Returns:
        The descriptor that holds the lock until it is closed by this process and all that inherit it; None where
        another process holds it.

    Raises:
        StudyError: If the file system cannot lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + timeout
    try:
        while not change(descriptor, path, shared=shared):
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(0.02)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def change(descriptor: int, path: Path, *, shared: bool) -> bool:
    """Try to turn the lock of a descriptor into a shared or exclusive one, and tell whether that was possible."""
    if sys.platform == "win32":
        raise StudyError("a PostgreSQL inside the study's folder needs Linux or macOS; pass a database URL instead")
    import fcntl

    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StudyError(f"{path}: this file system cannot lock files: {error.strerror}") from error
    return True


def is_taken(path: Path) -> bool:
    """Return whether a process holds a file's exclusive lock."""
    descriptor = take(path, shared=True) if path.exists() else -1
    if descriptor is None:
        return True
    if descriptor >= 0:
        os.close(descriptor)
    return False
