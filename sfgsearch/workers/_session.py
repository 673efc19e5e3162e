"""A training under the eyes of a worker: checkpoints, the lease, and the request to leave."""

from __future__ import annotations

from collections.abc import Callable

from sfgsearch.errors import TrainingInterrupted
from sfgsearch.records import Lease
from sfgsearch.training import Checkpoint, CheckpointFolder, FolderSession
from sfgsearch.workers._stop import StopRequest

Capture = Callable[[], Checkpoint]


class LeavingError(TrainingInterrupted):
    """The worker was asked to leave, and the training stands in a checkpoint."""


class WorkerSession(FolderSession):
    """Saves checkpoints while the worker holds the job, and ends the training when it shall leave.

    Args:
        folder: Where the job's checkpoints are.
        every: Seconds between checkpoints; see ``execution.checkpoint_every``.
        lease: The job.
        stop: The wish to leave.
        note: Called with a sentence about a checkpoint that could not be used.
    """

    def __init__(
        self, folder: CheckpointFolder, every: float, lease: Lease, stop: StopRequest, note: Callable[[str], None]
    ) -> None:
        super().__init__(folder, every)
        self._lease, self._stop, self._note = lease, stop, note

    def tell(self, problem: str) -> None:
        """Say why a checkpoint could not be used."""
        self._note(problem)

    def after_step(self, capture: Capture) -> None:
        """Leave at once where that is asked, from a checkpoint."""
        self._lease.check()
        if self._stop.at_once:
            self._leave(capture)
        super().after_step(capture)

    def after_epoch(self, epoch: int, capture: Capture) -> None:
        """Say that an epoch is finished, and leave where that is asked."""
        self._lease.finish_epoch(epoch + 1)
        if self._stop.requested:
            self._leave(capture)
        super().after_epoch(epoch, capture)

    def save(self, capture: Capture) -> None:
        """Save a checkpoint if the job is still the worker's."""
        self._lease.confirm()
        super().save(capture)
        self._lease.record_progress()

    def _leave(self, capture: Capture) -> None:
        self.save(capture)
        raise LeavingError(f"{self._lease.key} waits for another worker")
