"""Keeping a number of workers at work, wherever they are."""

from __future__ import annotations

import signal
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import optuna

from sfgsearch._exit_status import BAD_INPUT, INTERRUPTED, TERMINATED
from sfgsearch.errors import StudyError
from sfgsearch.search import records_of
from sfgsearch.storage import retry_on_outage
from sfgsearch.workers._order import WorkerOrder

POLL_SECONDS = 1.0
"""Seconds between looks at the workers."""

_MOST_NAMES = 5


@dataclass(frozen=True)
class Ended:
    """A worker that works no more.

    Args:
        order: What it was told.
        owner: Its key.
        status: Its exit status; None if it died.
        reason: How it died.
        is_gone: Whether it is certain that it holds nothing any more; a worker that only cannot be reached may.
    """

    order: WorkerOrder
    owner: str
    status: int | None
    reason: str = ""
    is_gone: bool = True


class WorkerPool(ABC):
    """Starts workers, and starts those again that die, until the study is over or they are asked to leave.

    Args:
        study: The study, which exists.
        orders: One per worker.
        note: Called with a sentence about a worker that died.

    Raises:
        ConfigError: If the study file cannot be read any more.
        StudyError: If the study is not in a database.
    """

    def __init__(self, study: optuna.Study, orders: Sequence[WorkerOrder], note: Callable[[str], None]) -> None:
        records = records_of(study)
        if records is None:
            raise StudyError("workers need a study in a database; give study.storage the URL of one")
        self._jobs, self._orders, self._note = records.jobs, list(orders), note
        self._signals: list[int] = []
        self._progress: object = None
        self._deaths_in_a_row = 0
        self._most_deaths = len(self._orders) * (1 + self._orders[0].config().execution.retries)

    def run(self) -> int:
        """Supervise the workers until the study is over or they were asked to leave.

        Returns:
            The exit status: 0, or 128 + the signal that asked to leave.

        Raises:
            StudyError: If workers die again and again and nothing gets on, or cannot begin.
        """
        with self._passing_on():
            try:
                for order in self._orders:
                    self._begin(order)
                while self._any_left():
                    for ended in self._ended():
                        self._handle_exit(ended)
            finally:
                self._end()
        return 128 + self._signals[0] if self._signals else 0

    @abstractmethod
    def _start(self, order: WorkerOrder, owner: str) -> None:
        """Start a worker."""

    @abstractmethod
    def _any_left(self) -> bool:
        """Return whether any worker was started that has not ended yet."""

    @abstractmethod
    def _ended(self) -> list[Ended]:
        """Return the workers that have ended since it was asked before; waits for one, at most a second."""

    @abstractmethod
    def _ask_to_leave(self, number: int) -> None:
        """Pass a signal on to the workers; called in a handler of signals."""

    @abstractmethod
    def _end(self) -> None:
        """End workers that are left, after an error."""

    def _begin(self, order: WorkerOrder) -> None:
        self._start(order, f"{order.name[-40:]}:{uuid.uuid4().hex[:12]}")

    def _handle_exit(self, dead: Ended) -> None:
        """Free what a worker that ended may have held, and start it again if it did not end by itself."""
        if dead.status == 0:
            return
        if dead.is_gone:
            retry_on_outage(lambda: self._jobs.release_dead(dead.owner))
        if dead.status in (TERMINATED, INTERRUPTED) or self._signals:
            self._note(f"{dead.order.name} left")
            return
        if dead.status == BAD_INPUT:
            raise StudyError(f"{dead.order.name} stopped: {dead.reason or 'its reason stands above'}")
        self._check_progress()
        self._note(f"{dead.order.name} died ({dead.reason}); another one takes its place")
        self._begin(dead.order)

    def _check_progress(self) -> None:
        """Stop where more workers died in a row than could be held against what each of them trained.

        Then it is the machine that loses workers, such as one that is short of memory. No trial is given up for that.

        Raises:
            StudyError: If nothing got on while so many died.
        """
        jobs = retry_on_outage(self._jobs.all).values()
        progress = sorted((job.job, job.epoch, job.failures, job.finished) for job in jobs)
        self._deaths_in_a_row = self._deaths_in_a_row + 1 if progress == self._progress else 0
        self._progress = progress
        if self._deaths_in_a_row > self._most_deaths:
            left = [job.job for job in jobs if job.attempts_without_progress and not job.finished]
            raise StudyError(
                f"stopped: {self._deaths_in_a_row} workers in a row died before an epoch was finished"
                f"{f' of {_listed(left)}' if left else ''}. Where several lose their workers it is the machine rather "
                "than what is trained: look at its memory and its log. Nothing was given up, and the same command goes "
                f"on; one worker by itself shows more: sfgsearch worker {self._orders[0].file}"
            )

    @contextmanager
    def _passing_on(self) -> Iterator[None]:
        """Pass SIGTERM and SIGINT on to the workers in the block."""

        def pass_on(number: int, _frame: FrameType | None) -> None:
            self._signals.append(number)
            self._ask_to_leave(number)

        before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
