"""Trials that do everything that a real one does, but sleep where that one trains."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count

import click
from optuna.trial import FrozenTrial

from sfgsearch.allocation import Allocation
from sfgsearch.config import Config
from sfgsearch.methods import FixedAllocation, Method, StochasticFilterGroups
from sfgsearch.reporting import Objective
from sfgsearch.training import Checkpoint, EpochReport, Experiment, OnEpoch, Trained, TrainingSession
from sfgsearch.workers import WorkerListener
from tests.benchmarks.gate import Gate, Journal

RELEASED, OVER = "released", "over"
"""Events of the journal: a worker leaves the gate; a trial is told and its job is finished."""


@dataclass(frozen=True, kw_only=True)
class SleepingExperiment(Experiment):
    """An experiment whose trainings sleep, and then hand back a network that was trained for one epoch beforehand.

    The first training of a process does not sleep: its trial loads and compiles what later ones find ready. The second
    waits at the gate, holding its trial.

    Args:
        asleep: Seconds that a training sleeps, in equal parts before the ends of its epochs.
        gate: Where workers wait for each other.
        journal: Where they say that they went through.
    """

    asleep: float
    gate: Gate
    journal: Journal
    _prepared: dict[type[Method], Trained] = field(default_factory=dict, compare=False, repr=False)
    _trainings: Iterator[int] = field(default_factory=count, compare=False, repr=False)

    def prepare(self) -> None:
        """Train the networks that are handed back, one per kind."""
        quick = Experiment(self.data, self.spec, replace(self.settings, epochs=1))
        equal = Allocation.equal(self.spec.filters, self.spec.task_names)
        for method in (StochasticFilterGroups(), FixedAllocation(equal)):
            self._prepared[type(method)] = quick.train(method, 0)

    def train(
        self,
        method: Method,
        seed: int,
        *,
        on_epoch: OnEpoch | None = None,
        splits: tuple[str, ...] = ("validation",),
        session: TrainingSession | None = None,
    ) -> Trained:
        """Sleep, report epochs as a training does, and return what was prepared."""
        del splits  # what was prepared was measured on both that trials ask for
        start, trained, asleep = time.monotonic(), self._prepared[type(method)], self.asleep
        if session:
            session.restore()
        if next(self._trainings) == 0:
            asleep = 0.0
        elif self.gate.wait():
            self.journal.write(RELEASED)
            start = time.monotonic()
        history = []
        for epoch in range(self.settings.epochs):
            time.sleep(asleep / self.settings.epochs)
            # One curve for all, for a pruned trial would sleep less; only the last value differs, for the sampler.
            history.append(replace(trained.history[0], epoch=epoch, score=1 / (epoch + 1)))
            _end_epoch(trained, history[-1], on_epoch, session)
        scores = {**trained.scores, "validation": random.random()}
        return replace(trained, seed=seed, scores=scores, history=history, seconds=time.monotonic() - start)


def _end_epoch(
    trained: Trained, report: EpochReport, on_epoch: OnEpoch | None, session: TrainingSession | None
) -> None:
    if on_epoch:
        on_epoch(report)
    if session:
        state = {"step": report.epoch + 1}
        session.after_epoch(report.epoch, lambda: Checkpoint(trained.system.state_dict(), state))


def sleeping_objective(config: Config, asleep: float, gate: Gate, journal: Journal) -> Objective:
    """Return the objective of a study whose trials sleep."""
    objective = Objective(config)
    real = objective.experiment
    experiment = SleepingExperiment(
        real.data, real.spec, real.settings, real.augmentation, asleep=asleep, gate=gate, journal=journal
    )
    experiment.prepare()
    objective.experiment = experiment
    return objective


class JournalListener(WorkerListener):
    """Writes the end of every trial into the journal.

    Args:
        name: The worker's name.
        journal: The journal.
    """

    def __init__(self, name: str, journal: Journal) -> None:
        self._name, self._journal = name, journal

    def trial_over(self, trial: FrozenTrial) -> None:
        """Write down that a trial is over."""
        self._journal.write(OVER, trial=trial.number)

    def note(self, line: str) -> None:
        """Print a line: nothing worth one should happen."""
        click.echo(f"{self._name}: {line}", err=True)


def journal_listener(name: str, journal: Journal) -> JournalListener:
    """Make the listener of a worker, in its process."""
    return JournalListener(name, journal)
