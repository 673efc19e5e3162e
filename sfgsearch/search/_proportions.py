"""The search space of fixed allocations: from parameters in [0, 1] to group proportions, and back.

A channel space has a prior over its proportions, a Dirichlet tree (Dennis, 1991): the shared share has a beta
distribution, and the tasks split the rest by a Dirichlet. Every parameter is a quantile, so that uniform parameters
draw from the prior, none is redundant, and TPE works on a scale that the prior has levelled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from optuna.trial import BaseTrial
from scipy.special import betainc, betaincinv

from sfgsearch.allocation import SHARED, Allocation
from sfgsearch.config import Fixed, SearchedSection
from sfgsearch.search._space import suggest

SPACE = "searched.space"
"""Categorical parameter: how a searched trial describes its allocation, where the study file leaves a choice."""

_CURVE = "searched.curve"
_LINEAR_FIRST, _LINEAR_LAST = 0.8, 0.2
_RANGE_OF_EXPONENTS = 4.0
_SMALLEST_MEAN = 1e-3


@dataclass(frozen=True)
class GroupPrior:
    """A distribution of the group proportions of one channel space.

    Dirichlet(a_1 .. a_T, a_s) is the case of ``shared = (a_s, a_1 + .. + a_T)`` and ``tasks = (a_1 .. a_T)``.

    Args:
        shared: Parameters of the beta distribution of the shared share; (1, 1) is uniform, with mean one half.
        tasks: One Dirichlet parameter per task, of the shares that tasks have of what is not shared.
    """

    shared: tuple[float, float]
    tasks: tuple[float, ...]

    @classmethod
    def of(cls, section: SearchedSection, num_tasks: int) -> GroupPrior:
        """Return the prior of a study file."""
        given = section.concentration
        tasks = tuple(given) if isinstance(given, list) else (given,) * num_tasks
        return cls((section.shared[0], section.shared[1]), tasks)

    @classmethod
    def around(cls, mean: Sequence[float], strength: float) -> GroupPrior:
        """Return the Dirichlet of a mean.

        Args:
            mean: Shares of the tasks in order, then shared; zero is raised to a thousandth.
            strength: The sum of the Dirichlet's parameters: how many filters seen in these groups it is worth.
        """
        raised = [max(share, _SMALLEST_MEAN) for share in mean]
        *tasks, shared = (strength * share / sum(raised) for share in raised)
        return cls((shared, sum(tasks)), tuple(tasks))

    def share_at(self, quantile: float) -> float:
        """Return the shared share at a quantile."""
        return float(betaincinv(*self.shared, quantile))

    def quantile_of(self, share: float) -> float:
        """Return the quantile of a shared share."""
        return float(betainc(*self.shared, share))

    def split_at(self, quantiles: Sequence[float]) -> list[float]:
        """Return the shares that tasks have of what is not shared, by breaking a stick.

        Task t takes the part v_t ~ Beta(a_t, a_(t+1) + .. + a_T) of what the tasks before it leave.

        Args:
            quantiles: One per task but the last.
        """
        left, split = 1.0, []
        for task, quantile in enumerate(quantiles):
            split.append(left * float(betaincinv(*self._stick(task), quantile)))
            left -= split[-1]
        return [*split, max(left, 0.0)]

    def quantiles_of(self, split: Sequence[float]) -> list[float]:
        """Return the quantiles of :meth:`split_at` that give a split; any where nothing is left to split."""
        left, quantiles = 1.0, []
        for task, share in enumerate(split[:-1]):
            quantiles.append(float(betainc(*self._stick(task), min(share / left, 1.0))) if left > 0 else 0.5)
            left -= share
        return quantiles

    def _stick(self, task: int) -> tuple[float, float]:
        return self.tasks[task], sum(self.tasks[task + 1 :])


@dataclass(frozen=True)
class AllocationSpace:
    """The allocations that searched trials of a study may have.

    Args:
        section: How the study file describes them.
        filters: Filters of every channel space, in depth order.
        tasks: Names of the tasks.
    """

    section: SearchedSection
    filters: Mapping[str, int]
    tasks: Sequence[str]

    def suggest(self, trial: BaseTrial) -> Allocation:
        """Suggest an allocation: every channel space by itself, or all of them by a curve over depth."""
        space = suggest(trial, SPACE, self.section.space)
        prior = GroupPrior.of(self.section, len(self.tasks))
        if space == "curve":
            return self._allocation(self._along_curve(trial, prior))
        return self.suggest_each(trial, "searched", dict.fromkeys(self.filters, prior))

    def suggest_each(self, trial: BaseTrial, prefix: str, priors: Mapping[str, GroupPrior]) -> Allocation:
        """Suggest the proportions of every channel space by T parameters ``<prefix>.<space>.<group>``.

        Args:
            trial: The trial.
            prefix: What their names begin with.
            priors: The prior of every channel space.
        """

        def draw(name: str) -> list[float]:
            shared, *tasks = (_quantile(trial, f"{prefix}.{name}.{group}") for group in (SHARED, *self.tasks[:-1]))
            return _proportions(priors[name].share_at(shared), priors[name].split_at(tasks))

        return self._allocation({name: draw(name) for name in self.filters})

    def _along_curve(self, trial: BaseTrial, prior: GroupPrior) -> dict[str, list[float]]:
        """Suggest shared shares that change monotonically with depth, and one split of the rest among tasks.

        With x from 0 at the first channel space to 1 at the last, the shared share is ``first + (last - first) x^e``.
        """
        first, last = (prior.share_at(_quantile(trial, f"{_CURVE}.{end}")) for end in ("first", "last"))
        exponent = _RANGE_OF_EXPONENTS ** trial.suggest_float(f"{_CURVE}.bend", -1.0, 1.0)
        split = prior.split_at([_quantile(trial, f"{_CURVE}.tasks.{task}") for task in self.tasks[:-1]])
        shares = (first + (last - first) * depth**exponent for depth in self._depths())
        return {name: _proportions(share, split) for name, share in zip(self.filters, shares, strict=True)}

    def warm_starts(self) -> dict[str, list[dict[str, Any]]]:
        """Return the parameters of the first trials by strategy.

        Searching begins with the allocations that the study file names, refining with the medians of its prior.
        """
        groups = (SHARED, *self.tasks[:-1])
        medians = {f"refined.{name}.{group}": 0.5 for name in self.filters for group in groups}
        return {
            "searched": [self._parameters(self._shares(name)) for name in self.section.warm_starts],
            "refined": [medians],
        }

    def _shares(self, name: str) -> list[float]:
        """Return the shared share of every channel space in an allocation that has a name."""
        if name == "linear":
            return [_LINEAR_FIRST + (_LINEAR_LAST - _LINEAR_FIRST) * depth for depth in self._depths()]
        return [1.0 if name == "hard_sharing" else 1 / (len(self.tasks) + 1)] * len(self.filters)

    def _parameters(self, shares: Sequence[float]) -> dict[str, Any]:
        """Return the parameters of shared shares that are linear in depth, where tasks split the rest equally."""
        prior, equal = GroupPrior.of(self.section, len(self.tasks)), [1 / len(self.tasks)] * len(self.tasks)
        split = dict(zip(self.tasks, prior.quantiles_of(equal), strict=False))
        setting = self.section.space
        space = setting.value if isinstance(setting, Fixed) else cast("Any", setting).values[0]
        chosen = {} if isinstance(setting, Fixed) else {SPACE: space}
        if space == "curve":
            ends = {"first": prior.quantile_of(shares[0]), "last": prior.quantile_of(shares[-1]), "bend": 0.0}
            named = {**ends, **{f"tasks.{task}": quantile for task, quantile in split.items()}}
            return chosen | {f"{_CURVE}.{name}": value for name, value in named.items()}
        each = {
            name: {SHARED: prior.quantile_of(share), **split} for name, share in zip(self.filters, shares, strict=True)
        }
        return chosen | {f"searched.{name}.{group}": q for name, groups in each.items() for group, q in groups.items()}

    def _depths(self) -> list[float]:
        """Return the depth of every channel space, from 0 to 1."""
        last = max(len(self.filters) - 1, 1)
        return [index / last for index in range(len(self.filters))]

    def _allocation(self, proportions: Mapping[str, Sequence[float]]) -> Allocation:
        return Allocation.from_proportions(self.filters, self.tasks, proportions, feed_tasks=True)


def _quantile(trial: BaseTrial, name: str) -> float:
    return trial.suggest_float(name, 0.0, 1.0)


def _proportions(shared: float, split: Sequence[float]) -> list[float]:
    """Return the shares of the tasks in order, then shared."""
    return [*((1 - shared) * part for part in split), shared]
