"""The settings of Stochastic Filter Groups; the search tunes them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sfgsearch._choices import Execution, InitialFamily, PriorFamily
from sfgsearch.functional import (
    TemperatureSchedule,
    initial_probs,
    linear_depth_prior,
    simplex,
    uniform_prior,
)


@dataclass(frozen=True)
class PriorSettings:
    """The group prior.

    Args:
        family: ``"sharing"``, one half for shared however many tasks split the other; ``"uniform"``; ``"fixed"``, the
            point ``probs``; ``"linear"``, shared mass going from ``first`` to ``last`` over depth; ``"learned"`` by
            empirical Bayes, one prior per layer, which starts as ``"sharing"``.
        probs: One probability per task, then shared; for ``"fixed"``.
        first: Shared probability of the first layer, for ``"linear"``.
        last: Shared probability of the last layer, for ``"linear"``.
        task_ratio: How tasks split the rest, for ``"linear"``; equally if None.
    """

    family: PriorFamily = "sharing"
    probs: tuple[float, ...] | None = None
    first: float = 0.8
    last: float = 0.2
    task_ratio: tuple[float, ...] | None = None

    def per_layer(self, num_layers: int, num_tasks: int) -> Tensor:
        """Return the priors, float64 of shape (L, T+1).

        Raises:
            ValueError: If the values do not fit the tasks.
        """
        if self.family == "linear":
            return linear_depth_prior(num_layers, num_tasks, self.first, self.last, self.task_ratio)
        if self.family == "fixed":
            if self.probs is None:
                raise ValueError(f"a fixed prior needs probs: {num_tasks + 1} numbers that sum to one")
            return simplex(self.probs, num_tasks + 1, "probs").expand(num_layers, -1)
        if self.family == "uniform":
            return uniform_prior(num_tasks).expand(num_layers, -1)
        return linear_depth_prior(num_layers, num_tasks, first=0.5, last=0.5)


@dataclass(frozen=True)
class InitialSettings:
    """The initial probabilities.

    Args:
        family: See :func:`sfgsearch.functional.initial_probs`.
        probs: The centre for families other than ``"prior"``: one probability per task, then shared; uniform if None.
        concentration: Concentration of Dirichlet draws.
    """

    family: InitialFamily = "prior"
    probs: tuple[float, ...] | None = None
    concentration: float = 1.0

    def draw(self, num_filters: int, prior: Tensor, generator: torch.Generator) -> Tensor:
        """Return initial probabilities of a layer, float64 of shape (K, T+1).

        Raises:
            ValueError: If the values do not fit the tasks.
        """
        centre = prior
        if self.family != "prior":
            num_groups = len(prior)
            centre = uniform_prior(num_groups - 1) if self.probs is None else simplex(self.probs, num_groups, "probs")
        return initial_probs(self.family, num_filters, centre, generator, self.concentration)


@dataclass(frozen=True)
class SFGSettings:
    """Settings of Stochastic Filter Groups, besides those of the training that all methods share.

    Args:
        lr: Learning rate of the group logits (Adam), constant over training.
        kl_weight: Weight of the divergence of groups from their prior; 1 is the ELBO.
        execution: ``"dense"``, the plain network with masked weights, or ``"streams"``, the T+1 streams of the
            publication, at T+1 times the cost.
        hard: Straight-through gates instead of relaxed ones.
        settle: Part of the steps, to the last, in which gates stay at their most probable groups and only weights
            learn on; their learning rate holds until then.
        temperature: The schedule, per step in which gates learn.
        prior: The group prior.
        initial: Where the probabilities start.
        price: What all multiply-adds of the plain network would cost in the objective, in nats per example; drawn
            networks cost their expected part of it (:class:`~sfgsearch.graph.ExpectedCost`).
        off: Whether filters may be off, in no group, so that widths are learned with the allocation.
    """

    lr: float = 0.02
    kl_weight: float = 1.0
    execution: Execution = "dense"
    hard: bool = True
    settle: float = 0.5
    temperature: TemperatureSchedule = field(default_factory=TemperatureSchedule)
    prior: PriorSettings = field(default_factory=PriorSettings)
    initial: InitialSettings = field(default_factory=InitialSettings)
    price: float = 0.0
    off: bool = False
