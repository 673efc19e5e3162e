"""The filters of every layer by group."""

from __future__ import annotations

from sfgsearch.allocation import Allocation
from sfgsearch.errors import StudyError
from sfgsearch.visualization.data._trial_review import TrialReview


def allocation_of_trial(trial: TrialReview | Allocation) -> Allocation:
    """Return the allocation of a trial, or the one given.

    Raises:
        StudyError: If the trial has none.
    """
    if isinstance(trial, Allocation):
        return trial
    if trial.allocation is None:
        raise StudyError(f"trial {trial.number} has no allocation: it has not come to its end")
    return trial.allocation


def layer_shares(allocation: Allocation) -> list[list[float]]:
    """Return per layer, in depth order, every group's part of the filters; the parts of a layer sum to one."""
    return [
        [count / layer.num_filters if layer.num_filters else 0.0 for count in layer.counts]
        for layer in allocation.layers
    ]
