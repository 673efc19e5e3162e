"""The course of a training from its first epoch to its last, which a session may interrupt and take up again."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property

import torch

from sfgsearch.training._checkpoint import Checkpoint
from sfgsearch.training._fingerprint import Fingerprint, difference
from sfgsearch.training._report import EpochReport, StepLosses
from sfgsearch.training._session import TrainingSession
from sfgsearch.training._trainer import Trainer

OnEpoch = Callable[[EpochReport], None]
"""Called after every epoch; what it raises ends training."""


class Stopwatch:
    """Seconds of a training, over all the processes that it took."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._since

    def add(self, seconds: float) -> None:
        """Count in what other processes took."""
        self._since -= seconds


class Course:
    """A training and its history.

    Args:
        trainer: Trains.
        fingerprint: Returns what a checkpoint must have in common with this training to be of it.
        stopwatch: Its time.

    Attributes:
        history: One report per epoch.
    """

    def __init__(self, trainer: Trainer, fingerprint: Callable[[], Fingerprint], stopwatch: Stopwatch) -> None:
        self.history: list[EpochReport] = []
        self._trainer, self._take_fingerprint, self._stopwatch = trainer, fingerprint, stopwatch

    def run(
        self,
        report: Callable[[int, StepLosses], EpochReport],
        on_epoch: OnEpoch | None = None,
        session: TrainingSession | None = None,
    ) -> None:
        """Train to the end.

        Args:
            report: Returns the report of an epoch (from zero) from its losses.
            on_epoch: Gets it.
            session: Watches.

        Raises:
            NonFiniteLossError: If the loss is NaN or infinite.
        """

        def after_step() -> None:
            if session:
                session.after_step(self.capture)

        while not self._trainer.is_done:
            losses = self._trainer.train_epoch(after_step if session else None)
            epoch = self._trainer.epoch - 1
            self.history.append(report(epoch, losses))
            if on_epoch:
                on_epoch(self.history[-1])
            if session:
                session.after_epoch(epoch, self.capture)
        self._trainer.revisit_last_epoch()

    @cached_property
    def _fingerprint(self) -> Fingerprint:
        """The fingerprint, for which all data are read: only where there are checkpoints."""
        return self._take_fingerprint()

    def capture(self) -> Checkpoint:
        """Return the state as of now; its ``"step"`` is the number of steps done."""
        captured = self._trainer.capture()
        more = {
            "fingerprint": self._fingerprint,
            "seconds": self._stopwatch.seconds,
            "history": [report.to_dict() for report in self.history],
        }
        return Checkpoint(captured.tensors, captured.state | more)

    def restore(self, checkpoint: Checkpoint) -> str | None:
        """Go on from a checkpoint; return why it does not fit, and then this course and its system are of no use."""
        try:
            reason = difference(checkpoint.state["fingerprint"], self._fingerprint)
            if reason is None:
                self.history = [EpochReport(**report) for report in checkpoint.state["history"]]
                self._trainer.restore(checkpoint)
                self._stopwatch.add(checkpoint.state["seconds"])
        except torch.OutOfMemoryError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            return f"its content is not that of this training ({type(error).__name__}: {error})".replace("\n", " ")
        return reason
