"""Learning to Branch: a tree of full-width layers that is learned jointly with its weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sfgsearch.allocation import Allocation, LayerAllocation, group_names
from sfgsearch.functional import ScheduleFamily, TemperatureSchedule
from sfgsearch.graph import LockstepNetwork
from sfgsearch.methods._method import (
    LEARNING_RATES,
    TEMPERATURES,
    Calibration,
    Method,
    Randomness,
    System,
    check_between,
    manual_methods,
)
from sfgsearch.nn import (
    Complexity,
    DrawnRoute,
    GateSampling,
    NetworkSpec,
    Structure,
    Tree,
    branched_structure,
    build_branching,
    build_tree,
    complexity,
    draw_tree_cost,
    likely_tree,
    prune,
    reestimate_statistics,
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


class TreeSystem(System):
    """A network in lockstep, described by its most probable tree."""

    network: LockstepNetwork

    def tree(self) -> Tree:
        """Return the most probable tree as of now."""
        return likely_tree(self.network)

    def allocation(self) -> Allocation:
        """Return what the copies of the tree amount to: all filters of a copy are its only task's, or shared."""
        tasks = self.spec.task_names
        readers = tree_readers(self.spec.plain_analysis, self.tree())
        layers = []
        for name, num_filters in self.spec.plain_analysis.filters.items():
            counts = [0] * (len(tasks) + 1)
            for of_copy in readers[name]:
                if of_copy:
                    counts[of_copy[0] if len(of_copy) == 1 else -1] += num_filters
            layers.append(LayerAllocation(name, tuple(counts)))
        return Allocation(group_names(tasks), tuple(layers))

    def structure(self) -> Structure:
        """Return that of the compact network."""
        return branched_structure(self.tree())


class BranchingSystem(TreeSystem):
    """A network of all copies, whose tree is being learned.

    Args:
        network: The network.
        spec: What built it.
        method: The settings.
        sampling: How all its routes draw.
    """

    def __init__(
        self, network: LockstepNetwork, spec: NetworkSpec, method: LearningToBranch, sampling: GateSampling
    ) -> None:
        super().__init__(network, spec)
        self.method, self.sampling = method, sampling
        self._learns = True
        self._routes = [module for module in network.modules() if isinstance(module, DrawnRoute)]

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Return the weights, and apart from them the logits of parents where there is a choice."""
        weights = [*self.network.copies.parameters(), *self.network.ordered_heads.parameters()]
        logits = list(self.network.reading.parameters())
        groups: list[dict[str, Any]] = [{"params": weights, "lr": lr, "scheduled": True}]
        if logits:
            groups.append({"params": logits, "lr": self.method.lr, "scheduled": False})
        return groups

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

    def predictor(self, calibration: Calibration) -> nn.Module:
        """Return the compact network of the most probable tree, its statistics re-estimated."""
        compact = prune(self.network)
        reestimate_statistics(compact, calibration())
        return compact

    def complexity(self) -> Complexity:
        """Return those of the compact network."""
        return complexity(prune(self.network), self.spec.image_shape)


@dataclass(frozen=True)
class FixedTree(Method):
    """Train the compact network of a tree from scratch, as the paper does with the tree that was found.

    Args:
        tree: The tree, such as :meth:`BranchingSystem.tree` returned.
    """

    tree: Tree

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> FixedTreeSystem:
        """Build the compact network."""
        return FixedTreeSystem(build_tree(spec, self.tree, randomness.weights).to(device), spec)


class FixedTreeSystem(TreeSystem):
    """A network of a tree that stands still: it predicts as it trains."""

    def predictor(self, calibration: Calibration) -> nn.Module:
        """Return the network itself, whose running statistics fit it."""
        del calibration
        return self.network

    def complexity(self) -> Complexity:
        """Return the network's own."""
        return complexity(self.network, self.spec.image_shape)


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
    """Learn a tree of layers (Guo, Lee and Ulbricht, 2020).

    Args:
        spec: The network.
        branches: Nodes per layer, at most one per task; as many as there are tasks if left out.
        lr: Learning rate of the branching.
        warmup: Part of the steps, from the first, in which only weights learn.
        settle: Part of the steps, to the last, in which the tree stands still.
        schedule: How the temperature of the draws goes from ``start`` to ``end``.
        start: The first temperature.
        end: The last temperature.
        price: Nats per example that the multiply-adds of hard sharing cost in the objective.

    Raises:
        ValueError: If a number is out of range.
    """
    tasks = len(spec.tasks)
    if branches is not None and not 1 <= branches <= tasks:
        raise ValueError(f"branches must be 1 to {tasks}, the number of tasks, got {branches}")
    check_between("lr", lr, *LEARNING_RATES)
    check_between("start", start, *TEMPERATURES)
    check_between("end", end, *TEMPERATURES)
    check_between("price", price, 0.0, 1e6)
    return LearningToBranch(branches, lr, warmup, settle, TemperatureSchedule(schedule, start, end), price)
