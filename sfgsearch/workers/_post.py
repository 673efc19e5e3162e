"""What a worker works with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import optuna

from sfgsearch.config import Config
from sfgsearch.errors import CheckpointError
from sfgsearch.records import Job, Jobs, Lease, Records
from sfgsearch.search import Objective
from sfgsearch.search._study_page import INTERVAL, refresh_study_review
from sfgsearch.training import CheckpointFolder
from sfgsearch.workers._claims import Claims
from sfgsearch.workers._listener import WorkerListener
from sfgsearch.workers._session import WorkerSession
from sfgsearch.workers._stop import StopRequest

_BEATS = 4
"""Signs of life within the while after which a worker counts as dead."""


def checkpoint_folder(config: Config) -> Path:
    """Return the folder of all checkpoints of a study, which need not exist."""
    return config.folder / "checkpoints"


def died(seen: Job | None) -> str:
    """Return the reason of a job whose workers died once too often."""
    return f"its worker died {seen.fruitless if seen else 0} times before an epoch was finished"


@dataclass
class Post:
    """A worker's place in a study, which its jobs share.

    Args:
        study: The study.
        objective: Its objective.
        records: Its records.
        claims: Takes jobs for the worker.
        stop: The wish to leave.
        listener: Is told what happens.
        is_alone: Whether no other worker can be.
        give_up: Hands the present job back, where the worker cannot do that itself any more.
        page_due: When to look whether the study's page is to be refreshed, on this process's monotonic clock.
    """

    study: optuna.Study
    objective: Objective
    records: Records
    claims: Claims
    stop: StopRequest
    listener: WorkerListener
    is_alone: bool
    give_up: Callable[[], None] | None = None
    page_due: float = field(default_factory=lambda: time.monotonic() + INTERVAL)

    @property
    def config(self) -> Config:
        """The study file."""
        return self.objective.config

    @property
    def jobs(self) -> Jobs:
        """The jobs of the study."""
        return self.claims.jobs

    def is_doomed(self, seen: Job | None) -> bool:
        """Tell whether a job has killed its workers once too often."""
        return seen is not None and seen.fruitless > self.config.execution.retries

    def checkpoints(self, key: str) -> CheckpointFolder:
        """Return the checkpoints of a job."""
        return CheckpointFolder(checkpoint_folder(self.config) / key.replace("/", "-"))

    def clear_checkpoints(self, key: str) -> None:
        """Remove the checkpoints of a job that is over; what cannot be removed costs no result."""
        try:
            self.checkpoints(key).clear()
        except CheckpointError as error:
            self.listener.note(str(error))

    def refresh_page(self, *, at_end: bool = False) -> None:
        """Bring the study's page in optuna-dashboard up to date: now and then, and at the end of the study.

        Args:
            at_end: Whether nothing is left to do.
        """
        now = time.monotonic()
        if self.stop.requested or not (at_end or now >= self.page_due):
            return
        self.page_due = now + INTERVAL  # to ask the database after every trial would cost more than it tells
        refresh_study_review(self.study, self.config, interval=0.0 if at_end else INTERVAL, only_news=at_end)

    @contextmanager
    def holding(
        self, key: str, seen: Job | None, hand_back: Callable[[Lease], None]
    ) -> Iterator[tuple[Lease, WorkerSession]]:
        """Keep a job that was taken, in the block.

        Args:
            key: The job.
            seen: What was seen of it before.
            hand_back: Gives the job back unfinished.
        """
        execution = self.config.execution
        lease = Lease(
            self.jobs,
            key,
            self.claims.owner,
            execution.grace / _BEATS,
            epoch=seen.epoch if seen else 0,
            threaded=not self.is_alone,
        )

        def note(line: str) -> None:
            self.listener.note(f"{key}: {line}")

        session = WorkerSession(self.checkpoints(key), execution.checkpoint_every, lease, self.stop, note)
        self.give_up = lambda: hand_back(lease)
        try:
            with lease:
                yield lease, session
        finally:
            self.give_up = None
