"""Pruning that compares like with like."""

from __future__ import annotations

import copy
import time
from collections.abc import Container
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from sfgsearch.records import strategy_of_trial

if TYPE_CHECKING:
    from optuna.study import Study


_SHARE = 0.001
"""Of the time of a training that reading the other trials may take."""


@dataclass(frozen=True)
class _Reading:
    """The trials of a study as they were while one trial trained.

    Args:
        reader: Study and trial that they were read for.
        trials: All trials.
        seconds: How long it took to read them.
        at: When that was done, on this process's monotonic clock.
    """

    reader: tuple[int, int]
    trials: list[FrozenTrial]
    seconds: float
    at: float
    _chosen: dict[Any, list[FrozenTrial]] = field(default_factory=dict, repr=False)

    @property
    def is_recent(self) -> bool:
        """Whether it is too early to read them again."""
        return _SHARE * (time.monotonic() - self.at) < self.seconds

    def choose(self, kind: Any, states: Container[TrialState] | None) -> list[FrozenTrial]:
        """Return the trials of a kind, and of some states if given; the list is for reading only."""
        wanted = tuple(state for state in TrialState if states is None or state in states)
        if (kind, wanted) not in self._chosen:
            chosen = [trial for trial in self.trials if trial.state in wanted and strategy_of_trial(trial) == kind]
            self._chosen[kind, wanted] = chosen
        return self._chosen[kind, wanted]


class _OneKind:
    """A study as seen by a pruner: the trials of one kind only."""

    def __init__(self, study: Study, kind: Any, reading: _Reading) -> None:
        self._study, self._kind, self._reading = study, kind, reading

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """Return the study's trials of the kind."""
        chosen = self._reading.choose(self._kind, states)
        return copy.deepcopy(chosen) if deepcopy else list(chosen)

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials of the kind."""
        return self.get_trials()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)


class WithinKindPruner(BasePruner):
    """Lets a pruner see only trials of the kind that it judges; refined trials are a kind of their own here.

    A learned network starts hot and lags behind plain ones for the first epochs whatever it comes to; judged
    against these it would always be pruned.

    A trial's first judgement reads the study; later ones do so again only when a thousand times as long has passed as
    reading took, for in a database of many trials it takes longer than all else that an epoch's end does.

    Args:
        pruner: Any pruner of Optuna's.
    """

    def __init__(self, pruner: BasePruner) -> None:
        self._pruner = pruner
        self._reading: _Reading | None = None

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Judge a trial against trials of its own kind."""
        view: Any = _OneKind(study, strategy_of_trial(trial), self._read(study, trial))
        return self._pruner.prune(view, trial)

    def _read(self, study: Study, trial: FrozenTrial) -> _Reading:
        reader, reading = (id(study._storage), trial._trial_id), self._reading
        if reading is None or reading.reader != reader or not reading.is_recent:
            start = time.monotonic()
            trials = study.get_trials(deepcopy=False)
            end = time.monotonic()
            reading = self._reading = _Reading(reader, trials, end - start, end)
        return reading
