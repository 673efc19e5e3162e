"""Attributes of trials that figures read: those that every trial of sfgsearch carries, in any Optuna storage."""

from __future__ import annotations

import math

from optuna.trial import FrozenTrial, TrialState

from sfgsearch.search._attributes import strategy_of_trial


def kind_of(trial: FrozenTrial) -> str:
    """Return how a trial's allocation came about, its strategy; a question mark for trials that are not ours."""
    return strategy_of_trial(trial) or "?"


def name_of(trial: FrozenTrial) -> str:
    """Return what a trial is called."""
    return str(trial.user_attrs.get("name", f"trial {trial.number}"))


def error_of(trial: FrozenTrial) -> float | None:
    """Return the mean relative error on the validation split; None for trials that did not come to their end."""
    value = trial.user_attrs.get("relative_error")
    if trial.state is not TrialState.COMPLETE or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
