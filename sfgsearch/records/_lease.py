"""The right to do one job, and the signs of life that keep it."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Self

from sfgsearch.errors import LeaseLostError
from sfgsearch.records._jobs import Jobs
from sfgsearch.storage import is_outage

_logger = logging.getLogger(__name__)


class Lease:
    """Keeps a job that a worker has taken, as long as the block lasts.

    Args:
        jobs: The jobs of the study.
        key: The job, which the owner has taken.
        owner: The worker.
        interval: Seconds between signs of life.
        epoch: Epochs that were finished before.
        threaded: Whether a thread gives them; without one they come at the ends of epochs, which is enough where no
            other worker can be.
    """

    def __init__(
        self, jobs: Jobs, key: str, owner: str, interval: float, *, epoch: int = 0, threaded: bool = True
    ) -> None:
        self.key, self.owner = key, owner
        self._jobs, self._interval = jobs, interval
        self._epoch, self._is_fruitful = epoch, False
        self._lost = False
        self._over = threading.Event()
        self._last = time.monotonic()
        name = f"heartbeat of {key}"
        self._thread = threading.Thread(target=self._beat, name=name, daemon=True) if threaded else None

    @property
    def held(self) -> tuple[str, str]:
        """The job and its owner."""
        return self.key, self.owner

    @property
    def epochs(self) -> int:
        """Epochs that are finished."""
        return self._epoch

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
        """Raise an error if the job is known to be lost; costs nothing.

        Raises:
            LeaseLostError: If another worker has the job.
        """
        if self._lost:
            raise LeaseLostError(f"{self.key} belongs to another worker by now")

    def confirm(self) -> None:
        """Ask the database whether the job is still the owner's, which is a sign of life too.

        Raises:
            LeaseLostError: If another worker has the job.
        """
        if not self._jobs.beat(self.key, self.owner, self._epoch, fruitful=self._is_fruitful):
            self._lost = True
        self._last = time.monotonic()
        self.check()

    def finished(self, epochs: int) -> None:
        """Note how many epochs are finished; the next sign of life says so.

        Raises:
            LeaseLostError: If another worker has the job.
        """
        self._epoch = epochs
        self.bear_fruit()
        if self._thread is None and time.monotonic() - self._last > self._interval:
            self.confirm()
        self.check()

    def bear_fruit(self) -> None:
        """Note that the next worker will not have to start where this one did; the next sign of life says so."""
        self._is_fruitful = True

    def _beat(self) -> None:
        while not self._over.wait(self._interval):
            try:
                self.confirm()
            except LeaseLostError:
                return
            except Exception as error:
                # A beat that is missed is made up for by the next one; a database that is away is waited for.
                if not is_outage(error):
                    _logger.warning("%s: no sign of life could be given: %s", self.key, type(error).__name__)
