"""Workers as processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess

import click
import optuna

from sfgsearch.errors import SFGSearchError
from sfgsearch.search import Objective
from sfgsearch.workers._crew import BAD_INPUT, LOOK, Crew, Ended
from sfgsearch.workers._listener import WorkerListener
from sfgsearch.workers._order import WorkerOrder, leave_with_parent, work
from sfgsearch.workers._stop import INTERRUPTED, StopRequest

ListenerFactory = Callable[[str], WorkerListener]
"""Makes a worker's listener from its name, in the worker's process; a function of a module."""

ObjectiveFactory = Callable[..., Objective]
"""Makes the objective from the configuration, in the worker's process; a function of a module."""

_PATIENCE = 15.0


@dataclass
class _Running:
    order: WorkerOrder
    owner: str
    process: ForkServerProcess


class LocalWorkers(Crew):
    """Workers as processes of this machine.

    The processes are forked from one that has imported everything, so that a new worker is there at once. They are a
    process group each: this one passes on the signals that it gets, so that one Ctrl-C is one.

    Args:
        study: The study, which exists.
        orders: One per worker.
        listener: Makes the listener of a worker.
        note: Called with a sentence about a worker that died.
        objective: Makes the study's objective.

    Raises:
        StudyError: If the study is not in a database.
    """

    def __init__(
        self,
        study: optuna.Study,
        orders: Sequence[WorkerOrder],
        listener: ListenerFactory,
        note: Callable[[str], None],
        objective: ObjectiveFactory = Objective,
    ) -> None:
        super().__init__(study, orders, note)
        self._listener, self._objective = listener, objective
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(
            ["sfgsearch.workers._local", "sfgsearch.workers._preload", listener.__module__, objective.__module__]
        )
        self._running: list[_Running] = []

    @property
    def processes(self) -> list[int]:
        """The process ids of the workers that live."""
        return [running.process.pid for running in self._running if running.process.pid and running.process.is_alive()]

    def _start(self, order: WorkerOrder, owner: str) -> None:
        arguments = (order, owner, self._listener, self._objective)
        process = self._context.Process(target=_begin, args=arguments, name=order.name)
        process.start()
        self._running.append(_Running(order, owner, process))

    def _any_left(self) -> bool:
        return bool(self._running)

    def _ended(self) -> list[Ended]:
        wait([running.process.sentinel for running in self._running], timeout=LOOK)
        ended = [running for running in self._running if not running.process.is_alive()]
        self._running = [running for running in self._running if running not in ended]
        return [Ended(running.order, running.owner, *_outcome(running.process)) for running in ended]

    def _ask_to_leave(self, number: int) -> None:
        for pid in self.processes:
            os.kill(pid, number)

    def _end(self) -> None:
        """Ask workers that are left to leave, and kill those that do not."""
        deadline = time.monotonic() + _PATIENCE
        for running in self._running:
            running.process.terminate()
        for running in self._running:
            running.process.join(max(deadline - time.monotonic(), 0.1))
            if running.process.is_alive():
                running.process.kill()
                running.process.join()


def _outcome(process: ForkServerProcess) -> tuple[int | None, str]:
    """Return the exit status of a process that ended, None if that is how it died, and how it died."""
    status = process.exitcode or 0
    process.close()
    if status < 0:
        return None, signal.Signals(-status).name
    return status, "" if status == BAD_INPUT else f"exit status {status}"


def _begin(order: WorkerOrder, owner: str, listener: ListenerFactory, objective: ObjectiveFactory) -> None:
    os.setpgrp()
    stop = StopRequest()
    leave_with_parent(stop)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    told = listener(order.name)
    try:
        status = work(order, owner, told, stop, objective)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except SFGSearchError as error:
        click.echo(f"{order.name}: {error}", err=True)
        status = BAD_INPUT
    sys.exit(status)
