"""Where a trial's time goes: into training, and into what the harness does between its steps."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from sfgsearch.methods import Method
from sfgsearch.training import Checkpoint, EpochReport, Experiment, OnEpoch, Trained, TrainingSession

REPORTS, CHECKPOINTS, REST = "epoch reports and pruning", "checkpoints and lease", "claim, record and quota"


class Account:
    """Seconds of one thread by what they went into.

    Attributes:
        training: Seconds within trainings, with what follows.
        spent: Seconds that the harness took within trainings, by what for.
    """

    def __init__(self) -> None:
        self.training = 0.0
        self.spent: dict[str, float] = defaultdict(float)

    @contextmanager
    def charge(self, what: str) -> Iterator[None]:
        """Add what the block takes."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.spent[what] += time.perf_counter() - start

    def shares(self, seconds: float) -> dict[str, float]:
        """Return where the seconds of a worker went that were no training."""
        return {REPORTS: self.spent[REPORTS], CHECKPOINTS: self.spent[CHECKPOINTS], REST: seconds - self.training}


class TimedSession:
    """A session whose time is taken.

    Args:
        session: The session.
        account: Gets its seconds.
    """

    def __init__(self, session: TrainingSession, account: Account) -> None:
        self._session, self._account = session, account

    def restore(self) -> Checkpoint | None:
        """Return the checkpoint to go on from."""
        with self._account.charge(CHECKPOINTS):
            return self._session.restore()

    def after_step(self, capture: Callable[[], Checkpoint]) -> None:
        """Do what is due after a step."""
        start = time.perf_counter()
        self._session.after_step(capture)
        self._account.spent[CHECKPOINTS] += time.perf_counter() - start

    def after_epoch(self, epoch: int, capture: Callable[[], Checkpoint]) -> None:
        """Do what is due after an epoch."""
        with self._account.charge(CHECKPOINTS):
            self._session.after_epoch(epoch, capture)

    def rejected(self, reason: str) -> None:
        """Hear that the checkpoint does not fit."""
        self._session.rejected(reason)


@dataclass(frozen=True, kw_only=True)
class TimedExperiment(Experiment):
    """An experiment that takes the time of what is called from within its trainings.

    Args:
        account: Gets the seconds.
    """

    account: Account = field(default_factory=Account, compare=False)

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """Return the same experiment with an account."""
        return cls(experiment.data, experiment.spec, experiment.settings, experiment.augmentation)

    def train(
        self,
        method: Method,
        seed: int,
        *,
        on_epoch: OnEpoch | None = None,
        splits: tuple[str, ...] = ("validation",),
        session: TrainingSession | None = None,
        monte_carlo: bool = False,
    ) -> Trained:
        """Train as any experiment does."""

        def end_epoch(report: EpochReport) -> None:
            with self.account.charge(REPORTS):
                if on_epoch:
                    on_epoch(report)

        timed = TimedSession(session, self.account) if session else None
        start = time.perf_counter()
        try:
            return super().train(
                method, seed, on_epoch=end_epoch, splits=splits, session=timed, monte_carlo=monte_carlo
            )
        finally:
            self.account.training += time.perf_counter() - start
