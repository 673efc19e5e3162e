"""Faults of the machine: memory that runs out, disks that are full, and what helps."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = re.compile(
    r"out of memory|std::bad_alloc|bad allocation|DefaultCPUAllocator|(?:can'?t|cannot|unable to) allocate"
    r"|could not create a primitive(?! descriptor)|could not create a memory object|unable to mmap|failed to map"
    r"|(?:CUBLAS|CUDNN|CUSOLVER)_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
_REMEDIES = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there, or have the quota raised",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "make the file system writable, or choose another folder",
    errno.EACCES: "check that the folder can be written to",
    errno.EPERM: "check that the folder can be written to",
    errno.EIO: "check the disk",
}


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, of a GPU or of the machine, or a limit on it was reached."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError | OSError | ImportError) and _MEMORY.search(str(error)) is not None


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, its type if it says nothing."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def remedy(error: OSError) -> str | None:
    """Return what helps against an error of the file system; None where that depends on the file."""
    return _REMEDIES.get(error.errno or 0)


def explain_os_error(error: OSError) -> str:
    """Return what an error of the operating system says, with the path and what helps where these are known."""
    helps = remedy(error)
    if helps is None:
        return f"{type(error).__name__}: {first_line(error)}"
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror}; {helps}"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give errors of a full or read-only file system the path, which those of writing, unlike opening, lack."""
    try:
        yield
    except OSError as error:
        if error.filename is None and remedy(error) is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
