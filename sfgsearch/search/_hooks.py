"""Hooks that an objective calls at the ends of epochs and trials."""

from __future__ import annotations

from dataclasses import dataclass

import optuna

from sfgsearch.records import ArchitectureRecord
from sfgsearch.records._store import Kind
from sfgsearch.search._artifacts import TrialArtifacts
from sfgsearch.training import EpochReport, Experiment, Trained


@dataclass(frozen=True)
class TrainedTrial:
    """A trial that came to its end.

    Args:
        record: Its record, which is about to be kept.
        trained: What it trained.
        experiment: What trained it.
        artifacts: Its artifacts.
    """

    record: ArchitectureRecord
    trained: Trained
    experiment: Experiment
    artifacts: TrialArtifacts


@dataclass(frozen=True)
class PrunedTrial:
    """A trial that was ended early.

    Args:
        kind: Its kind.
        name: Its name.
        history: Reports of all its epochs, at least one, those that it was trained for elsewhere included.
        experiment: What trained it.
        artifacts: Its artifacts.
    """

    kind: Kind
    name: str
    history: list[EpochReport]
    experiment: Experiment
    artifacts: TrialArtifacts


class TrialHooks:
    """Methods that an objective calls while it trains a trial; override those that are needed.

    The last two are called while the trial still runs, for trials that are recorded: in studies that are in a database.
    What they raise fails the trial.
    """

    def on_epoch(self, number: int, name: str, report: EpochReport) -> None:
        """Note that a trial has finished an epoch.

        Args:
            number: The trial's number.
            name: The candidate's name.
            report: Losses and metrics of the epoch.
        """

    def on_trained(self, trial: optuna.Trial, end: TrainedTrial) -> None:
        """Keep more of a trial that came to its end."""

    def on_pruned(self, trial: optuna.Trial, end: PrunedTrial) -> None:
        """Keep more of a trial that was pruned."""
