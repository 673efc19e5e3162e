"""The common start of processes that are compared, and the journal of what they did."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any, Self

_LONGEST_START = 600.0


@dataclass(frozen=True)
class Gate:
    """Opens when everybody is there, and stays open.

    Args:
        barrier: Those who are awaited.
        opened: Whether they have come; who is started anew later need not wait again.
    """

    barrier: Barrier
    opened: Event

    @classmethod
    def of(cls, context: BaseContext, parties: int) -> Self:
        """Return a gate for so many processes of a context."""
        return cls(context.Barrier(parties), context.Event())

    def wait(self) -> bool:
        """Wait for the others unless the gate is open; True if it just opened.

        Raises:
            threading.BrokenBarrierError: If they do not come within ten minutes.
        """
        if self.opened.is_set():
            return False
        self.barrier.wait(_LONGEST_START)
        self.opened.set()
        return True


@dataclass(frozen=True)
class Journal:
    """A file into which processes of one machine write what happened, and when.

    Args:
        path: The file.
    """

    path: Path

    def write(self, event: str, **more: Any) -> None:
        """Add an event, with the machine's monotonic clock and the CPU seconds of this process."""
        entry = {"event": event, "pid": os.getpid(), "at": time.monotonic(), "cpu": time.process_time(), **more}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def read(self) -> list[Mapping[str, Any]]:
        """Return all events so far."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
