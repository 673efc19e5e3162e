"""A worker in a process of Ray's."""

from __future__ import annotations

import contextlib
import queue
import signal
import socket
from collections.abc import Callable
from dataclasses import replace

import optuna

from sfgsearch.errors import SFGSearchError
from sfgsearch.reporting import Objective
from sfgsearch.storage import redact
from sfgsearch.workers._listener import WorkerListener
from sfgsearch.workers._order import WorkerOrder, work
from sfgsearch.workers._pool import BAD_INPUT
from sfgsearch.workers._stop import StopRequest

Speaker = Callable[[str, Callable[[str], None]], WorkerListener]
"""Makes the listener of a worker from its name and what takes its lines; a function of a module."""

_BREATH = 1.0


class RayActor:
    """Does a worker's work while it answers questions, each in a thread of its own.

    Args:
        order: What the worker is told.
        owner: A key that no other worker has.
        listener: Makes its listener.
        objective: Makes the study's objective.
    """

    def __init__(
        self, order: WorkerOrder, owner: str, listener: Speaker, objective: Callable[..., Objective] = Objective
    ) -> None:
        self._order = replace(order, name=f"{order.name}@{socket.gethostname()}")
        self._owner, self._listener, self._objective = owner, listener, objective
        self._stop = StopRequest()
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._is_over = False

    def run(self) -> tuple[int, str]:
        """Work, and return the exit status and, if it could not begin, why."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        listener = self._listener(self._order.name, self._lines.put)
        try:
            return work(self._order, self._owner, listener, self._stop, self._objective), ""
        except SFGSearchError as error:
            return BAD_INPUT, f"on {socket.gethostname()}: {redact(str(error), self._order.storage)}"
        finally:
            self._is_over = True

    def lines(self) -> list[str]:
        """Wait a little for something to be said, and return it."""
        said = []
        with contextlib.suppress(queue.Empty):
            said.append(self._lines.get(timeout=0.0 if self._is_over else _BREATH))
            while True:
                said.append(self._lines.get_nowait())
        return said

    def leave(self, number: int) -> None:
        """Ask to leave as that signal would: SIGTERM at the next step, SIGINT at the end of the epoch."""
        if number == signal.SIGTERM:
            self._stop.terminate()
        elif not self._stop.after_epoch:
            self._stop.interrupt()
