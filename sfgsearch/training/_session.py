"""Sessions: who gives a training the checkpoint to go on from, and saves it or ends it on the way."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from sfgsearch.training._checkpoint import Checkpoint, CheckpointFolder
from sfgsearch.training._results import EpochReport

_logger = logging.getLogger(__name__)

Capture = Callable[[], Checkpoint]
"""Returns the state of a training as of now, in copies on the CPU, which takes no part in what goes on."""


class TrainingSession(Protocol):
    """Watches over one training: gives it the checkpoint to go on from, and may save or end it at any step.

    Every method may raise, which ends the training; it can go on from any checkpoint that was captured.
    """

    def restore(self) -> Checkpoint | None:
        """Return the checkpoint to go on from, None to start from scratch. Called once, before the first step."""

    def after_step(self, capture: Capture) -> None:
        """Do what is due within an epoch: called after every optimiser step that does not end one."""

    def after_epoch(self, epoch: int, capture: Capture) -> None:
        """Do what is due at the end of an epoch.

        Called after the epoch's report, and after the caller's ``on_epoch`` has got it: a training that goes on from
        what is captured here never reports the epoch again. One that is killed between the two does, with the same
        numbers; so does one that goes on from an earlier checkpoint.
        """

    def rejected(self, reason: str) -> None:
        """Receive why the checkpoint does not fit this training, which therefore starts from scratch."""


class FolderSession:
    """Saves a training into a folder from time to time, and goes on from what is there.

    The checkpoints stay when the training has ended, for a training that goes on from the last one goes straight to
    the final evaluation: call ``session.folder.clear()`` once the result is safe. To save at other times or to do more
    than that, such as to end a training on request, override :meth:`after_step` and :meth:`after_epoch`, or
    :meth:`save`.

    Args:
        folder: Where checkpoints are; of one training only.
        every: Seconds between checkpoints, which are written at the ends of epochs, and within epochs that last longer
            than twice that; 0 is at the end of every epoch.

    Attributes:
        problems: Why checkpoints could not be used, as sentences for users; they are logged as well.
    """

    def __init__(self, folder: CheckpointFolder, every: float = 30.0) -> None:
        self.folder, self.every = folder, every
        self.problems: list[str] = []
        self._last = time.monotonic()

    def restore(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole."""
        checkpoint = self.folder.load()
        for problem in self.folder.problems:
            self.tell(problem)
        self._last = time.monotonic()
        return checkpoint

    def after_step(self, capture: Capture) -> None:
        """Save if twice the time between checkpoints has passed."""
        if self.every and self.elapsed >= 2 * self.every:
            self.save(capture)

    def after_epoch(self, epoch: int, capture: Capture) -> None:
        """Save if the time between checkpoints has passed."""
        del epoch
        if self.elapsed >= self.every:
            self.save(capture)

    def rejected(self, reason: str) -> None:
        """Remove the checkpoints, which are of another training."""
        self.tell(f"{self.folder.path}: the checkpoint is not of this training, which starts anew: {reason}")
        self.folder.clear()

    @property
    def elapsed(self) -> float:
        """Seconds since the last checkpoint."""
        return time.monotonic() - self._last

    def save(self, capture: Capture) -> None:
        """Write a checkpoint.

        Raises:
            CheckpointError: If it cannot be written.
        """
        checkpoint = capture()
        self.folder.save(checkpoint, checkpoint.state["step"])
        self._last = time.monotonic()

    def tell(self, problem: str) -> None:
        """Keep and log why a checkpoint could not be used."""
        self.problems.append(problem)
        _logger.warning(problem)


class RememberingSession:
    """Passes everything on to another session, and remembers the epochs before the checkpoint that this one gave."""

    def __init__(self, session: TrainingSession) -> None:
        self._session = session
        self._state: dict[str, Any] = {}

    @property
    def history(self) -> list[EpochReport]:
        """Reports of the epochs before the checkpoint that the training went on from; none if it did not."""
        return [EpochReport(**report) for report in self._state.get("history", ())]

    def restore(self) -> Checkpoint | None:
        """Return the checkpoint to go on from."""
        checkpoint = self._session.restore()
        self._state = checkpoint.state if checkpoint else {}
        return checkpoint

    def after_step(self, capture: Capture) -> None:
        """Do what is due within an epoch."""
        self._session.after_step(capture)

    def after_epoch(self, epoch: int, capture: Capture) -> None:
        """Do what is due at the end of an epoch."""
        self._session.after_epoch(epoch, capture)

    def rejected(self, reason: str) -> None:
        """Pass on that the checkpoint does not fit."""
        self._state = {}
        self._session.rejected(reason)
