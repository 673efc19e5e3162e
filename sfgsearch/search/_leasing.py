"""Leases of the trials that plain ``study.optimize`` trains, which keep workers off them."""

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
from sfgsearch.records import Job, Jobs, Lease
from sfgsearch.search._study import is_single_process, records_of
from sfgsearch.storage import retry_on_outage
from sfgsearch.training import Capture, TrainingSession

_TRIES, _PAUSE_SECONDS = 5, 0.2


def trial_key(number: int) -> str:
    """Return the key of a trial among the jobs of its study."""
    return f"trial/{number}"


def owner_key(name: str) -> str:
    """Return a key of an owner of leases that no other one has, from its name."""
    return f"{name[-50:]}:{uuid.uuid4().hex[:12]}"


def process_name() -> str:
    """Return what people call this process: its host and its id."""
    return f"{socket.gethostname()}:{os.getpid()}"


@contextmanager
def leased(trial: BaseTrial, timeout: float) -> Iterator[tuple[TrainingSession | None, Lease | None]]:
    """Hold the lease of a trial in the block, where workers might take it over otherwise: on a database server.

    Args:
        trial: The trial, which Optuna has begun.
        timeout: Seconds without a heartbeat after which workers may take it.

    Yields:
        The session that tells the lease of finished epochs, and the lease; None twice where no worker can be.

    Raises:
        LeaseLostError: If a worker has the trial.
    """
    records = records_of(trial.study) if isinstance(trial, optuna.Trial) else None
    if records is None or not isinstance(trial, optuna.Trial) or is_single_process(trial.study):
        yield None, None
        return
    jobs, key, name = records.jobs, trial_key(trial.number), process_name()
    owner = owner_key(name)
    seen = retry_on_outage(lambda: _claim(jobs, key, owner, name))
    # The job is not finished with the block: workers would take what Optuna has yet to be told of.
    with Lease(jobs, key, owner, timeout, seen) as lease:
        yield _LeasedSession(lease), lease


def _claim(jobs: Jobs, key: str, owner: str, name: str) -> Job | None:
    """Take a job and return it as it was before.

    Raises:
        LeaseLostError: If a worker has it.
    """
    for _ in range(_TRIES):
        seen = jobs.all([key]).get(key)
        if (seen is None or seen.owner in (None, owner)) and jobs.claim(key, owner, name, seen):
            return seen
        time.sleep(_PAUSE_SECONDS)  # a worker that had just reached for it will find the trial begun
    raise LeaseLostError(f"{key} belongs to a worker by now")


class _LeasedSession(TrainingSession):
    """Tells a lease how many epochs are finished."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def restore(self) -> None:
        return None

    def after_step(self, capture: Capture) -> None:
        del capture

    def after_epoch(self, epoch: int, capture: Capture) -> None:
        del capture
        self._lease.finish_epoch(epoch + 1)

    def rejected(self, reason: str) -> None:
        del reason
