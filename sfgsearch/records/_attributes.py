"""What a trained trial keeps about its allocation in Optuna, where the dashboard does not show it.

The dashboard writes every user attribute on one line, and a long one makes its pages many times wider than the screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sfgsearch.allocation import Allocation

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

ALLOCATION = "sfgsearch:allocation"
"""System attribute of a trained trial; see :func:`allocation_attribute`."""


def allocation_attribute(allocation: Allocation, repairs: Sequence[str]) -> dict[str, Any]:
    """Return the attribute's value, plain data for JSON.

    Args:
        allocation: The allocation of what was trained.
        repairs: Which filters were moved for lack of input, or left out for lack of readers.
    """
    return {"version": 1, **allocation.to_dict(), "repairs": list(repairs)}


def allocation_of(trial: FrozenTrial) -> Allocation | None:
    """Return the allocation that a trial trained; None if it has not ended."""
    kept = _kept(trial)
    return Allocation.from_json({"groups": kept["groups"], "layers": kept["layers"]}) if kept else None


def repairs_of(trial: FrozenTrial) -> str | None:
    """Return what was repaired in the allocation of a trial, as one sentence; None if nothing was."""
    return "; ".join(_kept(trial).get("repairs", ())) or None


def _kept(trial: FrozenTrial) -> dict[str, Any]:
    return dict(trial.system_attrs.get(ALLOCATION, {}))
