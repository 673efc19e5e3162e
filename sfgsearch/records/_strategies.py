"""The strategies that a comparison tells apart: the kinds, and among searched trials those that refine learned ones."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from optuna.trial import BaseTrial, FrozenTrial

Strategy = Literal["learned", "searched", "refined", "manual"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

KIND = "kind"
"""Categorical parameter of a trial: learned, searched or manual."""

START = "start"
"""User attribute of a refined trial: ``"learned"``, and once it has begun the numbers of those it started from."""


def sources_of(trial: FrozenTrial | BaseTrial) -> list[int]:
    """Return the numbers of the learned trials that a refined one started from; none before it has begun."""
    return [int(number) for number in re.findall(r"\d+", str(trial.user_attrs.get(START, "")))]


def strategy_of(kind: str, name: str) -> str:
    """Return the strategy of a record, by its kind and its name."""
    return "refined" if kind == "searched" and name.startswith("refined-") else kind


def strategy_of_trial(trial: FrozenTrial) -> str | None:
    """Return the strategy of a trial, also of one that waits; None if it has no kind yet."""
    if START in trial.user_attrs:
        return "refined"
    kind: str | None = {**trial.system_attrs.get("fixed_params", {}), **trial.params}.get(KIND)
    return kind
