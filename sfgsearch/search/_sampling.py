"""Samplers seeded by study and trial, and pruning that compares like with like."""

from __future__ import annotations

import warnings
from collections.abc import Container
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from sfgsearch.config import Config, PrunerSection, SamplerSection
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
    """Shows a pruner only trials of the kind that it judges; refined trials are a kind of their own here.

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


def trial_sampler(config: Config, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Return the sampler for one trial, seeded by the study's seed and the trial's number.

    Suggestions do not depend then on which worker asks, and no two trials have the same seed.
    """
    return build_sampler(config.sampler, seed, number)


def build_sampler(section: SamplerSection, seed: int, trials: int) -> optuna.samplers.BaseSampler:
    """Build the sampler; a continued study must not repeat its first suggestions, hence the number of trials."""
    mixed = int(np.random.SeedSequence([seed, trials]).generate_state(1)[0])
    if section.name == "random":
        return optuna.samplers.RandomSampler(seed=mixed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=mixed, multivariate=True, group=True, n_startup_trials=section.startup_trials
        )


def build_pruner(section: PrunerSection) -> optuna.pruners.BasePruner:
    """Build the pruner, which compares trials of one kind only."""
    if section.name == "none":
        return optuna.pruners.NopPruner()
    if section.name == "successive_halving":
        return WithinKindPruner(optuna.pruners.SuccessiveHalvingPruner(min_resource=max(section.warmup_epochs, 1)))
    return WithinKindPruner(
        optuna.pruners.MedianPruner(n_startup_trials=section.startup_trials, n_warmup_steps=section.warmup_epochs)
    )
