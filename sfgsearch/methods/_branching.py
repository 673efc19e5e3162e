"""Learning to Branch: a tree of full-width layers that is learned jointly with its weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sfgsearch._registry import manual_methods
from sfgsearch.allocation import Allocation, LayerAllocation, group_names
from sfgsearch.functional import ScheduleFamily, TemperatureSchedule
from sfgsearch.graph import LockstepNetwork
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
    DrawnRoute,
    GateSampling,
    NetworkSpec,
    Structure,
    Tree,
    branched_structure,
    build_branching,
    build_tree,
    draw_tree_cost,
    likely_tree,
    prune,
    tree_readers,
)


@dataclass(frozen=True)
class LearningToBranch(Method):
    r"""Learn where the tasks' ways through the network part (Guo, Lee and Ulbricht, ICML 2020).

    Every layer has B full-width copies. Copy j, and every head, draws the copy i of what is below that it reads, with
    gradients of the relaxed draw; see :class:`~sfgsearch.nn.DrawnRoutes`:

    .. math:: x_j = \sum_i d_{ji}\, y_i, \qquad
        d_j = \mathrm{onehot}\Big(\arg\max_i (\log\theta_{ji} + \varepsilon_{ji})\Big), \qquad
        \varepsilon_{ji} \sim \mathrm{Gumbel}(0, 1)

    All draws start uniform. The most probable parents of what the heads reach are the tree that predicts; the paper
    then trains it from scratch, as :class:`FixedTree` does for the final comparison.

    Args:
        branches: B, at most the number of tasks; that number if None.
        lr: Learning rate of the logits of parents (Adam), constant over training.
        warmup: Part of the steps, from the first, in which draws stay uniform and only weights learn, so that all
            copies have learned something before one is preferred.
        settle: Part of the steps, to the last, in which the most probable tree stands still and its weights learn on,
            which the paper does not do.
        temperature: The schedule, per step.
        price: What all multiply-adds of hard sharing would cost in the objective, in nats per example; trees cost their
            part or multiple of it, as in Bruggemann et al. (BMVC 2020), while parents learn.

    Raises:
        ValueError: If the parts are negative or leave no steps in between.
    """

    branches: int | None = None
    lr: float = 0.1
    warmup: float = 0.1
    settle: float = 0.5
    temperature: TemperatureSchedule = field(default_factory=lambda: TemperatureSchedule(start=5.0, end=0.5))
    price: float = 0.0

    def __post_init__(self) -> None:
        if self.warmup < 0 or self.settle < 0 or not self.warmup + self.settle < 1:
            raise ValueError(
                "warmup and settle are parts of all steps, not negative and below 1 together, "
                f"got {self.warmup} and {self.settle}"
            )

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> BranchingSystem:
        """Build the network of all copies."""
        branches = len(spec.tasks) if self.branches is None else self.branches
        sampling = GateSampling(generator=randomness.gates)
        network = build_branching(spec, branches, sampling, randomness.weights)
        return BranchingSystem(network.to(device), spec, self, sampling)

    def retraining(self, structure: Structure) -> Method:
        """Return the training of the tree that was found."""
        return FixedTree(Tree.from_details(structure.details))


class BranchingSystem(SearchingSystem):
    """A network of all copies, whose tree is being learned; all its routes draw by one ``sampling``."""

    network: LockstepNetwork

    def __init__(
        self, network: LockstepNetwork, spec: NetworkSpec, method: LearningToBranch, sampling: GateSampling
    ) -> None:
        super().__init__(network, spec)
        self.method, self.sampling = method, sampling
        self._learns = True
        self._routes = [module for module in network.modules() if isinstance(module, DrawnRoute)]

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Return the weights, and apart from them the logits of parents where there is a choice."""
        return self.split_parameters(lr, self.network.reading.parameters(), self.method.lr)

    def begin_step(self, step: int, steps: int) -> None:
        """Set the temperature of all draws, whether their probabilities learn yet, and whether the tree has settled."""
        self.sampling.temperature = self.method.temperature(step, steps)
        learning, settled = step >= self.method.warmup * steps, step >= (1 - self.method.settle) * steps
        self._learns = learning and not settled
        for route in self._routes:
            route.learning, route.settled = learning, settled

    def penalty(self) -> Tensor | float:
        """Return the price of the multiply-adds of a drawn tree, none while parents do not learn."""
        if not self.method.price or not self._learns:
            return 0.0
        return self.method.price * draw_tree_cost(self.network)

    def tree(self) -> Tree:
        """Return the most probable tree as of now."""
        return likely_tree(self.network)

    def derived(self) -> nn.Module:
        """Return the compact network of the most probable tree."""
        return prune(self.network)

    def allocation(self) -> Allocation:
        """Return what the most probable tree amounts to."""
        return _allocation(self.spec, self.tree())

    def structure(self) -> Structure:
        """Return that of the compact network."""
        return branched_structure(self.tree())


@dataclass(frozen=True)
class FixedTree(Method):
    """Train the compact network of a tree from scratch, as the paper does with the tree that was found."""

    tree: Tree

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> FixedSystem:
        """Build the compact network."""
        network = build_tree(spec, self.tree, randomness.weights)
        tree = likely_tree(network)
        return FixedSystem(network.to(device), spec, _allocation(spec, tree), branched_structure(tree))


def _allocation(spec: NetworkSpec, tree: Tree) -> Allocation:
    """Return what the copies of a tree amount to: all filters of a copy are its only task's, or shared."""
    tasks, readers = spec.task_names, tree_readers(spec.plain_analysis, tree)
    layers = []
    for name, num_filters in spec.plain_analysis.filters.items():
        counts = [0] * (len(tasks) + 1)
        for of_copy in readers[name]:
            if of_copy:
                counts[of_copy[0] if len(of_copy) == 1 else -1] += num_filters
        layers.append(LayerAllocation(name, tuple(counts)))
    return Allocation(group_names(tasks), tuple(layers))


@manual_methods.register("learning_to_branch")
def learning_to_branch(
    spec: NetworkSpec,
    *,
    branches: int | None = None,
    lr: float = 0.1,
    warmup: float = 0.1,
    settle: float = 0.5,
    schedule: ScheduleFamily = "exponential",
    start: float = 5.0,
    end: float = 0.5,
    price: float = 0.0,
) -> Method:
    """Learn a tree of layers (Guo, Lee and Ulbricht, 2020), with the options of :class:`LearningToBranch`.

    Raises:
        ValueError: If a number is out of range.
    """
    tasks = len(spec.tasks)
    if branches is not None and not 1 <= branches <= tasks:
        raise ValueError(f"branches must be 1 to {tasks}, the number of tasks, got {branches}")
    check_in(LEARNING_RATES, lr=lr)
    check_in(TEMPERATURES, start=start, end=end)
    check_in(WEIGHTS, price=price)
    return LearningToBranch(branches, lr, warmup, settle, TemperatureSchedule(schedule, start, end), price)
