"""Listeners, which a worker tells of its progress."""

from __future__ import annotations

from optuna.trial import FrozenTrial

from sfgsearch.search import TrialHooks
from sfgsearch.search._finalists import Finalist
from sfgsearch.training import EpochReport


class WorkerListener(TrialHooks):
    """Methods that a worker calls as it goes; override those whose news should be shown.

    The epochs of trials reach it where it is among the hooks of the worker's objective.
    """

    def begin(self, phase: str, items: int, epochs: int) -> None:
        """Note that trials or finalists begin, so many of so many epochs each."""

    def trial_over(self, trial: FrozenTrial) -> None:
        """Note that a trial is complete, pruned, or has failed."""

    def finalist_epoch(self, finalist: Finalist, report: EpochReport) -> None:
        """Note that a finalist has finished an epoch."""

    def finalist_over(self, finalist: Finalist, failure: str | None) -> None:
        """Note that a finalist is recorded, or has failed for a reason."""

    def note(self, line: str) -> None:
        """Note a sentence about something that happened."""
