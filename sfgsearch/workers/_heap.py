"""The garbage collector of a worker's process, kept from what the process has loaded."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


def settle_heap() -> None:
    """Exempt all that lives now from garbage collection, after a last one.

    Libraries leave half a million objects behind, none of which will ever be garbage. A full collection walks through
    them all, which takes a third of a second, and a trial's end, which makes many small objects, is where it falls.
    """
    gc.collect()
    gc.freeze()


@contextmanager
def settled_heap() -> Iterator[None]:
    """Exempt all that lives at the beginning of the block from garbage collection in it.

    In a process that has exempted something before, as :func:`settle_heap` does, it stays so afterwards.
    """
    was_settled = gc.get_freeze_count() > 0
    settle_heap()
    try:
        yield
    finally:
        if not was_settled:
            gc.unfreeze()
