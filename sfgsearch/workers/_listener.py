"""What a worker tells about its work."""

from __future__ import annotations

from optuna.trial import FrozenTrial

from sfgsearch.search._finalists import Finalist
from sfgsearch.training import EpochReport


class WorkerListener:
    """Is told what a worker does, and keeps it for itself; override what should be shown."""

    def begin(self, phase: str, items: int, epochs: int) -> None:
        """Trials or finalists begin, so many of so many epochs each."""

    def trial_epoch(self, number: int, name: str, report: EpochReport) -> None:
        """A trial has finished an epoch."""

    def trial_over(self, trial: FrozenTrial) -> None:
        """A trial is complete, pruned, or has failed."""

    def finalist_epoch(self, finalist: Finalist, report: EpochReport) -> None:
        """A finalist has finished an epoch."""

    def finalist_over(self, finalist: Finalist, failure: str | None) -> None:
        """A finalist is recorded, or has failed for a reason."""

    def note(self, line: str) -> None:
        """Something worth a line happened."""
