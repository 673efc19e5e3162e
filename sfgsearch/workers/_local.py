"""Workers as processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from types import FrameType

import click
import optuna

from sfgsearch.errors import SFGSearchError, StudyError
from sfgsearch.search import Objective, records_of
from sfgsearch.storage import outlast
from sfgsearch.workers._listener import WorkerListener
from sfgsearch.workers._order import WorkerOrder, leave_with_parent, work
from sfgsearch.workers._stop import INTERRUPTED, TERMINATED, StopRequest

ListenerFactory = Callable[[str], WorkerListener]
"""Makes a worker's listener from its name, in the worker's process; a function of a module."""

ObjectiveFactory = Callable[..., Objective]
"""Makes the objective from the configuration, in the worker's process; a function of a module."""

_BAD_INPUT = 2
_PATIENCE = 15.0
_LOOK = 1.0


@dataclass
class _Running:
    order: WorkerOrder
    owner: str
    process: ForkServerProcess


class LocalWorkers:
    """Starts workers as processes of this machine, and starts those again that die.

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
        records = records_of(study)
        if records is None:
            raise StudyError("workers need a study in a database; give study.storage the URL of one")
        self._jobs, self._orders, self._note = records.jobs, list(orders), note
        self._listener, self._objective = listener, objective
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["sfgsearch.workers._local", listener.__module__, objective.__module__])
        self._running: list[_Running] = []
        self._signals: list[int] = []
        self._progress: object = None
        self._in_vain = 0

    @property
    def processes(self) -> list[int]:
        """The process ids of the workers that live."""
        return [running.process.pid for running in self._running if running.process.pid and running.process.is_alive()]

    def run(self) -> int:
        """Let the workers work until the study is over or they were asked to leave.

        Returns:
            The exit status: 0, or 128 + the signal that asked to leave.

        Raises:
            StudyError: If workers die again and again and nothing gets on.
        """
        with self._forwarding():
            try:
                for order in self._orders:
                    self._start(order)
                while self._running:
                    wait([running.process.sentinel for running in self._running], timeout=_LOOK)
                    for running in [running for running in self._running if not running.process.is_alive()]:
                        self._running.remove(running)
                        self._bury(running)
            finally:
                self._end()
        return 128 + self._signals[0] if self._signals else 0

    def _start(self, order: WorkerOrder) -> None:
        owner = f"{order.name[-40:]}:{uuid.uuid4().hex[:12]}"
        arguments = (order, owner, self._listener, self._objective)
        process = self._context.Process(target=_begin, args=arguments, name=order.name)
        process.start()
        self._running.append(_Running(order, owner, process))

    def _bury(self, dead: _Running) -> None:
        """Free what a worker that ended may have held, and start it again if it did not end by itself."""
        status = dead.process.exitcode
        dead.process.close()
        if status == 0:
            return
        outlast(lambda: self._jobs.release_dead(dead.owner))
        if status in (TERMINATED, INTERRUPTED) or self._signals:
            self._note(f"{dead.order.name} left")
            return
        if status == _BAD_INPUT:
            raise StudyError(f"{dead.order.name} could not begin; its reason stands above")
        self._check_progress()
        reason = signal.Signals(-status).name if status and status < 0 else f"exit status {status}"
        self._note(f"{dead.order.name} died ({reason}); another one takes its place and goes on from the checkpoint")
        self._start(dead.order)

    def _check_progress(self) -> None:
        """Raise an error if many workers have died since anything got on."""
        jobs = outlast(self._jobs.all).values()
        progress = sorted((job.job, job.epoch, job.failures, job.finished) for job in jobs)
        self._in_vain = self._in_vain + 1 if progress == self._progress else 0
        self._progress = progress
        if self._in_vain > 3 * len(self._orders):
            raise StudyError(
                f"{self._in_vain} workers in a row died before an epoch was finished; run one by itself to see why: "
                f"sfgsearch worker {self._orders[0].file}"
            )

    @contextmanager
    def _forwarding(self) -> Iterator[None]:
        """Pass SIGTERM and SIGINT on to the workers."""

        def forward(number: int, _frame: FrameType | None) -> None:
            self._signals.append(number)
            for pid in self.processes:
                os.kill(pid, number)

        before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end(self) -> None:
        """Ask workers that are left, after an error, to leave; kill those that do not."""
        deadline = time.monotonic() + _PATIENCE
        for running in self._running:
            running.process.terminate()
        for running in self._running:
            running.process.join(max(deadline - time.monotonic(), 0.1))
            if running.process.is_alive():
                running.process.kill()
                running.process.join()


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
        status = _BAD_INPUT
    sys.exit(status)
