"""Refined trials: the search goes on from what learned trials found."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from optuna.trial import BaseTrial, FrozenTrial, TrialState

from sfgsearch.allocation import Allocation
from sfgsearch.config import RefinedSection
from sfgsearch.errors import AllocationError
from sfgsearch.search._attributes import START, allocation_of, sources_of, strategy_of_trial
from sfgsearch.search._proportions import AllocationSpace, GroupPrior
from sfgsearch.search._queue import QuotaTracker


def suggest_refined(trial: BaseTrial, space: AllocationSpace, section: RefinedSection) -> Allocation:
    """Suggest the allocation of a refined trial, by T parameters ``refined.<space>.<group>`` per channel space.

    The prior of a channel space is a Dirichlet around the mean probabilities that the best learned trials gave its
    groups. The trial keeps which ones these were: it has the same prior when it goes on elsewhere or is tried again.

    Raises:
        AllocationError: If no learned trial is complete.
    """
    study = getattr(trial, "study", None)
    trials = study.get_trials(deepcopy=False) if study else []
    numbers = sources_of(trial)
    chosen = [source for source in trials if source.number in numbers] or best_learned(trials, section.best)
    if not chosen:
        raise AllocationError("no learned trial is complete that a refined one could start from")
    if not numbers:
        trial.set_user_attr(START, ", ".join(str(source.number) for source in chosen))
    return space.suggest_each(trial, "refined", _priors(chosen, space, section.strength))


def best_learned(trials: Sequence[FrozenTrial], number: int) -> list[FrozenTrial]:
    """Return the best learned trials of a study on validation data.

    Those that a user enqueued beside the plan may end at any time, and count only where the plan has none.

    Args:
        trials: All trials of the study.
        number: How many at most.
    """
    tracker = QuotaTracker(trials)
    learned = [trial for trial in trials if strategy_of_trial(trial) == "learned"]
    complete = [trial for trial in learned if trial.state is TrialState.COMPLETE]
    candidates = [trial for trial in complete if not tracker.is_extra(trial)] or complete
    return sorted(candidates, key=lambda trial: (trial.user_attrs["relative_error"], trial.number))[:number]


def _priors(sources: Sequence[FrozenTrial], space: AllocationSpace, strength: float) -> dict[str, GroupPrior]:
    """Return a Dirichlet per channel space around the mean of what trials learned there."""
    allocations = [found for source in sources if (found := allocation_of(source)) is not None]
    priors = {}
    for name in space.filters:
        probs = [probs for allocation in allocations if (probs := allocation.layer(name).mean_probs) is not None]
        priors[name] = GroupPrior.around([fmean(group) for group in zip(*probs, strict=True)], strength)
    return priors
