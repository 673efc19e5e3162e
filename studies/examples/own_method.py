"""A method of one's own: draw the number of shared filters of every layer at random, as a rival to learning it."""

from dataclasses import dataclass

import torch

from sfgsearch import Allocation
from sfgsearch.methods import FixedAllocation, Method, Randomness, System, manual_methods
from sfgsearch.nn import NetworkSpec


@dataclass(frozen=True)
class RandomShares(Method):
    """Train an allocation whose shared part of every layer is uniform between ``least`` and 1."""

    least: float

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> System:
        """Draw the allocation from the training's seed, and return what trains it."""
        proportions = {}
        for layer in spec.filters:
            shared = self.least + (1 - self.least) * torch.rand((), generator=randomness.weights).item()
            own = (1 - shared) / len(spec.tasks)
            proportions[layer] = [*[own] * len(spec.tasks), shared]
        allocation = Allocation.from_proportions(spec.filters, spec.task_names, proportions)
        return FixedAllocation(allocation, repair=True).build(spec, randomness, device)


@manual_methods.register("random_shares")
def random_shares(_: NetworkSpec, *, least: float = 0.0) -> Method:
    """Return the method; ``least`` becomes a key of the study file."""
    return RandomShares(least)
