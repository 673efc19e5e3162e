"""Repeating what an outage of the database interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from sfgsearch.storage._outage import is_outage

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


def outlast(call: Callable[[], T], seconds: float = 600.0) -> T:
    """Return what a call returns, repeating it while the database is away.

    Args:
        call: What uses the database, and may be done twice: an outage can hide that it was done.
        seconds: How long to go on trying.

    Raises:
        Exception: What the call raises that is no outage, or is one still when the time is over.
    """
    deadline, pause = time.monotonic() + seconds, _FIRST_PAUSE
    while True:
        try:
            return call()
        except Exception as error:
            if not is_outage(error) or time.monotonic() > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
