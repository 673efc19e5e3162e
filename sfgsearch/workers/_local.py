"""Workers as processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import click
import optuna

from sfgsearch._exit_status import BAD_INPUT, INTERRUPTED
from sfgsearch.errors import SFGSearchError
from sfgsearch.reporting import Objective
from sfgsearch.workers._listener import WorkerListener
from sfgsearch.workers._order import WorkerOrder, leave_with_parent, work
from sfgsearch.workers._pool import POLL_SECONDS, Ended, WorkerPool
from sfgsearch.workers._stop import StopRequest

ListenerFactory = Callable[[str], WorkerListener]
"""Makes a worker's listener from its name, in the worker's process; a function of a module."""

ObjectiveFactory = Callable[..., Objective]
"""Makes the objective from the configuration, in the worker's process; a function of a module."""

_EXIT_SECONDS = 15.0
_PRELOADED = "optuna_dashboard", "sfgsearch.tasks._metrics", "sfgsearch.visualization.matplotlib._renderer"
"""Modules that load heavy packages where they are first used; a worker that is started again has them at once."""

_FORK_SERVER_GONE = 255
"""Exit status that a process seems to have when the one that it was forked from, and would say it, was killed."""


@dataclass
class _Running:
    """A worker.

    Args:
        order: What it was told.
        owner: Its key.
        process: Its process; None if it could not be started.
        reason: Why not.
    """

    order: WorkerOrder
    owner: str
    process: ForkServerProcess | None
    reason: str = ""

    @property
    def lives(self) -> bool:
        return self.process is not None and self.process.is_alive()


class LocalWorkers(WorkerPool):
    """Workers as processes of this machine.

    The processes are forked from one that has imported everything, so that a new worker is there at once. When that one
    is killed they leave, from a checkpoint, and another one takes its place. They are a process group each: this one
    passes on the signals that it gets, so that one Ctrl-C is one.

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
            ["sfgsearch.workers._local", *_PRELOADED, listener.__module__, objective.__module__]
        )
        self._running: list[_Running] = []

    @property
    def processes(self) -> list[int]:
        """The process ids of the workers that live."""
        started = [running.process for running in self._running if running.process]
        return [process.pid for process in started if process.pid and process.is_alive()]

    def _start(self, order: WorkerOrder, owner: str) -> None:
        arguments = (order, owner, self._listener, self._objective)
        process = self._context.Process(target=_begin, args=arguments, name=order.name)
        try:
            process.start()
        except (EOFError, OSError) as error:
            gone = isinstance(error, EOFError | ConnectionError)
            reason = "the fork server was killed" if gone else str(error)
            self._running.append(_Running(order, owner, None, f"it could not be forked: {reason}"))
        else:
            self._running.append(_Running(order, owner, process))

    def _any_left(self) -> bool:
        return bool(self._running)

    def _ended(self) -> list[Ended]:
        started = [running.process.sentinel for running in self._running if running.process]
        wait(started, timeout=POLL_SECONDS if len(started) == len(self._running) else 0.0)
        ended = [running for running in self._running if not running.lives]
        self._running = [running for running in self._running if running not in ended]
        return [Ended(running.order, running.owner, *_outcome(running)) for running in ended]

    def _ask_to_leave(self, number: int) -> None:
        for pid in self.processes:
            os.kill(pid, number)

    def _end(self) -> None:
        """Ask workers that are left to leave, and kill those that do not."""
        deadline = time.monotonic() + _EXIT_SECONDS
        left = [running.process for running in self._running if running.process]
        for process in left:
            process.terminate()
        for process in left:
            process.join(max(deadline - time.monotonic(), 0.1))
            if process.is_alive():
                process.kill()
                process.join()


def _outcome(running: _Running) -> tuple[int | None, str]:
    """Return the exit status of a worker that ended, None if that is how it died, and how it died."""
    process = running.process
    if process is None:
        return None, running.reason
    status, pid = process.exitcode or 0, process.pid
    process.close()
    if status == _FORK_SERVER_GONE and pid is not None:
        _end_orphan(pid)
        return None, "the fork server was killed"
    if status < 0:
        return None, signal.Signals(-status).name
    return status, "" if status == BAD_INPUT else f"exit status {status}"


def _end_orphan(pid: int) -> None:
    """Wait until a worker has left whose fork server was killed, and kill it if it does not."""
    deadline = time.monotonic() + _EXIT_SECONDS
    while _works(pid):
        if time.monotonic() > deadline:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.05)


def _works(pid: int) -> bool:
    """Return whether a process that is no child of this one works, and does not only wait to be asked how it ended."""
    try:
        os.kill(pid, 0)
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except FileNotFoundError:
        return not Path("/proc/self").exists()
    except ProcessLookupError:
        return False


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
