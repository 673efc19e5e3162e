"""Pruning that compares like with like."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, Any

from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from sfgsearch.search._attributes import strategy_of_trial

if TYPE_CHECKING:
    from optuna.study import Study


class _OneKind:
    """A study as seen by a pruner: the trials of one kind only."""

    def __init__(self, study: Study, kind: str | None) -> None:
        self._study, self._kind = study, kind

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """Return the study's trials of the kind."""
        trials = self._study.get_trials(deepcopy=deepcopy, states=states)
        return [trial for trial in trials if strategy_of_trial(trial) == self._kind]

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

    Args:
        pruner: Any pruner of Optuna's.
    """

    def __init__(self, pruner: BasePruner) -> None:
        self._pruner = pruner

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Judge a trial against trials of its own kind."""
        view: Any = _OneKind(study, strategy_of_trial(trial))
        return self._pruner.prune(view, trial)
