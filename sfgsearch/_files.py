"""Writing files whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = ".sfgsearch-"
_DRAFTS = re.compile(re.escape(_PREFIX) + r"[a-z0-9_]{8}")


@contextmanager
def drafts_of(*targets: Path, durable: bool = False) -> Iterator[tuple[Path, ...]]:
    """Provide paths to write files to, which take the places of the targets, in order, at the end of the block.

    Nothing changes if the block raises an error. The drafts have their targets' names, in a folder beside the first.

    Args:
        targets: The files; folders above them exist.
        durable: Whether the files, and then their names, are on the disk at the end.

    Raises:
        OSError: If the files cannot be written.
    """
    parent = targets[0].parent
    with tempfile.TemporaryDirectory(dir=parent, prefix=_PREFIX, ignore_cleanup_errors=True) as folder:
        drafts = tuple(Path(folder) / target.name for target in targets)
        yield drafts
        for draft in drafts if durable else ():
            with draft.open("rb+") as file:
                os.fsync(file.fileno())
        for draft, target in zip(drafts, targets, strict=True):
            os.replace(draft, target)
    if durable:
        with suppress(OSError):  # not all systems can
            descriptor = os.open(parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def remove_drafts(folder: Path) -> None:
    """Remove the drafts that killed processes left in a folder."""
    for entry in folder.iterdir() if folder.is_dir() else ():
        if _DRAFTS.fullmatch(entry.name):
            shutil.rmtree(entry, ignore_errors=True)
