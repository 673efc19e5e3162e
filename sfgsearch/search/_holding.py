"""Keeping workers off the trials that plain ``study.optimize`` trains."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.trial import BaseTrial

from sfgsearch.errors import LeaseLostError
from sfgsearch.records import Jobs, Lease
from sfgsearch.search._study import is_single_process, records_of
from sfgsearch.storage import outlast
from sfgsearch.training import TrainingSession
from sfgsearch.training._session import Capture

_BEATS = 4
"""Signs of life within the while after which a process counts as dead."""


_TRIES, _PAUSE = 5, 0.2


@contextmanager
def holding(trial: BaseTrial, grace: float) -> Iterator[tuple[TrainingSession | None, tuple[str, str] | None]]:
    """Hold the job of a trial in the block, where workers might take it over otherwise: on a database server.

    Args:
        trial: The trial, which Optuna has begun.
        grace: Seconds without a sign of life after which workers may take it.

    Yields:
        What tells the job of finished epochs, and the job with its owner; None twice where no worker can be.

    Raises:
        LeaseLostError: If a worker has the job.
    """
    records = records_of(trial.study) if isinstance(trial, optuna.Trial) else None
    if records is None or not isinstance(trial, optuna.Trial) or is_single_process(trial.study):
        yield None, None
        return
    key, name = f"trial/{trial.number}", f"{socket.gethostname()}:{os.getpid()}"
    owner = f"{name[-50:]}:{uuid.uuid4().hex[:12]}"
    outlast(lambda: _take(records.jobs, key, owner, name))
    # The job is not finished with the block: workers would take what Optuna has yet to be told of.
    with Lease(records.jobs, key, owner, grace / _BEATS) as lease:
        yield _HeldTraining(lease), lease.held


def _take(jobs: Jobs, key: str, owner: str, name: str) -> None:
    """Take a job.

    Raises:
        LeaseLostError: If a worker has it.
    """
    for _ in range(_TRIES):
        seen = jobs.all([key]).get(key)
        if (seen is None or seen.owner in (None, owner)) and jobs.claim(key, owner, name, seen):
            return
        time.sleep(_PAUSE)  # a worker that had just reached for it will find the trial begun
    raise LeaseLostError(f"{key} belongs to a worker by now")


class _HeldTraining(TrainingSession):
    """Tells a job how many epochs are finished."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def restore(self) -> None:
        return None

    def after_step(self, capture: Capture) -> None:
        del capture

    def after_epoch(self, epoch: int, capture: Capture) -> None:
        del capture
        self._lease.finished(epoch + 1)

    def rejected(self, reason: str) -> None:
        del reason
