"""State shared by the job runners of one worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import optuna

from sfgsearch.config import Config
from sfgsearch.errors import CheckpointError
from sfgsearch.records import Lease, Records
from sfgsearch.reporting._study_page import INTERVAL, refresh_study_review
from sfgsearch.search import PlainObjective
from sfgsearch.training import CheckpointFolder
from sfgsearch.workers._leases import Leases
from sfgsearch.workers._listener import WorkerListener
from sfgsearch.workers._session import WorkerSession
from sfgsearch.workers._stop import StopRequest


def checkpoint_folder(config: Config) -> Path:
    """Return the folder of all checkpoints of a study, which need not exist."""
    return config.folder / "checkpoints"


@dataclass
class WorkerContext:
    """State shared by the job runners of one worker.

    Args:
        study: The study.
        objective: Its objective.
        records: Its records.
        leases: Takes leases for the worker.
        stop: The request to leave.
        listener: Is told what happens.
        hand_back: Hands the present job back, where the worker cannot do that itself any more.
        page_due: When to look whether the study's page is to be refreshed, on this process's monotonic clock.
    """

    study: optuna.Study
    objective: PlainObjective
    records: Records
    leases: Leases
    stop: StopRequest
    listener: WorkerListener
    hand_back: Callable[[], None] | None = None
    page_due: float = field(default_factory=lambda: time.monotonic() + INTERVAL)

    @property
    def config(self) -> Config:
        """The study file."""
        return self.objective.config

    def has_killed_its_workers(self, lease: Lease) -> bool:
        """Return whether a job has lost its workers once too often to be tried again."""
        return lease.lost_workers > self.config.execution.retries

    def clear_checkpoints(self, key: str) -> None:
        """Remove the checkpoints of a job that is over; what cannot be removed costs no result."""
        try:
            self._checkpoints(key).clear()
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
        self.page_due = now + INTERVAL
        refresh_study_review(self.study, self.config, interval=0.0 if at_end else INTERVAL, only_news=at_end)

    @contextmanager
    def holding(self, lease: Lease, hand_back: Callable[[Lease], None]) -> Iterator[WorkerSession]:
        """Keep a lease in the block, and provide the session of its training.

        Args:
            lease: The lease.
            hand_back: Gives its job back unfinished.
        """

        def note(line: str) -> None:
            self.listener.note(f"{lease.key}: {line}")

        every = self.config.execution.checkpoint_every
        session = WorkerSession(self._checkpoints(lease.key), every, lease, self.stop, note)
        self.hand_back = lambda: hand_back(lease)
        try:
            with lease:
                yield session
        finally:
            self.hand_back = None

    def _checkpoints(self, key: str) -> CheckpointFolder:
        return CheckpointFolder(checkpoint_folder(self.config) / key.replace("/", "-"))
