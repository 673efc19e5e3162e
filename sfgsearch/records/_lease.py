"""The right of one worker to do one training, and the heartbeats that keep it."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Self

from sqlalchemy import Connection

from sfgsearch.errors import LeaseLostError
from sfgsearch.records._jobs import Job, Jobs
from sfgsearch.storage import is_outage

_logger = logging.getLogger(__name__)

_HEARTBEATS = 4
"""Heartbeats within the timeout of a lease."""


class Lease:
    """The ownership of a job that a worker has taken; within the block a thread sends heartbeats that keep it.

    Args:
        jobs: The jobs of the study.
        key: The job, which the owner has taken.
        owner: The worker.
        timeout: Seconds without a heartbeat after which another worker may take the job.
        seen: The job as it was before; None if nobody had ever taken it.
        threaded: Whether a thread sends heartbeats; without one they come at the ends of epochs, which is enough where
            no other worker can be.
    """

    def __init__(
        self, jobs: Jobs, key: str, owner: str, timeout: float, seen: Job | None = None, *, threaded: bool = True
    ) -> None:
        self.key, self.owner = key, owner
        self.epochs = seen.epoch if seen else 0
        """Epochs that are finished."""
        self.lost_workers = seen.attempts_without_progress if seen else 0
        """Workers in a row that the job has lost without an epoch or a checkpoint."""
        self._jobs, self._interval = jobs, timeout / _HEARTBEATS
        self._has_progressed, self._is_lost = False, False
        self._over = threading.Event()
        self._last = time.monotonic()
        name = f"heartbeat of {key}"
        self._thread = threading.Thread(target=self._send_heartbeats, name=name, daemon=True) if threaded else None

    def __enter__(self) -> Self:
        if self._thread:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread:
            self._thread.join(timeout=self._interval)

    def check(self) -> None:
        """Raise an error if the lease is known to be lost; costs nothing.

        Raises:
            LeaseLostError: If another worker has the job.
        """
        if self._is_lost:
            raise LeaseLostError(f"{self.key} belongs to another worker by now")

    def confirm(self) -> None:
        """Ask the database whether the job is still the owner's, which is a heartbeat too.

        Raises:
            LeaseLostError: If another worker has the job.
        """
        if not self._jobs.heartbeat(self.key, self.owner, self.epochs, progressed=self._has_progressed):
            self._is_lost = True
        self._last = time.monotonic()
        self.check()

    def lock(self, connection: Connection) -> None:
        """Keep the job the owner's until a transaction ends.

        Raises:
            LeaseLostError: If another worker has the job.
        """
        self._jobs.lock(connection, self.key, self.owner)

    def finish_epoch(self, epochs: int) -> None:
        """Note how many epochs are finished; the next heartbeat says so.

        Raises:
            LeaseLostError: If another worker has the job.
        """
        self.epochs = epochs
        self.record_progress()
        if self._thread is None and time.monotonic() - self._last > self._interval:
            self.confirm()
        self.check()

    def record_progress(self) -> None:
        """Note that the next worker will not have to start where this one did; the next heartbeat says so."""
        self._has_progressed = True

    def release(self) -> None:
        """Give the job back unfinished, for any worker to take."""
        self._jobs.release(self.key, self.owner)

    def fail(self, reason: str, times: int, *, progressed: bool) -> None:
        """Give the job back with the reason why it failed; see :meth:`Jobs.fail`."""
        self._jobs.fail(self.key, self.owner, reason, times, progressed=progressed)

    def finish(self, *, progressed: bool = True) -> None:
        """Say that the job is done; see :meth:`Jobs.finish`."""
        self._jobs.finish(self.key, self.owner, self.epochs, progressed=progressed)

    def _send_heartbeats(self) -> None:
        while not self._over.wait(self._interval):
            try:
                self.confirm()
            except LeaseLostError:
                return
            except Exception as error:
                # The next heartbeat makes up for one that is missed; a database that is away is waited for.
                if not is_outage(error):
                    _logger.warning("%s: no heartbeat could be sent: %s", self.key, type(error).__name__)
