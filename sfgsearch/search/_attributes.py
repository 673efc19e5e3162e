"""Attributes that tell what a trial is, and what allocation it trained.

The allocation is a system attribute, which the dashboard does not show: it writes every user attribute on one line, and
a long one makes its pages many times wider than the screen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from optuna.trial import BaseTrial, FrozenTrial

from sfgsearch._optuna import enqueued_params
from sfgsearch.allocation import Allocation

ALLOCATION = "sfgsearch:allocation"
"""System attribute of a trained trial; see :func:`allocation_attribute`."""

START = "start"
"""User attribute of a refined trial: ``"learned"``, and once it has begun the numbers of those it started from."""


def allocation_attribute(allocation: Allocation, repairs: Sequence[str]) -> dict[str, Any]:
    """Return the attribute's value, plain data for JSON.

    Args:
        allocation: The allocation of what was trained.
        repairs: Which filters were moved for lack of input, or left out for lack of readers.
    """
    return {"version": 1, **allocation.to_dict(), "repairs": list(repairs)}


def allocation_of(trial: FrozenTrial) -> Allocation | None:
    """Return the allocation that a trial trained; None if it has not ended."""
    kept = trial.system_attrs.get(ALLOCATION)
    return Allocation.from_json({"groups": kept["groups"], "layers": kept["layers"]}) if kept else None


def repairs_of(trial: FrozenTrial) -> str | None:
    """Return what was repaired in the allocation of a trial, as one sentence; None if nothing was."""
    return "; ".join(trial.system_attrs.get(ALLOCATION, {}).get("repairs", ())) or None


def sources_of(trial: FrozenTrial | BaseTrial) -> list[int]:
    """Return the numbers of the learned trials that a refined one started from; none before it has begun."""
    return [int(number) for number in re.findall(r"\d+", str(trial.user_attrs.get(START, "")))]


def params_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return the parameters of a trial, those included that a waiting one has yet to take up."""
    return {**(enqueued_params(trial) or {}), **trial.params}


def strategy_of_trial(trial: FrozenTrial) -> str | None:
    """Return the strategy of a trial, also of one that waits; None if it has no kind yet."""
    if START in trial.user_attrs:
        return "refined"
    kind: str | None = params_of(trial).get("kind")
    return kind
