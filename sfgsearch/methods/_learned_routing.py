"""Learned routing: every task learns which part of each layer's filters it uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sfgsearch._registry import manual_methods
from sfgsearch.allocation import Allocation
from sfgsearch.functional import ScheduleFamily, TemperatureSchedule
from sfgsearch.methods._fixed import FixedSystem
from sfgsearch.methods._method import (
    LEARNING_RATES,
    TEMPERATURES,
    WEIGHTS,
    Method,
    Randomness,
    SearchingSystem,
    check_in,
)
from sfgsearch.nn import (
    GateSampling,
    LearnedRouting,
    NetworkSpec,
    RoutedNetwork,
    Structure,
    routed_allocation,
    routed_masks,
    routed_structure,
)


@dataclass(frozen=True)
class GumbelRouting(Method):
    r"""Learn for every task and filter whether the task uses it (Maziarz et al., arXiv 1910.04915, 2019).

    .. math:: y_t = f_t(x;\, W \odot M_t), \qquad m_{tk} \sim \mathrm{Bernoulli}(p_{tk})

    See :class:`~sfgsearch.nn.LearnedRouting`. Any subset of the tasks may share a filter, where Stochastic Filter
    Groups know one task or all. A budget bounds how much of a channel space tasks use on average:

    .. math:: \lambda \cdot \frac{1}{L} \sum_{l=1}^{L} \max\Big(0, \frac{1}{T K_l} \sum_{t,k} p_{tk} - b\Big)

    Masks settle for the last part of the steps, and the comparison retrains the network of the masks that were found,
    as it does with those of Stochastic Filter Groups; the paper predicts with what was trained jointly.

    Args:
        lr: Learning rate of the logits (Adam), constant over training.
        initial: Where all probabilities start, from 0.01 to 0.99.
        budget: b, the part of the filters that tasks may use on average without a penalty; 1 bounds nothing.
        penalty: lambda, the weight of that penalty.
        settle: Part of the steps, to the last, in which masks stay the most probable ones and weights learn on.
        temperature: The schedule, per step in which masks are drawn.

    Raises:
        ValueError: If ``settle`` leaves no steps.
    """

    lr: float = 0.05
    initial: float = 0.9
    budget: float = 1.0
    penalty: float = 1.0
    settle: float = 0.5
    temperature: TemperatureSchedule = field(default_factory=TemperatureSchedule)

    def __post_init__(self) -> None:
        if not 0 <= self.settle < 1:
            raise ValueError(f"settle must be a part of all steps, at least 0 and below 1, got {self.settle}")

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> GumbelRoutingSystem:
        """Build the network and the logits of its masks."""
        sampling = GateSampling(generator=randomness.gates)
        network = LearnedRouting(spec.build(randomness.weights), spec.plain_analysis, self.initial, sampling)
        return GumbelRoutingSystem(network.to(device), spec, self)

    def retraining(self, structure: Structure) -> Method:
        """Return the training under the masks that were found."""
        return FixedRouting(routed_masks(structure))


class GumbelRoutingSystem(SearchingSystem):
    """A routed network whose masks learn."""

    network: LearnedRouting

    def __init__(self, network: LearnedRouting, spec: NetworkSpec, method: GumbelRouting) -> None:
        super().__init__(network, spec)
        self.method, self.hold = method, 1 - method.settle

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Return the weights, and apart from them the logits."""
        return self.split_parameters(lr, [self.network.logits], self.method.lr)

    def begin_step(self, step: int, steps: int) -> None:
        """Set the temperature of the draws over the steps in which masks learn, and whether they have settled."""
        learning = max(round(steps * self.hold), 1)
        self.network.settled = step >= learning
        self.network.sampling.temperature = self.method.temperature(min(step, learning - 1), learning)

    def penalty(self) -> Tensor | float:
        """Return the penalty on probabilities beyond the budget, none once masks have settled."""
        if self.network.settled or self.method.budget >= 1:
            return 0.0
        sizes = list(self.spec.plain_analysis.filters.values())
        used = [probs.mean() for probs in torch.split(self.network.probs, sizes, 1)]
        return self.method.penalty * (torch.stack(used) - self.method.budget).clamp_min(0).mean()

    def derived(self) -> nn.Module:
        """Return the network of the most probable masks."""
        return self.network.route()

    def allocation(self) -> Allocation:
        """Describe the most probable masks as of now."""
        return routed_allocation(self.network.masks_by_space(), self.spec.task_names)

    def structure(self) -> Structure:
        """Return that of the network of the most probable masks."""
        return routed_structure(self.network.masks_by_space())


@dataclass(frozen=True)
class FixedRouting(Method):
    """Train the network of given masks from scratch.

    Args:
        masks: Which filters each task holds, bool of shape (T, K) by channel space.
    """

    masks: Mapping[str, Tensor]

    def rescaled(self, given: NetworkSpec, wanted: NetworkSpec) -> FixedRouting:
        """Return masks in which as large a part of every channel space's filters is held by the same tasks."""
        del given
        masks = {}
        for name, number in wanted.plain_analysis.filters.items():
            mask = self.masks[name]
            nearest = (torch.arange(number) + 0.5) * mask.shape[1] / number
            masks[name] = mask[:, nearest.long()]
            lacking = ~masks[name].any(1)
            masks[name][lacking] = True  # a task that holds so few filters that none is left reads them all
        return FixedRouting(masks)

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> FixedSystem:
        """Build the network.

        Raises:
            AllocationError: If the masks do not fit it.
        """
        network = RoutedNetwork(spec.build(randomness.weights), spec.plain_analysis, self.masks)
        allocation = routed_allocation(self.masks, spec.task_names)
        return FixedSystem(network.to(device), spec, allocation, routed_structure(self.masks))


@manual_methods.register("learned_routing")
def learned_routing(
    spec: NetworkSpec,
    *,
    lr: float = 0.05,
    initial: float = 0.9,
    budget: float = 1.0,
    penalty: float = 1.0,
    settle: float = 0.5,
    schedule: ScheduleFamily = "exponential",
    start: float = 2.0,
    end: float = 0.3,
) -> Method:
    """Learn for every task and filter whether the task uses it, with the options of :class:`GumbelRouting`.

    Raises:
        ValueError: If a number is out of range.
    """
    del spec
    check_in(LEARNING_RATES, lr=lr)
    check_in((0.01, 0.99), initial=initial)
    check_in((0, 1), budget=budget)
    check_in(WEIGHTS, penalty=penalty)
    check_in(TEMPERATURES, start=start, end=end)
    return GumbelRouting(lr, initial, budget, penalty, settle, TemperatureSchedule(schedule, start, end))
