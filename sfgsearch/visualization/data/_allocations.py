"""The allocations of the best of each kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import optuna

from sfgsearch.allocation import Allocation
from sfgsearch.comparison import Comparison
from sfgsearch.comparison._formats import thousands
from sfgsearch.records import STRATEGIES
from sfgsearch.search._attributes import allocation_of
from sfgsearch.visualization.data._layers import layer_shares
from sfgsearch.visualization.data._trials import error_of, kind_of, name_of


@dataclass(frozen=True)
class BestAllocation:
    """The best trial of a kind and how it shares.

    Args:
        kind: The kind.
        name: What the trial is called.
        trial: Its number.
        error: Its relative error: the finalist's on the test split, or the trial's own on the validation split.
        is_tested: Whether it is the finalist's.
        macs: Multiply-adds for one image.
        allocation: Its allocation.
    """

    kind: str
    name: str
    trial: int
    error: float
    is_tested: bool
    macs: int
    allocation: Allocation

    @property
    def caption(self) -> tuple[str, str, str]:
        """What stands over its panel besides the kind: name, error and cost."""
        return self.name, f"error {100 * self.error:.1f} %", f"{thousands(self.macs)} multiply-adds"

    @property
    def shares(self) -> list[list[float]]:
        """Per layer in depth order, every group's part of the filters; the parts of a layer sum to one."""
        return layer_shares(self.allocation)


def best_allocations(study: optuna.Study, comparison: Comparison | None = None) -> list[BestAllocation]:
    """Return the best of each kind: that of the comparison, or the trial with the lowest relative error.

    Args:
        study: The study, in any storage.
        comparison: Its finalists, where there are any.
    """
    trials = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    rows = comparison.best if comparison else {}
    found = []
    for kind in STRATEGIES:
        row = rows.get(kind)
        if row is not None and row.trial in trials:
            trial, error = trials[row.trial], row.error.mean
        else:
            row = None
            judged = [
                (value, trial.number)
                for trial in trials.values()
                if kind_of(trial) == kind and (value := error_of(trial)) is not None
            ]
            if not judged:
                continue
            error, number = min(judged)
            trial = trials[number]
        allocation = allocation_of(trial)
        if allocation is None:
            continue
        macs = row.macs if row is not None else int(trial.user_attrs.get("macs", 0))
        found.append(BestAllocation(kind, name_of(trial), trial.number, error, row is not None, macs, allocation))
    return found


def longest_layers(best: Sequence[BestAllocation]) -> list[str]:
    """Return the names of the layers of the allocation that has the most: those that tasks skip are left out.

    Args:
        best: At least one.
    """
    return [layer.name for layer in max((one.allocation.layers for one in best), key=len)]
